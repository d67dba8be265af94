"""A line that plays back bytes, so that a driver is tested without a device."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pumpwatch.errors import NotReachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class ScriptedLine:
    """Answers each request with the bytes given for it, in chunks of ``chunk`` bytes; silent when it knows none."""

    def __init__(
        self, replies: Mapping[bytes, bytes] | Callable[[bytes], bytes | None], *, chunk: int = 1 << 16
    ) -> None:
        self._replies = replies
        self._chunk = chunk
        self.asked: list[bytes] = []
        """Every request so far."""
        self.address = "tcp://scripted:1"
        self.ears: list[ScriptedEar] = []
        """Of those who listen."""
        self.broken = False
        """Set it and every question raises ``NotReachable``."""

    async def listen(self) -> ScriptedEar:
        """See ``pumpwatch.Line``."""
        if self.broken:
            raise NotReachable("scripted line: broken by the test")
        self.ears.append(ScriptedEar(self))
        return self.ears[-1]

    def pass_on(self, data: bytes) -> None:
        """Let all who listen hear ``data``."""
        for ear in self.ears:
            ear.waiting += data

    async def ask(self, request: bytes, complete: Callable[[bytes], int]) -> bytes:
        """See ``pumpwatch.Line``."""
        self.asked.append(request)
        if self.broken:
            raise NotReachable("scripted line: broken by the test")
        reply = self._replies(request) if callable(self._replies) else self._replies.get(request)
        if reply is None:
            await asyncio.get_running_loop().create_future()
            raise AssertionError("unreachable")
        received = b""
        for start in range(0, len(reply), self._chunk):
            received += reply[start : start + self._chunk]
            if length := complete(received):
                return received[:length]
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable")


class ScriptedEar:
    """Hears what the test passes on."""

    def __init__(self, line: ScriptedLine) -> None:
        self._line = line
        self.waiting = bytearray()

    def heard(self) -> bytes:
        """See ``pumpwatch.Ear``."""
        if self._line.broken:
            raise NotReachable("scripted line: broken by the test")
        passed = bytes(self.waiting)
        self.waiting.clear()
        return passed
