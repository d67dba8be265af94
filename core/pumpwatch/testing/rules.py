"""Checks that every rule must pass: where a period is cut and in what order records arrive must not matter."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from pumpwatch.contracts import Comparison, RecordRule, Review
from pumpwatch.detection.replay import PastHistory, in_order, judge_station
from pumpwatch.model import DeviceEvent, DeviceIdentity, Finding, Record, Transaction
from pumpwatch.past import Channel, Levels, StationPast

_MOMENT = timedelta(microseconds=1)
_DAY_US = 86_400_000_000
Pasts: TypeAlias = StationPast | Sequence[StationPast]


def cut_invariant(
    rule: Review | Comparison,
    past: Pasts,
    cuts: Iterable[datetime],
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Finding]:
    """Judge a period once whole and once cut into parts, and give back the findings.

    A comparison is given the pasts of several stations. Every part is given no more of the past than the rule's
    ``lookback`` entitles it to. Raises ``AssertionError`` with the first finding that is not the same, number for
    number, or that lies outside the part it was claimed in.
    """
    pasts = [past] if isinstance(past, StationPast) else list(past)
    first = since or min(p.start for p in pasts)
    last = until or max(p.end for p in pasts)
    whole = _judged(rule, pasts, first, last)
    places = sorted({first, last, *(cut for cut in cuts if first < cut < last)})
    parts = [finding for start, end in pairwise(places) for finding in _judged(rule, pasts, start, end)]
    _must_equal(whole, parts, "in one piece", f"cut at {', '.join(map(str, places[1:-1])) or 'no place'}")
    return whole


def order_free(rule: RecordRule, past: StationPast, *, disorder: int = 20, seed: int = 0) -> list[Finding]:
    """Let a station's records arrive in disorder, some twice, and give back what stands in the end.

    Within each run of ``disorder`` records any order may happen. A rule with ``patience`` judges when the run is
    complete, one without judges on arrival; the next ``reach`` fillings after a late one are judged again. Raises
    ``AssertionError`` with the first finding that differs from those of the records in order.
    """
    straight = in_order(judge_station(past, [rule], past.start - _MOMENT, past.end)[0])
    records = sorted(_records(past), key=lambda record: (record.at, repr(record)))
    chance = random.Random(seed)  # noqa: S311 - a test's dice
    history, standing = _Arrived(past), _Standing(rule)
    for start in range(0, len(records), disorder):
        run = records[start : start + disorder]
        run += chance.sample(run, len(run) // 3)
        chance.shuffle(run)
        if rule.patience:
            for record in run:
                history.take(record)
        for record in run:
            new = history.take(record)
            standing.judge(record, history)
            if new and isinstance(record, Transaction):
                for later in history.after(record, rule.reach):
                    standing.judge(later, history)
    _must_equal(straight, standing.findings(), "in order", f"in disorder (seed {seed})")
    return straight


def screened(rule: RecordRule, past: StationPast) -> list[Finding]:
    """Check that ``screen`` leaves out no filling that ``check`` says something of; gives back all findings.

    Raises ``AssertionError`` with the first filling that was left out.
    """
    history, sales = PastHistory(past), past.sales
    worth = rule.screen(past)
    said: list[Finding] = []
    if Transaction in rule.watches:
        for row in range(len(sales)):
            findings = list(rule.check(history.sale(row), history))
            if findings and worth is not None and not worth[row]:
                sale = history.sale(row)
                raise AssertionError(
                    f"{rule.rule}: screen leaves out {sale.nozzle_id} seq {sale.seq}, check says {findings[0].id}"
                )
            said += findings
    return in_order(said)


def without(past: StationPast, channel: Channel) -> StationPast:
    """The same past of a station that has not this kind of data."""
    return _WITHOUT[channel](past)


# ---------------------------------------------------------------- in parts


def _judged(rule: Review | Comparison, pasts: Sequence[StationPast], since: datetime, until: datetime) -> list[Finding]:
    given = [past.between(since - rule.lookback, until + _MOMENT) for past in pasts]
    if isinstance(rule, Review):
        said = [finding for past in given for finding in rule.review(past, since, until)]
    else:
        digests = {past.station_id: rule.digest(past, since, until) for past in given}
        said = list(rule.compare(digests, since, until))
    for finding in said:
        if not since < finding.detected_at <= until:
            raise AssertionError(
                f"{rule.rule}: {finding.id} is detected at {finding.detected_at}, asked was {since} to {until}"
            )
    return in_order(said)


def _must_equal(expected: Sequence[Finding], found: Sequence[Finding], how: str, otherwise: str) -> None:
    old, new = {f.id: f for f in expected}, {f.id: f for f in found}
    if len(new) < len(found):
        twice = next(f for f in found if sum(g.id == f.id for g in found) > 1)
        raise AssertionError(f"{twice.rule}: {twice.id} of {twice.subject.key} is said twice when {otherwise}")
    for name in (*old, *new):
        one, other = old.get(name), new.get(name)
        there = one or other
        if there is not None and (one is None or other is None):
            raise AssertionError(
                f"{there.rule}: {name} of {there.subject.key}, onset {there.onset}, detected {there.detected_at}, is "
                f"said only when {how if one else otherwise}"
            )
        for part in Finding.__slots__:
            if there is not None and getattr(one, part) != getattr(other, part):
                raise AssertionError(
                    f"{there.rule}: {name} of {there.subject.key} has another {part} when {otherwise}: "
                    f"{getattr(other, part)!r} instead of {getattr(one, part)!r}"
                )


# ---------------------------------------------------------------- on arrival


class _Arrived(PastHistory):
    """What has arrived so far of a station's past."""

    def __init__(self, past: StationPast) -> None:
        super().__init__(past)
        self._keys: set[tuple[str, int, datetime]] = set()
        self._sales: dict[str, list[Transaction]] = defaultdict(list)
        self._told: list[DeviceEvent] = []
        self._identities: list[DeviceIdentity] = []

    def take(self, record: Record) -> bool:
        """Remember it; False when it is known already."""
        if isinstance(record, Transaction):
            if record.key in self._keys:
                return False
            self._keys.add(record.key)
            insort(self._sales[record.nozzle_id], record, key=_order)
        elif isinstance(record, DeviceEvent):
            if record in self._told:
                return False
            insort(self._told, record, key=lambda e: (e.at, repr(e)))
        elif isinstance(record, DeviceIdentity):
            if record in self._identities:
                return False
            insort(self._identities, record, key=lambda i: i.at)
        return True

    def before(self, sale: Transaction, limit: int) -> Sequence[Transaction]:
        """The known fillings of the same nozzle before ``sale``, oldest first."""
        sales = self._sales[sale.nozzle_id]
        place = bisect_left(sales, _order(sale), key=_order)
        return sales[max(0, place - limit) : place]

    def after(self, sale: Transaction, limit: int) -> Sequence[Transaction]:
        """The known fillings of the same nozzle after ``sale``, oldest first."""
        sales = self._sales[sale.nozzle_id]
        place = bisect_left(sales, _order(sale), key=_order) + 1
        return sales[place : place + limit]

    @property
    def _events(self) -> Mapping[object, Sequence[DeviceEvent]]:  # type: ignore[override]
        by_kind: dict[object, list[DeviceEvent]] = defaultdict(list)
        for event in self._told:
            by_kind[event.kind].append(event)
        return by_kind

    def latest_identity(self, dispenser_id: str) -> DeviceIdentity | None:
        """What the dispenser last said it is."""
        told = [i for i in self._identities if i.dispenser_id == dispenser_id]
        return told[-1] if told else None


class _Standing:
    """The findings that hold now: those of each record's latest judgement."""

    def __init__(self, rule: RecordRule) -> None:
        self._rule = rule
        self._told: dict[object, list[Finding]] = {}
        self._latest: dict[str, Finding] = {}

    def judge(self, record: Record, history: _Arrived) -> None:
        """Judge a record, perhaps again; what no longer holds is withdrawn."""
        if not isinstance(record, self._rule.watches):
            return
        said = list(self._rule.check(record, history))
        self._told[_key(record)] = said
        self._latest |= {finding.id: finding for finding in said}

    def findings(self) -> list[Finding]:
        """All that stands, in order."""
        held = {finding.id for said in self._told.values() for finding in said}
        return in_order(finding for name, finding in self._latest.items() if name in held)


def _key(record: Record) -> object:
    return record.key if isinstance(record, Transaction) else repr(record)


def _order(sale: Transaction) -> tuple[datetime, int]:
    return (sale.end, sale.seq)


def _records(past: StationPast) -> Iterator[Record]:
    yield from (past.sales.record(row) for row in range(len(past.sales)))
    yield from past.events
    yield from past.identities
    yield from past.deliveries


# ---------------------------------------------------------------- stations that have less


def _no_column(*names: str) -> Callable[[StationPast], StationPast]:
    def blank(past: StationPast) -> StationPast:
        nothing = np.full(len(past.sales), np.nan)
        columns: dict[str, Any] = dict.fromkeys(names, nothing)
        return replace(past, sales=replace(past.sales, **columns))

    return blank


def _dips(past: StationPast) -> StationPast:
    def one_a_day(levels: Levels) -> Levels:
        return levels.take(np.unique(levels.at_us // _DAY_US, return_index=True)[1])

    return replace(past, levels={tank: one_a_day(levels) for tank, levels in past.levels.items()})


def _no_papers(past: StationPast) -> StationPast:
    bare = (replace(d, declared_l=None, declared_20c_l=None, document_no=None) for d in past.deliveries)
    return replace(past, deliveries=tuple(d for d in bare if d.received_l is not None))


def _no_identity(past: StationPast) -> StationPast:
    return replace(
        past,
        identities=(),
        dispensers=tuple(
            replace(d, serial=None, mainboard_serial=None, firmware_version=None, firmware_digest=None, tax_serial=None)
            for d in past.dispensers
        ),
        nozzles=tuple(replace(n, encoder_serial=None) for n in past.nozzles),
    )


_WITHOUT: Mapping[Channel, Callable[[StationPast], StationPast]] = {
    Channel.ENCODER: _no_column("encoder_l", "encoder_pulses"),
    Channel.TAX: _no_column("tax_l", "tax_cny"),
    Channel.TOTALIZERS: _no_column("totalizer_l", "totalizer_cny"),
    Channel.TANK_READINGS: _dips,
    Channel.TANK_DIPS: lambda past: replace(past, levels={}),
    Channel.CHARTS: lambda past: replace(past, charts={}),
    Channel.DELIVERIES: _no_papers,
    Channel.IDENTITY: _no_identity,
    Channel.DECLARATIONS: lambda past: replace(past, declarations=()),
    Channel.CERTIFICATES: lambda past: replace(
        past, nozzles=tuple(replace(n, certificate_expires=None) for n in past.nozzles)
    ),
}
