"""What the physics remembers of a tank: the claims are the same with it and without, whatever became of the days."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache

import numpy as np
import pytest
from worlds import world

from pumpwatch import Digests, WorkOrder, from_us, to_us
from pumpwatch.courses import DAY_US, HOUR_US
from pumpwatch_physics import keeping, runs
from pumpwatch_physics.blocks import Day
from pumpwatch_physics.runs import digest, follow
from pumpwatch_physics.watch import Watch

OFFSET_US = 8 * HOUR_US
NATS = 7.0
"""Low, so that there is much to remember."""


@lru_cache
def station():
    """A past in which a nozzle turns short, and its digests by day."""
    past, _ = world("short_by_mainboard", days=26, percent=4.0, onset="P13D")
    first = (to_us(past.start) + OFFSET_US) // DAY_US
    return past, {first + n: digest(past, first + n, OFFSET_US) for n in range(26)}


def until(day):
    return from_us((day + 1) * DAY_US - OFFSET_US + HOUR_US)


def marked(days):
    """Digests as the server hands them on: the last day is not over."""
    last = max(days)
    marks = {
        day: hashlib.blake2b(b"".join(told[tank].tobytes() for tank in sorted(told))).digest()
        for day, told in days.items()
        if day != last
    }
    return Digests(days, marks)


def told(past, days, memory):
    """Everything that is claimed, in words."""
    end = until(max(days))
    those = follow(past, marked(days), end - timedelta(days=20), end, OFFSET_US, NATS, memory)
    return [(one.tanks, one.claims, one.earlier, np.array(one.track.value).tobytes()) for one in those]


def test_a_watch_that_was_put_away_goes_on_as_it_was():
    past, days = station()
    visits = [to_us(order.at) for order in past.work_orders]
    claims = []
    for tank in days[min(days)]:
        those = [Day.from_array(days[day][tank]) for day in sorted(days)]
        kept, other = Watch(those[0].nozzles, 3.0), Watch(those[0].nozzles, 3.0)
        for number, day in enumerate(those):
            if number % 7 == 3:
                other = keeping.from_bytes(keeping.to_bytes(other))
            for watch in (kept, other):
                watch.tell(number * DAY_US, None if number == 20 else day, visits, worked=number == 18)
        assert other.claims == kept.claims
        assert keeping.to_bytes(other) == keeping.to_bytes(kept)
        claims += kept.claims
    assert claims


@pytest.mark.parametrize("spoil", [lambda b: b[:40], lambda b: b[:8] + b"[" * 60 + b[68:], lambda _: b""])
def test_what_is_no_watch_is_refused(spoil):
    with pytest.raises(ValueError):
        keeping.from_bytes(spoil(keeping.to_bytes(Watch(3, NATS))))


def test_day_by_day_with_memory_is_as_without(monkeypatch):
    past, days = station()
    memory, first, steps = {}, min(days), []
    tell = Watch.tell
    monkeypatch.setattr(Watch, "tell", lambda *a, **k: (steps.append(1), tell(*a, **k))[1])
    for last in range(first + 22, first + 26):
        some = {day: those for day, those in days.items() if day <= last}
        expected = told(past, some, None)
        steps.clear()
        assert told(past, some, memory) == expected
        if last > first + 22:
            assert len(steps) == 2 * len(expected), "the day that is over and the one that is not, of each tank"
    assert any(claims for _, claims, _, _ in expected)


def test_a_day_that_became_another_is_told_again():
    past, days = station()
    memory, last = {}, max(days)
    told(past, days, memory)
    for change in (last - 1, last - 12):
        others = {**days, change: {tank: (values * 1.5).astype(np.float32) for tank, values in days[last].items()}}
        for tank, values in others[change].items():
            values[0] = days[last][tank][0]
        assert told(past, others, memory) == told(past, others, None)
        gone = {day: those for day, those in days.items() if day != change}
        assert told(past, gone, memory) == told(past, gone, None)
    order = WorkOrder("S01", "S01", until(last - 9), "inspection")
    visited = replace(past, work_orders=(*past.work_orders, order))
    assert told(visited, days, memory) == told(visited, days, None)
    earlier = {day: those for day, those in days.items() if day <= last - 5}
    assert told(past, earlier, memory) == told(past, earlier, None)


def test_memory_does_not_grow_without_end():
    past, days = station()
    memory = {}
    for nats in np.linspace(7.0, 9.0, 7).tolist():
        end = until(max(days))
        those = list(follow(past, marked(days), end - timedelta(days=50), end, OFFSET_US, nats, memory))
    assert 0 < len(memory) <= (runs._MOST + 1) * len(those)
