"""One filling seen by several devices: the pump's telling is joined with those of tax port and encoder; floor 4.

The pump's driver tells a ``Transaction``, other devices of the same nozzle a ``ChannelSale`` of their own: in any
order, late, twice or not at all, by clocks that tell minutes or are wrong. A filling waits for its channels, but not
for long: then it is passed on with what is known, and completed under the same nozzle, number and end when the rest
comes. What waits is in the journal meanwhile, where no rule looks yet: a crash loses no filling. Nothing is guessed. A
filling of a channel that stays unmatched, and one whose channel could not be heard, is told as an event of kind
``alarm`` of the nozzle (codes in ``pumpwatch.past``).
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from pumpwatch.acquisition.aligning import (
    EQUAL,
    EXACT,
    LATE_S,
    SETTLE_S,
    SLACK_S,
    STEP,
    ClockGap,
    Part,
    Shown,
    align,
    figures,
    is_timely,
    live_apart,
    points,
    worth,
)
from pumpwatch.model import Batch, ChannelHeard, ChannelSale, DeviceEvent, EventKind, SampleBatch, Transaction
from pumpwatch.past import (
    CHANNEL_ABSENT,
    CHANNEL_DIFFERS,
    CHANNEL_UNHEARD,
    CHANNEL_UNMATCHED,
    filled,
    resubmission,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from pumpwatch.acquisition.aligning import Pair
    from pumpwatch.clock import Clock
    from pumpwatch.contracts import Site
    from pumpwatch.model import Record, SaleChannel, SalePart

PATIENCE_S: Final = 25.0
"""So long a filling waits for its channels: a port tells of two guns within 20 s. Rules may wait 20 s more."""
HEARD_S: Final = 10.0
"""A channel may write a filling down so long after the display told it."""
ALONE_S: Final = 180.0
"""A display may tell a filling so long after a channel: some pumps end it when the nozzle is hung up."""
WAITED_S: Final = 300.0
"""A filling that still waited at a crash ended at most so long before the last sign of life: it was told late, too."""
HELD_S: Final = 3600.0
"""So long a channel's filling waits for a display that could not be read meanwhile."""
KEPT: Final = 64
"""Fillings remembered a nozzle for those that come late or twice; overflow policy: the oldest are passed on as is."""
TOLD: Final = 512
"""Fillings before those of a nozzle of which only the key is kept; overflow policy: the oldest are forgotten."""
SET_S: Final = 5.0
"""A wall clock that goes so many seconds otherwise than time does has been set."""
OPEN: Final = 32
"""Fillings of a channel that may wait for their displays; overflow policy: the oldest are told unmatched."""


@dataclass(slots=True, eq=False)
class _Looks:
    """When a device could be read, by core's time."""

    since: float | None = None
    """The first good read after the last failure; None while it fails."""
    last: float | None = None
    """The last good read."""


@dataclass(slots=True, eq=False)
class _Channel:
    """What is known of one channel of a nozzle."""

    devices: list[_Looks] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    """Fillings without their display, in the channel's own order."""
    gap: ClockGap = field(default_factory=ClockGap)
    heard: tuple[float, float] = (0.0, -1.0)
    """Between these times all is told; none as yet."""
    blurred: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=OPEN))
    """Times of which only a sum is known."""
    known: deque[ChannelSale] = field(default_factory=lambda: deque(maxlen=KEPT))
    """What was told lately, to know it again."""
    numbers: int = 0


class _Nozzle:
    """The fillings of one nozzle."""

    def __init__(self, station_id: str, nozzle_id: str) -> None:
        self.station_id = station_id
        self.nozzle_id = nozzle_id
        self.displays: list[_Looks] = []
        self.channels: dict[SaleChannel, _Channel] = {}
        self._shown: list[Shown] = []
        """By end and number."""
        self._told: dict[tuple[str, int, datetime], None] = {}
        """Keys of fillings passed on before those."""
        self._wakes: list[float] = []
        """When time alone may decide something; a heap."""

    def is_due(self, now: float) -> bool:
        """Whether time alone may have decided something."""
        due = False
        while self._wakes and self._wakes[0] <= now:
            heappop(self._wakes)
            due = True
        return due

    def clock_set(self, by: float) -> None:
        """Core's clock was set forward by so many seconds: what waits waits no shorter, and no longer, for that."""
        self._wakes = [wake + by for wake in self._wakes]
        for shown in self._shown:
            shown.arrived, shown.due = shown.arrived + by, shown.due + by
            shown.after = None if shown.after is None else shown.after + by
        for channel in self.channels.values():
            since, until = channel.heard
            channel.heard = since + by, until + by
            for part in channel.parts:
                part.arrived, part.after = part.arrived + by, None if part.after is None else part.after + by
            blurred = [(start + by, end + by) for start, end in channel.blurred]
            channel.blurred.clear()
            channel.blurred.extend(blurred)

    def _wake(self, now: float, *later: float) -> None:
        for seconds in later:
            heappush(self._wakes, now + seconds)

    # ------------------------------------------------------------ what comes

    def show(self, sale: Transaction, after: float | None, now: float, *, wait: bool) -> Iterator[Record]:
        """A display's telling; what of it is passed on at once."""
        known = next((s for s in reversed(self._shown) if s.sale.key == sale.key), None)
        if known is not None:
            if resubmission(known.sale, sale, self.station_id) is not None:
                yield sale  # otherwise than before: history is to see that
                return
            whole = filled(known.sale, sale)
            if whole is not known.sale:
                known.sale = whole
                if known.passed:
                    yield whole
            return
        if sale.key in self._told:
            yield sale  # a device with a long memory, asked anew: history has what was joined to it
            return
        shown = Shown(sale, after, now, now + PATIENCE_S)
        insort(self._shown, shown, key=lambda s: (s.sale.end, s.sale.seq))
        self._wake(now, PATIENCE_S, SETTLE_S, LATE_S)
        if not wait:
            shown.passed = True
            yield sale
        while len(self._shown) > KEPT:
            yield from self._decide(self._shown[0], now, at_once=True)
            self._forget(self._shown.pop(0))

    def remember(self, sale: Transaction, now: float, *, waits: bool) -> None:
        """A filling of before the last stop: it was passed on, or still waits for its channels."""
        end = sale.end.timestamp()
        if waits:
            shown = Shown(sale, None, now, now + PATIENCE_S, kept=True)
            self._wake(now, PATIENCE_S, SETTLE_S, LATE_S)
        else:
            shown = Shown(sale, None, end, end, passed=True, decided=True)
        insort(self._shown, shown, key=lambda s: (s.sale.end, s.sale.seq))
        while len(self._shown) > KEPT:
            self._forget(self._shown.pop(0))

    def _forget(self, shown: Shown) -> None:
        self._told[shown.sale.key] = None
        if len(self._told) > TOLD:
            del self._told[next(iter(self._told))]

    def unkept(self) -> list[Transaction]:
        """The fillings that have begun to wait since the last call."""
        news = [shown for shown in self._shown if not shown.passed and not shown.kept]
        for shown in news:
            shown.kept = True
        return [shown.sale for shown in news]

    def lacking(self, sale: Transaction) -> list[SaleChannel]:
        """The channels of which a filling has nothing."""
        return [name for name in self.channels if _lacks(sale, name)]

    def hear(self, told: ChannelSale, now: float) -> Iterator[Record]:
        """A channel's telling."""
        channel = self.channels.get(told.channel)
        if channel is None or any(_is_same(told, known) for known in channel.known):
            return
        channel.known.append(told)
        channel.numbers += 1
        part = Part(told, now, channel.numbers)
        self._wake(now, SETTLE_S, ALONE_S, LATE_S, HELD_S)
        if told.several and part.after is not None:
            channel.blurred.append((part.after, now))
        insort(channel.parts, part, key=lambda p: p.order)
        while len(channel.parts) > OPEN:
            yield from self._alone(channel, channel.parts[0])
            del channel.parts[0]

    def listen(self, heard: ChannelHeard) -> None:
        """A channel's word that it has told all."""
        channel = self.channels.get(heard.channel)
        if channel is not None:
            channel.heard = (heard.since.timestamp(), heard.until.timestamp())

    # ------------------------------------------------------------ what becomes of it

    def settle(self, now: float) -> Iterator[Record]:
        """Whatever can be said now."""
        for name, channel in self.channels.items():
            yield from self._join(name, channel, now)
        for shown in self._shown:
            if not shown.decided:
                yield from self._decide(shown, now)
            for name in shown.unheard - shown.absent - shown.joined:
                if self._is_absent(shown, self.channels[name]):
                    shown.absent.add(name)
                    yield self._event(CHANNEL_ABSENT, shown.sale.end, name, seq=shown.sale.seq)
        for channel in self.channels.values():
            yield from self._give_up(channel, now)

    def flush(self, now: float) -> Iterator[Record]:
        """Pass on what waits: nobody will."""
        for shown in self._shown:
            if not shown.decided:
                yield from self._decide(shown, now, at_once=True)

    def _join(self, name: SaleChannel, channel: _Channel, now: float) -> Iterator[Record]:
        """Join the pairs that are beyond doubt by now."""
        while channel.parts:
            shown = [s for s in self._shown if name not in s.joined]
            unsure = channel.parts if not channel.gap.known else [p for p in channel.parts if now - p.arrived >= LATE_S]
            if len(unsure) >= EXACT:
                channel.gap.look_for(shown, unsure)
            gap = channel.gap
            ripe = align(shown, channel.parts, gap, lambda one, part: worth(one, part, gap, now))  # noqa: B023
            for pair in ripe:
                channel.parts.remove(pair.part)
                yield from self._joined(pair, name, channel)
            if not ripe:
                return

    def _joined(self, pair: Pair, name: SaleChannel, channel: _Channel) -> Iterator[Record]:
        shown, told = pair.shown, pair.part.sale
        shown.joined.add(name)
        if not told.several and (figures(shown, pair.part) >= EQUAL or is_timely(shown, pair.part, channel.gap)):
            channel.gap.learn(shown, pair.part)
        if not _lacks(shown.sale, name):
            own = shown.sale.tax_l if name == "tax" else shown.sale.encoder_l
            if own is not None and told.volume_l is not None and abs(own - told.volume_l) > STEP:
                seen = {"seq": shown.sale.seq, "told_l": own, "recorded_l": told.volume_l}
                yield self._event(CHANNEL_DIFFERS, shown.sale.end, name, **seen)
            return
        if name == "tax":
            shown.sale = replace(shown.sale, tax_l=told.volume_l, tax_cny=told.amount_cny)
        else:
            shown.sale = replace(shown.sale, encoder_l=told.volume_l, encoder_pulses=told.pulses)
        if shown.passed:
            yield shown.sale

    def _decide(self, shown: Shown, now: float, *, at_once: bool = False) -> Iterator[Record]:
        """Pass a filling on when nothing is open, nobody is there to be waited for, or it has waited long enough."""
        if shown.decided:
            return
        still: list[SaleChannel] = []
        for name, channel in self.channels.items():
            if name in shown.joined or not _lacks(shown.sale, name):
                continue
            if self._is_absent(shown, channel):
                shown.absent.add(name)
            else:
                still.append(name)
        reading = any(device.since is not None for name in still for device in self.channels[name].devices)
        if reading and not at_once and now < shown.due:
            return
        shown.decided = True
        for name in still:
            shown.unheard.add(name)
            yield self._event(CHANNEL_UNHEARD, shown.sale.end, name, seq=shown.sale.seq)
        if not shown.passed:
            shown.passed = True
            yield shown.sale

    @staticmethod
    def _is_absent(shown: Shown, channel: _Channel) -> bool:
        """Whether the channel was heard before and after the filling and has nothing that could be it."""
        since, until = channel.heard
        if shown.after is None or since > shown.after or until < shown.arrived + HEARD_S:
            return False
        if any(start <= shown.arrived + SLACK_S and end >= shown.after - SLACK_S for start, end in channel.blurred):
            return False
        return all(points(shown, part, channel.gap) <= 0.0 for part in channel.parts)

    def _give_up(self, channel: _Channel, now: float) -> Iterator[Record]:
        """Tell what a channel recorded and no display showed."""
        for part in [p for p in channel.parts if now - p.arrived >= ALONE_S]:
            if self._has_looked(part) or now - part.arrived >= HELD_S:
                channel.parts.remove(part)
                yield from self._alone(channel, part)

    def _has_looked(self, part: Part) -> bool:
        """Whether the display was read all the time in which this filling must have ended, and since."""
        return any(
            device.since is not None and part.after is not None and device.since <= part.after
            for device in self.displays
        )

    def _alone(self, channel: _Channel, part: Part) -> Iterator[Record]:
        told = part.sale
        if part.after is None and part.number == 1:
            return  # of before anybody looked
        around = [s for s in self._shown if told.channel not in s.joined and self._is_around(s, part)]
        displayed = sum(s.sale.volume_l for s in around)
        if told.several and around and abs(displayed - (told.volume_l or 0.0)) <= 2 * STEP * len(around):
            return  # the sum is that of the displays; which is which is not known, and nothing is wrong
        yield self._event(
            CHANNEL_UNMATCHED,
            told.at,
            told.channel,
            volume_l=told.volume_l,
            amount_cny=told.amount_cny,
            unit_price=told.unit_price,
            pulses=told.pulses,
            several=told.several,
            at_resolution_s=told.at_resolution_s,
            display_heard=self._has_looked(part),
            unjoined=len(around),
            unjoined_l=round(displayed, 3),
        )

    @staticmethod
    def _is_around(shown: Shown, part: Part) -> bool:
        live = live_apart(shown, part)
        return live is not None and live <= SLACK_S

    def _event(
        self, code: str, at: datetime, channel: SaleChannel, **detail: str | float | int | bool | None
    ) -> DeviceEvent:
        told = {"code": code, "channel": channel, **detail}
        return DeviceEvent(at, self.station_id, self.nozzle_id, EventKind.ALARM, told)


class Joining:
    """Holds the fillings of nozzles that several devices see; those of all others pass untouched, without waiting.

    Restart-safe: ``remember`` what the store holds, and what was joined is known again and not told twice. Crash-safe:
    ``keep`` what has begun to wait before the next read.
    """

    def __init__(self, devices: Iterable[tuple[Site, frozenset[SaleChannel]]], clock: Clock) -> None:
        """Each device with the channels that its driver tells; one without any is asked for the display."""
        self._clock = clock
        self.keeper: Callable[[Batch], Awaitable[None]] | None = None
        """Takes fillings that begin to wait into the journal, as they are, past all rules."""
        self._unkept: dict[str, list[Transaction]] = {}
        """By station."""
        self._looks: dict[Site, _Looks] = {}
        self._nozzles: dict[str, _Nozzle] = {}
        self._ahead = clock.now().timestamp() - clock.monotonic()
        """Of the wall clock before time itself."""
        every = list(devices)
        shown = {nozzle_id for site, channels in every if not channels for nozzle_id in site.nozzle_ids}
        for site, channels in every:
            for nozzle_id in shown.intersection(site.nozzle_ids) if channels else ():
                nozzle = self._nozzles.setdefault(nozzle_id, _Nozzle(site.station_id, nozzle_id))
                for name in sorted(channels):
                    nozzle.channels.setdefault(name, _Channel()).devices.append(self._looks.setdefault(site, _Looks()))
        for site, channels in every:
            for nozzle_id in site.nozzle_ids if not channels else ():
                if nozzle_id in self._nozzles:
                    self._nozzles[nozzle_id].displays.append(self._looks.setdefault(site, _Looks()))

    @property
    def is_needed(self) -> bool:
        """Whether any nozzle is seen by several devices."""
        return bool(self._nozzles)

    def remember(
        self, sales: Iterable[Transaction], events: Iterable[DeviceEvent] = (), stopped: datetime | None = None
    ) -> None:
        """The fillings of before the last stop, and what was told of them.

        ``stopped``: the last sign of life before it. What ended shortly before and was not decided waits again.
        """
        now, recent = self._now(), None if stopped is None else stopped - timedelta(seconds=WAITED_S)
        decided = {
            (event.device_id, event.detail.get("seq"), event.at)
            for event in events
            if event.detail.get("code") in {CHANNEL_UNHEARD, CHANNEL_ABSENT}
        }
        for sale in sorted(sales, key=lambda s: s.end):
            nozzle = self._nozzles.get(sale.nozzle_id)
            if nozzle is not None:
                is_open = recent is not None and sale.end >= recent and bool(nozzle.lacking(sale))
                nozzle.remember(sale, now, waits=is_open and (sale.nozzle_id, sale.seq, sale.end) not in decided)

    async def keep(self) -> None:
        """Have the fillings that have begun to wait kept."""
        unkept, self._unkept = self._unkept, {}
        if self.keeper is None:
            return
        for station, sales in unkept.items():
            await self.keeper(Batch(station, SampleBatch.pack(station, "", ()), tuple(sales), self._clock.now()))

    def take(self, site: Site, records: Sequence[Record | SalePart], *, wait: bool = True) -> list[Record]:
        """What a device told in a good read, joined: what of it, and of what waited for it, is passed on now.

        With ``wait`` false, of a device that calls when it likes, every filling is passed on at once, for it must be
        kept before the call is answered, and completed later; when it ended the device's own clock alone tells.
        """
        now = self._now()
        news: list[Record] = []
        looks = self._looks.get(site) if wait else None
        touched: dict[str, _Nozzle] = {}
        for record in records:
            nozzle = self._nozzles.get(getattr(record, "nozzle_id", ""))
            if nozzle is not None:
                touched[nozzle.nozzle_id] = nozzle
            if isinstance(record, ChannelSale):
                news += nozzle.hear(record, now) if nozzle else ()
            elif isinstance(record, ChannelHeard):
                if nozzle:
                    nozzle.listen(record)
            elif isinstance(record, Transaction) and nozzle:
                news += nozzle.show(record, looks.last if looks else None, now, wait=wait)
            else:
                news.append(record)
        if looks is not None:
            looks.last = now
            looks.since = now if looks.since is None else looks.since
        for nozzle in touched.values():
            news += nozzle.settle(now)
            if unkept := nozzle.unkept():
                self._unkept.setdefault(nozzle.station_id, []).extend(unkept)
        return news

    def lost(self, site: Site) -> None:
        """A read failed: what happens from now on is not seen."""
        looks = self._looks.get(site)
        if looks is not None:
            looks.since = None

    def pass_on(self) -> dict[str, list[Record]]:
        """What has waited long enough, by station; asked once a second."""
        now = self._now()
        return self._gathered((n, n.settle(now)) for n in self._nozzles.values() if n.is_due(now))

    def flush(self) -> dict[str, list[Record]]:
        """All fillings that wait, as they are, by station: the server stops."""
        now = self._now()
        return self._gathered((n, n.flush(now)) for n in self._nozzles.values())

    @staticmethod
    def _gathered(told: Iterable[tuple[_Nozzle, Iterator[Record]]]) -> dict[str, list[Record]]:
        by_station: dict[str, list[Record]] = {}
        for nozzle, records in told:
            by_station.setdefault(nozzle.station_id, []).extend(records)
        return {station: records for station, records in by_station.items() if records}

    def _now(self) -> float:
        """Core's time, s since 1970; when the clock has been set, all that is kept by it goes along."""
        now = self._clock.now().timestamp()
        ahead = now - self._clock.monotonic()
        by, self._ahead = ahead - self._ahead, ahead
        if abs(by) >= SET_S:
            for looks in self._looks.values():
                looks.since = None if looks.since is None else looks.since + by
                looks.last = None if looks.last is None else looks.last + by
            for nozzle in self._nozzles.values():
                nozzle.clock_set(by)
        return now


def _is_same(one: ChannelSale, other: ChannelSale) -> bool:
    """Whether a channel told the same filling twice; a running total, where told, sets equal ones apart."""
    if (one.at, one.volume_l, one.amount_cny, one.pulses) != (other.at, other.volume_l, other.amount_cny, other.pulses):
        return False
    return one.total_l == other.total_l or one.total_l is None or other.total_l is None


def _lacks(sale: Transaction, channel: SaleChannel) -> bool:
    """Whether a filling has nothing of a channel, by its own driver or by joining."""
    if channel == "tax":
        return sale.tax_l is None and sale.tax_cny is None
    return sale.encoder_l is None and sale.encoder_pulses is None
