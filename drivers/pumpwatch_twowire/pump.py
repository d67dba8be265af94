"""What one pump has done, from what was heard of it: state, display, totals, and each filling once; sans-I/O.

The protocol gives a filling no number and a status no check. So a filling is told when its block was heard and says a
volume for money, when the pump was heard fuelling before it (twice, or just before it another filling), and when
two statuses in a row around it say that the fuelling is over, or the totals have moved by it. The same block read
again is the same filling.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import inf
from statistics import median_low
from typing import TYPE_CHECKING

from pumpwatch import NozzleState, Totalizer
from pumpwatch_twowire.words import Filling, GradeTotal, Status

if TYPE_CHECKING:
    from datetime import datetime

    from pumpwatch_twowire.damaged import Money

TOTAL_DIGITS = 8
SURE = 2
"""Signs of fuelling, and statuses in a row, that are believed."""
STATES = {
    Status.IDLE: NozzleState.IDLE,
    Status.CALL: NozzleState.LIFTED,
    Status.AUTHORISED: NozzleState.LIFTED,
    Status.BUSY: NozzleState.FUELLING,
    Status.PRESET_END: NozzleState.STOPPED,
    Status.FILLING_END: NozzleState.IDLE,
    Status.STOPPED: NozzleState.STOPPED,
}
BLOCK_WAITS = timedelta(seconds=3)
"""So long the totals' word waits for a filling's block, which may be asked for after them."""
UNHEARD_L = 3.0
"""A filling may go on so long after its money was last heard."""
_ENDS = (Status.PRESET_END, Status.FILLING_END)


@dataclass(frozen=True, slots=True)
class Sale:
    """A completed filling."""

    filling: Filling
    start: datetime
    end: datetime
    block: bytes
    whole: bool
    """Whether its block was heard undamaged."""
    total_volume: int | None
    total_money: int | None
    """Totals after it, in units of their last digit; None where they were not heard."""


@dataclass(slots=True)
class _Pending:
    """A block of which it is not sure yet that it is a filling that is over."""

    filling: Filling
    block: bytes
    whole: bool
    start: datetime
    end: datetime
    agrees: bool
    """Whether money is volume times price, the block came twice, or the totals moved by it."""
    proven: bool
    """Whether fuelling was heard before it."""
    quiet: int
    """Statuses around it that are not busy."""
    busy: int = 0
    in_volume: bool = False
    in_money: bool = False
    """Whether the totals heard last contain it."""


class Pump:
    """Follows one pump number."""

    def __init__(self, number: int, money: Money, totals_decimals: int, readings: int = 3) -> None:
        """Of so many ``readings`` of the running money the middle one is believed."""
        self._number = number
        self._money = money
        self._readings = readings
        self._volume_unit = 10.0 ** (totals_decimals - money.volume_decimals)
        self._money_unit = 10.0 ** (totals_decimals - money.money_decimals)
        self.heard: datetime | None = None
        """When it last answered a status question."""
        self.state: NozzleState | None = None
        """Believed when two statuses in a row say so."""
        self.nozzle = 0
        """Which of its nozzles is out, from 1; 0 when that was not heard."""
        self.last: dict[int, Filling] = {}
        """Grade → its last filling told."""
        self.prices: dict[int, int] = {}
        """Grade → price, from blocks that check."""
        self.priced: dict[int, datetime] = {}
        """When each was heard."""
        self._totals: dict[int, tuple[Totalizer, Totalizer]] = {}
        self._status: Status | None = None
        self._ends = 0
        """Statuses in a row that say that a filling has ended."""
        self._signs = 0
        self._began: datetime | None = None
        self._ended: datetime | None = None
        self._is_next = False
        """Whether the nozzle is out anew, although the block of the filling before has not been heard."""
        self._running: list[int] = []
        self._pending: _Pending | None = None
        self._shown: Filling | None = None
        """The last filling told, or another that stood on the display before."""
        self._unclear: tuple[tuple[Filling, ...], bytes] | None = None
        self._counted: tuple[Filling, datetime] | None = None
        """What the totals alone say of a filling whose block has not been heard, and since when."""
        self._read = False
        """Whether a block was heard since it last fuelled."""
        self._sales: list[Sale] = []

    # ------------------------------------------------------------ what is known

    @property
    def running_money(self) -> int | None:
        """Money of the filling under way: the middle of the last readings; None when too few were heard."""
        return median_low(self._running) if len(self._running) == self._readings else None

    @property
    def is_fuelling(self) -> bool:
        """As far as its last status says."""
        return self._status is Status.BUSY

    @property
    def owes_filling(self) -> bool:
        """Whether a filling has ended, as far as was heard, whose block has not been heard."""
        ended = self._status in _ENDS or (self._signs >= SURE and self._status is not Status.BUSY)
        unsure = self._pending is not None and not self._pending.agrees
        return unsure or (ended and not self._read)

    @property
    def owes_totals(self) -> bool:
        """Whether the totals heard last need a second reading, or none were heard since the last filling."""
        if self._pending is not None and not self._pending.in_volume:
            return True
        return not self._totals or not all(each.is_sure for pair in self._totals.values() for each in pair)

    def totals(self, grade: int) -> tuple[Totalizer, Totalizer]:
        """Volume and money totals of a grade."""
        return self._totals.get(grade) or _totalizers()

    def take(self) -> list[Sale]:
        """The fillings completed since the last call."""
        sales, self._sales = self._sales, []
        return sales

    # ------------------------------------------------------------ what is heard

    def hear_status(self, status: Status, now: datetime) -> None:
        """An answer to a status question."""
        self.heard = now
        if status not in STATES:
            return
        if self._counted is not None and (status is Status.BUSY or now - self._counted[1] >= BLOCK_WAITS):
            self.hear_filling(self._counted[0], b"", False, now)
        twice, self._status = self._status, status
        if twice is not None and STATES[twice] is STATES[status]:
            self.state = STATES[status]
        self._ends = self._ends + 1 if status in _ENDS else 0
        if status is Status.BUSY:
            self._fuels(now)
            self._ended = None
        elif self._signs and self._ended is None:
            self._ended = now
        if twice is status is Status.IDLE:
            self.nozzle = 0
            if self._signs < SURE:
                self._signs, self._began, self._ended = 0, None, None
        elif twice is status is Status.CALL and self._ended is not None:
            self._is_next = True
        self._settle(busy=status is Status.BUSY)

    def hear_money(self, money: int, now: datetime) -> None:
        """Running money."""
        self._fuels(now)
        self._running = [*self._running, money][-self._readings :]

    def hear_nozzle(self, nozzle: int) -> None:
        """Which nozzle is out."""
        self.nozzle = nozzle

    def hear_filling(self, filling: Filling, block: bytes, whole: bool, now: datetime) -> None:
        """A filling's block."""
        if not filling.volume:
            return
        fits = self._money.fits(filling)
        if self._pending is not None and self._is_copy(self._pending, filling, block, whole, fits):
            self._settle(busy=False, counts=False)
            return
        again = self._shown is not None and _same(self._shown, filling)
        ended = self._status in _ENDS
        proven = self._signs >= SURE or (not again and whole and fits and (self._signs > 0 or ended))
        if whole and fits:
            self.prices[filling.grade], self.priced[filling.grade] = filling.price, now
        if again and not proven:
            return
        self._pending = _Pending(
            filling,
            block,
            whole,
            start=self._began or self._ended or now,
            end=self._ended or now,
            agrees=fits,
            proven=proven,
            quiet=self._ends,
        )
        self._signs, self._read, self._running, self._unclear, self._counted = 0, True, [], None, None
        self._began, self._ended, self._is_next = None, None, False
        self._settle(busy=False, counts=False)

    def hear_unclear(self, fillings: tuple[Filling, ...], block: bytes, alone: bool, now: datetime) -> None:
        """A filling's block that may have said one of several things.

        If it is ``alone`` the money heard before may tell which.
        """
        usual = [filling for filling in fillings if self.prices.get(filling.grade) == filling.price] or fillings
        paid = [filling for filling in usual if self._running.count(filling.money) >= SURE]
        near = paid or [filling for filling in usual if self._leads_to(filling)]
        if alone and len(near) == 1 and self._signs >= SURE:
            self.hear_filling(near[0], block, False, now)
        else:
            self._unclear = fillings, block

    def hear_totals(self, grades: tuple[GradeTotal, ...], now: datetime) -> None:
        """Totals of all grades."""
        self._decide(grades, now)
        if (counted := self._count(grades)) is not None:
            self._counted = counted, now
        pending = self._pending
        for each in grades:
            volume, money = self._totals.setdefault(each.grade, _totalizers())
            if pending is not None and pending.filling.grade == each.grade:
                filling, exact = pending.filling, self._gap(each, pending.filling) <= 1.0
                in_volume = not pending.in_volume and volume.hear(each.volume, filling.volume * self._volume_unit, now)
                in_money = not pending.in_money and money.hear(each.money, filling.money * self._money_unit, now)
                pending.in_volume |= in_volume
                pending.in_money |= in_money
                if pending.in_volume and pending.in_money and (exact or pending.agrees):
                    pending.agrees = pending.proven = True
            else:
                volume.hear(each.volume, at=now)
                money.hear(each.money, at=now)
            if volume.is_sure:
                self.prices[each.grade], self.priced[each.grade] = each.price, now
        self._settle(busy=False, counts=False)

    # ------------------------------------------------------------ conclusions

    def _decide(self, grades: tuple[GradeTotal, ...], now: datetime) -> None:
        """Take an unclear block for the one filling by which both totals have moved."""
        if self._unclear is None or self._pending is not None or self._signs < SURE:
            return
        (fillings, block), self._unclear = self._unclear, None
        found = [(gap, filling) for each in grades for filling in fillings if (gap := self._gap(each, filling)) <= 1.0]
        least = min((gap for gap, _ in found), default=0.0)
        best = [filling for gap, filling in found if gap <= least + 1e-6]
        if len(best) == 1:
            self.hear_filling(best[0], block, False, now)

    def _leads_to(self, filling: Filling) -> bool:
        """Whether the money heard last is that of a filling that was about to end so."""
        most = UNHEARD_L * 10.0**self._money.volume_decimals * filling.price / self._money.scale
        return sum(0 <= filling.money - running <= most for running in self._running) >= SURE

    def _count(self, grades: tuple[GradeTotal, ...]) -> Filling | None:
        """The filling by which one grade's totals have moved: volume, money and price agree, and the money heard."""
        if self._pending is not None or self._read or self._signs < SURE or self._ended is None:
            return None
        moved = []
        for each in grades:
            of_volume, of_money = self._totals.get(each.grade, _totalizers())
            volume, money = of_volume.missing(each.volume), of_money.missing(each.money)
            if volume is None or money is None:
                return None
            if volume or money:
                shown = round(volume / self._volume_unit), round(money / self._money_unit)
                moved.append(Filling(self._number, each.grade, each.price, *shown))
        if len(moved) != 1 or moved[0].volume <= 0 or not self._leads_to(moved[0]):
            return None
        exact = self._money.of(moved[0].volume, moved[0].price, nearest=False)
        return moved[0] if moved[0].money in exact else None

    def _gap(self, read: GradeTotal, filling: Filling) -> float:
        """By how many of their last digits a filling misses the movement of both totals; rounding is up to one."""
        if filling.grade != read.grade or read.grade not in self._totals:
            return inf
        of_volume, of_money = self._totals[read.grade]
        volume, money = of_volume.missing(read.volume), of_money.missing(read.money)
        if volume is None or money is None:
            return inf
        return max(abs(volume - filling.volume * self._volume_unit), abs(money - filling.money * self._money_unit))

    def _fuels(self, now: datetime) -> None:
        if not self._signs or self._is_next:
            self._began, self._ended, self._running, self._is_next = now, None, [], False
        self._signs += 1
        self._read = False
        self._unclear = None

    def _is_copy(self, pending: _Pending, filling: Filling, block: bytes, whole: bool, fits: bool) -> bool:
        """Whether a block is only a better or another copy of the one that is pending."""
        if self._signs >= SURE:
            return False
        if _same(pending.filling, filling):
            pending.agrees = True
            if whole and not pending.whole:
                pending.block, pending.whole = block, True
            return True
        if pending.whole and pending.agrees and not (whole and fits):
            return True
        if not pending.whole and whole:
            pending.filling, pending.block, pending.whole, pending.agrees = filling, block, True, fits
            return True
        return pending.proven and not self._signs

    def _settle(self, *, busy: bool, counts: bool = True) -> None:
        pending = self._pending
        if pending is None:
            return
        pending.busy += busy
        pending.quiet += counts and not busy
        sure = (pending.in_volume and pending.in_money) or pending.quiet >= SURE
        if sure and pending.agrees and pending.proven:
            self._tell(pending)
        elif pending.busy >= SURE:
            self._pending = None
        elif pending.quiet >= SURE and not pending.proven:
            self._pending, self._shown = None, pending.filling

    def _tell(self, pending: _Pending) -> None:
        filling = pending.filling
        self._pending, self._shown = None, filling
        self.last[filling.grade] = filling
        volume, money = self._totals.setdefault(filling.grade, _totalizers())
        in_volume = pending.in_volume or volume.sold(filling.volume * self._volume_unit)
        in_money = pending.in_money or money.sold(filling.money * self._money_unit)
        self._sales.append(
            Sale(
                filling,
                pending.start,
                pending.end,
                pending.block,
                pending.whole,
                volume.value if in_volume else None,
                money.value if in_money else None,
            )
        )


def _same(one: Filling, other: Filling) -> bool:
    return (one.grade, one.volume, one.money) == (other.grade, other.volume, other.money)


def _totalizers() -> tuple[Totalizer, Totalizer]:
    """Of volume and of money."""
    return Totalizer(TOTAL_DIGITS), Totalizer(TOTAL_DIGITS)
