"""The engine on a clock turned by hand: a reading's life and an alarm's life."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pumpwatch import Quality, Refused, Subject, Transaction
from pumpwatch.alarms import State
from pumpwatch.engine import Engine
from pumpwatch.plugins import Plugins
from pumpwatch.settings import parse_settings
from pumpwatch.testing import FakeClock


def known(r):
    """The fillings of the nozzle that the rules may look at."""
    tomorrow = r.clock.now() + timedelta(days=1)
    return r.engine.history.before(Transaction("S01-N01", 0, tomorrow, tomorrow, 1.0, 1.0, 1.0), 10)


async def test_a_reading_reaches_hub_and_history(rig) -> None:
    async with rig() as r:
        r.forecourt.values["nozzle-1.volume"] = 12.34
        path = "S01/D1/nozzle-1.volume"
        await r.until(lambda: path in r.engine.hub.latest)
        assert r.engine.hub.latest[path].value == 12.34
        await r.until(lambda: r.engine.historian.acknowledged)
        now = r.clock.now()
        found = await r.engine.historian.series(path, now - timedelta(minutes=1), now + timedelta(seconds=1), 10)
        assert found.samples.values.tolist()[-1] == 12.34


async def test_a_cheat_raises_one_alarm_that_names_the_nozzle(rig, sale) -> None:
    async with rig() as r:
        r.forecourt.records = [sale(r.clock.now().replace(microsecond=0), 1)]
        await r.until(lambda: known(r))
        assert r.engine.alarms.current() == ()
        r.forecourt.records = [sale(r.clock.now().replace(microsecond=0), 2, encoder_pulses=2913)]
        await r.until(r.engine.alarms.current)
        r.forecourt.records = [sale(r.clock.now().replace(microsecond=0), 3, encoder_pulses=2913)]
        await r.until(lambda: r.engine.alarms.current()[0].count == 2)
        (alarm,) = r.engine.alarms.current()
        assert (alarm.rule, alarm.subject.nozzle_id) == ("pulse_ratio", "S01-N01")
        assert alarm.finding.estimate.value == pytest.approx(2.99, abs=0.1)
        assert alarm.state is State.ACTIVE


async def test_alarms_and_memory_survive_a_restart(rig, sale) -> None:
    async with rig() as r:
        first = sale(r.clock.now().replace(microsecond=0), 1, totalizer_l=1000.0)
        r.forecourt.records = [
            first,
            sale(r.clock.now().replace(microsecond=0), 2, encoder_pulses=2913, totalizer_l=1030.0),
        ]
        await r.until(r.engine.alarms.current)
        alarm = r.engine.alarms.current()[0]
        await r.engine.alarms.acknowledge(alarm.id, "示例员", "seen")
        await r.until(lambda: r.engine.historian.acknowledged and not r.engine.historian.trouble)
        await r.engine.historian.flush()
    async with rig() as r:
        (again,) = r.engine.alarms.current()
        assert (again.id, again.state, again.acknowledged_by) == (alarm.id, State.ACKNOWLEDGED, "示例员")
        assert [s.seq for s in known(r)] == [1, 2]
        assert r.engine.hub.latest["S01/D1/nozzle-1.volume"].quality is Quality.GOOD
        assert r.engine.sales.litres("S01") == 60.0
        r.forecourt.records = [
            sale(r.clock.now().replace(microsecond=0), 2, encoder_pulses=2913, totalizer_l=1030.0),
            first,
        ]
        await r.clock.advance(3)
        r.forecourt.records = [sale(r.clock.now().replace(microsecond=0), 3, totalizer_l=1100.0)]
        await r.until(lambda: len(r.engine.alarms.current()) == 2)
        assert {a.rule for a in r.engine.alarms.current()} == {"pulse_ratio", "totalizer_continuity"}


async def test_a_tank_of_before_a_restart_goes_over_into_its_nozzle(rig, sale) -> None:
    async with rig() as r:
        r.forecourt.records = [sale(r.clock.now().replace(microsecond=0), 1, encoder_pulses=2913)]
        await r.until(r.engine.alarms.current)
        told = replace(r.engine.alarms.current()[0].finding, cause="leak")
        tank = replace(told, id="tank", rule="tank_balance", subject=Subject("S01", tank_id="S01-T1"))
        await r.engine.detection.hand_on([tank])
        assert {alarm.rule for alarm in r.engine.alarms.current()} == {"pulse_ratio", "tank_balance"}
    async with rig() as r:
        named = replace(told, id="nozzle", rule="tank_balance", sharpens="tank")
        await r.engine.detection.hand_on([named])
        active = [a for a in r.engine.alarms.current() if a.rule == "tank_balance" and a.state is State.ACTIVE]
        assert [alarm.subject.nozzle_id for alarm in active] == ["S01-N01"], "one cause, one alarm"


async def test_a_lost_link_is_an_alarm_that_returns_by_itself(rig) -> None:
    async with rig() as r:
        await r.until(lambda: r.engine.status()["devices"]["connected"] == 1)
        r.forecourt.down = True
        await r.until(lambda: r.engine.status()["devices"]["connected"] == 0)
        link = next(d for d in r.engine.detection.detectors if d.rule == "link_lost")
        await r.engine.detection.look(link)
        assert r.engine.alarms.current() == (), "within the grace period nothing is said"
        await r.clock.advance(5)
        await r.engine.detection.look(link)
        (alarm,) = r.engine.alarms.current()
        assert (alarm.rule, alarm.subject.key) == ("link_lost", "S01")
        await r.engine.alarms.acknowledge(alarm.id, "示例员", "")
        r.forecourt.down = False
        await r.until(lambda: r.engine.status()["devices"]["connected"] == 1)
        await r.until(lambda: all(e.detail["up"] for e in r.engine.history.latest_events("link")))
        await r.engine.detection.look(link)
        assert r.engine.alarms.current() == ()


async def test_status_has_the_promised_shape(rig) -> None:
    async with rig() as r:
        await r.until(lambda: r.engine.status()["devices"]["connected"] == 1)
        status = r.engine.status()
        assert status["stations"] == {"total": 1, "connected": 1}
        assert status["devices"] == {"total": 1, "connected": 1}
        assert {"samples_per_s", "journal_backlog", "active_alarms", "rules"} <= set(status)
        assert set(status["rules"]) == {"on", "off_because", "off_at", "reviewed", "review_trouble", "failing"}


async def test_a_failing_rule_is_named_and_the_others_go_on(rig, sale) -> None:
    async with rig() as r:
        rule = next(x for x in r.engine.detection.record_rules if x.rule == "totalizer_continuity")
        rule.check = lambda *_: 1 / 0
        r.forecourt.records = [sale(r.clock.now().replace(microsecond=0), 2, encoder_pulses=2913)]
        await r.until(r.engine.alarms.current)
        assert "ZeroDivisionError" in r.engine.status()["rules"]["failing"]["totalizer_continuity"]
        r.engine.reviewing.failing = {"totalizer_continuity": "S01: a bug of its own"}
        why = r.engine.status()["rules"]["failing"]["totalizer_continuity"]
        assert why.startswith("S01: a bug of its own; ZeroDivisionError")
        assert r.engine.alarms.current()[0].rule == "pulse_ratio"


async def test_two_servers_on_one_folder_are_refused(rig, tmp_path) -> None:
    async with rig():
        with pytest.raises(Refused, match="held by a running pumpwatch"):
            async with Engine.open(parse_settings(""), tmp_path, Plugins.discover(), FakeClock()):
                pass
