"""Tank geometry against the textbook formula and against itself."""

from __future__ import annotations

import math

import pytest

from pumpwatch_sim.world.geometry import Cylinder

TANK = Cylinder(diameter_mm=2500.0, length_mm=6112.0)


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
