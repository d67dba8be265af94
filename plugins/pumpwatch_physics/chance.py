"""A nozzle that is short at customers chosen by chance: how much more its tank's blocks vary for it.

Whoever takes s of a filling from each customer with chance p takes s·p on average, and each filling strays from that
with variance κ = s²·p·(1−p). A remote's 27 % at every tenth customer is 2 % of what the nozzle shows, and one block has
8 % and the next none. The gauge's noise is small beside it, and whatever a neighbour sold at the right minutes seems to
explain the rest.

κ is learned of each nozzle that was claimed, from how much more than the noise its blocks differ from one to the next
(von Neumann 1941): a step that comes or goes differs once. It adds to the noise of that nozzle's error in a block, and
to the noise of all, for the neighbours' fillings lie between the same readings. A nozzle that is evenly short has no κ,
and its tank is weighed as ever, to the last bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch_physics.tank_model import SIZES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Floats32 = NDArray[np.float32]

FILLING_L: Final = 30.0
"""Usual."""
_UNEVEN: Final = 1.6
"""Variance of a block's error times its fillings, over κ: large fillings tell more, and those that overlap are one."""
_BETWEEN: Final = 4.0
"""By how much more than blocks a day's contrasts take up of κ: nothing of it is taken out block by block."""
LEVELS: Final = np.geomspace(5e-4, 3.2e-2, 7)
"""κ, which are tried."""
CONVINCED: Final = 4.0
"""Nats that κ must explain before it is believed."""
_FAR: Final = 36.0
"""Variances, beyond which a difference counts as if it were so strange."""
_CLEAN: Final = 0.1
"""Of a variance that is left at least when κ's part is taken out."""
BACK: Final = 112
"""Blocks that are remembered: a fortnight."""
_TAKEN, _OFTEN = np.array([0.03, 0.07, 0.2]), np.array([0.05, 0.1, 0.2, 0.3])
"""Of a filling, by the three keys of a remote, and from so many customers."""
_MEANS: Final = np.outer(_TAKEN, _OFTEN).ravel()
_STRAYS: Final = np.outer(_TAKEN**2, _OFTEN * (1.0 - _OFTEN)).ravel()
_LEAD: Final = 1.0
"""Nats by which a nozzle must explain more than another would that is short by chance."""


class Chance:
    """One tank with N nozzles. Each block is weighed before the filter is told of it, and seen after that."""

    def __init__(self, nozzles: int) -> None:
        self.level = np.zeros(nozzles)
        """(N,) κ of each nozzle; 0 of those that are not known to be short by chance."""
        self._told: dict[int, Floats] = {}
        """By nozzle that was claimed, (levels,) how much likelier each κ is than none, nats."""
        self._seen: list[Floats] = []
        """(4, N) of the last blocks: scores and information, as they were without κ, and ``noise``."""
        self._since_claim = 0
        """Blocks seen since then."""

    def noise(self, information: Floats32, litres: Floats32, readings: Floats32) -> Floats:
        """(…, 2, N) what κ adds to the variance of each nozzle's error in a block, and by what it multiplies all noise.

        Of G (…, p, p), litres (…, N) and the differences of readings (…,) of blocks. With n fillings and m differences
        the noise of each grows by κ·G·min(1/m, 1/n), less what is in the nozzle's error.
        """
        fillings = np.maximum(litres.astype(float) / FILLING_L, 1.0)
        count = np.maximum(readings.astype(float), 1.0)[..., None]
        own = np.einsum("...ii->...i", information)[..., : fillings.shape[-1]]
        error = _UNEVEN / fillings
        rest = np.maximum(np.minimum(1.0 / count, 1.0 / fillings) - error / count, 0.0)
        noise: Floats = np.stack((error, own * rest), axis=-2)
        return noise

    def weighed(self, scores: Floats, information: Floats, noise: Floats) -> tuple[Floats, Floats]:
        """A block's S (p,) and G (p, p) as they tell of errors that last; ``noise`` (2, N) is its."""
        those = np.flatnonzero(self.level).tolist()
        if not those:
            return scores, information
        for nozzle in those:
            column = information[:, nozzle]
            if column[nozzle] > 0.0:
                taken = 1.0 / (1.0 / (self.level[nozzle] * noise[0, nozzle]) + column[nozzle])
                scores = scores - column * (scores[nozzle] * taken)
                information = information - np.outer(column, column * taken)
        more = 1.0 + float(self.level @ noise[1])
        return scores / more, information / more

    def contrasted(self, information: Floats, litres: Floats, readings: float) -> Floats:
        """(N,) by what a day's contrasts within each nozzle vary more for what the other nozzles do by chance.

        ``information`` (p, p), ``litres`` (N,) and ``readings`` are the day's.
        """
        most = np.minimum(1.0 / max(readings, 1.0), FILLING_L / np.maximum(litres, FILLING_L))
        more = _BETWEEN * self.level * np.diag(information)[: len(most)] * most
        varied: Floats = 1.0 + more.sum() - more
        return varied

    def see(self, num: Floats, den: Floats, noise: Floats) -> None:
        """What the filter made of a block that was weighed so: (N,) scores and information of each nozzle's error."""
        if self.level.any():
            less = np.maximum(1.0 - self.level * noise[0] * den, _CLEAN) / (1.0 + float(self.level @ noise[1]))
            num, den = num / less, den / less
        self._seen = [*self._seen[-BACK:], np.concatenate(((num, den), noise))]
        self._since_claim = min(self._since_claim + 1, BACK)
        for nozzle in self._told:
            self._learn(nozzle, 1)

    def claimed(self, nozzle: int, blocks: int) -> None:
        """A nozzle is short, and was in the last so many blocks."""
        if nozzle not in self._told:
            self._told[nozzle] = np.zeros(len(LEVELS))
            self._learn(nozzle, min(blocks, BACK))
        self._since_claim = 0

    def _learn(self, nozzle: int, blocks: int) -> None:
        """From the last so many differences between one block and the next."""
        error, alone, own, rest = (each[:, nozzle] for each in self._last(blocks + 1))
        both = (alone[1:] > 0.0) & (alone[:-1] > 0.0)
        if not both.any():
            return
        apart, variance = np.diff(error)[both], (alone[1:] + alone[:-1])[both]
        grown = own + alone * rest
        ratio = 1.0 + LEVELS * ((grown[1:] + grown[:-1])[both] / variance)[:, None]
        square = np.minimum(apart**2 / variance, _FAR)[:, None]
        told = self._told[nozzle]
        told += (0.5 * (square - square / ratio - np.log(ratio))).sum(axis=0)
        likely = np.exp(told - told.max())
        nats = float(told.max()) + math.log(float(likely.mean()))
        self.level[nozzle] = float(likely @ LEVELS / likely.sum()) if nats > CONVINCED else 0.0

    def _last(self, blocks: int) -> tuple[Floats, Floats, Floats, Floats]:
        """(blocks, N) each of the last: error, its variance (0 where nothing is known), and ``noise``."""
        num, den, own, rest = np.array(self._seen[-blocks:]).swapaxes(0, 1)
        variance = np.divide(1.0, den, out=np.zeros_like(den), where=den > 0.0)
        return num * variance, variance, own, rest

    def is_contested(self, nozzle: int, blocks: int) -> bool:
        """Whether another nozzle that is short by chance explains as much as this one, short for so many blocks.

        Each is judged by itself, by all beginnings since the last claim.
        """
        if blocks > self._since_claim:
            return False
        error, alone, own, rest = (each[::-1] for each in self._last(self._since_claim))
        known = alone > 0.0
        alone = np.where(known, alone, 1.0)
        mine, others = (
            _summed(np.where(known, error, 0.0), alone, np.where(known, own, 0.0), np.where(known, rest, 0.0), *each)
            for each in ((SIZES, np.zeros(len(SIZES))), (_MEANS, _STRAYS))
        )
        best = max(mine[nozzle], others[nozzle])
        return bool((np.delete(others, nozzle) > best - _LEAD).any())


def _summed(error: Floats, alone: Floats, own: Floats, rest: Floats, means: Floats, strays: Floats) -> Floats:
    """(N,) log likelihood ratios against honesty, averaged over means and κ, summed over when it began.

    The first four (blocks, N) are those of ``Chance``, latest block first.
    """
    mean, stray = means[:, None, None], strays[:, None, None]
    ratio = 1.0 + stray * (rest + own / alone)
    told = 0.5 * (error**2 / alone - (error - mean) ** 2 / alone / ratio - np.log(ratio))
    told[:, own == 0.0] = 0.0
    summed: Floats = np.logaddexp.reduce(np.cumsum(told, axis=1), axis=(0, 1)) - math.log(len(means))
    return summed
