"""What explains that a tank's level steps or that fillings left none: signed work, wrong clocks, draws poured back."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch.model import EventKind, to_us

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.courses.course import Course
    from pumpwatch.model import WorkOrder
    from pumpwatch.past import Sales, StationPast

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
_CLOCK_S: Final = 120.0
_CLOCK_MOST_S: Final = 86_400.0
_FILLING_US: Final = 5 * MINUTE_US
_WORK_KINDS: Final = frozenset({"repair", "install", "calibration"})
WORK_MOST_L: Final = 1_200.0
"""A new probe 20 mm off shifts the widest of tanks (25 to 30 m²) by 600 L; a verification draws 60 times 20 L."""
_DRAWS: Final = frozenset({5.0, 10.0, 20.0, 50.0, 100.0})
_CAN_SHARE: Final = 0.01
"""Whoever fills a standard can by hand, and by a meter that is to be set, stops so near to its mark."""
_FEWEST_DRAWS: Final = 3
_AT_PAPER_US: Final = 30 * MINUTE_US
"""So near to a paper that is no own one, cans of one size at a nozzle are draws though customers came between."""
_DRAW_PAUSE_US: Final = 20 * MINUTE_US
_DRAWING_KINDS: Final = frozenset({"verification", "calibration", "repair", "inspection"})
_PAPER_US: Final = 12 * HOUR_US
_OWN_PAUSE_US: Final = 7 * DAY_US
_OWN_MOST: Final = 6
"""Cans about a paper that only the station has signed, and the pause until the next such paper counts."""


@dataclass(frozen=True, slots=True)
class WrongClock:
    """A dispenser was told to have a clock that is minutes wrong: its sales bear other times than they had."""

    at_us: int
    dispenser_id: str
    off_us: int
    """By how much, either way."""


def wrong_clocks(past: StationPast, course: Course) -> list[WrongClock]:
    """Of the dispensers of this tank."""
    dispensers = {nozzle.dispenser_id for nozzle in past.nozzles if nozzle.nozzle_id in course.nozzles}
    found = []
    for event in past.events_of(EventKind.CLOCK):
        off = event.detail.get("ahead_s", event.detail.get("step_s"))
        if event.device_id in dispensers and isinstance(off, int | float) and _CLOCK_S < abs(off) < math.inf:
            off_us = round(min(abs(off), _CLOCK_MOST_S) * 1e6)
            found.append(WrongClock(to_us(event.at), event.device_id, off_us))
    return found


def misplaced_l(past: StationPast, course: Course, clocks: Iterable[WrongClock], start_us: int, end_us: int) -> float:
    """Litres that wrong clocks may at most have moved across one of two times: the most sold in so long a while.

    Of each dispenser the largest error counts; the while is longer by a filling.
    """
    worst: dict[str, int] = {}
    for clock in clocks:
        worst[clock.dispenser_id] = max(worst.get(clock.dispenser_id, 0), clock.off_us)
    moved = 0.0
    for nozzle in course.nozzles:
        off = worst.get(past.nozzle_by_id[nozzle].dispenser_id)
        if off is None:
            continue
        mine, length = past.sales.of(nozzle), off + _FILLING_US
        ends, amount = past.sales.end_us[mine], np.nan_to_num(past.sales.volume_l[mine])
        first, last = np.searchsorted(ends, [start_us - length, end_us + length])
        whole = np.concatenate(([0.0], np.cumsum(amount[first:last])))
        ends = ends[first:last]
        sold = whole[1:] - whole[np.searchsorted(ends, ends - length)]
        moved += float(sold.max(initial=0.0))
    return moved


def is_work(order: WorkOrder) -> bool:
    """Whether a paper is of work that may move a level, signed by who did it and by the station."""
    return order.kind in _WORK_KINDS and bool(order.signed_by_repairer and order.signed_by_station)


def work_on(past: StationPast, tanks: Iterable[str]) -> list[int]:
    """When signed work was done on these tanks or their gauges."""
    names = set(tanks)
    return sorted({to_us(order.at) for order in past.work_orders if order.device_id in names and is_work(order)})


def draws_of(past: StationPast) -> Bools:
    """(sales,) draws of a verification that were poured back: runs of 5, 10 and 20 L about a signed paper.

    The institute or an authorised repairer has to sign it; of a whole station the institute. An inspection signed by
    the station alone counts once a week at a dispenser, and for as few cans as an inspector draws: whoever may sign his
    own papers could call any fillings draws.
    """
    draws = np.zeros(len(past.sales), bool)
    for dispenser in dict.fromkeys(nozzle.dispenser_id for nozzle in past.nozzles):
        nozzles = [nozzle.nozzle_id for nozzle in past.nozzles if nozzle.dispenser_id == dispenser]
        certified, own = _drawing_papers(past, dispenser, nozzles)
        for at in sorted(certified):
            named = {n for other, names in certified.items() if abs(other - at) <= _PAPER_US for n in names}
            rows, like = _cans(past.sales, [n for n in nozzles if n in named], at, between=True)
            draws[rows[like]] = True
        last = None
        for at in sorted(own):
            if last is None or at - last >= _OWN_PAUSE_US:
                rows, like = _cans(past.sales, sorted(own[at]), at, between=False)
                draws[rows[like & ~draws[rows]][:_OWN_MOST]] = True
                last = at
    return draws


def _drawing_papers(
    past: StationPast, dispenser: str, nozzles: Collection[str]
) -> tuple[dict[int, set[str]], dict[int, set[str]]]:
    """By time the nozzles of the dispenser that papers name: certified ones, and the station's own."""
    certified: dict[int, set[str]] = defaultdict(set)
    own: dict[int, set[str]] = defaultdict(set)
    for order in past.work_orders:
        sealed = order.signed_by_institute or (order.signed_by_repairer and order.device_id != past.station_id)
        if order.kind not in _DRAWING_KINDS or order.device_id not in {*nozzles, dispenser, past.station_id}:
            continue
        names = {order.device_id} if order.device_id in nozzles else set(nozzles)
        if sealed:
            certified[to_us(order.at)] |= names
        elif order.signed_by_station and order.kind == "inspection" and order.device_id != past.station_id:
            own[to_us(order.at)] |= names
    return certified, own


def _cans(sales: Sales, nozzles: Iterable[str], at_us: int, *, between: bool) -> tuple[Ints, Bools]:
    """The fillings of these nozzles about a time, oldest first, and which of them look like drawn cans.

    Nearly all follow one another; ``between`` lets others lie between those that are nearest.
    """
    found = [np.zeros(0, np.int64)]
    for name in nozzles:
        mine = sales.of(name)
        first, last = np.searchsorted(sales.end_us[mine], [at_us - _PAPER_US, at_us + _PAPER_US]).tolist()
        found.append(np.arange(mine.start + first, mine.start + last))
    rows = np.concatenate(found)
    rows = rows[np.argsort(sales.end_us[rows], kind="stable")]
    volume = np.nan_to_num(sales.volume_l[rows])
    ends = sales.end_us[rows]
    sizes = [np.abs(volume - can) <= _CAN_SHARE * can for can in sorted(_DRAWS)]
    chosen = _runs(np.any(sizes, axis=0), ends)
    near = (np.abs(ends - at_us) <= _AT_PAPER_US) if between else np.zeros(len(rows), bool)
    for code in np.unique(sales.nozzle[rows[near]]):
        for like in sizes:
            there = np.flatnonzero(like & near & (sales.nozzle[rows] == code))
            chosen[there[_runs(np.ones(len(there), bool), ends[there])]] = True
    return rows, chosen


def _runs(like: Bools, end_us: Ints) -> Bools:
    """Which belong to runs of at least so many, none far from the next."""
    chosen = np.zeros(len(like), bool)
    run: list[int] = []
    for row in [*range(len(like)), -1]:
        goes_on = row >= 0 and bool(like[row])
        if run and (not goes_on or end_us[row] - end_us[run[-1]] > _DRAW_PAUSE_US):
            chosen[run] = len(run) >= _FEWEST_DRAWS
            run = []
        if goes_on:
            run.append(row)
    return chosen
