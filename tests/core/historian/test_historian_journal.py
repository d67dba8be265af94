"""The disk journal keeps order and bounds, and opens whatever it finds on disk."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pumpwatch import BadConfig, Batch, Refused
from pumpwatch.historian import Journal, damage

Make = Callable[..., Batch]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history" / "journal.sqlite"


def seconds(batches: tuple[Batch, ...]) -> list[int]:
    return [int(b.samples.values[0]) for b in batches]


async def fill(path: Path, make_batch: Make, groups: int) -> None:
    async with Journal(path) as journal:
        for n in range(groups):
            await journal.append([make_batch(n, names=[f"nozzle-{i}.volume" for i in range(200)])])


def copy_without_closing(path: Path, to: Path) -> Path:
    """The files as a power cut would leave them: the WAL is not yet part of the database."""
    to.mkdir()
    for suffix in ("", "-wal"):
        (to / (path.name + suffix)).write_bytes(path.with_name(path.name + suffix).read_bytes())
    return to / path.name


def change(path: Path, how: Callable[[bytearray], bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(how(bytearray(path.read_bytes() if path.exists() else b"")))


def wreck_page(data: bytearray) -> bytes:
    where = len(data) // 8192 * 4096
    return data[:where] + b"\xa5" * 4096 + data[where + 4096 :]


def cut(data: bytearray) -> bytes:
    return data[: len(data) * 2 // 3 + 1_000]


def flip(data: bytearray) -> bytes:
    data[len(data) // 2] ^= 1
    return data


async def test_groups_come_back_in_order_and_ids_never_return(path: Path, make_batch: Make) -> None:
    async with Journal(path) as journal:
        ids = [(await journal.append([make_batch(2 * n), make_batch(2 * n + 1)])).id for n in range(10)]
        assert ids == list(range(1, 11))
        assert (journal.batches, journal.samples) == (20, 40)
        await journal.drop_through(4)
        first, second = await journal.pending(limit=2)
        assert (first.id, seconds(first.batches), second.id) == (5, [8, 9], 6)
        assert [g.id for g in await journal.pending(after=8)] == [9, 10]
        assert [g.id for g in await journal.pending(max_samples=9)] == [5, 6, 7]
        await journal.drop_through(10)
        assert await journal.pending() == []
    async with Journal(path) as journal:
        assert (journal.batches, journal.samples, journal.size_bytes, journal.fill) == (0, 0, 0, 0.0)
        assert (await journal.append([make_batch(1)])).id == 11


async def test_groups_are_found_by_their_times(path: Path, make_batch: Make) -> None:
    async with Journal(path) as journal:
        groups = [await journal.append([make_batch(n)]) for n in range(6)]
        start, end = groups[2].first_us, groups[4].first_us
        assert [g.id async for g in journal.touching(1, 6, start, end)] == [3, 4]
        assert [g.id async for g in journal.touching(4, 6, start, end)] == [4]


async def test_a_full_journal_refuses_and_takes_again_when_drained(path: Path, make_batch: Make) -> None:
    async with Journal(path, max_bytes=2_000) as journal:
        with pytest.raises(Refused, match=r"journal\.sqlite.*full"):
            for n in range(100):
                await journal.append([make_batch(n)])
        assert 0.5 < journal.fill <= 1.0
        kept = journal.last_id
        assert (await journal.append([make_batch(7)], beyond_limit=True)).id == kept + 1
        await journal.drop_through(kept)
        await journal.append([make_batch(8)])
        assert [seconds(g.batches) for g in await journal.pending()] == [[7], [8]]


async def test_a_cancelled_append_is_whole_or_not_at_all(path: Path, make_batch: Make) -> None:
    async with Journal(path) as journal:
        await journal.append([make_batch(0)])
        task = asyncio.create_task(journal.append([make_batch(1)]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [seconds(g.batches) for g in await journal.pending()] == [[0]]
        await journal.append([make_batch(1), make_batch(2)])
        assert [seconds(g.batches) for g in await journal.pending()] == [[0], [1, 2]]


async def test_a_second_server_is_told_so(path: Path, make_batch: Make) -> None:
    async with Journal(path) as journal:
        with pytest.raises(BadConfig, match="another pumpwatch server"):
            await Journal(path).open()
        await journal.append([make_batch(1)])


async def test_a_group_with_a_changed_bit_is_set_aside_and_named(path: Path, make_batch: Make) -> None:
    await fill(path, make_batch, 5)
    with sqlite3.connect(path) as file:
        (blob,) = file.execute("SELECT blob FROM groups WHERE id = 3").fetchone()
        file.execute("UPDATE groups SET blob = ? WHERE id = 3", (blob[:90] + bytes([blob[90] ^ 4]) + blob[91:],))
    file.close()
    async with Journal(path) as journal:
        assert [g.id for g in await journal.pending()] == [1, 2, 4, 5]
        assert (journal.batches, journal.samples) == (4, 800)
        (note,) = journal.damage
        assert "group 3" in note
    async with Journal(path) as journal:  # and it is still said after a restart
        assert journal.damage == (note,)
        assert [g.id for g in await journal.pending(after=2, limit=1)] == [4]


async def test_what_is_no_database_is_set_aside(path: Path, make_batch: Make) -> None:
    change(path, lambda _: bytearray(b"not a database at all " * 400))
    async with Journal(path) as journal:
        await journal.append([make_batch(1)])
        assert len(await journal.pending()) == 1
        assert any("journal.sqlite.damaged-1" in note for note in journal.damage)
    assert path.with_name("journal.sqlite.damaged-1").exists()


@pytest.mark.parametrize("when", ["sync", "move_aside"])
async def test_a_kill_while_a_damaged_file_is_being_saved_loses_nothing(
    path: Path, make_batch: Make, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    await fill(path, make_batch, 20)
    with sqlite3.connect(path) as file:
        (root,) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'groups_head'").fetchone()
    file.close()
    change(path, lambda data: data[: (root - 1) * 4096] + b"\xff" * 50 + data[(root - 1) * 4096 + 50 :])
    killed = path.parent.parent / "killed"
    done = getattr(damage, when)

    def step(place: Path) -> object:
        value = done(place)
        if not killed.exists():  # what a kill at this moment leaves behind
            shutil.copytree(path.parent, killed)
        return value

    monkeypatch.setattr(damage, when, step)
    for folder in (path.parent, killed):
        async with Journal(folder / path.name) as journal:
            assert (journal.batches, journal.last_id) == (20, 20)
            assert [seconds(g.batches) for g in await journal.pending()] == [[n] for n in range(20)]
            assert any(f"{path.name}.damaged-1" in note for note in journal.damage)
        assert {p.name for p in folder.iterdir()} == {path.name, f"{path.name}.damaged-1"}


@pytest.mark.parametrize("harm", ["page", "cut"])
async def test_a_damaged_file_gives_back_what_can_be_read(path: Path, make_batch: Make, harm: str) -> None:
    await fill(path, make_batch, 60)
    change(path, wreck_page if harm == "page" else cut)
    async with Journal(path) as journal:
        groups = await journal.pending(limit=100)
        values = [seconds(g.batches)[0] for g in groups]
        assert values == sorted(set(values))
        assert len(values) >= (50 if harm == "page" else 20)
        assert journal.damage
        await journal.append([make_batch(99)])
        assert seconds((await journal.pending(limit=100))[-1].batches) == [99]


@pytest.mark.parametrize("harm", ["flip", "cut", "header"])
async def test_a_damaged_wal_does_not_keep_it_from_opening(
    path: Path, make_batch: Make, tmp_path: Path, harm: str
) -> None:
    async with Journal(path) as journal:
        for n in range(40):
            await journal.append([make_batch(n)])
        copy = copy_without_closing(path, tmp_path / "copy")
    change(copy.with_name(copy.name + "-wal"), {"flip": flip, "cut": cut, "header": lambda d: bytes(32) + d[32:]}[harm])
    async with Journal(copy) as journal:
        values = [seconds(g.batches)[0] for g in await journal.pending(limit=100)]
        assert values == list(range(len(values)))  # a prefix, in order, nothing half
        assert len(values) < 40
        assert len(values) > 0 or harm == "header"
        if harm != "cut":  # a WAL cut short is what a power cut leaves; there is nothing in it to keep
            assert any("-wal" in note for note in journal.damage)
        await journal.append([make_batch(50)])
    async with Journal(copy) as journal:
        assert seconds((await journal.pending(limit=100))[-1].batches) == [50]


async def test_an_unharmed_wal_gives_everything_and_names_nothing(path: Path, make_batch: Make, tmp_path: Path) -> None:
    async with Journal(path) as journal:
        for n in range(40):
            await journal.append([make_batch(n)])
        copy = copy_without_closing(path, tmp_path / "copy")
    async with Journal(copy) as journal:
        assert len(await journal.pending(limit=100)) == 40
        assert journal.damage == ()


@pytest.mark.parametrize("bad", ["S01/D1/\ud800", None, 7])
async def test_after_a_path_that_is_no_text_others_are_taken(path: Path, make_batch: Make, bad: Any) -> None:
    async with Journal(path) as journal:
        await journal.append([make_batch(0)])
        spoilt = make_batch(1)
        object.__setattr__(spoilt.samples, "paths", ("S01/D1/new", bad))
        with pytest.raises((TypeError, ValueError)):
            await journal.append([spoilt])
        for second, name in ((2, "new"), (3, "other")):
            await journal.append([make_batch(second, names=[name])])
        found = [b.samples.paths for g in await journal.pending() for b in g.batches]
        assert found[1:] == [("S01/D1/new",), ("S01/D1/other",)]
