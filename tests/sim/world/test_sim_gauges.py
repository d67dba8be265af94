"""Readings: as noisy as planned, the same however they are asked for, and wrong only as their faults say."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import islice, pairwise

import numpy as np
import pytest

from pumpwatch_sim.county import build_county
from pumpwatch_sim.fleet import Stations
from pumpwatch_sim.world.gauges import SWELL_LASTS_US, read
from pumpwatch_sim.world.making import lives
from pumpwatch_sim.world.plans import Probe
from pumpwatch_sim.world.timeline import GaugeFault, GaugeFaultKind, TankCourse, Timeline
from pumpwatch_sim.world.work import Columns

ORIGIN_US = 1_767_110_400_000_000
MINUTE_US = 60_000_000
DAY_US = 1_440 * MINUTE_US
PLAIN = build_county(1, date(2026, 1, 1), 3).stations[0]
FIRST, SECOND = islice(lives(PLAIN, Stations(), 1, ORIGIN_US, ()), 2)


def still(probe: Probe, share: float = 0.5) -> tuple[TankCourse, Timeline]:
    """A tank in which nothing moves."""
    course = FIRST.tanks[0]
    plan = replace(course.plan, probe=probe, gauge_chart=course.plan.true_chart)
    bounds = np.array([FIRST.start_us, FIRST.end_us])
    calm = TankCourse(
        plan=plan,
        at_us=bounds,
        stock_20c_l=np.full(2, share * plan.true_chart.capacity_l),
        slow_us=bounds,
        temperature_c=np.full(2, 12.0),
        water_l=np.full(2, 30.0),
        density_20c=np.full(2, 738.0),
        losses_20c_l={},
    )
    return calm, replace(FIRST, tanks=(calm, *FIRST.tanks[1:]))


@pytest.mark.parametrize(("noise_mm", "quantum_mm"), [(0.1, 0.1), (0.2, 0.1), (0.5, 1.0)])
def test_the_level_is_as_noisy_and_as_coarse_as_planned(noise_mm: float, quantum_mm: float) -> None:
    course, timeline = still(Probe(noise_mm, quantum_mm))
    heights = []
    for share in np.linspace(0.49, 0.51, 40):
        moved = replace(course, stock_20c_l=np.full(2, share * course.plan.true_chart.capacity_l))
        at_us = timeline.start_us + np.arange(500) * MINUTE_US
        height = read(moved, timeline, at_us, 1)["height_mm"]
        steps = height / quantum_mm
        assert np.allclose(steps, np.round(steps), atol=1e-6)
        warm = moved.stock_20c_l[0] / (1.0 - moved.plan.product.expansion * (12.0 - 20.0))
        heights.append(height - moved.plan.true_chart.height_mm_of(np.array([warm + 30.0]))[0])
    errors = np.concatenate(heights)
    assert np.std(errors) == pytest.approx(np.hypot(noise_mm, quantum_mm / np.sqrt(12.0)), rel=0.06)
    assert abs(errors.mean()) < 0.05 * max(noise_mm, quantum_mm)


def test_volume_temperature_water_and_density_are_what_the_console_makes_of_them() -> None:
    course, timeline = still(Probe(0.2, 0.1, temperature_noise_c=0.03, density_noise=0.5))
    columns = read(course, timeline, timeline.start_us + np.arange(2_000) * MINUTE_US, 1)
    chart = course.plan.gauge_chart
    assert np.allclose(
        columns["volume_l"], chart.volume_l(columns["height_mm"]) - chart.volume_l(columns["water_mm"]), atol=0.051
    )
    factor = 1.0 - course.plan.product.expansion * (columns["temperature_c"] - 20.0)
    assert np.allclose(columns["volume_20c_l"], columns["volume_l"] * factor, atol=0.11)
    assert columns["temperature_c"].mean() == pytest.approx(12.0, abs=0.005)
    assert columns["temperature_c"].std() == pytest.approx(0.03, rel=0.1)
    assert columns["density_kg_m3"].std() == pytest.approx(0.5, rel=0.1)
    assert columns["density_kg_m3"].mean() == pytest.approx(738.0, abs=0.05)
    blind, timeline = still(Probe(0.2, 0.1, density_noise=np.inf))
    assert np.isnan(read(blind, timeline, np.array([timeline.start_us]), 1)["density_kg_m3"]).all()


def test_one_reading_alone_is_the_same_as_among_thousands() -> None:
    course = SECOND.tanks[1]
    at_us = SECOND.start_us + np.arange(0, 7 * 288) * 5 * MINUTE_US
    many = read(course, SECOND, at_us, 1)
    for place in (0, 7, 1_000, 2_015):
        one = read(course, SECOND, at_us[place : place + 1], 1)
        assert {name: column[0] for name, column in one.items()} == {name: many[name][place] for name in many}
    same_second = read(course, SECOND, at_us[5:6] + 400_000, 1)
    assert same_second["temperature_c"][0] == many["temperature_c"][5]
    assert not np.array_equal(read(course, SECOND, at_us, 2)["height_mm"], many["height_mm"])


def test_the_surface_swings_after_a_delivery_and_comes_to_rest() -> None:
    drop = SECOND.drops[0]
    course = SECOND.tanks[drop.tank]
    calm = replace(course, swells=())
    seconds = np.arange(0, 1_200) * 1_000_000
    swing = np.abs(
        read(course, SECOND, drop.end_us + seconds, 1)["height_mm"]
        - read(calm, SECOND, drop.end_us + seconds, 1)["height_mm"]
    )
    assert 6.0 < swing[:60].max() <= 30.5
    assert swing[500:600].max() < swing[:60].max() / 3.0
    assert swing[SWELL_LASTS_US // 1_000_000 :].max() == 0.0


def with_fault(timeline: Timeline, kind: GaugeFaultKind, start_us: int, minutes: int, **more: float) -> Timeline:
    tank_id = PLAIN.tanks[0].registered.tank_id
    fault = GaugeFault(tank_id, start_us, start_us + minutes * MINUTE_US, kind, **more)  # type: ignore[arg-type]
    return replace(timeline, gauge_faults=[fault])


def rows(columns: Columns, chosen: np.ndarray) -> list[tuple[float, ...]]:
    return list(zip(*(columns[name][chosen].tolist() for name in columns), strict=True))


AT_US = SECOND.start_us + np.arange(7 * 288) * 5 * MINUTE_US


def test_a_frozen_gauge_tells_the_same_even_over_the_seam() -> None:
    start_us = SECOND.start_us - 60 * MINUTE_US
    frozen = read(SECOND.tanks[0], with_fault(SECOND, GaugeFaultKind.FROZEN, start_us, 180), AT_US, 1)
    stuck = rows(frozen, start_us + 180 * MINUTE_US > AT_US)
    last = read(FIRST.tanks[0], FIRST, np.array([start_us]), 1)
    assert set(stuck) == set(rows(last, np.array([True])))
    honest = read(SECOND.tanks[0], SECOND, AT_US, 1)
    free = start_us + 180 * MINUTE_US <= AT_US
    assert rows(frozen, free) == rows(honest, free)


@pytest.mark.parametrize("days", [1, 7])
def test_a_replay_tells_again_what_was_told(days: int) -> None:
    start_us = SECOND.start_us + (12 * 60 if days == 1 else 3_000) * MINUTE_US
    fault = with_fault(SECOND, GaugeFaultKind.REPLAYED, start_us, 600, shift_us=days * DAY_US)
    told = read(SECOND.tanks[0], fault, AT_US, 1)
    on = (start_us <= AT_US) & (start_us + 600 * MINUTE_US > AT_US)
    again = read(FIRST.tanks[0], FIRST, AT_US[on] - days * DAY_US, 1)
    assert rows(told, on) == rows(again, np.ones(on.sum(), bool))


def test_an_offset_lifts_the_level_for_its_time() -> None:
    start_us = SECOND.start_us + DAY_US
    told = read(SECOND.tanks[0], with_fault(SECOND, GaugeFaultKind.OFFSET, start_us, 1_440, offset_mm=2.0), AT_US, 1)
    lift = told["height_mm"] - read(SECOND.tanks[0], SECOND, AT_US, 1)["height_mm"]
    on = (start_us <= AT_US) & (start_us + DAY_US > AT_US)
    assert np.allclose(lift[on], 2.0)
    assert np.allclose(lift[~on], 0.0)


def test_a_made_up_feed_follows_the_sales_without_noise() -> None:
    start_us = SECOND.start_us + DAY_US
    told = read(SECOND.tanks[0], with_fault(SECOND, GaugeFaultKind.SYNTHETIC, start_us, 1_440), AT_US, 1)
    on = np.flatnonzero((start_us <= AT_US) & (start_us + DAY_US > AT_US))
    sales = SECOND.sales
    tank_id = PLAIN.tanks[0].registered.tank_id
    mine = np.array([nozzle.registered.tank_id == tank_id for nozzle in PLAIN.nozzles])[sales.nozzle]
    ends, volume = sales.end_us[mine], sales.volume[mine] / 100.0
    drops = [drop.end_us for drop in SECOND.drops if drop.tank == 0]
    misses = []
    for one, other in pairwise(on):
        if not any(AT_US[one] < end_us <= AT_US[other] for end_us in drops):
            sold = volume[(ends > AT_US[one]) & (ends <= AT_US[other])].sum()
            misses.append(told["volume_l"][one] - told["volume_l"][other] - sold)
    assert np.abs(misses).max() < 2.0  # two steps of 0.1 mm
    assert np.abs(np.diff(told["temperature_c"][on], 2)).max() < 0.6  # no noise, only deliveries


def test_the_reported_level_wanders_over_days_and_on_from_stretch_to_stretch() -> None:
    assert all(
        after.level_wander[0] == before.level_wander[-1]
        for before, after in zip(FIRST.tanks, SECOND.tanks, strict=True)
    )
    course, timeline = still(Probe(0.0, 0.001, wander_mm=2.0))
    moved = replace(course, level_wander=np.array([-1.0, 1.0]))
    heights = read(moved, timeline, np.array([timeline.start_us, timeline.end_us - 1]), 1)["height_mm"]
    assert heights[1] - heights[0] == pytest.approx(4.0, abs=0.002)
    steps = np.concatenate([np.diff(tank.level_wander) for line in (FIRST, SECOND) for tank in line.tanks])
    assert np.std(steps) * np.sqrt(24.0) == pytest.approx(np.sqrt(2.0 / 5.0), rel=0.1)
    assert {tank.plan.probe.wander_mm for tank in FIRST.tanks} < {0.52, 1.03, 2.07}
