"""Puts the watches of a station's tanks to its days, so that what is claimed never depends on where a period is cut.

Time is cut into spans of ``SPAN_DAYS`` counted from 1970. What is claimed in a span comes from a watch that began
``LEAD_DAYS`` before it, or with the first day with data after that.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch import Digests, StationPast, to_us
from pumpwatch.courses import DAY_US, Course, courses, draws_of, work_on
from pumpwatch_physics.blocks import Columns, Day
from pumpwatch_physics.crossing import Crossings
from pumpwatch_physics.keeping import from_bytes, to_bytes
from pumpwatch_physics.watch import Claim, Track, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping
    from datetime import datetime

    from numpy.typing import NDArray

NATS: Final = 12.2
"""Threshold of both rules, unless the settings say another."""
JOINED_NATS: Final = 3.0
"""More for tanks that a siphon joins: what passes between their charts is not white."""
_WATCHES: Final = 13
"""How watches are made; what was remembered of others is not used."""
SPAN_DAYS: Final = 60
LEAD_DAYS: Final = 210
DAYS: Final = SPAN_DAYS + LEAD_DAYS
_COUNT: Final = 4
"""Bytes of the number of days in what is remembered."""
_MOST: Final = 4
"""Watches that are remembered, for one in use."""
_VISITS: Final = frozenset({"inspection", "verification"})


@dataclass(frozen=True, slots=True)
class Followed:
    """What came of watching one tank, or joined ones, over a span."""

    tanks: tuple[str, ...]
    grade: str
    nozzles: tuple[str, ...]
    claims: tuple[Claim, ...]
    """Those of the time asked for, oldest first."""
    earlier: tuple[Claim, ...]
    """Those of the watch before that time."""
    track: Track


def digest(past: StationPast, day: int, offset_us: int) -> dict[str, NDArray[np.float32]]:
    """Every tank's day, by the id of the (first) tank; nothing of tanks without readings that day."""
    start_us = day * DAY_US - offset_us
    made = {}
    for course, columns in _columns(past, offset_us):
        rows = course.rows(start_us, start_us + DAY_US)
        if course.nozzles and rows.stop > rows.start:
            made[course.tanks[0]] = columns.day(start_us).to_array()
    return made


def follow(
    past: StationPast,
    digests: Mapping[int, Mapping[str, NDArray[np.float32]]],
    since: datetime,
    until: datetime,
    offset_us: int,
    threshold: float,
    memory: MutableMapping[str, bytes] | None = None,
    crossings: Crossings | None = None,
) -> Iterator[Followed]:
    """Each tank of the station, span by span; claims of since < at <= until.

    ``memory`` keeps each watch as it was after the last day that is over, so that only the days since are told;
    ``crossings`` are those of all these digests.
    """
    crossings = crossings or Crossings(digests)
    known = sorted(day for day in digests if day * DAY_US - offset_us < to_us(until))
    first_span = (to_us(since) + offset_us) // DAY_US // SPAN_DAYS
    used: set[str] = set()
    begun: dict[int, Crossings] = {}
    """By the day on which a watch begins."""
    for group in dict.fromkeys(past.manifold(tank.tank_id) for tank in past.tanks):
        nozzles = tuple(nozzle.nozzle_id for nozzle in past.nozzles if nozzle.tank_id in group)
        grade = next(tank.grade for tank in past.tanks if tank.tank_id == group[0])
        days = [day for day in known if group[0] in digests[day]]
        if not nozzles or not days:
            continue
        spans: dict[int, list[int]] = defaultdict(list)
        """By the day on which a watch begins, the spans it is for."""
        for span in range(first_span, days[-1] // SPAN_DAYS + 1):
            begin = bisect_left(days, span * SPAN_DAYS - LEAD_DAYS)
            if begin < len(days):
                spans[days[begin]].append(span)
        nats = threshold + (JOINED_NATS if len(group) > 1 else 0.0)
        life = _Life(digests, group[0], len(nozzles), offset_us, nats)
        life.visits, life.work = _visits_us(past, nozzles), work_on(past, group)
        for first, those in sorted(spans.items()):
            last = min((those[-1] + 1) * SPAN_DAYS, known[-1] + 1)
            if not any(first <= day < last for day in days):
                continue
            key = f"{' '.join(group)} {' '.join(nozzles)} {first} {threshold}"
            used.add(key)
            life.crossings = begun.setdefault(first, crossings.begun(first))
            watch = life.watched(first, last, key, memory)
            begin = max(to_us(since), those[0] * SPAN_DAYS * DAY_US - offset_us)
            end = min(to_us(until), (those[-1] + 1) * SPAN_DAYS * DAY_US - offset_us)
            mine = tuple(claim for claim in watch.claims if begin < claim.at_us <= end)
            before = tuple(claim for claim in watch.claims if claim.at_us <= begin)
            yield Followed(group, grade, nozzles, mine, before, watch.track)
    _forget(memory, used)


@dataclass
class _Life:
    """One tank, or joined ones, as far as it is told."""

    digests: Mapping[int, Mapping[str, NDArray[np.float32]]]
    tank: str
    nozzles: int
    offset_us: int
    threshold: float
    visits: list[int] = field(default_factory=list)
    work: list[int] = field(default_factory=list)
    crossings: Crossings = field(default_factory=lambda: Crossings({}))

    def watched(self, first: int, last: int, key: str, memory: MutableMapping[str, bytes] | None) -> Watch:
        """A watch that was told first <= day < last."""
        if memory is None or not isinstance(self.digests, Digests):
            return self._told(Watch(self.nozzles, self.threshold), range(first, last))
        chain = [hashlib.blake2b(f"{_WATCHES} {key} {self.offset_us}".encode(), digest_size=16).digest()]
        """After none, one … of the days that are over: everything that was told until then."""
        for day in range(first, last):
            mark = self.digests.mark(day) if day in self.digests else b"nothing"
            if mark is None:
                break
            said = chain[-1] + mark + repr(self._seen(day)).encode()
            chain.append(hashlib.blake2b(said, digest_size=16).digest())
        before = memory.get(key, b"")
        watch, told = _remembered(before, chain) or (Watch(self.nozzles, self.threshold), 0)
        over = len(chain) - 1
        self._told(watch, range(first + told, first + over))
        if over > told and over >= int.from_bytes(before[:_COUNT], "little"):
            memory[key] = over.to_bytes(_COUNT, "little") + chain[-1] + to_bytes(watch)
        return self._told(watch, range(first + over, last))

    def _told(self, watch: Watch, days: range) -> Watch:
        for day in days:
            near, worked = self._seen(day)
            told = self.digests.get(day, {}).get(self.tank)
            known = _day(told, self.nozzles)
            if known is not None:
                known = known.without(self.crossings.blocks(day, self.tank))
            watch.tell(day * DAY_US - self.offset_us, known, near, worked=worked)
        return watch

    def _seen(self, day: int) -> tuple[list[int], bool]:
        """Inspections about that day, and whether the tank was worked on."""
        start = day * DAY_US - self.offset_us
        near = [at for at in self.visits if start - 2 * DAY_US < at < start + DAY_US]
        return near, any(start <= at < start + DAY_US for at in self.work)


def _remembered(told: bytes, chain: list[bytes]) -> tuple[Watch, int] | None:
    """The watch that is kept and how many days it was told; None when it was told otherwise, or more."""
    days, size = int.from_bytes(told[:_COUNT], "little"), len(chain[0])
    if not told or days >= len(chain) or told[_COUNT : _COUNT + size] != chain[days]:
        return None
    return from_bytes(told[_COUNT + size :]), days


def _forget(memory: MutableMapping[str, bytes] | None, used: set[str]) -> None:
    """What is not needed now, when there is much of it."""
    if memory is not None and len(memory) > _MOST * max(len(used), 1):
        for key in set(memory) - used:
            del memory[key]


def _day(told: NDArray[np.float32] | None, nozzles: int) -> Day | None:
    """The day; None when the tank had other nozzles then than the register has now."""
    if told is None:
        return None
    day = Day.from_array(told)
    return day if day.nozzles == nozzles else None


def _columns(past: StationPast, offset_us: int) -> list[tuple[Course, Columns]]:
    """Made once a past: ``courses`` keeps the courses, and each keeps its columns."""
    those = courses(past)
    if any("columns" not in course.__dict__ for course in those):
        draws = draws_of(past)
        for course in those:
            course.__dict__["columns"] = Columns(past, course, offset_us, draws)
    return [(course, course.__dict__["columns"]) for course in those]


def _visits_us(past: StationPast, nozzles: tuple[str, ...]) -> list[int]:
    """Inspections and verifications at these nozzles."""
    names = {past.station_id, *nozzles, *(past.nozzle_by_id[nozzle].dispenser_id for nozzle in nozzles)}
    names |= {name.removeprefix(f"{past.station_id}-") for name in names}
    return sorted(to_us(o.at) for o in past.work_orders if o.kind in _VISITS and o.device_id in names)
