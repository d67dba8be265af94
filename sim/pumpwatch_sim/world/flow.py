"""How fuel flows within one filling: up in 1.5 s, evenly, and slowly over the last 0.6 L so that it stops on the spot.

With ``F`` the plateau: the flow rises in proportion to time, stands at F, falls in proportion to what is left once that
is less than 0.6 L, and never below 5 L/min. Litres, L/min and seconds; numbers or arrays of equal shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, overload

import numpy as np

if TYPE_CHECKING:
    from pumpwatch_sim.world.timeline import Floats

RAMP_UP_S = 1.5
SLOW_LAST_L = 0.6
LAST_DROPS_L_MIN = 5.0

Number: TypeAlias = "float | Floats"


@dataclass(frozen=True, slots=True)
class _Course:
    """The four parts of a filling; rates in L/s."""

    full: Floats
    ramp_s: Floats
    ramp_l: Floats
    even_s: Floats
    easing_l: Floats
    """What is left when the easing begins."""
    easing_s: Floats
    drops: Floats
    """The rate of the last drops."""
    drops_l: Floats

    @property
    def duration_s(self) -> Floats:
        return self.ramp_s + self.even_s + self.easing_s + self.drops_l / self.drops


def _course(litres: Number, flow_l_min: Number) -> _Course:
    wanted, full = np.broadcast_arrays(np.asarray(litres, float), np.asarray(flow_l_min, float) / 60.0)
    drops = np.minimum(LAST_DROPS_L_MIN / 60.0, full)
    # A small filling has to ease off before the flow has fully risen: there F t / 1.5 = F left / 0.6.
    pace = SLOW_LAST_L / RAMP_UP_S
    third = full / (2.0 * RAMP_UP_S)
    meet_s = (np.sqrt(pace**2 + 4.0 * third * wanted) - pace) / (2.0 * third)
    # The smallest end within the rise, or at the last drops' rate.
    least_s = np.minimum(RAMP_UP_S * drops / full, np.sqrt(wanted / third))
    ramp_s = np.minimum(RAMP_UP_S, np.maximum(meet_s, least_s))
    ramp_l = third * ramp_s**2
    left = np.maximum(wanted - ramp_l, 0.0)
    easing_l = np.minimum(left, SLOW_LAST_L)
    even_s = (left - easing_l) / full
    drops_l = np.minimum(easing_l, SLOW_LAST_L * drops / full)
    easing_s = SLOW_LAST_L / full * np.log(np.maximum(easing_l, 1e-300) / np.maximum(drops_l, 1e-300))
    return _Course(full, ramp_s, ramp_l, even_s, easing_l, easing_s, drops, drops_l)


@overload
def duration_s(litres: float, flow_l_min: float) -> float: ...
@overload
def duration_s(litres: Floats, flow_l_min: Number) -> Floats: ...
@overload
def duration_s(litres: float, flow_l_min: Floats) -> Floats: ...
def duration_s(litres: Number, flow_l_min: Number) -> Number:
    """Seconds from the first flow to the last."""
    return _plain(_course(litres, flow_l_min).duration_s)


@overload
def progress_l(litres: float, flow_l_min: float, seconds: float) -> float: ...
@overload
def progress_l(litres: Number, flow_l_min: Number, seconds: Floats) -> Floats: ...
@overload
def progress_l(litres: Floats, flow_l_min: Number, seconds: Number) -> Floats: ...
def progress_l(litres: Number, flow_l_min: Number, seconds: Number) -> Number:
    """Litres so many seconds after the first flow: exactly 0 before it and exactly ``litres`` from the duration on."""
    course = _course(litres, flow_l_min)
    since = np.asarray(seconds, float)
    rising_l = course.full / (2.0 * RAMP_UP_S) * np.clip(since, 0.0, course.ramp_s) ** 2
    since = since - course.ramp_s
    even_l = course.full * np.clip(since, 0.0, course.even_s)
    since = since - course.even_s
    easing_l = course.easing_l * -np.expm1(-course.full / SLOW_LAST_L * np.clip(since, 0.0, course.easing_s))
    since = np.maximum(since - course.easing_s, 0.0)
    drops_l = np.minimum(course.drops * since, course.drops_l)
    done = np.asarray(seconds, float) >= course.duration_s
    wanted = np.broadcast_to(np.asarray(litres, float), done.shape)
    return _plain(np.where(done, wanted, np.minimum(rising_l + even_l + easing_l + drops_l, wanted)))


@overload
def rate_l_min(litres: float, flow_l_min: float, seconds: float) -> float: ...
@overload
def rate_l_min(litres: Number, flow_l_min: Number, seconds: Floats) -> Floats: ...
@overload
def rate_l_min(litres: Floats, flow_l_min: Number, seconds: Number) -> Floats: ...
def rate_l_min(litres: Number, flow_l_min: Number, seconds: Number) -> Number:
    """The flow at that moment; 0 before and after."""
    course = _course(litres, flow_l_min)
    since = np.asarray(seconds, float)
    left = np.asarray(litres, float) - np.asarray(progress_l(litres, flow_l_min, since))
    rate = course.full * np.minimum(np.minimum(1.0, since / RAMP_UP_S), left / SLOW_LAST_L)
    floor = np.minimum(course.drops, course.full * since / RAMP_UP_S)
    flowing = (since > 0.0) & (since < course.duration_s)
    return _plain(np.where(flowing, np.maximum(rate, floor), 0.0) * 60.0)


def _plain(values: Floats) -> Number:
    return float(values) if values.ndim == 0 else values
