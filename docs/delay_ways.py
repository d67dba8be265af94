"""What short delivery takes to find by other ways: the bound, a daily chart and the monthly rule, on invented tanks.

Only numpy and a seed: always the same figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pumpwatch.evaluation.bounds import HISTORY_DAYS, MOST_DAYS, Information, Nuisances, evidence, least_delay
from pumpwatch.evaluation.chance import quantile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SIZES = (0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Per cent short at one nozzle."""
SEED = 40_280
TANKS, HONEST_DAYS = 500, 3_650
"""On which the daily chart gets its threshold: 20,000 nozzle-years."""
WARM_DAYS, WATCHED_DAYS = 60, 1_200
MONTH_DAYS = 30
EPA_SHARE, EPA_LITRES = 0.01, 492.1
"""1.0 % of what flowed through in a month and 130 gallons."""
SLACK = 0.5
"""Of the daily chart, in its standard deviations."""
FILLING_L, FILLING_CV = 30.0, 0.5
_WINDOWS = 288
_PEAKS = ((1.0, 8.0, 2.2), (0.5, 12.5, 2.0), (1.1, 17.5, 3.0))
"""Of a day's trade: how high, at what hour, how wide."""


@dataclass(frozen=True, slots=True)
class Case:
    """A tank as ``config/fleets/score-physics-*.toml`` has it."""

    zh: str
    en: str
    nozzles: int = 4
    sales_a_day: int = 65
    gauge_l: float = 3.0
    """Standard deviation of one reading."""
    wander_l: float = 10.0
    """Of the tank's volume for each square root of a day."""
    nuisances: Nuisances = field(default_factory=Nuisances)


CASES = {
    "base": Case("基准", "base: 4 nozzles, 3 L gauge"),
    "good": Case("良好", "good: 1.5 L gauge", 4, 65, 1.5, 5.0, Nuisances(common_loss_sd=0.0005, drift_sd=0.0003)),
    "poor": Case("较差", "poor: 8 L gauge", 4, 65, 8.0, 20.0, Nuisances(common_loss_sd=0.002)),
    "quiet": Case("清淡", "quiet: 2 nozzles, 25 fillings", 2, 25),
    "busy": Case("繁忙", "busy: 8 nozzles", 8),
}


def computed() -> dict[str, Any]:
    """The bound of each case; the daily chart and the monthly rule in the base case. Seeded: always the same."""
    base = CASES["base"]
    threshold, spread = chart(base)
    ways = old_ways(base, threshold, spread)
    return {"bound": {name: bound(case) for name, case in CASES.items()}, "threshold": digits(threshold), **ways}


def bound(case: Case) -> list[list[float]]:
    """Pairs of size and least mean days; without sizes that take more than ``MOST_DAYS``."""
    fillings = weights(case, np.random.default_rng(SEED))
    since = np.arange(len(fillings)) >= HISTORY_DAYS
    pairs = []
    for size in SIZES:
        days = []
        for nozzle in range(case.nozzles):
            across = np.where(since[:, None], fillings[:, :, nozzle], 0.0) * size / 100.0
            signal = across[:, nozzle] * size / 100.0
            days.append(least_delay(evidence(Information(fillings, across, signal), case.nuisances)))
        known = [each for each in days if each is not None]
        if len(known) == len(days):
            pairs.append([size, float(f"{sum(known) / len(known):.3g}")])
    return pairs


def weights(case: Case, chance: np.random.Generator) -> Floats:
    """(days, nozzles, nozzles) products of a day's whitened fillings over the variance of five-minute readings.

    Three peaks of trade a day and a delivery every other day, which cuts.
    """
    days = HISTORY_DAYS + MOST_DAYS
    hour = np.arange(_WINDOWS) * 24.0 / _WINDOWS
    busy = np.full(_WINDOWS, 0.25)
    for high, at, wide in _PEAKS:
        busy += high * np.exp(-(((hour - at) / wide) ** 2))
    counts = chance.poisson(np.tile(case.sales_a_day * busy / busy.sum(), (case.nozzles, days)))
    sigma = math.sqrt(math.log1p(FILLING_CV**2))
    litres = np.zeros(counts.size)
    place = np.repeat(np.arange(counts.size), counts.ravel())
    np.add.at(litres, place, FILLING_L * chance.lognormal(-(sigma**2) / 2.0, sigma, len(place)))
    # Differences of readings have first order moving average noise; divided by its polynomial it is white.
    noise, wander = case.gauge_l**2, case.wander_l**2 / _WINDOWS
    ratio = (wander + 2.0 * noise) / noise
    theta = (ratio - math.sqrt(ratio * ratio - 4.0)) / 2.0
    white = litres.reshape(case.nozzles, days // 2, 2 * _WINDOWS)
    for window in range(1, 2 * _WINDOWS):
        white[..., window] += theta * white[..., window - 1]
    white[..., : _WINDOWS // 24] = 0.0  # a delivery settles
    white = white.reshape(case.nozzles, days, _WINDOWS) / math.sqrt(noise / theta)
    return np.asarray(np.einsum("idw,jdw->dij", white, white))


def balance(case: Case, chance: np.random.Generator, days: int, tanks: int) -> Iterator[tuple[Floats, Floats]]:
    """Day by day: (tanks,) book less gauge of an honest day, L, and (tanks, nozzles) litres shown.

    Deliveries are taken as booked right, which flatters whoever looks at sums.
    """
    honest = case.nuisances
    lost = honest.common_loss_sd * chance.standard_normal(tanks)
    drift = honest.drift_sd * chance.standard_normal((tanks, case.nozzles))
    kept, held = math.exp(-1.0 / honest.common_loss_days), math.exp(-1.0 / honest.drift_days)
    mean = case.sales_a_day * FILLING_L
    scatter = FILLING_L * math.sqrt(case.sales_a_day * (1.0 + FILLING_CV**2))
    before = case.gauge_l * chance.standard_normal(tanks)
    for _ in range(days):
        lost = kept * lost + math.sqrt(1.0 - kept**2) * honest.common_loss_sd * chance.standard_normal(tanks)
        drift = held * drift + math.sqrt(1.0 - held**2) * honest.drift_sd * chance.standard_normal(drift.shape)
        shown = mean + scatter * chance.standard_normal(drift.shape)
        read = case.gauge_l * chance.standard_normal(tanks)
        wander = case.wander_l * chance.standard_normal(tanks)
        yield ((lost[:, None] + drift) * shown).sum(axis=1) + wander + read - before, shown
        before = read


def chart(case: Case, tanks: int = TANKS, days: int = HONEST_DAYS) -> tuple[float, float]:
    """Threshold of the two-sided CUSUM at one false alarm in 100 nozzle-years, and the balance's sd, L."""
    honest = np.array([gap for gap, _ in balance(case, np.random.default_rng(SEED), days, tanks)])
    spread = float(honest.std())
    allowed = tanks * days * case.nozzles / 36_500.0
    low, high = 1.0, 1_000.0
    while high - low > 0.01 * low:
        middle = math.sqrt(low * high)
        if _alarms(honest / spread, middle) > allowed:
            low = middle
        else:
            high = middle
    return high, spread


def _alarms(gaps: Floats, threshold: float) -> int:
    """Of charts that begin anew after each."""
    up, down = np.zeros(gaps.shape[1]), np.zeros(gaps.shape[1])
    count = 0
    for gap in gaps:
        alarm = _chart_day(up, down, gap, threshold)
        up[alarm] = down[alarm] = 0.0
        count += int(alarm.sum())
    return count


def _chart_day(up: Floats, down: Floats, gap: Floats, threshold: float) -> NDArray[np.bool_]:
    """Carries both sums on by a day; where one is beyond the threshold."""
    np.maximum(0.0, up + gap - SLACK, out=up)
    np.maximum(0.0, down - gap - SLACK, out=down)
    beyond: NDArray[np.bool_] = np.maximum(up, down) >= threshold
    return beyond


def old_ways(case: Case, threshold: float, spread: float, tanks: int = 1_000) -> dict[str, Any]:
    """Delays of the daily chart and of the monthly rule, the same days for both and for all sizes.

    The fault begins at any time of a day, and on any day of a month.
    """
    chance = np.random.default_rng(SEED + 1)
    length = WARM_DAYS + WATCHED_DAYS + MONTH_DAYS
    days = [*balance(case, chance, length, tanks)]
    gaps = np.array([gap for gap, _ in days])
    total, first = np.array([shown.sum(axis=1) for _, shown in days]), np.array([shown[:, 0] for _, shown in days])
    begun, into = chance.random(tanks), chance.integers(0, MONTH_DAYS, tanks)
    first[:WARM_DAYS] = 0.0
    first[WARM_DAYS] *= 1.0 - begun
    daily, monthly = [], []
    for size in SIZES:
        short = gaps + size / 100.0 * first
        daily.append({"size": size, **_found(_by_chart(short / spread, threshold) - begun)})
        monthly.append({"size": size, **_found(_by_month(short, total, into) - begun)})
    false = _months(gaps, total, into).sum() / (tanks * case.nozzles * WATCHED_DAYS / 36_500.0)
    return {"daily": daily, "monthly": monthly, "monthly_false_alarms": round(float(false), 2)}


def _found(delays: Floats) -> dict[str, Any]:
    late = ~(delays <= WATCHED_DAYS)
    days = np.where(late, WATCHED_DAYS, delays)
    return told(1.0 - float(late.mean()), days.tolist())


def _by_chart(gaps: Floats, threshold: float) -> Floats:
    """(tanks,) days from the midnight before the onset; inf for never. What is before the onset is begun anew."""
    up, down = np.zeros(gaps.shape[1]), np.zeros(gaps.shape[1])
    delays = np.full(gaps.shape[1], np.inf)
    for day, gap in enumerate(gaps, 1 - WARM_DAYS):
        alarm = _chart_day(up, down, gap, threshold)
        if day <= 0:
            up[alarm] = down[alarm] = 0.0
        else:
            np.minimum(delays, np.where(alarm, float(day), np.inf), out=delays)
    return delays


def _by_month(gaps: Floats, total: Floats, into: NDArray[np.int64]) -> Floats:
    """(tanks,) likewise, at the ends of months; the onset is so many days ``into`` the first."""
    alarms = _months(gaps, total, into)
    ends = MONTH_DAYS * (1.0 + np.arange(len(alarms)))[:, None] - into
    return np.asarray(np.where(alarms, ends, np.inf).min(axis=0))


def _months(gaps: Floats, total: Floats, into: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(months, tanks) beyond what the rule allows."""
    edges = WARM_DAYS - 1 - into + MONTH_DAYS * np.arange(WATCHED_DAYS // MONTH_DAYS + 1)[:, None]
    gap, shown = (np.diff(np.take_along_axis(np.cumsum(each, axis=0), edges, axis=0), axis=0) for each in (gaps, total))
    beyond: NDArray[np.bool_] = np.abs(gap) > EPA_SHARE * shown + EPA_LITRES
    return beyond


def told(found: float, days: Sequence[float]) -> dict[str, Any]:
    """Share, mean and 90th percentile; ``days`` of all, of a miss until watching ended."""
    return {"found": round(found, 3), "days": digits(sum(days) / len(days)), "p90": digits(quantile(days, 0.9))}


def digits(value: float | None) -> float | None:
    """Three that count."""
    return None if value is None else float(f"{value:.3g}")
