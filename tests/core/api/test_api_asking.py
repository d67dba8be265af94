"""Questions over HTTP: three forms of one answer, pages that follow each other, clients that go away."""

from __future__ import annotations

import asyncio
import csv
import io
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pyarrow as pa
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.api import create_app
from pumpwatch.api.tables import ARROW

PATH = "S01/D1/nozzle-1.volume"
ROUTES = (
    "/latest",
    "/series",
    "/samples",
    "/summaries",
    "/as-of",
    "/transactions",
    "/stations/S01/transactions",
    "/gaps",
    "/completeness",
)
NAMES = (
    *("path", "station", "nozzle", "start", "end", "from", "to", "at", "width", "lookback", "limit", "after", "format"),
    *("prefix", "of", "longer", "payment", "grade", "min_l", "max_l", "more"),
)
WORDS = (
    *("", "S01", PATH, "S01/D1", "json", "csv", "arrow", "0", "1", "-1", "1e308", "nan", "inf", "9" * 400, "100001"),
    *("2026-03-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-03-01", "9999-12-31"),
    *("0001-01-01", "' OR 1=1 --", "%00", "\x00", "\u202e", "油枪", "W10", "WyJ4Il0", "WyJTMDEiLCIyMDI2LTAzLTAyIl0"),
)


@asynccontextmanager
async def client(r: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(r.engine), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8081/api/v1") as http:
        yield http


@pytest.fixture
async def selling(rig, sale):
    """A station that has sold twice, and the API in front of it."""
    async with rig() as r:
        now = r.clock.now()
        r.forecourt.records = [
            sale(now, 1, payment="=1+1", volume=10.0),
            sale(now - timedelta(minutes=5), 4, volume=40.0),
        ]
        await r.until(lambda: r.engine.historian.acknowledged > 3)
        async with client(r) as http:
            yield r, http


def window(r: Any) -> dict[str, str]:
    now = r.clock.now()
    return {"start": (now - timedelta(hours=1)).isoformat(), "end": (now + timedelta(seconds=1)).isoformat()}


def questions(r: Any) -> dict[str, dict[str, Any]]:
    """A good question to each route."""
    span, now = window(r), r.clock.now().isoformat()
    return {
        "/latest": {"prefix": "S01/"},
        "/series": span | {"path": PATH},
        "/samples": span | {"station": "S01"},
        "/summaries": span | {"path": [PATH, "S01/D1/nozzle-1.flow"], "width": 60},
        "/as-of": {"path": PATH, "at": [now, now]},
        "/transactions": {"station": "S01", "path": PATH},
        "/stations/S01/transactions": {},
        "/gaps": span | {"of": PATH},
        "/completeness": {},
    }


async def every_page(http: httpx.AsyncClient, route: str, asked: dict[str, Any]) -> list[Any]:
    """All rows, by the addresses that the answers give."""
    answer = await http.get(route, params=asked)
    rows: list[Any] = []
    for _ in range(500):
        assert answer.status_code == 200, answer.text
        told = answer.json()
        rows += told if isinstance(told, list) else zip(told["at"], told["value"], told["quality"], strict=True)
        if "next" not in answer.links:
            return rows
        answer = await http.get(httpx.URL("http://127.0.0.1:8081").join(answer.links["next"]["url"]))
    raise AssertionError("the pages do not end")


async def test_json_csv_and_arrow_say_the_same(selling) -> None:
    r, http = selling
    for route, asked in questions(r).items():
        told = (await http.get(route, params=asked)).json()
        if route == "/series":
            told = [
                {"at": a, "value": v, "quality": q}
                for a, v, q in zip(told["at"], told["value"], told["quality"], strict=True)
            ]
        answer = await http.get(route, params=asked | {"format": "csv"})
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        lines = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
        answer = await http.get(route, params=asked | {"format": "arrow"})
        assert answer.headers["content-type"] == ARROW
        table = pa.ipc.open_stream(answer.content).read_all()
        assert len(told) == len(lines) == table.num_rows, route
        assert route == "/gaps" or told, route
        for row, line in zip(told, lines, strict=True):
            shown = {k: line[k].removeprefix("'") for k in row}
            assert shown == {k: "" if v is None else str(v) for k, v in row.items()}, route


async def test_short_lists_are_arrow_too(rig, sale) -> None:
    async with rig() as r:
        r.forecourt.records = [sale(r.clock.now(), 1, encoder_pulses=2913)]
        await r.until(r.engine.alarms.current)
        async with client(r) as http:
            for route, column in {"/stations": "connected", "/alarms": "estimate"}.items():
                answer = await http.get(route, params={"format": "arrow"})
                table = pa.ipc.open_stream(answer.content).read_all()
                rows = (await http.get(route)).json()
                assert table.num_rows == len(rows) == 1
                told = rows[0][column] if route == "/stations" else rows[0]["finding"]["estimate"]["value"]
                assert table[column].to_pylist() == [told]


async def test_pages_follow_each_other(selling) -> None:
    r, http = selling
    for route, asked in questions(r).items():
        if route == "/as-of":
            continue
        whole = await every_page(http, route, asked)
        assert await every_page(http, route, asked | {"limit": 1}) == whole, route


async def test_fillings_by_filter(selling) -> None:
    _, http = selling

    async def numbers(**asked: Any) -> list[int]:
        return [row["seq"] for row in (await http.get("/transactions", params=asked)).json()]

    assert await numbers() == [1, 4]
    assert await numbers(min_l=20) == [4]
    assert await numbers(max_l=20, payment="=1+1") == [1]
    assert await numbers(nozzle="S01-N02") == []
    assert await numbers(grade="92#", station="S01", limit=1) == [1]


async def test_completeness_names_the_missing_numbers(rig, sale) -> None:
    async with rig() as r:
        now = r.clock.now()
        r.forecourt.records = [sale(now - timedelta(minutes=9), 3), sale(now - timedelta(minutes=2), 7)]
        await r.until(lambda: r.engine.historian.acknowledged > 3)
        async with client(r) as http:
            rows = (await http.get("/completeness", params={"station": "S01"})).json()
            assert len(rows) == 7
            assert {row["numbers_missing"] for row in rows} == {None, "S01-N01 4-6"}
            assert sum(row["fillings_received"] for row in rows) == 2
            assert sum(row["fillings_expected"] for row in rows) == 5
            assert (await http.get("/completeness", params={"station": "S77"})).status_code == 400


async def test_any_question_is_answered_in_words(selling) -> None:
    """Not one of them is answered with 500."""
    _, http = selling
    asked = st.dictionaries(
        st.sampled_from(NAMES),
        st.lists(st.sampled_from(WORDS) | st.text(max_size=12), max_size=3),
        max_size=6,
    )
    loop = asyncio.get_running_loop()

    @given(st.sampled_from(ROUTES), asked)
    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
    def put(route: str, query: dict[str, list[str]]) -> None:
        words = {k: [w.encode("utf-8", "replace").decode() for w in v] for k, v in query.items()}
        answer = asyncio.run_coroutine_threadsafe(http.get(route, params=words), loop).result()
        assert answer.status_code in {200, 400, 404, 422}, answer.text
        if answer.status_code != 200:
            assert answer.json()["error"]

    await asyncio.to_thread(put)


async def test_who_goes_away_stops_the_work(rig, monkeypatch) -> None:
    """A real server; its client hangs up in the middle of a long question."""
    async with rig() as r:
        asked = asyncio.Semaphore(0)
        stopped = asyncio.Event()

        async def slowly(**_: Any) -> Any:
            asked.release()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        monkeypatch.setattr(r.engine.historian, "samples", slowly)
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(r.engine), log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET /api/v1/samples?station=S01 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            await asked.acquire()
            assert not stopped.is_set()
            writer.close()
            async with asyncio.timeout(60):
                await stopped.wait()
            assert not await reader.read()
        finally:
            server.should_exit = True
            await serving
