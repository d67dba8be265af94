"""Which share of a tank's, or a nozzle's, sales another tank loses and their own keeps, by the hour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

from pumpwatch.courses import DAY_US, HOUR_US, MINUTE_US, Course, courses, median, sold_until, wrong_clocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch import StationPast

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

SIGMAS: Final = 8.0
"""Threshold of both rules, unless the settings say another."""
LEAST_SWAP: Final = 0.03
"""Of a tank's sales; charts and losses feign less."""
_WEEK_US: Final = 7 * DAY_US
_FRESH_US: Final = 20 * MINUTE_US
_FEWEST_HOURS: Final = 24
_QUICK: Final = 3.0
"""Deviations below which a window is not looked at closely."""
_SHORTEST: Final = 6
"""Hours that a change must last to be dated."""
_SURE: Final = 25.0
"""By so many variances of an hour a later beginning must fit better than the window's."""
_EACH_SIDE: Final = 0.35
"""Of the share, that each of the two tanks must show by itself."""


@dataclass(frozen=True, slots=True)
class Share:
    """Which share of some sales came out of another tank, by the hours of a window."""

    value: float
    sd: float
    own: float
    """What their own tank keeps of them, as a share."""
    other: float
    """What the other tank loses with them."""
    sold: tuple[float, ...]
    """(hours,) litres at 20 °C."""
    kept: tuple[float, ...]
    """(hours,) half the difference between the two tanks' books."""
    begun_us: int
    """When it most likely began; the first hour told where it was there from then on."""

    def is_plain(self, least: float, sigmas: float) -> bool:
        """Whether it is more than ``least`` and so many deviations, and each tank shows its side."""
        return self.value > max(least, sigmas * self.sd) and min(self.own, self.other) > _EACH_SIDE * self.value


class Station:
    """The books of all tanks of a station, and what each nozzle sold, hour by hour."""

    def __init__(self, past: StationPast) -> None:
        self.courses = courses(past)
        first = min((int(course.at_us[0]) for course in self.courses), default=0) // HOUR_US
        last = max((int(course.at_us[-1]) for course in self.courses), default=0) // HOUR_US + 1
        self.at_us = np.arange(first, last + 1, dtype=np.int64) * HOUR_US
        self.book: dict[tuple[str, ...], Floats] = {}
        self.told: dict[tuple[str, ...], NDArray[np.bool_]] = {}
        self.sold: dict[str, Floats] = {}
        self.clocks = {course.tanks: wrong_clocks(past, course) for course in self.courses}
        for course in self.courses:
            book, self.told[course.tanks] = _book(course, self.at_us)
            self.book[course.tanks] = np.diff(book) / 1000.0
            warm = np.interp(self.at_us, course.at_us, course.warm_c)
            for nozzle in course.nozzles:
                sold = sold_until(past, (nozzle,), course.grade, self.at_us, warm)
                self.sold[nozzle] = np.asarray(np.diff(sold) / 1000.0)

    def all_sold(self, course: Course) -> Floats:
        """(hours,) what all nozzles of a tank sold in each."""
        nothing = np.zeros(len(self.at_us) - 1)
        return np.asarray(sum((self.sold[nozzle] for nozzle in course.nozzles), nothing))


_KNOWN: WeakKeyDictionary[StationPast, Station] = WeakKeyDictionary()


def station_of(past: StationPast) -> Station:
    """The station's books; made once a past."""
    known = _KNOWN.get(past)
    if known is None:
        known = _KNOWN[past] = Station(past)
    return known


class Hours:
    """The books of two tanks hour by hour, where both were told and nothing came."""

    def __init__(self, station: Station, own: Course, other: Course) -> None:
        self.at_us = station.at_us
        self.told = station.told[own.tanks] & station.told[other.tanks]
        self.own, self.other = station.book[own.tanks], station.book[other.tanks]
        self._clocks = station.clocks[own.tanks] + station.clocks[other.tanks]

    def feigned(self, start_us: int, end_us: int) -> float:
        """Share that wrong clocks of this span may feign at most.

        A clock that is off by a part of an hour puts as large a part of the sales into another hour; half of that goes
        into the coefficient. Reckoned with double.
        """
        return max((clock.off_us / HOUR_US for clock in self._clocks if start_us < clock.at_us <= end_us), default=0.0)

    def promising(self, of: Floats, ends_us: Ints, length_us: int, least: float) -> NDArray[np.bool_]:
        """(m,) for which windows that end at these times a plain regression finds anything at all."""
        y = np.where(self.told, (self.own - self.other) / 2.0, 0.0)
        bound = 6.0 * 1.4826 * median(np.abs(y[self.told])) if self.told.any() else 0.0
        y = np.clip(y, -bound - of, bound + of)
        x = np.where(self.told, of, 0.0)
        first = np.searchsorted(self.at_us, ends_us - length_us)
        last = np.maximum(np.searchsorted(self.at_us, ends_us, side="right") - 1, first)
        n, sx, sy, xx, xy, yy = (
            sums[np.minimum(last, len(y))] - sums[np.minimum(first, len(y))]
            for each in (self.told.astype(float), x, y, x * x, x * y, y * y)
            for sums in [np.concatenate(([0.0], np.cumsum(each)))]
        )
        n = np.maximum(n, 1.0)
        spread = np.maximum(xx - sx * sx / n, 1e-9)
        slope = (xy - sx * sy / n) / spread
        rest = np.maximum(yy - sy * sy / n - slope * slope * spread, 0.0) / np.maximum(n - 2.0, 1.0)
        return np.asarray((slope > 0.3 * least) & (slope > _QUICK * np.sqrt(rest / spread)) & (n >= _FEWEST_HOURS))

    def share(self, of: Floats, besides: tuple[Floats, ...], start_us: int, end_us: int) -> Share | None:
        """By least squares with an intercept and the other sales, over the hours that end at start < time <= end."""
        rows = self.told & (self.at_us[:-1] >= start_us) & (self.at_us[1:] <= end_us)
        if rows.sum() < _FEWEST_HOURS + len(besides) or of[rows].sum() < 100.0:
            return None
        table = np.stack([of[rows], *(each[rows] for each in besides), np.ones(int(rows.sum()))], axis=1)
        kept, own, other = (self.own - self.other)[rows] / 2.0, self.own[rows], self.other[rows]
        apart = np.abs(kept - median(kept))
        keep = apart <= 6.0 * 1.4826 * median(apart) + of[rows].max()
        inverse = np.linalg.pinv(table[keep].T @ table[keep])
        fits = inverse @ table[keep].T @ np.stack([kept, own, -other], axis=1)[keep]
        rest = kept[keep] - table[keep] @ fits[:, 0]
        free = max(int(keep.sum()) - table.shape[1], 1)
        sd = math.sqrt(float(rest @ rest) / free * max(float(inverse[0, 0]), 1e-12))
        shown = np.flatnonzero(rows)[keep][-150:]
        begun = _begun(table[keep], kept[keep])
        begun_us = int(self.at_us[np.flatnonzero(rows)[keep][begun]])
        both = (self.own - self.other)[shown] / 2.0
        return Share(
            float(fits[0, 0]),
            max(sd, 1e-6),
            float(fits[0, 1]),
            float(fits[0, 2]),
            tuple(np.round(of[shown], 1).tolist()),
            tuple(np.round(both, 1).tolist()),
            begun_us,
        )


def _begun(table: Floats, kept: Floats) -> int:
    """The row from which on the sales of the first column come out of the other tank: that of the best fit.

    ``table`` (n, columns), ``kept`` (n,). The other columns are taken out of both before; 0 where no row fits clearly
    better than the first.
    """
    of, rest = table[:, 0], table[:, 1:]
    late = np.tril(np.ones((len(of), len(of)))).T * of  # row by row, the sales from that row on
    both = np.column_stack([kept, late.T])
    both -= rest @ (np.linalg.pinv(rest) @ both)
    explained = (both[:, 1:].T @ both[:, 0]) ** 2 / np.maximum(np.einsum("ij,ij->j", both[:, 1:], both[:, 1:]), 1e-9)
    explained = explained[: len(of) - _SHORTEST]
    best = int(explained.argmax())
    left = float(both[:, 0] @ both[:, 0]) - float(explained[best])
    sure = _SURE * left / max(len(of) - table.shape[1] - 1, 1)
    return best if explained[best] - explained[0] > sure else 0


def _book(course: Course, at_us: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """The book at the last reading before each hour, and which hours begin and end with a fresh one and are calm."""
    row = np.maximum(np.searchsorted(course.at_us, at_us, side="right") - 1, 0)
    fresh = at_us - course.at_us[row] <= max(_FRESH_US, course.step_us)
    stirred = np.concatenate(([0], np.cumsum(course.stirred)))[row + 1]
    moved = np.diff(stirred) == 0
    return course.book_ml[row], fresh[1:] & fresh[:-1] & moved & ~course.stirred[row][:-1]


def is_crossed(past: StationPast, course: Course, start_us: int, end_us: int) -> bool:
    """Whether in any week of this span another tank plainly lost what this one's nozzles sold, or the other way."""
    station = station_of(past)
    ends = np.arange(end_us, start_us, -_WEEK_US, dtype=np.int64)
    for other in station.courses:
        for own, theirs in ((course, other), (other, course)):
            if other is course or not own.nozzles:
                continue
            hours, of, besides = Hours(station, own, theirs), station.all_sold(own), (station.all_sold(theirs),)
            for end in ends[hours.promising(of, ends, _WEEK_US, LEAST_SWAP)].tolist():
                share = hours.share(of, besides, end - _WEEK_US, end)
                if share is not None and share.is_plain(LEAST_SWAP + hours.feigned(end - _WEEK_US, end), SIGMAS):
                    return True
    return False
