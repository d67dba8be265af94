"""A line of a station: devices on a TCP port or on a pseudo-terminal, polled by others or only listened to."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from pumpwatch.errors import BadConfig
from pumpwatch_sim.live.buses import KINDS, Bus, HangUpError, Kind, Role
from pumpwatch_sim.live.faults import Faults, Spoiler
from pumpwatch_sim.live.views import LineOffer
from pumpwatch_sim.live.wires import LOOPBACK, Connection, Port, Pty, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pumpwatch_sim.fleet import LineEntry
    from pumpwatch_sim.live.moment import Moment
    from pumpwatch_sim.live.player import StationPlayer
    from pumpwatch_sim.live.views import Pump

TURN_S = 0.1
"""On a line that is listened to, the station's controller asks so often."""
NOBODY_S = 1.0
"""So often it looks whether somebody listens."""


class Peer(Protocol):
    """Who is at the other end."""

    def send(self, data: bytes) -> None:
        """Bytes to it."""

    def hang_up(self) -> None:
        """End the connection, where there is one."""


class Line(Wire):
    """One wire of a station with what hangs on it."""

    def __init__(self, station: StationPlayer, entry: LineEntry) -> None:
        self.station = station
        self.protocol: str = entry.protocol
        self.mode: str = entry.mode
        self.units: str = entry.units

    @property
    @abstractmethod
    def offer(self) -> LineOffer:
        """How it can be reached."""


class _Talk:
    """One peer's conversation with the devices of a line."""

    def __init__(self, line: BusLine, peer: Peer) -> None:
        self._line = line
        self._peer = peer
        self._pump = line.bus.talk()
        self._gap: asyncio.TimerHandle | None = None

    def hear(self, data: bytes) -> None:
        """Answer what the peer says."""
        self.end()
        now_us = self._line.moment.tick()
        if self._line.mode == "tap" or self._line.spoiler.deaf(now_us):
            return
        try:
            reply = self._pump.receive(data)
        except HangUpError:
            self._peer.hang_up()
            return
        self._line.reply(self._peer, reply, now_us)
        gap_s = self._line.kind.gap_s
        if gap_s is not None:
            self._gap = asyncio.get_running_loop().call_later(gap_s, self._pause)

    def end(self) -> None:
        """Wait for no pause."""
        if self._gap is not None:
            self._gap.cancel()
            self._gap = None

    def forget(self) -> None:
        """The peer is gone: what it began to say is not to spoil what the next one says."""
        if self._gap is not None:
            self.end()
            self._pump.pause()

    def _pause(self) -> None:
        self._gap = None
        now_us = self._line.moment.tick()
        self._line.reply(self._peer, self._pump.pause(), now_us)


class _LineConnection(Connection):
    """A peer on a TCP port."""

    def __init__(self, port: Port, line: BusLine) -> None:
        super().__init__(port)
        self._talk = _Talk(line, self)

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self._talk.hear(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for no further byte."""
        self._talk.forget()
        super().connection_lost(exc)


class BusLine(Line):
    """Devices that speak bytes."""

    def __init__(
        self, station: StationPlayer, entry: LineEntry, kind: Kind, bus: Bus, spoiler: Spoiler, moment: Moment
    ) -> None:
        """Takes its port or terminal. Raises ``BadConfig`` when it cannot only be listened to, ``OSError``."""
        super().__init__(station, entry)
        if entry.mode == "tap" and bus.controller is None:
            raise BadConfig(f'[[line]] {entry.protocol}: mode = "tap" is for dart, twowire and lanfeng; use "poll"')
        self.kind = kind
        self.bus = bus
        self.spoiler = spoiler
        self.moment = moment
        self._turns: asyncio.TimerHandle | None = None
        self._tapped: Pump = bus.talk()
        self.wire: Port | Pty
        if entry.wire == "pty":
            self.wire = pty = Pty()
            pty.received = _Talk(self, pty).hear
        else:
            self.wire = Port(lambda port: _LineConnection(port, self))

    @property
    def offer(self) -> LineOffer:
        """A TCP address, or a serial port with its settings."""
        if isinstance(self.wire, Pty):
            address = f"serial:{self.wire.path}?{self.kind.serial}"
        else:
            address = f"tcp://{LOOPBACK}:{self.wire.number}"
        return LineOffer(self.protocol, address, self.mode, dict(self.bus.devices))

    @property
    def listening(self) -> bool:
        """Whether it answers."""
        return self.wire.listening

    async def open(self) -> None:
        """Answer; on a line that is listened to, the controller begins its round."""
        await self.wire.open()
        if self.mode == "tap" and self._turns is None:
            self._turn()

    async def close(self, hold: bool = True) -> None:
        """Fall silent."""
        if self._turns is not None:
            self._turns.cancel()
            self._turns = None
        await self.wire.close(hold)

    def reply(self, peer: Peer, data: bytes, now_us: int) -> bytes:
        """Send the devices' answer with what the faults make of it; returns what the peer gets."""
        if not data:
            return b""
        spoilt = self.spoiler.reply(data, now_us)
        if spoilt.hang_up:
            peer.hang_up()
        elif spoilt.delay_s > 0.0:
            asyncio.get_running_loop().call_later(spoilt.delay_s, peer.send, spoilt.data)
        else:
            peer.send(spoilt.data)
        return spoilt.data

    # ------------------------------------------------------------ listened to

    def _turn(self) -> None:
        """One question of the station's controller and its answer, while somebody listens."""
        peers = self._listeners()
        if peers:
            self._ask(peers)
        loop = asyncio.get_running_loop()
        self._turns = loop.call_later(TURN_S if peers else NOBODY_S, self._turn)

    def _listeners(self) -> Sequence[Peer]:
        if isinstance(self.wire, Pty):
            # Whoever reads has read by now; what nobody took is old news for the next who comes.
            if self.wire.unread:
                self.wire.forget()
                return ()
            return (self.wire,)
        return tuple(self.wire.opened)

    def _ask(self, peers: Sequence[Peer]) -> None:
        now_us = self.moment.tick()
        if self.bus.controller is None or self.spoiler.deaf(now_us):
            return
        request = self.bus.controller.turn()
        if not request:
            return
        for peer in peers:
            peer.send(request)
        answer = self._tapped.receive(request)
        heard = [self.reply(peer, answer, now_us) for peer in peers]
        if answer:
            self.bus.controller.receive(heard[0])


class OpcuaLine(Line):
    """An OPC UA server of the station; faults of single replies do not reach it."""

    def __init__(self, station: StationPlayer, entry: LineEntry) -> None:
        super().__init__(station, entry)
        if entry.mode == "tap" or entry.wire == "pty":
            raise BadConfig("[[line]] opcua: it is polled over TCP; leave out mode and wire")
        self._stack: AsyncExitStack | None = None
        self._address = ""

    @property
    def offer(self) -> LineOffer:
        """Its address is known once it has been opened."""
        devices = {dispenser.dispenser_id: dispenser.unit for dispenser in self.station.dispensers}
        return LineOffer(self.protocol, self._address, self.mode, devices)

    @property
    def listening(self) -> bool:
        """Whether the server runs."""
        return self._stack is not None

    async def open(self) -> None:
        """Start the server, again under the same port."""
        from pumpwatch_sim.wire.opcua import serving  # noqa: PLC0415 - asyncua is slow to load and seldom wanted

        if self._stack is None:
            port = int(self._address.rsplit(":", 1)[1].split("/", 1)[0]) if self._address else 0
            async with AsyncExitStack() as stack:
                self._address = await stack.enter_async_context(serving(self.station, port))
                self._stack = stack.pop_all()

    async def close(self, hold: bool = True) -> None:
        """Stop the server."""
        if self._stack is not None:
            stack, self._stack = self._stack, None
            await stack.aclose()


def entries_of(station_id: str, entries: Sequence[LineEntry], default: Sequence[LineEntry]) -> list[LineEntry]:
    """The lines of a station: for each role those that name it, else those that name none, else the default."""
    chosen: list[LineEntry] = []
    for role in Role:
        mine = [entry for entry in entries if role_of(entry) is role]
        named = [entry for entry in mine if station_id in entry.stations]
        unnamed = [entry for entry in mine if not entry.stations]
        chosen += named or unnamed or [entry for entry in default if role_of(entry) is role]
    return chosen


def role_of(entry: LineEntry) -> Role:
    """What a line is for."""
    return Role.PUMPS if entry.protocol == "opcua" else KINDS[entry.protocol].role


def lines_of(
    station: StationPlayer, entries: Sequence[LineEntry], faults: Faults, seed: int, moment: Moment
) -> Iterator[Line]:
    """Make a station's lines; each has its address when it comes. Raises ``BadConfig``, ``OSError``."""
    for entry in entries:
        if entry.protocol == "opcua":
            yield OpcuaLine(station, entry)
            continue
        kind = KINDS[entry.protocol]
        for bus in kind.build(station, entry):
            spoiler = Spoiler(faults, station.station_id, entry.protocol, kind.frame, seed)
            yield BusLine(station, entry, kind, bus, spoiler, moment)
