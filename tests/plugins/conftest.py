"""A small ledger and history in memory for the rules, and short ways to make records."""

from __future__ import annotations

import sys
from bisect import insort
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pumpwatch import (
    DeviceEvent,
    DeviceIdentity,
    Dispenser,
    EventKind,
    Nozzle,
    Station,
    Tank,
    Transaction,
    WorkOrder,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pumpwatch import Detector, Finding, Record, RecordRule

sys.path.insert(0, str(Path(__file__).parent))  # the tests share ``worlds``

NOON = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)


@dataclass
class MemoryHistory:
    """A ``History`` that keeps everything it is told."""

    stations: dict[str, Station] = field(default_factory=dict)
    dispensers: dict[str, Dispenser] = field(default_factory=dict)
    nozzles: dict[str, Nozzle] = field(default_factory=dict)
    devices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    orders: list[WorkOrder] = field(default_factory=list)
    sales: dict[str, list[Transaction]] = field(default_factory=lambda: defaultdict(list))
    keys: set[tuple[str, int, datetime]] = field(default_factory=set)
    told: list[DeviceEvent] = field(default_factory=list)
    latest: dict[tuple[EventKind, str, str], DeviceEvent] = field(default_factory=dict)
    identities: dict[str, DeviceIdentity] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        if isinstance(record, Transaction):
            if record.key not in self.keys:
                self.keys.add(record.key)
                insort(self.sales[record.nozzle_id], record, key=lambda s: (s.end, s.seq))
        elif isinstance(record, DeviceEvent):
            place = (record.kind, record.station_id, record.device_id)
            self.told.append(record)
            if place not in self.latest or self.latest[place].at <= record.at:
                self.latest[place] = record
        elif isinstance(record, DeviceIdentity):
            known = self.identities.get(record.dispenser_id)
            if known is None or known.at <= record.at:
                self.identities[record.dispenser_id] = record

    def station(self, station_id: str) -> Station | None:
        return self.stations.get(station_id)

    def dispenser(self, dispenser_id: str) -> Dispenser | None:
        return self.dispensers.get(dispenser_id)

    def nozzle(self, nozzle_id: str) -> Nozzle | None:
        return self.nozzles.get(nozzle_id)

    def tank(self, tank_id: str) -> Tank | None:
        return None

    def nozzles_of(self, dispenser_id: str) -> Sequence[Nozzle]:
        return [n for n in self.nozzles.values() if n.dispenser_id == dispenser_id]

    def devices_of(self, station_id: str) -> Sequence[str]:
        return self.devices.get(station_id, ())

    def before(self, sale: Transaction, limit: int) -> Sequence[Transaction]:
        earlier = [s for s in self.sales.get(sale.nozzle_id, []) if (s.end, s.seq) < (sale.end, sale.seq)]
        return earlier[-limit:]

    def events(self, station_id: str, kind: EventKind, since: datetime, until: datetime) -> Sequence[DeviceEvent]:
        told = [e for e in self.told if e.station_id == station_id and e.kind is kind and since <= e.at < until]
        return sorted(told, key=lambda e: e.at)

    def latest_events(self, kind: EventKind) -> Sequence[DeviceEvent]:
        return [e for (k, _, _), e in self.latest.items() if k == kind]

    def latest_identity(self, dispenser_id: str) -> DeviceIdentity | None:
        return self.identities.get(dispenser_id)

    def work_orders(self, device_id: str, since: datetime) -> Sequence[WorkOrder]:
        return sorted((o for o in self.orders if o.device_id == device_id and o.at >= since), key=lambda o: o.at)


def county() -> MemoryHistory:
    """One demo station with two dispensers of two nozzles, and a gauge."""
    history = MemoryHistory()
    history.stations["S01"] = Station("S01", "示例加油站", short_name="示例", attributes={"short_name_en": "Demo"})
    history.devices["S01"] = ("D1", "D2", "TLS")
    for d in (1, 2):
        dispenser_id = f"S01-D{d}"
        history.dispensers[dispenser_id] = Dispenser(
            dispenser_id,
            "S01",
            serial=f"SER-{d}",
            mainboard_serial=f"MB-{d}",
            firmware_version="1.2.0",
            firmware_digest="ab" * 32,
            tax_serial=f"TAX-{d}",
        )
        for n in (2 * d - 1, 2 * d):
            nozzle_id = f"S01-N{n:02}"
            history.nozzles[nozzle_id] = Nozzle(
                nozzle_id, dispenser_id, "S01-T1", "92#", encoder_serial=f"ENC-{n}", pulse_l=0.01
            )
    return history


def sale(
    seq: int, displayed: float = 20.0, pulses: int | None = None, *, nozzle: str = "S01-N03", **more: Any
) -> Transaction:
    """Sale ``seq``: one each ten minutes after noon, at 7.50 yuan; honest unless told otherwise."""
    start = more.pop("start", NOON + timedelta(minutes=10 * seq))
    if pulses is None and "encoder_l" not in more:
        pulses = round(displayed * 100)
    return Transaction(
        nozzle_id=nozzle,
        seq=seq,
        start=start,
        end=more.pop("end", start + timedelta(minutes=2)),
        volume_l=displayed,
        amount_cny=round(displayed * 7.5, 2),
        unit_price=7.5,
        encoder_pulses=pulses,
        **more,
    )


def judge(rule: RecordRule, records: Iterable[Record], history: MemoryHistory) -> list[Finding]:
    """All that a rule says while the records arrive one by one."""
    said: list[Finding] = []
    for record in records:
        history.take(record)
        said.extend(rule.check(record, history))
    return said


def look(detector: Detector, events: Iterable[DeviceEvent], history: MemoryHistory, now: datetime) -> list[Finding]:
    """What a detector claims at ``now``."""
    for event in events:
        history.take(event)
    return list(detector.look(history, now))


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The ways to make records and to judge them."""
    return SimpleNamespace(
        NOON=NOON,
        MemoryHistory=MemoryHistory,
        county=county,
        sale=sale,
        judge=judge,
        look=look,
        last_told=lambda findings: {f.id: f for f in findings},
    )
