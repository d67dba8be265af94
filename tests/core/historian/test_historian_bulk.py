"""Records in bulk, and the layout of their file: old files are brought up to date, newer ones refused."""

from __future__ import annotations

import math
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import (
    BadConfig,
    Delivery,
    DeviceEvent,
    EventKind,
    Refused,
    TankReading,
    Transaction,
    to_us,
)
from pumpwatch.historian import SHAPES, Difference, RecordBlock, Taken
from pumpwatch.historian.records import Records

AT = datetime(2026, 3, 1, tzinfo=UTC)

OLD = """
CREATE TABLE latest (path TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, value REAL, text TEXT, quality INTEGER NOT NULL);
CREATE TABLE transactions (station TEXT NOT NULL, "nozzle_id" TEXT NOT NULL, "seq" INTEGER NOT NULL,
  "start" INTEGER NOT NULL, "end" INTEGER NOT NULL, "volume_l" REAL, "amount_cny" REAL, "unit_price" REAL,
  "totalizer_l" REAL, "totalizer_cny" REAL, "encoder_l" REAL, "encoder_pulses" INTEGER, "tax_l" REAL, "tax_cny" REAL,
  "payment" TEXT, "preset_kind" TEXT, "preset_value" REAL, "raw" BLOB);
CREATE UNIQUE INDEX transactions_key ON transactions ("nozzle_id", "seq", "end");
CREATE TABLE deliveries (station TEXT NOT NULL, "tank_id" TEXT NOT NULL, "at" INTEGER NOT NULL, "received_l" REAL,
  "declared_l" REAL, "end" INTEGER, "document_no" TEXT);
CREATE TABLE device_events (station TEXT NOT NULL, "at" INTEGER NOT NULL, "station_id" TEXT NOT NULL,
  "device_id" TEXT NOT NULL, "kind" TEXT NOT NULL, "detail" TEXT);
"""


@pytest.fixture
def records(tmp_path: Path):
    records = Records(tmp_path / "records.sqlite")
    records.open()
    yield records
    records.close()


def readings(*heights: float, volume: object = None, tank: str = "S01-T1") -> RecordBlock:
    n = len(heights)
    at = [to_us(AT + timedelta(minutes=i)) for i in range(n)]
    return RecordBlock(
        TankReading,
        ["S01"] * n,
        {"tank_id": [tank] * n, "at": at, "height_mm": list(heights), "volume_l": [volume] * n},
    )


def everything(records: Records, kind: type, limit: int = 1_000) -> list[object]:
    return records.find(kind, limit=limit)[::-1]


def test_a_block_is_there_once_and_told_exactly(records):
    assert records.add(readings(1.0, 2.0, 3.0)) == Taken(3, 0)
    assert records.add(readings(1.0, 2.0, 3.0)) == Taken(0, 0)
    assert records.add(readings(1.0, 2.0, 3.0, 4.0, volume=math.nan)) == Taken(1, 0)
    assert records.add(readings(1.0, 2.5, volume=9.0)) == Taken(0, 1, (Difference(1, "height_mm", 2.0),))
    assert records.add(readings(1.0, volume=8.0)) == Taken(0, 0, (Difference(0, "volume_l", 9.0),))
    assert [(r.height_mm, r.volume_l) for r in everything(records, TankReading)] == [
        (1.0, 9.0), (2.0, None), (3.0, None), (4.0, None),
    ]  # fmt: skip


def test_what_one_block_says_twice(records):
    twice = RecordBlock(
        TankReading,
        ["S01"] * 4,
        {
            "tank_id": ["S01-T1"] * 4,
            "at": [0] * 4,
            "height_mm": [1.0, 1.0, 1.0, 2.0],
            "volume_l": [None, 5.0, 6.0, None],
        },
    )
    taken = records.add(twice)
    assert (taken.added, taken.filled) == (1, 1)
    assert {d.number for d in taken.differing} == {2, 3}
    assert [(r.height_mm, r.volume_l) for r in everything(records, TankReading)] == [(1.0, 5.0)]


def test_a_row_is_filled_by_one_row_after_the_other(records):
    def rows(*values: tuple[float | None, float | None]) -> RecordBlock:
        n = len(values)
        volumes, waters = zip(*values, strict=True)
        columns = {"tank_id": ["S01-T1"] * n, "at": [0] * n, "height_mm": [1.0] * n}
        return RecordBlock(TankReading, ["S01"] * n, columns | {"volume_l": volumes, "water_mm": waters})

    assert records.add(rows((None, None))) == Taken(1, 0)
    assert records.add(rows((1.0, None), (2.0, 3.0))) == Taken(0, 1, (Difference(1, "volume_l", 1.0),))
    assert records.add(rows((None, 4.0), (1.0, 4.0), (1.0, 5.0))) == Taken(0, 1, (Difference(2, "water_mm", 4.0),))
    assert [(r.volume_l, r.water_mm) for r in everything(records, TankReading)] == [(1.0, 4.0)]


def test_a_block_and_single_records_are_the_same_thing(records):
    records.write([("S01", TankReading("S01-T1", AT, 1.0, attributes={"a": "b"}))], [])
    assert records.add(readings(1.0)) == Taken(0, 0)
    event = DeviceEvent(AT, "S01", "D1", EventKind.POWER)
    records.write([("S01", event)], [])
    same = {"at": [to_us(AT)], "station_id": ["S01"], "device_id": ["D1"], "kind": ["power"]}
    assert records.add(RecordBlock(DeviceEvent, ["S01"], same)) == Taken(0, 0)
    assert everything(records, DeviceEvent) == [event]
    assert records.find(TankReading, limit=1)[0].attributes == {"a": "b"}


def test_a_block_that_does_not_fit_leaves_nothing(records):
    with pytest.raises(Refused):
        records.add(readings(1.0, 2.0, volume=2**70))
    assert everything(records, TankReading) == []
    assert records.series(TankReading) == []
    with pytest.raises(ValueError, match=r"shorter|longer"):
        records.add(RecordBlock(TankReading, ["S01", "S01"], {"tank_id": ["S01-T1"], "at": [0], "height_mm": [1.0]}))


def test_pages_follow_one_another(records):
    for tank in ("S02-T1", "S01-T1"):
        records.add(readings(*map(float, range(25)), tank=tank))
    assert [subject for _, subject in records.series(TankReading)] == ["S01-T1", "S02-T1"]
    seen: list[float] = []
    after: tuple[object, ...] = ()
    while rows := records.page(TankReading, ("S01", "S01-T1"), to_us(AT), to_us(AT + timedelta(minutes=20)), after, 7):
        seen += [row[2] for row in rows]
        after = (rows[-1][1],)
    assert seen == [float(n) for n in range(20)]


def test_a_file_of_the_first_layout_is_brought_up_to_date(tmp_path):
    path = tmp_path / "records.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(OLD)
        sale = ("S01", "S01-N01", 7, to_us(AT), to_us(AT) + 60, 30.12, 235.84, 7.83)
        old.execute(
            "INSERT INTO transactions VALUES (?,?,?,?,?,?,?,?,NULL,NULL,NULL,NULL,NULL,NULL,'cash',NULL,NULL,?)",
            (*sale, b"\x00"),
        )
        old.execute("INSERT INTO deliveries VALUES ('S01', 'S01-T1', ?, 9.5, NULL, NULL, NULL)", (to_us(AT),))
        old.execute("INSERT INTO device_events VALUES ('S01', ?, 'S01', 'D1', 'power', NULL)", (to_us(AT),))
        old.execute("INSERT INTO latest VALUES ('S01/D1/x', 1, 2.0, NULL, 0)")
    old.close()
    for _ in range(2):
        records = Records(path)
        records.open()
        (kept,) = everything(records, Transaction)
        assert (kept.seq, kept.payment, kept.raw, kept.attributes) == (7, "cash", b"\x00", {})
        assert everything(records, Delivery) == [Delivery("S01-T1", AT, 9.5)]
        assert everything(records, DeviceEvent) == [DeviceEvent(AT, "S01", "D1", EventKind.POWER)]
        assert records.latest().paths == ("S01/D1/x",)
        assert records.damage == ()
        records.close()


def test_a_file_of_a_newer_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "records.sqlite"
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    records = Records(path)
    with pytest.raises(BadConfig, match=r"layout 99.*newer pumpwatch"):
        records.open()
    records.close()
    with sqlite3.connect(path) as newer:
        assert newer.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    newer.close()


def test_a_column_that_is_new_is_added(tmp_path):
    path = tmp_path / "records.sqlite"
    records = Records(path)
    records.open()
    records.add(readings(1.0))
    records.close()
    with sqlite3.connect(path) as older:
        older.execute("ALTER TABLE tank_readings DROP COLUMN attributes")
    older.close()
    records.open()
    assert records.add(readings(1.0, 2.0)) == Taken(1, 0)
    records.write([("S01", TankReading("S01-T1", AT, 1.0, attributes={"a": "b"}))], [])
    assert everything(records, TankReading)[0].attributes == {"a": "b"}
    records.close()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_whatever_page_is_damaged_the_rest_is_saved(tmp_path, share):
    path = tmp_path / "records.sqlite"
    records = Records(path)
    records.open()
    for tank in range(12):
        records.add(readings(*map(float, range(300)), tank=f"S01-T{tank:02d}"))
    records.close()
    data = bytearray(path.read_bytes())
    leaves = [p for p in range(0, len(data), 4096) if data[p] == 0x0A and data[p : p + 4096].count(b"S01-T") > 12]
    bad = leaves[int(share * len(leaves))]
    data[bad : bad + 4096] = b"\x5a" * 4096
    path.write_bytes(data)
    records.open()
    for pair in records.series(TankReading):
        records.page(TankReading, pair, 0, 2**62, (), 1_000)
    assert "malformed" in records.damage[0]
    saved = everything(records, TankReading, 4_000)
    assert 3_600 > len(saved) >= 3_600 - 120
    assert len({(r.tank_id, r.at) for r in saved}) == len(saved)
    assert records.add(readings(*map(float, range(300)), tank="S01-T00")).differing == ()
    records.close()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_order_and_filters_agree_with_a_plain_list(tmp_path_factory, data):
    records = Records(tmp_path_factory.mktemp("any") / "records.sqlite")
    records.open()
    row = st.tuples(
        st.sampled_from(["S01", "S02"]),
        st.sampled_from(["D1", "D2"]),
        st.integers(0, 9),
        st.sampled_from(list(EventKind)),
    )
    rows = data.draw(st.lists(row, max_size=30))
    events = [DeviceEvent(AT + timedelta(seconds=s), station, device, kind) for station, device, s, kind in rows]
    records.write([(e.station_id, e) for e in events], [])
    station = data.draw(st.none() | st.sampled_from(["S01", "S02"]))
    device = data.draw(st.none() | st.sampled_from(["D1", "D2"]))
    start, end = sorted(data.draw(st.tuples(st.integers(0, 10), st.integers(0, 10))))
    limit = data.draw(st.integers(1, 40))
    first, last = to_us(AT) + start * 1_000_000, to_us(AT) + end * 1_000_000
    found = records.find(DeviceEvent, station_id=station, subject=device, start_us=first, end_us=last, limit=limit)
    shape = SHAPES[DeviceEvent]
    want = {
        shape.identity(e)
        for e in events
        if station in (None, e.station_id) and device in (None, e.device_id) and first <= to_us(e.at) < last
    }
    assert {shape.identity(e) for e in found} <= want
    assert len(found) == min(limit, len(want))
    times = sorted((identity[-2] for identity in want), reverse=True)
    assert [to_us(e.at) for e in found] == times[:limit]
    records.close()
