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
from pumpwatch.evaluation import Affected, Happening, Layout, Nuisances, Truth, TruthItem, truth_from
from pumpwatch.model import Subject, from_us, to_us
from pumpwatch.past import SALE_COLUMNS
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.dataset.truth import truth_of
from pumpwatch_sim.fleet import Fleet, load_fleet
from pumpwatch_sim.fleets import fleet_path
from pumpwatch_sim.staging import Staging, stage
from pumpwatch_sim.world.deliveries import house_lorry
from pumpwatch_sim.world.people import LOCAL
from pumpwatch_sim.world.plans import COMMON_LOSS_SD, METER_DRIFT_SD

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pumpwatch.past import StationPast
    from pumpwatch_sim.scenarios.base import Scenario

_RECORDS: Final = {
    "events": "device_id",
    "identities": "dispenser_id",
    "deliveries": "tank_id",
    "work_orders": "device_id",
}
"""Records other than fillings, and what each is about."""
_NOTES: Final = {
    "H09": ("recalibration",),
    "H11": ("firmware_campaign", "identity_change"),
    "H12": ("chart_error",),
    "H16": ("flow_change", "filter_clogged"),
    "H17": ("out_of_tolerance",),
}
"""What a note about an honest scenario may say, where one is to be: causes."""
_UNEVEN: Final = frozenset({"return_line", "rotating_nozzle", "slow_ramp", "station_software"})
"""Not the same at all fillings, besides the selective ones."""
_TOUCHED_SHARE: Final = 0.25
"""Of an item's size: what a filling shows too much is chance below it."""


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

    def happenings(self, station_id: str) -> Sequence[Happening]:
        """The scenarios there, honest ones too."""
        station = self._staging.station(station_id)
        return [
            Happening(
                each.id,
                each.name,
                Subject(station_id) if each.target.station_id != station_id else each.subject(station),
                from_us(each.onset_us),
                None if each.end_us is None else from_us(each.end_us),
                _NOTES.get(each.id, ()),
                each.honest,
            )
            for each in self._staging.of(station_id)
        ]

    def nuisances(self, station_id: str) -> Nuisances:
        """As the fleet file has them."""
        wanted = self._staging.fleet.stations
        layout, factor = wanted.layout, wanted.nuisance
        loss = COMMON_LOSS_SD if layout.common_loss_sd is None else layout.common_loss_sd
        drift = METER_DRIFT_SD if layout.meter_drift_sd is None else layout.meter_drift_sd
        return Nuisances(common_loss_sd=factor * loss, drift_sd=factor * drift, wander=factor)

    def affected(self, station_id: str, item: TruthItem, past: StationPast) -> Affected:
        """Uneven short deliveries filling by filling, and the lorry of a short load."""
        if item.cause == "delivery_short":
            return Affected(truck=house_lorry(station_id))
        if item.deterministic or not (item.cause == "selective_short_delivery" or item.scenario in _UNEVEN):
            return Affected()
        least = 0.0 if item.scenario == "slow_ramp" else _TOUCHED_SHARE * item.size / 100.0
        return Affected(_extra_l(self._staging, station_id, item, past, least))

    def _chosen(self) -> list[Scenario]:
        return [each for each in self._staging.scenarios if _matches(each, self.patterns)]

    def _scenario(self, station_id: str, item: TruthItem) -> Scenario | None:
        """The one that the item is of: at one station there may be several of a name."""
        stations = {station.station_id: station for station in self._staging.county.stations}
        mine = (item.scenario, item.cause, item.subject, to_us(item.onset))
        for each in self._staging.of(station_id):
            told = ((each.truth_name, one.cause, one.subject, one.onset_us) for one in each.truth(stations))
            if mine in told:
                return each
        return None


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

    What only the second has is missing in the first; a missing filling is shown by the nozzle's next. What is
    registered has no time: every filling shows it.
    """
    layout = Layout.of(past)
    nozzles = layout.nozzles_of(subject)
    homes = {home for nozzle in nozzles for home in layout.nozzles.get(nozzle, ())}
    devices = nozzles | homes | {subject.station_id, subject.key}
    if _registered(past, devices) != _registered(plain, devices):
        for name in sorted(nozzles):
            yield from past.sales.end_us[past.sales.of(name)].tolist()
    if subject.tank_id is not None and not subject.nozzle_id:
        yield from _differing_levels_us(past, plain, subject.tank_id)
    rows = [_rows(each, nozzles) for each in (past, plain)]
    yield from (at_us for row, (_, at_us) in rows[0].items() if row not in rows[1])
    for row, (nozzle, at_us) in rows[1].items():
        if row not in rows[0]:
            ends = past.sales.end_us[past.sales.of(plain.sales.nozzle_ids[nozzle])]
            yield from ends[ends > at_us][:1].tolist()
    for table, device in _RECORDS.items():
        mine, other = ({repr(record): record for record in getattr(each, table)} for each in (past, plain))
        differing = [mine.get(key) or other[key] for key in mine.keys() ^ other.keys()]
        yield from (to_us(record.at) for record in differing if getattr(record, device) in devices)
    if subject.key == subject.station_id:
        mine, other = ({repr(each): each for each in one.declarations} for one in (past, plain))
        yield from (_month_end_us((mine.get(key) or other[key]).period) for key in mine.keys() ^ other.keys())


def _registered(past: StationPast, devices: Collection[str]) -> list[str]:
    """What the ledger has of these things."""
    things = (
        (past.station_id, past.station),
        *((each.dispenser_id, each) for each in past.dispensers),
        *((each.nozzle_id, each) for each in past.nozzles),
        *((each.tank_id, each) for each in past.tanks),
    )
    return [repr(thing) for name, thing in things if name in devices]


def _differing_levels_us(past: StationPast, plain: StationPast, tank_id: str) -> Iterator[int]:
    """Times of the tank's readings that are other, or that only the first has."""
    mine, other = past.levels.get(tank_id), plain.levels.get(tank_id)
    if mine is not None and other is not None:
        plainly = dict(zip(other.at_us.tolist(), np.nan_to_num(other.height_mm).tolist(), strict=True))
        for at_us, height in zip(mine.at_us.tolist(), np.nan_to_num(mine.height_mm).tolist(), strict=True):
            if plainly.get(at_us) != height:
                yield at_us


def _extra_l(
    staging: Staging, station_id: str, item: TruthItem, past: StationPast, least: float
) -> NDArray[np.float64]:
    """What each filling of the past shows beyond what the meter's own error makes of what was given, from the onset."""
    parts = []
    for timeline in staging.timelines(station_id):
        if timeline.start_us >= staging.end_us:
            break
        sales = timeline.sales
        parts.append((sales.nozzle, sales.seq, sales.end_us, sales.volume / 100.0, sales.out_l))
    nozzle, seq, end_us, shown_l, out_l = (np.concatenate(column) for column in zip(*parts, strict=True))
    error = np.where(out_l > 0.0, shown_l / np.maximum(out_l, 0.01) - 1.0, 0.0)
    before = end_us < to_us(item.onset)
    for number in np.unique(nozzle):
        mine = nozzle == number
        if (mine & before).any():
            error[mine] -= np.median(error[mine & before])
    extra_l = np.where(~before & (np.abs(error) >= least), error * out_l, 0.0)
    known = dict(zip(zip(nozzle.tolist(), seq.tolist(), strict=True), extra_l.tolist(), strict=True))
    told = zip(past.sales.nozzle.tolist(), past.sales.seq.tolist(), strict=True)
    return np.array([known.get(place, 0.0) for place in told])


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
