"""Suite ``store``: the historian on its embedded store, and the same work on plain DuckDB and SQLite."""

from __future__ import annotations

import asyncio
import importlib
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from pumpwatch.cli.benching import store_peers
from pumpwatch.clock import SystemClock
from pumpwatch.historian import Historian
from pumpwatch.historian.embedded import EmbeddedStore
from pumpwatch.historian.reserve import RESERVE
from pumpwatch.hub import Hub
from pumpwatch.model import Batch, SampleBatch, from_us, to_us
from pumpwatch.plugins import Plugins

DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)
TAGS: Final = 50
"""Of each station."""
STATIONS: Final = 100
SAMPLES: Final = 2_000
"""Of each tag in a day: one each 43.2 s."""
STEP_US: Final = 86_400_000_000 // SAMPLES
_YEAR_TAGS: Final = 10
_YEAR_STEP_US: Final = 60_000_000
_TURNS: Final = 5
"""Of each, in alternation, where the best of each are compared."""
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)


def measure() -> tuple[dict[str, float], dict[str, float | str]]:
    """Figures per CPU-second of this process and milliseconds by the clock, the best of several."""
    with tempfile.TemporaryDirectory() as scratch:
        figures = asyncio.run(_ours(Path(scratch)))
    return figures | _encoding(), store_peers.measure(
        lambda instants: map(_plain, day_of_batches(instants)),
        map(_plain, day_of_batches(20, 100)),
        lambda: map(_plain, _year_of_batches()),
        to_us(DAY),
    )


def _plain(batch: Batch) -> store_peers.Columns:
    """With numbers for the paths, as a table of a peer has them."""
    samples = batch.samples
    first = int(batch.station[1:]) * TAGS
    tags = np.resize(np.arange(first, first + len(set(samples.paths)), dtype=np.int32), len(samples))
    return tags, samples.at_us, samples.values, samples.qualities


def day_of_batches(instants: int, samples: int = SAMPLES) -> Iterator[Batch]:
    """A day of all stations, in the order of time: a batch is so many instants of one station's tags."""
    random = np.random.default_rng(1)
    names = [_paths(station) for station in range(STATIONS)]
    good = np.zeros(TAGS * instants, np.uint8)
    for first in range(0, samples, instants):
        at_us = to_us(DAY) + np.repeat(np.arange(first, first + instants) * STEP_US, TAGS)
        for station, paths in enumerate(names):
            yield _batch(f"S{station:03}", paths * instants, at_us, values(random, len(good), first), good)


def values(random: np.random.Generator, n: int, phase: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Numbers with two decimals, as a dispenser gives them."""
    return np.asarray(np.round(50 + 10 * np.sin(phase / 300) + random.standard_normal(n), 2), np.float64)


def best_ms(ask: Callable[[], object], times: int = 25) -> float:
    """The best of several tries in milliseconds."""
    took: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append(time.perf_counter() - began)
    return 1e3 * min(took)


async def _ours(folder: Path) -> dict[str, float]:
    figures = await _ingest_1k(folder / "durable")
    store = EmbeddedStore(EmbeddedStore.Settings(), folder / "day" / "embedded")
    async with Historian.open(folder / "day", store, SystemClock(), commit_rows=10_000) as historian:
        running = asyncio.create_task(historian.run())
        batches = day_of_batches(200)
        spent = 0.0
        while some := [b for _, b in zip(range(100), batches, strict=False)]:
            spent += await _cpu(lambda: _keep(historian, some))
        spent += await _cpu(historian.flush)
        figures["ingest_10k_per_cpu_s"] = STATIONS * TAGS * SAMPLES / spent
        next_day = _batch(
            "S000", _paths(0), np.full(TAGS, to_us(DAY + timedelta(days=1))), np.ones(TAGS), np.zeros(TAGS, np.uint8)
        )
        await historian.keep(next_day)
        figures["store_settle_cpu_s"] = await _cpu(lambda: _settle(historian, store))
        figures["bytes_per_sample"] = _size(store.folder) / (STATIONS * TAGS * SAMPLES)
        figures["latest_5000_ms"] = await _latest_ms(historian)
        figures |= await _questions(historian, store)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    began = time.perf_counter()
    again = EmbeddedStore(EmbeddedStore.Settings(), store.folder)
    async with Historian.open(folder / "day", again, SystemClock()) as historian:
        await historian.latest()
        figures["store_start_s"] = time.perf_counter() - began
    figures["reader_cost"] = await _reader_cost(folder)
    figures["year_chart_ms"] = await _year_chart_ms(folder / "year")
    return figures


async def _ingest_1k(folder: Path, samples: int = 200) -> dict[str, float]:
    """Batches of 1,000 samples, each on disk before it counts and before the next is taken."""
    store = EmbeddedStore(EmbeddedStore.Settings(), folder / "embedded")
    async with Historian.open(folder, store, SystemClock(), commit_rows=1_000) as historian:
        batches = list(day_of_batches(20, samples))

        async def ingest() -> None:
            for batch in batches:
                await historian.keep(batch)
                await historian.journaled()
            await historian.flush()

        return {"ingest_1k_durable_per_cpu_s": sum(len(b.samples) for b in batches) / await _cpu(ingest)}


async def _questions(historian: Historian, store: EmbeddedStore) -> dict[str, float]:
    path = _paths(37)[0]
    end = DAY + timedelta(days=1)
    return {
        "tag_day_means_ms": await _best_ms(lambda: historian.summaries(path, DAY, end, _MINUTE)),
        "station_day_arrow_ms": await _best_ms(lambda: store.table(station_id="S037", start=DAY, end=end)),
        "store_station_day_samples_ms": await _best_ms(
            lambda: historian.samples(station_id="S037", start=DAY, end=end)
        ),
    }


async def _latest_ms(historian: Historian) -> float:
    """The last values of all tags, from where the server has them."""
    hub = Hub()
    hub.remember(await historian.latest())
    paths = [p for station in range(STATIONS) for p in _paths(station)]
    return best_ms(lambda: [hub.latest[p] for p in paths])


async def _reader_cost(folder: Path) -> float:
    """By how much a reader of a tag's last 1,000 samples, who pauses 20 ms, slows the writer down."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(2 * _TURNS):
        is_read = bool(turn % 2)
        here = folder / f"reader-{turn}"
        store = EmbeddedStore(EmbeddedStore.Settings(), here / "embedded")
        async with Historian.open(here, store, SystemClock(), commit_rows=10_000) as historian:
            running = asyncio.create_task(historian.run())
            reading = asyncio.create_task(_read(historian)) if is_read else None
            batches = list(day_of_batches(200, 400))
            began = time.perf_counter()
            await _keep(historian, batches)
            await historian.flush()
            rates[is_read].append(sum(len(b.samples) for b in batches) / (time.perf_counter() - began))
            for task in (reading, running):
                if task is not None:
                    task.cancel()
            await asyncio.gather(*(t for t in (reading, running) if t), return_exceptions=True)
    return 1 - max(rates[True]) / max(rates[False])


async def _read(historian: Historian) -> None:
    while True:
        await historian.series(_paths(37)[0], DAY, DAY + timedelta(days=1), 1_000)
        await asyncio.sleep(0.02)


async def _year_chart_ms(folder: Path) -> float:
    """A year of one tag by six hours, where ten have a sample a minute."""
    store = EmbeddedStore(EmbeddedStore.Settings(), folder)
    await store.open()
    for batch in _year_of_batches():
        await store.write([batch])
        await store.tidied()
    end = DAY + timedelta(days=365)
    took = await _best_ms(lambda: store.summaries(_paths(0)[3], DAY, end, 6 * _HOUR))
    await store.close()
    return took


def _year_of_batches() -> Iterator[Batch]:
    random = np.random.default_rng(2)
    paths = _paths(0)[:_YEAR_TAGS]
    n = 86_400_000_000 // _YEAR_STEP_US
    for day in range(366):
        at_us = to_us(DAY + timedelta(days=day)) + np.repeat(np.arange(n) * _YEAR_STEP_US, _YEAR_TAGS)
        yield _batch("S000", paths * n, at_us, values(random, len(at_us), day), np.zeros(len(at_us), np.uint8))


def _encoding() -> dict[str, float]:
    """Line protocol by the store of the plugin against the client's own points; nothing where it is not installed."""
    kind = Plugins.discover().stores.get("influxdb")
    encoded = getattr(kind, "encoded", None)
    if kind is None or encoded is None:
        return {}
    try:
        client: Any = importlib.import_module("influxdb_client")
    except ImportError:
        return {}
    batches = [b for _, b in zip(range(100), day_of_batches(20), strict=False)]
    total = sum(len(b.samples) for b in batches)
    few = batches[:20]

    def with_points() -> None:
        for batch in few:
            samples = batch.samples
            for path, at, value, quality in zip(
                samples.paths, samples.at_us.tolist(), samples.values.tolist(), samples.qualities.tolist(), strict=True
            ):
                station, device, tag = path.split("/", 2)
                point = client.Point("samples").tag("station", station).tag("device", device)
                point.field(tag, value).field(f"{tag}:quality", quality).time(
                    at, client.WritePrecision.US
                ).to_line_protocol()

    ours = theirs = 0.0
    for _ in range(_TURNS):
        ours = max(ours, total / _cpu_of(lambda: encoded(object.__new__(kind), batches)))
        theirs = max(theirs, sum(len(b.samples) for b in few) / _cpu_of(with_points))
    return {"influx_encode_vs_point": ours / theirs, "influx_encode_per_cpu_s": ours}


async def _keep(historian: Historian, batches: list[Batch]) -> None:
    for batch in batches:
        await historian.keep(batch)
    await historian.journaled()


async def _settle(historian: Historian, store: EmbeddedStore) -> None:
    await historian.flush()
    await store.tidied()


def _cpu_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


async def _cpu(work: Callable[[], Awaitable[object]]) -> float:
    began = time.process_time()
    await work()
    return time.process_time() - began


async def _best_ms(ask: Callable[[], Awaitable[object]], times: int = 25) -> float:
    took: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        took.append(time.perf_counter() - began)
    return 1e3 * min(took)


def _paths(station: int) -> tuple[str, ...]:
    return tuple(f"S{station:03}/D{1 + tag // 10}/nozzle-{1 + tag % 10}.volume" for tag in range(TAGS))


def _batch(station: str, paths: tuple[str, ...], at_us: Any, numbers: Any, qualities: Any) -> Batch:  # noqa: ANN401
    return Batch(station, SampleBatch(station, paths, at_us, numbers, (), qualities), (), from_us(at_us[-1]))


def _size(folder: Path) -> int:
    """Bytes of what is stored; the room that is held back is no part of it."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and f.name != RESERVE)
