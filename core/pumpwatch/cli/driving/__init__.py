"""``pumpwatch driver``: make a new one, examine it, find out what hangs on a line, see the bytes of a device."""

from __future__ import annotations

import typer

from pumpwatch.cli.driving import certify, new, probe, reload, replay, trace

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="For those who write drivers.", no_args_is_help=True)
    for module in (new, probe, trace, replay, certify, reload):
        module.add_to(group)
    app.add_typer(group, name="driver")
