"""Judges one station's past with the same rules that judge it live; pure, so that any process may do it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pumpwatch.contracts import Comparison, RecordRule, Review, Rule
from pumpwatch.model import (
    Delivery,
    DeviceEvent,
    DeviceIdentity,
    Finding,
    Record,
    TankReading,
    Transaction,
    from_us,
    to_us,
)
from pumpwatch.past import is_signed, told_together

if TYPE_CHECKING:
    from pumpwatch.model import Dispenser, EventKind, Nozzle, Station, Tank, WorkOrder
    from pumpwatch.past import StationPast


RECORDS_BACK: Final = timedelta(days=30)
"""How much of the past before a period record rules get to see."""


class PastHistory:
    """A ``contracts.History`` over one station's past; nothing is known of other stations."""

    def __init__(self, past: StationPast) -> None:
        self.past = past
        self._made: list[Any] = [None] * len(past.sales)
        self._is_made = bytearray(len(past.sales))
        self._rows = {nozzle_id: past.sales.of(nozzle_id) for nozzle_id in past.sales.nozzle_ids}
        self._tanks = {tank.tank_id: tank for tank in past.tanks}

    def sale(self, row: int) -> Transaction:
        """One filling, made a record once."""
        if not self._is_made[row]:
            self._made[row] = self.past.sales.record(row)
            self._is_made[row] = True
        made: Transaction = self._made[row]
        return made

    def station(self, station_id: str) -> Station | None:
        """The registered station."""
        return self.past.station if station_id == self.past.station_id else None

    def dispenser(self, dispenser_id: str) -> Dispenser | None:
        """The registered dispenser."""
        return self.past.dispenser_by_id.get(dispenser_id)

    def nozzle(self, nozzle_id: str) -> Nozzle | None:
        """The registered nozzle."""
        return self.past.nozzle_by_id.get(nozzle_id)

    def tank(self, tank_id: str) -> Tank | None:
        """The registered tank."""
        return self._tanks.get(tank_id)

    def nozzles_of(self, dispenser_id: str) -> Sequence[Nozzle]:
        """Nozzles of a dispenser, in the order of their numbers."""
        return [nozzle for nozzle in self.past.nozzles if nozzle.dispenser_id == dispenser_id]

    def devices_of(self, station_id: str) -> Sequence[str]:
        """Configured devices are not known of the past."""
        return ()

    def before(self, sale: Transaction, limit: int) -> Sequence[Transaction]:
        """The fillings of the same nozzle before ``sale``, oldest first."""
        sales = self.past.sales
        mine = self._rows.get(sale.nozzle_id, slice(0, 0))
        end = to_us(sale.end)
        row = mine.start + int(sales.end_us[mine].searchsorted(end))
        while row < mine.stop and sales.end_us[row] == end and sales.seq[row] < sale.seq:
            row += 1
        first = max(mine.start, row - limit)
        while (missing := self._is_made.find(0, first, row)) >= 0:
            self.sale(missing)
        return self._made[first:row]

    def events(self, station_id: str, kind: EventKind, since: datetime, until: datetime) -> Sequence[DeviceEvent]:
        """The events of a station with since <= time < until, oldest first."""
        if station_id != self.past.station_id:
            return ()
        known = self._events.get(kind)
        if not known:
            return ()
        first = bisect_left(known, since, key=_time)
        return known[first : bisect_left(known, until, first, key=_time)]

    @cached_property
    def _events(self) -> Mapping[EventKind, Sequence[DeviceEvent]]:
        by_kind: dict[EventKind, list[DeviceEvent]] = defaultdict(list)
        for event in self.past.events:
            by_kind[event.kind].append(event)
        for events in by_kind.values():
            events.sort(key=_time)
        return by_kind

    def latest_events(self, kind: EventKind) -> Sequence[DeviceEvent]:
        """The latest event of this kind of each device."""
        return tuple({event.device_id: event for event in self._events.get(kind, ())}.values())

    def latest_identity(self, dispenser_id: str) -> DeviceIdentity | None:
        """What the dispenser last said it is, by all devices that tell of it."""
        told = [i for i in self.past.identities if i.dispenser_id == dispenser_id]
        return reduce(told_together, told) if told else None

    def work_orders(self, device_id: str, since: datetime) -> Sequence[WorkOrder]:
        """Work orders that somebody signed, for a device or what it stands in, oldest first."""
        names = {device_id, self.past.station_id}
        if nozzle := self.nozzle(device_id):
            names.add(nozzle.dispenser_id)
        return [o for name, o in self._orders if name in names and o.at >= since]

    @cached_property
    def _orders(self) -> Sequence[tuple[str, WorkOrder]]:
        """Signed orders with the ledger's id of what they are about: ``D1`` at ``S01`` is ``S01-D1``."""
        past = self.past
        known = {past.station_id, *past.dispenser_by_id, *past.nozzle_by_id, *self._tanks}
        named = [
            (order.device_id if order.device_id in known else f"{order.station_id}-{order.device_id}", order)
            for order in past.work_orders
            if is_signed(order)
        ]
        return sorted(named, key=lambda pair: (pair[1].at, pair[1].device_id, pair[1].kind))


def _time(event: DeviceEvent) -> datetime:
    return event.at


def judge_station(
    past: StationPast, rules: Iterable[Rule], since: datetime, until: datetime
) -> tuple[list[Finding], dict[str, Any], dict[str, str]]:
    """What every rule says of a station at since < detected_at <= until, without comparisons.

    Returns the findings in no order, the digests of the comparisons by rule, and the rules that are off here with the
    reason. What a rule raises goes through; see ``judge_each``.
    """
    judging = _Judging(past, since, until)
    for rule in rules:
        judging.judge(rule)
    return judging.findings, judging.digests, judging.off


def judge_each(
    past: StationPast, rules: Iterable[Rule], since: datetime, until: datetime
) -> tuple[list[Finding], dict[str, Any], dict[str, str], dict[str, str]]:
    """As ``judge_station``; a rule that raises is told last, with why, and the others go on."""
    judging = _Judging(past, since, until)
    failing: dict[str, str] = {}
    for rule in rules:
        try:
            judging.judge(rule)
        except Exception as error:  # a rule is a plugin: it may do anything
            failing[rule.rule] = f"{past.station_id}: {type(error).__name__}: {error}"
    return judging.findings, judging.digests, judging.off, failing


class _Judging:
    """One station, one period, one rule after another."""

    def __init__(self, past: StationPast, since: datetime, until: datetime) -> None:
        self.findings: list[Finding] = []
        self.digests: dict[str, Any] = {}
        self.off: dict[str, str] = {}
        self._past = past
        self._since, self._until = since, until

    def judge(self, rule: Rule) -> None:
        """Put one rule. A record that raises is raised when all others have been judged, as they are live."""
        past, since, until = self._past, self._since, self._until
        if missing := rule.needs - past.channels:
            self.off[rule.rule] = ", ".join(sorted(missing))
        elif isinstance(rule, RecordRule):
            self._check(rule)
        elif isinstance(rule, Review):
            self.findings += [f for f in rule.review(past, since, until) if since < f.detected_at <= until]
        elif isinstance(rule, Comparison):
            self.digests[rule.rule] = rule.digest(past, since, until)

    def _check(self, rule: RecordRule) -> None:
        raised: Exception | None = None
        for record in _records(rule, self._history, self._since, self._until):
            try:
                found = list(rule.check(record, self._history))
            except Exception as error:  # one record must not silence the rule
                raised = raised or error
            else:
                self.findings += found
        if raised is not None:
            raise raised

    @cached_property
    def _history(self) -> PastHistory:
        """What record rules may ask."""
        try:
            first = self._since - RECORDS_BACK
        except OverflowError:
            first = self._past.start
        return PastHistory(self._past.between(first, self._until + timedelta(microseconds=1)))


def compare_each(
    digests: Mapping[str, Mapping[str, Any]], rules: Iterable[Rule], since: datetime, until: datetime
) -> tuple[list[Finding], dict[str, str]]:
    """As ``compare_stations``, each rule by itself, and those that raise with why."""
    findings: list[Finding] = []
    failing: dict[str, str] = {}
    for rule in rules:
        try:
            findings += compare_stations(digests, [rule], since, until)
        except Exception as error:  # as above
            failing[rule.rule] = f"all stations: {type(error).__name__}: {error}"
    return findings, failing


def _records(rule: RecordRule, history: PastHistory, since: datetime, until: datetime) -> Iterator[Record]:
    """What the rule is to see of since < time <= until."""
    past = history.past
    if Transaction in rule.watches:
        sales = past.sales
        wanted = (sales.end_us > to_us(since)) & (sales.end_us <= to_us(until))
        worth = rule.screen(past)
        rows = np.flatnonzero(wanted if worth is None else wanted & worth)
        yield from (history.sale(int(row)) for row in rows)
    others: list[tuple[type, Iterable[Record]]] = [
        (DeviceEvent, past.events),
        (DeviceIdentity, past.identities),
        (Delivery, past.deliveries),
        (TankReading, _readings(past)),
    ]
    for kind, records in others:
        if kind in rule.watches:
            yield from (record for record in records if since < record.at <= until)


def _readings(past: StationPast) -> Iterator[TankReading]:
    for tank_id, levels in past.levels.items():
        for row in range(len(levels)):
            told = (float(getattr(levels, name)[row]) for name in _READ)
            volume, volume_20c, water, temperature, density = (None if v != v else v for v in told)  # noqa: PLR0124 - NaN
            at, height = from_us(levels.at_us[row]), float(levels.height_mm[row])
            yield TankReading(tank_id, at, height, volume, volume_20c, water, temperature, density)


_READ = ("volume_l", "volume_20c_l", "water_mm", "temperature_c", "density_kg_m3")


def compare_stations(
    digests: Mapping[str, Mapping[str, Any]], rules: Iterable[Rule], since: datetime, until: datetime
) -> list[Finding]:
    """What comparisons say; ``digests`` are by station, then by rule, from ``judge_station``."""
    findings: list[Finding] = []
    for rule in rules:
        if isinstance(rule, Comparison):
            told = {station: those[rule.rule] for station, those in digests.items() if rule.rule in those}
            findings += [f for f in rule.compare(told, since, until) if since < f.detected_at <= until]
    return findings


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Each finding once, as it was first claimed, in the order of times, rules and subjects: that of every list."""
    once: dict[str, Finding] = {}
    for finding in findings:
        known = once.get(finding.id)
        if known is None or finding.detected_at < known.detected_at:
            once[finding.id] = finding
    return sorted(once.values(), key=lambda f: (f.detected_at, f.rule, f.subject.key, f.id))
