"""Reads stations' pasts out of ledger and historian, one station at a time: what reviews are put to."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

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
    TankReading,
    Transaction,
    from_us,
    to_us,
)
from pumpwatch.past import SALE_COLUMNS, Chart, Levels, StationPast, sales_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from pumpwatch.historian import Historian
    from pumpwatch.historian.bulk import Numbers
    from pumpwatch.historian.rows import Plain
    from pumpwatch.ledger import Register
    from pumpwatch.model import Record

EntryT = TypeVar("EntryT")

_WORDS: Final = ("payment", "preset_kind")
_RENAMED: Final = {"start_us": "start", "end_us": "end"}
_SALE_FIELDS: Final = tuple(_RENAMED.get(name, name) for name in SALE_COLUMNS if name != "nozzle")
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
        register = self.register
        station = register.station(station_id)
        if station is None:
            raise KeyError(station_id)
        dispensers, tanks = tuple(register.dispensers_of(station_id)), tuple(register.tanks_of(station_id))
        nozzles = tuple(nozzle for d in dispensers for nozzle in register.nozzles_of(d.dispenser_id))
        nozzle_ids, tank_ids = [n.nozzle_id for n in nozzles], [t.tank_id for t in tanks]

        async def rows(
            kind: type[Record], homes: Sequence[str], names: Sequence[str]
        ) -> Mapping[str, Sequence[tuple[Plain, ...]]]:
            return await self._historian.of_station(kind, station_id, homes, names, to_us(start), to_us(end))

        charts = await self._ledger.charts(tank_ids)

        span = to_us(start), to_us(end)
        sales = await self._historian.numbers_of_station(Transaction, station_id, nozzle_ids, _SALE_FIELDS, *span)
        levels = await self._historian.numbers_of_station(TankReading, station_id, tank_ids, _LEVEL_FIELDS, *span)
        drops = await rows(Delivery, tank_ids, _names(Delivery))
        identities = await rows(DeviceIdentity, [d.dispenser_id for d in dispensers], _names(DeviceIdentity))
        events = await rows(DeviceEvent, (), _names(DeviceEvent))

        def make() -> StationPast:
            columns = _sale_columns(sales, nozzle_ids)
            return StationPast(
                station=station,
                dispensers=dispensers,
                nozzles=nozzles,
                tanks=tanks,
                start=start,
                end=end,
                sales=sales_from(columns, nozzle_ids, *(sales.words.get(name, ()) for name in _WORDS)),
                levels={tank: _levels(levels.series[tank]) for tank in tank_ids if len(levels.series.get(tank, ()))},
                deliveries=_in_time(_delivery(row) for those in drops.values() for row in those),
                events=_in_time(
                    event for those in events.values() for event in map(_event, those) if event.station_id == station_id
                ),
                identities=_in_time(_identity(row) for those in identities.values() for row in those),
                work_orders=tuple(o for o in register.orders if o.station_id == station_id),
                declarations=self._of(Declaration, station_id),
                reports=self._of(HotlineReport, station_id),
                covert_tests=self._of(CovertTest, station_id),
                charts={tank: Chart(*(np.array(c) for c in chart)) for tank, chart in charts.items()},
            )

        return await in_thread(make)

    def _station_of(self, entry: object) -> str:
        for name in ("station_id", "nozzle_id", "tank_id"):
            if key := getattr(entry, name, None):
                station = self.register.station_of(key)
                return station.station_id if station else ""
        return ""

    def _of(self, kind: type[EntryT], station_id: str) -> tuple[EntryT, ...]:
        return tuple(self._entries.get((kind, station_id), ()))


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
