"""The Lanfeng driver: one dispenser of a line, heard beside the station's controller or asked."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from pumpwatch import (
    BadConfig,
    BadReply,
    Driver,
    NotReachable,
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
from pumpwatch_lanfeng.frames import Exchange, Question
from pumpwatch_lanfeng.gun import Gun
from pumpwatch_lanfeng.listening import Listener, StateHeard
from pumpwatch_lanfeng.probing import probes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pumpwatch import Ear, Line, Probe, Record, Site
    from pumpwatch_lanfeng.gun import Sale

Decimals = Annotated[int, Field(ge=0, le=4)]
NOZZLE_TAGS = (
    ("state", "", ScanClass.FAST, TagKind.STATE, "0 idle, 1 lifted, 2 fuelling"),
    ("volume", "L", ScanClass.FAST, TagKind.MEASUREMENT, "Volume shown"),
    ("amount", "CNY", ScanClass.FAST, TagKind.MEASUREMENT, "Amount shown"),
    ("price", "CNY/L", ScanClass.NORMAL, TagKind.MEASUREMENT, "Unit price"),
    ("controlled", "", ScanClass.NORMAL, TagKind.STATE, "1 while a controller has taken the gun over"),
    ("totalizer", "L", ScanClass.NORMAL, TagKind.COUNTER, "Volume totalizer"),
    ("totalizer_amount", "CNY", ScanClass.NORMAL, TagKind.COUNTER, "Amount totalizer"),
)
TOTALIZERS = {"totalizer": Question.TOTAL_LITRES, "totalizer_amount": Question.TOTAL_MONEY}
TOTALS_DECIMALS = 2
MOST_NUMBERS = 32
"""Numbers of a nozzle's last fillings that are remembered, so that none is given twice."""


class LanfengSettings(PluginSettings):
    """Keys of ``settings`` of a device with ``driver = "lanfeng"``."""

    guns: tuple[Annotated[int, Field(ge=1, le=99)], ...] = Field(
        min_length=1, description="Gun number of each nozzle, in the order of the device's nozzles"
    )
    mode: Literal["tap", "poll"] = Field(
        "tap", description="tap: only listen, a controller asks; poll: ask, for benches without a controller"
    )
    volume_decimals: Decimals = Field(2, description="Decimals of the volume")
    amount_decimals: Decimals = Field(2, description="Decimals of the amount")
    price_decimals: Decimals = Field(2, description="Decimals of the price")
    silence_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        10.0, description="Tap: seconds without an answer of the dispenser after which it is not reachable"
    )

    answer_s: float = Field(
        0.2, ge=0.02, le=5.0, description="Poll: so long one gun of several may take to answer, seconds"
    )

    @field_validator("guns")
    @classmethod
    def _each_once(cls, guns: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(guns)) < len(guns):
            raise ValueError("a gun stands there twice; give each nozzle its own gun")
        return guns


@dataclass(slots=True)
class _Nozzle:
    """A nozzle of the device, and its gun."""

    number: int
    nozzle_id: str
    gun: Gun
    used: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_NUMBERS))
    """Numbers of its last fillings told."""

    def sequence(self, end: datetime) -> int:
        """Of a filling that ended then. In seconds it is the same after a restart, and no rule takes it for a count."""
        seconds = int(end.timestamp())
        while seconds in self.used:
            seconds += 2
        self.used.append(seconds)
        return seconds


class LanfengDriver(Driver):
    """One dispenser: some guns of a line. Sends nothing in tap mode, and only three questions in poll mode."""

    name: ClassVar[str] = "lanfeng"
    Settings: ClassVar[type[PluginSettings]] = LanfengSettings
    settings: LanfengSettings

    def __init__(self, settings: LanfengSettings, site: Site, line: Line) -> None:
        super().__init__(settings, site, line)
        if len(settings.guns) != len(site.nozzle_ids):
            raise BadConfig(
                f"guns: {len(settings.guns)} given for {len(site.nozzle_ids)} nozzles; give the gun of each nozzle"
            )
        volume, amount = settings.volume_decimals, settings.amount_decimals
        scale = 10.0 ** (volume + settings.price_decimals - amount)
        units = 10.0 ** (TOTALS_DECIMALS - volume), 10.0 ** (TOTALS_DECIMALS - amount)
        self._nozzles = {
            gun: _Nozzle(number, nozzle_id, Gun(scale, *units))
            for number, (gun, nozzle_id) in enumerate(zip(settings.guns, site.nozzle_ids, strict=True), 1)
        }
        self._turns = Turns(self._nozzles, settings.answer_s)
        self._listener = Listener()
        self._ear: Ear | None = None
        self._silent_since: datetime | None = None
        self._others: datetime | None = None
        """When another device on the line last answered."""
        self._echoes: bool | None = None
        self._ready: list[Record] = []
        """Records not yet returned; kept over a read that is cut short."""

    @classmethod
    def probes(cls) -> Sequence[Probe]:
        """Questions and answers that pass on the line, then the state of the first guns."""
        return probes()

    def tags(self) -> Sequence[Tag]:
        """Seven tags a nozzle."""
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
            totals_due = any(tag.name.endswith(tuple(TOTALIZERS)) for tag in tags)
            heard = 0
            for number in self._turns.due():
                try:
                    await self._ask_gun(number, self._nozzles[number].gun, now, totals_due)
                    heard += 1
                except (BadReply, SilentError) as error:
                    failed[number] = error
            if not heard:
                raise next(iter(failed.values()))
        for nozzle in self._nozzles.values():
            self._ready += [self._record(nozzle, sale) for sale in nozzle.gun.take()]
        wanted = {tag.name for tag in tags}
        samples = (
            [s for gun, nozzle in self._nozzles.items() for s in self._samples(gun, nozzle, now, failed.get(gun))]
            if wanted
            else []
        )
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
            nozzle = self._nozzles.get(heard.gun)
            if nozzle is None:
                self._others = now
            elif isinstance(heard, StateHeard):
                nozzle.gun.hear_state(heard.state, now)
            else:
                nozzle.gun.hear_total(heard.question, heard.total, now)
        newest = max((n.gun.heard for n in self._nozzles.values() if n.gun.heard), default=None)
        self._silent_since = newest or self._silent_since or now
        silent_s = (now - self._silent_since).total_seconds()
        if silent_s > self.settings.silence_s:
            numbers = ", ".join(map(str, self._nozzles))
            if self._others and (now - self._others).total_seconds() <= self.settings.silence_s:
                why = "others on the line are; check the gun numbers and the dispenser's power"
            else:
                why = "nor is anybody else; check wiring, 9600 baud 8N1, and that a controller asks"
            raise NotReachable(f"no answer of gun {numbers} heard for {silent_s:.0f} s, {why}")

    # ------------------------------------------------------------ asking

    async def _ask_gun(self, number: int, gun: Gun, now: datetime, totals_due: bool) -> None:
        """What is new at one gun."""
        exchange = Exchange(Question.STATE, number, self._echoes)
        reply = await self._turns.within(number, self.line.ask(exchange.request, exchange.complete))
        state = exchange.state(reply)
        self._echoes = exchange.echo(reply) > 0
        gun.hear_state(state, now)
        if totals_due or gun.owes_totals:
            for question in TOTALIZERS.values():
                exchange = Exchange(question, number, self._echoes)
                answer = self.line.ask(exchange.request, exchange.complete)
                gun.hear_total(question, exchange.total(await self._turns.within(number, answer)), now)

    # ------------------------------------------------------------ what is told

    def _record(self, nozzle: _Nozzle, sale: Sale) -> Transaction:
        settings, (price, money, litres) = self.settings, sale.figures
        return Transaction(
            nozzle_id=nozzle.nozzle_id,
            seq=nozzle.sequence(sale.end),
            start=sale.start,
            end=sale.end,
            volume_l=_decimal(litres, settings.volume_decimals),
            amount_cny=_decimal(money, settings.amount_decimals),
            unit_price=_decimal(price, settings.price_decimals),
            totalizer_l=None if sale.total_litres is None else _decimal(sale.total_litres, TOTALS_DECIMALS),
            totalizer_cny=None if sale.total_money is None else _decimal(sale.total_money, TOTALS_DECIMALS),
        )

    def _samples(
        self, number: int, nozzle: _Nozzle, now: datetime, failed: BadReply | SilentError | None
    ) -> list[Sample]:
        gun, settings, prefix = nozzle.gun, self.settings, f"nozzle-{nozzle.number}."
        at, shown = gun.heard, gun.shown
        if isinstance(failed, BadReply):
            return [Sample(prefix + tag[0], None, now, Quality.BAD_REPLY) for tag in NOZZLE_TAGS]
        if (
            at is None
            or shown is None
            or self._turns.is_silent(number)
            or (now - at).total_seconds() > settings.silence_s
        ):
            return [Sample(prefix + tag[0], None, now, Quality.NOT_CONNECTED) for tag in NOZZLE_TAGS]
        state = gun.state
        values: dict[str, float | None] = {
            "state": None if state is None else int(state),
            "volume": _decimal(shown.litres, settings.volume_decimals),
            "amount": _decimal(shown.money, settings.amount_decimals),
            "price": _decimal(shown.price, settings.price_decimals),
            "controlled": int(shown.is_controlled),
        }
        samples = [
            Sample(prefix + name, value, at, Quality.BAD if value is None else Quality.GOOD)
            for name, value in values.items()
        ]
        for name, question in TOTALIZERS.items():
            total = gun.totals[question]
            if total.value is None:
                samples.append(Sample(prefix + name, None, at, Quality.BAD))
                continue
            quality = Quality.STALE if total.is_behind else Quality.GOOD
            samples.append(Sample(prefix + name, _decimal(total.value, TOTALS_DECIMALS), total.at or at, quality))
        return samples


def _decimal(value: int, decimals: int) -> float:
    shown: float = round(value / 10.0**decimals, decimals)
    return shown
