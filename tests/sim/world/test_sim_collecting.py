"""What reaches the collector: all of it in order, late or never as the outages say, by the devices' own clocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import islice

import numpy as np
import pytest

from pumpwatch.model import EventKind, from_us
from pumpwatch_sim.county import build_county
from pumpwatch_sim.fleet import Stations
from pumpwatch_sim.scenarios.base import Scenario, Target
from pumpwatch_sim.world.collecting import collect
from pumpwatch_sim.world.gauges import read
from pumpwatch_sim.world.making import OUTAGE_SHARE, lives
from pumpwatch_sim.world.timeline import ClockFault, IdentityChange, Outage, OutageKind, Preset, Timeline
from pumpwatch_sim.world.work import Records

ORIGIN_US = 1_767_110_400_000_000
HOUR_US = 3_600_000_000
SETTINGS = Stations()
PLAIN = build_county(1, date(2026, 1, 1), 3).stations[0]
BARE = replace(next(lives(PLAIN, SETTINGS, 1, ORIGIN_US, ())), outages=[])


def collected(timeline: Timeline, *scenarios: Scenario) -> Records:
    return collect(timeline, SETTINGS, 1, scenarios)


def outage(kind: OutageKind, *devices: str, backfilled: bool = False) -> Outage:
    return Outage(
        BARE.start_us + 30 * HOUR_US, BARE.start_us + 36 * HOUR_US, kind, devices=devices, backfilled=backfilled
    )


def test_every_filling_is_told_in_the_units_of_the_canonical_tables() -> None:
    records, sales = collected(BARE), BARE.sales
    columns = records.transactions
    order = np.argsort(sales.end_us, kind="stable")
    assert len(columns["seq"]) == len(sales)
    assert len({len(column) for column in columns.values()}) == 1
    assert np.array_equal(columns["nozzle"], sales.nozzle[order])
    assert np.allclose(columns["volume_l"] * 100, sales.volume[order])
    assert np.allclose(columns["amount_cny"] * 100, sales.amount[order])
    assert np.allclose(columns["unit_price"] * 100, sales.price[order])
    assert np.array_equal(columns["encoder_pulses"], sales.pulses[order])
    assert np.allclose(columns["encoder_l"], columns["volume_l"])
    assert np.allclose(columns["tax_l"], columns["volume_l"])
    assert np.isnan(columns["preset_value"][columns["preset_kind"] == Preset.NONE]).all()
    assert set(columns["preset_value"][columns["preset_kind"] == Preset.LITRES]) == {10.0, 20.0, 30.0}
    assert (columns["start"] < columns["end"]).all()
    assert (columns["end"] % 1_000_000 == 0).all()
    assert np.abs(columns["end"] - sales.end_us[order]).max() < 15_000_000


def test_readings_come_on_the_grid_for_every_tank() -> None:
    columns = collected(BARE).tank_readings
    assert np.bincount(columns["tank"]).tolist() == [2_016] * len(PLAIN.tanks)
    assert (columns["time"] % 300_000_000 == 0).all()
    second = columns["tank"] == 1
    again = read(BARE.tanks[1], BARE, columns["time"][second], 1)
    assert np.array_equal(columns["height_mm"][second], again["height_mm"])
    assert list(columns) == [
        "tank", "time", "height_mm", "volume_l", "volume_20c_l", "water_mm", "temperature_c", "density_kg_m3",
    ]  # fmt: skip


def test_papers_are_those_of_the_documented_drops() -> None:
    timeline = next(islice(lives(PLAIN, SETTINGS, 1, ORIGIN_US, ()), 1, None))
    columns = collected(timeline).deliveries
    assert columns["document_no"].tolist() == [drop.document_no for drop in timeline.drops]
    assert columns["declared_l"].tolist() == [drop.declared_l for drop in timeline.drops]
    silent = replace(timeline, drops=[replace(drop, documented=False) for drop in timeline.drops])
    assert len(collected(silent).deliveries["tank"]) == 0


def test_a_network_outage_delays_records_and_loses_readings_unless_backfilled() -> None:
    span = outage(OutageKind.NETWORK)
    lossy, full = (
        collected(replace(BARE, outages=[replace(span, backfilled=backfilled)])) for backfilled in (False, True)
    )
    whole = collected(BARE)
    for records in (lossy, full):
        assert sorted(records.transactions["totalizer_l"]) == sorted(whole.transactions["totalizer_l"])
        ends = records.transactions["end"]
        late = np.flatnonzero(np.diff(ends) < -HOUR_US)
        assert late.size  # nozzle by nozzle: out of order
    assert len(full.tank_readings["time"]) == len(whole.tank_readings["time"])
    assert len(whole.tank_readings["time"]) - len(lossy.tank_readings["time"]) == 72 * len(PLAIN.tanks)
    links = [event for event in lossy.events if event.kind is EventKind.LINK]
    assert [(event.at, event.device_id, event.detail["up"]) for event in links] == [
        (from_us(span.start_us), PLAIN.station_id, False),
        (from_us(span.end_us), PLAIN.station_id, True),
    ]


@pytest.mark.parametrize("kind", [OutageKind.UNPLUGGED, OutageKind.JAMMED])
def test_what_happens_while_the_collector_is_off_is_in_no_record(kind: OutageKind) -> None:
    dispenser_id = PLAIN.dispensers[1].registered.dispenser_id
    span = outage(kind, dispenser_id)
    records, whole = collected(replace(BARE, outages=[span])), collected(BARE)
    first = len(PLAIN.dispensers[0].nozzles)
    its = range(first, first + len(PLAIN.dispensers[1].nozzles))
    missing = set(whole.transactions["totalizer_l"]) - set(records.transactions["totalizer_l"])
    sales = BARE.sales
    gone = np.isin(sales.nozzle, its) & (sales.end_us >= span.start_us) & (sales.end_us < span.end_us)
    assert missing == set(sales.totalizer[gone] / 100.0)
    assert missing
    assert len(records.tank_readings["time"]) == len(whole.tank_readings["time"])
    assert {event.device_id for event in records.events if event.kind is EventKind.LINK} == {dispenser_id}


def test_a_dark_station_has_no_readings() -> None:
    tank_id = PLAIN.tanks[1].registered.tank_id
    dark = collected(replace(BARE, outages=[outage(OutageKind.POWER)])).tank_readings
    assert np.bincount(dark["tank"]).tolist() == [2_016 - 72] * len(PLAIN.tanks)
    one = collected(replace(BARE, outages=[outage(OutageKind.UNPLUGGED, tank_id)])).tank_readings
    assert np.bincount(one["tank"])[1] == 2_016 - 72
    assert np.bincount(one["tank"])[0] == 2_016


def test_records_bear_the_time_of_their_dispensers_clock() -> None:
    dispenser = PLAIN.dispensers[1].registered.dispenser_id
    at_us = BARE.start_us + 48 * HOUR_US
    fault = ClockFault(dispenser, at_us, step_s=-3600.0, drift_s_per_day=5.0)
    wrong, right = collected(replace(BARE, clock_faults=[fault])), collected(BARE)
    first = len(PLAIN.dispensers[0].nozzles)
    key = ("nozzle", "seq")
    ends = [
        dict(zip(zip(*(records.transactions[name].tolist() for name in key), strict=True),
                 records.transactions["end"].tolist(), strict=True))
        for records in (wrong, right)
    ]  # fmt: skip
    its = range(first, first + len(PLAIN.dispensers[1].nozzles))
    for row, end_us in ends[1].items():
        late_s = (ends[0][row] - end_us) / 1e6
        if row[0] not in its or end_us < at_us - 20_000_000:
            assert late_s == 0
        elif end_us > at_us + 20_000_000:
            assert late_s == pytest.approx(-3600.0 + 5.0 * (end_us - at_us) / (24 * HOUR_US), abs=1.01)
    assert ends[0].keys() == ends[1].keys()


def test_a_device_that_says_it_is_another_is_noted_once() -> None:
    change = IdentityChange(
        PLAIN.dispensers[0].registered.dispenser_id,
        BARE.start_us + HOUR_US,
        mainboard_serial="MB-NEW",
        encoder_serials={PLAIN.nozzles[0].registered.nozzle_id: "EN-NEW"},
    )
    told = [event for event in collected(replace(BARE, identities=[change])).events if event.kind is EventKind.IDENTITY]
    assert [(event.device_id, dict(event.detail)) for event in told] == [
        (change.dispenser_id, {"mainboard_serial": "MB-NEW"}),
        (PLAIN.nozzles[0].registered.nozzle_id, {"encoder_serial": "EN-NEW"}),
    ]
    earlier = replace(change, at_us=BARE.start_us - HOUR_US)
    assert not [e for e in collected(replace(BARE, identities=[earlier])).events if e.kind is EventKind.IDENTITY]


def test_scenarios_have_the_last_word() -> None:
    class Edit(Scenario):
        def records(self, records: Records) -> None:
            records.transactions["volume_l"] = records.transactions["volume_l"] * 0.9

    edit = Edit(Target(PLAIN.station_id), 0, None, {}, "test")
    edited = collected(BARE, edit).transactions
    assert np.allclose(edited["volume_l"], collected(BARE).transactions["volume_l"] * 0.9)


def test_the_uplink_fails_as_often_as_it_should() -> None:
    lost = total = 0
    for timeline in islice(lives(PLAIN, Stations(demand=0.05), 1, ORIGIN_US, ()), 60):
        for span in timeline.outages:
            assert span.kind is OutageKind.NETWORK
            assert span.backfilled
            assert timeline.start_us <= span.start_us < span.end_us <= timeline.end_us
            lost += span.end_us - span.start_us
        total += timeline.end_us - timeline.start_us
    assert lost / total == pytest.approx(OUTAGE_SHARE, rel=0.4)
