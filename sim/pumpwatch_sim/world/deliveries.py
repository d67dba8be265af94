"""When a tank is filled up, by how much, and what the paper says: the lorries of the county."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pumpwatch.model import from_us
from pumpwatch_sim.chance import generator
from pumpwatch_sim.world.days import DAY_US, LOCAL_US
from pumpwatch_sim.world.fluids import at_20c
from pumpwatch_sim.world.timeline import Drop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.random import Generator

    from pumpwatch_sim.world.plans import StationPlan, TankPlan
    from pumpwatch_sim.world.timeline import Floats, Ints

LOADS_L = (2_000, 3_000, 4_000, 5_000, 6_000, 8_000, 10_000, 12_000, 15_000, 18_000, 20_000, 25_000)
"""What compartments and their sums hold."""
FULL_SHARE = 0.92
"""A tank is ordered to be filled no higher."""
VALVE_SHARE = 0.935
"""No higher does an honest drop fill it."""
BRIM_SHARE = 0.99
"""No drop, whatever it is said to be, fills it higher."""
LEAST_SHARE = 0.12
"""Before a tank falls so low, and while the busiest sales are still in it, a lorry has come, whatever the hour."""
REORDER_SHARE = (0.20, 0.35)
LEAD_H = (1.5, 6.0)
DAYS_OF_SALES = (2.0, 4.0)
"""What a lorry brings, if it fits."""
LITRES_PER_MIN = (500.0, 900.0)
ERROR_L, ERROR_SHARE = 20.0, 0.003
"""Robust standard deviations of a drop's net error (7,324 real drops: 0.44 % of 6-12 kL, 0.33 % of 20-50 kL)."""
_T3_ROBUST = 1.134
"""Robust standard deviation of Student's t with 3 degrees of freedom."""
UNLOADING_LOSS = -0.0032
"""Median of the net error."""
GROSS_CHANCE, GROSS_SHARE = 0.02, (0.03, 0.13)
"""Of the real drops one in a hundred is off by -13 to +8 %: a compartment is not emptied, or holds more than it should.
"""
LOAD_COLDER_WARMER_C = 15.0
DENSITY_SPREAD = 1.5

_DEPOTS = ("示例一号油库", "示例二号油库", "示例炼化", "示例能源")
_BLOCK = 46
"""Stations among which lorries go round: each serves another of them every day, so none is ever at two at once."""
_HOUSE_SHARE = 0.35
"""Of a station's deliveries that its own lorry brings, which serves nobody else."""
_NIGHT_H = (22, 6)
_HANDED_ON_H = 2
_HOUR_US = 3_600_000_000


class Tank(Protocol):
    """What ordering asks of the tank that is to be filled."""

    def at(self, at_us: int) -> float:
        """Its temperature."""

    def mix(self, drop: Drop, stock_20c_l: float) -> None:
        """Let a delivery into so much fuel."""


@dataclass(slots=True)
class Ordering:
    """What of a tank's deliveries goes from one stretch into the next; manifolded tanks are one."""

    number: int = 0
    """Of the next delivery ordered."""
    due_us: int | None = None
    """When the lorry that has been ordered will come, unless the tank runs low before."""
    waiting: list[Drop] = field(default_factory=list)
    """Drops that scenarios have added and for which there was no room or no time yet."""


@dataclass(slots=True)
class Outlook:
    """How a tank, or manifolded tanks together, are going to fall, on a grid of some minutes."""

    at_us: Ints
    level_20c_l: Floats
    """Deliveries are added as they are settled."""
    capacity_20c_l: float
    daily_l: float
    busiest_l: float
    """The most that leaves while a lorry unloads."""

    def level(self, at_us: int) -> float:
        """At this time."""
        return float(np.interp(at_us, self.at_us, self.level_20c_l))

    def last_above(self, level_l: float, from_us: int) -> int | None:
        """The last time on the grid before less is left, not before ``from_us``; None: there is more to the end."""
        low = (self.level_20c_l < level_l) & (self.at_us >= from_us)
        first = int(np.argmax(low))
        return max(int(self.at_us[max(first - 1, 0)]), from_us) if low[first] else None

    def add(self, drop: Drop) -> None:
        """Settle a delivery."""
        share = np.clip((self.at_us - drop.start_us) / max(drop.end_us - drop.start_us, 1), 0.0, 1.0)
        self.level_20c_l = self.level_20c_l + drop.litres_20c * share


class Orders:
    """The deliveries of one tank, or of manifolded ones, within one stretch."""

    def __init__(
        self,
        station: StationPlan,
        group: tuple[int, ...],
        seed: int,
        air_c: Callable[[int], float],
        ask: Callable[[Drop, float], list[Drop]],
    ) -> None:
        """``ask`` hands a drop and its tank's stock at 20 °C to the scenarios and returns what they add."""
        self._station, self._group, self._seed, self._air_c, self._ask = station, group, seed, air_c, ask
        self._name = station.tanks[group[0]].registered.tank_id

    def settle(self, outlook: Outlook, ordering: Ordering, tanks: Mapping[int, Tank]) -> tuple[list[Drop], Ordering]:
        """All drops that begin and end within the outlook, by start."""
        after = replace(ordering, waiting=[replace(drop) for drop in ordering.waiting])
        cursor_us, end_us = int(outlook.at_us[0]), int(outlook.at_us[-1])
        drops: list[Drop] = []
        while True:
            chance = generator(self._seed, "drop", self._name, after.number)
            after.due_us = self._due_us(outlook, after.due_us, chance, cursor_us)
            added = self._next_added(outlook, after.waiting, cursor_us, end_us)
            if added is not None and (after.due_us is None or added[1] <= after.due_us):
                drop, at_us = added
                after.waiting = [other for other in after.waiting if other is not drop]
                drop.start_us, drop.end_us = at_us, at_us + drop.end_us - drop.start_us
            elif after.due_us is not None:
                ordered = self._ordered(outlook, after, chance, cursor_us, tanks)
                if ordered is None:
                    break
                drop = ordered
                after.number, after.due_us = after.number + 1, None
                cursor_us = drop.end_us
                after.waiting += self._ask(drop, outlook.level(drop.start_us) / len(self._group))
            else:
                break
            drops.append(drop)
            if drop.litres_20c > 0.0:
                share = outlook.level(drop.start_us) / len(self._group)
                drop.litres_20c = min(drop.litres_20c, BRIM_SHARE * outlook.capacity_20c_l / len(self._group) - share)
                tanks[drop.tank].mix(drop, share)
                outlook.add(drop)
                cursor_us = max(cursor_us, drop.end_us)
        return sorted(drops, key=lambda drop: drop.start_us), after

    def _due_us(self, outlook: Outlook, due_us: int | None, chance: Generator, cursor_us: int) -> int | None:
        """When the next lorry comes: some hours after the tank has fallen low, by day, and in time in any case."""
        low, lead_h, morning_h = chance.uniform(*REORDER_SHARE), chance.uniform(*LEAD_H), chance.uniform(0.0, 2.5)
        if due_us is None:
            low_us = outlook.last_above(low * outlook.capacity_20c_l, cursor_us)
            if low_us is None:
                return None
            due_us = low_us + round(lead_h * _HOUR_US)
            since_night_us = (due_us + LOCAL_US - _NIGHT_H[0] * _HOUR_US) % DAY_US
            night_us = (_NIGHT_H[1] - _NIGHT_H[0]) % 24 * _HOUR_US
            if since_night_us < night_us:
                due_us += night_us - since_night_us + round(morning_h * _HOUR_US)
        least_us = outlook.last_above(LEAST_SHARE * outlook.capacity_20c_l + outlook.busiest_l, cursor_us)
        return max(due_us if least_us is None else min(due_us, least_us), cursor_us)

    def _next_added(
        self, outlook: Outlook, waiting: list[Drop], cursor_us: int, end_us: int
    ) -> tuple[Drop, int] | None:
        """The added drop that can begin first and ends within the stretch."""
        found: tuple[Drop, int] | None = None
        for drop in waiting:
            if drop.litres_20c <= 0.0:
                at_us = drop.start_us  # On paper only.
            else:
                brim_l = FULL_SHARE * outlook.capacity_20c_l / len(self._group)
                drop.litres_20c = min(drop.litres_20c, brim_l - LEAST_SHARE * brim_l)
                level_l = outlook.level_20c_l / len(self._group)
                room = (level_l + drop.litres_20c <= brim_l) & (outlook.at_us >= max(drop.start_us, cursor_us))
                if not room.any():
                    continue
                at_us = int(outlook.at_us[np.argmax(room)])
            if at_us + drop.end_us - drop.start_us <= end_us and (found is None or at_us < found[1]):
                found = drop, at_us
        return found

    def _ordered(
        self, outlook: Outlook, after: Ordering, chance: Generator, cursor_us: int, tanks: Mapping[int, Tank]
    ) -> Drop | None:
        """The drop that is due; None when there is no time left for it in this stretch."""
        due_us, end_us = after.due_us or cursor_us, int(outlook.at_us[-1])
        if due_us >= end_us:
            return None
        tank = self._group[after.number % len(self._group)]
        plan = self._station.tanks[tank]
        room_l = (FULL_SHARE * outlook.capacity_20c_l - outlook.level(due_us)) / len(self._group)
        wanted_l = min(room_l, max(outlook.daily_l * chance.uniform(*DAYS_OF_SALES), LOADS_L[3]))
        load_l = max((load for load in LOADS_L if load <= wanted_l), default=round(max(room_l, 100.0)))
        declared_l = round(load_l * (1.0 + 0.003 * float(np.clip(chance.standard_normal(), -3.0, 3.0))))
        duration_us = round(declared_l / chance.uniform(*LITRES_PER_MIN) * 60e6)
        start_us = due_us if due_us + duration_us <= end_us else end_us - duration_us
        if start_us < cursor_us:
            return None
        drop = self._drop(plan, tank, start_us, duration_us, float(declared_l), chance, tanks[tank].at(start_us))
        # The overfill valve shuts, whatever is in the lorry.
        valve_l = (VALVE_SHARE * outlook.capacity_20c_l - outlook.level(start_us)) / len(self._group)
        drop.litres_20c = min(drop.litres_20c, valve_l)
        return drop

    def _drop(
        self,
        plan: TankPlan,
        tank: int,
        start_us: int,
        duration_us: int,
        declared_l: float,
        chance: Generator,
        tank_c: float,
    ) -> Drop:
        warmer_c = 0.6 * (self._air_c(start_us) - tank_c) + 4.0 * chance.standard_normal()
        load_c = tank_c + float(np.clip(warmer_c, -LOAD_COLDER_WARMER_C, LOAD_COLDER_WARMER_C))
        declared_20c_l = round(at_20c(declared_l, load_c, plan.product.expansion), 1)
        spread_l = plan.nuisance * math.hypot(ERROR_L, ERROR_SHARE * declared_20c_l) / _T3_ROBUST
        error_l = UNLOADING_LOSS * declared_20c_l + spread_l * float(chance.standard_t(3))
        if chance.random() < plan.nuisance * GROSS_CHANCE:
            error_l += declared_20c_l * chance.uniform(*GROSS_SHARE) * (1.0 if chance.random() < 0.35 else -1.0)
        most_l = GROSS_SHARE[1] * declared_20c_l
        litres_20c = declared_20c_l * (1.0 + plan.delivery_bias) + min(max(error_l, -most_l), most_l)
        # A company of the state is mostly served by its own depot.
        own = self._station.registered.ownership == "state" and chance.random() < 0.8
        supplier = _DEPOTS[0 if own else int(chance.integers(len(_DEPOTS)))]
        day = from_us(start_us + LOCAL_US).strftime("%Y%m%d")
        number = int(chance.integers(10_000))
        house = chance.random() < _HOUSE_SHARE
        truck = house_lorry(self._station.station_id) if house else _day_lorry(self._station.station_id, start_us)
        return Drop(
            tank=tank,
            start_us=start_us,
            end_us=start_us + duration_us,
            litres_20c=litres_20c,
            temperature_c=load_c,
            density_20c=plan.product.density_20c + DENSITY_SPREAD * float(chance.standard_normal()),
            truck=truck,
            supplier=supplier,
            declared_l=declared_l,
            declared_20c_l=declared_20c_l,
            document_no=f"DN-{day}-{plan.registered.tank_id}-{number:04d}",
            quality_report_no=f"QR-{day}-{int(chance.integers(100_000)):05d}",
        )


def house_lorry(station_id: str) -> str:
    """The lorry that serves this station and no other."""
    block, place = divmod(int(station_id[1:]) - 1, _BLOCK)
    return _lorry(block, 2 * int(generator("lorries").permutation(_BLOCK)[place]) + 1)


def _day_lorry(station_id: str, at_us: int) -> str:
    """One of those that go round: who has it changes in the night."""
    block, place = divmod(int(station_id[1:]) - 1, _BLOCK)
    day = (at_us + LOCAL_US - _HANDED_ON_H * _HOUR_US) // DAY_US
    return _lorry(block, 2 * int(generator("lorries", day).permutation(_BLOCK)[place]))


def _lorry(block: int, number: int) -> str:
    return f"DEMO-TR{2 * _BLOCK * block + number + 1:02d}"
