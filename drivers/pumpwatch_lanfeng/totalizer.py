"""One totalizer as it is heard; sans-I/O.

A reading counts when it agrees with the sales since the one before, or when the next one agrees with it.
"""

from __future__ import annotations

from dataclasses import dataclass

DIGITS = 12


@dataclass(slots=True)
class _Reading:
    value: int
    """In units of the last digit."""
    sold: float = 0.0
    """Since then, in units of the last digit."""
    sales: int = 0
    holds_next: bool = False
    """Whether the next sale that is told was over when it was read, so that it is in it."""

    def leads_to(self, value: int, more: float) -> bool:
        """Whether what was sold since, and ``more``, makes ``value`` of it; each sale may be rounded."""
        sales = self.sales + (more > 0)
        gap = (value - self.value - self.sold - more) % 10.0**DIGITS
        return min(gap, 10.0**DIGITS - gap) <= sales + 1e-6


class Totalizer:
    """Follows one totalizer. A single reading that nothing confirms is kept back: it may be another pump's."""

    def __init__(self) -> None:
        self._known: _Reading | None = None
        self._doubtful: _Reading | None = None

    @property
    def value(self) -> int | None:
        """The last reading that counts, in units of its last digit."""
        return None if self._known is None else self._known.value

    @property
    def is_sure(self) -> bool:
        """Whether the last reading heard counts."""
        return self._known is not None and self._doubtful is None

    def sold(self, amount: float) -> bool:
        """A sale has been told, in units of the totalizer's last digit; whether the last reading shows it already."""
        known, doubtful = self._known, self._doubtful
        if known is not None and doubtful is not None and not doubtful.sales and known.leads_to(doubtful.value, amount):
            doubtful.holds_next = False
            self._known, self._doubtful = doubtful, None
            return True
        for reading in (known, doubtful):
            if reading is not None and not reading.holds_next:
                reading.sold += amount
                reading.sales += 1
        if doubtful is not None:
            doubtful.holds_next = False
        return False

    def hear(self, value: int, pending: float = 0.0) -> bool:
        """Take a reading; whether it shows that ``pending`` has been sold on top of what was told."""
        for reading in (self._known, self._doubtful):
            if reading is None:
                continue
            for more in {0.0, pending}:
                if reading.leads_to(value, more):
                    self._known, self._doubtful = _Reading(value), None
                    return more > 0
        self._doubtful = _Reading(value, holds_next=pending > 0)
        return False
