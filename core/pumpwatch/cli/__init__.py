"""The command line: one module a group of commands, loaded when one of them is called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

import typer
from typer.core import TyperGroup

from pumpwatch.cli.output import stderr
from pumpwatch.errors import PumpwatchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

COMMANDS: Final[Mapping[str, str]] = {
    "demo": "demo",
    "serve": "serving",
    "check": "checking",
    "plugins": "checking",
    "status": "asking",
    "tags": "asking",
    "watch": "asking",
    "completeness": "completing",
    "import": "keeping",
    "export": "keeping",
    "backup": "backing",
    "restore": "backing",
    "store": "storing",
    "doctor": "doctoring",
    "detect": "detecting",
    "evaluate": "evaluating",
    "driver": "driving",
    "sim": "simulating",
    "bench": "benching",
}
"""The module of each command, in the order in which help lists them."""


class Commands(TyperGroup):
    """Commands whose modules are loaded when they are asked for: most need little of what all need together."""

    def list_commands(self, ctx: object) -> list[str]:
        """All names."""
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> Any:  # noqa: ANN401 - a command as typer makes it
        """One of them; None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"pumpwatch.cli.{COMMANDS[cmd_name]}")
        group = typer.Typer()
        group.callback()(lambda: None)
        module.add_to(group)
        return typer.main.get_group(group).commands[cmd_name]


app = typer.Typer(
    cls=Commands,
    name="pumpwatch",
    help="Keeps fuel stations honest: watches every nozzle, finds what does not add up, keeps the evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _all() -> None:
    """What typer wants to see of a group that names its commands itself."""


def main() -> None:
    """Run the command line; what pumpwatch raises on purpose becomes one clear message and exit code 1."""
    try:
        app()
    except PumpwatchError as error:
        stderr.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
