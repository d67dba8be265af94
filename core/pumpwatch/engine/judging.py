"""Judges many stations' pasts in processes of their own, one station a task; memory holds a few at a time."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from multiprocessing import active_children, forkserver, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumpwatch.alarms import finding_to_json
from pumpwatch.canonical import FarPast, Pasts
from pumpwatch.contracts import Chronicle, Comparison, PluginSettings, Review, Rule
from pumpwatch.detection import RECORDS_BACK, Claim, arbitrate, compare_each, in_order, judge_each
from pumpwatch.engine.chronicles import earlier, judge_chronicles
from pumpwatch.engine.shelf import mend, set_aside
from pumpwatch.engine.wiring import rules_for
from pumpwatch.errors import BadConfig, NotReachable
from pumpwatch.plugins import Plugins
from pumpwatch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pumpwatch.historian import Historian
    from pumpwatch.ledger import Ledger
    from pumpwatch.model import Finding
    from pumpwatch.past import StationPast

log = logging.getLogger(__name__)


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
    trouble: str | None = None
    """Why what is reckoned day by day could not be kept; it changes no finding."""


def lookback(rules: Sequence[Rule]) -> timedelta:
    """How much of the past before a period these rules need."""
    return max([RECORDS_BACK, *(rule.lookback for rule in rules if isinstance(rule, Review | Comparison))])


class Judges:
    """Processes that judge. Made once, used for many periods; ``judges`` closes them."""

    def __init__(self, pool: ProcessPoolExecutor, rules: tuple[Rule, ...], workers: int, keep: Path | None) -> None:
        self._pool = pool
        self._keep = keep
        self._spoilt = False
        self._workers = workers
        self.rules = rules

    async def judge(
        self,
        station_ids: Sequence[str],
        past: Callable[[str, datetime, datetime], Awaitable[StationPast]],
        since: datetime,
        until: datetime,
        progress: Callable[[int], object] = lambda _: None,
        far: Callable[[str, datetime, datetime], Awaitable[FarPast]] | None = None,
    ) -> Judgement:
        """Every finding of since < detected_at <= until at these stations, which are judged in this order.

        ``past`` reads a station's past between two times; ``far`` lets the processes read it, and where they cannot,
        ``past`` is asked; ``progress`` is told how many stations are done. Raises ``NotReachable`` when a process has
        died.
        """
        end = earlier(until, -timedelta(microseconds=1))
        start = earlier(since, lookback(self.rules))
        # Chronicles read for themselves what they need; see engine.chronicles.
        near = earlier(since, lookback([rule for rule in self.rules if not isinstance(rule, Chronicle)]))
        judgement = Judgement(off=defaultdict(dict))
        self._spoilt = False
        digests: dict[str, Mapping[str, Any]] = {}
        waiting: dict[asyncio.Future[Any], str] = {}
        to_do = [(station_id, far or past) for station_id in reversed(station_ids)]
        try:
            while to_do or waiting:
                if to_do:
                    station_id, read = to_do.pop()
                    one = await read(station_id, near if read is far else start, end)
                    asked = await asyncio.to_thread(self._pool.submit, _judge, one, since, until)  # may start a process
                    waiting[asyncio.wrap_future(asked)] = station_id
                if len(waiting) > self._workers or not to_do:
                    for station_id in await self._gather(waiting, judgement, digests, progress):
                        to_do.append((station_id, past))
            compared = await self._compared(dict(sorted(digests.items())), since, until)
        except BrokenProcessPool as error:
            raise NotReachable("a judging process has died, perhaps for want of memory; use fewer workers") from error
        finally:
            for task in waiting:
                task.cancel()
        if judgement.trouble and self._keep is not None:
            judgement.trouble = await asyncio.to_thread(_told_of, self._keep, judgement.trouble, spoilt=self._spoilt)
        for findings, failing in compared:
            judgement.findings += findings
            judgement.failing |= failing
        await asyncio.to_thread(self._conclude, judgement)
        judgement.off = {rule: dict(sorted(those.items())) for rule, those in sorted(judgement.off.items())}
        return judgement

    async def _compared(
        self, digests: Mapping[str, Mapping[str, Any]], since: datetime, until: datetime
    ) -> list[tuple[list[Finding], dict[str, str]]]:
        """What comparisons say; each process takes a part of the time: a rule says the same of the whole."""
        part = (until - since) / self._workers
        edges = [*(since + part * n for n in range(self._workers)), until]
        asked = []
        for rule in self.rules:
            if isinstance(rule, Comparison):
                told = {
                    station: {rule.rule: those[rule.rule]} for station, those in digests.items() if rule.rule in those
                }
                asked += [self._pool.submit(_compare, rule.rule, told, *span) for span in pairwise(edges)]
        return list(await asyncio.gather(*map(asyncio.wrap_future, asked)))

    def _conclude(self, judgement: Judgement) -> None:
        judgement.findings = in_order(judgement.findings)
        judgement.claims = arbitrate(judgement.findings, self.rules)

    async def _gather(
        self,
        waiting: dict[asyncio.Future[Any], str],
        judgement: Judgement,
        digests: dict[str, Mapping[str, Any]],
        progress: Callable[[int], object],
    ) -> list[str]:
        """Take what is done; stations that a process could not read are returned."""
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        unread = []
        for task in done:
            station_id = waiting.pop(task)
            told = task.result()
            if isinstance(told, str):
                log.warning("%s is read by its owner instead: %s", station_id, told)
                unread.append(station_id)
                continue
            findings, digests[station_id], off, failing, (trouble, spoilt) = told
            judgement.trouble = judgement.trouble or trouble
            self._spoilt |= spoilt
            judgement.findings += findings
            judgement.failing |= failing
            for rule, missing in off.items():
                judgement.off[rule][station_id] = missing
            progress(len(digests))
        return unread


@contextmanager
def judges(book: RuleBook, workers: int = 2, keep: Path | None = None) -> Iterator[Judges]:
    """Judging processes for as long as they are needed; whatever they do is broken off when something goes wrong.

    ``keep`` is a file for the digests of days (``engine.shelf``), which nobody else may use meanwhile. Raises
    ``BadSettings`` before any is started.
    """
    others = set(active_children())
    if keep is not None and (trouble := mend(keep)):
        log.warning("%s", trouble)
    for library in ("OPENBLAS", "OMP", "MKL"):  # one core a process: threads of their own would fight for it
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    rules = book.rules()
    context = get_context("forkserver")
    context.set_forkserver_preload(sorted({__name__, *(type(rule).__module__ for rule in rules)}))
    forkserver.ensure_running()  # loads them meanwhile; that takes seconds, longer than the step of a day
    # What stands in a file of its own is no module that another process could import by name.
    made = None if book.plugins_dir else [(type(rule), rule.settings) for rule in rules]
    pool = ProcessPoolExecutor(workers, context, _begin, (book, made, keep))
    try:
        yield Judges(pool, rules, workers, keep)
    except BaseException:
        for child in set(active_children()) - others:
            child.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _told_of(keep: Path, trouble: str, *, spoilt: bool) -> str:
    """Begin a damaged file anew; what is to be said of it."""
    told = set_aside(keep, trouble) if spoilt else f"{keep}: {trouble}"
    log.warning("%s", told)
    return told


def judgement_to_json(judgement: Judgement, *, each: bool) -> dict[str, Any]:
    """``findings``, one for each cause with how many and the last, or ``each``; and where rules are ``off``."""
    if each:
        return {"findings": [finding_to_json(finding) for finding in judgement.findings], "off": judgement.off}
    findings = []
    for claim in judgement.claims:
        same = (claim.root, *claim.later)
        more = {"count": len(same), "last": max(finding.detected_at for finding in same).isoformat()}
        findings.append(finding_to_json(claim.finding) | more)
    return {"findings": findings, "off": judgement.off}


async def judge_folder(
    bench: Judges,
    ledger: Ledger,
    historian: Historian,
    since: datetime | None,
    until: datetime | None,
    *,
    stations: Collection[str] = (),
    progress: Callable[[int, int], object] = lambda _done, _of: None,
) -> Judgement:
    """Judge what ledger and historian hold; None is from the first or to the last record.

    Raises ``BadConfig`` for a station that is not there, and ``NotReachable``.
    """
    pasts = await Pasts.load(ledger, historian)
    span = await pasts.span()
    if span is None or not pasts.station_ids:
        return Judgement()
    since = span[0] - timedelta(microseconds=1) if since is None else since
    until = span[1] if until is None else until
    if strange := sorted(set(stations) - set(pasts.station_ids)):
        raise BadConfig(f"there is no station {strange[0]!r}; there are {', '.join(pasts.station_ids)[:300]}")
    chosen = [station for station in pasts.station_ids if not stations or station in stations]
    chosen.sort(key=lambda station: -len(pasts.register.nozzles_at(station)))  # so that no long one comes last
    async with pasts.lent() as lent:
        far = None if lent is None else partial(pasts.far, lent)
        progress(0, len(chosen))
        return await bench.judge(chosen, pasts.station, since, until, lambda done: progress(done, len(chosen)), far)


# ---------------------------------------------------------------- in the processes

_rules: tuple[Rule, ...] = ()
_keep: Path | None = None


def _begin(book: RuleBook, made: Sequence[tuple[type[Rule], PluginSettings]] | None, keep: Path | None) -> None:
    """Make the rules: these, or the book's, for which all plugins must be loaded.

    Ctrl-C is the parent's to handle; a process whose parent has died ends at once.
    """
    global _rules, _keep
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    _rules, _keep = book.rules() if made is None else tuple(kind(settings) for kind, settings in made), keep


def _compare(
    name: str, digests: Mapping[str, Mapping[str, Any]], since: datetime, until: datetime
) -> tuple[list[Finding], dict[str, str]]:
    """As ``compare_each``, by one rule."""
    return compare_each(digests, [rule for rule in _rules if rule.rule == name], since, until)


def _judge(
    past: StationPast | FarPast, since: datetime, until: datetime
) -> tuple[list[Finding], dict[str, Any], dict[str, str], dict[str, str], tuple[str | None, bool]] | str:
    """As ``judge_each``, and why nothing could be kept, if the file is damaged; why the past could not be read."""
    if not isinstance(past, FarPast):
        return (*judge_each(past, _rules, since, until), (None, False))
    chronicles = [rule for rule in _rules if isinstance(rule, Chronicle)]
    others = [rule for rule in _rules if not isinstance(rule, Chronicle)]
    try:
        findings, digests, off, failing = judge_each(past.read(), others, since, until) if others else ([], {}, {}, {})
        said = judge_chronicles(past, chronicles, since, until, _keep)
    except NotReachable as error:
        return str(error)
    return findings + said.findings, digests, off | said.off, failing | said.failing, (said.trouble, said.spoilt)
