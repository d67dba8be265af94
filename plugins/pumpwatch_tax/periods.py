"""Local days, weeks and months of a station as microseconds since 1970 UTC, the same wherever a period is cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pumpwatch import from_us, to_us

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
WEEK_US: Final = 7 * DAY_US
_MONDAY_US: Final = 4 * DAY_US
"""1970-01-05 was a Monday."""


@dataclass(frozen=True, slots=True)
class Month:
    """One calendar month of a place that is so many hours from UTC."""

    year: int
    month: int
    utc_offset_h: float

    @property
    def period(self) -> str:
        """``2026-04``."""
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def start(self) -> datetime:
        """Its first midnight, in UTC."""
        return datetime(self.year, self.month, 1, tzinfo=UTC) - timedelta(hours=self.utc_offset_h)

    @property
    def end(self) -> datetime:
        """The first midnight of the next month, in UTC."""
        return self.following.start

    @property
    def following(self) -> Month:
        """The month after it."""
        return Month(self.year + self.month // 12, self.month % 12 + 1, self.utc_offset_h)

    @property
    def days(self) -> int:
        """28 to 31."""
        return (self.end - self.start).days


def month_of(at: datetime, utc_offset_h: float) -> Month:
    """The local month in which a moment lies."""
    there = at.astimezone(UTC) + timedelta(hours=utc_offset_h)
    return Month(there.year, there.month, utc_offset_h)


def months_ending(since: datetime, until: datetime, utc_offset_h: float, later: timedelta) -> Iterator[Month]:
    """The months for which since < end + later <= until."""
    month = month_of(since - later, utc_offset_h)
    while month.end + later <= until:
        if month.end + later > since:
            yield month
        month = month.following


def days_ending(since: datetime, until: datetime, utc_offset_h: float) -> range:
    """The numbers of the local days (since 1970) for which since < end <= until."""
    offset = round(utc_offset_h * HOUR_US)
    return range((to_us(since) + offset) // DAY_US, (to_us(until) + offset) // DAY_US)


def day_end(day: int, utc_offset_h: float) -> datetime:
    """The midnight that ends a local day, in UTC."""
    return from_us((day + 1) * DAY_US - round(utc_offset_h * HOUR_US))


def weeks_ending(since: datetime, until: datetime, utc_offset_h: float) -> range:
    """The numbers of the local weeks (from Monday, since 1970-01-05) for which since < end <= until."""
    offset = round(utc_offset_h * HOUR_US) - _MONDAY_US
    return range((to_us(since) + offset) // WEEK_US, (to_us(until) + offset) // WEEK_US)


def week_start_us(week: int, utc_offset_h: float) -> int:
    """The midnight with which a local week begins."""
    return week * WEEK_US + _MONDAY_US - round(utc_offset_h * HOUR_US)
