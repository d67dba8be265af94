"""The IFSF driver: reads a dispenser or a tank gauge, one node on a TCP connection."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from pumpwatch import (
    BadConfig,
    BadReply,
    DeviceEvent,
    DeviceIdentity,
    Driver,
    EventKind,
    PluginSettings,
    Quality,
    Reading,
    Refused,
    Sample,
    ScanClass,
    Tag,
    TagKind,
    TankReading,
)
from pumpwatch_ifsf import database, sales
from pumpwatch_ifsf.messages import MOST_READS, TOKENS, Exchange, Node, Read, Roll, Subnet, acknowledgement
from pumpwatch_ifsf.probing import probes
from pumpwatch_ifsf.values import binary, local_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pumpwatch import Line, Probe, Record, Site, Value
    from pumpwatch_ifsf.database import FuellingPoint, Group

SAME_TIME = timedelta(seconds=90)
"""Within this a gauge's reading is of now."""
IDENTITY_AGAIN = timedelta(hours=1)
"""An unchanged identity is reported again after this long: proof that it was looked at."""
MOST_NOZZLES, MOST_TANKS = 16, 31
MOST_OWED = 8
"""Acknowledgements that wait for the next question; overflow policy: the oldest are not given."""
CLOCK = Tag("clock_difference", "s", ScanClass.NORMAL, TagKind.MEASUREMENT, "Gauge's clock less ours")
_PLACE = re.compile(r"([1-4])/([1-8])", re.ASCII)


class IfsfSettings(PluginSettings):
    """Keys of ``settings`` of a device with ``driver = "ifsf"``."""

    node: Annotated[int, Field(ge=1, le=127)] | None = Field(
        None, description="Node number of the dispenser or gauge; without it, the only one that answers on the line"
    )
    own_node: Annotated[int, Field(ge=1, le=127)] = Field(
        126, description="Node number by which we ask, among the controllers; not that of the station's own"
    )
    places: tuple[str, ...] | None = Field(
        None, description="Fuelling point and logical nozzle of each of the nozzles, like 2/1; else each is a point"
    )
    history: Annotated[int, Field(ge=1, le=15)] = Field(
        4, description="How many old transactions a fuelling point keeps; they are read at start"
    )
    firmware_digest: Literal["none", "checksum"] = Field(
        "none", description="checksum: the ledger's firmware_digest is the checksum that the dispenser tells"
    )
    clock_offset_h: Annotated[float, Field(ge=-14, le=14)] = Field(
        8.0, description="Hours the device's clock is ahead of UTC"
    )

    @field_validator("places")
    @classmethod
    def _places(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for place in value or ():
            if not _PLACE.fullmatch(place):
                raise ValueError(f"{place!r} is no place; write POINT/NOZZLE, for example 2/1")
        if value and len(set(value)) < len(value):
            raise ValueError("a place stands there twice; give each nozzle its own")
        return value


class IfsfDriver(Driver):
    """Reads one node: a dispenser when the device has nozzles, a gauge when it has tanks.

    Every read of a dispenser reads its fuelling points, so that no choice of scan classes can miss a sale.
    """

    name: ClassVar[str] = "ifsf"
    Settings: ClassVar[type[PluginSettings]] = IfsfSettings

    def __init__(self, settings: IfsfSettings, site: Site, line: Line) -> None:
        super().__init__(settings, site, line)
        if bool(site.nozzle_ids) == bool(site.tank_ids):
            raise BadConfig(
                "nozzles, tanks: a node is a dispenser or a gauge; give nozzles or tanks, a device for each"
            )
        if len(site.tank_ids) > MOST_TANKS:
            raise BadConfig(f"tanks: {len(site.tank_ids)} given, a gauge has {MOST_TANKS}; make another device of some")
        self._subnet = Subnet.DISPENSER if site.nozzle_ids else Subnet.TANK_GAUGE
        self._node = None if settings.node is None else Node(self._subnet, settings.node)
        self._configured = self._node
        self._own = Node(Subnet.CONTROLLER, settings.own_node)
        self._offset = timedelta(hours=settings.clock_offset_h)
        self._tells_digest = settings.firmware_digest == "checksum"
        self._points = _points(site, settings.places) if site.nozzle_ids else ()
        self._groups = tuple(self._all_groups())
        self._memory = sales.SaleMemory(settings.history)
        self._flow = sales.FlowWatch()
        self._security = sales.Security()
        self._token = 0
        self._owed: list[bytes] = []
        self._identity: DeviceIdentity | None = None
        self._watched = {tag.name for tag in self.tags() if tag.kind is TagKind.IDENTITY}
        self._told: dict[str, Value] = {}
        """The last value of each tag whose changes are events."""
        self._ready: list[Record] = []
        """Fillings and events not yet returned; kept over an exchange that is cut short."""

    @classmethod
    def probes(cls) -> Sequence[Probe]:
        """All nodes at once are asked who they are, dispensers and tank gauges."""
        return probes()

    def tags(self) -> Sequence[Tag]:
        """Ten tags a nozzle and the calculator's, or eight a tank and the clock's."""
        tags = [tag for point in self._points for tag in point.tags]
        tags += [tag for group in self._groups for tag in group.tags]
        return tags if self._points else [*tags, CLOCK]

    async def connect(self) -> None:
        """Look who answers, where no node is configured. Raises ``Refused`` when several do."""
        if self._configured is not None:
            return
        address, number = (
            (database.CALCULATOR, database.NUMBER_OF_POINTS)
            if self._points
            else (bytes((database.FIRST_PROBE,)), database.PROBE_STATUS)
        )
        roll = Roll(self._own, self._subnet, address, number)
        roll.found(await self.line.ask(roll.request, roll.complete))
        found = roll.found(await self.line.ask(roll.request, roll.complete))
        if len(found) > 1:
            names = ", ".join(str(node.node) for node in found)
            raise Refused(f"nodes {names} answer on this line; give each a device with its `node`")
        self._node = found[0]

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        """See ``Driver``. A data base that is refused or garbled makes its own tags BAD."""
        wanted = {tag.name for tag in tags}
        groups = [g for g in self._groups if not wanted.isdisjoint(t.name for t in g.tags) or CLOCK.name in wanted]
        parts: list[FuellingPoint | Group] = [*self._points, *groups]
        answers = await self._ask([(part.address, part.ids) for part in parts])
        failures = [answer for answer in answers if isinstance(answer, BadReply | Refused)]
        if failures and len(failures) == len(answers):
            raise failures[0]
        samples: list[Sample] = []
        for part, answer in zip(parts, answers, strict=True):
            if isinstance(answer, BadReply | Refused):
                samples += part.bad(_quality(answer), now)
            elif isinstance(part, database.FuellingPoint):
                samples += part.samples(answer, now)
                self._follow(part, answer, now)
            elif self._points:
                samples += self._of_dispenser(part, answer, now)
            else:
                samples += self._of_tank(part, answer, now)
        if self._points:
            await self._read_sales(now)
            told = {sample.tag: sample for sample in samples}
            self._notice(told, now)
            self._identify(told, now)
        ready, self._ready = self._ready, []
        return Reading(samples, ready)

    # ------------------------------------------------------------ asking

    async def _ask(self, asked: Sequence[tuple[bytes, tuple[int, ...]]]) -> list[dict[int, bytes] | BadReply | Refused]:
        """Read these data bases, some together at a time; and give the acknowledgements that are owed."""
        node = self._node
        if node is None:
            raise BadReply("nobody has answered on this line yet")
        answers: list[dict[int, bytes] | BadReply | Refused] = []
        for start in range(0, len(asked), MOST_READS):
            reads = [Read(node, address, ids) for address, ids in asked[start : start + MOST_READS]]
            exchange = Exchange(self._own, reads, self._token)
            self._token = (self._token + len(reads)) % TOKENS
            owed, self._owed = self._owed, []
            reply = await self.line.ask(b"".join(owed) + exchange.request, exchange.complete)
            self._owed = [acknowledgement(message) for message in exchange.owed(reply)][-MOST_OWED:]
            answers += exchange.answers(reply)
        return answers

    def _follow(self, point: FuellingPoint, told: Mapping[int, bytes], now: datetime) -> None:
        """Which transactions are owed, and how long the one under way takes."""
        number, state = database.sequence(told), binary(told.get(database.STATE, b""))
        self._flow.look(point.number, number, now, flows=state in database.FLOWING)
        if number is not None:
            self._memory.note(point.number, number, busy=state in database.BUSY)

    async def _read_sales(self, now: datetime) -> None:
        """Read the transactions that are owed, at most one exchange of them."""
        owed = self._memory.owed()[:MOST_READS]
        if not owed:
            return
        answers = await self._ask([(sales.address(point, number), sales.IDS) for point, number in owed])
        for key, answer in zip(owed, answers, strict=True):
            point = next(each for each in self._points if each.number == key[0])
            if isinstance(answer, BadReply | Refused) or not self._keep(point, key[1], answer, now):
                self._memory.missed(key)
            else:
                self._memory.taken(key)

    def _keep(self, point: FuellingPoint, number: int, told: Mapping[int, bytes], now: datetime) -> bool:
        """Remember a filling until it is returned; False when it is not in the buffer."""
        otherwise = None if self._memory.is_old((point.number, number)) else now
        nozzle = point.owner(told.get(sales.NOZZLE, b""))
        if nozzle is None:
            return False
        mark, expected = self._security.verdict(point.number, told)
        nozzle_id = self.site.nozzle_ids[nozzle - 1]
        is_shared = len(point.nozzles) > 1
        try:
            sale = sales.transaction(
                told, nozzle_id, number, self._offset, otherwise=otherwise, mark=mark, shared=is_shared
            )
        except BadReply:
            return False
        if sale is None:
            return False
        lasted = self._flow.lasted((point.number, number))
        if sale.volume_l or sale.amount_cny or not is_shared:
            # Lifted and hung again is no filling; but where the number is the nozzle's own, it would be missing.
            self._ready.append(replace(sale, start=sale.end - lasted))
        if mark == "wrong":
            self._ready.append(sales.tampered(sale, self.site, told, expected))
        return True

    # ------------------------------------------------------------ a dispenser

    def _of_dispenser(self, group: Group, told: Mapping[int, bytes], now: datetime) -> list[Sample]:
        if told.get(database.POLYNOMIAL) and told.get(database.SEED):
            self._security.polynomial = binary(told[database.POLYNOMIAL])
            self._security.seed = binary(told[database.SEED])
        return group.samples(told, now)

    def _notice(self, told: Mapping[str, Sample], now: datetime) -> None:
        """Each change of what the dispenser says it is becomes an event."""
        for name in sorted(self._watched & told.keys()):
            sample = told[name]
            if not sample.quality.is_good:
                continue
            before = self._told.get(name)
            self._told[name] = sample.value
            if before is not None and before != sample.value:
                detail = {"field": name, "was": before, "is": sample.value}
                self._ready.append(
                    DeviceEvent(now, self.site.station_id, self.site.device_id, EventKind.IDENTITY, detail)
                )

    def _identify(self, told: Mapping[str, Sample], now: datetime) -> None:
        """What the dispenser says it is: the first time, when it has changed, and once an hour."""
        serial, version = told.get("identity.serial"), told.get("identity.firmware_version")
        checksum = told.get("identity.software_checksum")
        if self.site.dispenser_id is None or serial is None or version is None or checksum is None:
            return
        if Quality.BAD_REPLY in {serial.quality, version.quality, checksum.quality}:
            return
        identity = DeviceIdentity(
            self.site.station_id,
            self.site.dispenser_id,
            now,
            serial=_said(serial),
            firmware_version=_said(version),
            firmware_digest=_said(checksum) if self._tells_digest else None,
        )
        last = self._identity
        if last is None or replace(identity, at=last.at) != last or now - last.at >= IDENTITY_AGAIN:
            self._identity = identity
            self._ready.append(identity)

    # ------------------------------------------------------------ a gauge

    def _of_tank(self, group: Group, told: Mapping[int, bytes], now: datetime) -> list[Sample]:
        tank = group.address[0] - database.FIRST_PROBE + 1
        at, clock = self._time(told, now)
        samples = group.samples(told, at)
        values = {sample.tag.rpartition(".")[2]: sample for sample in samples}
        if values["status"].value != database.IN_OPERATION:
            samples = [
                s if s.tag.endswith((".status", ".alarms")) or s.quality.is_bad else s._replace(quality=Quality.BAD)
                for s in samples
            ]
        elif isinstance(height := values["height"].value, float):
            told_of = {
                name: _figure(values[name]) for name in ("volume", "volume_20c", "water", "temperature", "density")
            }
            self._ready.append(
                TankReading(
                    self.site.tank_ids[tank - 1],
                    at,
                    height,
                    volume_l=told_of["volume"],
                    volume_20c_l=told_of["volume_20c"],
                    water_mm=told_of["water"],
                    temperature_c=told_of["temperature"],
                    density_kg_m3=told_of["density"],
                )
            )
        self._hold(tank, values["alarms"], at)
        return samples if clock is None or tank > 1 else [*samples, clock]

    def _time(self, told: Mapping[int, bytes], now: datetime) -> tuple[datetime, Sample | None]:
        """Now, if the gauge's clock agrees with it; else what the gauge says, so that the difference shows."""
        date, time = told.get(database.READING_DATE), told.get(database.READING_TIME)
        if not date or not time:
            return now, None
        try:
            gauge = local_time(date, time).replace(tzinfo=UTC) - self._offset
        except (BadReply, OverflowError):
            return now, Sample(CLOCK.name, None, now, Quality.BAD_REPLY)
        difference = gauge - now
        return now if abs(difference) <= SAME_TIME else gauge, Sample(
            CLOCK.name, round(difference.total_seconds()), now
        )

    def _hold(self, tank: int, sample: Sample, at: datetime) -> None:
        """These alarm bits hold now; tell what has come and what has gone."""
        if not isinstance(sample.value, int):
            return
        name, tank_id = sample.tag, self.site.tank_ids[tank - 1]
        before = self._told.get(name, 0)
        changed = sample.value ^ (before if isinstance(before, int) else 0)
        self._told[name] = sample.value
        for bit in range(changed.bit_length()):
            if changed >> bit & 1:
                detail: dict[str, str | float | int | bool | None] = {
                    "code": f"ifsf {bit + 1:02d}",
                    "active": bool(sample.value >> bit & 1),
                    "tank_id": tank_id,
                    "zh": f"{tank} 号油罐：液位仪报警第 {bit + 1} 位",
                    "en": f"Tank {tank}: alarm bit {bit + 1} of the gauge",
                }
                self._ready.append(DeviceEvent(at, self.site.station_id, self.site.device_id, EventKind.ALARM, detail))

    # ------------------------------------------------------------ configuration

    def _all_groups(self) -> list[Group]:
        groups = [database.probe(tank) for tank in range(1, len(self.site.tank_ids) + 1)]
        for point in self._points:
            groups += [database.totals(point.number, logical, nozzle) for logical, nozzle in point.nozzles.items()]
            groups += [database.meter(nozzle) for nozzle in point.nozzles.values()]
        return [*groups, database.calculator()] if self._points else groups


def _points(site: Site, given: tuple[str, ...] | None) -> tuple[FuellingPoint, ...]:
    """The fuelling points that the nozzles hang on."""
    count = len(site.nozzle_ids)
    if given is None and count > 4:
        raise BadConfig(f"places: {count} nozzles are more than the four fuelling points; give the place of each")
    places = given or tuple(f"{point}/1" for point in range(1, count + 1))
    if len(places) != count or count > MOST_NOZZLES:
        raise BadConfig(
            f"places: {len(places)} given for {count} nozzles; give one for each, in their order, at most 16"
        )
    found: dict[int, dict[int, int]] = {}
    for nozzle, place in enumerate(places, 1):
        point, _, logical = place.partition("/")
        found.setdefault(int(point), {})[int(logical)] = nozzle
    return tuple(database.FuellingPoint(point, nozzles) for point, nozzles in sorted(found.items()))


def _said(sample: Sample) -> str | None:
    return None if sample.value in {None, ""} else str(sample.value)


def _figure(sample: Sample) -> float | None:
    return float(sample.value) if isinstance(sample.value, int | float) else None


def _quality(error: BadReply | Refused) -> Quality:
    return Quality.REFUSED if isinstance(error, Refused) else Quality.BAD_REPLY
