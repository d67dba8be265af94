"""The fillings whose flow can be told, day by day: what ``flow_switch`` keeps of a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

from pumpwatch.courses import DAY_US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch import StationPast
    from pumpwatch.past import Sales

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

LEAST_S: Final = 20.0
"""Shorter fillings tell little, the clocks tell whole seconds; so many steps of a coarser clock."""
_MOST_S: Final = 3_600.0
_NAME: Final = "fillings"
_COLUMNS: Final = 7


@dataclass(frozen=True, slots=True)
class Fillings:
    """Columns of equal length n, in the order of nozzles and ends. All begin and end on one local day."""

    nozzle: Ints
    """Place in the register's order."""
    day: Ints
    """Since 1970."""
    start_us: Ints
    end_us: Ints
    seq: Ints
    litres: Floats
    preset: NDArray[np.bool_]
    others: Floats
    """Mean number of other nozzles open meanwhile."""

    def __len__(self) -> int:
        return len(self.nozzle)


_KNOWN: WeakKeyDictionary[StationPast, dict[int, Fillings]] = WeakKeyDictionary()


def digest(past: StationPast, day: int, utc_offset_us: int) -> dict[str, NDArray[np.float32]]:
    """A day's fillings: rows of numbers of eight bytes, each told as two of four; nothing where there are none."""
    kept = _KNOWN.setdefault(past, {})
    if utc_offset_us not in kept:
        kept[utc_offset_us] = _fillings(past, utc_offset_us)
    every = kept[utc_offset_us]
    mine = np.flatnonzero(every.day == day)
    if not len(mine):
        return {}
    midnight = day * DAY_US - utc_offset_us
    start, took = every.start_us[mine] - midnight, every.end_us[mine] - every.start_us[mine]
    whole = (every.nozzle[mine], start, took, every.seq[mine], every.preset[mine].astype(np.int64))
    real = (every.litres[mine].view(np.int64), every.others[mine].view(np.int64))
    return {_NAME: np.stack([*whole, *real]).view(np.float32)}


def gathered(digests: Mapping[int, Mapping[str, NDArray[np.float32]]], utc_offset_us: int) -> Fillings:
    """The fillings of all these days."""
    told = {day: digests[day][_NAME] for day in sorted(digests) if _NAME in digests[day]}
    rows = np.concatenate([np.zeros((_COLUMNS, 0), np.int64), *(each.view(np.int64) for each in told.values())], axis=1)
    day = np.repeat(np.array(list(told), np.int64), [each.shape[1] // 2 for each in told.values()])
    order = np.argsort(rows[0], kind="stable")
    nozzle, start, took, seq, preset, litres, others = rows[:, order]
    day = day[order]
    start_us = start + day * DAY_US - utc_offset_us
    real = litres.view(np.float64), others.view(np.float64)
    return Fillings(nozzle, day, start_us, start_us + took, seq, real[0], preset > 0, real[1])


def _fillings(past: StationPast, utc_offset_us: int) -> Fillings:
    """All of a past."""
    sales, places = past.sales, {nozzle.nozzle_id: place for place, nozzle in enumerate(past.nozzles)}
    nozzle = np.array([places.get(name, -1) for name in sales.nozzle_ids], np.int64)[sales.nozzle]
    took_us = sales.end_us - sales.start_us
    day = (sales.end_us + utc_offset_us) // DAY_US
    whole = (took_us > 0) & (took_us < _MOST_S * 1e6) & (day == (sales.start_us + utc_offset_us) // DAY_US)
    whole &= np.isfinite(sales.volume_l)
    others = _others(sales, whole)
    rows = np.flatnonzero(whole & (nozzle >= 0) & (took_us >= LEAST_S * 1e6) & (sales.volume_l > 0.0))
    rows = rows[took_us[rows] >= LEAST_S * _ticks_us(sales.nozzle[rows], day[rows], took_us[rows])]
    return Fillings(
        nozzle[rows],
        day[rows],
        sales.start_us[rows],
        sales.end_us[rows],
        sales.seq[rows],
        sales.volume_l[rows],
        sales.preset_kind[rows] >= 0,
        others[rows],
    )


def _ticks_us(nozzle: NDArray[np.int32], day: Ints, took_us: Ints) -> Ints:
    """(n,) in what steps the clock of each nozzle tells the durations of that day; at least a second."""
    if not len(day):
        return took_us
    starts = np.flatnonzero(np.concatenate(([True], (np.diff(nozzle) != 0) | (np.diff(day) != 0))))
    ticks = np.gcd.reduceat(took_us, starts)
    return np.repeat(np.maximum(ticks, 1_000_000), np.diff(starts, append=len(day)))


def _others(sales: Sales, whole: NDArray[np.bool_]) -> Floats:
    """(n,) how many other nozzles were open on the average while each filling flowed; those within their day count."""
    start_us, end_us = sales.start_us, sales.end_us
    starts, ends = np.sort(start_us[whole]), np.sort(end_us[whole])
    if not len(starts):
        return np.zeros(len(start_us))
    zero = starts[0]
    sums = [np.concatenate(([0], np.cumsum(times - zero))) for times in (starts, ends)]

    def flowed(at_us: Ints) -> Ints:
        """Nozzle-microseconds of flow until then."""
        begun, over = np.searchsorted(starts, at_us), np.searchsorted(ends, at_us)
        flowed_us: Ints = (begun - over) * (at_us - zero) - sums[0][begun] + sums[1][over]
        return flowed_us

    inside = flowed(end_us) - flowed(start_us)
    return np.where(whole, np.maximum(inside / np.maximum(end_us - start_us, 1) - 1.0, 0.0), 0.0)
