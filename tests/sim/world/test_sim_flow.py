"""The course of one filling: the plateau, the slow end, and the exact inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch_sim.world.flow import duration_s, progress_l, rate_l_min

LITRES = st.floats(0.01, 400.0)
FLOW = st.floats(2.0, 120.0)


@given(litres=LITRES, flow=FLOW)
def test_it_ends_with_exactly_what_was_wanted_and_not_before(litres: float, flow: float) -> None:
    length = duration_s(litres, flow)
    assert progress_l(litres, flow, length) == litres
    assert progress_l(litres, flow, length + 5.0) == litres
    assert progress_l(litres, flow, 0.0) == progress_l(litres, flow, -1.0) == 0.0
    before = progress_l(litres, flow, length - 1e-3)
    assert before < litres
    assert litres - before < flow / 60.0 * 1e-3 + 1e-9
    assert rate_l_min(litres, flow, length) == rate_l_min(litres, flow, 0.0) == 0.0


@given(litres=LITRES, flow=FLOW)
def test_it_only_rises_and_never_faster_than_the_plateau(litres: float, flow: float) -> None:
    seconds = np.linspace(0.0, duration_s(litres, flow), 400)
    rises = np.diff(progress_l(litres, flow, seconds))
    assert rises.min() >= 0.0
    assert rises.max() <= flow / 60.0 * (seconds[1] - seconds[0]) * (1 + 1e-9) + 1e-12
    rates = rate_l_min(litres, flow, seconds)
    assert rates.min() >= 0.0
    assert rates.max() <= flow * (1 + 1e-12)


@pytest.mark.parametrize(("litres", "flow"), [(0.05, 35.0), (0.4, 40.0), (1.1, 35.0), (30.0, 42.0), (3.0, 4.0)])
def test_what_has_come_is_the_flow_added_up(litres: float, flow: float) -> None:
    seconds = np.linspace(0.0, duration_s(litres, flow), 40_001)
    added = np.sum(rate_l_min(litres, flow, (seconds[1:] + seconds[:-1]) / 2.0)) / 60.0 * (seconds[1] - seconds[0])
    assert added == pytest.approx(litres, rel=1e-4)


def test_a_filling_of_thirty_litres_by_hand() -> None:
    # 1.5 s up (0.525 L), 28.875 L evenly at 0.7 L/s, 0.6 L easing to 5 L/min, the last drops
    drops_l = 0.6 * 5.0 / 42.0
    by_hand = 1.5 + (30.0 - 0.525 - 0.6) / 0.7 + 0.6 / 0.7 * np.log(42.0 / 5.0) + drops_l / (5.0 / 60.0)
    assert duration_s(30.0, 42.0) == pytest.approx(by_hand, rel=1e-12)
    assert rate_l_min(30.0, 42.0, 20.0) == pytest.approx(42.0)
    assert rate_l_min(30.0, 42.0, 0.75) == pytest.approx(21.0)
    assert rate_l_min(30.0, 42.0, by_hand - 0.2) == pytest.approx(5.0)


def test_arrays_are_as_their_elements() -> None:
    litres, flow, seconds = np.array([0.2, 5.0, 60.0]), np.array([35.0, 30.0, 42.0]), np.array([1.0, 4.0, 70.0])
    for at in range(3):
        assert duration_s(litres, flow)[at] == duration_s(litres[at], flow[at])
        assert progress_l(litres, flow, seconds)[at] == progress_l(litres[at], flow[at], seconds[at])
        assert rate_l_min(litres, flow, seconds)[at] == rate_l_min(litres[at], flow[at], seconds[at])
    assert progress_l(5.0, 30.0, np.array([0.0, 99.0])).tolist() == [0.0, 5.0]


def test_no_litres_take_no_time() -> None:
    assert duration_s(0.0, 35.0) == 0.0
    assert progress_l(np.zeros(2), 35.0, np.array([0.0, 3.0])).tolist() == [0.0, 0.0]
    assert rate_l_min(0.0, 35.0, 1.0) == 0.0
