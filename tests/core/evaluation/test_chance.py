"""Intervals against published values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.evaluation.chance import poisson_interval, poisson_upper, quantile, share_interval


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.689), (1, 0.025, 5.572), (5, 1.623, 11.668), (20, 12.217, 30.888), (100, 81.364, 121.627)],
)
def test_poisson_limits(count: int, low: float, high: float) -> None:
    """Garwood's exact limits."""
    assert poisson_interval(count) == pytest.approx((low, high), abs=6e-4)


def test_none_seen_allows_three() -> None:
    assert poisson_upper(0) == pytest.approx(2.9957, abs=1e-4)
    assert 100.0 * poisson_upper(0) / 300.0 == pytest.approx(1.0, abs=0.002)


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (9, 10, 0.5550, 0.9975),
        (1, 1, 0.025, 1.0),
        (50, 100, 0.3983, 0.6017),
    ],
)
def test_clopper_and_pearson(hits: int, of: int, low: float, high: float) -> None:
    assert share_interval(hits, of) == pytest.approx((low, high), abs=1e-4)


def test_nothing_says_nothing() -> None:
    assert share_interval(0, 0) == (0.0, 1.0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)), abs=1e-6)
