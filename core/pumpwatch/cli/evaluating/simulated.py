"""Simulated fleets to be judged: stations made in memory, their truth, and the first record each item spoils."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pumpwatch.errors import BadConfig
from pumpwatch.evaluation import Layout, Truth, TruthItem, truth_from
from pumpwatch.model import Subject, from_us, to_us
from pumpwatch.past import SALE_COLUMNS
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.dataset.truth import truth_of
from pumpwatch_sim.fleet import Fleet, load_fleet
from pumpwatch_sim.fleets import fleet_path
from pumpwatch_sim.staging import Staging, stage
from pumpwatch_sim.world.people import LOCAL

if TYPE_CHECKING:
    from pathlib import Path

    from pumpwatch.past import StationPast
    from pumpwatch_sim.scenarios.base import Scenario

_RECORDS: Final = {
    "events": "device_id",
    "identities": "dispenser_id",
    "deliveries": "tank_id",
    "work_orders": "device_id",
}
"""Records other than fillings, and what each is about."""


@dataclass(frozen=True)
class SimulatedFleet:
    """A fleet of the simulator with one seed. Sent to other processes as its plan; they stage it themselves."""

    name: str
    seed: int
    plan: str
    """The fleet as JSON."""
    patterns: tuple[str, ...] = ()
    """Scenarios to score, by id or name, ``*`` for anything; then only the stations at which they happen are judged."""

    @cached_property
    def _staging(self) -> Staging:
        return _staged(self.plan)

    @cached_property
    def _truth(self) -> Truth:
        return truth_from(truth_of(self._staging))

    def __getstate__(self) -> dict[str, Any]:
        """Without what each process makes itself."""
        return {"name": self.name, "seed": self.seed, "plan": self.plan, "patterns": self.patterns}

    def stations(self) -> Sequence[str]:
        """All, or those at which the scenarios to score happen."""
        every = [station.station_id for station in self._staging.county.stations]
        if not self.patterns:
            return every
        chosen = {station for each in self._chosen() for station in each.stations}
        return [station for station in every if station in chosen]

    def truth(self) -> Truth:
        """Of the whole fleet."""
        return self._truth

    def wanted(self, item: TruthItem) -> bool:
        """Whether its scenario is to be scored."""
        return not self.patterns or item.scenario in {each.truth_name for each in self._chosen()}

    def past(self, station_id: str) -> StationPast:
        """The station's past, made in memory."""
        return station_past(self._staging, station_id)

    def first_sign(self, station_id: str, item: TruthItem, past: StationPast) -> datetime | None:
        """The first record that would be other had the scenario not happened; for deterministic items only."""
        scenario = self._scenario(station_id, item) if item.deterministic else None
        if scenario is None:
            return None
        plain = station_past(_without(self._staging, scenario), station_id)
        onset_us = to_us(item.onset)
        told = (at_us for at_us in _differing_us(past, plain, item.subject) if at_us >= onset_us)
        return min(map(from_us, told), default=None)

    def happenings(self, station_id: str) -> Sequence[str]:
        """The scenarios there, honest ones too."""
        return [f"{each.id} {each.name}" for each in self._staging.of(station_id)]

    def _chosen(self) -> list[Scenario]:
        return [each for each in self._staging.scenarios if _matches(each, self.patterns)]

    def _scenario(self, station_id: str, item: TruthItem) -> Scenario | None:
        there = (each for each in self._staging.of(station_id) if each.truth_name == item.scenario)
        return next(there, None)


def simulated(fleets: Sequence[str], seeds: Sequence[int], scenarios: Sequence[str]) -> list[SimulatedFleet]:
    """The fleets of these names or files, each with each seed (its own without any). Raises ``BadConfig``."""
    made = []
    for name in fleets:
        path: Path = fleet_path(name)
        fleet = load_fleet(path)
        if not isinstance(fleet.start, datetime):
            raise BadConfig(f'{path}: start = "{fleet.start}" is for serving live; an evaluation needs a time')
        for seed in seeds or (fleet.seed,):
            plan = fleet.model_copy(update={"seed": seed}).model_dump_json()
            source = SimulatedFleet(fleet.name, seed, plan, tuple(scenarios))
            if source.stations():
                made.append(source)
    if not made:
        raise BadConfig(f"none of the fleets has a scenario like {', '.join(scenarios)}; try --fleet catalogue")
    return made


def _matches(scenario: Scenario, patterns: Sequence[str]) -> bool:
    """By id or name; ``T*`` are the ids with a T, ``t*`` the names."""
    names = (scenario.id, scenario.name, scenario.truth_name)
    return any(fnmatchcase(name, each) or name.lower() == each.lower() for each in patterns for name in names)


@lru_cache(maxsize=4)
def _staged(plan: str) -> Staging:
    """Made once a process: cheaper to make anew than to send."""
    fleet = Fleet.model_validate_json(plan)
    return stage(fleet, fleet.start if isinstance(fleet.start, datetime) else datetime.now(UTC))


def _without(staging: Staging, scenario: Scenario) -> Staging:
    """The same county had this one thing not happened; chance belongs to things, so all else stays as it is."""
    bare = stage(staging.fleet.model_copy(update={"scenario": ()}), from_us(staging.start_us))
    others = tuple(each for each in staging.scenarios if each is not scenario)
    stations = bare.county.stations
    for other in others:
        stations = tuple(other.plan(each) if each.station_id in other.stations else each for each in stations)
    return replace(staging, county=replace(bare.county, stations=stations), scenarios=others)


def _differing_us(past: StationPast, plain: StationPast, subject: Subject) -> Iterator[int]:
    """Times of the records about the subject that show the difference: those that only the first has.

    What only the second has is missing in the first; a missing filling is shown by the nozzle's next.
    """
    layout = Layout.of(past)
    nozzles = layout.nozzles_of(subject)
    homes = {home for nozzle in nozzles for home in layout.nozzles.get(nozzle, ())}
    devices = nozzles | homes | {subject.station_id, subject.key}
    rows = [_rows(each, nozzles) for each in (past, plain)]
    yield from (at_us for row, (_, at_us) in rows[0].items() if row not in rows[1])
    for row, (nozzle, at_us) in rows[1].items():
        if row not in rows[0]:
            ends = past.sales.end_us[past.sales.of(plain.sales.nozzle_ids[nozzle])]
            yield from ends[ends > at_us][:1].tolist()
    for name, device in _RECORDS.items():
        mine, other = ({repr(record): record for record in getattr(each, name)} for each in (past, plain))
        differing = [mine.get(key) or other[key] for key in mine.keys() ^ other.keys()]
        yield from (to_us(record.at) for record in differing if getattr(record, device) in devices)
    if subject.key == subject.station_id:
        mine, other = ({repr(each): each for each in one.declarations} for one in (past, plain))
        yield from (_month_end_us((mine.get(key) or other[key]).period) for key in mine.keys() ^ other.keys())


def _rows(past: StationPast, nozzles: Collection[str]) -> dict[bytes, tuple[int, int]]:
    """Each filling of these nozzles as bytes, with the place of its nozzle and its end."""
    wanted = np.array([nozzle in nozzles for nozzle in past.sales.nozzle_ids], bool)
    sales = past.sales.take(wanted[past.sales.nozzle])
    columns = np.stack([np.asarray(getattr(sales, name), np.float64) for name in SALE_COLUMNS], axis=1)
    places = zip(sales.nozzle.tolist(), sales.end_us.tolist(), strict=True)
    return {row.tobytes(): place for row, place in zip(columns, places, strict=True)}


def _month_end_us(period: str) -> int:
    """When a month is over by the county's clocks: from then on it can be declared."""
    year, month = map(int, period.split("-"))
    return to_us(datetime(year + month // 12, month % 12 + 1, 1, tzinfo=LOCAL))
