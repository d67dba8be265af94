"""Hears a Lanfeng line: the bytes of controller and guns as they passed become what the guns said; sans-I/O.

It may begin anywhere and bytes may be damaged. The gun's number is outside the check byte, so an answer is heard only
right behind a whole question to the same gun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from pumpwatch import BadReply
from pumpwatch_lanfeng.frames import SIZE, Question, State, question, state, total

_QUESTION = re.compile(rb"(?s).\x00[\xb8\xac\xad]\x00{8}.")


@dataclass(frozen=True, slots=True)
class StateHeard:
    """A gun's answer to ``STATE``."""

    gun: int
    state: State


@dataclass(frozen=True, slots=True)
class TotalHeard:
    """A gun's answer to a question for a total, in units of its last digit."""

    gun: int
    question: Question
    total: int


Heard: TypeAlias = StateHeard | TotalHeard


class Listener:
    """Fed with what passes, says what was said. Keeps less than two frames."""

    def __init__(self) -> None:
        self._rest = b""
        self._asked: bytes = b""
        """The question whose answer comes next."""

    def feed(self, data: bytes) -> list[Heard]:
        """Take the next bytes of the line; what they were understood to say."""
        rest, at = self._rest + data, 0
        said: list[Heard] = []
        while at + SIZE <= len(rest):
            frame = rest[at : at + SIZE]
            if self._asked and frame != self._asked:
                heard, self._asked = _answer(frame, self._asked), b""
                if heard is not None:
                    said.append(heard)
                    at += SIZE
                    continue
            if question(frame) is not None:
                self._asked = frame
                at += SIZE
                continue
            found = _QUESTION.search(rest, at + 1)
            at = found.start() if found else max(at + 1, len(rest) - SIZE + 1)
        self._rest = rest[at:]
        return said


def _answer(frame: bytes, asked: bytes) -> Heard | None:
    gun, kind = asked[0], Question(asked[2])
    try:
        if kind is Question.STATE:
            return StateHeard(gun, state(frame, gun))
        return TotalHeard(gun, kind, total(frame, gun, kind))
    except BadReply:
        return None
