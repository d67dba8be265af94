"""Reproducible chance: one named stream of random numbers for each purpose."""

from __future__ import annotations

import hashlib
from random import Random

from numpy.random import PCG64, Generator


def stream(seed: int, *names: object) -> Random:
    """The stream of this name: the same seed and names give the same numbers in every process.

    Separate names keep one purpose's draws from moving another's.
    """
    return Random("/".join(map(str, (seed, *names))))  # noqa: S311 - simulation, not secrets


def generator(*names: object) -> Generator:
    """A numpy stream of this name: equal names give equal numbers in every process and on every machine."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return Generator(PCG64(int.from_bytes(digest[:16], "big")))
