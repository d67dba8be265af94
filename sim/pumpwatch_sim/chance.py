"""Reproducible chance: one named stream of random numbers for each purpose."""

from __future__ import annotations

from random import Random


def stream(seed: int, *names: object) -> Random:
    """The stream of this name: the same seed and names give the same numbers in every process.

    Separate names keep one purpose's draws from moving another's.
    """
    return Random("/".join(map(str, (seed, *names))))  # noqa: S311 - simulation, not secrets
