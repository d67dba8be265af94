"""A nozzle that is dearer than its neighbours for a day is told; changes of price, discounts and clocks are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from worlds import world

from pumpwatch import DeviceEvent, EventKind, Severity, to_us
from pumpwatch.testing import cut_invariant
from pumpwatch_metering.neighbours import NeighbourSettings, PriceNeighbours

RULE = PriceNeighbours(NeighbourSettings())
HOUR_US = 3_600_000_000


def bare(station="S01", days=30):
    """A station of which no price is posted."""
    past, _ = world(station=station, days=days)
    return replace(past, events=tuple(e for e in past.events if e.kind is not EventKind.PRICE))


def repriced(past, change, nozzle=None):
    """``change(prices, hours since the start)`` of one nozzle's sales, one that has neighbours."""
    sales = past.sales
    mine = sales.nozzle == sales.nozzle_ids.index(nozzle or busiest(past))
    hours = (sales.end_us - to_us(past.start)) / HOUR_US
    prices = sales.unit_price.copy()
    prices[mine] = change(prices[mine], hours[mine])
    return replace(past, sales=replace(sales, unit_price=prices))


def busiest(past):
    grades = [n.grade for n in past.nozzles]
    least = [n.nozzle_id for n in past.nozzles if grades.count(n.grade) > 1]
    sales = past.sales
    return max(least, key=lambda n: sales.of(n).stop - sales.of(n).start)


def said(past):
    return list(RULE.review(past, past.start, past.end))


def raised(since, until, by=0.05):
    return lambda prices, hours: np.round(prices + by * ((hours >= since) & (hours < until)), 2)


def test_a_nozzle_that_is_dearer_for_days():
    past = repriced(bare(), raised(240, 480))
    cuts = [past.start + timedelta(hours=h) for h in (100, 255.5, 271, 275, 300, 303.25, 600)]
    findings = cut_invariant(RULE, past, cuts)
    assert {f.subject.nozzle_id for f in findings} == {busiest(past)}
    assert {f.severity for f in findings} == {Severity.LOW}
    assert {round(f.estimate.value, 3) for f in findings} == {0.05}
    first = findings[0]
    assert timedelta(hours=264) < first.detected_at - past.start < timedelta(hours=282)
    assert timedelta(hours=239) < first.onset - past.start < timedelta(hours=256)
    assert 8 <= len(findings) <= 11
    assert all(len(c.x) == len(c.y) > 10 for c in first.figures[0].curves)


@pytest.mark.parametrize("station", ["S01", "S20", "S43"])
def test_an_honest_station_is_quiet(station):
    past = bare(station)
    assert len(set(past.sales.unit_price.tolist())) > len({n.grade for n in past.nozzles}), "prices changed"
    assert said(past) == []


@pytest.mark.parametrize(
    "change",
    [
        raised(240, 262),
        raised(240, 480, -0.2),
        lambda prices, hours: np.where(np.arange(len(prices)) % 3, prices, prices + 0.1),
        lambda prices, hours: prices + 0.004,
    ],
    ids=["a clock or a late change", "cheaper", "some sales without the discount of others", "dust"],
)
def test_what_lasts_less_than_a_day_or_is_no_more(change):
    assert said(repriced(bare(), change)) == []


def test_where_a_price_is_posted_the_rule_price_compares():
    past = repriced(bare(), raised(240, 480))
    grade = past.nozzle_by_id[busiest(past)].grade
    event = DeviceEvent(
        past.start + timedelta(hours=1), "S01", "S01", EventKind.PRICE, {"grade": grade, "unit_price": 9.0}
    )
    assert said(replace(past, events=(event, *past.events))) == []


def test_a_nozzle_alone_of_its_grade_has_no_neighbours():
    past = repriced(bare(), raised(240, 480))
    nozzle = busiest(past)
    alone = tuple(replace(n, grade="98#") if n.nozzle_id == nozzle else replace(n, grade="92#") for n in past.nozzles)
    assert nozzle not in {f.subject.nozzle_id for f in said(replace(past, nozzles=alone))}
