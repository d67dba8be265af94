"""Follows one tank day by day and claims what cannot be honest: which cause, since when, how large, what comes next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch.courses import DAY_US, HOUR_US
from pumpwatch_physics.blocks import BLOCK_US, BLOCKS, LOOKS, SETTLED_US, level_readings
from pumpwatch_physics.chance import Chance
from pumpwatch_physics.evenness import is_drift, unevenness
from pumpwatch_physics.states import Filter, Sized, Suspicion
from pumpwatch_physics.strata import HOURLY, STRATA, contrasts, separated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pumpwatch_physics.blocks import Day

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]

LEARN_DAYS: Final = 21
"""At the beginning: what a tank's constants are must be known before anything is claimed."""
EARLY_NATS, EARLY_DAYS = 3.0, 90.0
"""So much more is wanted of a tank of which nothing is known, and less day by day: constants look like steps. Known for
60 days, tanks gave false alarms no more often than known for a year, without it."""
AGAIN_NATS: Final = 1.5
"""So much more of a tank at which another cause was claimed: its constants are not known any longer as they were."""
SUSPECTED: Final = 4.0
"""Nats that a cause must have had when a block began to be told of before it ends."""
MARGIN: Final = 4.0
"""Nats by which the best cause must lead, or else some more blocks are waited for, and the less is wanted. Of a short
nozzle its tank is told meanwhile, so that only the name is waited for."""
LEAST_MARGIN: Final = 1.0
PATIENT_BLOCKS: Final = 10
UNNAMED_MARGIN, UNNAMED_NATS = 1.75, 1.0
"""The least by which a nozzle must lead whose tank was told of, and by how much less than is enough is enough for it:
nothing but the name is waited for."""
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
PART_KNOWN_NATS: Final = 10.0
"""For a condition of a nozzle known to be short; fewer suffice only where fewer suffice for any nozzle."""
PART_BOTH_NATS: Final = 3.0
"""More when what a condition says is added to what all fillings of the nozzle say: of both the beginning is unknown."""
PART_LEFT: Final = 0.6
"""Of the nats needed for one condition, that must be left without the strongest day."""
TURN_NATS: Final = 5.0
"""For a nozzle known to be short to be called honest about inspections."""
LEVEL_LEAST: Final = 0.003
"""A nozzle's error beyond the legal limit (JJG 443: ±0.30 %)."""
LEVEL_SIGMAS: Final = 5.0
LEVEL_DAYS: Final = 30
DRIFT_DAYS: Final = 60
DRIFT_MOST: Final = 0.008
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
    sharpens: bool = False
    """Names the nozzle of the last ``some``."""


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
        self._part_least = min(PART_KNOWN_NATS, self._part_threshold)
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
        self._hours = np.zeros((0, len(HOURLY), nozzles, nozzles))
        """(days, hourly conditions, N, N) what ``contrasts`` leaves of G between nozzles, the latest first."""
        self._named: set[tuple[int, int]] = set()
        self._known: dict[int, float] = {}
        """By nozzle, the size of the step that was claimed."""
        self._learnt: set[int] = set()
        """Faults that were claimed and taken up."""
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
            begin_us = day_us + block * BLOCK_US
            seen = None if day is None or not heard[block] else self._glimpse(begin_us, day, block, noise[block])
            self.filter.tell(*self.chance.weighed(scores[block], information[block], noise[block]))
            if heard[block]:
                blocks[block] = self.filter.latest()
            self.chance.see(blocks[block, 0], blocks[block, 1], noise[block])
            self._dense = max(0.0 if day is None else float(day.readings[block]), FADES * self._dense)
            if seen is not None:
                self._claim(seen)
            if day is not None and heard[block] and (seen is None or seen.kind == "some"):
                self._look(begin_us + BLOCK_US + _settled_us(float(day.readings[block])))
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

    def _is_enough(self, best: Suspicion) -> bool:
        """Whether a cause explains enough to be claimed."""
        again = AGAIN_NATS if self._learnt and best.fault not in self._learnt else 0.0
        less = UNNAMED_NATS if self._is_unclear else 0.0
        return best.nats >= self._threshold + self._early + again - less

    @property
    def _early(self) -> float:
        """Nats more of a tank that is not known for long."""
        return EARLY_NATS * max(1.0 - self._days / EARLY_DAYS, 0.0)

    def _glimpse(self, begin_us: int, day: Day, block: int, noise: Floats) -> Claim | None:
        """What is clear before a block has ended, when something was suspected before it began."""
        if self._is_learning:
            return None
        before = {(one.fault, one.rising) for one in self.filter.suspicions() if one.nats > SUSPECTED}
        if not before:
            return None
        self.filter.begin()
        for look in range(LOOKS - 1):
            scores, information = day.early_scores[block, look], day.early_information[block, look]
            with self.filter.glimpsed(*self.chance.weighed(scores, information, noise)):
                suspicions = self.filter.suspicions()
                if not suspicions or not self._is_enough(suspicions[0]):
                    continue
                best, rival, *_ = suspicions
                if (best.fault, best.rising) not in before:
                    continue
                is_clear = self._lead(best, rival) >= self._margin(0.0) and not self._is_contested(best)
                if not is_clear and not self._is_some(best, rival, 0.0):
                    continue
                # At the look itself only part of the block's readings are there: those of late tell how dense they are.
                settled_us = _settled_us(max(float(day.readings[block]), self._dense))
                at_us = begin_us + (look + 1) * BLOCK_US // LOOKS + settled_us
                return self._made(best, rival, at_us) if is_clear else self._unnamed(best, rival, at_us)
        return None

    def _look(self, at_us: int) -> None:
        """Whether one cause explains enough."""
        if self._is_learning:
            return
        suspicions = self.filter.suspicions()
        if not suspicions or not self._is_enough(suspicions[0]):
            self._waiting = -1
            self._is_unclear = self._is_unclear and bool(suspicions)
            return
        best, rival, *_ = suspicions
        if self._waiting < 0:
            self._waiting = self.filter.blocks
        patience = self._times(best) * (SPARSE_BLOCKS if self._is_sparse else PATIENT_BLOCKS)
        waited = (self.filter.blocks - self._waiting) / patience
        margin = max(self._margin(waited), UNNAMED_MARGIN if self._is_unclear else 0.0)
        is_close = self._lead(best, rival) < margin
        if not is_close and not (waited < CONTESTED and self._is_contested(best)):
            self._claim(self._made(best, rival, at_us))
        elif self._is_some(best, rival, waited):
            self._claim(self._unnamed(best, rival, at_us))

    def _is_some(self, best: Suspicion, rival: Suspicion, waited: float) -> bool:
        """Whether some nozzle must be short, or else all, and it has not been told yet."""
        n = self.nozzles
        are_gains = all(one.rising is (one.fault <= n) for one in (best, rival))
        return not self._is_unclear and are_gains and (best.fault < n or waited >= 1.0)

    def _unnamed(self, best: Suspicion, rival: Suspicion, at_us: int) -> Claim:
        """The claim that one of the tank's nozzles is short, until one of them leads."""
        nozzle, other = (best, rival) if best.fault < self.nozzles else (rival, best)
        sized = self.filter.size(nozzle)
        since_us = self._begun_us + sized.since * BLOCK_US
        return Claim("some", None, True, at_us, since_us, sized, nozzle.nats, other, likeliest=nozzle.fault)

    def _times(self, best: Suspicion) -> int:
        """By how much more is wanted."""
        return FALLING_TIMES if best.fault < self.nozzles and not best.rising else 1

    def _lead(self, best: Suspicion, rival: Suspicion) -> float:
        """Nats by which the best cause leads; one nozzle another by fewer when what it shows is not even."""
        lead = (best.nats - rival.nats) / self._times(best)
        if max(best.fault, rival.fault) >= self.nozzles or not best.rising:
            return lead
        return lead / unevenness(self._told_of(best.fault, self.filter.blocks - best.since + 1))

    @property
    def _is_sparse(self) -> bool:
        return self._dense < SPARSE

    def _margin(self, waited: float) -> float:
        """Nats by which a cause must lead when so much of the patience is gone."""
        return SPARSE_MARGIN if self._is_sparse else max(MARGIN * (1.0 - waited), LEAST_MARGIN)

    def _is_contested(self, best: Suspicion) -> bool:
        """Whether a nozzle seems short, and another that is short by chance explains it too."""
        if best.fault >= self.nozzles or not best.rising:
            return False
        blocks = self.filter.blocks - self.filter.size(best).since
        return self.chance.is_contested(best.fault, blocks)

    def _made(self, best: Suspicion, rival: Suspicion, at_us: int) -> Claim:
        """The claim of a cause that leads."""
        n, sized = self.nozzles, self.filter.size(best)
        kind = "nozzle" if best.fault < n else "tank" if best.fault == n else "leak"
        named = best.fault if best.fault < n else None
        drift = (
            named is not None and abs(sized.value) < DRIFT_MOST and is_drift(self._told_of(named, DRIFT_DAYS * BLOCKS))
        )
        since_us = self._begun_us + sized.since * BLOCK_US
        sharpens = self._is_unclear and named is not None and best.rising
        return Claim(kind, named, best.rising, at_us, since_us, sized, best.nats, rival, drift=drift, sharpens=sharpens)

    def _claim(self, claim: Claim) -> None:
        """Tell of it, and look for what comes on top of it from here on; of ``some`` for the nozzle."""
        self.claims.append(claim)
        if claim.kind == "some":
            self._is_unclear = True
            return
        self._waiting, self._is_unclear = -1, False
        nozzle, size = claim.nozzle, claim.sized.value
        if nozzle is not None:
            if claim.rising:
                self.chance.claimed(nozzle, self.filter.blocks - claim.sized.since)
            self._known[nozzle] = self._known.get(nozzle, 0.0) + size
            self._turns.pop(nozzle, None)
        fault = nozzle if nozzle is not None else self.nozzles + (claim.kind == "leak")
        self._learnt.add(fault)
        self.filter.learn(fault, size)

    def _told_of(self, nozzle: int, blocks: int) -> Floats:
        """(blocks, 2) of the last blocks until now: scores and information of the nozzle's step."""
        told = np.concatenate(self._blocks)[: -(-self.filter.blocks % BLOCKS) or None]
        last: Floats = told[-blocks:, :, nozzle]
        return last

    def _part(self, day_us: int, day: Day, before: Floats) -> None:
        """Whether only some of a nozzle's fillings are short, against its other fillings of the same days."""
        n, parts = self.nozzles, len(STRATA)
        known = self.filter.observed @ before
        cross = day.part_cross.astype(float)
        left = day.part_scores - cross @ known
        information = day.information.sum(axis=0, dtype=float)
        whole = day.scores.sum(axis=0, dtype=float) - information @ known
        num, den, hours = contrasts(left, day.part_own.astype(float), cross[:, :n], whole[:n], information[:n, :n])
        varied = self.chance.contrasted(information, day.litres.sum(axis=0, dtype=float), float(day.readings.sum()))
        noisier = np.repeat(varied, parts) / min(self.filter.scale, 1.0)
        self._parts = np.concatenate(([(num / noisier, den / noisier)], self._parts[: PART_DAYS - 1]))
        noise = np.sqrt(noisier[::parts])
        self._hours = np.concatenate(([hours / noise[:, None] / noise], self._hours[: PART_DAYS - 1]))
        if self._is_learning:
            return
        named = sorted({nozzle for nozzle, _ in self._named})
        sums = np.cumsum(self._parts, axis=0)
        num, den = separated(sums[:, 0], sums[:, 1], np.cumsum(self._hours, axis=0), named)
        most = np.log(len(num)) + (np.maximum(num, 0.0) ** 2 / np.maximum(2.0 * den, 1e-9)).max()
        if most < self._part_least:
            return  # no average over sizes exceeds the best size of all
        suspected = {one.fault: one.nats for one in self.filter.suspicions() if one.rising}
        ratios = num[:, :, None] * PART_SIZES - den[:, :, None] * PART_SIZES**2 / 2.0
        top = ratios.max(axis=(0, 2))
        nats = top + np.log(np.exp(ratios - top[:, None]).mean(axis=2).sum(axis=0))
        for nozzle in range(n):
            mine = nats[nozzle * parts : (nozzle + 1) * parts]
            best = int(mine.argmax())
            needed = self._part_needed(nozzle, suspected.get(nozzle, 0.0))
            if mine[best] < needed or any(each[0] == nozzle for each in self._named):
                continue
            row = nozzle * parts + best
            rivals = np.delete(nats[best::parts], nozzle)
            if best in HOURLY and mine[best] < rivals.max(initial=0.0) + MARGIN:
                continue
            if not self._is_lasting(num[:, row], den[:, row], needed - math.log(parts)):
                continue
            self._named.add((nozzle, best))
            sized = _posterior(num[:, row], den[:, row])
            since_us = day_us - sized.since * DAY_US
            at_us = day_us + DAY_US + SETTLED_US
            self.claims.append(
                Claim("part", nozzle, rising=True, at_us=at_us, since_us=since_us, sized=sized,
                      nats=float(mine[best]) - math.log(parts), stratum=best)
            )  # fmt: skip

    def _part_needed(self, nozzle: int, whole: float) -> float:
        """Nats for a condition: fewer at a nozzle known to be short, or when all its fillings are suspected too."""
        if self._known.get(nozzle, 0.0) > 0.0:
            return self._part_least
        alone = self._part_threshold + self._early
        return max(min(alone, alone + PART_BOTH_NATS - max(whole, 0.0)), self._part_least)

    @staticmethod
    def _is_lasting(num: Floats, den: Floats, needed: float) -> bool:
        """Whether much is left without the strongest day: on the day a fault begins, the hours after it look chosen.

        ``num``, ``den`` are sums over the last 1, 2, … days.
        """
        ratios = num[:, None] * PART_SIZES - den[:, None] * PART_SIZES**2 / 2.0
        days, place = divmod(int(ratios.argmax()), len(PART_SIZES))
        size = PART_SIZES[place]
        each = np.diff(ratios[: days + 1, place], prepend=0.0)
        return size > 0.0 and float(each.sum() - each.max()) >= PART_LEFT * needed

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


def _settled_us(readings: float) -> int:
    """How long a block of so many readings may change after its end: until a piece's level is told."""
    step_us = BLOCK_US / readings
    return max(SETTLED_US, round(level_readings(step_us) * step_us))


def _posterior(num: Floats, den: Floats) -> Sized:
    """Size and beginning (days back) of a step, from sums over the last 1, 2, … days."""
    sizes = np.exp(np.linspace(math.log(0.004), math.log(0.2), 201))
    ratios = num[:, None] * sizes - den[:, None] * sizes**2 / 2.0
    likely = np.exp(ratios - ratios.max())
    by_size = likely.sum(axis=0) / likely.sum()
    upto = np.cumsum(by_size)
    low, high = (float(np.interp(each, upto, sizes)) for each in (0.025, 0.975))
    return Sized(float(by_size @ sizes), low, high, int(likely.sum(axis=1).argmax()))
