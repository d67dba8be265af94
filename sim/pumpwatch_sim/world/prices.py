"""What a litre costs: one price a grade at a station, moved by the nation at midnight every second week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, overload

import numpy as np

from pumpwatch_sim.chance import generator

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import NozzlePlan, StationPlan
    from pumpwatch_sim.world.timeline import Ints

ADJUSTMENT_DAYS = 14
"""Ten working days, as the national rule has it."""
_LOCAL_US = 8 * 3_600_000_000
_DAY_US = 86_400_000_000
_FIRST_DAY = (date(2016, 1, 6) - date(1970, 1, 1)).days
"""The Wednesday at whose midnight the first adjustment came into force."""
_ADJUSTMENTS = 4_000
_STEP, _KEPT = 14.0, 0.93
_LEAST = 4
"""Smaller adjustments (0.01 CNY/L) are put off, as the rule has it."""


@dataclass(frozen=True, slots=True)
class PriceChange:
    """A grade costs something else from a midnight on."""

    at_us: int
    grade: str
    price: int
    """0.01 CNY per litre."""


def price_of(nozzle: NozzlePlan, at_us: int) -> int:
    """What a litre (0.01 CNY) costs at this nozzle when it is lifted at that time; held until it is hung up."""
    return nozzle.price + int(_levels()[_adjustment(at_us)])


@overload
def price_at(station: StationPlan, nozzle: int, at_us: int) -> int: ...
@overload
def price_at(station: StationPlan, nozzle: Ints, at_us: Ints) -> Ints: ...
def price_at(station: StationPlan, nozzle: Ints | int, at_us: Ints | int) -> Ints | int:
    """:func:`price_of` by index into ``StationPlan.nozzles``, one or many at once."""
    if isinstance(nozzle, np.ndarray):
        bases = np.array([plan.price for plan in station.nozzles], np.int64)
        return bases[nozzle] + _levels()[_adjustments(np.asarray(at_us, np.int64))]
    return price_of(station.nozzles[nozzle], int(at_us))


def changes(station: StationPlan, start_us: int, end_us: int) -> tuple[PriceChange, ...]:
    """The changes from ``start_us`` until before ``end_us``, by time, then grade."""
    bases = {nozzle.registered.grade: nozzle.price for nozzle in station.nozzles}
    found = []
    for number in range(_adjustment(start_us - 1) + 1, _adjustment(end_us - 1) + 1):
        at_us = (_FIRST_DAY + number * ADJUSTMENT_DAYS) * _DAY_US - _LOCAL_US
        before, after = int(_levels()[number - 1]), int(_levels()[number])
        if before != after:
            found += [PriceChange(at_us, grade, base + after) for grade, base in sorted(bases.items())]
    return tuple(found)


def level_on(day: date) -> int:
    """By how much (0.01 CNY/L) the nation's prices stand above their long mean on this day, local time."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=12)
    return int(_levels()[_adjustment(int(midnight.timestamp()) * 1_000_000 - _LOCAL_US)])


def _adjustment(at_us: int) -> int:
    day = (at_us + _LOCAL_US) // _DAY_US - _FIRST_DAY
    return min(max(day // ADJUSTMENT_DAYS, 0), _ADJUSTMENTS - 1)


def _adjustments(at_us: Ints) -> Ints:
    days = (at_us + _LOCAL_US) // _DAY_US - _FIRST_DAY
    return np.clip(days // ADJUSTMENT_DAYS, 0, _ADJUSTMENTS - 1)


@cache
def _levels() -> Ints:
    """Wanders about 0 and never far: the oil market of an invented world, the same for every seed."""
    levels, level = [], 0
    for draw in generator("national prices").normal(0.0, _STEP, _ADJUSTMENTS):
        wanted = round(_KEPT * level + float(draw))
        level = wanted if abs(wanted - level) >= _LEAST else level
        levels.append(level)
    return np.array(levels, np.int64)
