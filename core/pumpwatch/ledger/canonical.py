"""The canonical ledger tables: which columns a file has, how a cell is read and what a value may be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, date, datetime
from math import isfinite
from types import MappingProxyType
from typing import Any, TypeAlias

from sqlalchemy import Table

from pumpwatch.database import table_of
from pumpwatch.ledger.tables import ID_LENGTH, DispenserRow, NozzleRow, StationRow, TankRow, WorkOrderRow
from pumpwatch.model import Dispenser, Nozzle, Station, Tank, WorkOrder

Entry: TypeAlias = Station | Dispenser | Tank | Nozzle | WorkOrder
Scalar: TypeAlias = str | float | date | datetime | None
Check: TypeAlias = Callable[[Scalar], str]

OWNERSHIPS = ("state", "private")
WORK_ORDER_KINDS = ("repair", "verification", "calibration", "install", "inspection")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


# ---------------------------------------------------------------- what a value may be: the reason why not, or nothing


def _identifier(value: Scalar) -> str:
    if reason := _said(value):
        return reason
    text = str(value)
    if text != text.strip():
        return f"{text!r} begins or ends with a blank"
    if len(text) > ID_LENGTH:
        return f"is longer than {ID_LENGTH} characters"
    if "/" in text:
        return f"{text!r} holds '/', which separates the parts of a tag's path"
    if any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") for c in text):
        return f"{text!r} holds a character that cannot be seen"
    return ""


def check_text(value: object) -> str:
    """Why this may not be text that is kept, an attribute's too; empty when it may."""
    if not isinstance(value, str):
        return f"{value!r} is not text"
    if _SURROGATE.search(value):
        return "is not UTF-8 text; save the table as CSV in UTF-8"
    if found := _CONTROL.search(value):
        return f"holds the control character {found[0]!r}"
    return ""


def _said(value: Scalar) -> str:
    return check_text(value) or ("" if str(value).strip() else "is empty")


def _one_of(words: tuple[str, ...]) -> Check:
    return lambda value: "" if value in words else f"{value!r} is not one of {', '.join(words)}"


def _number(value: Scalar) -> str:
    return "" if isinstance(value, int | float) and isfinite(value) else f"{value!r} is not a number"


def _positive(value: Scalar) -> str:
    return _number(value) or ("" if isinstance(value, int | float) and value > 0 else f"{value} is not above 0")


def _between(low: float, high: float) -> Check:
    def check(value: Scalar) -> str:
        inside = isinstance(value, int | float) and low <= value <= high
        return _number(value) or ("" if inside else f"{value} is not between {low} and {high}")

    return check


def _day(value: Scalar) -> str:
    return "" if isinstance(value, date) and not isinstance(value, datetime) else f"{value!r} is not a date"


def _moment(value: Scalar) -> str:
    return (
        "" if isinstance(value, datetime) and value.tzinfo is not None else f"{value!r} is not a time with its offset"
    )


# ---------------------------------------------------------------- how a cell is read


def _read_text(cell: str) -> Scalar:
    return cell


def _read_number(cell: str) -> Scalar:
    if not _NUMBER.fullmatch(cell):
        raise ValueError(f"{cell!r} is not a number; write it as 1234.5")
    return float(cell)


def _read_day(cell: str) -> Scalar:
    # fromisoformat alone would take other ISO forms that spreadsheets do not write back alike
    if _DAY.fullmatch(cell):
        with suppress(ValueError):
            return date.fromisoformat(cell)
    raise ValueError(f"{cell!r} is not a date; write it as 2026-11-22")


def _read_moment(cell: str) -> Scalar:
    with suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(cell)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    raise ValueError(f"{cell!r} is not a time with its offset; write it as 2026-11-22T08:00:00+08:00")


# ---------------------------------------------------------------- columns and tables


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a canonical file."""

    name: str
    check: Check
    """The reason why a value may not be; empty when it may."""
    read: Callable[[str], Scalar] = _read_text
    """Turns a cell that is not empty into a value; raises ``ValueError`` with the reason."""
    required: bool = False
    field: str = ""
    """Field of the dataclass where it has another name than the column."""

    @property
    def target(self) -> str:
        """The field of the dataclass and column of the database."""
        return self.field or self.name


@dataclass(frozen=True, slots=True, eq=False)
class CanonicalTable:
    """One table of the canonical data set, its dataclass and its place in the database."""

    name: str
    entry: type[Any]
    stored: Table
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    """Fields that make two rows the same thing."""
    references: tuple[tuple[str, str], ...] = ()
    """Field → table in which the thing it names must stand."""
    defaults: Mapping[str, Scalar] = field(init=False)
    """What a field is when nothing is said; None for a field that must be said."""

    def __post_init__(self) -> None:
        defaults: dict[str, Scalar] = {
            f.name: None if f.default is MISSING else f.default for f in fields(self.entry) if f.name != "attributes"
        }
        object.__setattr__(self, "defaults", MappingProxyType(defaults))

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the columns that a file must have."""
        return tuple(c.name for c in self.columns if c.required)

    def column_of(self, target: str) -> str:
        """The name in the file of the column that fills this field."""
        return next((c.name for c in self.columns if c.target == target), target)

    def check(self, values: Mapping[str, Scalar]) -> Iterable[tuple[str, str]]:
        """Column and reason of each value that may not be. Values equal to the field's default are always right."""
        for column in self.columns:
            value = values[column.target]
            if not column.required and value == self.defaults[column.target]:
                continue
            if reason := column.check(value):
                yield column.name, reason


def _id(name: str, *, required: bool = True) -> Column:
    return Column(name, _identifier, required=required)


def _texts(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, check_text) for name in names)


def _days(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, _day, _read_day) for name in names)


STATIONS = CanonicalTable(
    "stations",
    Station,
    table_of(StationRow),
    (
        _id("station_id"),
        Column("name", _said, required=True),
        *_texts("short_name", "credit_code", "region", "town", "address"),
        Column("ownership", _one_of(OWNERSHIPS)),
        Column("latitude", _between(-90, 90), _read_number),
        Column("longitude", _between(-180, 180), _read_number),
        *_days("business_licence_expires", "retail_licence_expires", "hazmat_licence_expires"),
    ),
    key=("station_id",),
)
DISPENSERS = CanonicalTable(
    "dispensers",
    Dispenser,
    table_of(DispenserRow),
    (
        _id("dispenser_id"),
        _id("station_id"),
        *_texts("brand", "model", "serial", "mainboard_serial", "firmware_version", "firmware_digest", "tax_serial"),
        *_days("installed_on"),
    ),
    key=("dispenser_id",),
    references=(("station_id", "stations"),),
)
TANKS = CanonicalTable(
    "tanks",
    Tank,
    table_of(TankRow),
    (
        _id("tank_id"),
        _id("station_id"),
        Column("grade", _said, required=True),
        Column("capacity_l", _positive, _read_number, required=True),
        Column("diameter_mm", _positive, _read_number),
        Column("length_mm", _positive, _read_number),
        *_texts("manifold"),
    ),
    key=("tank_id",),
    references=(("station_id", "stations"),),
)
NOZZLES = CanonicalTable(
    "nozzles",
    Nozzle,
    table_of(NozzleRow),
    (
        _id("nozzle_id"),
        _id("dispenser_id"),
        _id("tank_id"),
        Column("grade", _said, required=True),
        *_texts("encoder_serial"),
        Column("pulse_l", _positive, _read_number),
        *_texts("certificate_no"),
        *_days("certificate_expires"),
        *_texts("seal_meter", "seal_encoder", "seal_mainboard"),
    ),
    key=("nozzle_id",),
    references=(("dispenser_id", "dispensers"), ("tank_id", "tanks")),
)
WORK_ORDERS = CanonicalTable(
    "work_orders",
    WorkOrder,
    table_of(WorkOrderRow),
    (
        _id("station_id"),
        _id("device_id"),
        Column("time", _moment, _read_moment, required=True, field="at"),
        Column("kind", _one_of(WORK_ORDER_KINDS), required=True),
        *_texts("signed_by_repairer", "signed_by_institute", "signed_by_station", "certificate_no"),
        Column("error_percent", _number, _read_number),
    ),
    key=("station_id", "device_id", "at", "kind"),
    references=(("station_id", "stations"),),
)
LEDGER_TABLES = (STATIONS, DISPENSERS, TANKS, NOZZLES, WORK_ORDERS)
"""In the order in which they may refer to one another."""
