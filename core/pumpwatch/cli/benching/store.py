"""Suite ``store``: durable ingest through journal and store in batches of 1,000 samples, and the space they take."""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from pumpwatch.clock import SystemClock
from pumpwatch.historian import Historian
from pumpwatch.historian.embedded import EmbeddedStore
from pumpwatch.model import Batch, SampleBatch, to_us


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """Samples per second and per CPU-second, and bytes each."""
    with tempfile.TemporaryDirectory() as scratch:
        return asyncio.run(_ingest(Path(scratch))), {}


async def _ingest(folder: Path, batches: int = 300, tags: int = 1_000) -> dict[str, float]:
    store = EmbeddedStore(EmbeddedStore.Settings(), folder / "embedded")
    paths = tuple(f"S{i // 50:02}/D{i // 10 % 5 + 1}/nozzle-{i % 10}.volume" for i in range(tags))
    random = np.random.default_rng(1)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    good = np.zeros(tags, np.uint8)
    began, cpu = time.monotonic(), time.process_time()
    async with Historian.open(folder, store, SystemClock()) as historian:
        running = asyncio.create_task(historian.run())
        for second in range(batches):
            at = start + timedelta(seconds=second)
            values = np.round(random.normal(30, 10, tags), 2)
            times = np.full(tags, to_us(at))
            await historian.keep(Batch("S00", SampleBatch("S00", paths, times, values, (), good), (), at))
        await historian.flush()
        spent, took = time.process_time() - cpu, time.monotonic() - began
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())  # noqa: ASYNC240 - the measurement is over
    samples = batches * tags
    return {
        "store_samples_per_cpu_s": samples / spent,
        "store_samples_per_s": samples / took,
        "store_bytes_per_sample": size / samples,
    }
