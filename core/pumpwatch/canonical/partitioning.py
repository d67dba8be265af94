"""Exports in folders by station and day, for analysts: ``TABLE/station=S01/day=2026-03-01/part-0.parquet``.

Pandas, DuckDB, Spark, Dask and pyarrow.dataset read station and day from the folders' names. Days are those of the
stations' own time zone; all times in the files are UTC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pumpwatch.canonical.exporting import (
    ExportedTable,
    ExportProgress,
    Format,
    Span,
    arrow_schema,
    arrow_table,
    export_folder,
    table_rows,
)
from pumpwatch.canonical.measured import MEASURED_TABLES, TABLES
from pumpwatch.errors import BadConfig
from pumpwatch.ledger import Ledger, Register
from pumpwatch.ledger.threads import in_thread
from pumpwatch.model import SampleBatch, from_us

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

    from pumpwatch.historian import Historian

SAMPLES: Final = "samples"
"""The values of tags: no table of the data set, and too many for one file."""
PARTITIONED: Final = (*(table.name for table in MEASURED_TABLES), SAMPLES)
_ROWS_HELD: Final = 2_000_000
_SAMPLES_AT_ONCE: Final = 100_000
_TIME: Final = pa.timestamp("us", "UTC")
SAMPLES_SCHEMA: Final = pa.schema(
    [("path", pa.string()), ("at", _TIME), ("value", pa.float64()), ("text", pa.string()), ("quality", pa.uint8())]
)


def time_column(table: str) -> str:
    """The column that says on which day a row belongs."""
    if table == SAMPLES:
        return "at"
    measured = next(each for each in MEASURED_TABLES if each.name == table)
    return next(c.name for c in measured.columns if c.field == measured.shape.time)


class Partitions:
    """One table's folders. Rows may come in any order; each file is sorted by time and written once."""

    def __init__(self, folder: Path, name: str, zone: tzinfo) -> None:
        """Raises ``BadConfig`` when an export is there already."""
        self.folder = folder / name
        if self.folder.exists() and any(self.folder.iterdir()):
            raise BadConfig(f"{self.folder} holds an export already; choose another folder, or remove that one")
        self.rows = 0
        self._time = time_column(name)
        self._zone = str(zone)
        self._held: dict[str, list[pa.Table]] = {}
        self._held_rows = 0
        self._parts: Counter[Path] = Counter()

    def add(self, rows: pa.Table, stations: Sequence[str]) -> None:
        """Take rows, each with its station; what is ready goes to disk when too much is held."""
        marked = rows.append_column("\0station", pa.array(stations, pa.string()))
        for station in dict.fromkeys(stations):
            mine = marked.filter(pc.equal(marked["\0station"], station)).drop_columns(["\0station"])
            self._held.setdefault(station, []).append(mine)
        self._held_rows += len(rows)
        self.rows += len(rows)
        while self._held_rows > _ROWS_HELD:
            self._write(next(iter(self._held)))

    def close(self) -> None:
        """Write what is left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for station in list(self._held):
            self._write(station)

    def _write(self, station: str) -> None:
        tables = self._held.pop(station)
        rows = pa.concat_tables(tables)
        self._held_rows -= len(rows)
        rows = rows.sort_by(self._time)
        local = pc.local_timestamp(rows[self._time].cast(pa.timestamp("us", self._zone)))
        days = local.cast(pa.date32(), safe=False).combine_chunks()
        for day, start, count in _runs(days):
            # names as pyarrow's hive partitioning wants them: percent-encoded
            folder = self.folder / f"station={quote(station, safe='')}" / f"day={day}"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"part-{self._parts[folder]}.parquet"
            self._parts[folder] += 1
            half = path.with_name(f".{path.name}.half")
            try:
                pq.write_table(rows.slice(start, count), half, compression="zstd")
                half.replace(path)
            finally:
                half.unlink(missing_ok=True)


def _runs(days: pa.Array) -> Iterator[tuple[str, int, int]]:
    """Each day of rows that are in order, with its first row and how many there are."""
    ended = pc.run_end_encode(days)
    start = 0
    for day, end in zip(ended.values.to_pylist(), ended.run_ends.to_pylist(), strict=True):
        yield day.isoformat(), start, end - start
        start = end


def stations_of(register: Register, table: str, rows: pa.Table) -> list[str]:
    """The station of each row: its own word, or where its nozzle or tank stands."""
    if table == SAMPLES:
        return [path.partition("/")[0] for path in rows["path"].to_pylist()]
    key = next(each.refers for each in MEASURED_TABLES if each.name == table)
    if key == "station_id":
        named: list[str] = rows[key].to_pylist()
        return named
    known: dict[str, str] = {}
    for subject in rows[key].unique().to_pylist():
        station = register.station_of(subject)
        known[subject] = station.station_id if station else subject.rpartition("-")[0] or subject
    return [known[subject] for subject in rows[key].to_pylist()]


async def export_partitioned(
    ledger: Ledger,
    historian: Historian,
    folder: Path,
    *,
    tables: Sequence[str],
    span: Span,
    zone: tzinfo,
    progress: Callable[[ExportProgress], None] | None = None,
) -> tuple[ExportedTable, ...]:
    """Write what was measured, samples among it, by station and day, and the ledger's tables as one file each.

    Raises ``BadConfig`` for an unknown table or a folder that cannot be written, or holds an export.
    """
    check_tables(tables)
    register = await ledger.load()
    plain = [name for name in tables if name not in PARTITIONED]
    exported = list(
        await export_folder(ledger, historian, folder, kind=Format.PARQUET, tables=plain, span=span, progress=progress)
    )
    for name in (each for each in PARTITIONED if each in tables):
        pages = sample_pages(historian, span) if name == SAMPLES else _pages(ledger, historian, name, span)
        rows = await write_partitioned(folder, name, pages, register, zone, progress)
        exported.append(ExportedTable(name, f"{name}/", rows))
    return tuple(exported)


def check_tables(tables: Sequence[str]) -> None:
    """Raises ``BadConfig`` for an unknown one."""
    if unknown := [name for name in tables if name not in (*TABLES, SAMPLES)]:
        raise BadConfig(f"there is no table {unknown[0]}; there are {', '.join((*TABLES, SAMPLES))}")


async def write_partitioned(
    folder: Path,
    name: str,
    pages: AsyncIterator[pa.Table],
    register: Register,
    zone: tzinfo,
    progress: Callable[[ExportProgress], None] | None,
) -> int:
    """Write one table; how many rows it had."""
    partitions = Partitions(folder, name, zone)
    try:
        async for page in pages:
            if len(page):
                await in_thread(partitions.add, page, stations_of(register, name, page))
            if progress is not None:
                progress(ExportProgress(name, partitions.rows))
        await in_thread(partitions.close)
    except OSError as error:
        raise BadConfig(f"cannot export to {folder}: {error.strerror} ({error.filename or folder})") from error
    return partitions.rows


async def _pages(ledger: Ledger, historian: Historian, name: str, span: Span) -> AsyncIterator[pa.Table]:
    stream = await table_rows(ledger, historian, name, span)
    schema = arrow_schema(stream)
    async for rows in stream.pages:
        if rows:
            yield await in_thread(arrow_table, rows, schema)


async def sample_pages(historian: Historian, span: Span) -> AsyncIterator[pa.Table]:
    """All samples of all tags."""
    after: tuple[str, datetime] | None = None
    while True:
        page = await historian.samples(
            start=from_us(max(0, span.start_us)), end=from_us(span.end_us), after=after, limit=_SAMPLES_AT_ONCE
        )
        yield samples_table(page)
        if len(page) < _SAMPLES_AT_ONCE:
            return
        after = page.paths[-1], from_us(page.at_us[-1])


def samples_table(page: SampleBatch) -> pa.Table:
    """Samples as columns."""
    columns: Mapping[str, Any] = {
        "path": pa.array(page.paths, pa.string()),
        "at": pa.array(page.at_us).cast(_TIME),
        "value": pa.array(page.values, from_pandas=True),
        "text": pa.array(page.texts or [None] * len(page), pa.string()),
        "quality": pa.array(page.qualities),
    }
    return pa.table(columns, schema=SAMPLES_SCHEMA)
