"""Indication error of each nozzle: displayed against encoder volume, pooled over its sales, with a 95 % interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

FEWEST_SALES = 5
"""Below this many sales with an encoder volume a nozzle gets words, not a figure."""
RESOLUTION_L = 0.01
"""Both volumes are reported in whole hundredths of a litre; the interval cannot be narrower than that rounding."""


@dataclass(frozen=True, slots=True)
class Indication:
    """One nozzle's pooled error in %; plus means the customer is short. None with too few sales."""

    nozzle_id: str
    sales: int
    error: float | None = None
    low: float | None = None
    high: float | None = None


def indications(transactions: Iterable[Mapping[str, object]]) -> list[Indication]:
    """Pool the API's transactions by nozzle, in the order of ids; sales without an encoder volume are left out."""
    pairs: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for sale in transactions:
        nozzle = sale.get("nozzle_id")
        if not isinstance(nozzle, str):
            continue
        known, shown, counted = pairs[nozzle], _volume(sale.get("volume_l")), _volume(sale.get("encoder_l"))
        if shown and counted:
            known.append((shown, counted))
    return [_pooled(nozzle, pairs[nozzle]) for nozzle in sorted(pairs)]


def _volume(value: object) -> float | None:
    """Litres, or None for what is not a volume that was delivered."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None


def _pooled(nozzle_id: str, sales: list[tuple[float, float]]) -> Indication:
    """Ratio estimate: total displayed over total delivered, its standard error from the residuals of the single sales.

    Cochran, Sampling Techniques, 6.3: a sale weighs as much as its litres, and no sale's own error has to be normal.
    """
    n = len(sales)
    if n < FEWEST_SALES:
        return Indication(nozzle_id, n)
    shown, counted = sum(d for d, _ in sales), sum(e for _, e in sales)
    ratio = shown / counted
    scatter = sum((d - ratio * e) ** 2 for d, e in sales) * n / (n - 1)
    rounding = n * 2 * RESOLUTION_L**2 / 12
    half = _student(n - 1) * math.sqrt(max(scatter, rounding)) / counted
    return Indication(nozzle_id, n, 100 * (ratio - 1), 100 * (ratio - 1 - half), 100 * (ratio - 1 + half))


def _student(freedom: int) -> float:
    """Two-sided 95 % point of Student's t by its series (Abramowitz and Stegun 26.7.5); right to 0.001 from 4 on."""
    z = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / math.pow(freedom, k) for k, term in enumerate(terms, 1))
