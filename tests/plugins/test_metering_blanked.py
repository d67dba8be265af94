"""Counts that go missing at one nozzle only are told; holes of a whole station, outages and old boards are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from worlds import world

from pumpwatch import Severity, to_us
from pumpwatch.testing import cut_invariant
from pumpwatch_metering.blanked import BlankedCounts, BlankedSettings

RULE = BlankedCounts(BlankedSettings())
DAYS = 42


@pytest.fixture(scope="module")
def honest():
    return world(days=DAYS)[0]


def blanked(past, choose):
    """``choose(volumes, days, dice)`` of each nozzle's sales by number says which lose their counts."""
    sales = past.sales
    pulses, encoder = sales.encoder_pulses.copy(), sales.encoder_l.copy()
    days = (sales.end_us - to_us(past.start)) / 86_400e6
    for code in range(len(sales.nozzle_ids)):
        rows = np.flatnonzero(sales.nozzle == code)
        gone = choose(code, sales.volume_l[rows], days[rows], np.random.default_rng(code))
        pulses[rows[gone]] = encoder[rows[gone]] = np.nan
    return replace(past, sales=replace(sales, encoder_pulses=pulses, encoder_l=encoder))


def said(past):
    return list(RULE.review(past, past.start, past.end))


def at_first(choose):
    """Of the first nozzle only."""
    return lambda code, volumes, days, dice: choose(volumes, days, dice) & (code == 0)


LARGEST = at_first(lambda v, d, dice: (dice.random(len(v)) < 0.3) & (v > np.median(v)) & (d > 10.0))
ANY = at_first(lambda v, d, dice: (dice.random(len(v)) < 0.15) & (d > 10.0))


def test_larger_fillings_of_one_nozzle(honest):
    past = blanked(honest, LARGEST)
    cuts = [past.start + timedelta(days=d) for d in (3.3, 12.0, 15.7, 30.01)]
    findings = cut_invariant(RULE, past, cuts)
    assert {f.subject.nozzle_id for f in findings} == {past.sales.nozzle_ids[0]}
    assert findings[-1].severity is Severity.LOW
    assert findings[-1].estimate.low < 100.0 * 0.15 < findings[-1].estimate.high + 1.5
    assert timedelta(days=10) < findings[0].detected_at - past.start < timedelta(days=21)
    assert sum(len(curve.x) for curve in findings[-1].figures[0].curves) <= 400


def test_any_fillings_of_one_nozzle_are_a_note(honest):
    findings = said(blanked(honest, ANY))
    assert findings
    assert {f.severity for f in findings} == {Severity.INFO}


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_holes_at_all_nozzles(honest, share):
    assert said(blanked(honest, lambda code, v, d, dice: dice.random(len(v)) < share)) == []


@pytest.mark.parametrize(
    "choose",
    [
        lambda v, d, dice: (d > 14.0) & (d < 21.0),
        lambda v, d, dice: d < 20.0,
        lambda v, d, dice: np.ones(len(v), bool),
        lambda v, d, dice: dice.random(len(v)) < 0.9,
        lambda v, d, dice: dice.random(len(v)) < 0.02,
        lambda v, d, dice: v < 1.0,
    ],
    ids=["an outage", "connected later", "an old board", "hardly ever", "now and then", "tiny ones"],
)
def test_what_is_not_selective(honest, choose):
    assert said(blanked(honest, at_first(choose))) == []


def test_an_honest_station_is_quiet(honest):
    assert said(honest) == []
