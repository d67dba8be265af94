"""What one gun of a tax port has sold: fillings out of its grand total and its current sale; sans-I/O.

A reply of the port names no gun, and two guns of one board are known to be taken for each other. So what a reply says
is believed only where it fits: a grand total may not fall, nor rise faster than fuel flows unless the current sale is
just that rise; a current sale must be what the grand total rose by; a price counts after three equal reads. What does
not fit is asked again; what goes on saying so is taken as it is and told as an event.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pumpwatch import ChannelHeard, ChannelSale
from pumpwatch_taxport.frames import Command, Total

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pumpwatch import DeviceEvent, SalePart
    from pumpwatch_taxport.frames import CurrentSale

EQUAL_READS = 3
"""So often something unlikely must be read to be believed."""
SLACK_L = 1.0
"""Litres by which a total may seem to run ahead of the flow."""
MINUTE_S = 60.0
LONGEST = timedelta(minutes=10)
"""So long a filling may have been under way when its gun was first looked at; its total rises at its end."""
AHEAD = timedelta(days=1)
"""A board's clock may be so far ahead; more would put a filling of last month into the future."""
TOTAL_CHANGED = "tax_total_changed"
"""``detail["code"]``: a grand total that went back, or further than fuel can flow."""


class PriceWatch:
    """The price of a gun, believed after three equal reads."""

    def __init__(self) -> None:
        self.price: int | None = None
        self._seen: int | None = None
        self._times = 0

    def read(self, price: int) -> None:
        """A reply told it; hundredths."""
        self._times = self._times + 1 if price == self._seen else 1
        self._seen = price
        if self._times >= EQUAL_READS:
            self.price = price


@dataclass(slots=True)
class _Change:
    """A grand total that is not the one told of, and how often what explains it has been asked for."""

    total: Total
    at: datetime
    """When it was read."""
    tries: int = 0


@dataclass(slots=True)
class GunSales:
    """Follows one gun. Call ``grand`` and ``current`` with each answer, ask what ``wants`` says, and ``collect``."""

    nozzle_id: str
    max_flow_l_s: float
    event: Callable[[datetime, Mapping[str, str | float | int | bool | None]], DeviceEvent]
    clock_offset: timedelta
    """Of the board's clock from UTC."""
    price: PriceWatch = field(default_factory=PriceWatch)
    total: Total | None = None
    """The grand total up to which every filling has been told."""
    wants: Command | None = None
    """What should be asked soon; None: the next grand total in its turn."""
    _seen_at: datetime | None = None
    """When ``total`` was last read, and …"""
    _since: datetime | None = None
    """… when the total before it last was: no filling after that can have begun earlier."""
    _whole_since: datetime | None = None
    """From when on the totals account for every filling."""
    _first: tuple[Total, datetime] | None = None
    """The first grand total and when it was read, until a second one agrees."""
    _change: _Change | None = None
    _unlikely: list[Total] = field(default_factory=list)
    _doubted: _Change | None = None
    """The last of those, while the current sale is asked for that would be just this rise."""
    _last: CurrentSale | None = None
    _ready: list[SalePart | DeviceEvent] = field(default_factory=list)

    def collect(self) -> list[SalePart | DeviceEvent]:
        """What has become known since the last time."""
        ready, self._ready = self._ready, []
        return ready

    def unanswered(self) -> None:
        """What was wanted could not be had; the round goes on."""
        self.wants = None

    # ------------------------------------------------------------ answers

    def grand(self, told: Total | None, now: datetime) -> None:
        """A grand total was read."""
        self.wants = self._doubted = None
        if told is None:
            return
        if self.total is None:
            self._begin(told, now)
        elif _same(told, self.total):
            self._unlikely.clear()
            self._change = None
            self._seen_at = now
            self._ready.append(ChannelHeard(self.nozzle_id, "tax", self._whole_since or now, now))
        elif not self._likely(told, now):
            self._doubt(told, now)
        else:
            self._unlikely.clear()
            tries = self._change.tries if self._change else 0
            self._change = _Change(told, now, tries)
            self.wants = Command.CURRENT

    def current(self, told: CurrentSale | None, now: datetime, raw: bytes) -> None:
        """The last filling was read."""
        self.wants = None
        if told is not None:
            self.price.read(told.price)
        if self._doubted is not None:
            doubted, self._doubted = self._doubted, None
            if told is None or self.total is None or (told.litres, told.money) != _rise(self.total, doubted.total):
                self.wants = Command.GRAND
                return
            self._change = doubted
            self._unlikely.clear()
        if self._change is None:
            if self._last is None and told is not None and self.total is not None:
                self._tell(told, now, raw, None)  # of before we came: who knows it will know it again
                self._last = told
            return
        if self.total is None:
            return
        litres, money = _rise(self.total, self._change.total)
        rose = Total(litres, money)
        if told is not None and (told.litres, told.money) == (litres, money):
            self._tell(told, now, raw, self._change.total)
            self._done(told, now)
        elif self._change.tries + 1 < EQUAL_READS:
            self._change.tries += 1
            self.wants = Command.GRAND
        else:
            self._split(rose, told, now, raw)
            self._done(told, now)

    # ------------------------------------------------------------ what they mean

    def _begin(self, told: Total, now: datetime) -> None:
        """The first total counts when the next one agrees: it may have been another gun's."""
        if self._first is None or not self._flows(self._first[0], told, now - self._first[1] + LONGEST):
            self._first, self.wants = (told, now), Command.GRAND
            return
        self.total, self._seen_at = self._first
        self._whole_since, self._since = self._seen_at, self._seen_at - LONGEST
        self.wants = Command.CURRENT
        if _same(told, self.total):
            self._seen_at = now
        else:
            self._change = _Change(told, now)

    def _likely(self, told: Total, now: datetime) -> bool:
        """Whether the total may have come from ``total`` by selling."""
        return self.total is not None and self._flows(self.total, told, now - (self._since or now - LONGEST))

    def _flows(self, before: Total, after: Total, lasted: timedelta) -> bool:
        litres = (after.litres - before.litres) / 100
        return _grows(before, after) and litres <= self.max_flow_l_s * max(0.0, lasted.total_seconds()) + SLACK_L

    def _doubt(self, told: Total, now: datetime) -> None:
        """Another gun's total, or a memory that was changed: only if it is read again and again.

        Unless the current sale is just this rise: then fuel flowed faster than was thought.
        """
        self._change = None
        if self._unlikely and not _grows(self._unlikely[-1], told):
            self._unlikely.clear()
        self._unlikely.append(told)
        if len(self._unlikely) < EQUAL_READS or self.total is None:
            self.wants = Command.GRAND
            if self.total is not None and _grows(self.total, told):
                self._doubted, self.wants = _Change(told, now), Command.CURRENT
            return
        detail: dict[str, str | float | int | bool | None] = {
            "code": TOTAL_CHANGED,
            "nozzle_id": self.nozzle_id,
            "before_l": self.total.litres / 100,
            "after_l": told.litres / 100,
            "before_cny": self.total.money / 100,
            "after_cny": told.money / 100,
            "zh": "税控总累计倒退或跳变",
            "en": "the tax grand total went back or jumped",
        }
        self._ready.append(self.event(now, detail))
        self.total, self._seen_at, self._since, self._whole_since = told, now, now - LONGEST, now
        self._unlikely.clear()

    def _split(self, rose: Total, told: CurrentSale | None, now: datetime, raw: bytes) -> None:
        """More was sold than the current sale says, or something else: the total alone is sure."""
        if told is not None and told != self._last and self._fits(told):
            rest = Total(rose.litres - told.litres, rose.money - told.money)
            if rest.litres > 0 and rest.money > 0:
                self._tell_total(rest, now)
                self._tell(told, now, raw, self._change.total if self._change else None)
                return
        self._tell_total(rose, now)

    def _fits(self, told: CurrentSale) -> bool:
        """Whether a current sale's price is this gun's, and its money litres times price."""
        at_price = self.price.price is None or told.price == self.price.price
        return at_price and abs(told.litres * told.price - told.money * 100) <= 100

    def _done(self, told: CurrentSale | None, now: datetime) -> None:
        if self._change is not None:
            self._since, self._seen_at = self._seen_at, self._change.at
            self.total = self._change.total
        self._change = None
        self._last = told or self._last
        self.wants = Command.GRAND  # nothing more since, or the next one already

    def _tell(self, sale: CurrentSale, now: datetime, raw: bytes, total: Total | None) -> None:
        self._ready.append(
            ChannelSale(
                self.nozzle_id,
                self._time(sale, now),
                "tax",
                volume_l=sale.litres / 100,
                amount_cny=sale.money / 100,
                unit_price=sale.price / 100,
                at_resolution_s=MINUTE_S,
                seen_after=self._seen_at if total is not None else None,
                total_l=None if total is None else total.litres / 100,
                raw=raw,
            )
        )

    def _tell_total(self, rose: Total, now: datetime) -> None:
        since = self._seen_at or now
        self._ready.append(
            ChannelSale(
                self.nozzle_id,
                since,
                "tax",
                volume_l=rose.litres / 100,
                amount_cny=rose.money / 100,
                at_resolution_s=(now - since).total_seconds(),
                seen_after=since,
                several=True,
            )
        )

    def _time(self, sale: CurrentSale, now: datetime) -> datetime:
        """Its end by the board's clock: of the days with this number the last that can have been."""
        local = now.astimezone(UTC).replace(tzinfo=None) + self.clock_offset
        found: list[datetime] = []
        for months in (-2, -1, 0, 1):
            year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
            if sale.day <= monthrange(year, month + 1)[1]:
                found.append(datetime(year, month + 1, sale.day, sale.hour, sale.minute))  # noqa: DTZ001 - wall clock
        last = max(each for each in found if each <= local + AHEAD)  # one of any two months has 31 days
        return (last - self.clock_offset).replace(tzinfo=UTC)


def _same(one: Total, other: Total) -> bool:
    return (one.litres, one.money) == (other.litres, other.money)


def _rise(before: Total, after: Total) -> tuple[int, int]:
    return after.litres - before.litres, after.money - before.money


def _grows(before: Total, after: Total) -> bool:
    return after.litres >= before.litres and after.money >= before.money
