"""How a nozzle's blocks fit one step: a ramp is told from a jump, and fits and starts from both."""

from __future__ import annotations

import numpy as np
import pytest

from pumpwatch_physics.blocks import BLOCKS
from pumpwatch_physics.evenness import is_drift, unevenness

KNOWN = 2e4


def blocks(course, seed=None, known=KNOWN):
    """(blocks, 2) that show a share each, with noise when there is a seed."""
    noise = 0.0 if seed is None else np.random.default_rng(seed).normal(size=len(course)) * np.sqrt(known)
    den = np.full(len(course), known)
    return np.stack((den * course + noise, den), axis=1)


def test_an_error_that_grew_evenly_is_drift_and_one_that_jumped_is_not() -> None:
    days = np.arange(40 * BLOCKS) / BLOCKS
    assert is_drift(blocks(0.01 * np.clip(days / 40.0, 0.0, 1.0)))
    assert not is_drift(blocks(0.01 * (days >= 15.0)))


def test_what_grew_within_days_is_no_drift() -> None:
    assert not is_drift(blocks(0.01 * np.arange(10 * BLOCKS) / (10 * BLOCKS)))


def test_a_step_with_noise_is_even() -> None:
    found = [unevenness(blocks(np.full(40, 0.02), seed)) for seed in range(200)]
    assert np.mean(found) == pytest.approx(1.07, abs=0.05), "the half above 1 of what scatters about it"
    assert np.quantile(found, 0.95) < 1.4


def test_what_comes_and_goes_is_uneven() -> None:
    chance = np.random.default_rng(3)
    found = [unevenness(blocks(0.03 * (chance.random(12) < 0.5), seed)) for seed in range(200)]
    assert np.median(found) > 2.0
    assert unevenness(blocks(0.03 * (np.arange(400) % 2))) == pytest.approx(KNOWN * 0.015**2, rel=0.03)


def test_few_blocks_and_none_are_taken_as_even() -> None:
    assert unevenness(np.zeros((5, 2))) == 1.0
    assert unevenness(np.zeros((0, 2))) == 1.0
    assert unevenness(blocks(np.array([0.02]))) == 1.0
    assert unevenness(blocks(np.array([0.0, 0.02]))) < 1.4, "2.8 deviations apart"
