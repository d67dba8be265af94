"""The historian keeps every batch: journal on disk first, then the store; and answers from both as if they were one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from pumpwatch.clock import Clock
from pumpwatch.contracts import Series, Store
from pumpwatch.historian import answers, bulk, summing
from pumpwatch.historian.bulk import RecordBlock, Taken
from pumpwatch.historian.copying import CopiesItself
from pumpwatch.historian.drain import BulkStore, Drain
from pumpwatch.historian.embedded import EmbeddedStore
from pumpwatch.historian.intake import Intake
from pumpwatch.historian.journal import DEFAULT_MAX_AGE, DEFAULT_MAX_BYTES, Journal
from pumpwatch.historian.rows import SHAPES, Plain
from pumpwatch.model import Batch, Record, SampleBatch, Summaries, Transaction, to_us

P = ParamSpec("P")
T = TypeVar("T")

_LONG_AGO: Final = -(2**63)
_FAR_AHEAD: Final = 2**63 - 1
_MOST_READ: Final = 5_000_000
"""Samples of the backlog that a question about samples reads from disk."""
_MANY: Final = 20_000
"""Rows that take a few milliseconds."""


class Historian:
    """Everything that must not be lost passes here.

    ``keep`` is called by whoever gathers batches; ``run`` is one task of the engine. A batch is acknowledged when the
    journal has it on disk. The queue before the journal is bounded and loses nothing: ``keep`` waits.
    """

    def __init__(
        self,
        journal: Journal,
        store: Store,
        clock: Clock,
        *,
        commit_s: float = 0.25,
        commit_rows: int = 5_000,
        queue_batches: int = 2_000,
        gather_s: float | None = None,
        gather_rows: int | None = None,
    ) -> None:
        """``gather_s`` and ``gather_rows`` overrule the store's own wish."""
        self.journal = journal
        self.store = store
        self.clock = clock
        self._drain = Drain(journal, store, clock, gather_s=gather_s, gather_rows=gather_rows)
        self._intake = Intake(
            journal,
            clock,
            self._drain.acknowledged,
            commit_s=commit_s,
            commit_rows=commit_rows,
            queue_batches=queue_batches,
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        folder: Path,
        store: Store,
        clock: Clock,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_age: timedelta = DEFAULT_MAX_AGE,
        commit_s: float = 0.25,
        commit_rows: int = 5_000,
        queue_batches: int = 2_000,
        gather_s: float | None = None,
        gather_rows: int | None = None,
    ) -> AsyncIterator[Historian]:
        """A historian with its journal in ``folder`` and its store opened; on leaving, the queue goes to the journal.

        A store that is not reachable is opened later; the journal keeps until then. Raises ``BadConfig``.
        """
        async with Journal(folder / "journal.sqlite", max_bytes=max_bytes, max_age=max_age) as journal:
            historian = cls(
                journal,
                store,
                clock,
                commit_s=commit_s,
                commit_rows=commit_rows,
                queue_batches=queue_batches,
                gather_s=gather_s,
                gather_rows=gather_rows,
            )
            try:
                await historian.start()
                yield historian
            finally:
                await historian.stop()

    async def start(self) -> None:
        """Take up what the journal holds from the last run and open the store; once, before ``run``."""
        await self._drain.start()

    async def stop(self) -> None:
        """Write what is queued to the journal and close the store; the journal is closed by who opened it."""
        try:
            await self._intake.acknowledge(beyond_limit=True)
        finally:
            await self.store.close()

    async def keep(self, batch: Batch) -> None:
        """Queue a batch; waits while the queue is full, so that whoever gathers slows down."""
        await self._intake.put(batch)

    async def run(self) -> None:
        """Journal and drain, side by side, until cancelled; then what is queued is journaled before this ends."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._intake.run(), name="historian intake")
            both.create_task(self._drain.run(), name="historian drain")

    async def journaled(self) -> None:
        """Return when everything kept so far is on disk. Raises ``Refused`` when the journal or the disk is full."""
        await self._intake.acknowledge()

    async def flush(self) -> None:
        """Bring everything kept so far into the journal and the store. Raises ``Refused`` or ``NotReachable``."""
        await self._intake.acknowledge()
        await self._drain.hand_over()

    async def retention(self) -> None:
        """Let the store drop what is older than its settings allow. Raises ``NotReachable``."""
        await self._drain.opened_store().retention(self.clock.now())

    async def copy_to(self, folder: Path) -> str | None:
        """Copy all that was kept so far into a new folder; what is not in it, as a sentence.

        The journal first, then the store, and nothing moves between them meanwhile. Raises ``NotReachable`` and
        ``Refused``.
        """
        await self._intake.acknowledge()
        async with self._drain.paused():
            store = self._drain.opened_store()
            await asyncio.to_thread(folder.mkdir, parents=True)
            await self.journal.copy_to(folder / self.journal.path.name)
            if isinstance(store, CopiesItself):
                await store.copy_to(folder / store.folder.name)
                return None
        return f"the store {store.name} is kept elsewhere and is not in this backup: back it up with its own tools"

    async def mend(self) -> None:
        """Read the journal and, where it can be done, the store to the last bit; ``damage`` then names all there is."""
        await self.journal.mend()
        store = self._drain.opened_store()
        if isinstance(store, EmbeddedStore):
            await store.mend()

    # ------------------------------------------------------------ for the status page

    @property
    def acknowledged(self) -> int:
        """Batches written to the journal since the start."""
        return self._intake.batches

    @property
    def backlog(self) -> int:
        """Batches that are not where they should be by now: 0 unless the disk or the store does not keep up."""
        return self._intake.queued + (self.journal.batches if self._drain.is_late else 0)

    @property
    def gathering(self) -> int:
        """Batches that are not yet in the store; most of them safe in the journal, where they gather for it."""
        return self._intake.queued + self.journal.batches

    @property
    def fill(self) -> float:
        """How full the journal is, 0 to 1."""
        return self.journal.fill

    @property
    def stored_samples(self) -> int:
        """Samples in the store; where it does not tell, those it took since the start."""
        return self.store.stored_samples if isinstance(self.store, BulkStore) else self._drain.samples

    @property
    def refusal(self) -> str | None:
        """Why the journal takes nothing, while that is so: it or the disk is full."""
        return self._intake.refusal

    @property
    def trouble(self) -> str | None:
        """Why the journal (first) or the store takes nothing, while that is so."""
        return self._intake.refusal or self._drain.trouble

    @property
    def damage(self) -> tuple[str, ...]:
        """Everything that was found damaged and set aside, as sentences."""
        stored = self.store.damage if isinstance(self.store, BulkStore) else ()
        return self.journal.damage + stored + self._intake.malformed

    # ------------------------------------------------------------ answers; NotReachable while the store is away

    async def latest(self) -> SampleBatch:
        """The last sample of every tag; asked at start. Its station is empty when there are several.

        Of a backlog longer than memory holds only the newest part counts.
        """
        store = await self._drain.reached_store()
        fresh = [b.samples for b in self._drain.tail.batches()]
        parts = [await store.latest(), *fresh]
        return await self._worked_out(sum(map(len, parts)), answers.last_of_each, parts)

    async def series(self, path: str, start: datetime, end: datetime, limit: int = 100_000) -> Series:
        """The samples of a tag with start <= at < end, oldest first, at most ``limit`` (the newest ones)."""
        span = to_us(start), to_us(end)
        store = await self._drain.reached_store()
        fresh = await self._fresh(span, lambda batches: answers.of_path(batches, path), _MOST_READ)
        stored = await store.series(path, start, end, limit)
        return Series(path, answers.newest_of([stored.samples, *fresh], *span, limit))

    async def summaries(self, path: str, start: datetime, end: datetime, width: timedelta) -> Summaries:
        """The samples of a tag with start <= at < end in buckets; see ``Store.summaries``."""
        span = to_us(start), to_us(end)
        store = await self._drain.reached_store()
        parts = await self._fresh(span, lambda batches: answers.of_path(batches, path), _MOST_READ)
        fresh = answers.newest_of(parts, *span, sum(map(len, parts)))
        return await summing.summaries(store, fresh, path, start, end, width)

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
        """A page of samples by path and time; see ``Store.samples``."""
        asked = answers.Asked.of(station_id, paths, start, end, after)
        store = await self._drain.reached_store()
        span = asked.start_us, asked.end_us
        fresh = await self._fresh(span, lambda batches: answers.of_page(batches, asked), _MOST_READ)
        stored = await store.samples(station_id=station_id, paths=paths, start=start, end=end, after=after, limit=limit)
        if not any(map(len, fresh)):
            return stored
        parts = [stored, *fresh]
        return await self._worked_out(sum(map(len, parts)), answers.first_of, parts, limit, station_id or "")

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
        store = await self._drain.reached_store()
        fresh = await self._unstored(Transaction, start, end, station_id, nozzle_id)
        stored = await store.transactions(station_id=station_id, nozzle_id=nozzle_id, start=start, end=end, limit=limit)
        rows = len(stored) + len(fresh)
        found = await self._worked_out(rows, answers.newest_records, SHAPES[Transaction], stored, fresh, limit)
        return [r for r in found if isinstance(r, Transaction)]

    async def records(
        self, kind: type[Record], *, start: datetime, end: datetime, key: str | None = None, limit: int = 10_000
    ) -> Sequence[Record]:
        """Records of another kind, newest first; ``key`` is a tank, dispenser or device id, or ``station/device``."""
        store = await self._drain.reached_store()
        fresh = await self._unstored(kind, start, end, None, key)
        stored = await store.records(kind, start=start, end=end, key=key, limit=limit)
        rows = len(stored) + len(fresh)
        return await self._worked_out(rows, answers.newest_records, SHAPES[kind], stored, fresh, limit)

    # ------------------------------------------------------------ in bulk, past the journal; ``flush`` first

    async def add_records(self, block: RecordBlock) -> Taken:
        """Keep a block of records for good. Raises ``NotReachable`` and ``Refused``."""
        return await bulk.add_block(self._drain.opened_store(), block, self.clock.now())

    def pages(
        self, kind: type[Record], homes: Sequence[str], start_us: int, end_us: int
    ) -> AsyncIterator[Sequence[tuple[Plain, ...]]]:
        """The store's records of a kind as rows, in the order of ``Shape.order``; see ``bulk.pages``."""
        return bulk.pages(self._drain.opened_store(), kind, homes, start_us, end_us)

    async def bounds(self, kind: type[Record], homes: Sequence[str]) -> tuple[int, int] | None:
        """The first and the last time of a kind in the store; see ``bulk.bounds``."""
        return await bulk.bounds(self._drain.opened_store(), kind, homes)

    async def of_station(
        self,
        kind: type[Record],
        station_id: str,
        homes: Sequence[str],
        names: Sequence[str],
        start_us: int,
        end_us: int,
    ) -> Mapping[str, Sequence[tuple[Plain, ...]]]:
        """These fields of a station's records, by subject, each series in its order; see ``bulk.of_station``."""
        return await bulk.of_station(self._drain.opened_store(), kind, station_id, homes, names, start_us, end_us)

    async def numbers_of_station(
        self,
        kind: type[Record],
        station_id: str,
        homes: Sequence[str],
        names: Sequence[str],
        start_us: int,
        end_us: int,
    ) -> bulk.Numbers:
        """The same as numbers; see ``bulk.numbers_of_station``."""
        return await bulk.numbers_of_station(
            self._drain.opened_store(), kind, station_id, homes, names, start_us, end_us
        )

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[bulk.Lent | None]:
        """The store's records for other processes to read, until this ends; None from a store that cannot lend."""
        store = self._drain.opened_store()
        if isinstance(store, bulk.LendsRecords):
            async with store.lent() as lent:
                yield lent
        else:
            yield None

    async def attribute_names(self, kind: type[Record], homes: Sequence[str], start_us: int, end_us: int) -> set[str]:
        """Names of all attributes among those records."""
        return await bulk.attribute_names(self._drain.opened_store(), kind, homes, start_us, end_us)

    async def _unstored(
        self, kind: type[Record], start: datetime | None, end: datetime | None, station_id: str | None, key: str | None
    ) -> list[Record]:
        start_us = _LONG_AGO if start is None else to_us(start)
        end_us = _FAR_AHEAD if end is None else to_us(end)

        def picked(batches: Sequence[Batch]) -> list[Record]:
            return answers.of_kind(batches, kind, station_id=station_id, key=key, start_us=start_us, end_us=end_us)

        return list(chain.from_iterable(await self._fresh((start_us, end_us), picked, None)))

    async def _fresh(
        self, span: tuple[int, int], pick: Callable[[Sequence[Batch]], T], most_samples: int | None
    ) -> list[T]:
        """What is picked from the batches of this time that are not in the store yet."""
        found: list[T] = []
        async for batches in self._drain.unstored(*span, most_samples):
            found.append(await self._worked_out(sum(len(b.samples) for b in batches), pick, batches))
        return found

    async def _worked_out(self, rows: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``work`` gives; in a thread when so many rows would keep the loop from reading devices."""
        return await self.journal.in_thread(work, *args, **kwargs) if rows > _MANY else work(*args, **kwargs)
