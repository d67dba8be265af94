"""Several devices behind one driver on one wire: who answers, and who is asked when; floor 1.

For drivers of a bus that they ask themselves. Without it one silent pump would use up the deadline of its dispenser's
whole scan, and all would seem to be gone. A dispenser of a single pump is left to the runner's deadline.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

from pumpwatch.errors import NotReachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

MISSES: Final = 2
"""Questions in a row that are not answered before a device is silent: some leave one out while their state changes."""
TRIED: Final = 2
"""Silent devices that are asked in one scan; the others wait for the next, so that a scan keeps its deadline."""
_T = TypeVar("_T")


class SilentError(NotReachable):
    """One of several devices does not answer; the line itself is well."""


class Turns:
    """The devices of one driver by their numbers on the wire."""

    def __init__(self, numbers: Iterable[int], answer_s: float) -> None:
        """A question waits ``answer_s`` for its answer, where there are several devices."""
        self._misses = dict.fromkeys(numbers, 0)
        self._answer_s = answer_s if len(self._misses) > 1 else None
        self._silent: deque[int] = deque()
        """In the order in which they are tried."""

    def is_silent(self, number: int) -> bool:
        """Whether it has not answered for a while."""
        return self._misses[number] >= MISSES

    def due(self) -> list[int]:
        """Whom to ask in this scan: all that answer, then the next of those that do not."""
        tried = list(self._silent)[:TRIED]
        self._silent.rotate(-len(tried))
        return [number for number in self._misses if not self.is_silent(number)] + tried

    async def within(self, number: int, answer: Awaitable[_T]) -> _T:
        """The answer of a device, or ``SilentError`` when there is none in time."""
        try:
            async with asyncio.timeout(self._answer_s):
                came = await answer
        except TimeoutError:
            self._misses[number] += 1
            if self._misses[number] == MISSES:
                self._silent.append(number)
            raise SilentError(f"number {number} on the line does not answer") from None
        if self.is_silent(number):
            self._silent.remove(number)
        self._misses[number] = 0
        return came
