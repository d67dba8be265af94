"""Makes the canonical data set of a fleet: stations in several processes, the files the same however many there are."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa

from pumpwatch.errors import BadConfig, PumpwatchError
from pumpwatch.model import to_us
from pumpwatch_sim.dataset.files import CsvFile, Format, ParquetFile, csv_rows
from pumpwatch_sim.dataset.offices import Books
from pumpwatch_sim.dataset.papers import write_json
from pumpwatch_sim.dataset.tables import SCHEMAS, Tables, ledger_tables, paper_tables, record_tables
from pumpwatch_sim.dataset.truth import truth_of
from pumpwatch_sim.fleet import Fleet, load_fleet
from pumpwatch_sim.staging import Staging, stage
from pumpwatch_sim.world.collecting import collect
from pumpwatch_sim.world.work import Records, choose

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Timeline
    from pumpwatch_sim.world.work import Columns

Progress: TypeAlias = Callable[[int, int], object]
"""Told how many stations are done, and of how many."""

_STREAMED = ("transactions", "tank_readings")
"""Tables too large to hold: they go through a file of their own for each station."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A finished station: its small tables, and the rows of the large ones that wait in the scratch folder."""

    station_id: str
    tables: dict[str, bytes]
    rows: dict[str, int]


def generate(
    fleet: Path,
    out: Path,
    format: Format | str = Format.PARQUET,  # noqa: A002 - the option's name
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write the data set of a fleet file into ``out``, with ``truth.json`` beside it; returns the rows of each table.

    ``out`` must be new or empty, and holds nothing until everything is made. The bytes depend on the fleet file alone.
    Raises ``BadConfig``.
    """
    out = out.absolute()
    plan = load_fleet(fleet)
    if not isinstance(plan.start, datetime):
        raise BadConfig(
            f'{fleet}: start = "{plan.start}" is for serving live; files need a time, for example '
            "2026-06-01T00:00:00+08:00"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadConfig(f"{out} holds other things; choose a new or an empty folder")
    if workers < 1:
        raise BadConfig(f"{workers} workers make nothing; one or more do")
    staging = stage(plan, plan.start)
    with _unfinished(out) as folder, tempfile.TemporaryDirectory(prefix=".making.", dir=folder) as scratch:
        rows = _write(staging, plan, folder, Path(scratch), Format(format), workers, progress or (lambda *_: None))
        write_json(folder / "truth.json", truth_of(staging))
    return rows


@contextmanager
def _unfinished(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that becomes it at the end, or vanishes."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise BadConfig(f"{out}: {error.strerror}; choose a folder one may write to") from error
    try:
        yield folder
        folder.chmod(0o755)
        folder.replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(
    staging: Staging, plan: Fleet, folder: Path, scratch: Path, form: Format, workers: int, progress: Progress
) -> dict[str, int]:
    names = [station.station_id for station in staging.county.stations]
    held: dict[str, list[pa.Table]] = {name: [] for name in SCHEMAS if name not in _STREAMED}
    with ExitStack() as stack:
        files = {
            name: ParquetFile(folder, name) if form is Format.PARQUET else CsvFile(folder, name) for name in SCHEMAS
        }
        for file in files.values():
            stack.callback(file.close)
        progress(0, len(names))
        # Closed here, so that no worker is at work any more when the scratch folder goes.
        stations = stack.enter_context(closing(_stations(plan.model_dump_json(), names, scratch, form, workers)))
        for done, made in enumerate(stations, 1):
            for name, encoded in made.tables.items():
                held[name].append(pa.ipc.open_stream(encoded).read_all())
            for name, rows in made.rows.items():
                waiting = _waiting(scratch, made.station_id, name)
                file = files[name]
                if isinstance(file, CsvFile):
                    file.append(waiting, rows)
                else:
                    with pa.memory_map(str(waiting)) as source:
                        file.write(pa.ipc.open_stream(source).read_all())
                waiting.unlink()
            progress(done, len(names))
        for name, tables in held.items():
            files[name].write(pa.concat_tables(tables))
        return {name: file.rows for name, file in files.items()}


# ---------------------------------------------------------------- the processes


def _stations(plan: str, names: Sequence[str], scratch: Path, form: Format, workers: int) -> Generator[_Made]:
    """Every station in order, made here or, with more than one worker, by processes."""
    if workers == 1 or len(names) == 1:
        for name in names:
            yield _make(plan, name, scratch, form)
        return
    pool = ProcessPoolExecutor(min(workers, len(names)), get_context("spawn"), _begin_worker)
    try:
        count = len(names)
        yield from pool.map(_make, [plan] * count, names, [scratch] * count, [form] * count)
    except BrokenProcessPool as error:
        raise PumpwatchError(
            "a worker process has died, perhaps for want of memory; try again with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Ctrl-C is the parent's to handle; a worker whose parent has died ends at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


@lru_cache(maxsize=1)
def _staged(plan: str) -> Staging:
    """The staging, made once a process: cheaper to make anew than to send."""
    fleet = Fleet.model_validate_json(plan)
    if not isinstance(fleet.start, datetime):
        raise BadConfig("files need a time to start at")
    return stage(fleet, fleet.start)


def _make(plan: str, station_id: str, scratch: Path, form: Format) -> _Made:
    """Make one station: the large tables into the scratch folder, the small ones into memory."""
    staging = _staged(plan)
    station = staging.station(station_id)
    books = Books(station, staging.fleet.seed, staging.start_us, staging.end_us)
    held: dict[str, list[pa.Table]] = {}
    rows = dict.fromkeys(_STREAMED, 0)
    with ExitStack() as stack:
        large = {
            name: stack.enter_context(_large(_waiting(scratch, station_id, name), name, form)) for name in _STREAMED
        }
        for timeline in _stretches(staging, station_id):
            books.add(timeline)
            records = collect(timeline, staging.fleet.stations, staging.fleet.seed, staging.of(station_id))
            tables = record_tables(station, _clipped(records, staging.start_us, staging.end_us))
            for name, table in tables.items():
                if name in large:
                    large[name](table)
                    rows[name] += table.num_rows
                else:
                    held.setdefault(name, []).append(table)
    for name, table in _office_tables(staging, station, books).items():
        held.setdefault(name, []).append(table)
    return _Made(station_id, {name: _encoded(pa.concat_tables(tables)) for name, tables in held.items()}, rows)


def station_tables(staging: Staging, station_id: str) -> Tables:
    """All tables of one station, as the files have them."""
    station = staging.station(station_id)
    books = Books(station, staging.fleet.seed, staging.start_us, staging.end_us)
    parts: list[Tables] = []
    for timeline in _stretches(staging, station_id):
        books.add(timeline)
        records = collect(timeline, staging.fleet.stations, staging.fleet.seed, staging.of(station_id))
        parts.append(record_tables(station, _clipped(records, staging.start_us, staging.end_us)))
    told = {name: pa.concat_tables([part[name] for part in parts]) for name in parts[0]}
    return told | _office_tables(staging, station, books)


def _office_tables(staging: Staging, station: StationPlan, books: Books) -> Tables:
    papers = books.papers()
    for scenario in staging.of(station.station_id):
        scenario.papers(papers)
    return ledger_tables(station, papers.ledger) | paper_tables(papers)


def _stretches(staging: Staging, station_id: str) -> Iterator[Timeline]:
    """Those that touch the period."""
    for timeline in staging.timelines(station_id):
        if timeline.start_us >= staging.end_us:
            return
        yield timeline


def _clipped(records: Records, start_us: int, end_us: int) -> Records:
    """What belongs to the period: fillings by their end, all else by its time."""

    def within(columns: Columns, key: str) -> Columns:
        at_us = columns[key].astype(np.int64)
        return choose(columns, (at_us >= start_us) & (at_us < end_us))

    return replace(
        records,
        transactions=within(records.transactions, "end"),
        tank_readings=within(records.tank_readings, "time"),
        deliveries=within(records.deliveries, "time"),
        events=[event for event in records.events if start_us <= to_us(event.at) < end_us],
    )


# ---------------------------------------------------------------- what waits between the processes


def _waiting(scratch: Path, station_id: str, table: str) -> Path:
    return scratch / f"{station_id}.{table}"


@contextmanager
def _large(file: Path, table: str, form: Format) -> Iterator[Callable[[pa.Table], object]]:
    """Writes a large table piece by piece as the final file wants it: encoded lines, or Arrow's own form."""
    if form is Format.CSV:
        with file.open("wb") as lines:
            yield lambda piece: lines.write(csv_rows(piece))
    else:
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, SCHEMAS[table]) as stream:
            yield stream.write_table


def _encoded(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())
