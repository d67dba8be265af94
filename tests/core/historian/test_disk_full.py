"""A full disk: nothing acknowledged is lost, what comes waits in memory, and all goes on when there is space."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pumpwatch import Batch, Finding, NotReachable, Refused, Severity
from pumpwatch.clock import SystemClock
from pumpwatch.engine.storage import DISK, JOURNAL, StorageWatch
from pumpwatch.historian import EmbeddedStore, Historian
from pumpwatch.settings import HistorianSettings

Make = Callable[..., Batch]
NAMES = tuple(f"nozzle-{n}.volume" for n in range(500))


def fill(disk: Path, leave: int) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(disk).free - leave)))
    return ballast


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - the historian tells nobody
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("gather_rows", [10**9, 5_000], ids=["the journal meets it", "the store meets it"])
async def test_a_full_disk_loses_nothing_and_is_overcome_alone(
    small_disk: Path, make_batch: Make, hurried: SystemClock, start: datetime, gather_rows: int
) -> None:
    random = np.random.default_rng(3)

    def batch(second: int) -> Batch:
        made = make_batch(second, names=NAMES)
        made.samples.values[:] = random.random(len(NAMES))  # takes its full room on disk
        return made

    told: list[Finding] = []
    standing: dict[str, set[str]] = {}

    async def on_finding(finding: Finding) -> None:
        told.append(finding)

    async def on_standing(rule: str, keys: object) -> None:
        standing[rule] = set(keys)  # type: ignore[call-overload]

    store = EmbeddedStore(EmbeddedStore.Settings(), small_disk / "embedded")
    kept: list[Batch] = []
    async with (
        asyncio.timeout(60),
        Historian.open(
            small_disk, store, hurried, commit_s=0.0, queue_batches=40, gather_s=3600.0, gather_rows=gather_rows
        ) as historian,
    ):
        settings = HistorianSettings(disk_alarm_bytes=1_000_000)
        watch = StorageWatch(historian, small_disk, settings, "county", hurried, on_finding, on_standing)
        running = asyncio.create_task(historian.run())
        await watch.look()
        assert told == []
        ballast = fill(small_disk, 900_000)
        with pytest.raises(Refused, match="free space on its disk"):
            while True:
                kept.append(batch(len(kept)))
                await historian.keep(kept[-1])
                await historian.journaled()
        await until(lambda: historian.refusal is not None)
        for _ in range(20):  # acquisition goes on
            kept.append(batch(len(kept)))
            await historian.keep(kept[-1])
        await watch.look()
        await watch.look()
        assert {(f.rule, f.severity) for f in told} == {(JOURNAL, Severity.HIGH), (DISK, Severity.HIGH)}
        assert len({f.id for f in told}) == 2
        assert any("free space on its disk" in f.explanation.what.en for f in told)
        assert standing == {JOURNAL: {"county"}, DISK: {"county"}}

        ballast.unlink()
        await until(lambda: historian.refusal is None)
        await historian.flush()
        await watch.look()
        assert standing == {JOURNAL: set(), DISK: set()}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert historian.damage == ()
    again = EmbeddedStore(EmbeddedStore.Settings(), small_disk / "embedded")
    async with Historian.open(small_disk, again, hurried) as historian:
        for number in (0, 17, 499):
            samples = (await historian.series(f"S01/D1/{NAMES[number]}", start, start + timedelta(days=1))).samples
            assert samples.values.tolist() == [b.samples.values[number] for b in kept]


async def test_a_store_elsewhere_takes_all_while_the_journals_disk_is_full(
    small_disk: Path, make_batch: Make, hurried: SystemClock
) -> None:
    """To forget takes room as well: the journal keeps what the store has, and the historian lives on."""
    store = EmbeddedStore(EmbeddedStore.Settings(), small_disk.parent / "elsewhere")
    async with (
        asyncio.timeout(60),
        Historian.open(small_disk, store, hurried, commit_s=0.0, gather_s=3600.0, gather_rows=10**9) as historian,
    ):
        for second in range(30):
            await historian.keep(make_batch(second, names=NAMES))
            await historian.journaled()
        ballast = fill(small_disk, 0)
        with pytest.raises(NotReachable, match=r"let go of what the store has .* free space on its disk"):
            await historian.flush()
        running = asyncio.create_task(historian.run())
        with pytest.raises(NotReachable):
            await historian.flush()
        assert store.stored_samples == 30 * len(NAMES)
        assert not running.done()
        ballast.unlink()
        await historian.flush()
        assert historian.gathering == 0
        assert store.stored_samples == 30 * len(NAMES)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_journal_that_fills_is_told_long_before_it_is_full(
    tmp_path: Path, make_batch: Make, hurried: SystemClock
) -> None:
    told: list[Finding] = []

    async def on_finding(finding: Finding) -> None:
        told.append(finding)

    async def on_standing(rule: str, keys: object) -> None:
        pass

    store = EmbeddedStore(EmbeddedStore.Settings(), tmp_path / "embedded")
    async with Historian.open(tmp_path, store, hurried, max_age=timedelta(days=10), gather_s=1e9) as historian:
        watch = StorageWatch(historian, tmp_path, HistorianSettings(), "county", hurried, on_finding, on_standing)
        await historian.keep(make_batch(0))
        await historian.keep(make_batch(80_000))
        await historian.journaled()
        await watch.look()
        assert told == []
        await historian.keep(make_batch(90_000))
        await historian.journaled()
        await watch.look()
        assert [(f.rule, f.severity) for f in told] == [(JOURNAL, Severity.MEDIUM)]
        assert historian.fill == pytest.approx(90_000 / 864_000)
        assert historian.refusal is None
