"""Chance that belongs to a thing and a moment: asked again, alone or among thousands, it is the same number."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pumpwatch_sim.world.timeline import Floats, Ints

_STEP = np.array([0x9E3779B97F4A7C15], np.uint64)
_FIRST = np.array([0xBF58476D1CE4E5B9], np.uint64)
_SECOND = np.array([0x94D049BB133111EB], np.uint64)
_SHIFTS = tuple(np.array([bits], np.uint64) for bits in (30, 27, 31, 11))


@lru_cache(maxsize=8_192)
def key(*names: object) -> int:
    """The key of one kind of noise of one thing: equal names, equal keys."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, names)).encode()).digest()[:8], "big") >> 1


def uniform(of: int, moments: Ints) -> Floats:
    """A number within (0, 1) for each moment (any whole numbers); ``of`` is a :func:`key`. SplitMix64."""
    bits = moments.astype(np.uint64) * _STEP + np.array([of], np.uint64)
    bits = (bits ^ (bits >> _SHIFTS[0])) * _FIRST
    bits = (bits ^ (bits >> _SHIFTS[1])) * _SECOND
    bits ^= bits >> _SHIFTS[2]
    return ((bits >> _SHIFTS[3]).astype(np.float64) + 0.5) * 2.0**-53


def normals(of: int, moments: Ints, count: int) -> Floats:
    """(count, n) independent standard normal numbers, ``count`` (even) for each moment (Box and Muller)."""
    draws = uniform(of, count * moments + np.arange(count)[:, None])
    radius = np.sqrt(-2.0 * np.log(draws[: count // 2]))
    angle = 2.0 * np.pi * draws[count // 2 :]
    return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))


def wander(of: int, state: float, day: int, days: int, tau_days: float) -> Floats:
    """A first-order wander of unit deviation on the days ``day`` to ``day + days``, going on from ``state``.

    (days + 1,) values: the first is ``state``, the last is where the next stretch begins.
    """
    keep = float(np.exp(-1.0 / tau_days))
    new = np.sqrt(1.0 - keep * keep) * normals(of, np.arange(day + 1, day + days + 1), 2)[0]
    path = np.empty(days + 1)
    path[0] = value = state
    for index, step in enumerate(new.tolist(), 1):
        value = keep * value + step
        path[index] = value
    return path
