"""edited_record, clock_fault and clock_backwards: the first record that shows it; honest clocks and batches quiet."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from worlds import judged, world

from pumpwatch import Department, DeviceEvent, EventKind, Severity
from pumpwatch.testing.rules import cut_invariant, order_free
from pumpwatch_integrity.clock import BackwardSettings, ClockBackwards, ClockFault, ClockSettings
from pumpwatch_integrity.edited import EditedRecord, EditedSettings

ALL = (EditedRecord, ClockFault, ClockBackwards)


def clock_event(kit, days=0.0, **detail):
    return DeviceEvent(kit.NOON + timedelta(days=days), "S01", "S01-D1", EventKind.CLOCK, detail)


@pytest.mark.parametrize("name", ["", "C05", "H05", "H06", "H20"])
def test_honest_stations_are_quiet(name):
    past, _ = world(name)
    assert judged(past, *ALL) == []


class TestEdited:
    def test_every_edited_record_is_found_at_its_end(self):
        past, (item,) = world("C07")
        found = judged(past, EditedRecord)
        told = [e for e in past.events if e.detail.get("code") == "resubmitted"]
        assert len(found) == len(told) > 50
        assert {f.cause for f in found} == {item["cause"]}
        assert {f.subject.key for f in found} == {item["subject"]["station_id"]}
        assert found[0].departments == (Department.TAX, Department.MARKET_REGULATION)
        assert found[0].detected_at == told[0].at
        assert found[0].evidence[0].data["nozzle_id"] == told[0].device_id
        assert found[0].estimate.value == pytest.approx(told[0].detail["first"] - told[0].detail["later"], abs=1e-6)

    def test_order_does_not_matter(self):
        past, _ = world("C07", days=21, onset="P18D", percent_of_sales=1)
        assert order_free(EditedRecord(EditedSettings()), past.between(past.start + timedelta(days=18), past.end))

    @pytest.mark.parametrize(
        ("field", "first", "later", "unit"),
        [("amount_cny", 150.0, 135.0, "CNY"), ("tax_l", 20.0, 0.0, "L"), ("payment", "cash", "own_use", None)],
    )
    def test_any_field_counts(self, kit, field, first, later, unit):
        detail = {"code": "resubmitted", "seq": 7, "field": field, "first": first, "later": later}
        event = DeviceEvent(kit.NOON, "S01", "S01-N03", EventKind.ALARM, detail)
        (finding,) = kit.judge(EditedRecord(EditedSettings()), [event], kit.county())
        assert (finding.estimate.unit if finding.estimate else None) == unit
        assert finding.evidence[0].data["dispenser_id"] == "S01-D2"
        json.dumps(dict(finding.evidence[0].data), allow_nan=False)

    def test_other_alarms_are_not_its_matter(self, kit):
        event = DeviceEvent(kit.NOON, "S01", "S01-N03", EventKind.ALARM, {"code": "low_level"})
        assert kit.judge(EditedRecord(EditedSettings()), [event], kit.county()) == []


class TestClock:
    @pytest.mark.parametrize(
        ("changes", "hours"),
        [
            ({}, 1),
            ({"step_s": -90.0}, 1),
            ({"step_s": 86_400.0}, 1),
            ({"step_s": 0.0, "drift_s_per_day": 5.0}, 25),
            ({"step_s": 0.0, "drift_s_per_day": -5.0}, 25),
        ],
    )
    def test_the_first_comparison_shows_it(self, changes, hours):
        past, (item,) = world("C06", days=28, **changes)
        found = judged(past, ClockFault)
        assert found[0].cause == item["cause"]
        assert found[0].subject.key == item["subject"]["dispenser_id"]
        onset = past.start + timedelta(days=20)
        assert onset < found[0].detected_at <= onset + timedelta(hours=hours)

    @pytest.mark.parametrize("rate", [0.5, 1.0, 1.9])
    def test_a_clock_that_strays_a_little_is_quiet(self, kit, rate):
        told = [clock_event(kit, day, ahead_s=rate * day) for day in range(1, 20) if rate * day > 2.0]
        assert kit.judge(ClockFault(ClockSettings()), told, kit.county()) == []

    def test_more_than_two_seconds_a_day_and_more_than_a_minute(self, kit):
        told = [clock_event(kit, day, ahead_s=-3.0 * day) for day in range(1, 23)]
        found = kit.judge(ClockFault(ClockSettings()), told, kit.county())
        assert [f.severity for f in found] == [Severity.LOW] * 19 + [Severity.MEDIUM] * 2
        assert found[0].detected_at == told[1].at

    def test_a_correction_is_no_drift(self, kit):
        told = [
            clock_event(kit, 1, ahead_s=2.5),
            clock_event(kit, 1.5, step_s=-40.0),
            clock_event(kit, 2, ahead_s=-38.0),
        ]
        assert kit.judge(ClockFault(ClockSettings()), told, kit.county()) == []

    @pytest.mark.parametrize("told", [{}, {"ahead_s": None}, {"ahead_s": "much"}, {"ahead_s": True}])
    def test_nonsense_says_nothing(self, kit, told):
        assert kit.judge(ClockFault(ClockSettings()), [clock_event(kit, **told)], kit.county()) == []

    def test_a_drift_is_seen_however_often_it_is_told(self, kit):
        told = [clock_event(kit, step / 4, ahead_s=5.0 * step / 4) for step in range(2, 40)]
        found = kit.judge(ClockFault(ClockSettings()), told, kit.county())
        assert len(found) == len(told) - 2
        slow = [clock_event(kit, step / 4, ahead_s=1.5 * step / 4) for step in range(6, 80)]
        assert kit.judge(ClockFault(ClockSettings()), slow, kit.county()) == []

    def test_corrections_that_repeat(self, kit):
        told = [clock_event(kit, day, step_s=(-1) ** day * 121.0) for day in range(6)]
        found = kit.judge(ClockFault(ClockSettings()), told, kit.county())
        assert [(f.severity, f.cause) for f in found] == [(Severity.LOW, "clock_fault")] * 4
        assert found[0].detected_at == told[2].at
        assert found[0].onset == told[0].at
        rare = [clock_event(kit, 4 * day, step_s=121.0) for day in range(6)]
        small = [clock_event(kit, day, step_s=59.0) for day in range(6)]
        for quiet in (rare, small):
            assert kit.judge(ClockFault(ClockSettings()), quiet, kit.county()) == []

    @pytest.mark.parametrize("value", [10**400, float("nan"), float("inf"), -(10**400)])
    def test_what_no_clock_tells(self, kit, value):
        told = [clock_event(kit, day, ahead_s=value, step_s=value) for day in range(4)]
        assert kit.judge(ClockFault(ClockSettings()), told, kit.county()) == []
        detail = {"code": "resubmitted", "seq": 7, "field": "volume_l", "first": value, "later": 1.0}
        event = DeviceEvent(kit.NOON, "S01", "S01-N03", EventKind.ALARM, detail)
        (finding,) = kit.judge(EditedRecord(EditedSettings()), [event], kit.county())
        assert finding.estimate is None
        json.dumps(dict(finding.evidence[0].data), allow_nan=False)


@pytest.fixture(scope="module")
def silent():
    """A clock set back at a busy hour, and a collector that compares none."""
    past, items = world("C06", days=28, onset="P20DT11H")
    return replace(past, events=()), items


class TestBackwards:
    def test_what_the_collector_tells_is_left_to_the_other_rule(self):
        past, _ = world("C06", days=28, onset="P20DT11H")
        assert judged(past, ClockBackwards) == []

    def test_records_alone_show_it(self, silent):
        past, (item,) = silent
        (finding,) = judged(past, ClockBackwards)
        assert (finding.cause, finding.subject.key) == (item["cause"], item["subject"]["dispenser_id"])
        assert -3_600 <= finding.estimate.value < -300
        assert finding.detected_at == past.start + timedelta(days=21, hours=26)
        assert sum(len(curve.x) for curve in finding.figures[0].curves) <= 400

    def test_cuts_do_not_matter(self, silent):
        past, _ = silent
        cuts = [past.start + timedelta(days=day) for day in (20, 21, 21.5, 22, 22.0833, 23)]
        assert len(cut_invariant(ClockBackwards(BackwardSettings()), past, cuts)) == 1

    def test_numbers_set_back_are_no_clock(self):
        past, _ = world("")
        rows = past.sales.of("S01-N01")
        seq = past.sales.seq.copy()
        seq[rows.start + 500 : rows.stop] -= 40
        assert (seq[rows.start + 1 : rows.stop] - seq[rows.start : rows.stop - 1] < 0).sum() == 1
        assert judged(replace(past, sales=replace(past.sales, seq=seq)), ClockBackwards) == []

    def test_only_a_comparison_as_large_as_the_overlap_counts(self, silent):
        past, (item,) = silent
        (finding,) = judged(past, ClockBackwards)
        at = past.start + timedelta(days=20, hours=20)
        name = item["subject"]["dispenser_id"]
        for ahead_s, found in ((2.1, [finding.id]), (-3_600.0, [])):
            told = DeviceEvent(at, past.station_id, name, EventKind.CLOCK, {"ahead_s": ahead_s})
            assert [f.id for f in judged(replace(past, events=(*past.events, told)), ClockBackwards)] == found

    def test_patience_is_a_setting(self, silent):
        past, _ = silent
        (finding,) = judged(past, ClockBackwards, patience_h=0)
        assert finding.detected_at == past.start + timedelta(days=21)
