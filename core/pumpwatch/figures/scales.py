"""From where to where the axes of a figure reach, and what stands at their ticks."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pumpwatch.model import Figure

Ticks = list[tuple[float, str]]
_DAY_S: Final = 86_400
_STEPS_S: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, _DAY_S, 2 * _DAY_S,
    5 * _DAY_S, 7 * _DAY_S, 14 * _DAY_S, 30 * _DAY_S, 60 * _DAY_S, 120 * _DAY_S, 360 * _DAY_S,
)  # fmt: skip
_TIMES_S: Final = (0.0, 2.5e11)
"""Seconds that are written as times: until the year 9892; beyond they are plain numbers."""


def extent(figure: Figure) -> tuple[tuple[float, float], tuple[float, float]]:
    """From where to where x and y reach, with a little room; bars stand on zero."""
    from pumpwatch.figures.elements import is_level, reach  # noqa: PLC0415 - see the package

    shown = [curve for curve in figure.curves if curve.x]
    wide = [curve for curve in shown if not is_level(curve)] or shown
    x = list(chain((at for at, _ in figure.marks), *(curve.x for curve in wide)))
    x += [end for c in wide if c.shape == "bars" for end in (min(c.x) - reach(c), max(c.x) + reach(c))]
    y = list(chain(*(chain(curve.y, curve.y_high) for curve in shown)))
    y += [0.0] if any(curve.shape == "bars" for curve in shown) else []
    return _room(x, 0.02, 60.0 if figure.x_is_time else 1.0), _room(y, 0.06, 1.0)


def _room(values: list[float], part: float, least: float) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        wide = max(least, 1e-3 * abs(low))
        return low - wide, high + wide
    return low - part * (high - low), high + part * (high - low)


def number_ticks(low: float, high: float, most: int) -> Ticks:
    """Round numbers between ``low`` and ``high``, about ``most`` of them."""
    step = 10.0 ** math.floor(math.log10((high - low) / max(1, most)))
    step *= next(m for m in (1, 2, 5, 10, 20) if (high - low) / (step * m) <= max(1, most))
    places = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(place, _number(place, digits)) for place in places]


def _number(value: float, digits: int) -> str:
    text = f"{value:.6g}" if abs(value) >= 1e9 or digits > 6 else f"{value:,.{digits}f}"
    return "0" if float(text.replace(",", "")) == 0.0 else text.replace("-", "−")


def time_ticks(low: float, high: float, zone: tzinfo, pixels: float) -> Ticks:
    """Round local times between two; the day (or the year) stands under the first and wherever it changes."""
    if not (_TIMES_S[0] <= low and high <= _TIMES_S[1]):
        return number_ticks(low, high, int(pixels / 110))
    step = next((s for s in _STEPS_S if pixels * s / (high - low) >= (70 if s < 60 else 56)), 0)
    step = step or math.ceil((high - low) * 80 / pixels / (360 * _DAY_S)) * 360 * _DAY_S
    offset = (datetime.fromtimestamp(low, zone).utcoffset() or timedelta(0)).total_seconds()
    ticks: Ticks = []
    above = ""
    for i in range(math.ceil((low + offset) / step), math.floor((high + offset) / step) + 1):
        at = i * step - offset
        local = datetime.fromtimestamp(at, UTC).astimezone(zone)
        fine = "%H:%M:%S" if step < 60 else "%H:%M" if step < _DAY_S else "%m-%d"
        coarse = local.strftime("%m-%d" if step < _DAY_S else "%Y")
        ticks.append((at, local.strftime(fine) + (f"\n{coarse}" if coarse != above else "")))
        above = coarse
    return ticks
