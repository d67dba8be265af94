"""The density of what came into a tank, reckoned from the blend, and how it differs from what was to be expected."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch.courses import HOUR_US, MINUTE_US, median
from pumpwatch_wetstock.matching import SETTLED_US, Match, is_whole, matches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch import StationPast
    from pumpwatch.past import Levels

    Floats = NDArray[np.float64]

_CERTIFICATE: Final = ("density_20c_kg_m3", "density_kg_m3")
"""Attributes of a delivery paper that tell the density of the load."""
_BEFORE_US, _STILL_US, _AFTER_US = 3 * HOUR_US, 30 * MINUTE_US, 5 * HOUR_US
"""Readings of so long before a delivery, and from so long to so long after it."""
_LEAST_L: Final = 250.0
_LEAST_SHARE: Final = 0.15
"""Of the tank, that a load must be for its density to be reckoned from the blend."""
_READING_SD: Final = 0.15
"""Least deviation of a mean of readings, kg/m³."""
_USUAL_SD, _PAPER_SD = 1.5, 1.0
"""Least deviation of honest loads of a grade about their usual density, and about their certificates."""
_WORTH: Final = 6
"""Loads that the least deviation counts as, when a tank's own is learned."""
_FEWEST: Final = 5


@dataclass(frozen=True, slots=True)
class Load:
    """What came into a tank in one delivery, as the blend tells it; kg/m³ at 20 °C."""

    end_us: int
    judged_us: int
    litres: float
    before: float
    after: float
    density: float
    sd: float
    told: float | None
    """By its paper."""
    match: Match


@dataclass(frozen=True, slots=True)
class Shift:
    """By how much the last loads differ from what was to be expected."""

    value: float
    sd: float
    expected: float
    loads: tuple[Load, ...]
    certified: bool


def loads_of(past: StationPast, tank_id: str, levels: Levels) -> Iterator[Load]:
    """What came into this tank, oldest first, where the gauge tells the density both before and after."""
    mine = sorted(
        (match for match in matches(past) if match.rise is not None and tank_id in match.course.tanks),
        key=lambda match: match.rise.end_us if match.rise is not None else 0,
    )
    for place, match in enumerate(mine):
        rise, step_us = match.rise, match.course.step_us
        if rise is None or rise.worked_on or not is_whole(match.course, rise):
            continue
        low, high = _others(mine, place)
        before = _rows(levels, max(rise.start_us - max(_BEFORE_US, 2 * step_us), low), rise.start_us)
        after = _rows(levels, rise.end_us + _STILL_US, min(rise.end_us + max(_AFTER_US, 2 * step_us), high))
        if before.stop <= before.start or after.stop <= after.start:
            continue
        held = _held(levels, before.stop - 1), _held(levels, after.start)
        came = held[1] - held[0]
        if not came > _LEAST_L or not held[1] > 0.0 or came < _LEAST_SHARE * held[1]:
            continue
        share = min(came / held[1], 1.0)
        (old, old_sd), (new, new_sd) = (_mean(levels.density_kg_m3[rows]) for rows in (before, after))
        yield Load(
            rise.end_us,
            rise.end_us + SETTLED_US + (step_us if match.course.is_coarse else 0),
            came,
            old,
            new,
            old + (new - old) / share,
            math.hypot(new_sd, (1.0 - share) * old_sd) / share,
            _told(match, tank_id),
            match,
        )


def _others(mine: list[Match], place: int) -> tuple[int, int]:
    """Between which times no other fuel came to these tanks than this."""
    before, after = (mine[n].rise if 0 <= n < len(mine) else None for n in (place - 1, place + 1))
    low = before.end_us + _STILL_US if before is not None else -(2**62)
    return low, after.start_us if after is not None else 2**62


def _rows(levels: Levels, start_us: int, end_us: int) -> slice:
    """The readings at start <= time <= end."""
    first, last = np.searchsorted(levels.at_us, [start_us, end_us + 1]).tolist()
    return slice(first, max(first, last))


def _held(levels: Levels, row: int) -> float:
    at_20c = float(levels.volume_20c_l[row])
    return at_20c if math.isfinite(at_20c) else float(levels.volume_l[row])


def _mean(values: Floats) -> tuple[float, float]:
    """Median of some readings and its deviation."""
    middle = median(values)
    spread = 1.4826 * median(np.abs(values - middle))
    return middle, max(1.25 * max(spread, 0.5) / math.sqrt(len(values)), _READING_SD)


def _told(match: Match, tank_id: str) -> float | None:
    """The density of the load by its papers, weighted by litres; None unless each of them tells it."""
    papers = [paper for paper in match.papers if paper.delivery.tank_id == tank_id]
    told = [_number(paper.delivery.attributes) for paper in papers]
    if not papers or any(each is None for each in told):
        return None
    whole = math.fsum(paper.litres for paper in papers)
    return math.fsum(each * paper.litres for each, paper in zip(told, papers, strict=True) if each is not None) / whole


def _number(attributes: Mapping[str, str]) -> float | None:
    for name in _CERTIFICATE:
        try:
            value = float(attributes.get(name, math.nan))
        except ValueError:
            value = math.nan
        if 600.0 < value < 1_000.0:
            return value
    return None


def _weighted(values: list[float], sds: list[float], spread: float) -> tuple[float, float]:
    """Mean of loads by what each is worth, and its deviation."""
    weights = [1.0 / (spread**2 + sd**2) for sd in sds]
    return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights), 1.0 / math.sqrt(
        math.fsum(weights)
    )


def against_papers(late: list[Load]) -> Shift | None:
    """The last loads against their certificates; None where one has none."""
    told = [load.told for load in late if load.told is not None]
    if len(told) < len(late):
        return None
    off = [load.density - each for load, each in zip(late, told, strict=True)]
    value, sd = _weighted(off, [load.sd for load in late], _PAPER_SD)
    return Shift(value, sd, math.fsum(told) / len(told), tuple(late), certified=True)


def against_usual(late: list[Load], before: list[Load]) -> Shift | None:
    """The last loads against those before them; None where those are few."""
    if len(before) < _FEWEST:
        return None
    known, count = [load.density for load in before], len(before)
    middle = statistics.median(known)
    robust = 1.4826 * statistics.median(abs(each - middle) for each in known)
    spread = max(math.sqrt((_WORTH * _USUAL_SD**2 + count * robust**2) / (_WORTH + count)), _USUAL_SD)
    low, high = middle - 2.0 * spread, middle + 2.0 * spread
    usual = float(np.add.reduce([min(max(each, low), high) for each in known])) / count
    value, sd = _weighted([load.density - usual for load in late], [load.sd for load in late], spread)
    return Shift(value, math.hypot(sd, 1.1 * spread / math.sqrt(count)), usual, tuple(late), certified=False)
