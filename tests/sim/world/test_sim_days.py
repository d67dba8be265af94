"""Holidays by the moon, days on the county's clock, and shifts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from pumpwatch.model import to_us
from pumpwatch_sim.world.days import Holiday, holiday_on, local_day, shift_at, travel_day

HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    "new_year", [date(2024, 2, 10), date(2025, 1, 29), date(2026, 2, 17), date(2027, 2, 6), date(2028, 1, 26)]
)
def test_the_spring_festival_is_where_the_moon_puts_it(new_year: date) -> None:
    days = [date(new_year.year, 1, 1) + timedelta(days=n) for n in range(90)]
    spring = [day for day in days if holiday_on(day) is Holiday.SPRING]
    assert len(spring) == 8
    assert abs((spring[0] + timedelta(days=1) - new_year).days) <= 1
    assert [day for day in spring if travel_day(day)] == [spring[0], spring[-1]]


@pytest.mark.parametrize("year", range(2024, 2036))
def test_a_year_has_its_holidays(year: int) -> None:
    days = [date(year, 1, 1) + timedelta(days=n) for n in range(365)]
    kinds = {holiday_on(day) for day in days}
    assert kinds >= set(Holiday) - {Holiday.MID_AUTUMN}  # which may fall into the national week
    assert 24 <= sum(holiday_on(day) is not None for day in days) <= 33
    assert holiday_on(date(year, 10, 4)) is Holiday.NATIONAL
    assert holiday_on(date(year, 7, 15)) is None
    assert not travel_day(date(year, 10, 4))


def test_the_local_day_begins_eight_hours_early() -> None:
    at = datetime(2026, 3, 1, 16, tzinfo=UTC)
    assert local_day(to_us(at)) == date(2026, 3, 2)
    assert local_day(to_us(at) - 1) == date(2026, 3, 1)


def test_shifts_follow_one_another_without_a_gap() -> None:
    at_us = to_us(datetime(2026, 3, 1, 16, tzinfo=UTC))
    shift = shift_at(at_us)
    assert (shift.start_us, shift.end_us) == (at_us, at_us + 8 * HOUR_US)
    crews = []
    for _ in range(12):
        assert shift_at(shift.end_us - 1) == shift
        after = shift_at(shift.end_us)
        assert after.start_us == shift.end_us
        crews.append(shift.crew)
        shift = after
    assert sorted(crews) == sorted("ABCD" * 3)
    assert all(one != other for one, other in pairwise(crews))
