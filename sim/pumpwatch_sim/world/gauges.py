"""What a tank's gauge tells: the true level through probe and chart, and what is wrong with the telling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pumpwatch_sim.world.fluids import at_20c, from_20c
from pumpwatch_sim.world.noise import key, normals
from pumpwatch_sim.world.tanks import tank_of
from pumpwatch_sim.world.timeline import GaugeFaultKind

if TYPE_CHECKING:
    from pumpwatch_sim.world.timeline import Floats, GaugeFault, Ints, TankCourse, Timeline
    from pumpwatch_sim.world.work import Columns

WATER_NOISE_MM = 0.05
SWELL_LASTS_US, SWELL_TAU_S, SWELL_PERIOD_S = 900_000_000, 200.0, 7.3
"""A delivery's sloshing: gone after a quarter of an hour, down to a third in a fifth of that."""
FED_SHARE = 0.93
"""Whoever makes a feed up never lets the tank look fuller."""
UNLOADING_SWELL = 0.6
"""While fuel still pours in it is so much of what it is at the end."""


def read(course: TankCourse, timeline: Timeline, at_us: Ints, seed: int) -> Columns:
    """Readings at these times within the stretch: the same however many are asked for at once, and how often.

    ``height_mm``, ``water_mm``, ``temperature_c``, ``volume_l`` (fuel alone, by the gauge's chart), ``volume_20c_l``
    and ``density_kg_m3`` (at 20 °C; NaN without densitometer). ``course`` is one of ``timeline.tanks``.
    """
    tank_id = course.plan.registered.tank_id
    told_us, offset_mm = at_us, np.full(len(at_us), course.plan.probe.offset_mm)
    made_up: list[GaugeFault] = []
    for fault in timeline.gauge_faults:
        if fault.tank_id != tank_id:
            continue
        on = (at_us >= fault.start_us) & (at_us < fault.end_us)
        match fault.kind:
            case GaugeFaultKind.FROZEN:
                told_us = np.where(on, fault.start_us, told_us)
            case GaugeFaultKind.REPLAYED:
                told_us = np.where(on, told_us - fault.shift_us, told_us)
            case GaugeFaultKind.OFFSET:
                offset_mm = offset_mm + on * fault.offset_mm
            case GaugeFaultKind.SYNTHETIC:
                made_up.append(fault)
    columns = _at(course, timeline, told_us, offset_mm, seed)
    for fault in made_up:
        on = (at_us >= fault.start_us) & (at_us < fault.end_us)
        for name, column in _made_up(course, timeline, at_us[on], fault).items():
            columns[name][on] = column
    return columns


def _at(course: TankCourse, timeline: Timeline, told_us: Ints, offset_mm: Floats, seed: int) -> Columns:
    """What was told at those times, in this stretch or in the one before."""
    now = told_us >= timeline.start_us
    if now.all():
        return _look(course, timeline, told_us, offset_mm, seed)
    columns = _look(course, timeline, np.maximum(told_us, timeline.start_us), offset_mm, seed)
    before = timeline.previous
    if before is not None:
        tank = _index(course, timeline)
        earlier_us = np.maximum(told_us[~now], before.start_us)
        for name, column in _look(before.tanks[tank], before, earlier_us, offset_mm[~now], seed).items():
            columns[name][~now] = column
    return columns


def _look(course: TankCourse, timeline: Timeline, at_us: Ints, offset_mm: Floats, seed: int) -> Columns:
    plan, probe = course.plan, course.plan.probe
    of = key(seed, "gauge", plan.registered.tank_id)
    level_noise, warm_noise, water_noise, density_noise = normals(of, at_us // 1_000_000, 4)
    warm_c = np.interp(at_us, course.slow_us, course.temperature_c)
    fuel_l = from_20c(np.interp(at_us, course.at_us, course.stock_20c_l), warm_c, plan.product.expansion)
    water_l = np.interp(at_us, course.slow_us, course.water_l)
    level_mm = plan.true_chart.height_mm_of(fuel_l + water_l) + _swell_mm(course, timeline, at_us)
    steps = np.linspace(timeline.start_us, timeline.end_us, len(course.level_wander))
    offset_mm = offset_mm + probe.wander_mm * np.interp(at_us, steps, course.level_wander)
    height_mm = _stepped(level_mm + offset_mm + probe.noise_mm * level_noise, probe.quantum_mm)
    water_mm = _stepped(plan.true_chart.height_mm_of(water_l) + WATER_NOISE_MM * water_noise, 0.1)
    temperature_c = np.round(warm_c + probe.temperature_noise_c * warm_noise, 2)
    density = np.full(len(at_us), np.nan)
    if np.isfinite(probe.density_noise):
        density_20c = np.interp(at_us, course.slow_us, course.density_20c)
        density = np.round(density_20c + probe.density_noise * density_noise, 1)
    return _columns(course, height_mm, water_mm, temperature_c, density)


def _columns(
    course: TankCourse, height_mm: Floats, water_mm: Floats, temperature_c: Floats, density: Floats
) -> Columns:
    """What the console makes of height and warmth."""
    chart = course.plan.gauge_chart
    volume_l = np.maximum(chart.volume_l(height_mm) - chart.volume_l(water_mm), 0.0)
    return {
        "height_mm": height_mm,
        "volume_l": np.round(volume_l, 1),
        "volume_20c_l": np.round(at_20c(volume_l, temperature_c, course.plan.product.expansion), 1),
        "water_mm": water_mm,
        "temperature_c": temperature_c,
        "density_kg_m3": density,
    }


def _stepped(mm: Floats, quantum_mm: float) -> Floats:
    """In steps of the quantum, as decimal fractions."""
    steps: Floats = np.maximum(np.round(mm / quantum_mm), 0.0) * quantum_mm
    rounded: Floats = np.round(steps, 3)
    return rounded


def _index(course: TankCourse, timeline: Timeline) -> int:
    ids = [tank.registered.tank_id for tank in timeline.station.tanks]
    return ids.index(course.plan.registered.tank_id)


def _swell_mm(course: TankCourse, timeline: Timeline, at_us: Ints) -> Floats:
    """The surface after deliveries and while they last."""
    mm = np.zeros(len(at_us))
    if not course.swells or not len(at_us):
        return mm
    tank = _index(course, timeline)
    pouring = {drop.end_us: drop.start_us for drop in timeline.drops if drop.tank == tank}
    first_us, last_us = at_us.min(), at_us.max()
    near = [
        (end_us, height_mm)
        for end_us, height_mm in course.swells
        if pouring.get(end_us, end_us) <= last_us and first_us < end_us + SWELL_LASTS_US
    ]
    if not near:
        return mm
    wave: Floats = np.sin(2.0 * np.pi / SWELL_PERIOD_S * (at_us % 1_000_000_000_000) / 1e6)
    for end_us, height_mm in near:
        since_us = at_us - end_us
        dying = (since_us >= 0) & (since_us < SWELL_LASTS_US)
        mm[dying] += height_mm * np.exp(-since_us[dying] / 1e6 / SWELL_TAU_S)
        mm[(since_us < 0) & (at_us >= pouring.get(end_us, end_us))] += UNLOADING_SWELL * height_mm
    return mm * wave


def feed_l(
    course: TankCourse, timeline: Timeline, fault: GaugeFault, before: tuple[float, float] | None
) -> tuple[float, float]:
    """A ``SYNTHETIC`` fault's ``feed_l`` in this stretch, from that of the stretch before: so it never jumps."""
    if before is not None:
        begun_l = before[1]
    else:
        since_us = np.array([max(fault.start_us, timeline.start_us)], np.int64)
        level_mm = _true_level_mm(course, since_us) + course.plan.probe.offset_mm
        begun_l = float(course.plan.gauge_chart.volume_l(level_mm)[0])
    end_us = np.array([timeline.end_us], np.int64)
    most_l = float(course.plan.gauge_chart.capacity_l)
    return begun_l, min(max(float(_fed_l(course, timeline, end_us, fault, begun_l)[0]), 0.0), most_l)


def _true_level_mm(course: TankCourse, at_us: Ints) -> Floats:
    warm_c = np.interp(at_us, course.slow_us, course.temperature_c)
    fuel_l = from_20c(np.interp(at_us, course.at_us, course.stock_20c_l), warm_c, course.plan.product.expansion)
    return course.plan.true_chart.height_mm_of(fuel_l + np.interp(at_us, course.slow_us, course.water_l))


def _fed_l(course: TankCourse, timeline: Timeline, at_us: Ints, fault: GaugeFault, begun_l: float) -> Floats:
    """What was there, less what the dispensers show since, plus what papers say as far as it would fit."""
    sales, since_us = timeline.sales, max(fault.start_us, timeline.start_us)
    tank = _index(course, timeline)
    mine = (tank_of(timeline.station)[sales.nozzle] == tank) & sales.recorded & (sales.end_us >= since_us)
    end_us = sales.end_us[mine]
    order = np.argsort(end_us, kind="stable")
    sold_l = np.concatenate(([0.0], np.cumsum(sales.volume[mine][order]) / 100.0))
    level_l: Floats = begun_l - sold_l[np.searchsorted(end_us[order], at_us, side="right")]
    came_l, brim_l = 0.0, FED_SHARE * float(course.plan.gauge_chart.capacity_l)
    for drop in timeline.drops:
        if drop.tank == tank and drop.documented and drop.end_us >= since_us:
            before_l = begun_l + came_l - float(sold_l[np.searchsorted(end_us[order], drop.end_us, side="right")])
            litres = min(drop.declared_l, max(brim_l - before_l, 0.0))
            came_l += litres
            level_l = level_l + litres * (at_us >= drop.end_us)
    return level_l


def _made_up(course: TankCourse, timeline: Timeline, at_us: Ints, fault: GaugeFault) -> Columns:
    """A feed that somebody computes, smooth in everything."""
    plan = course.plan
    begun_l, _ = fault.feed_l or feed_l(course, timeline, fault, None)
    level_l = _fed_l(course, timeline, at_us, fault, begun_l)
    water_l = np.interp(at_us, course.slow_us, course.water_l)
    density = np.round(np.interp(at_us, course.slow_us, course.density_20c), 1)
    return _columns(
        course,
        _stepped(plan.gauge_chart.height_mm_of(level_l), plan.probe.quantum_mm),
        np.round(plan.true_chart.height_mm_of(water_l), 1),
        np.round(np.interp(at_us, course.slow_us, course.temperature_c), 2),
        density if np.isfinite(plan.probe.density_noise) else np.full(len(at_us), np.nan),
    )
