"""What the gauge sees: noise, resolution, units and deliveries."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from pumpwatch_sim.county import build_county
from pumpwatch_sim.live.gauge import Gauge, Units
from pumpwatch_sim.world.forecourt import LiveTank
from pumpwatch_sim.world.world import World

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)


@pytest.fixture
def world() -> World:
    return World(build_county(1, date(2026, 11, 22), 1), START, step_s=1.0)


def gauge_of(world: World, units: Units = Units.METRIC) -> Gauge:
    return Gauge(1, list(world.tanks.values()), lambda: world.now_us, units)


def test_noise_is_a_fifth_of_a_mm_and_belongs_to_the_second(world: World) -> None:
    gauge = gauge_of(world)
    tank = next(iter(world.tanks.values()))
    true_mm = tank.plan.shape.height_mm(tank.fuel_l + tank.water_l)
    heights = []
    for second in range(2000):
        height = gauge.look(tank, tank.fuel_l, world.now_us + second * 1_000_000).height_mm
        assert height == pytest.approx(round(height, 1), abs=1e-9)
        heights.append(height)
    mean = sum(heights) / len(heights)
    sigma = (sum((h - mean) ** 2 for h in heights) / len(heights)) ** 0.5
    assert mean == pytest.approx(true_mm, abs=0.02)
    assert sigma == pytest.approx(0.2, abs=0.02)
    assert gauge.inventory(1) == gauge.inventory(1)
    other = gauge.look(tank, tank.fuel_l, world.now_us + 999_999)
    assert other.height_mm == gauge.inventory(1).height


def test_volumes_follow_from_the_height(world: World) -> None:
    gauge = gauge_of(world)
    for number, tank in enumerate(world.tanks.values(), 1):
        seen, shape = gauge.inventory(number), tank.plan.shape
        assert seen.volume == pytest.approx(shape.volume_l(seen.height) - shape.volume_l(seen.water))
        assert seen.volume == pytest.approx(tank.fuel_l, abs=25)
        assert seen.ullage + seen.volume + seen.water_volume == pytest.approx(shape.capacity_l)
        beta = 0.00084 if tank.plan.registered.grade == "0#" else 0.0012
        assert seen.tc_volume == pytest.approx(seen.volume * (1 - beta * (seen.temperature - 20)))
        assert 1.5 <= seen.water <= 9.5
        assert 8 <= seen.temperature <= 15


def test_us_units(world: World) -> None:
    metric, us = gauge_of(world).inventory(1), gauge_of(world, Units.US).inventory(1)
    assert us.volume == pytest.approx(metric.volume / 3.785411784)
    assert us.height == pytest.approx(metric.height / 25.4)
    assert us.water == pytest.approx(metric.water / 25.4)
    assert us.temperature == pytest.approx(metric.temperature * 9 / 5 + 32)
    assert us.tc_volume < us.volume * 1.02


def test_local_time_is_the_county_s(world: World) -> None:
    assert gauge_of(world).local_time().strftime("%y%m%d%H%M") == "2611221230"


def test_temperature_varies_slowly(world: World) -> None:
    tank = next(iter(world.tanks.values()))
    hourly = [tank.temperature_c(world.start_us + hour * 3_600_000_000) for hour in range(25)]
    assert max(abs(b - a) for a, b in pairwise(hourly)) < 0.2
    assert 0.5 < max(hourly) - min(hourly) <= 1.0


def test_a_delivery_shows_while_it_runs_and_afterwards(world: World) -> None:
    gauge = gauge_of(world)
    tank: LiveTank = next(iter(world.tanks.values()))
    tank.fuel_l = 0.2 * tank.plan.registered.capacity_l + 5
    number = 1
    assert gauge.deliveries(number) == []
    second = 0
    while tank.unloading is None:
        second += 1
        world.advance_to(START + timedelta(seconds=second))
        assert second < 1800
    assert gauge.inventory(number).status == 1
    assert gauge.deliveries(number) == []
    began = gauge.local_time()
    while tank.unloading is not None:
        second += 1
        world.advance_to(START + timedelta(seconds=second))
    assert gauge.inventory(number).status == 0
    (report,) = gauge.deliveries(number)
    assert report.start.strftime("%H%M") == began.strftime("%H%M")
    assert timedelta(minutes=9) < report.end - report.start < timedelta(minutes=42)
    assert 5_500 < report.end_volume - report.start_volume < 12_100
    assert report.start_volume == pytest.approx(0.2 * tank.plan.registered.capacity_l, abs=60)
    assert report.end_height > report.start_height
    assert report.end_tc_volume > report.end_volume
