"""``pumpwatch import``: bring ledger tables into the data folder."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from pumpwatch.cli.output import DEFAULT_DATA, AsJson, Data, show, show_json, stderr
from pumpwatch.database import Database, ledger_url
from pumpwatch.errors import BadConfig
from pumpwatch.ledger import ImportReport, Ledger


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("import")(import_)


def import_(
    folder: Annotated[Path, typer.Argument(help="Folder of tables: stations.csv, dispensers.csv …", metavar="DIR")],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Import ledger tables (stations, dispensers, tanks, nozzles, work orders); twice changes nothing."""
    report = asyncio.run(import_ledger(folder, data, quiet=as_json))
    counts = ("table", "added", "changed", "unchanged", "rejected")
    rows = [{c: getattr(table, c) for c in counts} for table in report.tables]
    if as_json:
        show_json({"tables": rows, "others": report.others, "problems": [asdict(p) for p in report.problems]})
    else:
        show(rows, as_json=False, title=f"Imported from {folder}")
        for other in report.others:
            stderr.print(f"{other}: not a ledger table, left alone", style="yellow", markup=False)
        for problem in report.problems:
            stderr.print(str(problem), style="yellow", markup=False, highlight=False)
    raise typer.Exit(1 if report.problems else 0)


async def import_ledger(folder: Path, data: Path, *, quiet: bool) -> ImportReport:
    """Import into the ledger of a data folder; bad rows go to ``DATA/rejects``."""
    if not folder.is_dir():  # noqa: ASYNC240 - before anything runs
        raise BadConfig(f"{folder}: no such folder; it should hold stations.csv, dispensers.csv …")
    data.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
    with Progress(console=stderr, disable=quiet, transient=True) as progress:
        bar = progress.add_task("import", total=None)
        async with Database.open(ledger_url(data)) as database:
            return await Ledger(database).import_folder(
                folder,
                rejects=data / "rejects",
                progress=lambda now: progress.update(
                    bar, description=f"{now.table} {now.rows:,}", completed=now.bytes_read, total=now.bytes_total
                ),
            )
