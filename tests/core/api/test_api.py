"""The API over its real application: lists, acts of people, who may come in, hostile questions."""

from __future__ import annotations

import csv
import io
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import numpy as np
import pytest

from pumpwatch.api import create_app
from pumpwatch.api.live import LiveFeed


@asynccontextmanager
async def client(r, token: str | None = None, host: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(r.engine, token), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8081/api/v1") as http:
        yield http


@pytest.fixture
async def cheated(rig, sale):
    """A station with one alarm, and the API in front of it."""
    async with rig() as r:
        r.forecourt.records = [sale(r.clock.now(), 1, encoder_pulses=2913, payment="=HYPERLINK(1)")]
        await r.until(r.engine.alarms.current)
        await r.until(lambda: r.engine.historian.acknowledged)
        async with client(r) as http:
            yield r, http


async def test_stations_and_their_detail(cheated) -> None:
    _, http = cheated
    (station,) = (await http.get("/stations")).json()
    assert station["station_id"] == "S01"
    assert station["connected"]
    detail = (await http.get("/stations/S01")).json()
    assert detail["nozzles"] == [{"nozzle_id": "S01-N01", "number": 1, "dispenser_id": "S01-D1", "grade": "92#"}]
    assert detail["dispensers"][0]["registered"]["mainboard_serial"] == "MB-1"
    assert detail["dispensers"][0]["matches"] is None
    assert detail["devices"][0]["connected"] is True


async def test_what_is_not_there_says_what_to_do(cheated) -> None:
    _, http = cheated
    answer = await http.get("/stations/S99")
    assert answer.status_code == 404
    assert "/api/v1/stations" in answer.json()["error"]
    assert (await http.get("/nothing")).json() == {"error": "Not Found"}
    assert "limit" in (await http.get("/alarms", params={"limit": "many"})).json()["error"]
    assert (await http.post("/alarms/A-999999/acknowledge", json={"by": "x"})).status_code == 404


async def test_acknowledge_then_clear_with_a_note(cheated) -> None:
    r, http = cheated
    (alarm,) = (await http.get("/alarms")).json()
    acknowledged = (await http.post(f"/alarms/{alarm['id']}/acknowledge", json={"by": "示例员"})).json()
    assert (acknowledged["state"], acknowledged["acknowledged_by"]) == ("acknowledged", "示例员")
    assert (await http.post(f"/alarms/{alarm['id']}/acknowledge", json={"by": "另一人"})).status_code == 409
    assert (await http.post(f"/alarms/{alarm['id']}/clear", json={"by": "示例员"})).status_code == 409
    cleared = await http.post(f"/alarms/{alarm['id']}/clear", json={"by": "示例员", "note": "已核验"})
    assert cleared.json()["state"] == "cleared"
    assert (await http.get("/alarms")).json() == []
    assert len((await http.get("/alarms", params={"state": "all"})).json()) == 1
    assert r.engine.alarms.current() == ()


@pytest.mark.parametrize("body", [{}, {"by": ""}, {"by": "  "}, {"by": "x", "more": 1}, {"by": "x" * 500}, [], "x"])
async def test_an_act_without_a_person_is_refused(cheated, body) -> None:
    _, http = cheated
    (alarm,) = (await http.get("/alarms")).json()
    assert (await http.post(f"/alarms/{alarm['id']}/acknowledge", json=body)).status_code == 422
    assert (await http.get("/alarms")).json()[0]["state"] == "active"


async def test_series_gives_what_was_kept(cheated) -> None:
    r, http = cheated
    end = r.clock.now() + timedelta(seconds=1)
    asked = {"path": "S01/D1/nozzle-1.volume", "end": end.isoformat()}
    found = (await http.get("/series", params=asked)).json()
    assert found["value"][-1] == 0.0
    assert len(found["at"]) == len(found["value"]) == len(found["quality"]) > 0


async def test_a_csv_opens_in_a_spreadsheet_and_runs_nothing(cheated) -> None:
    _, http = cheated
    answer = await http.get("/stations/S01/transactions", params={"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert rows[0]["payment"] == "'=HYPERLINK(1)"
    assert rows[0]["encoder_pulses"] == "2913"
    assert (await http.get("/alarms", params={"format": "csv"})).text.count("S01-N01") == 1
    asked = {"path": "=HYPERLINK(2)", "at": "2026-03-01T00:00:00Z", "format": "csv"}
    assert (await http.get("/as-of", params=asked)).text.splitlines()[0].split(",")[1] == "'=HYPERLINK(2)"


async def test_the_frame_follows_its_description(cheated) -> None:
    r, _ = cheated
    r.forecourt.values.update({"nozzle-1.state": 2, "nozzle-1.volume": 7.25, "nozzle-1.flow": 38.0})
    await r.until(lambda: r.engine.hub.latest["S01/D1/nozzle-1.volume"].value == 7.25)
    feed = LiveFeed(r.engine)
    frame = feed.frame()
    magic, version, at, s, n, t, _ = struct.unpack_from("<4sIdIIII", frame)
    assert (magic, version, s, n, t) == (b"PW01", feed.layout["version"], 1, 1, 1)
    assert at == r.clock.now().timestamp()
    age, sold, volume, _, flow, fill = np.frombuffer(frame, "<f4", 6, 32)
    assert 0 <= age < 2
    assert (sold, volume, flow) == (30.0, 7.25, 38.0)
    assert np.isnan(fill)
    assert frame[-2:] == bytes([0, 2])
    r.forecourt.down = True
    await r.until(lambda: not r.engine.acquisition.devices[0].connected)
    assert feed.frame()[-2:] == bytes([2, 6])


async def test_without_a_token_only_this_machine_comes_in(cheated) -> None:
    _, http = cheated
    assert (await http.get("/status")).status_code == 200
    assert (await http.get("/status", headers={"host": "localhost:8081"})).status_code == 200
    assert (await http.get("/status", headers={"host": "evil.example"})).status_code == 403
    assert (await http.get("/status", headers={"origin": "https://evil.example"})).status_code == 403
    assert (await http.get("/status", headers={"origin": "null"})).status_code == 403
    assert (await http.get("/status", headers={"origin": "http://127.0.0.1:8080"})).status_code == 200


async def test_with_a_token_everyone_shows_it(cheated) -> None:
    r, _ = cheated
    async with client(r, "s3cret", "station.example") as http:
        assert (await http.get("/status")).status_code == 401
        assert (await http.get("/status", headers={"authorization": "Bearer wrong"})).status_code == 401
        assert (await http.get("/status", headers={"authorization": "Basic s3cret"})).status_code == 401
        assert (await http.get("/status", headers={"authorization": "Bearer s3cret"})).status_code == 200
        assert (await http.get("/openapi.json")).status_code == 401


async def test_hostile_questions_are_answered_in_words(cheated) -> None:
    _, http = cheated
    dice = random.Random(1)
    nasty = [
        "",
        "'",
        '"; DROP TABLE alarms;--',
        "../../etc/passwd",
        "%00",
        "\u202e",
        "9" * 400,
        "-1",
        "NaN",
        "S01",
        "'1",
        "\ud7ff",
    ]

    def word() -> str:
        return dice.choice(nasty) + "".join(chr(dice.randrange(32, 0x2FF)) for _ in range(dice.randrange(8)))

    paths = [
        "/series",
        "/latest",
        "/alarms",
        "/stations",
        "/stations/S01/transactions",
        "/stations/{}",
        "/alarms/{}/clear",
    ]
    names = ["path", "start", "end", "limit", "prefix", "format", "state", "more"]
    for _ in range(300):
        path = dice.choice(paths).format(
            httpx.QueryParams({"x": word()})["x"].replace("/", "").replace("?", "").replace("#", "")
        )
        asked = {dice.choice(names): word() for _ in range(dice.randrange(4))}
        method = "POST" if path.endswith("clear") else "GET"
        answer = await http.request(method, path, params=asked, content=word() if method == "POST" else None)
        assert answer.status_code < 500, (path, asked, answer.text)
    assert len((await http.get("/alarms")).json()) == 1
