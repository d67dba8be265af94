"""Short delivery at all times: by mainboard, encoder, meter, pipe, display and arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumpwatch.model import Department, EventKind, Subject, Text
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope, Size
from pumpwatch_sim.scenarios.occasions import HOUR_US
from pumpwatch_sim.scenarios.refit import by_itself
from pumpwatch_sim.scenarios.short import ShortDelivery, Way, percent
from pumpwatch_sim.scenarios.traces import BOOT_S, tell
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, Purpose
from pumpwatch_sim.world.work import Flow

if TYPE_CHECKING:
    from pumpwatch_sim.scenarios.base import Target, TruthItem
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Bools, Timeline
    from pumpwatch_sim.world.work import DeliveryWork, Memory, Metering, TankWork

_SHARE = Parameter(5.0, "%", 1.0, 50.0, words="of the fillings")

_DEAR = ("95#", "98#")


class MainboardFactor(ShortDelivery):
    """The mainboard reckons with another K; the encoder's pulses stay honest."""

    id = "F01"
    name = "short_by_mainboard"
    title = Text("主板改写脉冲当量", "K factor rewritten on the mainboard")
    evidence = ("D1", "P6")
    deterministic = True
    horizon_days = 1
    way = Way.DISPLAY
    parameters: ClassVar[Mapping[str, Parameter]] = {"percent": percent(2.0, 0.5, 5.0)}


class PulseAdder(ShortDelivery):
    """A chip at the encoder adds pulses; board, display and tax control reckon honestly with them."""

    id = "F03"
    name = "pulse_adding_chip"
    title = Text("编码器加脉冲芯片", "pulse-adding chip at the encoder")
    departments = (Department.MARKET_REGULATION, Department.POLICE)
    evidence = ("P6", "F1")
    parameters: ClassVar[Mapping[str, Parameter]] = {"percent": percent(5.0, 0.5, 10.0)}


class WholeTank(ShortDelivery):
    """All nozzles of one tank, so that no comparison within the tank shows it."""

    id = "F04"
    name = "whole_tank_short"
    title = Text("同罐全部油枪短量", "all nozzles of a tank short")
    scope = Scope.TANK
    evidence = ("P10", "X4")
    parameters: ClassVar[Mapping[str, Parameter]] = {"percent": percent(2.0, 1.0, 2.0)}

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank by itself: of two that a siphon joins nobody can say which it is."""
        return by_itself(station, target)


class SpoofedFirmware(ShortDelivery):
    """Patched firmware that tells the old version and checksum; only starting takes longer."""

    id = "F16"
    name = "spoofed_firmware"
    title = Text("伪造校验码的改装固件", "patched firmware, spoofed checksum")
    scope = Scope.DISPENSER
    evidence = ("P6",)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(2.0, 0.5, 5.0),
        "boot_s": Parameter(19.0, "s", BOOT_S, 120.0, words="from power to readiness; an honest board needs 8 s"),
    }

    def devices(self, timeline: Timeline) -> None:
        """It starts once, without a work order; then nobody has cause to look."""
        dispenser = timeline.station.dispensers[self.target.dispenser or 0].registered.dispenser_id
        boot_s = self.number("boot_s")
        tell(timeline, self.onset_us, dispenser, EventKind.POWER, up=True, off_s=2.0, boot_s=boot_s)


class JumpOnKey(ShortDelivery):
    """A key makes the display jump while fuel flows: 1 to 2 L in 20, at chosen customers."""

    id = "F18"
    name = "jump_on_key"
    title = Text("按键跳字", "display jumps at a key")
    evidence = ("D7", "D1")
    deterministic = True
    horizon_days = 7
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "share": _SHARE,
        "percent_low": percent(5.0, 1.0, 10.0, "of the filling, the smallest jump"),
        "percent_high": percent(10.0, 1.0, 20.0, "of the filling, the largest jump"),
        "from_l": Parameter(10.0, "L", 1.0, 60.0, words="smaller fillings are left alone"),
    }

    def meter(self, metering: Metering) -> None:
        """Set jumps."""
        wish, n = metering.wish, len(metering.wish.nozzle)
        chance = self.chance("key", metering.stretch.station.station_id, metering.stretch.number)
        on = self.mine(metering.stretch.station, wish.nozzle) & self.active(wish.arrival_us)
        on &= (chance.random(n) < self.number("share") / 100.0) & (wish.wanted_l >= self.number("from_l"))
        on &= wish.purpose != Purpose.TEST_DRAW
        low, high = sorted((self.number("percent_low"), self.number("percent_high")))
        jump = np.rint(wish.wanted_l * chance.uniform(low, high, n)).astype(np.int64)
        metering.jump_at[on] = chance.uniform(0.3, 0.9, n)[on]
        metering.jump[on] += jump[on]

    def size(self) -> Size:
        """The mean jump."""
        return Size((self.number("percent_low") + self.number("percent_high")) / 2.0, "%")


class NoReturnToZero(ShortDelivery):
    """Some fillings begin at 0.2 to 0.5 L instead of zero."""

    id = "F19"
    name = "no_return_to_zero"
    title = Text("显示不回零", "display does not return to zero")
    evidence = ("D7", "D1")
    deterministic = True
    horizon_days = 7
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "share": _SHARE,
        "litres_low": Parameter(0.2, "L", 0.05, 2.0, words="the least that is left on the display"),
        "litres_high": Parameter(0.5, "L", 0.05, 2.0, words="the most that is left on the display"),
    }

    def meter(self, metering: Metering) -> None:
        """Leave something on the display."""
        wish, n = metering.wish, len(metering.wish.nozzle)
        chance = self.chance("zero", metering.stretch.station.station_id, metering.stretch.number)
        low, high = sorted((self.number("litres_low"), self.number("litres_high")))
        left = np.rint(chance.uniform(low, high, n) * 100.0).astype(np.int64)
        on = self.mine(metering.stretch.station, wish.nozzle) & self.active(wish.arrival_us)
        on &= (chance.random(n) < self.number("share") / 100.0) & (wish.wanted_l > 4.0 * high)
        metering.start_volume[on] = left[on]

    def size(self) -> Size:
        """Litres at one filling."""
        return Size((self.number("litres_low") + self.number("litres_high")) / 2.0, "L")


class MeterAdjusted(ShortDelivery):
    """The meter's adjuster is turned after its seal was broken; everything electronic is honest."""

    id = "F20"
    name = "meter_adjusted"
    title = Text("破封调整计量器", "meter adjuster turned, seal broken")
    evidence = ("D6", "P6")
    way = Way.METER
    parameters: ClassVar[Mapping[str, Parameter]] = {"percent": percent(1.0, 0.5, 5.0)}

    def devices(self, timeline: Timeline) -> None:
        """The seal is found broken."""
        nozzle = timeline.station.nozzles[self.target.nozzle or 0].registered
        seal = {"nozzle_id": nozzle.nozzle_id, "seal": "seal_meter", "number": nozzle.seal_meter or ""}
        tell(timeline, self.onset_us, nozzle.dispenser_id, EventKind.SEAL, **seal, state="broken")

    def truth(self, stations: Mapping[str, StationPlan]) -> Sequence[TruthItem]:
        """The seal first."""
        seal = self.item(stations, cause="seal_broken", size=Size(1.0, "seal"), deterministic=True)
        return (*super().truth(stations), seal)


class ReturnLine(ShortDelivery):
    """A valve lets part of what passed the meter flow back into the tank, some hours at a time."""

    id = "F21"
    name = "return_line"
    title = Text("计量后回流旁通", "by-pass line behind the meter")
    evidence = ("P6",)
    way = Way.BYPASS
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(3.0, 2.0, 5.0),
        "share": Parameter(50.0, "%", 10.0, 100.0, words="of the time with the valve open"),
        "hours": Parameter(3.0, "h", 1.0, 24.0, words="for which the valve is left as it is"),
    }

    def chosen(self, metering: Metering) -> Bools:
        """While the valve is open."""
        block = metering.wish.arrival_us // round(self.number("hours") * HOUR_US)
        numbers, which = np.unique(block, return_inverse=True)
        open_ = np.array([self.chance("valve", number).random() < self.number("share") / 100.0 for number in numbers])
        return open_[which] if len(numbers) else np.zeros(0, bool)


class RoundedUp(Scenario):
    """The amount is always rounded up, and more: money is taken though every litre is right."""

    id = "F22"
    name = "amount_rounded_up"
    title = Text("金额一律进位", "amounts always rounded up")
    scope = Scope.NOZZLE
    cause = "overcharging"
    departments = (Department.MARKET_REGULATION,)
    evidence = ("D2",)
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "fen": Parameter(0.5, "fen", 0.5, 1.0, words="mean of what is added: 0.5 rounds up, 1 adds half a fen more"),
    }

    def memory(self, memory: Memory) -> None:
        """Other amounts, on the receipt and so in tax control too; the totalizer of money reckons as before."""
        sales = memory.sales
        on = self.mine(memory.stretch.station, sales.nozzle) & self.active(sales.start_us)
        exact = sales.volume * sales.price
        extra = round((self.number("fen") - 0.5) * 100.0)
        amount = np.where(exact % 100 == 0, exact // 100, (exact + extra) // 100 + 1)
        taxed = on & (sales.tax_amount == sales.amount) & (sales.tax_volume != NO_TAX_RECORD)
        sales.amount = np.where(on, np.maximum(amount, sales.amount), sales.amount)
        sales.tax_amount = np.where(taxed, sales.amount, sales.tax_amount)

    def size(self) -> Size:
        """The mean of what is added to an amount."""
        return Size(self.number("fen"), "fen")


class ProductSwap(Scenario):
    """92# is sold as 95#: out of its own tank by a cross pipe, or unloaded into the other tank."""

    id = "F23"
    name = "product_swap"
    title = Text("92号冒充95号", "92# sold as 95#")
    scope = Scope.TANK
    cause = "product_swap"
    departments = (Department.MARKET_REGULATION, Department.COMMERCE)
    evidence = ("Q2", "Q1")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(20.0, 5.0, 100.0, "of what is sold as 95#"),
        "way": Parameter("piped", choices=("piped", "unloaded"), words="how the 92# comes to the 95# nozzles"),
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """92# beside a dearer grade."""
        grades = [tank.product.grade for tank in station.tanks]
        fits = target.tank is None or grades[target.tank] in _DEAR
        return fits and "92#" in grades and any(grade in _DEAR for grade in grades)

    def dear(self, station: StationPlan) -> int:
        """The tank of the dear grade: the target if it is one, else the station's first."""
        target = self.target.tank or 0
        dear = [index for index, tank in enumerate(station.tanks) if tank.product.grade in _DEAR]
        return target if target in dear or not dear else dear[0]

    def cheap(self, station: StationPlan) -> int:
        """The tank of the cheap grade; the dear one's own index if the station has none."""
        grades = [tank.product.grade for tank in station.tanks]
        return grades.index("92#") if "92#" in grades else self.dear(station)

    def tanks(self, work: TankWork) -> None:
        """Hour by hour a share of the dear grade's sales flows out of the cheap tank."""
        station, sales = work.stretch.station, work.sales
        dear, cheap = self.dear(station), self.cheap(station)
        if self.word("way") != "piped" or dear == cheap:
            return
        of_dear = np.array([nozzle.tank is station.tanks[dear] for nozzle in station.nozzles], bool)[sales.nozzle]
        on = of_dear & self.active(sales.start_us)
        tank = station.tanks[dear]
        # The temperature of the stretch is not known yet; some degrees are some parts in a thousand of the share.
        at_20c = 1.0 - tank.product.expansion * (tank.temperature_c - 20.0)
        litres_20c = sales.out_l * at_20c * self.number("percent") / 100.0
        hour = (sales.start_us[on] - work.stretch.start_us) // HOUR_US
        sums = np.bincount(hour, litres_20c[on]) if len(hour) else np.zeros(0)
        for number in np.flatnonzero(sums > 0.0).tolist():
            start = work.stretch.start_us + number * HOUR_US
            end, litres = min(start + HOUR_US, work.stretch.end_us), float(sums[number])
            work.flows.append(Flow(cheap, start, end, -litres, "swapped"))
            work.flows.append(Flow(dear, start, end, litres, "swapped"))

    def delivery(self, work: DeliveryWork) -> None:
        """Part of what is unloaded as the dear grade is the cheap one."""
        station, drop = work.stretch.station, work.drop
        dear, cheap = self.dear(station), self.cheap(station)
        active = bool(self.active(np.array([drop.start_us]))[0])
        if self.word("way") == "unloaded" and dear != cheap and drop.tank == dear and active:
            share = self.number("percent") / 100.0
            drop.density_20c += share * (station.tanks[cheap].product.density_20c - drop.density_20c)

    def subject(self, station: StationPlan) -> Subject:
        """The dear grade's tank."""
        return Subject(station.station_id, tank_id=station.tanks[self.dear(station)].registered.tank_id)


SCENARIOS: tuple[type[Scenario], ...] = (
    MainboardFactor,
    PulseAdder,
    WholeTank,
    SpoofedFirmware,
    JumpOnKey,
    NoReturnToZero,
    MeterAdjusted,
    ReturnLine,
    RoundedUp,
    ProductSwap,
)
