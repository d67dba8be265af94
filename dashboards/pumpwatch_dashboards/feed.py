"""One connection to the API's live feed and its bounded fan-out to every browser, messages unchanged."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

import websockets

from pumpwatch.clock import Clock

log = logging.getLogger(__name__)

LARGEST_MESSAGE = 16 * 1024 * 1024
"""Bytes; a frame of 10,000 nozzles is 0.2 MB, a list of 1,000 alarms about 3 MB."""
SILENCE_S = 15.0
"""The API sends a frame a second; this long without one and the connection is given up."""
BACKOFF_MAX_S = 10.0


class Kind(StrEnum):
    """Kinds of message, in the order a browser must receive them."""

    LAYOUT = "layout"
    ALARMS = "alarms"
    FEED = "feed"
    FRAME = "frame"


class Outlet:
    """One browser's end of the feed; a slow reader loses old frames.

    One message is under way and the newest of each kind waits: nothing else is kept.
    """

    def __init__(self, write: Callable[[str | bytes], Awaitable[None]]) -> None:
        """``write`` sends one message and is done when it has left for the network."""
        self._write = write
        self._waiting: dict[Kind, str | bytes] = {}
        self._busy: asyncio.Future[None] | None = None
        self.dropped = 0
        """Messages that a newer one of their kind replaced before they were sent."""

    @property
    def waiting(self) -> int:
        """Messages not yet handed to the network, at most one a kind."""
        return len(self._waiting)

    def offer(self, kind: Kind, message: str | bytes) -> None:
        """Send ``message`` now, or as soon as the one under way is gone."""
        if kind in self._waiting:
            self.dropped += 1
        self._waiting[kind] = message
        if self._busy is None:
            self._next()

    def close(self) -> None:
        """Forget what is waiting; the browser has gone."""
        self._waiting.clear()

    def _next(self) -> None:
        kind = next((kind for kind in Kind if kind in self._waiting), None)
        if kind is None:
            return
        self._busy = asyncio.ensure_future(self._write(self._waiting.pop(kind)))
        self._busy.add_done_callback(self._sent)

    def _sent(self, done: asyncio.Future[None]) -> None:
        self._busy = None
        if done.cancelled() or done.exception() is not None:
            self._waiting.clear()  # the socket is closed; its handler takes the outlet away
        else:
            self._next()


class LiveFeed:
    """Keeps the newest layout, alarms and frame of the API and hands each message to all outlets as it comes."""

    def __init__(self, url: str, token: str | None, clock: Clock) -> None:
        """``url`` is the API's WebSocket, ``ws://…/api/v1/live``; the token stays here."""
        self.url = url
        self.layout: Mapping[str, object] = {}
        """The newest layout, parsed; empty before the first."""
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._clock = clock
        self._name = secrets.token_hex(4)
        self._newest: dict[Kind, str | bytes] = {}
        self._outlets: set[Outlet] = set()
        self._connected: bool | None = None
        self._since = clock.monotonic()

    @property
    def outlets(self) -> int:
        """Browsers listening."""
        return len(self._outlets)

    def add(self, outlet: Outlet) -> None:
        """A browser has come: give it the newest of everything."""
        self._outlets.add(outlet)
        for kind in Kind:
            message = self._state() if kind is Kind.FEED else self._newest.get(kind)
            if message is not None:
                outlet.offer(kind, message)

    def remove(self, outlet: Outlet) -> None:
        """A browser has gone."""
        self._outlets.discard(outlet)
        outlet.close()

    async def run(self) -> None:
        """Stay connected until cancelled; waits 1 s after a loss, then twice as long each time up to 10 s."""
        backoff = 1.0
        while True:
            try:
                async with websockets.connect(
                    self.url, additional_headers=self._headers, max_size=LARGEST_MESSAGE, max_queue=4, open_timeout=5
                ) as socket:
                    self._say(connected=True, reason="")
                    backoff = 1.0
                    while True:
                        async with self._clock.deadline(SILENCE_S):
                            message = await socket.recv()
                        self._arrived(message)
            except (OSError, TimeoutError, websockets.WebSocketException) as error:
                self._say(connected=False, reason=str(error) or type(error).__name__)
            await self._clock.sleep(backoff)
            backoff = min(BACKOFF_MAX_S, 2 * backoff)

    def _arrived(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            kind = Kind.FRAME
        else:
            try:
                facts = json.loads(message)
                kind = Kind(facts["type"])
            except (ValueError, KeyError, TypeError):
                return  # a newer server may say more than we know
            if kind is Kind.LAYOUT:
                self.layout = facts
                self._newest.pop(Kind.FRAME, None)  # a frame is laid out by the layout before it
        self._newest[kind] = message
        for outlet in self._outlets:
            outlet.offer(kind, message)

    def _say(self, *, connected: bool, reason: str) -> None:
        """Tell log and browsers when the state of the connection changes, once."""
        if connected is self._connected:
            return
        self._connected = connected
        self._since = self._clock.monotonic()
        if connected:
            log.info("live feed connected: %s", self.url)
        else:
            log.warning("live feed lost: %s (%s); trying again", self.url, reason)
        for outlet in self._outlets:
            outlet.offer(Kind.FEED, self._state())

    def _state(self) -> str:
        """Whether the feed is connected, for how long, and which process says so (a page of another one reloads)."""
        age = self._clock.monotonic() - self._since
        facts = {"type": Kind.FEED, "connected": bool(self._connected), "for_s": round(age, 1), "server": self._name}
        return json.dumps(facts)
