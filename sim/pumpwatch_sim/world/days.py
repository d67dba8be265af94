"""The county's days: public holidays, reckoned by the mean moon, and the staff's shifts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import cache

LOCAL_US = 8 * 3_600_000_000
"""The county's wall clock is so far ahead of UTC; no summer time."""
DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
_EPOCH = date(1970, 1, 1)
_NEW_MOON_DAY = 10_962.76 + 8.0 / 24.0
"""A new moon (6 January 2000, 18:14 UTC), days since 1970, local."""
_MONTH_DAYS = 29.530588853
_SHIFT_HOURS = 8
_CREWS = "ABCD"


class Holiday(StrEnum):
    """The public holidays."""

    NEW_YEAR = "new year"
    SPRING = "spring festival"
    QINGMING = "qingming"
    LABOUR = "labour day"
    DRAGON_BOAT = "dragon boat"
    MID_AUTUMN = "mid-autumn"
    NATIONAL = "national day"


@dataclass(frozen=True, slots=True)
class Shift:
    """Eight hours of one crew."""

    crew: str
    start_us: int
    end_us: int


def local_day(at_us: int) -> date:
    """The date on the county's wall clock."""
    return _EPOCH + timedelta(days=(at_us + LOCAL_US) // DAY_US)


def holiday_on(day: date) -> Holiday | None:
    """The holiday of this day. The moon's feasts are reckoned by the mean moon and may be a day off the real ones."""
    return _holidays(day.year).get(day)


def travel_day(day: date) -> bool:
    """Whether a long holiday begins or ends: everyone is on the road."""
    today = holiday_on(day)
    if today not in {Holiday.SPRING, Holiday.NATIONAL, Holiday.LABOUR}:
        return False
    return holiday_on(day - timedelta(days=1)) is not today or holiday_on(day + timedelta(days=1)) is not today


def shift_at(at_us: int) -> Shift:
    """Who is on duty: three shifts from midnight, four crews in turn."""
    number = (at_us + LOCAL_US) // (_SHIFT_HOURS * _HOUR_US)
    start_us = number * _SHIFT_HOURS * _HOUR_US - LOCAL_US
    return Shift(_CREWS[number % len(_CREWS)], start_us, start_us + _SHIFT_HOURS * _HOUR_US)


@cache
def _holidays(year: int) -> dict[date, Holiday]:
    spans = (
        (Holiday.NEW_YEAR, date(year, 1, 1), 1),
        (Holiday.QINGMING, date(year, 4, 4), 3),
        (Holiday.LABOUR, date(year, 5, 1), 5),
        (Holiday.DRAGON_BOAT, _new_moon(date(year, 5, 21)) + timedelta(days=4), 3),
        (Holiday.MID_AUTUMN, _new_moon(date(year, 8, 25)) + timedelta(days=14), 3),
        (Holiday.NATIONAL, date(year, 10, 1), 7),
        (Holiday.SPRING, _new_moon(date(year, 1, 21)) - timedelta(days=1), 8),
    )
    return {first + timedelta(days=more): kind for kind, first, days in spans for more in range(days)}


def _new_moon(earliest: date) -> date:
    """The first day on or after ``earliest`` with a mean new moon."""
    days = (earliest - _EPOCH).days
    months = -(-(days - _NEW_MOON_DAY) // _MONTH_DAYS)
    return _EPOCH + timedelta(days=int(_NEW_MOON_DAY + months * _MONTH_DAYS))
