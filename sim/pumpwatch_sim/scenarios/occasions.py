"""When things happen that come back every few days: by the station's wall clock, the same whichever stretch asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pumpwatch_sim.world.timeline import STRETCH_DAYS

if TYPE_CHECKING:
    from pumpwatch_sim.scenarios.base import Scenario

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
STRETCH_US = STRETCH_DAYS * DAY_US
LOCAL_OFFSET_US = 8 * HOUR_US
"""Of the county's wall clock to UTC."""


def midnight_us(at_us: int) -> int:
    """The local midnight at or before."""
    return (at_us + LOCAL_OFFSET_US) // DAY_US * DAY_US - LOCAL_OFFSET_US


def occasions(
    scenario: Scenario,
    span_us: tuple[int, int],
    every_days: float,
    hours: tuple[float, float],
    length_us: int = 0,
) -> Iterator[tuple[int, int]]:
    """Number and begin of those that touch the span; the first comes at the first such hour after the onset.

    They begin every ``every_days`` (whole days), somewhere between two hours of the local clock; hours beyond 24
    belong to the next day.
    """
    step = max(1, round(every_days)) * DAY_US
    first = midnight_us(scenario.onset_us) - int(hours[0] // 24) * DAY_US
    if first + hours[0] * HOUR_US < scenario.onset_us:
        first += DAY_US
    number = max(0, (span_us[0] - length_us - first) // step - 2)
    while first + number * step < span_us[1]:
        hour = scenario.chance("occasion", number).uniform(*hours)
        begin = first + number * step + int(hour * HOUR_US)
        late = scenario.end_us is not None and begin >= scenario.end_us
        if begin < span_us[1] and begin + length_us >= span_us[0] and not late:
            yield number, begin
        number += 1


def fitted(onset_us: int, origin_us: int, lead_us: int, length_us: int) -> int:
    """The first moment from the onset at which a span of this length, with as much before it, lies in one stretch."""
    into = (onset_us - origin_us) % STRETCH_US
    if into < lead_us:
        return onset_us + lead_us - into
    if into + length_us > STRETCH_US:
        return onset_us + STRETCH_US - into + lead_us
    return onset_us
