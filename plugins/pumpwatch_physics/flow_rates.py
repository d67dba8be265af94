"""How fast each filling flowed beside the others of its nozzle that day, and whether some form a faster second mode."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch.courses import medians

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch_physics.flow_fillings import Fillings

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

LEARN_DAYS: Final = 28
"""Over which a nozzle's own slow start and slow end are learnt."""
LEAST_DAYS: Final = 3
LEAST_A_DAY: Final = 10
LEAST_IN_ALL: Final = 20
"""Too few for any form."""
_START_S, _START_SD_S = 3.0, 3.0
_PRESET_SD_S: Final = 1.0
_OTHERS_SD: Final = 0.02
"""A nozzle is expected to slow down by so much, as a share, for each other one open."""
_NOISE: Final = 0.02
_CLOCK_S: Final = 0.41
"""Standard deviation of a duration between two whole seconds."""
_TRIMS: Final = (0.25, 0.12)
_STEADY_DAYS, _STEADY, _STEADY_SHARE = 7, 0.08, 0.3
HISTORY_DAYS: Final = len(_TRIMS) * (LEARN_DAYS - 1) + _STEADY_DAYS - 1
"""A day's flows depend on nothing before these."""
_SUMS: Final = 14
"""Of a day: nine of the normal equations, three of their right side, its pace, and whether it is full."""
LEARNT: Final = len(_TRIMS) * _SUMS + 1
"""Numbers of a day from which later ones are learnt: the sums of each round, and the logarithm of its flow."""
_TURN: Final = 25.0
"""Chi-square of one change within a day, from which the day is left out of the modes."""
_UNIT: Final = 1e-6

LOWEST, WIDTH, BINS = -0.10, 0.0025, 180
"""Of the histograms of the excess: −10 % to +35 %."""
_AT: Final = LOWEST + WIDTH * (np.arange(BINS) + 0.5)
SHIFTS: Final = np.array([0.0, 0.026, 0.035, 0.05, 0.07, 0.095, 0.13, 0.175, 0.23, 0.29])
_SLIGHT, _NEAREST = 0.035, 0.02
"""Shifts that can hardly be told from none, and not at all."""
_SIMPLER: Final = 3.0
"""Nats by which several copies must fit better than one."""
_SCALES: Final = np.array([0.014, 0.02, 0.028, 0.04, 0.06])
_TRIAL, _ROUNDS, _MOVES = 4, 16, 6


@dataclass(frozen=True, slots=True)
class Rates:
    """Fillings long enough to tell, by nozzle and day; n rows, D days."""

    row: Ints
    """Place in ``Fillings``."""
    nozzle: Ints
    day: Ints
    """From the first."""
    flow_l_min: Floats
    excess: Floats
    """Natural logarithm of the flow over the day's."""
    first_day: int
    centre: Floats
    """(N, D) logarithm of the day's flow; NaN where it is not known."""
    counted: Ints
    """(N, D) fillings."""
    histogram: Ints
    """(N, D, BINS) of the excess; none of a day within which the flow changed."""
    learnt: Floats
    """(N, D, LEARNT)"""

    def days(self, first: int, last: int) -> range:
        """Places of the days first <= day < last that there are."""
        return range(max(first - self.first_day, 0), min(last - self.first_day, self.centre.shape[1]))


@dataclass(frozen=True, slots=True)
class Modes:
    """A second mode of the flow."""

    nats: float
    """Log-likelihood ratio to one symmetric mode of any form."""
    share: float
    size: float
    """Mean of what the second mode flows faster, as a share."""
    size_sd: float
    centre: float
    """Of the first mode, in ``excess``."""


def rates(fillings: Fillings, nozzles: int, before: Rates | None = None) -> Rates | None:
    """The flow of each filling; None when there are none to judge. ``nozzles`` is how many the register has.

    A duration is a + p·preset + b·litres·(1 + c·others), ``others`` the mean number of other nozzles open meanwhile;
    b is the day's, a, p and c are those of the last 28 days. A day depends on nothing after it. ``before`` are those of
    the days before, if they are known already: at least 27, or all that have fillings.
    """
    if not len(fillings):
        return before
    earlier = np.zeros((nozzles, 0, LEARNT)) if before is None else before.learnt
    first = int(fillings.day.min()) if before is None else before.first_day + earlier.shape[1]
    days = int(fillings.day.max()) - first + 1
    group = fillings.nozzle * days + fillings.day - first
    edges = group.searchsorted(np.arange(nozzles * days + 1))
    seconds, litres, others = (fillings.end_us - fillings.start_us) / 1e6, fillings.litres, fillings.others
    preset = fillings.preset.astype(float)
    start = np.full(len(group), _START_S)
    slowed = np.zeros(len(group))
    known = np.zeros(nozzles * days, bool)
    learnt = np.zeros((nozzles, days, LEARNT))
    for number, trim in enumerate(_TRIMS):
        flow = _flow(seconds - start, litres * (1.0 + slowed * others))
        near = np.abs(flow - medians(flow, edges)[group]) < trim
        mine = slice(number * _SUMS, (number + 1) * _SUMS)
        learnt[:, :, mine] = _summed(group, near, seconds, litres, preset, others, (nozzles, days))
        a, p, c, known = _learnt(np.concatenate((earlier[:, :, mine], learnt[:, :, mine]), axis=1), days)
        start, slowed = a[group] + p[group] * preset, c[group]
    flow = _flow(seconds - start, litres * (1.0 + slowed * others))
    learnt[:, :, -1] = medians(flow, edges).reshape(nozzles, days)
    count = np.diff(edges)
    told = known & (count >= LEAST_A_DAY)
    plain = np.concatenate((earlier[:, :, -1], learnt[:, :, -1]), axis=1)
    centre = np.where(told, _centres(group, flow, edges, plain, days), np.nan)
    kept = told[group] & np.isfinite(flow)
    row, group, flow = np.flatnonzero(kept), group[kept], flow[kept]
    excess = flow - centre[group]
    place = np.floor((excess - LOWEST) / WIDTH).astype(np.int64)
    steady = ~_turns(group, excess, nozzles * days)[group] & (place >= 0) & (place < BINS)
    cells = np.bincount(group[steady] * BINS + place[steady], minlength=nozzles * days * BINS)
    made = Rates(
        row=row,
        nozzle=group // days,
        day=group % days + earlier.shape[1],
        flow_l_min=60.0 * np.exp(flow),
        excess=excess,
        first_day=first - earlier.shape[1],
        centre=centre.reshape(nozzles, days),
        counted=count.reshape(nozzles, days),
        histogram=cells.reshape(nozzles, days, BINS),
        learnt=learnt,
    )
    if before is None:
        return made
    return replace(
        made,
        centre=np.concatenate((before.centre, made.centre), axis=1),
        counted=np.concatenate((before.counted, made.counted), axis=1),
        histogram=np.concatenate((before.histogram, made.histogram), axis=1),
        learnt=np.concatenate((before.learnt, made.learnt), axis=1),
    )


def _flow(seconds: Floats, litres: Floats) -> Floats:
    return np.log(litres / np.maximum(seconds, 1.0))


def _centres(group: Ints, flow: Floats, edges: Ints, plain: Floats, days: int) -> Floats:
    """(groups,) each day's flow: the median of the fillings near the flow of the last days, if those are not too few.

    So a day on which many fillings are slow keeps its place, and a new filter gives a new one. ``plain`` (N, D) are the
    medians of all fillings, of which the last ``days`` are the groups.
    """
    padded = np.concatenate(
        [np.full((len(plain), _STEADY_DAYS - 1), np.inf), np.where(np.isnan(plain), np.inf, plain)], 1
    )
    lately = np.sort(np.lib.stride_tricks.sliding_window_view(padded, _STEADY_DAYS, axis=1)[:, -days:], -1)
    middle = (np.isfinite(lately).sum(-1).clip(1) - 1) // 2
    usual = np.take_along_axis(lately, middle[..., None], -1).ravel()
    near = np.abs(flow - usual[group]) < _STEADY
    near_edges = np.concatenate(([0], np.cumsum(near)))[edges]
    steady = np.diff(near_edges) >= _STEADY_SHARE * np.diff(edges)
    return np.where(steady, medians(flow[near], near_edges), plain[:, -days:].ravel())


def _summed(
    group: Ints,
    near: NDArray[np.bool_],
    seconds: Floats,
    litres: Floats,
    preset: Floats,
    others: Floats,
    shape: tuple[int, int],
) -> Floats:
    """(N, D, _SUMS) what each nozzle's days say of a, p and c; nothing of days with too few fillings."""
    nozzles, days = shape
    weight = np.where(near, 1.0 / ((_NOISE * seconds) ** 2 + _CLOCK_S**2), 0.0)
    columns = (np.ones(len(seconds)), preset, litres * others, litres)

    def summed(values: Floats) -> Floats:
        return np.bincount(group, weight * values, minlength=nozzles * days).astype(np.float64)

    normal = np.empty((nozzles * days, 4, 4))
    right = np.empty((nozzles * days, 4))
    for i, one in enumerate(columns):
        right[:, i] = summed(one * seconds)
        for j, other in enumerate(columns[: i + 1]):
            normal[:, i, j] = normal[:, j, i] = summed(one * other)
    # The day's own b is eliminated, so that a filter that clogs does not matter.
    full = np.bincount(group, near, minlength=nozzles * days) >= LEAST_A_DAY
    square = np.maximum(normal[:, 3, 3], 1e-12)
    left = normal[:, :3, :3] - normal[:, :3, 3, None] * normal[:, 3, None, :3] / square[:, None, None]
    rest = right[:, :3] - normal[:, :3, 3] * (right[:, 3] / square)[:, None]
    pace = right[:, 3] / square
    sums = np.concatenate((left.reshape(-1, 9), rest, pace[:, None], np.ones((len(pace), 1))), axis=1)
    return np.where(full[:, None], sums, 0.0).reshape(nozzles, days, _SUMS)


def _learnt(sums: Floats, days: int) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Of each nozzle and the last ``days`` (flat): a, p, c of the days up to it, and whether they are known."""
    total = _trailing(sums)[:, -days:]
    left, rest, number = total[..., :9].reshape(*total.shape[:2], 3, 3), total[..., 9:12], total[..., 13]
    pace = total[..., 12] / np.maximum(number, 1.0)
    pace = np.where(pace > 0.0, pace, 1.0)
    prior = np.zeros((*number.shape, 3))
    prior[..., 0], prior[..., 1] = _START_SD_S**-2, _PRESET_SD_S**-2
    prior[..., 2] = (_OTHERS_SD * pace) ** -2
    rest[..., 0] += prior[..., 0] * _START_S
    found = np.linalg.solve(left + prior[..., None] * np.eye(3), rest[..., None])[..., 0].astype(np.float64)
    known = (number >= LEAST_DAYS) & (sums[:, -days:, 13] > 0.0)
    return found[..., 0].ravel(), found[..., 1].ravel(), (found[..., 2] / pace).ravel(), known.ravel()


def _trailing(values: Floats) -> Floats:
    """Sums over the last 28 days, always in the same order, so that they do not depend on where the past begins."""
    total = values.copy()
    for back in range(1, min(LEARN_DAYS, values.shape[1])):
        total[:, back:] += values[:, :-back]
    return total


def _turns(group: Ints, excess: Floats, groups: int) -> NDArray[np.bool_]:
    """(groups,) days within which the flow changed once and for all: a new filter, work on the pump."""
    clipped = np.rint(np.clip(excess, -0.1, 0.1) / _UNIT).astype(np.int64)
    edges = np.searchsorted(group, np.arange(groups + 1))
    sums = np.concatenate(([0], np.cumsum(clipped)))
    before = (sums[1:] - sums[edges[group]]) * _UNIT
    whole = (sums[edges[1:]] - sums[edges[:-1]])[group] * _UNIT
    number = np.diff(edges)[group]
    place = np.arange(len(group)) - edges[group] + 1
    apart = before - whole * place / number
    variance = np.bincount(group, np.minimum(np.abs(excess), 0.1), minlength=groups) / np.maximum(np.diff(edges), 1)
    scale = np.maximum(1.2533 * variance, _NOISE)[group] ** 2 * place * np.maximum(number - place, 1) / number
    turned = np.zeros(groups, bool)
    turned[group[(place < number) & (apart**2 > _TURN * scale)]] = True
    return turned


def lopsided(histograms: Ints) -> Floats:
    """(…,) how many standard deviations more there is far above the median than far below; 0 where there is little.

    Cheap, and generous: what is below 2.8 is not worth ``two_modes``. So far out as four spreads there is hardly
    anything by chance, and four fillings are enough.
    """
    total = histograms.sum(-1)
    cumulated = np.cumsum(histograms, -1)

    def quantile(share: float) -> Ints:
        found: Ints = (cumulated < (share * total)[..., None]).sum(-1)
        return found

    def until(places: Ints) -> Ints:
        """How many lie in the bins before these."""
        found: Ints = np.take_along_axis(cumulated, np.clip(places, 1, BINS)[..., None] - 1, -1)[..., 0]
        return np.where(places > 0, found, 0)

    middle = quantile(0.5)
    spread = np.maximum(quantile(0.69146) - quantile(0.30854), 3)
    best = np.zeros(total.shape)
    for times, worth in ((1.5, 1.0), (2.5, 1.0), (4.0, 1.4)):
        above = total - until(middle + np.floor(times * spread).astype(np.int64) + 1)
        below = until(middle - np.floor(times * spread).astype(np.int64))
        best = np.maximum(best, worth * (above - below) / np.sqrt(np.maximum(above + below, 1)))
    return np.where(total >= LEAST_IN_ALL, best, 0.0)


def two_modes(histogram: Ints, least: float = -math.inf) -> Modes | None:
    """Fit one symmetric mode of any form (a mixture of widths), and the same with faster copies of itself beside it.

    Both by expectation and maximisation from the same start; the copies share the widths of the first mode. One copy is
    preferred where several fit hardly better. None where the likelihood ratio stays below ``least`` nats; where it is
    far from it after a few rounds, no more are made.
    """
    seen = histogram.astype(float)
    centre = float(_AT[np.searchsorted(np.cumsum(seen), 0.5 * seen.sum())])
    if least > 0.0:
        tried = _fit(seen, SHIFTS, centre, _TRIAL).nats - _fit(seen, SHIFTS[:1], centre, _TRIAL).nats
        if tried < least / 3.0:
            return None
    one = _fit(seen, SHIFTS[:1], centre, _ROUNDS)
    fit = _fit(seen, SHIFTS, centre, _ROUNDS)
    nats = fit.nats - one.nats
    if nats < least:
        return None
    single = _fit(seen, np.array([0.0, math.log1p(fit.size)]), centre, _ROUNDS, moving=True)
    if fit.nats - single.nats < _SIMPLER:
        fit = single
    faster = np.expm1(fit.shifts[1:])
    spread = math.sqrt(max(float(fit.weights[1:] @ (faster - fit.size) ** 2) / fit.share, 0.0))
    sd = math.hypot(_uncertainty(seen, fit), spread / math.sqrt(max(fit.share * float(seen.sum()), 1.0)))
    return Modes(nats, fit.share, fit.size, sd, fit.centre)


@dataclass(frozen=True, slots=True)
class _Fit:
    """One mode and faster copies of it; the first shift is 0."""

    nats: float
    """Log-likelihood."""
    centre: float
    shifts: Floats
    weights: Floats
    widths: Floats

    @property
    def share(self) -> float:
        """Of the copies."""
        return max(float(1.0 - self.weights[0]), 1e-9)

    @property
    def size(self) -> float:
        """Their mean shift, as a share."""
        return float(self.weights @ np.expm1(self.shifts)) / self.share


def _density(centre: float, shifts: Floats, wider: float = 1.0) -> Floats:
    """(BINS, K, J) chances of the bins at each shift and width."""
    away = (_AT[:, None, None] - centre - shifts[None, :, None]) / (wider * _SCALES)
    made: Floats = np.exp(-0.5 * away**2) * (WIDTH / math.sqrt(2.0 * math.pi)) / (wider * _SCALES)
    return made


def _fit(seen: Floats, shifts: Floats, centre: float, rounds: int, *, moving: bool = False) -> _Fit:
    """The likeliest centre and weights; where ``moving``, the likeliest second shift too."""
    total, kinds = float(seen.sum()), len(shifts)
    weights = np.full(kinds, 0.1 / max(kinds - 1, 1))
    weights[0] = 1.0 - weights[1:].sum()
    widths = np.full(len(_SCALES), 1.0 / len(_SCALES))
    for _ in range(rounds):
        made = _density(centre, shifts)
        flat = made.reshape(BINS, -1)
        for _ in range(_MOVES):
            chance = flat @ (weights[:, None] * widths).ravel() + 1e-12
            pull = ((seen / chance) @ flat).reshape(kinds, -1)
            weights, widths = weights * (pull @ widths) / total, widths * (weights @ pull) / total
            weights, widths = weights / weights.sum(), widths / widths.sum()
        chance = flat @ (weights[:, None] * widths).ravel() + 1e-12
        part = made * (weights[:, None] * widths / _SCALES**2) * (seen / chance)[:, None, None]
        away = _AT[:, None, None] - centre - shifts[None, :, None]
        if moving:
            step = float((part[:, 1:] * away[:, 1:]).sum() / max(float(part[:, 1:].sum()), 1e-12))
            shifts = np.array([0.0, min(max(shifts[1] + step, _NEAREST), float(SHIFTS[-1]))])
        centre += float((part * away).sum() / max(float(part.sum()), 1e-12))
    chance = _density(centre, shifts).reshape(BINS, -1) @ (weights[:, None] * widths).ravel() + 1e-12
    return _Fit(float(seen @ np.log(chance)), centre, shifts, weights, widths)


def _uncertainty(seen: Floats, fit: _Fit) -> float:
    """Standard deviation of the mean size, as a share.

    From the information of the centre, the share, the size and the width together, and of how many flow a little
    faster only: those can hardly be told from the first mode, and without them the mean is too large.
    """
    shifts, weights = np.append(fit.shifts, _SLIGHT), np.append(fit.weights, 0.0)

    def chances(by: Floats) -> Floats:
        mixed = weights * math.exp(by[1])
        mixed[-1] += by[4]
        mixed[0] += 1.0 - mixed.sum()
        made = _density(fit.centre + by[0], shifts * math.exp(by[2]), math.exp(by[3]))
        return made.reshape(BINS, -1) @ (mixed[:, None] * fit.widths).ravel() + 1e-12

    steps = np.array([1e-4, 1e-3, 1e-3, 1e-3, 1e-3 * fit.share])
    plain = chances(np.zeros(5))
    slopes = np.stack([(chances(row) - plain) / step for row, step in zip(np.diag(steps), steps, strict=True)])
    beliefs = np.array([0.02, 2.0, 2.0, 0.3, max(fit.share, 0.05)])
    information = (slopes / plain * seen.sum()) @ slopes.T + np.diag(beliefs**-2.0)
    toward = np.array([0.0, 0.0, fit.size, 0.0, (math.expm1(_SLIGHT) - fit.size) / fit.share])
    return math.sqrt(float(toward @ np.linalg.solve(information, toward)))
