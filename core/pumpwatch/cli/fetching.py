"""Exports by station and day through the server that holds the data: it gives tables, folders are made here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from pumpwatch.canonical import (
    PARTITIONED,
    SAMPLES,
    SAMPLES_SCHEMA,
    ExportedTable,
    ExportProgress,
    Format,
    Span,
    check_tables,
    write_partitioned,
)
from pumpwatch.cli.sending import fetch_file, fetch_folder, fetch_rows, see, served
from pumpwatch.errors import NotReachable
from pumpwatch.ledger import Register
from pumpwatch.model import Dispenser, Nozzle, Station, Tank

if TYPE_CHECKING:
    from datetime import tzinfo

_REGISTER: Final = ("stations", "dispensers", "tanks", "nozzles")
_GROUP_ROWS: Final = 100_000
_FIRST, _LAST = "1970-01-01T00:00:00Z", "2200-01-01T00:00:00Z"
"""All samples: devices' clocks may be ahead."""


async def fetch_partitioned(
    url: str,
    folder: Path,
    *,
    tables: tuple[str, ...],
    span: Span,
    zone: tzinfo,
    progress: Callable[[ExportProgress], None],
) -> tuple[ExportedTable, ...]:
    """As ``canonical.export_partitioned``, through the server at ``url``."""
    check_tables(tables)
    plain = tuple(name for name in tables if name not in PARTITIONED)
    exported = list(await fetch_folder(url, folder, kind=Format.PARQUET, tables=plain, span=span, progress=progress))
    with TemporaryDirectory(dir=folder, prefix=".fetched.") as waiting:
        scratch = Path(waiting)
        await fetch_folder(url, scratch, kind=Format.PARQUET, tables=_REGISTER, span=Span(), progress=lambda _: None)
        register = _register(scratch)
        async with served(url) as server:
            for name in (each for each in PARTITIONED if each in tables):
                pages = (
                    _samples(server, await _stations(url, register), span)
                    if name == SAMPLES
                    else _table(server, name, span, scratch)
                )
                rows = await write_partitioned(folder, name, pages, register, zone, progress)
                exported.append(ExportedTable(name, f"{name}/", rows))
    return tuple(exported)


def _register(folder: Path) -> Register:
    """What stands where."""
    rows = {name: pq.read_table(folder / f"{name}.parquet").to_pylist() for name in _REGISTER}

    def made(name: str, *columns: str) -> Iterable[tuple[Any, ...]]:
        return (tuple(row[column] for column in columns) for row in rows[name])

    return Register(
        tuple(Station(*each) for each in made("stations", "station_id", "name")),
        tuple(Dispenser(*each) for each in made("dispensers", "dispenser_id", "station_id")),
        tuple(Tank(*each) for each in made("tanks", "tank_id", "station_id", "grade", "capacity_l")),
        tuple(Nozzle(*each) for each in made("nozzles", "nozzle_id", "dispenser_id", "tank_id", "grade")),
    )


def _asked(span: Span, *names: str) -> dict[str, str]:
    bounds = zip(names, (span.start, span.end), strict=True)
    return {name: at.isoformat() for name, at in bounds if at is not None}


async def _stations(url: str, register: Register) -> list[str]:
    """Stations of which there may be samples: those of the ledger and those whose devices were ever heard of."""
    found = {station.station_id for station in register.stations}
    async for rows in fetch_rows(url, "/latest", {}):
        found.update(str(row["path"]).partition("/")[0] for row in rows)
    return sorted(found)


async def _table(server: httpx.AsyncClient, name: str, span: Span, scratch: Path) -> AsyncIterator[pa.Table]:
    path = scratch / f"{name}.parquet"
    await fetch_file(server, f"/export/{name}", {"format": "parquet"} | _asked(span, "from", "to"), path)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_GROUP_ROWS):
            yield pa.Table.from_batches([batch])
    path.unlink()


async def _samples(server: httpx.AsyncClient, stations: list[str], span: Span) -> AsyncIterator[pa.Table]:
    asked = {"format": "arrow", "limit": str(_GROUP_ROWS), "start": _FIRST, "end": _LAST}
    for station in stations:
        after: dict[str, str] = {}
        while True:
            answer = await server.get(
                "/samples", params=asked | _asked(span, "start", "end") | {"station": station} | after
            )
            see(answer)
            try:
                table = pa.ipc.open_stream(answer.content).read_all()
            except pa.ArrowInvalid as error:
                raise NotReachable(f"what answers at {server.base_url} is no pumpwatch of today ({error!r})") from error
            yield table.replace_schema_metadata(None).cast(SAMPLES_SCHEMA)
            if "pumpwatch-after" not in answer.headers:
                break
            after = {"after": answer.headers["pumpwatch-after"]}
