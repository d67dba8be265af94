"""Manifolded tanks: the siphon between them brings their levels together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch_sim.world.fluids import from_20c

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch_sim.world.timeline import Floats, Ints, TankCourse

TAU_S = 2_400.0
"""In which a difference of level falls to a third, two equal tanks half full."""
_STEP_US = 300_000_000
_ROW = 36
"""Steps for which one temperature is good enough to say what is level."""


def level_out(courses: Sequence[TankCourse]) -> list[TankCourse]:
    """The courses with what flows through the siphon; each tank's net outflow is its loss ``siphon``.

    Every tank moves towards the level all would share; nothing is lost between them.
    """
    start_us, end_us = int(courses[0].at_us[0]), int(courses[0].at_us[-1])
    grid = np.arange(start_us, end_us + _STEP_US, _STEP_US, dtype=np.int64)
    grid[-1] = end_us
    alone = np.array([np.interp(grid, course.at_us, course.stock_20c_l) for course in courses])
    shared = _shared(courses, grid, alone.sum(axis=0))
    # Each step the gap closes by the same share: gap_i+1 = keep (gap_i + what came from outside - the shared rise).
    keep = float(np.exp(-_STEP_US / 1e6 / TAU_S))
    outside = np.diff(alone - shared, axis=1)
    gap = np.empty_like(alone)
    gap[:, 0] = alone[:, 0] - shared[:, 0]
    for place, (now, came) in enumerate(zip(gap, outside.tolist(), strict=True)):
        value = float(now[0])
        path = [value]
        for step in came:
            value = keep * (value + step)
            path.append(value)
        gap[place] = path
    moved = shared + gap - alone
    moved[:, 0] = 0.0
    moved -= moved.mean(axis=0)
    return [_with(course, grid, through) for course, through in zip(courses, moved, strict=True)]


def _shared(courses: Sequence[TankCourse], grid: Ints, total_20c_l: Floats) -> Floats:
    """What each tank would hold at 20 °C if all stood at one height."""
    heights = np.linspace(0.0, min(float(course.plan.true_chart.height_mm[-1]) for course in courses), 300)
    tables = []
    hours = np.arange(0, len(grid), _ROW)
    held = np.empty((len(courses), len(grid)))
    for course in courses:
        warm = np.interp(grid[hours], course.slow_us, course.temperature_c)
        water = np.interp(grid[hours], course.slow_us, course.water_l)
        share = 1.0 / from_20c(1.0, warm, course.plan.product.expansion)
        volume = course.plan.true_chart.volume_l(heights)
        tables.append((np.maximum(volume[None, :] - water[:, None], 0.0)) * share[:, None])
    both = np.sum(tables, axis=0)
    for row, first in enumerate(hours.tolist()):
        span = slice(first, first + _ROW)
        height = np.interp(total_20c_l[span], both[row], heights)
        for place, table in enumerate(tables):
            held[place, span] = np.interp(height, heights, table[row])
    return held


def _with(course: TankCourse, grid: Ints, moved: Floats) -> TankCourse:
    at_us = np.union1d(course.at_us, grid)
    stock = np.interp(at_us, course.at_us, course.stock_20c_l) + np.interp(at_us, grid, moved)
    losses = dict(course.losses_20c_l) | {"siphon": -float(moved[-1])}
    return replace(course, at_us=at_us, stock_20c_l=stock, losses_20c_l=losses)
