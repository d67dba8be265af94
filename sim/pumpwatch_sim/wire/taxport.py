"""The tax port (税控报税口) of a tax-control dispenser as bytes: frames ``BB LEN RFN CMD … CK`` asked for and answered.

Evidence grade C+: harvy2018/POD_V0.2, a fielded collector; its lengths agree.
RS-232, 9600 baud, 8 data, 1 stop, even parity (some boards none). One port serves the one or two guns of a board.
Not known, decided here: frame counters of the answer to 83 are 1 and 2; the display mode (00) is answered like plain
text, the ciphered ones like a gun without data; oil codes are the grade's digits; a KTK board fills up the current sale
with "00".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING

from pumpwatch_sim.wire.sides import Side, devices, scaled, sides, wall_clock

if TYPE_CHECKING:
    from pumpwatch_sim.live.views import DispenserView, Sale

PREAMBLE, SINGLE = 0xBB, 0xFF
INFO, CURRENT, DAY, MONTH, GRAND = 0x83, 0x86, 0x87, 0x88, 0x89
NOTHING, OK = 0, 1
"""Status bytes."""

_SHORTEST, _LONGEST = 4, 64
_MOST_GUNS = 99


class Board(StrEnum):
    """Whose tax chip it is."""

    YTSF = "ytsf"
    """英泰赛福"""
    KTK = "ktk"
    """科泰康; its serial begins with a letter."""


class Padding(StrEnum):
    """Where the second frame of a YTSF board's tax information has two bytes too many."""

    NONE = "none"
    BEFORE = "before"
    """Before the check byte, which counts them."""
    AFTER = "after"


def frame(number: int, command: int, content: bytes) -> bytes:
    """A frame: preamble, length, frame number, command, content, check byte."""
    body = bytes((number, command)) + content
    return bytes((PREAMBLE, len(body) + 1)) + body + bytes((reduce(xor, body),))


def answer(command: int, text: str) -> bytes:
    """A single frame with status and data."""
    return frame(SINGLE, command, bytes((OK,)) + text.encode("ascii"))


def nothing(command: int) -> bytes:
    """A single frame that says there is no data."""
    return frame(SINGLE, command, bytes((NOTHING,)))


class TaxPort:
    """The port of a board; see :class:`pumpwatch_sim.live.views.Pump`. Guns are numbered from 1."""

    def __init__(
        self,
        dispensers: Sequence[DispenserView],
        board: Board | None = None,
        padding: Padding = Padding.NONE,
        initialised: bool = True,
        taxpayer: str = "",
    ) -> None:
        """``board`` None: as the tax serial tells; otherwise the serial's first character is made to fit it.

        ``initialised`` False: the tax office has not set it up, it tells its serial and no more. ``taxpayer`` has at
        most 20 characters.
        """
        self._guns = sides(dispensers, 1, 1, _MOST_GUNS)
        self.devices = devices(self._guns)
        self._board = board
        self._padding = padding
        self._initialised = initialised
        self._taxpayer = taxpayer.rjust(20, "0")[:20]
        self._rest = b""

    def receive(self, data: bytes) -> bytes:
        """Answer every whole frame; one with a wrong check byte is passed over."""
        rest, answers, at = self._rest + data, b"", 0
        while (at := rest.find(bytes((PREAMBLE,)), at)) >= 0 and at + 1 < len(rest):
            size = rest[at + 1] + 2
            if not _SHORTEST <= size - 2 <= _LONGEST:
                at += 1
            elif at + size > len(rest):
                break
            elif reduce(xor, rest[at + 2 : at + size]) == 0:
                answers += self._answer(rest[at + 3], rest[at + 4 : at + size - 1])
                at += size
            else:
                at += 1
        self._rest = rest[at:] if at >= 0 else b""
        return answers

    def pause(self) -> bytes:
        """Half a frame is forgotten; whole ones hidden behind its preamble are answered."""
        rest, self._rest = self._rest, b""
        answers = self.receive(rest[1:])
        self._rest = b""
        return answers

    def _answer(self, command: int, content: bytes) -> bytes:
        if command == INFO and len(content) == 1:
            return self._info(self._guns.get(max(content[0], 1)))
        sizes = {CURRENT: 2, DAY: 10, MONTH: 8, GRAND: 3}
        if sizes.get(command) != len(content):
            return b""
        gun, mode = self._guns.get(content[0]), content[-1]
        if gun is None or mode > 1 or not self._initialised:
            return nothing(command)
        match command:
            case _ if command == CURRENT:
                return self._current(gun)
            case _ if command == DAY:
                return self._day(gun, content[1:-1])
            case _ if command == MONTH:
                return self._month(gun, content[1:-1])
            case _:
                litres, money = gun.nozzles[0].tax_totals(gun.dispenser.local_time).grand
                return answer(GRAND, _digits(litres, 12) + _digits(money, 12))

    def _info(self, gun: Side | None) -> bytes:
        if gun is None:
            return nothing(INFO)
        serial = self._serial(gun)
        if not self._initialised:
            return frame(SINGLE, INFO, bytes((NOTHING,)) + serial.encode("ascii"))
        first = f"{serial}{gun.address:02d}{self._taxpayer[:19]}"
        nozzle = gun.nozzles[0]
        oil = int("".join(re.findall(r"\d", nozzle.grade)) or "0")
        second = f"{self._taxpayer[19]}{oil:04d}{gun.dispenser.local_time:%Y%m%d%H%M}".encode("ascii")
        pads = b"\0\0"
        if self._padding is Padding.BEFORE:
            second += pads
        tail = pads if self._padding is Padding.AFTER else b""
        return frame(1, INFO, bytes((OK,)) + first.encode("ascii")) + frame(2, INFO, second) + tail

    def _current(self, gun: Side) -> bytes:
        known = [sale for sale in gun.nozzles[0].sales if sale is not None and sale.tax_volume > 0]
        if not known:
            return nothing(CURRENT)
        sale = max(known, key=_sequence)
        ended = wall_clock(gun.dispenser, sale.end_s)
        text = f"{ended:%d%H%M}{_digits(sale.tax_volume, 6)}{_digits(sale.tax_amount, 6)}{_digits(sale.price, 4)}"
        return answer(CURRENT, text + ("00" if self._board_of(gun) is Board.KTK else ""))

    def _day(self, gun: Side, content: bytes) -> bytes:
        when = _moment(content, "%Y%m%d")
        if when is None:
            return nothing(DAY)
        nozzle = gun.nozzles[0]
        litres, money = nozzle.tax_totals(when).day
        if not litres and self._board_of(gun) is Board.YTSF:
            return nothing(DAY)
        return answer(DAY, f"{when:%Y%m%d}{_digits(litres, 8)}{_digits(money, 8)}{_digits(nozzle.price, 4)}")

    def _month(self, gun: Side, content: bytes) -> bytes:
        when = _moment(content, "%Y%m")
        if when is None:
            return nothing(MONTH)
        litres, money = gun.nozzles[0].tax_totals(when).month
        return answer(MONTH, f"{when:%Y%m}{_digits(litres, 10)}{_digits(money, 10)}")

    def _board_of(self, gun: Side) -> Board:
        return Board.KTK if self._serial(gun)[0] > "9" else Board.YTSF

    def _serial(self, gun: Side) -> str:
        """Ten characters; a YTSF board's begins with a digit (0: one gun), a KTK's with a letter (A: one gun)."""
        text = "".join(re.findall(r"[0-9A-Z]", gun.dispenser.identity.tax_serial.upper())).rjust(10, "0")[-10:]
        if self._board is None:
            return text
        alone = len(self._guns) == 1
        first = ("0" if alone else "1") if self._board is Board.YTSF else ("A" if alone else "K")
        return first + text[1:]


def _digits(number: int, width: int) -> str:
    return f"{scaled(number, 2, width):0{width}d}"


def _moment(content: bytes, form: str) -> datetime | None:
    """A date as asked for; None when there is no such day."""
    text = content.decode("ascii", "replace")
    if not re.fullmatch(r"[0-9]+", text):
        return None
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - the device's wall clock has no zone
    except ValueError:
        return None


def _sequence(sale: Sale) -> int:
    return sale.sequence
