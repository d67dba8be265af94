"""The factor on what is honestly wrong: at 1 nothing changes, above it all of it grows and nothing else does."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import islice

import numpy as np
import pytest

from pumpwatch_sim.county import build_county
from pumpwatch_sim.dataset.generate import station_tables
from pumpwatch_sim.fleet import Fleet
from pumpwatch_sim.staging import Staging, stage
from pumpwatch_sim.world.deliveries import UNLOADING_LOSS

START = datetime(2026, 3, 1, 16, tzinfo=UTC)


def staged(days: int = 14, **stations: object) -> Staging:
    plan = {
        "name": "nuisance",
        "seed": 5,
        "start": START.isoformat(),
        "days": days,
        "stations": {"count": 3} | stations,
    }
    return stage(Fleet.model_validate(plan), START)


def test_one_leaves_every_table_as_it_is() -> None:
    left_out, told = staged(), staged(nuisance=1.0)
    station = left_out.county.stations[0].station_id
    first, second = station_tables(left_out, station), station_tables(told, station)
    assert first.keys() == second.keys()
    assert all(first[name].equals(second[name]) for name in first)


def test_what_stands_at_the_stations_grows_by_the_factor() -> None:
    plain, more = (build_county(5, date(2026, 3, 2), 12, nuisance=factor) for factor in (1.0, 1.5))
    for before, after in zip(plain.stations, more.stations, strict=True):
        assert before.registered == after.registered
        for one, other in zip(before.tanks, after.tanks, strict=True):
            assert one.registered == other.registered
            assert other.probe.wander_mm == pytest.approx(1.5 * one.probe.wander_mm)
            assert other.probe.noise_mm == one.probe.noise_mm
            assert other.delivery_bias == pytest.approx(1.5 * one.delivery_bias)
            assert other.nuisance == 1.5
            errors = [tank.gauge_chart.volume_l_at - tank.true_chart.volume_l_at for tank in (one, other)]
            assert errors[1] == pytest.approx(1.5 * errors[0], abs=1e-6)
        for nozzle, worse in zip(before.nozzles, after.nozzles, strict=True):
            assert worse.meter.drift_sd == pytest.approx(1.5 * nozzle.meter.drift_sd)
            assert worse.meter.error == nozzle.meter.error
            assert abs(worse.meter.error) <= 0.003


def test_losses_and_deliveries_spread_wider() -> None:
    plain, more = (observed(factor) for factor in (1.0, 3.0))
    assert more[0] > 2.0 * plain[0]
    assert more[1] > 1.3 * plain[1]


def observed(factor: float) -> tuple[float, float]:
    """Spread of what deliveries bring against their papers, and of the weekly loss per litre sold."""
    staging = staged(days=84, probe="good", nuisance=factor)
    errors: list[float] = []
    losses: list[float] = []
    for station in staging.county.stations:
        tank_of_nozzle = np.array([station.tanks.index(nozzle.tank) for nozzle in station.nozzles])
        for timeline in islice(staging.timelines(station.station_id), 12):
            for drop in timeline.drops:
                told = drop.litres_20c / drop.declared_20c_l - 1.0
                errors.append(told - UNLOADING_LOSS - station.tanks[drop.tank].delivery_bias)
            tanks = tank_of_nozzle[timeline.sales.nozzle]
            for index, course in enumerate(timeline.tanks):
                sold = float(timeline.sales.out_l[tanks == index].sum())
                losses.append(course.losses_20c_l["vapour"] / max(sold, 1.0))
    low, high = np.percentile(errors, [25, 75])
    return float(high - low), float(np.std(losses))
