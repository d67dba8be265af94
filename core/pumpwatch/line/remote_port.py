"""A serial port behind a server that speaks RFC 2217, the Telnet option that sets speed and parity from afar.

pyserial's client of it blocks and runs a thread a port; here the protocol itself (``ComPort``, sans-I/O) sits between
the loop's connection and the wire. The port is set before the first question, and what the server sets it to is
believed only when it says so.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from pumpwatch.errors import NotReachable, Refused

if TYPE_CHECKING:
    from pumpwatch.line.wire import Wire
    from pumpwatch.settings import LineAddress

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
"""Commands of RFC 854."""
BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44
"""Options of RFC 856, RFC 858 and RFC 2217."""
SET_BAUD, SET_BITS, SET_PARITY, SET_STOP, SET_CONTROL, PURGE = 1, 2, 3, 4, 5, 12
ANSWER: Final = 100
"""What a server adds to the number of a command in its answer."""
_PARITY: Final = {"N": 1, "O": 2, "E": 3, "M": 4, "S": 5}
_STOP: Final = {1.0: 1, 2.0: 2, 1.5: 3}
_NO_FLOW_CONTROL = 1
_PURGE_BOTH = 3
_LONGEST_OPTION = 256
"""Bytes of a subnegotiation kept; the answers that matter have six."""
_OURS: Final = frozenset({(WILL, BINARY), (WILL, SUPPRESS_GO_AHEAD), (WILL, COM_PORT)})
_THEIRS: Final = frozenset({(DO, BINARY), (DO, SUPPRESS_GO_AHEAD)})


class ComPort:
    """The client's side of RFC 2217; sans-I/O."""

    def __init__(self, baud: int, bytesize: int, parity: str, stopbits: float) -> None:
        self._wanted = {
            SET_BAUD: baud.to_bytes(4, "big"),
            SET_BITS: bytes([bytesize]),
            SET_PARITY: bytes([_PARITY[parity]]),
            SET_STOP: bytes([_STOP[stopbits]]),
        }
        self._unconfirmed = set(self._wanted)
        self._said = set(_OURS | _THEIRS)
        self._state = 0
        """0, or the command that has begun: IAC, one of the four about options, SB; SE for an IAC within SB."""
        self._option = bytearray()
        self.trouble = ""
        """Why this server is of no use, in words; empty while it is."""

    @property
    def is_set(self) -> bool:
        """Whether the server has confirmed speed, bits, parity and stop bits."""
        return not self._unconfirmed

    def opening(self) -> bytes:
        """What is sent first."""
        offers = b"".join(bytes([IAC, *said]) for said in sorted(_OURS | _THEIRS))
        settings = {**self._wanted, SET_CONTROL: bytes([_NO_FLOW_CONTROL]), PURGE: bytes([_PURGE_BOTH])}
        return offers + b"".join(
            bytes([IAC, SB, COM_PORT, command]) + self.escaped(value) + bytes([IAC, SE])
            for command, value in settings.items()
        )

    @staticmethod
    def escaped(data: bytes) -> bytes:
        """Bytes for the port, as they are sent."""
        return data.replace(b"\xff", b"\xff\xff")

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What has come → the port's bytes in it, and what is to be answered; cut anywhere."""
        if self._state == 0 and IAC not in data:
            return data, b""
        passed, answer = bytearray(), bytearray()
        for byte in data:
            match self._state:
                case 0 if byte == IAC:
                    self._state = IAC
                case 0:
                    passed.append(byte)
                case state if state == IAC:
                    self._state = byte if byte in {WILL, WONT, DO, DONT, SB} else 0
                    if byte == IAC:
                        passed.append(byte)
                case state if state == SB and byte == IAC:
                    self._state = SE
                case state if state == SE and byte != IAC:
                    self._subnegotiated(bytes(self._option))
                    self._option.clear()
                    self._state = 0
                case state if state in {SB, SE}:
                    self._state = SB
                    if len(self._option) < _LONGEST_OPTION:
                        self._option.append(byte)
                case state:
                    answer += self._negotiated(state, byte)
                    self._state = 0
        return bytes(passed), bytes(answer)

    def _negotiated(self, command: int, option: int) -> bytes:
        """What to say to an offer or demand; each thing once, so that no two talk for ever."""
        if option == COM_PORT and command in {DONT, WONT}:
            self.trouble = "the server does not speak RFC 2217 on this port"
            return b""
        if command not in {WILL, DO}:
            return b""
        known = option in {BINARY, SUPPRESS_GO_AHEAD, COM_PORT}
        reply = ((DO if known else DONT) if command == WILL else (WILL if known else WONT), option)
        if reply in self._said:
            return b""
        self._said.add(reply)
        return bytes([IAC, *reply])

    def _subnegotiated(self, option: bytes) -> None:
        if len(option) < 3 or option[0] != COM_PORT:
            return
        command = option[1] - ANSWER
        wanted = self._wanted.get(command)
        if wanted is None:
            return
        if option[2:].startswith(wanted):
            self._unconfirmed.discard(command)
        else:
            what = {SET_BAUD: "baud", SET_BITS: "bytesize", SET_PARITY: "parity", SET_STOP: "stopbits"}[command]
            self.trouble = f"the server does not set its port to this {what}; it says {option[2:6].hex()}"


class RemotePort(asyncio.Protocol):
    """A ``Transport``: between the connection to the server and the wire."""

    def __init__(self, address: LineAddress, wire: Wire) -> None:
        self._wire = wire
        self._com_port = ComPort(address.baud, address.bytesize, address.parity, address.stopbits)
        self._transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the port is set."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what the port is to be."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._com_port.opening())

    def data_received(self, data: bytes) -> None:
        """Pass on what is the port's."""
        passed, answer = self._com_port.feed(data)
        if answer and self._transport is not None:
            self._transport.write(answer)
        if self.ready.done():
            if passed:
                self._wire.data_received(passed)
        elif self._com_port.trouble:
            self.ready.set_exception(Refused(self._com_port.trouble))
        elif self._com_port.is_set:
            self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the wire, or the one who opens."""
        self._wire.connection_lost(exc)
        if not self.ready.done():
            self.ready.set_exception(NotReachable(self._wire.lost or ""))

    def write(self, data: bytes) -> None:
        """See ``Transport``."""
        if self._transport is not None:
            self._transport.write(ComPort.escaped(data))

    def abort(self) -> None:
        """See ``Transport``."""
        if self._transport is not None:
            self._transport.abort()


async def open_remote_port(loop: asyncio.AbstractEventLoop, address: LineAddress, wire: Wire) -> RemotePort:
    """Connect and set the port. Raises ``OSError``, ``NotReachable``, or ``Refused`` when the server will not."""
    port = RemotePort(address, wire)
    await loop.create_connection(lambda: port, address.host, address.port)
    try:
        await port.ready
    except (NotReachable, Refused) as error:
        port.abort()
        raise type(error)(f"{address}: {error}") from error
    except asyncio.CancelledError:
        port.abort()
        raise
    return port
