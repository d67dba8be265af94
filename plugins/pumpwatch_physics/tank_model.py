"""What a tank's balance is made of: its states, what is known of them beforehand, and the faults that may step in.

States (of a Kalman filter, which is told each block's S and G): the common loss of all nozzles (a constant and a
wander), each nozzle's error (a constant and a wander), the leak, the error of the chart in each band, and the hours of
the day, at which the meters are warmer or colder than the tank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch_physics.blocks import BANDS, BLOCKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SIZES: Final = np.array([0.004, 0.006, 0.009, 0.013, 0.02, 0.03, 0.05, 0.08])
"""Of a step of a nozzle's error, as a share."""
_LIKELY: Final = np.array([0.09, 0.28, 0.17, 0.09, 0.17, 0.11, 0.07, 0.02])
"""How likely each size is beforehand. Whoever is careful takes little, and little needs the nats most; what is
documented takes 2 to 4 %."""
TANK_SIZES: Final = np.array([0.008, 0.01, 0.013, 0.016, 0.02, 0.03, 0.05, 0.08])
"""Of a step of all nozzles: smaller ones are honest wander of the common loss."""
LEAKS_L_H: Final = np.array([0.3, 0.45, 0.6, 0.8, 1.1, 1.5, 2.5, 5.0])
"""Of a leak (0.1, 0.2 and 0.5 gallons an hour are 0.38, 0.76 and 1.9 L/h)."""
_LEAKS_LIKELY: Final = np.array([0.1, 0.15, 0.2, 0.2, 0.15, 0.1, 0.07, 0.03])
"""How likely each leak is beforehand."""
COMMON_MEAN_SD: Final = 0.006
"""Of the constant common loss: vapour, chart scale and line temperature (``detection.md`` A3)."""
METER_MEAN_SD: Final = 0.0015
"""Of a nozzle's constant error: honest meters lie within ±0.3 %."""
METER_SD, METER_TAU_DAYS = 0.0005, 60.0
"""Of the wander of a nozzle's error (A3)."""
COMMON_SD, COMMON_TAU_DAYS = 0.001, 10.0
"""Of the wander of the common loss (A3)."""
USUAL_NOISE_L: Final = 3.0
"""Of one reading of a gauge with which the common loss wanders by ``COMMON_SD``."""
_BY_NOISE: Final = 0.65
"""Powers of the noise with which it wanders more: 0.2 % at 8 L (``detection.md`` B3)."""
SEASON_SD, SEASON_TAU_DAYS = 0.0003, 90.0
"""Of the season's, in the common constant: line temperature and vapour."""
HOURS_SD: Final = 0.0006
"""Of what the hour of the day does: 6 °C between noon and night, a tenth of it in the meter, 0.12 % for each."""
LEAK_SD_L_H: Final = 0.15
CHART_SD: Final = 0.003
FIXED: Final = 5
"""States before the nozzles': common constant, common wander, leak, two for the hours."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What never changes of a tank with N nozzles: n states, p coefficients of a block, N + 2 faults."""

    observed: Floats
    """(BLOCKS, p, n) what a block's coefficients are of the states, by its hour of the day."""
    variance: Floats
    """(n,) of the states before anything is told."""
    keeps: Floats
    """(n,) by what states keep of themselves in a block."""
    kept: Floats
    """(n, n) by what their covariance does."""
    noise: Floats
    """(n,) the variances they gain in a block."""
    wander: Floats
    """(n,) of it those of the wanders, of which there is more where a tank is noisy."""
    faults: Floats
    """(N + 2, p) what a fault of size 1 adds to the coefficients."""
    sizes: Floats
    """(N + 2, sizes) that steps of each fault may have."""
    likely: Floats
    """(N + 2, sizes) how likely each is beforehand."""


def common_sd(noise_l: float) -> float:
    """Of the wander of the common loss, a share: a gauge that is bad at its level is bad at what warmth does to it."""
    return COMMON_SD * math.pow(max(noise_l / USUAL_NOISE_L, 1.0), _BY_NOISE)


@cache
def model_of(nozzles: int) -> Model:
    """Of a tank with so many; made once."""
    n, p = FIXED + 2 * nozzles + BANDS, nozzles + 1 + BANDS
    each, band = np.arange(nozzles), np.arange(BANDS)
    observed = np.zeros((BLOCKS, p, n))
    observed[:, :nozzles, :2] = 1.0
    observed[:, each, FIXED + each] = observed[:, each, FIXED + nozzles + each] = 1.0
    observed[:, nozzles, 2] = 1.0
    observed[:, nozzles + 1 + band, FIXED + 2 * nozzles + band] = 1.0
    for block in range(BLOCKS):
        angle = 2.0 * math.pi * (block + 0.5) / BLOCKS
        observed[block, :nozzles, 3], observed[block, :nozzles, 4] = math.cos(angle), math.sin(angle)
    days = 1.0 / BLOCKS
    keeps, variance, noise, wander = np.ones(n), np.empty(n), np.zeros(n), np.zeros(n)
    common, meter = slice(1, 2), slice(FIXED + nozzles, FIXED + 2 * nozzles)
    variance[0], variance[2], variance[3:5] = COMMON_MEAN_SD**2, LEAK_SD_L_H**2, HOURS_SD**2
    variance[FIXED : FIXED + nozzles], variance[FIXED + 2 * nozzles :] = METER_MEAN_SD**2, CHART_SD**2
    noise[0] = 2.0 * SEASON_SD**2 / SEASON_TAU_DAYS * days
    for which, sd, tau in ((common, COMMON_SD, COMMON_TAU_DAYS), (meter, METER_SD, METER_TAU_DAYS)):
        keeps[which], variance[which] = math.exp(-days / tau), sd**2
        noise[which] = sd**2 * (1.0 - math.exp(-2.0 * days / tau))
        wander[which] = noise[which]
    faults = np.zeros((nozzles + 2, p))
    faults[each, each] = 1.0
    faults[nozzles, :nozzles] = 1.0
    faults[nozzles + 1, nozzles] = 1.0
    sizes = np.repeat(SIZES[None], nozzles + 2, axis=0)
    sizes[nozzles], sizes[nozzles + 1] = TANK_SIZES, LEAKS_L_H
    likely = np.repeat(_LIKELY[None], nozzles + 2, axis=0)
    likely[nozzles + 1] = _LEAKS_LIKELY
    return Model(observed, variance, keeps, keeps[:, None] * keeps, noise, wander, faults, sizes, likely)
