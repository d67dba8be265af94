"""Modbus register reads as bytes, TCP and RTU framing; sans-I/O.

pymodbus keeps the wire in the tests (its servers answer this codec) and gives the CRC of RTU. Its framers are not used
for replies, for what was measured with 3.16.1: a reply of 60 registers becomes 48 typed numbers in 130 µs of CPU, 27 of
them before any typing (it makes an integer of each register, though most are halves of something else), where this
codec and one struct take 7; a wrong protocol id or length makes ``FramerSocket`` wait for ever instead of complaining;
``FramerRTU`` eats everything received with the first frame; and both log, which a driver does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pymodbus.framer import FramerRTU

from pumpwatch import BadReply, NotReachable, Refused
from pumpwatch_modbus.reads import Span

MOST_SKIPPED = 4096
"""Bytes of late replies after which a peer is told off instead of listened to."""
HEADER = 7
"""Length of a TCP header: transaction, protocol, length, unit."""

MEANINGS = {
    1: "it does not know this function",
    2: "it has no such register; check brand, base_offset and the map's [[blocks]]",
    3: "it does not take this number of registers; lower max_registers",
    4: "it failed while reading them",
    5: "it needs more time",
    6: "it is busy",
    8: "its memory failed the parity check",
    10: "the gateway has no path to it; check the gateway's configuration",
    11: "it does not answer the gateway; check its power, its wiring and the unit number",
}
UNREACHABLE = frozenset({10, 11})
ILLEGAL_ADDRESS = 2


class NoSuchRegister(Refused):
    """A read was refused because one of its registers, at least, is none."""


@dataclass(frozen=True, slots=True)
class RegisterRead:
    """One request for registers, with what never changes about its bytes made beforehand."""

    unit: int
    function: int
    span: Span
    pdu: bytes = field(init=False)
    reply_head: bytes = field(init=False)
    """Function code and byte count of the right answer."""
    tcp_request: bytes = field(init=False)
    """The request as it follows a transaction id."""
    tcp_reply: bytes = field(init=False)
    """What follows the transaction id in the right answer, up to the registers."""
    tcp_size: int = field(init=False)
    """Bytes of the right answer."""

    def __post_init__(self) -> None:
        first, count = self.span
        pdu = bytes([self.function, *first.to_bytes(2, "big"), *count.to_bytes(2, "big")])
        head = bytes([self.function, 2 * count])
        length = 1 + len(head) + 2 * count
        object.__setattr__(self, "pdu", pdu)
        object.__setattr__(self, "reply_head", head)
        object.__setattr__(self, "tcp_request", bytes([0, 0, 0, 1 + len(pdu), self.unit]) + pdu)
        object.__setattr__(self, "tcp_reply", bytes([0, 0, length >> 8, length & 0xFF, self.unit]) + head)
        object.__setattr__(self, "tcp_size", HEADER - 1 + length)

    def __str__(self) -> str:
        return f"unit {self.unit}, registers {self.span}"

    def fail(self, exception: int) -> NotReachable | Refused:
        """The error that an exception reply means."""
        meaning = MEANINGS.get(exception, "it does not say why")
        text = f"{self}: answered with exception {exception}: {meaning}"
        if exception in UNREACHABLE:
            return NotReachable(text)
        return NoSuchRegister(text) if exception == ILLEGAL_ADDRESS else Refused(text)


class Exchange(Protocol):
    """One question and its answer."""

    @property
    def request(self) -> bytes:
        """What to send."""

    def complete(self, received: bytes) -> int:
        """How many bytes make the whole answer, see ``pumpwatch.Line``; late answers to older questions included."""

    def registers(self, reply: bytes) -> bytes:
        """The registers of a complete reply, two bytes each. Raises ``Refused`` or ``NotReachable`` if it says no."""


def _told(way: str, unit: int, pdu: bytes) -> str:
    """A request or reply in words."""
    if not pdu:
        return ""
    if pdu[0] & 0x80 and len(pdu) > 1:
        return f"unit {unit}: exception {pdu[1]}: {MEANINGS.get(pdu[1], 'it does not say why')}"
    if way == ">" and len(pdu) >= 5:
        span = Span(int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big"))
        return f"unit {unit}: function {pdu[0]}, registers {span}"
    return f"unit {unit}: function {pdu[0]}, {pdu[1] // 2 if len(pdu) > 1 else 0} registers"


class Framing(Protocol):
    """How requests and replies are wrapped."""

    def explain(self, way: str, data: bytes) -> str:
        """See ``pumpwatch.Driver``."""

    def exchange(self, read: RegisterRead) -> Exchange:
        """Begin an exchange."""


# ---------------------------------------------------------------- TCP


class TcpFraming:
    """Modbus TCP for one unit.

    Transaction ids carry the unit in the high byte: devices that share a gateway's connection can never take each
    other's late replies for their own.
    """

    def __init__(self) -> None:
        self._count = 0

    def explain(self, way: str, data: bytes) -> str:
        """See ``Framing``; every frame of them."""
        told, start = [], 0
        while len(data) - start > HEADER:
            end = start + 6 + int.from_bytes(data[start + 4 : start + 6], "big")
            told.append(_told(way, data[start + 6], data[start + HEADER : end]))
            start = end
        return "; ".join(told)

    def exchange(self, read: RegisterRead) -> TcpExchange:
        """Begin an exchange under the next transaction id."""
        self._count = (self._count + 1) & 0xFF
        return TcpExchange(read, (read.unit << 8 | self._count).to_bytes(2, "big"))


class TcpExchange:
    """See ``Exchange``."""

    __slots__ = ("_right", "_size", "read", "request")

    def __init__(self, read: RegisterRead, transaction: bytes) -> None:
        self.read = read
        self.request = transaction + read.tcp_request
        self._right = transaction + read.tcp_reply
        self._size = read.tcp_size

    @property
    def transaction(self) -> bytes:
        """Its id, two bytes."""
        return self._right[:2]

    def complete(self, received: bytes) -> int:
        """See ``Exchange``."""
        if len(received) == self._size and received.startswith(self._right):  # nearly always
            return self._size
        return self.right_at(received, 0) or self._find(received)[1]

    def registers(self, reply: bytes) -> bytes:
        """See ``Exchange``."""
        if len(reply) == self._size and reply.startswith(self._right):
            return reply[HEADER + 2 :]
        start, end = self._find(reply)
        if not end:
            raise BadReply(f"{self.read}: the reply {reply.hex()} ends too early")
        return self.told(reply, start, end)

    def told(self, reply: bytes, start: int, end: int) -> bytes:
        """The registers of its answer, which ``reply`` holds from ``start`` to ``end``; raises as ``registers``."""
        if reply[start + HEADER] == self.read.function:
            return reply[start + HEADER + 2 : end]
        raise self.read.fail(reply[start + HEADER + 1])

    def right_at(self, received: bytes, start: int) -> int:
        """Where the right answer that begins at ``start`` ends; 0 when it is not all there, or another."""
        end = start + self._size
        return end if end <= len(received) and received.startswith(self._right, start) else 0

    def _find(self, received: bytes) -> tuple[int, int]:
        """Where the answer begins and ends; (0, 0) while it is not all there."""
        start = 0
        while len(received) - start >= HEADER:
            end = self.frame_at(received, start)
            if received.startswith(self.transaction, start):
                return (start, end) if self.answers(received[start:end]) else (0, 0)
            self.pass_over(received, start, end)
            start = end
        return (0, 0)

    def frame_at(self, received: bytes, start: int) -> int:
        """Where the frame whose header stands at ``start`` ends or will end."""
        length = int.from_bytes(received[start + 4 : start + 6], "big")
        if received[start + 2] or received[start + 3] or not 3 <= length <= 254:
            raise BadReply(f"{self.read}: not Modbus TCP: {received[start : start + 16].hex()}")
        return start + 6 + length

    def pass_over(self, received: bytes, start: int, end: int) -> None:
        """See that a frame is a late reply of this unit or of one that shares the line."""
        if received[start] != received[start + 6]:
            raise BadReply(
                f"{self.read}: a reply to transaction {received[start : start + 2].hex()}, which was not asked; "
                f"{self.transaction.hex()} was. Does another master share the connection?"
            )
        if end > MOST_SKIPPED:
            raise BadReply(f"{self.read}: nothing but late replies of other transactions")

    def answers(self, frame: bytes) -> bool:
        """Check as much as is there of the frame with our transaction; whether it is all there."""
        read, right = self.read, self._right
        length = int.from_bytes(frame[4:6], "big")
        if frame[6] != read.unit:
            raise BadReply(f"{read}: unit {frame[6]} answered: {frame[:16].hex()}")
        if len(frame) > HEADER:
            function = frame[HEADER]
            if function not in {read.function, read.function | 0x80}:
                raise BadReply(f"{read}: function {function} answered: {frame[:16].hex()}")
            wanted = 3 if function & 0x80 else self._size - 6
            wrong_count = not function & 0x80 and len(frame) > len(right) - 1 and frame[HEADER + 1] != right[-1]
            if length != wanted or wrong_count:
                raise BadReply(f"{read}: not the number of registers asked for: {frame[:16].hex()}")
        return len(frame) == 6 + length


class TcpWindow:
    """Several questions to one peer in one request; their answers may come in any order and make one reply."""

    def __init__(self, framing: TcpFraming, reads: Sequence[RegisterRead]) -> None:
        self._exchanges = [framing.exchange(read) for read in reads]
        """At most 255, so that no two have the same transaction."""
        self.request = b"".join([exchange.request for exchange in self._exchanges])
        self._places: list[tuple[int, int]] = []

    def complete(self, received: bytes) -> int:
        """As ``Exchange.complete``: of the answers to all of them."""
        start, places = 0, []
        for exchange in self._exchanges:
            end = exchange.right_at(received, start)
            if not end:
                return self._gather(received)
            places.append((start, end))
            start = end
        self._places = places
        return start

    def _gather(self, received: bytes) -> int:
        """The same when they are not all there, or out of order, or some say no."""
        open_ = {exchange.transaction: exchange for exchange in self._exchanges}
        found: dict[bytes, tuple[int, int]] = {}
        start = skipped = 0
        while len(received) - start >= HEADER:
            transaction = received[start : start + 2]
            exchange = open_.get(transaction, self._exchanges[0])
            end = exchange.frame_at(received, start)
            if transaction not in open_:
                skipped += end - start
                exchange.pass_over(received, start, start + skipped)
            elif not exchange.answers(received[start:end]):
                return 0
            elif found.setdefault(transaction, (start, end)) == (start, end) and len(found) == len(open_):
                self._places = [found[each.transaction] for each in self._exchanges]
                return end
            start = end
        return 0

    def registers(self, reply: bytes) -> list[bytes | Refused]:
        """The registers of each in the order of ``reads``, or its refusal. Raises ``NotReachable``."""
        told: list[bytes | Refused] = []
        for exchange, (start, end) in zip(self._exchanges, self._places, strict=True):
            try:
                told.append(exchange.told(reply, start, end))
            except Refused as error:
                told.append(error)
        return told


# ---------------------------------------------------------------- RTU


def crc(data: bytes) -> bytes:
    """The two bytes that end an RTU frame."""
    return FramerRTU.compute_CRC(data).to_bytes(2, "big")


class RtuFraming:
    """Modbus RTU on a serial line, or over TCP through a serial-to-Ethernet converter.

    RTU has no transaction ids. A late reply of another unit, or of another length, is known by its CRC and skipped; one
    of the same unit and length cannot be told from the answer.
    """

    def explain(self, way: str, data: bytes) -> str:
        """See ``Framing``."""
        return _told(way, data[0], data[1:-2]) if len(data) > 4 else ""

    def exchange(self, read: RegisterRead) -> RtuExchange:
        """Begin an exchange."""
        return RtuExchange(read)


class RtuExchange:
    """See ``Exchange``."""

    __slots__ = ("_read", "request")

    def __init__(self, read: RegisterRead) -> None:
        self._read = read
        body = bytes([read.unit]) + read.pdu
        self.request = body + crc(body)

    def complete(self, received: bytes) -> int:
        """See ``Exchange``."""
        return self._find(received)[1]

    def registers(self, reply: bytes) -> bytes:
        """See ``Exchange``."""
        start, end = self._find(reply)
        if not end:
            raise BadReply(f"{self._read}: the reply {reply.hex()} ends too early")
        if reply[start + 1] == self._read.function:
            return reply[start + 3 : end - 2]
        raise self._read.fail(reply[start + 2])

    def _find(self, received: bytes) -> tuple[int, int]:
        """Where the answer begins and ends; (0, 0) while it is not all there."""
        read, start = self._read, 0
        right = bytes([read.unit]) + read.reply_head
        while len(received) - start >= 5:
            size = self._size(received, start)
            frame = received[start : start + size]
            whole = len(frame) == size and crc(frame[:-2]) == frame[-2:]
            if whole and (frame.startswith(right) or (frame[0] == read.unit and frame[1] == read.function | 0x80)):
                return start, start + size
            echo = received[start : start + len(self.request)]
            if self.request.startswith(echo):  # a two-wire converter hears itself
                if len(echo) < len(self.request):
                    break
                start += len(self.request)
            elif len(frame) < size:
                break
            elif whole and start + size < MOST_SKIPPED:
                start += size
            else:
                raise BadReply(f"{read}: no Modbus RTU reply with a right CRC: {frame[:32].hex()}")
        return 0, 0

    def _size(self, received: bytes, start: int) -> int:
        """How long the frame that begins at ``start`` must be."""
        function = received[start + 1]
        if function & 0x80:
            return 5
        if function in {3, 4} and received[start + 2] % 2 == 0:
            return 5 + received[start + 2]
        if self.request.startswith(received[start : start + len(self.request)]):
            return len(self.request)
        raise BadReply(f"{self._read}: function {function} answered: {received[start : start + 16].hex()}")
