"""Two tanks that mirror each other: what one loses beyond its nozzles' sales, the other gains.

A nozzle that draws from another tank than the register says, a pipe between two grades and fuel that is pumped over all
look so, and none of the faults of one tank does. While it lasts neither tank's balance says anything of its nozzles.
Decision 0021 has the measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch.courses import DAY_US
from pumpwatch_physics.blocks import BLOCK_US, BLOCKS, SETTLED_US, Day

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

EACH_SIGMAS: Final = 5.0
"""By which both tanks must be off, each by itself."""
APART_SIGMAS: Final = 3.0
"""By which what the one lost may differ from what the other gained."""
HONEST: Final = 0.005
"""Deviation of what an honest tank gains or loses, of what was sold: meters, chart, common loss (``states``)."""
LEAST: Final = 0.03
"""Of what the gaining tank sold, that must come from the other: no chart does half of it."""
_SHAPE: Final = 0.05
"""Of what crosses: what is not heard about deliveries, and the fuel's temperature."""
_WINDOWS: Final = (8, 4, 2, 1)
"""Blocks; the longest over which both tanks are off decides."""
_UNEVEN: Final = 0.15
"""Of what crosses in one block: fillings at its ends count in one tank before they do in the other."""
_JUMPS: Final = 0.25
"""Of what one of two tanks shows of a nozzle at the wrong one, the other must show."""
_ONE_NOZZLE: Final = 0.5
"""Of a nozzle's fillings, that their tank must keep, and of all others together it must not."""
_HEARD: Final = 0.5
"""Of the usual readings of a block, for it to tell what a tank gained."""
_FEWEST: Final = 2
_BACK: Final = 2
"""Days before one that say whether a block of it is crossed."""
_ENDS: Final = np.arange(_BACK * BLOCKS + 1, (_BACK + 1) * BLOCKS + 1)
_STARTS: Final = _ENDS - np.array(_WINDOWS)[:, None]
APART_DAYS: Final = 7
"""Without it, after which it is told anew."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One tank's sales that come out of another one."""

    gaining: str
    """The tank that keeps what its nozzles sell, by its id in the digests."""
    losing: str
    nozzle: int | None
    """The one nozzle of the gaining tank that accounts for it, if one does; its place among the tank's."""
    since_us: int
    at_us: int
    """When the evidence sufficed."""
    gained_l: float
    """At 20 °C in the whole blocks since it began, with ``lost_l``, ``sd_l`` and ``sold_l``."""
    lost_l: float
    sd_l: float
    """Of ``gained_l``."""
    sold_l: float
    """By the gaining tank's nozzles."""

    @property
    def share(self) -> tuple[float, float]:
        """Of the gaining tank's sales, and its deviation."""
        return self.gained_l / self.sold_l, self.sd_l / self.sold_l


@dataclass(frozen=True, slots=True)
class _Row:
    """A tank's blocks, one or more days; all (blocks,)."""

    gained: Floats
    """Litres beyond what the sales say."""
    variance: Floats
    sold: Floats
    heard: Bools

    @classmethod
    def of(cls, told: NDArray[np.float32] | None) -> _Row:
        """One day; nothing is heard where there are no readings, or a dip only."""
        if told is None:
            nothing = np.zeros(BLOCKS)
            return cls(nothing, nothing, nothing, nothing > 0.0)
        day = Day.from_array(told)
        hours, place = BLOCK_US / 3.6e9, day.nozzles
        information = day.information[:, place, place].astype(float)
        usual = np.maximum.accumulate(day.readings)
        heard = (day.readings >= np.maximum(_HEARD * usual, _FEWEST)) & (information > 0.0)
        known = np.where(heard, information, 1.0)
        gained = np.where(heard, -hours * day.scores[:, place] / known, 0.0)
        return cls(gained, np.where(heard, hours**2 / known, 0.0), day.litres.sum(axis=1, dtype=float), heard)

    @classmethod
    def joined(cls, rows: list[_Row]) -> _Row:
        """Days one after another."""
        return cls(*(np.concatenate([getattr(row, name) for row in rows]) for name in cls.__slots__))

    def only(self, rows: Bools) -> _Row:
        """Nothing in the other blocks."""
        return _Row(self.gained * rows, self.variance * rows, self.sold * rows, self.heard & rows)

    @property
    def numbers(self) -> tuple[Floats, Floats, Floats]:
        """Gained, its variance and sold."""
        return self.gained, self.variance, self.sold


class Crossings:
    """What the days of a station's tanks say of one another; each day is looked at when it is asked for."""

    def __init__(
        self,
        digests: Mapping[int, Mapping[str, NDArray[np.float32]]],
        first: int | None = None,
        known: dict[tuple[int, int | None], dict[tuple[str, str], Bools]] | None = None,
    ) -> None:
        self._digests = digests
        self._first = first
        """Days before are not looked at."""
        self._rows: dict[tuple[int, str], _Row] = {}
        self._evident = {} if known is None else known
        """By day, and the first day where that leaves out any that matters to it."""

    def begun(self, first: int) -> Crossings:
        """The same, but days before are not looked at."""
        return Crossings(self._digests, first, self._evident)

    def blocks(self, day: int, tank: str) -> Bools:
        """(BLOCKS,) those in which the tank is, or was within a day, one of a crossed pair."""
        crossed = np.zeros(BLOCKS, bool)
        pairs = {pair for each in (day - 1, day) for pair in self._pairs(each) if tank in pair}
        for pair in pairs:
            crossed |= _within(self._line(pair, day, 1), BLOCKS)[-BLOCKS:]
        return crossed

    def found(self, first: int, last: int, offset_us: int) -> Iterator[Crossing]:
        """Those that come to be evident on first <= day <= last, at the second block that says so."""
        for day in range(first, last + 1):
            for pair, evident in sorted(self._pairs(day).items()):
                line = self._line(pair, day, APART_DAYS + 1)
                again = line & (_within(line, BLOCKS + 1, before=True))
                fresh = again & ~_within(again, APART_DAYS * BLOCKS + 1, before=True)
                for block in np.flatnonzero(fresh[-BLOCKS:] & evident).tolist():
                    yield self._crossing(pair, day, block, offset_us)

    def _crossing(self, pair: tuple[str, str], day: int, block: int, offset_us: int) -> Crossing:
        """Begun where what is more than half of the share begins; sized without that block, it is not whole."""
        gaining, losing = self._both(pair, day)
        end = len(gaining.sold) - BLOCKS + block + 1
        span = slice(end - 2 * BLOCKS + 1, end)
        gained = (gaining.gained[span] - losing.gained[span]) / 2.0
        sold = gaining.sold[span]
        share = float(gained[-BLOCKS:].sum()) / max(float(sold[-BLOCKS:].sum()), 1.0)
        sums = np.cumsum((gained - share / 2.0 * sold)[::-1])[::-1]
        begun = end - 2 - int(sums[-2::-1].argmax())
        spans = [slice(first, end) for first in (begun + 1, begun, end - BLOCKS)]
        whole = next((each for each in spans if gaining.gained[each].sum() > 0.0), spans[-1])
        sold_l = float(gaining.sold[whole].sum())
        gained_l, lost_l = float(gaining.gained[whole].sum()), -float(losing.gained[whole].sum())
        uneven = _UNEVEN * gained_l / math.sqrt(end - whole.start)
        sd = math.hypot(math.sqrt(float(gaining.variance[whole].sum())), HONEST * sold_l, uneven)
        start_us = day * DAY_US - offset_us
        since_us = start_us + (begun - (len(gaining.sold) - BLOCKS)) * BLOCK_US
        at_us = start_us + (block + 1) * BLOCK_US + SETTLED_US
        nozzle = self._nozzle(pair[0], day, whole)
        return Crossing(*pair, nozzle, since_us, at_us, gained_l, lost_l, sd, max(sold_l, 1.0))

    def _nozzle(self, tank: str, day: int, blocks: slice) -> int | None:
        """The one nozzle whose fillings their tank keeps: by least squares, at least half of its and few of others."""
        told = [self._digests.get(each, {}).get(tank) for each in range(day - _BACK, day + 1)]
        days = [None if each is None else Day.from_array(each) for each in told]
        n = next(each.nozzles for each in days if each is not None)
        scores, information = np.zeros((len(days), BLOCKS, n)), np.zeros((len(days), BLOCKS, n, n))
        for place, each in enumerate(days):
            if each is not None and each.nozzles == n:
                scores[place], information[place] = each.scores[:, :n], each.information[:, :n, :n]
        s, g = scores.reshape(-1, n)[blocks].sum(axis=0), information.reshape(-1, n, n)[blocks].sum(axis=0)
        kept = np.abs(np.linalg.pinv(g, hermitian=True) @ s)
        most = int(kept.argmax())
        return most if kept[most] >= _ONE_NOZZLE > kept.sum() - kept[most] else None

    def _line(self, pair: tuple[str, str], day: int, back: int) -> Bools:
        """((back + 1) · BLOCKS,) which blocks are evident, of so many days before and of the day."""
        nothing = np.zeros(BLOCKS, bool)
        return np.concatenate([self._pairs(each).get(pair, nothing) for each in range(day - back, day + 1)])

    def _pairs(self, day: int) -> Mapping[tuple[str, str], Bools]:
        """(BLOCKS,) of each pair (gaining, losing) that is evidently crossed at any block of the day."""
        key = (day, None if self._first is None or day - _BACK >= self._first else self._first)
        known = self._evident.get(key)
        if known is None:
            known = self._evident[key] = {}
            for pair in self._off(day):
                evident, unlike = _evident(*self._both(pair, day))
                for block in np.flatnonzero(unlike).tolist():
                    end = _BACK * BLOCKS + block + 1
                    evident[block] = self._nozzle(pair[0], day, slice(end - BLOCKS, end)) is not None
                if evident.any():
                    known[pair] = evident
        return known

    def _off(self, day: int) -> Iterator[tuple[str, str]]:
        """Pairs of which the first gained and the second lost too much at any time of the day, each by itself."""
        tanks = sorted(self._digests.get(day, ())) if self._first is None or day >= self._first else []
        if len(tanks) < 2:
            return
        days = range(day - _BACK, day + 1)
        each = np.array([[self._row(one, tank).numbers for one in days] for tank in tanks])
        gained, variance, _ = _windows(each.transpose(2, 0, 1, 3).reshape(3, len(tanks), -1))
        gains, loses = np.any([_is_off(gained, variance), _is_off(-gained, variance)], axis=(2, 3))
        for one, other in permutations(range(len(tanks)), 2):
            if gains[one] and loses[other]:
                yield tanks[one], tanks[other]

    def _both(self, pair: tuple[str, str], day: int) -> tuple[_Row, _Row]:
        """Of the blocks that both tanks tell of."""
        gaining, losing = (self._days(tank, day) for tank in pair)
        heard = gaining.heard & losing.heard
        return gaining.only(heard), losing.only(heard)

    def _days(self, tank: str, day: int) -> _Row:
        return _Row.joined([self._row(each, tank) for each in range(day - _BACK, day + 1)])

    def _row(self, day: int, tank: str) -> _Row:
        key = (day, tank)
        if key not in self._rows:
            is_told = self._first is None or day >= self._first
            self._rows[key] = _Row.of(self._digests.get(day, {}).get(tank) if is_told else None)
        return self._rows[key]


def _windows(numbers: Floats) -> Floats:
    """(3, …, windows, BLOCKS) gained, its variance and sold, by windows that end with a block of the last day.

    Of (3, …, blocks), those of three days.
    """
    sums = np.concatenate((np.zeros((*numbers.shape[:-1], 1)), np.cumsum(numbers, axis=-1)), axis=-1)
    over: Floats = sums[..., np.broadcast_to(_ENDS, _STARTS.shape)] - sums[..., _STARTS]
    over[1] += (HONEST * over[2]) ** 2
    return over


def _is_off(gained: Floats, variance: Floats) -> Bools:
    """Of any shape: what is gained beyond all honesty."""
    off: Bools = (gained > EACH_SIGMAS * np.sqrt(variance)) & (variance > 0.0)
    return off


def _evident(gaining: _Row, losing: _Row) -> tuple[Bools, Bools]:
    """(BLOCKS,) of the last day: whether the longest window in which both are off shows them mirror each other.

    And where they do not quite, because fillings of a nozzle at the wrong tank are jumps, of which some are left out.
    """
    evident, unlike, decided = (np.zeros(BLOCKS, bool) for _ in range(3))
    gains, losses = (_windows(np.array(row.numbers)) for row in (gaining, losing))
    both_windows = zip(gains.swapaxes(0, 1), losses.swapaxes(0, 1), strict=True)
    for (gained, variance, sold), (theirs_gained, theirs, _) in both_windows:
        lost = -theirs_gained
        both = _is_off(gained, variance) & _is_off(lost, theirs) & (gained >= LEAST * sold) & ~decided
        alike = (gained - lost) ** 2 <= APART_SIGMAS**2 * (variance + theirs + (_SHAPE * gained) ** 2)
        evident |= both & alike
        unlike |= both & ~alike & (lost > _JUMPS * gained) & (gained > _JUMPS * lost)
        decided |= both
    return evident, unlike


def _within(line: Bools, blocks: int, *, before: bool = False) -> Bools:
    """(m,) whether any of the last so many blocks is marked; ``before``: the block itself left out."""
    sums: NDArray[np.int64] = np.concatenate((np.zeros(blocks, np.int64), np.cumsum(line)))
    ends = np.arange(blocks, blocks + len(line))
    until = sums[ends - 1] if before else sums[ends]
    marked: Bools = until > sums[ends - blocks]
    return marked
