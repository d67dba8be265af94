"""Who said what on a line that is only listened to: pump or controller; sans-I/O.

Both directions pass on the same two wires and no frame names its sender. Most DATA can only be of one side by what it
says. For the rest (a reset ``01 01 05`` is the same bytes as "filling completed") what stands before it and the two
sides' own TX# decide, and where these disagree it is passed over. Control frames carry no checksum, so nothing of a
sale is built on them, nor on DATA whose sender was told by its surroundings alone (``sure`` is false).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from pumpwatch_dart.frames import Cutter, Frame, Kind
from pumpwatch_dart.transactions import Fact, Order, from_controller, from_pump, split

FEW = 2
"""Frames of one sender that may be lost between two that are heard, for their TX# still to count as going on."""


class Sender(Enum):
    """Of a DATA frame."""

    PUMP = "pump"
    CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class FromPump:
    """A pump has spoken; without facts it had nothing to say."""

    address: int
    facts: tuple[Fact, ...] = ()
    sure: bool = True
    """Whether only a pump can have said it."""
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class FromController:
    """The controller has spoken to a pump; without orders it has only polled it."""

    address: int
    orders: tuple[Order, ...] = ()
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Mended:
    """What a pump has said if of its frame, which fails its check, one byte is wrong: it may confirm, never tell."""

    address: int
    facts: tuple[Fact, ...]
    raw: bytes


Heard: TypeAlias = FromPump | FromController | Mended


class Counting:
    """One sender's TX# at one address: 0 to F, then 0 or 1; 0 is always a new beginning."""

    def __init__(self) -> None:
        self.last: int | None = None

    def goes_on(self, number: int) -> bool:
        """Whether ``number`` may be the next one, the same again, or one of few after it."""
        if self.last is None or number == 0:
            return True
        ahead = (number - self.last) % 16
        return ahead <= 1 + FEW or (self.last + ahead > 15 and ahead - 1 <= 1 + FEW)

    def is_certain(self, number: int) -> bool:
        """Whether it goes on and that means something."""
        return self.last is not None and number != 0 and self.goes_on(number)


class Traffic:
    """A listener on one line, fed with the bytes of both directions as they passed."""

    def __init__(self) -> None:
        self._cutter = Cutter()
        self._before: Frame | None = None
        self._counts: dict[tuple[int, Sender], Counting] = {}
        self._said: dict[int, tuple[int, bytes]] = {}
        """Number and payload of the last DATA of each pump, to know a repetition."""

    def feed(self, received: bytes) -> list[Heard]:
        """Take bytes; who has said what. Sent again, a pump's DATA is only a sign of life."""
        heard: list[Heard] = []
        for frame in self._cutter.feed(received):
            if (told := self._hear(frame)) is not None:
                heard.append(told)
            self._before = frame
        return heard

    def forget(self) -> None:
        """The line was gone: what comes next has nothing to do with what came before."""
        self._cutter.forget()
        self._before = None
        self._counts.clear()
        self._said.clear()

    def _hear(self, frame: Frame) -> Heard | None:
        match frame.kind:
            case Kind.DATA:
                return self._data(frame)
            case Kind.NOISE:
                return _mended(frame)
            case Kind.EOT:
                return FromPump(frame.address)
            case Kind.POLL | Kind.ACKPOLL:
                return FromController(frame.address)
            case _:
                return None

    def _data(self, frame: Frame) -> Heard | None:
        facts, orders = from_pump(frame.payload), from_controller(frame.payload)
        sure = (facts is None) != (orders is None)
        sender = self._sender(frame) if not sure else Sender.CONTROLLER if facts is None else Sender.PUMP
        if sender is None or (facts is None and orders is None):
            return None
        self._count(frame.address, sender).last = frame.number
        if sender is Sender.CONTROLLER:
            return FromController(frame.address, orders or (), sure)
        said = (frame.number, frame.payload)
        again = self._said.get(frame.address) == said
        self._said[frame.address] = said
        return FromPump(frame.address) if again else FromPump(frame.address, facts or (), sure, frame.raw)

    def _sender(self, frame: Frame) -> Sender | None:
        """Of DATA that either may have sent."""
        pump, controller = (self._count(frame.address, sender) for sender in Sender)
        before = self._before if frame.follows else None
        if before is None or before.kind is Kind.NOISE:
            as_pump, as_controller = pump.is_certain(frame.number), controller.is_certain(frame.number)
            if as_pump and not controller.goes_on(frame.number):
                return Sender.PUMP
            return Sender.CONTROLLER if as_controller and not pump.goes_on(frame.number) else None
        polled = before.kind in {Kind.POLL, Kind.ACKPOLL} and before.address == frame.address
        likely, count, other = (Sender.PUMP, pump, controller) if polled else (Sender.CONTROLLER, controller, pump)
        if count.goes_on(frame.number):
            return likely
        # A poll that was not answered, or a damaged frame that looks like another.
        return None if other.goes_on(frame.number) else likely

    def _count(self, address: int, sender: Sender) -> Counting:
        return self._counts.setdefault((address, sender), Counting())


def _mended(frame: Frame) -> Mended | None:
    """What a damaged frame may have said, if only a pump can have said so and nothing else comes into question."""
    readings = []
    for whole in frame.mended:
        facts, parts = from_pump(whole[2:]), split(whole[2:])
        if facts and parts and len(facts) == len(parts):  # what is unknown may be anything
            readings.append((whole, facts))
    if len(readings) != 1 or from_controller(readings[0][0][2:]) is not None:
        return None
    ((whole, facts),) = readings
    return Mended(whole[0], facts, frame.raw)
