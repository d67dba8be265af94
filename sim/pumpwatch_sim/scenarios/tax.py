"""Sales and purchases the tax office is not to know of: T01 to T11."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumpwatch.model import Department, Text, to_us
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope, Size, Target
from pumpwatch_sim.scenarios.occasions import HOUR_US, LOCAL_OFFSET_US, MINUTE_US, SECOND_US, occasions
from pumpwatch_sim.scenarios.refit import by_itself
from pumpwatch_sim.world.timeline import (
    NO_TAX_RECORD,
    TOTALIZER_ROLL,
    Drop,
    IdentityChange,
    Preset,
    Purpose,
)
from pumpwatch_sim.world.work import Booking, Declaration, Flow

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Timeline
    from pumpwatch_sim.world.work import DeliveryWork, Demand, Memory, Metering, Papers, TankWork

_X = (Department.TAX,)
_XM = (Department.TAX, Department.MARKET_REGULATION)
_XB = (Department.TAX, Department.COMMERCE)


class TaxSkips(Scenario):
    """Tax control leaves out some of the sales: ninety-eight of ninety-nine in the cases of 2025."""

    id = "T01"
    name = "tax_skips_sales"
    title = Text("税控漏记:每若干笔只报一笔", "tax control skips sales")
    scope = Scope.STATION
    cause = "tax_memory_gap"
    departments = _X
    evidence = ("D4", "X3")
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": Parameter(30.0, "%", 1.0, 99.5, words="share of the sales that leave no tax record")
    }

    def memory(self, memory: Memory) -> None:
        """Step 3: no tax record of some."""
        sales = memory.sales
        chance = self.chance("skipped", memory.stretch.station.station_id, memory.stretch.number)
        skipped = self.active(sales.start_us) & (chance.random(len(sales)) < self.number("percent") / 100.0)
        sales.tax_volume[skipped] = NO_TAX_RECORD
        sales.tax_amount[skipped] = 0


class TaxMemoryReplaced(Scenario):
    """A dispenser's tax memory is replaced by an older one, which does not record until it is set up."""

    id = "T02"
    name = "tax_memory_replaced"
    title = Text("更换税控存储器", "tax memory replaced by an older one")
    scope = Scope.DISPENSER
    cause = "tax_memory_gap"
    departments = _XM
    evidence = ("D4", "D5", "D6")
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "records": Parameter(200.0, "records", 1.0, 900.0, words="how far the sequence numbers fall back"),
        "hours": Parameter(6.0, "h", 0.0, 168.0, words="how long the new memory records nothing"),
    }

    def memory(self, memory: Memory) -> None:
        """Step 3: older sequence numbers, and no tax record until it is set up."""
        sales = memory.sales
        hit = self.mine(memory.stretch.station, sales.nozzle) & self.active(sales.start_us)
        sales.seq[hit] -= int(self.number("records"))
        blank = hit & (sales.start_us < self.onset_us + int(self.number("hours") * HOUR_US))
        sales.tax_volume[blank] = NO_TAX_RECORD
        sales.tax_amount[blank] = 0

    def devices(self, timeline: Timeline) -> None:
        """Step 6: another tax serial."""
        if self.target.dispenser is not None and self.onset_us < timeline.end_us:
            dispenser = timeline.station.dispensers[self.target.dispenser].registered
            serial = f"TX-{int(self.chance('serial').integers(16**8)):08X}"
            timeline.identities.append(IdentityChange(dispenser.dispenser_id, self.onset_us, tax_serial=serial))

    def size(self) -> Size:
        """Records lost."""
        return Size(self.number("records"), "records")


class TotalizerRollback(Scenario):
    """Somebody turns a nozzle's totalizers back."""

    id = "T03"
    name = "totalizer_rollback"
    title = Text("总累回拨", "totalizer turned back")
    scope = Scope.NOZZLE
    cause = "totalizer_rollback"
    departments = _XM
    evidence = ("D3",)
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "litres": Parameter(5_000.0, "L", 500.0, 50_000.0, words="how far back")
    }

    def memory(self, memory: Memory) -> None:
        """Step 3: less on both totalizers ever after."""
        sales = memory.sales
        hit = self.mine(memory.stretch.station, sales.nozzle) & self.active(sales.start_us)
        back = int(self.number("litres") * 100)
        price = memory.stretch.station.nozzles[self.target.nozzle or 0].price
        sales.totalizer[hit] = (sales.totalizer[hit] - back) % TOTALIZER_ROLL
        sales.totalizer_amount[hit] = np.maximum(sales.totalizer_amount[hit] - back * price // 100, 0)

    def size(self) -> Size:
        """Litres."""
        return Size(self.number("litres"), "L")


class RecordsDeleted(Scenario):
    """A run of records is deleted from a nozzle's memory once a week; their sequence numbers are missing."""

    id = "T04"
    name = "records_deleted"
    title = Text("删除加油记录,流水号断号", "sales deleted from the memory")
    scope = Scope.NOZZLE
    cause = "sequence_gap"
    departments = _X
    evidence = ("D3", "D5", "D10")
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "records": Parameter(20.0, "records", 1.0, 200.0, words="deleted in a row, once a week")
    }

    def memory(self, memory: Memory) -> None:
        """Step 3: a run of records is gone, from the dispenser and from tax control; their numbers are used up."""
        sales = memory.sales
        rows = np.flatnonzero(
            self.mine(memory.stretch.station, sales.nozzle) & self.active(sales.start_us) & sales.recorded
        )
        spare = max(0, len(rows) - int(self.number("records")))
        first = memory.stretch.start_us <= self.onset_us
        begin = 0 if first else int(self.chance("deleted", memory.stretch.number).integers(spare + 1))
        gone = rows[begin : begin + int(self.number("records"))]
        sales.recorded[gone] = False
        sales.tax_volume[gone] = NO_TAX_RECORD
        sales.tax_amount[gone] = 0

    def size(self) -> Size:
        """Records a week."""
        return Size(self.number("records"), "records")


class OfflineSales(Scenario):
    """At night a nozzle sells while the collector is blind to it: totalizers and tank tell of it."""

    id = "T05"
    name = "offline_sales"
    title = Text("脱机加油:采集器看不见", "sales past the collector")
    scope = Scope.NOZZLE
    cause = "offline_sale"
    departments = _X
    evidence = ("D3", "D10", "D11")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "litres": Parameter(120.0, "L", 30.0, 300.0, words="each"),
        "every_days": Parameter(1.0, "d", 1.0, 90.0, words="one every so many nights"),
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank by itself: of two that a siphon joins nobody can say which it is."""
        return by_itself(station, target)

    def demand(self, demand: Demand) -> None:
        """Step 1: somebody comes at night."""
        stretch = demand.stretch
        for _, at_us in occasions(self, (stretch.start_us, stretch.end_us), self.number("every_days"), (23.0, 28.0)):
            if stretch.start_us <= at_us and self.target.nozzle is not None:
                demand.bookings.append(
                    Booking(self.target.nozzle, at_us, self.number("litres"), Purpose.HIDDEN, Preset.NONE, hurried=True)
                )

    def size(self) -> Size:
        """Litres each."""
        return Size(self.number("litres"), "L")


class HiddenDispenser(Scenario):
    """Fuel is sold through a second dispenser, or a hose, that nobody has registered."""

    id = "T06"
    name = "hidden_dispenser"
    title = Text("隐藏加油机或软管加油", "a second, hidden dispenser")
    scope = Scope.TANK
    cause = "offline_sale"
    departments = (Department.TAX, Department.COMMERCE, Department.EMERGENCY)
    evidence = ("D10", "X4")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "litres_per_day": Parameter(600.0, "L/d", 200.0, 2_000.0, words="drawn past every meter"),
        "fills_per_day": Parameter(4.0, "", 1.0, 20.0, words="vehicles served"),
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank by itself: of two that a siphon joins nobody can say which it is."""
        return by_itself(station, target)

    def tanks(self, work: TankWork) -> None:
        """Step 4: fuel leaves at 50 L/min, several times a day and mostly at night."""
        if self.target.tank is None:
            return
        fills = round(self.number("fills_per_day"))
        litres = self.number("litres_per_day") / fills
        length = int(litres / 50.0 * 60 * SECOND_US)
        span = work.stretch.start_us, work.stretch.end_us
        for number, evening in occasions(self, span, 1, (19.0, 19.0), 13 * HOUR_US):
            for hour in np.sort(self.chance("fills", number).uniform(0.0, 12.0, fills)).tolist():
                begin = evening + int(hour * HOUR_US)
                if begin < span[1] and begin + length > span[0] and self.span(begin, begin + 1):
                    work.flows.append(Flow(self.target.tank, begin, begin + length, -litres, "hidden_dispenser"))

    def size(self) -> Size:
        """Litres a day."""
        return Size(self.number("litres_per_day"), "L/d")


class UnderDeclaredSales(Scenario):
    """The tax office is told of less than was sold."""

    id = "T07"
    name = "under_declared_sales"
    title = Text("少报销售", "declared less than sold")
    scope = Scope.STATION
    cause = "under_declared_sales"
    departments = _X
    evidence = ("X3",)
    deterministic = True
    horizon_days = 62
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": Parameter(20.0, "%", 5.0, 90.0, words="share of the sales that is not declared")
    }

    def papers(self, papers: Papers) -> None:
        """Step 8: smaller declarations, also of the month in which it begins."""
        papers.declarations[:] = [self._declared(each) for each in papers.declarations]

    def _declared(self, month: Declaration) -> Declaration:
        start_us, end_us = _month(month.period)
        span = self.span(start_us, end_us)
        if span is None:
            return month
        kept = 1.0 - self.number("percent") / 100.0 * (span[1] - span[0]) / (end_us - start_us)
        return replace(
            month,
            declared_sale_l=round(month.declared_sale_l * kept, 2),
            declared_revenue_cny=round(month.declared_revenue_cny * kept, 2),
            tax_paid_cny=round(month.tax_paid_cny * kept, 2),
        )


def _month(period: str) -> tuple[int, int]:
    year, month = map(int, period.split("-"))
    after = (year + month // 12, month % 12 + 1)
    start, end = (to_us(datetime(*each, 1, tzinfo=UTC)) - LOCAL_OFFSET_US for each in ((year, month), after))
    return start, end


class UnrecordedDelivery(Scenario):
    """Part of what comes is brought by a lorry without papers."""

    id = "T08"
    name = "unrecorded_delivery"
    title = Text("无票进油", "deliveries without papers")
    scope = Scope.TANK
    cause = "unrecorded_delivery"
    departments = _XB
    evidence = ("X2", "X4")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "litres": Parameter(
            4_000.0, "L", 500.0, 20_000.0, words="comes on top of each delivery, at most half of what comes in all"
        )
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank by itself: of two that a siphon joins nobody can say which it is."""
        return by_itself(station, target)

    def delivery(self, work: DeliveryWork) -> None:
        """Step 5: part of what is needed comes an hour later by a lorry nobody knows."""
        drop = work.drop
        start_us = drop.end_us + HOUR_US
        end_us = start_us + 20 * MINUTE_US
        if drop.tank != self.target.tank or not self.span(start_us, end_us):
            return
        share = min(0.5, self.number("litres") / max(drop.litres_20c, 1.0))
        work.added.append(
            replace(
                drop,
                start_us=start_us,
                end_us=end_us,
                litres_20c=drop.litres_20c * share,
                truck="",
                supplier="",
                declared_l=0.0,
                declared_20c_l=0.0,
                document_no="",
                quality_report_no="",
                documented=False,
            )
        )
        drop.litres_20c *= 1.0 - share
        drop.declared_l = float(round(drop.declared_l * (1.0 - share)))
        drop.declared_20c_l = round(drop.declared_20c_l * (1.0 - share), 1)

    def size(self) -> Size:
        """Litres each."""
        return Size(self.number("litres"), "L")


class PaperDelivery(Scenario):
    """Papers tell of deliveries that never came: input tax is claimed on them."""

    id = "T09"
    name = "paper_delivery"
    title = Text("虚开进项:有票无油", "invoiced fuel that never came")
    scope = Scope.TANK
    cause = "paper_delivery"
    departments = _X
    evidence = ("X2",)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "litres": Parameter(10_000.0, "L", 1_000.0, 30_000.0, words="on each such paper"),
        "percent": Parameter(50.0, "%", 1.0, 100.0, words="so many of the deliveries have one beside them"),
    }

    def delivery(self, work: DeliveryWork) -> None:
        """Step 5: another paper, two hours after a true one."""
        drop = work.drop
        start_us = drop.start_us + 2 * HOUR_US
        chance = self.chance("paper", drop.start_us)
        drawn = float(chance.random()) * 100.0
        here = drop.tank == self.target.tank and self.span(start_us, start_us + 1)
        if here and drawn < self.number("percent"):
            declared = float(round(self.number("litres") * (1.0 + 0.003 * float(chance.standard_normal()))))
            document, report = int(chance.integers(10_000)), int(chance.integers(100_000))
            work.added.append(
                Drop(
                    tank=drop.tank,
                    start_us=start_us,
                    end_us=start_us + 25 * MINUTE_US,
                    litres_20c=0.0,
                    temperature_c=drop.temperature_c,
                    density_20c=drop.density_20c,
                    truck=drop.truck,
                    supplier=drop.supplier,
                    declared_l=declared,
                    declared_20c_l=round(declared * drop.declared_20c_l / max(drop.declared_l, 1.0), 1),
                    document_no=f"{drop.document_no.rpartition('-')[0]}-{document:04d}",
                    quality_report_no=f"{drop.quality_report_no.rpartition('-')[0]}-{report:05d}",
                )
            )

    def size(self) -> Size:
        """Litres each."""
        return Size(self.number("litres"), "L")


class PriceUnderReported(Scenario):
    """Tax control is told a lower price than customers pay."""

    id = "T10"
    name = "price_under_reported"
    title = Text("向税控少报单价", "tax control told a lower price")
    scope = Scope.STATION
    cause = "under_declared_sales"
    departments = _X
    evidence = ("D2", "X3")
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": Parameter(3.0, "%", 0.5, 50.0, words="lower than the price that customers pay")
    }

    def memory(self, memory: Memory) -> None:
        """Step 3: tax control's money by the lower price."""
        sales = memory.sales
        hit = self.active(sales.start_us) & (sales.tax_volume != NO_TAX_RECORD)
        told = np.rint(sales.price[hit] * (1.0 - self.number("percent") / 100.0)).astype(np.int64)
        sales.tax_amount[hit] = (sales.tax_volume[hit] * told + 50) // 100


class SoldAsOwnUse(Scenario):
    """Diesel for customers is booked as the station's own use, which is not taxed."""

    id = "T11"
    name = "sold_as_own_use"
    title = Text("柴油冒充自用或农用", "diesel sold as own use")
    scope = Scope.STATION
    cause = "own_use_abuse"
    departments = _XB
    evidence = ("X4", "X5")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": Parameter(10.0, "%", 1.0, 60.0, words="share of the diesel sales booked as own use")
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """Where diesel is sold."""
        return any(nozzle.registered.grade == "0#" for nozzle in station.nozzles)

    def meter(self, metering: Metering) -> None:
        """Step 2: the cashier books customers as the station's own vehicles."""
        wish, stretch = metering.wish, metering.stretch
        diesel = np.array([nozzle.registered.grade == "0#" for nozzle in stretch.station.nozzles], bool)
        drawn = self.chance("own", stretch.number).random(len(wish.nozzle)) < self.number("percent") / 100.0
        hit = diesel[wish.nozzle] & (wish.purpose == Purpose.CUSTOMER) & self.active(wish.arrival_us) & drawn
        wish.purpose[hit] = Purpose.OWN_USE


SCENARIOS: tuple[type[Scenario], ...] = (
    TaxSkips,
    TaxMemoryReplaced,
    TotalizerRollback,
    RecordsDeleted,
    OfflineSales,
    HiddenDispenser,
    UnderDeclaredSales,
    UnrecordedDelivery,
    PaperDelivery,
    PriceUnderReported,
    SoldAsOwnUse,
)
