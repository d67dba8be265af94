"""Writing to and reading from the ledger, on a real file."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.database import Database, ledger_url
from pumpwatch.errors import BadConfig
from pumpwatch.ledger import Fate, Ledger
from pumpwatch.ledger.canonical import LEDGER_TABLES
from pumpwatch.model import Dispenser, Nozzle, Station, Tank, WorkOrder

STATION = Station(
    "S01",
    "示例加油站",
    short_name="示例",
    ownership="state",
    latitude=41.5,
    longitude=108.5,
    retail_licence_expires=date(2027, 1, 31),
    attributes={"name_en": "Demo", "port_area": "yes"},
)
DISPENSER = Dispenser("S01-D1", "S01", serial="X1", firmware_digest="ab" * 32, installed_on=date(2020, 2, 29))
TANK = Tank("S01-T1", "S01", "92#", 30_000, diameter_mm=2_600.5)
NOZZLE = Nozzle("S01-N01", "S01-D1", "S01-T1", "92#", pulse_l=0.01, certificate_expires=date(2026, 12, 1))
ORDER = WorkOrder(
    "S01", "S01-D1", datetime(2026, 3, 1, 9, tzinfo=timezone(timedelta(hours=8))), "repair", signed_by_repairer="示例"
)
EVERYTHING = (STATION, DISPENSER, TANK, NOZZLE, ORDER)


@pytest.fixture
async def ledger(tmp_path):
    async with Database.open(ledger_url(tmp_path)) as database:
        yield Ledger(database)


async def test_an_empty_ledger(ledger):
    register = await ledger.load()
    assert (register.stations, register.orders) == ((), ())


async def test_what_was_put_is_read_as_it_was(ledger):
    assert await ledger.put(reversed(EVERYTHING)) == {Fate.ADDED: 5}  # in any order: it sorts what refers to what
    register = await ledger.load()
    assert register.stations == (STATION,)
    assert register.dispensers == (DISPENSER,)
    assert register.tanks == (TANK,)
    assert register.nozzles == (NOZZLE,)
    assert register.orders == (ORDER,)
    assert register.orders[0].at.tzinfo is UTC
    assert await ledger.stations() == register.stations
    assert await ledger.dispensers() == register.dispensers
    assert await ledger.tanks() == register.tanks
    assert await ledger.nozzles() == register.nozzles


async def test_putting_again_changes_nothing_and_putting_another_replaces_whole(ledger):
    await ledger.put(EVERYTHING)
    assert await ledger.put(EVERYTHING) == {Fate.UNCHANGED: 5}
    bare = Station("S01", "示例加油站")
    assert await ledger.put([bare, DISPENSER]) == {Fate.CHANGED: 1, Fate.UNCHANGED: 1}
    assert await ledger.stations() == (bare,)


async def test_work_orders_are_filtered(ledger):
    later = replace(ORDER, at=ORDER.at + timedelta(days=1), device_id="S01-N01", signed_by_repairer=None)
    await ledger.put([*EVERYTHING, later])
    assert await ledger.work_orders() == (ORDER, later)
    assert await ledger.work_orders(device_id="S01-N01") == (later,)
    assert await ledger.work_orders(station_id="S02") == ()
    assert await ledger.work_orders(since=later.at) == (later,)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            replace(NOZZLE, tank_id="S01-T9"),
            "Nozzle S01-N01: tank_id: S01-T9 stands neither in the ledger nor.* in tanks",
        ),
        (replace(DISPENSER, station_id="S09"), "Dispenser S01-D1: station_id: S09 stands neither"),
        (replace(STATION, ownership="communal"), "Station S01: ownership: 'communal' is not one of state, private"),
        (replace(STATION, station_id="S/1"), "station_id: 'S/1' holds '/'"),
        (replace(STATION, station_id="S\n1"), "station_id: .* cannot be seen|control"),
        (replace(STATION, name=" "), "name: is empty"),
        (replace(STATION, latitude=91.0), "latitude: 91.0 is not between -90 and 90"),
        (replace(TANK, capacity_l=0), "Tank S01-T1: capacity_l: 0 is not above 0"),
        (replace(TANK, capacity_l=float("nan")), "capacity_l: nan is not a number"),
        (replace(ORDER, kind="gossip"), "kind: 'gossip' is not one of"),
        (replace(ORDER, at=datetime(2026, 1, 1)), "time: .* is not a time with its offset"),  # noqa: DTZ001
        (replace(STATION, attributes={"a": "\x00"}), "attribute 'a': holds the control character"),
        (replace(STATION, attributes={"a": 5}), "attribute 'a': 5 is not text"),
    ],
)
async def test_what_may_not_be_is_refused_and_nothing_written(ledger, entry, says):
    before = await ledger.put(EVERYTHING[:3])
    assert before == {Fate.ADDED: 3}
    with pytest.raises(BadConfig, match=says):
        await ledger.put([Station("S77", "示例"), entry])
    assert [s.station_id for s in await ledger.stations()] == ["S01"]


async def test_a_nozzle_draws_from_a_tank_of_its_own_station(ledger):
    await ledger.put([*EVERYTHING, Station("S02", "示例"), Tank("S02-T1", "S02", "92#", 1)])
    with pytest.raises(BadConfig, match="S02-T1 is a tank of S02, but S01-D1 stands at S01"):
        await ledger.put([replace(NOZZLE, tank_id="S02-T1")])


async def test_text_is_text_whatever_it_says(ledger):
    nasty = "'); DROP TABLE stations; --"
    station = Station("S' OR 1=1", nasty, address='"%s" :x ?', attributes={nasty: nasty})
    await ledger.put([station])
    assert await ledger.stations() == (station,)


async def test_more_than_one_statement_holds(ledger):
    stations = [Station(f"S{number:04d}", "示例") for number in range(1_234)]
    assert await ledger.put(stations) == {Fate.ADDED: 1_234}
    assert await ledger.put([*stations[:-1], replace(stations[-1], town="示例")]) == {
        Fate.UNCHANGED: 1_233,
        Fate.CHANGED: 1,
    }
    assert len(await ledger.stations()) == 1_234


def test_the_tables_hold_every_field_of_the_model():
    for table in LEDGER_TABLES:
        assert {column.target for column in table.columns} == set(table.defaults)
        assert {column.name for column in table.stored.columns} == {*table.defaults, *table.derived, "attributes"}
        nullable = {name for name, column in table.stored.columns.items() if column.nullable}
        assert nullable == {c.target for c in table.columns if not c.required and table.defaults[c.target] is None}


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_value_that_passes_the_check_is_one_the_database_holds(data):
    table = data.draw(st.sampled_from(LEDGER_TABLES))
    anything = st.one_of(st.none(), st.text(max_size=5), st.floats(), st.integers(), st.dates(), st.datetimes())
    values = {name: data.draw(anything) for name in table.defaults}
    wrong = {column for column, _ in table.check(values)}
    for column in table.columns:
        value = values[column.target]
        if column.name not in wrong and value is not None:
            python_type = table.stored.c[column.target].type.python_type
            assert isinstance(value, (int, float) if python_type is float else python_type)
