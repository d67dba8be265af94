"""own_use: a generator and a van are quiet, customers booked as own use are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import numpy as np
import pytest
import worlds

from pumpwatch.testing.rules import cut_invariant
from pumpwatch_tax.own_use import OwnUse, OwnUseSettings, poisson_limit
from pumpwatch_tax.periods import DAY_US, HOUR_US


@pytest.mark.parametrize("percent", [5.0, 10.0, 60.0])
def test_t11_is_found(percent):
    past, (item,) = worlds.world("T11", days=42, percent=percent)
    found = worlds.judged(past, OwnUse)
    onset = datetime.fromisoformat(item["onset"])
    assert onset < found[0].detected_at <= onset + timedelta(days=7)
    assert {(f.cause, f.subject.key) for f in found} == {(item["cause"], item["subject"]["station_id"])}
    assert found[-1].estimate.low <= percent <= found[-1].estimate.high
    assert len(found) <= 1 + 22 / 7 + 3
    assert sum(len(c.x) for c in found[-1].figures[0].curves) <= 400


@pytest.mark.parametrize("litres", [5, 50, 150])
def test_h10_is_quiet(litres):
    past, _ = worlds.world("H10", days=42, litres_per_day=litres)
    assert past.sales.is_paid("own_use").any()
    assert worlds.judged(past, OwnUse) == []


def booked(past, times_a_day, seed=1, same=False):
    """A station that books so many of its fillings a day, on the average, as own use."""
    dice = np.random.default_rng(seed)
    days = (past.end - past.start) / timedelta(days=1)
    rows = dice.choice(len(past.sales), round(times_a_day * days), replace=False)
    payment = past.sales.payment.copy()
    payment[rows] = len(past.sales.payments)
    litres = past.sales.volume_l.copy()
    if same:
        litres[rows] = 40.0
    sales = replace(past.sales, payment=payment, volume_l=litres, payments=(*past.sales.payments, "own_use"))
    return replace(past, sales=sales)


@pytest.mark.parametrize("seed", range(4))
def test_an_own_van_at_any_hour_is_quiet(seed):
    past, _ = worlds.world(days=42)
    assert worlds.judged(booked(past, 0.5, seed), OwnUse) == []


def test_five_a_day_are_too_many_and_the_limit_is_a_setting():
    past = booked(worlds.world(days=42)[0], 5.0)
    assert worlds.judged(past, OwnUse)
    assert worlds.judged(past, OwnUse, allowed_per_day=6.0, allowed_in_all_per_day=8.0) == []


def daily(past, litres):
    """A station that books one filling of so many litres, at the same hour of each day, as own use."""
    day, hour = divmod(past.sales.end_us + 8 * HOUR_US, DAY_US)
    _, rows = np.unique(np.where(hour >= 10 * HOUR_US, day, -1), return_index=True)
    rows = rows[1:]
    volume, payment = past.sales.volume_l.copy(), past.sales.payment.copy()
    volume[rows], payment[rows] = litres, len(past.sales.payments)
    sales = replace(past.sales, payment=payment, volume_l=volume, payments=(*past.sales.payments, "own_use"))
    return replace(past, sales=sales)


def test_one_filling_a_day_that_no_van_holds():
    past = worlds.world(days=42)[0]
    found = worlds.judged(daily(past, 1_900.0), OwnUse)
    assert found[0].detected_at < past.start + timedelta(days=3)
    assert {f.evidence[0].data["counted"] for f in found} == {"litres"}
    assert all(0.0 <= f.estimate.low < 23.0 < f.estimate.value < f.estimate.high for f in found[1:])
    assert worlds.judged(daily(past, 225.0), OwnUse) == []
    assert worlds.judged(daily(past, 1_900.0), OwnUse, allowed_l_per_day=2_000.0) == []
    dice = Random(5)
    cuts = [past.start + dice.random() * (past.end - past.start) for _ in range(4)]
    assert cut_invariant(OwnUse(OwnUseSettings()), daily(past, 300.0), cuts)


def test_without_payments_nothing_is_said():
    past, _ = worlds.world("T11", days=42)
    blank = replace(past.sales, payment=np.full(len(past.sales), -1, np.int16), payments=())
    assert worlds.judged(replace(past, sales=blank), OwnUse) == []


@pytest.mark.parametrize(("mean", "chance", "limit"), [(1.0, 1e-2, 5), (1.0, 1e-7, 11), (7.0, 1e-7, 26)])
def test_poisson_limit(mean, chance, limit):
    dice = np.random.default_rng(1).poisson(mean, 1_000_000)
    assert poisson_limit(mean, chance) == limit
    assert (dice >= limit).mean() <= 2.0 * chance + 3e-6
    assert (dice >= limit - 3).mean() > chance


@pytest.mark.parametrize(("mean", "chance", "low", "high"), [(840.0, 1e-7, 990, 1_005), (1.0, 1e-20, 21, 24)])
def test_poisson_limit_of_many_and_of_little_chance(mean, chance, low, high):
    assert low <= poisson_limit(mean, chance) <= high


def test_where_it_is_cut_does_not_matter():
    past = booked(worlds.world(days=42)[0], 4.0)
    dice = Random(4)
    cuts = [past.start + dice.random() * (past.end - past.start) for _ in range(6)]
    assert len(cut_invariant(OwnUse(OwnUseSettings()), past, cuts)) > 3
