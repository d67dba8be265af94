"""One totalizer as it is heard on a wire whose totals name neither sale nor pump; sans-I/O, floor 1.

For drivers. A reading counts when it agrees with the sales since the one before, or when the next one agrees with it.
Some devices count a sale when the flow ends, others when the nozzle is hung up: both are understood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(slots=True)
class _Reading:
    value: int
    """In units of the last digit."""
    at: datetime | None
    """When it was heard, where that was said."""
    sold: float = 0.0
    """Since then, in units of the last digit."""
    sales: int = 0
    holds_next: bool = False
    """Whether the next sale that is told was over when it was read, so that it is in it."""


class Totalizer:
    """Follows one totalizer. A single reading that nothing confirms is kept back: it may be another pump's."""

    def __init__(self, digits: int) -> None:
        """After so many digits it begins again at zero."""
        self._roll = 10.0**digits
        self._before: _Reading | None = None
        """What counted before a reading that no sale explains yet."""
        self._known: _Reading | None = None
        self._doubtful: _Reading | None = None

    @property
    def value(self) -> int | None:
        """The last reading that counts, in units of its last digit."""
        return None if self._known is None else self._known.value

    @property
    def at(self) -> datetime | None:
        """When that was heard."""
        return None if self._known is None else self._known.at

    @property
    def is_behind(self) -> bool:
        """Whether sales have been told since then that it does not contain."""
        return self._known is not None and self._known.sales > 0

    @property
    def is_sure(self) -> bool:
        """Whether the last reading heard counts."""
        return self._known is not None and self._doubtful is None

    def sold(self, amount: float) -> bool:
        """A sale has been told, in units of the totalizer's last digit; whether the last reading shows it already."""
        known, doubtful = self._known, self._doubtful
        if known is not None and doubtful is not None and not doubtful.sales and self._led(known, doubtful, amount):
            doubtful.holds_next = False
            self._before, self._known, self._doubtful = None, doubtful, None
            return True
        if doubtful is None and self._held_already(amount):
            return True
        self._before = None
        for reading in (known, doubtful):
            if reading is not None and not reading.holds_next:
                reading.sold += amount
                reading.sales += 1
        if doubtful is not None:
            doubtful.holds_next = False
        return False

    def missing(self, value: int) -> float | None:
        """By how much a reading exceeds what was told since the last one that counts; None when there is none.

        Negative when it falls short; as exact as the sales' figures are in the totalizer's own digits.
        """
        known = self._known
        if known is None:
            return None
        return (value - known.value - known.sold + self._roll / 2) % self._roll - self._roll / 2

    def hear(self, value: int, pending: float = 0.0, at: datetime | None = None) -> bool:
        """Take a reading; whether it shows that ``pending`` has been sold on top of what was told.

        ``at``: when it was heard.
        """
        for reading in (self._known, self._doubtful):
            if reading is None:
                continue
            for more in {0.0, pending}:
                if self._leads(reading, value, more):
                    if more:
                        self._before = None
                    elif reading is self._doubtful:
                        self._before = self._known
                    self._known, self._doubtful = _Reading(value, at), None
                    return more > 0 or (pending > 0 and self._held_already(pending))
        self._doubtful = _Reading(value, at, holds_next=pending > 0)
        return False

    def _held_already(self, amount: float) -> bool:
        """Whether the reading that counts has moved by this sale before it was told; asked once of each sale."""
        before, known = self._before, self._known
        if before is None or known is None or known.sales or not self._led(before, known, amount):
            return False
        self._before = None
        return True

    def _led(self, reading: _Reading, later: _Reading, more: float) -> bool:
        return self._leads(reading, later.value, more)

    def _leads(self, reading: _Reading, value: int, more: float) -> bool:
        """Whether what was sold since, and ``more``, makes ``value`` of it; each sale may be rounded."""
        sales = reading.sales + (more > 0)
        gap = (value - reading.value - reading.sold - more) % self._roll
        return min(gap, self._roll - gap) <= sales + 1e-6
