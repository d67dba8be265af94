"""W01 to W08: what each leaves in levels, deliveries and densities, and that honest tanks have none of it."""

from __future__ import annotations

import numpy as np
import pytest
from evidence_records import (
    balance,
    densities,
    drop_errors,
    honest,
    lost_per_hour,
    lost_per_sold,
    over_full,
    pick,
    shares,
    totalizer_steps,
    unrecorded,
    water_slope,
    world,
)

from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US
from pumpwatch_sim.scenarios.wetstock import ChartWrong
from pumpwatch_sim.world.deliveries import house_lorry

STATION = "S15"
TANK = f"{STATION}-T1"
GALLON_L = 3.785


@pytest.mark.parametrize(("gallons", "course"), [(0.5, "even"), (2.0, "level")])
def test_w01_a_leak_takes_fuel_while_nobody_sells(gallons: float, course: str) -> None:
    pool = world("W01", STATION, 3, onset="P0D", tank=TANK, gallons_per_hour=gallons, course=course)
    usual = lost_per_hour(honest(STATION, 3), 0)
    assert abs(usual) < 1.0 < lost_per_hour(pool, 0)
    assert lost_per_hour(pool, 0) - usual == pytest.approx(gallons * GALLON_L, rel=0.35)
    lost = sum(timeline.tanks[0].losses_20c_l["leak"] for timeline in pool.timelines[1:])
    assert lost == pytest.approx(gallons * GALLON_L * 14 * 24, rel=0.3)


def test_w02_a_line_leaks_with_what_is_sold() -> None:
    pool = world("W02", STATION, 3, onset="P0D", tank=TANK, percent=3)
    usual = honest(STATION, 3)
    assert lost_per_sold(pool, 0) - lost_per_sold(usual, 0) == pytest.approx(0.03, abs=0.008)
    assert abs(lost_per_hour(pool, 0) - lost_per_hour(usual, 0)) < 0.4


def test_w03_the_tank_falls_at_night() -> None:
    pool = world("W03", STATION, tank=TANK, litres=200, every_days=2)
    rows = unrecorded(pool, 0)
    course = balance(pool, 0)
    nights = {int(at - pool.onset_us) // DAY_US for at in course.at_us[rows]}
    assert len(nights) >= 3
    assert (course.at_us[rows] > pool.onset_us).all()
    hours = (course.at_us[rows] + 8 * HOUR_US) % DAY_US / HOUR_US
    assert ((hours >= 1) & (hours <= 4.3)).all()
    assert (totalizer_steps(pool.transactions) == 0.0).all()
    assert unrecorded(honest(STATION), 0).size == 0


@pytest.mark.parametrize("percent", [3.0, -3.0])
def test_w04_the_gauge_sees_more_fall_than_is_sold(percent: float) -> None:
    pool = world("W04", STATION, tank=TANK, percent=percent)
    (scenario,) = pool.scenarios
    assert scenario.onset_us == pool.timelines[1].start_us
    before = lost_per_sold(pool, 0, until_us=scenario.onset_us)
    settled_us = scenario.onset_us + 2 * HOUR_US
    after = lost_per_sold(pool, 0, since_us=settled_us)
    usual = lost_per_sold(honest(STATION), 0, since_us=settled_us)
    assert before == pytest.approx(lost_per_sold(honest(STATION), 0, until_us=scenario.onset_us), abs=0.002)
    assert after - usual == pytest.approx(percent / 100, abs=0.01)
    assert np.array_equal(pool.timelines[1].tanks[0].stock_20c_l, honest(STATION).timelines[1].tanks[0].stock_20c_l)


def test_w04_a_tilted_chart_errs_by_height() -> None:
    pool = world("W04", STATION, tank=TANK, percent=0.0, tilt_percent=2.0)
    (scenario,) = pool.scenarios
    assert isinstance(scenario, ChartWrong)
    right = pool.station.tanks[0].gauge_chart
    wrong = scenario.believed(right)
    heights = right.height_mm[-1] * np.array([0.05, 0.1, 0.9, 0.95])
    rise = np.diff(wrong.volume_l(heights))[[0, 2]] / np.diff(right.volume_l(heights))[[0, 2]]
    assert rise[0] > 1.01
    assert rise[1] < 0.99


def test_w05_one_lorry_brings_less() -> None:
    pool = world("W05", STATION, 8, onset="P0D", percent=5, percent_of_deliveries=40)
    errors = drop_errors(pool)
    truck = house_lorry(STATION)
    mine = errors.pop(truck)
    others = [error for each in errors.values() for error in each]
    assert len(mine) >= 4
    assert len(others) >= 4
    assert shares(mine) - shares(others) == pytest.approx(-0.05, abs=0.015)
    usual = drop_errors(honest(STATION, 8))
    assert abs(shares(usual[truck]) - shares([error for each in usual.values() for error in each])) < 0.015


def test_w06_water_rises() -> None:
    pool = world("W06", STATION, tank=TANK, mm_per_day=2.0)
    assert water_slope(pool, 0) == pytest.approx(2.0, abs=0.5)
    assert abs(water_slope(honest(STATION), 0)) < 0.3


def test_w07_the_density_goes_to_kerosene() -> None:
    pool = world("W07", STATION, 3, onset="P0D", tank=TANK, percent=30)
    usual = densities(honest(STATION, 3), 0)["density_kg_m3"]
    last = densities(pool, 0)["density_kg_m3"][-100:]
    product = pool.station.tanks[0].product
    assert usual == pytest.approx(product.density_20c, abs=6.0)
    assert last.mean() - product.density_20c == pytest.approx(0.3 * (800 - product.density_20c), rel=0.5)


def test_w08_the_level_stands_above_95_percent() -> None:
    pool = world("W08", STATION, 3, onset="P0D", tank=TANK)
    assert over_full(pool, 0) > 5
    rows = pick(pool.readings, pool.readings["tank"] == 0)
    assert rows["volume_l"].max() <= pool.station.tanks[0].registered.capacity_l * 1.02
    assert all(over_full(honest(STATION, 3), tank) == 0 for tank in range(4))
    assert [over_full(pool, tank) for tank in (1, 2, 3)] == [0, 0, 0]
