"""Importing whole data sets: what is kept, what changes nothing, what is refused and how it is named."""

from __future__ import annotations

import io
import sqlite3
import threading
import zipfile
import zlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from pumpwatch.canonical import importing
from pumpwatch.canonical.blocks import CsvBlocks
from pumpwatch.canonical.importing import import_measured
from pumpwatch.canonical.measured import TANK_READINGS, TRANSACTIONS
from pumpwatch.ledger import Ledger, sheets
from pumpwatch.ledger.files import LINE_LIMIT, Rejects, UnreadableFile
from pumpwatch.ledger.parquet import ParquetFile
from pumpwatch.model import (
    ChartPoint,
    CovertTest,
    Declaration,
    Delivery,
    DeviceEvent,
    HotlineReport,
    TankReading,
    Transaction,
)

AT = datetime(2026, 3, 1, 1, tzinfo=UTC)
ALWAYS = {"start": AT - timedelta(days=900), "end": AT + timedelta(days=900)}
HEAD = "nozzle_id,seq,start,end,volume_l,amount_cny,unit_price"
GOOD = "S01-N01,7,2026-03-01T01:00:00Z,2026-03-01T01:01:00Z,30.12,235.84,7.83"


def sale(**cells: str) -> str:
    names = HEAD.split(",")
    return ",".join((dict(zip(names, GOOD.split(","), strict=True)) | cells).values())


async def test_a_whole_county_is_imported(kept, write, county, told):
    report = await kept.take(write(county))
    assert told(report) == []
    assert report.others == ()
    assert {t.table: t.added for t in report.tables} == {n: c.count("\n") - 1 for n, c in county.items()}
    first, second = (await kept.historian.transactions(nozzle_id="S01-N01"))[::-1]
    assert first == Transaction(
        "S01-N01", 7, AT, AT + timedelta(minutes=1), 30.12, 235.84, 7.83,
        encoder_pulses=3012, payment="cash", attributes={"shift": "A"},
    )  # fmt: skip
    assert (second.encoder_pulses, second.payment, second.attributes) == (None, None, {})
    assert second.end == AT + timedelta(minutes=6, milliseconds=250)
    assert [t.nozzle_id for t in await kept.historian.transactions(station_id="S02")] == ["S02-N01"]
    readings = await kept.historian.records(TankReading, key="S01-T1", **ALWAYS)
    assert readings[0] == TankReading("S01-T1", AT + timedelta(minutes=5), 1480.1, temperature_c=-3.0)
    later, earlier = await kept.historian.records(Delivery, **ALWAYS)
    assert earlier == Delivery(
        "S01-T1",
        AT + timedelta(days=1),
        None,
        10_000.0,
        None,
        "示例-7",
        9950.5,
        "示例公司",
        "示A00001",
        "Q-1",
        {"seal": "x"},
    )
    assert (later.document_no, later.supplier) == (None, None)
    events = await kept.historian.records(DeviceEvent, key="S01/D1", **ALWAYS)
    assert {e.kind: dict(e.detail) for e in events} == {"link": {"up": False, "reason": "示例"}, "power": {}}
    ledger = Ledger(kept.database)
    assert (await ledger.stations())[0].attributes == {"port_area": "true"}
    assert await ledger.entries(ChartPoint) == (ChartPoint("S01-T1", 0, 0), ChartPoint("S01-T1", 10.5, 33.25))
    assert (await ledger.entries(Declaration))[0] == Declaration("S01", "2026-03", "92#", declared_sale_l=12345.6)
    assert {r.text: r.nozzle_id for r in await ledger.entries(HotlineReport)} == {"少油": "S01-N01", "油质": None}
    (test,) = await ledger.entries(CovertTest)
    assert test == CovertTest("S01-N01", datetime(2026, 3, 5, tzinfo=UTC), 20.0, 19.61, 0.05)


async def test_importing_twice_changes_nothing(kept, write, county, told):
    folder = write(county)
    await kept.take(folder)
    await kept.give(kept.data / "first")
    changes = kept.historian.store._records._open_file.total_changes
    with sqlite3.connect(kept.data / "ledger.sqlite") as witness:
        before = witness.execute("PRAGMA data_version").fetchone()
        again = await kept.take(folder)
        assert witness.execute("PRAGMA data_version").fetchone() == before
    witness.close()
    assert told(again) == []
    assert all((t.added, t.changed, t.rejected) == (0, 0, 0) for t in again.tables)
    assert {t.table: t.unchanged for t in again.tables} == {n: c.count("\n") - 1 for n, c in county.items()}
    incoming = sum(
        t.unchanged for t in again.tables if t.table in {"transactions", "tank_readings", "deliveries", "device_events"}
    )
    assert kept.historian.store._records._open_file.total_changes - changes == incoming  # of the comparing alone
    await kept.give(kept.data / "second")
    for file in (kept.data / "first").iterdir():
        assert file.read_bytes() == (kept.data / "second" / file.name).read_bytes()


async def test_an_import_that_was_broken_off_is_run_again(kept, write, county, opened, tmp_path):
    lines = [sale(seq=str(n), end=f"2026-03-01T02:{n // 60:02d}:{n % 60:02d}Z") for n in range(600)]
    folder = write(county | {"transactions": "\n".join([HEAD, *lines]) + "\n"})
    ledger = Ledger(kept.database)
    await ledger.import_folder(folder)
    stop = RuntimeError("power cut")

    def break_off(progress):
        if progress.rows >= 300:
            raise stop

    with pytest.raises(RuntimeError, match="power cut"):
        await import_measured(
            kept.historian, TRANSACTIONS, [folder / "transactions.csv"], await ledger.load(),
            progress=break_off, block_rows=100,
        )  # fmt: skip
    report = await kept.take(folder)
    (table,) = (t for t in report.tables if t.table == "transactions")
    assert table.added + table.unchanged == 600
    assert table.unchanged >= 300
    assert len(await kept.historian.transactions(limit=1000)) == 600


async def test_a_later_file_fills_what_the_first_left_out_and_overwrites_nothing(kept, write, county, told):
    await kept.take(write(county | {"transactions": f"{HEAD}\n{GOOD}\n"}))
    more = f"{HEAD},tax_l,shift\n{GOOD},30.1,A\n{sale(seq='8')},30.1,\n"
    report = await kept.take(write({"transactions": more}))
    (table,) = (t for t in report.tables if t.table == "transactions")
    assert (table.added, table.changed, table.rejected) == (1, 1, 0)
    forged = f"{HEAD},tax_l,tax_cny\n{sale(volume_l='29.9')},30.1,5\n"
    report = await kept.take(write({"transactions": forged}))
    assert told(report) == [
        "transactions.csv:2: volume_l: was reported before, and otherwise (30.12); the first report stands"
    ]
    first = (await kept.historian.transactions(nozzle_id="S01-N01"))[-1]
    assert (first.volume_l, first.tax_l, first.tax_cny, first.attributes) == (30.12, 30.1, None, {"shift": "A"})


# ---------------------------------------------------------------- damage

MOMENT = "is not a time with its offset; write it as 2026-11-22T08:00:00+08:00"
ROWS = {
    "negative litres": (sale(volume_l="-1"), "volume_l: -1.0 is below 0"),
    "negative money": (sale(amount_cny="-0.01"), "amount_cny: -0.01 is below 0"),
    "end before start": (sale(end="2026-03-01T00:59:59Z"), "end: lies before start"),
    "unknown nozzle": (
        sale(nozzle_id="S09-N01"),
        "nozzle_id: S09-N01 does not stand in the ledger; add it there first",
    ),
    "no nozzle": (sale(nozzle_id=""), "nozzle_id: is empty"),
    "time without offset": (sale(end="2026-03-01T01:01:00"), f"end: '2026-03-01T01:01:00' {MOMENT}"),
    "no time": (sale(start="yesterday"), f"start: 'yesterday' {MOMENT}"),
    "month 13": (sale(end="2026-13-01T01:01:00Z"), f"end: '2026-13-01T01:01:00Z' {MOMENT}"),
    "future century": (sale(end="2126-03-01T01:01:00Z"), "end: the year 2126 is not between 1990 and 2099"),
    "nan": (sale(volume_l="nan"), "volume_l: 'nan' is not a number; write it as 1234.5"),
    "inf": (sale(unit_price="inf"), "unit_price: 'inf' is not a number; write it as 1234.5"),
    "beyond floats": (sale(volume_l="1e999"), "volume_l: '1e999' is not a number"),
    "hexadecimal": (sale(seq="0x10"), "seq: '0x10' is not a number; write it as 1234.5"),
    "sequence not whole": (sale(seq="7.5"), "seq: '7.5' is not a whole number"),
    "sequence too large": (sale(seq="9" * 18), f"seq: '{'9' * 18}' is too large"),
    "formula": (sale(volume_l="=2+2"), "volume_l: '=2+2' is not a number; write it as 1234.5"),
    "embedded NUL": (sale(volume_l="3\x000"), "volume_l: holds the control character '\\x00'"),
    "missing cell": ("S01-N01,7", "has 2 cells, the header 7; look for a comma or quotation mark"),
    "trailing cells": (GOOD + ",,x", "has 9 cells, the header 7; look for a comma or quotation mark"),
    "wrong delimiter": (GOOD.replace(",", ";"), "has 1 cells, the header 7; look for a comma or quotation mark"),
    "quotation mark not closed": (f'"{GOOD}', "is not CSV"),
    "10 MB field": (sale(volume_l="1" * 10_000_000), f"is longer than {LINE_LIMIT} characters"),
    "100 kB number": (sale(volume_l="1" * 100_000), "volume_l: is longer than 4000 characters"),
    "an id with a slash": (sale(nozzle_id="S01/N01"), "nozzle_id: 'S01/N01' holds '/', which separates"),
    "local encoding": (sale(nozzle_id="示例").encode("gbk"), "is not UTF-8 text; save the table as CSV in UTF-8"),
}


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("damage", ROWS)
async def test_a_damaged_row_is_named_and_its_neighbours_go_in(kept, write, county, told, damage, quoted):
    row, reason = ROWS[damage]
    before, after = sale(seq="1"), sale(seq="2")
    if quoted:  # the same through the patient reader
        before = ",".join(f'"{cell}"' for cell in before.split(","))
    row = row if isinstance(row, bytes) else row.encode()
    content = b"\n".join([HEAD.encode(), before.encode(), row, after.encode(), b""])
    report = await kept.take(write(county | {"transactions": content}))
    (problem,) = told(report)
    assert problem.startswith(f"transactions.csv:3: {reason}")
    assert len(problem) < 700
    (table,) = (t for t in report.tables if t.table == "transactions")
    assert (table.added, table.rejected) == (2, 1)
    assert {t.seq for t in await kept.historian.transactions()} == {1, 2}
    rejects = (kept.data / "rejects" / "transactions.rejects.csv").read_bytes()
    assert rejects.count(b"\n") == 2
    assert b"rejected_line,rejected_column,rejected_reason,nozzle_id" in rejects


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "the header is empty"),
        ("\n\n", "the header is empty"),
        (HEAD.replace(",unit_price", "") + "\n", "unit_price: nothing of this file is imported: the column is missing"),
        (HEAD.replace(",", ";") + "\n", "the cells are separated by ';', write commas"),
        (HEAD + ",seq\n", "seq: nothing of this file is imported: the column stands twice in the header"),
        (f"{HEAD}\n{GOOD}\n".encode("utf-16"), "the header is not UTF-8 text"),
        (f'"{HEAD}\n{GOOD}\n', "the header is not CSV"),
    ],
)
async def test_a_file_without_a_header_is_refused(kept, write, county, told, content, says):
    report = await kept.take(write(county | {"transactions": content}))
    (problem,) = told(report)
    assert problem.startswith("transactions.csv:1: ")
    assert says in problem
    assert await kept.historian.transactions() == []
    assert [t.added for t in report.tables if t.table == "tank_readings"] == [2]


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
async def test_line_ends_and_byte_order_marks_do_no_harm(kept, write, county, told, ending, mark):
    content = ending.join([HEAD, *(sale(seq=str(n)) for n in range(4)), " , ,,,,, "]) + "\n" + sale(seq="5") + "\r\n"
    report = await kept.take(write(county | {"transactions": mark + content.encode()}))
    assert told(report) == []
    assert len(await kept.historian.transactions()) == 5


async def test_a_key_given_twice_is_harmless_only_when_the_rows_agree(kept, write, county, told):
    rows = [sale(), sale(), sale(volume_l="31"), sale(volume_l="30.120")]
    report = await kept.take(write(county | {"transactions": "\n".join([HEAD, *rows])}))
    (table,) = (t for t in report.tables if t.table == "transactions")
    assert (table.added, table.unchanged, table.rejected) == (1, 2, 1)
    assert told(report) == [
        "transactions.csv:4: volume_l: was reported before, and otherwise (30.12); the first report stands"
    ]


async def test_other_tables_are_checked_too(kept, write, county, told):
    wrong = {
        "tank_readings": "tank_id,time,height_mm,temperature_c\nS09-T1,2026-03-01T01:00:00Z,1,1\n"
        "S01-T1,2026-03-01T01:00:00Z,1,500\n",
        "deliveries": "tank_id,time,declared_l,note\nS01-T1,2026-03-01T01:00:00Z,,\n"
        "S01-T1,2026-03-01T01:00:00Z,1,\x07\n",
        "device_events": "time,station_id,device_id,kind,detail\n2026-03-01T01:00:00Z,S09,D1,link,\n"
        '2026-03-01T01:00:00Z,S01,D1,gossip,\n2026-03-01T01:00:00Z,S01,D1,link,"{""a"": [1]}"\n'
        '2026-03-01T01:00:00Z,S01,D1,link,"{""a"": NaN}"\n2026-03-01T01:00:00Z,S01,D1,link,"{"\n',
        "declarations": "station_id,period,grade,declared_sale_l\nS01,2026-3,92#,1\n"
        "S01,2026-13,92#,1\nS01,2026-03,92#,-1\n",
        "reports_12315": "time,station_id,nozzle_id,channel\n2026-03-04T08:00:00Z,S02,S01-N01,12315\n"
        "2026-03-04T08:00:00Z,S01,S09-N01,12315\n2026-03-04T08:00:00Z,S01,,110\n",
        "covert_tests": "time,nozzle_id,displayed_l,measured_l\n2126-03-05T08:00:00Z,S01-N01,20,19\n"
        "2026-03-05T08:00:00Z,,20,x\n",
        "tank_charts": "tank_id,height_mm,volume_l\nS01-T9,1,1\nS01-T1,-1,1\n",
    }
    report = await kept.take(write(county | wrong))
    assert sorted(told(report)) == sorted([
        "tank_readings.csv:2: tank_id: S09-T1 does not stand in the ledger; add it there first",
        "tank_readings.csv:3: temperature_c: 500.0 is not between -100 and 200",
        "deliveries.csv:2: declared_l: is empty",
        "deliveries.csv:3: note: holds the control character '\\x07'",
        "device_events.csv:2: station_id: S09 does not stand in the ledger; add it there first",
        "device_events.csv:3: kind: 'gossip' is not one of identity, seal, power, link, cover, lock, "
        "clock, price, alarm",
        'device_events.csv:4: detail: is not a JSON object of plain values; write it as {"up": false}',
        "device_events.csv:5: detail: is not JSON (NaN is no number)",
        "device_events.csv:6: detail: is not JSON (Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1))",
        "declarations.csv:2: period: '2026-3' is not a month; write it as 2026-11",
        "declarations.csv:3: period: '2026-13' is not a month; write it as 2026-11",
        "declarations.csv:4: declared_sale_l: -1.0 is below 0",
        "reports_12315.csv:2: nozzle_id: S01-N01 is a nozzle of S01",
        "reports_12315.csv:3: nozzle_id: S09-N01 stands neither in the ledger nor, as a good row, in nozzles; "
        "add it there first",
        "reports_12315.csv:4: channel: '110' is not one of 12315, 12366, other",
        "covert_tests.csv:2: time: the year 2126 is not between 1990 and 2099",
        "covert_tests.csv:3: nozzle_id: is empty",
        "covert_tests.csv:3: measured_l: 'x' is not a number; write it as 1234.5",
        "tank_charts.csv:2: tank_id: S01-T9 stands neither in the ledger nor, as a good row, in tanks; "
        "add it there first",
        "tank_charts.csv:3: height_mm: -1.0 is below 0",
    ])  # fmt: skip


async def test_mended_rejects_are_imported(kept, write, county, told, tmp_path):
    await kept.take(write(county | {"transactions": f"{HEAD}\n{sale(volume_l='-1')}\n{sale(seq='x')}\n"}))
    rejects = (kept.data / "rejects" / "transactions.rejects.csv").read_text(encoding="utf-8")
    mended = rejects.replace(",-1,", ",1,").replace(",x,", ",9,")
    report = await kept.take(write({"transactions": mended}, "again"))
    assert told(report) == []
    assert {t.seq: t.volume_l for t in await kept.historian.transactions()} == {7: 1.0, 9: 30.12}


# ---------------------------------------------------------------- Parquet


def parquet(**columns: object) -> bytes:
    good = {
        "nozzle_id": ["S01-N01", "S01-N01"],
        "seq": [1, 2],
        "start": pa.array([AT, AT]),
        "end": pa.array([AT + timedelta(minutes=1)] * 2),
        "volume_l": [30.12, 30.12],
        "amount_cny": [235.84, 235.84],
        "unit_price": [7.83, 7.83],
    }
    out = io.BytesIO()
    pq.write_table(pa.table({k: v for k, v in (good | columns).items() if v is not None}), out)
    return out.getvalue()


WIDE = {
    "plain": {},
    "dictionary": {"nozzle_id": pa.array(["S01-N01", "S01-N01"]).dictionary_encode()},
    "texts": {"seq": ["1", "2"], "volume_l": ["30.12", "30.12"], "end": ["2026-03-01T09:01:00+08:00"] * 2},
    "whole numbers as floats": {"seq": [1.0, 2.0]},
    "small integers": {"seq": pa.array([1, 2], pa.int8()), "volume_l": pa.array([30, 30], pa.int32())},
    "large strings": {"nozzle_id": pa.array(["S01-N01"] * 2, pa.large_string())},
    "another zone": {"start": pa.array([AT, AT]).cast(pa.timestamp("ns", "Asia/Shanghai"))},
    "an attribute with a type": {"lane": [1, None], "day": pa.array([AT.date(), None]), "cold": [True, False]},
}


@pytest.mark.parametrize("kind", WIDE)
async def test_parquet_of_many_makes_is_read(kept, write, county, told, kind):
    others = {name: text for name, text in county.items() if name != "transactions"}
    report = await kept.take(write(others | {"transactions.parquet": parquet(**WIDE[kind])}))
    assert told(report) == []
    second, first = sorted(await kept.historian.transactions(), key=lambda t: -t.seq)
    assert (first.seq, second.seq) == (1, 2)
    assert (first.start, first.end) == (AT, AT + timedelta(minutes=1))
    assert first.volume_l == (30.0 if kind == "small integers" else 30.12)
    if kind == "an attribute with a type":
        assert first.attributes == {"lane": "1", "day": "2026-03-01", "cold": "true"}
        assert second.attributes == {"cold": "false"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not Parquet, or damaged"),
        (b"PAR1", "is not Parquet, or damaged"),
        (b"nozzle_id,seq\n" * 100, "is not Parquet, or damaged"),
        (parquet()[:-300], "is not Parquet, or damaged"),
        (parquet()[:60] + bytes(40) + parquet()[100:], "damaged"),
        (parquet(seq=None), "seq: nothing of this file is imported: the column is missing"),
        (parquet(end=pa.array([datetime(2026, 3, 1)] * 2)), "the column end holds times without offset"),  # noqa: DTZ001
        (parquet(volume_l=[[1.0], [2.0]]), "the column volume_l is list<"),
        (parquet(raw=[b"\x00", b"\x01"]), "the column raw is binary, which no table may hold"),
        (parquet(seq=[1.5, 2]), "transactions.parquet:1: seq: '1.5' is not a whole number"),
        (parquet(volume_l=[30.12, float("nan")]), "transactions.parquet:2: volume_l: 'nan' is not a number"),
        (parquet(volume_l=[True, False]), "transactions.parquet:1: volume_l: 'true' is not a number"),
        (parquet(volume_l=[30.12, None]), "transactions.parquet:2: volume_l: is empty"),
        (parquet(seq=[1, 2**60]), f"transactions.parquet:2: seq: '{2**60}' is too large"),
        (parquet(start=pa.array([2**62, 0], pa.timestamp("us", "UTC"))), "transactions.parquet:1: start: "),
    ],
)  # fmt: skip
async def test_damaged_parquet_is_named(kept, write, county, told, content, says):
    others = {name: text for name, text in county.items() if name != "transactions"}
    report = await kept.take(write(others | {"transactions.parquet": content}))
    assert any(says in problem for problem in told(report)), told(report)
    assert [t.added for t in report.tables if t.table == "tank_readings"] == [2]


async def test_a_table_that_is_there_twice_is_refused(kept, write, county, told):
    folder = write(county | {"transactions.parquet": parquet(), "tanks.parquet": b"PAR1"})
    report = await kept.take(folder)
    assert (
        "transactions.csv:1: nothing of this file is imported: transactions.csv and transactions.parquet both hold "
        "the table transactions; keep one of them" in told(report)
    )
    assert any("tanks.csv and tanks.parquet both hold" in problem for problem in told(report))
    assert await kept.historian.transactions() == []


# ---------------------------------------------------------------- Excel


def excel(**sheets: list[list[object]]) -> bytes:
    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


async def test_offices_send_excel(kept, write, told):
    stations = [["station_id", "name", "latitude", "retail_licence_expires", "note"]]
    stations += [["S01", "示例一", 41.5, datetime(2027, 1, 31), 7], [None] * 5, ["S02", "示例二", None, "2027-02-28"]]  # noqa: DTZ001
    book = excel(stations=stations, dispensers=[["dispenser_id", "station_id"], ["S01-D1", "S01"]], remarks=[["x"]])
    tanks = excel(first=[["tank_id", "station_id", "grade", "capacity_l"], ["S01-T1", "S01", "92#", 30000]])
    report = await kept.take(write({"ledger.xlsx": book, "tanks.xlsx": tanks}))
    assert told(report) == []
    assert [(t.table, t.added) for t in report.tables] == [("stations", 2), ("dispensers", 1), ("tanks", 1)]
    first, second = await Ledger(kept.database).stations()
    assert (first.latitude, str(first.retail_licence_expires), first.attributes) == (41.5, "2027-01-31", {"note": "7"})
    assert str(second.retail_licence_expires) == "2027-02-28"


HEADS = ["station_id", "name", "latitude", "retail_licence_expires"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (["S02", "示例", "=1+1", None], "latitude: the cell C3 holds the formula '=1+1'; write the value itself"),
        (["S02", "示例", "#N/A", None], "latitude: the cell C3 holds the error #N/A"),
        (["S02", "示例", None, datetime(2027, 1, 31, 9)], "'2027-01-31T09:00:00' is not a date"),  # noqa: DTZ001
        (["S02", "示例", True, None], "latitude: 'true' is not a number"),
        (["S02", None, None, None], "name: is empty"),
        (["S02", "示例", None, None, "x"], "has 5 cells, the header 4"),
    ],
)
async def test_a_wrong_cell_of_a_sheet_is_named(kept, write, told, row, says):
    book = excel(stations=[HEADS, ["S01", "示例"], row, ["S03", "示例"]])
    report = await kept.take(write({"stations.xlsx": book}))
    (problem,) = told(report)
    assert problem.startswith("stations.xlsx:3: ")
    assert says in problem
    assert [s.station_id for s in await Ledger(kept.database).stations()] == ["S01", "S03"]


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 20_000_000)
    return out.getvalue()


def empty_zip(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"station_id,name\n", "is not an Excel workbook"),
        (b"", "is not an Excel workbook"),
        (excel(stations=[HEADS])[:-100], "is not an Excel workbook"),
        (empty_zip("a.xml"), "is not an Excel workbook"),
        (empty_zip(*(f"{n}.xml" for n in range(2_001))), "unpacks to 2,001 parts"),
        (bomb(), "is packed 200 times and more; no sheet is"),
        (excel(stations=[["x"] * 201]), "has more than 200 columns"),
        (excel(stations=[]), "the header is empty"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["stations", "ledger"])
async def test_a_workbook_that_is_none_is_named(kept, write, told, content, says, name):
    report = await kept.take(write({f"{name}.xlsx": content, "dispensers": "dispenser_id,station_id\n"}))
    (problem,) = told(report)
    assert problem.startswith(f"{name}.xlsx:1: ")
    assert says in problem


async def test_excel_is_for_the_ledger(kept, write, county):
    report = await kept.take(write({"stations": county["stations"], "transactions.xlsx": excel(a=[["x"]])}))
    assert report.others == ("transactions.xlsx",)


# ---------------------------------------------------------------- reading in blocks


def test_plain_and_patient_reading_give_the_same(tmp_path):
    lines = [f"S01-T1,{n},{n / 7}" if n % 50 else f"S01-T1,{n}" for n in range(1, 2_000)]
    plain = "tank_id,time,height_mm\n" + "\n".join(lines) + "\n"
    (tmp_path / "plain.csv").write_text(plain, encoding="utf-8")
    (tmp_path / "patient.csv").write_text(plain.replace("tank_id,", '"tank_id",', 1), encoding="utf-8")
    found = []
    for name in ("plain", "patient"):
        with CsvBlocks(tmp_path / f"{name}.csv", rows=100) as file:
            assert file.header().cells == ("tank_id", "time", "height_mm")
            assert (file._patient is None) == (name == "plain")
            rows, bad = {}, {}
            for block in file.blocks():
                bad |= {row.line: (row.cells, row.error) for row in block.unreadable}
                rows |= {
                    line: cells
                    for line, *cells in zip(block.lines, *(c.to_pylist() for c in block.columns), strict=True)
                }
            assert file.read_so_far == file.size
        found.append((rows, bad))
    assert found[0] == found[1]
    assert len(found[0][1]) == 39


async def test_progress_is_told(kept, write, county):
    many = "tank_id,time,height_mm\n" + "".join(
        f"S01-T1,2026-03-01T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z,1\n" for n in range(1_000)
    )
    folder = write(county | {"tank_readings": many})
    await Ledger(kept.database).import_folder(folder)
    seen = []
    await import_measured(
        kept.historian, TANK_READINGS, [folder / "tank_readings.csv"], await Ledger(kept.database).load(),
        progress=seen.append, block_rows=100,
    )  # fmt: skip
    assert [p.rows for p in seen] == sorted(p.rows for p in seen)
    assert len(seen) > 3
    assert (seen[-1].rows, seen[-1].bytes_read) == (1_000, seen[-1].bytes_total)


def test_a_block_has_no_more_rows_than_asked_for(tmp_path):
    (tmp_path / "short.csv").write_text("tank_id,time\n" + "a\n" * 5_000 + "a,b\n" * 5_000, encoding="utf-8")
    with CsvBlocks(tmp_path / "short.csv", rows=1_000) as file:
        file.header()
        blocks = list(file.blocks())
        assert file._patient is None
        assert file.read_so_far == file.size
    assert [len(block) + len(block.unreadable) for block in blocks] == [1_000] * 10
    assert [row.line for block in blocks for row in block.unreadable] == list(range(2, 5_002))


async def test_refusals_are_written_beside_the_loop(kept, write, county, monkeypatch):
    where = []
    add = Rejects.add

    def noted(*args):
        where.append(threading.current_thread() is threading.main_thread())
        add(*args)

    monkeypatch.setattr(Rejects, "add", noted)
    await kept.take(write(county))
    other = f"{HEAD}\n{sale(volume_l='-1')}\n{sale(volume_l='31', start='2026-03-01T01:00:30Z')}\n"
    report = await kept.take(write({"transactions": other}, "again"))
    assert report.rejected == 2
    assert where == [False, False]


@pytest.mark.parametrize("bad_rows", [20, 2_000])
async def test_a_full_rejects_file_is_told_and_the_rest_counted(kept, write, county, told, monkeypatch, bad_rows):
    monkeypatch.setattr(importing, "_REJECTS_LIMIT", 1_000)
    report = await kept.take(write(county | {"transactions": f"{HEAD}\n" + "a\n" * bad_rows}))
    assert report.rejected == bad_rows
    (full,) = (problem for problem in told(report) if "rejects file is full" in problem)
    assert full.startswith("transactions.csv:")
    assert len(report.problems) <= 1_000
    assert (kept.data / "rejects" / "transactions.rejects.csv").stat().st_size < 2_000


@pytest.mark.parametrize("quoted", [False, True])
async def test_what_stands_in_columns_without_a_name_is_refused(kept, write, county, told, quoted):
    sales = f"{HEAD},,\n{GOOD},,\n{sale(seq='8')},x,\n{sale(seq='9')},,y\n"
    if quoted:
        sales = sales.replace("nozzle_id", '"nozzle_id"', 1)
    report = await kept.take(write(county | {"transactions": sales}))
    assert told(report) == [f"transactions.csv:{n}: a cell stands in a column without a name" for n in (3, 4)]
    (only,) = await kept.historian.transactions()
    assert (only.seq, only.attributes) == (7, {})


@pytest.mark.parametrize("kind", ["string", "dictionary", "attribute"])
async def test_parquet_with_text_that_is_not_utf8_is_named(kept, write, county, told, kind):
    names = pa.array(["S01-N01", "S01-NXX"])
    columns = {"nozzle_id": names.dictionary_encode() if kind == "dictionary" else names}
    if kind == "attribute":
        columns = {"lane": names}
    content = parquet(**columns)
    assert b"S01-NXX" in content
    content = content.replace(b"S01-NXX", b"S01-N\xff\xfe")
    others = {name: text for name, text in county.items() if name != "transactions"}
    report = await kept.take(write(others | {"transactions.parquet": content}))
    assert any("is not Parquet, or damaged" in problem for problem in told(report)), told(report)
    assert [t.added for t in report.tables if t.table == "tank_readings"] == [2]


def test_a_day_that_is_none_is_named(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(parquet())
    odd = pa.RecordBatch.from_arrays([pa.array([86_400_005], pa.int64()).view(pa.date64())], ["day"])
    with ParquetFile(tmp_path / "t.parquet") as file:
        monkeypatch.setattr(file, "_file", SimpleNamespace(iter_batches=lambda batch_size: [odd], close=lambda: None))
        with pytest.raises(UnreadableFile, match="whole number of days"):
            next(file.batches(10))


@pytest.mark.parametrize("error", [zlib.error("invalid"), RuntimeError("encrypted"), OverflowError("too large")])
@pytest.mark.parametrize("name", ["stations", "ledger"])
async def test_whatever_a_damaged_workbook_raises_is_named(kept, write, told, monkeypatch, error, name):
    def broken(*_args, **_how):
        raise error

    monkeypatch.setattr(sheets, "load_workbook", broken)
    folder = write({f"{name}.xlsx": excel(stations=[HEADS]), "dispensers": "dispenser_id,station_id\n"})
    (problem,) = told(await kept.take(folder))
    assert problem.startswith(f"{name}.xlsx:1: ")
    assert "is not an Excel workbook, or damaged" in problem
