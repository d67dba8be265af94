"""Honest days that must stay quiet, II: weather, wear, verification, repair and the physics of tanks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumpwatch.model import Department, EventKind, Text, from_us
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US, LOCAL_OFFSET_US, MINUTE_US
from pumpwatch_sim.scenarios.refit import with_tank
from pumpwatch_sim.scenarios.short import percent
from pumpwatch_sim.scenarios.traces import (
    book,
    close,
    draw,
    interrupt,
    next_at,
    nozzles_of,
    serial,
    sign,
    tell,
    with_meter_error,
)
from pumpwatch_sim.world.timeline import (
    GaugeFault,
    GaugeFaultKind,
    OutageKind,
    Preset,
    Purpose,
)

if TYPE_CHECKING:
    from pumpwatch_sim.scenarios.base import Target, TruthItem, Value
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Floats, Ints, Timeline
    from pumpwatch_sim.world.work import DeliveryWork, Demand, Metering, Papers, TankWork

MPE_PERCENT = 0.3
"""The law's permissible error."""


class Grown(Scenario):
    """A scenario whose strength grows evenly over a number of days and then stays."""

    def grown(self, at_us: Ints, days: float) -> Floats:
        """0 before the onset, 1 after so many days; 0 again after the end."""
        share: Floats = np.clip((at_us - self.onset_us) / (days * DAY_US), 0.0, 1.0)
        return share if self.end_us is None else np.where(at_us < self.end_us, share, 0.0)


class WeatherSwing(Scenario):
    """20 °C up in three days, and loads that come hot."""

    id = "H01"
    name = "temperature_swing"
    title = Text("气温骤变与热油卸油", "temperature swing and hot loads")
    scope = Scope.STATION
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "swing_c": Parameter(20.0, "°C", -30.0, 30.0, words="of the air, above what is usual"),
        "days": Parameter(3.0, "d", 0.5, 30.0, words="until the swing is complete; it goes as slowly again"),
        "load_c": Parameter(15.0, "°C", -15.0, 20.0, words="which loads are warmer meanwhile"),
    }

    def swing(self, at_us: Ints) -> Floats:
        """Of the air, up and down again."""
        days = (at_us - self.onset_us) / DAY_US
        rise: Floats = np.clip(1.0 - np.abs(days / self.number("days") - 1.0), 0.0, 1.0)
        return self.number("swing_c") * rise

    def tanks(self, work: TankWork) -> None:
        """The air."""
        if len(work.air_c):
            work.air_c = work.air_c + self.swing(work.hour_us)

    def delivery(self, work: DeliveryWork) -> None:
        """A hot load: the same litres at 20 °C, more on the paper."""
        drop = work.drop
        if self.onset_us <= drop.start_us < self.onset_us + round(2.0 * self.number("days") * DAY_US):
            expansion = work.stretch.station.tanks[drop.tank].product.expansion
            before = drop.temperature_c
            drop.temperature_c += self.number("load_c")
            swelling = (1.0 - expansion * (before - 20.0)) / (1.0 - expansion * (drop.temperature_c - 20.0))
            drop.declared_l = float(round(drop.declared_l * swelling))


class MeterDrift(Grown):
    """A meter that drifts, yet stays within ±0.30 %: towards the other side of where it began."""

    id = "H02"
    name = "meter_drift"
    title = Text("允差内漂移", "drift within the permissible error")
    scope = Scope.NOZZLE
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(0.2, 0.05, 0.25),
        "days": Parameter(90.0, "d", 10.0, 720.0, words="until the drift is complete"),
    }

    def meter(self, metering: Metering) -> None:
        """Evenly over the days."""
        wish, station = metering.wish, metering.stretch.station
        error = station.nozzles[self.target.nozzle or 0].meter.error
        drift = self.number("percent") / 100.0 * (-1.0 if error > 0.0 else 1.0)
        on = self.mine(station, wish.nozzle)
        metering.error += np.where(on, drift * self.grown(wish.arrival_us, self.number("days")), 0.0)


class Verification(Scenario):
    """The institute verifies a dispenser: 5, 10 and 20 L again and again, all poured back."""

    id = "H08"
    name = "verification_draws"
    title = Text("强制检定回罐", "verification, draws returned")
    scope = Scope.DISPENSER
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "draws": Parameter(24.0, "", 12.0, 60.0, words="over all nozzles of the dispenser"),
        "slow_l_min": Parameter(12.0, "L/min", 5.0, 30.0, words="flow of every second draw"),
    }
    _LITRES = (20.0, 20.0, 20.0, 10.0, 5.0)

    @classmethod
    def settle(cls, onset_us: int, origin_us: int, values: Mapping[str, Value]) -> int:
        """The next half past nine in the morning."""
        return next_at(onset_us, 9.5)

    def demand(self, demand: Demand) -> None:
        """The nozzles are closed to customers until the last draw is done."""
        station, count = demand.stretch.station, round(self.number("draws"))
        own = nozzles_of(station, station.dispensers[self.target.dispenser or 0])
        close(demand, own, self.onset_us, self.onset_us + count * 4 * MINUTE_US)
        for number in range(count):
            book(
                demand,
                own[number % len(own)],
                self.onset_us + number * 4 * MINUTE_US,
                self._LITRES[number // len(own) % len(self._LITRES)],
                Purpose.TEST_DRAW,
                Preset.LITRES,
                self.number("slow_l_min") if number // len(own) % 2 else None,
            )

    def papers(self, papers: Papers) -> None:
        """The visit is on paper; the certificates are the institute's."""
        dispenser = papers.station.dispensers[self.target.dispenser or 0].registered
        sign(papers, dispenser.dispenser_id, self.onset_us, "inspection")


class Recalibration(Scenario):
    """A meter is set right by an authorised repairer and verified: a step with a certificate."""

    id = "H09"
    name = "recalibrated"
    title = Text("持证调整计量器", "meter recalibrated with certificate")
    scope = Scope.NOZZLE
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(-0.25, -0.5, 0.5, "added to E"),
        "before": percent(0.2, -0.3, 0.3, "the meter's E until then"),
    }

    @classmethod
    def settle(cls, onset_us: int, origin_us: int, values: Mapping[str, Value]) -> int:
        """The next ten o'clock in the morning."""
        return next_at(onset_us, 10.0)

    def plan(self, station: StationPlan) -> StationPlan:
        """A meter that has something to be set right."""
        return with_meter_error(station, self.target.nozzle or 0, self.number("before") / 100.0)

    def demand(self, demand: Demand) -> None:
        """An hour without customers, at its end three draws of 20 L."""
        nozzle = self.target.nozzle or 0
        close(demand, (nozzle,), self.onset_us, self.onset_us + HOUR_US)
        draw(demand, nozzle, self.onset_us + 40 * MINUTE_US, (20.0, 20.0, 20.0))

    def meter(self, metering: Metering) -> None:
        """Set right."""
        wish = metering.wish
        on = self.mine(metering.stretch.station, wish.nozzle) & self.active(wish.arrival_us)
        metering.error += np.where(on, self.number("percent") / 100.0, 0.0)

    def devices(self, timeline: Timeline) -> None:
        """The seal is opened and a new one set."""
        nozzle = timeline.station.nozzles[self.target.nozzle or 0].registered
        seal = {"nozzle_id": nozzle.nozzle_id, "seal": "seal_meter"}
        broken, renewed = self.onset_us + 5 * MINUTE_US, self.onset_us + 55 * MINUTE_US
        tell(timeline, broken, nozzle.dispenser_id, EventKind.SEAL, **seal, number="", state="broken")
        tell(timeline, renewed, nozzle.dispenser_id, EventKind.SEAL, **seal, number=self._seal, state="intact")

    @property
    def _seal(self) -> str:
        return serial(self.chance("seal"), "SM")

    def papers(self, papers: Papers) -> None:
        """Calibrated and certified; the register has the new seal."""
        nozzle = papers.station.nozzles[self.target.nozzle or 0].registered
        papers.ledger.setdefault(nozzle.nozzle_id, {})["seal_meter"] = self._seal
        year = from_us(self.onset_us + LOCAL_OFFSET_US).year
        number = f"DEMO-{year}-{int(self.chance('certificate').integers(10**6)):06d}"
        error = round(self.number("before") + self.number("percent"), 3)
        sign(papers, nozzle.nozzle_id, self.onset_us, "calibration", "调整计量器", number, error)


class ProbeReplaced(Scenario):
    """A new probe stands two millimetres higher than the old one."""

    id = "H12"
    name = "probe_replaced"
    title = Text("更换液位仪探棒", "probe replaced, other offset")
    scope = Scope.TANK
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "offset_mm": Parameter(2.0, "mm", -20.0, 20.0, words="new reading less old")
    }
    _WORK_US = 40 * MINUTE_US

    def devices(self, timeline: Timeline) -> None:
        """Some minutes without readings, then the new probe's."""
        tank = timeline.station.tanks[self.target.tank or 0].registered.tank_id
        interrupt(timeline, self.onset_us, self.onset_us + self._WORK_US, OutageKind.NETWORK, (tank,))
        until = timeline.end_us if self.end_us is None else self.end_us
        if self.onset_us < timeline.end_us and until > timeline.start_us:
            offset = self.number("offset_mm")
            timeline.gauge_faults.append(
                GaugeFault(tank, self.onset_us, until, GaugeFaultKind.OFFSET, offset_mm=offset)
            )

    def papers(self, papers: Papers) -> None:
        """Repaired."""
        tank = papers.station.tanks[self.target.tank or 0].registered.tank_id
        sign(papers, tank, self.onset_us, "repair", "更换液位仪探棒")


class Siphon(Scenario):
    """Two tanks of a grade are joined: the siphon keeps one level, what is sold from one comes from both."""

    id = "H13"
    name = "siphon_balance"
    title = Text("连通罐虹吸平衡", "siphon between manifolded tanks")
    scope = Scope.TANK

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A second tank of the grade."""
        grades = [tank.product.grade for tank in station.tanks]
        if target.tank is None:
            return len(set(grades)) < len(grades)
        return grades.count(grades[target.tank]) > 1

    def pair(self, station: StationPlan) -> tuple[int, int] | None:
        """The target and the next tank of its grade."""
        one = self.target.tank or 0
        grade = station.tanks[one].product.grade
        others = (index for index, tank in enumerate(station.tanks) if index != one and tank.product.grade == grade)
        other = next(others, None)
        return None if other is None else (one, other)

    def plan(self, station: StationPlan) -> StationPlan:
        """They are registered as one manifold."""
        for index in self.pair(station) or ():
            tank, name = station.tanks[index], f"{station.station_id}-M{(self.target.tank or 0) + 1}"
            station = with_tank(station, index, replace(tank, registered=replace(tank.registered, manifold=name)))
        return station


class CloggedFilter(Grown):
    """The filter clogs, the flow falls by a third; then a new filter."""

    id = "H16"
    name = "filter_clogged"
    title = Text("滤芯堵塞与更换", "filter clogs and is replaced")
    scope = Scope.NOZZLE
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(30.0, 5.0, 60.0, "of the flow lost at the end"),
        "days": Parameter(60.0, "d", 5.0, 365.0, words="until the filter is renewed"),
    }

    @property
    def _renewed_us(self) -> int:
        return self.onset_us + round(self.number("days") * DAY_US)

    def meter(self, metering: Metering) -> None:
        """Slower day by day."""
        wish = metering.wish
        lost = self.number("percent") / 100.0 * self.grown(wish.arrival_us, self.number("days"))
        on = self.mine(metering.stretch.station, wish.nozzle) & (wish.arrival_us < self._renewed_us)
        metering.flow_factor *= np.where(on, 1.0 - lost, 1.0)

    def papers(self, papers: Papers) -> None:
        """The new filter."""
        nozzle = papers.station.nozzles[self.target.nozzle or 0].registered
        sign(papers, nozzle.nozzle_id, self._renewed_us, "repair", "更换滤芯")


class WornMeter(Grown):
    """A meter wears until it is out of tolerance: against the law, but nobody cheats."""

    id = "H17"
    name = "worn_meter"
    title = Text("磨损超差", "meter worn out of tolerance")
    scope = Scope.NOZZLE
    cause = "out_of_tolerance"
    departments = (Department.MARKET_REGULATION,)
    evidence = ("P9",)
    horizon_days = 120
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(0.45, 0.31, 0.6, "E at the end"),
        "days": Parameter(60.0, "d", 5.0, 365.0, words="until then"),
    }

    def meter(self, metering: Metering) -> None:
        """From where it stands."""
        wish, station = metering.wish, metering.stretch.station
        missing = self.number("percent") / 100.0 - station.nozzles[self.target.nozzle or 0].meter.error
        on = self.mine(station, wish.nozzle)
        metering.error += np.where(on, missing * self.grown(wish.arrival_us, self.number("days")), 0.0)

    def truth(self, stations: Mapping[str, StationPlan]) -> Sequence[TruthItem]:
        """From the day on which it leaves the tolerance."""
        (item,) = super().truth(stations)
        first, last = (
            stations[self.target.station_id].nozzles[self.target.nozzle or 0].meter.error,
            self.number("percent"),
        )
        share = (MPE_PERCENT - 100.0 * first) / (last - 100.0 * first)
        crossed_us = self.onset_us + round(max(share, 0.0) * self.number("days") * DAY_US)
        return (replace(item, onset_us=crossed_us),)


class SummerVapour(Scenario):
    """Petrol loses more vapour for a season, everywhere at once."""

    id = "H19"
    name = "seasonal_vapour"
    title = Text("季节性蒸发损耗", "seasonal vapour loss")
    scope = Scope.FLEET
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(0.15, 0.02, 0.5, "of petrol sold, at its height"),
        "days": Parameter(60.0, "d", 7.0, 200.0, words="of the season, half a wave"),
    }

    def tanks(self, work: TankWork) -> None:
        """Half a wave over the season."""
        phase = np.clip((work.hour_us - self.onset_us) / (self.number("days") * DAY_US), 0.0, 1.0)
        petrol = np.array([tank.product.grade != "0#" for tank in work.stretch.station.tanks])
        work.common_loss += petrol[:, None] * (self.number("percent") / 100.0 * np.sin(np.pi * phase))


SCENARIOS: tuple[type[Scenario], ...] = (
    WeatherSwing,
    MeterDrift,
    Verification,
    Recalibration,
    ProbeReplaced,
    Siphon,
    CloggedFilter,
    WornMeter,
    SummerVapour,
)
