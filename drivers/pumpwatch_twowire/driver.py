"""The Two-Wire driver: one dispenser of a loop, heard beside the station's controller or asked."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pumpwatch import (
    BadConfig,
    BadReply,
    DeviceEvent,
    Driver,
    EventKind,
    NotReachable,
    NozzleState,
    PluginSettings,
    Quality,
    Reading,
    Sample,
    ScanClass,
    SilentError,
    Tag,
    TagKind,
    Transaction,
    Turns,
)
from pumpwatch_twowire.asking import Exchange
from pumpwatch_twowire.damaged import Money, Repair
from pumpwatch_twowire.listening import (
    FillingHeard,
    Listener,
    MoneyHeard,
    NozzleHeard,
    StatusHeard,
    TotalsHeard,
)
from pumpwatch_twowire.probing import probes
from pumpwatch_twowire.pump import STATES, Pump
from pumpwatch_twowire.words import Layout, Question

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pumpwatch import Ear, Line, Probe, Record, Site
    from pumpwatch_twowire.listening import Heard
    from pumpwatch_twowire.pump import Sale

Decimals = Annotated[int, Field(ge=0, le=4)]
NOZZLE_TAGS = (
    ("state", "", ScanClass.FAST, TagKind.STATE, "0 idle, 1 lifted, 2 fuelling, 3 stopped"),
    ("volume", "L", ScanClass.FAST, TagKind.MEASUREMENT, "Volume of the last filling; of one under way by its money"),
    ("amount", "CNY", ScanClass.FAST, TagKind.MEASUREMENT, "Amount shown"),
    ("price", "CNY/L", ScanClass.NORMAL, TagKind.MEASUREMENT, "Unit price"),
    ("totalizer", "L", ScanClass.NORMAL, TagKind.COUNTER, "Volume totalizer"),
    ("totalizer_amount", "CNY", ScanClass.NORMAL, TagKind.COUNTER, "Amount totalizer"),
)
TOTALIZERS = ("totalizer", "totalizer_amount")
MOST_NUMBERS = 32
"""Numbers of a nozzle's last fillings that are remembered, so that none is given twice."""


class TwoWireSettings(PluginSettings):
    """Keys of ``settings`` of a device with ``driver = "twowire"``."""

    pumps: tuple[Annotated[int, Field(ge=1, le=16)], ...] = Field(
        min_length=1, description="Pump number of each nozzle, in the order of the device's nozzles"
    )
    grades: tuple[Annotated[int, Field(ge=0, le=15)], ...] = Field(
        (), description="Grade of each nozzle as its pump counts, from 0; else its place among its pump's nozzles"
    )
    mode: Literal["tap", "poll"] = Field(
        "tap", description="tap: only listen, a controller asks; poll: ask, for benches without a controller"
    )
    digits: Literal[5, 6] = Field(6, description="Digits of volume and amount on the wire; 5 on older pumps")
    volume_decimals: Decimals = Field(3, description="Decimals of the volume; 3 or 2")
    amount_decimals: Decimals = Field(2, description="Decimals of the amount")
    price_decimals: Decimals = Field(2, description="Decimals of the price")
    totals_decimals: Decimals = Field(2, description="Decimals of the totals; 2 or 1")
    silence_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        10.0, description="Tap: seconds without an answer of the dispenser after which it is not reachable"
    )

    answer_s: float = Field(
        0.2, ge=0.02, le=5.0, description="Poll: so long one pump of several may take to answer, seconds"
    )

    @model_validator(mode="after")
    def _grade_of_each(self) -> TwoWireSettings:
        if self.grades and len(self.grades) != len(self.pumps):
            raise ValueError(f"grades: {len(self.grades)} given for {len(self.pumps)} pumps; give one of each nozzle")
        places = self.places
        if double := [place for place, count in Counter(places).items() if count > 1]:
            raise ValueError(f"pumps: pump {double[0][0]} has grade {double[0][1]} twice; give each nozzle its own")
        return self

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Pump and grade of each nozzle."""
        seen: Counter[int] = Counter()
        grades = self.grades or tuple((seen.update((pump,)), seen[pump] - 1)[1] for pump in self.pumps)
        return tuple(zip(self.pumps, grades, strict=True))


@dataclass(slots=True)
class _Nozzle:
    """A nozzle of the device, and where it stands on the loop."""

    number: int
    nozzle_id: str
    pump: int
    grade: int
    used: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_NUMBERS))
    """Numbers of its last fillings told."""

    def sequence(self, end: datetime) -> int:
        """Of a filling that ended then. In seconds it is the same after a restart, and no rule takes it for a count."""
        seconds = int(end.timestamp())
        while seconds in self.used:
            seconds += 2
        self.used.append(seconds)
        return seconds


class TwoWireDriver(Driver):
    """One dispenser: some pump numbers of a loop. Sends nothing in tap mode, and only four questions in poll mode."""

    name: ClassVar[str] = "twowire"
    Settings: ClassVar[type[PluginSettings]] = TwoWireSettings
    settings: TwoWireSettings

    def __init__(self, settings: TwoWireSettings, site: Site, line: Line) -> None:
        super().__init__(settings, site, line)
        if len(settings.pumps) != len(site.nozzle_ids):
            raise BadConfig(
                f"pumps: {len(settings.pumps)} given for {len(site.nozzle_ids)} nozzles; give the pump of each nozzle"
            )
        named = enumerate(zip(site.nozzle_ids, settings.places, strict=True), 1)
        self._nozzles = {place: _Nozzle(number, nozzle_id, *place) for number, (nozzle_id, place) in named}
        money = Money(settings.volume_decimals, settings.amount_decimals, settings.price_decimals)
        readings = 3 if settings.mode == "tap" else 1
        self._pumps = {pump: Pump(pump, money, settings.totals_decimals, readings) for pump in settings.pumps}
        self._turns = Turns(self._pumps, settings.answer_s)
        self._layout = Layout(settings.digits)
        grades = {pump: frozenset(grade for p, grade in settings.places if p == pump) for pump in self._pumps}
        self._listener = Listener(Repair(self._layout, money, grades))
        self._ear: Ear | None = None
        self._silent_since: datetime | None = None
        self._others: datetime | None = None
        """When another device on the line last answered."""
        self._echoes: bool | None = None
        self._unknown: set[tuple[int, int]] = set()
        """Pump and grade of fillings that no nozzle has."""
        self._ready: list[Record] = []
        """Records not yet returned; kept over a read that is cut short."""

    @classmethod
    def probes(cls) -> Sequence[Probe]:
        """A filling that passes on the loop, then the status of each pump, at 5787 and 9600 baud, even parity."""
        return probes()

    def tags(self) -> Sequence[Tag]:
        """Six tags a nozzle."""
        return [
            Tag(f"nozzle-{nozzle.number}.{name}", unit, scan, kind, text)
            for nozzle in self._nozzles.values()
            for name, unit, scan, kind, text in NOZZLE_TAGS
        ]

    async def connect(self) -> None:
        """Tap: begin to listen, unless it does already. Poll: the protocol has no greeting."""
        if self.settings.mode == "tap" and self._ear is None:
            self._ear = await self.line.listen()

    async def close(self) -> None:
        """Listen no more."""
        self._ear = None

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        """See ``Driver``. Tap: what was heard since the last read, at the time of this one."""
        failed: dict[int, BadReply | SilentError] = {}
        if self.settings.mode == "tap":
            self._listen(now)
        else:
            totals_due = any(tag.name.endswith(TOTALIZERS) for tag in tags)
            heard = 0
            for number in self._turns.due():
                try:
                    await self._ask_pump(number, self._pumps[number], now, totals_due)
                    heard += 1
                except (BadReply, SilentError) as error:
                    failed[number] = error
            if not heard:
                raise next(iter(failed.values()))
        for pump in self._pumps.values():
            for sale in pump.take():
                self._ready.append(self._record(sale))
        wanted = {tag.name for tag in tags}
        samples = [s for nozzle in self._nozzles.values() for s in self._samples(nozzle, now, failed)] if wanted else []
        records, self._ready = self._ready, []
        return Reading([sample for sample in samples if sample.tag in wanted], records)

    # ------------------------------------------------------------ listening

    def _listen(self, now: datetime) -> None:
        if self._ear is None:
            raise NotReachable("not listening yet; connect first")
        try:
            passed = self._ear.heard()
        except NotReachable:
            self._ear = None
            raise
        for heard in self._listener.feed(passed):
            self._hear(heard, now)
        newest = max((pump.heard for pump in self._pumps.values() if pump.heard), default=None)
        self._silent_since = newest or self._silent_since or now
        silent_s = (now - self._silent_since).total_seconds()
        if silent_s > self.settings.silence_s:
            numbers = ", ".join(map(str, self._pumps))
            if self._others and (now - self._others).total_seconds() <= self.settings.silence_s:
                why = "others on the line are; check the pump numbers and the dispenser's power"
            else:
                why = "nor is anybody else; check wiring, 5787 baud 8E1, and that a controller asks"
            raise NotReachable(f"no answer of pump {numbers} heard for {silent_s:.0f} s, {why}")

    def _hear(self, heard: Heard, now: datetime) -> None:
        pump = self._pumps.get(heard.pump)
        if pump is None:
            self._others = now
            return
        match heard:
            case StatusHeard():
                pump.hear_status(heard.status, now)
            case MoneyHeard():
                pump.hear_money(heard.money, now)
            case FillingHeard(clear=True):
                pump.hear_filling(heard.fillings[0], heard.block, heard.whole, now)
            case FillingHeard():
                pump.hear_unclear(heard.fillings, heard.block, heard.alone, now)
            case TotalsHeard():
                pump.hear_totals(heard.grades, now)
            case NozzleHeard():
                pump.hear_nozzle(heard.nozzle)

    # ------------------------------------------------------------ asking

    async def _ask_pump(self, number: int, pump: Pump, now: datetime, totals_due: bool) -> None:
        """What is new at one pump. A status has no check, so a changed one is asked twice."""
        exchange, reply = await self._ask(Question.STATUS, number)
        status = exchange.status(reply)
        pump.hear_status(status, now)
        if STATES.get(status) is not pump.state:
            exchange, reply = await self._ask(Question.STATUS, number)
            pump.hear_status(exchange.status(reply), now)
        if pump.is_fuelling:
            exchange, reply = await self._ask(Question.MONEY, number)
            pump.hear_money(exchange.money(reply), now)
        owes_filling = pump.owes_filling
        if totals_due or owes_filling or pump.owes_totals:
            exchange, reply = await self._ask(Question.TOTALS, number)
            pump.hear_totals(exchange.totals(reply), now)
        if owes_filling:
            exchange, reply = await self._ask(Question.TRANSACTION, number)
            filling, block = exchange.filling(reply)
            pump.hear_filling(filling, block, True, now)

    async def _ask(self, question: Question, number: int) -> tuple[Exchange, bytes]:
        exchange = Exchange(question, number, self._layout, self._echoes)
        reply = await self._turns.within(number, self.line.ask(exchange.request, exchange.complete))
        self._echoes = exchange.echo(reply) > 0
        return exchange, reply

    # ------------------------------------------------------------ what is told

    def _record(self, sale: Sale) -> Transaction | DeviceEvent:
        filling, settings = sale.filling, self.settings
        nozzle = self._nozzles.get((filling.pump, filling.grade))
        if nozzle is None:
            return self._nobodys(sale)
        return Transaction(
            nozzle_id=nozzle.nozzle_id,
            seq=nozzle.sequence(sale.end),
            start=sale.start,
            end=sale.end,
            volume_l=_decimal(filling.volume, settings.volume_decimals),
            amount_cny=_decimal(filling.money, settings.amount_decimals),
            unit_price=_decimal(filling.price, settings.price_decimals),
            totalizer_l=None if sale.total_volume is None else _decimal(sale.total_volume, settings.totals_decimals),
            totalizer_cny=None if sale.total_money is None else _decimal(sale.total_money, settings.totals_decimals),
            raw=sale.block,
            attributes={} if sale.whole else {"block": "damaged"} if sale.block else {"rebuilt": "totalizer"},
        )

    def _nobodys(self, sale: Sale) -> DeviceEvent:
        """A filling of a grade that no nozzle of the configuration has."""
        pump, grade = sale.filling.pump, sale.filling.grade
        detail: dict[str, str | float | int | bool | None] = {
            "code": "unknown_grade",
            "active": True,
            "pump": pump,
            "grade": grade,
            "volume_l": _decimal(sale.filling.volume, self.settings.volume_decimals),
            "zh": f"{pump} 号机有油品 {grade} 的加油，但配置中没有这支枪：请补全 pumps 和 grades",
            "en": f"Pump {pump} sold grade {grade}, which no configured nozzle has: complete pumps and grades",
        }
        return DeviceEvent(sale.end, self.site.station_id, self.site.device_id, EventKind.ALARM, detail)

    def _samples(self, nozzle: _Nozzle, now: datetime, failed: Mapping[int, BadReply | SilentError]) -> list[Sample]:
        pump = self._pumps[nozzle.pump]
        at = pump.heard
        prefix = f"nozzle-{nozzle.number}."
        if isinstance(failed.get(nozzle.pump), BadReply):
            return [Sample(prefix + tag[0], None, now, Quality.BAD_REPLY) for tag in NOZZLE_TAGS]
        if at is None or self._turns.is_silent(nozzle.pump) or (now - at).total_seconds() > self.settings.silence_s:
            return [Sample(prefix + tag[0], None, now, Quality.NOT_CONNECTED) for tag in NOZZLE_TAGS]
        state, quality = self._state(nozzle, pump)
        price = pump.prices.get(nozzle.grade)
        values: dict[str, tuple[float | None, Quality, datetime]] = {
            "state": (state, quality, at),
            "price": self._shown(price, self.settings.price_decimals, pump.priced.get(nozzle.grade, at)),
        }
        # Between lifting and the first running money the display goes back to zero unheard.
        is_old = state in {NozzleState.LIFTED, NozzleState.FUELLING} or pump.owes_filling
        last = pump.last.get(nozzle.grade)
        volume, amount = (last.volume, last.money) if last else (None, None)
        values["volume"] = self._shown(volume, self.settings.volume_decimals, at, is_old=is_old)
        values["amount"] = self._shown(amount, self.settings.amount_decimals, at, is_old=is_old)
        if state == NozzleState.FUELLING and quality.is_good and (running := pump.running_money) is not None:
            money = _decimal(running, self.settings.amount_decimals)
            values["amount"] = (money, Quality.UNCERTAIN, at)
            litres = round(money / _decimal(price, self.settings.price_decimals), 2) if price else None
            values["volume"] = (litres, Quality.UNCERTAIN if price else Quality.BAD, at)
        for name, total in zip(TOTALIZERS, pump.totals(nozzle.grade), strict=True):
            decimals = self.settings.totals_decimals
            values[name] = self._shown(total.value, decimals, total.at or at, is_old=total.is_behind)
        return [Sample(prefix + name, value, heard, quality) for name, (value, quality, heard) in values.items()]

    def _state(self, nozzle: _Nozzle, pump: Pump) -> tuple[int | None, Quality]:
        """Of a pump with several nozzles it must have been heard which is out."""
        if pump.state is None:
            return None, Quality.BAD
        if pump.state is NozzleState.IDLE or self.settings.pumps.count(nozzle.pump) == 1:
            return int(pump.state), Quality.GOOD
        if not pump.nozzle:
            return int(pump.state), Quality.UNCERTAIN
        return int(pump.state if pump.nozzle == nozzle.grade + 1 else NozzleState.IDLE), Quality.GOOD

    @staticmethod
    def _shown(
        value: int | None, decimals: int, at: datetime, *, is_old: bool = False
    ) -> tuple[float | None, Quality, datetime]:
        if value is None:
            return None, Quality.BAD, at
        return _decimal(value, decimals), Quality.STALE if is_old else Quality.GOOD, at


def _decimal(value: int, decimals: int) -> float:
    shown: float = round(value / 10.0**decimals, decimals)
    return shown
