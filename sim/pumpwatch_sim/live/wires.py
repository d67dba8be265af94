"""The wires themselves: TCP ports on loopback and pseudo-terminals, and the bytes that pass them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import termios
import tty
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

LOOPBACK = "127.0.0.1"
_MOST_WAITING = 1 << 16
"""Bytes a pseudo-terminal may owe a peer that does not read; what comes on top is lost, as on a serial line."""


_MOST_UNSENT = 1 << 18
"""Bytes a connection may owe a peer that does not read. Above the mark at which asyncio pauses reading, so whoever asks
and reads loses nothing."""


class Connection(asyncio.Protocol):
    """One accepted connection; reads pause while the peer does not take its replies, so nothing piles up.

    What is sent unasked is bounded as well; overflow policy: the newest is dropped.
    """

    def __init__(self, port: Port) -> None:
        """``port`` accepted it and keeps it until it is gone."""
        self._port = port
        self._transport: asyncio.Transport | None = None
        self.gone = asyncio.Event()
        """Set when the connection has ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the port, which ends the connection if it has been closed in between."""
        self._transport = cast("asyncio.Transport", transport)
        self._port.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the port."""
        self._transport = None
        self._port.left(self)
        self.gone.set()

    def pause_writing(self) -> None:
        """The peer is slow: read no more of it for now."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        if self._transport is not None:
            self._transport.resume_reading()

    def send(self, data: bytes) -> None:
        """Write, unless the connection is gone or its peer is too far behind."""
        if data and self._transport is not None and self._transport.get_write_buffer_size() < _MOST_UNSENT:
            self._transport.write(data)

    def hang_up(self) -> None:
        """End it after what is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()


class Wire(ABC):
    """Something others can open; while it is closed its address stays its own."""

    @property
    @abstractmethod
    def listening(self) -> bool:
        """Whether it answers."""

    @abstractmethod
    async def open(self) -> None:
        """Answer; nothing happens when it already does. Raises ``OSError`` when the address has been lost."""

    @abstractmethod
    async def close(self, hold: bool = True) -> None:
        """Answer no more and cut everybody off; with ``hold`` keep the address for later."""


class Port(Wire):
    """One TCP port on loopback that can be closed and opened again under the same number.

    While closed it is still held (bound, not listening): connecting is refused and nobody else gets the number.
    """

    def __init__(self, accept: Callable[[Port], Connection]) -> None:
        """Take a port from the system; ``accept`` makes the protocol of a new connection."""
        self._accept = accept
        self._opened: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = _bound(0)
        self.number: int = self._held.getsockname()[1]

    @property
    def listening(self) -> bool:
        """Whether it accepts."""
        return self._server is not None

    @property
    def opened(self) -> frozenset[Connection]:
        """Who is connected now."""
        return frozenset(self._opened)

    async def open(self) -> None:
        """Listen."""
        if self._server is None:
            held, self._held = self._held or _bound(self.number), None
            self._server = await asyncio.get_running_loop().create_server(lambda: self._accept(self), sock=held)

    async def close(self, hold: bool = True) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
            if hold:
                self._held = _bound(self.number)
        for connection in tuple(self._opened):
            connection.abort()
            await connection.gone.wait()
        if not hold and self._held is not None:
            self._held.close()
            self._held = None

    def joined(self, connection: Connection) -> None:
        """A connection is there."""
        self._opened.add(connection)
        if not self.listening:
            connection.abort()

    def left(self, connection: Connection) -> None:
        """A connection has ended."""
        self._opened.discard(connection)


class Pty(Wire):
    """A pseudo-terminal standing for a serial port; speed and parity are whatever the peer sets.

    The simulator keeps both ends: the far one stays raw whoever comes and goes, and tells whether somebody reads.
    """

    def __init__(self) -> None:
        """Raises ``OSError`` when the system has no more of them."""
        self.received: Callable[[bytes], None] = _nobody
        """Takes what the peer writes."""
        self._near, self._far = os.openpty()
        tty.setraw(self._near)
        tty.setraw(self._far)
        os.set_blocking(self._near, False)
        self.path = os.ttyname(self._far)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = bytearray()

    @property
    def listening(self) -> bool:
        """Whether it is read."""
        return self._loop is not None

    @property
    def unread(self) -> int:
        """Bytes no peer has taken yet."""
        answer = fcntl.ioctl(self._far, termios.FIONREAD, bytes(4))
        return int(struct.unpack("i", answer)[0]) + len(self._waiting)

    async def open(self) -> None:
        """Read what peers write."""
        if self._loop is None:
            termios.tcflush(self._near, termios.TCIOFLUSH)
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._near, self._readable)

    async def close(self, hold: bool = True) -> None:
        """Fall silent; a peer on a serial port is not told."""
        if self._loop is not None:
            self._loop.remove_reader(self._near)
            self._loop.remove_writer(self._near)
            self._loop = None
        self._waiting.clear()
        if not hold and self._near >= 0:
            os.close(self._near)
            os.close(self._far)
            self._near = self._far = -1

    def hang_up(self) -> None:
        """A serial port cannot hang up; what waits is lost."""
        self._waiting.clear()

    def forget(self) -> None:
        """Throw away what nobody has read."""
        self._waiting.clear()
        termios.tcflush(self._far, termios.TCIFLUSH)

    def send(self, data: bytes) -> None:
        """Write, now or as soon as the peer takes it."""
        if self._loop is not None and len(self._waiting) + len(data) <= _MOST_WAITING:
            self._waiting += data
            self._writable()

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.received(os.read(self._near, 65_536))

    def _writable(self) -> None:
        if self._loop is None:
            return
        with contextlib.suppress(BlockingIOError):
            sent = os.write(self._near, self._waiting) if self._waiting else 0
            del self._waiting[:sent]
        if self._waiting:
            self._loop.add_writer(self._near, self._writable)
        else:
            self._loop.remove_writer(self._near)


def _bound(number: int) -> socket.socket:
    """A socket bound on loopback, not listening yet."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setblocking(False)
        held.bind((LOOPBACK, number))
    except OSError:
        held.close()
        raise
    return held


def _nobody(data: bytes) -> None:
    """Nobody listens to it yet."""
