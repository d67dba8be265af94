"""Short delivery at some fillings only: chosen customers, volumes, hours and payments, and never before inspectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumpwatch.model import Department, Text
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope, Size
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US
from pumpwatch_sim.scenarios.short import ShortDelivery, percent
from pumpwatch_sim.scenarios.traces import Visits, draw, end_of, near, sign
from pumpwatch_sim.world.timeline import Payment, Preset, Purpose

if TYPE_CHECKING:
    from pumpwatch_sim.scenarios.base import Target
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Bools, Floats, Ints
    from pumpwatch_sim.world.work import Demand, Metering, Papers

GALLON_L = 3.785411784
OFF_PARAMETERS: Mapping[str, Parameter] = {
    "hours_before": Parameter(12.0, "h", 2.0, 72.0, words="it is off before inspectors come"),
    "hours_after": Parameter(6.0, "h", 2.0, 72.0, words="and on again after"),
    "visit_days": Parameter(20.0, "d", 3.0, 120.0, words="from one visit to the next, on average"),
}


class Selective(ShortDelivery):
    """Short at ``chosen`` fillings."""

    cause = "selective_short_delivery"
    evidence: ClassVar[tuple[str, ...]] = ("F3", "P6")


class RemoteLevels(Selective):
    """A radio remote with levels; the attendant switches it on for customers who will not notice."""

    id = "F06"
    name = "remote_levels"
    title = Text("遥控分档作弊", "remote control with levels")
    departments = (Department.MARKET_REGULATION, Department.POLICE)
    evidence = ("F1", "F3", "P6")
    horizon_days = 60
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "share": Parameter(20.0, "%", 5.0, 100.0, words="of the customers"),
        "level": Parameter("mixed", choices=("mixed", "A", "B", "C"), words="which key is pressed"),
        "level_a": percent(3.3, 0.5, 30.0, "at key A"),
        "level_b": percent(8.0, 0.5, 30.0, "at key B"),
        "level_c": percent(27.0, 0.5, 30.0, "at key C"),
    }
    _WEIGHTS = (0.6, 0.3, 0.1)

    def chosen(self, metering: Metering) -> Bools:
        """Some of those who fill more than a little; nobody tries it on an inspector's draw."""
        wish = metering.wish
        some = self._stream(metering, "customers").random(len(wish.nozzle)) < self.number("share") / 100.0
        chosen: Bools = some & (wish.wanted_l >= 5.0) & (wish.purpose != Purpose.TEST_DRAW)
        return chosen

    def shortness(self, metering: Metering) -> Floats:
        """By the key pressed."""
        n = len(metering.wish.nozzle)
        levels = np.array([self.number(f"level_{key}") for key in "abc"]) / 100.0
        if self.word("level") != "mixed":
            return np.full(n, levels["ABC".index(self.word("level"))])
        return self._stream(metering, "keys").choice(levels, n, p=self._WEIGHTS)

    def _stream(self, metering: Metering, name: str) -> np.random.Generator:
        return self.chance(name, metering.stretch.station.station_id, metering.stretch.number)

    def size(self) -> Size:
        """The mean of the customers cheated."""
        if self.word("level") != "mixed":
            return Size(self.number(f"level_{self.word('level').lower()}"), "%")
        levels = (self.number(f"level_{key}") for key in "abc")
        return Size(round(sum(w * level for w, level in zip(self._WEIGHTS, levels, strict=True)), 3), "%")


class LargeVolumesOnly(Selective):
    """Large fillings only: the program catches up once the display has passed the limit."""

    id = "F07"
    name = "large_volumes_only"
    title = Text("仅大单短量", "short at large volumes only")
    evidence = ("F3",)
    horizon_days = 60
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(5.0, 3.0, 5.0),
        "above_l": Parameter(40.0, "L", 10.0, 100.0, words="from which a filling is short"),
    }

    def chosen(self, metering: Metering) -> Bools:
        """What is wanted, on the display or in the tank, is more than the limit."""
        return metering.wish.wanted_l > self.number("above_l")


class HonestAtTestVolumes(Selective):
    """Right at 5, 10 and 20 L and at presets of 100 and 200 yuan, short at everything else."""

    id = "F08"
    name = "honest_at_test_volumes"
    title = Text("检定量程诚实", "honest at test volumes")
    horizon_days = 30
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(3.0, 1.0, 25.0),
        "volumes": Parameter("litres", choices=("litres", "gallons"), words="test volumes 5/10/20 L or 1/5/10 gal"),
        "within_l": Parameter(0.05, "L", 0.0, 0.5, words="of a test volume"),
        "yuan": Parameter(True, words="honest at presets of 100 and 200 yuan too"),
    }

    def chosen(self, metering: Metering) -> Bools:
        """All but the test volumes."""
        wish = metering.wish
        volumes = (5.0, 10.0, 20.0) if self.word("volumes") == "litres" else (GALLON_L, 5 * GALLON_L, 10 * GALLON_L)
        honest = np.zeros(len(wish.nozzle), bool)
        for volume in volumes:
            honest |= np.abs(wish.wanted_l - volume) <= self.number("within_l") + 1e-9
        if self.flag("yuan"):
            honest |= (wish.preset == Preset.MONEY) & np.isin(wish.preset_value, (10_000, 20_000))
        return ~honest


class NightOnly(Selective):
    """Between two hours of the day, when no inspector comes."""

    id = "F09"
    name = "night_only"
    title = Text("夜间作弊", "short at night only")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(3.0, 1.0, 10.0),
        "from_hour": Parameter(22.0, "h", 0.0, 23.0, words="of the wall clock at which it is switched on"),
        "until_hour": Parameter(
            6.0, "h", 0.0, 23.0, words="not included; 8 and 18 with from_hour for office hours off"
        ),
    }
    horizon_days = 90

    def chosen(self, metering: Metering) -> Bools:
        """By the station's wall clock."""
        hour, start, end = metering.wish.local_hour, self.number("from_hour"), self.number("until_hour")
        return (hour >= start) & (hour < end) if start < end else (hour >= start) | (hour < end)


class ByPayment(Selective):
    """Customers who pay in cash or by telephone, or who are not from here."""

    id = "F10"
    name = "by_payment"
    title = Text("按支付方式作弊", "short by kind of payment")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(3.0, 1.0, 10.0),
        "whom": Parameter(
            "cash_or_mobile",
            choices=("cash", "mobile", "cash_or_mobile", "strangers"),
            words="which customers are cheated",
        ),
        "strangers": Parameter(20.0, "%", 1.0, 90.0, words="of the customers have plates from elsewhere"),
    }
    horizon_days = 60
    _KINDS: ClassVar[Mapping[str, tuple[Payment, ...]]] = {
        "cash": (Payment.CASH,),
        "mobile": (Payment.MOBILE,),
        "cash_or_mobile": (Payment.CASH, Payment.MOBILE),
    }

    def chosen(self, metering: Metering) -> Bools:
        """By what the attendant sees of the customer."""
        payment, stretch = metering.wish.payment, metering.stretch
        if self.word("whom") == "strangers":
            plates = self.chance("plates", stretch.station.station_id, stretch.number).random(len(payment))
            return plates < self.number("strangers") / 100.0
        return np.isin(payment, self._KINDS[self.word("whom")])


class OffAroundInspections(Selective):
    """One key restores honesty before inspectors come; afterwards it is switched on again."""

    id = "F11"
    name = "off_around_inspections"
    title = Text("检查前一键恢复", "off around inspections")
    departments = (Department.MARKET_REGULATION, Department.POLICE)
    evidence = ("F2", "P6")
    parameters: ClassVar[Mapping[str, Parameter]] = {"percent": percent(2.0, 1.0, 10.0), **OFF_PARAMETERS}

    def demand(self, demand: Demand) -> None:
        """Inspectors draw."""
        draw_at_inspections(self, demand, (self.target.nozzle or 0,))

    def chosen(self, metering: Metering) -> Bools:
        """Away from the visits."""
        return away_from_inspections(self, metering.wish.arrival_us)

    def papers(self, papers: Papers) -> None:
        """Each visit is on paper."""
        sign_inspections(self, papers, (self.target.nozzle or 0,))


def inspections(scenario: Scenario, until_us: int) -> Sequence[int]:
    """When inspectors come, from the onset until ``until_us``; for scenarios with ``OFF_PARAMETERS``."""
    return list(Visits(scenario.chance("visits"), scenario.onset_us, scenario.number("visit_days")).times(until_us))


def away_from_inspections(scenario: Scenario, at_us: Ints) -> Bools:
    """Which of these times lie so far from the visits that nobody need be afraid."""
    before, after = (round(scenario.number(name) * HOUR_US) for name in ("hours_before", "hours_after"))
    last = int(at_us.max(initial=scenario.onset_us))
    return ~near(at_us, inspections(scenario, last + before + 1), before, after)


def draw_at_inspections(scenario: Scenario, demand: Demand, nozzles: Iterable[int]) -> None:
    """20 L three times from each of these nozzles at every visit."""
    for visit in inspections(scenario, demand.stretch.end_us):
        for nozzle in nozzles:
            draw(demand, nozzle, visit, (20.0, 20.0, 20.0))


def sign_inspections(scenario: Scenario, papers: Papers, nozzles: Iterable[int]) -> None:
    """A work order for each visit and dispenser."""
    dispensers = {papers.station.nozzles[nozzle].registered.dispenser_id: None for nozzle in nozzles}
    for visit in inspections(scenario, end_of(papers)):
        for dispenser in dispensers:
            sign(papers, dispenser, visit, "inspection")


class SlowRamp(ShortDelivery):
    """The shortness grows so slowly that no step is to be seen."""

    id = "F12"
    name = "slow_ramp"
    title = Text("缓慢加量", "slow ramp")
    evidence = ("P9", "P6")
    horizon_days = 120
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(2.0, 0.5, 5.0, "at the end of the ramp"),
        "ramp_days": Parameter(90.0, "d", 1.0, 365.0, words="until the whole is reached"),
    }

    def shortness(self, metering: Metering) -> Floats:
        """By the days since the onset."""
        passed = (metering.wish.arrival_us - self.onset_us) / (self.number("ramp_days") * DAY_US)
        return self.number("percent") / 100.0 * np.clip(passed, 0.0, 1.0)


class RotatingNozzle(ShortDelivery):
    """The cheat moves to another nozzle of the tank every week."""

    id = "F13"
    name = "rotating_nozzle"
    title = Text("轮换油枪作弊", "rotates over the nozzles weekly")
    scope = Scope.TANK
    evidence = ("P6", "P10")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(3.0, 1.0, 10.0),
        "days": Parameter(7.0, "d", 1.0, 60.0, words="at one nozzle"),
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """A tank with two nozzles and more."""
        feeds = [nozzle.tank for nozzle in station.nozzles]
        return any(feeds.count(tank) > 1 for tank in station.tanks if target.tank in {None, station.tanks.index(tank)})

    def chosen(self, metering: Metering) -> Bools:
        """The tank's nozzles one after the other."""
        wish, station = metering.wish, metering.stretch.station
        own = np.flatnonzero(self.mine(station, np.arange(len(station.nozzles))))
        if not len(own):
            return np.zeros(len(wish.nozzle), bool)
        turn = (wish.arrival_us - self.onset_us) // round(self.number("days") * DAY_US)
        on: Bools = own[turn % len(own)] == wish.nozzle
        return on


SCENARIOS: tuple[type[Scenario], ...] = (
    RemoteLevels,
    LargeVolumesOnly,
    HonestAtTestVolumes,
    NightOnly,
    ByPayment,
    OffAroundInspections,
    SlowRamp,
    RotatingNozzle,
)
