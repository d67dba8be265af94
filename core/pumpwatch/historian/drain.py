"""From the journal to the store, in order: the half of the historian that bears with a store that is away."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, runtime_checkable

from pumpwatch.clock import Clock
from pumpwatch.contracts import Store
from pumpwatch.errors import NotReachable, Refused
from pumpwatch.historian.intake import wait_for
from pumpwatch.historian.journal import Group, Journal
from pumpwatch.historian.tail import Tail
from pumpwatch.model import Batch

_FIRST_BACKOFF_S: Final = 1.0
_BACKOFF_MAX_S: Final = 60.0
_FULL_ENOUGH: Final = 0.5
"""How full the journal may be before gathering ends early."""
_GATHER_S: Final = 1.0
_GATHER_ROWS: Final = 50_000
_TAIL_SAMPLES: Final = 500_000
_TAIL_GROUPS: Final = 4_000
_NO_TAG: Final = "-/-/-"
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_S: Final = timedelta(seconds=1)
_log = logging.getLogger(__name__)


@runtime_checkable
class BulkStore(Protocol):
    """What a store may tell about itself. One that does not is handed, each second, what there is."""

    @property
    def gather_s(self) -> float:
        """How long to gather before a write."""

    @property
    def gather_rows(self) -> int:
        """How many samples at once are enough."""

    @property
    def stored_samples(self) -> int:
        """How many samples it holds."""

    @property
    def damage(self) -> tuple[str, ...]:
        """What it found damaged and set aside, as sentences."""


class Drain:
    """Hands the store what the journal holds, and knows what the store has not got yet."""

    def __init__(
        self, journal: Journal, store: Store, clock: Clock, *, gather_s: float | None, gather_rows: int | None
    ) -> None:
        """``gather_s`` and ``gather_rows`` overrule the store's own wish."""
        self.journal = journal
        self.store = store
        self.clock = clock
        bulk = store if isinstance(store, BulkStore) else None
        self.gather_s = gather_s if gather_s is not None else bulk.gather_s if bulk else _GATHER_S
        self.gather_rows = gather_rows if gather_rows is not None else bulk.gather_rows if bulk else _GATHER_ROWS
        self.trouble: str | None = None
        """Why the store takes nothing, while it does not."""
        self.samples = 0
        """Samples handed over since the start."""
        self.tail = Tail(max(_TAIL_SAMPLES, 2 * self.gather_rows), _TAIL_GROUPS)
        self._stored_id = 0
        self._has_dropped = True
        """Whether the journal has let go of all that the store has."""
        self._is_open = False
        self._handing_over = asyncio.Lock()
        self._oldest: float | None = None
        self._waiting = asyncio.Event()
        self._plenty = asyncio.Event()

    async def start(self) -> None:
        """Take up what the journal holds from the last run and open the store, if it can be reached."""
        first = await self.journal.pending(limit=1)
        self._stored_id = first[0].id - 1 if first else self.journal.last_id
        for group in await self.journal.newest(self.tail.max_samples, self.tail.max_groups):
            self.tail.add(group)
        if first:
            self._note_waiting()
        try:
            await self._open()
        except NotReachable as error:
            self._note_trouble(str(error))

    def acknowledged(self, group: Group) -> None:
        """Told by the intake of each group that is on disk."""
        self.tail.add(group)
        self._note_waiting()

    async def run(self) -> None:
        """Gather as the store likes it and hand over, until cancelled; back off while the store is away."""
        pause = _FIRST_BACKOFF_S
        while True:
            await self._waiting.wait()
            if self._oldest is not None:
                await wait_for(self._plenty, self._oldest + self.gather_s - self.clock.monotonic(), self.clock)
            try:
                await self.hand_over()
                pause = _FIRST_BACKOFF_S
            except NotReachable as error:
                self._note_trouble(str(error))
                await self.clock.sleep(pause)
                pause = min(2 * pause, _BACKOFF_MAX_S)

    async def hand_over(self) -> None:
        """Hand the store everything acknowledged until now. Raises ``NotReachable``."""
        async with self._handing_over:
            await self._open()
            if not self._has_dropped:
                await self._drop()
            last = self.journal.last_id
            while self._stored_id < last and (groups := await self._next_groups()):
                await self._write(groups)
            self._note_trouble(None)
            self._oldest = None
            self._plenty.clear()
            self._waiting.clear()
            if self.journal.last_id > self._stored_id and self.journal.batches:
                self._note_waiting()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nothing moves from the journal to the store meanwhile."""
        async with self._handing_over:
            yield

    @property
    def is_late(self) -> bool:
        """Whether the store is away, or has not got for twice its own time what it should have."""
        waits = 0.0 if self._oldest is None else self.clock.monotonic() - self._oldest
        return self.trouble is not None or waits > 2 * self.gather_s + 1.0

    def opened_store(self) -> Store:
        """The store, to be asked. Raises ``NotReachable`` while it could not be opened."""
        if not self._is_open:
            raise NotReachable(self.trouble or "the store is not open yet")
        return self.store

    async def reached_store(self) -> Store:
        """The same; of one that is in trouble it is asked first whether it answers at all: what waits may be much."""
        store = self.opened_store()
        if self.trouble is not None:
            await store.series(_NO_TAG, _LONG_AGO, _LONG_AGO + _ONE_S, 1)
        return store

    async def unstored(
        self, start_us: int, end_us: int, most_samples: int | None = None
    ) -> AsyncIterator[Sequence[Batch]]:
        """Acknowledged batches that touch start <= time < end and are not yet in the store, oldest first.

        To be read before the store is asked: a batch that moves meanwhile is then seen twice, which the answers bear,
        and never not at all. Raises ``NotReachable`` where more than ``most_samples`` would have to be read from disk.
        """
        fresh = self.tail.batches(start_us, end_us)
        first = self.tail.first_id
        if first is not None and first > self._stored_id + 1:
            waiting = await self.journal.samples_touching(self._stored_id + 1, first - 1, start_us, end_us)
            if most_samples is not None and waiting > most_samples:
                raise NotReachable(
                    f"{waiting:,} samples of that time wait for the store, too many to look through; "
                    "ask for a shorter time, or when the store has caught up"
                )
            async for group in self.journal.touching(self._stored_id + 1, first - 1, start_us, end_us):
                yield group.batches
        yield fresh

    async def _next_groups(self) -> list[Group]:
        first = self.tail.first_id
        if first is not None and first <= self._stored_id + 1:
            return self.tail.oldest(self.gather_rows)
        return await self.journal.pending(self._stored_id, limit=1_000, max_samples=self.gather_rows)

    async def _write(self, groups: Sequence[Group]) -> None:
        try:
            await self.store.write([b for g in groups for b in g.batches])
        except Refused:
            for group in groups:
                await self._write_singly(group)
        self._stored_id = groups[-1].id
        self.samples += sum(g.samples for g in groups)
        self.tail.drop_through(self._stored_id)
        self._has_dropped = False
        await self._drop()

    async def _drop(self) -> None:
        """Let the journal forget what the store has. Even that takes room; raises ``NotReachable`` without any."""
        try:
            await self.journal.drop_through(self._stored_id)
        except sqlite3.OperationalError as error:
            raise NotReachable(
                f"the journal cannot let go of what the store has ({error}); free space on its disk"
            ) from error
        self._has_dropped = True

    async def _write_singly(self, group: Group) -> None:
        """The store will never take something in this group: keep its bytes aside, name it, store the rest."""
        refusals: list[str] = []
        for batch in group.batches:
            try:
                await self.store.write([batch])
            except Refused as error:
                refusals.append(str(error))
        if refusals:
            try:
                await self.journal.set_aside(group.id, f"group {group.id} of the journal: {'; '.join(refusals)}")
            except sqlite3.OperationalError as error:
                raise NotReachable(
                    f"the journal cannot set aside what the store refuses ({error}); free space on its disk"
                ) from error

    async def _open(self) -> None:
        if not self._is_open:
            await self.store.open()
            self._is_open = True

    def _note_trouble(self, reason: str | None) -> None:
        if reason is not None and self.trouble is None:
            _log.warning("the store is not reachable, the journal keeps: %s", reason)
        elif reason is None and self.trouble is not None:
            _log.info("the store takes batches again")
        self.trouble = reason

    def _note_waiting(self) -> None:
        if self._oldest is None:
            self._oldest = self.clock.monotonic()
        self._waiting.set()
        if self.journal.samples >= self.gather_rows or self.journal.fill > _FULL_ENOUGH:
            self._plenty.set()
