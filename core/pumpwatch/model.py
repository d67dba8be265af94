"""The words of the field as types: tags and samples, fillings and tanks, and findings; floor 1, no input or output."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import IntEnum, StrEnum
from itertools import chain
from sys import intern
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, overload

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
    "SampleColumns",
    "ScanClass",
    "Severity",
    "Station",
    "Subject",
    "Summaries",
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
    """What a tag is, which decides how it is drawn."""

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


class SampleColumns(Sequence[Sample]):
    """Samples that a device gave at one moment, as columns of equal length n; to be used like the list of them.

    For drivers that read many numbers at once: acquisition compares and packs the columns as they are, and a ``Sample``
    is made only for who asks for one.
    """

    __slots__ = ("at", "exact", "qualities", "tags", "values")

    def __init__(
        self,
        tags: tuple[str, ...],
        values: NDArray[np.float64],
        qualities: NDArray[np.uint8],
        at: datetime,
        exact: Mapping[int, Value] | None = None,
    ) -> None:
        self.tags = tags
        """n names within the device, each once; the same tuple at each read is quickest."""
        self.values = values
        """(n,) numbers; NaN where the value is absent or text."""
        self.qualities = qualities
        """(n,) ``Quality`` codes."""
        self.at = at
        """Of all of them: aware UTC, the time at the source."""
        self.exact = exact or {}
        """By place, what is no float: texts, and whole numbers that are to stay whole."""

    def __len__(self) -> int:
        return len(self.tags)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> list[Sample]: ...
    def __getitem__(self, place: int | slice) -> Sample | list[Sample]:
        if isinstance(place, slice):
            return [self._sample(i) for i in range(*place.indices(len(self)))]
        return self._sample(range(len(self))[place])

    def _sample(self, place: int) -> Sample:
        value: Value = self.exact[place] if place in self.exact else float(self.values[place])
        if isinstance(value, float) and math.isnan(value):
            value = None
        return Sample(self.tags[place], value, self.at, Quality(self.qualities[place]))

    def only(self, tags: Collection[str]) -> list[Sample]:
        """The samples of these tags."""
        return [self._sample(i) for i, tag in enumerate(self.tags) if tag in tags]

    def doubted(self, doubts: Mapping[str, Quality]) -> SampleColumns:
        """The same with other qualities for the tags named."""
        qualities = self.qualities.copy()
        for place, tag in enumerate(self.tags):
            if tag in doubts:
                qualities[place] = doubts[tag]
        return SampleColumns(self.tags, self.values, qualities, self.at, self.exact)


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

    @classmethod
    def joined(cls, station: str, parts: Sequence[SampleBatch]) -> SampleBatch:
        """All rows of ``parts`` in their order."""
        texted = any(p.texts for p in parts)
        return cls(
            station,
            tuple(chain.from_iterable(p.paths for p in parts)),
            np.concatenate([np.empty(0, np.int64), *(p.at_us for p in parts)]),
            np.concatenate([np.empty(0, np.float64), *(p.values for p in parts)]),
            tuple(chain.from_iterable(p.texts or (None,) * len(p) for p in parts)) if texted else (),
            np.concatenate([np.empty(0, np.uint8), *(p.qualities for p in parts)]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Summaries:
    """One tag over equal stretches of time, called buckets, as columns of equal length n, oldest first.

    Buckets without a sample are left out. A sample is good here when its value is a finite number and its quality not
    BAD; what is uncertain counts. ``low``, ``high``, ``mean`` and ``last`` are of the good samples and NaN in a bucket
    that has none. The mean is that of the samples, each of the same weight however long it stood.
    """

    path: str
    start_us: NDArray[np.int64]
    """(n,) where each bucket begins, microseconds since 1970 UTC."""
    count: NDArray[np.int64]
    """(n,) samples of any kind: 1 or more."""
    good: NDArray[np.int64]
    """(n,) good samples."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    last: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start_us)

    @classmethod
    def of(cls, path: str, samples: SampleBatch, origin_us: int, width_us: int) -> Summaries:
        """Samples of one tag, by time and each once, in buckets that begin every ``width_us`` from ``origin_us``."""
        good = np.isfinite(samples.values) & (samples.qualities < Quality.BAD)
        values = np.where(good, samples.values, np.nan)
        one = np.ones(len(samples), np.int64)
        each = cls(path, samples.at_us, one, good.astype(np.int64), values, values, values, values)
        return cls.joined(path, (each,), origin_us, width_us)

    @classmethod
    def joined(cls, path: str, parts: Sequence[Summaries], origin_us: int, width_us: int) -> Summaries:
        """Parts in the order of time, none of which shares a sample with another, as buckets as wide or wider.

        A part's bucket goes whole to where it begins.
        """
        start, count, good = (
            np.concatenate([np.empty(0, np.int64), *columns])
            for columns in ([p.start_us for p in parts], [p.count for p in parts], [p.good for p in parts])
        )
        low, high, mean, last = (
            np.concatenate([np.empty(0, np.float64), *columns])
            for columns in (
                [p.low for p in parts],
                [p.high for p in parts],
                [p.mean for p in parts],
                [p.last for p in parts],
            )
        )
        if not len(start):
            return cls(path, start, count, good, low, high, mean, last)
        bucket = (start - origin_us) // width_us
        is_first = np.append(True, bucket[1:] != bucket[:-1])
        first = np.flatnonzero(is_first)
        goods = np.add.reduceat(good, first)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            sums = np.bincount(np.cumsum(is_first) - 1, np.where(good > 0, mean * good, 0.0))
            means = np.where(goods > 0, sums / goods, np.nan)
        newest = np.maximum.reduceat(np.where(good > 0, np.arange(len(start)), -1), first)
        return cls(
            path,
            bucket[first] * width_us + origin_us,
            np.add.reduceat(count, first),
            goods,
            np.fmin.reduceat(low, first),
            np.fmax.reduceat(high, first),
            means,
            np.where(newest >= 0, last[newest], np.nan),
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
    """A list, or ``SampleColumns`` from a driver that reads many numbers at once."""
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
