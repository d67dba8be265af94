"""Falls of a tank that no record explains: in one step, night after night, or while the station was silent."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

from pumpwatch.courses import DAY_US, HOUR_US, MINUTE_US, NOISE_DAYS, Course, medians

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch import StationPast

_BEFORE_AND_AFTER: Final = 6
_FEWEST: Final = 3
_PASSING_US: Final = 15 * MINUTE_US
"""So long a withdrawal may take between the two windows; a longer one is measured over more."""
_ENOUGH: Final = 8
"""Values of a day that have a median and a deviation of their own."""
_LASTS_US: Final = 2 * HOUR_US
_CAME_US: Final = 3 * HOUR_US
_LASTING: Final = 0.6
_FEIGNED: Final = 0.5
"""A rise of such a share of it within hours: the records of sales have other times than the sales."""
LOSS_SHARE: Final = 0.003
"""Of what is sold: vapour, warmth and the mean of honest charts."""
SOLD_UNSURE: Final = 0.008
"""Share of what is sold meanwhile that meters and charts may hide or feign, as a hard addition to the threshold."""
FASTEST_L_MIN: Final = 400.0
"""No pump draws faster; such a step is one of the gauge or of its data."""
_SILENT_US: Final = 25 * MINUTE_US
_WORK_LASTS_US: Final = 6 * HOUR_US
_CAME_UNSURE: Final = 0.02
"""Share of what came meanwhile that may be an error of measuring it."""
_WANDER_L: Final = 5.0
"""Of a level for each square root of an hour, twice that of a common probe."""
_WORK_AGAIN_DAYS: Final = 35
_WORK_APART_DAYS: Final = 3
"""Losses nearer to each other are one occasion: a tank that is cleaned, or a probe that is changed twice."""


@dataclass(frozen=True, slots=True)
class Fall:
    """Fuel at 20 °C that left a tank between two readings, beyond what was sold."""

    start_us: int
    end_us: int
    judged_us: int
    """When it was seen to last."""
    litres: float
    sd_l: float
    limit_l: float
    sold_l: float
    """Recorded meanwhile."""
    silent: bool = False
    """No reading in between."""


def falls(course: Course, least_l: float, sigmas: float) -> tuple[Fall, ...]:
    """Every single fall and every fall over a silence, oldest first.

    The mean of six readings before against that of six after a quarter of an hour (fewer where readings are rare). The
    threshold is ``sigmas`` robust deviations of that very difference over the last fortnight, so that noise, wander and
    sloppy sales are in it, about its median of the last day, so that an even leak is not.
    """
    return tuple(sorted((*_steps(course, least_l, sigmas), *_silences(course, least_l, sigmas)), key=_order))


def _order(fall: Fall) -> tuple[int, int]:
    return fall.judged_us, fall.start_us


def _windows(course: Course) -> tuple[int, int]:
    """Readings a side, and steps between the two sides."""
    short = course.step_us <= 10 * MINUTE_US
    return (_BEFORE_AND_AFTER if short else _FEWEST), max(1, -(-_PASSING_US // max(course.step_us, 1)))


def _steps(course: Course, least_l: float, sigmas: float) -> Iterator[Fall]:
    side, across = _windows(course)
    at, n = course.at_us, len(course.at_us)
    count = n - 2 * side - across + 1
    if count < 2 * side:
        return
    last = np.arange(side - 1, side - 1 + count)  # the last reading of the window before
    book, sold = _differences(course.book_ml, side, across), -_differences(course.sold_ml, side, across)
    begin, end = at[last - side + 1], at[last + across + side - 1]
    broken = course.stirred | _pouring(course)
    broken[1:] |= np.diff(at) > 2.5 * course.step_us
    calm = np.concatenate(([0], np.cumsum(broken)))
    told = calm[last + across + side] == calm[last - side + 1]
    centre, sd = _usual(book, told, end)
    over = book - np.maximum(centre, LOSS_SHARE * sold)
    limit = np.maximum(sigmas * sd, least_l) + SOLD_UNSURE * np.abs(sold)
    hit = np.flatnonzero(told & (over > limit))
    if not len(hit):
        return
    for rows in np.split(hit, np.flatnonzero(np.diff(hit) > across) + 1):
        best = int(rows[np.argmax(over[rows])])
        wider = max(0, (len(rows) - 2 * side - across) // 2 + 1)
        first, after = int(last[best]) - wider, int(last[best]) + across + wider
        if first - side + 1 < 0 or after + side > n:
            continue
        litres = float(over[best])
        if wider:
            before = course.book_ml[first - side + 1 : first + 1] - int(course.book_ml[first])
            behind = course.book_ml[after : after + side] - int(course.book_ml[first])
            litres = max(litres, float(before.mean() - behind.mean()) / 1000.0 - float(centre[best]))
        judged = int(at[after + side - 1]) + _LASTS_US
        passing = slice(*np.searchsorted(begin, [at[first] - _CAME_US, at[after] + _LASTS_US]))
        feigned = float(-over[passing][told[passing]].min(initial=0.0)) > _FEIGNED * litres
        fastest = float(-np.diff(course.book_ml[first : after + 1]).min()) / 1000.0
        jumped = fastest > FASTEST_L_MIN * course.step_us / MINUTE_US
        if feigned or jumped or not _lasts(course, first, after + side - 1, litres):
            continue
        yield Fall(
            int(at[first]), int(at[after]), judged, litres, float(sd[best]), float(limit[best]), float(sold[best])
        )


def _pouring(course: Course) -> NDArray[np.bool_]:
    """(n,) the last readings before each rise: a drop's first minutes slosh, and may look like a fall of 200 L."""
    pouring = np.zeros(len(course.at_us), bool)
    for row in np.searchsorted(course.at_us, [rise.start_us for rise in course.rises]).tolist():
        pouring[max(0, row - 1) : row + 1] = True
    return pouring


def _differences(column: NDArray[np.int64], side: int, across: int) -> NDArray[np.float64]:
    """Mean of ``side`` readings less that of ``side`` readings ``across`` later, litres; exact until the last step."""
    sums = np.concatenate(([0], np.cumsum(column - int(column[0]))))
    window = sums[side:] - sums[:-side]
    count = len(column) - 2 * side - across + 1
    before, after = window[:count], window[side - 1 + across : side - 1 + across + count]
    return np.asarray((before - after) / (1000.0 * side))


def _usual(
    values: NDArray[np.float64], told: NDArray[np.bool_], at_us: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) the median of each value's UTC day, not below nothing, and the robust deviation over a fortnight."""
    day, where = np.unique(at_us // DAY_US, return_inverse=True)
    mine, of = values[told], where[told]
    edges = of.searchsorted(np.arange(len(day) + 1))
    enough = np.diff(edges) >= _ENOUGH
    centre = np.where(enough, medians(mine, edges), 0.0)
    spread = np.where(enough, 1.4826 * medians(np.abs(mine - centre[of]), edges), np.nan).tolist()
    deviation = np.full(len(day), np.inf)
    for place, first in enumerate(day.searchsorted(day - NOISE_DAYS).tolist()):
        known = [each for each in spread[first:place] if not math.isnan(each)]
        if not known and enough[place]:
            known = [spread[place]]
        if known:
            deviation[place] = max(statistics.median(known), 0.5)
    return np.maximum(centre, 0.0)[where], deviation[where]


def _lasts(course: Course, first: int, last: int, litres: float) -> bool:
    """Whether the level stood as high for hours before and stays as low for hours: wrong clocks make passing falls."""
    at, book = course.at_us, course.book_ml
    reference = int(book[first])
    side, _ = _windows(course)
    low = float((book[last - side + 1 : last + 1] - reference).mean())
    high = float((book[first - side + 1 : first + 1] - reference).mean())
    later = slice(last + 1, int(np.searchsorted(at, at[last] + _LASTS_US, side="right")))
    sooner = slice(int(np.searchsorted(at, at[first] - _CAME_US)), max(first - side + 1, 0))
    for rows, other, sign in ((later, high, 1.0), (sooner, low, -1.0)):
        calm = book[rows][~course.stirred[rows]]
        if len(calm) >= _FEWEST and sign * (other - float((calm - reference).mean())) < _LASTING * litres * 1000.0:
            return False
    return True


def _silences(course: Course, least_l: float, sigmas: float) -> Iterator[Fall]:
    """Falls from the last readings before a silence to the first after it."""
    at = course.at_us
    side = _windows(course)[0]
    for row in np.flatnonzero(np.diff(at) > max(_SILENT_US, 3 * course.step_us)).tolist():
        before = np.arange(max(0, row - side + 1), row + 1)
        after = np.arange(row + 1, min(row + 1 + side, len(at)))
        before = before[at[row] - at[before] <= HOUR_US]
        after = after[at[after] - at[row + 1] <= HOUR_US]
        if len(before) < _FEWEST or len(after) < _FEWEST or course.stirred[[*before, *after]].any():
            continue
        hours = float(at[row + 1] - at[row]) / HOUR_US
        reference, had_sold = int(course.book_ml[row]), int(course.sold_ml[row])
        book = course.book_ml[before] - reference, course.book_ml[after] - reference
        sold = float((course.sold_ml[after] - had_sold).mean() - (course.sold_ml[before] - had_sold).mean()) / 1000.0
        noise = course.noise_l(int(at[row]))
        sd = math.hypot(noise * math.sqrt(1 / len(before) + 1 / len(after)), _WANDER_L * math.sqrt(hours))
        limit = max(sigmas * sd, 2.0 * least_l) + SOLD_UNSURE * abs(sold)
        litres = float(book[0].mean() - book[1].mean()) / 1000.0 - LOSS_SHARE * sold
        if litres > limit:
            yield Fall(int(at[row]), int(at[row + 1]), int(at[after[-1]]), litres, sd, limit, sold, silent=True)


def worked(course: Course, sigmas: float, least_l: float) -> tuple[Fall, ...]:
    """What a tank lost while signed work was done on it, oldest first: spans that overlap are shared out in turn."""
    found: list[Fall] = []
    until = 0
    for start, end in course.work:
        begin, until = max(start, until), end
        fell = -moved_l(course, begin, end)
        came = math.fsum(rise.litres for rise in course.rises if begin < rise.end_us and rise.start_us < end)
        first, last = np.searchsorted(course.at_us, [begin, end])
        if fell + came <= 0.0 or last >= len(course.at_us):
            continue
        sold = float(course.sold_ml[last] - course.sold_ml[max(int(first) - 1, 0)]) / 1000.0
        sd = math.hypot(course.noise_l(begin), _WANDER_L * math.sqrt((end - begin) / HOUR_US))
        limit = max(sigmas * sd, least_l) + SOLD_UNSURE * abs(sold) + _CAME_UNSURE * came
        litres = fell + came - LOSS_SHARE * sold
        if litres > limit:
            found.append(Fall(begin, end, end + _WORK_LASTS_US, litres, sd, limit, sold))
    return tuple(found)


def occasions(lost: Sequence[Fall]) -> int:
    """On how many occasions of the last weeks these losses came, up to the last of them; oldest first."""
    recent = [fall for fall in lost if fall.end_us > lost[-1].end_us - _WORK_AGAIN_DAYS * DAY_US]
    return 1 + sum(late.start_us - early.end_us > _WORK_APART_DAYS * DAY_US for early, late in pairwise(recent))


def moved_l(course: Course, start_us: int, end_us: int) -> float:
    """How much more a tank's book holds after a span than before it, litres; 0 where it was not heard of."""
    side = _windows(course)[0] * course.step_us
    before, after = course.rows(start_us - side, start_us + 1), course.rows(end_us, end_us + side + 1)
    if before.stop <= before.start or after.stop <= after.start:
        return 0.0
    reference = int(course.book_ml[before.start])
    high, low = ((course.book_ml[rows] - reference).mean() for rows in (after, before))
    return float(high - low) / 1000.0


# ---------------------------------------------------------------- night after night


@dataclass(frozen=True, slots=True)
class Night:
    """What a tank lost from evening to morning beyond what was sold, against the day before. Litres at 20 °C."""

    start_us: int
    end_us: int
    litres: float
    sd_l: float
    day_l_per_h: float
    """Lost an hour on the day before; NaN when it is not known."""

    @property
    def l_per_h(self) -> float:
        """Lost an hour."""
        return self.litres * HOUR_US / (self.end_us - self.start_us)


def nights(course: Course, midnights_us: list[int], evening_h: float = 19.0, morning_h: float = 8.0) -> list[Night]:
    """The nights that end on the days that begin at these local midnights, where nothing came and both ends are told.

    The deviation is the robust one of the nights of the four weeks before, about their median.
    """
    midnight = np.array(midnights_us, np.int64)
    evenings, mornings = midnight + round((evening_h - 24.0) * HOUR_US), midnight + round(morning_h * HOUR_US)
    dawns = evenings - round((evening_h - morning_h) * HOUR_US)
    by_night, by_day = _lost(course, evenings, mornings), _lost(course, dawns, evenings)
    by_day = by_day * HOUR_US / (evenings - dawns)
    made: list[Night] = []
    for row in np.flatnonzero(np.isfinite(by_night)).tolist():
        evening, morning = int(evenings[row]), int(mornings[row])
        known = [night.litres for night in made[-28:] if night.start_us >= evening - 28 * DAY_US]
        sd = math.inf
        if len(known) >= 4:
            usual = statistics.median(known)
            sd = 1.4826 * statistics.median(abs(each - usual) for each in known)
        noise = course.noise_l(morning)
        floor = math.hypot(noise, _WANDER_L * math.sqrt(13.0) / 2.0)
        made.append(Night(evening, morning, float(by_night[row]), max(sd, floor), float(by_day[row])))
    return made


def _lost(course: Course, start_us: NDArray[np.int64], end_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """(m,) held plus sold at each start less that at the end, and less the honest share of what was sold, litres.

    Both are means of half an hour. NaN where one is not told, or fuel came between.
    """
    edges = [course.at_us.searchsorted(at) for at in (start_us - HOUR_US // 2, start_us, end_us - HOUR_US // 2, end_us)]
    stirred = np.concatenate(([0], np.cumsum(course.stirred)))
    told = (edges[1] > edges[0]) & (edges[3] > edges[2]) & (stirred[edges[3]] == stirred[edges[0]])
    first, until, last, end = (edge[told] for edge in edges)
    fell = []
    for column in (course.book_ml, course.sold_ml):
        # Sums of whole numbers, so a mean is the same wherever the past begins.
        sums, reference = np.concatenate(([0], np.cumsum(column - int(column[0])))), column[first] - int(column[0])
        before = (sums[until] - sums[first] - (until - first) * reference) / (until - first)
        fell.append(before - (sums[end] - sums[last] - (end - last) * reference) / (end - last))
    lost = np.full(len(told), np.nan)
    lost[told] = (fell[0] + LOSS_SHARE * fell[1]) / 1000.0
    return lost


# ---------------------------------------------------------------- what a nozzle's counters say of it


@dataclass(frozen=True, slots=True)
class Counted:
    """Litres that a nozzle's totalizer moved beyond the sale that follows, or records that are missing there."""

    nozzle_id: str
    start_us: int
    end_us: int
    litres: float
    """NaN where there is no totalizer."""
    missing: int
    """Sequence numbers that are not there."""


def counted(past: StationPast, course: Course) -> tuple[Counted, ...]:
    """All of a tank's nozzles, oldest first; made once a course."""
    known = _COUNTED.get(course)
    if known is None:
        known = _COUNTED[course] = tuple(_counted(past, course))
    return known


_COUNTED: WeakKeyDictionary[Course, tuple[Counted, ...]] = WeakKeyDictionary()


def _counted(past: StationPast, course: Course) -> list[Counted]:
    found: list[Counted] = []
    for nozzle in course.nozzles:
        mine = past.sales.of(nozzle)
        ends, starts, seq = (getattr(past.sales, name)[mine] for name in ("end_us", "start_us", "seq"))
        total, litres = past.sales.totalizer_l[mine], past.sales.volume_l[mine]
        missing = np.diff(seq) - 1
        moved = np.diff(total) - litres[1:]
        odd = (np.abs(np.nan_to_num(moved)) > 0.5) | (missing > 0)
        found += [
            Counted(nozzle, int(ends[row]), int(starts[row + 1]), float(moved[row]), int(max(missing[row], 0)))
            for row in np.flatnonzero(odd).tolist()
        ]
    return sorted(found, key=lambda each: (each.end_us, each.nozzle_id))
