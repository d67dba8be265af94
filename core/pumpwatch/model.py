"""The words of the field as types: tags and samples, fillings and tanks, and findings; floor 1, no input or output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import IntEnum, StrEnum
from sys import intern
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from pumpwatch.finding import (
    Curve,
    Department,
    Estimate,
    Evidence,
    Explanation,
    Figure,
    Finding,
    Severity,
    Subject,
    Text,
    finding_id,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Batch",
    "ChannelHeard",
    "ChannelSale",
    "ChartPoint",
    "CovertTest",
    "Curve",
    "Declaration",
    "Delivery",
    "Department",
    "DeviceEvent",
    "DeviceIdentity",
    "Dispenser",
    "Estimate",
    "EventKind",
    "Evidence",
    "Explanation",
    "Figure",
    "Finding",
    "HotlineReport",
    "Nozzle",
    "NozzleState",
    "Quality",
    "Reading",
    "Record",
    "SaleChannel",
    "SalePart",
    "Sample",
    "SampleBatch",
    "ScanClass",
    "Severity",
    "Station",
    "Subject",
    "Tag",
    "TagKind",
    "Tank",
    "TankReading",
    "Text",
    "Transaction",
    "Value",
    "WorkOrder",
    "finding_id",
    "from_us",
    "to_us",
]

Value: TypeAlias = float | int | str | None

# ---------------------------------------------------------------- tags and samples


class TagKind(StrEnum):
    """What a tag is, which decides how long it is kept and how it is drawn."""

    MEASUREMENT = "measurement"
    COUNTER = "counter"
    STATE = "state"
    IDENTITY = "identity"


class ScanClass(StrEnum):
    """How often a tag is read; the periods stand in the settings."""

    FAST = "fast"
    NORMAL = "normal"
    SLOW = "slow"


class Quality(IntEnum):
    """OPC UA severity in the two high bits (good 0x00, uncertain 0x40, bad 0x80), the reason in the low ones."""

    GOOD = 0x00
    BACKFILLED = 0x01
    SIMULATED = 0x02
    UNCERTAIN = 0x40
    STALE = 0x41
    SUBSTITUTED = 0x42
    BAD = 0x80
    NOT_CONNECTED = 0x81
    OUT_OF_RANGE = 0x82
    BAD_REPLY = 0x83
    REFUSED = 0x84

    @property
    def is_good(self) -> bool:
        """Whether the value may be used without a word of warning."""
        return self < 0x40

    @property
    def is_bad(self) -> bool:
        """Whether the value may not be used."""
        return self >= 0x80


@dataclass(frozen=True, slots=True)
class Tag:
    """One point of one device; its full path is ``station/device/name``."""

    name: str
    unit: str = ""
    scan: ScanClass = ScanClass.NORMAL
    kind: TagKind = TagKind.MEASUREMENT
    description: str = ""


class Sample(NamedTuple):
    """One value of one tag at the source's time. What plugin authors return; acquisition packs it into columns.

    A named tuple because drivers make thousands a second: a frozen dataclass costs three times as much.
    """

    tag: str
    """Name within the device, for example ``nozzle-2.volume``."""
    value: Value
    at: datetime
    """Aware UTC, the time at the source."""
    quality: Quality = Quality.GOOD


@dataclass(frozen=True, slots=True, eq=False)
class SampleBatch:
    """Samples of one station as columns of equal length n; what moves from acquisition onwards."""

    station: str
    paths: tuple[str, ...]
    """n full paths ``station/device/tag``."""
    at_us: NDArray[np.int64]
    """(n,) microseconds since 1970 UTC, the source's time."""
    values: NDArray[np.float64]
    """(n,) numbers; NaN where the value is absent or text."""
    texts: tuple[str | None, ...]
    """n texts, None for numbers; or empty when the batch holds numbers only."""
    qualities: NDArray[np.uint8]
    """(n,) ``Quality`` codes."""

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def pack(cls, station: str, device: str, samples: Sequence[Sample]) -> SampleBatch:
        """Turn a device's samples into columns. Equal paths are one string in memory."""
        prefix = f"{station}/{device}/"
        has_text = any(isinstance(s.value, str) for s in samples)
        return cls(
            station=station,
            paths=tuple(intern(prefix + s.tag) for s in samples),
            at_us=np.fromiter((to_us(s.at) for s in samples), np.int64, len(samples)),
            values=np.fromiter(
                (float(s.value) if isinstance(s.value, int | float) else np.nan for s in samples),
                np.float64,
                len(samples),
            ),
            texts=tuple(s.value if isinstance(s.value, str) else None for s in samples) if has_text else (),
            qualities=np.fromiter((int(s.quality) for s in samples), np.uint8, len(samples)),
        )


# ---------------------------------------------------------------- what is in the ledger


@dataclass(frozen=True, slots=True)
class Station:
    """A filling station as registered (canonical table ``stations``)."""

    station_id: str
    name: str
    short_name: str = ""
    ownership: str = "private"
    """``state`` or ``private``."""
    region: str = ""
    town: str = ""
    address: str = ""
    credit_code: str = ""
    latitude: float | None = None
    longitude: float | None = None
    business_licence_expires: date | None = None
    retail_licence_expires: date | None = None
    hazmat_licence_expires: date | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Unknown columns of the import, for example ``name_en``, ``short_name_en``, ``town_en``."""


@dataclass(frozen=True, slots=True)
class Dispenser:
    """A dispenser with its registered factory identity; None where nothing is registered."""

    dispenser_id: str
    station_id: str
    brand: str | None = None
    model: str | None = None
    serial: str | None = None
    mainboard_serial: str | None = None
    firmware_version: str | None = None
    firmware_digest: str | None = None
    tax_serial: str | None = None
    installed_on: date | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tank:
    """An underground tank."""

    tank_id: str
    station_id: str
    grade: str
    """``92#``, ``95#``, ``98#`` or ``0#``."""
    capacity_l: float
    diameter_mm: float | None = None
    length_mm: float | None = None
    manifold: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Nozzle:
    """A nozzle, the thing that is verified and sealed."""

    nozzle_id: str
    dispenser_id: str
    tank_id: str
    grade: str
    encoder_serial: str | None = None
    pulse_l: float | None = None
    """Certified litres a pulse."""
    certificate_no: str | None = None
    certificate_expires: date | None = None
    seal_meter: str | None = None
    seal_encoder: str | None = None
    seal_mainboard: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """A signed intervention; explains a change that would otherwise be an alarm."""

    station_id: str
    device_id: str
    at: datetime
    kind: str
    """``repair``, ``verification``, ``calibration``, ``install`` or ``inspection``."""
    signed_by_repairer: str | None = None
    signed_by_institute: str | None = None
    signed_by_station: str | None = None
    certificate_no: str | None = None
    error_percent: float | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """One line of a tank's strapping chart, as the gauge has it (canonical table ``tank_charts``)."""

    tank_id: str
    height_mm: float
    volume_l: float
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a station told the tax office of one month and grade. Litres, CNY."""

    station_id: str
    period: str
    """``YYYY-MM``."""
    grade: str
    declared_purchase_l: float | None = None
    declared_sale_l: float | None = None
    declared_revenue_cny: float | None = None
    tax_paid_cny: float | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HotlineReport:
    """A citizen's report to a hotline (canonical table ``reports_12315``); two with the same words are one."""

    station_id: str
    at: datetime
    nozzle_id: str | None = None
    channel: str | None = None
    """``12315``, ``12366`` or ``other``."""
    text: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CovertTest:
    """A purchase by an inspector who did not say so, measured afterwards. Litres."""

    nozzle_id: str
    at: datetime
    displayed_l: float
    measured_l: float
    reference_uncertainty_percent: float | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


# ---------------------------------------------------------------- what devices report


class NozzleState(IntEnum):
    """State of one nozzle as the tag ``nozzle-N.state`` carries it."""

    IDLE = 0
    LIFTED = 1
    FUELLING = 2
    STOPPED = 3
    LOCKED = 4


@dataclass(frozen=True, slots=True)
class Transaction:
    """One filling. Idempotent on (nozzle_id, seq, end).

    Three independent volumes where the site has them: displayed by the dispenser (``volume_l``), counted at the encoder
    (``encoder_l``, ``encoder_pulses``), recorded by tax control (``tax_l``). Litres, CNY.
    """

    nozzle_id: str
    seq: int
    start: datetime
    end: datetime
    volume_l: float
    amount_cny: float
    unit_price: float
    totalizer_l: float | None = None
    """Volume totalizer after the filling."""
    totalizer_cny: float | None = None
    encoder_l: float | None = None
    encoder_pulses: int | None = None
    tax_l: float | None = None
    tax_cny: float | None = None
    payment: str | None = None
    preset_kind: str | None = None
    preset_value: float | None = None
    raw: bytes = b""
    """The record as the device sent it, kept for evidence."""
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Unknown columns of the import."""

    @property
    def at(self) -> datetime:
        """The record's time: its end."""
        return self.end

    @property
    def key(self) -> tuple[str, int, datetime]:
        """What makes two reports the same filling."""
        return (self.nozzle_id, self.seq, self.end)


@dataclass(frozen=True, slots=True)
class TankReading:
    """One inventory reading of a tank gauge. Litres, mm, °C, kg/m³."""

    tank_id: str
    at: datetime
    height_mm: float
    volume_l: float | None = None
    volume_20c_l: float | None = None
    water_mm: float | None = None
    temperature_c: float | None = None
    density_kg_m3: float | None = None
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Fuel put into a tank, as the gauge saw it (``received_l``) or as the papers say (``declared_l``)."""

    tank_id: str
    at: datetime
    received_l: float | None = None
    declared_l: float | None = None
    end: datetime | None = None
    document_no: str | None = None
    declared_20c_l: float | None = None
    """As declared, at 20 °C."""
    supplier: str | None = None
    truck: str | None = None
    quality_report_no: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a dispenser says it is; compared with the ledger. None where the device does not tell."""

    station_id: str
    dispenser_id: str
    at: datetime
    serial: str | None = None
    mainboard_serial: str | None = None
    firmware_version: str | None = None
    firmware_digest: str | None = None
    tax_serial: str | None = None
    encoder_serials: Mapping[str, str] = field(default_factory=dict)
    """nozzle_id → encoder serial."""


class EventKind(StrEnum):
    """Kinds of ``DeviceEvent`` (canonical table ``device_events``)."""

    IDENTITY = "identity"
    SEAL = "seal"
    POWER = "power"
    LINK = "link"
    COVER = "cover"
    LOCK = "lock"
    CLOCK = "clock"
    PRICE = "price"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """Something happened to a device; ``detail`` is plain JSON. For ``link``: ``{"up": bool, "reason": str}``."""

    at: datetime
    station_id: str
    device_id: str
    kind: EventKind
    detail: Mapping[str, str | float | int | bool | None] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)


Record: TypeAlias = Transaction | TankReading | Delivery | DeviceIdentity | DeviceEvent

SaleChannel: TypeAlias = Literal["tax", "encoder"]
"""Who else measures a filling, beside the dispenser's display."""


@dataclass(frozen=True, slots=True)
class ChannelSale:
    """One filling as one channel alone knows it; acquisition joins it with the ``Transaction`` of the pump's driver.

    Litres, CNY; None where the channel does not tell. A driver that returns these names the channel in its
    ``sale_channels``.
    """

    nozzle_id: str
    at: datetime
    """Its end by the channel's own clock, right or wrong, as aware UTC."""
    channel: SaleChannel
    volume_l: float | None = None
    amount_cny: float | None = None
    unit_price: float | None = None
    pulses: int | None = None
    at_resolution_s: float = 0.0
    """The end lies in ``at`` <= end < ``at`` + this: 60 for a clock that tells minutes."""
    seen_after: datetime | None = None
    """Core's time of the last look at the channel that did not show this filling yet; None: not known."""
    total_l: float | None = None
    """The channel's own running total after it: fillings of one channel are in its order."""
    several: bool = False
    """Perhaps more than one filling: what a total grew by while nobody looked."""
    raw: bytes = b""
    """As the device sent it, kept for evidence."""


@dataclass(frozen=True, slots=True)
class ChannelHeard:
    """A channel's word that it has told every filling of a nozzle that it recorded between two times, by core's time.

    Without it a filling that the channel does not tell is never sure to be missing there.
    """

    nozzle_id: str
    channel: SaleChannel
    since: datetime
    until: datetime


SalePart: TypeAlias = ChannelSale | ChannelHeard
"""What a driver may return beside records, and nobody keeps as such."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a driver returns from one read."""

    samples: Sequence[Sample] = ()
    records: Sequence[Record | SalePart] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What acquisition publishes in the hub: one station's samples and records that arrived together."""

    station: str
    samples: SampleBatch
    records: tuple[Record, ...]
    arrived: datetime


# ---------------------------------------------------------------- time


def to_us(at: datetime) -> int:
    """Microseconds since 1970 UTC, exactly; ``at`` must be aware."""
    if at.tzinfo is None:
        raise ValueError(f"a time without zone: {at!r}; use aware UTC datetimes")
    delta = at - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_us(us: int) -> datetime:
    """The aware UTC time of ``us`` microseconds since 1970, exactly."""
    seconds, micro = divmod(int(us), 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micro)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
