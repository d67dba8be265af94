"""The canonical ledger tables: which columns a file has, how a cell is read and what a value may be."""

from __future__ import annotations

import hashlib
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
from pumpwatch.ledger.tables import (
    ID_LENGTH,
    ChartPointRow,
    CovertTestRow,
    DeclarationRow,
    DispenserRow,
    HotlineReportRow,
    NozzleRow,
    StationRow,
    TankRow,
    WorkOrderRow,
)
from pumpwatch.model import (
    ChartPoint,
    CovertTest,
    Declaration,
    Dispenser,
    HotlineReport,
    Nozzle,
    Station,
    Tank,
    WorkOrder,
)

Entry: TypeAlias = (
    Station | Dispenser | Tank | ChartPoint | Nozzle | WorkOrder | Declaration | HotlineReport | CovertTest
)
Scalar: TypeAlias = str | float | date | datetime | None
Check: TypeAlias = Callable[[Scalar], str]

OWNERSHIPS = ("state", "private")
WORK_ORDER_KINDS = ("repair", "verification", "calibration", "install", "inspection")
CHANNELS = ("12315", "12366", "other")
FIRST_YEAR, LAST_YEAR = 1990, 2099
"""Nothing a station or an office wrote down happened outside these; a time that did has a wrong century."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


# ---------------------------------------------------------------- what a value may be: the reason why not, or nothing


def check_id(value: Scalar) -> str:
    """Why this may not be the id of anything."""
    if reason := check_said(value):
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


def check_said(value: Scalar) -> str:
    """Why this may not be text that must be given."""
    return check_text(value) or ("" if str(value).strip() else "is empty")


def one_of(words: tuple[str, ...]) -> Check:
    """A check for one of a few words."""
    return lambda value: "" if value in words else f"{value!r} is not one of {', '.join(words)}"


def check_number(value: Scalar) -> str:
    """Why this may not be a number."""
    return "" if isinstance(value, int | float) and isfinite(value) else f"{value!r} is not a number"


def check_positive(value: Scalar) -> str:
    """Why this may not be a number above 0."""
    return check_number(value) or ("" if isinstance(value, int | float) and value > 0 else f"{value} is not above 0")


def check_amount(value: Scalar) -> str:
    """Why this may not be a number from 0 on: litres, money."""
    return check_number(value) or ("" if isinstance(value, int | float) and value >= 0 else f"{value} is below 0")


def between(low: float, high: float) -> Check:
    """A check for a number within limits, the limits included."""

    def check(value: Scalar) -> str:
        inside = isinstance(value, int | float) and low <= value <= high
        return check_number(value) or ("" if inside else f"{value} is not between {low} and {high}")

    return check


def _day(value: Scalar) -> str:
    return "" if isinstance(value, date) and not isinstance(value, datetime) else f"{value!r} is not a date"


def _month(value: Scalar) -> str:
    return (
        "" if isinstance(value, str) and _MONTH.fullmatch(value) else f"{value!r} is not a month; write it as 2026-11"
    )


def check_moment(value: Scalar) -> str:
    """Why this may not be the time of anything."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        return f"{value!r} is not a time with its offset"
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        return f"the year {value.year} is not between {FIRST_YEAR} and {LAST_YEAR}"
    return ""


# ---------------------------------------------------------------- how a cell is read


def read_text(cell: str) -> Scalar:
    """The cell as it is."""
    return cell


def read_number(cell: str) -> Scalar:
    """A decimal number, written with a point."""
    if not _NUMBER.fullmatch(cell):
        raise ValueError(f"{cell!r} is not a number; write it as 1234.5")
    return float(cell)


def read_day(cell: str) -> Scalar:
    """A date, in the one form that everybody writes back alike."""
    # fromisoformat alone would take other ISO forms that spreadsheets do not write back alike
    if _DAY.fullmatch(cell):
        with suppress(ValueError):
            return date.fromisoformat(cell)
    raise ValueError(f"{cell!r} is not a date; write it as 2026-11-22")


def read_moment(cell: str) -> Scalar:
    """ISO 8601 with its offset, as aware UTC."""
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
    read: Callable[[str], Scalar] = read_text
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
    """Field → table in which the thing it names must stand, if it names one."""
    derived: Mapping[str, Callable[[Mapping[str, Scalar]], str]] = field(default_factory=dict)
    """Columns of the database that the fields make."""
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

    def identity(self, values: Mapping[str, Scalar]) -> tuple[Scalar, ...]:
        """What makes two rows the same thing."""
        return tuple(self.derived[k](values) if k in self.derived else values[k] for k in self.key)

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
    return Column(name, check_id, required=required)


def _texts(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, check_text) for name in names)


def _days(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, _day, read_day) for name in names)


STATIONS = CanonicalTable(
    "stations",
    Station,
    table_of(StationRow),
    (
        _id("station_id"),
        Column("name", check_said, required=True),
        *_texts("short_name", "credit_code", "region", "town", "address"),
        Column("ownership", one_of(OWNERSHIPS)),
        Column("latitude", between(-90, 90), read_number),
        Column("longitude", between(-180, 180), read_number),
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
        Column("grade", check_said, required=True),
        Column("capacity_l", check_positive, read_number, required=True),
        Column("diameter_mm", check_positive, read_number),
        Column("length_mm", check_positive, read_number),
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
        Column("grade", check_said, required=True),
        *_texts("encoder_serial"),
        Column("pulse_l", check_positive, read_number),
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
        Column("time", check_moment, read_moment, required=True, field="at"),
        Column("kind", one_of(WORK_ORDER_KINDS), required=True),
        *_texts("signed_by_repairer", "signed_by_institute", "signed_by_station", "certificate_no"),
        Column("error_percent", check_number, read_number),
    ),
    key=("station_id", "device_id", "at", "kind"),
    references=(("station_id", "stations"),),
)
TANK_CHARTS = CanonicalTable(
    "tank_charts",
    ChartPoint,
    table_of(ChartPointRow),
    (
        _id("tank_id"),
        Column("height_mm", check_amount, read_number, required=True),
        Column("volume_l", check_amount, read_number, required=True),
    ),
    key=("tank_id", "height_mm"),
    references=(("tank_id", "tanks"),),
)
DECLARATIONS = CanonicalTable(
    "declarations",
    Declaration,
    table_of(DeclarationRow),
    (
        _id("station_id"),
        Column("period", _month, required=True),
        _id("grade"),
        *(
            Column(name, check_amount, read_number)
            for name in ("declared_purchase_l", "declared_sale_l", "declared_revenue_cny", "tax_paid_cny")
        ),
    ),
    key=("station_id", "period", "grade"),
    references=(("station_id", "stations"),),
)


def _digest(values: Mapping[str, Scalar]) -> str:
    words = [str(values[name] or "") for name in ("nozzle_id", "channel", "text")]
    return hashlib.sha256("\x1f".join(words).encode()).hexdigest()[:32]


REPORTS = CanonicalTable(
    "reports_12315",
    HotlineReport,
    table_of(HotlineReportRow),
    (
        Column("time", check_moment, read_moment, required=True, field="at"),
        _id("station_id"),
        _id("nozzle_id", required=False),
        Column("channel", one_of(CHANNELS)),
        *_texts("text"),
    ),
    key=("station_id", "at", "digest"),
    references=(("station_id", "stations"), ("nozzle_id", "nozzles")),
    derived={"digest": _digest},
)
COVERT_TESTS = CanonicalTable(
    "covert_tests",
    CovertTest,
    table_of(CovertTestRow),
    (
        Column("time", check_moment, read_moment, required=True, field="at"),
        _id("nozzle_id"),
        Column("displayed_l", check_amount, read_number, required=True),
        Column("measured_l", check_amount, read_number, required=True),
        Column("reference_uncertainty_percent", check_amount, read_number),
    ),
    key=("nozzle_id", "at"),
    references=(("nozzle_id", "nozzles"),),
)
LEDGER_TABLES = (
    STATIONS,
    DISPENSERS,
    TANKS,
    TANK_CHARTS,
    NOZZLES,
    WORK_ORDERS,
    DECLARATIONS,
    REPORTS,
    COVERT_TESTS,
)
"""In the order in which they may refer to one another."""
