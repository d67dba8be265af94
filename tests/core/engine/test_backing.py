"""A snapshot of a running engine holds all that was acknowledged, and opens as a data folder of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pumpwatch import Batch, NotReachable, Refused, SampleBatch, Transaction, to_us
from pumpwatch.engine import backing
from pumpwatch.engine.backing import snapshot
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, Historian
from pumpwatch.testing import FakeClock

START = datetime(2026, 3, 1, tzinfo=UTC)
PATH = "S01/D1/nozzle-1.flow"


def batch(number: int) -> Batch:
    at = START + timedelta(seconds=number)
    samples = SampleBatch("S01", (PATH,), np.array([to_us(at)]), np.array([float(number)]), (), np.zeros(1, np.uint8))
    return Batch("S01", samples, (Transaction("S01-N01", number, at, at, 1.0, 7.5, 7.5),), at)


async def numbers(folder: Path) -> tuple[list[int], list[int]]:
    """The samples and the fillings of a snapshot."""
    store = EmbeddedStore(EmbeddedSettings(), folder / "history" / "embedded")
    async with Historian.open(folder / "history", store, FakeClock()) as historian:
        end = START + timedelta(days=1)
        samples = (await historian.samples(paths=(PATH,), start=START, end=end)).values
        sales = await historian.transactions(start=START, end=end, limit=10_000)
        assert historian.damage == ()
    return [int(value) for value in samples], sorted(sale.seq for sale in sales)


async def test_everything_acknowledged_before_is_in_it(tmp_path: Path) -> None:
    """While a writer goes on, and the drain moves what it wrote from the journal to the store."""
    store = EmbeddedStore(EmbeddedSettings(merge_at=2), tmp_path / "history" / "embedded")
    async with Historian.open(tmp_path / "history", store, FakeClock()) as historian:
        kept, acknowledged = 0, asyncio.Semaphore(0)

        async def write() -> None:
            nonlocal kept
            for number in range(10_000):
                await historian.keep(batch(number))
                await historian.journaled()
                kept = number + 1
                acknowledged.release()
                if number % 7 == 0:
                    await historian.flush()

        writing = asyncio.create_task(write())
        try:
            for more in (20, 40, 50):
                for _ in range(more):
                    await acknowledged.acquire()
                before = kept
                taken = await snapshot(historian, tmp_path)
                assert taken.left_out == ()
                copy = tmp_path / f"copy-{more}"
                for name, path in taken.files(tmp_path):
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    (copy / name).write_bytes(path.read_bytes())
                samples, sales = await numbers(copy)
                assert samples == list(range(len(samples)))
                assert sales == list(range(len(sales)))
                assert min(len(samples), len(sales)) >= before
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


async def test_one_at_a_time_and_gone_afterwards(rig, monkeypatch) -> None:
    async with rig() as r:
        snapshots = r.engine.snapshots
        taken = await snapshots.make()
        assert (taken.folder / "ledger.sqlite").is_file()
        with pytest.raises(Refused, match="another backup"):
            await snapshots.make()
        await snapshots.drop()
        assert not taken.folder.exists()
        again = await snapshots.make()
        monkeypatch.setattr(backing, "_STALE_S", 1.0)
        await r.clock.advance(2.0)
        assert (await snapshots.make()).folder.exists()
        assert not again.folder.exists()


async def test_one_that_is_being_fetched_is_never_taken_for_dead(rig, monkeypatch) -> None:
    monkeypatch.setattr(backing, "_STALE_S", 100.0)
    async with rig() as r:
        taken = await r.engine.snapshots.make()
        for _ in range(4):
            await r.clock.advance(60.0)
            taken.touch()
            with pytest.raises(Refused, match="when it was killed"):
                await r.engine.snapshots.make()
        assert taken.folder.exists()
        await r.clock.advance(101.0)
        await r.engine.snapshots.make()
        assert not taken.folder.exists()


async def test_one_broken_off_while_it_is_made_keeps_nobody_waiting(rig, monkeypatch) -> None:
    async with rig() as r:
        snapshots = r.engine.snapshots
        copying, go = asyncio.Event(), asyncio.Event()
        copy_to = r.engine.historian.copy_to

        async def slow(folder: Path) -> str | None:
            copying.set()
            await go.wait()
            missing: str | None = await copy_to(folder)
            return missing

        monkeypatch.setattr(r.engine.historian, "copy_to", slow)
        making = asyncio.create_task(snapshots.make())
        await copying.wait()
        await snapshots.drop()
        go.set()
        with pytest.raises(Refused, match="broken off"):
            await making
        made = await snapshots.make()
        assert [path.name for path in made.folder.parent.iterdir()] == [made.folder.name]


async def test_a_disk_without_room_is_refused_before_anything_is_written(rig, monkeypatch) -> None:
    async with rig() as r:
        monkeypatch.setattr(backing, "_RESERVE", 2**62)
        with pytest.raises(NotReachable, match="free space"):
            await r.engine.snapshots.make()


async def test_what_fails_on_the_way_leaves_nothing(rig, monkeypatch) -> None:
    async with rig() as r:

        def full(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr("pumpwatch.engine.backing.copy_database_file", full)
        with pytest.raises(NotReachable, match="disk is full"):
            await r.engine.snapshots.make()
        monkeypatch.undo()
        made = await r.engine.snapshots.make()
        assert [path.name for path in made.folder.parent.iterdir()] == [made.folder.name]


async def test_a_store_that_is_elsewhere_is_named(rig, monkeypatch) -> None:
    async with rig() as r:
        monkeypatch.setattr("pumpwatch.historian.historian.CopiesItself", type("Nobody", (), {}))
        taken = await r.engine.snapshots.make()
        assert "embedded" in taken.left_out[0]
        assert (taken.folder / "history" / "journal.sqlite").is_file()
