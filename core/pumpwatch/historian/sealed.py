"""The samples of the embedded store: sealed segments and roll-ups, written, read, merged and forgotten as one."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa

from pumpwatch.historian import merging, segments, selecting
from pumpwatch.historian.answers import Asked, newest_of
from pumpwatch.historian.coding import PathCodes
from pumpwatch.historian.copying import copy_database_file
from pumpwatch.historian.manifest import Manifest
from pumpwatch.historian.retention import Going, Terms
from pumpwatch.historian.rolling import Level, amended, packed, rolled, wider
from pumpwatch.historian.rollups import Rollups
from pumpwatch.historian.segments import DAY_US, ODD_DAY, Damaged, Footer, Segment
from pumpwatch.model import SampleBatch, Summaries

T = TypeVar("T")

_FOOTERS_KEPT: Final = 128
_ALL: Final = 2**62
_log = logging.getLogger(__name__)


class Sealed:
    """One folder of segments, the list of those in force, and the roll-ups of days that are over.

    A day is over when a later one has begun and samples of it have come. Then its segments become one and it is rolled
    up; what comes later still lies in segments of its own, and where it does, the samples answer in place of the
    roll-ups, until enough has come to roll the day up again. Once samples of a day are gone, what comes later amends
    its roll-ups. Its methods block and are called from the store's threads.
    """

    def __init__(self, folder: Path, *, merge_at: int, merge_rows: int) -> None:
        self.manifest = Manifest(folder / "samples")
        self.rollups = Rollups(folder / "rollups.sqlite")
        self._merge_at = merge_at
        self._merge_rows = merge_rows
        self._codes = PathCodes()
        self._footers: OrderedDict[str, Footer] = OrderedDict()
        self._footers_lock = threading.Lock()
        self._rearranging = threading.Lock()
        self._today: int | None = None

    @property
    def damage(self) -> tuple[str, ...]:
        """What was found damaged and set aside, as sentences."""
        return self.manifest.damage + self.rollups.damage

    def open(self) -> None:
        """Raises ``BadConfig`` when the folder cannot be used."""
        self.manifest.open()
        self.rollups.open(self.manifest.next_order)
        self.rollups.freeze(self.manifest.lost)

    def close(self) -> None:
        """Close the files."""
        self.rollups.close()

    def copy_to(self, folder: Path) -> None:
        """All of it, in a folder that is there, once nothing is being merged or forgotten.

        Roll-ups first: they must not be newer than what they are of.
        """
        with self._rearranging:
            copy_database_file(self.rollups.path, folder / self.rollups.path.name)
            self.manifest.copy_to(folder / self.manifest.folder.name)

    def mend(self) -> None:
        """Read everything; set aside and name what is damaged, and roll up again what can be."""
        for segment in self.manifest.segments:
            try:
                footer = segments.read_footer(self.manifest.folder, segment)
                for group in range(len(footer.paths)):
                    segments.read_groups(self.manifest.folder, footer, [group])
            except (Damaged, FileNotFoundError) as damage:
                self._set_aside(segment, str(damage))
        self.rollups.mend()
        self.tidy(lambda: False)

    # ------------------------------------------------------------ writing; one thread at a time

    def arranged(self, batches: Sequence[SampleBatch]) -> pa.Table:
        """The samples of these batches as they are sealed."""
        return segments.arranged(segments.columns(batches, self._codes))

    def seal(self, table: pa.Table, arrived_us: int) -> None:
        """Keep an arranged table that arrived then; on disk when this returns. Raises ``OSError`` on a full disk."""
        self._today = max(self._today or 0, arrived_us // DAY_US)
        sealed: list[Segment] = []
        for day, rows in segments.by_day(table):
            number = self.manifest.number()
            plan = segments.planned(day, 0, number, number)
            sealed.append(segments.seal(self.manifest.folder, plan, iter([rows])))
        if sealed:
            self.manifest.replace((), sealed)

    # ------------------------------------------------------------ reading

    def series(self, path: str, start_us: int, end_us: int, limit: int = _ALL) -> SampleBatch:
        """The newest ``limit`` samples of a path with start <= time < end, oldest first."""
        return self._asked(lambda known: self._series(known, path, start_us, end_us, limit))

    def page(self, asked: Asked, limit: int) -> pa.Table:
        """The first ``limit`` samples that were asked for, by path and time."""
        return self._asked(lambda known: self._page(known, asked, limit))

    def summaries(self, path: str, start_us: int, end_us: int, width_us: int) -> Summaries:
        """The samples of a path with start <= time < end in buckets that begin at ``start_us``."""
        return self._asked(lambda known: self._summaries(known, path, start_us, end_us, width_us))

    def _asked(self, ask: Callable[[Sequence[Segment]], T]) -> T:
        while True:
            known = self.manifest.segments
            try:
                return ask(known)
            except Damaged as damage:
                self._set_aside(damage.segment, str(damage))
            except FileNotFoundError as missing:
                if known == self.manifest.segments:  # else merged or dropped while it was being read
                    gone = [s for s in known if not (self.manifest.folder / s.name).exists()]
                    for segment in gone:
                        self._set_aside(segment, str(missing))
                    if not gone:
                        raise

    def _set_aside(self, segment: Segment, reason: str) -> None:
        self.rollups.freeze([segment.day])
        self.manifest.set_aside(segment, reason)

    def _series(self, known: Sequence[Segment], path: str, start_us: int, end_us: int, limit: int) -> SampleBatch:
        touched = selecting.touching(known, start_us, end_us)
        odd = [(s.order, self._rows([s], path)) for s in touched if s.day == ODD_DAY]
        days = sorted({s.day for s in touched} - {ODD_DAY}, reverse=True)
        found = newest_of([selecting.of_days(rows, days, among=False) for _, rows in odd], start_us, end_us, limit)
        for day in days:  # newest first
            here = self._newest([s for s in touched if s.day == day], path, end_us, limit)
            here += [(order, selecting.of_days(rows, [day], among=True)) for order, rows in odd]
            here.sort(key=itemgetter(0))
            found = newest_of([*(rows for _, rows in here), found], start_us, end_us, limit)
            if np.count_nonzero(found.at_us >= day * DAY_US) >= limit:
                break
        return found

    def _newest(self, those: Sequence[Segment], path: str, end_us: int, limit: int) -> list[tuple[int, SampleBatch]]:
        """Samples of a path, each with the number of its write: at least the newest ``limit`` before ``end_us``."""
        by_end = sorted(those, key=lambda s: s.last_us, reverse=True)
        read: list[tuple[int, SampleBatch]] = []
        times = np.empty(0, np.int64)
        for number, segment in enumerate(by_end):
            rows = self._rows([segment], path)
            read.append((segment.order, rows))
            times = np.union1d(times, rows.at_us[rows.at_us < end_us])
            older = by_end[number + 1].last_us if number + 1 < len(by_end) else end_us
            if np.count_nonzero(times > older) >= limit:
                break
        return read

    def _rows(self, those: Sequence[Segment], path: str) -> SampleBatch:
        """All samples of a path in these segments, write after write."""
        tables = [segments.read(self.manifest.folder, self._footer(s), path) for s in those]
        return segments.as_batch(path, [t for t in tables if t is not None])

    def _page(self, known: Sequence[Segment], asked: Asked, limit: int) -> pa.Table:
        footers = [self._footer(s) for s in selecting.touching(known, asked.start_us, asked.end_us)]
        found: list[pa.Table] = []
        rows = 0
        at_once = merging.groups_for(limit, len(footers))
        for table in merging.merged(self.manifest.folder, footers, lambda: False, asked.may_hold, at_once):
            here = selecting.filtered(table, asked)
            found.append(here)
            rows += len(here)
            if rows >= limit:
                break
        return pa.concat_tables([segments.SCHEMA.empty_table(), *found]).slice(0, limit)

    def _summaries(self, known: Sequence[Segment], path: str, start_us: int, end_us: int, width_us: int) -> Summaries:
        level = next((v for v in (Level.HOUR, Level.MINUTE) if not start_us % v.us and not width_us % v.us), None)
        parts: list[Summaries] = []
        if level is None:
            for a, b in selecting.days_of(known, start_us, end_us):
                parts.append(Summaries.of(path, self._series(known, path, a, b, _ALL), start_us, width_us))
            return Summaries.joined(path, parts, start_us, width_us)
        first, last = start_us // DAY_US, (end_us - 1) // DAY_US
        through = self.rollups.all_through()  # before they are read: another day may be rolled up meanwhile
        by_day = {int(s.start_us[0]) // DAY_US: s for s in self.rollups.of(path, level, first, last) if len(s)}
        through = {day: order for day, order in through.items() if self.rollups.through(day) is not None}
        fresh = self._fresh(known, path, start_us, end_us, level, through)
        for day in sorted({*by_day, *fresh}):
            ready = by_day.get(day)
            a, b = max(day * DAY_US, start_us), min((day + 1) * DAY_US, end_us)
            if day in fresh and self.rollups.is_frozen(day):
                del fresh[day]
                ready = self._amended(known, path, day, level)
            spans = [fresh[day]] if day in fresh else []
            if ready is not None and b % level.us:
                spans.append((b - b % level.us, b))
            begin = max(a, min((s[0] for s in spans), default=b))
            until = min(b, max((s[1] for s in spans), default=b))
            if ready is not None:
                parts.append(selecting.between(ready, a, begin))
            if begin < until:
                parts.append(Summaries.of(path, self._series(known, path, begin, until, _ALL), start_us, level.us))
            if ready is not None:
                parts.append(selecting.between(ready, until, b))
        return Summaries.joined(path, parts, start_us, width_us)

    def _fresh(
        self,
        known: Sequence[Segment],
        path: str,
        start_us: int,
        end_us: int,
        level: Level,
        through: Mapping[int, int],
    ) -> dict[int, tuple[int, int]]:
        """The stretch of each day for which the roll-ups do not speak: all of a day that has none.

        ``through`` says of each day that has which the newest write is that they hold.
        """
        spans: dict[int, tuple[int, int]] = {}
        late: list[Segment] = []
        for segment in selecting.touching(known, start_us, end_us):
            if segment.day == ODD_DAY:
                late.append(segment)
            elif segment.day not in through:
                spans[segment.day] = segment.day * DAY_US, (segment.day + 1) * DAY_US
            elif segment.order > through[segment.day]:
                late.append(segment)
        at = self._rows(late, path).at_us
        for day, times in groupby(np.sort(at[(at >= start_us) & (at < end_us)]).tolist(), lambda t: t // DAY_US):
            if day not in spans:
                those = list(times)
                spans[day] = those[0] // level.us * level.us, (those[-1] // level.us + 1) * level.us
        return spans

    def _amended(self, known: Sequence[Segment], path: str, day: int, level: Level) -> Summaries:
        """The roll-ups of a day of which samples are gone, with what came since; hours are made from the minutes."""
        through = self.rollups.through(day)
        early: list[SampleBatch] = []
        late: list[SampleBatch] = []
        for segment in selecting.touching(known, day * DAY_US, (day + 1) * DAY_US):
            is_late = through and (segment.order > through or segment.day == ODD_DAY)
            (late if is_late else early).append(self._rows([segment], path))
        left, more = (newest_of(those, day * DAY_US, (day + 1) * DAY_US, _ALL) for those in (early, late))
        minutes, hours = (
            next(iter(self.rollups.of(path, each, day, day)), Summaries.of(path, newest_of([], 0, 0, 0), 0, each.us))
            for each in (Level.MINUTE, Level.HOUR)
        )
        if level is Level.HOUR and minutes.count.sum() != hours.count.sum():  # minutes are not kept as long
            return amended(hours, left, more, Level.HOUR)
        return wider(amended(minutes, left, more, Level.MINUTE), level)

    def _footer(self, segment: Segment) -> Footer:
        with self._footers_lock:
            footer = self._footers.pop(segment.name, None)
        footer = footer or segments.read_footer(self.manifest.folder, segment)
        with self._footers_lock:
            self._footers[segment.name] = footer
            while len(self._footers) > _FOOTERS_KEPT:
                self._footers.popitem(last=False)
        return footer

    # ------------------------------------------------------------ merging and forgetting

    def is_untidy(self) -> bool:
        """Whether ``tidy`` has something to do."""
        return bool(self._due()) or any(self._late(day) for day in self._over())

    def tidy(self, abandoned: Callable[[], bool]) -> None:
        """Merge what is due and roll up the days that are over; until ``abandoned`` says so.

        Nothing is done while something is being forgotten or copied.
        """
        if not self._rearranging.acquire(blocking=False):
            return
        try:
            while due := self._due():
                self._merge(due, abandoned)
            for day in self._over():
                if self._late(day):
                    self._settle(day, abandoned)
        except Damaged as damage:
            self._set_aside(damage.segment, str(damage))
        except (InterruptedError, FileNotFoundError):
            pass  # closing, or an input was set aside meanwhile: the inputs that are left stay in force
        except OSError as error:
            _log.warning("%s: segments could not be merged (%s); free space on its disk", self.manifest.folder, error)
        finally:
            self._rearranging.release()

    def forget(self, terms: Terms, minutes_us: int | None, hours_us: int | None, abandoned: Callable[[], bool]) -> None:
        """Drop samples whose time is over, when it is for all of a segment, and roll-ups of whole days before a time.

        Days are rolled up first. What needs the least room goes first: even to forget takes some. Raises ``OSError``.
        """
        with self._rearranging:
            self._drop_whole(terms)
            for day in sorted({s.day for s in self.manifest.segments}):
                try:
                    self._thin(day, terms, abandoned)
                except Damaged as damage:
                    self._set_aside(damage.segment, str(damage))
                except FileNotFoundError:
                    pass  # set aside meanwhile; the next time looks again
                except InterruptedError:
                    return
        for level, before_us in ((Level.MINUTE, minutes_us), (Level.HOUR, hours_us)):
            if before_us is not None:
                self.rollups.forget(level, before_us // DAY_US)

    def _drop_whole(self, terms: Terms) -> None:
        """Drop the segments of which nothing stays and that are rolled up already, or never will be."""
        gone = [s for s in self.manifest.segments if (going := terms.going(s.last_us)) and going.all]
        due = {s.day for s in gone if s.day != ODD_DAY and self._is_news(s)}
        gone = [s for s in gone if s.day not in due]
        if gone:
            self.rollups.freeze({s.day for s in gone})
            self.manifest.replace(gone, ())

    def _thin(self, day: int, terms: Terms, abandoned: Callable[[], bool]) -> None:
        """Take out of a day what is over time, when it is rolled up."""
        due = [(s, g) for s in self._of_day(day) if (g := terms.going(s.last_us)) and g.mark != s.thinned]
        gone = [s for s, going in due if going.all]
        held = [(s, going) for s, going in due if not going.all]
        harmed = {s.name for s, going in held if any(map(going.takes, self._paths(s)))}
        untouched = [(s, going) for s, going in held if s.name not in harmed]
        if untouched:
            self.manifest.replace([s for s, _ in untouched], [replace(s, thinned=g.mark) for s, g in untouched])
        if not gone and not harmed:
            return
        if day != ODD_DAY and any(map(self._is_news, self._of_day(day))):
            self._roll_up(day, abandoned)
        self.rollups.freeze([day])
        if gone:
            self.manifest.replace(gone, ())
        for segment, going in held:
            if segment.name in harmed:
                self._take_out(segment, going, abandoned)

    def _take_out(self, segment: Segment, going: Going, abandoned: Callable[[], bool]) -> None:
        """Put a segment without these tags in the place of one."""
        folder = self.manifest.folder
        plan = segments.planned(segment.day, segment.level, self.manifest.number(), segment.order)
        rows = (
            left
            for table in merging.merged(folder, [self._footer(segment)], abandoned)
            if len(left := selecting.rows_of(table, lambda path: not going.takes(path)))
        )
        first = next(rows, None)
        fresh = [] if first is None else [segments.seal(folder, plan, chain([first], rows))]
        self.manifest.replace([segment], [replace(one, thinned=going.mark) for one in fresh])

    def _paths(self, segment: Segment) -> list[str]:
        return segments.paths_of(self.manifest.folder, self._footer(segment))

    def _is_news(self, segment: Segment) -> bool:
        """Whether its day's roll-ups do not hold it."""
        return segment.order > (self.rollups.through(segment.day) or 0)

    def _due(self) -> list[Segment]:
        return merging.due(self.manifest.segments, self._merge_at, self._merge_rows)

    def _over(self) -> list[int]:
        days = sorted({s.day for s in self.manifest.segments} - {ODD_DAY})
        return [day for day in days[:-1] if self._today is None or day < self._today]

    def _of_day(self, day: int) -> list[Segment]:
        return [s for s in self.manifest.segments if s.day == day]

    def _late(self, day: int) -> bool:
        """Whether a day that is over is to be rolled up, for the first time or again."""
        if self.rollups.is_frozen(day):
            return False
        through = self.rollups.through(day)
        return through is None or 2 * sum(s.order > through for s in self._of_day(day)) >= self._merge_at

    def _settle(self, day: int, abandoned: Callable[[], bool]) -> None:
        those = self._of_day(day)
        if self.rollups.through(day) is None and len(those) > 1 and sum(s.rows for s in those) <= self._merge_rows:
            self._merge(those, abandoned)
        self._roll_up(day, abandoned)

    def _merge(self, those: Sequence[Segment], abandoned: Callable[[], bool]) -> None:
        folder = self.manifest.folder
        level, order = max(s.level for s in those) + 1, max(s.order for s in those)
        plan = segments.planned(those[0].day, level, self.manifest.number(), order)
        if len({s.thinned for s in those}) == 1:
            plan = replace(plan, thinned=those[0].thinned)
        rows = merging.merged(folder, [self._footer(s) for s in those], abandoned)
        self.manifest.replace(those, [segments.seal(folder, plan, rows)])

    def _roll_up(self, day: int, abandoned: Callable[[], bool]) -> None:
        those = self._of_day(day)
        is_frozen = self.rollups.is_frozen(day)
        news = [s for s in those if self._is_news(s)] if is_frozen else those
        tables = merging.merged(self.manifest.folder, [self._footer(s) for s in news], abandoned)
        through = max(s.order for s in those)
        if not is_frozen:
            self.rollups.put(day, through, (row for table in tables for row in rolled(table, day)))
            return
        paths = (path for table in tables for path in table["path"].unique().to_pylist())
        rows = [(p, level, packed(self._amended(those, p, day, level), day, level)) for p in paths for level in Level]
        self.rollups.put(day, through, rows)
