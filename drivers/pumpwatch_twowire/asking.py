"""One question to a pump and its answer: what of the bytes that come back is the answer; sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pumpwatch import BadReply
from pumpwatch_twowire.words import (
    END,
    LONGEST_BLOCK,
    START,
    STATUSES,
    Filling,
    GradeTotal,
    Layout,
    Question,
    Status,
    is_number,
    is_sound,
    number,
    shown,
    totals,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


MOST_PASSED_OVER = 16
"""Whole answers to other questions that are passed over."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question, and how its answer is known.

    A loop may give back what is sent: an exact echo is taken off. Whole answers to other questions, which came too
    late for them, are passed over; anything else raises ``BadReply``.
    """

    question: Question
    pump: int
    layout: Layout
    echoes: bool | None = None
    """Whether the line is known to echo; decides what the question itself means as an answer to a status question."""

    @property
    def request(self) -> bytes:
        """The byte to send."""
        return self.question.to(self.pump)

    def complete(self, received: bytes) -> int:
        """See ``pumpwatch.Line``."""
        start = self.echo(received)
        for passed_over, (item, at) in enumerate(_items(received[start:], self.layout.digits)):
            if self._answers(item):
                return start + at + len(item)
            if passed_over >= MOST_PASSED_OVER:
                raise BadReply(f"pump {self.pump}: answers, but to other questions: {shown(received)}")
        return 0

    def echo(self, received: bytes) -> int:
        """How many bytes at the beginning are an echo."""
        if received[:1] != self.request:
            return 0
        return 0 if self.question is Question.STATUS and self.echoes is False else 1

    def status(self, reply: bytes) -> Status:
        """The answer to ``STATUS``."""
        return Status(self._answer(reply)[0] >> 4)

    def money(self, reply: bytes) -> int:
        """The answer to ``MONEY``, in units of its last digit."""
        return number(self._answer(reply))

    def filling(self, reply: bytes) -> tuple[Filling, bytes]:
        """The answer to ``TRANSACTION``, and the block it stood in."""
        block = self._answer(reply)
        return self.layout.filling(block), block

    def totals(self, reply: bytes) -> tuple[GradeTotal, ...]:
        """The answer to ``TOTALS``."""
        return totals(self._answer(reply))

    def _answer(self, reply: bytes) -> bytes:
        for item, _ in _items(reply[self.echo(reply) :], self.layout.digits):
            if self._answers(item):
                return item
        raise BadReply(f"pump {self.pump}, {self.question.name.lower()}: the reply ends too early: {shown(reply)}")

    def _answers(self, item: bytes) -> bool:
        """Whether a whole item is the answer. Raises ``BadReply`` for a damaged block."""
        match self.question:
            case Question.STATUS:
                return item[0] < 0xE0 and item[0] & 0x0F == self.pump & 0x0F
            case Question.MONEY:
                return 0xE0 <= item[0] <= 0xE9
            case Question.TRANSACTION:
                return item[0] == START and not _is_totals(item) and self.layout.filling(item).pump == self.pump
            case Question.TOTALS:
                return item[0] == START and _is_totals(item)


def _items(received: bytes, digits: int) -> Iterator[tuple[bytes, int]]:
    """Whole answers to whatever question, and where each begins; ends where bytes are missing."""
    at = 0
    while at < len(received):
        first = received[at]
        if first == START:
            end = received.find(END, at, at + LONGEST_BLOCK) + 1
            if not end and len(received) - at < LONGEST_BLOCK:
                return
            item = received[at : end or at + LONGEST_BLOCK]
            if not is_sound(item):
                raise BadReply(f"a block that does not check: {shown(item)}")
        elif first >> 4 in STATUSES:
            item = received[at : at + 1]
        else:
            item = received[at : at + digits]
            if not is_number(item):
                raise BadReply(f"neither status, number nor block: {shown(received[at:])}")
            if len(item) < digits:
                return
        yield item, at
        at += len(item)


def _is_totals(block: bytes) -> bool:
    return len(block) > 5 and block[1] == 0xF6
