"""The filter of a tank: its likelihood ratios against the dense Gaussian model, sizes, learning, keeping."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pumpwatch_physics import states as model
from pumpwatch_physics import tank_model
from pumpwatch_physics.blocks import BANDS, BLOCKS
from pumpwatch_physics.states import Filter
from pumpwatch_physics.tank_model import LEAKS_L_H, SIZES, TANK_SIZES, model_of

NOZZLES = 3
WIDTH = NOZZLES + 1 + BANDS


def information(chance, scale=4e5):
    """(p, p) what a block tells: full rank, some hours of it about the leak."""
    root = chance.normal(size=(WIDTH, 2 * WIDTH)) * math.sqrt(scale / (2 * WIDTH))
    root[NOZZLES] *= 1e-4
    return root @ root.T


def blocks(seed, count, beta=None, since=0, scale=4e5):
    """Scores and information of blocks whose coefficients are ``beta`` from one of them on."""
    chance = np.random.default_rng(seed)
    for number in range(count):
        known = information(chance, scale)
        noise = np.linalg.cholesky(known) @ chance.normal(size=WIDTH)
        there = np.zeros(WIDTH) if beta is None or number < since else beta
        yield known @ there + noise, known


def rough(seed, count, beta=None, since=0, scale=4e5):
    """Such blocks of a tank whose level wanders more than is assumed, for most of a day at a time."""
    chance = np.random.default_rng(seed)
    wander = np.zeros(WIDTH)
    for scores, known in blocks(seed, count, beta, since, scale):
        wander[:NOZZLES] = 0.6 * wander[:NOZZLES] + 0.0012 * chance.normal(size=NOZZLES)
        yield scores + known @ wander, known


def step(place, size):
    beta = np.zeros(WIDTH)
    beta[place] = size
    return beta


def told(filter_, pairs):
    for scores, known in pairs:
        filter_.tell(scores, known)
    return filter_


def max_nats(filter_):
    """Of the likeliest fault; nothing is suspected when none is worth a look."""
    found = filter_.suspicions()
    return found[0].nats if found else 0.0


def test_suspicions_are_those_of_the_dense_model(monkeypatch) -> None:
    """Given how far the noise has been learned at each block; no block is too strange to be believed."""
    monkeypatch.setattr(model, "STRANGE", math.inf)
    count = BLOCKS
    filter_ = Filter(NOZZLES)
    prior, constants = filter_.covariance.copy(), model_of(NOZZLES)
    prior[1, 1] *= filter_._wandering.share**2
    keeps = constants.keeps
    pairs, observed, noises = [], [], []
    for scores, known in rough(1, count, step(1, 0.05), 3, scale=2e5):
        scale = filter_.scale
        filter_.tell(scores, known)
        noises.append(filter_._gained)
        pairs.append((scores * scale, known * scale))
        observed.append(filter_.observed.copy())
    variances = [prior]
    for grown in noises[1:]:
        variances.append(variances[-1] * keeps[:, None] * keeps + np.diag(grown))
    every = range(count)

    def between(a, b):
        first = min(a, b)
        return variances[first] * (keeps ** (a - first))[:, None] * keeps ** (b - first)

    seen = np.concatenate([np.linalg.solve(known, scores) for scores, known in pairs])
    spread = np.block([[observed[a] @ between(a, b) @ observed[b].T for b in every] for a in every])
    for place, (_, known) in enumerate(pairs):
        part = slice(place * WIDTH, (place + 1) * WIDTH)
        spread[part, part] += np.linalg.inv(known)
    weight = np.linalg.inv(spread)
    suspicions = filter_.suspicions()
    assert len(suspicions) == 2 * (NOZZLES + 2)
    for suspicion in suspicions:
        fault = np.zeros(WIDTH)
        if suspicion.fault < NOZZLES:
            fault[suspicion.fault], sizes = 1.0, SIZES
        elif suspicion.fault == NOZZLES:
            fault[:NOZZLES], sizes = 1.0, TANK_SIZES
        else:
            fault[NOZZLES], sizes = 1.0, LEAKS_L_H
        likely = tank_model._LEAKS_LIKELY if suspicion.fault > NOZZLES else tank_model._LIKELY
        sign = 1.0 if suspicion.rising else -1.0
        ratios = []
        for since in every:
            signature = np.concatenate([fault * (number >= since) for number in every])
            num, den = sign * signature @ weight @ seen, signature @ weight @ signature
            if suspicion.fault > NOZZLES:
                rested = 1.0 + model._RESTS * (1.0 - math.exp(-(count - since) / BLOCKS / model._RESTS_DAYS))
                num, den = num * rested, den * rested
            ratios.append(float(np.exp(num * sizes - den * sizes**2 / 2.0) @ likely))
        rarer = 0.0 if suspicion.fault < NOZZLES else float(model._RARER[suspicion.fault - NOZZLES])
        assert suspicion.nats == pytest.approx(math.log(sum(ratios)) - rarer, abs=1e-5)
        assert suspicion.since == int(np.argmax(ratios))


@pytest.mark.parametrize(
    ("place", "size", "fault", "rising"),
    [(1, 0.02, 1, True), (2, -0.015, 2, False), (NOZZLES, 2.0, NOZZLES + 1, True)],
)
def test_a_step_is_found_where_it_is_and_as_large_as_it_is(place, size, fault, rising) -> None:
    scale = 4e5 if place < NOZZLES else 4e8
    filter_ = told(Filter(NOZZLES), blocks(2, 90, step(place, size), 60, scale))
    best = filter_.suspicions()[0]
    assert (best.fault, best.rising) == (fault, rising)
    assert best.nats > 12.0
    sized = filter_.size(best)
    assert sized.low <= size <= sized.high
    assert sized.low < sized.value < sized.high
    assert abs(sized.since - 60) <= 2


def test_a_glimpse_says_what_telling_would_and_leaves_nothing_behind() -> None:
    pairs = list(blocks(4, 30, step(1, 0.01), since=20))
    filter_, other = told(Filter(NOZZLES), pairs[:-1]), told(Filter(NOZZLES), pairs[:-1])
    filter_.begin()
    with filter_.glimpsed(pairs[-1][0] * 0.5, pairs[-1][1] * 0.5):
        half = filter_.suspicions()
    with filter_.glimpsed(*pairs[-1]):
        seen = filter_.suspicions()
        sized = filter_.size(seen[0])
    for each in (filter_, other):
        each.tell(*pairs[-1])
    assert filter_.suspicions() == other.suspicions() == seen
    assert other.size(seen[0]) == sized
    assert half[0].nats < seen[0].nats
    assert np.array_equal(filter_.state, other.state)
    assert np.array_equal(filter_.covariance, other.covariance)


def test_what_is_sudden_is_believed_less_in_a_glimpse_than_when_the_block_is_over() -> None:
    pairs = list(blocks(4, 21, step(1, 0.05), since=20))
    filter_ = told(Filter(NOZZLES), pairs[:-1])
    filter_.begin()
    with filter_.glimpsed(*pairs[-1]):
        glimpsed = max_nats(filter_)
    filter_.tell(*pairs[-1])
    assert glimpsed < max_nats(filter_)


def test_all_nozzles_together_are_their_own_cause() -> None:
    beta = np.zeros(WIDTH)
    beta[:NOZZLES] = 0.03
    best = told(Filter(NOZZLES), blocks(3, 90, beta, 60)).suspicions()[0]
    assert (best.fault, best.rising) == (NOZZLES, True)


def test_honest_blocks_raise_no_suspicion() -> None:
    for seed in range(3):
        filter_ = Filter(NOZZLES)
        for scores, known in blocks(10 + seed, 120):
            filter_.tell(scores, known)
            assert max_nats(filter_) < 9.0


def likeliest(pairs):
    """The most that was ever suspected, and the filter in the end."""
    filter_, most = Filter(NOZZLES), 0.0
    for scores, known in pairs:
        filter_.tell(scores, known)
        most = max(most, max_nats(filter_))
    return most, filter_


@pytest.mark.parametrize("seed", [0, 3])
def test_the_noisier_a_tank_the_less_its_days_are_believed(monkeypatch, seed) -> None:
    pairs = list(rough(seed, 200))
    most, filter_ = likeliest(pairs)
    assert filter_.excess > 0.2
    monkeypatch.setattr(model, "_LATER", 0.0)
    monkeypatch.setattr(model, "_WANDERING", 0.0)
    assert most < likeliest(pairs)[0] - 1.0


def test_a_wander_that_is_learned_leaves_the_states_more_room(monkeypatch) -> None:
    pairs = list(rough(1, 200))
    roomy = told(Filter(NOZZLES), pairs)
    monkeypatch.setattr(model, "_WANDERING", 0.0)
    narrow = told(Filter(NOZZLES), pairs)
    assert roomy.common()[1] > 1.02 * narrow.common()[1]
    assert (roomy.errors()[1] > narrow.errors()[1]).all()


def test_in_a_noisy_tank_much_is_found_at_once() -> None:
    filter_ = told(Filter(NOZZLES), rough(0, 202, step(1, 0.03), 200))
    best = filter_.suspicions()[0]
    assert (best.fault, best.rising) == (1, True)
    assert best.nats > 10.0


def test_a_tank_that_is_no_noisier_than_assumed_is_weighed_as_assumed(monkeypatch) -> None:
    pairs = [(0.8 * scores, known) for scores, known in blocks(12, 60)]
    filter_ = told(Filter(NOZZLES), pairs)
    assert filter_.excess == 0.0
    monkeypatch.setattr(model, "_LATER", 0.0)
    monkeypatch.setattr(model, "_WANDERING", 0.0)
    plain = told(Filter(NOZZLES), pairs)
    assert (filter_.covariance == plain.covariance).all()
    assert (filter_._num == plain._num).all()


def test_what_was_learned_is_not_suspected_again() -> None:
    pairs = list(blocks(4, 200, step(0, 0.03), 30))
    filter_ = told(Filter(NOZZLES), pairs[:60])
    best = filter_.suspicions()[0]
    filter_.learn(best.fault, filter_.size(best).value)
    for scores, known in pairs[60:]:
        filter_.tell(scores, known)
        assert max_nats(filter_) < 12.0
    value, sd = filter_.errors()
    assert value[0] - value[1] == pytest.approx(0.03, abs=4.0 * float(np.hypot(sd[0], sd[1])))


def test_the_order_of_the_nozzles_does_not_matter() -> None:
    pairs = list(blocks(5, 40, step(2, 0.02), 20))
    order = [2, 0, 1, *range(NOZZLES, WIDTH)]
    plain = told(Filter(NOZZLES), pairs).suspicions()
    turned = told(Filter(NOZZLES), [(s[order], k[np.ix_(order, order)]) for s, k in pairs]).suspicions()
    nats = {(each.fault, each.rising): each.nats for each in plain}
    for each in turned:
        fault = order[each.fault] if each.fault < NOZZLES else each.fault
        assert each.nats == pytest.approx(nats[fault, each.rising], abs=1e-6)


def test_a_gauge_that_is_noisy_comes_with_a_loss_that_wanders_more() -> None:
    steady, noisy = Filter(NOZZLES), Filter(NOZZLES)
    noisy.noise_l = 8.0
    assert tank_model.common_sd(8.0) == pytest.approx(0.0019, abs=0.0001)
    assert noisy.common_sd / steady.common_sd == pytest.approx(1.9, abs=0.1)
    for scores, known in blocks(3, 2 * BLOCKS, step(0, 0.0), 1, scale=4e6):
        steady.tell(scores, known)
        noisy.tell(scores, known)
    for filter_ in (steady, noisy):
        for _ in range(20 * BLOCKS):
            filter_.tell(np.zeros(WIDTH), np.zeros((WIDTH, WIDTH)))
    assert noisy.common()[1] > 1.5 * steady.common()[1], "of what came while nothing was read"


def test_a_leak_is_worth_more_than_its_blocks_say_and_at_once_nothing_more() -> None:
    worth = told(Filter(NOZZLES), blocks(4, 30 * BLOCKS, step(0, 0.0), 1, scale=4e5))._worth()
    assert (worth[:, :-1] == 1.0).all()
    assert (np.diff(worth[:, -1, 0]) < 0.0).all(), "the oldest first"
    assert 1.0 < worth[-1, -1, 0] < 1.02
    assert 1.0 + model._RESTS * 0.95 < worth[0, -1, 0] < 1.0 + model._RESTS


def test_a_block_without_readings_tells_nothing() -> None:
    filter_ = told(Filter(NOZZLES), blocks(6, 30, step(1, 0.02), 15))
    before, (value, sd) = filter_.suspicions()[0], filter_.errors()
    filter_.tell(np.zeros(WIDTH), np.zeros((WIDTH, WIDTH)))
    again, wider = filter_.errors()
    assert np.allclose(again, value, rtol=0.0, atol=1e-4)
    assert (wider >= sd - 1e-12).all()
    assert filter_.suspicions()[0].nats == pytest.approx(before.nats, abs=0.2)


def test_one_strange_block_is_worth_little_and_a_strange_course_is_not() -> None:
    pairs = list(blocks(11, 60))
    scores, known = pairs[40]
    filter_ = told(Filter(NOZZLES), [*pairs[:40], (scores + known @ step(1, 0.2), known)])
    assert filter_.unbelieved == 1
    assert max_nats(filter_) < model.STRANGE**2 / 2.0
    again = told(filter_, pairs[41:])
    assert again.unbelieved == 1
    assert max_nats(again) < model.STRANGE**2 / 2.0
    lasting = told(Filter(NOZZLES), blocks(11, 43, step(1, 0.2), 40))
    assert lasting.unbelieved <= 1
    assert (lasting.suspicions()[0].fault, lasting.suspicions()[0].rising) == (1, True)
    assert lasting.suspicions()[0].nats > 1.5 * model.STRANGE**2 / 2.0


def test_a_strange_block_leaves_the_states_nearly_where_they_were() -> None:
    pairs = list(blocks(11, 60))
    scores, known = pairs[40]
    plain = told(Filter(NOZZLES), pairs).errors()[0]
    touched = told(Filter(NOZZLES), [*pairs[:40], (scores + known @ step(1, 0.5), known), *pairs[41:]]).errors()[0]
    assert np.abs(touched - plain).max() < 0.0005


def test_work_on_a_tank_frees_what_all_nozzles_share() -> None:
    filter_ = told(Filter(NOZZLES), blocks(8, 60))
    _, sure = filter_.common()
    filter_.loosen(0.01)
    _, unsure = filter_.common()
    assert unsure == pytest.approx(math.hypot(sure, 0.01))


def test_times_long_past_are_thinned() -> None:
    filter_ = told(Filter(NOZZLES), blocks(9, 80 * BLOCKS))
    assert len(filter_._since) < 30 * BLOCKS
    assert filter_._weights().sum() == pytest.approx(model.BACK_DAYS * BLOCKS, rel=0.08)
