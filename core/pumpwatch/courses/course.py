"""The balance of a station's tanks: what the gauges show, what was sold and what came, as one course a tank.

Tanks that a siphon joins are one. Litres are fuel at 20 °C and are kept as whole millilitres, so that a difference is
the same number wherever the past begins. ``book`` is what a tank holds plus what its nozzles have sold: it stays where
it is, but for losses, deliveries, and what nobody recorded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

from pumpwatch.courses.excuses import DAY_US, HOUR_US, MINUTE_US, draws_of, work_on
from pumpwatch.courses.medians import median, medians
from pumpwatch.model import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.past import Levels, StationPast

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

NOISE_DAYS: Final = 14
"""Over which the noise of the readings is learned."""
EXPANSION: Final = {"0#": 0.00083}
"""Per °C at 20 °C; any grade that is not here is petrol (0.0011 to 0.00125, GB/T 1885)."""
_PETROL: Final = 0.0012
_SLOSH_US: Final = 90 * MINUTE_US
_MERGED_US: Final = 20 * MINUTE_US
_BEFORE_US: Final = 40 * MINUTE_US
_AFTER_US: Final = 60 * MINUTE_US
_CALM_US: Final = 5 * MINUTE_US
_COARSE_US: Final = 6 * HOUR_US
_DIP_NOISE_L: Final = 20.0
"""Of a dip a day: what a stick or a glance at the gauge may be wrong by, and a day's honest loss."""
_LEAST_STEP_L: Final = 60.0
_LEAST_RISE_L: Final = 250.0
_FROZEN: Final = 5
_WORK_US: Final = 4 * HOUR_US
_JOINED_US: Final = 15 * MINUTE_US
"""Between readings of a joined tank no farther apart the volume is interpolated."""
_SAME_US: Final = 2 * MINUTE_US
"""Readings of joined tanks no farther apart are of one time."""


@dataclass(frozen=True, slots=True)
class Rise:
    """Fuel that came into a tank, by its gauge."""

    start_us: int
    """The last reading before it."""
    end_us: int
    """The first reading after which it rises no more."""
    litres: float
    """At 20 °C; what was sold meanwhile is added."""
    sd_l: float
    """Of ``litres``, by the noise of the readings."""
    worked_on: bool
    """A work order explains a step of the level: a probe, a chart, a cleaning."""


@dataclass(frozen=True, eq=False)
class Course:
    """One tank, or tanks that a siphon joins, reading by reading; n readings, oldest first."""

    station_id: str
    tanks: tuple[str, ...]
    grade: str
    nozzles: tuple[str, ...]
    """Those that the register has at these tanks."""
    at_us: Ints
    """(n,)"""
    volume_ml: Ints
    """(n,) fuel at 20 °C in all these tanks."""
    sold_ml: Ints
    """(n,) recorded until then, at 20 °C; counts from an arbitrary beginning."""
    warm_c: Floats
    """(n,)"""
    work: tuple[tuple[int, int], ...]
    """Spans about signed work on the tank or its gauge."""
    unsure: tuple[tuple[int, int], ...]
    """Spans in which a step proves nothing: work, and test draws that are poured back."""

    @property
    def subject(self) -> Subject:
        """The tank as a finding names it; of joined ones the first."""
        return Subject(self.station_id, tank_id=self.tanks[0])

    @cached_property
    def book_ml(self) -> Ints:
        """(n,) held plus sold."""
        return self.volume_ml + self.sold_ml

    @cached_property
    def step_us(self) -> int:
        """The usual time between readings."""
        return int(median(np.diff(self.at_us))) if len(self.at_us) > 1 else DAY_US

    @property
    def is_coarse(self) -> bool:
        """Dips rather than readings: between two of them whole deliveries come and go."""
        return self.step_us > _COARSE_US

    @cached_property
    def _daily_noise(self) -> tuple[Ints, Floats]:
        """UTC days with readings, and the robust deviation of a reading on each (second differences, MAD)."""
        if len(self.at_us) < 4:
            return np.zeros(0, np.int64), np.zeros(0)
        second = np.abs(self.book_ml[2:] - 2 * self.book_ml[1:-1] + self.book_ml[:-2]) / 1000.0
        day = self.at_us[2:] // DAY_US
        days, first = np.unique(day, return_index=True)
        return days, medians(second, np.append(first, len(day))) * 1.4826 / math.sqrt(6.0)

    def noise_l(self, at_us: int) -> float:
        """Robust standard deviation of one reading over the fortnight of days that ends with the day of ``at_us``."""
        if self.is_coarse:
            return _DIP_NOISE_L
        last = int(at_us) // DAY_US
        known = self._noise_until.get(last)
        if known is None:
            days, noise = self._daily_noise
            first, end = days.searchsorted(np.array([last - NOISE_DAYS + 1, last + 1]))
            known = self._noise_until[last] = max(median(noise[first:end]), 0.5) if end > first else 5.0
        return known

    @cached_property
    def _noise_until(self) -> dict[int, float]:
        """By UTC day, as far as it was asked for."""
        return {}

    @cached_property
    def _noises(self) -> Floats:
        """(n,) the noise at each reading."""
        days, where = np.unique(self.at_us // DAY_US, return_inverse=True)
        return np.array([self.noise_l(int(day) * DAY_US) for day in days.tolist()])[where]

    @cached_property
    def rises(self) -> tuple[Rise, ...]:
        """What came, oldest first."""
        if len(self.at_us) < 3:
            return ()
        up = np.diff(self.book_ml) / 1000.0
        least = np.clip(6.0 * math.sqrt(2.0) * self._noises[1:], _LEAST_STEP_L, 3.0 * _LEAST_STEP_L)
        rows = np.flatnonzero(up > least)
        spans: list[list[int]] = []
        for row in rows.tolist():
            soon = bool(spans) and self.at_us[row] - self.at_us[spans[-1][1]] <= min(_MERGED_US, 4 * self.step_us)
            if soon and not self.is_coarse:
                spans[-1][1] = row + 1
            else:
                spans.append([row, row + 1])
        found = (self._rise(spans, place) for place in range(len(spans)))
        return tuple(rise for rise in found if rise is not None)

    def _rise(self, spans: list[list[int]], place: int) -> Rise | None:
        """Measure one: the level before it against that after it, each the mean of calm readings."""
        first, last = spans[place]
        start, end = int(self.at_us[first]), int(self.at_us[last])
        floor = spans[place - 1][1] if place else 0
        ceiling = spans[place + 1][0] if place + 1 < len(spans) else len(self.at_us) - 1
        low = max(int(np.searchsorted(self.at_us, start - _BEFORE_US)), floor)
        high = min(int(np.searchsorted(self.at_us, end + _AFTER_US, side="right")) - 1, ceiling)
        calm = min(int(np.searchsorted(self.at_us, end + _CALM_US)), high)
        before, after = self.book_ml[low : first + 1], self.book_ml[max(calm, last) : max(high, last) + 1]
        reference = int(self.book_ml[first])
        litres = float((after - reference).mean() - (before - reference).mean()) / 1000.0
        noise = float(self._noises[last])
        if litres < max(_LEAST_RISE_L, 6.0 * math.sqrt(2.0) * noise + 100.0):
            return None
        sd = noise * math.sqrt(1.0 / len(before) + 1.0 / len(after))
        return Rise(start, end, litres, sd, self.is_unsure(start, end))

    def is_unsure(self, start_us: int, end_us: int) -> bool:
        """Whether a step in this span may have been made by work."""
        return any(a < end_us and start_us < b for a, b in self.unsure)

    def is_worked(self, start_us: int, end_us: int) -> bool:
        """Whether signed work falls into this span."""
        return any(a < end_us and start_us < b for a, b in self.work)

    @cached_property
    def stirred(self) -> Bools:
        """(n,) readings while fuel came or just afterwards, when the level sloshes and the fuel is still mixing."""
        stirred = np.zeros(len(self.at_us), bool)
        for rise in self.rises:
            first, last = np.searchsorted(self.at_us, [rise.start_us + 1, rise.end_us + _SLOSH_US])
            stirred[first:last] = True
        for start, end in self.unsure:
            first, last = np.searchsorted(self.at_us, [start, end])
            stirred[first:last] = True
        return stirred

    def rows(self, start_us: int, end_us: int) -> slice:
        """The readings at start <= time < end."""
        return slice(*self.at_us.searchsorted(np.array([start_us, end_us])).tolist())


_KNOWN: WeakKeyDictionary[StationPast, tuple[Course, ...]] = WeakKeyDictionary()


def courses(past: StationPast) -> tuple[Course, ...]:
    """The courses of all tanks with readings, those joined as one; made once a past."""
    known = _KNOWN.get(past)
    if known is None:
        known = _KNOWN[past] = tuple(_made(past))
    return known


def _made(past: StationPast) -> Iterator[Course]:
    groups = dict.fromkeys(past.manifold(tank.tank_id) for tank in past.tanks)
    draws = draws_of(past)
    for group in groups:
        levels = [past.levels.get(tank) for tank in group]
        grades = [tank.grade for tank in past.tanks if tank.tank_id == group[0]]
        if any(each is None or not len(each) for each in levels):
            continue
        course = _course(past, group, grades[0], [each for each in levels if each is not None], draws)
        if len(course.at_us) > 3:
            yield course


def _course(past: StationPast, group: tuple[str, ...], grade: str, levels: list[Levels], draws: Bools) -> Course:
    parts = [_fuel(past, tank, each, grade) for tank, each in zip(group, levels, strict=True)]
    at_us, volume, warm = parts[0]
    for other_us, other, _ in parts[1:]:
        told, theirs = _beside(at_us, other_us, other)
        at_us, volume, warm = at_us[told], volume[told] + theirs, warm[told]
    nozzles = tuple(nozzle.nozzle_id for nozzle in past.nozzles if nozzle.tank_id in group)
    sold = sold_until(past, nozzles, grade, at_us, warm, leave_out=draws)
    keep = ~_frozen(at_us, volume, sold) if len(group) == 1 else np.ones(len(at_us), bool)
    work = tuple(sorted((at - _WORK_US, at + _WORK_US) for at in work_on(past, group)))
    unsure = tuple(sorted((*work, *_drawn(past, nozzles, draws))))
    return Course(
        past.station_id, group, grade, nozzles, at_us[keep], volume[keep], sold[keep], warm[keep], work, unsure
    )  # fmt: skip


def _beside(at_us: Ints, other_us: Ints, volume_ml: Ints) -> tuple[Bools, Ints]:
    """Which times (n,) another gauge tells of too, and the millilitres it tells: gauges are read one after another.

    The nearest reading where it is of the same minutes, else what lies between two that are close together.
    """
    if not len(other_us):
        return np.zeros(len(at_us), bool), np.zeros(0, np.int64)
    after = np.minimum(np.searchsorted(other_us, at_us), len(other_us) - 1)
    before = np.maximum(after - (other_us[after] > at_us), 0)
    gap = other_us[after] - other_us[before]
    share = (at_us - other_us[before]) / np.maximum(gap, 1)
    inside = (other_us[before] <= at_us) & (at_us <= other_us[after]) & (gap <= _JOINED_US)
    later = np.abs(other_us[after] - at_us) < np.abs(at_us - other_us[before])
    nearest = np.where(later, after, before)
    same = np.abs(other_us[nearest] - at_us) <= _SAME_US
    step = volume_ml[after] - volume_ml[before]
    between = volume_ml[before] + np.rint(step * share).astype(np.int64)
    told = inside | same
    return told, np.where(inside, between, volume_ml[nearest])[told]


def _fuel(past: StationPast, tank: str, levels: Levels, grade: str) -> tuple[Ints, Ints, Floats]:
    """Times, millilitres at 20 °C and temperatures of the readings that tell a volume, or a height and a chart."""
    warm = levels.temperature_c
    fuel = levels.volume_l
    chart = past.charts.get(tank)
    if chart is not None and not np.isfinite(fuel).any():
        water = np.nan_to_num(levels.water_mm)
        fuel = np.interp(levels.height_mm, chart.height_mm, chart.volume_l) - np.interp(
            water, chart.height_mm, chart.volume_l
        )
    reckoned = fuel * (1.0 - expansion(grade) * np.nan_to_num(warm - 20.0))
    volume = np.where(np.isfinite(levels.volume_20c_l), levels.volume_20c_l, reckoned)
    told = np.isfinite(volume)
    at_us, warm = levels.at_us[told], np.nan_to_num(warm[told], nan=20.0)
    return at_us, np.rint(volume[told] * 1000.0).astype(np.int64), warm


def expansion(grade: str) -> float:
    """Per °C at 20 °C."""
    return EXPANSION.get(grade, _PETROL)


def sold_until(
    past: StationPast,
    nozzles: Iterable[str],
    grade: str,
    at_us: Ints,
    warm_c: Floats,
    *,
    leave_out: Bools | None = None,
) -> Ints:
    """(n,) millilitres at 20 °C that these nozzles' records have sold until these times, a sale evenly in its time."""
    sold = np.zeros(len(at_us), np.int64)
    for nozzle in nozzles:
        mine = past.sales.of(nozzle)
        start, end, litres = (getattr(past.sales, name)[mine] for name in ("start_us", "end_us", "volume_l"))
        told = np.isfinite(litres) if leave_out is None else np.isfinite(litres) & ~leave_out[mine]
        start, end, litres = start[told], end[told], litres[told]
        if not len(start) or not len(at_us):
            continue
        start = np.minimum(start, end)
        warm = np.interp(start, at_us, warm_c)
        amount = np.rint(litres * (1.0 - expansion(grade) * (warm - 20.0)) * 1000.0).astype(np.int64)
        whole = np.concatenate(([0], np.cumsum(amount)))
        sold += whole[np.searchsorted(end, at_us, side="right")]
        # Those that a reading falls into: the part that had flowed by then.
        first, last = np.searchsorted(at_us, start, side="right"), np.searchsorted(at_us, end, side="left")
        count = np.maximum(last - first, 0)
        sale = np.repeat(np.arange(len(start)), count)
        row = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count) + first[sale]
        share = (at_us[row] - start[sale]) / (end[sale] - start[sale])
        np.add.at(sold, row, np.rint(amount[sale] * share).astype(np.int64))
    return sold


def _frozen(at_us: Ints, volume: Ints, sold: Ints) -> Bools:
    """(n,) readings that repeat one and the same volume though more was sold than any noise would hide."""
    frozen = np.zeros(len(at_us), bool)
    if len(at_us) < _FROZEN:
        return frozen
    turns = np.flatnonzero(np.diff(volume)) + 1
    first, last = np.concatenate(([0], turns)), np.concatenate((turns, [len(volume)])) - 1
    for run in np.flatnonzero((last - first >= _FROZEN - 1) & (sold[last] - sold[first] > 60_000)).tolist():
        frozen[first[run] + 1 : last[run] + 1] = True
    return frozen


def _drawn(past: StationPast, nozzles: tuple[str, ...], draws: Bools) -> Iterator[tuple[int, int]]:
    for nozzle in nozzles:
        mine = past.sales.of(nozzle)
        ends = past.sales.end_us[mine][draws[mine]]
        if len(ends):
            breaks = np.flatnonzero(np.diff(ends) > HOUR_US)
            first = ends[np.concatenate(([0], breaks + 1))]
            last = ends[np.concatenate((breaks, [len(ends) - 1]))]
            for a, b in zip(first.tolist(), last.tolist(), strict=True):
                yield a - HOUR_US // 2, b + HOUR_US // 2


def litres_20c(past: StationPast, rows: slice, course: Course) -> Floats:
    """(n,) litres at 20 °C of these fillings, as warm as the tank was."""
    warm = np.interp(past.sales.start_us[rows], course.at_us, course.warm_c)
    litres: Floats = past.sales.volume_l[rows] * (1.0 - expansion(course.grade) * (warm - 20.0))
    return litres
