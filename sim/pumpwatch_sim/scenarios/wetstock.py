"""What happens to the fuel in the ground and on its way there: W01 to W08."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumpwatch.model import Department, Text
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope, Size, Target, Value
from pumpwatch_sim.scenarios.occasions import HOUR_US, SECOND_US, STRETCH_US, occasions
from pumpwatch_sim.scenarios.refit import by_itself
from pumpwatch_sim.scenarios.traces import sign
from pumpwatch_sim.world.deliveries import house_lorry
from pumpwatch_sim.world.geometry import Chart
from pumpwatch_sim.world.work import Flow

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Timeline
    from pumpwatch_sim.world.work import DeliveryWork, Papers, TankWork

_E = (Department.EMERGENCY,)
_MB = (Department.MARKET_REGULATION, Department.COMMERCE)
_GALLON_L = 3.785411784
_KEROSENE_DENSITY = 800.0
"""kg/m³ at 20 °C."""
_THEFT_L_MIN = 60.0
_OVER_FULL = 0.98


class Leak(Scenario):
    """A tank leaks into the ground, evenly or the more the fuller it is."""

    id = "W01"
    name = "leak"
    title = Text("油罐渗漏", "tank leak")
    scope = Scope.TANK
    cause = "leak"
    departments = _E
    evidence = ("L1",)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "gallons_per_hour": Parameter(0.2, "gal/h", 0.05, 5.0, words="US gallons; 0.2 is the law's monthly limit"),
        "course": Parameter("even", choices=("even", "level"), words="`level`: with the square root of the level"),
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank by itself: of two that a siphon joins nobody can say which it is."""
        return by_itself(station, target)

    def tanks(self, work: TankWork) -> None:
        """Step 4."""
        span = self.span(work.stretch.start_us, work.stretch.end_us)
        if span and self.target.tank is not None:
            litres_per_hour = self.number("gallons_per_hour") * _GALLON_L
            work.leaks.append((self.target.tank, *span, litres_per_hour, self.word("course") == "level"))

    def size(self) -> Size:
        """Gallons an hour."""
        return Size(self.number("gallons_per_hour"), "gal/h")


class LineLeak(Scenario):
    """The line from the tank leaks, but only under the pump's pressure."""

    id = "W02"
    name = "line_leak"
    title = Text("管线渗漏", "line leak while pumping")
    scope = Scope.TANK
    cause = "leak"
    departments = _E
    evidence = ("L1",)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": Parameter(0.3, "%", 0.1, 5.0, words="of what is sold"),
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank by itself: of two that a siphon joins nobody can say which it is."""
        return by_itself(station, target)

    def tanks(self, work: TankWork) -> None:
        """Step 4: what is sold loses more on its way."""
        if self.target.tank is not None:
            work.common_loss[self.target.tank, self.active(work.hour_us)] += self.number("percent") / 100.0


class NightTheft(Scenario):
    """Fuel is drawn from the manhole at night."""

    id = "W03"
    name = "night_theft"
    title = Text("夜间盗油", "theft at night")
    scope = Scope.TANK
    cause = "theft"
    departments = (Department.POLICE,)
    evidence = ("D10",)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "litres": Parameter(200.0, "L", 20.0, 3_000.0, words="each time"),
        "every_days": Parameter(7.0, "d", 1.0, 90.0, words="how often"),
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank by itself: of two that a siphon joins nobody can say which it is."""
        return by_itself(station, target)

    def tanks(self, work: TankWork) -> None:
        """Step 4: at 60 L/min, between 1 and 4 o'clock."""
        stretch, litres = work.stretch, self.number("litres")
        length = int(litres / _THEFT_L_MIN * 60 * SECOND_US)
        span = stretch.start_us, stretch.end_us
        for _, begin in occasions(self, span, self.number("every_days"), (25.0, 28.0), length):
            if self.target.tank is not None:
                work.flows.append(Flow(self.target.tank, begin, begin + length, -litres, "theft"))

    def size(self) -> Size:
        """Litres each."""
        return Size(self.number("litres"), "L")


class ChartWrong(Scenario):
    """After work on the tank the gauge has a wrong strapping chart."""

    id = "W04"
    name = "chart_wrong"
    title = Text("罐修后容积表错误", "chart wrong after tank work")
    scope = Scope.TANK
    cause = "chart_error"
    departments = (Department.MARKET_REGULATION,)
    evidence = ("L4",)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": Parameter(0.5, "%", -5.0, 5.0, words="litres the gauge makes too much of the whole"),
        "tilt_percent": Parameter(
            0.0, "%", -5.0, 5.0, words="too much at the bottom and too little at the top, of the rise there"
        ),
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank by itself: of two that a siphon joins nobody can say which it is."""
        return by_itself(station, target)

    @classmethod
    def settle(cls, onset_us: int, origin_us: int, values: Mapping[str, Value]) -> int:
        """The tank is worked on between two stretches."""
        return onset_us + (origin_us - onset_us) % STRETCH_US

    def devices(self, timeline: Timeline) -> None:
        """Step 6: from the onset on the gauge believes in another chart."""
        if self.target.tank is not None and self.span(timeline.start_us, timeline.end_us):
            course = timeline.tanks[self.target.tank]
            course.plan = replace(course.plan, gauge_chart=self.believed(course.plan.gauge_chart))

    def believed(self, chart: Chart) -> Chart:
        """The wrong chart in the place of this one."""
        tilt = self.number("tilt_percent") / 100.0
        return chart.misread(self.number("percent") / 100.0, np.linspace(tilt, -tilt, 9))

    def papers(self, papers: Papers) -> None:
        """Step 8: the repair's work order."""
        tank = papers.station.tanks[self.target.tank or 0].registered
        sign(papers, tank.tank_id, self.onset_us - 2 * HOUR_US, "repair", "清罐，重新设置液位仪")


class ShortLoad(Scenario):
    """The lorry that serves this station alone brings less than its papers say."""

    id = "W05"
    name = "short_load"
    title = Text("油罐车短量", "deliveries short by one lorry")
    scope = Scope.STATION
    cause = "delivery_short"
    departments = (Department.COMMERCE, Department.POLICE)
    evidence = ("X1",)
    horizon_days = 60
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": Parameter(1.0, "%", 0.3, 30.0, words="missing from each of its deliveries"),
        "percent_of_deliveries": Parameter(40.0, "%", 5.0, 100.0, words="least share of the deliveries it makes"),
    }

    def delivery(self, work: DeliveryWork) -> None:
        """Step 5: the paper stays as it is."""
        drop = work.drop
        drawn = float(self.chance("lorry", drop.tank, drop.start_us).random()) * 100.0
        if not self.span(drop.start_us, drop.start_us + 1):
            return
        truck = house_lorry(work.stretch.station.station_id)
        if drop.truck == truck or drawn < self.number("percent_of_deliveries"):
            drop.truck = truck
            drop.litres_20c *= 1.0 - self.number("percent") / 100.0


class WaterIngress(Scenario):
    """Ground water comes into the tank."""

    id = "W06"
    name = "water_ingress"
    title = Text("油罐进水", "water in the tank")
    scope = Scope.TANK
    cause = "water"
    departments = _E
    evidence = ("L3",)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "mm_per_day": Parameter(2.0, "mm/d", 0.5, 20.0, words="rise of the water"),
    }

    def tanks(self, work: TankWork) -> None:
        """Step 4."""
        span = self.span(work.stretch.start_us, work.stretch.end_us)
        if span and self.target.tank is not None:
            work.water_mm_per_day.append((self.target.tank, *span, self.number("mm_per_day")))

    def size(self) -> Size:
        """Millimetres a day."""
        return Size(self.number("mm_per_day"), "mm/d")


class Adulteration(Scenario):
    """What is delivered has been stretched with kerosene."""

    id = "W07"
    name = "adulteration"
    title = Text("掺混煤油", "stretched with kerosene")
    scope = Scope.TANK
    cause = "density"
    departments = _MB[::-1]
    evidence = ("Q1",)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": Parameter(20.0, "%", 10.0, 30.0, words="share of kerosene, 800 kg/m³ at 20 °C"),
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank whose probe has a densitometer."""
        return target.tank is not None and bool(np.isfinite(station.tanks[target.tank].probe.density_noise))

    def delivery(self, work: DeliveryWork) -> None:
        """Step 5: another density than the certificate says."""
        drop = work.drop
        if drop.tank == self.target.tank and self.span(drop.start_us, drop.start_us + 1):
            share = self.number("percent") / 100.0
            drop.density_20c += share * (_KEROSENE_DENSITY - drop.density_20c)


class OverFill(Scenario):
    """Lorries fill the tank above 95 % of what it holds."""

    id = "W08"
    name = "over_fill"
    title = Text("油罐超装", "tank over-filled")
    scope = Scope.TANK
    cause = "over_fill"
    departments = _E
    evidence = ("level",)
    deterministic = True
    horizon_days = 7

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank by itself: of two that a siphon joins nobody can say which it is."""
        return by_itself(station, target)

    def delivery(self, work: DeliveryWork) -> None:
        """Step 5: as much as goes in, and a paper for it."""
        drop = work.drop
        if drop.tank == self.target.tank and self.span(drop.start_us, drop.start_us + 1):
            tank = work.stretch.station.tanks[drop.tank]
            room_l = _OVER_FULL * tank.true_chart.capacity_l - work.stock_20c_l
            more = max(1.0, room_l / max(drop.litres_20c, 1.0))
            drop.litres_20c *= more
            drop.declared_l = float(round(drop.declared_l * more))
            drop.declared_20c_l = round(drop.declared_20c_l * more, 1)


SCENARIOS: tuple[type[Scenario], ...] = (
    Leak,
    LineLeak,
    NightTheft,
    ChartWrong,
    ShortLoad,
    WaterIngress,
    Adulteration,
    OverFill,
)
