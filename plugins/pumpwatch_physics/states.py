"""A tank's states followed block by block (``tank_model`` says which), and the search for a step in any of them.

A step that began at any time back to ``BACK_DAYS`` leaves a known signature in the filter's innovations (Willsky and
Jones 1976); its likelihood ratio is averaged over sizes and summed over times, so that no size or time need be chosen.

How noisy a tank is, its blocks tell: the mean square of their standardised innovations, drawn to 1 by a prior
(empirical Bayes). By what it is above 1, the ``excess``, everything of the tank is taken to wander more; decision 0020
has the measurements.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch_physics.blocks import BLOCKS
from pumpwatch_physics.tank_model import COMMON_SD, FIXED, USUAL_NOISE_L, Model, common_sd, model_of
from pumpwatch_physics.wandering import Wandering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

BACK_DAYS: Final = 60
_RECENT: Final = ((1.5, 1), (5, BLOCKS // 2), (20, BLOCKS), (BACK_DAYS, 2 * BLOCKS))
"""Up to so many days back every so-many-th block is a time at which a step may have begun."""
_RESTS_DAYS, _RESTS = 8.0, 0.5
"""In about so many days a step of the leak comes to be worth so much more than its blocks say: the level wanders back,
which they do not know. Without it honest steps of it deviated by 0.96, 0.85, 0.80, 0.75 after 1, 10, 20, 45 days."""
_RARER: Final = np.array([2.0, 3.0])
"""Nats by which a fault of the whole tank, and a leak, are less likely beforehand than one of a nozzle."""
_AGES: Final = [0, *(math.floor(days * BLOCKS) + 1 for days, _ in _RECENT)]
_THINNED: Final = tuple(zip(_AGES[1:], (*(every for _, every in _RECENT[1:]), 0), strict=True))
"""Ages in blocks at which times are thinned, and of which blocks on every so-many-th is kept then; in the end none."""
_MOST_TIMES: Final = sum((b - a) // every + 1 for (a, b), (_, every) in zip(pairwise(_AGES), _RECENT, strict=True))
_WORTH: Final = 5.0
"""Nats that the best single size and time must reach before the average over all is worth while."""
_SCALE_PRIOR: Final = 60.0
"""Standardised surprises of unit variance that are taken as seen before the first, when noise is learned."""
_MODEST: Final = 0.85
"""Of the log likelihood, by which a size is told: it was looked at because it was large, when it was found so. Without
it intervals of 95 % held 93 % of 563 true sizes, and 91 % of the large ones."""
STRANGE: Final = 4.6
"""Deviations, beyond which a block counts as if it were so strange: none alone is worth an alarm."""
_SUDDEN: Final = 3.5
"""Deviations, beyond which a part of a block counts as if it were so strange."""
_TOO_STRANGE: Final = 5.5
"""Deviations, beyond which a block that is alone does not tell which fillings are short."""
_AGAIN, _AGAIN_DAYS = 3, 14
"""What is strange alike for so many blocks within so many days is believed: a switch that is on at some hours."""
_SCALE_LEAST: Final = 0.6
_LATER: Final = 0.8
"""By so much of the excess days vary more again than blocks: the level wanders more than what was whitened."""
_WANDERING: Final = 2.4
"""Added to the variances of the wanders of the common loss and of the meters, times the excess."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How much one fault would explain."""

    fault: int
    """0 … N−1 a nozzle, N all nozzles, N+1 a leak."""
    rising: bool
    """More shown than given, or fuel lost; else the other way."""
    nats: float
    """Log of the likelihood ratio against honesty, averaged over sizes and summed over times."""
    since: int
    """The block in which it most likely began."""


@dataclass(frozen=True, slots=True)
class Sized:
    """How large a step is, given that there is one: the posterior over sizes and times."""

    value: float
    low: float
    high: float
    since: int
    """The most likely first block."""


@cache
def _fade(nozzles: int) -> Floats:
    """(times, N + 2, n + 2) by what is kept in a block of steps; so large because broadcasting takes longer."""
    return np.tile(np.append(model_of(nozzles).keeps, [1.0, 1.0]), (_MOST_TIMES, nozzles + 2, 1))


class Filter:
    """One tank. Blocks must be told in order; ``suspicions`` and ``size`` speak of all told so far."""

    def __init__(self, nozzles: int) -> None:
        self.nozzles = nozzles
        self.blocks = 0
        """Told so far."""
        variance = model_of(nozzles).variance
        self.state, self.covariance = np.zeros(len(variance)), np.diag(variance)
        self._surprises, self._seen = _SCALE_PRIOR, _SCALE_PRIOR
        self.noise_l = USUAL_NOISE_L
        """Of one reading."""
        self._wandering = Wandering(nozzles)
        width = model_of(nozzles).faults.shape[1]
        self._day_scores, self._day_information = np.zeros(width), np.zeros((width, width))
        """S and G of this day as far as it is told, as they were believed."""
        self._gained = np.zeros(len(variance))
        """(n,) the variances that the states gain in a block of this day."""
        self._before = 0.0
        """Deviations by which the last block was too strange to be believed alone; 0 for one that was not."""
        self._stranger: list[tuple[int, int]] = []
        """Of late: the block, and the fault with its sign."""
        self.unbelieved = 0
        """Blocks that were too strange and alone."""
        self._has_begun = False
        """The last of ``blocks``, and nothing is told of it yet."""
        self._since: list[int] = []
        """Blocks with which a fault may have begun, oldest first: the times."""
        self._steps = np.zeros((_MOST_TIMES, nozzles + 2, len(variance) + 2))
        """Of each time and fault: what the states have taken up of it (n), and num and den of its likelihood ratio.

        One array with room for all times that there may be: filled anew for each block, it took most of the time.
        """

    @property
    def observed(self) -> Floats:
        """(p, n) what the last block's coefficients were of the states."""
        observed: Floats = model_of(self.nozzles).observed[(self.blocks - 1) % BLOCKS]
        return observed

    @property
    def _num(self) -> Floats:
        """(times, faults)."""
        return self._steps[: len(self._since), :, -2]

    @property
    def _den(self) -> Floats:
        """(times, faults)."""
        return self._steps[: len(self._since), :, -1]

    def begin(self) -> None:
        """The next block, of which nothing is told yet; does nothing when it has begun."""
        if self._has_begun:
            return
        self._has_begun = True
        model, n = model_of(self.nozzles), len(self.state)
        if self.blocks % BLOCKS == 0:
            self._begin_day(model)
        if self.blocks:
            self.state = self.state * model.keeps
            self.covariance = self.covariance * model.kept
            self.covariance.reshape(-1)[:: n + 1] += self._gained  # a view: its diagonal
        self._thin(_fade(self.nozzles))
        self.blocks += 1

    @contextmanager
    def glimpsed(self, scores: Floats, information: Floats) -> Iterator[None]:
        """Inside, ``suspicions`` and ``size`` speak as if this were all of the block that has begun.

        What is strange of it is believed less than when it has ended.
        """
        told = np.flatnonzero(information.any(axis=0))
        if not len(told):
            yield
            return
        _, _, taken, _, _ = self._found(told, scores, information, _SUDDEN)
        before = self._steps[: len(self._since)].copy()
        self._steps.reshape(-1, before.shape[-1])[: len(taken)] += taken
        try:
            yield
        finally:
            self._steps[: len(before)] = before

    def tell(self, scores: Floats, information: Floats) -> None:
        """The next block's S (p,) and G (p, p)."""
        self.begin()
        self._has_begun = False
        told = np.flatnonzero(information.any(axis=0))
        if not len(told):
            return
        n, scale = len(self.state), self.scale
        reach, pull, taken, heed, deviations = self._found(told, scores, information, STRANGE)
        self._day_scores += scores * (scale * heed)
        self._day_information += information * (scale * heed)
        most = max(deviations, key=abs)
        if self._is_alone(most, deviations.index(most)):
            self.unbelieved += 1
        steps = self._steps.reshape(-1, n + 2)[: len(taken)]  # a view
        steps += taken
        self.state = self.state + pull[:, n] @ reach
        covariance = self.covariance - reach.T @ pull[:, :n]
        self.covariance = (covariance + covariance.T) / 2.0
        for num, den in taken[-self.nozzles - 2 :, n:].tolist()[: self.nozzles]:
            if den > 0.0:
                self._surprises += min(num**2 / den / (scale * heed), 9.0)
                self._seen += 1.0

    def _found(
        self, told: Ints, scores: Floats, information: Floats, strange: float
    ) -> tuple[Floats, Floats, Floats, float, list[float]]:
        """Of the coefficients ``told`` of a block: reach and what ``_explained`` makes of it, how much is believed.

        From ``strange`` deviations on less of it is. The last are by how many deviations each fault would explain the
        block, had it begun with it.
        """
        model, n, k = model_of(self.nozzles), len(self.state), len(told)
        faults, observed = len(model.faults), self.observed[told]
        given = np.empty((k, 1 + k))
        given[:, 0], given[:, 1:] = scores[told], information[told[:, None], told]
        given *= self.scale
        given[:, 0] -= given[:, 1:] @ (observed @ self.state)
        reach = observed @ self.covariance
        steps = self._steps.reshape(-1, n + 2)[: len(self._since) * faults]  # a view
        there = model.faults[:, told].reshape(-1) - (steps[:, :n] @ observed.T).reshape(-1, faults * k)
        signature = there.reshape(-1, k)
        pull, taken = _explained(given, observed, reach, signature)
        deviations = [num / math.sqrt(max(den, 1e-9)) for num, den in taken[-faults:, n:].tolist()]
        heed = min(1.0, (strange / max(abs(max(deviations, key=abs)), strange)) ** 2)
        if heed < 1.0:
            pull, taken = _explained(given * heed, observed, reach, signature)
        return reach, pull, taken, heed, deviations

    @property
    def common_sd(self) -> float:
        """Of the common loss's wander, a share."""
        return common_sd(self.noise_l) * self._wandering.share

    def _begin_day(self, model: Model) -> None:
        """How much the wanders are to be from here on, by what the day told that is over."""
        if self.blocks:
            self._wandering.tell(self._day_scores, self._day_information, common_sd(self.noise_l))
            self._day_scores[:], self._day_information[:] = 0.0, 0.0
        share = (self.common_sd / COMMON_SD) ** 2
        if not self.blocks:
            self.covariance[1, 1] *= share
        self._gained = model.noise + self.excess * _WANDERING * model.wander
        self._gained[1] *= share

    @property
    def excess(self) -> float:
        """By what share of the assumed variance the blocks vary more than that; 0 when they vary less."""
        return max(self._surprises / self._seen - 1.0, 0.0)

    @property
    def scale(self) -> float:
        """What scores and information are multiplied by: one over the variance of the noise, 1 as assumed."""
        return 1.0 / (max(self._surprises / self._seen, _SCALE_LEAST) * (1.0 + _LATER * self.excess))

    def _is_alone(self, most: float, fault: int) -> bool:
        """Whether a block is too strange to tell by itself which fillings are short.

        Fuel that moved without a record, a clock that was wrong for a while and a gauge that was touched look so; a
        nozzle that is short stays short.
        """
        before, self._before = self._before, most if abs(most) > _TOO_STRANGE else 0.0
        if not self._before or self._before * before > 0.0:
            return False
        signed = (fault + 1) * (1 if most > 0.0 else -1)
        recent = [each for each in self._stranger if self.blocks - each[0] <= _AGAIN_DAYS * BLOCKS]
        self._stranger = [*recent, (self.blocks, signed)]
        return [each[1] for each in self._stranger].count(signed) < _AGAIN

    def _thin(self, fade: Floats) -> None:
        """Of the times long past only some are kept; the present one is new. What is kept decays with the states."""
        count = len(self._since)
        for age, every in _THINNED:
            since = self.blocks - age
            if (
                (not every or since % every)
                and (place := bisect_left(self._since, since)) < count
                and self._since[place] == since
            ):
                del self._since[place]
                self._steps[place : count - 1] = self._steps[place + 1 : count]
                count -= 1
        self._steps[:count] *= fade[:count]
        self._steps[count] = 0.0
        self._since.append(self.blocks)

    def _weights(self) -> Floats:
        """(times,) how many blocks each time stands for."""
        age = (self.blocks - 1 - np.array(self._since)) / BLOCKS
        weights = np.full(len(age), float(_RECENT[-1][1]))
        for days, every in reversed(_RECENT):
            weights[age <= days] = every
        return weights

    def _worth(self) -> Floats:
        """(times, faults, 1) by how much more than its blocks say a step tells, by its age."""
        worth = np.ones((len(self._since), self.nozzles + 2, 1))
        age = (self.blocks - np.array(self._since)) / BLOCKS
        worth[:, -1, 0] += _RESTS * (1.0 - np.exp(-age / _RESTS_DAYS))
        return worth

    def suspicions(self) -> list[Suspicion]:
        """Every fault both ways, the most likely first; nothing when no fault is worth a look."""
        if (self._num**2 <= 2.0 * _WORTH * self._den).all():
            return []
        model = model_of(self.nozzles)
        sizes, likely, weights = model.sizes, model.likely, self._weights()
        found, worth = [], self._worth()
        num, den = self._num[:, :, None] * worth, self._den[:, :, None] * worth
        for rising, sign in ((True, 1.0), (False, -1.0)):
            ratios = sign * num * sizes - den * sizes**2 / 2.0
            top = ratios.max(axis=(0, 2))
            sums = np.einsum("tfs,fs->tf", np.exp(ratios - top[:, None]), likely) * weights[:, None]
            nats = top + np.log(sums.sum(axis=0))
            nats[self.nozzles :] -= _RARER
            best = sums.argmax(axis=0)
            found += [
                Suspicion(fault, rising, float(nats[fault]), self._since[best[fault]]) for fault in range(len(nats))
            ]
        return sorted(found, key=lambda each: -each.nats)

    def size(self, suspicion: Suspicion, confidence: float = 0.95) -> Sized:
        """The posterior of a fault's size (a share; L/h of a leak), all sizes of a logarithmic scale alike likely."""
        known = model_of(self.nozzles).sizes[suspicion.fault]
        least, most = 0.5 * known[0], 2.0 * known[-1]
        sizes = np.exp(np.linspace(math.log(least), math.log(most), 241))
        sign = 1.0 if suspicion.rising else -1.0
        worth = self._worth()[:, suspicion.fault]
        num = sign * self._num[:, suspicion.fault, None] * worth
        den = self._den[:, suspicion.fault, None] * worth
        ratios = _MODEST * (num * sizes - den * sizes**2 / 2.0)
        likely = np.exp(ratios - ratios.max()) * self._weights()[:, None]
        by_size = likely.sum(axis=0)
        by_size /= by_size.sum()
        upto = np.cumsum(by_size)
        tail = (1.0 - confidence) / 2.0
        low, high = (float(np.interp(each, upto, sizes)) for each in (tail, 1.0 - tail))
        since = self._since[int(likely.sum(axis=1).argmax())]
        low, high = sorted((sign * low, sign * high))
        return Sized(sign * float(by_size @ sizes), low, high, since)

    def learn(self, fault: int, size: float) -> None:
        """There has been such a step: the states may take it up, and the search begins anew."""
        n = self.nozzles
        place = FIXED + fault if fault < n else 0 if fault == n else 2
        self.covariance = self.covariance.copy()
        self.covariance[place, place] += (2.0 * size) ** 2
        self._wandering.loosen(place, 2.0 * size)
        self.covariance[1, 1] += self.common_sd**2  # the common wander has taken some of it
        self._since.clear()

    def loosen(self, share: float) -> None:
        """The chart or the probe may be another from here on: the common constant may be anywhere within ``share``."""
        self.covariance = self.covariance.copy()
        self.covariance[0, 0] += share**2
        self._wandering.loosen(0, share)

    def errors(self) -> tuple[Floats, Floats]:
        """(N,) each nozzle's error against the tank's nozzles together, a share, and its deviation."""
        n = self.nozzles
        constant, wander = slice(FIXED, FIXED + n), slice(FIXED + n, FIXED + 2 * n)
        value = self.state[constant] + self.state[wander]
        own = self.covariance
        variance = np.diag(own)[constant] + np.diag(own)[wander] + 2.0 * np.diag(own[constant, wander])
        return value, np.sqrt(np.maximum(variance, 0.0))

    def common(self) -> tuple[float, float]:
        """What all nozzles show too much together, a share, and its deviation: minus the tank's loss while pumping."""
        variance = float(self.covariance[:2, :2].sum())
        return float(self.state[0] + self.state[1]), math.sqrt(max(variance, 0.0))

    def latest(self) -> Floats:
        """(2, N) scores and information of each nozzle's step as if it had begun with the last block."""
        return self._steps[len(self._since) - 1, : self.nozzles, -2:].T.copy()


def _explained(given: Floats, observed: Floats, reach: Floats, signature: Floats) -> tuple[Floats, Floats]:
    """What a block makes of n states and m steps; ``given`` (k, 1 + k): the scores that surprise, and G.

    ``reach`` (k, n) is the covariance of what is ``observed`` (k, n) with the states, ``signature`` (m, k) what steps
    of size 1 should show in the block. The information that is left when the states have taken up what they may, W =
    (I + G·R)⁻¹·G with R = reach·observed', does for everything: (k, n + 2) W·reach, by which states take up a step, and
    the scores that they do not explain; (m, n + 2) what is taken up of each step, and its scores and information.
    """
    k, n = reach.shape
    mixed = given[:, 1:] @ (reach @ observed.T)
    mixed.reshape(-1)[:: k + 1] += 1.0  # a view: its diagonal
    left = np.linalg.solve(mixed, given)
    pull = np.zeros((k, n + 2))
    np.matmul(left[:, 1:], reach, out=pull[:, :n])
    pull[:, n] = left[:, 0]
    taken = signature @ pull
    taken[:, n + 1] = np.einsum("ij,ij->i", signature @ left[:, 1:], signature)
    return pull, taken
