"""What a controller brings, as records and samples: fillings, tanks, deliveries, alerts and the present; sans-I/O.

Source: Technotrade, PTS-2 technical guide, revision R11, pages 106 to 113, and the samples of ``UploadStatus`` in it.
Each function raises ``BadReply`` for a packet that cannot be kept.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pumpwatch import (
    BadReply,
    Delivery,
    DeviceEvent,
    EventKind,
    NozzleState,
    Quality,
    Reading,
    Sample,
    TankReading,
    Transaction,
    to_us,
)
from pumpwatch_ptsjson.envelope import row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from pumpwatch import Site
    from pumpwatch_ptsjson.envelope import Fields, Packet

TANK_FIELDS = (
    ("volume", "L", "ProductVolume", "Volume"),
    ("volume_20c", "L", "ProductTCVolume", "Volume at the controller's reference temperature"),
    ("ullage", "L", "ProductUllage", "Room left"),
    ("height", "mm", "ProductHeight", "Height of the fuel"),
    ("water", "mm", "WaterHeight", "Height of the water"),
    ("temperature", "°C", "Temperature", "Temperature of the fuel"),
    ("water_volume", "L", "WaterVolume", "Volume of the water"),
    ("density", "kg/m³", "ProductDensity", "Density of the fuel"),
)
"""Tag, unit, field of ``UploadTankMeasurement`` and meaning."""
MEASUREMENT_ORDER = (
    "height",
    "water",
    "temperature",
    "volume",
    "water_volume",
    "ullage",
    "volume_20c",
    "density",
)
"""What follows the tank's number in a measurement of ``UploadStatus``."""
KEPT = {
    "Transaction": "transaction",
    "TCVolume": "tc_volume_l",
    "Tag": "tag",
    "UserId": "user_id",
    "IsOffline": "offline",
}
"""Fields of ``UploadPumpTransaction`` that become attributes of the filling."""
_LAST_TRANSACTION = 65_535
LARGEST_SALE_L = 1e5
"""No filling is so large."""
AHEAD = timedelta(days=1)
"""A record may be so far ahead of our clock."""


@dataclass(frozen=True, slots=True)
class Forecourt:
    """Which of the controller's numbers stand for what, and how far its clock is ahead of UTC."""

    site: Site
    nozzles: Mapping[tuple[int, int], int]
    """(pump, nozzle) of the controller → our number of the nozzle, from 1."""
    offset: timedelta
    numbers_nozzles: bool
    """Whether the numbers of transactions run by one for each nozzle."""

    def nozzle(self, pump: int, nozzle: int) -> int:
        """Our number of a nozzle."""
        number = self.nozzles.get((pump, nozzle))
        if number is None:
            raise BadReply(f"Nozzle: nozzle {nozzle} of pump {pump} is not in the server's configuration (places)")
        return number

    def time(self, fields: Fields, name: str, now: datetime) -> datetime:
        """When something happened, as UTC. Raises ``BadReply`` for what is not yet."""
        at = fields.time(name, self.offset)
        if at - now > AHEAD:
            raise BadReply(f"{name}: {at:%Y-%m-%d %H:%M} UTC is to come; set the controller's clock, or clock_offset_h")
        return at

    def tank_id(self, tank: int) -> str:
        """The id of a tank."""
        if not 1 <= tank <= len(self.site.tank_ids):
            raise BadReply(f"Tank: tank {tank} is not in the server's configuration (tanks)")
        return self.site.tank_ids[tank - 1]


def transaction(packet: Packet, forecourt: Forecourt, now: datetime) -> Reading:
    """``UploadPumpTransaction``: a filling."""
    fields = packet.fields
    number = forecourt.nozzle(fields.whole("Pump", 1, 255), fields.whole("Nozzle", 1, 255))
    end = forecourt.time(fields, "DateTime", now)
    start = forecourt.time(fields, "DateTimeStart", now) if "DateTimeStart" in fields else end
    if start > end:
        raise BadReply("DateTimeStart is after DateTime")
    given = fields.whole("Transaction", 0, _LAST_TRANSACTION)
    sale = Transaction(
        nozzle_id=forecourt.site.nozzle_ids[number - 1],
        seq=given if forecourt.numbers_nozzles else to_us(end) // 1_000_000,
        start=start,
        end=end,
        volume_l=fields.needed("Volume", least=0, most=LARGEST_SALE_L),
        amount_cny=fields.needed("Amount", least=0),
        unit_price=fields.needed("Price", least=0),
        totalizer_l=fields.number("TotalVolume", least=0),
        totalizer_cny=fields.number("TotalAmount", least=0),
        raw=_as_sent(packet),
        attributes=_told(fields, KEPT),
    )
    name = f"nozzle-{number}"
    samples = [Sample(f"{name}.sequence", given, end)]
    if sale.totalizer_l is not None:
        samples.append(Sample(f"{name}.totalizer", sale.totalizer_l, end))
    if sale.totalizer_cny is not None:
        samples.append(Sample(f"{name}.totalizer_amount", sale.totalizer_cny, end))
    return Reading(samples, [sale])


def tank_measurement(packet: Packet, forecourt: Forecourt, now: datetime) -> Reading:
    """``UploadTankMeasurement``: what a probe sees; without a height there is no reading."""
    fields = packet.fields
    tank = fields.whole("Tank", 1, 255)
    tank_id = forecourt.tank_id(tank)
    at = forecourt.time(fields, "DateTime", now)
    values = {name: fields.number(field) for name, _, field, _ in TANK_FIELDS}
    alarms = sorted(str(each)[:64] for each in fields.items("Alarms") if isinstance(each, str | int))
    said = "".join(char for char in ",".join(alarms) if char.isprintable())
    samples = [*_tank_samples(tank, values, at), Sample(f"tank-{tank}.alarms", said or "none", at)]
    height = values["height"]
    if height is None:
        return Reading(samples)
    reading = TankReading(
        tank_id,
        at,
        float(height),
        volume_l=values["volume"],
        volume_20c_l=values["volume_20c"],
        water_mm=values["water"],
        temperature_c=values["temperature"],
        density_kg_m3=values["density"],
    )
    return Reading(samples, [reading])


def delivery(packet: Packet, forecourt: Forecourt, now: datetime) -> Reading:
    """``UploadInTankDelivery``: what came into a tank, after less before."""
    fields = packet.fields
    tank_id = forecourt.tank_id(fields.whole("Tank", 1, 255))
    before, after = fields.inner("StartValues"), fields.inner("EndValues")
    if before is None or after is None:
        raise BadReply("StartValues or EndValues is missing")
    start, end = (forecourt.time(values, "DateTime", now) for values in (before, after))
    if start > end:
        raise BadReply("StartValues.DateTime is after EndValues.DateTime")
    low, high = before.number("ProductVolume"), after.number("ProductVolume")
    received = None if low is None or high is None else round(high - low, 6)
    absolute = fields.inner("AbsoluteValues")
    told = _told(absolute, {"PumpsDispensedVolume": "pumps_dispensed_l"}) if absolute else {}
    return Reading((), [Delivery(tank_id, start, received_l=received, end=end, attributes=told)])


def alert(packet: Packet, forecourt: Forecourt, now: datetime) -> Reading:
    """``UploadAlertRecord``: something the controller complains of."""
    fields = packet.fields
    at = forecourt.time(fields, "DateTime", now)
    code = fields.text("Code")
    if code is None:
        raise BadReply("Code is missing")
    detail: dict[str, str | float | int | bool | None] = {"code": f"pts {code}"}
    detail |= _told(fields, {"DeviceType": "device_type", "DeviceNumber": "device_number", "State": "state"})
    detail |= _told(fields, {"Description": "description"})
    site = forecourt.site
    return Reading((), [DeviceEvent(at, site.station_id, site.device_id, EventKind.ALARM, detail)])


def status(packet: Packet, forecourt: Forecourt, now: datetime) -> Reading:
    """``UploadStatus``: the nozzles, tanks and the controller at this moment."""
    fields = packet.fields
    at = fields.time("DateTime", forecourt.offset)
    samples = [Sample("clock_difference", round((at - now).total_seconds()), now)]
    battery, heat = fields.number("BatteryVoltage"), fields.number("CpuTemperature")
    if battery is not None:
        samples.append(Sample("battery", battery / 1000.0, at))
    if heat is not None:
        samples.append(Sample("cpu_temperature", heat, at))
    if (power := fields.flag("PowerDownDetected")) is not None:
        samples.append(Sample("power_down", int(power), at))
    pumps, probes = fields.inner("Pumps"), fields.inner("Probes")
    if pumps is not None:
        samples += _pumps(pumps, forecourt, at)
    if probes is not None:
        samples += _probes(probes, forecourt, at)
    return Reading(samples)


def configuration_digest(packet: Packet) -> str:
    """``UploadConfiguration``: SHA-256 of what the controller is configured to, whatever the order of its keys."""
    told = json.dumps(packet.data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()


# ---------------------------------------------------------------- the present


def _pumps(pumps: Fields, forecourt: Forecourt, at: datetime) -> Iterator[Sample]:
    groups = (
        ("IdleStatus", NozzleState.LIFTED, "NozzlesUp", "LastNozzles", "Last"),
        ("FillingStatus", NozzleState.FUELLING, "Nozzles", "Nozzles", ""),
        ("EndOfTransactionStatus", NozzleState.STOPPED, "Nozzles", "Nozzles", ""),
        ("OfflineStatus", None, "", "", ""),
    )
    of_pump: defaultdict[float | None, list[tuple[int, int]]] = defaultdict(list)
    for (owner, nozzle), number in forecourt.nozzles.items():
        of_pump[owner].append((nozzle, number))
    for name, state, in_use, shown, prefix in groups:
        group = pumps.inner(name)
        if group is None:
            continue
        ups, owners = group.numbers(in_use), group.numbers(shown)
        values = {tag: group.numbers(prefix + field) for tag, field in _SHOWN}
        for pump, place in _once(group.numbers("Ids")).items():
            shows = {tag: _at(column, place) for tag, column in values.items()}
            for nozzle, number in of_pump.get(pump, ()):
                if state is None:
                    yield Sample(f"nozzle-{number}.state", None, at, Quality.NOT_CONNECTED)
                    continue
                now = state if _at(ups, place) == nozzle else NozzleState.IDLE
                yield Sample(f"nozzle-{number}.state", int(now), at)
                for tag, value in shows.items() if _at(owners, place) == nozzle else ():
                    if value is not None:
                        yield Sample(f"nozzle-{number}.{tag}", value, at)


_SHOWN = (("volume", "Volumes"), ("amount", "Amounts"), ("price", "Prices"))


def _probes(probes: Fields, forecourt: Forecourt, at: datetime) -> Iterator[Sample]:
    online, offline = probes.inner("OnlineStatus"), probes.inner("OfflineStatus")
    tanks = {float(number): number for number in range(1, len(forecourt.site.tank_ids) + 1)}
    measured = [row(told) or [None] for told in online.items("Measurements")] if online else []
    for first, place in _once([numbers[0] for numbers in measured]).items():
        if (tank := tanks.get(first or 0.0)) is not None:
            numbers = measured[place][1:]
            values = dict(zip(MEASUREMENT_ORDER, numbers, strict=False))
            yield from _tank_samples(tank, {name: values.get(name) for name, *_ in TANK_FIELDS}, at)
    for first in _once(offline.numbers("Ids")) if offline else ():
        if (tank := tanks.get(first or 0.0)) is not None:
            for name, *_ in TANK_FIELDS:
                yield Sample(f"tank-{tank}.{name}", None, at, Quality.NOT_CONNECTED)


def _tank_samples(tank: int, values: Mapping[str, float | None], at: datetime) -> Iterator[Sample]:
    for name, value in values.items():
        yield Sample(f"tank-{tank}.{name}", value, at, Quality.BAD if value is None else Quality.GOOD)


def _once(ids: list[float | None]) -> dict[float | None, int]:
    """Each number and the place where it stands last."""
    return {each: place for place, each in enumerate(ids)}


def _at(column: list[float | None], place: int) -> float | None:
    return column[place] if place < len(column) else None


# ---------------------------------------------------------------- what is kept beside


def _told(fields: Fields, names: Mapping[str, str]) -> dict[str, str]:
    """These fields as text, those that are there, under other names."""
    return {ours: said for theirs, ours in names.items() if (said := fields.text(theirs)) is not None}


def _as_sent(packet: Packet) -> bytes:
    """The record as JSON, for evidence; what counts uploads changes when it is sent again and is no part of it."""
    data = packet.data if isinstance(packet.data, dict) else {}
    kept = {name: value for name, value in data.items() if not name.startswith("PumpTransactions")}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=True).encode()
