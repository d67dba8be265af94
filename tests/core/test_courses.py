"""The median of few values is that of numpy, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.courses import median, medians


@given(st.lists(st.floats(-1e100, 1e100), max_size=12))
def test_the_median(values: list[float]) -> None:
    given_ = np.array(values)
    if not values:
        assert np.isnan(median(given_))
    else:
        np.testing.assert_array_equal(median(given_), np.median(given_))


@pytest.mark.parametrize("values", [[1.0, np.nan], [np.nan], [np.nan, np.nan, 2.0]])
def test_where_one_is_unknown_it_is_too(values: list[float]) -> None:
    assert np.isnan(median(np.array(values)))


@given(st.lists(st.lists(st.floats(-1e9, 1e9), max_size=12), max_size=30), st.booleans())
def test_the_medians_of_groups(groups: list[list[float]], lopsided: bool) -> None:
    groups = [*groups, [float(n) for n in range(500)]] if lopsided else groups
    edges = np.cumsum([0, *map(len, groups)])
    found = medians(np.array([value for group in groups for value in group]), edges)
    assert found.tolist() == pytest.approx([median(np.array(group)) for group in groups], rel=0.0, abs=0.0, nan_ok=True)


def test_what_is_unknown_counts_as_more_than_any_number() -> None:
    values = np.array([3.0, np.nan, 1.0, np.nan, np.nan, 2.0])
    for more in (0, 900):
        told = np.concatenate((values, np.zeros(more)))
        found = medians(told, np.array([0, 3, 6, *([6 + more] * (more > 0))]))
        assert found[:2].tolist() == pytest.approx([3.0, np.nan], nan_ok=True)
