"""Questions to a tax port and the frames of its replies; sans-I/O.

A frame is ``BB LEN RFN CMD … CK``: LEN counts RFN to CK, CK is the XOR of RFN to the last byte before it. A request has
no status byte; a reply has one, 0 for "not initialised, or no data". Values are ASCII decimals of fixed width, with two
implied decimals for litres, money and price.

Source: 国家税务总局税控燃油加油机报税接口 as one fielded collector speaks it (harvy2018/POD_V0.2); the lengths of its
replies agree with its fields. Evidence grade C+.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING, TypeAlias

from pumpwatch import BadReply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

PREAMBLE, SINGLE = 0xBB, 0xFF
PLAIN = 1
"""Mode of a question: an answer in plain text. 0 would show it to the customer on the dispenser's display."""
SHORTEST, LONGEST = 4, 64
"""Of what LEN may say."""
NOISE = 512
"""Bytes without a frame after which none will come."""
PADS = 2
"""Bytes that some boards put before the check byte of a second frame, and that LEN may not count."""
SHOWN = 48


class Command(IntEnum):
    """What may be asked. All of them only read."""

    INFO = 0x83
    CURRENT = 0x86
    DAY = 0x87
    MONTH = 0x88
    GRAND = 0x89


@dataclass(frozen=True, slots=True)
class TaxInfo:
    """Who the board is."""

    serial: str
    """Ten characters; the first is above ``9`` on boards of 科泰康."""
    guns: str = ""
    taxpayer: str = ""
    oil: str = ""
    clock: datetime | None = None
    """Its own local time, to the minute, without a zone; None from a board that is not initialised."""


@dataclass(frozen=True, slots=True)
class CurrentSale:
    """The last filling of a gun; litres, money and price in hundredths."""

    day: int
    hour: int
    minute: int
    litres: int
    money: int
    price: int


@dataclass(frozen=True, slots=True)
class Total:
    """Litres and money in hundredths."""

    litres: int
    money: int
    price: int = 0
    """Of a day; 0 elsewhere."""


Fact: TypeAlias = TaxInfo | CurrentSale | Total | None
"""What a reply says; None: no data."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question to one gun; ``day`` is whose day or month is asked for."""

    command: Command
    gun: int
    day: date | None = None

    @property
    def request(self) -> bytes:
        """What to send."""
        match self.command:
            case Command.INFO:
                content = bytes((self.gun,))
            case Command.GRAND:
                content = bytes((self.gun, 0, PLAIN))
            case _:
                content = bytes((self.gun, *self._asked_day, PLAIN))
        body = bytes((SINGLE, self.command)) + content
        return bytes((PREAMBLE, len(body) + 1)) + body + bytes((reduce(xor, body),))

    def complete(self, received: bytes) -> int:
        """How many bytes make the whole reply, see ``pumpwatch.Line``; noise and late replies before it included."""
        for part, (frame, end) in enumerate(self._frames(received), 1):
            if part == 2 or not self._has_second(frame):
                return end
        if len(received) > NOISE:
            raise BadReply(
                f"{self}: {NOISE} bytes and no reply: {_shown(received)}; check speed and parity of the line"
            )
        return 0

    def fact(self, reply: bytes) -> Fact:
        """What the reply says; None: the board has no data. Raises ``BadReply``."""
        frames = [frame for frame, _ in self._frames(reply)]
        if not frames:
            raise BadReply(f"{self}: no sound frame in {_shown(reply)}")
        first = frames[0]
        content = first[5:-1]
        if self.command is Command.INFO:
            return self._info(first[4], content, frames[1:])
        if first[4] == 0:
            return None
        text = self._decimals(content)
        match self.command:
            case Command.CURRENT:
                return self._current(text)
            case Command.DAY:
                self._fits(text, (28,))
                self._agrees(text[:8])
                return Total(int(text[8:16]), int(text[16:24]), int(text[24:28]))
            case Command.MONTH:
                self._fits(text, (26,))
                self._agrees(text[:6])
                return Total(int(text[6:16]), int(text[16:26]))
            case _:
                self._fits(text, (24,))
                return Total(int(text[:12]), int(text[12:24]))

    def __str__(self) -> str:
        return f"{self.command:02X} gun {self.gun}"

    # ------------------------------------------------------------ frames

    def _frames(self, received: bytes) -> Iterator[tuple[bytes, int]]:
        """The sound frames that answer this question, each with where it ends.

        Everything else is passed over: noise, an echo, late replies to other questions. Raises ``BadReply`` at the end
        for a whole frame that would answer but whose check byte is wrong, when no sound one can stand for it.
        """
        at, wrong, found = 0, b"", False
        while (at := received.find(PREAMBLE, at)) >= 0 and at + 1 < len(received):
            size = received[at + 1] + 2
            if not SHORTEST <= size - 2 <= LONGEST:
                at += 1
                continue
            frame = received[at : at + size]
            mine = len(frame) > 3 and frame[3] == self.command
            if len(frame) < size:
                at += 1  # behind a preamble that is none there may be a true one
                continue
            end = at + size
            if not _is_sound(frame) and mine and self.command is Command.INFO:
                frame, end = self._padded(received, at, size)
            if _is_sound(frame):
                if mine and frame != self.request:
                    found = True
                    yield frame, end
                at = end
                continue
            if mine and end <= len(received):
                wrong = wrong or frame
            at += 1
        if wrong and (not found or self.command is Command.INFO):
            raise BadReply(f"{self}: wrong check byte: {_shown(wrong)}")

    def _padded(self, received: bytes, at: int, size: int) -> tuple[bytes, int]:
        """A frame with pad bytes before the check byte that LEN does not count."""
        end = at + size + PADS
        padded = received[at:end]
        if len(padded) == size + PADS and _is_sound(padded):
            return padded, end
        if len(padded) < size + PADS:
            return received[at : at + size], len(received) + 1
        return received[at : at + size], at + size

    def _has_second(self, frame: bytes) -> bool:
        """Tax information of an initialised board comes in two frames."""
        return self.command is Command.INFO and frame[4] != 0

    # ------------------------------------------------------------ contents

    @property
    def _asked_day(self) -> bytes:
        form = {Command.DAY: "%Y%m%d", Command.MONTH: "%Y%m"}.get(self.command, "")
        return (self.day.strftime(form) if self.day and form else "").encode("ascii")

    def _info(self, status: int, content: bytes, more: list[bytes]) -> TaxInfo:
        text = self._text(content)
        if status == 0:
            self._fits(text, (10,))
            return TaxInfo(text)
        self._fits(text, (31,))
        if not more:
            raise BadReply(f"{self}: the second frame is missing")
        end = more[0][4:-1]
        rest = self._text(end[:17] if len(end) == 17 + PADS else end)
        self._fits(rest, (17,))
        stamp = rest[5:17]
        try:
            # The board's own wall clock; who knows its offset makes it aware.
            clock = datetime.strptime(stamp, "%Y%m%d%H%M") if _is_decimal(stamp) else None  # noqa: DTZ007
        except ValueError:
            clock = None
        if clock is None:
            raise BadReply(f"{self}: no time YYYYMMDDhhmm: {stamp!r}")
        return TaxInfo(text[:10], text[10:12], text[12:31] + rest[0], rest[1:5], clock)

    def _current(self, text: str) -> CurrentSale:
        self._fits(text, (22, 24))
        day, hour, minute = int(text[:2]), int(text[2:4]), int(text[4:6])
        if not (1 <= day <= 31 and hour < 24 and minute < 60):
            raise BadReply(f"{self}: no day and time DDhhmm: {text[:6]}")
        return CurrentSale(day, hour, minute, int(text[6:12]), int(text[12:18]), int(text[18:22]))

    def _text(self, content: bytes) -> str:
        if not all(0x20 <= byte < 0x7F for byte in content):
            raise BadReply(f"{self}: no text: {_shown(content)}")
        return content.decode("ascii")

    def _decimals(self, content: bytes) -> str:
        if not _is_decimal(text := self._text(content)):
            raise BadReply(f"{self}: no decimals: {text!r}")
        return text

    def _fits(self, text: str, lengths: tuple[int, ...]) -> None:
        if len(text) not in lengths:
            raise BadReply(f"{self}: {len(text)} characters of data where there should be {lengths[0]}")

    def _agrees(self, told: str) -> None:
        asked = self._asked_day.decode("ascii")
        if told != asked:
            raise BadReply(f"{self}: the board answered of {told} where {asked} was asked for")


def _is_sound(frame: bytes) -> bool:
    return reduce(xor, frame[2:], 0) == 0 and len(frame) >= SHORTEST + 2


def _is_decimal(text: str) -> bool:
    return bool(text) and text.isascii() and text.isdecimal()


def _shown(data: bytes) -> str:
    return data[:SHOWN].hex() + ("…" if len(data) > SHOWN else "")
