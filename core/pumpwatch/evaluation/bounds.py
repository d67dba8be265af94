"""The least delay that any detector can have, from an item's own circumstances: what measured delays are held against.

Between two readings a tank falls by what the nozzles show, less what they show too much, plus what is lost:
``y = -sum_j (d_j + c) v_j - signal + w + e_t - e_(t-1)`` with fillings ``v_j``, meter drift ``d_j``, common loss ``c``,
the tank's wander ``w`` and the gauge's noise ``e``. Whitening ``e`` (first order moving average) and carrying ``c`` and
``d_j`` as states of known statistics gives the information about the signal that the readings hold, day by day. A test
of that information has, at one false alarm in ``GAMMA_DAYS``, the least mean delay of Lorden and Moustakides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch.model import to_us

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pumpwatch.evaluation.truth import Layout, TruthItem
    from pumpwatch.past import Levels, StationPast

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

GAMMA_DAYS: Final = 36_500.0
"""One false alarm in 100 nozzle-years."""
HISTORY_DAYS: Final = 60
"""Of honest readings before the onset that are used."""
MOST_DAYS: Final = 150
"""A bound beyond is none."""
NOISE_MM: Final = {"good": 0.099, "base": 0.197, "poor": 0.524}
"""Standard deviation of one reading's level, its rounding included: 1.5, 3 and 8 L at 15.3 L/mm."""
WANDER_MM: Final = {"good": 0.329, "base": 0.651, "poor": 1.309}
"""Of the level for each square root of a day: 5, 10 and 20 L at 15.3 L/mm."""
GALLON_L: Final = 3.785411784

_DAY_US: Final = 86_400_000_000
UNLOADING_US, _SETTLING_US = 45 * 60_000_000, 60 * 60_000_000
"""Readings from so long before a delivery's paper until so long after it say nothing."""
_LEAST_IDLE: Final = 20
_SOUND: Final = 0.98
"""Share of the idle readings, the calmest, from which the noise is taken."""
_FORGOTTEN: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Nuisances:
    """What is honestly wrong, as far as its statistics are known; zeros for a world in which nothing is."""

    common_loss_sd: float = 0.001
    """Of the wander of what all nozzles of a tank lose alike, as a fraction."""
    common_loss_days: float = 10.0
    """In which it is forgotten."""
    drift_sd: float = 0.0005
    """Of each meter's drift, as a fraction."""
    drift_days: float = 60.0
    wander: float = 1.0
    """Factor on the wander of the gauges."""


@dataclass(frozen=True, slots=True)
class Information:
    """What the readings of a tank hold, day by day: products of whitened fillings, one over the noise's variance."""

    fillings: Floats
    """(days, nozzles, nozzles) per fraction squared."""
    across: Floats
    """(days, nozzles): of the fillings with the signal."""
    signal: Floats
    """(days,) of the signal with itself."""


def bound_days(
    past: StationPast, layout: Layout, item: TruthItem, nuisances: Nuisances, extra_l: Floats | None = None
) -> float | None:
    """Mean days from the onset below which no detector of balances can come; None where no bound is known.

    ``extra_l`` (n of ``past.sales``) is what each filling shows beyond what was given, where that is known; else the
    item's size is taken for all that it touches. What one record shows needs no balance and has no bound.
    """
    if item.deterministic or item.onset >= past.end:
        return None
    touched = layout.nozzles_of(item.subject)
    leak = item.cause == "leak"
    if leak and item.unit == "gal/h":
        signal_l = np.zeros(len(past.sales))
        rate_l_day = item.size * GALLON_L * 24.0
    elif item.unit == "%" and (leak or item.cause == "short_delivery" or extra_l is not None):
        rate_l_day = 0.0
        if extra_l is None:
            mine = np.array([nozzle in touched for nozzle in past.sales.nozzle_ids], bool)
            signal_l = np.where(mine[past.sales.nozzle], past.sales.volume_l * item.size / 100.0, 0.0)
        else:
            signal_l = extra_l
        signal_l = np.where(past.sales.end_us > to_us(item.onset), signal_l, 0.0)
    else:
        return None
    growth: list[Floats] = []
    for group in sorted({layout.manifolds[layout.nozzles[nozzle][1]] for nozzle in touched}):
        known = information(past, group, to_us(item.onset), np.nan_to_num(signal_l), rate_l_day, nuisances)
        if known is not None:
            growth.append(evidence(known, nuisances))
    return least_delay(_summed(growth))


def _summed(growth: Sequence[Floats]) -> Floats:
    """(days of the longest,) of several tanks together; one whose readings end adds nothing more from then on."""
    total = np.zeros(max(map(len, growth), default=0))
    for nats in growth:
        if len(nats):
            total += np.pad(nats, (0, len(total) - len(nats)), mode="edge")
    return total


def formula_days(
    past: StationPast, layout: Layout, item: TruthItem, nuisances: Nuisances, extra_l: Floats | None
) -> float | None:
    """The rule of thumb for a selective cheat whose condition is known; None for others.

    The bound of the same cheat at all fillings, over the affected share of the sum of squared litres. It is right for
    fillings that stand alone. Those that follow one another closely are weighed together, which helps a cheat at all of
    them and not one at some: ``bound_days`` is longer.
    """
    if item.cause != "selective_short_delivery" or extra_l is None:
        return None
    touched = layout.nozzles_of(item.subject)
    rows = np.array([nozzle in touched for nozzle in past.sales.nozzle_ids], bool)[past.sales.nozzle]
    rows &= past.sales.end_us > to_us(item.onset)
    squares = np.nan_to_num(past.sales.volume_l[rows]) ** 2
    share = float(squares[extra_l[rows] > 0.0].sum() / max(squares.sum(), 1e-9))
    every = bound_days(past, layout, replace(item, cause="short_delivery"), nuisances)
    return None if every is None or share == 0.0 else every / share


def least_delay(nats: Floats) -> float | None:
    """Days until the test that knows everything has enough: ``nats`` (days,) is its mean evidence after each day.

    ``nats = ln(GAMMA_DAYS nats / days) - 1``, straight between days; within the first the evidence grows evenly.
    """
    days = np.arange(1, len(nats) + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        lacking = np.log(GAMMA_DAYS * nats / days) - 1.0 - nats
    enough = np.flatnonzero((nats > 0.0) & (lacking <= 0.0) & (GAMMA_DAYS * nats / days > math.e))
    if not enough.size:
        return None
    first = int(enough[0])
    if first == 0 or not math.isfinite(lacking[first - 1]):
        return max((math.log(GAMMA_DAYS * nats[first]) - 1.0) / float(nats[first]), 0.0) if first == 0 else first + 1.0
    return first + float(lacking[first - 1] / (lacking[first - 1] - lacking[first]))


def evidence(known: Information, nuisances: Nuisances) -> Floats:
    """(days since the onset,) mean evidence for the signal, nats, with common loss and drift as states of a filter."""
    nozzles = known.fillings.shape[1]
    sds = np.array([nuisances.common_loss_sd, *[nuisances.drift_sd] * nozzles])
    fades = np.exp(-1.0 / np.array([nuisances.common_loss_days, *[nuisances.drift_days] * nozzles]))
    steady = np.diag(sds**2)
    reach = np.hstack([np.ones((nozzles, 1)), np.eye(nozzles)])
    state, spread = np.zeros(nozzles + 1), steady.copy()
    nats, total = [], 0.0
    for fillings, across, own in zip(known.fillings, known.across, known.signal, strict=True):
        state = fades * state
        spread = fades[:, None] * (spread - steady) * fades + steady
        told = reach @ state
        score = across - fillings @ told
        spread = np.linalg.solve(np.eye(nozzles + 1) + spread @ reach.T @ fillings @ reach, spread)
        shared = reach.T @ score
        total += own - 2.0 * told @ across + told @ fillings @ told - shared @ spread @ shared
        state = state + spread @ shared
        nats.append(total / 2.0)
    return np.array(nats[HISTORY_DAYS:])


def information(
    past: StationPast, group: Sequence[str], onset_us: int, signal_l: Floats, rate_l_day: float, nuisances: Nuisances
) -> Information | None:
    """Of tanks that are one, by days from ``HISTORY_DAYS`` before the onset; None without readings.

    ``signal_l`` (n of ``past.sales``) litres at the end of each filling, ``rate_l_day`` evenly from the onset on.
    """
    first_us = onset_us - HISTORY_DAYS * _DAY_US
    last_us = min(onset_us + MOST_DAYS * _DAY_US, to_us(past.end))
    readings = _together(past, group, first_us, last_us)
    if readings is None:
        return None
    at_us, levels = readings
    nozzles = [nozzle.nozzle_id for nozzle in past.nozzles if nozzle.tank_id in group]
    codes = np.array([nozzles.index(each) if each in nozzles else -1 for each in past.sales.nozzle_ids])
    rows = np.flatnonzero((codes[past.sales.nozzle] >= 0) & (past.sales.end_us > at_us[0]))
    rows = rows[past.sales.end_us[rows] <= at_us[-1]]
    code, end_us = codes[past.sales.nozzle[rows]], past.sales.end_us[rows]
    window = np.searchsorted(at_us, end_us) - 1
    count = len(at_us) - 1
    step_us = np.diff(at_us)
    columns = np.zeros((len(nozzles) + 1, count))
    np.add.at(columns, (code, window), past.sales.volume_l[rows])
    np.add.at(columns[-1], window, signal_l[rows])
    columns[-1] += rate_l_day / _DAY_US * np.clip(at_us[1:] - onset_us, 0, step_us)
    cut = _cut(past, group, at_us)
    usual_us = float(np.median(step_us))
    cut |= step_us > 1.5 * usual_us
    idle = ~cut & _idle(at_us, past.sales.start_us[rows], end_us)
    noise2, wander2 = 0.0, 0.0
    for level in levels:
        kind = _kind(level, idle)
        litres_mm = _litres_mm(level)
        noise2 += (NOISE_MM[kind] * litres_mm) ** 2
        wander2 += (nuisances.wander * WANDER_MM[kind] * litres_mm) ** 2
    white = _whitened(columns, cut, noise2, wander2 * usual_us / _DAY_US)
    day = (at_us[1:] - 1 - first_us) // _DAY_US
    days = int(day[-1]) + 1
    products = _by_day(white, day, days)
    return Information(products[:, :-1, :-1], products[:, :-1, -1], products[:, -1, -1])


def _together(past: StationPast, group: Sequence[str], first_us: int, last_us: int) -> tuple[Ints, list[Levels]] | None:
    """Readings of all tanks of the group at the times that they share."""
    levels = [past.levels.get(tank) for tank in group]
    every = [level for level in levels if level is not None and len(level)]
    if len(every) < len(group):
        return None
    at_us = every[0].at_us
    for level in every[1:]:
        at_us = np.intersect1d(at_us, level.at_us, assume_unique=True)
    at_us = at_us[(at_us >= first_us) & (at_us <= last_us)]
    if len(at_us) < 3:
        return None
    return at_us, [level.take(np.searchsorted(level.at_us, at_us)) for level in every]


def _cut(past: StationPast, group: Sequence[str], at_us: Ints) -> NDArray[np.bool_]:
    """Windows in which deliveries come or settle."""
    cut = np.zeros(len(at_us) - 1, bool)
    for delivery in past.deliveries:
        if delivery.tank_id in group:
            at = to_us(delivery.at)
            cut |= (at_us[1:] > at - UNLOADING_US) & (at_us[:-1] < at + _SETTLING_US)
    return cut


def _idle(at_us: Ints, start_us: Ints, end_us: Ints) -> NDArray[np.bool_]:
    """Windows in which nothing is sold."""
    begun = np.searchsorted(np.sort(start_us), at_us[1:])
    over = np.searchsorted(np.sort(end_us), at_us[:-1])
    return np.asarray(begun == over, bool)


def _kind(level: Levels, idle: NDArray[np.bool_]) -> str:
    """The class of a gauge by how its level trembles while nothing is sold; ``base`` where that is not to be seen."""
    steps = np.diff(level.height_mm)[idle] ** 2
    steps = np.sort(steps[np.isfinite(steps)])
    if len(steps) < _LEAST_IDLE:
        return "base"
    noise = max(math.sqrt(float(steps[: max(int(_SOUND * len(steps)), 1)].mean()) / 2.0), 1e-6)
    return min(NOISE_MM, key=lambda kind: abs(math.log(noise / NOISE_MM[kind])))


def _litres_mm(level: Levels) -> float:
    """Litres a millimetre, where the tank usually stands."""
    known = np.isfinite(level.height_mm) & np.isfinite(level.volume_l)
    height, volume = level.height_mm[known], level.volume_l[known]
    if len(height) < 2 or np.ptp(height) < 1.0:
        return 15.3
    return abs(float(np.polyfit(height - height.mean(), volume, 1)[0]))


def _whitened(columns: Floats, cut: NDArray[np.bool_], noise2: float, wander2: float) -> Floats:
    """Columns / (1 - theta B) over the residual's sd, begun anew after each cut; by doubling, log2 of the memory."""
    ratio = (wander2 + 2.0 * noise2) / noise2
    theta = (ratio - math.sqrt(ratio * ratio - 4.0)) / 2.0
    white = np.where(cut, 0.0, columns)
    part = np.cumsum(cut)
    reach, factor = 1, theta
    while factor > _FORGOTTEN and reach < white.shape[1]:
        same = part[reach:] == part[:-reach]
        white[:, reach:] += factor * np.where(same, white[:, :-reach], 0.0)
        reach, factor = 2 * reach, factor * factor
    white[:, cut] = 0.0
    return white / math.sqrt(noise2 / theta)


def _by_day(white: Floats, day: Ints, days: int) -> Floats:
    """(days, columns, columns) sums of products."""
    products = np.zeros((days, len(white), len(white)))
    for number, first, last in _runs(day):
        part = white[:, first:last]
        products[number] = part @ part.T
    return products


def _runs(day: Ints) -> Iterator[tuple[int, int, int]]:
    edges = np.flatnonzero(np.diff(day)) + 1
    for first, last in zip([0, *edges.tolist()], [*edges.tolist(), len(day)], strict=True):
        yield int(day[first]), first, last
