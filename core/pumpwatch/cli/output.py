"""What all commands share: the options with the same meaning everywhere, and how results are shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

stdout = Console()
stderr = Console(stderr=True)

Data = Annotated[Path, typer.Option("--data", help="Folder of ledger, journal and store.", metavar="DIR")]
Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).", metavar="FILE")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
PluginsDir = Annotated[
    Path | None, typer.Option("--plugins-dir", help="Folder of one-file plugins to load as well.", metavar="DIR")
]
UntilStdinCloses = Annotated[
    bool, typer.Option("--until-stdin-closes", help="Stop when standard input ends (for supervisors).")
]
DEFAULT_DATA = Path("var")


def show(rows: Sequence[Mapping[str, Any]], *, as_json: bool, title: str = "") -> None:
    """Print a list: a table for people, JSON for programs."""
    if as_json:
        show_json(list(rows))
        return
    if not rows:
        stdout.print(f"{title or 'Nothing'}: none" if title else "Nothing there.")
        return
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(v) for v in row.values()))
    stdout.print(table)


def show_json(result: object) -> None:
    """Print JSON as it is: no colours, no wrapping."""
    typer.echo(json.dumps(result, ensure_ascii=False, indent=2, default=str))


def _cell(value: object) -> str:
    if value is None:
        return "—"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
