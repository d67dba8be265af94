"""Records as rows of plain values and back: the one place that knows what each type of record is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias, cast, get_args, get_type_hints

from pumpwatch.model import (
    Delivery,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    Record,
    TankReading,
    Transaction,
    from_us,
    to_us,
)

Plain: TypeAlias = str | int | float | bytes | None


class Form(StrEnum):
    """How one field of a record is written as a plain value."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    TIME = "time"
    """Microseconds since 1970 UTC."""
    BYTES = "bytes"
    """None when empty."""
    JSON = "json"
    """Sorted JSON; None when empty and the field may be left out."""
    KIND = "kind"
    """An ``EventKind``."""


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a record type."""

    name: str
    form: Form
    may_lack: bool
    """Whether the field has a default, so that a later report may fill what the first one left out."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What one type of record is made of, and what makes two of them the same record."""

    kind: type[Record]
    table: str
    key: tuple[str, ...]
    time: str
    """The field that is the record's time."""
    subject: str
    """The field that ``Store.records(key=…)`` asks for."""
    columns: tuple[Column, ...]

    @property
    def home(self) -> tuple[str, ...]:
        """What one series of records has in common: the subject, with its station where ids are of a station alone."""
        return ("station_id", self.subject) if "station_id" in self.key else (self.subject,)

    @property
    def order(self) -> tuple[str, ...]:
        """The key with home and time in front: the order in which records are kept and handed out."""
        first = (*self.home, self.time)
        return (*first, *(k for k in self.key if k not in first))

    def row(self, record: Record) -> tuple[Plain, ...]:
        """Take a record apart, in the order of ``columns``."""
        return tuple(_WRITE[c.form](getattr(record, c.name), c.may_lack) for c in self.columns)

    def record(self, row: Iterable[Plain]) -> Record:
        """Put a record together from what ``row`` gave."""
        return self.from_named(dict(zip((c.name for c in self.columns), row, strict=True)))

    def from_named(self, values: Mapping[str, Plain]) -> Record:
        """Put a record together by field names; what is missing or empty takes the field's default."""
        given: dict[str, Any] = {}
        for c in self.columns:
            value = values.get(c.name)
            if value is not None:
                given[c.name] = _READ[c.form](value)
            elif not c.may_lack:
                given[c.name] = math.nan  # SQLite keeps NaN as NULL; no other required field is ever empty
        return self.kind(**given)

    def identity(self, record: Record) -> tuple[object, ...]:
        """What makes two reports the same record."""
        plain = {c.name: c for c in self.columns}
        return tuple(_WRITE[plain[k].form](getattr(record, k), plain[k].may_lack) for k in self.key)

    def filled(self, first: Record, later: Record) -> Record:
        """The first report with what only the later one knows; what was reported first is never overwritten."""
        old, new = self.row(first), self.row(later)
        return self.record(b if a is None else a for a, b in zip(old, new, strict=True))


def _shape(kind: type[Record], table: str, key: str, time: str, subject: str) -> Shape:
    hints = get_type_hints(kind)
    columns = tuple(
        Column(f.name, _form(hints[f.name]), may_lack=f.default is not MISSING or f.default_factory is not MISSING)
        for f in fields(kind)
    )
    return Shape(kind, table, tuple(key.split()), time, subject, columns)


def _form(hint: object) -> Form:
    parts = [h for h in get_args(hint) if h is not type(None)]
    forms: dict[object, Form] = {
        str: Form.TEXT,
        int: Form.INTEGER,
        float: Form.REAL,
        datetime: Form.TIME,
        bytes: Form.BYTES,
        EventKind: Form.KIND,
    }
    return forms.get(parts[0] if len(parts) == 1 else hint, Form.JSON)


def _plain(value: Any, _may_lack: bool) -> Plain:  # noqa: ANN401 - fields of every type pass here
    return cast("Plain", value)


def _time(value: datetime | None, _may_lack: bool) -> Plain:
    return None if value is None else to_us(value)


def _json(value: Mapping[str, object], may_lack: bool) -> Plain:
    return mended_json(_sorted_json(dict(value))) if value or not may_lack else None


def _sorted_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def mended(text: str) -> str:
    """Text with question marks for lone surrogates (bytes that were no text)."""
    return text.encode(errors="replace").decode()


def mended_json(text: str) -> str:
    """The same for all texts in JSON, where they are escapes."""
    if "\\ud" not in text:
        return text
    return _sorted_json(json.loads(mended(json.dumps(json.loads(text), ensure_ascii=False))))


_WRITE: Final[Mapping[Form, Callable[[Any, bool], Plain]]] = {
    Form.TEXT: _plain,
    Form.INTEGER: _plain,
    Form.REAL: _plain,
    Form.TIME: _time,
    Form.BYTES: lambda value, _may_lack: value or None,
    Form.JSON: _json,
    Form.KIND: lambda value, _may_lack: str(value),
}
_READ: Final[Mapping[Form, Callable[[Any], object]]] = {
    Form.TEXT: str,
    Form.INTEGER: int,
    Form.REAL: lambda value: value,
    Form.TIME: from_us,
    Form.BYTES: bytes,
    Form.JSON: json.loads,
    Form.KIND: EventKind,
}

SHAPES: Final[Mapping[type[Record], Shape]] = {
    s.kind: s
    for s in (
        _shape(Transaction, "transactions", "nozzle_id seq end", "end", "nozzle_id"),
        _shape(TankReading, "tank_readings", "tank_id at", "at", "tank_id"),
        _shape(Delivery, "deliveries", "tank_id at document_no", "at", "tank_id"),
        _shape(DeviceIdentity, "device_identities", "dispenser_id at", "at", "dispenser_id"),
        # Two seals may break in one scan: what happened is part of the key.
        _shape(DeviceEvent, "device_events", "station_id device_id kind at detail", "at", "device_id"),
    )
}
"""Every type of record. One more type in the model is one more line here."""


def is_about(record: Record, station_id: str, key: str | None) -> bool:
    """Whether ``Store.records(key=…)`` means this record.

    ``key`` is a tank, nozzle, dispenser or device id; ``station/device`` names the device of one station.
    """
    if key is None:
        return True
    station, slash, device = key.partition("/")
    subject = getattr(record, SHAPES[type(record)].subject)
    return bool(subject == device and station == station_id) if slash else bool(subject == key)
