"""Lanfeng 温州蓝峰 as bytes: the guns of a line, and the controller that is their master.

Evidence grade A: vendor sheet "RS-232 Protocol of Dispenser", fangym0335/first lischn017.c.
RS-422, 9600 baud, 8 data, no parity, 1 stop. Bytes 0 and 1 of a reply and status sub-states other than 1 and 2 are not
known: the gun number and 0 are sent, and a self-locked gun looks idle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pumpwatch.model import NozzleState
from pumpwatch_sim.wire.sides import Side, bcd, devices, scaled, sides

if TYPE_CHECKING:
    from pumpwatch_sim.live.views import DispenserView, NozzleView

FIRST_GUN, MOST_GUNS = 1, 99
SIZE = 12
TAKE_CONTROL, AUTHORISE, PRICE, RELEASE, STOP, STATE = 0xA0, 0xA1, 0xA4, 0xB0, 0xB1, 0xB8
TOTAL_MONEY, TOTAL_LITRES = 0xAC, 0xAD
NOZZLE_UP, CONTROLLED, AT_REST, FUELLING = 0x80, 0x40, 0x01, 0x02

_SILENTLY = frozenset({0xA2, 0xA3, PRICE, 0xA6, 0xA8, 0xA9})
"""Presets, price, pre-valve and shift: taken, and answered with the state."""


def frame(gun: int, content: bytes) -> bytes:
    """Twelve bytes: gun, ten bytes of content (filled up with 0), check byte."""
    content = content.ljust(10, b"\0")
    return bytes((gun,)) + content + bytes((-sum(content) & 0xFF,))


def request(gun: int, command: int, content: bytes = b"") -> bytes:
    """A command of the master."""
    return frame(gun, bytes((0, command)) + content)


def _intact(twelve: bytes) -> bool:
    return sum(twelve[1:]) & 0xFF == 0


class _Framer:
    """Finds frames of twelve bytes by their check byte, for there is nothing else to find them by."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, mine: frozenset[int]) -> list[bytes]:
        """Take bytes and return whole frames whose first byte is one of ``mine``."""
        rest, found, at = self._rest + data, [], 0
        while at + SIZE <= len(rest):
            twelve = rest[at : at + SIZE]
            if twelve[0] in mine and any(twelve[1:]) and _intact(twelve):
                found.append(twelve)
                at += SIZE
            else:
                at += 1
        self._rest = rest[at:]
        return found

    def forget(self) -> None:
        self._rest = b""


class LanfengGuns:
    """All guns of a line; see :class:`pumpwatch_sim.live.views.Pump`.

    The world is read-only: whatever is commanded is answered with the state and changes no filling.
    """

    def __init__(self, dispensers: Sequence[DispenserView], nozzles_per_side: int = 1, controlled: bool = True) -> None:
        """``controlled``: a controller has taken the guns over before. Raises ``ValueError`` for more than 99 guns."""
        by_gun = sides(dispensers, FIRST_GUN, nozzles_per_side, MOST_GUNS)
        self.devices = devices(by_gun)
        self._guns = {gun: _Gun(side, controlled) for gun, side in by_gun.items()}
        self._mine = frozenset(self._guns)
        self._framer = _Framer()

    def receive(self, data: bytes) -> bytes:
        """Answer every whole frame meant for one of the guns."""
        return b"".join(self._guns[twelve[0]].answer(twelve[2]) for twelve in self._framer.feed(data, self._mine))

    def pause(self) -> bytes:
        """Half a frame is forgotten."""
        self._framer.forget()
        return b""


class _Gun:
    """One gun number."""

    def __init__(self, side: Side, controlled: bool) -> None:
        self._side = side
        self._current = 0
        self._controlled = controlled

    def answer(self, command: int) -> bytes:
        """The reply to a command; nothing to an unknown one."""
        self._current = self._side.busy(self._current)
        nozzle = self._side.nozzles[self._current]
        if command in {TOTAL_MONEY, TOTAL_LITRES}:
            total = nozzle.totalizer_amount if command == TOTAL_MONEY else nozzle.totalizer
            return frame(self._side.address, bytes((0, command, 0, 0)) + bcd(total, 6))
        if command in {TAKE_CONTROL, RELEASE}:
            self._controlled = command == TAKE_CONTROL
        elif command not in {STATE, AUTHORISE, STOP} and command not in _SILENTLY:
            return b""
        return frame(self._side.address, b"\0" + self._state(nozzle))

    def _state(self, nozzle: NozzleView) -> bytes:
        status = CONTROLLED if self._controlled else 0
        match nozzle.state:
            case NozzleState.LIFTED:
                status |= NOZZLE_UP | AT_REST
            case NozzleState.FUELLING | NozzleState.STOPPED:
                status |= NOZZLE_UP | FUELLING
            case _:
                status |= AT_REST
        return bcd(nozzle.price, 2) + bcd(nozzle.amount, 3) + bcd(nozzle.volume, 3) + bytes((status,))


class LanfengController:
    """The station's master on a line of guns; see :class:`pumpwatch_sim.live.views.Controller`.

    It takes control and reads the totals of each gun at first, then asks for the state in a circle, prices and
    authorises whoever calls and reads the totals after each filling.
    """

    def __init__(self, dispensers: Sequence[DispenserView], nozzles_per_side: int = 1) -> None:
        """As :class:`LanfengGuns` was made; raises ``ValueError`` likewise."""
        by_gun = sides(dispensers, FIRST_GUN, nozzles_per_side, MOST_GUNS)
        self._sides = list(by_gun.values())
        self._tasks: deque[bytes] = deque()
        for gun in by_gun:
            self._tasks.extend((request(gun, TAKE_CONTROL), request(gun, TOTAL_MONEY), request(gun, TOTAL_LITRES)))
        self._at = -1
        self._before = dict.fromkeys(by_gun, 0)
        self._framer = _Framer()

    def turn(self) -> bytes:
        """What has to be told to a gun, or the question after the next one's state."""
        if not self._sides:
            return b""
        self._framer.forget()
        if self._tasks:
            return self._tasks.popleft()
        self._at = (self._at + 1) % len(self._sides)
        return request(self._sides[self._at].address, STATE)

    def receive(self, data: bytes) -> None:
        """Take a gun's answer; totals are for whoever listens."""
        for twelve in self._framer.feed(data, frozenset(self._before)):
            if twelve[2] not in {TOTAL_MONEY, TOTAL_LITRES}:
                self._conclude(twelve[0], twelve[10])

    def _conclude(self, gun: int, status: int) -> None:
        before, self._before[gun] = self._before[gun], status & (NOZZLE_UP | AT_REST | FUELLING)
        up, down = bool(status & NOZZLE_UP), bool(before & NOZZLE_UP)
        if up and not down:
            side = self._sides[gun - FIRST_GUN]
            price = scaled(side.nozzles[side.busy(0)].price, 2, 4)
            self._tasks.extend((request(gun, PRICE, bcd(price, 2)), request(gun, AUTHORISE)))
        elif down and not up:
            self._tasks.extend((request(gun, TOTAL_MONEY), request(gun, TOTAL_LITRES)))
