"""Marks of hours: another one whenever a record comes, changes or goes, and the same for everything else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pumpwatch import Transaction
from pumpwatch.historian.bulk import RecordBlock
from pumpwatch.historian.reading import LentRecords
from pumpwatch.historian.records import Records
from pumpwatch.historian.rows import SHAPES
from pumpwatch.model import to_us

START = datetime(2026, 3, 2, tzinfo=UTC)
HOURS = 30


def sale(seq, hour, litres=10.0, **more):
    end = START + timedelta(hours=hour, minutes=20)
    return Transaction("S01-N01", seq, end - timedelta(minutes=2), end, litres, litres * 7.5, 7.5, **more)


@pytest.fixture
def records(tmp_path):
    """A store with a filling an hour at one station."""
    one = Records(tmp_path / "records.sqlite")
    one.open()
    one.write([("S01", sale(n, n)) for n in range(HOURS)], [])
    yield one
    one.close()


def marks(records, station="S01"):
    """The mark of each hour."""
    with records.lent() as lent, lent.opened() as reader:
        told = reader.touched(station)
    first = to_us(START)
    return [told.between(first + n * 3_600_000_000, first + (n + 1) * 3_600_000_000) for n in range(HOURS)]


def changed(records, act, station="S01"):
    """Hours whose marks are others afterwards."""
    before = marks(records, station)
    act()
    return [hour for hour, (old, new) in enumerate(zip(before, marks(records, station), strict=True)) if old != new]


def block(*sales):
    shape = SHAPES[Transaction]
    rows = list(zip(*(shape.row(one) for one in sales), strict=True))
    return RecordBlock(Transaction, ["S01"] * len(sales), dict(zip((c.name for c in shape.columns), rows, strict=True)))


def test_an_hour_is_marked_when_its_records_change(records):
    def write(*sales):
        return lambda: records.write([("S01", one) for one in sales], [])

    assert changed(records, write(sale(900, 7))) == [7]
    assert changed(records, write(sale(7, 7), sale(8, 8))) == [], "word for word what is known"
    assert changed(records, write(sale(7, 7), replace(sale(8, 8), encoder_pulses=3))) == [8]
    assert changed(records, write(sale(9, 9, 11.0))) == [9], "it leaves an event"
    assert changed(records, write(sale(9, 9, 11.0))) == []
    assert changed(records, lambda: records.write([("S02", replace(sale(1, 5), nozzle_id="S02-N01"))], [])) == []


def test_imports_mark_too(records):
    assert changed(records, lambda: records.add(block(sale(1, 1), sale(2, 2)))) == []
    assert changed(records, lambda: records.add(block(sale(901, 3)))) == [3]
    assert changed(records, lambda: records.add(block(replace(sale(4, 4), encoder_pulses=7)))) == [4]
    assert changed(records, lambda: records.add(block(sale(5, 5, 12.0)))) == [5]


def test_what_is_forgotten_marks_its_hours(records):
    before = to_us(START + timedelta(hours=10))
    gone = changed(records, lambda: records.forget(Transaction, before))
    assert gone == list(range(11))
    assert changed(records, lambda: records.forget(Transaction, before)) == []


def test_a_mark_covers_every_hour_it_is_asked_about(records):
    first = to_us(START)
    with records.lent() as lent, lent.opened() as reader:
        told = reader.touched("S01")
    one = told.between(first + 1, first + 2)
    assert one == told.between(first, first + 3_600_000_000)
    assert one != told.between(first, first + 3_600_000_001)
    assert told.hour.tolist() == [to_us(START) // 3_600_000_000 + n for n in range(HOURS)]


def test_of_a_file_made_anew_nothing_is_as_it_was(records, tmp_path):
    before = marks(records)
    records.close()
    with closing(sqlite3.connect(tmp_path / "records.sqlite")) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray((tmp_path / "records.sqlite").read_bytes())
    data[100:4096] = bytes(3996)
    (tmp_path / "records.sqlite").write_bytes(data)
    again = Records(tmp_path / "records.sqlite")
    again.open()
    again.write([("S01", sale(n, n)) for n in range(HOURS)], [])
    assert again.damage
    assert not set(before) & set(marks(again))
    again.close()


def test_a_file_of_an_older_program_has_all_its_hours(records, tmp_path):
    records.close()
    path = tmp_path / "records.sqlite"
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DROP TABLE touched")
        file.execute("PRAGMA user_version = 1")
    again = Records(path)
    again.open()
    again.close()
    with LentRecords(path).opened() as reader:
        assert len(reader.touched("S01").hour) == HOURS
