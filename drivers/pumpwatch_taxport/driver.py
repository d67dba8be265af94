"""The tax-port driver: fillings, totals and identity of a tax-control board, one question every few seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from pumpwatch import (
    BadConfig,
    BadReply,
    DeviceEvent,
    DeviceIdentity,
    Driver,
    EventKind,
    NotReachable,
    PluginSettings,
    Quality,
    Reading,
    Sample,
    ScanClass,
    Tag,
    TagKind,
)
from pumpwatch_taxport.frames import Command, CurrentSale, Question, TaxInfo, Total
from pumpwatch_taxport.guns import GunSales
from pumpwatch_taxport.probing import probes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch import Line, Probe, PumpwatchError, Record, SaleChannel, SalePart, Site, Value
    from pumpwatch_taxport.frames import Fact

HASTE = 4
"""Questions for news of guns in a row, then the others have a turn."""
BAD_IN_A_ROW = 3
"""Garbled replies before the device counts as not readable."""
GUN_TAGS: Mapping[str, tuple[str, ScanClass, TagKind, str]] = {
    "tax_volume": ("L", ScanClass.FAST, TagKind.MEASUREMENT, "Last filling in tax control"),
    "tax_amount": ("CNY", ScanClass.FAST, TagKind.MEASUREMENT, "Its money"),
    "tax_price": ("CNY/L", ScanClass.FAST, TagKind.MEASUREMENT, "Price, after three equal reads"),
    "tax_total": ("L", ScanClass.FAST, TagKind.COUNTER, "Grand total of the tax memory"),
    "tax_total_amount": ("CNY", ScanClass.FAST, TagKind.COUNTER, "Its money"),
    "tax_day": ("L", ScanClass.SLOW, TagKind.MEASUREMENT, "Total of today"),
    "tax_day_amount": ("CNY", ScanClass.SLOW, TagKind.MEASUREMENT, "Its money"),
    "tax_month": ("L", ScanClass.SLOW, TagKind.MEASUREMENT, "Total of this month"),
    "tax_month_amount": ("CNY", ScanClass.SLOW, TagKind.MEASUREMENT, "Its money"),
}
STATUS = Tag("status", "", ScanClass.NORMAL, TagKind.STATE, "normal, or not_initialised")
SERIAL = Tag("identity.tax_serial", "", ScanClass.SLOW, TagKind.IDENTITY, "Factory number of the tax board")
TAXPAYER = Tag("identity.taxpayer", "", ScanClass.SLOW, TagKind.IDENTITY, "Taxpayer's number")
OIL = Tag("identity.oil", "", ScanClass.SLOW, TagKind.IDENTITY, "Oil code of the first gun")
CLOCK = Tag("clock_difference", "s", ScanClass.SLOW, TagKind.MEASUREMENT, "Board's clock less ours, to the minute")
SLOW = frozenset({Command.INFO, Command.DAY, Command.MONTH})
"""What need not be asked each time it is wanted."""
BOARD_TAGS = (STATUS, SERIAL, TAXPAYER, OIL, CLOCK)
_TOLD: Mapping[Command, tuple[str, str]] = {
    Command.CURRENT: ("tax_volume", "tax_amount"),
    Command.GRAND: ("tax_total", "tax_total_amount"),
    Command.DAY: ("tax_day", "tax_day_amount"),
    Command.MONTH: ("tax_month", "tax_month_amount"),
}


class TaxPortSettings(PluginSettings):
    """Keys of ``settings`` of a device with ``driver = "taxport"``."""

    guns: tuple[Annotated[int, Field(ge=1, le=99)], ...] = Field(
        (), description="The board's numbers of the device's nozzles, in their order; left out: 1, 2 …"
    )
    clock_offset_h: Annotated[float, Field(ge=-14, le=14)] = Field(
        8.0, description="Hours the board's clock is ahead of UTC"
    )
    interval_s: Annotated[float, Field(ge=0.05, le=60)] = Field(
        4.0, description="Seconds between two questions; boards are known to bear 4"
    )
    slow_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        300.0, description="How often identity, day and month totals are asked for, seconds"
    )
    max_flow_l_s: Annotated[float, Field(gt=0, le=10)] = Field(
        3.5, description="A total that rises faster than this is taken for another gun's at first, L/s"
    )


class TaxPortDriver(Driver):
    """Reads one board. A read asks when a question is due and tells what is known; so scans may be as quick as others'.

    Grand totals are asked for gun by gun; when one has risen, the current sale is, until it explains the rise.
    """

    name: ClassVar[str] = "taxport"
    Settings: ClassVar[type[PluginSettings]] = TaxPortSettings
    sale_channels: frozenset[SaleChannel] = frozenset({"tax"})

    def __init__(self, settings: TaxPortSettings, site: Site, line: Line) -> None:
        super().__init__(settings, site, line)
        numbers = settings.guns or tuple(range(1, len(site.nozzle_ids) + 1))
        if not site.nozzle_ids:
            raise BadConfig("a tax port without nozzles; name those of its board in `nozzles`")
        if len(numbers) != len(site.nozzle_ids) or len(set(numbers)) != len(numbers):
            raise BadConfig(
                f"guns: {len(numbers)} numbers for {len(site.nozzle_ids)} nozzles; give each of `nozzles` its own"
            )
        self._interval = timedelta(seconds=settings.interval_s)
        self._slow = timedelta(seconds=settings.slow_s)
        self._offset = timedelta(hours=settings.clock_offset_h)
        self._places = {gun: place for place, gun in enumerate(numbers, 1)}
        self._guns = {
            gun: GunSales(nozzle_id, settings.max_flow_l_s, self._event, self._offset)
            for gun, nozzle_id in zip(numbers, site.nozzle_ids, strict=True)
        }
        self._tags = [
            *(Tag(f"nozzle-{n}.{name}", *what) for n in self._places.values() for name, what in GUN_TAGS.items()),
            *BOARD_TAGS,
        ]
        self._about: dict[str, tuple[Command, int]] = {
            f"nozzle-{place}.{name}": (command, gun)
            for gun, place in self._places.items()
            for command, names in _TOLD.items()
            for name in names
        } | dict.fromkeys([tag.name for tag in BOARD_TAGS], (Command.INFO, 0))
        """What is asked for each tag, of which gun."""
        self._known: dict[str, Sample] = {}
        """The last samples; a read tells them until there are newer ones."""
        self._asked_at: datetime | None = None
        self._trouble: PumpwatchError | None = None
        """Why the last question brought nothing; tells the runner so until the next one is due."""
        self._bad = BAD_IN_A_ROW
        """Garbled replies since the last good one; before the first one none is forgiven."""
        self._haste = 0
        self._turn = list(numbers)
        """Guns, the one whose turn it is first."""
        self._wished: dict[tuple[Command, int], None] = {}
        """What reads want to know and was not asked since, in their order."""
        self._asked: dict[tuple[Command, int], datetime] = {}
        """When each was last asked."""
        self._was_slow = False
        self._info_guns = [0, numbers[0]]
        """Whom the question who the board is names: 0 as in the field, and the other if that is not answered."""
        self._ready: list[Record | SalePart] = []

    @classmethod
    def probes(cls) -> Sequence[Probe]:
        """The board's information, with even parity and without."""
        return probes()

    def tags(self) -> Sequence[Tag]:
        """Nine tags a nozzle, and the board's own."""
        return self._tags

    async def connect(self) -> None:
        """Nothing is sent. A question without an answer may be asked again at once: the runner has waited."""
        if self._trouble is not None:
            self._asked_at = None

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        """See ``Driver``. At most one question; what is not asked now is told as it was last read, with its time."""
        if self._asked_at is None or not timedelta(0) <= now - self._asked_at < self._interval:
            await self._ask(self._next(tags, now), now)
        elif self._trouble is not None:
            raise self._trouble
        samples = [self._known.get(tag.name) or Sample(tag.name, None, now, Quality.STALE) for tag in tags]
        ready, self._ready = self._ready, []
        for gun in self._guns.values():
            ready += gun.collect()
        return Reading(samples, ready)

    # ------------------------------------------------------------ what is asked

    def _next(self, tags: Sequence[Tag], now: datetime) -> Question:
        """The question that is to be asked now, of those that these tags and earlier reads want."""
        self._wished |= dict.fromkeys(self._about[tag.name] for tag in tags if tag.name in self._about)
        command, gun = chosen = self._choose(now)
        self._wished.pop(chosen, None)
        self._asked[chosen] = now
        asked_of = self._info_guns[0] if command is Command.INFO else gun
        return Question(command, asked_of, (now.astimezone(UTC) + self._offset).date())

    def _choose(self, now: datetime) -> tuple[Command, int]:
        """What was never asked; then news of a gun; now and then what changes slowly; else the next grand total."""
        for item in self._wished:
            if item not in self._asked:
                return item
        news = [(wants, gun) for gun in self._turn if (wants := self._guns[gun].wants) is not None]
        news = [item for item in news if item in self._wished]
        if news and self._haste < HASTE:
            self._haste += 1
            return news[0]
        self._haste = 0
        slow = [item for item in self._wished if item[0] in SLOW and not self._is_fresh(self._asked[item], now)]
        if slow and not self._was_slow:
            self._was_slow = True
            return slow[0]
        self._was_slow = False
        for gun in self._turn:
            if (Command.GRAND, gun) in self._wished:
                self._turn.remove(gun)
                self._turn.append(gun)
                return Command.GRAND, gun
        return next(iter(self._wished), (Command.GRAND, self._turn[0]))

    def _is_fresh(self, asked: datetime, now: datetime) -> bool:
        return timedelta(0) <= now - asked < self._slow

    async def _ask(self, question: Question, now: datetime) -> None:
        self._asked_at = now
        if question.command is Command.INFO:
            self._info_guns.reverse()
        self._trouble = NotReachable(f"no answer to {question}; check speed and parity of the line, try parity=N and E")
        try:
            reply = await self.line.ask(question.request, question.complete)
            fact = question.fact(reply)
        except NotReachable as error:
            self._trouble = error
            raise
        except BadReply as error:
            self._garbled(question, now)
            self._bad += 1
            self._trouble = error if self._bad > BAD_IN_A_ROW else None
            if self._trouble is not None:
                raise
            return
        self._trouble, self._bad = None, 0
        self._take(question, fact, now, reply)

    def _garbled(self, question: Question, now: datetime) -> None:
        if question.command is not Command.INFO:
            self._guns[question.gun].unanswered()
            self._note(question, None, None, now, Quality.BAD_REPLY)
        else:
            self._known |= {tag.name: Sample(tag.name, None, now, Quality.BAD_REPLY) for tag in BOARD_TAGS}

    # ------------------------------------------------------------ what is answered

    def _take(self, question: Question, fact: Fact, now: datetime, reply: bytes) -> None:
        if isinstance(fact, TaxInfo):
            self._info_guns.reverse()
            self._identify(fact, now)
            return
        gun = self._guns[question.gun]
        if question.command is Command.CURRENT:
            sale = fact if isinstance(fact, CurrentSale) else None
            gun.current(sale, now, reply)
        elif question.command is Command.GRAND:
            gun.grand(fact if isinstance(fact, Total) else None, now)
        elif isinstance(fact, Total) and fact.price:
            gun.price.read(fact.price)
        if fact is None and question.command is Command.DAY and STATUS.name in self._known:
            fact = Total(0, 0) if self._known[STATUS.name].value == "normal" else None  # no sale that day
        if fact is None:
            self._note(question, None, None, now, Quality.BAD)
        else:
            self._note(question, fact.litres / 100, fact.money / 100, now, Quality.GOOD)
        if gun.price.price is not None:
            self._set(f"nozzle-{self._places[question.gun]}.tax_price", gun.price.price / 100, now)

    def _note(
        self, question: Question, litres: float | None, money: float | None, now: datetime, quality: Quality
    ) -> None:
        for name, value in zip(_TOLD[question.command], (litres, money), strict=True):
            self._set(f"nozzle-{self._places[question.gun]}.{name}", value, now, quality)

    def _set(self, name: str, value: Value, now: datetime, quality: Quality = Quality.GOOD) -> None:
        self._known[name] = Sample(name, value, now, quality)

    def _identify(self, info: TaxInfo, now: datetime) -> None:
        whole = info.clock is not None
        self._set(STATUS.name, "normal" if whole else "not_initialised", now)
        self._set(SERIAL.name, info.serial, now)
        self._set(TAXPAYER.name, info.taxpayer if whole else None, now, Quality.GOOD if whole else Quality.BAD)
        self._set(OIL.name, info.oil if whole else None, now, Quality.GOOD if whole else Quality.BAD)
        if info.clock is None:
            self._set(CLOCK.name, None, now, Quality.BAD)
        else:
            ahead = (info.clock - self._offset).replace(tzinfo=UTC) - now.replace(second=0, microsecond=0)
            self._set(CLOCK.name, int(ahead.total_seconds()), now)
        if self.site.dispenser_id is not None:
            identity = DeviceIdentity(self.site.station_id, self.site.dispenser_id, now, tax_serial=info.serial.strip())
            self._ready.append(identity)

    def _event(self, at: datetime, detail: Mapping[str, str | float | int | bool | None]) -> DeviceEvent:
        return DeviceEvent(at, self.site.station_id, self.site.device_id, EventKind.ALARM, detail)
