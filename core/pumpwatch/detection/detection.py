"""Runs the rules: record rules on arrival, detectors on a schedule; a failing rule is named and the others go on."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from pumpwatch.contracts import Detector, RecordRule, Rule
from pumpwatch.errors import NotReachable, PumpwatchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from pumpwatch.clock import Clock
    from pumpwatch.detection.history import LiveHistory
    from pumpwatch.model import Batch, Finding, Record

log = logging.getLogger(__name__)

RETRY_S = 2.0
BATCHES_WAITING = 2_000
"""Batches that may wait to be judged; beyond that acquisition waits."""


class Detection:
    """Turns records and the passing of time into findings, and hands them to whoever raises alarms.

    ``on_finding`` is awaited for each finding; ``on_standing`` after each look of a standing detector, with the keys of
    the subjects that are still wrong.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        history: LiveHistory,
        clock: Clock,
        on_finding: Callable[[Finding], Awaitable[object]],
        on_standing: Callable[[str, Collection[str]], Awaitable[object]],
    ) -> None:
        self.history = history
        self.failing: dict[str, str] = {}
        """Rules whose last judgement raised, and what."""
        self.record_rules = [r for r in rules if isinstance(r, RecordRule)]
        self.detectors = [r for r in rules if isinstance(r, Detector)]
        self._clock = clock
        self._on_finding = on_finding
        self._on_standing = on_standing
        self._waiting: asyncio.Queue[Batch] = asyncio.Queue(BATCHES_WAITING)

    @property
    def rules(self) -> list[str]:
        """Names of the rules that run."""
        return sorted(r.rule for r in [*self.record_rules, *self.detectors])

    async def take(self, batch: Batch) -> None:
        """Accept a batch from the hub; waits while too many wait."""
        if batch.records:
            await self._waiting.put(batch)

    async def run(self) -> None:
        """Judge until cancelled."""
        scheduler = AsyncIOScheduler(timezone="UTC")
        for detector in self.detectors:
            scheduler.add_job(
                self.look,
                IntervalTrigger(seconds=detector.every.total_seconds(), timezone="UTC"),
                args=(detector,),
                name=detector.rule,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )
        scheduler.start()
        try:
            while True:
                batch = await self._waiting.get()
                await self.judge(batch.records)
        finally:
            scheduler.shutdown(wait=False)

    async def judge(self, records: Iterable[Record]) -> None:
        """Put records into history and let every rule that watches their kind judge them."""
        records = tuple(records)
        self.history.take(records)
        for record in records:
            for rule in self.record_rules:
                if isinstance(record, rule.watches):
                    await self._hand_on(rule, partial(rule.check, record, self.history))

    async def look(self, detector: Detector) -> None:
        """Put one detector's question now."""
        findings = await self._hand_on(detector, partial(detector.look, self.history, self._clock.now()))
        if detector.standing and findings is not None:
            await self._on_standing(detector.rule, {f.subject.key for f in findings})

    async def _hand_on(self, rule: Rule, judge: Callable[[], Iterable[Finding]]) -> list[Finding] | None:
        """The findings, each handed on; None when the rule failed."""
        try:
            findings = list(judge())
        except Exception as error:  # one rule's bug must not silence the others
            if rule.rule not in self.failing:
                log.exception("rule %s failed", rule.rule)
            self.failing[rule.rule] = repr(error)
            return None
        if self.failing.pop(rule.rule, None):
            log.info("rule %s works again", rule.rule)
        for finding in findings:
            await self._insist(finding)
        return findings

    async def _insist(self, finding: Finding) -> None:
        """Hand a finding on; while the disk fails, wait and try again: a finding is never dropped for that."""
        while True:
            try:
                await self._on_finding(finding)
            except NotReachable:
                log.exception("finding %s of rule %s cannot be kept yet", finding.id, finding.rule)
                await self._clock.sleep(RETRY_S)
            except PumpwatchError as error:
                log.exception("finding %s of rule %s was refused", finding.id, finding.rule)
                self.failing[finding.rule] = str(error)
                return
            else:
                return
