"""The ledger organ: reads, writes and imports what is registered."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Select, String, collate, select

from pumpwatch.errors import BadConfig
from pumpwatch.ledger.canonical import (
    DISPENSERS,
    LEDGER_TABLES,
    NOZZLES,
    STATIONS,
    TANK_CHARTS,
    TANKS,
    WORK_ORDERS,
    CanonicalTable,
    check_text,
)
from pumpwatch.ledger.importing import import_folder
from pumpwatch.ledger.register import Register
from pumpwatch.ledger.upserts import Fate, Incoming, write_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from pumpwatch.database import Database
    from pumpwatch.ledger.canonical import Entry
    from pumpwatch.ledger.importing import ImportProgress, ImportReport
    from pumpwatch.model import Dispenser, Nozzle, Station, Tank, WorkOrder

EntryT = TypeVar("EntryT")

_AT_ONCE = 500
"""Rows in one statement."""


class Ledger:
    """What is registered, on disk. Whoever looks things up often takes a ``Register`` by ``load``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Register:
        """A snapshot of everything, as it was at one moment."""
        async with self._database.reading() as connection:
            return Register(
                stations=await _entries(connection, STATIONS),
                dispensers=await _entries(connection, DISPENSERS),
                tanks=await _entries(connection, TANKS),
                nozzles=await _entries(connection, NOZZLES),
                orders=await _entries(connection, WORK_ORDERS),
            )

    async def stations(self) -> tuple[Station, ...]:
        """All stations, in the order of their ids."""
        async with self._database.reading() as connection:
            return Register(stations=await _entries(connection, STATIONS)).stations

    async def dispensers(self) -> tuple[Dispenser, ...]:
        """All dispensers, in the order of their ids."""
        async with self._database.reading() as connection:
            return Register(dispensers=await _entries(connection, DISPENSERS)).dispensers

    async def tanks(self) -> tuple[Tank, ...]:
        """All tanks, in the order of their ids."""
        async with self._database.reading() as connection:
            return Register(tanks=await _entries(connection, TANKS)).tanks

    async def nozzles(self) -> tuple[Nozzle, ...]:
        """All nozzles, in the order of their ids."""
        async with self._database.reading() as connection:
            return Register(nozzles=await _entries(connection, NOZZLES)).nozzles

    async def work_orders(
        self, *, station_id: str | None = None, device_id: str | None = None, since: datetime | None = None
    ) -> tuple[WorkOrder, ...]:
        """Work orders, signed or not, oldest first; ``since`` is the earliest time wanted."""
        columns = WORK_ORDERS.stored.c
        statement = select(WORK_ORDERS.stored)
        if station_id is not None:
            statement = statement.where(columns.station_id == station_id)
        if device_id is not None:
            statement = statement.where(columns.device_id == device_id)
        if since is not None:
            statement = statement.where(columns.at >= since)
        async with self._database.reading() as connection:
            return Register(orders=await _entries(connection, WORK_ORDERS, statement)).orders

    async def entries(self, kind: type[EntryT]) -> tuple[EntryT, ...]:
        """All entries of one kind, in the order of their keys."""
        table = next(t for t in LEDGER_TABLES if t.entry is kind)
        async with self._database.reading() as connection:
            return await _entries(connection, table, _in_order(connection, table))

    async def charts(self, tank_ids: Sequence[str]) -> Mapping[str, tuple[Sequence[float], Sequence[float]]]:
        """Heights and volumes of these tanks' strapping charts, rising; a tank without a chart is not there."""
        columns = TANK_CHARTS.stored.c
        wanted = select(columns.tank_id, columns.height_mm, columns.volume_l).where(columns.tank_id.in_(tank_ids))
        found: dict[str, tuple[list[float], list[float]]] = {}
        async with self._database.reading() as connection:
            for tank, height, volume in await connection.execute(wanted.order_by(columns.tank_id, columns.height_mm)):
                heights, volumes = found.setdefault(tank, ([], []))
                heights.append(height)
                volumes.append(volume)
        return found

    async def pages(
        self, table: CanonicalTable, start: datetime | None = None, end: datetime | None = None
    ) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """A table's rows in the order of its key, some at a time; with start <= time < end where it has a time."""
        async with self._database.reading() as connection:
            statement = _in_order(connection, table)
            at = table.stored.c.get("at")
            if at is not None and start is not None:
                statement = statement.where(at >= start)
            if at is not None and end is not None:
                statement = statement.where(at < end)
            found = await connection.stream(statement)
            async for rows in found.mappings().partitions(_AT_ONCE):
                yield rows

    async def put(self, entries: Iterable[Entry]) -> Mapping[Fate, int]:
        """Write entries whole, all or none; an entry with a known id replaces it. Returns how many of each fate.

        Raises ``BadConfig`` for the first value that may not be and for a name of something that is nowhere.
        """
        wanted: dict[str, list[Entry]] = {table.name: [] for table in LEDGER_TABLES}
        for entry in entries:
            wanted[_table_for(entry).name].append(entry)
        fates: Counter[Fate] = Counter()
        async with self._database.writing() as connection:
            for table in LEDGER_TABLES:
                rows = [(entry, _incoming(table, entry)) for entry in wanted[table.name]]
                for start in range(0, len(rows), _AT_ONCE):
                    some = rows[start : start + _AT_ONCE]
                    outcomes = await write_rows(connection, table, [row for _, row in some])
                    for (entry, row), outcome in zip(some, outcomes, strict=True):
                        if outcome.fate is Fate.REJECTED:
                            raise BadConfig(f"{_title(table, row.values, entry)}: {outcome.column}: {outcome.reason}")
                        fates[outcome.fate] += 1
        return fates

    async def import_folder(
        self,
        folder: Path,
        *,
        rejects: Path | None = None,
        progress: Callable[[ImportProgress], None] | None = None,
    ) -> ImportReport:
        """Import the ledger's tables of a canonical data set; see ``ledger.importing``."""
        return await import_folder(self._database, folder, rejects=rejects, progress=progress)


def _in_order(connection: AsyncConnection, table: CanonicalTable) -> Select[Any]:
    """Keys as their characters' numbers order them, whatever the language of the database."""
    keys = [table.stored.c[name] for name in table.key]
    is_postgresql = connection.dialect.name == "postgresql"
    ordered = [collate(k, "C") if is_postgresql and isinstance(k.type, String) else k for k in keys]
    return select(table.stored).order_by(*ordered)


async def _entries(
    connection: AsyncConnection, table: CanonicalTable, statement: Select[Any] | None = None
) -> tuple[Any, ...]:
    found = await connection.execute(select(table.stored) if statement is None else statement)
    return tuple(
        table.entry(**{name: value for name, value in row.items() if name not in table.derived})
        for row in found.mappings()
    )


def _table_for(entry: Entry) -> CanonicalTable:
    for table in LEDGER_TABLES:
        if isinstance(entry, table.entry):
            return table
    raise TypeError(f"{entry!r} is no entry of the ledger")


def _incoming(table: CanonicalTable, entry: Entry) -> Incoming:
    values = {name: getattr(entry, name) for name in table.defaults}
    for column, reason in table.check(values):
        raise BadConfig(f"{_title(table, values, entry)}: {column}: {reason}")
    for name, value in entry.attributes.items():
        if reason := check_text(name) or check_text(value):
            raise BadConfig(f"{_title(table, values, entry)}: attribute {name!r}: {reason}")
    return Incoming(values, dict(entry.attributes), whole=True)


def _title(table: CanonicalTable, values: Mapping[str, Any], entry: Entry) -> str:
    return f"{type(entry).__name__} {' '.join(str(values[name]) for name in table.key if name in values)}"
