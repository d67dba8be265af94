"""The median of few values is that of numpy, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.courses import median


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
