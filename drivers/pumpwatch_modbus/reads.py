"""Covers the registers that are wanted with the fewest reads a device allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REGISTERS = 1 << 16
"""How many registers an address can name."""
_MOST_PATIENCE = 1 << 16


class Span(NamedTuple):
    """``size`` registers from ``first``."""

    first: int
    size: int

    @property
    def end(self) -> int:
        """The first register behind it."""
        return self.first + self.size

    def holds(self, other: Span) -> bool:
        """Whether all registers of ``other`` are in it."""
        return self.first <= other.first and other.end <= self.end

    def __str__(self) -> str:
        return f"{self.first}–{self.end - 1}" if self.size != 1 else str(self.first)


def plan(
    ranges: Iterable[Span], limit: int, forbidden_gaps: Iterable[Span] = (), refused: Iterable[Span] = ()
) -> tuple[Span, ...]:
    """The fewest reads, in order of address, such that each of ``ranges`` lies whole in one of them.

    A read is at most ``limit`` registers and touches no forbidden gap; a gap of size 0 is a border that no read
    crosses; nor does it hold a ``refused`` span whole, unless a range does. A range is a value or a record and is never
    torn in two, so that its registers are of one moment.

    The read for the lowest range still open may as well start at it: starting lower would take in nothing more. What
    it then takes in is all that any read holding that range could, so the number of reads is the least possible. Every
    turn closes at least that range, so it ends. Raises ``ValueError`` for a range that no read can hold.
    """
    gaps, refused = sorted(forbidden_gaps), tuple(refused)
    todo = sorted(set(ranges), key=lambda span: (span.first, -span.size))
    reads: list[Span] = []
    while todo:
        start = todo[0].first
        wall = min((gap.first for gap in gaps if gap.end > start), default=REGISTERS)
        reach = min(start + limit, wall)
        if todo[0].end > reach:
            why = f"over register {wall}, where no read may go" if wall < todo[0].end else f"of more than {limit}"
            raise ValueError(f"registers {todo[0]} cannot be read at once: {why}")
        reach = max(todo[0].end, min([reach, *(span.end - 1 for span in refused if span.first >= start)]))
        end = max(span.end for span in todo if span.end <= reach)
        reads.append(Span(start, end - start))
        todo = [span for span in todo if span.end > reach]
    return tuple(reads)


def gaps_between(blocks: Sequence[Span]) -> tuple[Span, ...]:
    """The forbidden gaps of a map that lists what can be read; none when it lists nothing."""
    if not blocks:
        return ()
    ordered = sorted(blocks)
    ends = [0, *(block.end for block in ordered)]
    starts = [*(block.first for block in ordered), REGISTERS]
    gaps = (Span(end, start - end) for end, start in zip(ends, starts, strict=True))
    return tuple(gap for gap in gaps if 0 < gap.first < REGISTERS or gap.size)


class Window:
    """How many requests may wait for an answer: fewer, for a while, after several at a time were not answered.

    Many gateways pass one request on and drop what comes meanwhile. Then one at a time is asked for ``patience`` reads,
    and twice as many each time that it has failed again.
    """

    def __init__(self, most: int, patience: int = 4096) -> None:
        self.most = most
        self._patience = patience
        self._wait = 0
        self._tried = False

    def opened(self) -> bool:
        """Whether to ask several at a time now; then say ``worked`` when all have been answered."""
        if self._tried:
            self._tried, self._wait = False, self._patience
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
        elif self._wait:
            self._wait -= 1
        self._tried = self.most > 1 and not self._wait
        return self._tried

    def worked(self) -> None:
        """They have been answered."""
        self._tried = False
