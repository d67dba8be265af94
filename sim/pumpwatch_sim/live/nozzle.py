"""A nozzle as its dispenser shows it at this moment, looked up in the rows of what happens at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch.model import NozzleState
from pumpwatch_sim.live.views import Sale, TaxTotals
from pumpwatch_sim.world.days import LOCAL_US
from pumpwatch_sim.world.flow import duration_s, progress_l, rate_l_min
from pumpwatch_sim.world.prices import price_of
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, TOTALIZER_ROLL, Payment, Preset, Purpose, Sales

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import NozzlePlan
    from pumpwatch_sim.world.timeline import Floats, Ints

SLOTS = 4
MEMORY_DAYS = 62
"""So long the tax memory knows what each day brought."""
MEMORY_YEARS = 2

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
_PROFILE_STEP_S = 0.1
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class _Filling:
    """What of a filling under way does not change while it flows."""

    start_us: int
    end_us: int
    share: Floats
    """Of the litres, at even steps from the first flow to the last."""
    flow: Floats
    """L/min at those steps."""
    pulses: int
    counted: int
    """0.01 L on the display by pulses alone."""
    start_volume: int
    jump: int
    jump_pulses: float
    price: int
    volume: int
    amount: int

    def at(self, now_us: int) -> tuple[float, float]:
        """Share of the litres, and flow (L/min)."""
        place = (now_us - self.start_us) / max(1, self.end_us - self.start_us) * (len(self.share) - 1)
        step = min(int(place), len(self.share) - 2)
        rest = place - step
        share = float(self.share[step]) * (1.0 - rest) + float(self.share[step + 1]) * rest
        return min(1.0, share), float(self.flow[step]) * (1.0 - rest) + float(self.flow[step + 1]) * rest

    def amount_of(self, volume: int) -> int:
        """Money for a part of it: by the price, or in proportion where the whole was not by the price."""
        if self.amount == (self.volume * self.price + 50) // 100:
            return (volume * self.price + 50) // 100
        return volume * self.amount // max(1, self.volume)


class NozzlePlayer:
    """One nozzle; see :class:`pumpwatch_sim.live.views.NozzleView`.

    Every property first looks what has become of the nozzle by now; nothing happens between two questions.
    """

    def __init__(
        self,
        plan: NozzlePlan,
        number: int,
        now_us: Callable[[], int],
        device_s: Callable[[Ints], Ints],
    ) -> None:
        """``device_s`` turns times (µs) into what the dispenser's clock shows then, whole seconds."""
        self.plan = plan
        self.number = number
        self._now_us = now_us
        self._device_s = device_s
        self._rows: Sales | None = None
        self._seen_us = self._quiet_us = -1
        self._done = 0
        self._filling: _Filling | None = None
        self._filling_row = -1
        self._day = -1
        self._sign_price = plan.price
        self._state = NozzleState.IDLE
        self._price = plan.price
        self._volume = self._amount = self._pulses = self._flow = 0
        self._totalizer = self._totalizer_amount = self._sequence = 0
        self._sales: list[Sale | None] = [None] * SLOTS
        self._changes = self._sale_changes = 0
        self._tax_days: dict[date, tuple[int, int]] = {}
        self._tax_months: dict[tuple[int, int], tuple[int, int]] = {}
        self._tax = (0, 0)

    # ------------------------------------------------------------ what it shows

    @property
    def nozzle_id(self) -> str:
        """The registered id."""
        return self.plan.registered.nozzle_id

    @property
    def grade(self) -> str:
        """``92#``, ``95#``, ``98#`` or ``0#``."""
        return self.plan.registered.grade

    @property
    def price(self) -> int:
        """Of the filling under way, else of the price sign."""
        self.see()
        return self._price

    @property
    def state(self) -> NozzleState:
        """Now; a hidden filling is not seen."""
        self.see()
        return self._state

    @property
    def volume(self) -> int:
        """Of the filling under way, from the lifting on, or of the last one."""
        self.see()
        return self._volume

    @property
    def amount(self) -> int:
        """Belonging to ``volume``."""
        self.see()
        return self._amount

    @property
    def pulses(self) -> int:
        """Belonging to ``volume``."""
        self.see()
        return self._pulses

    @property
    def flow(self) -> int:
        """0.1 L/min; 0 without flow."""
        self.see()
        return self._flow

    @property
    def totalizer(self) -> int:
        """After the last finished filling, hidden ones among them."""
        self.see()
        return self._totalizer

    @property
    def totalizer_amount(self) -> int:
        """Likewise."""
        self.see()
        return self._totalizer_amount

    @property
    def sequence(self) -> int:
        """Of the last recorded filling."""
        self.see()
        return self._sequence

    @property
    def sales(self) -> Sequence[Sale | None]:
        """The memory's four slots."""
        self.see()
        return self._sales

    @property
    def changes(self) -> int:
        """Rises whenever a live value has changed."""
        self.see()
        return self._changes

    @property
    def sale_changes(self) -> int:
        """Rises whenever the memory has changed."""
        self.see()
        return self._sale_changes

    def tax_totals(self, local: datetime) -> TaxTotals:
        """Sums of the local day and month of ``local``; the memory begins with the world."""
        self.see()
        none = (0, 0)
        day, month = local.date(), (local.year, local.month)
        return TaxTotals(self._tax_days.get(day, none), self._tax_months.get(month, none), self._tax)

    # ------------------------------------------------------------ its rows

    def follow(self, rows: Sales, from_us: int) -> None:
        """Go on with the fillings of a stretch that begins at ``from_us``; what is still on the display is kept."""
        if self._rows is None:
            self._begin(rows)
            self._rows = rows
        else:
            self._finish(self._rows, int(np.searchsorted(self._rows.end_us, from_us, "right")))
            kept = self._rows.take(np.arange(max(0, self._shown(self._done - 1)), len(self._rows)))
            self._done -= len(self._rows) - len(kept)
            self._rows = Sales(
                **{f.name: np.concatenate([getattr(kept, f.name), getattr(rows, f.name)]) for f in fields(Sales)}
            )
        self._filling, self._filling_row = None, -1
        self._seen_us = self._quiet_us = -1

    def _begin(self, rows: Sales) -> None:
        """The counters before the first filling of all."""
        if len(rows):
            self._totalizer = int(rows.totalizer[0] - rows.volume[0]) % TOTALIZER_ROLL
            self._totalizer_amount = max(0, int(rows.totalizer_amount[0] - rows.amount[0]))
        recorded = np.flatnonzero(rows.recorded)
        if len(recorded):
            self._sequence = int(rows.seq[recorded[0]]) - 1
        self._tax = (self._totalizer, self._totalizer_amount)

    def _shown(self, row: int) -> int:
        """The last filling up to ``row`` that was no secret; -1 when there is none."""
        if self._rows is not None:
            while row >= 0 and self._rows.purpose[row] == Purpose.HIDDEN:
                row -= 1
        return row

    # ------------------------------------------------------------ looking

    def see(self) -> None:
        """Look what has become of the nozzle by now."""
        now = self._now_us()
        if now < self._quiet_us or now == self._seen_us or self._rows is None:
            return
        self._seen_us = now
        rows = self._rows
        self._finish(rows, int(np.searchsorted(rows.end_us, now, "right")))
        lifted = int(np.searchsorted(rows.lifted_us, now, "right"))
        row = lifted - 1
        self._changes += 1
        self._sign(now)
        self._quiet_us = self._day * _DAY_US + _DAY_US - LOCAL_US
        if lifted < len(rows):
            self._quiet_us = min(self._quiet_us, int(rows.lifted_us[lifted]))
        if row >= 0 and rows.purpose[row] == Purpose.HIDDEN:
            if now < rows.end_us[row]:
                self._quiet_us = min(self._quiet_us, int(rows.end_us[row]))
            row = self._shown(row)
            self._rest(rows, row)
        elif row < 0 or now >= rows.hung_us[row]:
            self._rest(rows, row)
        elif now < rows.start_us[row]:
            self._state, self._price, self._flow = NozzleState.LIFTED, int(rows.price[row]), 0
            self._volume, self._pulses = int(rows.start_volume[row]), 0
            self._amount = (self._volume * self._price + 50) // 100
            self._quiet_us = min(self._quiet_us, int(rows.start_us[row]))
        elif now < rows.end_us[row]:
            self._fuel(rows, row, now)
        else:
            self._rest(rows, row)
            self._state, self._price = NozzleState.STOPPED, int(rows.price[row])
            self._quiet_us = min(self._quiet_us, int(rows.hung_us[row]))

    def _sign(self, now: int) -> None:
        """Prices change at the county's midnight."""
        day = (now + LOCAL_US) // _DAY_US
        if day != self._day:
            self._day, self._sign_price = day, price_of(self.plan, now)

    def _rest(self, rows: Sales, row: int) -> None:
        self._state, self._price, self._flow = NozzleState.IDLE, self._sign_price, 0
        if row >= 0:
            self._volume, self._amount = int(rows.volume[row]), int(rows.amount[row])
            self._pulses = int(rows.pulses[row])

    def _fuel(self, rows: Sales, row: int, now: int) -> None:
        if row != self._filling_row or self._filling is None:
            self._filling, self._filling_row = _filling(rows, row), row
        filling = self._filling
        share, flow_l_min = filling.at(now)
        self._state, self._price = NozzleState.FUELLING, filling.price
        self._pulses = int(filling.pulses * share)
        counted = filling.counted * self._pulses // filling.pulses if filling.pulses else 0
        self._volume = filling.start_volume + counted + (filling.jump if self._pulses >= filling.jump_pulses else 0)
        self._amount = filling.amount_of(self._volume)
        self._flow = round(flow_l_min * 10.0)
        self._quiet_us = now

    # ------------------------------------------------------------ the memory

    def _finish(self, rows: Sales, done: int) -> None:
        """Remember the fillings that have ended since the last look."""
        if done <= self._done:
            return
        recorded = self._done + np.flatnonzero(rows.recorded[self._done : done])
        self._totalizer = int(rows.totalizer[done - 1])
        self._totalizer_amount = int(rows.totalizer_amount[done - 1])
        self._done = done
        if len(recorded):
            start_s, end_s = self._device_s(rows.start_us[recorded]), self._device_s(rows.end_us[recorded])
            self._tax_records(end_s, rows.tax_volume[recorded], rows.tax_amount[recorded])
            for place in range(max(0, len(recorded) - SLOTS), len(recorded)):
                sale = _sale(rows, int(recorded[place]), int(start_s[place]), int(end_s[place]))
                self._sales[sale.sequence % SLOTS] = sale
                self._sequence = sale.sequence
            self._sale_changes += 1

    def _tax_records(self, end_s: Ints, volume: Ints, amount: Ints) -> None:
        taxed = volume != NO_TAX_RECORD
        days = (end_s[taxed] + LOCAL_US // _SECOND_US) // (_DAY_US // _SECOND_US)
        for number in sorted(set(days.tolist())):
            mine = days == number
            brought = int(volume[taxed][mine].sum()), int(amount[taxed][mine].sum())
            day = _EPOCH + timedelta(days=number)
            month = (day.year, day.month)
            if day not in self._tax_days:
                oldest = day - timedelta(days=MEMORY_DAYS)
                self._tax_days = {old: total for old, total in self._tax_days.items() if old >= oldest}
                first = (month[0] - MEMORY_YEARS, month[1])
                self._tax_months = {old: total for old, total in self._tax_months.items() if old >= first}
            self._tax_days[day] = _sum(self._tax_days.get(day, (0, 0)), brought)
            self._tax_months[month] = _sum(self._tax_months.get(month, (0, 0)), brought)
            self._tax = _sum(self._tax, brought)


def _sale(rows: Sales, row: int, start_s: int, end_s: int) -> Sale:
    taxed = int(rows.tax_volume[row]) != NO_TAX_RECORD
    return Sale(
        sequence=int(rows.seq[row]),
        start_s=start_s,
        end_s=end_s,
        volume=int(rows.volume[row]),
        amount=int(rows.amount[row]),
        price=int(rows.price[row]),
        payment=Payment(int(rows.payment[row])),
        totalizer=int(rows.totalizer[row]),
        totalizer_amount=int(rows.totalizer_amount[row]),
        pulses=int(rows.pulses[row]),
        preset=Preset(int(rows.preset[row])),
        preset_value=int(rows.preset_value[row]),
        tax_volume=int(rows.tax_volume[row]) if taxed else 0,
        tax_amount=int(rows.tax_amount[row]) if taxed else 0,
    )


def _filling(rows: Sales, row: int) -> _Filling:
    volume, start_volume, jump = int(rows.volume[row]), int(rows.start_volume[row]), int(rows.jump[row])
    counted = max(0, volume - start_volume - jump)
    litres, flow_l_min = max(counted, 1) / 100.0, float(rows.flow_l_min[row])
    lasts_s = duration_s(litres, flow_l_min)
    at_s = np.linspace(0.0, lasts_s, 2 + int(lasts_s / _PROFILE_STEP_S))
    pulses = int(rows.pulses[row])
    return _Filling(
        start_us=int(rows.start_us[row]),
        end_us=int(rows.end_us[row]),
        share=progress_l(litres, flow_l_min, at_s) / litres,
        flow=rate_l_min(litres, flow_l_min, at_s),
        pulses=pulses,
        counted=counted,
        start_volume=start_volume,
        jump=jump,
        jump_pulses=float(rows.jump_at[row]) * pulses,
        price=int(rows.price[row]),
        volume=volume,
        amount=int(rows.amount[row]),
    )


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]
