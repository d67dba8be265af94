"""A station's life, stretch after stretch: customers, meters, memories, tanks, and what scenarios make of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch.model import DeviceEvent, EventKind, from_us
from pumpwatch_sim.chance import generator
from pumpwatch_sim.world.days import DAY_US
from pumpwatch_sim.world.metering import Counters, Forecourt, meter, remember, sell
from pumpwatch_sim.world.people import expected, wishes
from pumpwatch_sim.world.prices import changes
from pumpwatch_sim.world.tanks import TankState, fill_and_draw, tank_work
from pumpwatch_sim.world.timeline import STRETCH_DAYS, Outage, OutageKind, Timeline
from pumpwatch_sim.world.work import DeliveryWork, Memory, Stretch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pumpwatch_sim.fleet import Stations
    from pumpwatch_sim.scenarios.base import Scenario
    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Drop

OUTAGE_SHARE, OUTAGE_MEAN_S = 0.004, 1_200.0
"""Of the time the uplink is down, and how long it then stays so."""


@dataclass(slots=True)
class Carry:
    """What one stretch leaves to the next; can be pickled."""

    forecourt: Forecourt
    counters: Counters
    tanks: list[TankState]
    previous: Timeline | None = None


def first_carry(station: StationPlan, seed: int, origin_us: int) -> Carry:
    """How the station stands at the origin."""
    return Carry(
        Forecourt.first(station, origin_us),
        Counters.first(station, seed),
        [TankState.first(tank, seed) for tank in station.tanks],
    )


def stretch_of(station: StationPlan, number: int, origin_us: int) -> Stretch:
    """The stretch of this number."""
    start_us = origin_us + number * STRETCH_DAYS * DAY_US
    return Stretch(station, number, start_us, start_us + STRETCH_DAYS * DAY_US, origin_us)


def lives(
    station: StationPlan, settings: Stations, seed: int, origin_us: int, scenarios: Sequence[Scenario]
) -> Iterator[Timeline]:
    """All stretches from the origin, without end."""
    carry = first_carry(station, seed, origin_us)
    for number in count():
        timeline, carry = make(stretch_of(station, number, origin_us), settings, seed, carry, scenarios)
        yield timeline


def make(
    stretch: Stretch, settings: Stations, seed: int, carry: Carry, scenarios: Sequence[Scenario]
) -> tuple[Timeline, Carry]:
    """Make one stretch, steps 1 to 6, from what the one before has left. ``carry`` stays as it is."""
    demand = expected(stretch, settings)
    for scenario in scenarios:
        scenario.demand(demand)
    metering, drift = meter(stretch, wishes(demand, settings, seed), carry.forecourt, seed)
    for scenario in scenarios:
        scenario.meter(metering)
    sales, forecourt = sell(metering, carry.forecourt, drift, seed)
    counters = remember(sales, carry.counters)
    memory = Memory(stretch, sales)
    for scenario in scenarios:
        scenario.memory(memory)
    sales = memory.sales
    work, losses = tank_work(stretch, sales, carry.tanks, seed)
    for scenario in scenarios:
        scenario.tanks(work)

    def ask(drop: Drop, stock_20c_l: float) -> list[Drop]:
        delivery = DeliveryWork(stretch, drop, stock_20c_l)
        for scenario in scenarios:
            scenario.delivery(delivery)
        return delivery.added

    courses, drops, returns, tanks = fill_and_draw(work, carry.tanks, seed, ask)
    timeline = Timeline(
        station=stretch.station,
        number=stretch.number,
        origin_us=stretch.origin_us,
        start_us=stretch.start_us,
        end_us=stretch.end_us,
        sales=sales,
        tanks=courses,
        drops=drops,
        returns=returns,
        events=_price_events(stretch),
        outages=_outages(stretch, seed) if settings.outages else [],
        previous=carry.previous,
    )
    for scenario in scenarios:
        scenario.devices(timeline)
    after = [replace(state, loss=loss) for state, loss in zip(tanks, losses, strict=True)]
    past = replace(timeline, previous=None, sales=sales.take(np.arange(0)))
    return timeline, Carry(forecourt, counters, after, past)


def _price_events(stretch: Stretch) -> list[DeviceEvent]:
    station_id = stretch.station.station_id
    return [
        DeviceEvent(
            from_us(change.at_us),
            station_id,
            station_id,
            EventKind.PRICE,
            {"grade": change.grade, "unit_price": change.price / 100.0},
        )
        for change in changes(stretch.station, stretch.start_us, stretch.end_us)
    ]


def _outages(stretch: Stretch, seed: int) -> list[Outage]:
    """The uplink's honest failures; what happened meanwhile comes later."""
    chance = generator(seed, "outages", stretch.station.station_id, stretch.number)
    span_us = stretch.end_us - stretch.start_us
    number = int(chance.poisson(OUTAGE_SHARE * span_us / 1e6 / OUTAGE_MEAN_S))
    starts = sorted((stretch.start_us + chance.random(number) * span_us).tolist())
    outages: list[Outage] = []
    for start in starts:
        start_us = max(int(start), outages[-1].end_us if outages else 0)
        end_us = min(start_us + round(chance.exponential(OUTAGE_MEAN_S) * 1e6) + 60_000_000, stretch.end_us)
        if start_us < end_us:
            outages.append(Outage(start_us, end_us, OutageKind.NETWORK, backfilled=True))
    return outages
