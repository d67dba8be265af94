"""The least possible delay: the published table from invented circumstances, and real pasts of the simulator."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pumpwatch.cli.evaluating.simulated import SimulatedFleet
from pumpwatch.evaluation.bounds import (
    HISTORY_DAYS,
    NOISE_MM,
    Information,
    Nuisances,
    bound_days,
    evidence,
    formula_days,
    information,
    least_delay,
)
from pumpwatch.evaluation.truth import Layout, TruthItem
from pumpwatch.model import Delivery, Nozzle, Station, Subject, Tank, from_us, to_us
from pumpwatch.past import SALE_COLUMNS, Levels, Sales, StationPast
from pumpwatch_sim.fleet import Fleet

START = datetime(2026, 3, 1, tzinfo=UTC)
START_US = to_us(START)
DAY_US = 86_400_000_000
ONSET = START + timedelta(days=HISTORY_DAYS)
LITRES_MM = 15.3
NONE = Nuisances(common_loss_sd=0.0, drift_sd=0.0)
CASES = {
    "good": (4, 65, "good", Nuisances(0.0005, drift_sd=0.0003)),
    "base": (4, 65, "base", Nuisances()),
    "poor": (4, 65, "poor", Nuisances(0.002)),
    "busy": (8, 65, "base", Nuisances()),
    "quiet": (2, 25, "base", Nuisances()),
}
"""Nozzles on the tank, fillings of each a day, gauge, nuisances."""
IDEAL = {0.3: 27.0, 0.5: 11.0, 1.0: 3.17, 2.0: 0.89, 3.0: 0.42, 5.0: 0.16}
REAL = {
    "good": {0.5: 7.0, 1.0: 1.17, 2.0: 0.31, 3.0: 0.15, 5.0: 0.06},
    "base": {0.5: 35.0, 1.0: 6.9, 2.0: 1.17, 3.0: 0.53, 5.0: 0.21},
    "poor": {1.0: 40.0, 2.0: 8.2, 3.0: 2.7, 5.0: 0.8},
    "busy": {1.0: 8.8, 2.0: 1.6, 3.0: 0.65, 5.0: 0.25},
    "quiet": {0.5: 65.0, 1.0: 16.0, 2.0: 4.0, 3.0: 1.8, 5.0: 0.7},
}
"""Per cent short at one nozzle → days."""


def past_of(case: str, days: int = HISTORY_DAYS + 60, minutes: int = 5, tanks: int = 1, seed: int = 1) -> StationPast:
    """Fillings of 30 L (cv 0.5) with three peaks a day, a delivery every other day, levels that only tremble."""
    nozzles, sales_a_day, kind, _ = CASES[case]
    chance = np.random.default_rng(seed)
    hour = np.arange(288) / 12.0
    busy = (
        0.25
        + np.exp(-(((hour - 8.0) / 2.2) ** 2))
        + 1.1 * np.exp(-(((hour - 17.5) / 3.0) ** 2))
        + 0.5 * np.exp(-(((hour - 12.5) / 2.0) ** 2))
    )
    sigma = math.sqrt(math.log(1.25))
    counts = chance.poisson(np.tile(sales_a_day * busy / busy.sum(), (nozzles, days)))
    nozzle, place = np.divmod(np.repeat(np.arange(counts.size), counts.ravel()), days * 288)
    end_us = START_US + (place * 300 + 150) * 1_000_000
    order = np.lexsort((end_us, nozzle))
    n = len(nozzle)
    columns = {name: np.full(n, np.nan) for name in SALE_COLUMNS}
    columns |= {name: np.full(n, -1, np.int16) for name in ("payment", "preset_kind")}
    columns |= {"nozzle": nozzle[order].astype(np.int32), "seq": np.arange(n), "end_us": end_us[order]}
    columns |= {
        "start_us": columns["end_us"] - 90_000_000,
        "volume_l": chance.lognormal(-(sigma**2) / 2, sigma, n) * 30,
    }
    at_us = START_US + np.arange(days * 1440 // minutes + 1, dtype=np.int64) * minutes * 60_000_000
    ids = [f"S01-T{number + 1}" for number in range(tanks)]
    names = tuple(f"S01-N{number + 1:02d}" for number in range(nozzles))
    levels = {}
    for tank in ids:
        height = 900.0 + NOISE_MM[kind] * chance.standard_normal(len(at_us))
        nothing = np.full(len(at_us), np.nan)
        levels[tank] = Levels(at_us, height, LITRES_MM * height, nothing, nothing, nothing, nothing)
    manifold = "S01-M1" if tanks > 1 else None
    return StationPast(
        station=Station("S01", "S01"),
        dispensers=(),
        nozzles=tuple(Nozzle(name, "S01-D1", ids[k % tanks], "92#") for k, name in enumerate(names)),
        tanks=tuple(Tank(tank, "S01", "92#", 30_000.0, manifold=manifold) for tank in ids),
        start=START,
        end=from_us(int(at_us[-1])),
        sales=Sales(names, **columns),
        levels=levels,
        deliveries=tuple(
            Delivery(START + timedelta(days=day), tank, f"D{day}", 10_000.0)
            for day in range(0, days, 2)
            for tank in ids
        ),
    )


def item(percent: float = 1.0, subject: Subject | None = None, **others: object) -> TruthItem:
    subject = subject or Subject("S01", "S01-D1", "S01-N01")
    made = TruthItem("pulse_adding_chip", "short_delivery", subject, ONSET, None, percent, "%", False, 30.0)
    return replace(made, **others)  # type: ignore[arg-type]


def steady(case: str, nuisances: Nuisances, percent: float) -> float | None:
    """The bound when every day is the mean day, as the published table has it."""
    past = past_of(case, days=HISTORY_DAYS + 10)
    signal_l = np.zeros(len(past.sales))
    known = information(past, ("S01-T1",), to_us(ONSET), signal_l, 0.0, nuisances)
    assert known is not None
    mean, days = known.fillings[:-1].mean(axis=0), HISTORY_DAYS + 120
    on = (np.arange(days) >= HISTORY_DAYS) * percent / 100.0
    every = Information(np.repeat(mean[None], days, axis=0), on[:, None] * mean[0], on**2 * mean[0, 0])
    return least_delay(evidence(every, nuisances))


@pytest.mark.parametrize(("percent", "days"), IDEAL.items())
def test_the_published_bound_in_an_ideal_world(percent: float, days: float) -> None:
    assert steady("base", NONE, percent) == pytest.approx(days, rel=0.08)


@pytest.mark.parametrize("case", REAL)
def test_the_published_bound_with_nuisances(case: str) -> None:
    for percent, days in REAL[case].items():
        assert steady(case, CASES[case][3], percent) == pytest.approx(days, rel=0.08, abs=0.006), percent


def test_there_is_none_for_what_is_too_small() -> None:
    assert steady("poor", CASES["poor"][3], 0.5) is None
    assert steady("base", Nuisances(), 0.2) is None


def test_its_own_days_count() -> None:
    past = past_of("base")
    layout = Layout.of(past)
    found = bound_days(past, layout, item(), Nuisances())
    assert found == pytest.approx(6.9, rel=0.25)
    assert bound_days(past, layout, item(2.0), Nuisances()) == pytest.approx(1.17, rel=0.25)
    assert bound_days(past_of("base", minutes=60), layout, item(), Nuisances()) > 1.03 * found  # type: ignore[operator]
    assert bound_days(past, layout, item(), Nuisances(0.002, drift_sd=0.001)) > 1.3 * found  # type: ignore[operator]
    assert bound_days(past, layout, item(), NONE) < 0.7 * found  # type: ignore[operator]


def test_all_nozzles_are_sooner_found_than_one() -> None:
    past = past_of("base")
    layout, tank = Layout.of(past), Subject("S01", tank_id="S01-T1")
    one, all_of_them = (bound_days(past, layout, item(1.0, each), Nuisances()) for each in (None, tank))
    assert one is not None and all_of_them is not None
    assert all_of_them < one / 4.0
    whole = bound_days(past, layout, item(1.0, Subject("S01")), Nuisances())
    assert whole == all_of_them


def test_a_cheat_at_some_fillings_only() -> None:
    """Above 40 L: 1.9 times the delay by the rule of thumb, and more in truth, but less than blind."""
    past = past_of("base")
    sales, layout = past.sales, Layout.of(past)
    mine, large = sales.nozzle == 0, sales.volume_l > 40.0
    extra_l = np.where(mine & large & (sales.end_us > to_us(ONSET)), 0.02 * sales.volume_l, 0.0)
    selective = item(2.0, cause="selective_short_delivery")
    assert bound_days(past, layout, selective, NONE) is None  # which fillings is not known
    assert formula_days(past, layout, selective, NONE, None) is None
    every = bound_days(past, layout, item(2.0), NONE)
    thumb = formula_days(past, layout, selective, NONE, extra_l)
    exact = bound_days(past, layout, selective, NONE, extra_l)
    assert every is not None and thumb is not None and exact is not None
    assert thumb / every == pytest.approx(1.9, rel=0.1)
    assert thumb < exact < 7.9 * every


def test_a_leak_in_the_published_case() -> None:
    """0.2 gallons an hour: 6 d at 10 L for each square root of a day, when nothing else wanders."""
    past = past_of("base", days=HISTORY_DAYS + 40)
    tank = Subject("S01", tank_id="S01-T1")
    leak = item(0.2, tank, cause="leak", unit="gal/h", scenario="leak")
    ideal = bound_days(past, Layout.of(past), leak, NONE)
    assert ideal == pytest.approx(6.05, rel=0.15)
    assert bound_days(past, Layout.of(past), leak, Nuisances()) > ideal  # type: ignore[operator]
    line = item(0.3, tank, cause="leak", scenario="line_leak")
    assert bound_days(past, Layout.of(past), line, Nuisances()) is not None


def test_joined_tanks_tremble_together() -> None:
    one, two = past_of("base"), past_of("base", tanks=2)
    alone, joined = (bound_days(past, Layout.of(past), item(2.0), Nuisances()) for past in (one, two))
    assert alone is not None and joined is not None
    assert 1.2 * alone < joined < 3.0 * alone


def test_nothing_is_known_without_readings_or_need() -> None:
    past = past_of("quiet", days=HISTORY_DAYS + 10)
    layout = Layout.of(past)
    assert bound_days(replace(past, levels={}), layout, item(), Nuisances()) is None
    assert bound_days(past, layout, item(deterministic=True), Nuisances()) is None
    assert bound_days(past, layout, item(cause="water", unit="mm/d"), Nuisances()) is None
    assert bound_days(past, layout, item(onset=past.end), Nuisances()) is None
    assert bound_days(past, layout, item(5.0), Nuisances()) is not None


def test_a_gauge_is_known_by_its_trembling() -> None:
    """The same fillings: whose gauge trembles four times as much takes much longer, as published."""
    times = {}
    for kind in ("good", "poor"):
        past = past_of(kind, days=HISTORY_DAYS + 60)
        known = information(past, ("S01-T1",), to_us(ONSET), np.zeros(len(past.sales)), 0.0, NONE)
        assert known is not None
        times[kind] = float(known.fillings[:, 0, 0].mean())
    assert times["good"] / times["poor"] == pytest.approx(271_077 / 15_613, rel=0.1)


def test_simulated_stations_have_the_bound_of_their_case() -> None:
    """And a cheat at some fillings only has one of its own."""
    stations = {"count": 9, "probe": "base", "tanks": 1, "nozzles_per_tank": 4, "tank_litres": 30_000}
    plan = {
        "name": "bounds",
        "seed": 11,
        "start": "2026-04-13T00:00:00+08:00",
        "days": 90,
        "stations": {**stations, "sales_per_nozzle_day": 65, "tank_reading_minutes": 10},
        "scenario": [
            {"name": "pulse_adding_chip", "onset": "P60D", "percent": 2.0},
            {"name": "large_volumes_only", "onset": "P60D", "percent": 5.0},
            {"name": "rotating_nozzle", "onset": "P60D", "percent": 3.0},
        ],
    }
    source = SimulatedFleet("bounds", 11, Fleet.model_validate(plan).model_dump_json())
    found = {}
    for one in source.truth().items:
        station = one.subject.station_id
        past = source.past(station)
        affected = source.affected(station, one, past)
        assert (affected.extra_l is None) is (one.scenario == "pulse_adding_chip")
        bound = bound_days(past, Layout.of(past), one, source.nuisances(station), affected.extra_l)
        assert bound is not None
        found[one.scenario] = bound
        if affected.extra_l is not None:
            on = np.abs(affected.extra_l) > 0.0
            assert past.sales.end_us[on].min() >= to_us(one.onset)
            mean = affected.extra_l[on].sum() / past.sales.volume_l[on].sum()
            assert mean == pytest.approx(one.size / 100.0, rel=0.1)
    assert found["pulse_adding_chip"] == pytest.approx(1.17, rel=0.5)
    assert 0.3 < found["large_volumes_only"] < 1.5
    assert found["rotating_nozzle"] == pytest.approx(0.53, rel=0.5)


def test_a_gauge_that_ends_sooner_tells_what_it_told() -> None:
    """An item over two tanks; the readings of one end days before, or never reach the onset."""
    every = item(percent=0.5, subject=Subject("S01", "S01-D1"))
    past = past_of("base", tanks=2)
    past = replace(past, tanks=tuple(replace(tank, manifold=None) for tank in past.tanks))
    layout = Layout.of(past)

    def days(last: float | None) -> float:
        """With the second tank's readings until so many days after the onset."""
        until = np.inf if last is None else to_us(ONSET) + last * DAY_US
        levels = dict(past.levels)
        levels["S01-T2"] = levels["S01-T2"].take(levels["S01-T2"].at_us <= until)
        told = bound_days(replace(past, levels=levels), layout, every, CASES["base"][3])
        assert told is not None
        return told

    both, soon, early = days(None), days(1.0), days(-10.0)
    assert both < soon <= early
