"""Exact intervals for counts: Poisson for rates, Clopper and Pearson for shares; no tables, no approximations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

CONFIDENCE = 0.95


def poisson_interval(count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Limits of the mean of a Poisson count: outside them so few, or so many, would be rarer than half of the rest."""
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if count == 0 else _root(lambda mean: 1.0 - _poisson_cdf(count - 1, mean) - tail, 0.0, float(count))
    return low, poisson_upper(count, 1.0 - tail)


def poisson_upper(count: int, confidence: float = CONFIDENCE) -> float:
    """The one-sided limit: with a larger mean so few would be rarer than ``1 - confidence``. 3.0 for none at 95 %."""
    most = 2.0 * count + 50.0
    return _root(lambda mean: (1.0 - confidence) - _poisson_cdf(count, mean), 0.0, most)


def share_interval(hits: int, of: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Clopper and Pearson's limits of a share; (0, 1) of nothing."""
    if of == 0:
        return 0.0, 1.0
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if hits == 0 else _root(lambda p: 1.0 - _binomial_cdf(hits - 1, of, p) - tail, 0.0, 1.0)
    high = 1.0 if hits == of else _root(lambda p: tail - _binomial_cdf(hits, of, p), 0.0, 1.0)
    return low, high


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between the ordered values, as numpy has it; of at least one."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _poisson_cdf(count: int, mean: float) -> float:
    if mean <= 0.0:
        return 1.0
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


def _binomial_cdf(hits: int, of: int, p: float) -> float:
    if p <= 0.0:
        return 1.0
    if p >= 1.0:
        return 1.0 if hits >= of else 0.0
    logs = (
        math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * math.log(p) + (of - k) * math.log1p(-p)
        for k in range(hits + 1)
    )
    return math.fsum(map(math.exp, logs))


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses zero, by halving: to the last digit."""
    for _ in range(200):
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        low, high = (middle, high) if rising(middle) < 0.0 else (low, middle)
    return (low + high) / 2.0
