"""The one door for every question to what is kept: typed here, the same over HTTP and from the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from pumpwatch.engine.queries import gaps, samples
from pumpwatch.engine.queries.completeness import Completeness
from pumpwatch.engine.queries.fillings import FillingFilter, fillings
from pumpwatch.engine.queries.pages import MOST_ROWS, Page, Window
from pumpwatch.errors import BadConfig
from pumpwatch.model import to_us

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.clock import Clock
    from pumpwatch.engine.queries.pace import Pace
    from pumpwatch.historian import Historian
    from pumpwatch.hub import Last
    from pumpwatch.ledger import Register

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_BUCKET: Final = timedelta(days=366)
_LOOKBACK: Final = timedelta(minutes=15)
_LONGEST_LOOKBACK: Final = timedelta(days=7)
MOST_PATHS: Final = 200
"""Tags that one question may name."""


class Queries:
    """Questions are answered page by page; whoever stops asking, by cancelling, stops the work at the next step.

    All raise ``BadConfig`` for what cannot be asked so, ``NotReachable`` while the store is away.
    """

    def __init__(
        self,
        historian: Historian,
        register: Callable[[], Register],
        latest: Mapping[str, Last],
        pace: Callable[[], Pace],
        zone: tzinfo,
        clock: Clock,
    ) -> None:
        """``register`` and ``pace`` give what holds now; ``latest`` is the hub's, days begin in ``zone``."""
        self._historian = historian
        self._register = register
        self._latest = latest
        self._pace = pace
        self._zone = zone
        self._clock = clock

    async def latest(self, prefix: str = "", *, after: str | None = None, limit: int = MOST_ROWS) -> Page:
        """The last sample of every tag whose path begins so (``samples.SAMPLES``)."""
        return samples.latest(self._latest, prefix, after, _bounded(limit))

    async def samples(
        self,
        paths: Sequence[str] = (),
        *,
        station_id: str | None = None,
        start: datetime,
        end: datetime,
        after: str | None = None,
        limit: int = MOST_ROWS,
    ) -> Page:
        """Samples with start <= at < end of some tags or of a station's, by path and time (``samples.SAMPLES``)."""
        if not paths and station_id is None:
            raise BadConfig("path: name the tags, STATION/DEVICE/TAG, or a station")
        return await samples.samples(
            self._historian,
            station_id=station_id,
            paths=_few(paths),
            window=Window.of(start, end),
            after=after,
            limit=_bounded(limit),
        )

    async def summaries(
        self,
        paths: Sequence[str],
        width: timedelta,
        *,
        start: datetime,
        end: datetime,
        after: str | None = None,
        limit: int = MOST_ROWS,
    ) -> Page:
        """Least, greatest, mean and last value by bucket; see ``Store.summaries`` (``samples.SUMMARIES``)."""
        if not paths:
            raise BadConfig("path: name the tags, STATION/DEVICE/TAG")
        if not timedelta(seconds=1) <= width <= _LONGEST_BUCKET:
            raise BadConfig(f"width: {width.total_seconds():g} s is no bucket; 1 s to 366 days are")
        return await samples.summaries(
            self._historian,
            paths=_few(paths),
            window=Window.of(start, end),
            width=width,
            after=after,
            limit=_bounded(limit),
        )

    async def as_of(self, paths: Sequence[str], times: Sequence[datetime], *, lookback: timedelta = _LOOKBACK) -> Page:
        """For each time the last sample of each tag at it or before, none that is older than ``lookback``.

        Columns ``at`` and those of ``samples.as_of``.
        """
        if len(times) > MOST_ROWS:
            raise BadConfig(f"at: {len(times):,} times are too many; ask for {MOST_ROWS:,} at a time")
        times_us = np.array([Window.of(at, at).start_us for at in times], np.int64)
        at = samples.instants(times_us)
        return Page(samples.beside(at, await self._as_of(paths, times_us, lookback)))

    async def as_of_fillings(
        self,
        paths: Sequence[str],
        wanted: FillingFilter,
        *,
        lookback: timedelta = _LOOKBACK,
        after: str | None = None,
        limit: int = 1_000,
    ) -> Page:
        """Fillings as ``transactions`` gives them, with what the tags said as each of them ended."""
        page = await self.transactions(wanted, after=after, limit=limit)
        times_us = np.array([to_us(at) for at in page.table["end"].to_pylist()], np.int64)
        return Page(samples.beside(page.table, await self._as_of(paths, times_us, lookback)), page.after)

    async def transactions(self, wanted: FillingFilter, *, after: str | None = None, limit: int = 1_000) -> Page:
        """Fillings, newest first (``fillings.FILLINGS``)."""
        end = wanted.end or self._clock.now() + timedelta(days=1)
        window = Window.of(wanted.start or _EARLIEST, end)
        return await fillings(self._historian, self._register(), wanted, window, after, _bounded(limit))

    async def gaps(
        self,
        subject: str,
        *,
        longest: timedelta | None = None,
        start: datetime,
        end: datetime,
        after: str | None = None,
        limit: int = 1_000,
    ) -> Page:
        """Where nothing good was heard of a tag ``STATION/DEVICE/TAG`` or a device ``STATION/DEVICE`` (``gaps.GAPS``).

        ``longest`` is how long it may be silent; by default twice the time in which it must be heard of.
        """
        pace, known = self._pace(), {*self._latest}
        known |= set(pace.seconds)
        paths = sorted(p for p in known if p == subject or p.startswith(f"{subject}/")) if subject.count("/") else []
        if not paths:
            raise BadConfig(f"of: no tag or device {subject[:80]!r} is known; `pumpwatch tags` lists them")
        if len(paths) > 50 * MOST_PATHS:
            raise BadConfig(f"of: {subject[:80]!r} has {len(paths):,} tags; ask for a device or a tag")
        if longest is None:
            longest = timedelta(seconds=min(pace.longest_s(path) for path in paths))
        if not timedelta(0) < longest <= _LONGEST_BUCKET:
            raise BadConfig(f"longer: {longest.total_seconds():g} s is no silence; more than 0 s, up to 366 days")
        return await gaps.gaps(
            self._historian,
            subject=subject,
            paths=paths,
            longest=longest,
            window=Window.of(start, min(end, self._clock.now())),
            after=after,
            limit=_bounded(limit),
        )

    async def completeness(
        self,
        stations: Sequence[str] = (),
        *,
        first: date,
        end: date,
        after: str | None = None,
        limit: int = 1_000,
    ) -> Page:
        """What came against what was to come, by station and day, ``end`` left out (``completeness.COMPLETENESS``)."""
        counting = Completeness(self._historian, self._register(), self._pace(), self._zone, self._clock.now())
        return await counting.page(_few(stations), first, end, after, _bounded(limit))

    def today(self) -> date:
        """Where the stations are."""
        return self._clock.now().astimezone(self._zone).date()

    async def _as_of(
        self, paths: Sequence[str], times_us: NDArray[np.int64], lookback: timedelta
    ) -> Mapping[str, pa.Array]:
        if not paths:
            raise BadConfig("path: name the tags, STATION/DEVICE/TAG")
        if not timedelta(0) <= lookback <= _LONGEST_LOOKBACK:
            raise BadConfig(f"lookback: {lookback.total_seconds():g} s is not possible; 0 s to 7 days are")
        return await samples.as_of(self._historian, _few(paths), times_us, lookback)


def _few(names: Sequence[str]) -> Sequence[str]:
    if len(names) > MOST_PATHS:
        raise BadConfig(f"{len(names)} names are too many for one question; ask for {MOST_PATHS} at a time")
    return names


def _bounded(limit: int) -> int:
    if not 1 <= limit <= MOST_ROWS:
        raise BadConfig(f"limit: {limit} rows are no page; 1 to {MOST_ROWS:,} are")
    return limit
