"""The question how complete what came in is, per station and day: tags, fillings and tank readings (P6, P13).

Expected is what is known to have been there to be told. Of a tag: one good value in each slot of a few minutes, twice
as long as it may be silent (decision 0007: unchanged values are repeated once a heartbeat). Of fillings: those that
came and the sequence numbers left out between them. Of a tank's readings: one each usual step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import groupby, pairwise
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from pumpwatch.engine.queries.pages import Page, cursor, place_of
from pumpwatch.errors import BadConfig
from pumpwatch.model import TankReading, Transaction, from_us, to_us

if TYPE_CHECKING:
    from pumpwatch.engine.queries.pace import Pace
    from pumpwatch.historian import Historian
    from pumpwatch.ledger import Register

COMPLETENESS: Final = pa.schema(
    [
        ("station_id", pa.string()),
        ("day", pa.date32()),
        *(
            (f"{what}_{how}", kind)
            for what in ("tags", "fillings", "readings")
            for how, kind in (("expected", pa.int64()), ("received", pa.int64()), ("percent", pa.float64()))
        ),
        ("numbers_missing", pa.string()),
    ]
)
"""Of tags slots are counted. ``percent`` is null where nothing is expected; ``numbers_missing`` names nozzles and
sequence numbers, ``S01-N01 17-19, 23; S01-N02 5``."""
MOST_DAYS: Final = 3_700
"""That one may ask for."""
_DAYS_AT_ONCE: Final = 7
_MOST_LOOKS: Final = 2_000
"""At a tag and day for one page."""
_AT_ONCE: Final = 20_000
"""Records asked for at a time."""
_LARGEST_LEAP: Final = 5_000
_SMALL_LEAP: Final = 10
"""Counts whatever the clocks say."""
_LEAST_S: Final = 20.0
"""No nozzle fills more often: a number that leaps further is that of another counter."""
_USUAL: Final = 8
_RUNS_NAMED: Final = 20
_STEPS: Final = 50
_MINUTE_US: Final = 60_000_000
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Day:
    """What is counted of one station and local day."""

    expected: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    """Missing ones, by nozzle."""


class Completeness:
    """Counts, for a register and a pace as they are now."""

    def __init__(self, historian: Historian, register: Register, pace: Pace, zone: tzinfo, now: datetime) -> None:
        self._historian = historian
        self._register = register
        self._pace = pace
        self._zone = zone
        self._now = now
        self._looks = 0
        self._first_us: dict[str, int | None] = {}
        """When each tag was first heard of; asked for once, for it takes a look at all that is kept of it."""

    async def page(self, stations: Sequence[str], first: date, end: date, after: str | None, limit: int) -> Page:
        """Rows of stations and days with first <= day < end, by station and day; of all stations when none is named.

        A page has fewer where many tags are to be looked at. Raises ``BadConfig`` when a station is not known, or for
        too many days.
        """
        known = [station.station_id for station in self._register.stations]
        if unknown := [name for name in stations if name not in known]:
            raise BadConfig(f"there is no station {unknown[0][:80]!r} in the ledger; import it, or ask for another")
        if not 0 <= (end - first).days <= MOST_DAYS:
            raise BadConfig(f"{first} to {end}: give a day and a later one, at most {MOST_DAYS} days apart")
        asked = sorted(set(stations) or known)
        behind, resumed = place_of(after, (str, str)) if after else ("", first.isoformat())
        left, parts = limit, [COMPLETENESS.empty_table()]
        for station in asked:
            if station < behind:
                continue
            day = _day_of(resumed) if station == behind else first
            day = max(day, first)
            while day < end:
                if not left or self._looks >= _MOST_LOOKS:
                    return Page(pa.concat_tables(parts), cursor(station, day.isoformat()))
                days = [day + timedelta(i) for i in range(min(_DAYS_AT_ONCE, left, (end - day).days))]
                parts.append(await self._rows(station, days))
                left -= len(days)
                day = days[-1] + timedelta(1)
        return Page(pa.concat_tables(parts))

    async def _rows(self, station: str, days: Sequence[date]) -> pa.Table:
        found = {day: _Day() for day in days}
        await self._tags(station, found)
        await self._fillings(station, found)
        await self._readings(station, found)
        rows = [
            {"station_id": station, "day": day, "numbers_missing": _named(told.numbers)}
            | {f"{what}_expected": told.expected[what] for what in ("tags", "fillings", "readings")}
            | {f"{what}_received": told.received[what] for what in ("tags", "fillings", "readings")}
            | {
                f"{what}_percent": 100.0 * told.received[what] / told.expected[what] if told.expected[what] else None
                for what in ("tags", "fillings", "readings")
            }
            for day, told in found.items()
        ]
        return pa.Table.from_pylist(rows, schema=COMPLETENESS)

    def _midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self._zone).astimezone(UTC)

    def _day(self, at: datetime) -> date:
        return at.astimezone(self._zone).date()

    def _span(self, days: Mapping[date, _Day]) -> tuple[datetime, datetime]:
        return self._midnight(min(days)), self._midnight(max(days) + timedelta(1))

    # ------------------------------------------------------------ tags

    async def _tags(self, station: str, days: Mapping[date, _Day]) -> None:
        start, end = self._span(days)
        end = min(end, self._now)
        if end <= start:
            return
        for path in await self._expected_paths(station, start, end):
            first_us = await self._heard_since_us(path)
            if first_us is None:
                continue
            self._looks += len(days)
            width_us = self._pace.slot_min(path) * _MINUTE_US
            for day, told in days.items():
                begin_us, until_us = to_us(self._midnight(day)), to_us(self._midnight(day + timedelta(1)))
                first = max(0, first_us - begin_us) // width_us
                last = (min(until_us, to_us(end)) - begin_us) // width_us  # a slot that is not over is not counted
                if last <= first:
                    continue
                sums = await self._historian.summaries(
                    path,
                    from_us(begin_us + first * width_us),
                    from_us(begin_us + last * width_us),
                    timedelta(microseconds=width_us),
                )
                told.expected["tags"] += last - first
                told.received["tags"] += int(np.count_nonzero(sums.good))

    async def _heard_since_us(self, path: str) -> int | None:
        if path not in self._first_us:
            earliest = await self._historian.samples(paths=(path,), start=_LONG_AGO, end=self._now, limit=1)
            self._first_us[path] = int(earliest.at_us[0]) if len(earliest) else None
        return self._first_us[path]

    async def _expected_paths(self, station: str, start: datetime, end: datetime) -> Sequence[str]:
        """Tags of the configured devices; where none is configured, all that were ever heard of."""
        if station in self._pace.stations():
            return sorted(path for path in self._pace.seconds if path.partition("/")[0] == station)
        paths: list[str] = []
        after: tuple[str, datetime] | None = None
        while True:  # one sample a tag: what follows the last moment of a tag is the next tag
            one = await self._historian.samples(station_id=station, start=_LONG_AGO, end=end, after=after, limit=1)
            if not len(one):
                return paths
            paths.append(one.paths[0])
            after = one.paths[0], end

    # ------------------------------------------------------------ fillings

    async def _fillings(self, station: str, days: Mapping[date, _Day]) -> None:
        start, end = self._span(days)
        sales = await self._all_fillings(station, start, end)
        for sale in sales:
            told = days[self._day(sale.end)]
            told.expected["fillings"] += 1
            told.received["fillings"] += 1
        for nozzle, mine in groupby(sorted(sales, key=_in_order), key=lambda sale: sale.nozzle_id):
            before = await self._historian.transactions(nozzle_id=nozzle, start=None, end=start, limit=_USUAL)
            ordered = [*sorted(before, key=_in_order), *mine]
            for number, at in _missing(ordered, len(before)):
                told = days[self._day(at)]
                told.expected["fillings"] += 1
                told.numbers.setdefault(nozzle, []).append(number)

    async def _all_fillings(self, station: str, start: datetime, end: datetime) -> list[Transaction]:
        found: dict[tuple[str, int, datetime], Transaction] = {}
        n = _AT_ONCE
        while True:
            page = await self._historian.transactions(station_id=station, start=start, end=end, limit=n)
            found |= {sale.key: sale for sale in page}
            if len(page) < n:
                return list(found.values())
            if page[-1].end == page[0].end:
                n *= 2
            end = page[-1].end + timedelta(microseconds=1)  # others of that very moment may be on the next page

    # ------------------------------------------------------------ tank readings

    async def _readings(self, station: str, days: Mapping[date, _Day]) -> None:
        start, end = self._span(days)
        for tank in self._register.tanks_of(station):
            before = await self._historian.records(
                TankReading, start=_LONG_AGO, end=start, key=tank.tank_id, limit=_STEPS
            )
            times = await self._reading_times(tank.tank_id, start, end)
            known = sorted(to_us(reading.at) for reading in before)
            for at_us in times:
                told = days[self._day(from_us(at_us))]
                told.expected["readings"] += 1
                told.received["readings"] += 1
            steps = [b - a for a, b in pairwise([*known, *times])]
            if not steps:
                continue
            step_us = max(1, round(median(steps)))
            if end <= self._now:
                times += (await self._reading_times(tank.tank_id, end, end + timedelta(microseconds=3 * step_us)))[:1]
                edge_us = to_us(end)
            else:  # the next one may be a little late
                edge_us = to_us(self._now) - step_us
            own = [*known[-1:], *times]
            for at_us in _left_out(own, step_us, to_us(start), edge_us):
                days[self._day(from_us(at_us))].expected["readings"] += 1

    async def _reading_times(self, tank: str, start: datetime, end: datetime) -> list[int]:
        found: set[int] = set()
        while True:
            page = await self._historian.records(TankReading, start=start, end=end, key=tank, limit=_AT_ONCE)
            found.update(to_us(reading.at) for reading in page)
            if len(page) < _AT_ONCE:
                return sorted(found)
            end = page[-1].at


def _left_out(times_us: Sequence[int], step_us: int, start_us: int, edge_us: int) -> Iterable[int]:
    """When readings should have come in start <= time < edge, between those that came and after the last of them."""
    for a, b in pairwise([*times_us, None]):
        if a is None:
            return
        count = (edge_us - a - 1) // step_us if b is None else round((b - a) / step_us) - 1
        first = max(1, -(-(start_us - a) // step_us))
        last = min(count, (edge_us - a - 1) // step_us)
        yield from (a + step_us * i for i in range(first, last + 1))


def _missing(ordered: Sequence[Transaction], known_before: int) -> Iterable[tuple[int, datetime]]:
    """Numbers left out before the fillings from ``known_before`` on, with the end of the filling that shows it."""
    steps = [b.seq - a.seq for a, b in pairwise(ordered)]
    if len(steps) >= _USUAL and 2 * steps.count(1) < len(steps):
        return  # where a protocol has no numbers drivers number by time
    present = {sale.seq for sale in ordered}
    told: set[int] = set()
    for place, (step, sale) in enumerate(zip(steps, ordered[1:], strict=True), 1):
        elapsed_s = (sale.end - ordered[place - 1].end).total_seconds()
        if place < known_before or not 1 < step <= min(_LARGEST_LEAP, max(_SMALL_LEAP, elapsed_s / _LEAST_S)):
            continue
        for number in range(sale.seq - step + 1, sale.seq):
            if number not in present and number not in told:
                told.add(number)
                yield number, sale.end


def _in_order(sale: Transaction) -> tuple[str, datetime, int]:
    return sale.nozzle_id, sale.end, sale.seq


def _named(numbers: Mapping[str, Sequence[int]]) -> str | None:
    """Nozzles and their missing numbers; of very many the first."""
    words = []
    for nozzle, those in sorted(numbers.items()):
        runs: list[list[int]] = []
        for number in sorted(those):
            if runs and number == runs[-1][-1] + 1:
                runs[-1] = [runs[-1][0], number]
            else:
                runs.append([number])
        shown = ", ".join("-".join(map(str, run)) for run in runs[:_RUNS_NAMED])
        words.append(f"{nozzle} {shown}{', …' if len(runs) > _RUNS_NAMED else ''}")
    return "; ".join(words) or None


def _day_of(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadConfig("after: is no cursor of this question; take it from the answer before") from None
