"""``pumpwatch sim …``: hands its words on to the simulator, which is a program of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import typer

from pumpwatch.errors import BadConfig


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "sim", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    )(sim)


def sim(context: typer.Context) -> None:
    """The simulated county: live or as files; its stations off and on, its wires spoilt (``pumpwatch sim --help``)."""
    if importlib.util.find_spec("pumpwatch_sim") is None:
        raise BadConfig("the simulator is not installed; install the whole of pumpwatch")
    raise typer.Exit(subprocess.call([sys.executable, "-m", "pumpwatch_sim", *context.args]))  # noqa: S603
