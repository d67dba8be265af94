"""A station's plan: one part exchanged, everything still together by identity; and which tanks stand alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pumpwatch_sim.scenarios.base import Target
    from pumpwatch_sim.world.plans import DispenserPlan, NozzlePlan, StationPlan, TankPlan


def with_nozzle(station: StationPlan, index: int, nozzle: NozzlePlan) -> StationPlan:
    """The station with another nozzle at this index."""
    old = station.nozzles[index]
    dispensers = tuple(
        replace(dispenser, nozzles=tuple(nozzle if each is old else each for each in dispenser.nozzles))
        for dispenser in station.dispensers
    )
    return replace(station, dispensers=dispensers)


def with_dispenser(station: StationPlan, index: int, dispenser: DispenserPlan) -> StationPlan:
    """The station with another dispenser at this index."""
    return replace(
        station,
        dispensers=tuple(dispenser if number == index else each for number, each in enumerate(station.dispensers)),
    )


def with_tank(station: StationPlan, index: int, tank: TankPlan) -> StationPlan:
    """The station with another tank at this index, its nozzles drawing from it."""
    old = station.tanks[index]
    dispensers = tuple(
        replace(
            dispenser,
            nozzles=tuple(replace(each, tank=tank) if each.tank is old else each for each in dispenser.nozzles),
        )
        for dispenser in station.dispensers
    )
    tanks = tuple(tank if number == index else each for number, each in enumerate(station.tanks))
    return replace(station, dispensers=dispensers, tanks=tanks)


def by_itself(station: StationPlan, target: Target) -> bool:
    """Whether the target's tank, or its nozzle's, is joined to no other."""
    if target.nozzle is not None:
        return station.nozzles[target.nozzle].tank.registered.manifold is None
    return target.tank is not None and station.tanks[target.tank].registered.manifold is None
