"""link_lost: one alarm a station, after the grace period, the same while more devices drop."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from pumpwatch import Department, DeviceEvent, EventKind, Severity
from pumpwatch_integrity.link import LinkLost, LinkSettings


def detector(**keys):
    return LinkLost(LinkSettings(**keys))


def link(kit, device, after_s, *, up=False, station="S01", reason="timeout"):
    detail = {"up": up, "reason": "" if up else reason}
    return DeviceEvent(kit.NOON + timedelta(seconds=after_s), station, device, EventKind.LINK, detail)


def at(kit, seconds):
    return kit.NOON + timedelta(seconds=seconds)


class TestGrace:
    @pytest.mark.parametrize(("now_s", "count"), [(0, 0), (4.9, 0), (5.0, 0), (5.001, 1), (3600, 1), (-5, 0)])
    def test_longer_than_five_seconds(self, kit, now_s, count):
        assert len(kit.look(detector(), [link(kit, "D1", 0)], kit.county(), at(kit, now_s))) == count

    def test_it_is_a_setting(self, kit):
        events = [link(kit, "D1", 0)]
        assert kit.look(detector(grace_s=60), events, kit.county(), at(kit, 60)) == []
        assert len(kit.look(detector(grace_s=60), events, kit.county(), at(kit, 61))) == 1

    def test_back_in_time_is_quiet(self, kit):
        events = [link(kit, "D1", 0), link(kit, "D1", 2, up=True)]
        assert kit.look(detector(), events, kit.county(), at(kit, 60)) == []

    def test_down_again_counts_from_the_second_time(self, kit):
        events = [link(kit, "D1", 0), link(kit, "D1", 2, up=True), link(kit, "D1", 30)]
        assert kit.look(detector(), events, kit.county(), at(kit, 32)) == []
        (finding,) = kit.look(detector(), events, kit.county(), at(kit, 36))
        assert finding.onset == at(kit, 30)
        assert finding.detected_at == at(kit, 35)


class TestSeverity:
    def test_some_devices(self, kit):
        (finding,) = kit.look(detector(), [link(kit, "D1", 0), link(kit, "TLS", 0)], kit.county(), at(kit, 10))
        assert finding.severity is Severity.LOW
        assert finding.explanation.title.zh == "示例 D1、TLS 断线"
        assert finding.explanation.title.en == "Demo D1, TLS link lost"

    def test_all_devices(self, kit):
        events = [link(kit, d, 0) for d in ("D1", "D2", "TLS")]
        (finding,) = kit.look(detector(), events, kit.county(), at(kit, 10))
        assert finding.severity is Severity.MEDIUM
        assert finding.cause == "collector_outage"
        assert finding.departments == (Department.OPERATIONS, Department.MARKET_REGULATION)
        assert finding.explanation.title.zh == "示例 断线"
        assert finding.explanation.title.en == "Demo link lost"

    def test_it_says_since_when_which_and_how_many(self, kit):
        events = [link(kit, d, 0) for d in ("D1", "D2", "TLS")]
        (finding,) = kit.look(detector(), events, kit.county(), at(kit, 10))
        for text in (finding.explanation.what.zh, finding.explanation.what.en):
            for part in ("2026-11-22 12:00:00", "D1", "D2", "TLS", "4", "S01"):
                assert part in text
        assert "timeout" in finding.explanation.why.en
        assert "停电" in finding.explanation.otherwise.zh

    def test_a_gauge_alone_concerns_no_nozzle(self, kit):
        (finding,) = kit.look(detector(), [link(kit, "TLS", 0)], kit.county(), at(kit, 10))
        assert "涉及 0 把加油枪" in finding.explanation.what.zh


class TestOneAlarm:
    def test_the_same_while_further_devices_drop(self, kit):
        history, judged = kit.county(), detector()
        seen = []
        for second, device in [(0.0, "D2"), (1.4, "TLS"), (2.8, "D1")]:
            history.take(link(kit, device, second))
        for now in (5.1, 6.5, 8.0, 60.0):
            seen.extend(kit.look(judged, [], history, at(kit, now)))
        assert len(seen) == 4
        assert len({f.id for f in seen}) == len({f.subject for f in seen}) == len({f.onset for f in seen}) == 1
        assert [f.severity.rank for f in seen] == [1, 1, 2, 2]
        assert [len(f.evidence) for f in seen] == [1, 2, 3, 3]

    def test_looking_again_tells_the_same(self, kit):
        history, judged = kit.county(), detector()
        first = kit.look(judged, [link(kit, "D1", 0)], history, at(kit, 10))
        assert kit.look(judged, [], history, at(kit, 5000)) == first

    def test_events_in_any_order_and_twice(self, kit):
        events = [link(kit, d, i, up=i % 2 == 1) for d in ("D1", "D2", "TLS") for i in range(5)]
        expected = kit.look(detector(), events, kit.county(), at(kit, 20))
        assert len(expected) == 1
        told = events * 2
        random.Random(1).shuffle(told)
        assert kit.look(detector(), told, kit.county(), at(kit, 20)) == expected

    def test_each_station_has_its_own(self, kit):
        history = kit.county()
        history.devices["S02"] = ("D1",)
        events = [link(kit, "D1", 0), link(kit, "D2", 0), link(kit, "D1", 0, station="S02")]
        found = kit.look(detector(), events, history, at(kit, 10))
        assert [(f.subject.key, f.severity) for f in found] == [("S01", Severity.LOW), ("S02", Severity.MEDIUM)]
        assert found[1].explanation.title.zh == "S02 断线"
        assert len({f.id for f in found}) == 2

    def test_a_later_outage_is_another_finding(self, kit):
        (one,) = kit.look(detector(), [link(kit, "D1", 0)], kit.county(), at(kit, 10))
        (two,) = kit.look(detector(), [link(kit, "D1", 500)], kit.county(), at(kit, 510))
        assert one.id != two.id


class TestNotJudged:
    def test_a_device_no_longer_configured(self, kit):
        history = kit.county()
        events = [link(kit, "D7", 0), link(kit, "D1", 0, station="S99")]
        assert kit.look(detector(), events, history, at(kit, 99)) == []

    def test_an_event_that_does_not_say(self, kit):
        event = DeviceEvent(kit.NOON, "S01", "D1", EventKind.LINK, {"reason": "?"})
        assert kit.look(detector(), [event], kit.county(), at(kit, 99)) == []

    def test_other_kinds_of_events(self, kit):
        event = DeviceEvent(kit.NOON, "S01", "D1", EventKind.POWER, {"up": False})
        assert kit.look(detector(), [event], kit.county(), at(kit, 99)) == []


def test_it_stands_and_is_asked_every_two_seconds():
    assert LinkLost.standing
    assert LinkLost.every == timedelta(seconds=2)
