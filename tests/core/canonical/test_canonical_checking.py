"""The fast reading of columns never takes what the reading of single cells refuses, nor otherwise than it."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pumpwatch.canonical.blocks import Block
from pumpwatch.canonical.checking import Checker
from pumpwatch.canonical.measured import MEASURED_TABLES, TRANSACTIONS

HOMES = {"S01-N01": "S01", "S01-T1": "S01", "S01": "S01"}
NUMBERS = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.text("0123456789.eE+-xnaifINF_ \t", max_size=8),
    st.sampled_from(
        ["", "0x1F", "1e5", "1E5", "+5", ".5", "5.", "-0", "1_0", "infinity", "١", "1,5", "９", "1e-400", "1d3"]
    ),
)
TIMES = st.one_of(
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.datetimes(datetime(1980, 1, 1), datetime(2110, 1, 1)).map(lambda at: at.isoformat() + "+05:45"),  # noqa: DTZ001
    st.text("0123456789-:TZ+. ", max_size=28),
    st.sampled_from(
        [
            *("", "2026-03-01T24:00:00Z", "2026-03-01T09:00:60Z", "2026-03-01 09:00Z", "2026-03-01T09Z", "2026-03-01Z"),
            *("20260301T090000Z", "2026-03-01T09:00:00.123456789Z", "2026-03-01T09:00:00,5Z", "2026-W09-7T09:00Z"),
            *(
                "2026-03-01T09:00:00+0800",
                "2026-03-01T09:00:00+08",
                "2026-03-01T09:00:00+24:00",
                "2026-02-29T09:00:00Z",
            ),
            *(
                "2026-03-01T09:00:00 +08:00",
                "2026-03-01t09:00:00z",
                "2026-03-01T09:00:00-08:00:30",
                "+2026-03-01T09:00Z",
            ),
        ]
    ),
)
WORDS = st.one_of(
    st.text(max_size=5), st.sampled_from(["", "S01-N01", "S01-T1", "S01", "link", "{}", '{"a": 1}', " x "])
)
BY_FORM = {"number": NUMBERS, "whole": NUMBERS, "time": TIMES}


@pytest.mark.parametrize("table", MEASURED_TABLES, ids=lambda t: t.name)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_columns_and_cells_agree(table, data):
    good = {
        "nozzle_id": "S01-N01",
        "tank_id": "S01-T1",
        "station_id": "S01",
        "device_id": "D1",
        "kind": "link",
        "seq": "7",
        "start": "2026-03-01T01:00:00Z",
        "end": "2026-03-01T01:01:00Z",
        "time": "2026-03-01T01:01:00Z",
    }
    usual = {c.name: good.get(c.name, "1" if c.form == "number" else "") for c in table.columns}
    rows = []
    for _ in range(data.draw(st.integers(1, 4))):
        row = dict(usual)
        column = data.draw(st.sampled_from(table.columns))
        cell = data.draw(BY_FORM.get(column.form, WORDS))
        row[column.name] = cell.encode(errors="replace").decode()
        rows.append(row)
    names = list(usual)
    block = Block(range(2, 2 + len(rows)), [pa.array([row[n] for row in rows], pa.string()) for n in names])
    checked = Checker(table, names, HOMES).check(block)
    want = [table.read({n: cell.strip() for n, cell in row.items()}, HOMES) for row in rows]
    assert [r.row.line for r in checked.refused] == [line for line, (_, wrong) in enumerate(want, 2) if wrong]
    assert [r.wrong for r in checked.refused] == [wrong for _, wrong in want if wrong]
    kept = [values for values, wrong in want if not wrong]
    assert len(checked.records) == len(kept)
    for number, values in enumerate(kept):
        for name, column in checked.records.columns.items():
            value = column[number]
            empty = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
            assert (None if empty else value) == (values.get(name) or (0 if values.get(name) == 0 else None)), name


@example("2026-03-01T01:00:00Z", "2026-03-01T09:00:00+08:00")
@given(TIMES, TIMES)
def test_the_order_of_start_and_end_is_that_of_instants(start, end):
    cells = {
        "nozzle_id": "S01-N01",
        "seq": "1",
        "start": start,
        "end": end,
        **dict.fromkeys(("volume_l", "amount_cny", "unit_price"), "1"),
    }
    block = Block([2], [pa.array([cell], pa.string()) for cell in cells.values()])
    checked = Checker(TRANSACTIONS, list(cells), HOMES).check(block)
    if checked.refused:
        assert checked.refused[0].wrong == TRANSACTIONS.read({n: c.strip() for n, c in cells.items()}, HOMES)[1]
    else:
        assert checked.records.columns["start"][0] <= checked.records.columns["end"][0]
