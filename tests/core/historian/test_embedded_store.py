"""The embedded store: every sample once, in order, provably whole; every record once, first report standing."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumpwatch import (
    BadConfig,
    Batch,
    Delivery,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    NotReachable,
    Quality,
    Refused,
    SampleBatch,
    TankReading,
    Transaction,
    to_us,
)
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, merging
from pumpwatch.historian.embedded import pumpwatch_stores

Make = Callable[..., Batch]
Rows = Callable[[SampleBatch], list[Any]]
FAR = timedelta(days=3_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "embedded"


def made(folder: Path, **settings: Any) -> EmbeddedStore:
    return EmbeddedStore(EmbeddedSettings(**settings), folder)


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[EmbeddedStore]:
    store = made(folder)
    await store.open()
    yield store
    await store.close()


async def everything(store: EmbeddedStore, path: str, start: datetime, limit: int = 100_000) -> SampleBatch:
    return (await store.series(path, start - FAR, start + FAR, limit)).samples


def segment_files(folder: Path) -> list[Path]:
    return sorted((folder / "samples").glob("*.parquet"))


def test_the_core_registers_it_like_a_plugin() -> None:
    assert pumpwatch_stores() == [EmbeddedStore]
    assert EmbeddedStore.name == "embedded"


async def test_samples_come_back_by_time_over_restarts(
    folder: Path, make_batch: Make, rows: Rows, start: datetime
) -> None:
    store = made(folder)
    await store.open()
    await store.write([make_batch(n) for n in (5, 3, 4)])
    await store.write([make_batch(n) for n in (1, 9)])
    await store.close()
    await store.open()
    found = await everything(store, "S01/D1/nozzle-1.flow", start)
    want = [make_batch(n).samples for n in (1, 3, 4, 5, 9)]
    assert rows(found) == [rows(s)[1] for s in want]
    assert found.station == "S01"
    part = await store.series(
        "S01/D1/nozzle-1.flow", start + timedelta(seconds=3), start + timedelta(seconds=5, microseconds=137)
    )
    assert part.samples.values.tolist() == [3.01, 4.01]  # the start is in, the end is not
    assert (await everything(store, "S01/D1/nozzle-1.flow", start, limit=2)).values.tolist() == [5.01, 9.01]
    assert len(await everything(store, "S01/D1/no-such-tag", start)) == 0
    assert store.stored_samples == 10
    assert store.damage == ()
    await store.close()


async def test_the_same_batches_twice_are_there_once(store: EmbeddedStore, make_batch: Make, start: datetime) -> None:
    batches = [make_batch(n) for n in range(20)]
    await store.write(batches)
    await store.write(batches)
    await store.write(batches[5:8] + batches[5:8])
    assert len(await everything(store, "S01/D1/nozzle-1.volume", start)) == 20
    await store.write([make_batch(7, value=70.0)])  # told anew: the later write counts
    found = await everything(store, "S01/D1/nozzle-1.volume", start)
    assert found.values.tolist() == [70.0 if n == 7 else n for n in range(20)]


async def test_gaps_texts_and_reasons_are_kept(
    store: EmbeddedStore, make_batch: Make, rows: Rows, start: datetime
) -> None:
    gap = make_batch(2, value=float("nan"), quality=Quality.NOT_CONNECTED)
    named = make_batch(3, names=["identity.serial", "clock"], value=float("nan"), texts=("税控-7 ✓", None))
    broken = make_batch(4, names=["identity.serial"], value=float("nan"), texts=("bad \udce9 byte",))
    await store.write([make_batch(1), gap, named, broken])
    found = await everything(store, "S01/D1/nozzle-1.volume", start)
    assert rows(found) == [rows(make_batch(1).samples)[0], rows(gap.samples)[0]]
    assert found.qualities.tolist() == [Quality.GOOD, Quality.NOT_CONNECTED]
    assert (await everything(store, "S01/D1/identity.serial", start)).texts == ("税控-7 ✓", "bad ? byte")


async def test_latest_is_the_last_of_every_tag(store: EmbeddedStore, make_batch: Make, rows: Rows) -> None:
    await store.write([make_batch(1, station="S02"), make_batch(8), make_batch(3)])
    await store.write([make_batch(5), make_batch(2, names=["clock"], value=float("nan"), texts=("noon",))])
    found = {row[0]: row for row in rows(await store.latest())}
    want = [
        *rows(make_batch(8).samples),
        *rows(make_batch(1, station="S02").samples),
        *rows(make_batch(2, names=["clock"], value=float("nan"), texts=("noon",)).samples),
    ]
    assert found == {row[0]: row for row in want}


async def test_many_small_segments_become_one_and_say_the_same(folder: Path, make_batch: Make, start: datetime) -> None:
    """Random writes, with repetitions, corrections and devices whose clocks wander, against a plain dictionary."""
    store = made(folder, merge_at=3)
    await store.open()
    chance = random.Random(7)
    want: dict[tuple[str, int], float] = {}
    names = [f"nozzle-{n}.volume" for n in range(1, 9)]
    for write in range(27):
        batches = []
        for _ in range(12):
            second = chance.choice([write * 10 + chance.randrange(30), chance.randrange(-900_000, 900_000)])
            batch = make_batch(second, station=chance.choice(["S01", "S02"]), names=chance.sample(names, 4))
            batch.samples.values[:] = [chance.randrange(100_000) / 100 for _ in range(4)]
            batches.append(batch)
            want |= {
                (path, at): value
                for path, at, value in zip(
                    batch.samples.paths, batch.samples.at_us.tolist(), batch.samples.values.tolist(), strict=True
                )
            }
        await store.write(batches)
        if write % 3 == 0:
            await store.tidied()
    await store.tidied()
    assert any("-2-" in f.name for f in segment_files(folder))  # merged at least twice
    for path in {p for p, _ in want}:
        found = await everything(store, path, start)
        got = list(zip(found.at_us.tolist(), found.values.tolist(), strict=True))
        expected = sorted((at, v) for (p, at), v in want.items() if p == path)
        assert got == expected
        newest = await everything(store, path, start, limit=25)
        assert list(zip(newest.at_us.tolist(), newest.values.tolist(), strict=True)) == expected[-25:]
    await store.close()


async def test_a_large_merge_streams_paths_that_fill_many_row_groups(
    folder: Path, make_batch: Make, start: datetime
) -> None:
    store = made(folder, merge_at=2)
    await store.open()
    n = 40_000
    for half in range(2):
        at = to_us(start) + (np.arange(n) * 2 + half) * 1_000_000 // 100
        for name in ("b", "a"):
            samples = SampleBatch(
                "S01", (f"S01/D1/{name}",) * n, at, np.arange(n) * 2.0 + half, (), np.zeros(n, np.uint8)
            )
            await store.write([Batch("S01", samples, (), start)])
            await store.tidied()
    assert len(segment_files(folder)) == 1
    for name in ("a", "b"):
        found = await everything(store, f"S01/D1/{name}", start)
        assert found.values.tolist() == [float(v) for v in range(2 * n)]
    await store.close()


def flip(path: Path, where: int) -> None:
    data = bytearray(path.read_bytes())
    data[where] ^= 0x10
    path.write_bytes(data)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("harm", ["page", "footer", "short", "gone"])
@pytest.mark.parametrize("while_open", [False, True])
async def test_a_damaged_segment_is_named_and_the_rest_answers(
    folder: Path, make_batch: Make, start: datetime, harm: str, while_open: bool
) -> None:
    store = made(folder)
    await store.open()
    for n in range(3):
        await store.write([make_batch(n)])
    if not while_open:
        await store.close()
    victim = segment_files(folder)[1]
    if harm == "page":
        flip(victim, 60)
    elif harm == "footer":
        flip(victim, victim.stat().st_size - 60)
    elif harm == "short":
        shorten(victim)
    else:
        victim.unlink()
    if not while_open:
        await store.open()
    assert (await everything(store, "S01/D1/nozzle-1.volume", start)).values.tolist() == [0.0, 2.0]
    (note,) = store.damage
    assert victim.name in note
    assert (folder / "samples" / "damaged" / victim.name).exists() == (harm != "gone")
    await store.write([make_batch(1)])  # and what is missing can be written again
    assert (await everything(store, "S01/D1/nozzle-1.volume", start)).values.tolist() == [0.0, 1.0, 2.0]
    await store.close()
    await store.open()
    assert store.damage == (note,)
    await store.close()


async def test_no_changed_bit_gives_a_wrong_value(folder: Path, make_batch: Make, start: datetime) -> None:
    store = made(folder)
    await store.open()
    names = [f"nozzle-{n}.volume" for n in range(1, 30)]
    await store.write([make_batch(n, names=names) for n in range(60)])
    path = "S01/D1/nozzle-17.volume"
    want = (await everything(store, path, start)).values.tolist()
    await store.close()
    (victim,) = segment_files(folder)
    manifest, sound = (folder / "samples" / "manifest.json").read_bytes(), victim.read_bytes()
    chance = random.Random(3)
    for _ in range(60):
        victim.write_bytes(sound)
        flip(victim, chance.randrange(len(sound)))
        (folder / "samples" / "manifest.json").write_bytes(manifest)
        await store.open()
        got = (await everything(store, path, start)).values.tolist()
        assert got == want or (got == [] and store.damage)
        await store.close()


@pytest.mark.parametrize("harm", ["cut", "gone"])
async def test_a_damaged_manifest_is_made_anew(folder: Path, make_batch: Make, start: datetime, harm: str) -> None:
    store = made(folder)
    await store.open()
    for n in range(4):
        await store.write([make_batch(n)])
    await store.close()
    manifest = folder / "samples" / "manifest.json"
    if harm == "cut":
        manifest.write_text(manifest.read_text()[:100])
    else:
        manifest.unlink()
    shorten(segment_files(folder)[0])
    await store.open()
    assert (await everything(store, "S01/D1/nozzle-1.volume", start)).values.tolist() == [1.0, 2.0, 3.0]
    assert len(store.damage) == 2
    await store.write([make_batch(0), make_batch(4)])
    assert len(await everything(store, "S01/D1/nozzle-1.volume", start)) == 5
    await store.close()


async def test_a_list_of_a_newer_program_is_left_alone(folder: Path, make_batch: Make) -> None:
    store = made(folder)
    await store.open()
    await store.write([make_batch(1)])
    await store.close()
    manifest = folder / "samples" / "manifest.json"
    newer = json.dumps(json.loads(manifest.read_text()) | {"version": 2})
    manifest.write_text(newer)
    with pytest.raises(BadConfig, match="install that version or a newer one"):
        await store.open()
    await store.close()
    assert manifest.read_text() == newer


async def test_a_segment_damaged_inside_is_none_to_make_the_list_from(
    folder: Path, make_batch: Make, start: datetime
) -> None:
    store = made(folder)
    await store.open()
    for n in range(2):
        await store.write([make_batch(n + 10 * k, names=[f"t-{i}" for i in range(30)]) for k in range(30)])
    await store.close()
    (folder / "samples" / "manifest.json").unlink()
    flip(segment_files(folder)[0], 200)
    await store.open()
    found = (await everything(store, "S01/D1/t-3", start)).values
    assert [int(value) % 10 for value in found] == [1] * 30
    assert any("moved to the folder damaged" in note for note in store.damage)
    await store.close()


async def test_what_a_crash_left_behind_is_cleared_away(folder: Path, make_batch: Make, start: datetime) -> None:
    store = made(folder)
    await store.open()
    await store.write([make_batch(1)])
    await store.close()
    (sealed,) = segment_files(folder)
    never_in_force = sealed.with_name(sealed.name.replace("00000001", "00000002"))
    never_in_force.write_bytes(sealed.read_bytes())
    sealed.with_name("half.parquet.tmp").write_bytes(b"PAR1")
    await store.open()
    assert segment_files(folder) == [sealed]
    assert not list((folder / "samples").glob("*.tmp"))
    assert len(await everything(store, "S01/D1/nozzle-1.volume", start)) == 1
    await store.close()


def sale(start: datetime, seq: int, nozzle: str = "S01-N01", **known: Any) -> Transaction:
    at = start + timedelta(minutes=seq, microseconds=seq)
    return Transaction(nozzle, seq, at, at + timedelta(seconds=40), 30.12, 235.84, 7.83, **known)


async def test_fillings_are_there_once_newest_first(store: EmbeddedStore, make_batch: Make, start: datetime) -> None:
    sales = [sale(start, seq, raw=bytes([seq, 0, 255])) for seq in range(1, 6)]
    other = sale(start, 3, "S02-N01")
    await store.write([make_batch(0, records=(*sales, *sales)), make_batch(0, station="S02", records=(other,))])
    await store.write([make_batch(0, records=tuple(sales[:2]))])
    assert list(await store.transactions(nozzle_id="S01-N01")) == sales[::-1]
    assert list(await store.transactions(station_id="S02")) == [other]
    assert list(await store.transactions(limit=2)) == sales[:-3:-1]
    assert list(await store.transactions(start=sales[1].end, end=sales[3].end, station_id="S01")) == [
        sales[2],
        sales[1],
    ]


async def test_the_first_report_stands_and_a_later_one_fills(
    store: EmbeddedStore, make_batch: Make, start: datetime
) -> None:
    first = sale(start, 1, totalizer_l=1_000.5, raw=b"\x01\x02")
    later = Transaction(
        first.nozzle_id, 1, first.start, first.end, 29.0, 227.07, 7.83, totalizer_l=5.0, tax_l=30.12, raw=b"forged"
    )
    await store.write([make_batch(0, records=(first, later))])
    (kept,) = await store.transactions()
    assert (kept.volume_l, kept.totalizer_l, kept.tax_l, kept.raw) == (30.12, 1_000.5, 30.12, b"\x01\x02")


async def test_every_kind_of_record_comes_back_once_and_whole(
    store: EmbeddedStore, make_batch: Make, start: datetime
) -> None:
    later = start + timedelta(hours=1, microseconds=3)
    tanks = [TankReading("S01-T1", at, 1_480.2, 20_111.5, None, 3.25, 18.4, 743.1) for at in (start, later)]
    deliveries = [
        Delivery("S01-T1", start, 9_870.0, None, later),
        Delivery("S01-T1", start, None, 10_000.0, None, "示例-7"),
    ]
    identity = DeviceIdentity("S01", "S01-D1", start, "A-1", None, "2.0", "ff" * 32, encoder_serials={"S01-N01": "E9"})
    events = [
        DeviceEvent(start, "S01", "D1", EventKind.SEAL, {"seal": "meter", "intact": False, "nozzle": 1}),
        DeviceEvent(start, "S01", "D1", EventKind.SEAL, {"seal": "meter", "intact": False, "nozzle": 2}),
        DeviceEvent(start, "S01", "D1", EventKind.POWER),
        DeviceEvent(start, "S02", "D1", EventKind.LINK, {"up": False, "reason": "no answer"}),
    ]
    ours = (*tanks, *deliveries, identity, *events[:3])
    for _ in range(2):
        await store.write([make_batch(0, records=ours), make_batch(0, station="S02", records=(events[3],))])
    span = {"start": start, "end": later + timedelta(seconds=1)}
    assert list(await store.records(TankReading, key="S01-T1", **span)) == tanks[::-1]
    assert list(await store.records(TankReading, start=start, end=later)) == tanks[:1]
    assert await store.records(TankReading, key="S01-T2", **span) == []
    found = await store.records(Delivery, **span)
    assert len(found) == 2
    assert all(d in found for d in deliveries)
    assert list(await store.records(DeviceIdentity, key="S01-D1", **span)) == [identity]
    assert len(await store.records(DeviceEvent, key="D1", **span)) == 4
    assert list(await store.records(DeviceEvent, key="S02/D1", **span)) == [events[3]]
    assert len(await store.records(DeviceEvent, limit=2, **span)) == 2


async def test_a_value_without_room_is_refused_and_nothing_half_is_kept(
    store: EmbeddedStore, make_batch: Make, start: datetime
) -> None:
    with pytest.raises(Refused):
        await store.write([make_batch(1, records=(sale(start, 1), sale(start, 2, encoder_pulses=2**70)))])
    assert await store.transactions() == []
    await store.write([make_batch(1, records=(sale(start, 1),))])
    assert len(await store.transactions()) == 1


async def test_damaged_records_are_saved_as_far_as_they_can_be_read(
    folder: Path, make_batch: Make, start: datetime
) -> None:
    store = made(folder)
    await store.open()
    await store.write([make_batch(0, records=tuple(sale(start, seq, raw=bytes(200)) for seq in range(1, 501)))])
    await store.close()
    file = folder / "records.sqlite"
    data = bytearray(file.read_bytes())
    page = data.index(b"S01-N01", len(data) // 3) // 4096 * 4096
    data[page : page + 4096] = b"\x5a" * 4096
    file.write_bytes(data)
    await store.open()
    saved = [t.seq for t in await store.transactions(nozzle_id="S01-N01")]
    assert len(saved) >= 400
    assert saved == sorted(saved, reverse=True)
    assert any("records.sqlite" in note for note in store.damage)
    await store.write([make_batch(0, records=(sale(start, 501),))])
    await store.close()


async def test_a_short_page_reads_little_of_many_days(
    folder: Path, make_batch: Make, start: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(folder)
    await store.open()
    names = [f"nozzle-{n:05}.volume" for n in range(40_000)]
    for day in range(3):
        made_then = make_batch(day * 86_400, names=names)
        await store.write([replace(made_then, arrived=start)])  # as if no day were over: nothing is rolled up
    read: list[int] = []
    groups_of = merging.read_groups

    def counted(where: Path, footer: Any, groups: list[int]) -> Any:
        read.extend(groups)
        return groups_of(where, footer, groups)

    monkeypatch.setattr(merging, "read_groups", counted)
    span = {"start": datetime(2026, 1, 1, tzinfo=UTC), "end": datetime(2027, 1, 1, tzinfo=UTC)}
    page = await store.samples(station_id="S01", limit=1, **span)
    assert page.paths == ("S01/D1/nozzle-00000.volume",)
    assert read == [0, 0, 0]
    assert len((await store.samples(station_id="S01", limit=200_000, **span)).paths) == 120_000
    await store.close()


async def test_retention_drops_what_is_too_old(folder: Path, make_batch: Make, start: datetime) -> None:
    store = made(folder, samples_days=1, tank_readings_days=1)
    await store.open()
    old, new = start, start + timedelta(days=2)
    readings = tuple(TankReading("S01-T1", at, 1.0) for at in (old, new))
    await store.write([make_batch(0, records=(*readings, sale(start, 1))), make_batch(2 * 86_400)])
    await store.write([make_batch(3, names=["gone"])])
    await store.retention(new + timedelta(hours=1))
    assert len(segment_files(folder)) == 1
    assert len(await everything(store, "S01/D1/nozzle-1.volume", start)) == 1
    assert "S01/D1/gone" not in (await store.latest()).paths
    assert list(await store.records(TankReading, start=old, end=new + FAR)) == [readings[1]]
    assert len(await store.transactions()) == 1  # evidence is never dropped unasked
    await store.close()


async def test_cancelled_callers_leave_it_consistent(store: EmbeddedStore, make_batch: Make, start: datetime) -> None:
    for n in range(10):
        task = asyncio.create_task(store.write([make_batch(n)]))
        await asyncio.sleep(0.001 * n)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.write([make_batch(n) for n in range(10)])
    assert (await everything(store, "S01/D1/nozzle-1.volume", start)).values.tolist() == [float(n) for n in range(10)]


async def test_reads_go_on_while_segments_are_written_and_merged(
    folder: Path, make_batch: Make, start: datetime
) -> None:
    store = made(folder, merge_at=2)
    await store.open()
    seen: list[int] = []

    async def look() -> None:
        while not seen or seen[-1] < 40:
            seen.append(len(await everything(store, "S01/D1/nozzle-1.volume", start)))

    looking = asyncio.create_task(look())
    for n in range(40):
        await store.write([make_batch(n)])
    await looking
    assert seen == sorted(seen)
    assert store.damage == ()
    await store.close()


async def test_a_closed_store_says_so(folder: Path, make_batch: Make) -> None:
    store = made(folder)
    with pytest.raises(NotReachable, match="closed"):
        await store.latest()
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(NotReachable, match="closed"):
        await store.write([make_batch(1)])


async def test_a_folder_that_cannot_be_written_is_not_reachable(
    store: EmbeddedStore, folder: Path, make_batch: Make, start: datetime
) -> None:
    await store.write([make_batch(1)])
    samples, away = folder / "samples", folder / "away"
    samples.rename(away)
    with pytest.raises(NotReachable, match="free space"):
        await store.write([make_batch(2)])
    away.rename(samples)
    await store.write([make_batch(2)])
    assert len(await everything(store, "S01/D1/nozzle-1.volume", start)) == 2
    assert json.loads((samples / "manifest.json").read_text())["damage"] == []
