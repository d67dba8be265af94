"""What a scenario is: a named thing that happens, with parameters, a seed and the truth about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

from pumpwatch.errors import BadConfig
from pumpwatch.model import Department, Subject, Text
from pumpwatch_sim.chance import generator

if TYPE_CHECKING:
    from numpy.random import Generator

    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Bools, Ints, Timeline
    from pumpwatch_sim.world.work import DeliveryWork, Demand, Memory, Metering, Papers, Records, TankWork

Value: TypeAlias = float | bool | str
"""What a parameter may hold."""


class Scope(StrEnum):
    """What a scenario happens to."""

    NOZZLE = "nozzle"
    DISPENSER = "dispenser"
    TANK = "tank"
    STATION = "station"
    FLEET = "fleet"
    """Several stations at once; ``stations`` names them."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number, switch or word a fleet file may set."""

    default: Value
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    words: str = ""
    """What it means."""

    def check(self, value: object) -> str:
        """Why ``value`` may not be; empty when it may."""
        if isinstance(self.default, bool):
            return "" if isinstance(value, bool) else f"{value!r} is neither true nor false"
        if isinstance(self.default, str):
            allowed = self.choices or (self.default,)
            return "" if value in allowed else f"{value!r} is not one of {', '.join(allowed)}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{value!r} is not a number"
        if not abs(value) <= sys.float_info.max:
            return f"{value!r:.40} is not a finite number"
        low, high = self.low, self.high
        if (low is not None and value < low) or (high is not None and value > high):
            return f"{value} is not between {low} and {high} {self.unit}".rstrip()
        return ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where it happens. Indices count within the station: ``StationPlan.nozzles``, ``.dispensers``, ``.tanks``."""

    station_id: str
    nozzle: int | None = None
    dispenser: int | None = None
    tank: int | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """How much, as ``truth.json`` says it."""

    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class TruthItem:
    """One item of ``truth.json``; honest scenarios give none."""

    cause: str
    subject: Subject
    onset_us: int
    end_us: int | None
    size: Size
    departments: tuple[Department, ...]
    deterministic: bool
    horizon_days: int


class Scenario:
    """One scenario at one target. Hooks do nothing unless a scenario overrides them.

    They are called for each station in ``stations``, in the order in which they stand here, once a stretch (seven days,
    the same for files and wires); what they change must follow from the stretch and their own settings alone, for
    stretches and stations are made in any order and in several processes. Random numbers come from ``chance``.
    """

    id: ClassVar[str]
    """``F01``; unique in the catalogue."""
    name: ClassVar[str]
    """``short_by_mainboard``; fleet files may use either."""
    title: ClassVar[Text]
    scope: ClassVar[Scope]
    cause: ClassVar[str] = ""
    """Of ``truth.json``; empty when honest."""
    departments: ClassVar[tuple[Department, ...]] = ()
    evidence: ClassVar[tuple[str, ...]] = ()
    """The checks of ``docs/reference/scenarios.md`` (D1, P6, X3 …) that can see it."""
    deterministic: ClassVar[bool] = False
    horizon_days: ClassVar[int] = 30
    parameters: ClassVar[Mapping[str, Parameter]] = {}
    told: ClassVar[str] = ""
    """How ``truth.json`` calls it where that is not ``name``."""

    def __init__(
        self,
        target: Target,
        onset_us: int,
        end_us: int | None,
        values: Mapping[str, Value],
        seed: str,
        stations: Sequence[str] = (),
    ) -> None:
        """``values`` override the defaults and have been checked; ``seed`` is unique to this scenario in its fleet."""
        self.target = target
        self.onset_us = onset_us
        self.end_us = end_us
        self.stations = tuple(stations) or (target.station_id,)
        self._values = {name: parameter.default for name, parameter in self.parameters.items()} | dict(values)
        self._seed = seed

    # ------------------------------------------------------------ staging

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """Whether it can happen there; what the fleet file leaves open is chosen among the targets that suit."""
        return True

    @classmethod
    def reach(cls, stations: Sequence[StationPlan], target: Target) -> Sequence[str]:
        """Ids of the stations that take part: all of them when it happens to the fleet, else the target's alone."""
        return [station.station_id for station in stations] if cls.scope is Scope.FLEET else [target.station_id]

    @classmethod
    def settle(cls, onset_us: int, origin_us: int, values: Mapping[str, Value]) -> int:
        """When it truly begins if the fleet file says ``onset_us``; stretches are counted from ``origin_us``."""
        return onset_us

    # ------------------------------------------------------------ settings

    @property
    def truth_name(self) -> str:
        """Its word in ``truth.json``."""
        return self.told or self.name

    @property
    def honest(self) -> bool:
        """Whether nothing is wrong: no alarm is to come of it."""
        return not self.cause

    def number(self, parameter: str) -> float:
        """The value of a numeric parameter."""
        value = self._values[parameter]
        if isinstance(value, str):
            raise BadConfig(f"{self.id}: {parameter} is a word, not a number")
        return float(value)

    def flag(self, parameter: str) -> bool:
        """The value of a switch."""
        return bool(self._values[parameter])

    def word(self, parameter: str) -> str:
        """The value of a parameter with choices."""
        return str(self._values[parameter])

    def chance(self, *names: object) -> Generator:
        """A stream of random numbers for one purpose: equal names, equal numbers."""
        return generator(self._seed, *names)

    def active(self, at_us: Ints) -> Bools:
        """Which of these times lie between onset and end."""
        on = at_us >= self.onset_us
        return on if self.end_us is None else on & (at_us < self.end_us)

    def span(self, start_us: int, end_us: int) -> tuple[int, int] | None:
        """The part of this span in which it goes on; None when there is none."""
        start = max(start_us, self.onset_us)
        end = end_us if self.end_us is None else min(end_us, self.end_us)
        return (start, end) if start < end else None

    def mine(self, station: StationPlan, nozzles: Ints) -> Bools:
        """Which of these nozzle indices belong to the target: the nozzle itself, or all of its tank or dispenser."""
        chosen = [
            (self.target.nozzle is None or index == self.target.nozzle)
            and (self.target.tank is None or nozzle.tank is station.tanks[self.target.tank])
            and (self.target.dispenser is None or nozzle in station.dispensers[self.target.dispenser].nozzles)
            for index, nozzle in enumerate(station.nozzles)
        ]
        return np.array(chosen, bool)[nozzles]

    # ------------------------------------------------------------ hooks, in the order of the making

    def plan(self, station: StationPlan) -> StationPlan:
        """Other facts from the very start: a wrong chart, an expired certificate, another tank in the register."""
        return station

    def demand(self, demand: Demand) -> None:
        """Step 1."""

    def meter(self, metering: Metering) -> None:
        """Step 2."""

    def memory(self, memory: Memory) -> None:
        """Step 3."""

    def tanks(self, work: TankWork) -> None:
        """Step 4."""

    def delivery(self, work: DeliveryWork) -> None:
        """Step 5, for each delivery."""

    def devices(self, timeline: Timeline) -> None:
        """Step 6: identities, events, outages, faults of gauges and clocks. The sales and tanks are made already."""

    def records(self, records: Records) -> None:
        """Step 7, for files only."""

    def papers(self, papers: Papers) -> None:
        """Step 8, once a station, at the end."""

    # ------------------------------------------------------------ truth

    def size(self) -> Size:
        """How much; by default the parameter ``percent``."""
        return Size(self.number("percent"), "%") if "percent" in self.parameters else Size(1.0, "")

    def truth(self, stations: Mapping[str, StationPlan]) -> Sequence[TruthItem]:
        """What ``truth.json`` says of it: one item about the target, none when honest."""
        if self.honest:
            return ()
        return (
            TruthItem(
                self.cause,
                self.subject(stations[self.target.station_id]),
                self.onset_us,
                self.end_us,
                self.size(),
                self.departments,
                self.deterministic,
                self.horizon_days,
            ),
        )

    def subject(self, station: StationPlan) -> Subject:
        """The target by registered ids."""
        nozzle = None if self.target.nozzle is None else station.nozzles[self.target.nozzle].registered
        tank = None if self.target.tank is None else station.tanks[self.target.tank].registered
        dispenser = None if self.target.dispenser is None else station.dispensers[self.target.dispenser].registered
        return Subject(
            station.station_id,
            nozzle.dispenser_id if nozzle else dispenser.dispenser_id if dispenser else None,
            nozzle.nozzle_id if nozzle else None,
            tank.tank_id if tank else None,
        )
