"""Prices: one a grade, changed at midnight every second week, and the county's days behind them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from pumpwatch.model import to_us
from pumpwatch_sim.county import build_county
from pumpwatch_sim.world.plans import StationPlan
from pumpwatch_sim.world.prices import ADJUSTMENT_DAYS, changes, level_on, price_at, price_of

TODAY = date(2026, 3, 1)
NOON_US = to_us(datetime(2026, 3, 1, 4, tzinfo=UTC))
DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def station() -> StationPlan:
    return build_county(1, TODAY, 1).stations[0]


def test_changes_come_at_local_midnight_every_second_week(station: StationPlan) -> None:
    found = changes(station, NOON_US, NOON_US + 365 * DAY_US)
    times = sorted({change.at_us for change in found})
    assert 15 <= len(times) <= 26
    assert all((at + 8 * 3_600_000_000) % DAY_US == 0 for at in times)
    assert all(step % (ADJUSTMENT_DAYS * DAY_US) == 0 for step in np.diff(times).tolist())
    assert {change.grade for change in found} == {nozzle.registered.grade for nozzle in station.nozzles}


def test_a_price_holds_from_its_change_to_the_next(station: StationPlan) -> None:
    numbers = {nozzle.registered.grade: index for index, nozzle in enumerate(station.nozzles)}
    for change in changes(station, NOON_US, NOON_US + 120 * DAY_US):
        index = numbers[change.grade]
        assert price_at(station, index, change.at_us) == change.price
        assert price_at(station, index, change.at_us - 1) != change.price
        assert price_at(station, index, change.at_us + ADJUSTMENT_DAYS * DAY_US - 1) == change.price


def test_all_nozzles_of_a_grade_cost_the_same_and_arrays_are_as_their_elements(station: StationPlan) -> None:
    nozzles = np.arange(len(station.nozzles)).repeat(50)
    times = NOON_US + np.arange(len(nozzles)) * DAY_US // 3
    prices = price_at(station, nozzles, times)
    assert prices.dtype == np.int64
    assert prices.tolist() == [price_of(station.nozzles[n], t) for n, t in zip(nozzles, times.tolist(), strict=True)]
    for grade in {nozzle.registered.grade for nozzle in station.nozzles}:
        same = [price_of(nozzle, NOON_US) for nozzle in station.nozzles if nozzle.registered.grade == grade]
        assert len(set(same)) == 1


def test_on_the_day_it_is_invented_the_county_costs_what_was_dealt() -> None:
    for today in (TODAY, TODAY + timedelta(days=100)):
        noon_us = to_us(datetime(today.year, today.month, today.day, 4, tzinfo=UTC))
        dealt = {"92#": (715, 755), "95#": (765, 805), "98#": (865, 915), "0#": (685, 725)}
        for station in build_county(1, today, 5).stations:
            for nozzle in station.nozzles:
                low, high = dealt[nozzle.registered.grade]
                assert low <= price_of(nozzle, noon_us) <= high


def test_the_nation_s_level_wanders_but_stays_near() -> None:
    levels = np.array([level_on(date(2020, 1, 1) + timedelta(days=14 * step)) for step in range(500)])
    assert 10 < levels.std() < 80
    assert abs(levels).max() < 200
    steps = abs(np.diff(levels))
    assert steps[steps > 0].min() >= 4
    assert steps.max() < 100


def test_nothing_changes_in_an_empty_or_quiet_span(station: StationPlan) -> None:
    change = changes(station, NOON_US, NOON_US + 60 * DAY_US)[0]
    assert changes(station, change.at_us, change.at_us) == ()
    assert changes(station, change.at_us + 1, change.at_us + DAY_US) == ()
    assert change in changes(station, change.at_us, change.at_us + 1)
