"""Customers: when they come, what they want, and how demand, closures and bookings change it."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from pumpwatch.model import to_us
from pumpwatch_sim.county import build_county
from pumpwatch_sim.fleet import Stations
from pumpwatch_sim.world.people import day_factor, expected, wishes
from pumpwatch_sim.world.plans import County, StationKind, StationPlan
from pumpwatch_sim.world.prices import price_at
from pumpwatch_sim.world.timeline import Payment, Preset, Purpose
from pumpwatch_sim.world.work import Booking, Demand, Stretch, Wish

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
MONDAY = datetime(2026, 6, 28, 16, tzinfo=UTC)
"""Midnight on the county's clock, of a week without holidays."""
REAL = Stations()
FLAT = Stations(hours="flat")


@pytest.fixture(scope="module")
def county() -> County:
    return build_county(1, date(2026, 6, 1))


def stretch(station: StationPlan, number: int = 0, start: datetime = MONDAY) -> Stretch:
    start_us = to_us(start)
    begin_us = start_us + number * 7 * DAY_US
    return Stretch(station, number, begin_us, begin_us + 7 * DAY_US, start_us)


def week(station: StationPlan, settings: Stations = REAL, number: int = 0, start: datetime = MONDAY) -> Wish:
    return wishes(expected(stretch(station, number, start), settings), settings, 1)


def joined(parts: list[Wish]) -> Wish:
    return Wish(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Wish)})


@pytest.fixture(scope="module")
def all_of_a_week(county: County) -> Wish:
    return joined([week(station) for station in county.stations])


# ------------------------------------------------------------ expectation


def test_an_average_week_brings_what_the_nozzles_are_known_for(county: County) -> None:
    for station in county.stations[::5]:
        demand = expected(stretch(station), REAL)
        assert demand.sales_per_hour.shape == (len(station.nozzles), 168)
        assert demand.hour_us[0] == demand.stretch.start_us
        assert set(np.diff(demand.hour_us).tolist()) == {HOUR_US}
        daily = demand.sales_per_hour.sum(axis=1) / 7.0
        usual = np.array([nozzle.sales_per_day for nozzle in station.nozzles])
        assert daily / usual == pytest.approx(np.ones(len(usual)), abs=0.06)


@pytest.mark.parametrize("kind", StationKind)
def test_the_day_has_two_peaks_and_a_night(county: County, kind: StationKind) -> None:
    station = replace(county.stations[0], kind=kind)
    day = expected(stretch(station), REAL).sales_per_hour[0, :24]
    morning, noon, evening = day[6:11].max(), day[11:15].min(), day[15:20].max()
    assert noon < 0.85 * min(morning, evening)
    assert day[1:4].max() < 0.35 * day.max()
    flat = expected(stretch(station), FLAT).sales_per_hour[0]
    assert flat.min() > 0.7 * flat.max()
    assert flat[:24].tolist() == flat[144:].tolist()


def test_hours_that_begin_off_the_clock_take_from_both(county: County) -> None:
    station = county.stations[0]
    whole = expected(stretch(station), REAL).sales_per_hour
    shifted = expected(stretch(station, start=MONDAY + timedelta(minutes=15)), REAL).sales_per_hour
    assert shifted[:, 0] == pytest.approx(0.75 * whole[:, 0] + 0.25 * whole[:, 1])


def test_more_demand_brings_more_until_the_nozzles_are_taken(county: County) -> None:
    station = county.stations[0]
    one = expected(stretch(station), REAL).sales_per_hour
    few, twice, most = (
        expected(stretch(station), Stations(demand=demand)).sales_per_hour for demand in (0.1, 2.0, 20.0)
    )
    assert few.sum() == pytest.approx(0.1 * one.sum(), rel=0.15)
    assert 1.7 * one.sum() < twice.sum() < 2.0 * one.sum()
    assert 6 * one.sum() < most.sum() < 20 * one.sum()
    assert most.max() < 3600 / 85 * 1.2


def test_days_differ_by_weekday_and_holiday_within_bounds() -> None:
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(730)]
    for kind in StationKind:
        factors = np.array([day_factor(kind, day) for day in days])
        assert factors.min() >= 0.69
        assert factors.max() <= 2.5
        assert factors.mean() == pytest.approx(1.0, abs=0.08)
    assert day_factor(StationKind.HIGHWAY, date(2026, 10, 1)) == 2.5
    assert day_factor(StationKind.PORT, date(2026, 7, 5)) < 0.8
    assert day_factor(StationKind.PORT, date(2026, 7, 6)) > 1.0
    market = [day_factor(StationKind.VILLAGE, date(2026, 7, day)) for day in range(6, 11)]
    assert sum(factor > 1.1 for factor in market) == 1


# ------------------------------------------------------------ chance


def test_the_county_s_week_has_about_so_many_customers(county: County, all_of_a_week: Wish) -> None:
    usual = sum(nozzle.sales_per_day for station in county.stations for nozzle in station.nozzles)
    assert len(all_of_a_week) == pytest.approx(7 * usual, rel=0.06)
    assert 130_000 < len(all_of_a_week) < 200_000


def test_free_fillings_are_lognormal_about_thirty_litres(all_of_a_week: Wish) -> None:
    free = all_of_a_week.wanted_l[all_of_a_week.preset == Preset.NONE]
    assert free.mean() == pytest.approx(30.0, rel=0.01)
    assert free.std() / free.mean() == pytest.approx(0.5, rel=0.02)
    assert np.median(free) == pytest.approx(30.0 / np.sqrt(1.25), rel=0.01)
    assert free.min() >= 3.0
    assert free.max() <= 150.0


def test_a_third_keys_something_in(all_of_a_week: Wish) -> None:
    wish = all_of_a_week
    assert (wish.preset != Preset.NONE).mean() == pytest.approx(0.35, abs=0.01)
    assert set(wish.preset_value[wish.preset == Preset.NONE].tolist()) == {0}
    litres, money = wish.preset == Preset.LITRES, wish.preset == Preset.MONEY
    assert set(wish.preset_value[litres].tolist()) == {1_000, 2_000, 3_000}
    assert set(wish.preset_value[money].tolist()) == {10_000, 20_000, 30_000}
    assert wish.wanted_l[litres].tolist() == (wish.preset_value[litres] / 100).tolist()
    amount = np.round(wish.wanted_l[money] * 100) * wish.price[money] / 100
    assert abs(amount - wish.preset_value[money]).max() <= wish.price.max() / 200 + 1e-6
    hundredths = wish.wanted_l[money] * 100
    assert hundredths == pytest.approx(np.round(hundredths), abs=1e-9)


def test_payments_purposes_prices_and_hours(county: County, all_of_a_week: Wish) -> None:
    wish = all_of_a_week
    for payment, share in ((Payment.MOBILE, 0.7), (Payment.CARD, 0.2), (Payment.CASH, 0.1), (Payment.UNKNOWN, 0.0)):
        assert (wish.payment == payment).mean() == pytest.approx(share, abs=0.01)
    assert set(wish.purpose.tolist()) == {Purpose.CUSTOMER}
    assert not wish.booked.any()
    assert not wish.hurried.any()
    assert np.isnan(wish.flow_l_min).all()
    one = week(county.stations[4])
    assert one.local_hour.tolist() == ((one.arrival_us // HOUR_US + 8) % 24).tolist()
    assert one.price.tolist() == price_at(county.stations[4], one.nozzle, one.arrival_us).tolist()


def test_arrivals_follow_the_hours_and_are_in_order(county: County) -> None:
    station = county.stations[20]
    parts = [week(station, number=number) for number in range(8)]
    assert all(
        np.all(np.diff(part.nozzle * 7 * DAY_US + part.arrival_us - part.arrival_us.min()) >= 0) for part in parts
    )
    wish = joined(parts)
    assert wish.nozzle.min() == 0
    assert wish.nozzle.max() == len(station.nozzles) - 1
    rates = expected(stretch(station), REAL).sales_per_hour.sum(axis=0).reshape(7, 24).sum(axis=0)
    counts = np.bincount(wish.local_hour, minlength=24) / 8
    assert counts == pytest.approx(rates, rel=0.15, abs=8.0)
    first = stretch(station)
    assert parts[0].arrival_us.min() >= first.start_us
    assert parts[0].arrival_us.max() < first.end_us


def test_the_same_seed_brings_the_same_people_and_another_brings_others(county: County) -> None:
    demand = expected(stretch(county.stations[0]), REAL)
    one, same, other = wishes(demand, REAL, 1), wishes(demand, REAL, 1), wishes(demand, REAL, 2)
    for f in fields(Wish):
        assert np.array_equal(getattr(one, f.name), getattr(same, f.name), equal_nan=f.name == "flow_l_min")
    assert len(one) != len(other) or one.arrival_us.tolist() != other.arrival_us.tolist()
    again, later = week(county.stations[0]), week(county.stations[0], number=1)
    assert again.arrival_us.tolist() == one.arrival_us.tolist()
    assert (later.arrival_us - 7 * DAY_US)[:50].tolist() != one.arrival_us[:50].tolist()


# ------------------------------------------------------------ what scenarios may change


@pytest.fixture
def demand(county: County) -> Demand:
    return expected(stretch(county.stations[2]), REAL)


def test_more_presets_other_presets_and_other_litres(demand: Demand) -> None:
    demand.preset_share[0, :] = 1.0
    demand.preset_share[1, :] = 0.0
    demand.preset_values[:] = [(Preset.MONEY, 20_000, 1.0)]
    demand.litres_factor[1, :] = 0.5
    wish = wishes(demand, REAL, 1)
    assert set(wish.preset_value[wish.nozzle == 0].tolist()) == {20_000}
    assert set(wish.preset[wish.nozzle == 1].tolist()) == {Preset.NONE}
    assert wish.wanted_l[wish.nozzle == 1].mean() == pytest.approx(15.0, rel=0.12)


def test_nobody_comes_to_a_closed_nozzle_unless_booked(demand: Demand) -> None:
    start_us = demand.stretch.start_us
    shut = (start_us + DAY_US, start_us + 3 * DAY_US)
    before = wishes(demand, REAL, 1)
    demand.closed.append((1, *shut))
    demand.bookings.append(Booking(1, shut[0] + HOUR_US, 10.0, Purpose.OWN_USE, Preset.NONE))
    wish = wishes(demand, REAL, 1)
    inside = (wish.nozzle == 1) & (wish.arrival_us >= shut[0]) & (wish.arrival_us < shut[1])
    assert wish.purpose[inside].tolist() == [Purpose.OWN_USE]
    others = wish.take((wish.nozzle != 1) | (wish.arrival_us < shut[0]) | (wish.arrival_us >= shut[1]))
    gone = (before.nozzle == 1) & (before.arrival_us >= shut[0]) & (before.arrival_us < shut[1])
    assert gone.sum() > 20
    assert others.arrival_us.tolist() == before.take(~gone).arrival_us.tolist()
    assert others.wanted_l.tolist() == before.take(~gone).wanted_l.tolist()


def test_bookings_come_as_they_are_booked_and_first_among_equals(demand: Demand) -> None:
    taken = int(wishes(demand, REAL, 1).arrival_us[0])
    nozzle = int(wishes(demand, REAL, 1).nozzle[0])
    demand.bookings += [
        Booking(nozzle, taken, 5.0, Purpose.TEST_DRAW, Preset.NONE, payment=Payment.UNKNOWN, flow_l_min=12.0),
        Booking(0, taken + DAY_US, 99.0, Purpose.CUSTOMER, Preset.LITRES, 2_000, Payment.CASH, hurried=True),
        Booking(1, taken + DAY_US, 99.0, Purpose.CUSTOMER, Preset.MONEY, 20_000),
    ]
    wish = wishes(demand, REAL, 1)
    rows = np.flatnonzero(wish.booked)
    assert len(rows) == 3
    assert (wish.nozzle[rows[0]], wish.arrival_us[rows[0]]) == (nozzle, taken)
    assert wish.arrival_us[rows[0] + 1] == taken
    assert wish.wanted_l[rows[0]] == 5.0
    assert wish.flow_l_min[rows[0]] == 12.0
    assert wish.payment[rows].tolist()[:2] == [Payment.UNKNOWN, Payment.CASH]
    assert wish.wanted_l[rows[1]] == 20.0
    assert wish.wanted_l[rows[2]] == pytest.approx(20_000 / wish.price[rows[2]], abs=0.005)
    assert wish.hurried[rows].tolist() == [False, True, False]


def test_without_demand_nobody_comes(demand: Demand) -> None:
    demand.sales_per_hour[:] = 0.0
    wish = wishes(demand, REAL, 1)
    assert len(wish) == 0
    demand.bookings.append(Booking(0, demand.stretch.start_us, 7.5, Purpose.COVERT_TEST, Preset.NONE))
    assert wishes(demand, REAL, 1).wanted_l.tolist() == [7.5]
