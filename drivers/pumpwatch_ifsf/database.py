"""The data bases of a dispenser and of a tank gauge: which data mean which tags; bytes in, samples out.

Source: IFSF part 3-01 (dispenser) and part 3-03 (tank level gauge).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pumpwatch import BadReply, NozzleState, Quality, Sample, ScanClass, Tag, TagKind
from pumpwatch_ifsf.values import amount, bcd, binary, day, digest, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from pumpwatch import Value

CALCULATOR = b"\x01"
NUMBER_OF_POINTS = 5
"""Data id of the calculator that every dispenser has."""
POLYNOMIAL, SEED = 80, 81
"""Data ids of the calculator: of the security checksum."""
FIRST_POINT, FIRST_LOGICAL, FIRST_METER, FIRST_PROBE, ALL_PROBES = 0x21, 0x11, 0x81, 0x21, 0x20
STATE, NOZZLES_UP, SEQUENCE, IN_USE = 20, 21, 29, 37
"""Data ids of a fuelling point."""
PROBE_STATUS, PROBE_ALARMS, READING_DATE, READING_TIME = 0x20, 0x21, 0x46, 0x47
"""Data ids of a probe."""
IN_OPERATION = 2
"""Status of a probe whose data may be used."""
BUSY = frozenset({5, 6, 7, 8, 9})
"""States of a fuelling point whose current transaction is not in the buffer yet."""
FLOWING = frozenset({8, 9})
"""States in which a filling has begun to flow."""
AUTHORISED = 5
_STATES = {
    1: NozzleState.LOCKED,
    2: NozzleState.IDLE,
    3: NozzleState.IDLE,
    4: NozzleState.LIFTED,
    AUTHORISED: NozzleState.LIFTED,
    6: NozzleState.LIFTED,
    7: NozzleState.LIFTED,
    8: NozzleState.FUELLING,
    9: NozzleState.STOPPED,
}
"""Inoperative, closed, idle, calling, authorised, started, suspended before the flow, fuelling, suspended."""


@dataclass(frozen=True, slots=True)
class Datum:
    """One data id and the tag it becomes."""

    id: int
    name: str
    read: Callable[[bytes], Value]
    unit: str = ""
    kind: TagKind = TagKind.MEASUREMENT
    description: str = ""

    def sample(self, prefix: str, told: Mapping[int, bytes], at: datetime) -> Sample:
        """What is told of it: BAD when there is nothing, BAD_REPLY when it makes no sense."""
        name, data = prefix + self.name, told.get(self.id, b"")
        if not data:
            return Sample(name, None, at, Quality.BAD)
        try:
            return Sample(name, self.read(data), at)
        except BadReply:
            return Sample(name, None, at, Quality.BAD_REPLY)


@dataclass(frozen=True, slots=True)
class Group:
    """Data that are read together from one data base."""

    address: bytes
    prefix: str
    """Of the tags: ``nozzle-2.``"""
    data: Sequence[Datum]
    scan: ScanClass
    also: tuple[int, ...] = ()
    """Data ids that are read with them and are no tags."""

    @property
    def tags(self) -> list[Tag]:
        """Its tags."""
        return [Tag(self.prefix + d.name, d.unit, self.scan, d.kind, d.description) for d in self.data]

    @property
    def ids(self) -> tuple[int, ...]:
        """What to ask for."""
        return tuple(dict.fromkeys((*(datum.id for datum in self.data), *self.also)))

    def samples(self, told: Mapping[int, bytes], at: datetime) -> list[Sample]:
        """What is told."""
        return [datum.sample(self.prefix, told, at) for datum in self.data]

    def bad(self, quality: Quality, at: datetime) -> list[Sample]:
        """What is told when nothing is."""
        return [Sample(self.prefix + datum.name, None, at, quality) for datum in self.data]


def number(data: bytes) -> Value:
    """A binary number as a tag's value."""
    return binary(data)


def level(data: bytes) -> Value:
    """A level of 0.001 mm."""
    return bcd(data) / 1000.0


_STATE_TAG = Datum(STATE, "state", number, "", TagKind.STATE, "0 idle, 1 lifted, 2 fuelling, 3 stopped, 4 locked")
_SEQUENCE_TAG = Datum(SEQUENCE, "sequence", bcd, "", TagKind.COUNTER, "Number of the last filling, 1 to 9999")
_DISPLAY = (
    Datum(35, "volume", amount, "L", TagKind.MEASUREMENT, "On the display"),
    Datum(34, "amount", amount, "CNY", TagKind.MEASUREMENT, "On the display"),
    Datum(36, "price", amount, "CNY/L", TagKind.STATE, "Unit price"),
)
_TOTALS = (
    Datum(20, "totalizer", amount, "L", TagKind.COUNTER, "Volume totalizer of the logical nozzle"),
    Datum(21, "totalizer_amount", amount, "CNY", TagKind.COUNTER, "Money totalizer of the logical nozzle"),
)
_METER = (
    Datum(20, "meter_total", amount, "L", TagKind.COUNTER, "Totalizer of the meter"),
    Datum(2, "pulse_factor", number, "", TagKind.IDENTITY, "Pulse-volume factor of the meter, as it stands there"),
    Datum(3, "calibration_factor", number, "", TagKind.IDENTITY, "Calibration factor of the meter, as it stands there"),
)
_IDENTITY = (
    Datum(53, "identity.serial", text, "", TagKind.IDENTITY, "Serial number of the calculator"),
    Datum(54, "identity.firmware_version", text, "", TagKind.IDENTITY, "Version of the application software"),
    Datum(55, "identity.wm_software_version", text, "", TagKind.IDENTITY, "Version of the W&M software"),
    Datum(56, "identity.wm_software_date", day, "", TagKind.IDENTITY, "Date of the W&M software"),
    Datum(57, "identity.wm_security_type", number, "", TagKind.IDENTITY, "W&M security type"),
    Datum(59, "identity.software_changed", day, "", TagKind.IDENTITY, "Day on which the software was changed last"),
    Datum(60, "identity.software_changed_by", text, "", TagKind.IDENTITY, "Number of the person who changed it"),
    Datum(61, "identity.software_checksum", digest, "", TagKind.IDENTITY, "Checksum of the software"),
    Datum(26, "identity.pulser_tolerance", number, "", TagKind.IDENTITY, "Pulser errors that are let pass"),
)
_TANK = (
    Datum(0x41, "volume", amount, "L", TagKind.MEASUREMENT, "Volume"),
    Datum(0x42, "volume_20c", amount, "L", TagKind.MEASUREMENT, "Volume at the gauge's reference temperature"),
    Datum(0x40, "height", level, "mm", TagKind.MEASUREMENT, "Height of the fuel"),
    Datum(0x44, "water", level, "mm", TagKind.MEASUREMENT, "Height of the water"),
    Datum(0x43, "temperature", amount, "°C", TagKind.MEASUREMENT, "Temperature of the fuel"),
    Datum(0x45, "density", number, "kg/m³", TagKind.MEASUREMENT, "Density of the fuel"),
    Datum(PROBE_STATUS, "status", number, "", TagKind.STATE, "Status of the probe; 2 is in operation"),
    Datum(PROBE_ALARMS, "alarms", number, "", TagKind.STATE, "Alarm bits of the probe; 0 is none"),
)


def calculator() -> Group:
    """Who a dispenser is."""
    return Group(CALCULATOR, "", _IDENTITY, ScanClass.SLOW, (POLYNOMIAL, SEED))


def point(number_: int) -> bytes:
    """Address of a fuelling point, from 1."""
    return bytes((FIRST_POINT - 1 + number_,))


def totals(point_: int, logical: int, nozzle: int) -> Group:
    """The totalizers of one of our nozzles."""
    address = point(point_) + bytes((FIRST_LOGICAL - 1 + logical,))
    return Group(address, f"nozzle-{nozzle}.", _TOTALS, ScanClass.NORMAL)


def meter(nozzle: int) -> Group:
    """The meter of one of our nozzles."""
    return Group(bytes((FIRST_METER - 1 + nozzle,)), f"nozzle-{nozzle}.", _METER, ScanClass.SLOW)


def probe(tank: int) -> Group:
    """A tank."""
    address = bytes((FIRST_PROBE - 1 + tank,))
    return Group(address, f"tank-{tank}.", _TANK, ScanClass.NORMAL, (READING_DATE, READING_TIME))


@dataclass(frozen=True, slots=True)
class FuellingPoint:
    """A fuelling point and which of our nozzles hang on it; they share its display and its numbers."""

    number: int
    """From 1."""
    nozzles: Mapping[int, int]
    """Logical nozzle, from 1 → our number."""

    ids = (STATE, NOZZLES_UP, SEQUENCE, IN_USE, *(datum.id for datum in _DISPLAY))

    @property
    def address(self) -> bytes:
        """Of its data base."""
        return point(self.number)

    @property
    def tags(self) -> list[Tag]:
        """Of all its nozzles."""
        data = (_STATE_TAG, *_DISPLAY, _SEQUENCE_TAG)
        return [
            Tag(f"nozzle-{nozzle}.{d.name}", d.unit, ScanClass.FAST, d.kind, d.description)
            for nozzle in self.nozzles.values()
            for d in data
        ]

    def samples(self, told: Mapping[int, bytes], at: datetime) -> list[Sample]:
        """What is told; the display is that of the nozzle in use."""
        samples: list[Sample] = []
        in_use = self.owner(told.get(IN_USE) or told.get(NOZZLES_UP) or b"\0")
        state = _STATES.get(binary(told.get(STATE, b"")))
        if state is NozzleState.LIFTED and binary(told[STATE]) == AUTHORISED and not any(told.get(NOZZLES_UP, b"\1")):
            state = NozzleState.IDLE
        for nozzle in self.nozzles.values():
            prefix = f"nozzle-{nozzle}."
            if state is None:
                quality = Quality.BAD_REPLY if told.get(STATE) else Quality.BAD
                samples.append(Sample(prefix + "state", None, at, quality))
            else:
                own = state if nozzle == in_use or state is NozzleState.LOCKED else NozzleState.IDLE
                samples.append(Sample(prefix + "state", int(own), at))
            samples.append(_SEQUENCE_TAG.sample(prefix, told, at))
            if nozzle == in_use:
                samples += [datum.sample(prefix, told, at) for datum in _DISPLAY]
        return samples

    def owner(self, mask: bytes) -> int | None:
        """Our number of the nozzle that a bit mask of logical nozzles means; of an only one whatever it says."""
        if len(self.nozzles) == 1:
            return next(iter(self.nozzles.values()))
        bits = binary(mask)
        return self.nozzles.get(bits.bit_length()) if bits and bits & (bits - 1) == 0 else None

    def bad(self, quality: Quality, at: datetime) -> list[Sample]:
        """What is told when nothing is."""
        return [Sample(tag.name, None, at, quality) for tag in self.tags]


def sequence(told: Mapping[int, bytes]) -> int | None:
    """The number of the point's current or last transaction; None when there is none."""
    try:
        return bcd(told.get(SEQUENCE, b"") or b"\0") or None
    except BadReply:
        return None
