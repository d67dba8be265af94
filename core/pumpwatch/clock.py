"""The only door to time: nothing else reads the clock, so tests can drive it; floor 1."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime


class Clock(ABC):
    """Wall time, a monotonic counter, sleep and deadline."""

    @abstractmethod
    def now(self) -> datetime:
        """Aware UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait, giving others the loop; zero or less only yields."""

    @abstractmethod
    def deadline(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Cancel the body and raise ``TimeoutError`` when ``seconds`` have passed."""


class SystemClock(Clock):
    """The machine's clock."""

    def now(self) -> datetime:
        """Aware UTC from the machine."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The machine's monotonic counter, seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running loop."""
        await asyncio.sleep(max(0.0, seconds))

    def deadline(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """``asyncio.timeout``."""
        return asyncio.timeout(seconds)
