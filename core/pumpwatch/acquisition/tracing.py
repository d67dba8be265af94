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
        line = self._driver.line
        if isinstance(line, WireLine) and line.listens:
            line.on_bytes = self._see
        try:
            yield queue
        finally:
            self._lookers.discard(queue)
            if isinstance(line, WireLine) and line.listens and not self._lookers:
                line.on_bytes = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While the device has its turn on the line, what passes is its own."""
        line = self._driver.line
        if not self._lookers or not isinstance(line, WireLine) or line.listens:
            yield
            return
        before, line.on_bytes = line.on_bytes, self._see
        try:
            yield
        finally:
            line.on_bytes = before

    def _see(self, way: str, data: bytes) -> None:
        try:
            meaning = self._driver.explain(way, data)
        except Exception as error:  # a driver's bug must not stop its own reading
            meaning = f"cannot be explained: {error!r}"
        seen = Seen(self._clock.now(), way, data, meaning)
        for queue in self._lookers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(seen)
