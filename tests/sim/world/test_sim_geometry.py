"""Tank geometry against the textbook formula, against fine sums and against itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch_sim.world.geometry import Chart, Cylinder, strapped

TANK = Cylinder(diameter_mm=2500.0, length_mm=6112.0)
HEIGHTS = np.linspace(0.0, 2500.0, 801)


def test_full_half_and_empty() -> None:
    full = math.pi * 1.25**2 * 6.112 * 1000
    assert TANK.capacity_l == pytest.approx(full)
    assert TANK.volume_l(2500.0) == pytest.approx(full)
    assert TANK.volume_l(1250.0) == pytest.approx(full / 2)
    assert TANK.volume_l(0.0) == TANK.volume_l(-5.0) == 0.0
    assert TANK.volume_l(9999.0) == pytest.approx(full)


def test_volume_is_the_segment_formula() -> None:
    r, h = 1250.0, 700.0
    segment = r * r * math.acos((r - h) / r) - (r - h) * math.sqrt(2 * r * h - h * h)
    assert TANK.volume_l(h) == pytest.approx(segment * 6112.0 / 1e6, rel=1e-12)


def test_height_is_the_inverse_from_bottom_to_top() -> None:
    for tenth_mm in (1, 5, 20, 300, 4_000, 12_500, 21_000, 24_950, 24_999):
        height = tenth_mm / 10
        assert TANK.height_mm(TANK.volume_l(height)) == pytest.approx(height, abs=1e-6)
    assert TANK.height_mm(0.0) == pytest.approx(0.0, abs=1e-6)
    assert TANK.height_mm(1e9) == pytest.approx(2500.0)


def test_a_mm_at_half_height_is_fifteen_litres() -> None:
    assert TANK.volume_l(1250.5) - TANK.volume_l(1249.5) == pytest.approx(15.28, abs=0.01)
    chart = strapped(2500.0, 6112.0, 400.0, 7.0, 1500.0)
    assert chart.volume_l(np.array([1250.5]))[0] - chart.volume_l(np.array([1249.5]))[0] == pytest.approx(15.4, abs=0.2)


def test_a_level_tank_with_flat_ends_is_the_cylinder() -> None:
    chart = strapped(2500.0, 6112.0)
    exact = [TANK.volume_l(height) for height in HEIGHTS.tolist()]
    assert chart.volume_l(HEIGHTS) == pytest.approx(exact, abs=0.2)
    assert chart.capacity_l == pytest.approx(TANK.capacity_l, rel=1e-12)


@pytest.mark.parametrize("height", [150.0, 600.0, 1250.0, 1900.0, 2400.0])
def test_dished_heads_and_a_tilt_agree_with_a_fine_sum(height: float) -> None:
    radius, length, head, tilt, probe = 1250.0, 6112.0, 400.0, 8.0, 1500.0
    half = (length - 4.0 / 3.0 * head) / 2.0
    edges = np.linspace(-half - head, half + head, 200_001)
    x = (edges[1:] + edges[:-1]) / 2.0
    into = np.maximum(np.abs(x) - half, 0.0) / head
    r = radius * np.sqrt(1.0 - into**2)
    depth = np.clip(height + tilt / 1000.0 * (x - probe) - (radius - r), 0.0, 2 * r)
    area = r**2 * np.arccos(1.0 - depth / r) - (r - depth) * np.sqrt(2.0 * r * depth - depth**2)
    summed = area.sum() * (edges[1] - edges[0]) / 1e6
    chart = strapped(2 * radius, length, head, tilt, probe)
    assert chart.volume_l(np.array([height]))[0] == pytest.approx(summed, rel=2e-4)
    # The probe stands near the low end: by its height the tank holds less than it would if it lay level.
    assert summed < strapped(2 * radius, length, head).volume_l(np.array([height]))[0]


@given(tilt=st.integers(-10, 10), head=st.sampled_from([0.0, 300.0, 450.0]), probe=st.sampled_from([0.0, 1500.0]))
def test_every_chart_rises_all_the_way_and_can_be_read_backwards(tilt: int, head: float, probe: float) -> None:
    chart = strapped(2500.0, 6112.0, head, float(tilt), probe)
    assert len(chart.height_mm) > 1_000
    assert chart.volume_l_at[0] == 0.0
    assert np.diff(chart.volume_l_at).min() > 0.0
    assert chart.capacity_l == pytest.approx(TANK.capacity_l, rel=1e-12)
    assert chart.height_mm_of(chart.volume_l(HEIGHTS)) == pytest.approx(HEIGHTS, abs=1e-6)


def rise(chart: Chart, low: float, high: float) -> float:
    volumes = chart.volume_l(np.array([low, high]))
    return float(volumes[1] - volumes[0])


@given(scale=st.floats(-0.01, 0.01), bands=st.lists(st.floats(-0.008, 0.008), min_size=13, max_size=13))
def test_a_gauge_s_chart_errs_in_its_rise(scale: float, bands: list[float]) -> None:
    true = strapped(2500.0, 6112.0)
    gauge = true.misread(scale, np.array(bands))
    assert np.diff(gauge.volume_l_at).min() > 0.0
    assert gauge.volume_l_at[0] == 0.0
    for band, error in enumerate(bands):
        height = band * 2500.0 / 12
        low, high = max(height - 2.0, 0.0), min(height + 2.0, 2500.0)
        assert rise(gauge, low, high) / rise(true, low, high) - 1.0 == pytest.approx(scale + error, abs=2e-5)
    errors = gauge.volume_l_at[1:] / true.volume_l_at[1:] - 1.0
    assert scale + min(bands) - 1e-9 <= errors.min()
    assert errors.max() <= scale + max(bands) + 1e-9


def test_without_error_the_gauge_s_chart_is_the_true_one() -> None:
    true = strapped(2800.0, 8120.0, 450.0, -6.0, 2000.0)
    assert true.misread(0.0, np.zeros(13)).volume_l_at == pytest.approx(true.volume_l_at, rel=1e-12)
    assert true.misread(0.01, np.zeros(5)).capacity_l == pytest.approx(1.01 * true.capacity_l)
