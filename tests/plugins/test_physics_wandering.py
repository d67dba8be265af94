"""What is learned of the wander of a tank's common loss: from calm tanks, usual ones, and ones with faults."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_physics_states import NOZZLES, WIDTH, blocks, step, told

from pumpwatch_physics.blocks import BLOCKS
from pumpwatch_physics.keeping import from_bytes, to_bytes
from pumpwatch_physics.states import Filter
from pumpwatch_physics.tank_model import COMMON_SD, COMMON_TAU_DAYS, FIXED, model_of
from pumpwatch_physics.wandering import SHARES, Wandering
from pumpwatch_physics.watch import Watch

DAY_SCALE = 2e6


def days(seed, count, share, jump=(10**9, 0.0)):
    """S and G of days whose common loss wanders by a share of what is assumed; ``jump``: nozzle 1 steps."""
    chance = np.random.default_rng(seed)
    keeps, loss = math.exp(-1.0 / COMMON_TAU_DAYS), 0.0
    for day, (scores, known) in enumerate(blocks(seed, count, scale=DAY_SCALE)):
        loss = keeps * loss + share * COMMON_SD * math.sqrt(1.0 - keeps**2) * chance.normal()
        there = np.zeros(WIDTH)
        there[:NOZZLES] = loss
        if day >= jump[0]:
            there += step(1, jump[1])
        yield scores + known @ there, known


def learned(*args, **kwargs):
    wandering = Wandering(NOZZLES)
    for scores, known in days(*args, **kwargs):
        wandering.tell(scores, known, COMMON_SD)
    return wandering


def test_before_anything_is_told_most_of_what_is_assumed_is_believed() -> None:
    assert 0.8 < Wandering(NOZZLES).share < 0.9


@pytest.mark.parametrize(("share", "low", "high"), [(0.4, 0.4, 0.6), (0.7, 0.55, 0.85), (1.0, 0.93, 1.0)])
def test_what_a_tank_does_is_learned_in_half_a_year(share, low, high) -> None:
    found = np.mean([learned(seed, 180, share).share for seed in range(12)])
    assert low < found < high


def test_it_is_the_posterior_of_the_dense_model() -> None:
    """No day tells more than is believed of one, and nothing else of the tank is unknown but its common constant."""
    count = 12
    wandering = learned(5, count, 0.5)
    keeps, gaps = math.exp(-1.0 / COMMON_TAU_DAYS), np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    fresh = Wandering(NOZZLES)
    others = fresh._covariance[0].copy()
    others[1, 1] = 0.0
    model = model_of(NOZZLES)
    observed, kept = model.observed.mean(axis=0), model.keeps**BLOCKS
    gained = model.noise * BLOCKS
    gained[1] = 0.0
    before, variances = others, []
    for _ in range(count):
        before = before * kept[:, None] * kept + np.diag(gained)
        variances.append(before)
    pairs = list(days(5, count, 0.5))
    seen = np.concatenate([np.linalg.solve(known, scores) for scores, known in pairs])
    nats = []
    for share in SHARES:
        spread = np.zeros((count * WIDTH, count * WIDTH))
        for a in range(count):
            for b in range(count):
                first = variances[min(a, b)] * (kept ** max(a - b, 0))[:, None] * kept ** max(b - a, 0)
                first[1, 1] = (share * COMMON_SD) ** 2 * keeps ** gaps[a, b]
                spread[a * WIDTH : (a + 1) * WIDTH, b * WIDTH : (b + 1) * WIDTH] = observed @ first @ observed.T
        for a, (_, known) in enumerate(pairs):
            part = slice(a * WIDTH, (a + 1) * WIDTH)
            spread[part, part] += np.linalg.inv(known)
        nats.append(-(seen @ np.linalg.solve(spread, seen) + np.linalg.slogdet(spread)[1]) / 2.0)
    expected = np.array(nats) - nats[-1] + fresh._nats - fresh._nats[-1]
    np.testing.assert_allclose(wandering._nats - wandering._nats[-1], expected, atol=1e-6)


def test_a_nozzle_that_is_short_does_not_make_a_calm_tank_a_restless_one_before_it_is_told_of() -> None:
    calm, short = (
        np.mean([learned(seed, 155, 0.4, jump=(150, size)).share for seed in range(8)]) for size in (0.0, 0.02)
    )
    assert short < calm + 0.1


def test_what_is_loosened_is_no_wander_either() -> None:
    kept, loosened = Wandering(NOZZLES), Wandering(NOZZLES)
    for day, (scores, known) in enumerate(days(7, 180, 0.4, jump=(150, 0.02))):
        kept.tell(scores, known, COMMON_SD)
        if day == 150:
            loosened.loosen(FIXED + 1, 0.04)
        loosened.tell(scores, known, COMMON_SD)
    assert loosened.share < kept.share - 0.1


def test_a_day_without_readings_tells_nothing() -> None:
    wandering = learned(3, 40, 0.5)
    before = wandering.share
    wandering.tell(np.zeros(WIDTH), np.zeros((WIDTH, WIDTH)), COMMON_SD)
    assert wandering.share == before


def test_the_filter_learns_from_the_days_that_are_over_and_a_watch_keeps_it() -> None:
    filter_ = told(Filter(NOZZLES), blocks(4, 60 * BLOCKS, scale=DAY_SCALE / BLOCKS))
    assert filter_._wandering.share < 0.75, "nothing wanders at all here"
    assert filter_.common_sd == pytest.approx(COMMON_SD * filter_._wandering.share)
    watch = Watch(NOZZLES, 11.0)
    watch.filter = filter_
    assert from_bytes(to_bytes(watch)).filter.common_sd == filter_.common_sd
