"""Reads stations' pasts out of ledger and historian, one station at a time: what reviews are put to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import numpy as np

from pumpwatch.errors import NotReachable
from pumpwatch.historian.bulk import Numbers
from pumpwatch.ledger import Ledger
from pumpwatch.ledger.threads import in_thread
from pumpwatch.model import (
    CovertTest,
    Declaration,
    Delivery,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    HotlineReport,
    Record,
    TankReading,
    Transaction,
    from_us,
    to_us,
)
from pumpwatch.past import SALE_COLUMNS, Chart, Levels, StationPast, sales_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from numpy.typing import NDArray

    from pumpwatch.historian import Historian
    from pumpwatch.historian.bulk import Lent, Touched
    from pumpwatch.historian.rows import Plain
    from pumpwatch.ledger import Register

EntryT = TypeVar("EntryT")

_WORDS: Final = ("payment", "preset_kind")
_RENAMED: Final = {"start_us": "start", "end_us": "end"}
_SALE_FIELDS: Final = tuple(_RENAMED.get(name, name) for name in SALE_COLUMNS if name != "nozzle")
_READ_TRIES: Final = 3
_RECORDS: Final = ("sales", "levels", "deliveries", "events", "identities")
"""Of a past."""
_LEVEL_FIELDS: Final = tuple({"at_us": "at"}.get(f.name, f.name) for f in fields(Levels))


class Pasts:
    """What ledger and historian know, station by station. The ledger is read once, when this is made by ``load``."""

    def __init__(self, ledger: Ledger, historian: Historian, register: Register, entries: Iterable[object]) -> None:
        self._ledger = ledger
        self._historian = historian
        self.register = register
        self._entries: dict[tuple[type, str], list[Any]] = defaultdict(list)
        for entry in entries:
            self._entries[type(entry), self._station_of(entry)].append(entry)

    @classmethod
    async def load(cls, ledger: Ledger, historian: Historian) -> Pasts:
        """Read the ledger; what the historian still holds back goes into its store."""
        await historian.flush()
        entries: list[object] = []
        for kind in (Declaration, HotlineReport, CovertTest):
            entries += await ledger.entries(kind)
        return cls(ledger, historian, await ledger.load(), entries)

    @property
    def station_ids(self) -> tuple[str, ...]:
        """All registered stations, in the order of their ids."""
        return tuple(station.station_id for station in self.register.stations)

    async def span(self) -> tuple[datetime, datetime] | None:
        """From the first record to just after the last; None when there is none."""
        register = self.register
        nozzles, tanks = [n.nozzle_id for n in register.nozzles], [t.tank_id for t in register.tanks]
        homes: dict[type[Record], list[str]] = {
            Transaction: nozzles,
            TankReading: tanks,
            Delivery: tanks,
            DeviceIdentity: [d.dispenser_id for d in register.dispensers],
            DeviceEvent: [],
        }
        times: list[int] = []
        for kind, those in homes.items():
            times += await self._historian.bounds(kind, those) or ()
        return (from_us(min(times)), from_us(max(times) + 1)) if times else None

    async def station(self, station_id: str, start: datetime, end: datetime) -> StationPast:
        """Everything known of a station, with records of start <= time < end. ``KeyError`` for an unknown station."""
        asked = await self._asked(station_id, start, end)
        ask, numbers = self._historian.of_station, self._historian.numbers_of_station
        told = [await numbers(kind, station_id, homes, names, *asked.span) for kind, homes, names in asked.in_numbers()]
        rows = [await ask(kind, station_id, homes, names, *asked.span) for kind, homes, names in asked.in_rows()]
        return await in_thread(asked.answered, told, rows)

    def lent(self) -> AbstractAsyncContextManager[Lent | None]:
        """The records for other processes to read, until this ends; None where the store cannot lend them."""
        return self._historian.lent()

    async def far(self, lent: Lent, station_id: str, start: datetime, end: datetime) -> FarPast:
        """The same for another process to read."""
        return FarPast(lent, await self._asked(station_id, start, end))

    async def _asked(self, station_id: str, start: datetime, end: datetime) -> Asked:
        register = self.register
        station = register.station(station_id)
        if station is None:
            raise KeyError(station_id)
        dispensers, tanks = tuple(register.dispensers_of(station_id)), tuple(register.tanks_of(station_id))
        nozzles = tuple(nozzle for d in dispensers for nozzle in register.nozzles_of(d.dispenser_id))
        charts = await self._ledger.charts([t.tank_id for t in tanks])
        nothing = sales_from(_sale_columns(Numbers({}, {}), ()), ())
        known = StationPast(
            station=station,
            dispensers=dispensers,
            nozzles=nozzles,
            tanks=tanks,
            start=start,
            end=end,
            sales=nothing,
            levels={},
            work_orders=tuple(o for o in register.orders if o.station_id == station_id),
            declarations=self._of(Declaration, station_id),
            reports=self._of(HotlineReport, station_id),
            covert_tests=self._of(CovertTest, station_id),
            charts={tank: Chart(*(np.array(c) for c in chart)) for tank, chart in charts.items()},
        )
        return Asked(known)

    def _station_of(self, entry: object) -> str:
        for name in ("station_id", "nozzle_id", "tank_id"):
            if key := getattr(entry, name, None):
                station = self.register.station_of(key)
                return station.station_id if station else ""
        return ""

    def _of(self, kind: type[EntryT], station_id: str) -> tuple[EntryT, ...]:
        return tuple(self._entries.get((kind, station_id), ()))


_Question: TypeAlias = tuple[type[Record], list[str], Sequence[str]]
"""A kind of record, the subjects of a station that have such, and the fields that are wanted."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the ledger says of a station, and what is to be asked of its records."""

    known: StationPast
    """Without records."""

    @property
    def span(self) -> tuple[int, int]:
        """From when until when, in microseconds."""
        return to_us(self.known.start), to_us(self.known.end)

    def in_numbers(self) -> tuple[_Question, ...]:
        """Sales and levels."""
        nozzle_ids, tank_ids = ([n.nozzle_id for n in self.known.nozzles], [t.tank_id for t in self.known.tanks])
        return (Transaction, nozzle_ids, _SALE_FIELDS), (TankReading, tank_ids, _LEVEL_FIELDS)

    def in_rows(self) -> tuple[_Question, ...]:
        """Deliveries, identities and events."""
        return (
            (Delivery, [t.tank_id for t in self.known.tanks], _names(Delivery)),
            (DeviceIdentity, [d.dispenser_id for d in self.known.dispensers], _names(DeviceIdentity)),
            (DeviceEvent, [], _names(DeviceEvent)),
        )

    def answered(
        self, numbers: Sequence[Numbers], rows: Sequence[Mapping[str, Sequence[tuple[Plain, ...]]]]
    ) -> StationPast:
        """The past, from the answers in the order of the questions."""
        (sales, levels), (drops, identities, events) = numbers, rows
        known = self.known
        nozzle_ids, tank_ids = [n.nozzle_id for n in known.nozzles], [t.tank_id for t in known.tanks]
        columns = _sale_columns(sales, nozzle_ids)
        return replace(
            known,
            sales=sales_from(columns, nozzle_ids, *(sales.words.get(name, ()) for name in _WORDS)),
            levels={tank: _levels(levels.series[tank]) for tank in tank_ids if len(levels.series.get(tank, ()))},
            deliveries=_in_time(_delivery(row) for those in drops.values() for row in those),
            events=_in_time(
                event
                for those in events.values()
                for event in map(_event, those)
                if event.station_id == known.station_id
            ),
            identities=_in_time(_identity(row) for those in identities.values() for row in those),
        )


@dataclass(frozen=True, slots=True)
class FarPast:
    """A station's past that is read where it is needed: in another process. It is pickled."""

    lent: Lent
    asked: Asked

    @property
    def registered(self) -> StationPast:
        """What the ledger says, without records."""
        return self.asked.known

    def read(self, touched: Touched | None = None) -> StationPast:
        """What ``Pasts.station`` gives, all of it as it was at one moment; blocks.

        ``touched`` are the marks of a while ago, if they were asked for. Raises ``NotReachable``, also where records of
        this span come faster than they can be read.
        """
        asked, station_id = self.asked, self.asked.known.station_id
        with self.lent.opened() as reader:
            mark = (touched or reader.touched(station_id)).between(*asked.span)
            for _ in range(_READ_TRIES):
                numbers = [
                    reader.numbers_of_station(kind, station_id, f, *asked.span) for kind, _, f in asked.in_numbers()
                ]
                rows = [reader.of_station(kind, station_id, f, *asked.span) for kind, _, f in asked.in_rows()]
                before, mark = mark, reader.touched(station_id).between(*asked.span)
                if mark == before:
                    return asked.answered(numbers, rows)
        raise NotReachable(f"{station_id}: its records change while they are read; their owner reads them himself")

    def late(self, read: Callable[[], StationPast]) -> StationPast:
        """The same past, whose records are read so when they are first looked at, if ever."""
        return _LatePast(self.asked.known, read)

    def between(self, start: datetime, end: datetime) -> FarPast:
        """The same with records of another time."""
        return FarPast(self.lent, Asked(replace(self.asked.known, start=start, end=end)))

    def touched(self) -> Touched:
        """Marks of the station's records as they are now; ask before reading. Raises ``NotReachable``."""
        with self.lent.opened() as reader:
            return reader.touched(self.asked.known.station_id)


class _LatePast(StationPast):
    """Its records are properties, which read; all else it has of its own."""

    __class__ = property(lambda _: StationPast)  # so that ``replace`` makes a plain one

    def __init__(self, registered: StationPast, read: Callable[[], StationPast]) -> None:
        kept = {f.name: getattr(registered, f.name) for f in fields(StationPast) if f.name not in _RECORDS}
        vars(self).update(kept, _read=read)  # it is frozen

    @cached_property
    def _records(self) -> StationPast:
        read: Callable[[], StationPast] = vars(self)["_read"]
        return read()


for _name in _RECORDS:
    setattr(_LatePast, _name, property(attrgetter(f"_records.{_name}")))


def _names(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


def _in_time(records: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(records, key=lambda record: record.at))


def _sale_columns(sales: Numbers, nozzle_ids: Sequence[str]) -> dict[str, NDArray[Any]]:
    known = [name for name in nozzle_ids if len(sales.series.get(name, ()))]
    rows = np.concatenate([np.empty((0, len(_SALE_FIELDS))), *(sales.series[name] for name in known)])
    codes = np.array([nozzle_ids.index(name) for name in known], np.int32)
    columns: dict[str, NDArray[Any]] = {"nozzle": np.repeat(codes, [len(sales.series[name]) for name in known])}
    for place, name in enumerate(name for name in SALE_COLUMNS if name != "nozzle"):
        kind = np.int16 if name in _WORDS else np.int64 if name == "seq" or name.endswith("_us") else np.float64
        columns[name] = np.ascontiguousarray(rows[:, place]).astype(kind)
    return columns


def _levels(rows: NDArray[np.float64]) -> Levels:
    at, *others = np.ascontiguousarray(rows.T)
    return Levels(at.astype(np.int64), *others)


def _delivery(row: tuple[Any, ...]) -> Delivery:
    named = dict(zip(_names(Delivery), row, strict=True))
    named |= {"at": from_us(named["at"]), "end": None if named["end"] is None else from_us(named["end"])}
    named |= {"document_no": named["document_no"] or None, "attributes": json.loads(named["attributes"] or "{}")}
    return Delivery(**named)


def _identity(row: tuple[Any, ...]) -> DeviceIdentity:
    named = dict(zip(_names(DeviceIdentity), row, strict=True))
    named |= {"at": from_us(named["at"]), "encoder_serials": json.loads(named["encoder_serials"] or "{}")}
    return DeviceIdentity(**named)


def _event(row: tuple[Any, ...]) -> DeviceEvent:
    named = dict(zip(_names(DeviceEvent), row, strict=True))
    named |= {"at": from_us(named["at"]), "kind": EventKind(named["kind"])}
    named |= {name: json.loads(named[name] or "{}") for name in ("detail", "attributes")}
    return DeviceEvent(**named)
