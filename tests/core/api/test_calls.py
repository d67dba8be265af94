"""Devices that call, over the real application: who comes in, what is kept, how much at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pumpwatch import DeviceEvent, EventKind, NotReachable, Refused, Transaction
from pumpwatch.api import calls, create_app
from pumpwatch.engine import Engine
from pumpwatch.plugins import Plugins
from pumpwatch.settings import BadSettings, parse_settings
from pumpwatch.testing import FakeClock

PASSWORD = "not-a-real-one"
PATH = "/call/S01/PTS"
CONFIG = """
[[stations]]
id = "S01"
  [[stations.devices]]
  id = "PTS"
  driver = "ptsjson"
  line = "call:"
  nozzles = ["S01-N01"]
  settings = { user = "s01", password = "env:PTS_PASSWORD", numbers = "nozzle", silence_s = 60 }
  [[stations.devices]]
  id = "TLS"
  driver = "tls350"
  line = "tcp://127.0.0.1:1"
"""
Serving = Callable[..., AbstractAsyncContextManager["Server"]]


class Server:
    """An engine, its clock, and a client in front of its API."""

    def __init__(self, engine: Engine, clock: FakeClock, http: httpx.AsyncClient) -> None:
        self.engine, self.clock, self.http = engine, clock, http

    @property
    def auth(self) -> httpx.DigestAuth:
        return httpx.DigestAuth("s01", PASSWORD)

    async def bring(self, *numbers: int) -> httpx.Response:
        return await self.http.post(PATH, content=fillings(*numbers), auth=self.auth)

    async def numbers(self) -> list[int]:
        return [sale.seq for sale in await self.engine.historian.transactions(limit=100)]


def fillings(*numbers: int) -> bytes:
    packets = [
        {
            "Id": number,
            "Type": "UploadPumpTransaction",
            "Data": {
                "DateTimeStart": "2026-01-01T08:00:00",
                "DateTime": f"2026-01-01T08:{number % 60:02}:30",
                "Pump": 1,
                "Nozzle": 1,
                "Transaction": number,
                "Volume": 10.0,
                "Price": 7.5,
                "Amount": 75.0,
                "TotalVolume": 1000.0 + 10 * number,
            },
        }
        for number in numbers
    ]
    return json.dumps({"Protocol": "jsonPTS", "PtsId": "AA", "Packets": packets}).encode()


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serving:
    """``async with serving() as server``: the same data folder each time."""
    monkeypatch.setenv("PTS_PASSWORD", PASSWORD)

    @asynccontextmanager
    async def serving(token: str | None = None, config: str = CONFIG) -> AsyncIterator[Server]:
        clock = FakeClock()
        async with Engine.open(parse_settings(config), tmp_path, Plugins.discover(), clock) as engine:
            task = asyncio.create_task(engine.run())
            transport = httpx.ASGITransport(create_app(engine, token), raise_app_exceptions=False)
            try:
                async with httpx.AsyncClient(transport=transport, base_url="http://pumps.example") as http:
                    yield Server(engine, clock, http)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    return serving


async def test_what_is_confirmed_is_kept_once(serving: Serving) -> None:
    async with serving() as server:
        answer = await server.bring(1, 2)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert [packet["Message"] for packet in answer.json()["Packets"]] == ["OK", "OK"]
        assert server.engine.historian.journal.batches >= 1, "it is in the journal before it is confirmed"
        assert (await server.bring(2, 3)).status_code == 200
        assert await server.numbers() == [3, 2, 1]
    async with serving() as server:
        assert (await server.bring(3, 4)).status_code == 200
        assert await server.numbers() == [4, 3, 2, 1]


async def test_the_token_of_the_server_is_not_the_devices(serving: Serving) -> None:
    async with serving("the-servers-token") as server:
        assert (await server.bring(1)).status_code == 200
        assert (await server.http.get("/api/v1/status")).status_code == 401
        bearer = {"authorization": "Bearer the-servers-token"}
        assert (await server.http.post(PATH, content=fillings(2), headers=bearer)).status_code == 401
        assert await server.numbers() == [1]


async def test_who_shows_nothing_or_the_wrong_thing_is_refused(serving: Serving) -> None:
    async with serving() as server:
        refused = await server.http.post(PATH, content=fillings(1))
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith('Digest realm="pumpwatch", qop="auth", algorithm=MD5')
        for auth in (
            httpx.DigestAuth("s01", "wrong"),
            httpx.DigestAuth("x", PASSWORD),
            httpx.BasicAuth("s01", PASSWORD),
        ):
            assert (await server.http.post(PATH, content=fillings(1), auth=auth)).status_code == 401
        assert await server.numbers() == []
        assert server.engine.acquisition.devices[0].connected is None, "a stranger connects nothing"


async def test_only_devices_that_call_are_found(serving: Serving) -> None:
    async with serving() as server:
        for path in ("/call/S01/TLS", "/call/S01/X", "/call/S02/PTS", "/call/S01", "/call/", "/call/a/b/c"):
            assert (await server.http.post(path, content=b"")).status_code == 404
        assert (await server.http.get(PATH)).status_code == 405
        for path in ("/call/../api/v1/status", "/call/%2e%2e/api/v1/status"):
            assert (await server.http.get(path)).status_code in {403, 404}


async def test_a_body_that_is_no_jsonpts_is_a_bad_request(serving: Serving) -> None:
    async with serving() as server:
        for body in (b"", b"\xff", b"{}", b"[" * 100_000, b'{"Protocol":"jsonPTS","Packets":[{}]}'):
            answer = await server.http.post(PATH, content=body, auth=server.auth)
            assert answer.status_code == 400
            assert answer.json()["error"]
        assert server.engine.acquisition.devices[0].connected is None


async def test_a_body_may_have_a_mebibyte(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        most = fillings(1).ljust(calls.MOST_BYTES)
        assert (await server.http.post(PATH, content=most, auth=server.auth)).status_code == 200
        for size in (calls.MOST_BYTES + 1, 6 << 20):
            assert (await server.http.post(PATH, content=b" " * size, auth=server.auth)).status_code == 413

        async def dribble() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.get_running_loop().create_future()

        monkeypatch.setattr(calls, "STALLED_S", 0.05)
        assert (await server.http.post(PATH, content=dribble())).status_code == 408


async def test_the_rate_is_bounded_by_address(serving: Serving) -> None:
    async with serving() as server:
        bad = [(await server.http.post(PATH, content=b"{}")).status_code for _ in range(int(calls.CALLS_AT_ONCE) + 1)]
        assert bad == [401] * int(calls.CALLS_AT_ONCE) + [429]
        assert (await server.http.post(PATH, content=b"{}")).headers["retry-after"] == "1"
        async with elsewhere(server, "192.0.2.7") as other:
            assert (await other.post(PATH, content=fillings(1), auth=server.auth)).status_code == 200
        await server.clock.advance(2 / calls.CALLS_A_SECOND)
        assert (await server.bring(2)).status_code == 200
        assert (await server.http.post(PATH, content=b"{}")).status_code == 429


def elsewhere(server: Server, address: str) -> httpx.AsyncClient:
    """A client at another address."""
    transport = httpx.ASGITransport(server.http._transport.app, client=(address, 1))  # type: ignore[attr-defined]
    return httpx.AsyncClient(transport=transport, base_url="http://pumps.example")


async def test_few_calls_wait_together(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MOST_TOGETHER", calls.MOST_WAITING + 1)
    async with serving() as server, elsewhere(server, "192.0.2.7") as one, elsewhere(server, "192.0.2.8") as other:

        async def bring(http: httpx.AsyncClient) -> int:
            return (await http.post(PATH, content=b"{}")).status_code

        device = server.engine.acquisition.devices[0]
        async with device.turn:  # somebody has the device's turn
            waiting = [asyncio.create_task(bring(server.http)) for _ in range(calls.MOST_WAITING)]
            for _ in range(100):
                await asyncio.sleep(0)
            assert await bring(server.http) == 429
            waiting.append(asyncio.create_task(bring(one)))
            for _ in range(100):
                await asyncio.sleep(0)
            assert await bring(other) == 503
            await server.clock.advance(1.5)
            assert await asyncio.gather(*waiting) == [503] * (calls.MOST_WAITING + 1)
        assert await bring(server.http) == 401


async def test_one_address_does_not_keep_the_others_out(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that never end, for every device, without credentials."""
    monkeypatch.setattr(calls, "MOST_TOGETHER", calls.MOST_OF_ADDRESS + 1)
    names = ("PTS", "PTS2", "PTS3")
    device = CONFIG[CONFIG.index("  [[stations.devices]]") : CONFIG.index('  [[stations.devices]]\n  id = "TLS"')]
    more = "".join(
        device.replace('id = "PTS"', f'id = "{name}"').replace("S01-N01", f"S01-N0{place}")
        for place, name in enumerate(names[1:], 2)
    )
    ended = asyncio.Event()

    async def dribble() -> AsyncIterator[bytes]:
        yield b"{"
        await ended.wait()

    async with serving(config=CONFIG + more) as server, elsewhere(server, "192.0.2.66") as hostile:
        paths = [f"/call/S01/{name}" for name in names for _ in range(calls.MOST_WAITING)]
        bodies = [asyncio.create_task(hostile.post(path, content=dribble())) for path in paths]
        for _ in range(200):
            await asyncio.sleep(0)
        assert (await server.bring(1)).status_code == 200
        ended.set()
        said = [answer.status_code for answer in await asyncio.gather(*bodies)]
        assert sorted(said) == [401] * calls.MOST_OF_ADDRESS + [429] * (len(paths) - calls.MOST_OF_ADDRESS)
        assert (await hostile.post(PATH, content=b"{}")).status_code == 401, "it may call again"


async def test_a_body_that_does_not_begin_is_given_up_sooner(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.get_running_loop().create_future()
        yield b""

    monkeypatch.setattr(calls, "FIRST_S", 0.05)
    async with serving() as server:
        answer = await server.http.post(PATH, content=nothing())
        assert answer.status_code == 408
        assert "after 0.05 s" in answer.json()["error"]


async def test_what_is_not_on_disk_is_not_confirmed(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        append = server.engine.historian.journal.append

        async def full(*_: Any, **__: Any) -> None:
            raise Refused("the disk is full; make room")

        monkeypatch.setattr(server.engine.historian.journal, "append", full)
        answer = await server.bring(1)
        assert answer.status_code == 409
        assert answer.json() == {"error": "the disk is full; make room"}
        monkeypatch.setattr(server.engine.historian.journal, "append", append)
        assert (await server.bring(1)).status_code == 200
        assert await server.numbers() == [1]


async def test_it_is_connected_as_long_as_it_calls(serving: Serving) -> None:
    async with serving() as server:
        device = server.engine.acquisition.devices[0]

        async def links() -> list[object]:
            now = server.clock.now()
            events = await server.engine.historian.records(
                DeviceEvent, start=now.replace(year=2000), end=now.replace(year=2100), key="S01/PTS"
            )
            return [event.detail["up"] for event in reversed(events) if event.kind is EventKind.LINK]

        await server.clock.advance(30)
        assert device.connected is None, "it has not called yet, and nothing is wrong"
        assert await links() == []
        await server.bring(1)
        assert device.connected
        await server.clock.advance(50)
        assert device.connected
        await server.clock.advance(40)
        assert not device.connected
        assert "no call since" in device.reason
        await server.bring(2)
        assert device.connected
        assert await links() == [True, False, True]


async def test_who_never_calls_is_told_as_not_connected(serving: Serving) -> None:
    async with serving() as server:
        await server.clock.advance(100)
        assert server.engine.acquisition.devices[0].connected is False


async def test_a_driver_that_fails_is_an_error_of_the_server(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        driver = server.engine.acquisition.devices[0].driver
        for error, status in ((ValueError("x"), 500), (Refused("never"), 409), (NotReachable("later"), 503)):

            def fails(*_: Any, error: Exception = error) -> None:
                raise error

            monkeypatch.setattr(driver, "called", fails)
            assert (await server.bring(1)).status_code == status
        assert await server.numbers() == []


def test_what_is_wrong_in_the_configuration_is_told(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async def told(config: str) -> str:
        with pytest.raises(BadSettings) as raised:
            async with serving(config=config):
                pass
        return str(raised.value)

    asked = asyncio.run(told(CONFIG.replace("call:", "tcp://127.0.0.1:2")))
    assert "devices with this driver call the server" in asked
    assert 'write line = "call:"' in asked
    assert "they are asked" in asyncio.run(told(CONFIG.replace("tcp://127.0.0.1:1", "call:")))
    said = asyncio.run(told(CONFIG.replace("env:PTS_PASSWORD", PASSWORD)))
    assert "must be given as a reference" in said
    assert PASSWORD not in said
    monkeypatch.delenv("PTS_PASSWORD")
    assert "PTS_PASSWORD is not set" in asyncio.run(told(CONFIG))


async def test_a_filling_is_told_at_once(serving: Serving) -> None:
    async with serving() as server:
        with server.engine.hub.subscribe() as stream:
            await server.bring(1)
            async for batch in stream:
                sales = [record for record in batch.records if isinstance(record, Transaction)]
                if sales:
                    assert sales[0].totalizer_l == 1010.0
                    break
        assert server.engine.hub.latest["S01/PTS/nozzle-1.totalizer"].value == 1010.0
