"""The live feed and its fan-out, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import websockets
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from pumpwatch.clock import SystemClock
from pumpwatch_dashboards.api import Api
from pumpwatch_dashboards.feed import Kind, LiveFeed, Outlet
from pumpwatch_dashboards.policy import Doors
from pumpwatch_dashboards.web import House, routes

LAYOUT = json.dumps({"type": "layout", "version": 7, "server": {"name": "示例县"}, "stations": []})
ALARMS = json.dumps({"type": "alarms", "alarms": []})


class Upstream:
    """The API's end: sends what it is told, and remembers who came with which token."""

    def __init__(self) -> None:
        self.sockets: list[websockets.ServerConnection] = []
        self.tokens: list[str | None] = []

    async def serve(self, connection: websockets.ServerConnection) -> None:
        assert connection.request is not None
        self.tokens.append(connection.request.headers.get("Authorization"))
        self.sockets.append(connection)
        await connection.send(LAYOUT)
        await connection.send(ALARMS)
        await connection.wait_closed()

    async def send(self, message: str | bytes) -> None:
        await self.sockets[-1].send(message)


async def until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not there():  # noqa: ASYNC110 - what is waited for happens in another part of this loop
            await asyncio.sleep(0.01)


@asynccontextmanager
async def fan_out() -> AsyncIterator[tuple[Upstream, LiveFeed, int]]:
    """An upstream, the feed that follows it, and the port browsers come to."""
    upstream = Upstream()
    listening, port = bind_unused_port()
    async with websockets.serve(upstream.serve, "127.0.0.1", 0) as server:
        api = Api(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "secret")
        feed = LiveFeed(api.live_url, "secret", SystemClock())
        web = HTTPServer(Application(routes(House(api, feed, Doors("127.0.0.1", port)))))  # type: ignore[arg-type]
        web.add_socket(listening)
        follow = asyncio.create_task(feed.run())
        await until(lambda: bool(upstream.sockets and feed.layout))
        try:
            yield upstream, feed, port
        finally:
            follow.cancel()
            await asyncio.gather(follow, return_exceptions=True)
            web.stop()
            await web.close_all_connections()
            await api.close()


def browser(port: int, origin: str | None = None) -> websockets.connect:
    return websockets.connect(
        f"ws://127.0.0.1:{port}/live", origin=origin or f"http://127.0.0.1:{port}", max_size=None, compression=None
    )


def knock(port: int, host: str) -> socket.socket:
    """A handshake by hand, from a page of ``host``; nothing is read afterwards unless the test does."""
    knocking = socket.create_connection(("127.0.0.1", port))
    knocking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    key = base64.b64encode(os.urandom(16)).decode()
    knocking.sendall(
        f"GET /live HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return knocking


async def frame_of(viewer: websockets.ClientConnection) -> bytes:
    while True:
        message = await asyncio.wait_for(viewer.recv(), 30)
        if isinstance(message, bytes):
            return message


async def test_a_browser_gets_layout_alarms_state_and_the_newest_frame_unchanged() -> None:
    async with fan_out() as (upstream, feed, port):
        await upstream.send(b"PW01 old")
        await upstream.send(b"PW01 new")
        async with browser(port) as first:
            assert await frame_of(first) == b"PW01 new"
        async with browser(port) as viewer:
            texts = [await viewer.recv() for _ in range(3)]
            assert texts[:2] == [LAYOUT, ALARMS]
            state = json.loads(texts[2])
            assert (state["type"], state["connected"]) == ("feed", True)
            assert await viewer.recv() == b"PW01 new"
            await upstream.send(b"PW01 \x00\xff next")
            assert await viewer.recv() == b"PW01 \x00\xff next"
            assert feed.layout["version"] == 7
        assert upstream.tokens == ["Bearer secret"], "one connection, with the token"


async def test_a_slow_browser_loses_frames_and_costs_no_memory() -> None:
    frame = os.urandom(500_000)
    async with fan_out() as (upstream, feed, port):
        slow = knock(port, f"127.0.0.1:{port}")
        await until(lambda: feed.outlets == 1)
        (outlet,) = feed._outlets
        async with browser(port) as fast:
            for i in range(60):
                sent = i.to_bytes(4, "little") + frame
                await upstream.send(sent)
                assert await frame_of(fast) == sent, "the fast one misses nothing"
        assert outlet.waiting <= len(Kind)
        assert outlet.dropped >= 30, "the slow one's old frames were dropped"
        slow.close()
        await until(lambda: feed.outlets == 0)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://"])
async def test_a_page_from_elsewhere_may_not_listen(origin: str) -> None:
    async with fan_out() as (_, feed, port):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with browser(port, origin):
                pass
        assert refused.value.response.status_code == 403
        assert feed.outlets == 0


async def test_a_name_that_is_not_ours_is_refused() -> None:
    """DNS rebinding: the foreign page's own name points at this machine, so Host and Origin agree with one another."""
    async with fan_out() as (_, feed, port):
        knocking = knock(port, f"rebound.example:{port}")
        reply = await asyncio.to_thread(knocking.recv, 64)
        knocking.close()
        assert reply.startswith(b"HTTP/1.1 403")
        assert feed.outlets == 0


async def test_a_browser_that_talks_is_shown_the_door() -> None:
    async with fan_out() as (_, _, port), browser(port) as viewer:
        await viewer.send("acknowledge everything")
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await asyncio.wait_for(viewer.recv(), 30)
        assert viewer.close_code == 1008


async def test_loss_is_told_and_the_feed_comes_back() -> None:
    async with fan_out() as (upstream, _, port), browser(port) as viewer:
        for _ in range(3):
            await viewer.recv()
        await upstream.sockets[-1].close()
        lost = json.loads(await asyncio.wait_for(viewer.recv(), 30))
        assert (lost["type"], lost["connected"]) == ("feed", False)
        seen = [await asyncio.wait_for(viewer.recv(), 30) for _ in range(3)]
        assert {json.loads(m)["type"] for m in seen} == {"layout", "alarms", "feed"}
        assert len(upstream.sockets) == 2


async def test_unknown_and_broken_messages_are_passed_over() -> None:
    async with fan_out() as (upstream, _, port), browser(port) as viewer:
        for _ in range(3):
            await viewer.recv()
        for odd in ("not json", "[1]", '{"type": "news"}', '{"no": "type"}'):
            await upstream.send(odd)
        await upstream.send(b"PW01 after")
        assert await viewer.recv() == b"PW01 after"


class Pipe:
    """A browser whose reading the test decides."""

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.open = asyncio.Event()

    async def write(self, message: str | bytes) -> None:
        await self.open.wait()
        self.sent.append(message)


async def test_order_and_conflation() -> None:
    pipe = Pipe()
    outlet = Outlet(pipe.write)
    outlet.offer(Kind.FRAME, b"0")  # on its way at once
    for i in range(1, 5):
        outlet.offer(Kind.FRAME, str(i).encode())
    outlet.offer(Kind.ALARMS, "alarms")
    outlet.offer(Kind.LAYOUT, "layout")
    assert (outlet.waiting, outlet.dropped) == (3, 3)
    pipe.open.set()
    await until(lambda: len(pipe.sent) == 4)
    assert pipe.sent == [b"0", "layout", "alarms", b"4"]


async def test_a_closed_browser_is_not_written_to_again() -> None:
    async def broken(_: str | bytes) -> None:
        raise OSError("gone")

    outlet = Outlet(broken)
    outlet.offer(Kind.FRAME, b"0")
    outlet.offer(Kind.FRAME, b"1")
    await asyncio.sleep(0.01)
    assert outlet.waiting == 0
