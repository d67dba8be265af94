"""``pumpwatch import`` and ``export``: canonical data sets into and out of the data folder, held by us or a server."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from pumpwatch.canonical import (
    SAMPLES,
    TABLES,
    ExportedTable,
    ExportProgress,
    Format,
    Span,
    export_folder,
    export_partitioned,
    hold,
    holder,
    import_folder,
)
from pumpwatch.cli.asking import server_url
from pumpwatch.cli.fetching import fetch_partitioned
from pumpwatch.cli.output import DEFAULT_DATA, AsJson, Config, Data, PluginsDir, show, show_json, stderr
from pumpwatch.cli.places import DEFAULT_CONFIG, settings_for
from pumpwatch.cli.sending import Sending, fetch_folder, send_folder
from pumpwatch.clock import SystemClock
from pumpwatch.database import Database, ledger_url
from pumpwatch.engine import wiring
from pumpwatch.errors import BadConfig, NotReachable, Refused
from pumpwatch.historian import Historian
from pumpwatch.ledger import ImportProgress, ImportReport, Ledger
from pumpwatch.plugins import Plugins
from pumpwatch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pumpwatch.contracts import Store

TIME_WANTED = "a time with its offset, for example 2026-11-22T08:00:00+08:00"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("import")(import_)
    app.command()(export)


def import_(
    folder: Annotated[
        Path, typer.Argument(help="Folder of tables: stations.csv, transactions.parquet …", metavar="DIR")
    ],
    data: Data = DEFAULT_DATA,
    config: Config = None,
    plugins_dir: PluginsDir = None,
    as_json: AsJson = False,
) -> None:
    """Import a canonical data set; wrong rows are named and put into DATA/rejects; twice changes nothing."""
    report = asyncio.run(import_set(folder, data, config, plugins_dir, quiet=as_json))
    counts = ("table", "added", "changed", "unchanged", "rejected")
    rows = [{c: getattr(table, c) for c in counts} for table in report.tables]
    if as_json:
        show_json({"tables": rows, "others": report.others, "problems": [asdict(p) for p in report.problems]})
    else:
        show(rows, as_json=False, title=f"Imported from {folder}")
        for other in report.others:
            stderr.print(f"{other}: no table of a data set, left alone", style="yellow", markup=False)
        for problem in report.problems:
            stderr.print(str(problem), style="yellow", markup=False, highlight=False)
        for table in report.tables:
            if table.rejects:
                stderr.print(f"the refused rows of {table.file} are in {table.rejects}", markup=False, highlight=False)
    raise typer.Exit(1 if report.problems else 0)


def export(
    folder: Annotated[Path, typer.Argument(help="Folder to write the tables into.", metavar="DIR")],
    table: Annotated[
        list[str] | None, typer.Option("--table", help="A table to export; may be given several times. Default: all.")
    ] = None,
    kind: Annotated[Format, typer.Option("--format", help="How to write tables.")] = Format.PARQUET,
    partitioned: Annotated[
        bool,
        typer.Option(
            "--partitioned", help="What was measured, samples too, as TABLE/station=…/day=…/*.parquet for analysts."
        ),
    ] = False,
    start: Annotated[str | None, typer.Option("--from", help="Only rows from this time on.", metavar="TIME")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Only rows before this time.", metavar="TIME")] = None,
    data: Data = DEFAULT_DATA,
    config: Config = None,
    plugins_dir: PluginsDir = None,
    as_json: AsJson = False,
) -> None:
    """Export the ledger and what was measured as a canonical data set, or in folders by station and day."""
    span = Span(moment(start, "--from"), moment(end, "--to"))
    if partitioned and kind is not Format.PARQUET:
        raise BadConfig("--partitioned: folders hold Parquet; leave --format out")
    tables = tuple(table) if table else (*TABLES, SAMPLES) if partitioned else TABLES
    zone = ZoneInfo(settings_or_none(data, config).server.time_zone) if partitioned else None
    written = asyncio.run(_export(folder, data, config, plugins_dir, tables, kind, span, zone, quiet=as_json))
    show([asdict(one) for one in written], as_json=as_json, title=f"Exported to {folder}")


async def import_set(
    folder: Path, data: Path, config: Path | None = None, plugins_dir: Path | None = None, *, quiet: bool
) -> ImportReport:
    """Import a whole data set into a data folder, itself or through the server that holds it.

    Bad rows go to ``DATA/rejects``.
    """
    if not folder.is_dir():  # noqa: ASYNC240 - before anything runs
        raise BadConfig(f"{folder}: no such folder; it should hold stations.csv, transactions.parquet …")
    rejects = data / "rejects"
    with bar(quiet=quiet) as progress, held(data) as server:
        task = progress.add_task("import", total=None)

        def tell(now: ImportProgress) -> None:
            progress.update(
                task, description=f"{now.table} {now.rows:,}", completed=now.bytes_read, total=now.bytes_total
            )

        def tell_sent(now: Sending) -> None:
            what = "checking" if now.arrived else "sending"
            progress.update(task, description=f"{now.table} {what}", completed=now.sent, total=now.size)

        if server is not None:
            return await send_folder(server, folder, rejects, tell_sent)
        async with kept(data, config, plugins_dir) as (database, historian):
            return await import_folder(database, historian, folder, rejects=rejects, progress=tell)


async def import_ledger(folder: Path, data: Path, *, quiet: bool) -> ImportReport:
    """Import the ledger's tables alone, without opening the history."""
    data.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - before anything runs
    with bar(quiet=quiet) as progress:
        progress.add_task("import", total=None)
        async with Database.open(ledger_url(data)) as database:
            return await Ledger(database).import_folder(folder, rejects=data / "rejects")


async def _export(
    folder: Path,
    data: Path,
    config: Path | None,
    plugins_dir: Path | None,
    tables: tuple[str, ...],
    kind: Format,
    span: Span,
    zone: ZoneInfo | None,
    *,
    quiet: bool,
) -> tuple[ExportedTable, ...]:
    """``zone`` tells whose days the folders are; without one there are no folders."""
    if not data.is_dir():  # noqa: ASYNC240 - before anything runs
        raise BadConfig(f"{data}: no such folder; name the one that holds the data with --data DIR")
    with bar(quiet=quiet) as progress, held(data) as server:
        task = progress.add_task("export", total=None)

        def tell(now: ExportProgress) -> None:
            progress.update(task, description=f"{now.table} {now.rows:,}")

        if server is not None:
            if zone is not None:
                return await fetch_partitioned(server, folder, tables=tables, span=span, zone=zone, progress=tell)
            return await fetch_folder(server, folder, kind=kind, tables=tables, span=span, progress=tell)
        async with kept(data, config, plugins_dir) as (database, historian):
            ledger = Ledger(database)
            if zone is not None:
                return await export_partitioned(
                    ledger, historian, folder, tables=tables, span=span, zone=zone, progress=tell
                )
            return await export_folder(ledger, historian, folder, kind=kind, tables=tables, span=span, progress=tell)


@contextmanager
def held(data: Path) -> Iterator[str | None]:
    """Hold a data folder against everybody else, or say where the server is that does.

    Raises ``Refused`` when the folder is held by somebody who cannot be asked.
    """
    with ExitStack() as stack:
        server = None
        try:
            stack.enter_context(hold(data))
        except Refused as held:
            try:
                server = server_url(data, None, holder(data))
            except (NotReachable, Refused):
                raise held from None
        yield server


@asynccontextmanager
async def kept(data: Path, config: Path | None, plugins_dir: Path | None) -> AsyncIterator[tuple[Database, Historian]]:
    """Ledger and history of a data folder that is held."""
    store = store_for(data, config, plugins_dir)
    async with (
        Database.open(ledger_url(data)) as database,
        Historian.open(data / "history", store, SystemClock()) as historian,
    ):
        yield database, historian


def store_for(data: Path, config: Path | None, plugins_dir: Path | None) -> Store:
    """The store that the configuration names; without a configuration the one that comes with pumpwatch.

    Raises ``BadSettings``, for a secret in plain text too.
    """
    settings = settings_or_none(data, config)
    return wiring.store_for(settings, Plugins.discover(settings.plugins.disabled, plugins_dir), data)


def settings_or_none(data: Path, config: Path | None) -> Settings:
    """The configuration asked for or found; without any, what holds when nothing is written."""
    here = config is not None or (data / DEFAULT_CONFIG).is_file() or DEFAULT_CONFIG.is_file()
    return settings_for(data, config) if here else Settings()


def moment(text: str | None, option: str) -> datetime | None:
    """A time that an option gives. Raises ``BadConfig`` naming the option."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadConfig(f"{option}: {text!r} is no time; write {TIME_WANTED}") from error
    if at.tzinfo is None:
        raise BadConfig(f"{option}: {text!r} has no offset; write {TIME_WANTED}")
    return at


def bar(*, quiet: bool) -> Progress:
    """How far something is, for people; nothing when quiet."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=stderr, disable=quiet, transient=True)
