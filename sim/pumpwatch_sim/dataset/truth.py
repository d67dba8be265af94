"""The truth beside a world: what ``truth.json`` says, and over how much honest time false alarms are counted."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pumpwatch.model import from_us

if TYPE_CHECKING:
    from pumpwatch_sim.scenarios.base import TruthItem
    from pumpwatch_sim.staging import Staging
    from pumpwatch_sim.world.plans import StationPlan

_DAY_US = 86_400_000_000
_YEAR_US = 365.25 * _DAY_US


def truth_of(staging: Staging) -> dict[str, Any]:
    """The content of ``truth.json``, items in the order of the fleet file."""
    stations = {station.station_id: station for station in staging.county.stations}
    told = [(scenario.truth_name, item) for scenario in staging.scenarios for item in scenario.truth(stations)]
    return {
        "honest_nozzle_years": round(honest_nozzle_years(staging, [item for _, item in told]), 3),
        "items": [
            {
                "scenario": scenario,
                "cause": item.cause,
                "subject": asdict(item.subject),
                "onset": _iso(item.onset_us),
                "end": None if item.end_us is None else _iso(item.end_us),
                "size": {"value": item.size.value, "unit": item.size.unit},
                "departments": [str(department) for department in item.departments],
                "deterministic": item.deterministic,
                "horizon_days": item.horizon_days,
            }
            for scenario, item in told
        ],
    }


def honest_nozzle_years(staging: Staging, items: list[TruthItem]) -> float:
    """Nozzles times years without what no item touches; an item's horizon after its end is not counted as honest."""
    spans: dict[str, list[tuple[int, int]]] = {}
    stations = {station.station_id: station for station in staging.county.stations}
    for item in items:
        end = staging.end_us if item.end_us is None else item.end_us + item.horizon_days * _DAY_US
        span = (max(item.onset_us, staging.start_us), min(end, staging.end_us))
        for nozzle in _touched(stations[item.subject.station_id], item):
            spans.setdefault(nozzle, []).append(span)
    nozzles = sum(len(station.nozzles) for station in stations.values())
    honest_us = nozzles * (staging.end_us - staging.start_us) - sum(map(_covered, spans.values()))
    return honest_us / _YEAR_US


def _touched(station: StationPlan, item: TruthItem) -> list[str]:
    """The nozzles of an item's subject; all of the station when it names none."""
    subject = item.subject
    return [
        nozzle.registered.nozzle_id
        for nozzle in station.nozzles
        if subject.nozzle_id in (None, nozzle.registered.nozzle_id)
        and subject.tank_id in (None, nozzle.registered.tank_id)
        and subject.dispenser_id in (None, nozzle.registered.dispenser_id)
    ]


def _covered(spans: list[tuple[int, int]]) -> int:
    """The length of the union."""
    total, reached = 0, None
    for start, end in sorted(spans):
        begin = start if reached is None else max(start, reached)
        total += max(0, end - begin)
        reached = end if reached is None else max(reached, end)
    return total


def _iso(at_us: int) -> str:
    return from_us(at_us).isoformat().replace("+00:00", "Z")
