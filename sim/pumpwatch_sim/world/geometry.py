"""Height and volume of lying tanks: exactly for flat ends on level ground, as a strapping chart for real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pumpwatch_sim.world.timeline import Floats

CHART_STEPS = 1_250
"""A chart's points lie so finely that a straight line between them is right to 0.1 L at mid height."""
_SLICES = 24


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

    def misread(self, scale: float, bands: Floats) -> Chart:
        """The chart of a gauge whose every litre is ``1 + scale + band`` litres.

        ``bands`` are errors of the rise, as fractions, at heights evenly from bottom to top, smooth in between; it is
        the rise that a balance sees.
        """
        at = self.height_mm / self.height_mm[-1] * (len(bands) - 1)
        low = np.minimum(at.astype(np.int64), len(bands) - 2)
        blend = (1.0 - np.cos(np.pi * (at - low))) / 2.0
        error = scale + bands[low] * (1.0 - blend) + bands[low + 1] * blend
        rises = np.diff(self.volume_l_at) * (1.0 + (error[1:] + error[:-1]) / 2.0)
        return Chart(self.height_mm, np.concatenate(([0.0], np.cumsum(rises))))


@lru_cache(maxsize=1_024)
def strapped(
    diameter_mm: float, length_mm: float, head_mm: float = 0.0, tilt_mm_per_m: float = 0.0, probe_mm: float = 0.0
) -> Chart:
    """The true chart of a tank with dished (half-ellipsoid) heads that lies askew.

    ``length_mm`` is that of the flat-ended cylinder of equal capacity; the probe stands ``probe_mm`` from the middle
    towards the end that a positive tilt puts lower. What collects below the probe's zero fills the first millimetres of
    the chart, and the space above its top the last, so that the whole capacity is in it.
    """
    radius = diameter_mm / 2.0
    shell = length_mm - 4.0 / 3.0 * head_mm
    nodes, weights = np.polynomial.legendre.leggauss(_SLICES)
    # Heads: x = head sin(a) makes the integrand smooth up to the very end.
    angles = (nodes + 1.0) * np.pi / 4.0
    beyond, shares = head_mm * np.sin(angles), weights * np.pi / 4.0 * head_mm * np.cos(angles)
    along = np.concatenate((nodes * shell / 2.0, shell / 2.0 + beyond, -shell / 2.0 - beyond))
    width = np.concatenate((weights * shell / 2.0, shares, shares))
    radii = np.concatenate((np.full(_SLICES, radius), radius * np.cos(angles), radius * np.cos(angles)))
    heights = np.linspace(0.0, diameter_mm, CHART_STEPS + 1)
    level = heights[:, None] + tilt_mm_per_m / 1000.0 * (along - probe_mm) - (radius - radii)
    cosine = np.clip(1.0 - level / radii, -1.0, 1.0)
    segment = radii**2 * (np.arccos(cosine) - cosine * np.sqrt(1.0 - cosine**2))
    volume = segment @ width / 1e6
    volume[0], volume[-1] = 0.0, math.pi * radius**2 * length_mm / 1e6
    return Chart(heights, volume)
