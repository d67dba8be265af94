"""Height and volume of a horizontal cylindrical tank with flat ends, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pumpwatch_sim.world.timeline import Floats


@dataclass(frozen=True, slots=True)
class Cylinder:
    """A lying cylinder; the heights count from its lowest line."""

    diameter_mm: float
    length_mm: float

    @property
    def capacity_l(self) -> float:
        """Litres when full."""
        return math.pi / 4.0 * self.diameter_mm**2 * self.length_mm / 1e6

    def volume_l(self, height_mm: float) -> float:
        """Litres below ``height_mm``; heights outside the tank count as empty or full."""
        radius = self.diameter_mm / 2.0
        height = min(max(height_mm, 0.0), self.diameter_mm)
        angle = 2.0 * math.acos((radius - height) / radius)
        return radius * radius / 2.0 * (angle - math.sin(angle)) * self.length_mm / 1e6

    def height_mm(self, volume_l: float) -> float:
        """The height at which ``volume_l`` stands: the inverse of :meth:`volume_l` to better than 1e-6 mm."""
        share = min(max(volume_l / self.capacity_l, 0.0), 1.0)
        # The central angle a of the wetted segment solves a - sin a = 2 pi share; Newton inside a shrinking bracket.
        target, low, high = math.tau * share, 0.0, math.tau
        angle = math.pi
        for _ in range(60):
            error = angle - math.sin(angle) - target
            if abs(error) < 1e-13:
                break
            low, high = (angle, high) if error < 0.0 else (low, angle)
            slope = 1.0 - math.cos(angle)
            step = angle - error / slope if slope > 1e-12 else math.inf
            angle = step if low < step < high else (low + high) / 2.0
        return self.diameter_mm / 2.0 * (1.0 - math.cos(angle / 2.0))


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A strapping chart: volume over height, linear between its points."""

    height_mm: Floats
    """(n,) rising from 0."""
    volume_l_at: Floats
    """(n,) rising from 0."""

    @property
    def capacity_l(self) -> float:
        """Litres when full."""
        return float(self.volume_l_at[-1])

    def volume_l(self, height_mm: Floats) -> Floats:
        """Litres below these heights; heights outside the chart count as empty or full."""
        return np.interp(height_mm, self.height_mm, self.volume_l_at)

    def height_mm_of(self, volume_l: Floats) -> Floats:
        """The heights at which these volumes stand."""
        return np.interp(volume_l, self.volume_l_at, self.height_mm)
