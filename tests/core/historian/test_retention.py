"""Retention tag by tag: what is over time goes out of sealed days, roll-ups stay, and late samples still count."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pumpwatch import Batch, NotReachable, SampleBatch, to_us
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, segments
from pumpwatch.historian.checking import State, examine
from pumpwatch.historian.retention import Terms

DAY = datetime(2026, 11, 20, tzinfo=UTC)
ONE = timedelta(days=1)
VOLUME, TANK, STATE = "S01/D1/nozzle-1.volume", "S01/TLS/tank-1.volume", "S01/D1/nozzle-1.state"
RULES = {"samples_days": 30, "tags_days": {"nozzle-*.volume": 5, "tank-*": 300}, "merge_at": 4}


def batch(at: datetime, *paths: str, value: float = 1.0, n: int = 60) -> Batch:
    times = np.array([to_us(at + timedelta(minutes=k)) for k in range(n)], np.int64)
    samples = SampleBatch(
        "S01",
        tuple(p for p in paths for _ in range(n)),
        np.tile(times, len(paths)),
        np.full(n * len(paths), value),
        (),
        np.zeros(n * len(paths), np.uint8),
    )
    return Batch("S01", samples, (), at)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    """Three days of three tags, each day written in two halves."""
    store = EmbeddedStore(EmbeddedSettings.model_validate(RULES), tmp_path / "history" / "embedded")
    await store.open()
    for day in range(3):
        for hour in (0, 12):
            await store.write([batch(DAY + day * ONE + timedelta(hours=hour), VOLUME, TANK, STATE)])
    await store.tidied()
    await store.retention(DAY)  # nothing goes; a day that was written while others were rolled up is now, too
    await store.tidied()
    yield store
    await store.close()


async def counts(store: EmbeddedStore, day: int = 0) -> tuple[int, ...]:
    """Samples of each tag on a day."""
    span = DAY + day * ONE, DAY + (day + 1) * ONE
    return tuple([len((await store.series(path, *span)).samples) for path in (VOLUME, STATE, TANK)])


async def rolled_up(store: EmbeddedStore, path: str, day: int = 0) -> tuple[list[int], list[float]]:
    hours = await store.summaries(path, DAY + day * ONE, DAY + (day + 1) * ONE, timedelta(hours=1))
    return hours.count.tolist(), hours.high.tolist()


async def test_each_tag_is_kept_as_long_as_its_pattern_says(store: EmbeddedStore) -> None:
    for days, kept in ((5, (120, 120, 120)), (7, (0, 120, 120)), (32, (0, 0, 120)), (302, (0, 0, 0))):
        await store.retention(DAY + days * ONE)
        await store.retention(DAY + days * ONE)  # and again changes nothing
        assert await counts(store) == kept
        for path in (VOLUME, STATE, TANK):
            assert await rolled_up(store, path) == ([60, 60], [1.0, 1.0])
    latest = (await store.latest()).paths
    assert latest == (TANK,)  # of the third day
    assert await counts(store, day=2) == (0, 0, 120)
    assert store.damage == ()
    await store.close()
    assert {e.state for e in examine(store.folder.parent)} == {State.SOUND}
    await store.open()
    assert await counts(store, day=2) == (0, 0, 120)


async def test_a_segment_is_written_anew_only_when_something_goes(store: EmbeddedStore) -> None:
    def files() -> set[str]:
        return {f.name for f in (store.folder / "samples").glob("*.parquet")}

    before = files()
    await store.retention(DAY + 4 * ONE)
    assert files() == before
    await store.retention(DAY + 6 * ONE)
    thinned = files()
    assert len(thinned) == len(before)
    assert len(thinned - before) == 1  # of the first day
    await store.retention(DAY + 6 * ONE)
    assert files() == thinned
    await store.write([batch(DAY + 7 * ONE, STATE)])
    await store.retention(DAY + 13 * ONE)  # of the last day nothing is to go: its tag stays longer
    assert len([f for f in files() if f.startswith("2026-11-27")]) == 1


async def test_what_comes_late_for_a_thinned_day_counts_and_goes_in_its_time(store: EmbeddedStore) -> None:
    await store.retention(DAY + 7 * ONE)
    late = batch(DAY + timedelta(hours=12, seconds=30), VOLUME, TANK, value=9.0)
    again = batch(DAY, TANK, value=2.0)
    await store.write([late])
    await store.write([again])
    await store.tidied()
    for left in (60, 0):
        assert await counts(store) == (left, 120, 180)
        assert await rolled_up(store, VOLUME) == ([60, 120], [1.0, 9.0])
        assert await rolled_up(store, TANK) == ([60, 120], [2.0, 9.0])
        assert await rolled_up(store, STATE) == ([60, 60], [1.0, 1.0])
        await store.retention(DAY + 7 * ONE)
    tank = (await store.series(TANK, DAY, DAY + timedelta(hours=1))).samples
    assert tank.values.tolist() == [2.0] * 60


async def test_other_rules_hold_from_the_next_time_on(store: EmbeddedStore) -> None:
    await store.retention(DAY + 7 * ONE)
    await store.close()
    shorter = RULES | {"tags_days": {"S01/TLS/*": 7, "nozzle-*": 0}}
    other = EmbeddedStore(EmbeddedSettings.model_validate(shorter), store.folder)
    await other.open()
    try:
        for days, kept in ((7, (0, 120, 120)), (8, (0, 120, 0)), (20_000, (0, 120, 0))):
            await other.retention(DAY + days * ONE)
            assert await counts(other) == kept
        assert await rolled_up(other, TANK) == ([60, 60], [1.0, 1.0])
    finally:
        await other.close()


async def test_a_damaged_segment_does_not_keep_the_others(store: EmbeddedStore) -> None:
    (victim,) = (store.folder / "samples").glob("2026-11-20-*.parquet")
    data = bytearray(victim.read_bytes())
    data[len(data) // 3] ^= 0x10
    victim.write_bytes(data)
    await store.retention(DAY + 8 * ONE)
    assert await counts(store, day=1) == (0, 120, 120)
    assert any(victim.name in note for note in store.damage)
    assert await rolled_up(store, VOLUME) == ([60, 60], [1.0, 1.0])


async def test_few_samples_of_many_days_go_too(tmp_path: Path) -> None:
    """What lies in the odd lot, since it makes no file a day."""
    store = EmbeddedStore(EmbeddedSettings.model_validate(RULES), tmp_path / "odd")
    await store.open()
    try:
        await store.write([batch(DAY + k * ONE, VOLUME, STATE, n=2) for k in range(8)])
        assert list((store.folder / "samples").glob("odd-*"))
        await store.retention(DAY + 14 * ONE)
        everything = DAY, DAY + 8 * ONE
        assert len((await store.series(VOLUME, *everything)).samples) == 0
        assert len((await store.series(STATE, *everything)).samples) == 16
    finally:
        await store.close()


async def test_writing_and_questions_go_on_while_something_is_forgotten(store: EmbeddedStore) -> None:
    with store._samples._rearranging:
        for _ in range(8):
            await store.write([batch(DAY + 3 * ONE, VOLUME, n=1)])
        await store.tidied()
        assert await counts(store, day=3) == (1, 0, 0)
        assert len(list((store.folder / "samples").glob("2026-11-23-*"))) == 8
    await store.write([batch(DAY + 3 * ONE, VOLUME, n=1)])
    await store.tidied()
    assert len(list((store.folder / "samples").glob("2026-11-23-*"))) < 8  # what was left is done


async def test_broken_off_it_is_done_the_next_time(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the day rolled up and frozen, and nothing taken out yet."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(segments, "seal", full)
        with pytest.raises(NotReachable, match="No space left"):
            await store.retention(DAY + 7 * ONE)
    assert await counts(store) == (120, 120, 120)
    await store.write([batch(DAY, VOLUME, value=3.0, n=1)])
    assert await rolled_up(store, VOLUME) == ([60, 60], [3.0, 1.0])  # in the old one's place
    await store.close()
    await store.open()
    await store.retention(DAY + 7 * ONE)
    assert await counts(store) == (0, 120, 120)
    assert await rolled_up(store, VOLUME) == ([60, 60], [3.0, 1.0])


def test_the_first_pattern_counts() -> None:
    days = {"S01/*": 3, "tank-[12].volume": 10, "*.state": 0}
    terms = Terms.at(DAY, 100, days)
    for path, wanted in (
        ("S01/TLS/tank-1.volume", 3),
        ("S02/TLS/tank-1.volume", 10),
        ("S02/TLS/tank-3.volume", 100),
        ("S02/D1/nozzle/1.state", None),
        ("S02/D1/*", 100),
    ):
        assert terms.of(path) == (None if wanted is None else to_us(DAY - wanted * ONE))
    going = terms.going(to_us(DAY - 5 * ONE))
    assert going is not None
    assert [going.takes(p) for p in ("S01/D1/x", "S02/TLS/tank-1.volume", "S02/D1/x.state")] == [True, False, False]
    assert terms.going(to_us(DAY - 2 * ONE)) is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"samples_days": 0.5}, "0.5 days are too few; write 1 or more"),
        ({"tags_days": {"tank-*": -1}}, "greater than or equal to 0"),
        ({"tags_days": {"": 3}}, "at least 1 character"),
        ({"tags_days": {"tank-*": "long"}}, "valid number"),
        ({"tags_days": {"tank-*": float("inf")}}, "finite number"),
    ],
)
def test_wrong_terms_are_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        EmbeddedSettings.model_validate(settings)


# ---------------------------------------------------------------- a full disk


def fill(disk: Path) -> None:
    with (disk / "ballast").open("ab", buffering=0) as file:
        while free := shutil.disk_usage(disk).free:
            file.write(bytes(free))


def noise(day: int, tags: int) -> Batch:
    """Takes its room on disk."""
    made = batch(DAY + day * ONE, *(f"S01/D1/nozzle-{n}.volume" for n in range(tags)), n=600)
    made.samples.values[:] = np.random.default_rng(day).random(len(made.samples))
    return made


@pytest.fixture
async def small_store(small_disk: Path) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(EmbeddedSettings.model_validate({"samples_days": 3}), small_disk / "embedded")
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("rolled", [True, False], ids=["rolled up already", "not rolled up"])
async def test_what_is_too_old_goes_from_a_full_disk(
    small_store: EmbeddedStore, small_disk: Path, restarted: bool, rolled: bool
) -> None:
    store, days = small_store, 5
    for day in range(days):
        made = noise(day, 80 if rolled else 2)
        await store.write([made if rolled else replace(made, arrived=DAY)])  # all arrived on the first day
        await store.tidied()
    if restarted:
        await store.close()
    fill(small_disk)
    if restarted:
        await store.open()
    await store.retention(DAY + (days + 4) * ONE)
    assert shutil.disk_usage(small_disk).free > (1_000_000 if rolled else 0)
    assert not list((store.folder / "samples").glob("*.parquet"))
    hours = await store.summaries("S01/D1/nozzle-1.volume", DAY, DAY + days * ONE, timedelta(hours=1))
    assert hours.count.tolist() == [60] * 10 * days
    if rolled:
        await store.write([noise(20, 10)])
        assert (store.folder / "reserve").exists()  # for the next time


async def test_without_any_room_retention_says_what_to_do_and_loses_nothing(
    small_store: EmbeddedStore, small_disk: Path
) -> None:
    await small_store.write([noise(0, 10)])
    (small_store.folder / "reserve").unlink()
    fill(small_disk)
    with pytest.raises(NotReachable, match="free space on it"):
        await small_store.retention(DAY + 10 * ONE)
    assert len((await small_store.series("S01/D1/nozzle-7.volume", DAY, DAY + ONE)).samples) == 600
