"""Roll-ups: they outlive the samples, bear with what comes late, and prove their own bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch import Batch, Quality, SampleBatch, Summaries, to_us
from pumpwatch.errors import BadReply
from pumpwatch.historian import EmbeddedStore
from pumpwatch.historian.coding import PathCodes
from pumpwatch.historian.rolling import Level, amended, packed, rolled, unpacked
from pumpwatch.historian.segments import arranged, columns

DAY = datetime(2026, 11, 20, tzinfo=UTC)
PATH = "S01/D1/nozzle-1.volume"
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def samples(at: datetime, values: list[float], step: timedelta = timedelta(seconds=20)) -> Batch:
    n = len(values)
    times = np.array([to_us(at + k * step) for k in range(n)], np.int64)
    return Batch("S01", SampleBatch("S01", (PATH,) * n, times, np.array(values), (), np.zeros(n, np.uint8)), (), at)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    settings = EmbeddedStore.Settings.model_validate({"samples_days": 10, "minutes_days": 100, "merge_at": 4})
    store = EmbeddedStore(settings, tmp_path)
    await store.open()
    yield store
    await store.close()


async def written(store: EmbeddedStore, *batches: Batch) -> None:
    for batch in batches:
        await store.write([batch])
        await store.tidied()


def blobs(store: EmbeddedStore) -> list[tuple[int, int]]:
    with sqlite3.connect(store.folder / "rollups.sqlite") as file:
        found = file.execute("SELECT level, day FROM rollups ORDER BY 1, 2").fetchall()
    file.close()
    return found


async def told(store: EmbeddedStore, width: timedelta = HOUR, days: int = 1) -> Summaries:
    return await store.summaries(PATH, DAY, DAY + timedelta(days=days), width)


async def test_a_day_is_rolled_up_when_it_is_over_and_outlives_its_samples(store: EmbeddedStore) -> None:
    await written(store, samples(DAY, [1.25] * 180 + [2.5] * 180))
    assert blobs(store) == []
    await written(store, samples(DAY + timedelta(days=1), [9.0]))
    number = to_us(DAY) // 86_400_000_000
    assert blobs(store) == [(1, number), (60, number)]

    await store.retention(DAY + timedelta(days=50))
    assert not len((await store.series(PATH, DAY, DAY + timedelta(days=1))).samples)
    hours = await told(store)
    assert (hours.count.tolist(), hours.mean.tolist(), hours.last.tolist()) == ([180, 180], [1.25, 2.5], [1.25, 2.5])
    assert len(await told(store, MINUTE)) == 120
    assert (await told(store, HOUR, 2)).count.tolist() == [180, 180, 1]  # the newest day was rolled up before it went

    await store.retention(DAY + timedelta(days=150))
    assert len(await told(store, MINUTE)) == 0
    assert (await told(store)).count.tolist() == [180, 180]


async def test_what_comes_late_counts_at_once_and_is_rolled_up_in_time(store: EmbeddedStore) -> None:
    await written(store, samples(DAY, [1.0] * 360), samples(DAY + timedelta(days=1), [9.0]))
    late = [samples(DAY + timedelta(minutes=minutes), [5.0]) for minutes in (10, 600, 10)]
    for count, batch in enumerate(late, 1):
        await written(store, batch)
        hours = await told(store)
        assert hours.count.tolist() == ([180, 180] if count < 2 else [180, 180, 1])
        assert hours.high.tolist() == ([5.0, 1.0] if count < 2 else [5.0, 1.0, 5.0])
        assert hours.mean[0] == pytest.approx((179 + 5) / 180)
        minutes = await told(store, MINUTE)
        assert minutes.high[10] == 5.0
        assert minutes.count[10] == 3


@pytest.mark.parametrize("width", [MINUTE, HOUR])
async def test_a_day_that_is_rolled_up_while_it_is_asked_for_is_told_whole(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, width: timedelta
) -> None:
    sealed, read, tidy = store._samples, store._samples.rollups.of, store._samples.tidy
    with monkeypatch.context() as held:
        held.setattr(sealed, "tidy", lambda abandoned: None)
        await written(store, samples(DAY, [1.0] * 360), samples(DAY + timedelta(days=1), [9.0]))

    def of(path: str, level: Level, first_day: int, last_day: int) -> list[Summaries]:
        found = read(path, level, first_day, last_day)
        tidy(lambda: False)
        return found

    assert blobs(store) == []
    monkeypatch.setattr(sealed.rollups, "of", of)
    meanwhile = await told(store, width, 2)
    assert blobs(store) != []
    assert meanwhile.count.sum() == 361
    assert (await told(store, width, 2)).count.tolist() == meanwhile.count.tolist()


async def test_a_late_sample_neither_hides_nor_replaces_a_day_whose_samples_are_gone(
    store: EmbeddedStore,
) -> None:
    await written(store, samples(DAY, [1.25] * 180 + [2.5] * 180), samples(DAY + timedelta(days=1), [9.0]))
    await store.retention(DAY + timedelta(days=50))
    late = [DAY + timedelta(minutes=5), DAY + timedelta(hours=23, minutes=20)]
    await written(store, *(samples(at, [0.125, 0.125]) for at in late))
    for _ in range(2):  # before and after the late ones are gone too
        hours = await told(store)
        assert hours.start_us.tolist() == [to_us(DAY + timedelta(hours=h)) for h in (0, 1, 23)]
        assert hours.count.tolist() == [182, 180, 2]
        assert hours.mean.tolist() == pytest.approx([(180 * 1.25 + 2 * 0.125) / 182, 2.5, 0.125])
        assert (hours.low.tolist(), hours.last.tolist()) == ([0.125, 2.5, 0.125], [1.25, 2.5, 0.125])
        minutes = await told(store, MINUTE)
        assert minutes.count.tolist() == [3] * 5 + [5] + [3] * 114 + [2]
        assert (minutes.low[5], minutes.high[5], minutes.last[5]) == (0.125, 1.25, 0.125)
        await store.retention(DAY + timedelta(days=50))
    assert not len((await store.series(PATH, DAY, DAY + timedelta(days=1))).samples)
    await store.close()
    await store.open()
    assert (await told(store)).count.tolist() == [182, 180, 2]
    await written(store, samples(DAY + timedelta(hours=23, minutes=20), [0.125, 0.125]))  # the same once more
    assert (await told(store)).count.tolist() == [182, 180, 2]


async def test_what_comes_late_counts_in_hours_whose_minutes_are_gone(store: EmbeddedStore) -> None:
    await written(store, samples(DAY, [1.25] * 180), samples(DAY + timedelta(days=1), [9.0]))
    await store.retention(DAY + timedelta(days=150))
    for count in (1, 2, 3):
        await written(store, samples(DAY + timedelta(minutes=count), [float(count)]))
        for _ in range(2):
            hours = await told(store)
            assert (hours.count.tolist(), hours.high.tolist()) == ([180 + count], [max(1.25, count)])
            await store.retention(DAY + timedelta(days=150))
    assert len(await told(store, MINUTE)) == 0


async def test_a_sample_of_the_far_future_does_not_end_the_day(store: EmbeddedStore) -> None:
    ahead = samples(DAY + timedelta(days=27_000), [1.0])
    await written(store, replace(ahead, arrived=DAY), *(samples(DAY, [float(k)]) for k in range(6)))
    assert blobs(store) == []
    await written(store, samples(DAY + timedelta(days=1), [9.0]))
    assert len(blobs(store)) == 2


async def test_days_written_at_once_are_rolled_up_each(store: EmbeddedStore) -> None:
    days = 30
    await written(store, samples(DAY, [1.5] * 24 * days, HOUR), samples(DAY + timedelta(days=days), [9.0]))
    await store.retention(DAY + timedelta(days=days + 90))
    assert not len((await store.series(PATH, DAY, DAY + timedelta(days=days))).samples)
    assert (await told(store, HOUR, days)).count.tolist() == [1] * 24 * days


async def test_the_later_write_counts_where_few_samples_of_many_days_lie_together(store: EmbeddedStore) -> None:
    many = [samples(DAY + timedelta(days=k), [1.0] * (20 - k)) for k in range(20)]
    await store.write(many)
    at = DAY + timedelta(days=19)
    await written(store, samples(at, [2.0]))
    span = at, at + timedelta(days=1)
    assert (await store.series(PATH, *span)).samples.values.tolist() == [2.0]
    assert (await store.samples(paths=(PATH,), start=span[0], end=span[1])).values.tolist() == [2.0]
    assert (await store.summaries(PATH, *span, MINUTE)).last.tolist() == [2.0]
    await store.write([samples(at, [3.0]), *many[:-1]])
    assert (await store.series(PATH, *span)).samples.values.tolist() == [3.0]
    assert len((await store.series(PATH, DAY, span[1])).samples) == sum(range(1, 21))


async def test_a_damaged_roll_up_is_named_and_made_anew(store: EmbeddedStore) -> None:
    await written(store, samples(DAY, [1.0] * 360), samples(DAY + timedelta(days=1), [9.0]))
    with sqlite3.connect(store.folder / "rollups.sqlite") as file:
        file.execute("UPDATE rollups SET blob = CAST(substr(blob, 1, 20) || x'55' AS BLOB) WHERE level = 60")
    file.close()
    assert (await told(store)).count.tolist() == [180, 180]
    assert len(store.damage) == 1
    assert "rollups.sqlite" in store.damage[0]
    await written(store, samples(DAY + timedelta(days=1, hours=1), [9.0]))
    assert len(blobs(store)) == 2
    assert (await told(store)).count.tolist() == [180, 180]


Values = st.lists(
    st.tuples(
        st.integers(0, 86_399),
        st.one_of(
            st.floats(-1e5, 1e5).map(lambda v: round(v, 2)),
            st.floats(allow_nan=True),
            st.sampled_from((0.0, 1e12, 3e-9, 1.7e308)),
        ),
        st.sampled_from((Quality.GOOD, Quality.UNCERTAIN, Quality.BAD)),
    ),
    min_size=1,
    max_size=50,
)


Some = list[tuple[int, float, Quality]]


def batch_of(rows: Some) -> SampleBatch:
    table = table_of(rows)
    n = len(table)
    at = table["time"].cast(pa.int64()).to_numpy()
    return SampleBatch("S01", (PATH,) * n, at, table["value"].to_numpy(), (), table["quality"].to_numpy())


def table_of(rows: list[tuple[int, float, Quality]]) -> pa.Table:
    seconds, values, qualities = zip(*rows, strict=True)
    at = to_us(DAY) + np.array(seconds, np.int64) * 1_000_000
    batch = SampleBatch("S01", (PATH,) * len(rows), at, np.array(values), (), np.array(qualities, np.uint8))
    return arranged(columns([batch], PathCodes()))


@given(rows=Values, level=st.sampled_from(Level))
def test_packed_roll_ups_come_back_as_they_were_reckoned(rows: list[tuple[int, float, Quality]], level: Level) -> None:
    table = table_of(rows)
    day = to_us(DAY) // 86_400_000_000
    ((path, _, blob),) = [r for r in rolled(table, day) if r[1] is level]
    found = unpacked(blob, path, day, level)
    wanted = Summaries.of(PATH, batch_of(rows), 0, level.us)
    for name in ("start_us", "count", "good", "low", "high", "last"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    size = np.maximum(np.abs(wanted.low), np.abs(wanted.high))
    finite = np.isfinite(wanted.mean)
    assert (np.abs(found.mean[finite] - wanted.mean[finite]) <= 1e-12 * size[finite]).all()
    assert not np.isfinite(found.mean[~finite]).any()


@given(gone=Values, left=Values, late=Values, level=st.sampled_from(Level))
def test_what_comes_late_is_added_to_what_was_rolled_up(gone: Some, left: Some, late: Some, level: Level) -> None:
    """Even where only a part of the samples is left: those of even seconds went, odd ones stay or come late."""
    day = to_us(DAY) // 86_400_000_000
    gone = [(2 * (second // 2), value, quality) for second, value, quality in gone]
    left = [(4 * (second // 4) + 1, value, quality) for second, value, quality in left]
    late = [(4 * (second // 4) + 3, 2e6 + second, Quality.GOOD) for second, _, _ in late]  # told never before
    first, rest, more, whole = (batch_of(rows) for rows in (gone + left, left, late, gone + left + late))
    known = Summaries.of(PATH, first, 0, level.us)
    found = unpacked(packed(amended(known, rest, more, level), day, level), PATH, day, level)
    wanted = Summaries.of(PATH, whole, 0, level.us)
    for name in ("start_us", "count", "good", "low", "high"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    nothing = SampleBatch.joined("S01", [])
    for name in ("start_us", "count", "good", "low", "high", "last"):
        np.testing.assert_array_equal(getattr(amended(known, rest, nothing, level), name), getattr(known, name))


@given(harm=st.data())
def test_no_changed_bit_passes(harm: st.DataObject) -> None:
    table = table_of([(second, second / 100, Quality.GOOD) for second in range(0, 4_000, 20)])
    for path, level, blob in rolled(table, to_us(DAY) // 86_400_000_000):
        bit = harm.draw(st.integers(0, 8 * len(blob) - 1))
        spoilt = bytearray(blob)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadReply, match="damaged"):
            unpacked(bytes(spoilt), path, to_us(DAY) // 86_400_000_000, level)
