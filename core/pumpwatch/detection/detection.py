"""Runs the rules: record rules on arrival, detectors on a schedule; a failing rule is named and the others go on."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from pumpwatch.contracts import Comparison, Detector, RecordRule, Review, Rule
from pumpwatch.detection.affairs import Affairs
from pumpwatch.errors import NotReachable, PumpwatchError
from pumpwatch.model import DeviceEvent, DeviceIdentity, Transaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from pumpwatch.clock import Clock
    from pumpwatch.detection.history import LiveHistory
    from pumpwatch.model import Batch, Finding, Record

log = logging.getLogger(__name__)

RETRY_S = 2.0
CLAIMS_KEPT = 20_000
"""Records whose findings may still be withdrawn."""
EXPLAINED_AFTER, EXPLAINED_BEFORE = timedelta(days=2), timedelta(hours=1)
"""An event that is told late may explain what was claimed so long after it, or so long before."""
PATIENT_AT_MOST = 50_000
"""Records that may wait for a patient rule; beyond that the oldest is judged at once."""
LOOK_AGAIN_S = 1.0
BATCHES_WAITING = 2_000
"""Batches that may wait to be judged; beyond that acquisition waits."""


@dataclass(frozen=True, slots=True)
class _Claimed:
    """What one rule has claimed of one record."""

    rule: RecordRule
    record: Record
    station_id: str
    findings: Mapping[str, Finding]
    """By id."""


@dataclass(frozen=True, slots=True)
class _Watch:
    """Rules that judge one record."""

    at_once: tuple[RecordRule, ...]
    patient: tuple[tuple[float, tuple[RecordRule, ...]], ...]
    """Those that wait equally long are asked together: after so many seconds, and who."""

    @classmethod
    def of(cls, rules: Iterable[RecordRule]) -> _Watch:
        by_patience: dict[float, list[RecordRule]] = defaultdict(list)
        for rule in rules:
            by_patience[rule.patience.total_seconds()].append(rule)
        at_once = tuple(by_patience.pop(0.0, ()))
        return cls(at_once, tuple((patience, tuple(those)) for patience, those in by_patience.items()))


class Detection:
    """Turns records and the passing of time into findings, and hands them to whoever raises alarms.

    ``on_finding`` is awaited for each finding, or ``on_consequence`` with its cause's id where another finding explains
    it; ``on_withdrawn`` with the id of one that a late record has shown to be none; ``on_standing`` after each look of
    a standing detector, with the keys of the subjects that are still wrong.
    Reviews and comparisons are put by whoever can read the past; see ``engine.reviewing``.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        history: LiveHistory,
        clock: Clock,
        on_finding: Callable[[Finding], Awaitable[object]],
        on_standing: Callable[[str, Collection[str]], Awaitable[object]],
        on_withdrawn: Callable[[str], Awaitable[object]],
        on_consequence: Callable[[Finding, str], Awaitable[object]],
    ) -> None:
        self.history = history
        self.failing: dict[str, str] = {}
        """Rules whose last judgement raised, and what."""
        self.record_rules = [r for r in rules if isinstance(r, RecordRule)]
        self.detectors = [r for r in rules if isinstance(r, Detector)]
        self.reviews = [r for r in rules if isinstance(r, Review | Comparison)]
        self._watching = {
            kind: _Watch.of(r for r in self.record_rules if kind in r.watches)
            for kind in {k for r in self.record_rules for k in r.watches}
        }
        on_sales = [r for r in self.record_rules if Transaction in r.watches]
        self._reaching = [
            _Watch.of(r for r in on_sales if place < r.reach)
            for place in range(max((r.reach for r in on_sales), default=0))
        ]
        """Who judges the first filling after one that came late, the second, and so on."""
        self._clock = clock
        self._on_finding = on_finding
        self._on_standing = on_standing
        self._on_withdrawn = on_withdrawn
        self._on_consequence = on_consequence
        self._affairs = Affairs(rules)
        self._waiting: asyncio.Queue[Batch] = asyncio.Queue(BATCHES_WAITING)
        self._claims: OrderedDict[tuple[str, tuple[object, ...]], _Claimed] = OrderedDict()
        """What a rule has claimed of a record."""
        self._claims_at: dict[str, set[tuple[str, tuple[object, ...]]]] = defaultdict(set)
        """Their keys by station."""
        self._patient: list[tuple[float, int, tuple[RecordRule, ...], Record]] = []
        """Records that patient rules judge later, by the clock's seconds."""
        self._waiting_patiently: set[tuple[tuple[object, ...], str]] = set()
        """Records, by what makes them the same, and the name of the rule."""
        self._numbers = itertools.count()
        self._more_patience = asyncio.Event()

    @property
    def rules(self) -> list[str]:
        """Names of the rules that run."""
        return sorted(r.rule for r in [*self.record_rules, *self.detectors, *self.reviews])

    def remember(self, findings: Iterable[Finding]) -> None:
        """What was found before the last stop, in its order: what is found now may follow from it."""
        self._affairs.recall(findings)

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
            async with asyncio.TaskGroup() as group:
                group.create_task(self._judge_arrivals(), name="detection")
                group.create_task(self._judge_patiently(), name="patient detection")
        finally:
            scheduler.shutdown(wait=False)

    async def judge(self, records: Iterable[Record]) -> None:
        """Put records into history and let every rule that watches their kind judge them.

        A filling that arrives after those that followed it has those judged again as far as the rules reach; an event,
        what was claimed about its time.
        """
        for record in self.history.take(records):
            watch = self._watching.get(type(record))
            if watch is not None:
                await self._judge_soon(watch, record)
            if isinstance(record, Transaction):
                for place, later in enumerate(self.history.after(record, len(self._reaching))):
                    await self._judge_soon(self._reaching[place], later)
            elif isinstance(record, DeviceEvent | DeviceIdentity):
                for known in self._near(record):
                    await self._check((known.rule,), known.record)

    def _near(self, told: DeviceEvent | DeviceIdentity) -> list[_Claimed]:
        """What was claimed of the station after, or just before, what is only told now: it may explain that."""
        return [
            self._claims[key]
            for key in self._claims_at[told.station_id]
            if self._claims[key].record is not told
            and -EXPLAINED_BEFORE <= self._claims[key].record.at - told.at <= EXPLAINED_AFTER
        ]

    async def look(self, detector: Detector) -> None:
        """Put one detector's question now."""
        try:
            findings = list(detector.look(self.history, self._clock.now()))
        except Exception as error:  # one rule's bug must not silence the others
            self._has_failed(detector, error)
            return
        self._works(detector)
        await self.hand_on(findings)
        if detector.standing:
            await self._on_standing(detector.rule, {f.subject.key for f in findings})

    async def hand_on(self, findings: Iterable[Finding]) -> None:
        """What reviews have found goes the way of all findings."""
        for finding in findings:
            await self._insist(finding)

    async def _judge_arrivals(self) -> None:
        while True:
            batch = await self._waiting.get()
            await self.judge(batch.records)

    async def judge_patiently_until(self, moment: float) -> None:
        """Judge what was due to be judged up to this moment of the clock's seconds."""
        while self._patient and self._patient[0][0] <= moment:
            _, _, rules, record = heapq.heappop(self._patient)
            key = record_key(record)
            self._waiting_patiently.difference_update((key, rule.rule) for rule in rules)
            await self._check(rules, record)

    async def _judge_patiently(self) -> None:
        while True:
            if not self._patient:
                self._more_patience.clear()
                await self._more_patience.wait()
            await self._clock.sleep(min(LOOK_AGAIN_S, max(0.0, self._patient[0][0] - self._clock.monotonic())))
            await self.judge_patiently_until(self._clock.monotonic())

    async def _judge_soon(self, watch: _Watch, record: Record) -> None:
        await self._check(watch.at_once, record)
        for patience_s, rules in watch.patient:
            key = record_key(record)
            claimed = [r for r in rules if (r.rule, key) in self._claims] if self._claims else []
            if claimed:
                await self._check(claimed, record)
            new = tuple(r for r in rules if r not in claimed and (key, r.rule) not in self._waiting_patiently)
            if new:
                self._waiting_patiently.update((key, rule.rule) for rule in new)
                due = self._clock.monotonic() + patience_s
                heapq.heappush(self._patient, (due, next(self._numbers), new, record))
                self._more_patience.set()
                if len(self._patient) > PATIENT_AT_MOST:
                    await self.judge_patiently_until(self._patient[0][0])

    async def _check(self, rules: Sequence[RecordRule], record: Record) -> None:
        """Judge a record with all that is known of it, and hand on what is new since it was judged before."""
        for rule in rules:
            if rule.patience and isinstance(record, Transaction):
                record = self.history.known(record)
            try:
                findings = list(rule.check(record, self.history))
            except Exception as error:  # one rule's bug must not silence the others
                self._has_failed(rule, error)
                continue
            if self.failing:
                self._works(rule)
            if findings or self._claims:
                await self._compare(rule, record, findings)

    async def _compare(self, rule: RecordRule, record: Record, findings: Sequence[Finding]) -> None:
        """Hand on what a rule finds of a record now and did not before, and withdraw what it found no more."""
        key = (rule.rule, record_key(record))
        before = self._forget_claim(key)
        claimed = {finding.id: finding for finding in findings}
        for gone in sorted(before.keys() - claimed.keys()):
            self._affairs.forget(gone)
            await self._until_kept(partial(self._on_withdrawn, gone), f"withdrawal of {gone}", rule.rule)
        for finding in findings:
            if before.get(finding.id) != finding:
                await self._insist(finding)
        if claimed:
            self._claims[key] = _Claimed(rule, record, findings[0].subject.station_id, claimed)
            self._claims_at[findings[0].subject.station_id].add(key)
            if len(self._claims) > CLAIMS_KEPT:
                self._forget_claim(next(iter(self._claims)))

    def _forget_claim(self, key: tuple[str, tuple[object, ...]]) -> Mapping[str, Finding]:
        """What had been claimed, by id."""
        known = self._claims.pop(key, None)
        if known is None:
            return {}
        self._claims_at[known.station_id].discard(key)
        return known.findings

    def _has_failed(self, rule: Rule, error: Exception) -> None:
        if rule.rule not in self.failing:
            log.error("rule %s failed", rule.rule, exc_info=error)
        self.failing[rule.rule] = repr(error)

    def _works(self, rule: Rule) -> None:
        if self.failing.pop(rule.rule, None):
            log.info("rule %s works again", rule.rule)

    async def _insist(self, finding: Finding) -> None:
        cause, consequences = self._affairs.take(finding)
        pairs = [(each, cause or finding) for each in consequences]
        if cause is None:
            await self._until_kept(partial(self._on_finding, finding), f"finding {finding.id}", finding.rule)
        else:
            pairs.append((finding, cause))
        for each, its_cause in pairs:
            keep = partial(self._on_consequence, each, its_cause.id)
            await self._until_kept(keep, f"finding {each.id}", each.rule)

    async def _until_kept(self, keep: Callable[[], Awaitable[object]], what: str, rule: str) -> None:
        """Hand something on; while the disk fails, wait and try again: a finding is never dropped for that."""
        while True:
            try:
                await keep()
            except NotReachable:
                log.exception("%s of rule %s cannot be kept yet", what, rule)
                await self._clock.sleep(RETRY_S)
            except PumpwatchError as error:
                log.exception("%s of rule %s was refused", what, rule)
                self.failing[rule] = str(error)
                return
            else:
                return


def record_key(record: Record) -> tuple[object, ...]:
    """What makes two reports the same record, whatever they say."""
    if isinstance(record, Transaction):
        return record.key
    if isinstance(record, DeviceEvent):
        return (record.station_id, record.device_id, record.kind, record.at, *sorted(map(str, record.detail.items())))
    if isinstance(record, DeviceIdentity):
        return (record.dispenser_id, record.at)
    return (record.tank_id, record.at, getattr(record, "document_no", None), type(record).__name__)
