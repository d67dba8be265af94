"""What cheats leave looks in every other way like what honest stations leave: papers, lorries, words and places."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from itertools import islice, pairwise

import numpy as np
import pytest
from evidence_records import START_US, honest, pooled, staged, totalizer_steps, world

from pumpwatch.model import WorkOrder, to_us
from pumpwatch_sim.county import build_county
from pumpwatch_sim.dataset.offices import Books
from pumpwatch_sim.fleet import load_fleet
from pumpwatch_sim.fleets import fleet_path
from pumpwatch_sim.scenarios.base import Scenario, Target
from pumpwatch_sim.scenarios.catalogue import find
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US, MINUTE_US
from pumpwatch_sim.scenarios.refit import by_itself
from pumpwatch_sim.staging import Staging, stage

STATION = "S15"
TANK = f"{STATION}-T1"
ONE_TANK = ("W01", "W02", "W03", "W04", "W08", "T05", "T06", "T08", "C03", "C08", "F04")


def orders(staging: Staging, station_id: str, stretches: int = 13) -> list[WorkOrder]:
    """All work orders about a station as the files have them."""
    books = Books(staging.station(station_id), staging.fleet.seed, staging.start_us, staging.end_us)
    for timeline in islice(staging.timelines(station_id), stretches):
        books.add(timeline)
    papers = books.papers()
    for scenario in staging.of(station_id):
        scenario.papers(papers)
    return papers.work_orders


def fleet(name: str) -> Staging:
    """One of the fleets that come along."""
    plan = load_fleet(fleet_path(name))
    assert not isinstance(plan.start, str)
    return stage(plan, plan.start)


# ---------------------------------------------------------------- where


@pytest.mark.parametrize("name", ONE_TANK)
def test_what_is_about_one_tank_happens_to_a_tank_by_itself(name: str) -> None:
    kind = find(name)
    county = build_county(1, date(2026, 3, 2), 46)
    seen = set()
    for station in county.stations:
        for index, tank in enumerate(station.tanks):
            assert kind.suits(station, where(kind, station.station_id, index)) is (tank.registered.manifold is None)
            seen.add(tank.registered.manifold is None)
    assert seen == {True, False}


def where(kind: type[Scenario], station_id: str, tank: int) -> Target:
    """The tank, or the nozzle that goes round the tanks as they do."""
    return Target(station_id, nozzle=tank) if kind.scope.value == "nozzle" else Target(station_id, tank=tank)


@pytest.mark.parametrize("name", ["county", "catalogue"])
def test_the_fleets_cast_them_so(name: str) -> None:
    staging = fleet(name)
    about = [scenario for scenario in staging.scenarios if scenario.id in ONE_TANK]
    assert len(about) >= 3
    assert all(by_itself(staging.station(each.target.station_id), each.target) for each in about)


def test_nobody_else_has_a_part_where_the_jammer_is() -> None:
    staging = fleet("catalogue")
    (jamming,) = (scenario for scenario in staging.scenarios if scenario.id == "C02")
    others = {scenario.target.station_id for scenario in staging.scenarios if scenario.id not in {"C02", "H11", "H19"}}
    assert len(jamming.stations) > 1
    assert not others & set(jamming.stations)


# ---------------------------------------------------------------- words


def test_inspections_of_cheats_and_honest_stations_read_alike() -> None:
    cheat = staged({"name": "F11", "station": STATION, "onset": "P5D", "visit_days": 10.0})
    told = [order for order in orders(cheat, STATION) if order.kind == "inspection"]
    other = staged({"name": "H08", "dispenser": f"{STATION}-D1", "onset": "P5D"})
    assert len(told) > 5
    usual = [order for order in orders(other, STATION) if order.kind == "inspection"]
    for seed in range(2, 5):
        usual += [order for order in orders(staged(seed=seed), STATION, 1) if order.kind == "inspection"]
    assert len(usual) >= 2

    def looks(order: WorkOrder) -> tuple[object, ...]:
        signed = order.signed_by_repairer, order.signed_by_institute, order.signed_by_station
        return order.device_id[4:5], *signed, order.attributes.get("detail"), order.certificate_no, order.error_percent

    assert {looks(order) for order in told} == {looks(order) for order in usual}


def test_every_detail_is_in_the_countrys_words_and_signed_by_its_people() -> None:
    found = []
    for name in ("P04", "W04", "H09", "H11", "H12", "H16"):
        part = {"tank": TANK} if name in {"W04", "H12"} else {"station": STATION}
        found += orders(staged({"name": name, "onset": "P5D", **part}), STATION)
    kinds = {order.kind for order in found}
    assert {"repair", "calibration", "verification"} <= kinds
    assert {order.signed_by_station for order in found} == {staged().station(STATION).registered.short_name}
    assert {order.signed_by_institute for order in found} == {None, "示例县计量检定所"}
    assert {order.signed_by_repairer for order in found} == {None, "示例维修一部"}
    details = [str(order.attributes["detail"]) for order in found if "detail" in order.attributes]
    assert len(details) >= 6
    assert all(re.match("[一-鿿]", detail) for detail in details)
    numbers = [order.certificate_no for order in found if order.certificate_no]
    assert all(re.fullmatch(r"DEMO-\d{4}-\d{6}", number) for number in numbers)


# ---------------------------------------------------------------- deliveries


@pytest.mark.parametrize("name", ["T08", "T09", "W05", "W08", "H01", "H04"])
def test_papers_of_deliveries_have_the_shape_of_honest_ones(name: str) -> None:
    part = {"station": STATION} if name in {"W05", "H01"} else {"tank": TANK}
    rows = pooled(staged({"name": name, "onset": "P0D", **part}), STATION, 5).deliveries
    usual = honest(STATION, 5).deliveries
    assert len(rows["time"]) > 5
    for table in (rows, usual):
        assert (table["declared_l"] % 1.0 == 0.0).all()
        assert np.abs(table["declared_20c_l"] * 10.0 - np.rint(table["declared_20c_l"] * 10.0)).max() < 1e-6
        for column, shape in (("quality_report_no", r"QR-\d{8}-\d{5}"), ("truck", r"DEMO-TR\d{2}")):
            assert all(re.fullmatch(shape, text) for text in table[column].tolist())
        second = "(-2)?" if name == "H04" else ""
        assert all(re.fullmatch(rf"DN-\d{{8}}-S15-T\d-\d{{4}}{second}", text) for text in table["document_no"].tolist())


def test_papers_without_fuel_are_not_all_of_one_size() -> None:
    tank = pooled(staged({"name": "T09", "onset": "P0D", "tank": TANK, "percent": 100.0}), STATION, 6)
    usual = set(honest(STATION, 6).deliveries["document_no"].tolist())
    added = [
        litres
        for litres, number in zip(tank.deliveries["declared_l"], tank.deliveries["document_no"], strict=True)
        if number not in usual
    ]
    assert len(added) >= 4
    assert len(set(added)) > 2
    assert np.mean(added) == pytest.approx(10_000.0, rel=0.01)


def test_no_lorry_is_at_two_stations_within_half_an_hour() -> None:
    staging = staged(count=24)
    visits: dict[str, list[tuple[int, int, str]]] = {}
    for station in staging.county.stations:
        for timeline in islice(staging.timelines(station.station_id), 2):
            for drop in timeline.drops:
                visits.setdefault(drop.truck, []).append((drop.start_us, drop.end_us, station.station_id))
    assert sum(map(len, visits.values())) > 200
    gaps = [
        (other[0] - one[1]) / MINUTE_US
        for each in visits.values()
        for one, other in pairwise(sorted(each))
        if one[2] != other[2]
    ]
    assert len(gaps) > 20
    assert min(gaps) >= 30.0
    served = [len({visit[2] for visit in each}) for each in visits.values()]
    assert max(served) >= 4
    assert min(served) == 1


# ---------------------------------------------------------------- records


def test_edited_records_agree_with_themselves_and_come_soon() -> None:
    pool = pooled(staged({"name": "C07", "station": STATION, "onset": "P6D"}), STATION, 2)
    table = pool.transactions
    first: dict[tuple[int, int, int], int] = {}
    edited = []
    for row, which in enumerate(zip(*(table[name].tolist() for name in ("nozzle", "seq", "end")), strict=True)):
        if which in first:
            edited.append((first[which], row))
        first.setdefault(which, row)
    assert len(edited) > 10
    before, after = (np.array(rows) for rows in zip(*edited, strict=True))
    assert (table["volume_l"][after] < table["volume_l"][before]).all()
    exact = table["volume_l"][after] * table["unit_price"][after]
    assert np.abs(table["amount_cny"][after] - exact).max() < 0.0051
    assert np.abs(table["encoder_l"][after] - table["encoder_pulses"][after] * 0.01).max() < 1e-6
    assert np.abs(table["encoder_l"][after] - table["volume_l"][after]).max() < 0.011
    assert (table["tax_l"][after] == table["volume_l"][after]).all()
    assert (table["tax_cny"][after] == table["amount_cny"][after]).all()
    sent_us = np.maximum.accumulate(table["end"])[after]
    assert (sent_us - table["end"][after]).max() < 13 * HOUR_US
    assert sent_us.min() - pool.onset_us < DAY_US


def test_an_invented_feed_never_jumps() -> None:
    pool = world("C08", STATION, 4, tank=TANK)
    mine = (pool.readings["tank"] == 0) & (pool.readings["time"] > pool.onset_us)
    time, litres = pool.readings["time"][mine], pool.readings["volume_l"][mine]
    rows: list[tuple[int, float]] = []
    for timeline in pool.timelines:
        sales = timeline.sales
        tank = np.array([nozzle.tank is pool.station.tanks[0] for nozzle in pool.station.nozzles])[sales.nozzle]
        rows += zip(sales.end_us[tank].tolist(), (sales.volume[tank] / 100.0).tolist(), strict=True)
    ends, volume = (np.array(column) for column in zip(*sorted(rows), strict=True))
    sold = np.concatenate(([0.0], np.cumsum(volume)))
    moved = np.diff(litres) + np.diff(sold[np.searchsorted(ends, time, side="right")])
    borders = {timeline.start_us for timeline in pool.timelines[1:]}
    at_border = np.array([at in borders for at in time[1:].tolist()])
    assert at_border.sum() >= 2
    came_us = np.array([drop.end_us for line in pool.timelines for drop in line.drops if drop.tank == 0])
    quiet = np.abs(time[1:, None] - came_us).min(axis=1) > HOUR_US
    assert at_border[quiet].any()
    assert np.abs(moved[quiet]).max() < 6.0
    assert (totalizer_steps(pool.transactions) == 0.0).all()
    assert litres.max() < 0.94 * pool.station.tanks[0].gauge_chart.capacity_l


# ---------------------------------------------------------------- what is honest


@pytest.mark.parametrize("name", ["county", "honest"])
def test_events_by_themselves_mean_nothing(name: str) -> None:
    staging = fleet(name)
    innocent = [scenario.id for scenario in staging.scenarios if scenario.honest]
    for kind in ("H05", "H06", "H08", "H09", "H12", "H16", "H20"):
        assert innocent.count(kind) >= 2, kind
    cheats = {scenario.target.station_id for scenario in staging.scenarios if not scenario.honest}
    assert not cheats & {scenario.target.station_id for scenario in staging.scenarios if scenario.honest}


def test_link_events_are_on_whole_seconds_as_all_are() -> None:
    events = honest(STATION, 5).events
    assert any(event.kind == "link" for event in events)
    assert all(to_us(event.at) % 1_000_000 == 0 for event in events)


def test_a_worn_meter_is_guilty_from_the_day_it_leaves_the_tolerance() -> None:
    staging = staged({"name": "H17", "station": STATION, "onset": "P0D"})
    (scenario,) = staging.scenarios
    (item,) = scenario.truth({station.station_id: station for station in staging.county.stations})
    error = staging.station(STATION).nozzles[scenario.target.nozzle or 0].meter.error
    grown = (item.onset_us - START_US) / DAY_US / 60.0
    assert error + grown * (0.0045 - error) == pytest.approx(0.003, abs=1e-6)
    assert START_US < item.onset_us < START_US + 60 * DAY_US


def test_uplinks_can_be_told_not_to_fail() -> None:
    staging = staged(count=4)
    settings = staging.fleet.stations.model_copy(update={"outages": False})
    sure = replace(staging, fleet=staging.fleet.model_copy(update={"stations": settings}))
    station = staging.county.stations[0].station_id
    assert any(timeline.outages for timeline in islice(staging.timelines(station), 4))
    assert not any(timeline.outages for timeline in islice(sure.timelines(station), 4))
