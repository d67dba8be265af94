"""The Modbus driver: reads what is due with the fewest requests and reports the sales that have been completed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from pumpwatch import (
    BadConfig,
    BadReply,
    DeviceEvent,
    DeviceIdentity,
    Driver,
    PluginSettings,
    Quality,
    Reading,
    Refused,
    Sample,
)
from pumpwatch_modbus.brandmap import NUMBER, WordOrder, brand_path, load_map
from pumpwatch_modbus.codec import RegisterRead, RtuFraming, TcpFraming, TcpWindow
from pumpwatch_modbus.probing import probes
from pumpwatch_modbus.reads import REGISTERS, Span, Window, plan
from pumpwatch_modbus.sales import SaleMemory
from pumpwatch_modbus.values import Layout, Order

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pumpwatch import Line, Probe, Record, Site, Tag
    from pumpwatch_modbus.brandmap import BrandMap
    from pumpwatch_modbus.codec import Framing
    from pumpwatch_modbus.values import Value

IDENTITY_AGAIN = timedelta(hours=1)
"""An unchanged identity is reported again after this long: proof that it was looked at."""
MOST_PLANS = 64
"""Combinations of due tags whose reads are remembered; three scan classes make seven."""


class ModbusSettings(PluginSettings):
    """Keys of ``settings`` of a device with ``driver = "modbus"``."""

    brand: str | None = Field(None, description="Name of a register map that comes with pumpwatch")
    map: Path | None = Field(None, description="Path of your own register map, instead of brand")
    unit: int = Field(ge=1, le=247, description="Modbus unit (slave) number of the dispenser")
    framing: Literal["tcp", "rtu"] = Field("tcp", description="rtu on serial lines, and over tcp:// to a converter")
    word_order: WordOrder | None = Field(None, description="Which register of a number is first; else as the map says")
    byte_order: WordOrder | None = Field(None, description="Which byte of a register is first; else as the map says")
    base_offset: int | None = Field(None, description="Added to every address; else as the map says")
    max_registers: int | None = Field(
        None, ge=1, le=125, description="Most registers in one request; else as the map says"
    )
    outstanding: int = Field(
        1,
        ge=1,
        le=16,
        description="Most requests sent before the first is answered (framing tcp); 1 for a slow gateway",
    )

    @model_validator(mode="after")
    def _one_map(self) -> ModbusSettings:
        if (self.brand is None) == (self.map is None):
            raise ValueError("give either brand (a map that comes with pumpwatch) or map (the path of your own)")
        return self


@dataclass(frozen=True, slots=True)
class _PlannedRead:
    """One request, and how to understand its answer."""

    request: RegisterRead
    layout: Layout


class ModbusDriver(Driver):
    """Reads one dispenser by its register map.

    Every read also reads the nozzles' sequence numbers, so that no choice of scan classes can miss a sale.
    """

    name: ClassVar[str] = "modbus"
    Settings: ClassVar[type[PluginSettings]] = ModbusSettings

    def __init__(self, settings: ModbusSettings, site: Site, line: Line) -> None:
        super().__init__(settings, site, line)
        brand = _overridden(load_map(settings.map or brand_path(settings.brand or "")), settings)
        if len(site.nozzle_ids) > brand.nozzles:
            raise BadConfig(
                f"nozzles: {len(site.nozzle_ids)} given, but {brand.title!r} has {brand.nozzles}; "
                "remove nozzles here or choose another map"
            )
        self._brand = brand
        self._unit = settings.unit
        self._order = Order(brand.word_order == "high_first", brand.byte_order == "high_first")
        self._framing: Framing = TcpFraming() if settings.framing == "tcp" else RtuFraming()
        self._points = {point.tag.name: point for point in brand.points(len(site.nozzle_ids))}
        self._sequences = self._numbered(brand.sale.sequence) if brand.sale else {}
        self._sales = SaleMemory(brand.sale, site.nozzle_ids, self._order) if brand.sale else None
        self._plans: dict[tuple[str, ...], tuple[_PlannedRead, ...]] = {}
        self._identity: DeviceIdentity | None = None
        self._told: dict[str, Value] = {}
        """The last value of each tag whose changes are events."""
        self._has_records = bool(brand.sale or brand.identity or brand.events)
        self._window = Window(settings.outstanding)
        self._check_addresses()

    @classmethod
    def probes(cls) -> Sequence[Probe]:
        """A read of one register of the first units, on TCP and on RTU; a refusal is an answer too."""
        return probes()

    def tags(self) -> Sequence[Tag]:
        """The map's tags, of the nozzles that stand in the configuration."""
        return [point.tag for point in self._points.values()]

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        """See ``Driver``. Tags whose registers are refused or garbled are BAD while others can be had."""
        samples: list[Sample] = []
        failures: list[BadReply | Refused] = []
        reads = self._reads_for(tags)
        for read, registers in zip(reads, await self._ask_all([read.request for read in reads]), strict=True):
            if isinstance(registers, bytes):
                samples += read.layout.decode(registers, now)
            else:
                failures.append(registers)
                samples += [Sample(name, None, now, _quality(registers)) for name in read.layout.names]
        if failures and len(failures) == len(reads):
            raise failures[0]
        if not self._has_records:
            return Reading(samples)
        by_name = {sample.tag: sample for sample in samples}
        if self._sales is not None and (unread := await self._read_sales(self._sales, by_name)):
            samples = [s._replace(quality=unread[s.tag]) if s.tag in unread else s for s in samples]
        records: list[Record] = [*self._identify(by_name, now), *self._notice(by_name, now)]
        if self._sales is not None:
            records += self._sales.collect()
        return Reading(samples, records)

    def explain(self, way: str, data: bytes) -> str:
        """See ``Driver``."""
        return self._framing.explain(way, data)

    # ------------------------------------------------------------ reading

    async def _ask_all(self, reads: Sequence[RegisterRead]) -> list[bytes | BadReply | Refused]:
        """The registers of each read, or why there are none; several at a time where the peer takes that."""
        if len(reads) == 1 or not isinstance(self._framing, TcpFraming) or not self._window.opened():
            return [await self._answer(read) for read in reads]
        answers: list[bytes | BadReply | Refused] = []
        for start in range(0, len(reads), self._window.most):
            window = TcpWindow(self._framing, reads[start : start + self._window.most])
            await self.line.ask_all([exchange.request for exchange in window.exchanges], window.complete)
            for exchange in window.exchanges:
                try:
                    answers.append(exchange.registers(window.reply(exchange)))
                except (BadReply, Refused) as error:
                    answers.append(error)
        self._window.worked()
        return answers

    async def _answer(self, read: RegisterRead) -> bytes | BadReply | Refused:
        try:
            return await self._ask(read)
        except (BadReply, Refused) as error:
            return error

    async def _ask(self, read: RegisterRead) -> bytes:
        exchange = self._framing.exchange(read)
        return exchange.registers(await self.line.ask(exchange.request, exchange.complete))

    def _request(self, span: Span) -> RegisterRead:
        return RegisterRead(self._unit, self._brand.function, Span(span.first + self._brand.base_offset, span.size))

    def _plan(self, ranges: Iterable[Span]) -> tuple[Span, ...]:
        return plan(ranges, self._brand.max_registers, self._brand.gaps)

    def _reads_for(self, tags: Sequence[Tag]) -> tuple[_PlannedRead, ...]:
        """The reads for these tags and the sequence numbers; worked out once for each combination of tags."""
        key = tuple([tag.name for tag in tags])
        if key not in self._plans:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[key] = self._compile(dict.fromkeys([*key, *self._sequences]))
        return self._plans[key]

    def _compile(self, names: Iterable[str]) -> tuple[_PlannedRead, ...]:
        try:
            points = [self._points[name] for name in names]
        except KeyError as error:
            raise BadConfig(f"no tag {error} in {self._brand.title!r}; ask only for what tags() gives") from error
        reads = []
        for span in self._plan(point.at for point in points):
            held = [point for point in points if span.holds(point.at)]
            points = [point for point in points if not span.holds(point.at)]
            reads.append(_PlannedRead(self._request(span), Layout(held, span, self._order)))
        return tuple(reads)

    async def _read_sales(self, sales: SaleMemory, by_name: dict[str, Sample]) -> dict[str, Quality]:
        """Read the sales completed since the last time; the sequence tags of nozzles whose memory cannot be read.

        Their quality says so, since the fillings themselves are only missed.
        """
        for name, nozzle in self._sequences.items():
            sample = by_name[name]
            if sample.quality.is_good and isinstance(sample.value, int):
                sales.note(nozzle, sample.value)
        owed = sales.owed()
        unread: dict[str, Quality] = {}
        for span in self._plan(slot.at for slot in owed):
            held = [slot for slot in owed if span.holds(slot.at)]
            try:
                registers = await self._ask(self._request(span))
            except (BadReply, Refused) as error:
                numbers = {slot.nozzle for slot in held}
                unread |= {name: _quality(error) for name, n in self._sequences.items() if n in numbers}
                continue
            for slot in held:
                start = 2 * (slot.at.first - span.first)
                sales.take(slot, registers[start : start + 2 * slot.at.size])
        return unread

    # ------------------------------------------------------------ records

    def _identify(self, by_name: dict[str, Sample], now: datetime) -> list[DeviceIdentity]:
        """What the dispenser says it is: the first time, when it has changed, and once an hour."""
        entry, dispenser_id = self._brand.identity, self.site.dispenser_id
        if entry is None or dispenser_id is None:
            return []
        named = {key: tag for key, tag in entry if tag is not None and NUMBER not in tag}
        encoders = self._numbered(entry.encoder_serials) if entry.encoder_serials else {}
        samples = [by_name.get(tag) for tag in (*named.values(), *encoders)]
        if any(sample is None or sample.quality == Quality.BAD_REPLY for sample in samples):
            return []

        def told(tag: str) -> str | None:
            value = by_name[tag].value
            return None if value in {None, ""} else str(value)

        serials = {self.site.nozzle_ids[n - 1]: serial for tag, n in encoders.items() if (serial := told(tag))}
        identity = DeviceIdentity(
            station_id=self.site.station_id,
            dispenser_id=dispenser_id,
            at=now,
            encoder_serials=serials,
            **{key: told(tag) for key, tag in named.items()},
        )
        last = self._identity
        if last is not None and replace(identity, at=last.at) == last and now - last.at < IDENTITY_AGAIN:
            return []
        self._identity = identity
        return [identity]

    def _notice(self, by_name: dict[str, Sample], now: datetime) -> list[DeviceEvent]:
        """Changes of the tags that are events. At first only what is not zero is told."""
        events = []
        for entry in self._brand.events:
            sample = by_name.get(entry.tag)
            if sample is None or not sample.quality.is_good or sample.value == self._told.get(entry.tag, 0):
                continue
            self._told[entry.tag] = sample.value
            encoding = self._points[entry.tag].encoding
            value = bool(sample.value) if encoding.type == "bits" and encoding.bits == 1 else sample.value
            detail = {entry.key: value}
            events.append(DeviceEvent(now, self.site.station_id, self.site.device_id, entry.kind, detail))
        return events

    # ------------------------------------------------------------ configuration

    def _numbered(self, name: str) -> dict[str, int]:
        """The tags that a name with ``{n}`` stands for, and the nozzle each is of."""
        return {name.replace(NUMBER, str(n)): n for n in range(1, len(self.site.nozzle_ids) + 1)}

    def _check_addresses(self) -> None:
        """Plan all there is once, so that what can never be read is said at start."""
        sale, nozzles = self._brand.sale, range(1, len(self.site.nozzle_ids) + 1)
        slots = [sale.slot(n, seq) for n in nozzles for seq in range(sale.slots)] if sale else []
        spans = [point.at for point in self._points.values()] + slots
        try:
            self._plan(spans)
        except ValueError as error:
            raise BadConfig(f"max_registers: {error}; raise it, or correct the map {self._brand.title!r}") from error
        low = min(span.first for span in spans) + self._brand.base_offset
        high = max(span.end for span in spans) + self._brand.base_offset
        if low < 0 or high > REGISTERS:
            raise BadConfig(f"base_offset: {self._brand.base_offset} moves addresses to {low}–{high - 1}; correct it")


def _overridden(brand: BrandMap, settings: ModbusSettings) -> BrandMap:
    """The map with what the device's settings say instead."""
    keys = ("word_order", "byte_order", "base_offset", "max_registers")
    return brand.model_copy(update={key: value for key in keys if (value := getattr(settings, key)) is not None})


def _quality(error: BadReply | Refused) -> Quality:
    return Quality.REFUSED if isinstance(error, Refused) else Quality.BAD_REPLY
