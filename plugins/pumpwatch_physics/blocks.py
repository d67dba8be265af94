"""A tank's day as sufficient statistics: what the balance says of each nozzle, in blocks of three hours.

``held + sold`` at 20 °C rises by E·v when a nozzle shows E more than it gives, and falls by what leaks. Its readings
have white noise (gauge) on a wander (warmth, surface); differences of readings therefore have correlated noise of first
order, which is made white exactly (the innovations of a local level). Nothing of the information in the readings is
lost, however many fillings lie between two of them: the noise of neighbouring differences cancels.

With the whitened differences e and the whitened litres z, S = Σ z·e and G = Σ z·z' over a block say all there is to say
of the block (``detection.md`` B2): S ~ N(G·β, G).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch.courses import DAY_US, HOUR_US, MINUTE_US, NOISE_DAYS, Course, litres_20c, wrong_clocks
from pumpwatch_physics.strata import STRATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch import StationPast

    Floats = NDArray[np.float64]
    Floats32 = NDArray[np.float32]
    Ints = NDArray[np.int64]

BLOCKS: Final = 8
"""A day."""
BLOCK_US: Final = DAY_US // BLOCKS
LOOKS: Final = 3
"""Parts of a block: after each of them a fault that was suspected before may be told of."""
BANDS: Final = 12
"""Into which a tank is cut by volume: its chart may be wrong by another share in each."""
WARM_US: Final = 6 * HOUR_US
"""Before a day its filter begins, so that a day's digest is the same whatever is known of the days before."""
WANDER: Final = 3.3
"""Litres for each square root of a day over the litres of one reading's noise: of good, base and poor probes alike."""
_GAP_STEPS: Final = 3.5
_OUTLIER: Final = 6.0
_SHORT_MOST: Final = 0.35
"""A difference larger than the noise explains, or than this share of what was sold meanwhile, is not a nozzle's."""
_NOTHING: Final = 1e-18
"""What a row leaves in later ones is nothing then."""
_LEVELLING_US: Final = 5 * HOUR_US
"""After a delivery into one of joined tanks thousands of litres pass from one chart to the other."""
_CLOCK_US: Final = 40 * MINUTE_US
"""About a clock that was told to be wrong; no more, or whoever turns clocks blinds the tank."""
_AHEAD_US: Final = 32 * DAY_US
"""So much is made ready at once: for the step of one day nearly nothing, and months not day by day."""
_DIPS, _DIP_L = 12, 6.0
"""Differences of dips that are taken as seen before the first, and the noise of one."""
_BEFORE_RISE: Final = 1.5
"""Readings before a delivery: unloading has begun, the surface moves, and the level does not show it yet."""


@dataclass(frozen=True, eq=False)
class Day:
    """One tank's day; N nozzles, p = N + 1 + BANDS (nozzles, leak, bands of the chart), E = N · strata.

    Numbers are rounded to 32 bits when a day is made, so that a day kept is the day made.
    """

    noise_l: float
    """Of one reading."""
    scores: Floats32
    """(BLOCKS, p) S of each block: 1/fraction, and h/L for the leak."""
    information: Floats32
    """(BLOCKS, p, p) G of each block."""
    litres: Floats32
    """(BLOCKS, N) sold at 20 °C."""
    readings: Floats32
    """(BLOCKS,) differences of readings that were used."""
    part_scores: Floats32
    """(E,) S of the nozzles' strata, nozzle by nozzle, over the day."""
    part_cross: Floats32
    """(E, p) G between strata and the p others."""
    part_own: Floats32
    """(E,) G of each stratum with itself."""
    early_scores: Floats32
    """(BLOCKS, LOOKS − 1, p) S from a block's beginning until each look before its end."""
    early_information: Floats32
    """(BLOCKS, LOOKS − 1, p, p)."""

    @property
    def nozzles(self) -> int:
        """N."""
        return int(self.litres.shape[1])

    def to_array(self) -> Floats32:
        """(m,) everything, for keeping; of the bands only those that were touched."""
        bands = np.flatnonzero(self.information[..., self.nozzles + 1 :].reshape(-1, BANDS).any(axis=0))
        head = np.array([self.nozzles, self.noise_l, (1 << bands).sum()], np.float32)
        told = np.append(np.arange(self.nozzles + 1), self.nozzles + 1 + bands)
        square = (..., told[:, None], told)
        parts = (
            self.scores[:, told],
            self.information[square],
            self.litres,
            self.readings,
            self.part_scores,
            self.part_cross[:, told],
            self.part_own,
            self.early_scores[..., told],
            self.early_information[square],
        )
        return np.concatenate([head, *(each.ravel() for each in parts)])

    def without(self, blocks: NDArray[np.bool_]) -> Day | None:
        """As if nothing had been read in these blocks (BLOCKS,), nor of strata that day; None where they are all."""
        if blocks.all():
            return None
        if not blocks.any():
            return self
        kept = ~blocks
        return replace(
            self,
            scores=self.scores * kept[:, None],
            information=self.information * kept[:, None, None],
            readings=self.readings * kept,
            early_scores=self.early_scores * kept[:, None, None],
            early_information=self.early_information * kept[:, None, None, None],
            part_scores=np.zeros_like(self.part_scores),
            part_cross=np.zeros_like(self.part_cross),
            part_own=np.zeros_like(self.part_own),
        )

    @classmethod
    def from_array(cls, told: Floats32) -> Day:
        """The inverse of ``to_array``. Raises ``ValueError`` when it is not one."""
        n, touched = (int(told[0]), int(told[2])) if len(told) > 2 else (0, 0)
        bands = np.flatnonzero([touched >> band & 1 for band in range(BANDS)])
        there = np.append(np.arange(n + 1), n + 1 + bands)
        p, e, k = n + 1 + BANDS, n * len(STRATA), len(there)
        looks = (BLOCKS, LOOKS - 1)
        shapes = [(BLOCKS, k), (BLOCKS, k, k), (BLOCKS, n), (BLOCKS,), (e,), (e, k), (e,), (*looks, k), (*looks, k, k)]
        ends = list(accumulate((math.prod(shape) for shape in shapes), initial=3))
        if len(told) != ends[-1]:
            raise ValueError(f"{len(told)} numbers are no day of a tank with {n} nozzles")
        parts = [told[a:b].reshape(shape) for (a, b), shape in zip(pairwise(ends), shapes, strict=True)]
        scores, information, litres, readings, part_scores, part_cross, part_own, early, early_information = parts

        def wide(some: Floats32, axes: int) -> Floats32:
            made = np.zeros(some.shape[:-axes] + (p,) * axes, np.float32)
            made[(..., there[:, None], there) if axes > 1 else (..., there)] = some
            return made

        return cls(
            float(told[1]),
            wide(scores, 1),
            wide(information, 2),
            litres,
            readings,
            part_scores,
            wide(part_cross, 1),
            part_own,
            wide(early, 1),
            wide(early_information, 2),
        )


class Columns:
    """One tank's past made ready, some days at a time: litres of each nozzle and stratum at each reading."""

    def __init__(self, past: StationPast, course: Course, offset_us: int, draws: NDArray[np.bool_]) -> None:
        """``draws`` (sales,) are the fillings that were poured back."""
        self.course = course
        self._past, self._offset_us, self._draws = past, offset_us, draws
        self._ready, self._sold_ml = slice(0, 0), np.zeros((0, 0), np.int64)
        """Readings, and (those, N · (1 + strata)) sold until each: each nozzle's whole, then its strata; millilitres.

        They count from an arbitrary beginning.
        """
        capacity = math.fsum(tank.capacity_l for tank in past.tanks if tank.tank_id in course.tanks)
        self._width_l = max(capacity, 1.0) / BANDS
        self._clocks = [(clock.at_us - _CLOCK_US, clock.at_us + _CLOCK_US) for clock in wrong_clocks(past, course)]
        """Spans about a clock that was told to be wrong: fillings bear times at which they did not flow."""

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """(n,) readings that are level: not stirred by a delivery, work or draws that are poured back."""
        course = self.course
        if course.is_coarse:
            # From a dip to the next the fuel has come to rest; which hour it came is not known.
            usable = np.ones(len(course.at_us), bool)
            for span in (*course.unsure, *self._clocks):
                usable[slice(*np.searchsorted(course.at_us, span))] = False
            return usable
        usable = ~course.stirred
        for rise in course.rises:
            begin = rise.start_us - round(_BEFORE_RISE * course.step_us)
            usable[slice(*np.searchsorted(course.at_us, [begin, rise.start_us + 1]))] = False
            if len(course.tanks) > 1:
                usable[slice(*np.searchsorted(course.at_us, [rise.end_us, rise.end_us + _LEVELLING_US]))] = False
        for span in self._clocks:
            usable[slice(*np.searchsorted(course.at_us, span))] = False
        return usable

    @cached_property
    def _risen(self) -> NDArray[np.bool_]:
        """(n − 1,) differences between readings in which fuel came."""
        course = self.course
        risen = np.zeros(len(course.at_us) - 1, bool)
        for rise in course.rises:
            risen[slice(*np.searchsorted(course.at_us, [rise.start_us, rise.end_us]))] = True
        return risen

    def _noise_l(self, start_us: int) -> float:
        """Of one reading, known when a day begins; of dips from how they differ where no fuel came, drawn to 6 L."""
        if not self.course.is_coarse:
            return self.course.noise_l(start_us - DAY_US)  # the last day by UTC that is over wherever the stations are
        rows = self.course.rows(start_us - NOISE_DAYS * DAY_US, start_us)
        between = slice(rows.start, max(rows.stop - 1, rows.start))
        steps = np.rint(np.diff(self.course.book_ml[rows])[~self._risen[between]] / 1000.0).astype(np.int64)
        if not len(steps):
            return _DIP_L
        apart = np.rint(np.abs(steps - _middle(steps))).astype(np.int64)
        told = (1.4826 * _middle(apart)) ** 2 / (2.0 + WANDER**2)
        return math.sqrt((_DIPS * _DIP_L**2 + len(steps) * told) / (_DIPS + len(steps)))

    def _sold(self, rows: slice) -> Ints:
        """What is ready of these readings; where they are not, they and those of the next days are made so."""
        if not self._ready.start <= rows.start <= rows.stop <= self._ready.stop:
            last_us = int(self.course.at_us[rows.stop - 1])
            self._ready = slice(rows.start, int(np.searchsorted(self.course.at_us, last_us + _AHEAD_US)))
            at_us = self.course.at_us[self._ready]
            self._sold_ml = _sold(self._past, self.course, self._offset_us, self._draws, at_us)
        return self._sold_ml[rows.start - self._ready.start : rows.stop - self._ready.start]

    def day(self, start_us: int) -> Day:
        """The day that begins then."""
        course, n = self.course, len(self.course.nozzles)
        p, parts = n + 1 + BANDS, len(STRATA)
        noise = self._noise_l(start_us)
        rows = course.rows(start_us - max(WARM_US, 2 * course.step_us), start_us + DAY_US + 1)
        at = course.at_us[rows]
        scores, information = np.zeros((BLOCKS, p)), np.zeros((BLOCKS, p, p))
        litres, used = np.zeros((BLOCKS, n)), np.zeros(BLOCKS)
        part_sums = np.zeros((n * parts, 1 + p))
        part_own = np.zeros(n * parts)
        early, early_information = np.zeros((BLOCKS, LOOKS - 1, p)), np.zeros((BLOCKS, LOOKS - 1, p, p))
        if len(at) > 1 and n:
            gap = at[1:] - at[:-1]
            sold = self._sold(rows)
            step_sold = (sold[1:] - sold[:-1]).reshape(len(gap), n, 1 + parts) / 1000.0
            own, book_ml = step_sold[:, :, 0], course.book_ml[rows]
            book = np.diff(book_ml) / 1000.0
            looks_us = start_us + BLOCK_US // LOOKS * np.arange(BLOCKS * LOOKS + 1)
            looks = np.searchsorted(at[1:], looks_us, side="right").tolist()
            for number, (first, last) in enumerate(pairwise(looks[::LOOKS])):
                litres[number] = own[first:last].sum(axis=0)
            whole = self._whole(rows, gap, book, own.sum(axis=1), noise)
            chosen = np.flatnonzero(whole)
            fresh = np.append(True, chosen[1:] != chosen[:-1] + 1)[: len(chosen)]
            bands = self._bands(chosen, fresh, book_ml, course.sold_ml[rows])
            crossed = np.flatnonzero(bands.any(axis=0))
            raw = np.empty((len(chosen), 2 + n + len(crossed) + n * parts))
            raw[:, 0], raw[:, 1 : 1 + n], raw[:, 1 + n] = book[chosen], own[chosen], gap[chosen] / -HOUR_US
            raw[:, 2 + n : 2 + n + len(crossed)] = bands[:, crossed]
            raw[:, 2 + n + len(crossed) :] = step_sold[chosen, :, 1:].reshape(len(chosen), n * parts)
            white = whitened(raw, gap[chosen] / DAY_US, fresh, noise, WANDER * noise)
            shown, part = white[:, : 2 + n + len(crossed)], white[:, 2 + n + len(crossed) :]
            places = np.concatenate((np.arange(n + 1), n + 1 + crossed))
            cuts = np.searchsorted(chosen, looks).tolist()
            each = np.stack([shown[first:last].T @ shown[first:last] for first, last in pairwise(cuts)])
            sums = np.cumsum(each.reshape(BLOCKS, LOOKS, *each.shape[1:]), axis=1)
            square = (..., places[:, None], places)
            scores[:, places], information[square] = sums[:, -1, 1:, 0], sums[:, -1, 1:, 1:]
            early[..., places], early_information[square] = sums[:, :-1, 1:, 0], sums[:, :-1, 1:, 1:]
            used[:] = np.diff(cuts[::LOOKS])
            today = slice(cuts[0], cuts[-1])
            part_sums[:, np.append(0, 1 + places)] = part[today].T @ shown[today]
            part_own = np.einsum("ij,ij->j", part[today], part[today])
        parted = (part_sums[:, 0], part_sums[:, 1:], part_own)
        rounded = (scores, information, litres, used, *parted, early, early_information)
        return Day(float(np.float32(noise)), *(each.astype(np.float32) for each in rounded))

    def _whole(self, rows: slice, gap: Ints, book: Floats, sold: Floats, noise: float) -> NDArray[np.bool_]:
        """(m,) differences without a gap, a delivery, work or a jump."""
        usable = self.usable[rows]
        whole: NDArray[np.bool_] = usable[1:] & usable[:-1] & (gap <= _GAP_STEPS * _middle(gap))
        jumps = np.abs(book) > _OUTLIER * math.sqrt(2.0) * noise + _SHORT_MOST * sold
        if self.course.is_coarse:
            risen = self._risen[rows.start : rows.stop - 1]
            whole &= ~risen
            jumps &= ~risen
        whole &= ~jumps
        # A reading, or a filling's time, that is off makes two jumps, one up and one down: neither without the other.
        whole[1:] &= ~jumps[:-1]
        if self.course.step_us < SETTLED_US:
            whole[:-1] &= ~jumps[1:]
        return whole

    def _bands(self, chosen: Ints, fresh: NDArray[np.bool_], book_ml: Ints, sold_ml: Ints) -> Floats:
        """(m, BANDS) litres by which the level rose in each band, from a run's first readings and what was sold since.

        The readings themselves would bring their noise into both sides of the equation.
        """
        begins = np.flatnonzero(fresh)
        level = np.empty((len(chosen), 2))
        for first, last in pairwise([*begins.tolist(), len(chosen)]):
            row, end = int(chosen[first]), int(chosen[last - 1]) + 2
            begun = _middle(book_ml[row : min(row + level_readings(self.course.step_us), end)])
            sold = begun - sold_ml[row:end]
            level[first:last, 0], level[first:last, 1] = sold[:-1], sold[1:]
        low = self._width_l * np.arange(BANDS)
        inside = np.minimum(np.maximum(level[:, :, None] / 1000.0 - low, 0.0), self._width_l)
        risen: Floats = inside[:, 0] - inside[:, 1]
        return risen


def _middle(values: Ints) -> float:
    """The median; ``numpy.median`` takes its time with few."""
    those = sorted(values.tolist())
    return float(those[(len(those) - 1) // 2] + those[len(those) // 2]) / 2.0


def level_readings(step_us: float) -> int:
    """How many readings of a piece tell its level: those of its first hour, six at most."""
    return max(min(6, int(HOUR_US // max(step_us, 1.0))), 1)


SETTLED_US: Final = 30 * MINUTE_US
"""After a block's end every filling that was under way is recorded."""


def _sold(past: StationPast, course: Course, offset_us: int, draws: NDArray[np.bool_], at_us: Ints) -> Ints:
    """(n, N · (1 + strata)) whole millilitres sold until each of these times, in order, from somewhere before them."""
    columns = []
    for nozzle in course.nozzles:
        every = past.sales.of(nozzle)
        first = int(np.searchsorted(past.sales.end_us[every], at_us[0], side="right"))
        times = np.minimum(past.sales.start_us[every], past.sales.end_us[every])
        begun = np.flatnonzero(times[first:] <= at_us[-1])
        mine = slice(every.start + first, every.start + first + (int(begun[-1]) + 1 if len(begun) else 0))
        kept = np.isfinite(past.sales.volume_l[mine]) & ~draws[mine]
        masks = [np.ones(int(kept.sum()), bool)]
        masks += [stratum.mask(past.sales, mine, offset_us)[kept] for stratum in STRATA]
        columns.append(
            _until(
                past.sales.start_us[mine][kept],
                past.sales.end_us[mine][kept],
                litres_20c(past, mine, course)[kept],
                np.array(masks).T,
                at_us,
            )
        )
    return np.concatenate(columns, axis=1) if columns else np.zeros((len(at_us), 0), np.int64)


def _until(start: Ints, end: Ints, litres: Floats, masks: NDArray[np.bool_], at_us: Ints) -> Ints:
    """(n, m) whole millilitres of each of m masks that have flowed until these times, a filling evenly in its time."""
    amount = np.rint(litres * 1000.0).astype(np.int64)
    start = np.minimum(start, end)
    parts = amount[:, None] * masks
    whole = np.concatenate((np.zeros((1, masks.shape[1]), np.int64), np.cumsum(parts, axis=0)))
    sold: Ints = whole[np.searchsorted(end, at_us, side="right")]
    first, last = np.searchsorted(at_us, start, side="right"), np.searchsorted(at_us, end, side="left")
    count = np.maximum(last - first, 0)
    sale = np.repeat(np.arange(len(start)), count)
    row = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count) + first[sale]
    share = (at_us[row] - start[sale]) / np.maximum(end[sale] - start[sale], 1)
    flowed = np.rint(amount[sale] * share).astype(np.int64)
    np.add.at(sold, row, flowed[:, None] * masks[sale])
    return sold


def whitened(raw: Floats, days: Floats, fresh: NDArray[np.bool_], noise_l: float, wander: float) -> Floats:
    """(m, c) differences of readings made white and of unit variance, column by column; runs begin where ``fresh``.

    ``days`` (m,) lie between the readings; ``noise_l`` is the deviation of one reading, ``wander`` that of the level in
    litres for each square root of a day. The differences have variances 2·noise² + wander²·days and covariance −noise²
    with their neighbours of the run; the inverse of that matrix's Cholesky factor is applied. It is bidiagonal: a
    recurrence, which is run in steps of 1, 2, 4 … rows at once.
    """
    squares, shared, square = [], noise_l**4, 1.0
    for each, begins in zip((2.0 * noise_l**2 + wander**2 * days).tolist(), fresh.tolist(), strict=True):
        square = each if begins else each - shared / square
        squares.append(square)
    pivots = np.sqrt(squares)
    keeps = np.zeros(len(raw))
    keeps[1:] = noise_l**2 / (pivots[1:] * pivots[:-1])
    keeps[fresh] = 0.0
    white: Floats = raw / pivots[:, None]
    step = 1
    while step < len(raw) and keeps.max() > _NOTHING:
        white[step:] += keeps[step:, None] * white[:-step]
        keeps[step:] *= keeps[:-step].copy()
        keeps[:step] = 0.0
        step *= 2
    return white
