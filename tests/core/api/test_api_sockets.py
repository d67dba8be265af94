"""The sockets of the API: who hangs up leaves nothing behind, and no driver's odd value ends the feed."""

from __future__ import annotations

import asyncio
import json
import struct

import pytest

from pumpwatch.api import create_app
from pumpwatch.api.live import CellState, LiveFeed
from pumpwatch.model import NozzleState


async def test_a_watcher_who_hears_nothing_and_hangs_up_is_forgotten(rig):
    async with rig() as r:
        told: list[str] = []
        here = asyncio.Queue()
        await here.put({"type": "websocket.connect"})

        async def send(message):
            told.append(message["type"])

        scope = {
            "type": "websocket",
            "path": "/api/v1/watch",
            "query_string": b"prefix=nothing",
            "headers": [(b"host", b"127.0.0.1")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8081),
            "scheme": "ws",
            "root_path": "",
            "subprotocols": [],
        }
        before = len(r.engine.hub._subscriptions)
        served = asyncio.create_task(create_app(r.engine, None)(scope, here.get, send))
        async with asyncio.timeout(60):
            while len(r.engine.hub._subscriptions) == before:  # noqa: ASYNC110 - nothing else tells of it
                await asyncio.sleep(0)
            await here.put({"type": "websocket.disconnect", "code": 1001})
            await served
        assert told == ["websocket.accept"]
        assert len(r.engine.hub._subscriptions) == before


@pytest.mark.parametrize("odd", [300.0, -1.0, 1e300, 1.5])
async def test_a_state_that_is_none_is_shown_as_stale(rig, odd):
    async with rig() as r:
        feed = LiveFeed(r.engine)
        for state, shown in ((NozzleState.FUELLING, NozzleState.FUELLING), (odd, CellState.STALE)):
            r.forecourt.values["nozzle-1.state"] = float(state)
            await r.until(lambda wanted=shown: states_of(feed)[0] == wanted)


def states_of(feed: LiveFeed) -> bytes:
    frame = feed.frame()
    nozzles = struct.unpack_from("<4sIdIIII", frame)[4]
    return frame[len(frame) - nozzles :]


async def talk(r, path: str, query: bytes, gone: asyncio.Event) -> list[dict]:
    """What a websocket is told until it hangs up at ``gone``, or is closed."""
    told: list[dict] = []

    async def receive():
        if not told:
            return {"type": "websocket.connect"}
        await gone.wait()
        return {"type": "websocket.disconnect", "code": 1001}

    async def send(message):
        told.append(message)
        if message["type"] == "websocket.send":
            gone.set()

    scope = {
        "type": "websocket",
        "path": path,
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8081),
        "scheme": "ws",
        "root_path": "",
        "subprotocols": [],
    }
    async with asyncio.timeout(60):
        await create_app(r.engine, None)(scope, receive, send)
    return told


async def test_the_bytes_of_a_device_are_shown(rig):
    async with rig() as r:
        device = r.engine.acquisition.devices[0]
        scan = r.engine.acquisition._scans[device.path]
        gone = asyncio.Event()
        talking = asyncio.create_task(talk(r, "/api/v1/trace", f"device={device.path}".encode(), gone))
        async with asyncio.timeout(60):
            while not scan.tracing._lookers:  # noqa: ASYNC110 - nothing else tells of it
                await asyncio.sleep(0)
        scan.tracing.see(">", b"\x01\x02")
        told = await talking
        assert told[0]["type"] == "websocket.accept"
        row = json.loads(told[1]["text"])
        assert (row["way"], row["hex"]) == (">", "01 02")
        assert not scan.tracing._lookers


async def test_a_device_that_is_none_is_said_so(rig):
    async with rig() as r:
        told = await talk(r, "/api/v1/trace", b"device=S99/D9", asyncio.Event())
        assert told[1]["code"] == 4404
        assert "S99/D9" in told[1]["reason"]
