"""What ``flow_switch`` remembers: the same is found with it and without, and it is used only while its days stand."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from functools import lru_cache

import numpy as np
import pytest
import worlds

from pumpwatch import Digests, from_us
from pumpwatch.courses import DAY_US
from pumpwatch_physics import flow_switch
from pumpwatch_physics.flow_fillings import gathered
from pumpwatch_physics.flow_memory import FlowMemory
from pumpwatch_physics.flow_rates import HISTORY_DAYS, rates
from pumpwatch_physics.flow_switch import FlowSwitch, FlowSwitchSettings

DAYS = 48
RULE = FlowSwitch(FlowSwitchSettings())
OFFSET_US = RULE.utc_offset_us


@lru_cache
def station(name, **keys):
    """A past and its digests by day."""
    past, _ = worlds.world(name, "S06", days=DAYS, **keys)
    days = RULE.days_between(past.start, past.end)
    return past, {day: told for day in days if (told := RULE.digest(past, day))}


def marked(days):
    """Digests as the server hands them on: the last day is not over."""
    last = max(days)
    marks = {day: hashlib.blake2b(told["fillings"].tobytes()).digest() for day, told in days.items() if day != last}
    return Digests(days, marks)


def found(past, days, memory):
    """What is said of the last week, ids and words."""
    until = from_us(max(days) * DAY_US - OFFSET_US + 5 * 3_600_000_000)
    return [repr(each) for each in RULE.conclude(past, marked(days), until - timedelta(days=7), until, memory)]


@pytest.fixture
def looked_at(monkeypatch):
    """How many days' fillings were looked at, each time."""
    counts = []
    monkeypatch.setattr(
        flow_switch, "gathered", lambda days, offset: (counts.append(len(days)), gathered(days, offset))[1]
    )
    return counts


def test_day_by_day_the_same_is_found_with_memory_and_without(looked_at):
    past, days = station("F06", level="C", share=20.0, onset="P36D")
    memory, said, quick = {}, [], 0
    for last in sorted(days)[24::2]:
        some = {day: told for day, told in days.items() if day <= last}
        expected = found(past, some, None)
        looked_at.clear()
        assert found(past, some, memory) == expected
        quick += looked_at == [2]
        assert not expected or looked_at[-1] == len(some)
        said += expected
    assert said
    assert quick >= 4


def test_the_flows_learnt_from_memory_are_those_learnt_anew():
    past, days = station("F06", level="C", share=20.0, onset="P36D")
    first, last, nozzles = min(days), max(days), len(past.nozzles)
    whole = rates(gathered(days, OFFSET_US), nozzles)
    memory = FlowMemory({}, marked(days), nozzles, first - HISTORY_DAYS, OFFSET_US)
    memory.keep(whole, range(first, last - 5))
    before = memory.rates(range(first, last))
    assert before.centre.shape[1] == last - 5 - first
    fresh = {day: told for day, told in days.items() if day >= last - 5}
    made = rates(gathered(fresh, OFFSET_US), nozzles, before)
    for name in ("centre", "counted", "histogram", "learnt"):
        assert getattr(made, name).tobytes() == np.ascontiguousarray(getattr(whole, name)).tobytes(), name
    single = whole.day >= last - 5 - first
    assert (made.excess == whole.excess[single]).all()
    assert (made.day == whole.day[single]).all()


def test_a_day_that_became_another_or_is_gone_is_learnt_again(looked_at):
    past, days = station("")
    memory, last = {}, max(days)
    assert found(past, days, memory) == found(past, days, None) == []
    for change in (last - 1, last - 25):
        looked_at.clear()
        found(past, days, memory)
        assert looked_at == [0], "all are known"
        others = days | {change: {"fillings": days[change - 1]["fillings"]}}
        gone = {day: told for day, told in days.items() if day != change}
        for those in (others, gone):
            looked_at.clear()
            assert found(past, those, memory) == found(past, those, None)
            assert looked_at[0] > 0 or change not in those
            found(past, days, memory)


def test_only_what_was_told_whole_is_remembered():
    past, days = station("")
    first, last, nozzles = min(days), max(days), len(past.nozzles)
    whole, kept = rates(gathered(days, OFFSET_US), nozzles), {}
    FlowMemory(kept, marked(days), nozzles, first + 5 - HISTORY_DAYS, OFFSET_US).keep(whole, range(first, last + 1))
    assert set(kept) == {str(day) for day in range(first + 5, last)}, (
        "later ones have their history, the last is not over"
    )
    assert FlowMemory(kept, marked(days), nozzles + 1, first - 99, OFFSET_US).rates(range(first + 5, last)) is None
