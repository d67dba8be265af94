"""From the bounded queue to the journal: the half of the historian that acknowledges."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from pumpwatch.clock import Clock
from pumpwatch.errors import Refused
from pumpwatch.historian.codec import encode
from pumpwatch.historian.journal import Group, Journal
from pumpwatch.model import Batch

_REFUSED_WAIT_S: Final = 1.0
_MALFORMED: Final = (TypeError, ValueError, AttributeError)
_log = logging.getLogger(__name__)


class Intake:
    """A queue that loses nothing: who puts waits while it is full, and a batch leaves it only when it is on disk."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        acknowledged: Callable[[Group], None],
        *,
        commit_s: float,
        commit_rows: int,
        queue_batches: int,
    ) -> None:
        """``acknowledged`` is told of each group that is on disk."""
        self.journal = journal
        self.clock = clock
        self.commit_s = commit_s
        self.commit_rows = commit_rows
        self.refusal: str | None = None
        """Why the journal takes nothing, while it does not."""
        self.batches = 0
        """Batches acknowledged since the start."""
        self.malformed: tuple[str, ...] = ()
        """Batches that could not be written at all, as sentences."""
        self._acknowledged = acknowledged
        self._room = asyncio.Semaphore(queue_batches)
        self._queued: deque[Batch] = deque()
        self._rows = 0
        self._news = asyncio.Event()
        self._enough = asyncio.Event()
        self._appending = asyncio.Lock()

    @property
    def queued(self) -> int:
        """Batches that are not yet on disk."""
        return len(self._queued)

    async def put(self, batch: Batch) -> None:
        """Queue a batch; waits while the queue is full."""
        await self._room.acquire()
        self._queued.append(batch)
        self._rows += len(batch.samples)
        self._news.set()
        if self._rows >= self.commit_rows:
            self._enough.set()

    async def run(self) -> None:
        """Gather and journal until cancelled; then journal what is queued, even beyond the journal's bound."""
        try:
            while True:
                await self._news.wait()
                await wait_for(self._enough, self.commit_s, self.clock)
                self._news.clear()
                try:
                    await self.acknowledge()
                except Refused as error:
                    self._note_refusal(str(error))
                    await self.clock.sleep(_REFUSED_WAIT_S)
                    self._news.set()
        finally:
            await self.acknowledge(beyond_limit=True)

    async def acknowledge(self, *, beyond_limit: bool = False) -> None:
        """Journal everything queued, now. Raises ``Refused`` when the journal or the disk is full."""
        async with self._appending:
            while self._queued:
                batches = self._next_group()
                try:
                    group = await self.journal.append(batches, beyond_limit=beyond_limit)
                except _MALFORMED as error:
                    self._drop_malformed(batches, error)
                    continue
                for batch in batches:
                    self._leave(batch)
                self.batches += len(batches)
                self._acknowledged(group)
                self._note_refusal(None)

    def _next_group(self) -> list[Batch]:
        batches: list[Batch] = []
        rows = 0
        for batch in self._queued:
            batches.append(batch)
            rows += len(batch.samples)
            if rows >= self.commit_rows:
                break
        return batches

    def _leave(self, batch: Batch) -> None:
        self._queued.remove(batch)  # the first or near it
        self._rows -= len(batch.samples)
        self._room.release()
        if self._rows < self.commit_rows:
            self._enough.clear()

    def _drop_malformed(self, batches: Sequence[Batch], error: Exception) -> None:
        """Name and leave out what is no batch (a driver gave a time without zone, say); raise when all are sound."""
        before = len(self._queued)
        for batch in batches:
            try:
                encode([batch])
            except _MALFORMED as fault:
                self.malformed += (f"a batch of station {batch.station} could not be written: {fault}",)
                _log.exception("a batch of station %s is malformed; correct its driver", batch.station)
                self._leave(batch)
        if len(self._queued) == before:
            raise error

    def _note_refusal(self, reason: str | None) -> None:
        if reason is not None and self.refusal is None:
            _log.error("%s", reason)
        elif reason is None and self.refusal is not None:
            _log.info("the journal takes batches again")
        self.refusal = reason


async def wait_for(event: asyncio.Event, seconds: float, clock: Clock) -> None:
    """Wait until ``event`` or for so long."""
    if seconds <= 0 or event.is_set():
        return
    try:
        async with clock.deadline(seconds):
            await event.wait()
    except TimeoutError:
        pass
