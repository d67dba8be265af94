"""A serial port of this machine as a transport."""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig

if TYPE_CHECKING:
    import asyncio

    import serial

    from pumpwatch.line.wire import Wire
    from pumpwatch.settings import LineAddress


class SerialTransport:
    """A ``Transport`` over pyserial on the loop's own selector (POSIX).

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
        elif self._is_hung_up():  # else it was called for nothing: a port without bytes reads as empty, VMIN being 0
            self._lost(None)

    def _is_hung_up(self) -> bool:
        asked = select.poll()
        asked.register(self._fd, 0)  # hang-ups are told unasked
        return bool(asked.poll(0))

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
