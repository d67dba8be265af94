"""Follows one tank day by day and claims what cannot be honest: which cause, since when, how large, what comes next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch.courses import DAY_US, HOUR_US
from pumpwatch_physics.blocks import BLOCK_US, BLOCKS, SETTLED_US, level_readings
from pumpwatch_physics.chance import Chance
from pumpwatch_physics.states import Filter, Sized, Suspicion
from pumpwatch_physics.strata import STRATA, contrasts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pumpwatch_physics.blocks import Day

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]

LEARN_DAYS: Final = 21
"""At the beginning: what a tank's constants are must be known before anything is claimed."""
MARGIN: Final = 3.0
"""Nats by which the best cause must lead, or else some more blocks are waited for, and the less is wanted."""
LEAST_MARGIN: Final = 1.0
PATIENT_BLOCKS: Final = 16
"""Then a short nozzle is told of without being named: some nozzle of the tank."""
SPARSE: Final = 9
"""Readings a block, below which neighbours look alike: a nozzle is named by more, and fewer blocks are waited for."""
FADES: Final = 0.9
"""By what the most readings of late fade from one block to the next: a delivery does not make a tank sparse."""
SPARSE_MARGIN: Final = 4.5
SPARSE_BLOCKS: Final = 4
CONTESTED: Final = 0.5
"""Of the patience, that a nozzle is waited for which another that is short by chance might explain."""
FALLING_TIMES: Final = 2
"""So much more of both is wanted before one nozzle is said to give more than it shows: a line leak looks like that."""
SILENT_BLOCKS: Final = 2
SILENT_L: Final = 150.0
"""A nozzle that usually sells so much at these hours, and sold nothing, has fillings that are not recorded yet."""
USUAL_DAYS: Final = 7
PART_DAYS: Final = 60
PART_SIZES: Final = np.array([0.01, 0.02, 0.03, 0.05, 0.08])
PART_LEFT: Final = 0.6
"""Of the threshold, that must be left without the strongest day."""
TURN_NATS: Final = 5.0
"""For a nozzle known to be short to be called honest about inspections."""
LEVEL_LEAST: Final = 0.003
"""A nozzle's error beyond the legal limit (JJG 443: ±0.30 %)."""
LEVEL_SIGMAS: Final = 5.0
LEVEL_DAYS: Final = 30
DRIFT_DAYS: Final = 60
DRIFT_MOST: Final = 0.008
DRIFT_NATS: Final = 1.0
CHART_SHARE: Final = 0.01
"""By which work on a tank, a new probe or a new chart may change what it seems to lose."""
CHART_DAYS: Final = 7
CHART_LEAST: Final = 0.003
CHART_MOST: Final = 0.015
"""No chart and no probe does more."""
CHART_SIGMAS: Final = 4.0


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that is wrong with a tank."""

    kind: str
    """``nozzle``, ``some`` (one of the tank's that cannot be named), ``tank`` (all of them), ``leak``, ``chart``,
    ``part``, ``inspections``, ``level``."""
    nozzle: int | None
    rising: bool
    at_us: int
    """When the evidence sufficed."""
    since_us: int
    sized: Sized
    nats: float
    rival: Suspicion | None = None
    """The next likely cause, of ``nozzle``, ``some``, ``tank`` and ``leak``."""
    stratum: int | None = None
    """Place in ``STRATA``, of ``part``."""
    drift: bool = False
    """It grew slowly rather than began at once; of ``nozzle``."""
    likeliest: int | None = None
    """The nozzle that explains most, of ``some``."""


@dataclass(slots=True)
class Track:
    """What is drawn: each nozzle's error day by day."""

    day_us: list[int] = field(default_factory=list)
    value: list[Floats] = field(default_factory=list)
    """(N,) shares."""
    sd: list[Floats] = field(default_factory=list)
    litres: list[Floats] = field(default_factory=list)
    """(N,) sold that day, at 20 °C."""


class Watch:
    """One tank; days must be told in order, without leaving one out (None for one without data)."""

    def __init__(self, nozzles: int, threshold: float) -> None:
        self.nozzles = nozzles
        self.filter = Filter(nozzles)
        self.chance = Chance(nozzles)
        self.claims: list[Claim] = []
        self.track = Track()
        self._threshold = threshold
        self._part_threshold = threshold + math.log(len(STRATA))
        self._begun_us = 0
        self._days = 0
        """With data, until now."""
        self._waiting = -1
        """The block after which one cause explained enough; −1 while none does."""
        self._is_unclear = False
        """Some nozzle was told of, and not yet which."""
        self._dense = 0.0
        """Readings of a block, the most of late."""
        self._parts = np.zeros((0, 2, nozzles * len(STRATA)))
        """(days, 2, E) ``contrasts`` of the last days, the latest first."""
        self._named: set[tuple[int, int]] = set()
        self._known: dict[int, float] = {}
        """By nozzle, the size of the step that was claimed."""
        self._turns: dict[int, tuple[float, float]] = {}
        self._levelled: set[int] = set()
        self._blocks: list[Floats] = []
        """(BLOCKS, 2, N) of each of the last days: scores and information of a step that began with the block."""
        self._work: tuple[int, float, float] | None = None
        """Work on the tank, its effect not known yet: when, what all nozzles showed too much before, its deviation."""
        self._sold = np.zeros(((USUAL_DAYS - 1) * BLOCKS + SILENT_BLOCKS - 1, nozzles))
        """(blocks, N) litres of the last ones before a day."""

    def tell(self, day_us: int, day: Day | None, visits_us: Sequence[int] = (), *, worked: bool = False) -> None:
        """A day that begins then; ``visits_us`` are inspections known by its end, ``worked``: it was worked on."""
        if not self.filter.blocks:
            self._begun_us = day_us
        if worked and self._work is None:
            self._work = (day_us, *self.filter.common())
            self.filter.loosen(CHART_SHARE)
        before, unbelieved = self.filter.state.copy(), self.filter.unbelieved
        short = dict(self._known)
        litres = np.zeros((BLOCKS, self.nozzles)) if day is None else day.litres.astype(float)
        heard = ~self._silent(litres) & (day is not None and day.readings > 0.0)
        width = len(self.filter.observed)
        scores, information = np.zeros((BLOCKS, width)), np.zeros((BLOCKS, width, width))
        noise = np.zeros((BLOCKS, 2, self.nozzles))
        if day is not None:
            noise = self.chance.noise(day.information, day.litres, day.readings)
            scores[heard], information[heard] = day.scores[heard], day.information[heard]
            self.filter.noise_l = day.noise_l
        blocks = np.zeros((BLOCKS, 2, self.nozzles))
        self._blocks = [*self._blocks[-DRIFT_DAYS:], blocks]
        for block in range(BLOCKS):
            self.filter.tell(*self.chance.weighed(scores[block], information[block], noise[block]))
            if heard[block]:
                blocks[block] = self.filter.latest()
            self.chance.see(blocks[block, 0], blocks[block, 1], noise[block])
            self._dense = max(0.0 if day is None else float(day.readings[block]), FADES * self._dense)
            if day is None or not heard[block]:
                continue
            step_us = BLOCK_US / float(day.readings[block])
            # Until the readings that tell the level of a piece are there, a block may change.
            settled = max(SETTLED_US, round(level_readings(step_us) * step_us))
            self._look(day_us + (block + 1) * BLOCK_US + settled)
        if day is not None:
            self._days += 1
            if self.filter.unbelieved == unbelieved:
                self._part(day_us, day, before)
            self._turn(day_us, day, visits_us, short, self.filter.observed @ before)
            self._level(day_us)
            self._chart(day_us)
        value, sd = self.filter.errors()
        n = self.nozzles
        self.track.day_us.append(day_us + DAY_US)
        self.track.value.append(value)
        self.track.sd.append(sd)
        self.track.litres.append(np.zeros(n) if day is None else day.litres.sum(axis=0, dtype=float))

    def _silent(self, litres: Floats) -> Bools:
        """(BLOCKS,) in which fillings of a nozzle seem to be missing, of a day: its litres would look lost."""
        sold = np.concatenate((self._sold, litres))
        self._sold = sold[BLOCKS:]
        windows = np.lib.stride_tricks.sliding_window_view(sold, SILENT_BLOCKS, axis=0)
        recent = windows.sum(axis=-1).reshape(USUAL_DAYS, BLOCKS, self.nozzles)
        enough = self.filter.blocks + np.arange(1, BLOCKS + 1) >= USUAL_DAYS * BLOCKS
        empty = (recent[-1] == 0.0) & enough[:, None]
        if not empty.any():
            return np.zeros(BLOCKS, bool)
        silent: Bools = (empty & (np.median(recent[:-1], axis=0) > SILENT_L)).any(axis=1)
        return silent

    @property
    def _is_learning(self) -> bool:
        return self._days < LEARN_DAYS

    def _look(self, at_us: int) -> None:
        """Whether one cause explains enough."""
        if self._is_learning:
            return
        suspicions = self.filter.suspicions()
        if not suspicions or suspicions[0].nats < self._threshold:
            self._waiting = -1
            self._is_unclear = self._is_unclear and bool(suspicions)
            return
        best, rival, *_ = suspicions
        n = self.nozzles
        is_short = best.fault < n and best.rising
        times = FALLING_TIMES if best.fault < n and not best.rising else 1
        if self._waiting < 0:
            self._waiting = self.filter.blocks
        sparse = self._dense < SPARSE
        patience = times * (SPARSE_BLOCKS if sparse else PATIENT_BLOCKS)
        waited = (self.filter.blocks - self._waiting) / patience
        margin = SPARSE_MARGIN if sparse else max(MARGIN * (1.0 - waited), LEAST_MARGIN)
        is_close = best.nats - rival.nats < times * margin
        if is_close and waited < 1.0:
            return
        gains = [one for one in (best, rival) if one.rising is (one.fault <= n)]
        nozzle = next((one for one in gains if one.fault < n), None)
        if is_close and len(gains) > 1 and nozzle is not None:
            if not self._is_unclear:
                self._is_unclear = True
                sized = self.filter.size(nozzle)
                since_us = self._begun_us + sized.since * BLOCK_US
                other = rival if nozzle is best else best
                claim = Claim("some", None, True, at_us, since_us, sized, nozzle.nats, other, likeliest=nozzle.fault)
                self.claims.append(claim)
            return
        sized = self.filter.size(best)
        blocks = self.filter.blocks - sized.since
        if is_short and waited < CONTESTED and self.chance.is_contested(best.fault, blocks):
            return
        since_us = self._begun_us + sized.since * BLOCK_US
        self._waiting, self._is_unclear = -1, False
        kind = "nozzle" if best.fault < n else "tank" if best.fault == n else "leak"
        named = best.fault if best.fault < n else None
        drift = named is not None and abs(sized.value) < DRIFT_MOST and self._is_drift(named)
        self.claims.append(Claim(kind, named, best.rising, at_us, since_us, sized, best.nats, rival, drift=drift))
        if is_short:
            self.chance.claimed(best.fault, blocks)
        if named is not None:
            self._known[named] = self._known.get(named, 0.0) + sized.value
            self._turns.pop(named, None)
        self.filter.learn(best.fault, sized.value)

    def _is_drift(self, nozzle: int) -> bool:
        """Whether an error that grows evenly explains a nozzle's last months clearly better than one that jumped."""
        told = np.concatenate(self._blocks)[: -(-self.filter.blocks % BLOCKS) or None]
        num, den = told[-DRIFT_DAYS * BLOCKS :, :, nozzle].T
        step = ramp = 0.0
        for first in range(0, len(num), BLOCKS):
            ours, weight = num[first:], den[first:]
            growth = np.linspace(0.0, 1.0, len(ours))
            step = max(step, float(ours.sum()) ** 2 / max(float(weight.sum()), 1e-9) / 2.0)
            ramp = max(ramp, float(growth @ ours) ** 2 / max(float(growth**2 @ weight), 1e-9) / 2.0)
        return ramp > step + DRIFT_NATS

    def _part(self, day_us: int, day: Day, before: Floats) -> None:
        """Whether only some of a nozzle's fillings are short, against its other fillings of the same days."""
        n, parts = self.nozzles, len(STRATA)
        known = self.filter.observed @ before
        cross = day.part_cross.astype(float)
        left = day.part_scores - cross @ known
        information = day.information.sum(axis=0, dtype=float)
        whole = day.scores.sum(axis=0, dtype=float) - information @ known
        made = contrasts(left, day.part_own.astype(float), cross[:, :n], whole[:n], information[:n, :n])
        varied = self.chance.contrasted(information, day.litres.sum(axis=0, dtype=float), float(day.readings.sum()))
        noisier = np.repeat(varied, parts) / min(self.filter.scale, 1.0)
        made = (made[0] / noisier, made[1] / noisier)
        self._parts = np.concatenate(([made], self._parts[: PART_DAYS - 1]))
        if self._is_learning:
            return
        num, den = np.cumsum(self._parts, axis=0).swapaxes(0, 1)
        most = np.log(len(num)) + (np.maximum(num, 0.0) ** 2 / np.maximum(2.0 * den, 1e-9)).max()
        if most < self._part_threshold:
            return  # no average over sizes exceeds the best size of all
        ratios = num[:, :, None] * PART_SIZES - den[:, :, None] * PART_SIZES**2 / 2.0
        top = ratios.max(axis=(0, 2))
        nats = top + np.log(np.exp(ratios - top[:, None]).mean(axis=2).sum(axis=0))
        for nozzle in range(n):
            mine = nats[nozzle * parts : (nozzle + 1) * parts]
            best = int(mine.argmax())
            if mine[best] < self._part_threshold or any(each[0] == nozzle for each in self._named):
                continue
            row = nozzle * parts + best
            if not self._is_lasting(num[:, row], den[:, row]):
                continue
            self._named.add((nozzle, best))
            sized = _posterior(num[:, row], den[:, row])
            since_us = day_us - sized.since * DAY_US
            at_us = day_us + DAY_US + SETTLED_US
            self.claims.append(
                Claim("part", nozzle, rising=True, at_us=at_us, since_us=since_us, sized=sized,
                      nats=float(mine[best]) - math.log(parts), stratum=best)
            )  # fmt: skip

    def _is_lasting(self, num: Floats, den: Floats) -> bool:
        """Whether much is left without the strongest day: on the day a fault begins, the hours after it look chosen.

        ``num``, ``den`` are sums over the last 1, 2, … days.
        """
        ratios = num[:, None] * PART_SIZES - den[:, None] * PART_SIZES**2 / 2.0
        days, place = divmod(int(ratios.argmax()), len(PART_SIZES))
        size = PART_SIZES[place]
        each = np.diff(ratios[: days + 1, place], prepend=0.0)
        return size > 0.0 and float(each.sum() - each.max()) >= PART_LEFT * self._threshold

    def _turn(self, day_us: int, day: Day, visits_us: Sequence[int], short: Mapping[int, float], known: Floats) -> None:
        """Whether a nozzle known to be short is honest about inspections.

        ``short`` and ``known`` (p,) are what was known when the day began: during it the honest hours are taken up.
        """
        for nozzle, size in short.items():
            if size <= 0.0:
                continue
            num, den = self._turns.get(nozzle, (0.0, 0.0))
            for block in range(BLOCKS):
                start = day_us + block * BLOCK_US
                if any(visit - 12 * HOUR_US < start + BLOCK_US // 2 < visit + 6 * HOUR_US for visit in visits_us):
                    num += float(day.scores[block, nozzle] - day.information[block, nozzle] @ known)
                    den += float(day.information[block, nozzle, nozzle])
            self._turns[nozzle] = (num, den)
            nats = -size * num - size**2 * den / 2.0
            if nats >= TURN_NATS and (nozzle, -1) not in self._named:
                self._named.add((nozzle, -1))
                value, sd = -num / den, 1.0 / math.sqrt(den)
                sized = Sized(value, value - 1.96 * sd, value + 1.96 * sd, 0)
                at_us = day_us + DAY_US + SETTLED_US
                self.claims.append(Claim("inspections", nozzle, True, at_us, visits_us[0], sized, nats))

    def _level(self, day_us: int) -> None:
        """Whether a nozzle has been beyond the legal limit from the first day on."""
        if self._days <= LEVEL_DAYS:
            return
        value, sd = self.filter.errors()
        for nozzle in range(self.nozzles):
            if nozzle in self._levelled or nozzle in self._known:
                continue
            if value[nozzle] - LEVEL_SIGMAS * sd[nozzle] > LEVEL_LEAST:
                self._levelled.add(nozzle)
                sized = Sized(
                    float(value[nozzle]),
                    float(value[nozzle] - 1.96 * sd[nozzle]),
                    float(value[nozzle] + 1.96 * sd[nozzle]),
                    0,
                )
                at_us = day_us + DAY_US + SETTLED_US
                nats = float((value[nozzle] / sd[nozzle]) ** 2 / 2.0)
                self.claims.append(Claim("level", nozzle, True, at_us, self._begun_us, sized, nats))

    def _chart(self, day_us: int) -> None:
        """Whether the chart is another since somebody worked on the tank."""
        if self._work is None or day_us < self._work[0] + CHART_DAYS * DAY_US:
            return
        since_us, before, before_sd = self._work
        self._work = None
        after, after_sd = self.filter.common()
        moved, sd = after - before, math.hypot(before_sd, after_sd, math.sqrt(2.0) * self.filter.common_sd)
        if self._is_learning or abs(moved) < max(CHART_LEAST, CHART_SIGMAS * sd):
            return
        sized = Sized(moved, moved - 1.96 * sd, moved + 1.96 * sd, 0)
        nats = (moved / sd) ** 2 / 2.0
        at_us = day_us + DAY_US + SETTLED_US
        kind = "tank" if abs(moved) > CHART_MOST else "chart"
        self.claims.append(Claim(kind, None, moved > 0.0, at_us, since_us, sized, nats))


def _posterior(num: Floats, den: Floats) -> Sized:
    """Size and beginning (days back) of a step, from sums over the last 1, 2, … days."""
    sizes = np.exp(np.linspace(math.log(0.004), math.log(0.2), 201))
    ratios = num[:, None] * sizes - den[:, None] * sizes**2 / 2.0
    likely = np.exp(ratios - ratios.max())
    by_size = likely.sum(axis=0) / likely.sum()
    upto = np.cumsum(by_size)
    low, high = (float(np.interp(each, upto, sizes)) for each in (0.025, 0.975))
    return Sized(float(by_size @ sizes), low, high, int(likely.sum(axis=1).argmax()))
