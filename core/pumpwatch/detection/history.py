"""What detectors may ask while the server runs: the recent past in memory, in front of the ledger."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from pumpwatch.model import DeviceEvent, DeviceIdentity, EventKind, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from pumpwatch.model import Dispenser, Nozzle, Record, Station, Tank, WorkOrder

TRANSACTIONS_KEPT = 200
"""Fillings remembered a nozzle: two to three busy days."""


class Ledgered(Protocol):
    """What history needs of the ledger; ``ledger.Register`` is one."""

    def station(self, station_id: str) -> Station | None:
        """The registered station."""

    def dispenser(self, dispenser_id: str) -> Dispenser | None:
        """The registered dispenser."""

    def nozzle(self, nozzle_id: str) -> Nozzle | None:
        """The registered nozzle."""

    def tank(self, tank_id: str) -> Tank | None:
        """The registered tank."""

    def nozzles_of(self, dispenser_id: str) -> Sequence[Nozzle]:
        """Nozzles of a dispenser in the order of their numbers."""

    def work_orders(self, device_id: str, since: datetime) -> Sequence[WorkOrder]:
        """Work orders of a device, oldest first."""


class LiveHistory:
    """A ``contracts.History`` over what has arrived since the start and what the store gave before."""

    def __init__(self, ledger: Ledgered, devices: Mapping[str, Sequence[str]]) -> None:
        self.ledger = ledger
        """Replaced by the engine when the ledger changes."""
        self._devices = devices
        self._sales: dict[str, list[Transaction]] = defaultdict(list)
        self._events: dict[EventKind, dict[str, DeviceEvent]] = defaultdict(dict)
        self._identities: dict[str, DeviceIdentity] = {}

    def take(self, records: Iterable[Record]) -> None:
        """Remember records, in any order, each once."""
        for record in records:
            if isinstance(record, Transaction):
                self._take_sale(record)
            elif isinstance(record, DeviceEvent):
                known = self._events[record.kind].get(f"{record.station_id}/{record.device_id}")
                if known is None or known.at <= record.at:
                    self._events[record.kind][f"{record.station_id}/{record.device_id}"] = record
            elif isinstance(record, DeviceIdentity):
                seen = self._identities.get(record.dispenser_id)
                if seen is None or seen.at <= record.at:
                    self._identities[record.dispenser_id] = record

    def _take_sale(self, sale: Transaction) -> None:
        sales = self._sales[sale.nozzle_id]
        if any(s.seq == sale.seq and s.end == sale.end for s in sales):
            return
        insort(sales, sale, key=_order)
        if len(sales) > TRANSACTIONS_KEPT:
            del sales[0]

    def station(self, station_id: str) -> Station | None:
        """The registered station."""
        return self.ledger.station(station_id)

    def dispenser(self, dispenser_id: str) -> Dispenser | None:
        """The registered dispenser."""
        return self.ledger.dispenser(dispenser_id)

    def nozzle(self, nozzle_id: str) -> Nozzle | None:
        """The registered nozzle."""
        return self.ledger.nozzle(nozzle_id)

    def tank(self, tank_id: str) -> Tank | None:
        """The registered tank."""
        return self.ledger.tank(tank_id)

    def nozzles_of(self, dispenser_id: str) -> Sequence[Nozzle]:
        """Nozzles of a dispenser, in the order of their numbers."""
        return self.ledger.nozzles_of(dispenser_id)

    def devices_of(self, station_id: str) -> Sequence[str]:
        """Configured devices of a station."""
        return self._devices.get(station_id, ())

    def transactions(self, nozzle_id: str, limit: int) -> Sequence[Transaction]:
        """The last ``limit`` fillings known, oldest first."""
        return self._sales[nozzle_id][-limit:] if nozzle_id in self._sales else ()

    def transaction(self, nozzle_id: str, seq: int, near: datetime) -> Transaction | None:
        """The filling with this sequence number that ended nearest to ``near``."""
        same = [s for s in self._sales.get(nozzle_id, ()) if s.seq == seq]
        return min(same, key=lambda s: abs(s.end - near), default=None)

    def latest_events(self, kind: EventKind) -> Sequence[DeviceEvent]:
        """The latest event of this kind of each device."""
        return tuple(self._events[kind].values())

    def latest_identity(self, dispenser_id: str) -> DeviceIdentity | None:
        """What the dispenser last said it is."""
        return self._identities.get(dispenser_id)

    def work_orders(self, device_id: str, since: datetime) -> Sequence[WorkOrder]:
        """Signed work orders, oldest first."""
        return self.ledger.work_orders(device_id, since)


def _order(sale: Transaction) -> tuple[datetime, int]:
    return (sale.end, sale.seq)
