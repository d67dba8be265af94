"""The snapshot: lookups, numbers and work orders."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.ledger import Register, id_order
from pumpwatch.model import Dispenser, Nozzle, Station, Tank, WorkOrder


def nozzle(key: str, dispenser: str, tank: str = "S01-T1") -> Nozzle:
    return Nozzle(key, dispenser, tank, "92#")


def order(device: str, day: int, *, station: str = "S01", signed: str | None = "示例") -> WorkOrder:
    at = datetime(2026, 1, day, tzinfo=UTC)
    return WorkOrder(station_id=station, device_id=device, at=at, kind="repair", signed_by_station=signed)


@pytest.fixture
def register() -> Register:
    return Register(
        stations=(Station("S02", "示例二"), Station("S01", "示例一")),
        dispensers=(Dispenser("S01-D2", "S01"), Dispenser("S01-D1", "S01"), Dispenser("S02-D1", "S02")),
        tanks=(
            Tank("S01-T2", "S01", "95#", 30_000),
            Tank("S01-T1", "S01", "92#", 30_000),
            Tank("S02-T1", "S02", "0#", 1),
        ),
        nozzles=(
            nozzle("S01-N10", "S01-D1"),
            nozzle("S01-N9", "S01-D2", "S01-T2"),
            nozzle("S01-N1", "S01-D1"),
            nozzle("S02-N1", "S02-D1", "S02-T1"),
        ),
        orders=(
            order("S01-D1", 3),
            order("S01-N1", 2),
            order("S01", 1),
            order("S01-D1", 4, signed=None),
            order("D2", 5),
            order("D1", 6, station="S02"),
            order("S01-D1", 7, station="S02"),
        ),
    )


def test_everything_is_found_by_its_id(register):
    assert register.station("S01").name == "示例一"
    assert register.dispenser("S02-D1").station_id == "S02"
    assert register.tank("S01-T2").grade == "95#"
    assert register.nozzle("S01-N9").dispenser_id == "S01-D2"
    for find in (register.station, register.dispenser, register.tank, register.nozzle, register.station_of):
        assert find("nowhere") is None


def test_things_of_a_thing_stand_in_the_order_of_their_ids(register):
    assert [s.station_id for s in register.stations] == ["S01", "S02"]
    assert [d.dispenser_id for d in register.dispensers_of("S01")] == ["S01-D1", "S01-D2"]
    assert [t.tank_id for t in register.tanks_of("S01")] == ["S01-T1", "S01-T2"]
    assert [n.nozzle_id for n in register.nozzles_of("S01-D1")] == ["S01-N1", "S01-N10"]
    assert [n.nozzle_id for n in register.nozzles_at("S01")] == ["S01-N1", "S01-N9", "S01-N10"]
    assert [n.nozzle_id for n in register.nozzles_on("S01-T1")] == ["S01-N1", "S01-N10"]
    assert register.nozzles_at("nowhere") == ()


def test_numbers_count_through_the_station(register):
    numbers = {n.nozzle_id: register.nozzle_number(n.nozzle_id) for n in register.nozzles}
    assert numbers == {"S01-N1": 1, "S01-N9": 2, "S01-N10": 3, "S02-N1": 1}
    assert register.tank_number("S01-T2") == 2
    assert register.nozzle_number("S01-T2") is None


def test_everything_knows_its_station(register):
    for key in ("S02", "S02-D1", "S02-T1", "S02-N1"):
        assert register.station_of(key).station_id == "S02"


def test_signed_work_orders_of_a_device_and_what_it_stands_in(register):
    def days(device: str, since: int = 1) -> list[int]:
        return [o.at.day for o in register.work_orders(device, datetime(2026, 1, since, tzinfo=UTC))]

    assert days("S01-D1") == [1, 3]  # not the unsigned one of day 4, not another station's of day 7
    assert days("S01-N1") == [1, 2, 3]
    assert days("S01-D1", since=2) == [3]
    assert days("S01-D2") == [1, 5]  # written "D2" on the paper
    assert days("S02-D1") == [6]
    assert days("S01") == [1]
    assert days("nowhere") == []
    assert len(register.orders) == 7


def test_a_nozzle_of_no_known_dispenser_does_not_break_the_register():
    register = Register(nozzles=(nozzle("N1", "D1"),))
    assert register.nozzles_of("D1") == (register.nozzles[0],)
    assert register.station_of("N1") is None


def test_a_register_does_not_change_and_can_travel(register):
    with pytest.raises(dataclasses.FrozenInstanceError):
        register.stations = ()
    assert pickle.loads(pickle.dumps(register)).nozzles_at("S01") == register.nozzles_at("S01")


@given(st.lists(st.text("SN-019", max_size=8)))
def test_the_order_of_ids_is_total_and_counts(ids):
    backwards = ids[::-1]
    assert sorted(ids, key=id_order) == sorted(backwards, key=id_order)
    assert sorted(["N10", "N9", "N09"], key=id_order) == ["N09", "N9", "N10"]


@given(st.lists(st.integers(0, 999), unique=True))
def test_ids_with_leading_zeros_sort_as_text(numbers):
    ids = [f"S01-N{number:03d}" for number in numbers]
    assert sorted(ids, key=id_order) == sorted(ids)
