"""Data sets through the API: what goes in, what is refused, what the running server knows afterwards."""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from pumpwatch.api import create_app
from pumpwatch.api import exchange as routes
from pumpwatch.api.live import LiveFeed
from pumpwatch.canonical import TABLES, Format, Span, export_folder, import_folder
from pumpwatch.cli import fetching, sending
from pumpwatch.database import Database, ledger_url
from pumpwatch.engine import exchange as places
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, Historian
from pumpwatch.ledger import Ledger
from pumpwatch.model import Batch, SampleBatch, to_us
from pumpwatch.testing import FakeClock

STATIONS = "station_id,name\nS01,示例新名\nS02,示例二\n"
SALES = (
    "nozzle_id,seq,start,end,volume_l,amount_cny,unit_price,shift\n"
    "S01-N01,7,2026-03-01T09:00:00+08:00,2026-03-01T09:01:00+08:00,30.12,235.84,7.83,A\n"
    "S01-N01,8,2026-03-01T01:05:00Z,2026-03-01T01:06:00.25Z,1.5,11.75,7.83,\n"
)
READINGS = "tank_id,time,height_mm\nS01-T1,2026-03-01T01:00:00Z,1480.2\nS01-T1,2026-03-01T01:05:00Z,1480.1\n"
CHARTS = "tank_id,height_mm,volume_l\nS01-T1,0,0\nS01-T1,10.5,33.25\n"
COUNTY = {"stations": STATIONS, "tank_charts": CHARTS, "transactions": SALES, "tank_readings": READINGS}


@asynccontextmanager
async def client(r: Any, token: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(r.engine, token), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8081/api/v1") as http:
        yield http


@pytest.fixture
async def running(rig):
    async with rig() as r, client(r) as http:
        yield r, http


async def send(http: httpx.AsyncClient, table: str, content: Any, kind: str = "csv") -> httpx.Response:
    return await http.post(f"/import/{table}", params={"format": kind}, content=content)


async def fetched(http: httpx.AsyncClient, kind: str, folder: Path) -> dict[str, bytes]:
    folder.mkdir()  # noqa: ASYNC240
    for table in TABLES:
        answer = await http.get(f"/export/{table}", params={"format": kind})
        assert answer.status_code == 200, answer.text
        (folder / f"{table}.{kind}").write_bytes(answer.content)
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def nothing_left(data: Path) -> bool:
    return not (data / "exchange").exists() or not any((data / "exchange").iterdir())


@pytest.mark.parametrize("kind", list(Format))
async def test_the_round_trip_equals_the_one_without_a_server(running, tmp_path: Path, kind) -> None:
    _, http = running
    for table, text in COUNTY.items():
        told = (await send(http, table, text)).json()
        assert told["added"] + told["changed"] == text.count("\n") - 1, told
        assert (told["rejected"], told["problems"], told["rejects"]) == (0, [], None)
    first = await fetched(http, kind, tmp_path / "first")
    for table in TABLES:
        told = (await send(http, table, first[f"{table}.{kind}"], kind)).json()
        assert (told["added"], told["changed"], told["rejected"]) == (0, 0, 0), told
    assert nothing_left(tmp_path)
    data = tmp_path / "alone"
    async with (
        Database.open(ledger_url(data)) as database,
        Historian.open(
            data / "history", EmbeddedStore(EmbeddedSettings(), data / "history" / "embedded"), FakeClock()
        ) as historian,
    ):
        report = await import_folder(database, historian, tmp_path / "first")
        assert report.problems == ()
        await export_folder(Ledger(database), historian, tmp_path / "second", kind=kind)
    assert files(tmp_path / "second") == first


async def test_a_span_and_the_number_of_rows(running) -> None:
    _, http = running
    await send(http, "transactions", SALES)
    asked = {"format": "csv", "from": "2026-03-01T09:05:00+08:00", "to": "2026-03-01T01:06:01Z"}
    answer = await http.get("/export/transactions", params=asked)
    assert answer.headers["pumpwatch-rows"] == "1"
    assert answer.headers["content-disposition"] == 'attachment; filename="transactions.csv"'
    assert [line.split(",")[1] for line in answer.text.splitlines()] == ["seq", "8"]


async def test_the_server_knows_the_new_ledger_at_once(running) -> None:
    r, http = running
    feed = LiveFeed(r.engine)
    before = feed.version
    await send(http, "stations", STATIONS)
    assert r.engine.register.station("S01").name == "示例新名"
    assert r.engine.history.station("S02").name == "示例二"
    assert (await http.get("/stations/S01")).json()["name"] == "示例新名"
    feed.frame()
    assert feed.version != before
    assert feed.layout["stations"][0]["name"] == "示例新名"
    order = (
        "station_id,device_id,time,kind,signed_by_station\nS01,S01-D1,2026-03-01T09:00:00+08:00,repair,示例\n"
        "S01,S01-D1,2026-03-02T09:00:00+08:00,repair,示例\n"
    )
    await send(http, "work_orders", order)
    assert len(r.engine.history.ledger.orders) == 2
    more = "nozzle_id,dispenser_id,tank_id,grade\nS01-N02,S01-D1,S01-T1,92#\n"
    await send(http, "nozzles", more)
    late = r.clock.now().isoformat()
    sale = f"nozzle_id,seq,start,end,volume_l,amount_cny,unit_price\nS01-N02,1,{late},{late},1,7,7\n"
    assert (await send(http, "transactions", sale)).json()["added"] == 1
    assert len(feed.frame()) > 0
    assert len(feed.layout["stations"][0]["nozzles"]) == 2


async def test_clients_of_the_feed_are_told_the_new_layout_before_its_first_frame(running) -> None:
    r, http = running
    feed = LiveFeed(r.engine)
    said: list[Any] = []

    class Socket:
        async def send_json(self, message: Any) -> None:
            said.append(message["version"] if message["type"] == "layout" else "alarms")

        async def send_bytes(self, frame: bytes) -> None:
            said.append(int.from_bytes(frame[4:8], "little"))

        async def receive(self) -> dict[str, str]:
            await asyncio.Event().wait()
            raise AssertionError

    tasks = [asyncio.create_task(feed.run()), asyncio.create_task(feed.serve(Socket()))]
    old = feed.version
    try:
        await r.until(lambda: said.count(old) > 2)
        await send(http, "stations", STATIONS)
        await r.until(lambda: feed.version != old and said.count(feed.version) > 2)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    versions = [v for v in said if v != "alarms"]
    assert versions == [old] * versions.count(old) + [feed.version] * versions.count(feed.version)


async def test_wrong_rows_are_named_and_kept_aside(running, tmp_path: Path) -> None:
    _, http = running
    told = (await send(http, "transactions", SALES.replace("30.12", "-1").replace("S01-N01,8", "S09-N01,8"))).json()
    assert (told["added"], told["rejected"], told["rejects"]) == (0, 2, "transactions.rejects.csv")
    assert [(p["line"], p["column"]) for p in told["problems"]] == [(2, "volume_l"), (3, "nozzle_id")]
    assert (tmp_path / "rejects" / "transactions.rejects.csv").read_text(encoding="utf-8-sig").count("\n") == 3
    told = (await send(http, "transactions", "nozzle_id\n" + "\n".join(f"X{i}" for i in range(3_000)))).json()
    assert len(told["problems"]) == 1
    rows = "".join(f"S01-N01,{i},x,y,1,1,1\n" for i in range(2_500))
    told = (await send(http, "transactions", SALES.splitlines()[0].removesuffix(",shift") + "\n" + rows)).json()
    assert (told["rejected"], len(told["problems"])) == (2_500, 1_000)


async def test_excel_and_parquet(running) -> None:
    _, http = running
    book = openpyxl.Workbook()
    book.active.title = "tanks"
    sheet = book.create_sheet("stations")
    sheet.append(["station_id", "name"])
    sheet.append(["S07", "示例七"])
    content = io.BytesIO()
    book.save(content)
    assert (await send(http, "stations", content.getvalue(), "xlsx")).json()["added"] == 1
    answer = await send(http, "transactions", content.getvalue(), "xlsx")
    assert answer.status_code == 422
    assert "Excel" in answer.json()["error"]
    content = io.BytesIO()
    pq.write_table(pa.table({"tank_id": ["S01-T1"], "time": ["2026-03-01T01:00:00Z"], "height_mm": [5]}), content)
    whole = content.getvalue()
    assert (await send(http, "tank_readings", whole, "parquet")).json()["added"] == 1
    for broken in (whole[:-9], whole[:20], b"", b"x" * 5_000):
        told = (await send(http, "tank_readings", broken, "parquet")).json()
        assert (told["added"], len(told["problems"])) == (0, 1)
        assert (await send(http, "stations", broken, "xlsx")).json()["problems"]


@pytest.mark.parametrize(
    "table", ["nothing", "STATIONS", "stations.csv", "..%2Fledger", "%2Fetc%2Fpasswd", "%00", "x" * 999]
)
async def test_only_tables_of_the_data_set(running, tmp_path: Path, table: str) -> None:
    _, http = running
    for answer in (await send(http, table, STATIONS), await http.get(f"/export/{table}")):
        assert answer.status_code == 404
        assert answer.json()["error"]
    assert nothing_left(tmp_path)


async def test_wrong_questions(running) -> None:
    _, http = running
    assert (await http.post("/import/stations", content=STATIONS)).status_code == 422
    assert (await send(http, "stations", STATIONS, "exe")).status_code == 422
    for asked in ({"format": "xlsx"}, {"from": "yesterday"}, {"to": "9" * 400}):
        assert (await http.get("/export/stations", params=asked)).status_code == 422
    for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-03-01T00:00:00"):
        assert (await http.get("/export/transactions", params={"from": at, "to": at})).status_code == 200


async def test_too_much_is_413_announced_or_not(running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    r, http = running
    monkeypatch.setattr(routes, "TABLE_LIMIT", 100)
    known = r.engine.register

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"station_id,name\nS77,x\n"

    for content in (b"station_id,name\n" + b"S77,x\n" * 20, pieces()):
        answer = await send(http, "stations", content)
        assert answer.status_code == 413
        assert "100 bytes" in answer.json()["error"]
    assert r.engine.register.station("S77") is None
    assert known.stations
    assert nothing_left(tmp_path)
    assert (await send(http, "stations", "station_id,name\nS77,x\n")).json()["added"] == 1


async def test_one_import_at_a_time_and_a_body_that_stops_is_given_up(
    running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, http = running
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def halting() -> AsyncIterator[bytes]:
        yield b"station_id,name\n"
        begun.set()
        await go_on.wait()
        yield b"S55,x\n"

    first = asyncio.create_task(send(http, "stations", halting()))
    await begun.wait()
    second = await send(http, "transactions", SALES)
    assert second.status_code == 409
    assert "stations is going on" in second.json()["error"]
    assert (await http.get("/export/stations")).status_code == 200
    go_on.set()
    assert (await first).json()["added"] == 1
    monkeypatch.setattr(routes, "STALLED_S", 0.01)
    begun.clear()
    go_on.clear()
    given_up = await send(http, "stations", halting())
    assert given_up.status_code == 408
    assert nothing_left(tmp_path)
    monkeypatch.undo()
    assert (await send(http, "transactions", SALES)).json()["added"] == 2


async def test_the_disk_keeps_room_for_what_devices_report(
    running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, http = running
    monkeypatch.setattr(places.shutil, "disk_usage", lambda _: SimpleNamespace(free=places._RESERVE + 10))
    answer = await send(http, "stations", STATIONS)
    assert answer.status_code == 503
    assert "1,024 MB free" in answer.json()["error"]
    assert "free space on it" in answer.json()["error"]
    assert nothing_left(tmp_path)
    monkeypatch.undo()
    assert (await send(http, "stations", STATIONS)).json()["problems"] == []


async def test_few_exports_wait_to_be_fetched(running) -> None:
    r, http = running
    folders = [(await r.engine.exchange.give("stations", Format.CSV, Span()))[0].parent for _ in range(4)]
    answer = await http.get("/export/stations")
    assert answer.status_code == 409
    assert "4 exports are being fetched" in answer.json()["error"]
    shutil.rmtree(folders[1])
    for _ in range(3):
        assert (await http.get("/export/stations")).status_code == 200
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


async def test_without_the_token_nothing_goes_in_or_out(running) -> None:
    r, _ = running
    async with client(r, "s3cret") as http:
        assert (await send(http, "stations", STATIONS)).status_code == 401
        assert (await http.get("/export/stations")).status_code == 401
        assert r.engine.register.station("S02") is None
        http.headers["authorization"] = "Bearer s3cret"
        assert (await send(http, "stations", STATIONS)).json()["added"] == 1
    async with client(r) as http:
        http.headers["origin"] = "https://evil.example"
        assert (await send(http, "stations", STATIONS)).status_code == 403
        assert (await http.get("/export/stations")).status_code == 403


async def test_what_a_killed_server_left_is_taken_away(rig, tmp_path: Path) -> None:
    left = tmp_path / "exchange" / "tmp1"
    left.mkdir(parents=True)
    (left / "stations.csv").write_text(STATIONS)
    async with rig():
        assert not left.exists()


NASTY = st.text(max_size=30) | st.sampled_from(["csv", "parquet", "xlsx", "2026-03-01", "../x", "\0", "9" * 400])


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@example(table="stations/", asked={}, body=b"")  # led to the address without the slash
@given(
    table=st.sampled_from(TABLES) | NASTY,
    asked=st.dictionaries(st.sampled_from(["format", "from", "to", "path"]), NASTY, max_size=4),
    body=st.binary(max_size=200) | st.sampled_from([t.encode() for t in COUNTY.values()]),
)
async def test_hostile_questions_are_answered_in_words(hostile, table, asked, body) -> None:
    http, data = hostile
    place = httpx.QueryParams({"x": table})
    route = str(place).removeprefix("x=").replace("+", "%20") or "%20"
    answer = await http.post(f"/import/{route}", params=asked, content=body, follow_redirects=True)
    assert answer.status_code < 500, answer.text
    assert answer.json()
    answer = await http.get(f"/export/{route}", params=asked, follow_redirects=True)
    assert answer.status_code < 500, answer.text
    assert nothing_left(data)


@pytest.fixture
async def hostile(running, tmp_path: Path):
    _, http = running
    return http, tmp_path


async def test_an_export_is_gone_however_its_answer_ends(running):
    r, http = running
    (await send(http, "stations", STATIONS)).raise_for_status()
    for asked, status in (({}, 200), ({"range": "bytes=0-9"}, 206), ({"range": "bytes=x"}, 400)):
        answer = await http.get("/export/stations", params={"format": "csv"}, headers=asked)
        assert answer.status_code == status
        assert not list((r.engine.exchange._data / "exchange").iterdir())


@pytest.mark.parametrize("when", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
async def test_the_ends_of_the_calendar_are_times_too(running, when):
    _, http = running
    for table in ("transactions", "work_orders", "reports_12315"):
        assert (await http.get(f"/export/{table}", params={"from": when, "to": when})).status_code == 200


async def test_a_partitioned_export_holds_devices_that_no_ledger_knows_and_clocks_ahead(
    running, tmp_path, monkeypatch
) -> None:
    r, http = running
    now = r.engine.clock.now()
    at = [to_us(now + timedelta(days=days)) for days in (-400, 0, 3_000)]
    one = SampleBatch("S9", ("S9/D1/level",) * 3, np.array(at), np.arange(3.0), (), np.zeros(3, np.uint8))
    await r.engine.hub.publish(Batch("S9", one, (), now))
    await r.engine.historian.journaled()

    @asynccontextmanager
    async def served(url: str) -> AsyncIterator[httpx.AsyncClient]:
        yield http

    for module in (sending, fetching):
        monkeypatch.setattr(module, "served", served)
    (tmp_path / "out").mkdir()
    told = await fetching.fetch_partitioned(
        "http://127.0.0.1", tmp_path / "out", tables=("samples",), span=Span(), zone=UTC, progress=lambda _: None
    )
    assert [table.table for table in told] == ["samples"]
    days = sorted((tmp_path / "out" / "samples" / "station=S9").iterdir())
    assert [pq.read_table(day).num_rows for day in days] == [1, 1, 1]
