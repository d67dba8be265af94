"""Words and blocks of the Two-Wire protocol, and the only four questions that are ever asked; sans-I/O.

A command is one byte: what in the high nibble, which pump in the low one (0 is pump 16). Numbers are words
``E0 | digit``, least significant digit first; blocks go from ``FF`` to ``F0`` with a check word over the low nibbles.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from pumpwatch import BadReply

if TYPE_CHECKING:
    from collections.abc import Iterable

START, END, CHECK, NEXT_GRADE = 0xFF, 0xF0, 0xFB, 0xF6
GRADE_WORDS = 30
"""Of one grade in a block of totals."""
LONGEST_BLOCK = 16 * GRADE_WORDS + 4
SHOWN = 40
"""Bytes of a bad reply that an error shows."""


class Question(IntEnum):
    """All that this driver can send; each asks one pump and changes nothing."""

    STATUS = 0x0
    TRANSACTION = 0x4
    TOTALS = 0x5
    MONEY = 0x6

    def to(self, pump: int) -> bytes:
        """The byte that asks pump 1 to 16."""
        return bytes((self << 4 | pump & 0x0F,))


class Status(IntEnum):
    """High nibble of the answer to ``Question.STATUS``."""

    DATA_ERROR = 0x0
    IDLE = 0x6
    CALL = 0x7
    AUTHORISED = 0x8
    BUSY = 0x9
    PRESET_END = 0xA
    FILLING_END = 0xB
    STOPPED = 0xC
    LISTENING = 0xD


STATUSES = frozenset(Status)


@dataclass(frozen=True, slots=True)
class Filling:
    """A pump's last filling as displayed, in units of the last digit; ``grade`` counts from 0."""

    pump: int
    grade: int
    price: int
    volume: int
    money: int


@dataclass(frozen=True, slots=True)
class GradeTotal:
    """Totals of one grade of a pump, in units of their last digit."""

    grade: int
    volume: int
    money: int
    price: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the words of a filling's block stand, for pumps that show ``digits`` digits: 6, or 5 on older ones."""

    digits: int = 6

    @property
    def size(self) -> int:
        """Words of the block: 33 or 31."""
        return 21 + 2 * self.digits

    @property
    def volume(self) -> slice:
        """Words of the volume."""
        return slice(17, 17 + self.digits)

    @property
    def money(self) -> slice:
        """Words of the money."""
        return slice(18 + self.digits, 18 + 2 * self.digits)

    @property
    def fixed(self) -> tuple[tuple[int, int], ...]:
        """Place and word of what is always the same."""
        d = self.digits
        head = ((0, START), (1, 0xF1), (2, 0xF8), (3, 0xEB), (8, NEXT_GRADE), (10, 0xF4), (11, 0xF7), (16, 0xF9))
        return (*head, (17 + d, 0xFA), (18 + 2 * d, CHECK), (20 + 2 * d, END))

    def filling(self, block: bytes) -> Filling:
        """Read a block. Raises ``BadReply`` when anything in it is not as it must be."""
        if len(block) != self.size or any(block[place] != word for place, word in self.fixed):
            raise BadReply(f"no filling of {self.digits} digits: {shown(block)}; look at the setting digits")
        require_sound(block)
        if any(block[place] >> 4 != 0xE for place in (4, 5, 6, 7, 9)):
            raise BadReply(f"a filling without pump or grade: {shown(block)}")
        pump, grade = (block[4] & 0x0F) + 1, block[9] & 0x0F
        return Filling(pump, grade, number(block[12:16]), number(block[self.volume]), number(block[self.money]))


def totals(block: bytes) -> tuple[GradeTotal, ...]:
    """Read a block of totals. Raises ``BadReply``."""
    if len(block) < GRADE_WORDS + 4 or (len(block) - 4) % GRADE_WORDS:
        raise BadReply(f"no block of totals: {shown(block)}")
    require_sound(block)
    found = []
    for at in range(1, len(block) - 3, GRADE_WORDS):
        part = block[at : at + GRADE_WORDS]
        frame = part[0], part[1] & 0xF0, part[2], part[11], part[20], part[25]
        if frame != (NEXT_GRADE, 0xE0, 0xF9, 0xFA, 0xF4, 0xF5):
            raise BadReply(f"no block of totals: {shown(block)}")
        number(part[26:30])
        found.append(GradeTotal(part[1] & 0x0F, number(part[3:11]), number(part[12:20]), number(part[21:25])))
    return tuple(found)


def number(words: bytes) -> int:
    """A number out of its data words, least significant digit first. Raises ``BadReply`` for another word."""
    if not is_number(words):
        raise BadReply(f"no number: {shown(words)}")
    return sum((word & 0x0F) * 10**place for place, word in enumerate(words))


def is_number(words: bytes) -> bool:
    """Whether all are data words of a digit."""
    return all(0xE0 <= word <= 0xE9 for word in words)


def check_word(words: Iterable[int]) -> int:
    """The check word that follows ``FF`` to ``FB``."""
    return 0xE0 | -sum(word & 0x0F for word in words) & 0x0F


def is_sound(block: bytes) -> bool:
    """Whether a block begins, ends and checks."""
    framed = len(block) >= 5 and block[0] == START and block[-3] == CHECK and block[-1] == END
    return framed and block[-2] == check_word(block[:-2])


def require_sound(block: bytes) -> None:
    """Raise ``BadReply`` for a block that is damaged."""
    if not is_sound(block):
        raise BadReply(f"a block that does not check: {shown(block)}")


def shown(data: bytes) -> str:
    """For an error's text."""
    return data[:SHOWN].hex(" ") + (" …" if len(data) > SHOWN else "")
