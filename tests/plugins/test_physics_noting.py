"""Notes of the balance: a meter set right by certificate, and one that is likely worn."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from worlds import staged

from pumpwatch import Severity, from_us, to_us
from pumpwatch.detection.replay import in_order
from pumpwatch_physics import TankBalance
from pumpwatch_physics.noting import days_of, worn
from pumpwatch_physics.runs import DAYS, LEAD_DAYS, SPAN_DAYS, Followed
from pumpwatch_physics.watch import Claim, Sized, Track
from pumpwatch_sim.dataset.pasts import station_past

DAY_US = 86_400_000_000
BEGUN = 20_500
"""A day of which LEAD_DAYS later no span begins."""


@pytest.fixture(scope="module")
def past():
    """A calibration on the sixteenth day, and one nozzle more without."""
    staging = staged(
        {"name": "H09", "onset": "P15D", "nozzle": "S01-N02"}, count=1, days=24, seed=4, tanks=1, nozzles_per_tank=2
    )
    return station_past(staging, "S01")


def reviewed(past, cut=None):
    rule = TankBalance(TankBalance.Settings())
    ends = [past.start, *([] if cut is None else [cut]), past.end]
    found = [f for a, b in pairwise(ends) for f in rule.review(past, a, b)]
    return in_order(found)


def test_a_certified_calibration_is_noted_a_day_later(past):
    (order,) = [order for order in past.work_orders if order.kind == "calibration"]
    (note,) = reviewed(past)
    assert (note.cause, note.severity, note.subject.nozzle_id) == ("recalibration", Severity.INFO, "S01-N02")
    assert (note.onset, note.detected_at) == (order.at, order.at + timedelta(days=1))
    assert order.certificate_no in note.explanation.what.en
    assert note.evidence[0].data["error_percent"] == order.error_percent
    for cut in (order.at + timedelta(hours=23), note.detected_at, order.at + timedelta(days=3)):
        assert reviewed(past, cut) == [note]


@pytest.mark.parametrize("missing", ["signed_by_repairer", "signed_by_institute"])
def test_a_calibration_that_one_of_them_has_not_signed_is_no_such_paper(past, missing):
    orders = tuple(replace(order, **{missing: None}) for order in past.work_orders)
    assert reviewed(replace(past, work_orders=orders)) == []


def followed(values, sd=0.001, claims=(), first=BEGUN):
    """A watch of one nozzle beside another: its error of each day, a share."""
    track = Track(
        day_us=[(first + place + 1) * DAY_US for place in range(len(values))],
        value=[np.array([0.0, value]) for value in values],
        sd=[np.full(2, sd) for _ in values],
        litres=[np.full(2, 1000.0) for _ in values],
    )
    return Followed(("S01-T1",), "92#", ("S01-N01", "S01-N02"), (), tuple(claims), track)


def notes(past, watch, days=200):
    digests = {day: {"S01-T1": ()} for day in range(BEGUN, BEGUN + days)}
    ends = from_us(0), from_us(10**17)
    return [round(to_us(f.detected_at) / DAY_US) - 1 for f in worn(past, watch, digests, *ends, 0)]


def test_a_worn_meter_is_noted_when_it_leaves_the_tolerance_and_once_a_span(past):
    values = [min(0.0001 * place, 0.0045) for place in range(90)]
    told = notes(past, followed(values))
    spans = [day for day in range(BEGUN + 31, BEGUN + 90) if day % SPAN_DAYS == 0]
    assert told == [BEGUN + 31, *spans]


def test_an_error_that_comes_and_goes_about_the_limit_is_noted_once(past):
    values = [0.0029 if place < 40 or place % 3 else 0.0031 for place in range(60)]
    told = notes(past, followed(values))
    assert told[0] == BEGUN + 42
    assert all(day % SPAN_DAYS == 0 for day in told[1:])


@pytest.mark.parametrize(
    ("value", "sd"), [(0.0029, 0.001), (0.0045, 0.0025), (-0.0045, 0.001)], ids=["inside", "unsure", "gives more"]
)
def test_an_error_within_the_limit_or_hardly_known_is_no_note(past, value, sd):
    assert notes(past, followed([value] * 90, sd)) == []


def test_a_nozzle_that_was_claimed_is_not_noted_as_well(past):
    claim = Claim("nozzle", 1, True, (BEGUN + 20) * DAY_US, BEGUN * DAY_US, Sized(0.004, 0.003, 0.005, 0), 12.0)
    assert notes(past, followed([0.0045] * 90, claims=[claim])) == []
    assert notes(past, followed([0.0045] * 90, claims=[replace(claim, nozzle=0)])) != []


def test_each_day_belongs_to_the_watch_of_its_span():
    """A watch's first days are another's to tell, unless there is none before it."""
    digests = {day: {"S01-T1": ()} for day in range(BEGUN, BEGUN + 2 * DAYS)}
    later = -(-(BEGUN + 1 + LEAD_DAYS) // SPAN_DAYS) * SPAN_DAYS - LEAD_DAYS
    own = [day for _, day in days_of(followed([0.0] * DAYS), digests, 0)]
    assert own == list(range(BEGUN, own[-1] + 1))
    next_one = [day for _, day in days_of(followed([0.0] * DAYS, first=later), digests, 0)]
    assert next_one == list(range(later + LEAD_DAYS, later + LEAD_DAYS + SPAN_DAYS))
    assert own[-1] < next_one[0]
