"""Records as points and back: the one place that knows which field of which record is a tag, and what makes it itself.

A point's time is the record's in nanoseconds; the last three digits tell apart records of one place and microsecond.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, TypeAlias, get_args, get_type_hints

from pumpwatch import (
    Delivery,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    Record,
    Refused,
    TankReading,
    Transaction,
    from_us,
    to_us,
)
from pumpwatch_influx.line_protocol import quoted, told, unnamed

Plain: TypeAlias = str | int | float
Row: TypeAlias = dict[str, Plain]
"""What a record holds by the names of its fields, as plain values; what is empty is not there."""

ARRIVED: Final = "arrived"
"""When the first report reached pumpwatch, microseconds since 1970; every point has it."""
_INFINITE: Final = ":infinite"
_MOST: Final = 2**63


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a record: how it is made plain, written and read."""

    name: str
    tag: str | None
    """Its tag's key; None for what is a field of the point."""
    plain: Callable[[Any], Plain | None]
    record: Callable[[Any], object]
    may_lack: bool


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of record: its measurement, and what makes two reports the same record."""

    kind: type[Record]
    name: str
    policy: str
    """Where it is kept: the second half of the bucket's name."""
    time: str
    key: tuple[str, ...]
    """Fields, beside the time, in which two reports of one record are equal."""
    home: tuple[str, ...]
    """Tags of one series of records: whose they are."""
    columns: tuple[Column, ...]

    def row(self, record: Record) -> Row:
        """Take a record apart; its time is not among the fields."""
        row: Row = {}
        for column in self.columns:
            value = column.plain(getattr(record, column.name))
            if value is not None and not (value == "" and column.may_lack and column.name in self.key):
                row[column.name] = value
        return row

    def tags(self, row: Row, station: str) -> dict[str, str]:
        """The tags of a row's point; ``station`` where the record does not name its own."""
        return {"station": station} | {c.tag: str(row[c.name]) for c in self.columns if c.tag}

    def identity(self, row: Row) -> tuple[Plain, ...]:
        """What tells records of one home and time apart."""
        return tuple(row.get(name, "") for name in self.key)

    def written(self, row: Row) -> dict[str, str]:
        """A row's fields as they stand in a line, without those that are tags."""
        fields: dict[str, str] = {}
        for column in self.columns:
            value = row.get(column.name)
            if value is None or column.tag:
                continue
            if isinstance(value, str):
                fields[column.name] = quoted(value)
            elif isinstance(value, int):
                fields[column.name] = f"{value}i"
            elif math.isinf(value):
                fields[column.name + _INFINITE] = "1i" if value > 0 else "-1i"
            else:
                fields[column.name] = repr(value)
        return fields

    def read(self, point: Mapping[str, Any]) -> Row:
        """The row that a point was made of, from its fields and tags."""
        row: Row = {}
        for column in self.columns:
            value = point.get(column.tag or column.name)
            if value is None and (sign := point.get(column.name + _INFINITE)) is not None:
                value = math.inf * sign
            if column.tag:
                row[column.name] = unnamed(str(value or "%"))
            elif value is not None:
                row[column.name] = told(value) if isinstance(value, str) else value
        return row

    def record(self, row: Row, at_us: int) -> Record:
        """Put a record together."""
        given: dict[str, Any] = {self.time: from_us(at_us)}
        for column in self.columns:
            value = row.get(column.name)
            if value is not None:
                given[column.name] = column.record(value)
            elif not column.may_lack:
                given[column.name] = math.nan  # no other required field is ever empty
        return self.kind(**given)

    def digest(self, row: Row) -> str:
        """Of all that a report says."""
        return blake2b(json.dumps(row, sort_keys=True).encode(), digest_size=8).hexdigest()


def _table(
    kind: type[Record], name: str, policy: str, *, time: str = "at", key: str = "", tags: str, home: str
) -> Table:
    hints = get_type_hints(kind)
    tagged = dict(one.split("=") for one in tags.split())
    columns = tuple(
        Column(
            f.name,
            tagged.get(f.name),
            *_codec(hints[f.name]),
            may_lack=f.default is not MISSING or f.default_factory is not MISSING,
        )
        for f in fields(kind)
        if f.name != time
    )
    return Table(kind, name, policy, time, tuple(key.split()), tuple(home.split()), columns)


def _codec(hint: object) -> tuple[Callable[[Any], Plain | None], Callable[[Any], object]]:
    given = [h for h in get_args(hint) if h is not type(None)]
    codecs: dict[object, tuple[Callable[[Any], Plain | None], Callable[[Any], object]]] = {
        str: (lambda text: text, str),
        int: (_whole, int),
        float: (_real, float),
        datetime: (lambda at: None if at is None else to_us(at), from_us),
        bytes: (lambda raw: b64encode(raw).decode() if raw else None, b64decode),
        EventKind: (str, EventKind),
    }
    return codecs.get(given[0] if len(given) == 1 else hint, (_json, json.loads))


def _whole(value: int | None) -> int | None:
    if value is not None and not -_MOST <= value < _MOST:
        raise Refused(f"{value} has more than 64 bits")
    return value


def _real(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _json(value: Mapping[str, object]) -> str | None:
    return json.dumps(dict(value), sort_keys=True, separators=(",", ":")) if value else None


TABLES: Final[Mapping[type[Record], Table]] = {
    t.kind: t
    for t in (
        _table(Transaction, "transaction", "records", time="end", key="seq", tags="nozzle_id=nozzle", home="nozzle"),
        _table(TankReading, "tank_reading", "readings", tags="tank_id=tank", home="tank"),
        _table(Delivery, "delivery", "records", key="document_no", tags="tank_id=tank", home="tank"),
        _table(
            DeviceIdentity,
            "device_identity",
            "records",
            tags="station_id=station dispenser_id=dispenser",
            home="dispenser",
        ),
        _table(
            DeviceEvent,
            "device_event",
            "records",
            key="kind detail",
            tags="station_id=station device_id=device kind=kind",
            home="station device",
        ),
    )
}
"""Every kind of record; events last, for a filling that is reported otherwise leaves one."""
