"""The dashboards process: Panel's server with our addresses beside its own, and the one connection to the live feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from panel.io.server import get_server
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from pumpwatch.clock import Clock
from pumpwatch.errors import BadConfig
from pumpwatch_dashboards.api import Api
from pumpwatch_dashboards.feed import LiveFeed
from pumpwatch_dashboards.pages import load_libraries, pages
from pumpwatch_dashboards.policy import Doors, SecurityHeaders
from pumpwatch_dashboards.trend import TrendSource
from pumpwatch_dashboards.web import House, routes

PING_S = 20
"""A browser that does not answer a ping for this long is gone."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    url: str
    feed: LiveFeed


@asynccontextmanager
async def serving(
    api_url: str, *, host: str, port: int, token: str | None, origins: Sequence[str], clock: Clock
) -> AsyncIterator[Running]:
    """Serve until the body ends; port 0 takes a free one. Raises ``BadConfig``.

    The task that follows the live feed is the only one this process starts.
    """
    api = Api(api_url, token)
    feed = LiveFeed(api.live_url, token, clock)
    load_libraries()
    try:
        server = get_server(
            dict(pages(feed, TrendSource(api, clock))),
            port=port,
            address=host,
            title="pumpwatch",
            show=False,
            start=False,
            websocket_ping_interval=PING_S,
        )
    except OSError as error:
        await api.close()
        raise BadConfig(f"--port {port}: {error.strerror or error}; take another port") from error
    doors = Doors(host, int(server.port or port), origins)
    application = server._tornado  # noqa: SLF001 - the port is known only now, and Bokeh has no other door to its application
    application.add_handlers(".*", routes(House(api, feed, doors)))
    application.add_transform(SecurityHeaders)
    application.websocket_origins.clear()
    application.websocket_origins.update(doors.hosts)
    asyncio.get_running_loop().set_exception_handler(_quietly)
    server.start()
    try:
        async with asyncio.TaskGroup() as group:
            follow = group.create_task(feed.run(), name="live feed")
            yield Running(f"http://{host}:{server.port}/", feed)
            follow.cancel()
    finally:
        server.stop()
        await api.close()


def _quietly(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A browser that leaves while Bokeh writes to it is no error, though asyncio says so: Bokeh does not look."""
    if not isinstance(context.get("exception"), WebSocketClosedError | StreamClosedError):
        loop.default_exception_handler(context)
