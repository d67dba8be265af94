"""What one gun has done, from what was heard of it: display, totals, and each filling once; sans-I/O.

The protocol has no record of a filling: a gun that hangs goes on showing the last one. So a filling is told when the
nozzle hangs again, was out before, and two answers (or one and the totals) show the same figures; without fuelling in
at least two answers money or litres must also be others than before, and without any fit the price.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pumpwatch import NozzleState, Totalizer
from pumpwatch_lanfeng.frames import Question, State

if TYPE_CHECKING:
    from datetime import datetime

TOTAL_DIGITS = 12
SURE = 2
"""Answers that fuelling must be heard in when the figures are the same as before."""


@dataclass(frozen=True, slots=True)
class Sale:
    """A completed filling; figures in units of their last digit."""

    figures: tuple[int, int, int]
    """Price, money, litres."""
    start: datetime
    end: datetime
    total_litres: int | None
    total_money: int | None
    """Totals after it; None where they were not heard."""


@dataclass(slots=True)
class _Pending:
    """Figures of a nozzle that hangs again, seen once."""

    figures: tuple[int, int, int]
    ended: datetime
    in_litres: bool = False
    in_money: bool = False
    """Whether the totals heard last contain them."""


class Gun:
    """Follows one gun number."""

    def __init__(self, scale: float = 100.0, litres_unit: float = 1.0, money_unit: float = 1.0) -> None:
        """Price times litres in their last digits, divided by ``scale``, is money in its last digit.

        The units are those of a filling's last digits in last digits of the totals.
        """
        self._scale = scale
        self.heard: datetime | None = None
        """When it last answered."""
        self.shown: State | None = None
        """Its last answer."""
        self.totals = {question: Totalizer(TOTAL_DIGITS) for question in (Question.TOTAL_LITRES, Question.TOTAL_MONEY)}
        self._units = litres_unit, money_unit
        self._rested: tuple[int, int, int] | None = None
        """What it showed when it hung before."""
        self._outs = 0
        """Answers since then with the nozzle out …"""
        self._fuelled = 0
        """… and fuelling."""
        self._began: datetime | None = None
        self._pending: _Pending | None = None
        self._sales: list[Sale] = []

    @property
    def state(self) -> NozzleState | None:
        """As it last answered; None for a status whose meaning is not known."""
        if self.shown is None or not self.shown.is_known:
            return None
        if self.shown.is_fuelling:
            return NozzleState.FUELLING
        return NozzleState.LIFTED if self.shown.is_up else NozzleState.IDLE

    @property
    def owes_totals(self) -> bool:
        """Whether the totals heard last need a second reading, or were not heard since the last filling."""
        if self._pending is not None and self._proven(self._pending):
            return True
        return not all(each.is_sure for each in self.totals.values())

    def take(self) -> list[Sale]:
        """The fillings completed since the last call."""
        sales, self._sales = self._sales, []
        return sales

    def hear_state(self, state: State, now: datetime) -> None:
        """An answer to ``STATE``."""
        self.heard, self.shown = now, state
        if state.is_up or state.is_fuelling:
            if self._pending is not None and self._proven(self._pending) and self._fits(self._pending.figures):
                self._tell(self._pending)  # out again before a second look
            self._pending = None
            if not self._outs:
                self._began = now
            self._outs += 1
            if state.is_fuelling:
                self._began = self._began if self._fuelled else now
                self._fuelled += 1
            return
        if not state.is_known:
            return
        pending = self._pending
        if pending is None or pending.figures != state.figures:
            self._pending = _Pending(state.figures, now)
        elif self._outs and self._proven(pending):
            self._tell(pending)
        else:
            self._rest(state.figures)

    def hear_total(self, question: Question, value: int, now: datetime) -> None:
        """A total."""
        totalizer, pending = self.totals[question], self._pending
        litres = question is Question.TOTAL_LITRES
        if pending is None or not self._proven(pending) or (pending.in_litres if litres else pending.in_money):
            totalizer.hear(value, at=now)
            return
        figure, unit = (pending.figures[2], self._units[0]) if litres else (pending.figures[1], self._units[1])
        shown = totalizer.hear(value, figure * unit, now)
        pending.in_litres |= litres and shown
        pending.in_money |= not litres and shown
        if pending.in_litres and pending.in_money:
            self._tell(pending)

    # ------------------------------------------------------------ conclusions

    def _proven(self, pending: _Pending) -> bool:
        """Whether these figures are those of a new filling."""
        if not pending.figures[2] or not self._outs:
            return False
        if self._fuelled >= SURE:
            return True
        # A new price changes the display, too, but neither money nor litres.
        is_new = self._rested is not None and pending.figures[1:] != self._rested[1:]
        return is_new and (self._fuelled > 0 or self._fits(pending.figures))

    def _fits(self, figures: tuple[int, int, int]) -> bool:
        """Whether money is litres times price, as near as digits can show it."""
        price, money, litres = figures
        return abs(money - price * litres / self._scale) <= 1.0 + price / self._scale

    def _tell(self, pending: _Pending) -> None:
        litres, money = self.totals[Question.TOTAL_LITRES], self.totals[Question.TOTAL_MONEY]
        in_litres = pending.in_litres or litres.sold(pending.figures[2] * self._units[0])
        in_money = pending.in_money or money.sold(pending.figures[1] * self._units[1])
        self._sales.append(
            Sale(
                pending.figures,
                self._began or pending.ended,
                pending.ended,
                litres.value if in_litres else None,
                money.value if in_money else None,
            )
        )
        self._rest(pending.figures)

    def _rest(self, figures: tuple[int, int, int]) -> None:
        self._rested, self._outs, self._fuelled, self._began = figures, 0, 0, None
