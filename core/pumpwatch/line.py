"""One shared wire: a TCP connection or a serial port on which devices take turns; floor 3.

The runner takes the line's turn for one device's whole scan, so that a deadline counts from the moment the wire is
free. A driver asks; the line sends, gathers and hands back one reply. After three silent exchanges in a row a TCP
connection is thought dead (a power cut sends no farewell) and is opened again at the next question. Or a driver
listens: from then on nothing is ever sent on that line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING
from weakref import WeakSet

from pumpwatch.errors import BadConfig, NotReachable, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import serial

    from pumpwatch.settings import LineAddress

SILENCES_BEFORE_REOPEN = 3
LONGEST_REPLY = 1 << 16
"""Bytes after which a reply that never completes is given up; no protocol here comes near it."""
MOST_HEARD = 1 << 20
"""Bytes kept for one who listens and does not come for them; overflow policy: the oldest are dropped."""


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


class Wire(asyncio.Protocol):
    """What has come in, and who waits for it; knows nothing of where the bytes come from."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost: str | None = None
        self.ears: WeakSet[WireEar] = WeakSet()
        """Who listens; then there is nobody who asks."""
        self.on_heard: Callable[[bytes], object] = len
        """Called with what they hear."""
        self._waiter: asyncio.Future[bytes] | None = None
        self._complete: Callable[[bytes], int] = len

    def data_received(self, data: bytes) -> None:
        """Gather; when the reply is whole, wake the one who asked."""
        if self.ears:
            for ear in self.ears:
                ear.hear(data)
            self.on_heard(data)
            return
        self.received += data
        if self._waiter is None or self._waiter.done():
            if len(self.received) > LONGEST_REPLY:
                self.received.clear()
            return
        try:
            length = self._complete(bytes(self.received))
        except Exception as error:  # a codec's complaint belongs to the one who asked
            self.received.clear()
            self._waiter.set_exception(error)
            return
        if length:
            reply = bytes(self.received[:length])
            del self.received[:length]
            self._waiter.set_result(reply)
        elif len(self.received) > LONGEST_REPLY:
            self.received.clear()
            self._waiter.set_exception(NotReachable("the peer talks without end; is this the right port?"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the one who waits."""
        self.lost = str(exc) if exc else "the peer closed the connection"
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(NotReachable(self.lost))

    async def reply(self, complete: Callable[[bytes], int]) -> bytes:
        """Wait for one whole reply, which may be there already."""
        if self.received and (length := complete(bytes(self.received))):
            reply = bytes(self.received[:length])
            del self.received[:length]
            return reply
        if self.lost is not None:
            raise NotReachable(self.lost)
        self._complete = complete
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None


class WireLine:
    """A ``contracts.Line`` on a TCP connection or a serial port; opened at the first question, again after a loss."""

    def __init__(self, address: LineAddress) -> None:
        self.address = str(address)
        self._address = address
        self.turn = asyncio.Lock()
        """Held by the runner for one device's scan."""
        self.on_bytes: Callable[[str, bytes], None] | None = None
        """Called with ``">"`` or ``"<"`` and the bytes of each exchange while someone traces the line; ``"="`` and the
        bytes that pass on a line that is listened to."""
        self._listens = False
        self._wire: Wire | None = None
        self._transport: asyncio.Transport | _SerialTransport | None = None
        self._silences = 0

    async def ask(self, request: bytes, complete: Callable[[bytes], int]) -> bytes:
        """Send and gather; see ``contracts.Line``."""
        return (await self._exchange(request, complete, 1))[0]

    async def ask_all(self, requests: Sequence[bytes], complete: Callable[[bytes], int]) -> list[bytes]:
        """Send all and gather all; see ``contracts.Line``."""
        return await self._exchange(b"".join(requests), complete, len(requests))

    async def _exchange(self, request: bytes, complete: Callable[[bytes], int], count: int) -> list[bytes]:
        if self._listens:
            raise Refused(f"{self.address}: somebody listens here, so nothing is sent; give all its devices one mode")
        wire = await self._open()
        if self._transport is None:  # pragma: no cover - _open made it
            raise NotReachable(f"{self.address}: not open")
        wire.received.clear()
        if self.on_bytes:
            self.on_bytes(">", request)
        self._transport.write(request)
        replies: list[bytes] = []
        try:
            while len(replies) < count:
                replies.append(await wire.reply(complete))
        except asyncio.CancelledError:
            self._silences += 1
            if self._silences >= SILENCES_BEFORE_REOPEN:
                self.close()
            raise
        except NotReachable as error:
            self.close()
            raise NotReachable(f"{self.address}: {error}") from error
        self._silences = 0
        if self.on_bytes:
            self.on_bytes("<", b"".join(replies))
        return replies

    @property
    def listens(self) -> bool:
        """Whether somebody listens, so that nothing is sent."""
        return self._listens

    async def listen(self) -> WireEar:
        """Hear everything from now on; see ``contracts.Line``."""
        self._listens = True
        wire = await self._open()
        wire.on_heard = self._traced
        ear = WireEar(wire)
        wire.ears.add(ear)
        return ear

    def _traced(self, data: bytes) -> None:
        if self.on_bytes:
            self.on_bytes("=", data)

    def close(self) -> None:
        """Let go of the wire; the next question opens it again."""
        if self._transport is not None:
            self._transport.abort()
        self._transport = self._wire = None
        self._silences = 0

    async def _open(self) -> Wire:
        if self._wire is not None and self._wire.lost is None:
            return self._wire
        self.close()
        loop, address = asyncio.get_running_loop(), self._address
        try:
            match address.scheme:
                case "tcp":
                    self._transport, self._wire = await loop.create_connection(Wire, address.host, address.port)
                case "serial":
                    self._wire = Wire()
                    self._transport = _SerialTransport(loop, address, self._wire)
                case _:
                    raise Refused(f"{address}: no bytes are exchanged on such a line; give the device another driver")
        except OSError as error:
            raise NotReachable(f"{self.address}: {error.strerror or error}") from error
        return self._wire


class _SerialTransport:
    """The three methods of a transport that a line needs, over pyserial on the loop's own selector (POSIX).

    Port attributes are set once in the constructor: setting them again on a port with parity fails on some systems.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, address: LineAddress, wire: Wire) -> None:
        try:
            import serial  # noqa: PLC0415 - an extra: only who has a serial line needs it
        except ImportError as error:
            raise BadConfig(f"{address}: serial lines need pyserial; run: pip install 'pumpwatch[serial]'") from error
        self._loop = loop
        self._wire = wire
        self._pending = bytearray()
        self._port: serial.Serial = serial.Serial(
            address.device,
            baudrate=address.baud,
            bytesize=address.bytesize,
            parity=address.parity,
            stopbits=address.stopbits,
            timeout=0,
            write_timeout=0,
            exclusive=True,
        )
        self._fd: int = self._port.fileno()
        loop.add_reader(self._fd, self._readable)

    def write(self, data: bytes) -> None:
        """Send, now or as soon as the port takes it."""
        self._pending += data
        self._writable()

    def abort(self) -> None:
        """Close the port."""
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        with contextlib.suppress(OSError):
            self._port.close()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
            return
        if data:
            self._wire.data_received(data)
        else:
            self._lost(None)

    def _writable(self) -> None:
        try:
            sent = os.write(self._fd, self._pending)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lost(error)
            return
        del self._pending[:sent]
        if self._pending:
            self._loop.add_writer(self._fd, self._writable)
        else:
            self._loop.remove_writer(self._fd)

    def _lost(self, error: Exception | None) -> None:
        self.abort()
        self._wire.connection_lost(error)
