"""Brings a fleet file to life: its county, the scenarios with their targets and times, and the period."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pumpwatch_sim.fleet import Fleet
    from pumpwatch_sim.scenarios.base import Scenario
    from pumpwatch_sim.world.plans import County
    from pumpwatch_sim.world.timeline import Timeline


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

    def timelines(self, station_id: str) -> Iterator[Timeline]:
        """The station's stretches one after the other, from the origin, without end."""
        raise NotImplementedError(station_id)


def stage(fleet: Fleet, now: datetime) -> Staging:
    """Choose what the fleet file leaves open. Raises ``BadConfig`` naming the entry that cannot be."""
    raise NotImplementedError(fleet, now)
