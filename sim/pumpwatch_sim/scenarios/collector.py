"""What is done to the collector and to what it has collected: C01 to C10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumpwatch.model import Department, EventKind, Subject, Text
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope, Size, Target, TruthItem, Value
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US, MINUTE_US, fitted, occasions
from pumpwatch_sim.scenarios.refit import by_itself, with_nozzle
from pumpwatch_sim.scenarios.traces import tell
from pumpwatch_sim.world.gauges import feed_l
from pumpwatch_sim.world.metering import amount_of
from pumpwatch_sim.world.timeline import (
    LEAD_IN_DAYS,
    TOTALIZER_ROLL,
    ClockFault,
    GaugeFault,
    GaugeFaultKind,
    Outage,
    OutageKind,
)
from pumpwatch_sim.world.work import append, choose

if TYPE_CHECKING:
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Floats, Ints, Timeline
    from pumpwatch_sim.world.work import Columns, Records

_M = (Department.MARKET_REGULATION,)
_EDITED_AFTER_H = (1.0, 12.0)
_CLOCK_LIMIT_S = 2.0
"""The collector notes a clock that is further off."""


def ints(columns: Columns, name: str) -> Ints:
    """A column of whole numbers."""
    return columns[name].astype(np.int64)


def floats(columns: Columns, name: str) -> Floats:
    """A column of numbers, NaN where there is none."""
    return columns[name].astype(np.float64)


class CollectorUnplugged(Scenario):
    """The collector is off its devices in the evening rush; what is sold meanwhile is in no record."""

    id = "C01"
    name = "collector_unplugged"
    title = Text("高峰拔掉采集器", "collector unplugged at peak")
    scope = Scope.STATION
    cause = "collector_outage"
    departments = (Department.MARKET_REGULATION, Department.TAX)
    evidence = ("R4", "D11", "D3")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "hours": Parameter(2.0, "h", 0.5, 4.0, words="each time"),
        "every_days": Parameter(3.0, "d", 1.0, 90.0, words="how often"),
    }

    def devices(self, timeline: Timeline) -> None:
        """Step 6: no word from the whole station between about 16 and 21 o'clock."""
        length = int(self.number("hours") * HOUR_US)
        span = timeline.start_us, timeline.end_us
        for _, begin in occasions(self, span, self.number("every_days"), (16.0, 17.0), length):
            timeline.outages.append(Outage(begin, begin + length, OutageKind.UNPLUGGED))

    def size(self) -> Size:
        """Hours each."""
        return Size(self.number("hours"), "h")


class Jamming(Scenario):
    """A radio jammer silences the station, and its neighbours in town with it."""

    id = "C02"
    name = "jamming"
    title = Text("无线干扰,邻站同断", "radio jammed, neighbours lost too")
    scope = Scope.FLEET
    cause = "jamming"
    departments = (Department.MARKET_REGULATION, Department.POLICE)
    evidence = ("R4",)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "minutes": Parameter(30.0, "min", 10.0, 60.0, words="each time"),
        "every_days": Parameter(3.0, "d", 1.0, 90.0, words="how often"),
    }

    @classmethod
    def reach(cls, stations: Sequence[StationPlan], target: Target) -> Sequence[str]:
        """The stations of the target's town."""
        town = next(each.registered.town for each in stations if each.station_id == target.station_id)
        return [each.station_id for each in stations if each.registered.town == town]

    def devices(self, timeline: Timeline) -> None:
        """Step 6: the same spans at every station."""
        length = int(self.number("minutes") * MINUTE_US)
        span = timeline.start_us, timeline.end_us
        for _, begin in occasions(self, span, self.number("every_days"), (8.0, 21.0), length):
            timeline.outages.append(Outage(begin, begin + length, OutageKind.JAMMED))

    def truth(self, stations: Mapping[str, StationPlan]) -> Sequence[TruthItem]:
        """Jammed are all that fall silent, whoever has the jammer."""
        (item,) = super().truth(stations)
        return tuple(replace(item, subject=Subject(each)) for each in self.stations)

    def size(self) -> Size:
        """Minutes each."""
        return Size(self.number("minutes"), "min")


class _Spell(Scenario):
    """Happens once, for ``hours``, within one stretch."""

    lead_us: ClassVar[int] = 0
    """So much of the stretch lies before it."""

    def __init__(
        self,
        target: Target,
        onset_us: int,
        end_us: int | None,
        values: Mapping[str, Value],
        seed: str,
        stations: Sequence[str] = (),
    ) -> None:
        super().__init__(target, onset_us, end_us, values, seed, stations)
        over = onset_us + int(self.number("hours") * HOUR_US)
        self.end_us: int = over if end_us is None else min(over, end_us)

    @classmethod
    def settle(cls, onset_us: int, origin_us: int, values: Mapping[str, Value]) -> int:
        """Later where it would not fit into the stretch."""
        hours = float(values.get("hours", cls.parameters["hours"].default))
        return fitted(onset_us, origin_us, cls.lead_us, int(hours * HOUR_US))

    def size(self) -> Size:
        """Hours."""
        return Size(self.number("hours"), "h")

    def fault(self, timeline: Timeline, tank: int, kind: GaugeFaultKind, shift_us: int = 0) -> None:
        """Note what is wrong with a gauge in every stretch that it touches."""
        if self.onset_us < timeline.end_us and self.end_us > timeline.start_us:
            name = timeline.station.tanks[tank].registered.tank_id
            timeline.gauge_faults.append(GaugeFault(name, self.onset_us, self.end_us, kind, shift_us))


class FrozenGauge(_Spell):
    """The gauge tells one and the same value while the nozzles pump."""

    id = "C03"
    name = "frozen_gauge"
    title = Text("液位数据冻结", "frozen gauge")
    scope = Scope.TANK
    cause = "frozen_data"
    departments = (Department.MARKET_REGULATION, Department.EMERGENCY)
    evidence = ("R2",)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "hours": Parameter(24.0, "h", 2.0, 72.0, words="how long"),
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank by itself: of two that a siphon joins nobody can say which it is."""
        return by_itself(station, target)

    def devices(self, timeline: Timeline) -> None:
        """Step 6."""
        if self.target.tank is not None:
            self.fault(timeline, self.target.tank, GaugeFaultKind.FROZEN)


class ReplayedDay(_Spell):
    """Sales and tank levels of an earlier day are sent again under new times and numbers."""

    id = "C04"
    name = "replayed_day"
    title = Text("重放旧数据", "an earlier day replayed")
    scope = Scope.STATION
    cause = "replayed_data"
    departments = _M
    evidence = ("R1", "D3", "D5")
    horizon_days = 3
    lead_us = DAY_US
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "hours": Parameter(24.0, "h", 2.0, 24.0, words="how long; what is replayed is 24 hours old"),
    }

    def devices(self, timeline: Timeline) -> None:
        """Step 6: all gauges tell what was a day before."""
        for tank in range(len(timeline.station.tanks)):
            self.fault(timeline, tank, GaugeFaultKind.REPLAYED, DAY_US)

    def records(self, records: Records) -> None:
        """Step 7: yesterday's sales in the place of today's, numbered on from the last true one."""
        stretch, columns = records.stretch, records.transactions
        if not stretch.start_us <= self.onset_us - DAY_US < self.end_us <= stretch.end_us:
            return
        start = ints(columns, "start")
        now = (start >= self.onset_us) & (start < self.end_us)
        old = (start >= self.onset_us - DAY_US) & (start < self.end_us - DAY_US)
        again = choose(columns, old)
        again["start"] = ints(again, "start") + DAY_US
        again["end"] = ints(again, "end") + DAY_US
        for nozzle in np.unique(again["nozzle"]):
            rows = np.flatnonzero(again["nozzle"] == nozzle)
            rows = rows[np.argsort(again["start"][rows], kind="stable")]
            _number_on(again, rows, choose(columns, (columns["nozzle"] == nozzle) & (start < self.onset_us)))
        both = append(choose(columns, ~now), again)
        records.transactions = choose(both, np.argsort(both["end"], kind="stable"))


def _number_on(columns: Columns, rows: Ints, before: Columns) -> None:
    """Give these rows the sequence and totalizers that follow from the last row ``before``."""
    if not len(before["seq"]):
        return
    last = int(np.argmax(ints(before, "end")))
    columns["seq"][rows] = ints(before, "seq")[last] + 1 + np.arange(len(rows))
    litres = floats(before, "totalizer_l")[last] + np.cumsum(floats(columns, "volume_l")[rows])
    columns["totalizer_l"][rows] = np.round(litres % (TOTALIZER_ROLL / 100), 2)
    money = floats(before, "totalizer_cny")[last] + np.cumsum(floats(columns, "amount_cny")[rows])
    columns["totalizer_cny"][rows] = np.round(money, 2)


class DuplicatedBatch(Scenario):
    """A batch is sent twice, every byte alike, as networks do: nobody is to be troubled with it."""

    id = "C05"
    name = "duplicated_batch"
    title = Text("同批数据重复上传", "a batch sent twice")
    scope = Scope.STATION
    evidence = ("D5",)
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "records": Parameter(50.0, "records", 1.0, 500.0, words="sent twice"),
    }

    def records(self, records: Records) -> None:
        """Step 7: the first sales from the onset on come again at the end."""
        stretch, columns = records.stretch, records.transactions
        if stretch.start_us <= self.onset_us < stretch.end_us:
            rows = np.flatnonzero(self.active(ints(columns, "end")))[: int(self.number("records"))]
            records.transactions = append(columns, choose(columns, rows))

    def size(self) -> Size:
        """Records."""
        return Size(self.number("records"), "records")


class ClockWrong(Scenario):
    """A dispenser's clock is set back, or drifts; the collector compares it with its own once a day."""

    id = "C06"
    name = "clock_wrong"
    title = Text("时钟回拨或漂移", "clock set back or drifting")
    scope = Scope.DISPENSER
    cause = "clock_fault"
    departments = _M
    evidence = ("D8",)
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "step_s": Parameter(-3_600.0, "s", -86_400.0, 86_400.0, words="moved at the onset"),
        "drift_s_per_day": Parameter(
            0.0, "s/d", -60.0, 60.0, words="gains from then on, beside its own; 5 is a bad one"
        ),
    }

    def devices(self, timeline: Timeline) -> None:
        """Step 6."""
        if self.target.dispenser is not None and self.span(timeline.start_us, timeline.end_us):
            name = timeline.station.dispensers[self.target.dispenser].registered.dispenser_id
            timeline.clock_faults.append(
                ClockFault(name, self.onset_us, self.number("step_s"), self.number("drift_s_per_day"), self.end_us)
            )
            first_us = self.onset_us + 10 * MINUTE_US
            for day in range(
                max(0, (timeline.start_us - first_us) // DAY_US), (timeline.end_us - first_us) // DAY_US + 1
            ):
                at_us = first_us + day * DAY_US
                ahead_s = self.number("step_s") + self.number("drift_s_per_day") * (at_us - self.onset_us) / DAY_US
                if abs(ahead_s) > _CLOCK_LIMIT_S and self.span(at_us, at_us + 1):
                    tell(timeline, at_us, name, EventKind.CLOCK, ahead_s=round(ahead_s, 1), source="collector")

    def size(self) -> Size:
        """The step, or the drift where there is none."""
        step = self.number("step_s")
        return Size(step, "s") if step else Size(self.number("drift_s_per_day"), "s/d")


class EditedRecord(Scenario):
    """Sales that have long been uploaded come again, with fewer litres."""

    id = "C07"
    name = "edited_record"
    title = Text("上传后改记录", "records edited after upload")
    scope = Scope.STATION
    cause = "edited_record"
    departments = (Department.TAX, Department.MARKET_REGULATION)
    evidence = ("D9",)
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": Parameter(10.0, "%", 1.0, 90.0, words="litres taken off"),
        "percent_of_sales": Parameter(2.0, "%", 0.1, 50.0, words="share of the sales that are edited"),
    }

    def records(self, records: Records) -> None:
        """Step 7: nozzle, number and times as before, all else as whoever edits would leave it; some hours later."""
        columns = records.transactions
        chance = self.chance("edited", records.stretch.number)
        end = ints(columns, "end")
        hit = self.active(end) & (chance.random(len(end)) < self.number("percent_of_sales") / 100.0)
        edited = self._edited(choose(columns, hit))
        sent_us = end[hit] + (chance.uniform(*_EDITED_AFTER_H, int(hit.sum())) * HOUR_US).astype(np.int64)
        after = np.searchsorted(np.maximum.accumulate(end), sent_us, side="right") if len(end) else sent_us
        order = np.argsort(np.concatenate((np.arange(len(end)), after - 0.5)), kind="stable")
        records.transactions = choose(append(columns, edited), order)

    def _edited(self, columns: Columns) -> Columns:
        """Fewer litres, and the money, pulses and tax that belong to them; nothing was preset."""
        volume = np.rint(floats(columns, "volume_l") * (100.0 - self.number("percent"))).astype(np.int64)
        amount = amount_of(volume, np.rint(floats(columns, "unit_price") * 100.0).astype(np.int64)) / 100.0
        pulse_l = floats(columns, "encoder_l") / np.maximum(ints(columns, "encoder_pulses"), 1)
        pulses = np.rint(volume / 100.0 / np.where(pulse_l > 0.0, pulse_l, 1.0)).astype(np.int64)
        taxed = np.isfinite(floats(columns, "tax_l"))
        return columns | {
            "volume_l": volume / 100.0,
            "amount_cny": amount,
            "encoder_pulses": pulses,
            "encoder_l": np.round(pulses * pulse_l, 4),
            "tax_l": np.where(taxed, volume / 100.0, np.nan),
            "tax_cny": np.where(taxed, amount, np.nan),
            "preset_kind": np.zeros_like(columns["preset_kind"]),
            "preset_value": np.full(len(volume), np.nan),
        }


class SyntheticFeed(Scenario):
    """A computer invents the tank's levels from the sales: nothing is ever missing, and nothing ever trembles."""

    id = "C08"
    name = "synthetic_feed"
    title = Text("伪造液位数据", "invented tank levels")
    scope = Scope.TANK
    cause = "synthetic_data"
    departments = _M
    evidence = ("R3",)
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank by itself: of two that a siphon joins nobody can say which it is."""
        return by_itself(station, target)

    def devices(self, timeline: Timeline) -> None:
        """Step 6."""
        if self.target.tank is not None and self.span(timeline.start_us, timeline.end_us):
            course = timeline.tanks[self.target.tank]
            name = course.plan.registered.tank_id
            end_us = timeline.end_us if self.end_us is None else self.end_us
            fault = GaugeFault(name, self.onset_us, end_us, GaugeFaultKind.SYNTHETIC)
            past = () if timeline.previous is None else timeline.previous.gauge_faults
            told = (each.feed_l for each in past if each.tank_id == name and each.start_us == self.onset_us)
            timeline.gauge_faults.append(replace(fault, feed_l=feed_l(course, timeline, fault, next(told, None))))


class LargeSalesLost(Scenario):
    """The collector's uplink loses records, and always those of large sales."""

    id = "C09"
    name = "large_sales_lost"
    title = Text("专丢大额记录", "records of large sales lost")
    scope = Scope.STATION
    cause = "sequence_gap"
    departments = (Department.TAX,)
    evidence = ("D3", "D5")
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": Parameter(10.0, "%", 1.0, 50.0, words="share of the sales, the largest"),
    }

    def records(self, records: Records) -> None:
        """Step 7: they never come."""
        columns = records.transactions
        hit = self.active(ints(columns, "end"))
        if hit.any():
            litres = floats(columns, "volume_l")
            limit = np.quantile(litres[hit], 1.0 - self.number("percent") / 100.0)
            records.transactions = choose(columns, ~(hit & (litres >= limit)))


class NozzleRemapped(Scenario):
    """From the start the register has a nozzle at another tank of its grade, where the two are not joined."""

    id = "C10"
    name = "nozzle_remapped"
    title = Text("油枪登记错挂油罐", "nozzle registered at another tank")
    scope = Scope.NOZZLE
    cause = "wrong_tank"
    departments = _M
    evidence = ("P6",)

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """Where the grade has another tank that is not joined to its own."""
        return target.nozzle is not None and _other_tank(station, target.nozzle) is not None

    @classmethod
    def settle(cls, onset_us: int, origin_us: int, values: Mapping[str, Value]) -> int:
        """The register is wrong from the start of the period."""
        return origin_us + LEAD_IN_DAYS * DAY_US

    def plan(self, station: StationPlan) -> StationPlan:
        """The register's tank is not the one it draws from."""
        index = self.target.nozzle or 0
        other = _other_tank(station, index)
        if other is None:
            return station
        nozzle = station.nozzles[index]
        return with_nozzle(station, index, replace(nozzle, registered=replace(nozzle.registered, tank_id=other)))


def _other_tank(station: StationPlan, nozzle: int) -> str | None:
    plan = station.nozzles[nozzle]
    others = (
        tank.registered.tank_id
        for tank in station.tanks
        if tank is not plan.tank
        and tank.registered.grade == plan.tank.registered.grade
        and (tank.registered.manifold is None or tank.registered.manifold != plan.tank.registered.manifold)
    )
    return next(others, None)


SCENARIOS: tuple[type[Scenario], ...] = (
    CollectorUnplugged,
    Jamming,
    FrozenGauge,
    ReplayedDay,
    DuplicatedBatch,
    ClockWrong,
    EditedRecord,
    SyntheticFeed,
    LargeSalesLost,
    NozzleRemapped,
)
