"""One fuelling side as its pump tells of it: state, display, prices, totalizers, and its fillings; sans-I/O.

A filling is told when its end is heard from the pump itself (display and "nozzle in" or "completed" in one checked
frame), or when a totalizer has moved by it. Whatever is less than that is no sale.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from pumpwatch import NozzleState
from pumpwatch_dart.book import Book
from pumpwatch_dart.fillings import Decimals, Filling
from pumpwatch_dart.traffic import FromController, FromPump, Mended
from pumpwatch_dart.transactions import (
    Alarm,
    Identity,
    NozzleReport,
    Parameters,
    Preset,
    Prices,
    Shown,
    Status,
    Totals,
)

if TYPE_CHECKING:
    from datetime import datetime

    from pumpwatch_dart.transactions import Fact

STANDS = timedelta(seconds=10)
"""A filling whose display has not moved for so long stands still: paused, or its end was missed."""
ENDS = timedelta(seconds=60)
"""One that has stood still for so long, while both totalizers have moved, has ended."""
USUAL_L_MIN = 40.0
"""Flow by which the beginning of a filling is reckoned from the first volume that is heard of it."""
MOST_ALARMS = 64
"""Alarms kept until they are collected; overflow policy: the oldest are dropped."""

_RUNS = frozenset({Status.FILLING, Status.LIMIT, Status.SUSPENDED})
_PAUSED = frozenset({Status.LIMIT, Status.SUSPENDED})
_Kind = TypeVar("_Kind")


class Side:
    """One address. Feed it with ``hear`` and ``tick``, then look at it and ``collect``."""

    def __init__(self, nozzles: int, decimals: Decimals, china: bool | None = None) -> None:
        """``china``: which variant of the totals is believed; None: both."""
        self.nozzles = nozzles
        self.china = china
        """Whether the pump tells both totalizers in one; None until it has told any."""
        self._variant = china
        self.alive: datetime | None = None
        """When the pump was last heard."""
        self.status: Status | None = None
        self.shown: dict[int, Shown] = {}
        """What the display last showed of each nozzle."""
        self.prices: dict[int, int] = {}
        self.totals: dict[int, tuple[int | None, int | None, datetime]] = {}
        """Volume and amount of each nozzle, and when they were last heard."""
        self.flowed: datetime | None = None
        """When fuel was last heard to flow."""
        self.alarm = 0
        """Code of the last alarm; 0 before the first."""
        self.alarms: deque[tuple[datetime, int]] = deque(maxlen=MOST_ALARMS)
        """Not collected yet."""
        self.identity: str | None = None
        self.parameters: Parameters | None = None
        self.is_sure = False
        """Whether the pump has told its state, or it is only taken to be at rest."""
        self._decimals = decimals
        self.book = Book(nozzles, decimals)
        self._phase = NozzleState.IDLE
        self._in_use: int | None = None
        self._resting: Shown | None = None
        """The display of the last filling, once it was heard at rest."""
        self._running: Filling | None = None
        self._preset: Preset | None = None
        self._lifted: datetime | None = None
        """When the nozzle of the next filling was heard to be lifted."""

    # ------------------------------------------------------------ what it is now

    def state(self, nozzle: int) -> NozzleState:
        """Of a nozzle of this side, from 1."""
        if self.status is Status.SWITCHED_OFF:
            return NozzleState.LOCKED
        return self._phase if self._in_use == nozzle else NozzleState.IDLE

    @property
    def is_running(self) -> bool:
        """Whether a filling is under way."""
        return self._running is not None

    # ------------------------------------------------------------ hearing

    def hear(self, heard: FromPump | FromController | Mended, now: datetime, since: datetime | None = None) -> None:
        """Take what was said to or by this pump.

        ``since``: the pump volunteered it to us, its only listener, who last heard it then. So a filling of which
        nothing else was heard has taken place between the two.
        """
        if isinstance(heard, FromController):
            self._obeys(heard)
            return
        if isinstance(heard, Mended):
            self._confirm(heard, now)
            return
        self.alive = now
        if not heard.facts:
            return
        status, report, shown = _one(heard.facts, Status), _one(heard.facts, NozzleReport), _one(heard.facts, Shown)
        self._learn(heard, now)
        if report is not None:
            self._report(report, now, is_lift=report.out and shown is None)
        if shown is not None:
            hangs = status is Status.COMPLETED if report is None else not report.out and status not in _RUNS
            if hangs:
                whole = report is not None and status is Status.COMPLETED
                self._rest(shown, report.price if report else None, heard.raw, now, since if whole else None)
            else:
                self._run(shown, now, is_certain=status is Status.FILLING or report is not None)
        if status is not None:
            self._turn(status, now)
        if report is not None and not report.out and status not in _RUNS:
            self._phase, self._in_use = NozzleState.IDLE, None

    def _confirm(self, heard: Mended, now: datetime) -> None:
        """The filling under way has ended if a damaged frame says so, and of it nothing but what is known."""
        status, report, shown = _one(heard.facts, Status), _one(heard.facts, NozzleReport), _one(heard.facts, Shown)
        running = self._running
        if running is None or report is None or shown is None or report.out or status in _RUNS:
            return
        known = shown == running.shown and report.price == running.price and report.nozzle in {0, running.nozzle}
        if known and self._decimals.agree(shown, report.price):
            running.damaged = True
            end: tuple[Fact, ...] = (shown, report) if status is None else (shown, report, status)
            self.hear(FromPump(heard.address, end, raw=heard.raw), now)

    def tick(self, now: datetime) -> None:
        """Time passes; what the pump does meanwhile is known only as far as it is heard."""
        heard = self.alive or now
        if self._phase is NozzleState.FUELLING and self.flowed is not None and heard - self.flowed >= STANDS:
            self._phase = NozzleState.STOPPED
        running = self._running
        if running is not None and heard - running.moved >= ENDS and self.book.counts(running):
            self._end_unseen(running, now)
            self._phase, self._in_use = NozzleState.IDLE, None
        self.book.tick(now)

    def forget(self) -> None:
        """Nothing was heard for a while: what was under way may have ended, too."""
        if self._running is not None:
            self.book.lose(self._running)
        self.book.forget()
        self._running = self._resting = self._preset = self._in_use = self._lifted = None
        self._phase, self.is_sure = NozzleState.IDLE, False

    # ------------------------------------------------------------ state

    def _obeys(self, heard: FromController) -> None:
        for order in heard.orders:
            if isinstance(order, Preset) and heard.sure:
                self._preset = order
            elif isinstance(order, Prices):
                self._priced(order)

    def _learn(self, heard: FromPump, now: datetime) -> None:
        """What is neither state nor display."""
        for fact in heard.facts:
            match fact:
                case Alarm():
                    self.alarm = fact.code
                    self.alarms.append((now, fact.code))
                case Parameters():
                    self.parameters = fact
                case Identity():
                    self.identity = fact.digits
                case Prices():
                    self._priced(fact)
                case Totals() if fact.nozzle <= self.nozzles and self._variant in {None, fact.china}:
                    self.china = fact.china
                    self._count(fact, now)

    def _priced(self, told: Prices) -> None:
        self.prices.update(dict(zip(range(1, self.nozzles + 1), told.prices, strict=False)))

    def _report(self, report: NozzleReport, now: datetime, *, is_lift: bool) -> None:
        self.is_sure = True
        running = self._running
        nozzle = report.nozzle or (1 if self.nozzles == 1 else running.nozzle if running else None)
        if nozzle is not None and nozzle <= self.nozzles:
            self.prices[nozzle] = report.price
        if not report.out:
            if nozzle is not None and nozzle > self.nozzles:
                self._in_use = nozzle
                if running is not None:
                    running.nozzle = nozzle
            return
        if running is not None and (is_lift or (running.nozzle is not None and nozzle != running.nozzle)):
            self._end_unseen(running, now)
            running = None
        if running is not None:
            running.nozzle, running.price = nozzle, report.price
        if self._phase is NozzleState.IDLE or is_lift:
            self._phase, self._lifted = NozzleState.LIFTED, now
        self._in_use = nozzle

    def _turn(self, status: Status, now: datetime) -> None:
        self.status = status
        self.is_sure = True
        if status is Status.FILLING:
            self._phase, self.flowed = NozzleState.FUELLING, now
        elif status in _PAUSED:
            self._phase = NozzleState.STOPPED
        elif status is Status.COMPLETED:
            self._phase, self._in_use = NozzleState.IDLE, None
        elif self._phase in {NozzleState.FUELLING, NozzleState.STOPPED}:
            self._phase = NozzleState.IDLE if self._in_use is None else NozzleState.LIFTED
        if self._in_use is None and self.nozzles == 1 and self._phase is not NozzleState.IDLE:
            self._in_use = 1

    # ------------------------------------------------------------ fillings

    def _run(self, shown: Shown, now: datetime, *, is_certain: bool) -> None:
        """The display of a pump that is not known to be at rest."""
        running = self._running
        if running is not None and shown.volume < running.shown.volume:
            self._end_unseen(running, now)
            running, is_certain = None, True
        if running is None:
            running = self._begin(shown, now, is_certain)
        elif shown != running.shown:
            running.shown, running.moved, running.stood = shown, now, False
            self._phase, self.flowed = NozzleState.FUELLING, now
            self.book.runs_on()
        else:
            running.stood = True
        nozzle = (running.nozzle if running is not None else None) or self._only
        if nozzle is not None:
            self.shown[nozzle] = shown

    def _begin(self, shown: Shown, now: datetime, is_certain: bool) -> Filling | None:
        """A filling, unless this is still the display of the last one."""
        if shown == self._resting:
            return None
        if not shown.volume or (self._resting is None and not is_certain):
            self._resting = shown
            return None
        running = self.book.reopen(shown) or Filling(self._reckon(shown, now), now, shown, self._only)
        running.shown, running.moved, running.stood = shown, now, False
        running.price = running.price or self.prices.get(running.nozzle or 0)
        if self._preset is not None and self._preset.is_volume:
            running.preset_volume = self._preset.value
        elif self._preset is not None:
            running.preset_amount = self._preset.value
        self._running = running
        self._phase, self.flowed, self._in_use = NozzleState.FUELLING, now, running.nozzle
        return running

    def _rest(self, shown: Shown, price: int | None, raw: bytes, now: datetime, since: datetime | None) -> None:
        """The display of a pump at rest: of a filling that has ended."""
        running, resting, self._resting = self._running, self._resting, shown
        if running is not None and shown.volume < running.shown.volume:
            self._end_unseen(running, now)
            self._resting = shown
            return
        if not shown.volume:
            self._running = None
            return
        if running is None:
            if self.book.said_again(shown, raw):
                return
            running = self.book.reopen(shown)
        witnesses = {running.claimed, running.shown} if running is not None else set()
        if running is None and since is not None and shown != resting:
            running = Filling(since, now, shown, self._only)
        if running is None:
            if resting is not None and shown != resting:
                self._unheard(shown, price, raw, now)
            return
        if shown != running.shown:
            running.moved = now
        running.price = price or running.price
        if running.nozzle is not None:
            self.shown[running.nozzle] = shown
        agrees = running.price is not None and self._decimals.agree(shown, running.price)
        if not agrees and shown not in witnesses:
            # One frame alone, and it contradicts itself: the display must say it again, or a totalizer.
            running.claimed, self._running = shown, running
            return
        running.raw = raw
        running.volume, running.amount = shown.volume, shown.amount
        self._close(running, now)

    def _unheard(self, shown: Shown, price: int | None, raw: bytes, now: datetime) -> None:
        """Another display at rest, of a filling that nobody heard: a totalizer must say the same."""
        filling = Filling(self._reckon(shown, now), now, shown, price=price, claimed=shown, closed=now, raw=raw)
        if self.nozzles == 1 or (self._in_use or 0) > self.nozzles:
            filling.nozzle = self._only
        else:
            filling.volume, filling.amount = shown.volume, shown.amount
        self.book.enter(filling)

    def _end_unseen(self, filling: Filling, now: datetime) -> None:
        """It has ended, but how is not known: the totalizers may tell."""
        self._resting = None
        self._close(filling, now)

    def _close(self, filling: Filling, now: datetime) -> None:
        filling.closed = now
        filling.nozzle = filling.nozzle or self._by_price(filling.price)
        self._running = self._preset = self._lifted = None
        self.book.enter(filling)

    def _reckon(self, shown: Shown, now: datetime) -> datetime:
        """When a filling of which this is heard first began: reckoned back, but not to before the lifting."""
        began = now - timedelta(minutes=shown.volume / 10**self._decimals.volume / USUAL_L_MIN)
        lifted, self._lifted = self._lifted, None
        return began if lifted is None else max(began, lifted)

    @property
    def _only(self) -> int | None:
        """The nozzle in use, as far as it is known; one beyond ``nozzles`` is none of the configuration's."""
        return self._in_use or (1 if self.nozzles == 1 else None)

    def _by_price(self, price: int | None) -> int | None:
        same = [nozzle for nozzle, each in self.prices.items() if each == price]
        return same[0] if len(same) == 1 and len(self.prices) == self.nozzles else None

    def _count(self, told: Totals, now: datetime) -> None:
        """A totalizer has been read."""
        volume, amount, _ = self.totals.get(told.nozzle, (None, None, now))
        self.totals[told.nozzle] = (
            volume if told.volume is None else told.volume,
            amount if told.amount is None else told.amount,
            now,
        )
        for total, of_volume in ((told.volume, True), (told.amount, False)):
            if total is not None:
                self._take(told.nozzle, total, now, of_volume=of_volume)

    def _take(self, nozzle: int, total: int, now: datetime, *, of_volume: bool) -> None:
        running = self._running if self._running and self._running.nozzle in {None, nozzle} else None
        ended = self.book.take(nozzle, total, running, now, of_volume=of_volume)
        if ended is not None:
            self._resting = Shown(ended.volume or 0, ended.amount or 0)
            self._running = self._preset = self._lifted = None
            self._phase, self._in_use = NozzleState.IDLE, None


def _one(facts: tuple[Fact, ...], kind: type[_Kind]) -> _Kind | None:
    """The last of its kind in a frame."""
    return next((fact for fact in reversed(facts) if isinstance(fact, kind)), None)
