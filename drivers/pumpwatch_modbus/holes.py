"""Learns where a device has no registers, from the reads it refuses for their address; sans-I/O.

A map merges values over what lies between them, and a firmware may lack some of it. A refused read is halved, and asked
for in parts, until the hole is known: a value that is refused alone, or a gap that no read crosses although both sides
of it can be read. What was tried on the way and is explained by the hole is forgotten, so that hardly a read is made
too many. Each refusal adds a border or a hole, and there is room for finitely many: it ends.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from pumpwatch_modbus.reads import Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

ASKED_AGAIN = timedelta(hours=1)
"""After so long all is asked for again: the device may have been changed, or only been starting."""


class Holes:
    """What is known of one device."""

    def __init__(self) -> None:
        self.missing: tuple[Span, ...] = ()
        """Values that are refused alone."""
        self._crossings: set[Span] = set()
        """The last register before a hole to the first behind it, where no value lies in the hole."""
        self._tried: dict[Span, Span] = {}
        """The same on trial → the read that was refused and is parted there."""
        self._since: datetime | None = None

    @property
    def refusals(self) -> tuple[Span, ...]:
        """What no read may hold whole."""
        return (*self.missing, *self._crossings, *self._tried)

    def hide(self, value: Span) -> bool:
        """Whether a value cannot be read."""
        return any(value.holds(span) for span in (*self.missing, *self._crossings))

    def refused(self, read: Span, wanted: Iterable[Span], now: datetime) -> None:
        """The read of these values was refused because a register of it is none."""
        self._since = self._since or now
        parts = _parts(wanted)
        if len(parts) == 1:
            self.missing = (*self.missing, parts[0])
            self._explain(parts[0])
            return
        middle = read.first + read.size / 2
        left, right = min(pairwise(parts), key=lambda pair: abs(pair[1].first - middle))
        self._tried[Span(left.end - 1, right.first + 2 - left.end)] = read

    def answered(self, reads: Sequence[Span]) -> bool:
        """These reads have been answered; whether that proves a hole between two of them."""
        if not self._tried:
            return False
        proven = [
            crossing
            for crossing, parted in self._tried.items()
            if any(read.first <= parted.first and crossing.first < read.end for read in reads)
            and any(read.first < crossing.end and parted.end <= read.end for read in reads)
        ]
        for crossing in proven:
            self._crossings.add(crossing)
            self._explain(crossing)
        return bool(proven)

    def _explain(self, hole: Span) -> None:
        """Forget what was tried in reads that this hole accounts for."""
        self._tried = {crossing: parted for crossing, parted in self._tried.items() if not parted.holds(hole)}

    def forgotten(self, now: datetime) -> bool:
        """Forget all once an hour; whether something has been forgotten."""
        if self._since is None or now - self._since < ASKED_AGAIN:
            return False
        self.forget()
        return True

    def forget(self) -> None:
        """Know nothing."""
        self.missing, self._since = (), None
        self._crossings.clear()
        self._tried.clear()


def _parts(wanted: Iterable[Span]) -> list[Span]:
    """The values in order; those that overlap are one."""
    parts: list[Span] = []
    for span in sorted(wanted):
        if parts and span.first < parts[-1].end:
            last = parts.pop()
            span = Span(last.first, max(last.end, span.end) - last.first)  # noqa: PLW2901 - grown
        parts.append(span)
    return parts
