"""The ledger at one moment, in memory: what detectors and faces look things up in."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from pumpwatch.model import Dispenser, Nozzle, Station, Tank, WorkOrder
from pumpwatch.past import is_signed

if TYPE_CHECKING:
    from datetime import datetime

_Thing = TypeVar("_Thing")
_DIGITS: Final = re.compile(r"([0-9]+)")


def id_order(key: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key of an id, as people count: ``N9`` before ``N10``. Ids with leading zeros sort as plain text does."""
    parts = _DIGITS.split(key)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), key


@dataclass(frozen=True, slots=True, eq=False)
class Register:
    """An unchanging snapshot; after an import the engine loads another.

    Stations, dispensers, tanks and nozzles stand in the order of their ids, work orders oldest first.
    """

    stations: tuple[Station, ...] = ()
    dispensers: tuple[Dispenser, ...] = ()
    tanks: tuple[Tank, ...] = ()
    nozzles: tuple[Nozzle, ...] = ()
    orders: tuple[WorkOrder, ...] = ()
    """All work orders, signed or not."""
    _station: Mapping[str, Station] = field(init=False, repr=False)
    _dispenser: Mapping[str, Dispenser] = field(init=False, repr=False)
    _tank: Mapping[str, Tank] = field(init=False, repr=False)
    _nozzle: Mapping[str, Nozzle] = field(init=False, repr=False)
    _dispensers_of: Mapping[str, tuple[Dispenser, ...]] = field(init=False, repr=False)
    _tanks_of: Mapping[str, tuple[Tank, ...]] = field(init=False, repr=False)
    _nozzles_of: Mapping[str, tuple[Nozzle, ...]] = field(init=False, repr=False)
    _nozzles_at: Mapping[str, tuple[Nozzle, ...]] = field(init=False, repr=False)
    _nozzles_on: Mapping[str, tuple[Nozzle, ...]] = field(init=False, repr=False)
    _nozzle_number: Mapping[str, int] = field(init=False, repr=False)
    _tank_number: Mapping[str, int] = field(init=False, repr=False)
    _orders: Mapping[str, tuple[WorkOrder, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "stations", tuple(sorted(self.stations, key=lambda s: id_order(s.station_id))))
        put(self, "dispensers", tuple(sorted(self.dispensers, key=lambda d: id_order(d.dispenser_id))))
        put(self, "tanks", tuple(sorted(self.tanks, key=lambda t: id_order(t.tank_id))))
        put(self, "nozzles", tuple(sorted(self.nozzles, key=lambda n: id_order(n.nozzle_id))))
        put(self, "orders", tuple(sorted(self.orders, key=lambda o: (o.at, o.station_id, o.device_id, o.kind))))
        put(self, "_station", {s.station_id: s for s in self.stations})
        put(self, "_dispenser", {d.dispenser_id: d for d in self.dispensers})
        put(self, "_tank", {t.tank_id: t for t in self.tanks})
        put(self, "_nozzle", {n.nozzle_id: n for n in self.nozzles})
        put(self, "_dispensers_of", _grouped(self.dispensers, lambda d: d.station_id))
        put(self, "_tanks_of", _grouped(self.tanks, lambda t: t.station_id))
        put(self, "_nozzles_of", _grouped(self.nozzles, lambda n: n.dispenser_id))
        put(self, "_nozzles_at", _grouped(self.nozzles, self._home_of))
        put(self, "_nozzles_on", _grouped(self.nozzles, lambda n: n.tank_id))
        put(self, "_nozzle_number", _numbered(self._nozzles_at, lambda n: n.nozzle_id))
        put(self, "_tank_number", _numbered(self._tanks_of, lambda t: t.tank_id))
        put(self, "_orders", _grouped(self.orders, self._subject_of))

    # ------------------------------------------------------------ one thing

    def station(self, station_id: str) -> Station | None:
        """The registered station."""
        return self._station.get(station_id)

    def dispenser(self, dispenser_id: str) -> Dispenser | None:
        """The registered dispenser."""
        return self._dispenser.get(dispenser_id)

    def tank(self, tank_id: str) -> Tank | None:
        """The registered tank."""
        return self._tank.get(tank_id)

    def nozzle(self, nozzle_id: str) -> Nozzle | None:
        """The registered nozzle."""
        return self._nozzle.get(nozzle_id)

    def station_of(self, key: str) -> Station | None:
        """The station at which a dispenser, tank or nozzle stands, or the station itself."""
        if nozzle := self._nozzle.get(key):
            key = nozzle.dispenser_id
        if thing := self._dispenser.get(key) or self._tank.get(key):
            key = thing.station_id
        return self._station.get(key)

    def nozzle_number(self, nozzle_id: str) -> int | None:
        """The number of a nozzle within its station: its place in the order of ids, from 1."""
        return self._nozzle_number.get(nozzle_id)

    def tank_number(self, tank_id: str) -> int | None:
        """The number of a tank within its station: its place in the order of ids, from 1."""
        return self._tank_number.get(tank_id)

    # ------------------------------------------------------------ things of a thing

    def dispensers_of(self, station_id: str) -> Sequence[Dispenser]:
        """Dispensers of a station, in the order of their numbers."""
        return self._dispensers_of.get(station_id, ())

    def tanks_of(self, station_id: str) -> Sequence[Tank]:
        """Tanks of a station, in the order of their numbers."""
        return self._tanks_of.get(station_id, ())

    def nozzles_of(self, dispenser_id: str) -> Sequence[Nozzle]:
        """Nozzles of a dispenser, in the order of their numbers."""
        return self._nozzles_of.get(dispenser_id, ())

    def nozzles_at(self, station_id: str) -> Sequence[Nozzle]:
        """Nozzles of a station, in the order of their numbers."""
        return self._nozzles_at.get(station_id, ())

    def nozzles_on(self, tank_id: str) -> Sequence[Nozzle]:
        """Nozzles that draw from a tank, in the order of their numbers."""
        return self._nozzles_on.get(tank_id, ())

    def work_orders(self, device_id: str, since: datetime) -> Sequence[WorkOrder]:
        """Work orders from ``since`` on that somebody signed, for a device or what it stands in, oldest first.

        For a nozzle those of its dispenser and its station too. An order without any signature explains nothing.
        """
        names = {device_id}
        if nozzle := self._nozzle.get(device_id):
            names.add(nozzle.dispenser_id)
        if station := self.station_of(device_id):
            names.add(station.station_id)
        found = [o for name in names for o in self._orders.get(name, ()) if o.at >= since and is_signed(o)]
        return sorted(found, key=lambda o: (o.at, o.device_id, o.kind))

    def _home_of(self, nozzle: Nozzle) -> str:
        dispenser = self._dispenser.get(nozzle.dispenser_id)
        return dispenser.station_id if dispenser else ""

    def _subject_of(self, order: WorkOrder) -> str:
        """The ledger's id of what an order is about; ``D1`` at ``S01`` is ``S01-D1`` if that is registered."""
        local = f"{order.station_id}-{order.device_id}"
        for name in (order.device_id, local):
            if (at := self.station_of(name)) and at.station_id == order.station_id:
                return name
        return f"{order.station_id}/{order.device_id}"


def _grouped(things: Iterable[_Thing], key: Callable[[_Thing], str]) -> dict[str, tuple[_Thing, ...]]:
    groups: dict[str, list[_Thing]] = defaultdict(list)
    for thing in things:
        groups[key(thing)].append(thing)
    return {name: tuple(group) for name, group in groups.items()}


def _numbered(groups: Mapping[str, tuple[_Thing, ...]], key: Callable[[_Thing], str]) -> dict[str, int]:
    return {key(thing): number for group in groups.values() for number, thing in enumerate(group, 1)}
