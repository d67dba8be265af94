"""How a nozzle's blocks fit one step: evenly, as a ramp, or by fits and starts.

Of each block there are the score and the information of a step that began with it (``Filter.latest``): their quotient
is the step's size by that block alone, of variance one over the information.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch_physics.blocks import BLOCKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_DRIFT_LEAST_DAYS: Final = 14
"""No meter wears sooner."""
_DRIFT_NATS: Final = 1.0
_PRIOR: Final = 8.0
"""Blocks that are taken as seen before the first, when it is reckoned how unevenly they differ."""


def is_drift(blocks: Floats) -> bool:
    """Whether an error that grows evenly explains (blocks, 2) clearly better than one that jumped."""
    step = ramp = 0.0
    for first in range(0, len(blocks), BLOCKS):
        num, den = blocks[first:].T
        step = max(step, float(num.sum()) ** 2 / max(float(den.sum()), 1e-9) / 2.0)
        if len(num) < _DRIFT_LEAST_DAYS * BLOCKS:
            continue
        growth = np.linspace(0.0, 1.0, len(num))
        ramp = max(ramp, float(growth @ num) ** 2 / max(float(growth**2 @ den), 1e-9) / 2.0)
    return ramp > step + _DRIFT_NATS


def unevenness(blocks: Floats) -> float:
    """The variance of what one step of (blocks, 2) leaves over that of its noise, drawn to 1; never less than 1.

    A nozzle that is short at some hours or to some customers, as long as that lasts, differs from block to block by
    more than noise does, and whichever nozzle sold much then explains it best: nats promise more than they hold.
    """
    num, den = blocks[blocks[:, 1] > 0.0].T
    if not len(num):
        return 1.0
    left = num - num.sum() / den.sum() * den
    return max((float((left**2 / den).sum()) + _PRIOR) / (len(num) - 1.0 + _PRIOR), 1.0)
