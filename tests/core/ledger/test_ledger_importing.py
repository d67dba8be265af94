"""Importing real files: good ones, bad ones and nonsense."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import random
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from pumpwatch.database import Database, ledger_url
from pumpwatch.errors import BadConfig
from pumpwatch.ledger import ImportProgress, ImportReport, Ledger, importing
from pumpwatch.ledger.files import BLANKS_AT_ONCE, LINE_LIMIT, ROW_LINES, CanonicalFile
from pumpwatch.ledger.importing import PROBLEMS_KEPT, ROWS_AT_ONCE

STATIONS = "station_id,name,ownership,town_en\nS01,示例一,state,Demo\nS02,示例二,private,\n"
DISPENSERS = "dispenser_id,station_id,brand,installed_on\nS01-D1,S01,示例,2020-02-29\nS02-D1,S02,,\n"
TANKS = "tank_id,station_id,grade,capacity_l\nS01-T1,S01,92#,30000\nS02-T1,S02,0#,5e4\n"
NOZZLES = "nozzle_id,dispenser_id,tank_id,grade,pulse_l\nS01-N01,S01-D1,S01-T1,92#,0.01\nS02-N01,S02-D1,S02-T1,0#,\n"
ORDERS = (
    "station_id,device_id,time,kind,signed_by_station,detail\n"
    "S01,S01-D1,2026-03-01T09:00:00+08:00,repair,示例,board\n"
    "S01,S01-D1,2026-03-01T01:00:00Z,verification,,\n"
)
FOLDER = {"stations": STATIONS, "dispensers": DISPENSERS, "tanks": TANKS, "nozzles": NOZZLES, "work_orders": ORDERS}


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Ledger]:
    async with Database.open(ledger_url(folder)) as database:
        yield Ledger(database)


@pytest.fixture
async def ledger(tmp_path):
    async with opened(tmp_path / "var") as ledger:
        yield ledger


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def told(report: ImportReport) -> list[str]:
    return [str(problem) for problem in report.problems]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
async def test_a_folder_is_imported(ledger, tmp_path, encoding, ending):
    folder = write(tmp_path / "in", {n: c.replace("\n", ending).encode(encoding) for n, c in FOLDER.items()})
    report = await ledger.import_folder(folder, rejects=tmp_path / "out")
    assert told(report) == []
    assert [(t.table, t.added, t.rows) for t in report.tables] == [(name, 2, 2) for name in FOLDER]
    register = await ledger.load()
    station = register.station("S01")
    assert (station.name, station.ownership, station.attributes) == ("示例一", "state", {"town_en": "Demo"})
    assert register.station("S02").attributes == {}
    assert register.station("S02").latitude is None  # a missing optional column is null
    assert register.dispenser("S01-D1").installed_on == date(2020, 2, 29)
    assert register.dispenser("S02-D1").brand is None
    assert register.tank("S02-T1").capacity_l == 50_000
    assert register.nozzles_of("S01-D1")[0].pulse_l == 0.01
    assert [o.kind for o in register.orders] == ["repair", "verification"]
    assert register.orders[0].at == datetime(2026, 3, 1, 1, tzinfo=UTC)
    assert register.orders[0].attributes == {"detail": "board"}
    assert not (tmp_path / "out").exists()


async def test_importing_twice_changes_nothing(tmp_path):
    folder = write(tmp_path / "in", FOLDER)
    async with opened(tmp_path) as ledger:
        await ledger.import_folder(folder)
        witness = sqlite3.connect(ledger_url(tmp_path).database)

        def commits() -> int:
            return witness.execute("PRAGMA data_version").fetchone()[0]  # another one whenever anybody wrote

        before = commits()
        again = await ledger.import_folder(folder)
        assert [(t.added, t.changed, t.unchanged, t.rejected) for t in again.tables] == [(0, 0, 2, 0)] * 5
        assert commits() == before
        await ledger.import_folder(write(tmp_path / "in", {"stations": STATIONS.replace("Demo", "Demo 2")}))
        assert commits() != before
        witness.close()


async def test_bad_rows_are_named_and_the_rest_goes_in(ledger, tmp_path):
    files = {
        "stations": "station_id,name,ownership,latitude\n"
        "S01,示例,state,41\n"
        "S/2,示例,state,41\n"
        ",示例,state,41\n"
        "S04,,state,41\n"
        "S05,示例,communal,141\n"
        "S06,示例,state\n"
        "\n"
        "S08,示例,,\n"
        "S09\u200b,示例,,\n",
        "tanks": "tank_id,station_id,grade,capacity_l\n"
        "S01-T1,S01,92#,30000\n"
        "S01-T2,S01,92#,0\n"
        "S01-T3,S01,92#,-1\n"
        'S01-T4,S01,92#,"30,000"\n'
        "S01-T5,S01,92#,nan\n"
        "S01-T6,S01,92#,1_000\n"
        "S01-T7,S04,92#,1\n"
        "S01-T8,S01,92#,1e999\n",
        "dispensers": "dispenser_id,station_id,installed_on\n"
        "S01-D1,S01,2026-11-22\nS01-D2,S01,2026/11/22\nS01-D3,S01,2026-02-30\nS01-D4,S01,20261122\n",
        "nozzles": "nozzle_id,dispenser_id,tank_id,grade\n"
        "S01-N01,S01-D1,S01-T1,92#\nS01-N02,S01-D9,S01-T1,92#\nS01-N03,S01-D1,S01-T2,92#\n",
        "work_orders": "station_id,device_id,time,kind\n"
        "S01,S01-D1,2026-01-01T00:00:00,repair\n"
        "S01,S01-D1,0001-01-01T00:00:00+14:00,repair\n"
        "S01,S01-D1,2026-01-01T00:00:00+08:00,gossip\n",
    }
    report = await ledger.import_folder(write(tmp_path / "in", files))
    assert [(t.table, t.added, t.rejected) for t in report.tables] == [
        ("stations", 2, 6),
        ("dispensers", 1, 3),
        ("tanks", 1, 7),
        ("nozzles", 1, 2),
        ("work_orders", 0, 3),
    ]
    day = "is not a date; write it as 2026-11-22"
    moment = "is not a time with its offset; write it as 2026-11-22T08:00:00+08:00"
    nowhere = "stands neither in the ledger nor, as a good row, in"
    assert told(report) == [
        "stations.csv:3: station_id: 'S/2' holds '/', which separates the parts of a tag's path",
        "stations.csv:4: station_id: is empty",
        "stations.csv:5: name: is empty",
        "stations.csv:6: ownership: 'communal' is not one of state, private",
        "stations.csv:6: latitude: 141.0 is not between -90 and 90",
        "stations.csv:7: has 3 cells, the header 4; look for a comma or quotation mark",
        "stations.csv:10: station_id: 'S09\\u200b' holds a character that cannot be seen",
        f"dispensers.csv:3: installed_on: '2026/11/22' {day}",
        f"dispensers.csv:4: installed_on: '2026-02-30' {day}",
        f"dispensers.csv:5: installed_on: '20261122' {day}",
        "tanks.csv:3: capacity_l: 0.0 is not above 0",
        "tanks.csv:4: capacity_l: -1.0 is not above 0",
        "tanks.csv:5: capacity_l: '30,000' is not a number; write it as 1234.5",
        "tanks.csv:6: capacity_l: 'nan' is not a number; write it as 1234.5",
        "tanks.csv:7: capacity_l: '1_000' is not a number; write it as 1234.5",
        "tanks.csv:9: capacity_l: inf is not a number",
        f"tanks.csv:8: station_id: S04 {nowhere} stations; add it there first",
        f"nozzles.csv:3: dispenser_id: S01-D9 {nowhere} dispensers; add it there first",
        f"nozzles.csv:4: tank_id: S01-T2 {nowhere} tanks; add it there first",
        f"work_orders.csv:2: time: '2026-01-01T00:00:00' {moment}",
        f"work_orders.csv:3: time: '0001-01-01T00:00:00+14:00' {moment}",
        "work_orders.csv:4: kind: 'gossip' is not one of repair, verification, calibration, install, inspection",
    ]


async def test_the_rejects_file_can_be_mended_and_imported(ledger, tmp_path):
    bad = 'station_id,name,note\nS01,示例,"a, ""b"""\nS/2,示例二,\nS03,,x\n'
    report = await ledger.import_folder(write(tmp_path / "in", {"stations": bad}), rejects=tmp_path / "out")
    path = tmp_path / "out" / "stations.rejects.csv"
    assert report.tables[0].rejects == path
    content = path.read_text(encoding="utf-8-sig")
    assert content.splitlines() == [
        "rejected_line,rejected_column,rejected_reason,station_id,name,note",
        "3,station_id,\"station_id: 'S/2' holds '/', which separates the parts of a tag's path\",S/2,示例二,",
        "4,name,name: is empty,S03,,x",
    ]
    mended = path.read_text(encoding="utf-8").replace("S/2", "S02").replace("S03,", "S03,示例三")
    again = await ledger.import_folder(write(tmp_path / "again", {"stations": mended}))
    assert told(again) == []
    assert [(s.station_id, s.attributes) for s in await ledger.stations()] == [
        ("S01", {"note": 'a, "b"'}),
        ("S02", {}),
        ("S03", {"note": "x"}),
    ]
    good = await ledger.import_folder(write(tmp_path / "in", {"stations": STATIONS}), rejects=tmp_path / "out")
    assert good.tables[0].rejects is None
    assert not path.exists()  # what stands there is always of the last import


async def test_columns_that_are_not_there_leave_what_was_known(ledger, tmp_path):
    full = "station_id,name,town,address,name_en,note\nS01,示例,镇,街,Demo,x\n"
    await ledger.import_folder(write(tmp_path / "in", {"stations": full}))
    part = "station_id,name,address,note,more\nS01,示例改,,,y\n"
    report = await ledger.import_folder(write(tmp_path / "in", {"stations": part}))
    assert report.tables[0].changed == 1
    station = (await ledger.stations())[0]
    assert (station.name, station.town, station.address) == ("示例改", "镇", "")
    assert station.attributes == {"name_en": "Demo", "more": "y"}


async def test_a_row_given_twice(ledger, tmp_path):
    rows = ["S01,示例", "S01,示例", "S01,示例改", *(f"X{i},示例" for i in range(ROWS_AT_ONCE)), "X0,示例", "X1,示例改"]
    report = await ledger.import_folder(
        write(tmp_path / "in", {"stations": "station_id,name\n" + "\n".join(rows) + "\n"})
    )
    table = report.tables[0]
    assert (table.added, table.unchanged, table.rejected) == (1 + ROWS_AT_ONCE, 2, 2)
    assert told(report) == [
        "stations.csv:4: station_id: given already, and differently, in line 2",
        f"stations.csv:{len(rows) + 1}: station_id: given already, and differently, in line 6",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "stations.csv:1: nothing of this file is imported: the header is empty"),
        ("\n\n", "the header is empty"),
        ("station_id,town\nS01,x\n", "stations.csv:1: name: nothing of this file is imported: the column is missing"),
        ("station_id;name\nS01;x\n", "the cells are separated by ';', write commas"),
        ("station_id,name,name\nS01,x,y\n", "name: nothing of this file is imported: the column stands twice"),
        ("station_id,name,示例\n".encode("gbk"), "the header is not UTF-8 text"),
        ("station_id,name\nS01,x\n".encode("utf-16"), "the header is not UTF-8 text"),
        (f"{'x' * LINE_LIMIT},name\n", "the header is longer than"),
        ('station_id,"name\nS01,x\n', "the header is not CSV"),
    ],
)  # fmt: skip
async def test_a_file_without_a_header_is_refused_and_the_others_go_in(ledger, tmp_path, content, says):
    await ledger.import_folder(write(tmp_path / "first", {"stations": STATIONS}))
    folder = write(tmp_path / "in", {"stations": content, "tanks": TANKS})
    report = await ledger.import_folder(folder)
    assert len(told(report)) == 1
    assert says in told(report)[0]
    assert [(t.rows, t.added) for t in report.tables] == [(0, 0), (2, 2)]


async def test_a_file_in_a_local_encoding_spoils_its_rows_only(ledger, tmp_path):
    content = b"station_id,name\nS01,Demo\nS02," + "示例".encode("gbk") + b"\nS03,Demo\n"
    report = await ledger.import_folder(write(tmp_path / "in", {"stations": content}), rejects=tmp_path / "out")
    assert told(report) == ["stations.csv:3: name: is not UTF-8 text; save the table as CSV in UTF-8"]
    assert [s.station_id for s in await ledger.stations()] == ["S01", "S03"]
    assert "示例".encode("gbk") in (tmp_path / "out" / "stations.rejects.csv").read_bytes()


async def test_quotation_marks_and_long_lines(ledger, tmp_path):
    content = (
        'station_id,name,address\nS01,"示例\n二行",x\nS02,示例,"never closed\nS03,示例,x\nS04,"示例" x,y\n'
        f"S05,示例,y\nS06,示例,{'z' * 140_000}\nS07,示例,y\nS08,示例,{'z' * LINE_LIMIT}\nS09,示例,y\n"
    )
    report = await ledger.import_folder(write(tmp_path / "in", {"stations": content}))
    assert [s.station_id for s in await ledger.stations()] == ["S01", "S03", "S05", "S07", "S09"]
    assert (await ledger.stations())[0].name == "示例\n二行"
    assert [(p.line, p.reason.partition(" (")[0]) for p in report.problems] == [
        (4, "is not CSV"),
        (6, "is not CSV"),
        (8, "is not CSV"),
        (10, f"is longer than {LINE_LIMIT} characters"),
    ]


@pytest.mark.parametrize("word", ["a", "x" * 8_000])
def test_a_row_is_not_looked_for_to_the_end_of_the_file(tmp_path, word):
    lines = 4_000 if word == "a" else 100
    write(tmp_path, {"stations": f'{word}","b\n' * lines})
    with CanonicalFile(tmp_path / "stations.csv") as file:
        rows = file.raw_rows()
        first = next(rows)
        assert first[0] == 1
        assert "is not CSV (goes on over" in first[2]
        assert file.read_so_far < file.size / 2
        rest = [line for line, _, error in rows if error]
    assert rest == list(range(2, lines + 1))


async def test_a_long_row_is_a_row_and_an_open_one_costs_its_first_line(ledger, tmp_path):
    address = "\n".join(["x"] * ROW_LINES)
    content = f'station_id,name,address\nS01,示例,"{address}"\nS02,示例,"{address}\n"\nS03,示例,x\n'
    report = await ledger.import_folder(write(tmp_path / "in", {"stations": content}))
    assert [(s.station_id, s.address) for s in await ledger.stations()] == [("S01", address), ("S03", "x")]
    assert report.problems[0].line == ROW_LINES + 2
    assert f"(goes on over {ROW_LINES} lines of" in report.problems[0].reason


async def test_rows_are_read_in_a_thread_and_empty_lines_in_slices(ledger, tmp_path, monkeypatch):
    readers: set[int] = set()
    real_rows, real_opened, real_find = CanonicalFile.raw_rows, importing.opened, importing.find

    def raw_rows(file):
        for row in real_rows(file):
            readers.add(threading.get_ident())
            yield row

    def opened_file(*args):
        readers.add(threading.get_ident())
        return real_opened(*args)

    def find(*args):
        readers.add(threading.get_ident())
        return real_find(*args)

    monkeypatch.setattr(CanonicalFile, "raw_rows", raw_rows)
    monkeypatch.setattr(importing, "opened", opened_file)
    monkeypatch.setattr(importing, "find", find)
    blank = "\n" * BLANKS_AT_ONCE
    seen: list[ImportProgress] = []
    folder = write(tmp_path / "in", {"stations": f"{blank}station_id,name\n{blank * 3}S01,示例\n"})
    report = await ledger.import_folder(folder, progress=seen.append)
    assert told(report) == []
    assert [p.rows for p in seen] == [0, 0, 0, 1, 1]
    assert readers
    assert threading.get_ident() not in readers


async def test_an_import_cancelled_while_it_opens_a_file_closes_it(ledger, tmp_path, monkeypatch):
    begun, may_end = threading.Event(), threading.Event()
    files: list[CanonicalFile] = []

    def opened_file(path, table):
        begun.set()
        may_end.wait()
        files.append(CanonicalFile(path))
        return files[0]

    monkeypatch.setattr(importing, "opened", opened_file)
    task = asyncio.create_task(ledger.import_folder(write(tmp_path / "in", {"stations": STATIONS})))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ValueError, match="closed"):
        files[0].read_so_far  # noqa: B018 - asks a closed file


async def test_a_report_is_known_again_without_the_columns_of_its_digest(ledger, tmp_path):
    at = "2026-03-04T08:00:00+08:00,S01"
    full = f"time,station_id,nozzle_id,channel,text\n{at},S01-N01,12315,少油\n{at},,12315,油质\n{at},,12366,油质\n"
    await ledger.import_folder(write(tmp_path / "in", FOLDER | {"reports_12315": full}))

    async def again(content: str) -> tuple[int, int, int, int, list[str]]:
        report = await ledger.import_folder(write(tmp_path / "again", {"reports_12315": content}))
        (table,) = report.tables
        return table.added, table.changed, table.unchanged, table.rejected, told(report)

    assert await again(f"time,station_id,nozzle_id,text\n{at},S01-N01,少油\n") == (0, 0, 1, 0, [])
    assert await again(f"time,station_id,text\n{at},少油\n") == (0, 0, 1, 0, [])
    assert await again(f"time,station_id,channel\n{at},12366\n") == (0, 0, 1, 0, [])
    says = "the column is missing, and 2 known entries fit what the others say; add it"
    assert await again(f"time,station_id,nozzle_id,text\n{at},,油质\n{at},,另\n") == (
        *(1, 0, 0, 1),
        [f"reports_12315.csv:2: channel: {says}"],
    )
    assert await again(f"time,station_id,nozzle_id,text\n{at},,另\n") == (0, 0, 1, 0, [])
    assert (await again(f"time,station_id,channel,text\n{at},12366,另\n"))[0] == 1
    assert await again(f"time,station_id,nozzle_id,text\n{at},,另\n") == (0, 0, 1, 0, [])
    assert await again(f"time,station_id,text,note\n{at},少油,x\n") == (0, 1, 0, 0, [])


async def test_cells_in_columns_without_a_name(ledger, tmp_path):
    report = await ledger.import_folder(
        write(tmp_path / "in", {"stations": "station_id,name,,\nS01,示例,,\nS02,示例,x,\n"})
    )
    assert told(report) == ["stations.csv:3: stands in a column without a name"]
    assert [s.station_id for s in await ledger.stations()] == ["S01"]


async def test_progress_is_told(ledger, tmp_path):
    lines = "".join(f"S{number:05d},示例\n" for number in range(2 * ROWS_AT_ONCE + 1))
    seen: list[ImportProgress] = []
    folder = write(tmp_path / "in", {"stations": "station_id,name\n" + lines, "tanks": "tank_id\n"})
    await ledger.import_folder(folder, progress=seen.append)
    assert [(p.table, p.rows) for p in seen] == [
        ("stations", ROWS_AT_ONCE),
        ("stations", 2 * ROWS_AT_ONCE),
        ("stations", 2 * ROWS_AT_ONCE + 1),
        ("stations", 2 * ROWS_AT_ONCE + 1),
        ("tanks", 0),
    ]
    assert all(0 < a.bytes_read <= b.bytes_read <= b.bytes_total for a, b in itertools.pairwise(seen[:4]))
    assert seen[-1].bytes_read == seen[-1].bytes_total


async def test_the_list_of_problems_is_bounded_and_the_rejects_file_is_not(ledger, tmp_path):
    many = PROBLEMS_KEPT + 500
    content = "station_id,name\n" + "/,\n" * many  # two problems a row
    report = await ledger.import_folder(write(tmp_path / "in", {"stations": content}), rejects=tmp_path / "out")
    assert (len(report.problems), report.rejected) == (PROBLEMS_KEPT, many)
    assert len((tmp_path / "out" / "stations.rejects.csv").read_text().splitlines()) == many + 1


async def test_an_import_lets_others_write_in_between(tmp_path):
    content = "station_id,name\n" + "".join(f"S{number:05d},示例\n" for number in range(8 * ROWS_AT_ONCE))
    folder = write(tmp_path / "in", {"stations": content})
    async with Database.open(ledger_url(tmp_path)) as database:
        progress: list[ImportProgress] = []
        under_way = asyncio.Event()

        def tell(so_far: ImportProgress) -> None:
            progress.append(so_far)
            under_way.set()

        task = asyncio.create_task(Ledger(database).import_folder(folder, progress=tell))
        await under_way.wait()
        async with database.writing() as connection:
            await connection.execute(text("UPDATE stations SET town = 'x' WHERE station_id = 'S00000'"))
        assert len(progress) < 8
        assert (await task).tables[0].added == 8 * ROWS_AT_ONCE


async def test_other_files_are_named(ledger, tmp_path):
    folder = write(tmp_path / "in", {"stations": STATIONS, "transactions": "x\n", "nozzle": NOZZLES})
    (folder / "tank.parquet").write_bytes(b"PAR1")
    (folder / "truth.json").write_text("{}")
    report = await ledger.import_folder(folder)
    assert [t.table for t in report.tables] == ["stations"]
    assert report.others == ("nozzle.csv", "tank.parquet", "transactions.csv")


async def test_a_folder_that_is_not_there(ledger, tmp_path):
    with pytest.raises(BadConfig, match=r"cannot import from .*nowhere: No such file"):
        await ledger.import_folder(tmp_path / "nowhere")
    write(tmp_path / "in", {"stations": "station_id,name\n/,x\n"})
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(BadConfig, match=r"cannot import .*stations\.csv: .*\(.*out.*\)"):
        await ledger.import_folder(tmp_path / "in", rejects=tmp_path / "out")


# ---------------------------------------------------------------- nonsense

CELL = st.one_of(
    st.sampled_from(["S01", "S02", "", "state", "1", "-1", "2026-01-01", '"', "\n", "示例"]), st.text(max_size=6)
)
HEADS = st.lists(
    st.sampled_from(["station_id", "name", "ownership", "latitude", "x", "retail_licence_expires"]), min_size=1
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(b"station_id,name\nS01,x\n".__add__)))
def test_no_bytes_break_an_import(tmp_path, content):
    async def run() -> None:
        async with opened(tmp_path) as ledger:
            report = await ledger.import_folder(write(tmp_path / "in", {"stations": content}), rejects=tmp_path / "out")
            if content.startswith(b"station_id,name\nS01,x\n"):
                assert "S01" in {s.station_id for s in await ledger.stations()}
            assert bool(report.problems) >= bool(report.rejected)

    asyncio.run(run())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HEADS, st.lists(st.lists(CELL, min_size=1, max_size=6), max_size=12))
def test_every_row_has_a_fate(tmp_path, extra, rows):
    head = list(dict.fromkeys(["station_id", "name", *extra]))
    out = io.StringIO()
    csv.writer(out).writerows([head, *rows])
    expected = [row for row in rows if any(cell.strip() for cell in row)]

    async def run() -> None:
        async with opened(tmp_path) as ledger:
            folder = write(tmp_path / "in", {"stations": out.getvalue().encode(errors="surrogatepass")})
            first = (await ledger.import_folder(folder)).tables[0]
            assert first.rows == len(expected)
            again = (await ledger.import_folder(folder)).tables[0]
            assert (again.added, again.changed, again.rejected) == (0, 0, first.rejected)
            assert again.unchanged == first.added + first.changed + first.unchanged
            register = await ledger.load()
            assert all("/" not in s.station_id and s.name.strip() for s in register.stations)

    asyncio.run(run())


async def test_good_rows_survive_among_junk(ledger, tmp_path):
    seeded = random.Random(7)  # the same junk every time
    junk = ["x" * seeded.randrange(50) + "," * seeded.randrange(9) for _ in range(300)]
    lines = [f"S{number:03d},示例" for number in range(300)] + junk
    seeded.shuffle(lines)
    report = await ledger.import_folder(
        write(tmp_path / "in", {"stations": "station_id,name\n" + "\n".join(lines)}), rejects=tmp_path / "out"
    )
    good = {s.station_id for s in await ledger.stations()}
    assert {f"S{number:03d}" for number in range(300)} <= good
    assert report.tables[0].added == len(good)
