"""The tanks of a station over one stretch: what is sold, lost, delivered and poured back, so that it always closes.

All stocks and flows are litres at 20 °C: stock at the end = stock at the start - sold + delivered + returned - losses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch_sim.chance import generator
from pumpwatch_sim.world.days import DAY_US
from pumpwatch_sim.world.deliveries import Ordering, Orders, Outlook
from pumpwatch_sim.world.fluids import air_c, at_20c, from_20c
from pumpwatch_sim.world.noise import key, uniform, wander
from pumpwatch_sim.world.siphon import level_out
from pumpwatch_sim.world.timeline import Purpose, TankCourse
from pumpwatch_sim.world.warmth import Warmth
from pumpwatch_sim.world.work import TankWork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pumpwatch_sim.world.plans import StationPlan, TankPlan
    from pumpwatch_sim.world.timeline import Drop, Floats, Ints, Sales
    from pumpwatch_sim.world.work import Stretch

COMMON_LOSS_TAU_DAYS = 10.0
SEASONAL_LOSS = 0.001
"""Amplitude over the year, highest in summer; a share of it where little evaporates."""
AIR_IN_METER = 0.10
"""How far the fuel in the meter is from the tank's temperature towards the air's."""
RELAX_H = (12.0, 24.0)
SWELL_MM = (10.0, 30.0)
RETURN_AFTER_US, RETURN_US = 90_000_000, 60_000_000
"""A test draw is poured back so long after it was drawn, and takes so long."""

_HOUR_US = 3_600_000_000
_LOOK_US = 600_000_000
_UNLOADING_LOOKS = 5
_PETROL_LOSS = 0.002
LEVEL_TAU_H = 120.0
"""In which the wander of a reported level is forgotten."""
_WARMEST_DAY = 202.0


@dataclass(slots=True)
class TankState:
    """What a tank carries from one stretch into the next."""

    stock_20c_l: float
    temperature_c: float
    density_20c: float
    water_l: float
    loss: float = 0.0
    """The common loss's wander, in standard deviations."""
    level: float = 0.0
    """The reported level's wander, likewise."""
    returning_20c_l: float = 0.0
    """Test draws that could not be poured back before the stretch was over."""
    ordering: Ordering = field(default_factory=Ordering)
    swell: tuple[int, float] | None = None
    """The last one."""

    @classmethod
    def first(cls, plan: TankPlan, seed: int) -> TankState:
        """At the origin."""
        water_l = float(plan.true_chart.volume_l(np.array([plan.water_mm]))[0])
        loss = float(generator(seed, "first loss", plan.registered.tank_id).standard_normal())
        level = float(generator(seed, "first level", plan.registered.tank_id).standard_normal())
        return cls(plan.stock_20c_l, plan.temperature_c, plan.product.density_20c, water_l, loss, level)


@dataclass(slots=True)
class Ramps:
    """Fuel that enters (positive) or leaves evenly over spans."""

    start_us: Ints
    end_us: Ints
    litres_20c: Floats

    def by(self, at_us: Ints) -> Floats:
        """What has come in until these times."""
        share = (at_us[:, None] - self.start_us) / (self.end_us - self.start_us)
        return np.clip(share, 0.0, 1.0) @ self.litres_20c


def tank_of(station: StationPlan) -> Ints:
    """The index of the tank each nozzle truly draws from."""
    ids = [tank.registered.tank_id for tank in station.tanks]
    return np.array([ids.index(nozzle.tank.registered.tank_id) for nozzle in station.nozzles], np.int64)


def manifolds(station: StationPlan) -> list[tuple[int, ...]]:
    """The station's tanks, those joined by a siphon together."""
    groups: dict[str, list[int]] = {}
    for index, tank in enumerate(station.tanks):
        groups.setdefault(tank.registered.manifold or tank.registered.tank_id, []).append(index)
    return [tuple(group) for group in groups.values()]


def tank_work(stretch: Stretch, sales: Sales, states: Sequence[TankState], seed: int) -> tuple[TankWork, list[float]]:
    """Step 4 before the scenarios, and the common loss's wander at the end of the stretch."""
    hour_us = np.arange(stretch.start_us, stretch.end_us, _HOUR_US, dtype=np.int64)
    days = -((stretch.start_us - stretch.end_us) // DAY_US)
    first_day = (stretch.start_us - stretch.origin_us) // DAY_US
    season = np.cos(2.0 * np.pi * (hour_us / DAY_US - _WARMEST_DAY) / 365.2425)
    common, ends = [], []
    for tank, state in zip(stretch.station.tanks, states, strict=True):
        of = key(seed, "common loss", tank.registered.tank_id)
        path = wander(of, state.loss, first_day, days, COMMON_LOSS_TAU_DAYS)
        ends.append(float(path[-1]))
        since_days = (hour_us - stretch.start_us) / DAY_US
        slow = tank.nuisance * tank.common_loss_sd * np.interp(since_days, np.arange(days + 1.0), path)
        vapour = tank.product.vapour_loss
        common.append(slow + vapour + SEASONAL_LOSS * min(vapour / _PETROL_LOSS, 1.0) * season)
    return TankWork(stretch, sales, np.array(common), hour_us, air_c=air_c(hour_us, seed)), ends


def fill_and_draw(
    work: TankWork,
    states: Sequence[TankState],
    seed: int,
    ask: Callable[[Drop, float], list[Drop]],
) -> tuple[tuple[TankCourse, ...], list[Drop], list[tuple[int, int, float]], list[TankState]]:
    """Carry out ``work``, with ``Sales.temperature_c``: courses, drops, returns and the states afterwards."""
    stretch, station = work.stretch, work.stretch.station
    fed = tank_of(station)[work.sales.nozzle]
    parts = [_Part(work, index, np.flatnonzero(fed == index), states[index], seed) for index in range(len(states))]

    def air_at(at_us: int) -> float:
        return float(np.interp(at_us, work.hour_us, work.air_c))

    drops: list[Drop] = []
    orderings: dict[int, Ordering] = {}
    for group in manifolds(station):
        members = [parts[index] for index in group]
        level = np.sum([part.outlook_20c_l() for part in members], axis=0)
        outlook = Outlook(
            at_us=members[0].look_us,
            level_20c_l=level,
            capacity_20c_l=sum(part.capacity_20c_l for part in members),
            daily_l=sum(part.sold_about_l for part in members) * DAY_US / (stretch.end_us - stretch.start_us),
            busiest_l=float(np.max(level[:-_UNLOADING_LOOKS] - level[_UNLOADING_LOOKS:], initial=0.0)),
        )
        orders = Orders(station, group, seed, air_at, ask)
        came, ordering = orders.settle(
            outlook, states[group[0]].ordering, {index: parts[index].warmth for index in group}
        )
        drops += came
        orderings[group[0]] = ordering
    drops.sort(key=lambda drop: (drop.start_us, drop.tank))
    returns: list[tuple[int, int, float]] = []
    for part in parts:
        part.make([drop for drop in drops if drop.tank == part.index], returns)
    courses = [part.course() for part in parts]
    for group in manifolds(station):
        if len(group) > 1:
            for index, levelled in zip(group, level_out([courses[index] for index in group]), strict=True):
                courses[index] = levelled
    after = [
        part.after(course, orderings.get(part.index, Ordering())) for part, course in zip(parts, courses, strict=True)
    ]
    return tuple(courses), drops, sorted(returns, key=lambda back: back[1]), after


class _Part:
    """One tank while its stretch is made."""

    def __init__(self, work: TankWork, index: int, rows: Ints, state: TankState, seed: int) -> None:
        stretch, sales = work.stretch, work.sales
        self.index, self._work, self._rows, self._state, self._seed = index, work, rows, state, seed
        self._start_us, self._end_us = stretch.start_us, stretch.end_us
        self.plan = stretch.station.tanks[index]
        self._name = self.plan.registered.tank_id
        hours = float(uniform(key(seed, "relax", self._name), np.zeros(1, np.int64))[0])
        hours = RELAX_H[0] + (RELAX_H[1] - RELAX_H[0]) * hours
        self.warmth = Warmth(stretch.start_us, stretch.end_us, state.temperature_c, state.density_20c, hours / 1.5)
        self._slow_us, self._warm_c, self._density = self.warmth.course()
        self.look_us = np.arange(stretch.start_us, stretch.end_us + _LOOK_US, _LOOK_US, dtype=np.int64)
        self.look_us[-1] = stretch.end_us
        hour = np.minimum((sales.start_us[rows] - stretch.start_us) // _HOUR_US, len(work.hour_us) - 1)
        self._loss_share = work.common_loss[index][hour]
        self._air = np.interp(sales.start_us[rows], work.hour_us, work.air_c)
        flows = [
            (max(flow.start_us, stretch.start_us), min(flow.end_us, stretch.end_us), flow)
            for flow in work.flows
            if flow.tank == index
        ]
        self._flows = [
            (flow.name, start, end, flow.litres_20c * (end - start) / (flow.end_us - flow.start_us))
            for start, end, flow in flows
            if start < end
        ]
        self._flow_ramps = Ramps(
            np.array([start for _, start, _, _ in self._flows], np.int64),
            np.array([end for _, _, end, _ in self._flows], np.int64),
            np.array([litres for _, _, _, litres in self._flows], float),
        )
        capacity_l = self.plan.true_chart.capacity_l - state.water_l
        self.capacity_20c_l = at_20c(capacity_l, float(np.max(self._warm_c)), self.plan.product.expansion)
        self._losses: dict[str, float] = {}
        self._pieces: list[Ramps] = []
        self._swells: list[tuple[int, float]] = [] if state.swell is None else [state.swell]
        self._returning_l = 0.0

    # ------------------------------------------------------------ before the deliveries are known

    @property
    def sold_about_l(self) -> float:
        """What the nozzles take in the stretch."""
        return float(self._work.sales.out_l[self._rows].sum())

    def outlook_20c_l(self) -> Floats:
        """The stock on the grid ``look_us`` without deliveries, right to some parts in a thousand."""
        sales = self._work.sales
        sold = at_20c(sales.out_l[self._rows], float(np.mean(self._warm_c)), self.plan.product.expansion)
        gone = np.concatenate(([0.0], np.cumsum(sold * (1.0 + self._loss_share))))
        gone = gone[np.searchsorted(sales.start_us[self._rows], self.look_us, side="right")]
        return self._state.stock_20c_l - gone + self._flow_ramps.by(self.look_us)

    # ------------------------------------------------------------ afterwards

    def make(self, drops: Sequence[Drop], returns: list[tuple[int, int, float]]) -> None:
        """Settle everything that enters and leaves; what is poured back is added to ``returns``."""
        sales, rows, start_us, end_us = self._work.sales, self._rows, self._start_us, self._end_us
        self._slow_us, self._warm_c, self._density = self.warmth.course()
        tank_c = np.interp(sales.start_us[rows], self._slow_us, self._warm_c)
        meter_c = tank_c + AIR_IN_METER * (self._air - tank_c)
        sales.temperature_c[rows] = meter_c
        sold = at_20c(sales.out_l[rows], meter_c, self.plan.product.expansion)
        lost = sold * self._loss_share
        self._losses["vapour"] = float(lost.sum())
        self._pieces = [Ramps(sales.start_us[rows], sales.end_us[rows], -(sold + lost)), self._flow_ramps]
        for name, _, _, litres in self._flows:
            self._losses[name] = self._losses.get(name, 0.0) - litres
        real = [drop for drop in drops if drop.litres_20c > 0.0]
        if real:
            self._pieces.append(
                Ramps(
                    np.array([drop.start_us for drop in real], np.int64),
                    np.array([drop.end_us for drop in real], np.int64),
                    np.array([drop.litres_20c for drop in real]),
                )
            )
        heights = uniform(key(self._seed, "swell", self._name), np.array([drop.start_us for drop in real], np.int64))
        for drop, height in zip(real, heights.tolist(), strict=True):
            self._swells.append((drop.end_us, SWELL_MM[0] + (SWELL_MM[1] - SWELL_MM[0]) * height))
        draws = np.flatnonzero(sales.purpose[rows] == Purpose.TEST_DRAW)
        backs = [(start_us, self._state.returning_20c_l)] if self._state.returning_20c_l else []
        for row in draws.tolist():
            at_us = int(sales.hung_us[rows[row]]) + RETURN_AFTER_US
            if at_us + RETURN_US > end_us:
                self._returning_l += float(sold[row])
            else:
                backs.append((at_us, float(sold[row])))
        if backs:
            at = np.array([at_us for at_us, _ in backs], np.int64)
            self._pieces.append(Ramps(at, at + RETURN_US, np.array([litres for _, litres in backs])))
            returns += [(self.index, at_us, litres) for at_us, litres in backs]
        self._leak()

    def _leak(self) -> None:
        """Leaks are reckoned by the hour from the level without them."""
        mine = [leak[1:] for leak in self._work.leaks if leak[0] == self.index]
        if not mine:
            return
        at_us, stock = self._fuel()
        mid_us = (self._work.hour_us + np.append(self._work.hour_us[1:], self._end_us)) // 2
        warm = np.interp(mid_us, self._slow_us, self._warm_c)
        litres = from_20c(np.interp(mid_us, at_us, stock), warm, self.plan.product.expansion) + self._state.water_l
        half_mm = float(self.plan.true_chart.height_mm[-1]) / 2.0
        head = np.sqrt(np.maximum(self.plan.true_chart.height_mm_of(litres), 0.0) / half_mm)
        start = self._work.hour_us
        end = np.append(start[1:], self._end_us)
        for from_us, until_us, litres_h, with_level in mine:
            first, last = np.maximum(start, from_us), np.minimum(end, until_us)
            on = first < last
            leaked = litres_h * (last - first)[on] / _HOUR_US * (head[on] if with_level else 1.0)
            self._pieces.append(Ramps(first[on], last[on], -leaked))
            self._losses["leak"] = self._losses.get("leak", 0.0) + float(leaked.sum())

    def _fuel(self) -> tuple[Ints, Floats]:
        """The stock so far, linear between the times."""
        start = np.concatenate([piece.start_us for piece in self._pieces])
        end = np.concatenate([piece.end_us for piece in self._pieces])
        rate = np.concatenate([piece.litres_20c for piece in self._pieces]) / (end - start)
        bounds = np.array([self._start_us, self._end_us], np.int64)
        edges = np.concatenate((start, end, bounds))
        at_us, place = np.unique(edges, return_inverse=True)
        turns = np.bincount(place, np.concatenate((rate, -rate, [0.0, 0.0])), len(at_us))
        moved = np.cumsum(np.cumsum(turns)[:-1] * np.diff(at_us))
        return at_us, self._state.stock_20c_l + np.concatenate(([0.0], moved))

    def course(self) -> TankCourse:
        """The whole of it."""
        at_us, stock = self._fuel()
        water = np.full(len(self._slow_us), self._state.water_l)
        chart = self.plan.true_chart
        rises = [rise[1:] for rise in self._work.water_mm_per_day if rise[0] == self.index]
        if rises:
            mm = chart.height_mm_of(water)
            for from_us, until_us, mm_per_day in rises:
                since_us = np.clip(self._slow_us, from_us, until_us) - max(from_us, self._start_us)
                mm = mm + mm_per_day * np.maximum(since_us, 0) / DAY_US
            water = chart.volume_l(mm)
        return TankCourse(
            plan=self.plan,
            at_us=at_us,
            stock_20c_l=stock,
            slow_us=self._slow_us,
            temperature_c=self._warm_c,
            water_l=water,
            density_20c=self._density,
            losses_20c_l=self._losses,
            level_wander=self._level_wander(),
            swells=tuple(self._swells),
        )

    def _level_wander(self) -> Floats:
        """Hour by hour, on from where it was."""
        of = key(self._seed, "level wander", self._name)
        first, last = ((at_us - self._work.stretch.origin_us) // _HOUR_US for at_us in (self._start_us, self._end_us))
        return wander(of, self._state.level, first, last - first, LEVEL_TAU_H)

    def after(self, course: TankCourse, ordering: Ordering) -> TankState:
        """At the stretch's end; the common loss is still the old one."""
        return TankState(
            stock_20c_l=float(course.stock_20c_l[-1]),
            temperature_c=float(course.temperature_c[-1]),
            density_20c=self.warmth.density_20c,
            water_l=float(course.water_l[-1]),
            loss=self._state.loss,
            level=float(course.level_wander[-1]),
            returning_20c_l=self._returning_l,
            ordering=ordering,
            swell=self._swells[-1] if self._swells else None,
        )
