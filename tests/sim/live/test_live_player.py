"""A station played from hand-made stretches: identities, clocks, outages, and what is made when."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pumpwatch.errors import BadConfig
from pumpwatch_sim.live.player import StationPlayer
from pumpwatch_sim.world.timeline import ClockFault, IdentityChange, Outage, OutageKind, Timeline

Play = Callable[..., Any]
WEEK_S = 7 * 86_400


def us(stage: Any, seconds: float) -> int:
    return int(stage.staging.origin_us + round(seconds * 1e6))


def test_a_station_is_what_its_plan_says(play: Play) -> None:
    player = play([]).player
    plan = player.plan
    assert [d.dispenser_id for d in player.dispensers] == [d.registered.dispenser_id for d in plan.dispensers]
    assert [d.unit for d in player.dispensers] == list(range(1, len(plan.dispensers) + 1))
    assert [n.nozzle_id for n in player.nozzles] == [n.registered.nozzle_id for n in plan.nozzles]
    assert [n.number for n in player.dispensers[0].nozzles] == list(range(1, len(player.dispensers[0].nozzles) + 1))
    assert [(t.tank_id, t.number, t.grade) for t in player.tanks] == [
        (t.registered.tank_id, number, t.registered.grade) for number, t in enumerate(plan.tanks, 1)
    ]
    registered = plan.dispensers[0].registered
    identity = player.dispensers[0].identity
    assert (identity.serial, identity.mainboard_serial) == (registered.serial, registered.mainboard_serial)
    assert (identity.firmware_version, identity.tax_serial) == (registered.firmware_version, registered.tax_serial)
    assert identity.encoder_serials == tuple(n.registered.encoder_serial for n in plan.dispensers[0].nozzles)


def test_rows_go_to_their_nozzles(play: Play) -> None:
    stage = play([{"start": 50.0, "nozzle": 1, "volume": 1111}, {"start": 60.0, "volume": 2222}])
    stage.to(200)
    assert [nozzle.volume for nozzle in stage.player.nozzles[:3]] == [2222, 1111, 0]


def test_an_identity_changes_at_its_moment_and_for_good(play: Play) -> None:
    def change(week: int, timeline: Timeline) -> None:
        dispenser = timeline.station.dispensers[1].registered
        encoders = {timeline.station.dispensers[1].nozzles[0].registered.nozzle_id: "EN-NEW"}
        at_us = timeline.start_us - week * WEEK_S * 1_000_000 + 45_000_000
        timeline.identities.append(
            IdentityChange(dispenser.dispenser_id, at_us, mainboard_serial="MB-NEW", encoder_serials=encoders)
        )

    stage = play([], change=change)
    other, dispenser = stage.player.dispensers[:2]
    stage.to(44)
    before, changes = dispenser.identity, dispenser.identity_changes
    assert before.mainboard_serial != "MB-NEW"
    stage.to(45)
    assert dispenser.identity_changes == changes + 1
    assert dispenser.identity.mainboard_serial == "MB-NEW"
    assert dispenser.identity.encoder_serials == ("EN-NEW", *before.encoder_serials[1:])
    assert dispenser.identity.firmware_digest == before.firmware_digest
    assert other.identity.mainboard_serial != "MB-NEW"
    stage.to(WEEK_S + 45)
    assert dispenser.identity_changes == changes + 1


def test_a_wrong_clock_stamps_the_sales(play: Play) -> None:
    def change(week: int, timeline: Timeline) -> None:
        dispenser = timeline.station.dispensers[0].registered.dispenser_id
        start = timeline.start_us
        timeline.clock_faults.append(ClockFault(dispenser, start + 100_000_000, 3600.0, 0.0, start + 1000_000_000))

    stage = play([{"start": 500.0}], change=change)
    dispenser = stage.player.dispensers[0]
    for seconds, off in ((50, 0), (500, 3600), (1001, 0)):
        stage.to(seconds)
        assert dispenser.now_s == pytest.approx(us(stage, seconds) / 1e6 + off, abs=2)
        assert dispenser.local_time.timestamp() == dispenser.now_s
        assert dispenser.local_time.utcoffset().total_seconds() == 8 * 3600
    assert stage.player.nozzles[0].sales[101 % 4].start_s == pytest.approx(us(stage, 500) / 1e6 + 3600, abs=2)
    assert stage.player.local_time.timestamp() == us(stage, 1001) // 1_000_000


def test_outages_reach_their_devices(play: Play) -> None:
    def change(week: int, timeline: Timeline) -> None:
        first = timeline.station.dispensers[0].registered.dispenser_id
        start = timeline.start_us
        timeline.outages += [
            Outage(start + 10_000_000, start + 20_000_000, OutageKind.UNPLUGGED, (first,)),
            Outage(start + 30_000_000, start + (WEEK_S + 5) * 1_000_000, OutageKind.POWER),
        ]

    stage = play([], change=lambda week, timeline: change(week, timeline) if week == 0 else None)
    player = stage.player
    first, second = player.dispensers[0].dispenser_id, player.dispensers[1].dispenser_id
    for seconds, out in ((9, (False, False)), (15, (True, False)), (25, (False, False)), (31, (True, True))):
        stage.to(seconds)
        assert (player.out(first), player.out(second)) == out
    stage.to(WEEK_S + 4)
    assert player.out(second), "it lasts over the border of the stretch"
    stage.to(WEEK_S + 5)
    assert not player.outages


def test_stretches_are_made_only_when_needed(play: Play) -> None:
    stage = play([])
    assert stage.staging.made == []
    assert stage.player.tanks
    assert stage.staging.made == [], "nobody has asked about the present yet"
    stage.to(10)
    assert stage.player.nozzles[0].volume == 0
    assert stage.player.local_time
    assert stage.staging.made == [0]
    stage.to(3 * WEEK_S)
    assert stage.player.out("S01-D1") is False
    assert stage.staging.made == [0, 1, 2, 3]


def test_the_sales_of_a_stretch_are_not_kept_twice(play: Play) -> None:
    player = play([{"start": 10.0}]).to(100)
    player.see()
    sales = player.tanks[0]._timeline.sales
    assert len(sales) == 0
    assert sales.nozzle.base is None, "a view keeps what it shows a part of"


def test_another_thread_makes_what_is_coming(play: Play) -> None:
    stage = play([{"start": 10.0}], [{"start": 10.0, "seq": 102}])
    player = stage.player
    with ThreadPoolExecutor(1) as pool:
        pool.submit(player.prepare, us(stage, WEEK_S)).result()
    assert stage.staging.made == [0, 1]
    assert player.made_until_us == us(stage, 2 * WEEK_S)
    stage.to(WEEK_S + 100)
    assert player.nozzles[0].sequence == 102
    player.prepare(us(stage, WEEK_S))
    assert stage.staging.made == [0, 1], "nothing is made twice"


def test_an_unknown_station_is_refused(play: Play) -> None:
    with pytest.raises(BadConfig, match="S99"):
        StationPlayer(play([]).staging, "S99", lambda: 0)
