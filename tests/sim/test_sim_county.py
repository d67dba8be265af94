"""The invented county: counts, names, map, and the subsets."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from itertools import pairwise

import pytest

from pumpwatch.errors import BadConfig
from pumpwatch_sim.county import County, build_county

TODAY = date(2026, 11, 22)
TOWNS = {"西岭": 5, "北原": 5, "柳沟": 4, "石桥": 5, "城关": 9, "东河": 5, "青山": 4, "南塘": 5, "口岸": 4}


@pytest.fixture(scope="module", params=[1, 2, 77])
def county(request: pytest.FixtureRequest) -> County:
    return build_county(request.param, TODAY)


def test_counts(county: County) -> None:
    assert Counter(station.registered.ownership for station in county.stations) == {"private": 27, "state": 19}
    assert Counter(station.registered.town for station in county.stations) == TOWNS
    assert 150 <= sum(len(station.dispensers) for station in county.stations) <= 170
    assert 480 <= sum(len(station.nozzles) for station in county.stations) <= 520
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


def test_names_are_marked_as_invented(county: County) -> None:
    first = county.stations[0].registered
    assert (first.name, first.short_name, first.town) == ("示例西岭一站", "西岭一站", "西岭")
    assert first.attributes["name_en"] == "Demo West 1"
    assert first.attributes["short_name_en"] == "West 1"
    assert first.attributes["town_en"] == "West"
    for station in county.stations:
        registered = station.registered
        assert registered.name.startswith("示例")
        assert len(registered.short_name) <= 6
        assert len(registered.attributes["short_name_en"]) <= 13
        assert registered.credit_code.startswith("DEMO")


def test_every_nozzle_has_a_tank_of_its_grade_and_every_tank_a_nozzle(county: County) -> None:
    for station in county.stations:
        assert {"92#", "95#", "0#"} <= {tank.registered.grade for tank in station.tanks}
        used = {nozzle.registered.tank_id for nozzle in station.nozzles}
        assert used == {tank.registered.tank_id for tank in station.tanks}
        assert all(nozzle.registered.grade == nozzle.tank.registered.grade for nozzle in station.nozzles)
    assert any(tank.registered.grade == "98#" for station in county.stations for tank in station.tanks)


def test_tanks_meters_and_papers_are_sound(county: County) -> None:
    for station in county.stations:
        for tank in station.tanks:
            assert 19_900 <= tank.registered.capacity_l <= 50_100
            assert tank.shape.capacity_l == pytest.approx(tank.registered.capacity_l, abs=0.1)
            assert 0.2 < tank.fuel_l / tank.shape.capacity_l < 0.9
        for nozzle in station.nozzles:
            assert abs(nozzle.error) <= 0.002
            assert nozzle.registered.certificate_expires is not None
            assert nozzle.registered.certificate_expires > TODAY + timedelta(days=30)
    errors = [nozzle.error for station in county.stations for nozzle in station.nozzles]
    assert min(errors) < -0.0018
    assert max(errors) > 0.0018


def test_identities_are_unique_and_fit_the_registers(county: County) -> None:
    dispensers = [dispenser.registered for station in county.stations for dispenser in station.dispensers]
    serials = [getattr(d, name) for d in dispensers for name in ("serial", "mainboard_serial", "tax_serial")]
    serials += [nozzle.registered.encoder_serial for station in county.stations for nozzle in station.nozzles]
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
        assert all(whole[station.station_id] == station for station in part)
        assert len({station.registered.town for station in part}) == min(stations, 9)


@pytest.mark.parametrize("stations", [0, -1, 47])
def test_an_impossible_number_of_stations_is_refused(stations: int) -> None:
    with pytest.raises(BadConfig, match="1 to 46"):
        build_county(1, TODAY, stations)
