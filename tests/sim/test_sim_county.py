"""The invented county: counts, names, map, subsets and repeats, and the physical facts behind the papers."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from pumpwatch.errors import BadConfig
from pumpwatch_sim.county import build_county
from pumpwatch_sim.world.fluids import from_20c
from pumpwatch_sim.world.plans import County, StationKind, TankPlan

TODAY = date(2026, 11, 22)
TOWNS = {"西岭": 5, "北原": 5, "柳沟": 4, "石桥": 5, "城关": 9, "东河": 5, "青山": 4, "南塘": 5, "口岸": 4}


@pytest.fixture(scope="module", params=[1, 2, 77])
def county(request: pytest.FixtureRequest) -> County:
    return build_county(request.param, TODAY)


@pytest.fixture(scope="module")
def large() -> County:
    return build_county(3, TODAY, 200)


def tanks_of(county: County) -> list[TankPlan]:
    return [tank for station in county.stations for tank in station.tanks]


# ------------------------------------------------------------ papers


def test_counts(county: County) -> None:
    assert Counter(station.registered.ownership for station in county.stations) == {"private": 27, "state": 19}
    assert Counter(station.registered.town for station in county.stations) == TOWNS
    assert sum(len(station.dispensers) for station in county.stations) == 160
    assert sum(len(station.nozzles) for station in county.stations) == 500
    for station in county.stations:
        assert 3 <= len(station.tanks) <= 6
        assert all(1 <= len(dispenser.nozzles) <= 4 for dispenser in station.dispensers)
        assert [dispenser.unit for dispenser in station.dispensers] == list(range(1, len(station.dispensers) + 1))


def test_ids_are_the_agreed_ones(county: County) -> None:
    assert [station.station_id for station in county.stations] == [f"S{n:02d}" for n in range(1, 47)]
    for station in county.stations:
        key = station.station_id
        assert [t.registered.tank_id for t in station.tanks] == [f"{key}-T{n + 1}" for n in range(len(station.tanks))]
        numbers = [nozzle.registered.nozzle_id for nozzle in station.nozzles]
        assert numbers == [f"{key}-N{n + 1:02d}" for n in range(len(numbers))]
        for dispenser in station.dispensers:
            assert dispenser.registered.dispenser_id == f"{key}-D{dispenser.unit}"


def test_the_papers_of_seed_1_are_those_everybody_knows() -> None:
    county = build_county(1, TODAY)
    papers = [station.registered for station in county.stations]
    papers += [dispenser.registered for station in county.stations for dispenser in station.dispensers]
    papers += [nozzle.registered for station in county.stations for nozzle in station.nozzles]
    digest = hashlib.sha256("\n".join(map(repr, papers)).encode()).hexdigest()
    assert digest == "c6c3d7e3b09ea1b3f41b6bab1bf4245e6a51c0258d918f5cc49d92ec6fc16d93"


def test_names_are_marked_as_invented(county: County) -> None:
    first = county.stations[0].registered
    assert (first.name, first.short_name, first.town) == ("示例西岭一站", "西岭一站", "西岭")
    assert first.attributes["name_en"] == "Demo West 1"
    assert first.attributes["short_name_en"] == "West 1"
    assert first.attributes["town_en"] == "West"
    for station in county.stations:
        registered = station.registered
        assert registered.name.startswith("示例")
        assert registered.credit_code.startswith("DEMO")


def test_every_nozzle_has_a_tank_of_its_grade_and_every_tank_a_nozzle(county: County) -> None:
    for station in county.stations:
        assert {"92#", "95#", "0#"} <= {tank.registered.grade for tank in station.tanks}
        used = {nozzle.registered.tank_id for nozzle in station.nozzles}
        assert used == {tank.registered.tank_id for tank in station.tanks}
        for nozzle in station.nozzles:
            assert nozzle.registered.grade == nozzle.tank.registered.grade == nozzle.tank.product.grade
            assert any(nozzle.tank is tank for tank in station.tanks)
    assert any(tank.registered.grade == "98#" for tank in tanks_of(county))


def test_all_papers_are_valid_on_the_day(county: County) -> None:
    for station in county.stations:
        registered = station.registered
        for expires in (
            registered.business_licence_expires,
            registered.retail_licence_expires,
            registered.hazmat_licence_expires,
        ):
            assert expires is not None
            assert expires > TODAY + timedelta(days=90)
        for nozzle in station.nozzles:
            assert nozzle.registered.certificate_expires is not None
            assert nozzle.registered.certificate_expires > TODAY + timedelta(days=30)


def test_identities_are_unique_and_fit_the_registers(county: County, large: County) -> None:
    for some in (county, large):
        dispensers = [dispenser.registered for station in some.stations for dispenser in station.dispensers]
        serials = [getattr(d, name) for d in dispensers for name in ("serial", "mainboard_serial", "tax_serial")]
        serials += [nozzle.registered.encoder_serial for station in some.stations for nozzle in station.nozzles]
        assert len(set(serials)) == len(serials)
        assert all(serial.isascii() and len(serial) <= 16 for serial in serials)
        assert all(len(bytes.fromhex(d.firmware_digest or "")) == 32 for d in dispensers)
        by_version: dict[str | None, set[str | None]] = {}
        for dispenser in dispensers:
            by_version.setdefault(dispenser.firmware_version, set()).add(dispenser.firmware_digest)
        assert all(len(digests) == 1 for digests in by_version.values())


def test_towns_lie_on_a_lattice_with_the_first_row_in_the_north(county: County) -> None:
    middle: dict[str, tuple[float, float]] = {}
    for town in TOWNS:
        places = [station.registered for station in county.stations if station.registered.town == town]
        middle[town] = (
            sum(place.latitude or 0 for place in places) / len(places),
            sum(place.longitude or 0 for place in places) / len(places),
        )
    rows = [list(TOWNS)[at : at + 3] for at in (0, 3, 6)]
    for row, below in pairwise(rows):
        assert min(middle[town][0] for town in row) > max(middle[town][0] for town in below)
    for column in range(2):
        assert max(middle[row[column]][1] for row in rows) < min(middle[row[column + 1]][1] for row in rows)
    assert middle["城关"] == pytest.approx((41.3, 108.5), abs=0.1)


def test_a_subset_is_part_of_the_whole_and_spread_over_towns() -> None:
    whole = {station.station_id: station for station in build_county(1, TODAY).stations}
    for stations in (1, 2, 3, 9, 20):
        part = build_county(1, TODAY, stations).stations
        assert len(part) == stations
        assert len({station.registered.town for station in part}) == min(stations, 9)
        for station in part:
            known = whole[station.station_id]
            assert station.registered == known.registered
            assert [nozzle.registered for nozzle in station.nozzles] == [n.registered for n in known.nozzles]
            assert [nozzle.meter for nozzle in station.nozzles] == [n.meter for n in known.nozzles]
            assert [tank.stock_20c_l for tank in station.tanks] == [tank.stock_20c_l for tank in known.tanks]


def test_more_stations_repeat_the_towns(large: County) -> None:
    ids = [station.station_id for station in large.stations]
    assert ids == sorted(ids)
    assert set(ids) == {f"S{n:02d}" for n in range(1, 47)} | {f"S{n:03d}" for n in range(47, 201)}
    assert len({station.registered.name for station in large.stations}) == 200
    assert len({station.registered.credit_code for station in large.stations}) == 200
    spots = {(station.registered.latitude, station.registered.longitude) for station in large.stations}
    assert len(spots) == 200
    for station in large.stations:
        assert station.registered.town in TOWNS
        assert len(station.registered.short_name) <= 6
        assert len(station.registered.attributes["short_name_en"]) <= 13
        assert abs((station.registered.latitude or 0) - 41.3) < 0.5
    first = {station.station_id: station.registered for station in build_county(3, TODAY).stations}
    assert all(station.registered == first.get(station.station_id, station.registered) for station in large.stations)


@pytest.mark.parametrize("stations", [0, -1, 2_001])
def test_an_impossible_number_of_stations_is_refused(stations: int) -> None:
    with pytest.raises(BadConfig, match="1 to 2000"):
        build_county(1, TODAY, stations)


def test_an_unknown_probe_is_refused() -> None:
    with pytest.raises(BadConfig, match="good, base, poor and mixed"):
        build_county(1, TODAY, 1, "best")


# ------------------------------------------------------------ physical facts


def test_tanks_are_of_four_sizes_and_hold_what_the_papers_say(large: County) -> None:
    tanks = tanks_of(large)
    assert {round(tank.registered.capacity_l, -4) for tank in tanks} == {10_000, 20_000, 30_000, 50_000}
    for tank in tanks:
        assert tank.true_chart.capacity_l == pytest.approx(tank.registered.capacity_l, abs=0.1)
        assert tank.true_chart.height_mm[-1] == tank.registered.diameter_mm
        fuel_l = from_20c(tank.stock_20c_l, tank.temperature_c, tank.product.expansion)
        assert 0.15 < fuel_l / tank.registered.capacity_l < 0.92
        assert 2.0 <= tank.water_mm <= 9.0


def test_the_tanks_are_as_warm_as_the_ground_on_the_first_day() -> None:
    winter = build_county(1, TODAY, 10, origin=date(2026, 3, 1))
    summer = build_county(1, TODAY, 10, origin=date(2026, 8, 30))
    assert max(tank.temperature_c for tank in tanks_of(winter)) < 6
    assert min(tank.temperature_c for tank in tanks_of(summer)) > 14
    assert [s.registered for s in winter.stations] == [s.registered for s in summer.stations]


def test_a_gauge_s_charts_and_deliveries_are_off_by_half_a_percent_from_tank_to_tank(large: County) -> None:
    tanks = tanks_of(large)
    scales = np.array([tank.gauge_chart.capacity_l / tank.true_chart.capacity_l - 1.0 for tank in tanks])
    assert scales.mean() == pytest.approx(0.0, abs=0.0005)
    assert scales.std() == pytest.approx(0.0031, rel=0.15)
    rises = []
    for tank in tanks:
        diameter = tank.true_chart.height_mm[-1]
        span = np.array([0.25, 0.70]) * diameter  # a usual delivery
        true, told = np.diff(tank.true_chart.volume_l(span))[0], np.diff(tank.gauge_chart.volume_l(span))[0]
        rises.append((1.0 + tank.delivery_bias) * told / true - 1.0)
    assert np.std(rises) == pytest.approx(0.0046, rel=0.12)
    assert np.mean(rises) == pytest.approx(0.0, abs=0.0007)


@pytest.mark.parametrize(("kind", "litres"), [("good", 1.5), ("base", 3.0), ("poor", 8.0)])
def test_probes_read_as_well_as_their_class(kind: str, litres: float) -> None:
    county = build_county(1, TODAY, 3, kind)
    for tank in tanks_of(county):
        probe = tank.probe
        chance = np.random.default_rng(1)
        true = chance.uniform(1200.0, 1300.0, 100_000)
        told = np.round((true + chance.normal(0.0, probe.noise_mm, 100_000)) / probe.quantum_mm) * probe.quantum_mm
        assert (told - true).std() * 15.3 == pytest.approx(litres, rel=0.03)
        assert abs(probe.offset_mm) < 2.0


def test_a_mixed_county_has_all_probes_one_kind_a_station(county: County) -> None:
    kinds = [{tank.probe.noise_mm for tank in station.tanks} for station in county.stations]
    assert all(len(kind) == 1 for kind in kinds)
    assert {noise for kind in kinds for noise in kind} == {0.095, 0.195, 0.437}
    assert all(math.isinf(t.probe.density_noise) == (t.probe.quantum_mm == 1.0) for t in tanks_of(county))


def test_some_tanks_of_a_grade_are_joined_alike_and_equally_high(large: County) -> None:
    joined = 0
    for station in large.stations:
        pairs: dict[str, list[TankPlan]] = {}
        for tank in station.tanks:
            if tank.registered.manifold is not None:
                pairs.setdefault(tank.registered.manifold, []).append(tank)
        for manifold, tanks in pairs.items():
            assert manifold.startswith(f"{station.station_id}-M")
            assert len(tanks) == 2
            assert len({(t.registered.grade, t.registered.capacity_l, t.registered.diameter_mm) for t in tanks}) == 1
            levels = []
            for tank in tanks:
                water_l = tank.true_chart.volume_l(np.array([tank.water_mm]))
                fuel_l = from_20c(tank.stock_20c_l, tank.temperature_c, tank.product.expansion)
                levels.append(float(tank.true_chart.height_mm_of(water_l + fuel_l)[0]))
            assert levels[0] == pytest.approx(levels[1], abs=1e-6)
            joined += 1
    assert joined > 40


def test_meters_flows_clocks_and_trade(large: County) -> None:
    nozzles = [nozzle for station in large.stations for nozzle in station.nozzles]
    errors = np.array([nozzle.meter.error for nozzle in nozzles])
    assert abs(errors).max() <= 0.0025
    assert errors.std() == pytest.approx(0.0025 / math.sqrt(3), rel=0.06)
    assert errors.mean() == pytest.approx(0.0, abs=0.00015)
    meter = nozzles[0].meter
    assert (meter.drift_sd, meter.drift_tau_days, meter.repeatability) == (0.0005, 60.0, 0.0005)
    assert (meter.offset_l, meter.offset_sd_l) == (0.0, 0.02)
    flows = np.array([nozzle.flow_l_min for nozzle in nozzles])
    assert (flows.min() >= 30.0, flows.max() <= 42.0) == (True, True)
    sales = np.array([nozzle.sales_per_day for nozzle in nozzles])
    assert (sales.min() >= 20.0, sales.max() <= 90.0) == (True, True)
    assert 42.0 < sales.mean() < 52.0
    drifts = np.array([d.clock_drift_s_per_day for station in large.stations for d in station.dispensers])
    assert 0.8 < abs(drifts).max() <= 1.0


def test_stations_lie_where_their_towns_say(large: County) -> None:
    kinds = Counter(station.kind for station in large.stations)
    assert min(kinds[kind] for kind in StationKind) >= 10
    for station in large.stations:
        assert (station.kind is StationKind.PORT) == (station.registered.town == "口岸")
        if station.registered.town == "城关":
            assert station.kind is StationKind.TOWN


def test_the_same_seed_gives_the_same_facts() -> None:
    one, same, other = build_county(5, TODAY, 12), build_county(5, TODAY, 12), build_county(6, TODAY, 12)
    facts = [
        [
            (t.stock_20c_l, t.temperature_c, t.delivery_bias, t.probe, t.gauge_chart.volume_l_at.tobytes())
            for t in tanks_of(county)
        ]
        for county in (one, same, other)
    ]
    assert facts[0] == facts[1] != facts[2]
