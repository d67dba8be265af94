"""The figures of changed parts: what is not as it was stands high from its moment on, signed work is marked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from worlds import START, judged, world

from pumpwatch import Text, WorkOrder
from pumpwatch.detection.replay import PastHistory
from pumpwatch_integrity import IdentityChange, SelfLock
from pumpwatch_integrity.clones import ClonedSerial, CloneSettings
from pumpwatch_integrity.timelines import parts_timeline, work_before
from pumpwatch_papers.seals import Seals

AT = START + timedelta(days=30)


def order(days, kind="repair", device="S01-D1", station="S01"):
    return WorkOrder(station, device, AT + timedelta(days=days), kind, signed_by_repairer="甲", signed_by_station="乙")


def worked(*orders):
    past, _ = world(days=3)
    return PastHistory(replace(past, work_orders=orders))


def test_work_of_the_year_before_and_the_day_after():
    orders = [order(days) for days in (-400, -300, -1, 0.5, 2)] + [order(-5, device="S01-D2")]
    found = work_before(("S01-D1", None, "S01"), "S01", AT, worked(*orders))
    assert found == [orders[1], orders[2], orders[3]]


def test_only_the_latest_are_marked():
    found = work_before(("S01-D1",), "S01", AT, worked(*(order(-days) for days in range(30, 0, -1))))
    assert [o.at for o in found] == [AT - timedelta(days=days) for days in range(12, 0, -1)]


def test_each_field_is_a_line_that_rises_at_its_moment():
    fields = [Text("主板", "board"), Text("摘要", "digest")]
    figure = parts_timeline(Text("1号加油机", "Dispenser 1"), fields, AT, [order(-90), order(-9, "verification")])
    assert [curve.name for curve in figure.curves] == fields
    assert [curve.y for curve in figure.curves] == [(0.0, 1.0), (2.0, 3.0)]
    assert {curve.x[-1] for curve in figure.curves} == {AT.timestamp()}
    assert all(curve.x[0] < figure.marks[0][0] for curve in figure.curves)
    assert [mark[1].en for mark in figure.marks] == ["repair", "verification", "not as registered"]


@pytest.mark.parametrize(("scenario", "rule"), [("F02", IdentityChange), ("F17", SelfLock), ("F20", Seals)])
def test_every_finding_has_one(scenario, rule):
    past, _ = world(scenario)
    findings = judged(past, rule)
    assert findings
    for finding in findings:
        (figure,) = finding.figures
        assert max(x for curve in figure.curves for x in curve.x) == finding.onset.timestamp()


def test_a_clone_shows_since_when_it_is_there_twice():
    past, _ = world("F15")
    rule = ClonedSerial(CloneSettings())
    digests = {past.station_id: rule.digest(past, past.start, past.end)}
    (finding,) = rule.compare(digests, past.start, past.end)
    (figure,) = finding.figures
    assert [mark[0] for mark in figure.marks] == [finding.onset.timestamp()]
    assert finding.evidence[0].data["also_at"] in figure.marks[0][1].en
