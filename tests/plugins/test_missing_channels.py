"""Kinds of data that are missing switch off exactly the rules that need them; nothing crashes, nothing alarms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import world

from pumpwatch import Channel, Severity
from pumpwatch.contracts import Detector
from pumpwatch.detection.replay import judge_station
from pumpwatch.plugins import Plugins
from pumpwatch.testing import without

RULES = [kind(kind.Settings()) for _, kind in sorted(Plugins.discover().rules.items())]


def judged(past):
    """Alarms, and the rules that are off."""
    findings, _, off = judge_station(past, RULES, past.start, past.end)
    return [f for f in findings if f.severity is not Severity.INFO], off


@pytest.mark.parametrize("channel", list(Channel))
def test_what_is_missing_switches_off_those_that_need_it(channel):
    past, _ = world(days=62)
    poorer = without(past, channel)
    alarms, off = judged(poorer)
    lost = past.channels - poorer.channels
    assert channel in lost
    assert set(off) == {rule.rule for rule in RULES if rule.needs & lost}
    assert alarms == []


def test_everything_that_may_be_missing_is_missing():
    past, _ = world(days=62)
    for channel in Channel:
        past = without(past, channel) if channel in past.channels else past
    past = replace(past, work_orders=(), reports=(), covert_tests=(), events=(), identities=())
    alarms, off = judged(past)
    assert alarms == []
    assert set(off) == {rule.rule for rule in RULES if rule.needs}


def test_a_station_without_a_single_record():
    past, _ = world(days=62)
    nothing = past.between(past.end, past.end + (past.end - past.start))
    nothing = replace(nothing, declarations=(), reports=(), covert_tests=(), work_orders=())
    alarms, _ = judged(nothing)
    assert alarms == []


@pytest.mark.parametrize("seed", range(3))
def test_channels_that_come_and_go_row_by_row(seed):
    past, _ = world(days=62)
    chance = np.random.default_rng(seed)
    holes = {
        name: np.where(chance.random(len(past.sales)) < 0.3, np.nan, getattr(past.sales, name))
        for name in ("encoder_l", "encoder_pulses", "totalizer_l", "totalizer_cny", "preset_value")
    }
    alarms, off = judged(replace(past, sales=replace(past.sales, **holes)))
    assert alarms == []
    assert off == {}


def test_the_live_rules_need_nothing_either():
    assert [rule.rule for rule in RULES if isinstance(rule, Detector) and rule.needs] == []
