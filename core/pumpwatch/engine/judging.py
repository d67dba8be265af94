"""Judges many stations' pasts in processes of their own, one station a task; memory holds a few at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumpwatch.contracts import Comparison, Review, Rule
from pumpwatch.detection import RECORDS_BACK, Claim, arbitrate, compare_each, in_order, judge_each
from pumpwatch.engine.wiring import rules_for
from pumpwatch.errors import BadConfig, NotReachable
from pumpwatch.plugins import Plugins
from pumpwatch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pumpwatch.model import Finding
    from pumpwatch.past import StationPast


@dataclass(frozen=True, slots=True)
class RuleBook:
    """Which rules judge, said so that any process can make them: configuration and plugins, and a choice of names."""

    settings: Settings
    plugins_dir: Path | None = None
    names: frozenset[str] | None = None
    """Only these rules; None: all."""

    def choose(self, names: Collection[str]) -> RuleBook:
        """Only these rules; no names choose all. Raises ``BadConfig`` for a name that no rule has."""
        if not names:
            return self
        known = {rule.rule for rule in self.rules()}
        if strange := sorted(set(names) - known):
            raise BadConfig(f"there is no rule {strange[0]!r} that is on; there are {', '.join(sorted(known))}")
        return replace(self, names=frozenset(names))

    def rules(self, plugins: Plugins | None = None) -> tuple[Rule, ...]:
        """The rules, made anew. Raises ``BadSettings``."""
        found = plugins or Plugins.discover(self.settings.plugins.disabled, self.plugins_dir)
        rules, _ = rules_for(self.settings, found)
        return tuple(rule for rule in rules if self.names is None or rule.rule in self.names)


@dataclass(slots=True)
class Judgement:
    """What came of judging."""

    findings: list[Finding] = field(default_factory=list)
    """Each once, in order."""
    claims: list[Claim] = field(default_factory=list)
    """The same, one for each cause: what one alarm would be."""
    off: dict[str, dict[str, str]] = field(default_factory=dict)
    """By rule, then station: which data are missing there."""
    failing: dict[str, str] = field(default_factory=dict)
    """Rules that raised, with the last station and why."""


def _earlier(at: datetime, by: timedelta) -> datetime:
    """So much before; at the ends of the calendar, the end itself."""
    try:
        return at - by
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if by > timedelta(0) else datetime.max.replace(tzinfo=UTC)


def lookback(rules: Sequence[Rule]) -> timedelta:
    """How much of the past before a period these rules need."""
    return max([RECORDS_BACK, *(rule.lookback for rule in rules if isinstance(rule, Review | Comparison))])


class Judges:
    """Processes that judge. Made once, used for many periods; ``judges`` closes them."""

    def __init__(self, pool: ProcessPoolExecutor, book: RuleBook, workers: int) -> None:
        self._pool = pool
        self._book = book
        self._workers = workers
        self.rules = book.rules()

    async def judge(
        self,
        station_ids: Sequence[str],
        past: Callable[[str, datetime, datetime], Awaitable[StationPast]],
        since: datetime,
        until: datetime,
        progress: Callable[[int], object] = lambda _: None,
    ) -> Judgement:
        """Every finding of since < detected_at <= until at these stations.

        ``past`` reads a station's past between two times; ``progress`` is told how many stations are done. Raises
        ``NotReachable`` when a process has died.
        """
        start, end = _earlier(since, lookback(self.rules)), _earlier(until, -timedelta(microseconds=1))
        judgement = Judgement(off=defaultdict(dict))
        digests: dict[str, Mapping[str, Any]] = {}
        waiting: dict[asyncio.Future[Any], str] = {}
        try:
            for station_id in station_ids:
                one = await past(station_id, start, end)
                waiting[asyncio.wrap_future(self._pool.submit(_judge, one, since, until))] = station_id
                if len(waiting) > self._workers:
                    await self._gather(waiting, judgement, digests, progress, asyncio.FIRST_COMPLETED)
            while waiting:
                await self._gather(waiting, judgement, digests, progress, asyncio.ALL_COMPLETED)
        except BrokenProcessPool as error:
            raise NotReachable("a judging process has died, perhaps for want of memory; use fewer workers") from error
        finally:
            for task in waiting:
                task.cancel()
        told = {station_id: digests[station_id] for station_id in station_ids}
        await asyncio.to_thread(self._conclude, judgement, told, since, until)
        judgement.off = {rule: dict(sorted(those.items())) for rule, those in sorted(judgement.off.items())}
        return judgement

    def _conclude(
        self, judgement: Judgement, told: Mapping[str, Mapping[str, Any]], since: datetime, until: datetime
    ) -> None:
        findings, failing = compare_each(told, self.rules, since, until)
        judgement.failing |= failing
        judgement.findings = in_order([*judgement.findings, *findings])
        judgement.claims = arbitrate(judgement.findings, self.rules)

    @staticmethod
    async def _gather(
        waiting: dict[asyncio.Future[Any], str],
        judgement: Judgement,
        digests: dict[str, Mapping[str, Any]],
        progress: Callable[[int], object],
        when: str,
    ) -> None:
        done, _ = await asyncio.wait(waiting, return_when=when)
        for task in done:
            station_id = waiting.pop(task)
            findings, digests[station_id], off, failing = task.result()
            judgement.findings += findings
            judgement.failing |= failing
            for rule, missing in off.items():
                judgement.off[rule][station_id] = missing
            progress(len(digests))


@contextmanager
def judges(book: RuleBook, workers: int = 2) -> Iterator[Judges]:
    """Judging processes for as long as they are needed; whatever they do is broken off when something goes wrong.

    Raises ``BadSettings`` before any is started.
    """
    others = set(active_children())
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (book,))
    try:
        yield Judges(pool, book, workers)
    except BaseException:
        for child in set(active_children()) - others:
            child.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# ---------------------------------------------------------------- in the processes

_rules: tuple[Rule, ...] = ()


def _begin(book: RuleBook) -> None:
    """Ctrl-C is the parent's to handle; a process whose parent has died ends at once."""
    global _rules  # noqa: PLW0603 - what an initializer is for
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    _rules = book.rules()


def _judge(
    past: StationPast, since: datetime, until: datetime
) -> tuple[list[Finding], dict[str, Any], dict[str, str], dict[str, str]]:
    return judge_each(past, _rules, since, until)
