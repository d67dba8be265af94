"""How warm a tank's fuel is and how dense: it follows the ground, and every delivery mixes in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch_sim.world.fluids import ground_c

if TYPE_CHECKING:
    from pumpwatch_sim.world.timeline import Drop, Floats, Ints

_HOUR_US = 3_600_000_000


class Warmth:
    """Of one tank over one stretch; deliveries are mixed in one after the other."""

    def __init__(self, start_us: int, end_us: int, temperature_c: float, density_20c: float, hours: float) -> None:
        """``hours``: in which a difference from the ground falls to a third."""
        self._tau_us = hours * _HOUR_US
        edges = np.array([start_us, end_us], np.int64)
        self._edges_us, self._edges_c = edges, ground_c(edges)
        # From each time on: by how much the fuel is warmer than the ground, and its density.
        self._since = [(start_us, temperature_c - float(self._edges_c[0]), density_20c)]
        self._mixing: list[tuple[int, int]] = []

    def at(self, at_us: int) -> float:
        """°C; at a time after all that has been mixed in."""
        since_us, excess_c, _ = self._since[-1]
        return self._ground(at_us) + excess_c * math.exp(-max(at_us - since_us, 0) / self._tau_us)

    @property
    def density_20c(self) -> float:
        """kg/m³ at 20 °C, after all that has been mixed in."""
        return self._since[-1][2]

    def mix(self, drop: Drop, stock_20c_l: float) -> None:
        """Let a delivery into so much fuel."""
        came = drop.litres_20c / max(stock_20c_l + drop.litres_20c, 1.0)
        mixed_c = self.at(drop.end_us) * (1.0 - came) + drop.temperature_c * came
        density = self.density_20c * (1.0 - came) + drop.density_20c * came
        self._since.append((drop.end_us, mixed_c - self._ground(drop.end_us), density))
        self._mixing.append((drop.start_us, drop.end_us))

    def course(self) -> tuple[Ints, Floats, Floats]:
        """Times at most an hour apart, °C and density at 20 °C; all linear in between."""
        start_us, end_us = self._edges_us.tolist()
        hours = np.arange(start_us, end_us + _HOUR_US, _HOUR_US, dtype=np.int64)
        hours[-1] = end_us
        keep = np.ones(len(hours), bool)
        for from_us, until_us in self._mixing:
            keep &= (hours <= from_us) | (hours >= until_us)
        edges = np.array([edge for span in self._mixing for edge in span], np.int64)
        at_us = np.unique(np.concatenate((hours[keep], edges)))
        since_us, excess_c, density = (np.array(column) for column in zip(*self._since, strict=True))
        part = np.maximum(np.searchsorted(since_us, at_us, side="right") - 1, 0)
        ground = np.interp(at_us, self._edges_us, self._edges_c)
        warm = ground + excess_c[part] * np.exp(-(at_us - since_us[part]) / self._tau_us)
        return at_us, warm, density[part]

    def _ground(self, at_us: int) -> float:
        return float(np.interp(at_us, self._edges_us, self._edges_c))
