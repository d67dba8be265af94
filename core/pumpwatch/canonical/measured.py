"""The tables of what devices and trucks brought: fillings, tank readings, deliveries, events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Final, TypeAlias

from pumpwatch.historian import SHAPES, Plain, Shape
from pumpwatch.ledger import LEDGER_TABLES
from pumpwatch.ledger.canonical import check_id, check_moment, check_text, read_moment, read_number
from pumpwatch.model import Delivery, DeviceEvent, EventKind, Record, TankReading, Transaction, to_us

Read: TypeAlias = Callable[[str], Plain]

TEXT_LIMIT: Final = 4_000
"""Characters a text of a record may have."""
WHOLE_LIMIT: Final = 2**53
"""Whole numbers beyond are not exact in every format."""
KINDS: Final = tuple(kind.value for kind in EventKind)


@dataclass(frozen=True, slots=True)
class MeasuredColumn:
    """One column of a measured table, and what its cells become in the store."""

    name: str
    field: str
    form: str
    """``id``, ``time``, ``number``, ``whole``, ``text`` or ``kind`` or ``detail``."""
    required: bool = False
    low: float = -inf
    high: float = inf
    """Limits of a number, included."""

    def read(self, cell: str) -> Plain:
        """The plain value of a cell that is not empty. Raises ``ValueError`` with the reason why it may not be."""
        return _READ[self.form](self, cell)


@dataclass(frozen=True, slots=True)
class MeasuredTable:
    """One table whose rows are records of the historian."""

    name: str
    kind: type[Record]
    columns: tuple[MeasuredColumn, ...]
    refers: str
    """The column that places a row at a station: a nozzle's, tank's or station's id."""

    @property
    def shape(self) -> Shape:
        """How the historian keeps these records."""
        return SHAPES[self.kind]

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the columns that a file must have."""
        return tuple(c.name for c in self.columns if c.required)

    def column_of(self, field: str) -> str:
        """The name in the file of the column that fills a field."""
        return next((c.name for c in self.columns if c.field == field), field)

    def read(
        self, cells: Mapping[str, str], homes: Mapping[str, str]
    ) -> tuple[dict[str, Plain], list[tuple[str, str]]]:
        """Plain values by field from one row's cells, and column and reason of everything wrong with it."""
        values: dict[str, Plain] = {}
        wrong: list[tuple[str, str]] = []
        for column in self.columns:
            cell = cells.get(column.name, "")
            if len(cell) > TEXT_LIMIT:
                wrong.append((column.name, f"is longer than {TEXT_LIMIT} characters"))
            elif reason := check_text(cell):
                wrong.append((column.name, reason))
            elif not cell:
                if column.required:
                    wrong.append((column.name, "is empty"))
            else:
                try:
                    values[column.field] = column.read(cell)
                except ValueError as error:
                    wrong.append((column.name, str(error)))
        place = values.get(self.refers)
        if place is not None and place not in homes:
            wrong.append((self.refers, f"{cells[self.refers]} does not stand in the ledger; add it there first"))
        start, end = values.get("start"), values.get("end")
        if isinstance(start, int) and isinstance(end, int) and start > end:
            wrong.append(("end", "lies before start"))
        return values, wrong


# ---------------------------------------------------------------- how a cell is read


def _id(_: MeasuredColumn, cell: str) -> Plain:
    if reason := check_id(cell):
        raise ValueError(reason)
    return cell


def _text(_: MeasuredColumn, cell: str) -> Plain:
    return cell


def _time(_: MeasuredColumn, cell: str) -> Plain:
    at: Any = read_moment(cell)
    if reason := check_moment(at):
        raise ValueError(reason)
    return to_us(at)


def _number(column: MeasuredColumn, cell: str) -> Plain:
    value = read_number(cell)
    if not isinstance(value, float) or not isfinite(value):
        raise ValueError(f"{cell!r} is not a number")
    if not column.low <= value <= column.high:
        raise ValueError(_beyond(column, value))
    return value


def _whole(column: MeasuredColumn, cell: str) -> Plain:
    value = _number(column, cell)
    if not isinstance(value, float) or not value.is_integer():
        raise ValueError(f"{cell!r} is not a whole number")
    if abs(value) > WHOLE_LIMIT:
        raise ValueError(f"{cell!r} is too large")
    return int(value)


def _kind(_: MeasuredColumn, cell: str) -> Plain:
    if cell not in KINDS:
        raise ValueError(f"{cell!r} is not one of {', '.join(KINDS)}")
    return cell


def _detail(_: MeasuredColumn, cell: str) -> Plain:
    """Sorted JSON as the historian keeps it; empty for an empty object."""
    try:
        found = json.loads(cell, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(v, str | int | float | None) for v in found.values()):
        raise ValueError('is not a JSON object of plain values; write it as {"up": false}')
    for word in (*found, *(v for v in found.values() if isinstance(v, str))):
        if reason := check_text(word):
            raise ValueError(reason)
    if any(isinstance(v, float) and not isfinite(v) for v in found.values()):
        raise ValueError("holds a number that is none")
    return as_json(found)


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _beyond(column: MeasuredColumn, value: float) -> str:
    if column.low == 0 and value < 0:
        return f"{value} is below 0"
    return f"{value} is not between {column.low:g} and {column.high:g}"


def as_json(values: Mapping[str, object]) -> str:
    """JSON as the historian keeps it; empty for nothing."""
    return json.dumps(dict(values), sort_keys=True, separators=(",", ":")) if values else ""


_READ: Final[Mapping[str, Callable[[MeasuredColumn, str], Plain]]] = {
    "id": _id,
    "text": _text,
    "time": _time,
    "number": _number,
    "whole": _whole,
    "kind": _kind,
    "detail": _detail,
}


# ---------------------------------------------------------------- the tables


def _amounts(*names: str, required: bool = False) -> tuple[MeasuredColumn, ...]:
    return tuple(MeasuredColumn(name, name, "number", required, 0.0) for name in names)


def _texts(*names: str) -> tuple[MeasuredColumn, ...]:
    return tuple(MeasuredColumn(name, name, "text") for name in names)


TRANSACTIONS: Final = MeasuredTable(
    "transactions",
    Transaction,
    (
        MeasuredColumn("nozzle_id", "nozzle_id", "id", required=True),
        MeasuredColumn("seq", "seq", "whole", required=True, low=0),
        MeasuredColumn("start", "start", "time", required=True),
        MeasuredColumn("end", "end", "time", required=True),
        *_amounts("volume_l", "amount_cny", "unit_price", required=True),
        *_amounts("totalizer_l", "totalizer_cny", "encoder_l"),
        MeasuredColumn("encoder_pulses", "encoder_pulses", "whole", low=0),
        *_amounts("tax_l", "tax_cny"),
        *_texts("payment", "preset_kind"),
        *_amounts("preset_value"),
    ),
    refers="nozzle_id",
)
TANK_READINGS: Final = MeasuredTable(
    "tank_readings",
    TankReading,
    (
        MeasuredColumn("tank_id", "tank_id", "id", required=True),
        MeasuredColumn("time", "at", "time", required=True),
        *_amounts("height_mm", required=True),
        *_amounts("volume_l", "volume_20c_l", "water_mm"),
        MeasuredColumn("temperature_c", "temperature_c", "number", low=-100, high=200),
        *_amounts("density_kg_m3"),
    ),
    refers="tank_id",
)
DELIVERIES: Final = MeasuredTable(
    "deliveries",
    Delivery,
    (
        MeasuredColumn("tank_id", "tank_id", "id", required=True),
        MeasuredColumn("time", "at", "time", required=True),
        *_amounts("declared_l", required=True),
        *_texts("document_no"),
        *_amounts("declared_20c_l"),
        *_texts("supplier", "truck", "quality_report_no"),
    ),
    refers="tank_id",
)
DEVICE_EVENTS: Final = MeasuredTable(
    "device_events",
    DeviceEvent,
    (
        MeasuredColumn("time", "at", "time", required=True),
        MeasuredColumn("station_id", "station_id", "id", required=True),
        MeasuredColumn("device_id", "device_id", "id", required=True),
        MeasuredColumn("kind", "kind", "kind", required=True),
        MeasuredColumn("detail", "detail", "detail"),
    ),
    refers="station_id",
)
MEASURED_TABLES: Final = (TRANSACTIONS, TANK_READINGS, DELIVERIES, DEVICE_EVENTS)
TABLES: Final = (*(table.name for table in LEDGER_TABLES), *(table.name for table in MEASURED_TABLES))
"""Every table of the data set, in the order of import."""
