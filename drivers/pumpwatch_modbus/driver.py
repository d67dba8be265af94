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
)
from pumpwatch_modbus.brandmap import NUMBER, WordOrder, brand_path, load_map
from pumpwatch_modbus.codec import NoSuchRegister, RegisterRead, RtuFraming, TcpFraming, TcpWindow
from pumpwatch_modbus.holes import Holes
from pumpwatch_modbus.probing import probes
from pumpwatch_modbus.reads import REGISTERS, Span, Window, plan
from pumpwatch_modbus.sales import SaleMemory
from pumpwatch_modbus.values import Order, layout_of, quality_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pumpwatch import Line, Probe, Record, Sample, Site, Tag
    from pumpwatch_modbus.brandmap import BrandMap
    from pumpwatch_modbus.codec import Framing
    from pumpwatch_modbus.values import Answer, Layout, Value

IDENTITY_AGAIN = timedelta(hours=1)
"""An unchanged identity is reported again after this long: proof that it was looked at."""
MOST_ROUNDS = 16
"""Times that a scan is asked again because a read was refused for its address and now a hole is better known."""
MOST_IN_VAIN = 3
"""The same when nothing at all could be read: then the map or its offset is wrong, and is reported rather."""
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
class _Scan:
    """The requests for some tags, and how to understand the answers."""

    reads: tuple[RegisterRead, ...]
    spans: tuple[Span, ...]
    """The same by the map's addresses."""
    wanted: tuple[tuple[Span, ...], ...]
    """The values that each is for."""
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
        self._plans: dict[tuple[str, ...], _Scan] = {}
        self._asked: tuple[Sequence[Tag], _Scan] | None = None
        """The tags of the last scan, the very same object when they are asked for again, and their scan."""
        self._holes = Holes()
        self._identity: DeviceIdentity | None = None
        self._told: dict[str, Value] = {}
        """The last value of each tag whose changes are events."""
        self._noted = self._of_records()
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
        if self._holes.forgotten(now):
            self._replan()
        asked = self._asked
        scan = asked[1] if asked is not None and asked[0] is tags else self._scan(tags)
        answers = [await self._answer(scan.reads[0])] if len(scan.reads) == 1 else await self._ask_all(scan.reads)
        for answer in answers:
            if not isinstance(answer, bytes):
                scan, answers = await self._retried(tags, scan, answers, now)
                break
        else:
            if self._holes.answered(scan.spans):
                self._replan()
        samples = scan.layout.decode(answers, now)
        if not self._noted:
            return Reading(samples)
        by_name = {sample.tag: sample for sample in samples.only(self._noted)}
        if self._sales is not None and (unread := await self._read_sales(self._sales, by_name)):
            samples = samples.doubted(unread)
        records: list[Record] = [*self._identify(by_name, now), *self._notice(by_name, now)]
        if self._sales is not None:
            records += self._sales.collect()
        return Reading(samples, records)

    async def _retried(
        self, tags: Sequence[Tag], scan: _Scan, answers: list[Answer], now: datetime
    ) -> tuple[_Scan, list[Answer]]:
        """Ask again as long as a read is refused for its address and more is known of where the hole is.

        Raises the first failure when nothing at all can be read.
        """
        first = answers
        for round_ in range(1, MOST_ROUNDS):
            in_vain = not any(isinstance(answer, bytes) for answer in answers)
            if not self._learns(scan, answers, now) or (in_vain and round_ >= MOST_IN_VAIN):
                break
            scan = self._scan(tags)
            answers = await self._ask_all(scan.reads)
        if not any(isinstance(answer, bytes) for answer in answers):
            failure = next(answer for answer in (*first, *answers) if not isinstance(answer, bytes))
            raise Refused(str(failure)) if isinstance(failure, NoSuchRegister) else failure
        return scan, answers

    def explain(self, way: str, data: bytes) -> str:
        """See ``Driver``."""
        return self._framing.explain(way, data)

    # ------------------------------------------------------------ reading

    async def _ask_all(self, reads: Sequence[RegisterRead]) -> list[Answer]:
        """The answer to each; several are asked for at a time where the peer takes that."""
        if len(reads) == 1 or not isinstance(self._framing, TcpFraming) or not self._window.opened():
            return [await self._answer(read) for read in reads]
        answers: list[Answer] = []
        for start in range(0, len(reads), self._window.most):
            window = TcpWindow(self._framing, reads[start : start + self._window.most])
            answers += window.registers(await self.line.ask(window.request, window.complete))
        self._window.worked()
        return answers

    async def _answer(self, read: RegisterRead) -> Answer:
        exchange = self._framing.exchange(read)
        try:
            return exchange.registers(await self.line.ask(exchange.request, exchange.complete))
        except (BadReply, Refused) as error:
            return error

    def _request(self, span: Span) -> RegisterRead:
        return RegisterRead(self._unit, self._brand.function, Span(span.first + self._brand.base_offset, span.size))

    def _plan(self, ranges: Iterable[Span], refused: Iterable[Span] = ()) -> tuple[Span, ...]:
        return plan(ranges, self._brand.max_registers, self._brand.gaps, refused)

    def _scan(self, tags: Sequence[Tag]) -> _Scan:
        """The scan for these tags and the sequence numbers; worked out once for each combination of tags."""
        key = tuple([tag.name for tag in tags])
        if key not in self._plans:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            names = dict.fromkeys([*key, *self._sequences])
            self._plans[key] = self._compile(names)
            if not self._plans[key].reads:  # all of it was refused; that is worth another look
                self._holes.forget()
                self._plans = {key: self._compile(names)}
        if isinstance(tags, tuple):  # a list may hold others tomorrow
            self._asked = tags, self._plans[key]
        return self._plans[key]

    def _replan(self) -> None:
        self._plans.clear()
        self._asked = None

    def _compile(self, names: Iterable[str]) -> _Scan:
        try:
            points = [self._points[name] for name in names]
        except KeyError as error:
            raise BadConfig(f"no tag {error} in {self._brand.title!r}; ask only for what tags() gives") from error
        there = [point for point in points if not self._holes.hide(point.at)]
        spans = self._plan((point.at for point in there), self._holes.refusals)
        wanted: list[tuple[Span, ...]] = []
        for span in spans:
            wanted.append(tuple(point.at for point in there if span.holds(point.at)))
            there = [point for point in there if not span.holds(point.at)]
        layout = layout_of(tuple(points), spans, self._order, self._noted)
        return _Scan(tuple(self._request(span) for span in spans), spans, tuple(wanted), layout)

    def _learns(self, scan: _Scan, answers: Sequence[Answer], now: datetime) -> bool:
        """Whether a read was refused for its address, and the next may be made so that it is not."""
        refused = [i for i, answer in enumerate(answers) if isinstance(answer, NoSuchRegister)]
        for i in refused:
            self._holes.refused(scan.spans[i], scan.wanted[i], now)
        answered = [span for span, answer in zip(scan.spans, answers, strict=True) if isinstance(answer, bytes)]
        if self._holes.answered(answered) or refused:
            self._replan()
        return bool(refused)

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
            registers = await self._answer(self._request(span))
            if not isinstance(registers, bytes):
                numbers = {slot.nozzle for slot in held}
                unread |= {name: quality_of(registers) for name, n in self._sequences.items() if n in numbers}
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

    def _of_records(self) -> frozenset[str]:
        """The tags of which records are made."""
        entry = self._brand.identity
        named = {tag for _, tag in entry if tag is not None and NUMBER not in tag} if entry else set()
        numbered = self._numbered(entry.encoder_serials) if entry and entry.encoder_serials else {}
        return frozenset({*self._sequences, *named, *numbered, *(event.tag for event in self._brand.events)})

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
