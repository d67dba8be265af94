"""Judges the recent past of every station again and again: what only shows over days, and what came in late."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from pumpwatch.engine.judging import judge_folder, judges, lookback
from pumpwatch.errors import PumpwatchError, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from pumpwatch.clock import Clock
    from pumpwatch.engine.judging import Judgement, RuleBook
    from pumpwatch.historian import Historian
    from pumpwatch.ledger import Ledger
    from pumpwatch.model import Finding
    from pumpwatch.settings import DetectionSettings

log = logging.getLogger(__name__)

FIRST_REVIEW_S = 300.0
"""After the start; until then devices are connected and last values read."""
SETTLE_S = 30.0
"""After an import of one table: others will follow."""


class Reviewing:
    """Puts every rule to the past of the last days, at intervals and after an import; findings seen before are left.

    Record rules are among them: they find in the store what a restart or an import kept from them. After either it
    looks back as far as any rule does: what came may be a month's declaration.
    """

    def __init__(
        self,
        book: RuleBook,
        settings: DetectionSettings,
        ledger: Ledger,
        historian: Historian,
        clock: Clock,
        hand_on: Callable[[Iterable[Finding]], Awaitable[object]],
        unknown: Callable[[Iterable[Finding]], Awaitable[Sequence[Finding]]],
        keep: Path,
    ) -> None:
        """``keep`` is the file for the digests of days; see ``engine.shelf``."""
        self.off: dict[str, dict[str, str]] = {}
        """By rule, then station: which data are missing there; as of the last review."""
        self.failing: dict[str, str] = {}
        """Rules that raised in the last review, and why."""
        self.reviewed: datetime | None = None
        """When the last review ended."""
        self.trouble: str | None = None
        """Why the last review could not be done."""
        self._book = book
        self._settings = settings
        self._ledger = ledger
        self._historian = historian
        self._clock = clock
        self._hand_on = hand_on
        self._unknown = unknown
        self._keep = keep
        self._wanted = asyncio.Event()
        self._turn = asyncio.Lock()

    def wake(self) -> None:
        """Ask for a review as soon as may be: the ledger or the past has changed."""
        self._wanted.set()

    async def run(self) -> None:
        """Review until cancelled; not at all when the settings say so."""
        if not self._settings.review_s:
            return
        pause = min(FIRST_REVIEW_S, self._settings.review_s)
        asked = True  # nobody knows what came just before the last stop
        while True:
            asked = await self._pause(pause) or asked
            now = self._clock.now()
            try:
                days = timedelta(days=self._settings.review_days)
                since = now - (max(days, lookback(self._book.rules())) if asked else days)
                judgement = await self.judge(since, now, workers=self._settings.workers)
                await self._hand_on(await self._unknown(judgement.findings))
                self.off, self.failing = judgement.off, judgement.failing
                self.reviewed, self.trouble, asked = self._clock.now(), None, False
            except PumpwatchError as error:
                self.trouble = str(error)
                log.warning("the past could not be reviewed: %s", error)
            except Exception as error:  # supervision goes on whatever a review meets
                self.trouble = repr(error)
                log.exception("the past could not be reviewed")
            pause = self._settings.review_s

    async def judge(
        self,
        since: datetime | None,
        until: datetime | None,
        *,
        workers: int = 1,
        names: Collection[str] = (),
        stations: Collection[str] = (),
        progress: Callable[[int, int], object] = lambda _done, _of: None,
    ) -> Judgement:
        """Every finding of since < detected_at <= until, raising nothing; None is from the first or to the last record.

        ``names`` and ``stations`` choose rules and stations; ``BadConfig`` for those that are not there. Raises
        ``Refused`` while another judgement is under way, and ``NotReachable``.
        """
        if self._turn.locked():
            raise Refused("the past is being judged already; ask again when that is over")
        async with self._turn:
            with judges(self._book.choose(names), workers, self._keep) as bench:
                return await judge_folder(
                    bench, self._ledger, self._historian, since, until, stations=stations, progress=progress
                )

    async def _pause(self, seconds: float) -> bool:
        """Wait, or until somebody asks, which is returned; the clock is the server's, so a test can turn it."""
        asked = asyncio.create_task(self._wanted.wait())
        over = asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait((asked, over), return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                await self._clock.sleep(SETTLE_S)
            return asked.done()
        finally:
            asked.cancel()
            over.cancel()
            await asyncio.gather(asked, over, return_exceptions=True)
            self._wanted.clear()
