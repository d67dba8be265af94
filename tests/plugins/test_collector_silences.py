"""outage_sales and jamming: what was sold unheard, alone or with the neighbours; honest outages close exactly."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from worlds import judged, staged, station_past, truth_of, world

from pumpwatch import Channel, DeviceEvent, EventKind, Severity, to_us
from pumpwatch.detection.replay import compare_stations
from pumpwatch.testing.rules import cut_invariant, without
from pumpwatch_integrity.jamming import Jamming, JammingSettings
from pumpwatch_integrity.outage import OutageSales, OutageSettings


@pytest.fixture(scope="module")
def town():
    """Five stations of one town, jammed every third day, and one of another town."""
    staging = staged({"name": "C02", "station": "S30", "onset": "P8D", "minutes": 20}, count=46, days=21)
    items = truth_of(staging)["items"]
    names = sorted(item["subject"]["station_id"] for item in items)
    return [station_past(staging, name) for name in (*names[:3], "S01")], names[:3]


def jammed(pasts, **settings):
    rule = Jamming(JammingSettings.model_validate(settings))
    digests = {p.station_id: {rule.rule: rule.digest(p, p.start, p.end)} for p in pasts}
    return compare_stations(digests, [rule], pasts[0].start, pasts[0].end)


@pytest.mark.parametrize("name", ["", "H05", "H06", "H12", "H14", "H15", "C09"])
def test_honest_outages_close_exactly(name):
    past, _ = world(name)
    assert judged(past, OutageSales) == []


def test_sales_that_are_numbered_by_time_are_not_missing():
    past, _ = world("H05")
    nothing = np.full(len(past.sales), np.nan)
    bare = replace(past.sales, totalizer_l=nothing, totalizer_cny=nothing)
    by_time = replace(past, sales=replace(bare, seq=bare.end_us // 1_000_000))
    assert judged(by_time, OutageSales) == []


@pytest.mark.parametrize(("hours", "least"), [(0.5, 100.0), (2.0, 600.0), (4.0, 1_200.0)])
def test_every_unplugging_is_found_with_its_litres(hours, least):
    past, (item,) = world("C01", hours=hours)
    usual, _ = world("")
    found = judged(past, OutageSales)
    begun = [e.at for e in past.events_of(EventKind.LINK) if e.detail == {"up": False, "reason": "timeout"}]
    assert [f.onset for f in found] == begun[: len(found)]
    assert len(found) >= len(begun) - 1
    assert all(f.detected_at - f.onset >= timedelta(hours=hours + 4) for f in found)
    for finding in found:
        assert (finding.cause, finding.subject.key) == (item["cause"], item["subject"]["station_id"])
        assert finding.estimate.value > least
        assert finding.estimate.low <= finding.estimate.value <= finding.estimate.high
        begin, end = to_us(finding.onset), to_us(finding.onset + timedelta(hours=hours))
        unheard = (usual.sales.end_us >= begin) & (usual.sales.end_us < end)
        lost = float(usual.sales.volume_l[unheard].sum())
        assert 0.6 * lost < finding.estimate.value < lost + 100.0
        assert len(finding.evidence) <= 20
        assert sum(len(curve.x) for curve in finding.figures[0].curves) <= 400
        for evidence in finding.evidence:
            json.dumps(dict(evidence.data), allow_nan=False)


def test_readings_that_stop_are_a_silence_without_link_events():
    past, _ = world("C01")
    mute = replace(past, events=tuple(e for e in past.events if e.kind is not EventKind.LINK))
    assert len(judged(mute, OutageSales)) == len(judged(past, OutageSales)) > 4


def test_dispensers_that_fall_silent_together_are_the_station():
    past, _ = world("C01")
    names = [d.dispenser_id for d in past.dispensers]
    events = []
    for event in past.events_of(EventKind.LINK):
        events += [replace(event, device_id=name) for name in names]
    alike = judged(replace(past, events=tuple(events)), OutageSales)
    assert [(f.onset, f.subject.key) for f in alike] == [(f.onset, f.subject.key) for f in judged(past, OutageSales)]


def test_one_dispenser_alone_is_named():
    past, _ = world("", days=21)
    name = past.dispensers[0].dispenser_id
    mine = {n.nozzle_id for n in past.nozzles if n.dispenser_id == name}
    begin = past.start + timedelta(days=10, hours=17)
    end = begin + timedelta(hours=2)
    codes = [past.sales.nozzle_ids.index(n) for n in mine]
    gone = np.isin(past.sales.nozzle, codes) & (past.sales.end_us >= to_us(begin)) & (past.sales.end_us < to_us(end))
    (down, up) = (replace(past.events_of(EventKind.LINK)[0], device_id=name, at=at) for at in (begin, end))
    events = (replace(down, detail={"up": False}), replace(up, detail={"up": True}))
    cut = replace(past, sales=past.sales.take(~gone), events=events)
    (finding,) = judged(cut, OutageSales)
    assert finding.subject.key == name
    assert finding.estimate.value == pytest.approx(float(past.sales.volume_l[gone].sum()), rel=0.3)


def pulled(past, spans, keep=0):
    """What is left of a past when nobody heard the sales of these spans, but for the first few; tanks are read on."""
    link = DeviceEvent(past.start, past.station_id, past.station_id, EventKind.LINK, {})
    gone, events = np.zeros(len(past.sales), bool), list(past.events)
    for begin, end in spans:
        inside = np.flatnonzero((past.sales.end_us >= to_us(begin)) & (past.sales.end_us < to_us(end)))
        gone[inside[np.argsort(past.sales.end_us[inside])][keep:]] = True
        events.append(replace(link, at=begin, detail={"up": False, "reason": "timeout"}))
        events.append(replace(link, at=end, detail={"up": True, "reason": "timeout"}))
    events.sort(key=lambda event: event.at)
    lost = float(past.sales.volume_l[gone].sum())
    return replace(past, sales=past.sales.take(~gone), events=tuple(events)), lost


def test_short_ones_that_repeat_are_told_once_a_day():
    """Forty pulls of four and a half minutes a day, and every tank is read all the time."""
    past, _ = world("")
    noon = past.start + timedelta(days=10, hours=8)
    spans = [
        (begin, begin + timedelta(minutes=4.5))
        for day in range(3)
        for begin in (noon + timedelta(days=day, minutes=15 * number) for number in range(40))
    ]
    cut, lost = pulled(past, spans)
    assert lost > 2_000.0
    found = judged(cut, OutageSales)
    assert [f.cause for f in found] == ["collector_outage"] * 3
    assert all(f.estimate.value > 1.0 for f in found)
    assert "3 times" in found[0].explanation.what.en
    cuts = [past.start + timedelta(days=10, hours=hour) for hour in range(8, 60, 5)]
    assert len(cut_invariant(OutageSales(OutageSettings()), cut, cuts)) == 3
    two, _ = pulled(past, spans[:2])
    assert judged(two, OutageSales) == []
    closed = replace(cut, sales=past.sales)
    assert judged(closed, OutageSales) == []


@pytest.mark.parametrize(("hours", "keep"), [(80, 0), (240, 0), (3, 1), (80, 3)])
def test_neither_length_nor_a_record_that_was_kept_excuses(hours, keep):
    past, _ = world("")
    begin = past.start + timedelta(days=12, hours=17)
    cut, lost = pulled(past, [(begin, begin + timedelta(hours=hours))], keep)
    (finding,) = judged(cut, OutageSales)
    assert finding.onset == begin
    assert finding.severity is Severity.HIGH
    assert 0.6 * lost < finding.estimate.value < lost + 100.0
    cuts = [begin + timedelta(hours=hours + more) for more in (-1, 0.5, 3.9, 4.1, 24.5)]
    assert len(cut_invariant(OutageSales(OutageSettings()), cut, cuts)) == 1


def test_a_link_said_to_be_down_for_weeks_hides_nothing():
    """Sales and readings of these weeks came, but for those of the silences."""
    past, _ = world("C01")
    mute = replace(past, events=tuple(e for e in past.events if e.kind is not EventKind.LINK))
    usual = judged(mute, OutageSales)
    said, _ = pulled(mute, [(past.start + timedelta(days=14), past.start + timedelta(days=40))], keep=10**6)
    assert [f.onset for f in judged(said, OutageSales)] == [f.onset for f in usual] != []


def test_a_single_record_left_out_of_those_that_came_later_is_no_silence():
    past, _ = world("H06")
    outage = [e.at for e in past.events_of(EventKind.LINK) if e.device_id == past.station_id]
    inside = np.flatnonzero((past.sales.end_us > to_us(outage[0])) & (past.sales.end_us < to_us(outage[1])))
    rows = np.ones(len(past.sales), bool)
    rows[inside[len(inside) // 2]] = False
    assert judged(replace(past, sales=past.sales.take(rows)), OutageSales) == []


def test_without_totalizers_the_numbers_tell():
    past, _ = world("C01")
    found = judged(without(past, Channel.TOTALIZERS), OutageSales)
    assert [f.onset for f in found] == [f.onset for f in judged(past, OutageSales)]
    assert {f.estimate.unit for f in found} == {"records"}


def test_without_readings_it_works_by_the_links():
    past, _ = world("C01")
    assert judged(replace(past, levels={}), OutageSales)
    assert judged(replace(past, levels={}, events=()), OutageSales) == []


def test_cuts_do_not_matter():
    past, _ = world("C01", every_days=2, hours=3)
    chance = random.Random(5)
    span = (past.end - past.start).total_seconds()
    cuts = [past.start + timedelta(seconds=chance.uniform(0.45, 1) * span) for _ in range(12)]
    assert len(cut_invariant(OutageSales(OutageSettings()), past, cuts)) > 6


class TestJamming:
    def test_all_that_fall_silent_are_named(self, town):
        pasts, names = town
        found = jammed(pasts)
        onset = datetime(2026, 3, 9, 16, tzinfo=UTC)
        assert {f.subject.key for f in found} == set(names)
        assert {f.cause for f in found} == {"jamming"}
        assert len(found) == 5 * len(names)
        assert onset < found[0].onset < found[0].detected_at < onset + timedelta(days=1)
        assert all(sum(len(c.x) for c in f.figures[0].curves) <= 400 for f in found)

    def test_one_station_alone_is_not_jammed(self, town):
        pasts, _ = town
        assert jammed([pasts[0], pasts[-1]]) == []
        elsewhere = replace(pasts[1], station=replace(pasts[1].station, town="另一镇"))
        assert jammed([pasts[0], elsewhere]) == []
        nowhere = [replace(p, station=replace(p.station, town="")) for p in pasts]
        assert jammed(nowhere) == []

    def test_silences_at_different_times_are_not_jamming(self, town):
        pasts, _ = town
        unplugged, _ = world("C01", days=21, onset="P8D")
        moved = replace(unplugged, station=replace(unplugged.station, town=pasts[0].station.town))
        assert jammed([pasts[0], moved]) == []

    def test_a_network_of_the_town_that_brings_its_records_later_is_not_jamming(self):
        names = ("S29", "S30")
        outages = [{"name": "H06", "station": name, "onset": "P8D", "days": 0.2} for name in names]
        staging = staged(*outages, count=46, days=21)
        assert jammed([station_past(staging, name) for name in names]) == []

    def test_cuts_do_not_matter(self, town):
        pasts, _ = town
        chance = random.Random(6)
        span = (pasts[0].end - pasts[0].start).total_seconds()
        cuts = [pasts[0].start + timedelta(seconds=chance.uniform(0.3, 1) * span) for _ in range(8)]
        assert len(cut_invariant(Jamming(JammingSettings()), pasts, cuts)) == 15
