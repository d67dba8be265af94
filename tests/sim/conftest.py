"""A clock driven by hand, a small county and a simulator that listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pumpwatch.clock import Clock
from pumpwatch_sim.live.serve import Options, Sim, running

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)


class HandClock(Clock):
    """Time stands still until a test moves it."""

    def __init__(self) -> None:
        self._passed = 0.0
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return START + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return self._passed

    async def sleep(self, seconds: float) -> None:
        until = self._passed + seconds
        while self._passed < until:
            await self._moved.wait()

    def deadline(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)

    async def move(self, seconds: float) -> None:
        """Let time pass and whoever slept do its work."""
        self._passed += seconds
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def sim(tmp_path: Path, clock: HandClock) -> AsyncIterator[Sim]:
    """Three stations with their cheats; the second one's gauge speaks US units."""
    options = Options(out=tmp_path, stations=3, us_gauges=frozenset({"S20"}))
    async with running(options, clock) as sim:
        yield sim


@pytest.fixture
def converse() -> Callable[[int, bytes, int], object]:
    """Send bytes to a port and read so many back (or until the other side ends with -1)."""

    async def talk(port: int, request: bytes, size: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            async with asyncio.timeout(5):
                return await (reader.read() if size < 0 else reader.readexactly(size))
        finally:
            writer.close()
            await writer.wait_closed()

    return talk
