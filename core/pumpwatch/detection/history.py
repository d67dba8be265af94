"""What detectors may ask while the server runs: the recent past in memory, in front of the ledger."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from pumpwatch.model import DeviceEvent, DeviceIdentity, EventKind, Transaction
from pumpwatch.past import filled, resubmission, told_together

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from pumpwatch.model import Dispenser, Nozzle, Record, Station, Tank, WorkOrder

TRANSACTIONS_KEPT = 200
"""Fillings remembered a nozzle: two to three busy days."""


EVENTS_KEPT = 500
"""Events remembered a station and kind."""


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
        self._orders: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
        """End and sequence number of each of these: what they are found by."""
        self._latest: dict[EventKind, dict[str, DeviceEvent]] = defaultdict(dict)
        self._events: dict[tuple[str, EventKind], list[DeviceEvent]] = defaultdict(list)
        self._identities: dict[str, DeviceIdentity] = {}

    def take(self, records: Iterable[Record]) -> list[Record]:
        """Remember records, in any order, each once.

        Returns what is to be judged: the records, an event instead of a filling that was reported before and
        otherwise, a filling with all that is known when a later report fills what the first left out, and nothing for
        one that was told before.
        """
        judged: list[Record] = []
        for record in records:
            if isinstance(record, Transaction):
                taken = self._take_sale(record)
                if isinstance(taken, DeviceEvent):
                    self._take_event(taken)
                if taken is not None:
                    judged.append(taken)
                continue
            judged.append(record)
            if isinstance(record, DeviceEvent):
                self._take_event(record)
            elif isinstance(record, DeviceIdentity):
                seen = self._identities.get(record.dispenser_id, record)
                pair = (seen, record) if seen.at <= record.at else (record, seen)
                self._identities[record.dispenser_id] = told_together(*pair)
        return judged

    def _take_sale(self, sale: Transaction) -> Record | None:
        sales, orders = self._sales[sale.nozzle_id], self._orders[sale.nozzle_id]
        order = (sale.end, sale.seq)
        place = _place(orders, order)
        if place < len(sales) and orders[place] == order:
            event = resubmission(sales[place], sale, self._station_of(sale.nozzle_id))
            whole = filled(sales[place], sale)
            if whole is sales[place]:
                return event
            sales[place] = whole
            return whole if event is None else event
        sales.insert(place, sale)
        orders.insert(place, order)
        if len(sales) > TRANSACTIONS_KEPT:
            del sales[0], orders[0]
        return sale

    def _take_event(self, event: DeviceEvent) -> None:
        known = self._latest[event.kind].get(f"{event.station_id}/{event.device_id}")
        if known is None or known.at <= event.at:
            self._latest[event.kind][f"{event.station_id}/{event.device_id}"] = event
        events = self._events[event.station_id, event.kind]
        if event not in events[-EVENTS_KEPT:]:
            insort(events, event, key=lambda e: e.at)
            del events[:-EVENTS_KEPT]

    def _station_of(self, nozzle_id: str) -> str:
        nozzle = self.nozzle(nozzle_id)
        dispenser = self.dispenser(nozzle.dispenser_id) if nozzle else None
        return dispenser.station_id if dispenser else nozzle_id.rpartition("-")[0] or nozzle_id

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

    def before(self, sale: Transaction, limit: int) -> Sequence[Transaction]:
        """The fillings of the same nozzle before ``sale``, oldest first."""
        place = _place(self._orders.get(sale.nozzle_id, ()), (sale.end, sale.seq))
        return self._sales[sale.nozzle_id][max(0, place - limit) : place] if place else ()

    def known(self, sale: Transaction) -> Transaction:
        """All that is known of a filling by now; itself when it is not remembered any more."""
        orders, order = self._orders.get(sale.nozzle_id, ()), (sale.end, sale.seq)
        place = _place(orders, order)
        return self._sales[sale.nozzle_id][place] if place < len(orders) and orders[place] == order else sale

    def after(self, sale: Transaction, limit: int) -> Sequence[Transaction]:
        """The fillings of the same nozzle after ``sale``, oldest first: those it makes worth another look."""
        orders, order = self._orders.get(sale.nozzle_id, ()), (sale.end, sale.seq)
        place = _place(orders, order)
        place += place < len(orders) and orders[place] == order
        return self._sales[sale.nozzle_id][place : place + limit] if place < len(orders) else ()

    def events(self, station_id: str, kind: EventKind, since: datetime, until: datetime) -> Sequence[DeviceEvent]:
        """The events of a station with since <= time < until, oldest first."""
        return [e for e in self._events.get((station_id, kind), ()) if since <= e.at < until]

    def latest_events(self, kind: EventKind) -> Sequence[DeviceEvent]:
        """The latest event of this kind of each device."""
        return tuple(self._latest[kind].values())

    def latest_identity(self, dispenser_id: str) -> DeviceIdentity | None:
        """What the dispenser last said it is, by all devices that tell of it."""
        return self._identities.get(dispenser_id)

    def work_orders(self, device_id: str, since: datetime) -> Sequence[WorkOrder]:
        """Signed work orders, oldest first."""
        return self.ledger.work_orders(device_id, since)


def _place(orders: Sequence[tuple[datetime, int]], order: tuple[datetime, int]) -> int:
    """Where this stands or would; most often it is the last."""
    if not orders or orders[-1] < order:
        return len(orders)
    return len(orders) - 1 if orders[-1] == order else bisect_left(orders, order)
