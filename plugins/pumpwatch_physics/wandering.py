"""How much less than is assumed a tank's common loss wanders, learned from its own days.

Half of what tells of a short nozzle is that its tank as a whole loses more than before, and how much of that may be
honest the wander of the common loss says. What is assumed (``detection.md`` A3) holds for a tank of which nothing is
known; that of a calm one is half as large. So each tank's days are held against several wanders, a Kalman filter each,
of days instead of blocks, and the posterior over them says what is believed (Magill 1965).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch_physics.blocks import BLOCKS
from pumpwatch_physics.tank_model import model_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHARES: Final = np.array([0.4, 0.55, 0.75, 1.0])
"""Of the deviation that is assumed, what a tank's may be. Not more: of that noisy blocks tell sooner (``excess``)."""
_LIKELY: Final = np.array([0.1, 0.15, 0.2, 0.55])
"""How likely each is beforehand."""
_MOST: Final = 1.5
"""Nats by which a day may tell against a wander: a day with a fault in it tells of no wander."""


class Wandering:
    """One tank with N nozzles; W wanders. Days must be told in order."""

    def __init__(self, nozzles: int) -> None:
        self.nozzles = nozzles
        variance = model_of(nozzles).variance
        self._nats = np.log(_LIKELY)
        """(W,) of each wander, up to a constant."""
        self._state = np.zeros((len(SHARES), len(variance)))
        self._covariance = np.tile(np.diag(variance), (len(SHARES), 1, 1))
        self._covariance[:, 1, 1] *= SHARES**2

    @property
    def share(self) -> float:
        """Of the deviation that is assumed, what this tank's is: the root of the mean square."""
        likely = np.exp(self._nats - self._nats.max())
        return math.sqrt(float(likely @ SHARES**2 / likely.sum()))

    def tell(self, scores: Floats, information: Floats, assumed_sd: float) -> None:
        """The next day's S (p,) and G (p, p), and the deviation of the wander that is assumed, a share."""
        self._wander(assumed_sd)
        told = np.flatnonzero(information.any(axis=0))
        if not len(told):
            return
        known, observed = information[told[:, None], told], model_of(self.nozzles).observed.mean(axis=0)[told]
        mean, reach = self._state @ observed.T, observed @ self._covariance
        prior = reach @ observed.T
        surprise = scores[told] - mean @ known
        mixed = known @ prior + np.eye(len(told))
        given = np.concatenate((surprise[:, :, None], np.broadcast_to(known, prior.shape)), axis=2)
        solved = np.linalg.solve(mixed, given)
        pull = solved[:, :, 0]
        nats = mean @ scores[told] - np.einsum("wk,kl,wl->w", mean, known, mean) / 2.0
        nats += np.einsum("wk,wkl,wl->w", surprise, prior, pull) / 2.0 - np.linalg.slogdet(mixed)[1] / 2.0
        self._nats = self._nats + np.maximum(nats - nats.max(), -_MOST)
        self._state = self._state + np.einsum("wkn,wk->wn", reach, pull)
        self._covariance = self._covariance - reach.transpose(0, 2, 1) @ (solved[:, :, 1:] @ reach)

    def _wander(self, assumed_sd: float) -> None:
        """A day passes."""
        model = model_of(self.nozzles)
        keeps = model.keeps**BLOCKS
        gained = np.tile(model.noise * BLOCKS, (len(SHARES), 1))
        gained[:, 1] = (assumed_sd * SHARES) ** 2 * (1.0 - keeps[1] ** 2)
        self._state = self._state * keeps
        self._covariance = self._covariance * (keeps[:, None] * keeps)
        self._covariance.reshape(len(SHARES), -1)[:, :: len(keeps) + 1] += gained  # a view: the diagonals

    def loosen(self, place: int, sd: float) -> None:
        """The state at ``place`` may be so far from where it was."""
        self._covariance[:, place, place] += sd**2
