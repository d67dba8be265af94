"""Counters of litres or money: what a step moved beyond the sales in it, roll-over taken out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pumpwatch import Transaction

FLOAT_DUST_L: Final = 1e-5
"""What binary fractions may add to a difference of readings."""
_FASTEST_L_S = 5.0
"""No nozzle gives more (300 L/min)."""
_MODULI = (*(10.0**digits for digits in range(5, 13)), 2**32 * 0.01, 2**32 * 0.001)
"""Where counters of dispensers roll over: decimal digits, and 32 bits of 0.01 L or 0.001 L."""


@dataclass(frozen=True, slots=True)
class Step:
    """Two sales of a nozzle with a totalizer, and those between that came without one."""

    first: Transaction
    between: tuple[Transaction, ...]
    second: Transaction

    @property
    def rising(self) -> bool:
        """Whether the numbers rise from sale to sale."""
        numbers = [self.first.seq, *(sale.seq for sale in self.between), self.second.seq]
        return all(a < b for a, b in pairwise(numbers))

    @property
    def missing(self) -> int:
        """Numbers of which there is no record."""
        return self.second.seq - self.first.seq - 1 - len(self.between)

    @property
    def litres(self) -> float:
        """On record since the first."""
        return math.fsum(sale.volume_l for sale in (*self.between, self.second))

    @property
    def cny(self) -> float:
        """Paid since the first."""
        return math.fsum(sale.amount_cny for sale in (*self.between, self.second))

    def gap_cny(self) -> float | None:
        """What the amount totalizer moved beyond the sales; None where it is not known."""
        if self.first.totalizer_cny is None or self.second.totalizer_cny is None:
            return None
        return totalizer_gap(self.first.totalizer_cny, self.cny, self.second.totalizer_cny)


def totalizer_gap(
    before: float,
    moved: float,
    after: float,
    *,
    tolerance: float = 0.02,
    modulus: float | None = None,
    missing: int = 0,
) -> float:
    """What the counter moved beyond ``moved``: after − moved − before, roll-over taken out.

    With a known modulus the nearest reading is taken. Without one a roll-over is believed only where it is the simple
    story: the counter stood below a usual modulus M, and modulo M the gap is nothing (within ``tolerance``) or at most
    M/1000, or 300 L for each of the ``missing`` sales between.
    """
    gap = after - moved - before
    if not math.isfinite(gap):
        return gap
    if modulus is not None:
        return math.remainder(gap, modulus)
    if gap < 0:
        for m in _MODULI:
            if before < m and -tolerance - FLOAT_DUST_L <= gap + m <= max(m / 1000, 300.0 * missing):
                return gap + m
    return gap


def set_back_through_zero(gap: float, after: float, seconds: float, modulus: float | None = None) -> float:
    """A gap that no nozzle can have given in this time is a counter turned back below zero: then gap − M, else gap."""
    if modulus is not None or not gap > _FASTEST_L_S * (max(seconds, 0.0) + 60.0):
        return gap
    back = gap - min((m for m in _MODULI if m > after), default=0.0)
    return back if -gap < back < 0.0 else gap
