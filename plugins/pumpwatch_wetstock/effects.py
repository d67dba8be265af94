"""What groups of deliveries have in common beyond the biases of their tanks: Student's t errors, pooled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from pumpwatch.courses import median

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DROP_L: Final = 20.0
_DROP_SHARE: Final = 0.003
TANK_SD: Final = 0.006
"""Deviation between tanks of what is detected against what is declared: chart, probe, loading meter; with a margin."""
_NU: Final = 3.0
"""Degrees of freedom of a drop's error: gross errors are common."""
_T3_ROBUST: Final = 1.134
_MEAN: Final = -0.0032
"""Median of net detected against net declared on real drops: what unloading loses."""
_ROUNDS: Final = 12
_QUICK: Final = 2.0
"""Deviations below which a group is not looked at closely."""
_T3_APART: Final = 0.8548
"""Median of the difference, either way, between two of Student's t with 3 degrees of freedom, over √2."""
_APART_LEAST: Final = 30
_UNKNOWN_SCALE: Final = 1.3
_INFORMATION: Final = (_NU + 1.0) / (_NU + 3.0)


class Drop(NamedTuple):
    """One delivery that the gauge has seen and papers tell of; litres at 20 °C."""

    at_us: int
    judged_us: int
    tank_id: str
    truck: str
    supplier: str
    document: str
    declared_l: float
    rise_l: float
    sd_l: float
    era: int
    """How often signed work was done on the tank before: its chart may be another since."""

    @property
    def error(self) -> float:
        """Rise over declared less one."""
        return self.rise_l / self.declared_l - 1.0


@dataclass(frozen=True, slots=True)
class Effect:
    """By how much a group's drops differ from their tanks' usual error, as a fraction."""

    value: float
    sd: float
    nats: float
    """By how much likelier it is than none, logarithm."""
    rows: tuple[int, ...]
    """Its drops, oldest first."""
    corrected: tuple[float, ...]
    """Their errors without the tanks' biases."""


class Pool:
    """All drops of all stations in the order in which they are judged."""

    def __init__(self, told: Mapping[str, Sequence[Drop]]) -> None:
        """``told``: each station's drops."""
        pairs = sorted((drop, station) for station, drops in told.items() for drop in drops)
        pairs.sort(key=lambda pair: pair[0].judged_us)
        self.drops = [drop for drop, _ in pairs]
        self.stations = [station for _, station in pairs]
        self._judged = np.array([drop.judged_us for drop in self.drops], np.int64)
        self._error = np.array([drop.error for drop in self.drops])
        declared = np.array([drop.declared_l for drop in self.drops])
        noise = np.array([drop.sd_l for drop in self.drops])
        self._scale = np.hypot(np.hypot(DROP_L, _DROP_SHARE * declared), noise) / np.maximum(declared, 1.0) / _T3_ROBUST
        self._tank = np.unique([f"{drop.tank_id} {drop.era}" for drop in self.drops], return_inverse=True)[1]
        lorries = [f"{drop.tank_id} {drop.era} {drop.truck}" for drop in self.drops]
        self._pair = np.unique(lorries, return_inverse=True)[1]
        self._kinds = {
            "truck": np.unique([drop.truck for drop in self.drops], return_inverse=True),
            "supplier": np.unique([drop.supplier for drop in self.drops], return_inverse=True),
            "station": np.unique(self.stations, return_inverse=True),
        }

    def rows(self, after_us: int, until_us: int) -> NDArray[np.int64]:
        """Those judged at after < time <= until."""
        first, last = np.searchsorted(self._judged, [after_us, until_us], side="right")
        return np.arange(first, last)

    def group(self, kind: str, row: int) -> str:
        """Whom it belongs to."""
        names, codes = self._kinds[kind]
        return str(names[codes[row]])

    def effects(
        self, fresh: NDArray[np.int64], rows: NDArray[np.int64], known: NDArray[np.int64], fewest: int
    ) -> Iterator[tuple[tuple[str, str], Effect]]:
        """Of the groups that the fresh drops belong to, over these rows; those that are plainly usual are left out.

        The tanks' biases are learned from the ``known`` drops, which end with these.
        """
        tank, error = self._tank[known], self._error[known]
        _, where, size = np.unique(tank, return_inverse=True, return_counts=True)
        order = np.lexsort((error, where))
        first = np.cumsum(size) - size
        median = (error[order[first + (size - 1) // 2]] + error[order[first + size // 2]]) / 2.0
        off = (error - median[where]) / self._scale[known]
        scale = self._spread(known)
        late = off[len(known) - len(rows) :]
        whole = (self._error[rows] - _MEAN) / np.hypot(self._scale[rows], TANK_SD)
        for kind, (names, codes) in self._kinds.items():
            mine = codes[rows]
            usual = whole if kind == "station" else late
            count = np.bincount(mine, minlength=len(names))
            clipped = np.bincount(mine, np.clip(usual, -3.0, 3.0), len(names)) / np.sqrt(np.maximum(count, 1))
            for code in np.unique(codes[fresh]).tolist():
                if names[code] and count[code] >= fewest and clipped[code] < -_QUICK * scale:
                    # A lorry's own drops of before tell of the tanks too: it may be short only since.
                    others = codes[known] != code
                    if kind == "truck":
                        others[: len(known) - len(rows)] = True
                    yield (kind, str(names[code])), self._effect(rows[mine == code], known[others], scale)

    def _spread(self, known: NDArray[np.int64]) -> float:
        """How much larger errors are than those that the model was made with.

        From one drop to the next of the same lorry to the same tank: one that is short does not widen it.
        """
        order = known[np.argsort(self._pair[known], kind="stable")]
        same = np.diff(self._pair[order]) == 0
        apart = (np.diff(self._error[order]) / np.hypot(self._scale[order[1:]], self._scale[order[:-1]]))[same]
        robust = median(np.abs(apart)) / _T3_APART if len(apart) >= _APART_LEAST else _UNKNOWN_SCALE
        return min(max(robust * 1.05, 1.0), 3.0)

    def _effect(self, mine: NDArray[np.int64], others: NDArray[np.int64], scale: float) -> Effect:
        """Of a group with these drops, the tanks' biases learned from the others."""
        tanks, where = np.unique(self._tank[mine], return_inverse=True)
        others = others[np.isin(self._tank[others], tanks)]
        bias, unsure = _biases(
            self._error[others], scale * self._scale[others], np.searchsorted(tanks, self._tank[others]), len(tanks)
        )
        drops = _Drops(self._error[mine] - bias[where], scale * self._scale[mine], where, unsure)
        start = median(drops.off)
        value, likely = drops.fit(start, moving=True)
        nats = max(likely - drops.fit(0.0, moving=False)[1], 0.0)
        information = np.full(len(mine), _INFORMATION) / drops.spread**2
        sd = math.sqrt(_pooled(drops.off, information, where, unsure)[1])
        if nats > 0.0:
            sd = max(sd, abs(value) / math.sqrt(2.0 * nats))
        return Effect(value, sd, nats, tuple(mine.tolist()), tuple(drops.off.tolist()))


@dataclass(frozen=True, slots=True)
class _Drops:
    """A group's drops: what they are off from their tanks' biases, Student's t about a common effect."""

    off: Floats
    spread: Floats
    where: NDArray[np.intp]
    """The tank of each."""
    unsure: Floats
    """(tanks,) variance of their biases."""

    def fit(self, value: float, *, moving: bool) -> tuple[float, float]:
        """The likeliest effect, or the one given, and its log-likelihood, with the likeliest biases."""
        more = np.zeros(len(self.unsure))
        for _ in range(_ROUNDS):
            weight = (_NU + 1.0) / (_NU + ((self.off - value - more[self.where]) / self.spread) ** 2) / self.spread**2
            if moving:
                value = _pooled(self.off, weight, self.where, self.unsure)[0]
            total = np.bincount(self.where, weight, len(more))
            more = np.bincount(self.where, weight * (self.off - value), len(more)) / (total + 1.0 / self.unsure)
        far = ((self.off - value - more[self.where]) / self.spread) ** 2
        return value, float(-(_NU + 1.0) / 2.0 * np.log1p(far / _NU).sum() - (more**2 / self.unsure).sum() / 2.0)


def _biases(errors: Floats, spread: Floats, tank: NDArray[np.intp], tanks: int) -> tuple[Floats, Floats]:
    """(tanks,) location of Student's t errors of each tank, towards the mean of all tanks, and its variance."""
    prior = 1.0 / TANK_SD**2
    value = np.full(tanks, _MEAN)
    for _ in range(_ROUNDS):
        weight = (_NU + 1.0) / (_NU + ((errors - value[tank]) / spread) ** 2) / spread**2
        total = np.bincount(tank, weight, tanks) + prior
        value = (np.bincount(tank, weight * errors, tanks) + prior * _MEAN) / total
    unsure = 1.0 / (np.bincount(tank, _INFORMATION / spread**2, tanks) + prior)
    return np.asarray(value, np.float64), np.asarray(unsure, np.float64)


def _pooled(off: Floats, weight: Floats, where: NDArray[np.intp], unsure: Floats) -> tuple[float, float]:
    """Mean over tanks whose biases are unsure: each tank's mean counts by its own variance plus that of its bias."""
    total = np.bincount(where, weight, len(unsure))
    mean = np.bincount(where, weight * off, len(unsure)) / total
    weights = 1.0 / (1.0 / total + unsure)
    return float(weights @ mean / weights.sum()), float(1.0 / weights.sum())
