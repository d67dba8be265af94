"""Simulated stations as rules see them: ninety days of one station, with one scenario or none."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pumpwatch import Finding, PluginSettings, StationPast
from pumpwatch.contracts import Rule
from pumpwatch.detection.replay import in_order, judge_station
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.dataset.truth import truth_of
from pumpwatch_sim.fleet import Fleet
from pumpwatch_sim.staging import Staging, stage

START = datetime(2026, 3, 1, 16, tzinfo=UTC)
"""Midnight in Asia/Shanghai."""


def staged(
    *scenarios: dict[str, object],
    count: int = 9,
    seed: int = 1,
    probe: str = "base",
    days: int = 90,
    **stations: object,
) -> Staging:
    """A county with what happens in it; each scenario is an entry of a fleet file."""
    plan = {
        "name": "worlds",
        "seed": seed,
        "start": START.isoformat(),
        "days": days,
        "stations": {"count": count, "probe": probe, **stations},
        "scenario": scenarios,
    }
    return stage(Fleet.model_validate(plan), START)


def one_tank(*scenarios: dict[str, object], nozzles: int = 4, **more: object) -> Staging:
    """As ``staged``: one station with one tank."""
    size = {"nozzles_per_tank": nozzles, "tank_litres": 30_000, "sales_per_nozzle_day": 65}
    return staged(*scenarios, count=1, tanks=1, **size, **more)


@lru_cache(maxsize=16)
def _world(name: str, station: str, days: int, seed: int, more: tuple[tuple[str, Any], ...]) -> tuple[StationPast, Any]:
    parameters = dict(more)
    if name and not {"nozzle", "dispenser", "tank"} & set(parameters):
        parameters["station"] = station
    staging = staged(*([{"name": name, **parameters}] if name else []), days=days, seed=seed)
    return station_past(staging, station), truth_of(staging)


def world(
    name: str = "", station: str = "S01", *, days: int = 42, seed: int = 1, **parameters: object
) -> tuple[StationPast, list[dict[str, Any]]]:
    """A station's past with one scenario (or none), and the items of its truth."""
    if name:
        parameters.setdefault("onset", "P20D")
    past, truth = _world(name, station, days, seed, tuple(sorted(parameters.items())))
    return past, truth["items"]


def judged(past: StationPast, *rules: type[Rule], **settings: object) -> list[Finding]:
    """Everything these rules say over the whole past, in order."""
    made = [rule(rule.Settings.model_validate(settings)) for rule in rules]
    assert all(isinstance(rule.settings, PluginSettings) for rule in made)
    return in_order(judge_station(past, made, past.start, past.end)[0])
