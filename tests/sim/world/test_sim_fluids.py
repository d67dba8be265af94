"""Fuels, their swelling, and the warmth of air and ground."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.model import to_us
from pumpwatch_sim.world.fluids import PRODUCTS, air_c, at_20c, density_at, from_20c, ground_c

YEAR_US = to_us(datetime(2026, 1, 1, tzinfo=UTC)) + np.arange(0, 365 * 24) * 3_600_000_000


def test_products_are_within_their_standards() -> None:
    assert set(PRODUCTS) == {"92#", "95#", "98#", "0#"}
    for grade, product in PRODUCTS.items():
        petrol = grade != "0#"
        low, high = (720, 775) if petrol else (810, 850)
        assert low <= product.density_20c <= high
        low_b, high_b = (0.0011, 0.00125) if petrol else (0.00083, 0.00084)
        assert low_b <= product.expansion <= high_b
        assert 0 < product.vapour_loss <= (0.003 if petrol else 0.0008)


@given(litres=st.floats(0.0, 60_000.0), warm=st.floats(-30.0, 60.0), grade=st.sampled_from(sorted(PRODUCTS)))
def test_there_and_back_is_the_same_and_mass_stays(litres: float, warm: float, grade: str) -> None:
    product = PRODUCTS[grade]
    cold = at_20c(litres, warm, product.expansion)
    assert from_20c(cold, warm, product.expansion) == pytest.approx(litres, rel=1e-12)
    mass = litres * density_at(product.density_20c, warm, product.expansion)
    assert mass == pytest.approx(cold * product.density_20c, rel=1e-12)


def test_a_hot_load_of_petrol_shrinks_by_an_eighth_of_a_percent_a_degree() -> None:
    expansion = PRODUCTS["92#"].expansion
    assert 10_000.0 - at_20c(10_000.0, 35.0, expansion) == pytest.approx(183.0)
    assert at_20c(np.array([100.0]), np.array([20.0]), expansion).tolist() == [100.0]


def test_the_air_has_summer_and_winter_noon_and_night_and_weather() -> None:
    air = air_c(YEAR_US, 1)
    local = (YEAR_US // 3_600_000_000 + 8) % 24
    month = np.arange(365 * 24) // (30.5 * 24)
    assert air[month == 6].mean() > 18
    assert air[month == 0].mean() < -2
    assert 8 < air[local == 15].mean() - air[local == 4].mean() < 14
    daily = air.reshape(365, 24).mean(axis=1)
    season = np.convolve(daily, np.full(31, 1 / 31), mode="valid")
    assert 1.5 < (daily[15:-15] - season).std() < 6
    assert abs(np.diff(air)).max() < 3


def test_the_air_is_the_same_however_it_is_asked() -> None:
    few = YEAR_US[1000:1100:7]
    assert air_c(few, 1).tolist() == air_c(YEAR_US, 1)[1000:1100:7].tolist()
    assert air_c(few, 1).tolist() != air_c(few, 2).tolist()
    assert air_c(few[:0], 1).tolist() == []


def test_the_ground_is_late_and_mild() -> None:
    ground, air = ground_c(YEAR_US), air_c(YEAR_US, 1)
    assert 15 < ground.max() - ground.min() < 20
    assert ground.max() < air.max()
    assert 240 < ground.argmax() / 24 < 250
