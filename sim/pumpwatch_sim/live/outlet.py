"""Where the world meets the network: listening ports of the stations and the bytes that pass them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from pumpwatch_sim.wire import modbus, tls350

LOOPBACK = "127.0.0.1"
COMMAND_GAP_S = 0.2
"""A gauge command that pauses so long is taken as ended."""


class Connection(asyncio.Protocol):
    """One accepted connection; reads pause while the peer does not take its replies, so nothing piles up."""

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
        """Write, unless the connection is gone."""
        if data and self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """End it after what is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()


class ModbusConnection(Connection):
    """A Modbus TCP master talking to the dispensers of a station."""

    def __init__(self, port: Port, units: Mapping[int, modbus.Registers]) -> None:
        super().__init__(port)
        self._units = units
        self._framer = modbus.RequestFramer()

    def data_received(self, data: bytes) -> None:
        """Answer each request in its turn; garbage ends the connection."""
        try:
            requests = self._framer.feed(data)
        except modbus.GarbageError:
            self.close()
            return
        self.send(b"".join(modbus.answer(request, self._units) for request in requests))


class GaugeConnection(Connection):
    """A host talking to the tank gauge of a station."""

    def __init__(self, port: Port, console: tls350.Console) -> None:
        super().__init__(port)
        self._console = console
        self._framer = tls350.CommandFramer()
        self._gap: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Answer each command; one that does not say its end has ended when nothing follows for a moment."""
        self._forget_gap()
        self._answer(self._framer.feed(data))
        if self._framer.pending:
            loop = asyncio.get_running_loop()
            self._gap = loop.call_later(COMMAND_GAP_S, lambda: self._answer(self._framer.idle()))

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for no further byte."""
        self._forget_gap()
        super().connection_lost(exc)

    def _answer(self, commands: list[str]) -> None:
        self.send(b"".join(tls350.answer(command, self._console) for command in commands))

    def _forget_gap(self) -> None:
        if self._gap is not None:
            self._gap.cancel()
            self._gap = None


class Port:
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

    async def open(self) -> None:
        """Listen; nothing happens when it already does. Raises ``OSError`` when the number has been lost to another."""
        if self._server is None:
            held, self._held = self._held or _bound(self.number), None
            self._server = await asyncio.get_running_loop().create_server(lambda: self._accept(self), sock=held)

    async def close(self, hold: bool = True) -> None:
        """Stop listening and cut every connection; with ``hold`` keep the number for later."""
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


@dataclass(slots=True)
class Outlet:
    """The two ports of a station: dispensers (Modbus TCP, one unit each) and tank gauge (TLS-350)."""

    units: Mapping[int, modbus.Registers]
    console: tls350.Console
    modbus: Port = field(init=False)
    gauge: Port = field(init=False)

    def __post_init__(self) -> None:
        self.modbus = Port(lambda port: ModbusConnection(port, self.units))
        self.gauge = Port(lambda port: GaugeConnection(port, self.console))

    @property
    def listening(self) -> bool:
        """Whether the station can be reached."""
        return self.modbus.listening and self.gauge.listening

    async def open(self) -> None:
        """Make the station reachable."""
        await self.modbus.open()
        await self.gauge.open()

    async def close(self, hold: bool = True) -> None:
        """Take the station off the network; with ``hold`` its port numbers stay its own."""
        await self.modbus.close(hold)
        await self.gauge.close(hold)


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
