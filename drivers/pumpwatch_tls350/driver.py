"""The TLS-350 driver: inventory, deliveries, alarms and software of a tank gauge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from pumpwatch import (
    BadReply,
    Delivery,
    DeviceEvent,
    Driver,
    EventKind,
    NotReachable,
    PluginSettings,
    Probe,
    PumpwatchError,
    Quality,
    Reading,
    Refused,
    Sample,
    ScanClass,
    Tag,
    TagKind,
    TankReading,
)
from pumpwatch_tls350 import reports
from pumpwatch_tls350.alarms import NO_DELIVERIES, meaning
from pumpwatch_tls350.envelope import Question

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pumpwatch import Line, Record, SalePart, Site
    from pumpwatch_tls350.envelope import Report
    from pumpwatch_tls350.reports import Inventory

SAME_TIME = timedelta(seconds=90)
"""The console tells minutes; within this its reading is of now."""
MOST_CUTS = 3
"""Delivery reports of a tank cut short by the deadline before it is no longer asked for."""
TANK_TAGS = (
    ("volume", "L", "Volume"),
    ("volume_20c", "L", "Volume at the console's reference temperature"),
    ("ullage", "L", "Room left"),
    ("height", "mm", "Height of the fuel"),
    ("water", "mm", "Height of the water"),
    ("temperature", "°C", "Temperature of the fuel"),
    ("water_volume", "L", "Volume of the water"),
)
STATUS = Tag("status", "", ScanClass.NORMAL, TagKind.STATE, "normal, or the alarm codes of the console")
SOFTWARE = Tag("identity.software", "", ScanClass.SLOW, TagKind.IDENTITY, "Software revision of the console")
CLOCK = Tag("clock_difference", "s", ScanClass.SLOW, TagKind.MEASUREMENT, "Console's clock less ours, to the minute")


class Tls350Settings(PluginSettings):
    """Keys of ``settings`` of a device with ``driver = "tls350"``."""

    units: Literal["metric", "us"] = Field("metric", description="What the console is set to; us is gal, in and °F")
    security_code: SecretStr | None = Field(None, description="Six characters, if the console wants them")
    clock_offset_h: Annotated[float, Field(ge=-14, le=14)] = Field(
        8.0, description="Hours the console's clock is ahead of UTC"
    )

    @field_validator("security_code")
    @classmethod
    def _six_characters(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else "000000"
        if len(text) != 6 or not (text.isascii() and text.isprintable()):
            raise ValueError("a security code is exactly six ASCII characters; read it off the console's setup menu")
        return value


@dataclass(frozen=True, slots=True)
class Units:
    """Factors from the console's units to litres, mm and °C."""

    litres: float = 1.0
    mm: float = 1.0
    fahrenheit: bool = False

    def volume(self, value: float | None) -> float | None:
        """Litres."""
        return None if value is None else value * self.litres

    def height(self, value: float | None) -> float | None:
        """Millimetres."""
        return None if value is None else value * self.mm

    def temperature(self, value: float | None) -> float | None:
        """Degrees Celsius."""
        return value if value is None or not self.fahrenheit else (value - 32) / 1.8


METRIC = Units()
US = Units(litres=3.785411784, mm=25.4, fahrenheit=True)


class Tls350Driver(Driver):
    """Reads one console. Every reading carries the console's time, so that a gauge that stands still is seen."""

    name: ClassVar[str] = "tls350"
    Settings: ClassVar[type[PluginSettings]] = Tls350Settings

    def __init__(self, settings: Tls350Settings, site: Site, line: Line) -> None:
        super().__init__(settings, site, line)
        self._units = METRIC if settings.units == "metric" else US
        self._security = settings.security_code.get_secret_value() if settings.security_code else ""
        self._offset = timedelta(hours=settings.clock_offset_h)
        self._tanks = {i + 1: tank_id for i, tank_id in enumerate(site.tank_ids)}
        tanks = [Tag(f"tank-{n}.{name}", unit, description=text) for n in self._tanks for name, unit, text in TANK_TAGS]
        self._parts: tuple[tuple[tuple[Tag, ...], Callable[[datetime], Awaitable[Reading]]], ...] = (
            (tuple(tanks), self._inventory),
            ((STATUS,), self._status),
            ((SOFTWARE, CLOCK), self._software),
        )
        self._delivering: set[int] = set()
        self._due = set(self._tanks)
        """Tanks whose deliveries are to be asked for."""
        self._next_due = 0
        self._cuts: Counter[int] = Counter()
        self._known: dict[int, set[datetime]] = {}
        """Starts of the deliveries of each tank that were in its last report."""
        self._active: set[str] = set()
        """Alarm codes that hold now."""
        self._ready: list[Record] = []
        """Events and deliveries not yet returned; kept over an exchange that is cut short."""

    @classmethod
    def probes(cls) -> Sequence[Probe]:
        """The console's software, asked at the usual settings of its port."""

        def recognise(received: bytes) -> str:
            try:
                length = question.complete(received)
                return f"software {reports.software(question.report(received[:length]))}" if length else ""
            except PumpwatchError:
                return ""

        question = Question("i90200", "")
        ports = ((8, "N"), (7, "O"), (7, "E"), (8, "O"))
        return [Probe(recognise, question.request, bytesize=bytesize, parity=parity) for bytesize, parity in ports]

    def tags(self) -> Sequence[Tag]:
        """Seven tags a tank, and the console's own."""
        return [tag for tags, _ in self._parts for tag in tags]

    async def connect(self) -> None:
        """Nothing is sent: a TLS console has no greeting. Deliveries may have been missed."""
        self._due = set(self._tanks)

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        """See ``Driver``. One report a group of tags; a report that is refused or garbled makes its own tags BAD."""
        wanted = {tag.name for tag in tags}
        samples: list[Sample] = []
        records: list[Record | SalePart] = []
        failures: list[BadReply | Refused] = []
        answered = 0
        for part, ask in self._parts:
            if wanted.isdisjoint(tag.name for tag in part):
                continue
            try:
                reading = await ask(now)
            except (BadReply, Refused) as error:
                failures.append(error)
                quality = Quality.REFUSED if isinstance(error, Refused) else Quality.BAD_REPLY
                samples += [Sample(tag.name, None, now, quality) for tag in part]
            else:
                answered += 1
                samples += reading.samples
                records += reading.records
        if failures and not answered:
            raise failures[0]
        if SOFTWARE.name in wanted and self._tanks:
            self._next_due = self._next_due % len(self._tanks) + 1
            self._due.add(self._next_due)
        await self._deliveries(now)
        records += self._ready
        self._ready = []
        return Reading(samples, records)

    def explain(self, way: str, data: bytes) -> str:
        """The bytes as the text they are, without a security code."""
        text = "".join(chr(byte & 0x7F) if 32 <= byte & 0x7F < 127 else "·" for byte in data)
        return text.replace(self._security, "******") if self._security else text

    # ------------------------------------------------------------ reports

    async def _ask(self, code: str) -> Report:
        question = Question(code, self._security)
        return question.report(await self.line.ask(question.request, question.complete))

    async def _inventory(self, now: datetime) -> Reading:
        report = await self._ask("i20100")
        at = self._time(report, now)
        told = {tank.tank: tank for tank in reports.inventory(report)}
        samples: list[Sample] = []
        readings: list[TankReading] = []
        for number, tank_id in self._tanks.items():
            if (tank := told.get(number)) is None:
                samples += [Sample(f"tank-{number}.{name}", None, at, Quality.BAD) for name, _, _ in TANK_TAGS]
                continue
            self._follow_delivery(tank)
            values = self._converted(tank)
            for name, value in values.items():
                quality = Quality.BAD_REPLY if value is None else Quality.GOOD
                if tank.has_invalid_height:
                    quality = Quality.BAD
                samples.append(Sample(f"tank-{number}.{name}", value, at, quality))
            height = values["height"]
            if height is not None and not tank.has_invalid_height:
                readings.append(
                    TankReading(
                        tank_id,
                        at,
                        height,
                        volume_l=values["volume"],
                        volume_20c_l=values["volume_20c"],
                        water_mm=values["water"],
                        temperature_c=values["temperature"],
                    )
                )
        return Reading(samples, readings)

    async def _status(self, now: datetime) -> Reading:
        """The console's alarms; the tanks' own report too while a tank has one."""
        report = await self._ask("i10100")
        codes = set(reports.system_status(report))
        quality = Quality.GOOD
        if any(code.startswith("02") for code in codes | self._active):
            try:
                codes |= set(reports.tank_status(await self._ask("i20500")))
            except Refused:
                pass  # the system status alone must do
            except BadReply:
                quality = Quality.SUBSTITUTED
                codes |= {code for code in self._active if code.startswith("02")}
        at = self._time(report, now)
        self._hold(codes | {code for code in self._active if code.startswith(NO_DELIVERIES)}, at)
        return Reading([Sample(STATUS.name, ",".join(sorted(codes)) or "normal", at, quality)])

    async def _software(self, now: datetime) -> Reading:
        report = await self._ask("i90200")
        difference = self._utc(report.console_time) - now.replace(second=0, microsecond=0)
        return Reading(
            [
                Sample(SOFTWARE.name, reports.software(report), self._time(report, now)),
                Sample(CLOCK.name, int(difference.total_seconds()), now),
            ]
        )

    async def _deliveries(self, now: datetime) -> None:
        """Ask for the deliveries of the tanks that are due, one tank at a time: ten deliveries are 1,000 bytes."""
        for number in sorted(self._due):
            complaint = f"{NO_DELIVERIES}{number:02d}"
            if self._cuts[number] >= MOST_CUTS:
                self._hold(self._active | {complaint}, now)
                continue
            self._cuts[number] += 1  # stays if the deadline cuts this short
            try:
                found = reports.deliveries(await self._ask(f"i202{number:02d}"))
            except Refused:
                self._due.discard(number)
                self._hold(self._active | {complaint}, now)
            except BadReply:
                self._hold(self._active | {complaint}, now)
            except NotReachable:
                self._cuts[number] = 0
                raise
            else:
                self._due.discard(number)
                self._hold(self._active - {complaint}, now)
                self._remember(number, found)
            self._cuts[number] = 0

    # ------------------------------------------------------------ what is remembered

    def _follow_delivery(self, tank: Inventory) -> None:
        """A delivery that has ended is to be asked for."""
        if tank.is_delivering:
            self._delivering.add(tank.tank)
        elif tank.tank in self._delivering:
            self._delivering.discard(tank.tank)
            self._due.add(tank.tank)
            self._cuts[tank.tank] = 0

    def _remember(self, number: int, found: Sequence[reports.TankDelivery]) -> None:
        """Tell the deliveries of a tank that were not in its last report."""
        own = [delivery for delivery in found if delivery.tank == number]
        known = self._known.get(number, set())
        for delivery in own:
            if delivery.start in known:
                continue
            before, after = self._units.volume(delivery.start_volume), self._units.volume(delivery.end_volume)
            received = None if before is None or after is None else after - before
            start, end = self._utc(delivery.start), self._utc(delivery.end)
            self._ready.append(Delivery(self._tanks[number], start, received_l=received, end=end))
        self._known[number] = {delivery.start for delivery in own}

    def _hold(self, codes: set[str], at: datetime) -> None:
        """These alarms hold now; tell what has come and what has gone."""
        for code in sorted(codes ^ self._active):
            text = meaning(code)
            tank_id = self._tanks.get(int(code[4:])) if code.startswith(("02", NO_DELIVERIES)) else None
            event = DeviceEvent(
                at,
                self.site.station_id,
                self.site.device_id,
                EventKind.ALARM,
                {"code": code, "active": code in codes, "tank_id": tank_id, "zh": text.zh, "en": text.en},
            )
            self._ready.append(event)
        self._active = set(codes)

    # ------------------------------------------------------------ time and units

    def _utc(self, console: datetime) -> datetime:
        return (console - self._offset).replace(tzinfo=UTC)

    def _time(self, report: Report, now: datetime) -> datetime:
        """Now, if the console's minute agrees with it; else what the console says, so that the difference shows."""
        console = self._utc(report.console_time)
        return now if abs(console - now) <= SAME_TIME else console

    def _converted(self, tank: Inventory) -> dict[str, float | None]:
        units = self._units
        return {
            "volume": units.volume(tank.volume),
            "volume_20c": units.volume(tank.volume_compensated),
            "ullage": units.volume(tank.ullage),
            "height": units.height(tank.height),
            "water": units.height(tank.water),
            "temperature": units.temperature(tank.temperature),
            "water_volume": units.volume(tank.water_volume),
        }
