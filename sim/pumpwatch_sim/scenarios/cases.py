"""The documented cases: what was found at real stations, put together from the catalogue's techniques.

The sizes are those of press reports on regulators' findings; nothing else of the stations is taken over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumpwatch.model import Department, Text
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope, Size, Target, TruthItem, Value
from pumpwatch_sim.scenarios.frauds import JumpOnKey, PulseAdder
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US
from pumpwatch_sim.scenarios.selective import (
    OFF_PARAMETERS,
    HonestAtTestVolumes,
    RemoteLevels,
    Selective,
    away_from_inspections,
    draw_at_inspections,
    sign_inspections,
)
from pumpwatch_sim.scenarios.short import percent
from pumpwatch_sim.scenarios.swaps import MainboardSwap, StationSoftware
from pumpwatch_sim.scenarios.tax import TaxSkips
from pumpwatch_sim.scenarios.traces import nozzles_of
from pumpwatch_sim.world.timeline import Purpose

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Bools, Timeline
    from pumpwatch_sim.world.work import DeliveryWork, Demand, Memory, Metering, Papers, Records, TankWork

_M, _X, _G = Department.MARKET_REGULATION, Department.TAX, Department.POLICE


class DeskSwitch(Selective):
    """A hidden device with a switch at the cashier's desk: on for some hours, off for others."""

    id = "K00"
    name = "desk_switch"
    title = Text("收银台暗藏开关", "hidden switch at the desk")
    departments = (_M, _G)
    evidence = ("F1", "P6")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(2.45, 0.5, 10.0),
        "share": Parameter(60.0, "%", 5.0, 100.0, words="of the time switched on"),
        "hours": Parameter(4.0, "h", 0.5, 24.0, words="for which the switch is left alone"),
    }

    def chosen(self, metering: Metering) -> Bools:
        """While it is on."""
        block = metering.wish.arrival_us // round(self.number("hours") * HOUR_US)
        numbers, which = np.unique(block, return_inverse=True)
        share = self.number("share") / 100.0
        on = np.array([self.chance("switch", int(number)).random() < share for number in numbers], bool)
        chosen: Bools = on[which] & (metering.wish.purpose != Purpose.TEST_DRAW)
        return chosen


class SoftwareWithKey(StationSoftware):
    """The station's software with one key that restores honesty while inspectors are about."""

    id = "K00b"
    name = "station_software_with_key"
    title = Text("管理软件一键恢复", "station software with a key")
    cause = "selective_short_delivery"
    evidence: ClassVar[tuple[str, ...]] = ("D6", "P6", "P10", "F2")
    parameters: ClassVar[Mapping[str, Parameter]] = {**StationSoftware.parameters, **OFF_PARAMETERS}

    def demand(self, demand: Demand) -> None:
        """Inspectors draw from a nozzle of each dispenser."""
        draw_at_inspections(self, demand, _one_each(demand.stretch.station))

    def papers(self, papers: Papers) -> None:
        """Each visit is on paper."""
        sign_inspections(self, papers, _one_each(papers.station))

    def chosen(self, metering: Metering) -> Bools:
        """Away from the visits."""
        return away_from_inspections(self, metering.wish.arrival_us)


def _one_each(station: StationPlan) -> list[int]:
    return [nozzles_of(station, dispenser)[0] for dispenser in station.dispensers]


class Case(Scenario):
    """Several scenarios that happen together at one station, each at its own nozzles."""

    scope = Scope.STATION
    cause = "short_delivery"
    departments: ClassVar[tuple[Department, ...]] = (_M, _G)

    def parts(self, station: StationPlan) -> Sequence[Scenario]:
        """What happens at the station."""
        raise NotImplementedError

    def part(
        self,
        kind: type[Scenario],
        values: Mapping[str, Value],
        *,
        nozzle: int | None = None,
        dispenser: int | None = None,
        delay_days: int = 0,
    ) -> Scenario:
        """One scenario of the case, which begins with it or some days later."""
        target = Target(self.target.station_id, nozzle=nozzle, dispenser=dispenser)
        onset_us = kind.settle(self.onset_us + delay_days * DAY_US, self.onset_us, values)
        return kind(target, onset_us, self.end_us, values, f"{self._seed}/{kind.name}/{nozzle}/{dispenser}")

    def some(self, count: int, of: int) -> list[int]:
        """So many indices out of ``of``, or all."""
        return sorted(self.chance("some", of).permutation(of)[:count].tolist())

    def plan(self, station: StationPlan) -> StationPlan:
        """Of all parts."""
        for each in self.parts(station):
            station = each.plan(station)
        return station

    def demand(self, demand: Demand) -> None:
        """Of all parts."""
        for each in self.parts(demand.stretch.station):
            each.demand(demand)

    def meter(self, metering: Metering) -> None:
        """Of all parts."""
        for each in self.parts(metering.stretch.station):
            each.meter(metering)

    def memory(self, memory: Memory) -> None:
        """Of all parts."""
        for each in self.parts(memory.stretch.station):
            each.memory(memory)

    def tanks(self, work: TankWork) -> None:
        """Of all parts."""
        for each in self.parts(work.stretch.station):
            each.tanks(work)

    def delivery(self, work: DeliveryWork) -> None:
        """Of all parts."""
        for each in self.parts(work.stretch.station):
            each.delivery(work)

    def devices(self, timeline: Timeline) -> None:
        """Of all parts."""
        for each in self.parts(timeline.station):
            each.devices(timeline)

    def records(self, records: Records) -> None:
        """Of all parts."""
        for each in self.parts(records.stretch.station):
            each.records(records)

    def papers(self, papers: Papers) -> None:
        """Of all parts."""
        for each in self.parts(papers.station):
            each.papers(papers)

    def size(self) -> Size:
        """What the report says."""
        return Size(self.number("percent"), "%")

    def truth(self, stations: Mapping[str, StationPlan]) -> Sequence[TruthItem]:
        """Of all parts."""
        return [item for each in self.parts(stations[self.target.station_id]) for item in each.truth(stations)]


class Baotou(Case):
    """2023: management software with a ratio for each nozzle; a key restores honesty."""

    id = "K01"
    name = "case_baotou_2023"
    title = Text("案例:包头2023管理软件", "case: Baotou 2023, software with a key")
    cause = "selective_short_delivery"
    evidence = ("D6", "P6", "P10", "F2")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(1.23, 0.5, 5.0, "at the mildest nozzle"),
        "percent_high": percent(2.3, 0.5, 5.0, "at the worst nozzle"),
        **OFF_PARAMETERS,
    }

    def parts(self, station: StationPlan) -> Sequence[Scenario]:
        """The software."""
        visits = {name: self.number(name) for name in OFF_PARAMETERS}
        low, high = self.number("percent"), self.number("percent_high")
        return (self.part(SoftwareWithKey, {"percent_low": low, "percent_high": high, **visits}),)


class Ordos(Case):
    """2025: software set to two or three per cent, and of a hundred sales one is told to the tax office."""

    id = "K02"
    name = "case_ordos_2025_99_to_1"
    title = Text("案例:鄂尔多斯2025百笔报一", "case: Ordos 2025, 99 sales hidden of 100")
    departments = (_M, _X, _G)
    evidence = ("D4", "X3", "D6", "P6", "P10")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(2.0, 1.0, 5.0),
        "percent_high": percent(3.0, 1.0, 5.0),
        "hidden": Parameter(99.0, "%", 50.0, 99.5, words="of the sales leave no tax record"),
    }

    def parts(self, station: StationPlan) -> Sequence[Scenario]:
        """Two programs in one."""
        low, high = self.number("percent"), self.number("percent_high")
        return (
            self.part(StationSoftware, {"percent_low": low, "percent_high": high}),
            self.part(TaxSkips, {"percent": self.number("hidden")}),
        )


class Chifeng(Ordos):
    """2025: 8.5 million yuan sold in a month, 0.77 million declared."""

    id = "K03"
    name = "case_chifeng_2025"
    title = Text("案例:赤峰2025瞒报九成", "case: Chifeng 2025, 91 % undeclared")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        **Ordos.parameters,
        "percent": percent(1.5, 1.0, 5.0),
        "percent_high": percent(2.0, 1.0, 5.0),
        "hidden": Parameter(91.0, "%", 50.0, 99.5, words="of the sales leave no tax record"),
    }


class Neijiang(Case):
    """Mainboards with a plus and a minus key, one dispenser a night."""

    id = "K04"
    name = "case_neijiang"
    title = Text("案例:内江换主板", "case: Neijiang, mainboards replaced")
    cause = "identity_change"
    evidence = ("D6", "D5", "P6")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(2.0, 0.5, 5.0),
        "percent_high": percent(2.25, 0.5, 5.0),
        "boards": Parameter(2.0, "", 1.0, 20.0, words="replaced; at most all of the station"),
    }

    def parts(self, station: StationPlan) -> Sequence[Scenario]:
        """Board after board."""
        own = self.some(round(self.number("boards")), len(station.dispensers))
        spread = np.linspace(self.number("percent"), self.number("percent_high"), len(own)).tolist()
        return [
            self.part(MainboardSwap, {"percent": round(percent_, 2)}, dispenser=dispenser, delay_days=night)
            for night, (dispenser, percent_) in enumerate(zip(own, spread, strict=True))
        ]


class Qingdao(Neijiang):
    """Seven boards that were not the maker's."""

    id = "K05"
    name = "case_qingdao"
    title = Text("案例:青岛七块非原装主板", "case: Qingdao, seven foreign boards")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        **Neijiang.parameters,
        "percent": percent(1.0, 0.5, 5.0),
        "percent_high": percent(2.0, 0.5, 5.0),
        "boards": Parameter(7.0, "", 1.0, 20.0, words="replaced; at most all of the station"),
    }


class Hangzhou(Case):
    """2007: the enter key of a computer makes the display jump; 35 L shown, 33.6 L given."""

    id = "K06"
    name = "case_hangzhou_2007"
    title = Text("案例:杭州2007电脑跳字", "case: Hangzhou 2007, jump by computer")
    evidence = ("D7", "D1", "P6")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(3.94, 1.0, 10.0, "of the filling, the smallest jump"),
        "percent_high": percent(10.0, 1.0, 20.0, "of the filling, the largest jump"),
        "share": Parameter(25.0, "%", 1.0, 50.0, words="of the fillings"),
    }

    def parts(self, station: StationPlan) -> Sequence[Scenario]:
        """At each nozzle."""
        low, high, share = (self.number(name) for name in ("percent", "percent_high", "share"))
        return [
            self.part(JumpOnKey, {"percent_low": low, "percent_high": high, "share": share}, nozzle=nozzle)
            for nozzle in range(len(station.nozzles))
        ]


class Zhoukou(Case):
    """A radio remote with three levels: 10 L shown as 10.33, 10.80 and 12.71."""

    id = "K07"
    name = "case_zhoukou_remote"
    title = Text("案例:周口遥控三档", "case: Zhoukou, remote with levels")
    cause = "selective_short_delivery"
    evidence = ("F1", "F3", "P6")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(3.3, 0.5, 30.0, "at key A"),
        "share": Parameter(20.0, "%", 5.0, 50.0, words="of the customers"),
    }

    def parts(self, station: StationPlan) -> Sequence[Scenario]:
        """One remote for all dispensers."""
        values = {"share": self.number("share"), "level_a": self.number("percent"), "level_b": 8.0, "level_c": 27.1}
        return (self.part(RemoteLevels, values),)


class Shangqiu(Case):
    """2022: a hidden device with a switch at the desk, 2.45 % at one nozzle and 4.45 % at another."""

    id = "K08"
    name = "case_shangqiu_2022"
    title = Text("案例:商丘2022柜台开关", "case: Shangqiu 2022, switch at the desk")
    cause = "selective_short_delivery"
    evidence = ("F1", "P6")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(2.45, 0.5, 10.0),
        "percent_high": percent(4.45, 0.5, 10.0),
        "share": Parameter(60.0, "%", 5.0, 100.0, words="of the time switched on"),
    }

    def parts(self, station: StationPlan) -> Sequence[Scenario]:
        """Two nozzles."""
        return [
            self.part(DeskSwitch, {"percent": self.number(name), "share": self.number("share")}, nozzle=nozzle)
            for nozzle, name in zip(self.some(2, len(station.nozzles)), ("percent", "percent_high"), strict=False)
        ]


class Weifang(Shangqiu):
    """A hidden device, 2.43 %."""

    id = "K09"
    name = "case_weifang"
    title = Text("案例:潍坊暗装装置", "case: Weifang, hidden device")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        **Shangqiu.parameters,
        "percent": percent(2.43, 0.5, 10.0),
        "percent_high": percent(2.43, 0.5, 10.0),
    }


class LosAngeles(Case):
    """1995 to 1998: chips that were right at 1, 5 and 10 gallons, the volumes inspectors draw."""

    id = "K10"
    name = "case_los_angeles_1998"
    title = Text("案例:洛杉矶1998选量作弊", "case: Los Angeles 1998, honest at 5 gal")
    cause = "selective_short_delivery"
    evidence = ("F3", "P6")
    parameters: ClassVar[Mapping[str, Parameter]] = {"percent": percent(7.0, 5.0, 25.0)}

    def parts(self, station: StationPlan) -> Sequence[Scenario]:
        """Every dispenser has its chip."""
        return (
            self.part(HonestAtTestVolumes, {"percent": self.number("percent"), "volumes": "gallons", "yuan": False}),
        )


class IndiaPulser(Case):
    """2017 to 2020: chips at the pulsers, 50 to 70 mL in a litre."""

    id = "K11"
    name = "case_india_pulser"
    title = Text("案例:印度脉冲芯片", "case: India, chips at the pulsers")
    evidence = ("P6", "F1")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(5.0, 3.0, 10.0),
        "nozzles": Parameter(2.0, "", 1.0, 40.0, words="with a chip"),
    }

    def parts(self, station: StationPlan) -> Sequence[Scenario]:
        """A chip each."""
        return [
            self.part(PulseAdder, {"percent": self.number("percent")}, nozzle=nozzle)
            for nozzle in self.some(round(self.number("nozzles")), len(station.nozzles))
        ]


SCENARIOS: tuple[type[Scenario], ...] = (
    Baotou,
    Ordos,
    Chifeng,
    Neijiang,
    Qingdao,
    Hangzhou,
    Zhoukou,
    Shangqiu,
    Weifang,
    LosAngeles,
    IndiaPulser,
)
