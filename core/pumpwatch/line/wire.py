"""What has come in on a wire, and who waits for it; knows nothing of where the bytes come from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from pumpwatch.errors import NotReachable

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_REPLY = 1 << 16
"""Bytes after which a reply that never completes is given up; no protocol here comes near it."""
MOST_HEARD = 1 << 20
"""Bytes kept for one who listens and does not come for them; overflow policy: the oldest are dropped."""
AT_ONCE = 1 << 14
"""Bytes taken from the system at one time."""


class Transport(Protocol):
    """The two methods of an ``asyncio.Transport`` that a line needs."""

    def write(self, data: bytes) -> None:
        """Send, now or as soon as it can be."""

    def abort(self) -> None:
        """Close at once."""


class WireEar:
    """A ``contracts.Ear``: what has passed since its owner last asked."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._bytes = bytearray()

    def hear(self, data: bytes) -> None:
        """Take what passes."""
        self._bytes += data
        if len(self._bytes) > MOST_HEARD:
            del self._bytes[:-MOST_HEARD]

    def heard(self) -> bytes:
        """See ``contracts.Ear``."""
        if not self._bytes and self._wire.lost is not None:
            raise NotReachable(self._wire.lost)
        passed = bytes(self._bytes)
        self._bytes.clear()
        return passed


class Wire(asyncio.BufferedProtocol, asyncio.Protocol):
    """Gathers what comes in, for the one who asks or those who listen.

    asyncio fills its buffer: a protocol of bytes costs a fresh one of 256 KiB for each reply, several times the rest of
    it. uvloop has one for all connections and hands over bytes, which is cheaper than to ask for a buffer.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.received = b""
        self.lost: str | None = None
        self._ears: WeakSet[WireEar] = WeakSet()
        self._is_heard = False
        self.on_heard: Callable[[bytes], object] = len
        """Called with what they hear."""
        self._buffer = memoryview(bytearray(AT_ONCE))
        self._waiter: asyncio.Future[bytes] | None = None
        self._complete: Callable[[bytes], int] = len

    def ear(self) -> WireEar:
        """Another one who listens; from now on there is nobody who asks."""
        self._is_heard = True
        ear = WireEar(self)
        self._ears.add(ear)
        return ear

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts what comes next."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So much has come."""
        self.data_received(self._buffer[:nbytes].tobytes())

    def data_received(self, data: bytes) -> None:
        """Gather; when the reply is whole, wake the one who asked."""
        if self._is_heard:
            for ear in self._ears:
                ear.hear(data)
            self.on_heard(data)
            return
        received = self.received = self.received + data if self.received else data
        waiter = self._waiter
        if waiter is None or waiter.done():
            if len(received) > LONGEST_REPLY:
                self.received = b""
            return
        try:
            length = self._complete(received)
        except Exception as error:  # a codec's complaint belongs to the one who asked
            self.received = b""
            waiter.set_exception(error)
            return
        if length == len(received):
            self.received = b""
            waiter.set_result(received)
        elif length:
            self.received = received[length:]
            waiter.set_result(received[:length])
        elif len(received) > LONGEST_REPLY:
            self.received = b""
            waiter.set_exception(NotReachable("the peer talks without end; is this the right port?"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the one who waits."""
        self.lost = str(exc) if exc else "the peer closed the connection"
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(NotReachable(self.lost))

    def expect(self, complete: Callable[[bytes], int]) -> asyncio.Future[bytes]:
        """The next whole reply, from what comes after this call; await it at once."""
        self.received = b""
        self._complete = complete
        self._waiter = waiter = self._loop.create_future()
        if self.lost is not None:
            waiter.set_exception(NotReachable(self.lost))
        return waiter
