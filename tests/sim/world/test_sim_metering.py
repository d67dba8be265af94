"""Litres, pulses, display and tax differ exactly as ``Metering`` says; queues never overlap; counters go on."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch_sim.county import build_county
from pumpwatch_sim.fleet import Stations
from pumpwatch_sim.scenarios.base import Scenario, Target
from pumpwatch_sim.world.days import DAY_US, LOCAL_US
from pumpwatch_sim.world.making import first_carry, lives, make, stretch_of
from pumpwatch_sim.world.metering import PATIENCE_S, Counters, Forecourt, amount_of, meter, remember, sell
from pumpwatch_sim.world.plans import Meter, StationPlan
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, TOTALIZER_ROLL, Payment, Preset, Purpose, Sales, Timeline
from pumpwatch_sim.world.work import Booking, Demand, Metering, Wish

ORIGIN_US = 1_767_110_400_000_000  # 31 December 2025, midnight in the county
EXACT = Meter(0.0, 0.0, 60.0, 0.0, 0.0, 0.0)


def station(number: int = 0) -> StationPlan:
    return build_county(1, date(2026, 1, 1), 3).stations[number]


def with_meters(plan: StationPlan, meter_: Meter) -> StationPlan:
    dispensers = tuple(
        replace(part, nozzles=tuple(replace(nozzle, meter=meter_) for nozzle in part.nozzles))
        for part in plan.dispensers
    )
    return replace(plan, dispensers=dispensers)


class Cheat(Scenario):
    """Whatever a scenario may do to the meters, the same for every filling."""

    def __init__(self, plan: StationPlan, **columns: float) -> None:
        super().__init__(Target(plan.station_id), 0, None, {}, "test")
        self.columns = columns

    def meter(self, metering: Metering) -> None:
        for name, value in self.columns.items():
            getattr(metering, name)[:] = value


class Booked(Scenario):
    """Sends these customers."""

    def __init__(self, plan: StationPlan, *bookings: Booking) -> None:
        super().__init__(Target(plan.station_id), 0, None, {}, "test")
        self.bookings = bookings

    def demand(self, demand: Demand) -> None:
        stretch = demand.stretch
        demand.bookings += [b for b in self.bookings if stretch.start_us <= b.at_us < stretch.end_us]


def first_stretch(plan: StationPlan, *scenarios: Scenario, demand: float = 1.0) -> Timeline:
    return next(lives(plan, Stations(demand=demand), 1, ORIGIN_US, scenarios))


def half_up(value: float) -> int:
    return math.floor(value + 0.5)


@settings(max_examples=15, deadline=None)
@given(
    error=st.sampled_from([0.0, 0.002, -0.0025]),
    offset_l=st.sampled_from([0.0, 0.02]),
    bypass=st.sampled_from([0.0, 0.03]),
    pulse_gain=st.sampled_from([0.0, 0.05, 0.1]),
    display_gain=st.sampled_from([0.0, 0.02, 0.27, -0.01]),
    start_volume=st.sampled_from([0, 35]),
    jump=st.sampled_from([0, 150]),
)
def test_the_chain_from_litres_to_tax_is_the_one_that_is_written_down(
    error: float,
    offset_l: float,
    bypass: float,
    pulse_gain: float,
    display_gain: float,
    start_volume: int,
    jump: int,
) -> None:
    plan = with_meters(station(), replace(EXACT, error=error, offset_l=offset_l))
    cheat = Cheat(
        plan,
        bypass=bypass,
        pulse_gain=pulse_gain,
        display_gain=display_gain,
        start_volume=start_volume,
        jump=jump,
    )
    sales = first_stretch(plan, cheat, demand=0.1).sales
    assert len(sales) > 100
    for row in range(len(sales)):
        assert sales.out_l[row] == pytest.approx(sales.metered_l[row] * (1.0 - bypass), rel=1e-12)
        counted = (sales.metered_l[row] * (1.0 + error) + offset_l) * (1.0 + pulse_gain) / 0.01
        # At a preset the pump stops on a pulse, elsewhere halves decide.
        assert sales.pulses[row] == pytest.approx(counted, abs=0.5 + 1e-6)
        shown = half_up(int(sales.pulses[row]) * (1.0 + display_gain))
        assert sales.volume[row] == start_volume + jump + shown
        exact = Fraction(int(sales.volume[row]) * int(sales.price[row]), 100)
        assert sales.amount[row] == math.floor(exact + Fraction(1, 2))
    assert np.array_equal(sales.tax_volume, sales.volume)
    assert np.array_equal(sales.tax_amount, sales.amount)


def test_a_preset_is_what_the_display_reaches_and_a_free_filling_what_the_customer_gets() -> None:
    plan = with_meters(station(), EXACT)
    honest = first_stretch(plan).sales
    cheated = first_stretch(plan, Cheat(plan, display_gain=0.05)).sales
    litres = honest.preset == Preset.LITRES
    assert np.array_equal(honest.volume[litres], honest.preset_value[litres])
    money = honest.preset == Preset.MONEY
    assert np.abs(honest.amount[money] - honest.preset_value[money]).max() <= honest.price.max() // 200 + 1
    keyed = cheated.preset == Preset.LITRES
    over = cheated.volume[keyed] - cheated.preset_value[keyed]
    assert set(over.tolist()) <= {0, 1}
    assert np.allclose(cheated.out_l[keyed], cheated.preset_value[keyed] / 105.0, atol=0.011)
    free = cheated.preset == Preset.NONE
    assert np.allclose(cheated.volume[free] / 100.0, cheated.out_l[free] * 1.05, atol=0.011)


def test_more_pulses_a_litre_show_as_more_flow_and_the_filling_lasts_as_long_as_the_display_says() -> None:
    plan = with_meters(station(), EXACT)
    honest, cheated = (first_stretch(plan, Cheat(plan, pulse_gain=gain)).sales for gain in (0.0, 0.1))
    assert np.median(cheated.flow_l_min) / np.median(honest.flow_l_min) == pytest.approx(1.1, rel=0.01)
    by_pass = first_stretch(plan, Cheat(plan, bypass=0.1)).sales
    assert np.median(by_pass.flow_l_min) == pytest.approx(np.median(honest.flow_l_min), rel=0.005)


def test_the_meters_wander_as_planned_and_go_on_over_the_stretches() -> None:
    drifting = Meter(0.001, 0.0005, 60.0, 0.0, 0.0, 0.0)
    plan = with_meters(station(), drifting)
    ends, state = [], Forecourt.first(plan, ORIGIN_US)
    hours = np.arange(0, 7 * 24)
    paths = []
    for number in range(40):
        stretch = stretch_of(plan, number, ORIGIN_US)
        count = len(hours)
        wish = Wish(
            nozzle=np.zeros(count, np.int64),
            arrival_us=stretch.start_us + hours * 3_600_000_000,
            wanted_l=np.full(count, 30.0),
            purpose=np.zeros(count, np.int64),
            preset=np.zeros(count, np.int64),
            preset_value=np.zeros(count, np.int64),
            payment=np.full(count, int(Payment.CASH), np.int64),
            local_hour=np.zeros(count, np.int64),
            price=np.full(count, 750, np.int64),
        )
        metering, drift = meter(stretch, wish, state, 1)
        paths.append(metering.error)
        ends.append(drift)
        state = Forecourt(drift, state.free_us, None)
    assert paths[0][0] == pytest.approx(0.001, abs=1e-12)
    path = np.concatenate(paths)
    assert np.abs(np.diff(path)).max() < 0.0005 / 4  # no steps at the seams
    assert 0.3 < np.std(np.array(ends)[10:]) < 1.7


def test_no_two_fillings_of_a_nozzle_overlap_even_in_a_rush_and_over_the_seam() -> None:
    plan = station()
    last = np.zeros(len(plan.nozzles), np.int64)
    for timeline in islice(lives(plan, Stations(demand=20.0), 1, ORIGIN_US, ()), 2):
        sales = timeline.sales
        assert np.all(np.diff(sales.start_us) >= 0)
        assert np.all(sales.lifted_us < sales.start_us)
        assert np.all(sales.start_us < sales.end_us)
        assert np.all(sales.end_us < sales.hung_us)
        assert sales.lifted_us.min() >= timeline.start_us
        assert sales.hung_us.max() <= timeline.end_us
        for nozzle in range(len(plan.nozzles)):
            mine = sales.nozzle == nozzle
            lifted = np.append(sales.lifted_us[mine], np.iinfo(np.int64).max)
            assert np.all(lifted >= np.insert(sales.hung_us[mine], 0, last[nozzle]))
            last[nozzle] = sales.hung_us[mine][-1]


def _wish(plan: StationPlan, at_us: list[int], booked: bool) -> Wish:
    count = len(at_us)
    return Wish(
        nozzle=np.zeros(count, np.int64),
        arrival_us=np.array(at_us, np.int64),
        wanted_l=np.full(count, 40.0),
        purpose=np.zeros(count, np.int64),
        preset=np.zeros(count, np.int64),
        preset_value=np.zeros(count, np.int64),
        payment=np.zeros(count, np.int64),
        local_hour=np.zeros(count, np.int64),
        price=np.full(count, 750, np.int64),
        booked=np.full(count, booked),
    )


def test_whoever_would_wait_too_long_drives_on_and_leaves_room_to_those_behind() -> None:
    plan = station()
    stretch = stretch_of(plan, 0, ORIGIN_US)
    noon_us = stretch.start_us + 12 * 3_600_000_000
    forecourt = Forecourt.first(plan, ORIGIN_US)
    crowd = [noon_us] * 30 + [noon_us + 1_500_000_000]
    metering, drift = meter(stretch, _wish(plan, crowd, booked=False), forecourt, 1)
    sales, _ = sell(metering, forecourt, drift, 1)
    assert 5 < len(sales) < 15
    assert (sales.lifted_us[:-1] - noon_us).max() <= PATIENCE_S * 1e6
    assert sales.lifted_us[-1] == noon_us + 1_500_000_000
    metering, drift = meter(stretch, _wish(plan, crowd, booked=True), forecourt, 1)
    sales, _ = sell(metering, forecourt, drift, 1)
    assert len(sales) == 31


def test_nobody_waits_over_midnight_for_another_price() -> None:
    plan = station()
    stretch = stretch_of(plan, 0, ORIGIN_US)
    midnight_us = stretch.start_us + DAY_US
    assert (midnight_us + LOCAL_US) % DAY_US == 0
    forecourt = Forecourt.first(plan, ORIGIN_US)
    metering, drift = meter(stretch, _wish(plan, [midnight_us - 5_000_000] * 3, booked=False), forecourt, 1)
    sales, _ = sell(metering, forecourt, drift, 1)
    assert len(sales) == 1


def test_booked_fillings_that_would_cross_the_seam_are_the_first_of_the_next_stretch() -> None:
    plan = station()
    at_us = stretch_of(plan, 1, ORIGIN_US).start_us - 30_000_000
    booked = Booked(
        plan,
        Booking(3, at_us, 60.0, Purpose.OWN_USE, Preset.NONE),
        Booking(3, at_us, 70.0, Purpose.HIDDEN, Preset.NONE),
    )
    first, second = islice(lives(plan, Stations(), 1, ORIGIN_US, (booked,)), 2)
    assert not np.isin(first.sales.purpose, [Purpose.OWN_USE, Purpose.HIDDEN]).any()
    mine = np.flatnonzero(second.sales.nozzle == 3)[:2]
    assert second.sales.out_l[mine].tolist() == [60.0, 70.0]
    assert second.sales.lifted_us[mine[0]] == second.start_us


def test_sequence_numbers_and_totalizers_go_on_over_the_stretches() -> None:
    plan = station()
    noon_us = ORIGIN_US + 12 * 3_600_000_000
    hidden = Booked(plan, Booking(2, noon_us, 50.0, Purpose.HIDDEN, Preset.NONE))
    parts = [timeline.sales for timeline in islice(lives(plan, Stations(), 1, ORIGIN_US, (hidden,)), 3)]
    first = Counters.first(plan, 1)
    for nozzle in range(len(plan.nozzles)):
        rows = [part.take(part.nozzle == nozzle) for part in parts]
        seq = np.concatenate([[first.seq[nozzle]], *(part.seq for part in rows)])
        recorded = np.concatenate([part.recorded for part in rows])
        assert np.array_equal(np.diff(seq), recorded.astype(int))
        totalizer = np.concatenate([[first.totalizer[nozzle]], *(part.totalizer for part in rows)])
        assert np.array_equal(np.diff(totalizer), np.concatenate([part.volume for part in rows]))
        money = np.concatenate([[first.totalizer_amount[nozzle]], *(part.totalizer_amount for part in rows)])
        assert np.array_equal(np.diff(money), np.concatenate([part.amount for part in rows]))
    secret = parts[0].take(parts[0].purpose == Purpose.HIDDEN)
    assert len(secret) == 1
    assert not secret.recorded[0]
    assert secret.tax_volume[0] == NO_TAX_RECORD


def test_the_totalizer_rolls_over() -> None:
    sales = first_stretch(station(), demand=0.1).sales
    first = Counters.first(station(), 1)
    counters = Counters(first.seq, np.full_like(first.totalizer, TOTALIZER_ROLL - 1), first.totalizer_amount)
    after = remember(sales, counters)
    assert sales.totalizer.max() < TOTALIZER_ROLL
    for nozzle in range(len(first.seq)):
        mine = sales.nozzle == nozzle
        assert sales.totalizer[mine][0] == sales.volume[mine][0] - 1
        assert after.totalizer[nozzle] == sales.volume[mine].sum() - 1


def test_own_use_is_no_sale_to_tax_control() -> None:
    plan = station()
    booked = Booked(plan, Booking(0, ORIGIN_US + DAY_US, 50.0, Purpose.OWN_USE, Preset.NONE))
    sales = first_stretch(plan, booked, demand=0.1).sales
    own = sales.purpose == Purpose.OWN_USE
    assert own.sum() == 1
    assert sales.recorded[own].all()
    assert (sales.tax_volume[own] == NO_TAX_RECORD).all()
    assert (sales.tax_volume[~own] == sales.volume[~own]).all()


@given(st.integers(0, 10**8), st.integers(1, 2_000))
def test_money_is_exact(volume: int, price: int) -> None:
    exact = math.floor(Fraction(volume * price, 100) + Fraction(1, 2))
    assert amount_of(np.array([volume]), np.array([price]))[0] == exact


def test_a_hurried_customer_does_not_dawdle() -> None:
    plan = station()
    booking = Booking(1, ORIGIN_US + DAY_US, 3.0, Purpose.CUSTOMER, Preset.NONE, flow_l_min=42.0, hurried=True)
    timeline, _ = make(
        stretch_of(plan, 0, ORIGIN_US),
        Stations(demand=0.1),
        1,
        first_carry(plan, 1, ORIGIN_US),
        (Booked(plan, booking),),
    )
    sales: Sales = timeline.sales
    row = int(np.flatnonzero((sales.nozzle == 1) & (sales.out_l == 3.0))[0])
    assert sales.start_us[row] - sales.lifted_us[row] == 2_000_000
    assert sales.flow_l_min[row] == pytest.approx(42.0, rel=0.02)
    assert sales.hung_us[row] - sales.lifted_us[row] < 20_000_000
