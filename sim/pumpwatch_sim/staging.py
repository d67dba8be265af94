"""Brings a fleet file to life: its county, the scenarios with their targets and times, and the period."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from pumpwatch.errors import BadConfig
from pumpwatch.model import from_us, to_us
from pumpwatch_sim.chance import generator
from pumpwatch_sim.county import build_county
from pumpwatch_sim.fleet import when
from pumpwatch_sim.scenarios.base import Scope, Target
from pumpwatch_sim.scenarios.catalogue import checked, find
from pumpwatch_sim.world.making import lives
from pumpwatch_sim.world.people import LOCAL
from pumpwatch_sim.world.timeline import LEAD_IN_DAYS

if TYPE_CHECKING:
    from pumpwatch_sim.fleet import Fleet, ScenarioEntry
    from pumpwatch_sim.scenarios.base import Scenario
    from pumpwatch_sim.world.plans import County, StationPlan
    from pumpwatch_sim.world.timeline import Timeline

_DAY_US = 86_400_000_000
_TERM = timedelta(days=3 * 365)
"""For which licences are renewed."""
_LICENCES = ("business_licence_expires", "retail_licence_expires", "hazmat_licence_expires")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class Staging:
    """A fleet ready to be made, as files or live: everything that follows is a function of this alone."""

    fleet: Fleet
    county: County
    """With what the scenarios' ``plan`` hooks changed."""
    scenarios: tuple[Scenario, ...]
    origin_us: int
    """``LEAD_IN_DAYS`` before the start."""
    start_us: int
    """Where the files begin, and the live world; onsets count from here."""
    end_us: int
    """Where the files end. Live it goes on for ever."""

    def of(self, station_id: str) -> tuple[Scenario, ...]:
        """The scenarios in which a station takes part, in the order of the file."""
        return tuple(scenario for scenario in self.scenarios if station_id in scenario.stations)

    def station(self, station_id: str) -> StationPlan:
        """The station of this id. Raises ``BadConfig``."""
        for station in self.county.stations:
            if station.station_id == station_id:
                return station
        raise BadConfig(_no_station(station_id, self.county.stations))

    def timelines(self, station_id: str) -> Iterator[Timeline]:
        """The station's stretches one after the other, from the origin, without end."""
        station = self.station(station_id)
        return lives(station, self.fleet.stations, self.county.seed, self.origin_us, self.of(station_id))


def stage(fleet: Fleet, now: datetime) -> Staging:
    """Choose what the fleet file leaves open. Raises ``BadConfig`` naming the entry that cannot be.

    Entries that name their station come first. The others go, in the order of the file, to stations without a scenario
    of their own, and there to towns with the fewest.
    """
    start = fleet.start if isinstance(fleet.start, datetime) else now
    start_us = to_us(start)
    end_us = start_us + fleet.days * _DAY_US
    origin_us = start_us - LEAD_IN_DAYS * _DAY_US
    today = start.astimezone(LOCAL).date()
    origin = today - timedelta(days=LEAD_IN_DAYS)
    wanted = fleet.stations
    county = build_county(fleet.seed, today, wanted.count, wanted.probe, origin, wanted.nuisance, wanted.layout)
    casting = _Casting(fleet, county.stations, origin_us, start_us, end_us)
    scenarios = casting.all()
    last = from_us(end_us).astimezone(LOCAL).date()
    stations = tuple(_renewed(station, last) for station in county.stations)
    for scenario in scenarios:
        stations = tuple(
            scenario.plan(station) if station.station_id in scenario.stations else station for station in stations
        )
    return Staging(fleet, replace(county, stations=stations), scenarios, origin_us, start_us, end_us)


def _renewed(station: StationPlan, last: date) -> StationPlan:
    """With licences that hold until the ``last`` day: they are renewed in time, and the ledger tells the newest."""
    dates = {name: getattr(station.registered, name) for name in _LICENCES}
    held = {name: day + _TERM * max(-(-((last - day).days + 1) // _TERM.days), 0) for name, day in dates.items()}
    return replace(station, registered=replace(station.registered, **held))


class _Casting:
    """Who plays what: gives every entry of the fleet file its stations, target, times and seed."""

    def __init__(
        self, fleet: Fleet, stations: Sequence[StationPlan], origin_us: int, start_us: int, end_us: int
    ) -> None:
        self._fleet = fleet
        self._stations = stations
        self._origin_us = origin_us
        self._start_us = start_us
        self._end_us = end_us
        self._taken: set[str] = set()
        self._towns: Counter[str] = Counter()
        self._repeats: Counter[str] = Counter()

    def all(self) -> tuple[Scenario, ...]:
        numbered = list(enumerate(self._fleet.scenario, 1))
        named = [each for each in numbered if _station_of(each[1]) is not None]
        cast: dict[int, list[Scenario]] = {}
        for number, entry in (*named, *(each for each in numbered if each not in named)):
            try:
                cast[number] = [self._one(entry) for _ in range(entry.times)]
            except BadConfig as error:
                raise BadConfig(f"scenario {number} ({entry.name}): {error}") from None
        return tuple(scenario for number, _ in numbered for scenario in cast[number])

    def _one(self, entry: ScenarioEntry) -> Scenario:
        kind = find(entry.name)
        values = checked(kind, entry.model_extra or {})
        self._repeats[kind.id] += 1
        seed = f"{self._fleet.seed}/scenario/{kind.id}/{self._repeats[kind.id]}"
        target = self._target(kind, entry, seed)
        told_us = when(entry.onset, self._start_us)
        onset_us = kind.settle(told_us, self._origin_us, values)
        if not onset_us < self._end_us:
            raise BadConfig(f"onset {entry.onset}: the period has {self._fleet.days} days; begin sooner or raise days")
        end_us = None if entry.lasts is None else onset_us + when(entry.lasts, told_us) - told_us
        reached = kind.reach(self._stations, target)
        if len(reached) < len(self._stations):
            self._taken.update(reached)  # What happens to neighbours is to spoil nobody else's part.
        return kind(target, onset_us, end_us, values, seed, reached)

    def _target(self, kind: type[Scenario], entry: ScenarioEntry, seed: str) -> Target:
        wanted = _station_of(entry)
        if wanted is not None:
            if entry.times > 1:
                raise BadConfig(f"times {entry.times} with a station: leave one of them out")
            station = next((each for each in self._stations if each.station_id == wanted), None)
            if station is None:
                raise BadConfig(_no_station(wanted, self._stations))
            targets = _targets(kind, station, entry)
        else:
            station, targets = self._free(kind, entry, seed)
        self._taken.add(station.station_id)
        self._towns[station.registered.town] += 1
        return _pick(targets, seed, "target")

    def _free(self, kind: type[Scenario], entry: ScenarioEntry, seed: str) -> tuple[StationPlan, list[Target]]:
        free = [each for each in self._stations if each.station_id not in self._taken]
        if not free:
            raise BadConfig(
                f"all {len(self._stations)} stations have one already; name a station or raise stations.count"
            )
        suited = [(each, found) for each in free if (found := _suited(kind, each, entry))]
        if not suited:
            raise BadConfig("none of the stations that are still free has what it takes; raise stations.count")
        fewest = min(self._towns[station.registered.town] for station, _ in suited)
        return _pick([each for each in suited if self._towns[each[0].registered.town] == fewest], seed, "station")


def _station_of(entry: ScenarioEntry) -> str | None:
    if entry.station is not None:
        return entry.station
    part = entry.nozzle or entry.dispenser or entry.tank
    return None if part is None else part.partition("-")[0]


def _targets(kind: type[Scenario], station: StationPlan, entry: ScenarioEntry) -> list[Target]:
    found = _suited(kind, station, entry)
    if not found:
        part = entry.nozzle or entry.dispenser or entry.tank or station.station_id
        raise BadConfig(f"{part}: it cannot happen there; leave it out to have another chosen")
    return found


def _suited(kind: type[Scenario], station: StationPlan, entry: ScenarioEntry) -> list[Target]:
    """A station's targets that suit and are as the entry says. Raises ``BadConfig`` for parts that are not there."""
    name = station.station_id
    parts: dict[Scope, tuple[str | None, list[tuple[str, Target]]]] = {
        Scope.NOZZLE: (
            entry.nozzle,
            [(part.registered.nozzle_id, Target(name, nozzle=i)) for i, part in enumerate(station.nozzles)],
        ),
        Scope.DISPENSER: (
            entry.dispenser,
            [(part.registered.dispenser_id, Target(name, dispenser=i)) for i, part in enumerate(station.dispensers)],
        ),
        Scope.TANK: (
            entry.tank,
            [(part.registered.tank_id, Target(name, tank=i)) for i, part in enumerate(station.tanks)],
        ),
    }
    for scope, (wanted, _) in parts.items():
        if wanted is not None and scope is not kind.scope:
            raise BadConfig(f"{scope.value} {wanted}: it happens to a {kind.scope.value}; leave {scope.value} out")
    if kind.scope not in parts:
        whole = Target(name)
        return [whole] if kind.suits(station, whole) else []
    wanted, targets = parts[kind.scope]
    if wanted is not None and wanted not in dict(targets):
        raise BadConfig(f"no {kind.scope.value} {wanted!r} at {name}; it has {', '.join(part for part, _ in targets)}")
    return [target for part, target in targets if (wanted is None or part == wanted) and kind.suits(station, target)]


def _no_station(wanted: str, stations: Sequence[StationPlan]) -> str:
    return (
        f"no station {wanted!r}; the {len(stations)} stations go from {stations[0].station_id} to "
        f"{stations[-1].station_id}: name one of them or raise stations.count"
    )


def _pick(among: Sequence[_T], *names: object) -> _T:
    return among[int(generator(*names).integers(len(among)))]
