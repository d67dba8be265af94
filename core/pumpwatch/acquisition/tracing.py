"""The bytes of one device, for those who look on; floor 4."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pumpwatch.line import WireLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pumpwatch.clock import Clock
    from pumpwatch.contracts import Driver

MOST_WAITING = 1000
"""Pieces kept for one who looks on; overflow policy: the oldest is dropped."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Bytes that passed."""

    at: datetime
    way: str
    """``>`` to the device, ``<`` from it, ``=`` on a line that is listened to."""
    data: bytes
    meaning: str
    """As the driver explains them."""


class _Crowd(set["Tracing"]):
    """The devices of one line that is listened to at which somebody looks on; what passes is shown to each."""

    def __call__(self, way: str, data: bytes) -> None:
        for tracing in tuple(self):
            tracing.see(way, data)


class Tracing:
    """Who looks on at one device. While nobody does, it costs nothing."""

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self._driver = driver
        self._clock = clock
        self._lookers: set[asyncio.Queue[Seen]] = set()

    @contextmanager
    def looking_on(self) -> Iterator[asyncio.Queue[Seen]]:
        """What passes from now on."""
        queue: asyncio.Queue[Seen] = asyncio.Queue(MOST_WAITING)
        self._lookers.add(queue)
        self._follow()
        try:
            yield queue
        finally:
            self._lookers.discard(queue)
            self._follow()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While the device has its turn on the line, what passes is its own."""
        line = self._driver.line
        if not self._lookers or not isinstance(line, WireLine) or line.listens:
            yield
            return
        before, line.on_bytes = line.on_bytes, self.see
        try:
            yield
        finally:
            line.on_bytes = before
            self._follow()

    def _follow(self) -> None:
        """On a line that is listened to, and be it since this turn, what passes at any time is the device's."""
        line = self._driver.line
        if not isinstance(line, WireLine) or not line.listens:
            return
        crowd = line.on_bytes if isinstance(line.on_bytes, _Crowd) else _Crowd()
        (crowd.add if self._lookers else crowd.discard)(self)
        line.on_bytes = crowd or None

    def see(self, way: str, data: bytes) -> None:
        """Show these bytes to everybody who looks on."""
        try:
            meaning = self._driver.explain(way, data)
        except Exception as error:  # a driver's bug must not stop its own reading
            meaning = f"cannot be explained: {error!r}"
        seen = Seen(self._clock.now(), way, data, meaning)
        for queue in self._lookers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(seen)
