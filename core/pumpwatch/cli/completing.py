"""``pumpwatch completeness``: what came in against what was to come, by station and day."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from pumpwatch.cli.keeping import bar, held, kept, settings_or_none
from pumpwatch.cli.output import DEFAULT_DATA, AsJson, Config, Data, PluginsDir, show, show_json
from pumpwatch.cli.sending import fetch_rows
from pumpwatch.clock import SystemClock
from pumpwatch.engine import Pace, Queries, wire
from pumpwatch.errors import BadConfig
from pumpwatch.ledger import Ledger
from pumpwatch.plugins import Plugins

_DAYS = 7


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(completeness)


def completeness(
    start: Annotated[str | None, typer.Option("--from", help="First day. Default: a week ago.", metavar="DAY")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Only days before this. Default: all.", metavar="DAY")] = None,
    station: Annotated[
        list[str] | None, typer.Option("--station", help="A station; may be given several times. Default: all.")
    ] = None,
    data: Data = DEFAULT_DATA,
    config: Config = None,
    plugins_dir: PluginsDir = None,
    as_json: AsJson = False,
) -> None:
    """How complete the data of each station and day is: tags, fillings, tank readings, and missing numbers."""
    span = _day(start, "--from"), _day(end, "--to")
    rows = asyncio.run(_rows(span, tuple(station or ()), data, config, plugins_dir, quiet=as_json))
    if as_json:
        show_json(rows)
        return
    show(
        [
            {
                "station": row["station_id"],
                "day": row["day"],
                **{what: _share(row, what) for what in ("tags", "fillings", "readings")},
                "numbers missing": row["numbers_missing"],
            }
            for row in rows
        ],
        as_json=False,
        title="Completeness",
    )


async def _rows(
    span: tuple[date | None, date | None],
    stations: tuple[str, ...],
    data: Path,
    config: Path | None,
    plugins_dir: Path | None,
    *,
    quiet: bool,
) -> list[dict[str, Any]]:
    if not data.is_dir():  # noqa: ASYNC240 - before anything runs
        raise BadConfig(f"{data}: no such folder; name the one that holds the data with --data DIR")
    rows: list[dict[str, Any]] = []
    with bar(quiet=quiet) as progress, held(data) as server:
        task = progress.add_task("counting", total=None)
        if server is not None:
            asked = {"station": list(stations)}
            asked |= {name: [day.isoformat()] for name, day in zip(("from", "to"), span, strict=True) if day}
            async for some in fetch_rows(server, "/completeness", asked):
                rows += some
                progress.update(task, description=f"{len(rows):,} days of stations")
            return rows
        settings = settings_or_none(data, config)
        async with kept(data, config, plugins_dir) as (database, historian):
            register = await Ledger(database).load()
            devices = wire(settings, Plugins.discover(settings.plugins.disabled, plugins_dir), data).devices
            pace = Pace.of(devices, settings.acquisition)
            zone = ZoneInfo(settings.server.time_zone)
            queries = Queries(historian, lambda: register, {}, lambda: pace, zone, SystemClock())
            until = span[1] or queries.today() + timedelta(days=1)
            first = span[0] or until - timedelta(days=_DAYS)
            after: str | None = None
            while True:
                page = await queries.completeness(stations, first=first, end=until, after=after, limit=100)
                rows += [row | {"day": row["day"].isoformat()} for row in page.table.to_pylist()]
                progress.update(task, description=f"{len(rows):,} days of stations")
                after = page.after
                if after is None:
                    return rows


def _share(row: dict[str, Any], what: str) -> str:
    expected, received, percent = (row[f"{what}_{each}"] for each in ("expected", "received", "percent"))
    return "—" if percent is None else f"{percent:.2f} % ({received:,} of {expected:,})"


def _day(text: str | None, option: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BadConfig(f"{option}: {text!r} is no day; write one like 2026-11-22") from error
