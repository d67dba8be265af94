"""Hears a Two-Wire loop: the bytes of controller and pumps as they passed become what they said; sans-I/O.

It may begin anywhere and bytes may be damaged. A status has no check of its own: it is heard only right behind the
question to the same pump. Blocks are heard when they check; a filling's block that does not is read by ``damaged``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from pumpwatch import BadReply
from pumpwatch_twowire.damaged import Usual
from pumpwatch_twowire.words import (
    END,
    GRADE_WORDS,
    LONGEST_BLOCK,
    NEXT_GRADE,
    START,
    STATUSES,
    Filling,
    GradeTotal,
    Question,
    Status,
    is_number,
    is_sound,
    number,
    totals,
)

if TYPE_CHECKING:
    from pumpwatch_twowire.damaged import Repair

_HEAD: Final = (START, 0xF1, 0xF8, 0xEB)
"""A filling's first words."""
_BEGINNING: Final = re.compile(rb"[\x00-\x0f\x40-\x6f\xba\xeb\xf1\xf8\xff]")
"""Bytes that can be the first of anything that is understood, or the first left of a filling's block."""
_BEGINNINGS: Final = tuple(bool(_BEGINNING.match(bytes((byte,)))) for byte in range(256))
_BEHIND = 4
"""Bytes kept behind the place of listening: a filling's first word may be damaged."""
MOST_REPAIRS = 16
"""Damaged blocks that are read at a time, more than the line can carry in a second; of the others nothing is said."""
_PRICE_BLOCK = 13
_NOZZLE_HEAD, _NOZZLE_TAIL = b"\xba\xb0\xb3", b"\x8d\x8a"
_NOZZLE_REPLY = (19, 21)
"""Lengths seen of the reply that tells which nozzle is out; the nozzle stands at index 14."""


@dataclass(frozen=True, slots=True)
class StatusHeard:
    """A pump's answer to a status question; without a check."""

    pump: int
    status: Status


@dataclass(frozen=True, slots=True)
class MoneyHeard:
    """A pump's running money; without a check."""

    pump: int
    money: int


@dataclass(frozen=True, slots=True)
class FillingHeard:
    """A filling's block."""

    pump: int
    fillings: tuple[Filling, ...]
    """What it may have said."""
    block: bytes
    whole: bool
    """Whether it was heard undamaged."""
    clear: bool
    """Whether it can have said nothing else."""
    alone: bool = True
    """Whether no other pump can have said it, on a line that is quiet enough to say so."""


@dataclass(frozen=True, slots=True)
class TotalsHeard:
    """A pump's totals. The block checks; whose it is stands only in the question before it."""

    pump: int
    grades: tuple[GradeTotal, ...]


@dataclass(frozen=True, slots=True)
class NozzleHeard:
    """Which of a pump's nozzles is out, from 1; 0 none."""

    pump: int
    nozzle: int


Heard: TypeAlias = StatusHeard | MoneyHeard | FillingHeard | TotalsHeard | NozzleHeard


class Listener:
    """Fed with what passes, says what was said. Keeps less than one block of bytes."""

    def __init__(self, repair: Repair) -> None:
        self._repair = repair
        self._layout = repair.layout
        self._rest = b""
        self._next = 0
        self._asked: tuple[Question, int] | None = None
        """The question just heard, when a block answers it."""
        self._usual = Usual()
        self._said: list[Heard] = []
        self._repairs = 0

    def feed(self, data: bytes) -> list[Heard]:
        """Take the next bytes of the line; what they were understood to say."""
        rest, at, self._repairs = self._rest + data, self._next, 0
        while at < len(rest):
            if not _BEGINNINGS[rest[at]]:
                found = _BEGINNING.search(rest, at)
                at, self._asked = found.start() if found else len(rest), None
                continue
            length = self._item(rest, at)
            if not length:
                break
            at += length
        kept = max(0, at - _BEHIND)
        self._rest, self._next = rest[kept:], at - kept
        said, self._said = self._said, []
        return said

    def _item(self, rest: bytes, at: int) -> int:
        """How many bytes are done with; 0 while more are needed."""
        byte, left = rest[at], len(rest) - at
        place = _HEAD.index(byte) if byte in _HEAD else -1
        if place >= 0 and at >= place:
            length = self._filling(rest, at - place)
            if length is not None:
                return max(0, length - place)
        pump = byte & 0x0F or 16
        asked, self._asked = self._asked, None
        match byte >> 4:
            case 0xF if byte == START:
                length = self._block(rest, at, asked)
                self._asked = None if length else asked
                return length
            case 0xB if byte == _NOZZLE_HEAD[0]:
                return self._nozzle(rest, at)
            case Question.STATUS:
                if left < 2:
                    return 0
                answer = rest[at + 1]
                if answer & 0x0F != byte & 0x0F or answer >> 4 not in STATUSES or answer == byte:
                    return 1
                self._said.append(StatusHeard(pump, Status(answer >> 4)))
                return 2
            case Question.TRANSACTION | Question.TOTALS:
                self._asked = Question(byte >> 4), pump
                return 1
            case Question.MONEY:
                return self._money(rest, at, pump)
            case _:
                return 1

    def _filling(self, rest: bytes, start: int) -> int | None:
        """As ``_item`` counts, from ``start``; None when no filling's block begins there."""
        head = rest[start : start + len(_HEAD)]
        same = sum(word == wanted for word, wanted in zip(head, _HEAD, strict=False))
        if same < 2:
            return 0 if len(head) < len(_HEAD) and head[0] == START else None
        block = rest[start : start + self._layout.size]
        if len(block) < self._layout.size:
            return 0
        asked = self._asked[1] if self._asked and self._asked[0] is Question.TRANSACTION else None
        try:
            filling = self._layout.filling(block)
        except BadReply:
            if self._repair.spoilt(block) > self._layout.size // 3:
                return None
            self._usual.damaged()
            self._damaged(block, asked)
        else:
            always, fits = self._usual.always_fits, self._repair.money.fits(filling)
            self._usual.block(filling, block, self._repair.money)
            if always and not fits:
                self._damaged(block, asked)  # the check is of four bits only
            else:
                self._said.append(FillingHeard(filling.pump, (filling,), block, whole=True, clear=True))
        self._asked = None
        return self._layout.size

    def _damaged(self, block: bytes, asked: int | None) -> None:
        self._repairs += 1
        if self._repairs > MOST_REPAIRS:
            return
        possible, clear = self._repair.nearest(block, asked, self._usual)
        pumps = dict.fromkeys(filling.pump for filling in possible)
        alone = len(pumps) == 1 and self._usual.is_quiet
        for pump in pumps:
            ours = tuple(filling for filling in possible if filling.pump == pump)
            self._said.append(FillingHeard(pump, ours, block, whole=False, clear=clear, alone=alone))

    def _block(self, rest: bytes, at: int, asked: tuple[Question, int] | None) -> int:
        """Another block: totals, a price, or one that says nothing to us."""
        end = rest.find(END, at, at + LONGEST_BLOCK) + 1
        words = rest[at : end or at + LONGEST_BLOCK]
        if min(words) < 0xE0:
            return 1
        if not end:
            return 0 if len(words) < LONGEST_BLOCK else 1
        if not is_sound(words):
            return 1
        if words[1] == NEXT_GRADE and len(words) > GRADE_WORDS:
            try:
                grades = totals(words)
            except BadReply:
                return len(words)
            for grade in grades:
                self._usual.price(grade.price)
            if asked is not None and asked[0] is Question.TOTALS:
                self._said.append(TotalsHeard(asked[1], grades))
        elif len(words) == _PRICE_BLOCK and words[5] == 0xF7 and is_number(words[6:10]):
            self._usual.price(number(words[6:10]))
        return len(words)

    def _money(self, rest: bytes, at: int, pump: int) -> int:
        """Running money: exactly so many digits between bytes that are none."""
        digits = self._layout.digits
        words = rest[at + 1 : at + 1 + digits]
        if not is_number(words) or (at and rest[at - 1] >= 0xE0 and rest[at - 1] != END):
            return 1
        if len(rest) < at + 2 + digits:
            return 0
        if not is_number(rest[at + 1 + digits : at + 2 + digits]):
            self._said.append(MoneyHeard(pump, number(words)))
        return 1

    def _nozzle(self, rest: bytes, at: int) -> int:
        reply = rest[at : at + max(_NOZZLE_REPLY)]
        if not reply.startswith(_NOZZLE_HEAD[: len(reply)]):
            return 1
        for length in _NOZZLE_REPLY:
            if len(reply) < length:
                return 0
            if reply[length - 2 : length] == _NOZZLE_TAIL:
                self._said.append(NozzleHeard(_nozzle_pump(reply[3]), reply[14] & 0x0F))
                return length
        return 1


def _nozzle_pump(word: int) -> int:
    """``B1`` to ``B9``, ``C1`` for pump 10 and so on."""
    return word & 0x0F if word >> 4 == 0xB else (word & 0x0F) + 9
