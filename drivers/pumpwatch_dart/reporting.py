"""What a dispenser's sides have told, as tags, samples and records."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pumpwatch import (
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    NozzleState,
    Quality,
    Sample,
    ScanClass,
    Tag,
    TagKind,
    Text,
    Transaction,
)
from pumpwatch_dart.alarms import meaning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from datetime import datetime
    from typing import Literal

    from pumpwatch import Record, Site, Value
    from pumpwatch_dart.fillings import Decimals, Filling
    from pumpwatch_dart.side import Side

IDENTITY_AGAIN = timedelta(hours=1)
"""An unchanged identity is reported again after this long: proof that it was looked at."""
MOST_NUMBERS = 32
"""Numbers of a nozzle's last fillings that are remembered, so that none is given twice."""
NOZZLE_TAGS = (
    Tag("state", "", ScanClass.FAST, TagKind.STATE, "0 idle, 1 lifted, 2 fuelling, 3 stopped, 4 locked"),
    Tag("volume", "L", ScanClass.FAST, TagKind.MEASUREMENT, "Volume shown"),
    Tag("amount", "CNY", ScanClass.FAST, TagKind.MEASUREMENT, "Amount shown"),
    Tag("price", "CNY/L", ScanClass.NORMAL, TagKind.MEASUREMENT, "Unit price"),
    Tag("totalizer", "L", ScanClass.NORMAL, TagKind.COUNTER, "Volume totalizer"),
    Tag("totalizer_amount", "CNY", ScanClass.NORMAL, TagKind.COUNTER, "Amount totalizer"),
    Tag("sequence", "", ScanClass.FAST, TagKind.COUNTER, "Number of the last filling told; 0 before the first"),
)
SIDE_TAGS = (
    Tag("status", "", ScanClass.NORMAL, TagKind.STATE, "DC1: 1 reset, 2 authorised, 4 filling, 5 completed …"),
    Tag("alarm", "", ScanClass.NORMAL, TagKind.STATE, "DC5: code of the last alarm; 0 before the first"),
)
NUMBER = Tag("identity.number", "", ScanClass.SLOW, TagKind.IDENTITY, "DC9: ten digits")
DECIMALS = Tag("identity.decimals", "", ScanClass.SLOW, TagKind.IDENTITY, "DC7: decimals of volume, amount, price")
UNPROVEN = Tag(
    "unproven", "", ScanClass.NORMAL, TagKind.COUNTER, "Fillings heard that nothing proved; they are not told"
)
WRONG_DECIMALS = Text("加油机报告的小数位数与配置不符", "the pump tells other decimals than are configured")


class Reporter:
    """Turns what the sides know into what the core takes; nozzles are numbered through, side by side."""

    def __init__(
        self,
        site: Site,
        sides: tuple[tuple[int, Side], ...],
        per_side: int,
        decimals: Decimals,
        identity_is: Literal["serial", "mainboard_serial"] | None,
    ) -> None:
        self._site = site
        self._sides = sides
        self._decimals = decimals
        self._identity_is = identity_is
        self._nozzles = [
            (number, sides[(number - 1) // per_side], (number - 1) % per_side + 1)
            for number in range(1, len(site.nozzle_ids) + 1)
        ]
        self._used: dict[str, deque[int]] = {nozzle_id: deque(maxlen=MOST_NUMBERS) for nozzle_id in site.nozzle_ids}
        self._before: datetime | None = None
        self._now: datetime | None = None
        """Of the last scan."""
        self._number: str | None = None
        self._identity: DeviceIdentity | None = None
        self._warned: set[int] = set()
        self.tags = [
            *(replace(tag, name=f"nozzle-{n}.{tag.name}") for n, _, _ in self._nozzles for tag in NOZZLE_TAGS),
            *(replace(tag, name=f"side-{n}.{tag.name}") for n in range(1, len(sides) + 1) for tag in SIDE_TAGS),
            NUMBER,
            DECIMALS,
            UNPROVEN,
        ]

    # ------------------------------------------------------------ samples

    def samples(self, wanted: AbstractSet[str], qualities: dict[int, Quality], now: datetime) -> list[Sample]:
        """The tags that are wanted; those of sides in ``qualities`` have that quality and no value."""
        self._before, self._now = self._now, now
        every = [*self._of_nozzles(qualities, now), *self._of_sides(qualities, now), *self._own(now)]
        return [sample for sample in every if sample.tag in wanted]

    def _of_nozzles(self, qualities: dict[int, Quality], now: datetime) -> Iterator[Sample]:
        for number, (address, side), nozzle in self._nozzles:
            bad = qualities.get(address)
            shown, price = side.shown.get(nozzle), side.prices.get(nozzle)
            volume, amount, counted = side.totals.get(nozzle, (None, None, now))
            state = side.state(nozzle)
            # Between lifting and the first flow the display goes back to zero unseen; while fuel flows it is what was
            # heard since the last scan, or an old one: then it would seem to jump.
            before = self._before
            unheard = before is not None and side.alive is not None and side.alive <= before < now
            is_old = state is NozzleState.LIFTED or (state is not NozzleState.IDLE and unheard)
            display = Quality.STALE if is_old else Quality.GOOD
            values: tuple[tuple[str, Value, Quality, datetime], ...] = (
                ("state", int(state), Quality.GOOD if side.is_sure else Quality.UNCERTAIN, now),
                ("volume", _point(shown.volume if shown else None, self._decimals.volume), display, now),
                ("amount", _point(shown.amount if shown else None, self._decimals.amount), display, now),
                ("price", _point(price, self._decimals.price), Quality.GOOD, now),
                ("totalizer", _point(volume, self._decimals.totals), Quality.GOOD, counted),
                ("totalizer_amount", _point(amount, self._decimals.amount), Quality.GOOD, counted),
                ("sequence", max(self._used[self._site.nozzle_ids[number - 1]], default=0), Quality.GOOD, now),
            )
            for name, value, quality, at in values:
                yield _sample(f"nozzle-{number}.{name}", value, at if bad is None else now, bad or quality, bad)

    def _of_sides(self, qualities: dict[int, Quality], now: datetime) -> Iterator[Sample]:
        for number, (address, side) in enumerate(self._sides, 1):
            bad = qualities.get(address)
            status = None if side.status is None else int(side.status)
            yield _sample(f"side-{number}.status", status, now, bad or Quality.GOOD, bad)
            yield _sample(f"side-{number}.alarm", side.alarm, now, bad or Quality.GOOD, bad)

    def _own(self, now: datetime) -> Iterator[Sample]:
        number = next((side.identity for _, side in self._sides if side.identity), None)
        told = next((side.parameters for _, side in self._sides if side.parameters), None)
        decimals = f"{told.volume}/{told.amount}/{told.price}" if told else None
        yield _sample(NUMBER.name, number, now, Quality.GOOD, None)
        yield _sample(DECIMALS.name, decimals, now, Quality.GOOD, None)
        yield Sample(UNPROVEN.name, sum(side.book.unproven for _, side in self._sides), now)

    # ------------------------------------------------------------ records

    def records(self, now: datetime) -> list[Record]:
        """All that became known since the last time, each once."""
        records: list[Record] = []
        for index, (address, side) in enumerate(self._sides):
            first = next(number for number, (where, _), _ in self._nozzles if where == address)
            records += [self._sale(first, filling) for filling in side.book.collect(now)]
            while side.book.foreign:
                records.append(self._nobodys(index, address, side.book.foreign.popleft()))
            records += self._alarms(index, address, side, now)
        return [*records, *self._identify(now)]

    def _sale(self, first: int, filling: Filling) -> Transaction:
        nozzle_id = self._site.nozzle_ids[first + (filling.nozzle or 1) - 2]
        # DART numbers no sales. Seconds never count by one, so no rule takes them for a count.
        sequence, used = int(filling.moved.timestamp()), self._used[nozzle_id]
        while sequence in used:
            sequence += 2
        used.append(sequence)
        decimals = self._decimals
        by_volume = filling.preset_volume is not None
        preset = filling.preset_volume if by_volume else filling.preset_amount
        return Transaction(
            nozzle_id=nozzle_id,
            seq=sequence,
            start=filling.began,
            end=filling.moved,
            volume_l=(filling.volume or 0) / 10**decimals.volume,
            amount_cny=(filling.amount or 0) / 10**decimals.amount,
            unit_price=(filling.price or 0) / 10**decimals.price,
            totalizer_l=_point(filling.totalizer, decimals.totals),
            totalizer_cny=_point(filling.totalizer_amount, decimals.amount),
            preset_kind=None if preset is None else "litres" if by_volume else "money",
            preset_value=_point(preset, decimals.volume if by_volume else decimals.amount),
            raw=filling.raw,
            attributes=filling.way,
        )

    def _nobodys(self, index: int, address: int, filling: Filling) -> DeviceEvent:
        """A filling of a nozzle that the configuration does not have."""
        nozzle, volume = filling.nozzle or 0, _point(filling.volume, self._decimals.volume)
        detail: dict[str, str | float | int | bool | None] = {
            "code": "unknown_nozzle",
            "side": index + 1,
            "address": address,
            "nozzle": nozzle,
            "volume_l": volume,
            "zh": f"地址 {address:#04x} 报告了第 {nozzle} 支枪的加油，但配置中没有这支枪：请更正 nozzles_per_side",
            "en": f"{address:#04x} told a filling of its nozzle {nozzle}, which is not configured: "
            "correct nozzles_per_side",
        }
        return self._event(filling.moved, EventKind.ALARM, detail)

    def _alarms(self, index: int, address: int, side: Side, now: datetime) -> Iterator[DeviceEvent]:
        where = {"side": index + 1, "address": address}
        while side.alarms:
            at, code = side.alarms.popleft()
            text = meaning(code)
            yield self._event(at, EventKind.ALARM, {"code": f"DC5-{code:02X}", **where, "zh": text.zh, "en": text.en})
        told, own = side.parameters, self._decimals
        if told is None or (told.volume, told.amount, told.price) == (own.volume, own.amount, own.price):
            return
        if address not in self._warned:
            self._warned.add(address)
            said = {"told": f"{told.volume}/{told.amount}/{told.price}", "zh": WRONG_DECIMALS.zh}
            yield self._event(now, EventKind.ALARM, {"code": "decimals", **where, **said, "en": WRONG_DECIMALS.en})

    def _identify(self, now: datetime) -> Iterator[Record]:
        """The ten digits: an event when they change, and a record where it is known which serial they are."""
        number = next((side.identity for _, side in self._sides if side.identity), None)
        if number is None:
            return
        if self._number is not None and number != self._number:
            yield self._event(now, EventKind.IDENTITY, {"number": number, "before": self._number})
        self._number = number
        if self._identity_is is None or self._site.dispenser_id is None:
            return
        identity = DeviceIdentity(
            self._site.station_id,
            self._site.dispenser_id,
            now,
            serial=number if self._identity_is == "serial" else None,
            mainboard_serial=number if self._identity_is == "mainboard_serial" else None,
        )
        last = self._identity
        if last is None or replace(identity, at=last.at) != last or now - last.at >= IDENTITY_AGAIN:
            self._identity = identity
            yield identity

    def _event(self, at: datetime, kind: EventKind, detail: dict[str, str | float | int | bool | None]) -> DeviceEvent:
        return DeviceEvent(at, self._site.station_id, self._site.device_id, kind, detail)


def _point(number: int | None, decimals: int) -> float | None:
    return None if number is None else number / 10**decimals


def _sample(tag: str, value: Value, at: datetime, quality: Quality, bad: Quality | None) -> Sample:
    """What has not been told yet is uncertain."""
    if bad is not None:
        return Sample(tag, None, at, bad)
    return Sample(tag, value, at, Quality.UNCERTAIN if value is None and quality.is_good else quality)
