"""The least delay that any detector can have, where it is known: what measured delays are held against."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pumpwatch.evaluation.truth import TruthItem

_SHORT: Final = ((0.5, 35.0), (1.0, 6.9), (2.0, 1.17), (3.0, 0.53), (5.0, 0.21), (10.0, 0.06))
"""Per cent short at one of four nozzles → days, at one false alarm in 100 nozzle-years.

The base case (3 L probe, 65 fillings a day of 30 L) with honest nuisances of known statistics: common loss wandering by
0.1 % and meters by 0.05 %. See docs/reference/performance.md.
"""
_LEAK: Final = ((0.1, 21.0), (0.2, 6.0), (0.5, 1.0))
"""Gallons an hour → days, at 10 L of unexplained wander for each square root of a day."""


def bound_days(item: TruthItem) -> float | None:
    """Mean days from the onset below which no detector of balances can come; None where no bound is known.

    Straight between the known points in logarithms. What one record shows needs no balance and has none.
    """
    if item.deterministic:
        return None
    if item.cause == "short_delivery" and item.unit == "%" and item.subject.nozzle_id is not None:
        return _between(_SHORT, item.size)
    if item.cause == "leak" and item.unit == "gal/h":
        return _between(_LEAK, item.size)
    return None


def _between(points: tuple[tuple[float, float], ...], size: float) -> float | None:
    if not points[0][0] <= size <= points[-1][0]:
        return None
    for (low, slow), (high, fast) in pairwise(points):
        if size <= high:
            share = math.log(size / low) / math.log(high / low)
            return math.exp((1.0 - share) * math.log(slow) + share * math.log(fast))
    return None
