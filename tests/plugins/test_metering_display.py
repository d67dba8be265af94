"""A display second by second: a played station's jumps and late zeros are found as they are, honest ones are quiet."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from worlds import world

from pumpwatch import DISPLAY, DeviceEvent, EventKind, Sample, Severity, Site, from_us, to_us
from pumpwatch.acquisition import Displays
from pumpwatch.alarms import finding_to_json
from pumpwatch.detection import Detection, LiveHistory, judge_station
from pumpwatch.detection.replay import PastHistory
from pumpwatch.ledger import Register
from pumpwatch.testing import FakeClock, order_free
from pumpwatch_metering.display import Display, DisplaySettings
from pumpwatch_sim.fleet import Fleet, ScenarioEntry, Stations
from pumpwatch_sim.live.player import StationPlayer
from pumpwatch_sim.staging import stage

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
RULE = Display(DisplaySettings())
JUMP = {
    "code": DISPLAY, "wrong": "jump", "lifted": "2026-11-22T04:00:00+00:00", "displayed_l": 21.5, "excess_l": 1.5,
    "start_l": 0.0, "jump_s": 2.0, "looks": "0.0:0.00:0.0 1.0:0.40:38.0 2.0:2.53:38.0 3.0:3.16:38.0",
}  # fmt: skip


@pytest.fixture(scope="module")
def history():
    """What is registered at S01."""
    return PastHistory(world(days=3)[0])


def played(*names, days=1.0, station="S01"):
    """What acquisition says of a station that is read once a second, and the truth of its fillings by end."""
    entries = tuple(ScenarioEntry(name=n, station=station, onset="P0D", share=25.0) for n in names)
    staging = stage(Fleet(name="display", start=START, days=8, stations=Stations(count=2), scenario=entries), START)
    at, dice, until = [staging.start_us], random.Random(7), staging.start_us + round(days * 86_400e6)
    player = StationPlayer(staging, station, lambda: at[0])
    timeline = next(t for t in staging.timelines(station) if t.end_us > until)
    sales = timeline.sales
    rows = [i for i in range(len(sales)) if staging.start_us <= sales.lifted_us[i] and sales.hung_us[i] < until]
    sites = [
        Site(station, d.dispenser_id, d.dispenser_id, tuple(n.nozzle_id for n in d.nozzles)) for d in player.dispensers
    ]
    displays, events, t = [Displays(site) for site in sites], [], 0
    for first, last in sorted((int(sales.lifted_us[i]) - 3_000_000, int(sales.hung_us[i]) + 3_000_000) for i in rows):
        t = max(t, first + dice.randrange(1_000_000))
        while t < last:
            at[0] = t
            for dispenser, watched in zip(player.dispensers, displays, strict=True):
                samples = [
                    Sample(f"nozzle-{n}.{name}", value, from_us(t))
                    for n, nozzle in enumerate(dispenser.nozzles, 1)
                    for name, value in (
                        ("state", nozzle.state), ("volume", nozzle.volume / 100), ("flow", nozzle.flow / 10)
                    )
                ]  # fmt: skip
                events += watched.look(samples, t / 1e6, t / 1e6 + 0.05)
            t += 1_000_000
    nozzles = [n.nozzle_id for n in player.nozzles]
    truth = {
        (nozzles[sales.nozzle[i]], int(sales.hung_us[i])): (int(sales.jump[i]) / 100, int(sales.start_volume[i]) / 100)
        for i in rows
    }
    return events, truth


def filling(event, truth):
    """The filling whose hanging up the event's look is the first to show."""
    near = [key for key in truth if key[0] == event.device_id and 0 <= to_us(event.at) - key[1] <= 1_100_000]
    assert len(near) == 1
    return near[0]


def test_a_played_station_with_both_scenarios(history):
    events, truth = played("F18", "F19", days=0.2)
    said = {filling(e, truth): (e, *RULE.check(e, history)) for e in events}
    wrong = {key for key, (jump, left) in truth.items() if jump or left}
    assert said.keys() == wrong
    assert sum(truth[key][0] > 0 for key in said) >= 3
    assert sum(truth[key][1] > 0 for key in said) >= 2
    for key, (_, finding) in said.items():
        assert finding.cause == "short_delivery"
        assert finding.severity is Severity.MEDIUM
        assert finding.estimate.low - 0.02 <= sum(truth[key]) <= finding.estimate.high + 0.02
        assert finding.figures


def test_an_honest_station_says_nothing():
    events, truth = played(days=0.2)
    assert len(truth) > 60
    assert events == []


async def test_what_is_found_live_is_found_in_a_replay():
    past, _ = world(days=3)
    event = DeviceEvent(past.start + timedelta(hours=5), "S01", past.nozzles[0].nozzle_id, EventKind.ALARM, JUMP)
    heard = []

    async def hear(finding, *_):
        heard.append(finding)

    register = Register((past.station,), past.dispensers, past.tanks, past.nozzles, past.work_orders)
    history = LiveHistory(register, {})
    await Detection([RULE], history, FakeClock(), hear, hear, hear, hear).judge([event, event])
    whole = replace(past, events=tuple(sorted((*past.events, event), key=lambda e: e.at)))
    assert {f.id: f for f in heard} == {f.id: f for f in judge_station(whole, [RULE], past.start, past.end)[0]}
    assert len({f.id for f in heard}) == 1


def test_events_in_any_order_say_the_same():
    past, _ = world(days=3)
    nozzle = past.nozzles[0].nozzle_id
    events = tuple(
        DeviceEvent(past.start + timedelta(hours=h), past.station_id, nozzle, EventKind.ALARM, JUMP | {"excess_l": h})
        for h in (1.0, 2.0, 3.0)
    )
    findings = order_free(RULE, replace(past, events=tuple(sorted((*past.events, *events), key=lambda e: e.at))))
    assert [f.estimate.value for f in findings] == [1.0, 2.0, 3.0]
    assert {f.subject.nozzle_id for f in findings} == {nozzle}


@pytest.mark.parametrize(
    "change",
    [
        {"code": "E64"}, {"wrong": "of course"}, {"wrong": None}, {"excess_l": None}, {"displayed_l": "much"},
        {"excess_l": True}, {"excess_l": math.inf}, {"displayed_l": 10**400},
    ],
)  # fmt: skip
def test_an_event_that_is_none_of_these_is_passed_over(history, change):
    event = DeviceEvent(START, "S01", "S01-N01", EventKind.ALARM, JUMP | change)
    assert list(RULE.check(event, history)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"looks": "12"}, {"looks": None}, {"lifted": "noon"}, {"jump_s": None}, {"start_l": 10**400},
        {"looks": "0:1:2 1e18:5:3"}, {"looks": "nan:1:2 1:5:3"}, {"looks": "0:inf:2 1:5:3"}, {"looks": "0:1:1e308"},
        {"jump_s": 1e300}, {"lifted": "0001-01-01T00:00:00+14:00"},
    ],
)  # fmt: skip
def test_what_an_event_leaves_out_or_what_cannot_be_is_not_needed(history, change):
    (finding,) = RULE.check(DeviceEvent(START, "S01", "S01-N01", EventKind.ALARM, JUMP | change), history)
    assert finding.estimate.value == 1.5
    assert "Infinity" not in (told := json.dumps(finding_to_json(finding)["figures"]))
    assert "NaN" not in told


def test_what_it_says(history):
    (finding,) = RULE.check(DeviceEvent(START, "S01", "S01-N01", EventKind.ALARM, JUMP), history)
    assert finding.explanation.title.en == "Nozzle 1 jump of 1.50 L"
    assert finding.figures[0].curves[1].y == pytest.approx((0.0, 0.317, 0.95, 1.583), abs=0.001)
    assert [mark[1].en for mark in finding.figures[0].marks] == ["jump"]
    hung = RULE.check(DeviceEvent(START, "S01", "S01-N01", EventKind.ALARM, JUMP | {"wrong": "hung"}), history)
    assert [(f.severity, f.cause) for f in hung] == [(Severity.LOW, "out_of_tolerance")]
