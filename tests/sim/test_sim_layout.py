"""What a fleet file may lay down for all stations: tanks, nozzles, sales and nuisances; nothing else changes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from pumpwatch.errors import BadConfig
from pumpwatch_sim.county import build_county
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.fleet import Fleet, Stations, load_fleet
from pumpwatch_sim.staging import stage
from pumpwatch_sim.world.plans import Layout

START = datetime(2026, 3, 1, 16, tzinfo=UTC)
TODAY = date(2026, 3, 2)


def laid(**stations: object) -> Layout:
    return Stations.model_validate(stations).layout


def test_nothing_laid_down_is_the_county_as_ever() -> None:
    assert Stations().layout == Layout()
    plain, told = build_county(5, TODAY, 9), build_county(5, TODAY, 9, layout=Layout())
    for one, other in zip(plain.stations, told.stations, strict=True):
        assert one.registered == other.registered
        assert [nozzle.registered for nozzle in one.nozzles] == [nozzle.registered for nozzle in other.nozzles]
        assert [nozzle.meter for nozzle in one.nozzles] == [nozzle.meter for nozzle in other.nozzles]
        assert [tank.common_loss_sd for tank in other.tanks] == [0.001] * len(other.tanks)


@pytest.mark.parametrize(("tanks", "nozzles", "dispensers"), [(1, 4, [4]), (1, 2, [2]), (1, 8, [4, 4]), (3, 2, [3, 3])])
def test_every_station_is_the_same_case(tanks: int, nozzles: int, dispensers: list[int]) -> None:
    layout = laid(tanks=tanks, nozzles_per_tank=nozzles, tank_litres=30_000, sales_per_nozzle_day=65)
    for station in build_county(3, TODAY, 12, layout=layout).stations:
        assert [tank.registered.grade for tank in station.tanks] == ["92#", "95#", "0#"][:tanks]
        assert [round(tank.registered.capacity_l, -4) for tank in station.tanks] == [30_000] * tanks
        assert [len(each.nozzles) for each in station.dispensers] == dispensers
        assert {nozzle.sales_per_day for nozzle in station.nozzles} == {65.0}
        for tank in station.tanks:
            fed = [nozzle for nozzle in station.nozzles if nozzle.tank is tank]
            assert len(fed) == nozzles
            assert {nozzle.registered.tank_id for nozzle in fed} == {tank.registered.tank_id}


def test_joined_tanks_are_of_one_grade_and_one_level() -> None:
    layout = laid(tanks=4, nozzles_per_tank=2, manifolded=True)
    for station in build_county(3, TODAY, 6, layout=layout).stations:
        assert [tank.registered.grade for tank in station.tanks] == ["92#", "92#", "95#", "95#"]
        names = [tank.registered.manifold for tank in station.tanks]
        assert names[0] == names[1] and names[2] == names[3] and names[0] != names[2] and all(names)
        assert station.tanks[0].registered.capacity_l == pytest.approx(station.tanks[1].registered.capacity_l, rel=0.01)
        assert all(nozzle.tank in station.tanks for nozzle in station.nozzles)


def test_nuisances_by_themselves() -> None:
    layout = laid(common_loss_percent=0.2, meter_drift_percent=0.03)
    plain, other = build_county(3, TODAY, 3, nuisance=1.5), build_county(3, TODAY, 3, nuisance=1.5, layout=layout)
    for one, more in zip(plain.stations, other.stations, strict=True):
        assert one.registered == more.registered
        for tank in more.tanks:
            assert (tank.common_loss_sd, tank.nuisance) == (0.002, 1.5)
        for nozzle, before in zip(more.nozzles, one.nozzles, strict=True):
            assert nozzle.meter.drift_sd == pytest.approx(1.5 * 0.0003)
            assert before.meter.drift_sd == pytest.approx(1.5 * 0.0005)
            assert nozzle.meter.error == before.meter.error


def test_a_station_sells_as_much_and_reads_as_seldom_as_told() -> None:
    stations = {"count": 2, "probe": "base", "outages": False, "tanks": 1, "nozzles_per_tank": 4}
    wanted = {**stations, "sales_per_nozzle_day": 65, "tank_reading_minutes": 1440}
    plan = {"name": "laid", "seed": 3, "start": START.isoformat(), "days": 28, "stations": wanted}
    staging = stage(Fleet.model_validate(plan), START)
    past = station_past(staging, staging.county.stations[0].station_id)
    assert len(past.sales) / 28 / 4 == pytest.approx(65, rel=0.05)
    (level,) = past.levels.values()
    assert len(level) == 28
    assert set(np.diff(level.at_us)) == {86_400_000_000}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tanks = 2", "nozzles_per_tank: goes with tanks"),
        ("nozzles_per_tank = 2", "nozzles_per_tank: goes with tanks"),
        ("tanks = 7\nnozzles_per_tank = 1", "tanks: "),
        ("tanks = 1\nnozzles_per_tank = 4\nmanifolded = true", "give an even number of tanks"),
        ("manifolded = true", "give an even number of tanks"),
        ("tank_litres = 40_000", "tank_litres"),
        ("sales_per_nozzle_day = 0", "sales_per_nozzle_day"),
        ("common_loss_percent = -1", "common_loss_percent"),
        ("tank_reading_minutes = 1441", "tank_reading_minutes"),
    ],
)
def test_mistakes_are_told(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(f'name = "x"\n[stations]\n{text}\n', encoding="utf-8")
    with pytest.raises(BadConfig, match=words):
        load_fleet(file)
