"""A clock that a test turns by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pumpwatch.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_ROUNDS = 50
"""How often the loop is given to others after each wake-up, so that what follows from it has happened."""


class FakeClock(Clock):
    """Time stands still until ``advance``; then sleepers and deadlines fire in order."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed = 0.0
        self._order = itertools.count()
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []

    def now(self) -> datetime:
        """The hand-set time."""
        return self._now

    def monotonic(self) -> float:
        """Seconds turned so far."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until ``advance`` has passed by."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        self._at(seconds, wake)
        await woken

    @asynccontextmanager
    async def deadline(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        """Like ``asyncio.timeout`` but on this clock."""
        async with asyncio.timeout(None) as timeout:
            open_ = True

            def expire() -> None:
                if open_ and not timeout.expired():
                    timeout.reschedule(asyncio.get_running_loop().time())

            self._at(seconds, expire)
            try:
                yield timeout
            finally:
                open_ = False

    async def advance(self, seconds: float) -> None:
        """Turn the hands forward, waking everyone whose time comes, in order."""
        await self._settle()
        until = self._elapsed + seconds
        while self._alarms and self._alarms[0][0] <= until:
            at, _, ring = heapq.heappop(self._alarms)
            self._turn_to(at)
            ring()
            await self._settle()
        self._turn_to(until)
        await self._settle()

    def _turn_to(self, elapsed: float) -> None:
        self._now += timedelta(seconds=elapsed - self._elapsed)
        self._elapsed = elapsed

    def _at(self, seconds: float, ring: Callable[[], None]) -> None:
        heapq.heappush(self._alarms, (self._elapsed + seconds, next(self._order), ring))

    @staticmethod
    async def _settle() -> None:
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
