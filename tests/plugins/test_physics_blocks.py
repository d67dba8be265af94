"""A tank's day as statistics: exact whitening, keeping, what it depends on, and a known error that comes out again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import lru_cache

import numpy as np
import pytest
from worlds import one_tank

from pumpwatch import from_us
from pumpwatch.courses import DAY_US, courses, draws_of
from pumpwatch_physics import blocks
from pumpwatch_physics.blocks import BANDS, BLOCK_US, BLOCKS, LOOKS, WANDER, Columns, Day, whitened
from pumpwatch_physics.runs import digest
from pumpwatch_physics.strata import STRATA
from pumpwatch_sim.dataset.pasts import station_past

OFFSET_US = 8 * 3_600_000_000


@lru_cache(maxsize=4)
def past_of(seed=3, days=24):
    staging = one_tank(days=days, seed=seed)
    return station_past(staging, "S01")


def days_of(past):
    """The whole days, by number."""
    first = int((past.start.timestamp() * 1e6 + OFFSET_US) // DAY_US) + 1
    last = int((past.end.timestamp() * 1e6 + OFFSET_US) // DAY_US)
    return range(first, last)


def midnight(day):
    return from_us(day * DAY_US - OFFSET_US)


def summed(past, days):
    """S and G of these days of the only tank."""
    made = [Day.from_array(told) for day in days for told in digest(past, day, OFFSET_US).values()]
    scores = np.sum([day.scores.sum(axis=0, dtype=float) for day in made], axis=0)
    return scores, np.sum([day.information.sum(axis=0, dtype=float) for day in made], axis=0)


@pytest.mark.parametrize("runs", [[1], [2], [1, 1, 3], [59], [64, 65], [250, 1, 40]])
def test_whitening_is_that_of_the_dense_covariance_run_by_run(runs) -> None:
    count = sum(runs)
    chance = np.random.default_rng(count)
    noise, wander = 3.0, 3.0 * WANDER
    days = chance.uniform(0.5, 30.0, count) / 1440.0
    raw = chance.normal(size=(count, 5))
    begins = np.cumsum([0, *runs[:-1]])
    fresh = np.isin(np.arange(count), begins)
    white = whitened(raw.copy(), days, fresh, noise, wander)
    for begin, length in zip(begins.tolist(), runs, strict=True):
        mine = slice(begin, begin + length)
        covariance = np.diag(2.0 * noise**2 + wander**2 * days[mine])
        covariance -= noise**2 * (np.eye(length, k=1) + np.eye(length, k=-1))
        dense = np.linalg.solve(np.linalg.cholesky(covariance), raw[mine])
        assert np.allclose(white[mine], dense, rtol=1e-9, atol=1e-9)


def test_a_day_kept_is_the_day_made() -> None:
    past = past_of()
    (told,) = digest(past, days_of(past)[15], OFFSET_US).values()
    day = Day.from_array(told)
    assert told.dtype == np.float32
    assert np.array_equal(day.to_array(), told)
    assert day.nozzles == 4
    assert day.scores.shape == (BLOCKS, 4 + 1 + BANDS)
    assert day.part_cross.shape == (4 * len(STRATA), 4 + 1 + BANDS)
    with pytest.raises(ValueError, match="no day"):
        Day.from_array(told[:-1])
    with pytest.raises(ValueError, match="no day"):
        Day.from_array(told[:0])


def test_litres_are_those_of_the_records() -> None:
    past = past_of()
    (course,) = courses(past)
    days = days_of(past)[3:20]
    made = sum(
        Day.from_array(told).litres.sum(axis=0, dtype=float)
        for day in days
        for told in digest(past, day, OFFSET_US).values()
    )
    start, end = (midnight(day).timestamp() * 1e6 for day in (days[0], days[-1] + 1))
    for place, nozzle in enumerate(course.nozzles):
        mine = past.sales.of(nozzle)
        ends = past.sales.end_us[mine]
        sold = past.sales.volume_l[mine][(ends >= start) & (ends < end)].sum()
        assert made[place] == pytest.approx(sold, rel=0.03)


def test_a_known_error_comes_out_again() -> None:
    past = past_of()
    days = days_of(past)[2:]
    number = past.sales.nozzle_ids.index("S01-N02")
    shown = np.where(past.sales.nozzle == number, past.sales.volume_l * 1.02, past.sales.volume_l)
    estimates = []
    for each in (past, replace(past, sales=replace(past.sales, volume_l=shown))):
        scores, known = summed(each, days)
        estimates.append(np.linalg.solve(known[:4, :4], scores[:4]))
    change = estimates[1] - estimates[0]
    assert change[1] == pytest.approx(0.02 / 1.02, abs=0.0008)
    assert np.abs(np.delete(change, 1)).max() < 0.0008


def test_a_known_leak_comes_out_again() -> None:
    past = past_of()
    days = days_of(past)[2:]
    (levels,) = past.levels.values()
    hours = (levels.at_us - levels.at_us[0]) / 3.6e9
    lost = {name: getattr(levels, name) - 2.0 * hours for name in ("volume_l", "volume_20c_l")}
    estimates = []
    for each in (past, replace(past, levels={"S01-T1": replace(levels, **lost)})):
        scores, known = summed(each, days)
        estimates.append(np.linalg.solve(known[:5, :5], scores[:5]))
    assert (estimates[1] - estimates[0])[4] == pytest.approx(2.0, abs=0.15)


def test_a_digest_depends_on_the_fortnight_before_and_the_half_hour_after() -> None:
    past = past_of()
    for day in days_of(past)[17:22]:
        cut = past.between(midnight(day) - timedelta(days=16), midnight(day + 1) + timedelta(minutes=31))
        whole, part = digest(past, day, OFFSET_US), digest(cut, day, OFFSET_US)
        assert whole.keys() == part.keys() == {"S01-T1"}
        assert np.array_equal(whole["S01-T1"], part["S01-T1"])


def test_what_a_look_sees_of_a_block_is_what_was_known_then() -> None:
    """To the last bit once half an hour has passed: what is claimed at a look stays claimed."""
    past = past_of()
    part_us = BLOCK_US // LOOKS
    seen = 0
    for day in days_of(past)[17:20]:
        whole = Day.from_array(digest(past, day, OFFSET_US)["S01-T1"])
        for block, look in ((2, 1), (3, 2), (6, 1)):
            at = midnight(day) + timedelta(microseconds=block * BLOCK_US + look * part_us)
            cut = past.between(past.start, at + timedelta(minutes=31))
            then = Day.from_array(digest(cut, day, OFFSET_US)["S01-T1"])
            for name in ("early_scores", "early_information"):
                mine, theirs = getattr(whole, name)[block, look - 1], getattr(then, name)[block, look - 1]
                assert np.array_equal(mine, theirs), (day, block, look, name)
            seen += whole.early_information[block, look - 1].any()
            assert np.all(np.diag(whole.early_information[block, look - 1]) <= np.diag(whole.information[block]) + 1e-3)
    assert seen >= 6


def test_the_order_of_the_fillings_does_not_matter_within_a_block() -> None:
    past = past_of()
    day = days_of(past)[10]
    sales = past.sales
    turned = replace(sales, nozzle_ids=sales.nozzle_ids)
    assert np.array_equal(
        digest(past, day, OFFSET_US)["S01-T1"], digest(replace(past, sales=turned), day, OFFSET_US)["S01-T1"]
    )


def test_what_is_missing_is_left_out() -> None:
    past = past_of()
    day = days_of(past)[10]
    assert digest(replace(past, levels={}), day, OFFSET_US) == {}
    assert digest(replace(past, nozzles=()), day, OFFSET_US) == {}
    empty = replace(past, sales=past.sales.take(slice(0, 0)))
    (quiet,) = digest(empty, day, OFFSET_US).values()
    assert np.isfinite(quiet).all()
    assert Day.from_array(quiet).litres.sum() == 0.0
    holes = np.where(np.arange(len(past.sales)) % 3 == 0, np.nan, past.sales.volume_l)
    (holed,) = digest(replace(past, sales=replace(past.sales, volume_l=holes)), day, OFFSET_US).values()
    assert np.isfinite(holed).all()
    assert digest(past, day + 400, OFFSET_US) == {}


def test_a_day_is_the_same_whichever_was_made_before(monkeypatch) -> None:
    """Some days are made ready at once, a filling that is under way at their edge with either of them."""
    monkeypatch.setattr(blocks, "_AHEAD_US", 2 * DAY_US)
    past = past_of()
    days = list(days_of(past))
    alone = {day: digest(replace(past), day, OFFSET_US) for day in days[8:]}
    for order in (days[8:], days[:7:-1], days[8::5] + days[10::3] + days[9::2]):
        shared = replace(past)
        for day in order:
            assert digest(shared, day, OFFSET_US)["S01-T1"].tobytes() == alone[day]["S01-T1"].tobytes()


def test_readings_about_deliveries_are_not_used() -> None:
    past = past_of()
    (course,) = courses(past)
    columns = Columns(past, course, OFFSET_US, draws_of(past))
    assert len(course.rises) > 3
    for rise in course.rises:
        rows = course.rows(rise.start_us, rise.end_us + 1)
        assert not columns.usable[rows].any()
    assert columns.usable.mean() > 0.8


def test_each_condition_names_some_of_the_fillings() -> None:
    past = past_of()
    rows = past.sales.of("S01-N01")
    for stratum in STRATA:
        share = stratum.mask(past.sales, rows, OFFSET_US).mean()
        assert 0.0 < share < 1.0, stratum.name
    assert len({stratum.name for stratum in STRATA}) == len(STRATA)
