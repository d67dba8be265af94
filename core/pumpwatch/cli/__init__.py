"""The command line: one module a group of commands."""

from __future__ import annotations

import sys

import typer

from pumpwatch.cli import (
    asking,
    backing,
    benching,
    checking,
    completing,
    demo,
    detecting,
    doctoring,
    driving,
    evaluating,
    keeping,
    serving,
    simulating,
    storing,
)
from pumpwatch.cli.output import stderr
from pumpwatch.errors import PumpwatchError

app = typer.Typer(
    name="pumpwatch",
    help="Keeps fuel stations honest: watches every nozzle, finds what does not add up, keeps the evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_GROUPS = (
    demo,
    serving,
    checking,
    asking,
    completing,
    keeping,
    backing,
    storing,
    doctoring,
    detecting,
    evaluating,
    driving,
    simulating,
    benching,
)
for group in _GROUPS:
    group.add_to(app)


def main() -> None:
    """Run the command line; what pumpwatch raises on purpose becomes one clear message and exit code 1."""
    try:
        app()
    except PumpwatchError as error:
        stderr.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
