"""Asks reviews at once where something has come that is worth it, so that nobody waits for the next hourly review."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from pumpwatch.canonical import Pasts
from pumpwatch.contracts import Comparison, Review, subject_of
from pumpwatch.detection import compare_each, in_order, judge_each
from pumpwatch.engine.judging import Judgement
from pumpwatch.errors import PumpwatchError
from pumpwatch.model import CovertTest, Declaration, HotlineReport, WorkOrder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from pumpwatch.clock import Clock
    from pumpwatch.contracts import Entry, History, Rule
    from pumpwatch.historian import Historian
    from pumpwatch.ledger import Ledger
    from pumpwatch.model import Batch, Finding, Record

log = logging.getLogger(__name__)

SETTLE_S: Final = 10.0
"""From the first occasion to the look, so that what comes together is looked at together."""
RETRY_S: Final = 15.0
BEFORE: Final = timedelta(hours=12)
"""A look begins so long before the record that occasioned it: what a device kept may come newest first."""
ASKED_AT_MOST: Final = 12
"""Looks an hour of one rule at one station; what is more waits for the review."""
COMPARED_AT_MOST: Final = 4
"""Looks an hour of one comparison: each reads all stations."""
AHEAD: Final = timedelta(days=1)
"""So far ahead a device's clock may be."""
OCCASIONS_KEPT: Final = 20_000
_ENTRIES: Final[tuple[type[Entry], ...]] = (Declaration, WorkOrder, HotlineReport, CovertTest)
"""What comes through the ledger."""


@dataclass(slots=True)
class _Wanted:
    """A look of one rule at one station."""

    since: datetime
    until: datetime
    noted: float
    """When the first of it was noted, by the clock's seconds."""

    def widen(self, other: _Wanted) -> None:
        """One look for both."""
        self.since, self.until = min(self.since, other.since), max(self.until, other.until)
        self.noted = min(self.noted, other.noted)


class Waking:
    """Notes what has come and whom it concerns, and soon after puts those rules, and only those, to those stations.

    An occasion is looked at once, and again when an older record tells of it. A comparison is put to all stations, for
    it knows nothing of one alone; between two stations the looks at single ones have their turn. Looks are made one
    after the other in a thread, and take at most half of the time: devices are read meanwhile.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        ledger: Ledger,
        historian: Historian,
        clock: Clock,
        history: History,
        hand_on: Callable[[Iterable[Finding]], Awaitable[object]],
        unknown: Callable[[Iterable[Finding]], Awaitable[Sequence[Finding]]],
    ) -> None:
        self._fails: dict[str, str] = {}
        """Rules that raised when they last looked, and why …"""
        self._mute: dict[str, str] = {}
        """… and those that could not name an occasion."""
        self._rules = {rule.rule: rule for rule in rules if isinstance(rule, Review | Comparison) and rule.wakes}
        self._waking: dict[type, list[Review | Comparison]] = defaultdict(list)
        for rule in self._rules.values():
            for kind in rule.wakes:
                self._waking[kind].append(rule)
        self._ledger = ledger
        self._historian = historian
        self._clock = clock
        self._history = history
        self._hand_on = hand_on
        self._unknown = unknown
        self._wanted: dict[tuple[str, str], _Wanted] = {}
        """By rule and station."""
        self._known: OrderedDict[tuple[str, str, bytes], datetime] = OrderedDict()
        """Rule, station and occasion: since when it is wanted or has been looked at."""
        self._asked: Counter[tuple[str, str]] = Counter()
        """Looks of this hour by rule and station; of a comparison, by rule."""
        self._hour = 0
        self._entries: Mapping[type, frozenset[bytes]] = {}
        """What the ledger said last."""
        self._ledger_changed = False
        self._woken = asyncio.Event()

    @property
    def failing(self) -> dict[str, str]:
        """Rules that raised when they were last asked, and why."""
        return self._mute | self._fails

    async def take(self, batch: Batch) -> None:
        """Note what has arrived; the hub's."""
        for record in batch.records:
            for rule in self._waking.get(type(record), ()):
                self._note(rule, record, record.at)

    async def remember(self) -> None:
        """Learn what the ledger says at the start: the first review looks at that."""
        self._entries = {kind: frozenset(map(_mark, await self._ledger.entries(kind))) for kind in self._ledgered()}

    def ledger_changed(self) -> None:
        """There may be new entries."""
        if self._ledgered():
            self._ledger_changed = True
            self._woken.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            await self._clock.sleep(SETTLE_S)
            began = self._clock.monotonic()
            try:
                await self._read_ledger()
                await self._look_alone()
                await self._look_together()
            except PumpwatchError as error:
                log.warning("nobody could look at what has come; it is tried again: %s", error)
                self._woken.set()
                await self._clock.sleep(RETRY_S)
            except Exception:  # supervision goes on whatever the ledger says
                log.exception("nobody could look at what has come; it waits for the next review")
            await self._clock.sleep(self._clock.monotonic() - began)

    def _ledgered(self) -> list[type[Entry]]:
        return [kind for kind in _ENTRIES if kind in self._waking]

    async def _read_ledger(self) -> None:
        """If it has changed, note the entries that were not there before, or say otherwise."""
        if not self._ledger_changed:
            return
        self._ledger_changed = False
        try:
            told = {kind: await self._ledger.entries(kind) for kind in self._ledgered()}
        except PumpwatchError:
            self._ledger_changed = True
            raise
        for kind, entries in told.items():
            named: dict[bytes, Entry] = {_mark(entry): entry for entry in entries}
            for name in sorted(named.keys() - self._entries.get(kind, frozenset())):
                for rule in self._waking[kind]:
                    self._note(rule, named[name], None)
            self._entries = {**self._entries, kind: frozenset(named)}

    def _note(self, rule: Review | Comparison, record: Record | Entry, at: datetime | None) -> None:
        """Want a look about that time; None: over all that the rule looks back upon, for an entry tells of the past."""
        try:
            occasion = rule.occasion(record, self._history)
        except Exception as error:  # one rule's bug must not stop acquisition
            if rule.rule not in self._mute:
                log.exception("rule %s could not name an occasion", rule.rule)
            self._mute[rule.rule] = f"{type(error).__name__}: {error}"
            return
        self._mute.pop(rule.rule, None)
        station = _station_of(record, self._history)
        if occasion is None or self._history.station(station) is None:
            return
        now = self._clock.now()
        until = now if at is None else max(min(at, now + AHEAD), now - rule.lookback)
        since = now - rule.lookback if at is None else until - BEFORE
        key = (rule.rule, station, _digest(occasion))
        known = self._known.get(key)
        if known is not None and known <= until:
            return
        self._known[key] = since
        if len(self._known) > OCCASIONS_KEPT:
            self._known.popitem(last=False)
        self._want((rule.rule, station), _Wanted(since, until, self._clock.monotonic()))

    def _want(self, key: tuple[str, str], wanted: _Wanted) -> None:
        self._wanted.setdefault(key, wanted).widen(wanted)
        self._woken.set()

    async def _look_alone(self) -> None:
        """Put the reviews that are wanted by now, each to its stations."""
        taken = self._take(Review)
        rules: dict[str, set[str]] = defaultdict(set)
        for name, station in taken:
            rules[station].add(name)
        looks: dict[frozenset[str], set[str]] = defaultdict(set)
        for station, names in rules.items():
            looks[frozenset(names)].add(station)
        trouble: PumpwatchError | None = None
        for each, stations in looks.items():
            some = {key: wanted for key, wanted in taken.items() if key[1] in stations}
            try:
                await self._judge(each, stations, some)
            except PumpwatchError as error:
                trouble = error
        if trouble is not None:
            raise trouble

    async def _look_together(self) -> None:
        """Put the comparisons that are wanted by now to all stations."""
        if taken := self._take(Comparison):
            await self._judge({name for name, _ in taken}, (), taken)

    async def _meanwhile(self) -> None:
        """Between two stations of a comparison: the looks that have waited long enough."""
        ripe = self._clock.monotonic() - SETTLE_S
        if any(w.noted <= ripe and isinstance(self._rules[name], Review) for (name, _), w in self._wanted.items()):
            await self._look_alone()

    def _take(self, kind: type[Review | Comparison]) -> dict[tuple[str, str], _Wanted]:
        """What is wanted of such rules and may still be asked this hour; the rest is forgotten, to be noted again."""
        if (hour := int(self._clock.monotonic() // 3600.0)) != self._hour:
            self._hour = hour
            self._asked.clear()
        mine = {key: wanted for key, wanted in self._wanted.items() if isinstance(self._rules[key[0]], kind)}
        for key in mine:
            del self._wanted[key]
        most = COMPARED_AT_MOST if kind is Comparison else ASKED_AT_MOST
        taken = {key: wanted for key, wanted in mine.items() if self._asked[self._counted(key)] < most}
        self._forget(mine.keys() - taken.keys())
        return taken

    def _counted(self, key: tuple[str, str]) -> tuple[str, str]:
        return (key[0], "") if isinstance(self._rules[key[0]], Comparison) else key

    def _forget(self, keys: Collection[tuple[str, str]]) -> None:
        """The occasions of these rules and stations are as if they had never been."""
        if keys:
            for known in [known for known in self._known if known[:2] in keys]:
                del self._known[known]

    async def _judge(
        self, names: Collection[str], stations: Collection[str], taken: Mapping[tuple[str, str], _Wanted]
    ) -> None:
        """Put these rules to these stations (none: to all) over all that is wanted of them.

        What fails for want of disk or memory is wanted again, and raised; what fails otherwise is noted again.
        """
        try:
            judgement = await judge_soon(
                [self._rules[name] for name in sorted(names)], self._ledger, self._historian,
                min(w.since for w in taken.values()), max(self._clock.now(), *(w.until for w in taken.values())),
                stations, self._meanwhile,
            )  # fmt: skip
            await self._hand_on(await self._unknown(judgement.findings))
        except PumpwatchError:
            for key, wanted in taken.items():
                self._want(key, wanted)
            raise
        except Exception:  # the other looks go on
            log.exception("%s could not look at what has come", ", ".join(sorted(names)))
            self._forget(taken.keys())
        else:
            for name in names:
                self._fails.pop(name, None)
            self._fails |= judgement.failing
        self._asked.update({self._counted(key) for key in taken})


async def judge_soon(
    rules: Sequence[Review | Comparison],
    ledger: Ledger,
    historian: Historian,
    since: datetime,
    until: datetime,
    stations: Collection[str],
    meanwhile: Callable[[], Awaitable[object]],
) -> Judgement:
    """Put a few rules to a few stations (none: to all), in a thread: a process of its own takes longer to start.

    ``meanwhile`` is awaited before each of all stations. Raises ``NotReachable``.
    """
    pasts = await Pasts.load(ledger, historian)
    start, end = since - max(rule.lookback for rule in rules), until + timedelta(microseconds=1)
    judgement = Judgement()
    digests: dict[str, Mapping[str, object]] = {}
    for station in pasts.station_ids:
        if not stations:
            await meanwhile()
        if not stations or station in stations:
            past = await pasts.station(station, start, end)
            findings, digests[station], _, failing = await asyncio.to_thread(judge_each, past, rules, since, until)
            judgement.findings += findings
            judgement.failing |= failing
    findings, failing = await asyncio.to_thread(compare_each, digests, rules, since, until)
    judgement.findings = in_order([*judgement.findings, *findings])
    judgement.failing |= failing
    return judgement


def _station_of(record: Record | Entry, history: History) -> str:
    """Where it happened."""
    if station_id := getattr(record, "station_id", None):
        return str(station_id)
    if nozzle_id := getattr(record, "nozzle_id", None):
        return subject_of(nozzle_id, history).station_id
    tank = history.tank(getattr(record, "tank_id", ""))
    return tank.station_id if tank else ""


def _mark(entry: Entry) -> bytes:
    return _digest(repr(entry))


def _digest(text: str) -> bytes:
    """What is kept instead of a text that may be as long as a device likes."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
