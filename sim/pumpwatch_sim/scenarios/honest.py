"""Honest days that must stay quiet, I: rushes, outages, prices, own use, campaigns, counters and clocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumpwatch.model import EventKind, Text
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US, MINUTE_US
from pumpwatch_sim.scenarios.refit import with_nozzle
from pumpwatch_sim.scenarios.traces import book, close, cut_power, digest, identify, interrupt, next_at, sign, tell
from pumpwatch_sim.world.prices import changes
from pumpwatch_sim.world.timeline import (
    TOTALIZER_ROLL,
    ClockFault,
    IdentityChange,
    OutageKind,
    Preset,
    Purpose,
)
from pumpwatch_sim.world.work import choose

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Timeline
    from pumpwatch_sim.world.work import DeliveryWork, Demand, Metering, Papers, Records


class HolidayRush(Scenario):
    """Two and a half times the customers, then an empty forecourt."""

    id = "H03"
    name = "holiday_rush"
    title = Text("节日高峰后空场", "holiday rush, then nobody")
    scope = Scope.STATION
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "factor": Parameter(2.5, "", 1.0, 4.0, words="on the usual customers"),
        "days": Parameter(7.0, "d", 1.0, 14.0, words="of rush"),
        "after": Parameter(0.2, "", 0.0, 1.0, words="of the usual customers for three days afterwards"),
    }

    def demand(self, demand: Demand) -> None:
        """By the hour."""
        end = self.onset_us + round(self.number("days") * DAY_US)
        rush = (demand.hour_us >= self.onset_us) & (demand.hour_us < end)
        quiet = (demand.hour_us >= end) & (demand.hour_us < end + 3 * DAY_US)
        demand.sales_per_hour *= np.where(rush, self.number("factor"), np.where(quiet, self.number("after"), 1.0))


class TwoCompartments(Scenario):
    """Loads come in two compartments a few minutes apart while customers go on filling."""

    id = "H04"
    name = "two_compartments"
    title = Text("分仓卸油同时售油", "two compartments, sales go on")
    scope = Scope.TANK
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "gap_minutes": Parameter(6.0, "min", 1.0, 60.0, words="between the two"),
    }

    def delivery(self, work: DeliveryWork) -> None:
        """Halve the load; both halves have a paper of their own."""
        drop = work.drop
        if drop.tank != self.target.tank or drop.litres_20c <= 0.0 or not self.active(np.array([drop.start_us]))[0]:
            return
        gap = round(self.number("gap_minutes") * MINUTE_US)
        half = (drop.end_us - drop.start_us) // 2
        declared, declared_20c = float(round(drop.declared_l / 2.0)), round(drop.declared_20c_l / 2.0, 1)
        second = replace(
            drop,
            start_us=drop.start_us + half + gap,
            end_us=drop.end_us + gap,
            litres_20c=drop.litres_20c / 2.0,
            declared_l=drop.declared_l - declared,
            declared_20c_l=round(drop.declared_20c_l - declared_20c, 1),
            document_no=f"{drop.document_no}-2",
        )
        drop.end_us = drop.start_us + half
        drop.litres_20c /= 2.0
        drop.declared_l, drop.declared_20c_l = declared, declared_20c
        work.added.append(second)


class PowerCut(Scenario):
    """Two hours without current, then the generator: every counter goes on where it stood."""

    id = "H05"
    name = "power_cut"
    title = Text("停电后恢复", "power cut and restart")
    scope = Scope.STATION
    parameters: ClassVar[Mapping[str, Parameter]] = {"hours": Parameter(2.0, "h", 0.1, 24.0, words="without current")}

    @property
    def _on_us(self) -> int:
        return self.onset_us + round(self.number("hours") * HOUR_US)

    def demand(self, demand: Demand) -> None:
        """Nobody fills in the dark."""
        close(demand, range(len(demand.stretch.station.nozzles)), self.onset_us, self._on_us)

    def devices(self, timeline: Timeline) -> None:
        """Dark, then every dispenser tells that it started."""
        dispensers = tuple(dispenser.registered.dispenser_id for dispenser in timeline.station.dispensers)
        cut_power(timeline, self.onset_us, self._on_us, dispensers)


class Backfill(Scenario):
    """Three days without network; what the devices kept comes later and out of order."""

    id = "H06"
    name = "network_outage_backfilled"
    title = Text("断网后乱序补传", "network outage, backfilled out of order")
    scope = Scope.STATION
    parameters: ClassVar[Mapping[str, Parameter]] = {"days": Parameter(3.0, "d", 0.1, 14.0, words="without network")}

    @property
    def _back_us(self) -> int:
        return self.onset_us + round(self.number("days") * DAY_US)

    def devices(self, timeline: Timeline) -> None:
        """The line is down."""
        interrupt(timeline, self.onset_us, self._back_us, OutageKind.NETWORK, backfilled=True)

    def records(self, records: Records) -> None:
        """The records of those days stand in any order."""
        end = records.transactions["end"].astype(np.int64)
        late = np.flatnonzero((end >= self.onset_us) & (end < self._back_us))
        order = np.arange(len(end))
        order[late] = self.chance("order", records.stretch.station.station_id, records.stretch.number).permutation(late)
        records.transactions = choose(records.transactions, order)


class PriceHeld(Scenario):
    """Customers who fill when prices change at midnight pay the price at which they lifted the nozzle."""

    id = "H07"
    name = "price_held_at_midnight"
    title = Text("零点调价跨价加油", "price change at midnight, price held")
    scope = Scope.STATION
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "litres": Parameter(60.0, "L", 40.0, 120.0, words="the fillings at midnight")
    }

    def demand(self, demand: Demand) -> None:
        """A customer at every nozzle a minute before each change."""
        stretch, nozzles = demand.stretch, range(len(demand.stretch.station.nozzles))
        for at_us in sorted({change.at_us for change in changes(stretch.station, stretch.start_us, stretch.end_us)}):
            if self.active(np.array([at_us]))[0]:
                for nozzle in nozzles:
                    book(demand, nozzle, at_us - MINUTE_US, self.number("litres"), Purpose.CUSTOMER)


class OwnUse(Scenario):
    """The station's own generator and van, booked as such every morning."""

    id = "H10"
    name = "own_use"
    title = Text("自用油", "own use, booked as such")
    scope = Scope.NOZZLE
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "litres_per_day": Parameter(50.0, "L", 5.0, 150.0, words="drawn for the station itself"),
        "hour": Parameter(7.0, "h", 0.0, 23.0, words="of the wall clock"),
    }

    def demand(self, demand: Demand) -> None:
        """Once a day."""
        at_us = next_at(max(demand.stretch.start_us, self.onset_us), self.number("hour"))
        while at_us < demand.stretch.end_us and (self.end_us is None or at_us < self.end_us):
            book(demand, self.target.nozzle or 0, at_us, self.number("litres_per_day"), Purpose.OWN_USE)
            at_us += DAY_US


class FirmwareCampaign(Scenario):
    """The maker brings the same new firmware to every dispenser, station by station, with papers."""

    id = "H11"
    name = "firmware_campaign"
    title = Text("厂家固件升级", "firmware campaign")
    scope = Scope.FLEET
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "nights": Parameter(5.0, "d", 1.0, 60.0, words="over which the stations are spread")
    }

    def night_of(self, station_id: str) -> int:
        """When the repairer is there: some 03:00."""
        night = int(self.chance("night", station_id).integers(round(self.number("nights"))))
        return next_at(self.onset_us, 3.0) + night * DAY_US

    def devices(self, timeline: Timeline) -> None:
        """Version and checksum, the same wherever the model is."""
        for dispenser in timeline.station.dispensers:
            model = dispenser.registered
            version = self._version(model.firmware_version)
            image = digest(f"{model.model} firmware {version}")
            at_us = self.night_of(timeline.station.station_id)
            change = IdentityChange(model.dispenser_id, at_us, firmware_version=version, firmware_digest=image)
            identify(timeline, change)

    def papers(self, papers: Papers) -> None:
        """A work order for every dispenser."""
        for dispenser in papers.station.dispensers:
            model = dispenser.registered
            detail = f"升级固件至 {self._version(model.firmware_version)}"
            sign(papers, model.dispenser_id, self.night_of(papers.station.station_id), "repair", detail)

    @staticmethod
    def _version(before: str | None) -> str:
        """The next major version."""
        major = (before or "1").split(".")[0]
        return f"{int(major) + 1 if major.isdigit() else 2}.0.0"


class ClosedNozzle(Scenario):
    """A nozzle is out of use for a month."""

    id = "H14"
    name = "nozzle_closed"
    title = Text("油枪停用后恢复", "nozzle closed, then reopened")
    scope = Scope.NOZZLE
    parameters: ClassVar[Mapping[str, Parameter]] = {"days": Parameter(30.0, "d", 1.0, 365.0, words="out of use")}

    def demand(self, demand: Demand) -> None:
        """Nobody comes."""
        close(demand, (self.target.nozzle or 0,), self.onset_us, self.onset_us + round(self.number("days") * DAY_US))


class RollOver(Scenario):
    """The totalizer of volume passes its last digit and begins at zero again."""

    id = "H15"
    name = "totalizer_roll_over"
    title = Text("泵码归零", "totalizer rolls over")
    scope = Scope.NOZZLE
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "litres_before": Parameter(20_000.0, "L", 10.0, 1e6, words="sold from the fleet's origin until it rolls over")
    }

    def plan(self, station: StationPlan) -> StationPlan:
        """A nozzle that has counted nearly as far as it can."""
        nozzle = self.target.nozzle or 0
        totalizer = TOTALIZER_ROLL - round(self.number("litres_before") * 100.0)
        return with_nozzle(station, nozzle, replace(station.nozzles[nozzle], totalizer=totalizer))


class Promotion(Scenario):
    """Three days on which most customers key in 200 yuan."""

    id = "H18"
    name = "promotion"
    title = Text("促销定额加油", "promotion, presets of 200 yuan")
    scope = Scope.STATION
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "share": Parameter(60.0, "%", 10.0, 95.0, words="of the customers key in the amount"),
        "yuan": Parameter(200.0, "CNY", 50.0, 500.0, words="the amount"),
        "days": Parameter(3.0, "d", 1.0, 30.0, words="of promotion"),
    }

    def meter(self, metering: Metering) -> None:
        """Customers change their minds at the nozzle."""
        wish = metering.wish
        chance = self.chance("promotion", metering.stretch.station.station_id, metering.stretch.number)
        on = (wish.arrival_us >= self.onset_us) & (wish.arrival_us < self.onset_us + self.number("days") * DAY_US)
        on &= (wish.purpose == Purpose.CUSTOMER) & (chance.random(len(on)) < self.number("share") / 100.0)
        value = round(self.number("yuan") * 100.0)
        wish.preset[on] = Preset.MONEY
        wish.preset_value[on] = value
        price = wish.price[on]
        wish.wanted_l[on] = (2 * 100 * value + price) // (2 * price) / 100.0


class ClockCorrected(Scenario):
    """A clock comes back wrong from a restart and is set right by the network some hours later."""

    id = "H20"
    name = "clock_corrected"
    title = Text("时钟校正90秒", "clock corrected by 90 s")
    scope = Scope.DISPENSER
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "step_s": Parameter(90.0, "s", -300.0, 300.0, words="by which the correction moves the clock"),
        "hours": Parameter(4.0, "h", 0.1, 48.0, words="from the restart to the correction"),
    }

    def devices(self, timeline: Timeline) -> None:
        """Wrong, then right, and it says so."""
        dispenser = timeline.station.dispensers[self.target.dispenser or 0].registered.dispenser_id
        right = self.onset_us + round(self.number("hours") * HOUR_US)
        step = self.number("step_s")
        if self.onset_us < timeline.end_us and right > timeline.start_us:
            timeline.clock_faults.append(ClockFault(dispenser, self.onset_us, step_s=-step, end_us=right))
        tell(timeline, right, dispenser, EventKind.CLOCK, step_s=step, source="ntp")


SCENARIOS: tuple[type[Scenario], ...] = (
    HolidayRush,
    TwoCompartments,
    PowerCut,
    Backfill,
    PriceHeld,
    OwnUse,
    FirmwareCampaign,
    ClosedNozzle,
    RollOver,
    Promotion,
    ClockCorrected,
)
