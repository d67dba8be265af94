"""A watched tank: which cause is claimed, when, and how large; on days made up from the model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pumpwatch.courses import DAY_US, HOUR_US
from pumpwatch_physics import watch as watch_module
from pumpwatch_physics.blocks import BANDS, BLOCK_US, BLOCKS, LOOKS, SETTLED_US, Day
from pumpwatch_physics.strata import STRATA
from pumpwatch_physics.watch import CHART_DAYS, LEARN_DAYS, LEVEL_DAYS, Watch

NOZZLES = 4
WIDTH = NOZZLES + 1 + BANDS
FIRST = 20_500
PART = 1
"""The only condition that some of these fillings fulfil."""
SHARE = 0.4
"""Of a nozzle's information that is theirs."""
TOLD = np.r_[np.full(NOZZLES, 2e4), 2.0, np.full(BANDS, 1e3)]
"""What a block tells of each coefficient."""


def day_of(chance, beta, selective=None):
    """A day whose coefficients are ``beta`` (BLOCKS, p); ``selective`` (N,) is added where the condition holds."""
    noise = chance.normal(size=(BLOCKS, WIDTH)) * np.sqrt(TOLD)
    scores = TOLD * beta + noise
    part = np.zeros((NOZZLES, len(STRATA)))
    own, cross = np.zeros_like(part), np.zeros((NOZZLES, len(STRATA), WIDTH))
    more = np.zeros(NOZZLES) if selective is None else np.asarray(selective, float)
    for nozzle in range(NOZZLES):
        g = TOLD[nozzle]
        theirs = SHARE * g * (beta[:, nozzle] + more[nozzle]) + chance.normal(size=BLOCKS) * np.sqrt(SHARE * g)
        others = (1 - SHARE) * g * beta[:, nozzle] + chance.normal(size=BLOCKS) * np.sqrt((1 - SHARE) * g)
        scores[:, nozzle] = theirs + others
        part[nozzle, PART], own[nozzle, PART] = theirs.sum(), SHARE * g * BLOCKS
        cross[nozzle, PART, nozzle] = SHARE * g * BLOCKS
    tables = (
        scores,
        np.repeat(np.diag(TOLD)[None], BLOCKS, axis=0),
        np.full((BLOCKS, NOZZLES), 100.0),
        np.full(BLOCKS, 100.0),
        part.ravel(),
        cross.reshape(-1, WIDTH),
        own.ravel(),
        np.zeros((BLOCKS, LOOKS - 1, WIDTH)),
        np.zeros((BLOCKS, LOOKS - 1, WIDTH, WIDTH)),
    )
    return Day(3.0, *(each.astype(np.float32) for each in tables))


def with_looks(day):
    """The same day, each block of which came evenly."""
    shares = np.arange(1, LOOKS, dtype=np.float32) / LOOKS
    scores = day.scores[:, None] * shares[:, None]
    return replace(day, early_scores=scores, early_information=day.information[:, None] * shares[:, None, None])


def watched(days, beta_of, seed=1, selective_of=None, visits=(), worked=(), looks=False):
    """A watch that was told so many days; ``beta_of(block)`` gives the coefficients, blocks counted from the first."""
    chance, watch = np.random.default_rng(seed), Watch(NOZZLES, 9.5)
    for number in range(days):
        beta = np.array([beta_of(number * BLOCKS + block) for block in range(BLOCKS)])
        start = (FIRST + number) * DAY_US
        selective = None if selective_of is None else selective_of(number)
        near = [visit for visit in visits if start - 2 * DAY_US < visit < start + DAY_US]
        day = day_of(chance, beta, selective)
        watch.tell(start, with_looks(day) if looks else day, near, worked=number in worked)
    return watch


def from_day(day, *places, size):
    """Coefficients that are ``size`` at these places from a day on."""
    there = np.zeros(WIDTH)
    there[list(places)] = size
    return lambda block: there if block >= day * BLOCKS else np.zeros(WIDTH)


@pytest.mark.parametrize("seed", range(4))
def test_an_honest_tank_is_left_alone(seed) -> None:
    assert watched(60, from_day(0, 0, size=0.0), seed).claims == []


@pytest.mark.parametrize(
    ("places", "size", "kind", "nozzle"),
    [
        ((2,), 0.03, "nozzle", 2),
        ((0,), -0.03, "nozzle", 0),
        (range(NOZZLES), 0.03, "tank", None),
        (range(NOZZLES), -0.03, "tank", None),
        ((NOZZLES,), 2.0, "leak", None),
    ],
)
def test_each_cause_is_claimed_as_what_it_is(places, size, kind, nozzle) -> None:
    watch = watched(32, from_day(25, *places, size=size))
    claim = watch.claims[0]
    assert (claim.kind, claim.nozzle, claim.rising) == (kind, nozzle, size > 0)
    onset_us = (FIRST + 25) * DAY_US
    assert onset_us < claim.at_us <= onset_us + 2 * DAY_US
    assert (claim.at_us - SETTLED_US) % BLOCK_US == 0
    assert abs(claim.since_us - onset_us) <= DAY_US
    assert claim.sized.low <= size <= claim.sized.high
    assert claim.nats >= 9.5
    assert claim.rival is not None
    assert claim.rival.nats < claim.nats


def test_what_was_suspected_before_is_claimed_within_a_block() -> None:
    late, early = (watched(100, from_day(95, 2, size=0.03), looks=looks).claims for looks in (False, True))
    assert [(claim.kind, claim.nozzle) for claim in early] == [(claim.kind, claim.nozzle) for claim in late]
    assert (early[0].at_us - SETTLED_US) % BLOCK_US in {BLOCK_US // LOOKS, 2 * BLOCK_US // LOOKS}
    assert 0 < late[0].at_us - early[0].at_us < BLOCK_US
    assert early[0].sized.low < 0.03 < early[0].sized.high


def test_of_nozzles_that_look_alike_the_tank_is_told_first_and_then_the_nozzle() -> None:
    """For a day the fillings of two nozzles lie between the same readings."""
    chance, watch = np.random.default_rng(1), Watch(NOZZLES, 9.5)
    for number in range(100):
        beta = np.array([from_day(95, 2, size=0.03)(number * BLOCKS + block) for block in range(BLOCKS)])
        day = day_of(chance, beta)
        if number == 95:
            together = np.diag(TOLD)
            together[1, 2] = together[2, 1] = 0.99 * TOLD[1]
            noise = chance.normal(size=(BLOCKS, WIDTH)) @ np.linalg.cholesky(together).T
            scores, information = beta @ together + noise, np.repeat(together[None], BLOCKS, axis=0)
            day = replace(day, scores=scores.astype(np.float32), information=information.astype(np.float32))
        watch.tell((FIRST + number) * DAY_US, day)
    some, named = watch.claims
    assert (some.kind, some.nozzle, some.rising, some.sharpens) == ("some", None, True, False)
    assert some.likeliest in {1, 2}
    assert some.rival is not None
    assert {some.likeliest, some.rival.fault} == {1, 2}
    assert some.at_us < (FIRST + 96) * DAY_US + SETTLED_US
    assert (named.kind, named.nozzle, named.sharpens) == ("nozzle", 2, True)
    assert some.at_us < named.at_us < some.at_us + 2 * DAY_US


def test_a_second_cause_at_a_tank_needs_more() -> None:
    """Both nozzles are short as much, the other one ten days after the first."""

    def beta(block: int) -> np.ndarray:
        there = np.zeros(WIDTH)
        there[1], there[2] = 0.03 * (block >= 50 * BLOCKS), 0.03 * (block >= 60 * BLOCKS)
        return there

    first, second = watched(75, beta).claims
    assert (first.nozzle, second.nozzle) == (1, 2)
    assert first.nats < second.nats


@pytest.mark.parametrize("seed", range(2))
def test_looks_find_nothing_in_an_honest_tank(seed) -> None:
    assert watched(60, from_day(0, 0, size=0.0), seed, looks=True).claims == []


def test_a_tank_that_is_hardly_known_is_claimed_of_later() -> None:
    """A small fault, of which every block says little."""
    onset = LEARN_DAYS + 3
    young, old = (watched(onset + more + 12, from_day(onset + more, 2, size=0.012)).claims[0] for more in (0, 130))
    assert young.at_us - (FIRST + onset) * DAY_US > old.at_us - (FIRST + onset + 130) * DAY_US
    assert young.nats > old.nats


@pytest.mark.parametrize("size", [0.0, 0.03])
def test_a_condition_is_named_sooner_where_all_fillings_are_short_or_suspected(monkeypatch, size) -> None:
    short = np.eye(NOZZLES)[2] * 0.007

    def named():
        watch = watched(60, from_day(25, 2, size=size), selective_of=lambda day: short if day >= 32 else None)
        return next(claim.at_us for claim in watch.claims if claim.kind == "part")

    sooner = named()
    monkeypatch.setattr(watch_module, "PART_KNOWN_NATS", 9.5 + math.log(len(STRATA)))
    monkeypatch.setattr(watch_module, "PART_BOTH_NATS", math.inf)
    assert sooner < named()


def test_a_threshold_set_low_is_low_for_conditions_too(monkeypatch) -> None:
    assert Watch(NOZZLES, 6.0)._part_needed(0, 0.0) > 6.0 + math.log(len(STRATA)) + 2.0  # nothing is known of the tank
    monkeypatch.setattr(watch_module, "EARLY_NATS", 0.0)
    watch = Watch(NOZZLES, 6.0)
    assert watch._part_needed(0, 0.0) == pytest.approx(6.0 + math.log(len(STRATA)))
    assert Watch(NOZZLES, 11.5)._part_needed(0, 0.0) == pytest.approx(11.5 + math.log(len(STRATA)))
    assert Watch(NOZZLES, 11.5)._part_needed(0, 99.0) == watch_module.PART_KNOWN_NATS


def test_nothing_is_claimed_while_the_tank_is_learned() -> None:
    watch = watched(LEARN_DAYS + 4, from_day(3, 1, size=0.05))
    assert all(claim.at_us >= (FIRST + LEARN_DAYS) * DAY_US for claim in watch.claims)
    assert watched(LEARN_DAYS - 1, from_day(3, 1, size=0.05)).claims == []


def test_a_nozzle_short_from_the_first_day_is_claimed_since_then() -> None:
    claims = watched(LEVEL_DAYS + 10, from_day(0, 3, size=0.015)).claims
    assert [(claim.nozzle, claim.rising, claim.since_us) for claim in claims] == [(3, True, FIRST * DAY_US)]
    assert claims[0].sized.low > 0.003


def test_a_level_beyond_the_limit_is_claimed_once() -> None:
    watch = watched(LEVEL_DAYS + 5, from_day(0, 0, size=0.0))
    value, _ = watch.filter.errors()
    there = np.flatnonzero(watch.filter.observed[3] * (watch.filter.observed[[0, 1, 2]].sum(axis=0) == 0.0))[0]
    watch.filter.state[there] += 0.02 - value[3]
    for day in range(LEVEL_DAYS - 1, LEVEL_DAYS + 2):
        watch._level((FIRST + day) * DAY_US)
    assert [(claim.kind, claim.nozzle, claim.since_us) for claim in watch.claims] == [("level", 3, FIRST * DAY_US)]
    assert watch.claims[0].sized.value == pytest.approx(0.02)
    assert watch.claims[0].at_us == (FIRST + LEVEL_DAYS) * DAY_US + SETTLED_US


def test_work_on_a_tank_makes_a_chart_not_a_loss() -> None:
    claims = watched(45, from_day(25, *range(NOZZLES), size=-0.012), worked={25}).claims
    assert [(claim.kind, claim.rising) for claim in claims] == [("chart", False)]
    assert claims[0].since_us == (FIRST + 25) * DAY_US
    assert claims[0].at_us >= (FIRST + 25 + CHART_DAYS) * DAY_US
    assert claims[0].sized.low <= -0.012 <= claims[0].sized.high


def test_fillings_that_alone_are_short_are_named() -> None:
    short = np.eye(NOZZLES)[2] * 0.05
    watch = watched(40, from_day(0, 0, size=0.0), selective_of=lambda day: short if day >= 25 else None)
    parts = [claim for claim in watch.claims if claim.kind == "part"]
    assert [(claim.nozzle, claim.stratum) for claim in parts] == [(2, PART)]
    assert parts[0].sized.low < 0.05 < parts[0].sized.high + 0.01
    assert {claim.nozzle for claim in watch.claims} == {2}


def test_a_fault_of_all_fillings_names_no_condition() -> None:
    assert {claim.kind for claim in watched(50, from_day(25, 1, size=0.04)).claims} == {"nozzle"}


def test_a_nozzle_that_is_honest_about_visits_is_named_once() -> None:
    visits = [(FIRST + day) * DAY_US + 12 * HOUR_US for day in range(30, 60, 6)]
    there = np.zeros(WIDTH)
    there[1] = 0.04

    def beta_of(block):
        middle = FIRST * DAY_US + block * BLOCK_US + BLOCK_US // 2
        near = any(visit - 12 * HOUR_US < middle < visit + 6 * HOUR_US for visit in visits)
        return there if block >= 25 * BLOCKS and not near else np.zeros(WIDTH)

    claims = [claim for claim in watched(60, beta_of, visits=visits).claims if claim.kind == "inspections"]
    assert [claim.nozzle for claim in claims] == [1]
    assert claims[0].sized.low < claims[0].sized.value < claims[0].sized.high
    always = watched(60, from_day(25, 1, size=0.04), visits=visits).claims
    assert "inspections" not in {claim.kind for claim in always}


def test_days_without_data_are_passed_over() -> None:
    chance, watch = np.random.default_rng(6), Watch(NOZZLES, 9.5)
    for number in range(40):
        there = np.zeros((BLOCKS, WIDTH))
        there[:, 0] = 0.03 if number >= 30 else 0.0
        gone = 20 <= number < 30
        watch.tell((FIRST + number) * DAY_US, None if gone else day_of(chance, there))
    assert [(claim.kind, claim.nozzle) for claim in watch.claims] == [("nozzle", 0)]
    assert watch.claims[0].at_us > (FIRST + 30) * DAY_US
    assert len(watch.track.day_us) == len(watch.track.value) == 40
    assert watch.track.litres[25].sum() == 0.0
    assert watch.track.litres[5].sum() == pytest.approx(100.0 * BLOCKS * NOZZLES)


def test_the_track_is_the_error_day_by_day() -> None:
    watch = watched(60, from_day(25, 2, size=0.03))
    value, sd = np.array(watch.track.value), np.array(watch.track.sd)
    assert abs(value[24, 2]) < 4.0 * sd[24, 2]
    others = np.delete(value[-1], 2).mean()
    assert value[-1, 2] - others == pytest.approx(0.03, abs=0.006)
    assert watch.track.day_us == [(FIRST + day + 1) * DAY_US for day in range(60)]


def test_an_error_that_jumps_is_no_drift() -> None:
    for seed in range(1, 4):
        jumped = [claim for claim in watched(50, from_day(25, 0, size=0.0075), seed).claims if claim.nozzle == 0]
        assert jumped
        assert not jumped[0].drift
