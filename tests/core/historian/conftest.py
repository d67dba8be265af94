"""What the historian's tests share: batches that look like a station's, and a watch on leftovers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pumpwatch import Batch, Quality, Record, SampleBatch, from_us, to_us
from pumpwatch.clock import SystemClock

START = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


class HurriedClock(SystemClock):
    """The machine's clock, except that nobody sleeps longer than a moment."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(max(0.0, seconds), 0.01))


@pytest.fixture
def start() -> datetime:
    return START


@pytest.fixture
def hurried() -> HurriedClock:
    return HurriedClock()


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """``make_batch(n)``: the n-th second of a station's first dispenser."""

    def make(
        second: int,
        *,
        station: str = "S01",
        names: Sequence[str] = ("nozzle-1.volume", "nozzle-1.flow"),
        value: float | None = None,
        quality: Quality = Quality.GOOD,
        records: tuple[Record, ...] = (),
        texts: tuple[str | None, ...] = (),
    ) -> Batch:
        n = len(names)
        at = START + timedelta(seconds=second, microseconds=137)
        values = np.array([second + i / 100 if value is None else value for i in range(n)], np.float64)
        samples = SampleBatch(
            station,
            tuple(f"{station}/D1/{name}" for name in names),
            np.full(n, to_us(at), np.int64),
            values,
            texts,
            np.full(n, quality, np.uint8),
        )
        return Batch(station, samples, records, at + timedelta(milliseconds=40))

    return make


def as_rows(samples: SampleBatch) -> list[tuple[str, datetime, str, str | None, int]]:
    """Samples as comparable rows; NaN equals NaN."""
    texts = samples.texts or (None,) * len(samples)
    return [
        (path, from_us(at), repr(value), text, quality)
        for path, at, value, text, quality in zip(
            samples.paths,
            samples.at_us.tolist(),
            samples.values.tolist(),
            texts,
            samples.qualities.tolist(),
            strict=True,
        )
    ]


@pytest.fixture
def rows() -> Callable[[SampleBatch], list[tuple[str, datetime, str, str | None, int]]]:
    return as_rows


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before]
    for thread in left:
        thread.join(timeout=30.0)
    assert not [t for t in left if t.is_alive()]


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert not [t for t in asyncio.all_tasks() - before if not t.done() and t is not asyncio.current_task()]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a small tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
