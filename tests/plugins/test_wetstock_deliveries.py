"""delivery_papers, over_fill and delivery_short: found, quiet, and the same however the past is cut."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
import pytest
from worlds import judged, staged, world

from pumpwatch import Severity, from_us, to_us
from pumpwatch.courses import DAY_US, HOUR_US, MINUTE_US
from pumpwatch.detection.replay import compare_stations, in_order, judge_station
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_wetstock import DeliveryPapers, DeliveryShort, OverFill, papers

STATION, TANK = "S15", "S15-T1"


def alarms(findings):
    return [finding for finding in findings if finding.severity is not Severity.INFO]


def onset_of(items) -> datetime:
    return datetime.fromisoformat(items[0]["onset"].replace("Z", "+00:00"))


def dips(past):
    """The same station with one reading a day."""
    return replace(past, levels={tank: levels.take(slice(0, None, 288)) for tank, levels in past.levels.items()})


@pytest.mark.parametrize(
    ("name", "litres", "cause"),
    [
        ("T08", 4_000.0, "unrecorded_delivery"),
        ("T08", 500.0, "unrecorded_delivery"),
        ("T09", 10_000.0, "paper_delivery"),
        ("T09", 1_000.0, "paper_delivery"),
    ],
)
def test_fuel_and_papers_that_do_not_meet(name, litres, cause):
    more = {"percent": 100.0} if name == "T09" else {}
    past, items = world(name, STATION, tank=TANK, litres=litres, **more)
    found = alarms(judged(past, DeliveryPapers))
    assert len(found) >= 3
    assert {(f.cause, f.subject.tank_id) for f in found} == {(cause, TANK)}
    assert found[0].onset >= onset_of(items)
    assert found[0].detected_at - onset_of(items) < timedelta(days=7)
    assert all(f.detected_at - f.onset >= timedelta(hours=24) for f in found)
    for finding in found:
        assert finding.estimate.value == pytest.approx(litres, rel=0.35)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("", {}),
        ("H01", {}),
        ("H04", {"tank": TANK}),
        ("H06", {}),
        ("H08", {"dispenser": "S15-D1", "draws": 60}),
        ("H12", {"tank": TANK, "offset_mm": 20}),
        ("H13", {"tank": TANK}),
        ("C01", {"hours": 4}),
        ("C03", {"tank": TANK}),
    ],
)
def test_honest_deliveries_are_quiet(name, more):
    past, _ = world(name, STATION, **more)
    assert alarms(judged(past, DeliveryPapers, OverFill)) == []


def test_a_paper_that_names_another_tank_of_the_grade_is_a_note():
    past, _ = world(station=STATION)
    wrong = past.deliveries[20]
    other = next(
        tank.tank_id
        for tank in past.tanks
        if tank.tank_id != wrong.tank_id and tank.grade == next(t.grade for t in past.tanks if t.tank_id == TANK)
    )
    mine = next(d for d in past.deliveries[15:] if d.tank_id == TANK)
    moved = tuple(replace(d, tank_id=other) if d is mine else d for d in past.deliveries)
    found = judged(replace(past, deliveries=moved), DeliveryPapers)
    assert found
    assert alarms(found) == []


def test_no_readings_about_a_delivery_and_nothing_is_said():
    past, _ = world("T09", STATION, tank=TANK, percent=100.0)
    found = alarms(judged(past, DeliveryPapers))
    paper = found[0].onset
    levels = past.levels[TANK]
    at = [from_us(us) for us in levels.at_us.tolist()]
    heard = [not (paper - timedelta(days=1) < each < paper + timedelta(days=1)) for each in at]
    rows = [row for row, kept in enumerate(heard) if kept]
    deaf = replace(past, levels=dict(past.levels) | {TANK: levels.take(rows)})
    assert found[0].id not in {f.id for f in alarms(judged(deaf, DeliveryPapers))}


def test_a_paper_without_fuel_does_not_hide_behind_a_short_load():
    past, _ = world(station=STATION)
    short = next(d for d in past.deliveries[10:] if d.tank_id == TANK)
    more = replace(short, declared_20c_l=short.declared_20c_l * 1.14)
    invented = replace(
        short, at=short.at + timedelta(hours=2), declared_20c_l=short.declared_20c_l * 0.6, document_no="INVENTED"
    )
    told = [more if d is short else d for d in past.deliveries]
    found = alarms(judged(replace(past, deliveries=(*told, invented)), DeliveryPapers))
    assert [(f.cause, f.evidence[0].reference) for f in found] == [("paper_delivery", "INVENTED")]


@pytest.mark.parametrize("hours", [3.0, 11.5])
def test_a_gauge_that_was_off_soon_after_the_lorry_came(hours):
    past, _ = world(station=STATION)
    paper = next(d for d in past.deliveries[10:] if d.tank_id == TANK)
    levels = past.levels[TANK]
    off = [paper.at - timedelta(minutes=30), paper.at + timedelta(hours=hours)]
    rows = [row for row, us in enumerate(levels.at_us.tolist()) if not off[0] < from_us(us) < off[1]]
    silent = replace(past, levels=dict(past.levels) | {TANK: levels.take(rows)})
    assert judged(silent, DeliveryPapers) == []


def test_a_dip_a_day_still_tells_of_great_deliveries():
    past, _ = world("T08", STATION, tank=TANK, litres=4_000.0)
    found = alarms(judged(dips(past), DeliveryPapers))
    assert {(f.cause, f.subject.tank_id) for f in found} == {("unrecorded_delivery", TANK)}
    honest, _ = world(station=STATION)
    assert alarms(judged(dips(honest), DeliveryPapers)) == []


def test_a_dip_in_the_midst_of_a_drop_makes_two_rises_of_it_and_no_missing_fuel(monkeypatch):
    honest, _ = world("", STATION)
    tank = honest.levels[TANK]
    paper = next(each for each in honest.deliveries if each.tank_id == TANK and each.at.day == 5)
    row = int(np.searchsorted(tank.at_us, to_us(paper.at) - HOUR_US))
    span = tank.volume_20c_l[row : row + 26]
    half_us = tank.at_us[row + int(np.argmin(np.abs(span - (span.min() + span.max()) / 2.0)))]

    def at_that_hour(levels):
        apart = (levels.at_us - half_us + DAY_US // 2) % DAY_US - DAY_US // 2
        return levels.take(np.flatnonzero(np.abs(apart) < MINUTE_US))

    divided = replace(honest, levels={name: at_that_hour(each) for name, each in honest.levels.items()})
    assert alarms(judged(divided, DeliveryPapers)) == []
    forged = replace(paper, declared_l=3_000.0, declared_20c_l=3_000.0, document_no="DN-FORGED")
    more = replace(divided, deliveries=tuple(sorted((*divided.deliveries, forged), key=lambda each: each.at)))
    assert {finding.cause for finding in alarms(judged(more, DeliveryPapers))} == {"paper_delivery"}
    monkeypatch.setattr(papers, "halved", lambda *_: False)
    assert {finding.cause for finding in alarms(judged(divided, DeliveryPapers))} == {"paper_delivery"}


@pytest.mark.parametrize("missing", ["levels", "deliveries"])
def test_off_without_its_channels(missing):
    past, _ = world("T08", STATION, tank=TANK)
    without = replace(past, **{missing: {} if missing == "levels" else ()})
    assert judged(without, DeliveryPapers, OverFill if missing == "levels" else DeliveryPapers) == []


def test_over_full_is_told_once_a_day_with_its_reading():
    past, items = world("W08", STATION, tank=TANK)
    found = judged(past, OverFill)
    assert found
    assert {(f.cause, f.subject.tank_id) for f in found} == {("over_fill", TANK)}
    assert found[0].detected_at - onset_of(items) < timedelta(days=7)
    assert len({f.detected_at.date() for f in found}) == len(found)


@pytest.mark.parametrize(("rule", "name"), [(DeliveryPapers, "T08"), (DeliveryPapers, "T09"), (OverFill, "W08")])
@pytest.mark.parametrize("hours", [601.3, 799.9])
def test_cut_anywhere_the_findings_are_the_same(rule, name, hours):
    past, _ = world(name, STATION, tank=TANK)
    made = rule(rule.Settings())
    cut = past.start + timedelta(hours=hours)
    whole = in_order(judge_station(past, [made], past.start, past.end)[0])
    parts = in_order(
        [
            *judge_station(past.between(past.start, cut), [made], past.start, cut)[0],
            *judge_station(past.between(cut - rule.lookback, past.end), [made], cut, past.end)[0],
        ]
    )
    assert [(f.id, f.estimate) for f in parts] == [(f.id, f.estimate) for f in whole]
    assert whole


def test_papers_in_any_order_and_twice_are_the_same_papers():
    past, _ = world("T09", STATION, tank=TANK, percent=100.0)
    shuffled = replace(past, deliveries=(*reversed(past.deliveries), *past.deliveries[::3]))
    assert judged(shuffled, DeliveryPapers) == judged(past, DeliveryPapers)


# ---------------------------------------------------------------- one lorry brings less


STATIONS = ("S11", STATION)


@lru_cache(maxsize=2)
def fleet(percent: float):
    """Digests over two stations, one of which has a lorry that brings less, and the first past."""
    scenario = [{"name": "W05", "station": STATION, "percent": percent, "onset": "P6D"}] if percent else []
    staging = staged(*scenario, days=49, seed=3)
    rule = DeliveryShort(DeliveryShort.Settings())
    pasts = [station_past(staging, station) for station in STATIONS]
    digests = {
        past.station_id: {rule.rule: judge_station(past, [rule], past.start, past.end)[1][rule.rule]} for past in pasts
    }
    return rule, pasts[0], digests


def test_a_lorry_that_brings_three_percent_less():
    rule, past, digests = fleet(3.0)
    found = alarms(compare_stations(digests, [rule], past.start, past.end))
    assert found
    assert {(f.cause, f.subject.key) for f in found} == {("delivery_short", STATION)}
    first = in_order(found)[0]
    assert first.detected_at - past.start < timedelta(days=40)
    assert first.estimate.low < 3.0 < first.estimate.high or first.estimate.value == pytest.approx(3.0, abs=1.2)
    assert len(found) < 30


def test_honest_lorries_are_quiet():
    rule, past, digests = fleet(0.0)
    assert alarms(compare_stations(digests, [rule], past.start, past.end)) == []


def test_shortages_are_the_same_wherever_the_comparison_is_cut():
    rule, past, digests = fleet(3.0)
    whole = in_order(compare_stations(digests, [rule], past.start, past.end))
    cut = past.start + timedelta(days=37, hours=7)
    parts = [
        *compare_stations(digests, [rule], past.start, cut),
        *compare_stations(digests, [rule], cut, past.end),
    ]
    assert [(f.id, f.estimate) for f in in_order(parts)] == [(f.id, f.estimate) for f in whole]


@pytest.mark.parametrize("minutes", [2, 6, 11])
def test_a_delivery_that_was_under_way_when_the_data_begin_is_not_judged(minutes):
    past, _ = world(station=STATION)
    papers = [paper for paper in past.deliveries if paper.tank_id == TANK]
    assert len(papers) > 5
    for paper in papers[1:6]:
        later = past.between(paper.at - timedelta(minutes=minutes), paper.at + timedelta(days=2))
        assert alarms(judged(later, DeliveryPapers)) == []
