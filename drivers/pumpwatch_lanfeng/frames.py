"""Frames of twelve bytes both ways, and the only three questions that are ever asked; sans-I/O.

``gun, D1, command, D2 … D9, check``; the check byte brings the sum of all but the gun to zero modulo 256. Source: the
maker's sheet "RS-232 Protocol of Dispenser".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from pumpwatch import BadReply

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 12
NOZZLE_UP = 0x80
CONTROLLED = 0x40
AT_REST, FUELLING = 0x1, 0x2
"""Low nibbles of a status; others are not known."""


class Question(IntEnum):
    """All that this driver can send; each asks one gun and changes nothing."""

    STATE = 0xB8
    TOTAL_MONEY = 0xAC
    TOTAL_LITRES = 0xAD

    def to(self, gun: int) -> bytes:
        """The frame that asks a gun."""
        return bytes((gun, 0, self, 0, 0, 0, 0, 0, 0, 0, 0, -self & 0xFF))


@dataclass(frozen=True, slots=True)
class State:
    """What a gun shows, in units of the last digit, and how it is."""

    price: int
    money: int
    litres: int
    status: int

    @property
    def is_up(self) -> bool:
        """Whether the nozzle is out."""
        return bool(self.status & NOZZLE_UP)

    @property
    def is_controlled(self) -> bool:
        """Whether a controller has taken the gun over."""
        return bool(self.status & CONTROLLED)

    @property
    def is_fuelling(self) -> bool:
        """Whether it fuels."""
        return self.status & 0x0F == FUELLING

    @property
    def is_known(self) -> bool:
        """Whether the low nibble of the status is one whose meaning is known."""
        return self.status & 0x0F in {AT_REST, FUELLING}

    @property
    def figures(self) -> tuple[int, int, int]:
        """Price, money and litres."""
        return self.price, self.money, self.litres


def is_sound(frame: bytes) -> bool:
    """Whether twelve bytes are a frame."""
    return len(frame) == SIZE and any(frame[1:]) and sum(frame[1:]) & 0xFF == 0


def question(frame: bytes) -> Question | None:
    """Which of the three questions a frame is; None for another command or an answer."""
    if is_sound(frame) and frame[2] in _QUESTIONS and not frame[1] and not any(frame[3:11]):
        return Question(frame[2])
    return None


def state(frame: bytes, gun: int) -> State:
    """Read the answer to ``STATE``. Raises ``BadReply``."""
    _require(frame, gun)
    return State(_bcd(frame[2:4], frame), _bcd(frame[4:7], frame), _bcd(frame[7:10], frame), frame[10])


def total(frame: bytes, gun: int, asked: Question) -> int:
    """Read the answer to ``TOTAL_MONEY`` or ``TOTAL_LITRES``. Raises ``BadReply``."""
    _require(frame, gun)
    if not _may_be_total(frame, asked):
        raise BadReply(f"gun {gun}: no total: {frame.hex(' ')}")
    return _bcd(frame[5:11], frame)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question, and how its answer is known.

    A line may give back what is sent: an exact echo is taken off. Sound answers of other guns and to other questions,
    which came too late, are passed over; anything else raises ``BadReply``.
    """

    question: Question
    gun: int
    echoes: bool | None = None
    """Whether the line is known to echo; a total of zero may look like its question."""

    @property
    def request(self) -> bytes:
        """The frame to send."""
        return self.question.to(self.gun)

    def complete(self, received: bytes) -> int:
        """See ``pumpwatch.Line``."""
        start = self.echo(received)
        for at, frame in _frames(received, start):
            if self._answers(frame):
                return at + SIZE
        return 0

    def echo(self, received: bytes) -> int:
        """How many bytes at the beginning are an echo."""
        return SIZE if self.echoes is not False and received.startswith(self.request) else 0

    def state(self, reply: bytes) -> State:
        """The answer to ``STATE``."""
        return state(self._answer(reply), self.gun)

    def total(self, reply: bytes) -> int:
        """The answer to a question for a total."""
        return total(self._answer(reply), self.gun, self.question)

    def _answer(self, reply: bytes) -> bytes:
        for _, frame in _frames(reply, self.echo(reply)):
            if self._answers(frame):
                return frame
        raise BadReply(f"gun {self.gun}: the reply ends too early: {reply[:SIZE].hex(' ')}")

    def _answers(self, frame: bytes) -> bool:
        if not is_sound(frame):
            raise BadReply(f"gun {self.gun}: a frame that does not check: {frame.hex(' ')}")
        if frame[0] != self.gun:
            return False
        if self.question is Question.STATE:
            return frame[2] not in _QUESTIONS
        return _may_be_total(frame, self.question)


def _frames(received: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    for at in range(start, len(received) - SIZE + 1, SIZE):
        yield at, received[at : at + SIZE]


def _may_be_total(frame: bytes, asked: Question) -> bool:
    """It carries its question's command, or nothing where a state has its price."""
    return frame[2] == asked or not any(frame[1:5])


def _require(frame: bytes, gun: int) -> None:
    if not is_sound(frame):
        raise BadReply(f"gun {gun}: a frame that does not check: {frame[:SIZE].hex(' ')}")
    if frame[0] != gun:
        raise BadReply(f"gun {gun}: gun {frame[0]} answered: {frame.hex(' ')}")


def _bcd(packed: bytes, frame: bytes) -> int:
    text = packed.hex()
    if not text.isdecimal():
        raise BadReply(f"no number {text!r} in {frame.hex(' ')}")
    return int(text)


_QUESTIONS = frozenset(Question)
