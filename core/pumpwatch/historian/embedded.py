"""The store ``embedded``, which needs no server: sealed Parquet segments for samples, SQLite for records."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, ParamSpec, TypeVar, cast

from pydantic import AfterValidator, Field

from pumpwatch.contracts import PluginSettings, Series, Store, hookimpl
from pumpwatch.errors import NotReachable
from pumpwatch.historian import segments
from pumpwatch.historian.answers import Asked
from pumpwatch.historian.bulk import Numbers, RecordBlock, Taken
from pumpwatch.historian.records import Records
from pumpwatch.historian.reserve import RESERVE, Reserve
from pumpwatch.historian.retention import Terms, before_us
from pumpwatch.historian.rows import SHAPES, Plain
from pumpwatch.historian.sealed import Sealed
from pumpwatch.model import (
    Batch,
    Delivery,
    DeviceEvent,
    DeviceIdentity,
    Record,
    SampleBatch,
    Summaries,
    TankReading,
    Transaction,
    to_us,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from pumpwatch.historian.reading import LentRecords

P = ParamSpec("P")
T = TypeVar("T")

_PAGE_ROWS: Final = 50_000


def _possible(days: float) -> float:
    if 0 < days < 1:
        raise ValueError(f"{days:g} days are too few; write 1 or more, or 0 for ever")
    return days


Days = Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False), AfterValidator(_possible)]


class EmbeddedSettings(PluginSettings):
    """Days each kind of data is kept; 0, or none, means for ever. Fillings, identities and events are evidence."""

    samples_days: Days | None = Field(92, description="Days samples are kept; 0: for ever. Roll-ups stay")
    tags_days: dict[Annotated[str, Field(min_length=1, max_length=200)], Days] = Field(
        default_factory=dict,
        max_length=100,
        description="The same of some tags, by pattern of their names (`tank-*`) or of whole paths (`S01/D1/*`); "
        "the first that fits counts",
    )
    tank_readings_days: Days | None = Field(1_100, description="Days readings of tanks are kept; 0: for ever")
    transactions_days: Days | None = Field(None, description="Days fillings are kept; evidence")
    deliveries_days: Days | None = Field(None, description="Days deliveries are kept; evidence")
    identities_days: Days | None = Field(None, description="Days identities of devices are kept; evidence")
    events_days: Days | None = Field(None, description="Days events of devices are kept; evidence")
    minutes_days: Days | None = Field(
        1_100, description="Days one value a minute and tag is kept (low, high, mean, last, count); 0: for ever"
    )
    hours_days: Days | None = Field(None, description="The same, one an hour")
    merge_at: int = Field(default=16, ge=2, description="So many segments of one day and level are merged into one")
    merge_rows: int = Field(default=64_000_000, ge=1, description="No merged segment grows beyond this")
    threads: int = Field(
        default=3, ge=1, le=16, description="One for a merge, one for a write, the others for questions"
    )


class EmbeddedStore(Store):
    """One write seals one segment a day of samples, so it wants much at once: the historian gathers for it.

    Blocking work runs in the store's own few threads. A cancelled caller leaves its work to be finished there.
    """

    name: ClassVar[str] = "embedded"
    Settings: ClassVar[type[PluginSettings]] = EmbeddedSettings
    gather_s: ClassVar[float] = 300.0
    """Told to the historian: how long it may gather before a write."""
    gather_rows: ClassVar[int] = 500_000

    def __init__(self, settings: PluginSettings, folder: Path) -> None:
        super().__init__(settings, folder)
        self._rules = cast("EmbeddedSettings", settings)
        self._samples = Sealed(folder, merge_at=self._rules.merge_at, merge_rows=self._rules.merge_rows)
        self._records = Records(folder / "records.sqlite")
        self._reserve = Reserve(folder / RESERVE)
        self._writing = threading.Lock()
        self._closing = threading.Event()
        self._threads: ThreadPoolExecutor | None = None
        self._running: set[Future[Any]] = set()
        self._tidying: Future[None] | None = None

    @property
    def stored_samples(self) -> int:
        """Samples in the segments; those written twice count twice until they are merged."""
        return self._samples.manifest.rows

    @property
    def damage(self) -> tuple[str, ...]:
        """What was found damaged and set aside, as sentences."""
        return self._samples.damage + self._records.damage

    async def open(self) -> None:
        """Raises ``BadConfig`` when the folder cannot be used or another server holds it."""
        self._closing.clear()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._rules.threads, thread_name_prefix="pumpwatch-embedded")
        await self._in_thread(self._open)
        self._tidy_if_due()

    async def close(self) -> None:
        """Finish writes and reads, abandon a merge, join the threads."""
        self._closing.set()
        if self._threads is None:
            return
        for running in list(self._running):
            with suppress(Exception):  # whoever started it has been told
                await asyncio.wrap_future(running)
        threads, self._threads = self._threads, None
        threads.shutdown()
        self._samples.close()
        self._records.close()

    async def write(self, batches: Sequence[Batch]) -> None:
        """Seal samples and keep records; both are on disk when this returns. Raises ``NotReachable`` on a full disk."""
        await self._in_thread(self._write, batches)
        self._tidy_if_due()

    async def latest(self) -> SampleBatch:
        """The last sample of every tag; its station is empty, the paths name theirs."""
        return await self._in_thread(self._records.latest)

    async def series(self, path: str, start: datetime, end: datetime, limit: int = 100_000) -> Series:
        """The samples of a tag; damaged segments are set aside, named and left out."""
        return Series(path, await self._in_thread(self._samples.series, path, to_us(start), to_us(end), limit))

    async def summaries(self, path: str, start: datetime, end: datetime, width: timedelta) -> Summaries:
        """From roll-ups where these fit; else, and where samples came late, from the samples."""
        return await self._in_thread(
            self._samples.summaries, path, to_us(start), to_us(end), max(1, width // timedelta(microseconds=1))
        )

    async def samples(
        self,
        *,
        station_id: str | None = None,
        paths: Sequence[str] = (),
        start: datetime,
        end: datetime,
        after: tuple[str, datetime] | None = None,
        limit: int = 100_000,
    ) -> SampleBatch:
        """A page of samples by path and time; damaged segments are set aside, named and left out."""
        asked = Asked.of(station_id, paths, start, end, after)
        return await self._in_thread(lambda: segments.as_page(station_id or "", self._samples.page(asked, limit)))

    async def transactions(
        self,
        *,
        station_id: str | None = None,
        nozzle_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 1_000,
    ) -> Sequence[Transaction]:
        """Fillings with start <= end time < end, newest first."""
        find = partial(
            self._records.find,
            Transaction,
            station_id=station_id,
            subject=nozzle_id,
            start_us=None if start is None else to_us(start),
            end_us=None if end is None else to_us(end),
            limit=limit,
        )
        return cast("list[Transaction]", await self._in_thread(find))

    async def records(
        self, kind: type[Record], *, start: datetime, end: datetime, key: str | None = None, limit: int = 10_000
    ) -> Sequence[Record]:
        """Records of one kind, newest first; ``key`` may be ``station/device`` where a device id alone is ambiguous."""
        station, slash, subject = (key or "").partition("/")
        find = partial(
            self._records.find,
            kind,
            station_id=station if slash else None,
            subject=subject if slash else key,
            start_us=to_us(start),
            end_us=to_us(end),
            limit=limit,
        )
        return await self._in_thread(find)

    async def add_records(self, block: RecordBlock) -> Taken:
        """The bulk door for imports; see ``historian.bulk``."""
        return await self._in_thread(self._add, block)

    async def pages(self, kind: type[Record], start_us: int, end_us: int) -> AsyncIterator[Sequence[tuple[Plain, ...]]]:
        """The bulk door for exports; see ``historian.bulk``."""
        shape = SHAPES[kind]
        keys = [next(i for i, c in enumerate(shape.columns) if c.name == k) for k in shape.order[len(shape.home) :]]
        for pair in await self._in_thread(self._records.series, kind):
            after: tuple[Plain, ...] = ()
            while rows := await self._in_thread(self._records.page, kind, pair, start_us, end_us, after, _PAGE_ROWS):
                yield rows
                after = tuple(rows[-1][k] for k in keys)
                if len(rows) < _PAGE_ROWS:
                    break

    async def numbers_of_station(
        self, kind: type[Record], station_id: str, names: Sequence[str], start_us: int, end_us: int
    ) -> Numbers:
        """The bulk door for reviews; see ``historian.bulk``."""
        return await self._in_thread(self._records.numbers_of_station, kind, station_id, names, start_us, end_us)

    async def bounds(self, kind: type[Record]) -> tuple[int, int] | None:
        """The bulk door for reviews; see ``historian.bulk``."""
        return await self._in_thread(self._records.bounds, kind)

    async def of_station(
        self, kind: type[Record], station_id: str, names: Sequence[str], start_us: int, end_us: int
    ) -> Mapping[str, Sequence[tuple[Plain, ...]]]:
        """The bulk door for reviews; see ``historian.bulk``."""
        return await self._in_thread(self._records.of_station, kind, station_id, names, start_us, end_us)

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[LentRecords]:
        """Lend the records to other processes; see ``historian.bulk``."""
        if self._threads is None:
            raise NotReachable(f"{self.folder}: the store is closed")
        lending = self._records.lent()
        entering = self._submit(self._threads, lending.__enter__)

        def give_back() -> None:
            with suppress(CancelledError):
                if entering.exception() is None:  # waits: it may be under way yet
                    lending.__exit__(None, None, None)

        try:
            yield await asyncio.wrap_future(entering)
        finally:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, give_back))

    async def attribute_names(self, kind: type[Record], start_us: int, end_us: int) -> set[str]:
        """The bulk door for exports; see ``historian.bulk``."""
        return await self._in_thread(self._records.attribute_names, kind, start_us, end_us)

    async def copy_to(self, folder: Path) -> None:
        """Copy all that is stored; see ``historian.copying``."""
        await self._after_merging()
        await self._in_thread(self._copy_to, folder)

    async def retention(self, now: datetime) -> None:
        """Drop samples, roll-ups and records that are older than the settings allow.

        A full disk does not keep it from that: room is held back. Raises ``NotReachable`` where it is not enough.
        """
        await self._after_merging()
        await self._in_thread(self._forget, now)
        self._tidy_if_due()

    async def table(
        self,
        *,
        station_id: str | None = None,
        paths: Sequence[str] = (),
        start: datetime,
        end: datetime,
        after: tuple[str, datetime] | None = None,
        limit: int = 100_000,
    ) -> pa.Table:
        """What ``samples`` says as an Arrow table, without making Python's strings; see ``segments.SCHEMA``."""
        return await self._in_thread(self._samples.page, Asked.of(station_id, paths, start, end, after), limit)

    async def mend(self) -> None:
        """Read everything to the last bit; set aside and name what is damaged, save what can be."""
        await self.tidied()
        await self._in_thread(self._records.mend)
        await self._in_thread(self._samples.mend)

    async def tidied(self) -> None:
        """Return when nothing is being merged or rolled up any more. Raises what went wrong there."""
        while self._tidying is not None and not self._tidying.done():
            await asyncio.wrap_future(self._tidying)

    async def _after_merging(self) -> None:
        """Wait here and not in a thread, of which there are few."""
        with suppress(Exception):  # whoever writes next is told
            await self.tidied()

    # ------------------------------------------------------------ in the threads

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._reserve.give_up_when_full()
        self._records.open()
        self._samples.open()
        self._reserve.keep()

    def _write(self, batches: Sequence[Batch]) -> None:
        with self._writing:
            samples = [b.samples for b in batches if len(b.samples)]
            table = self._samples.arranged(samples) if samples else None
            latest = [] if table is None else segments.last_of_each(table)
            self._records.write([(b.station, r) for b in batches for r in b.records], latest)
            try:
                if table is not None:
                    self._samples.seal(table, max(to_us(b.arrived) for b in batches))
            except OSError as error:
                raise NotReachable(f"{self.folder}: cannot be written ({error}); free space on its disk") from error

    def _add(self, block: RecordBlock) -> Taken:
        with self._writing:
            return self._records.add(block)

    def _copy_to(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True)
            self._records.copy_to(folder / self._records.path.name)
            self._samples.copy_to(folder)
        except (OSError, sqlite3.OperationalError) as error:
            raise NotReachable(f"{folder}: cannot be written ({error}); free space on its disk") from error

    def _forget(self, now: datetime) -> None:
        try:
            self._drop(now)
        except (OSError, NotReachable):
            if not self._reserve.give_up():
                raise
            self._drop(now)
        finally:
            self._reserve.keep()

    def _drop(self, now: datetime) -> None:
        rules = self._rules
        terms = Terms.at(now, rules.samples_days, rules.tags_days)
        minutes_us, hours_us = (before_us(now, days) for days in (rules.minutes_days, rules.hours_days))
        self._samples.forget(terms, minutes_us, hours_us, self._closing.is_set)
        self._records.forget_latest(terms.of)
        for kind, days in (
            (Transaction, rules.transactions_days),
            (TankReading, rules.tank_readings_days),
            (Delivery, rules.deliveries_days),
            (DeviceIdentity, rules.identities_days),
            (DeviceEvent, rules.events_days),
        ):
            if (edge_us := before_us(now, days)) is not None:
                self._records.forget(kind, edge_us)

    # ------------------------------------------------------------ merging

    def _tidy_if_due(self) -> None:
        """Start merging and rolling up in the threads, if something is due and nothing is under way."""
        if self._threads is None or not self._samples.is_untidy():
            return
        if self._tidying is not None:
            if not self._tidying.done():
                return
            self._tidying.result()
        self._tidying = self._submit(self._threads, self._samples.tidy, self._closing.is_set)

    # ------------------------------------------------------------ threads

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._threads is None:
            raise NotReachable(f"{self.folder}: the store is closed")
        try:
            return await asyncio.wrap_future(self._submit(self._threads, work, *args, **kwargs))
        except OSError as error:
            raise NotReachable(f"{self.folder}: {error}; see to its disk, and free space on it") from error

    def _submit(
        self, threads: ThreadPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        running = threads.submit(work, *args, **kwargs)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return running


@hookimpl
def pumpwatch_stores() -> list[type[Store]]:
    """The core's own store comes through the same door as everybody's."""
    return [EmbeddedStore]
