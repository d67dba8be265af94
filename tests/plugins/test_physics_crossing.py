"""Two tanks that mirror each other: one cause and one alarm, and nothing of it where a tank is wrong by itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import judged, staged

from pumpwatch import Severity, from_us
from pumpwatch.courses import DAY_US
from pumpwatch.detection.arbitration import arbitrate
from pumpwatch.testing import cut_invariant
from pumpwatch_physics import SelectiveDelivery, TankBalance
from pumpwatch_physics.blocks import BANDS, BLOCK_US, BLOCKS, LOOKS, Day
from pumpwatch_physics.crossing import APART_DAYS, Crossings
from pumpwatch_physics.strata import STRATA
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.dataset.truth import truth_of
from pumpwatch_wetstock import ProductSwap, UnrecordedWithdrawal, WrongTank

RULES = (TankBalance, SelectiveDelivery, ProductSwap, WrongTank, UnrecordedWithdrawal)
ONSET, NOISE_L = 20, 3.5
"""A day; litres, of what a tank lost or gained in a block."""


@lru_cache(maxsize=4)
def _past(days, tanks, scenario):
    staging = staged(
        dict(scenario), count=1, days=days, seed=5, tanks=tanks, nozzles_per_tank=2, tank_litres=30_000
    )  # fmt: skip
    (item,) = truth_of(staging)["items"]
    return station_past(staging, "S01"), datetime.fromisoformat(item["onset"].replace("Z", "+00:00"))


def past_of(name, days=42, tanks=2, **parameters):
    return _past(days, tanks, tuple(sorted({"name": name, "onset": "P30DT7H", **parameters}.items())))


def alarms(past, rules=RULES):
    """What is more than a note, one a cause."""
    claims = arbitrate(judged(past, *rules), [rule(rule.Settings()) for rule in rules])
    return [claim for claim in claims if claim.severity is not Severity.INFO]


# ---------------------------------------------------------------- at a station


def test_a_swapped_pair_is_one_alarm_within_a_day() -> None:
    past, onset = past_of("product_swap", station="S01", percent=10.0)
    (claim,) = alarms(past)
    assert (claim.root.rule, claim.root.cause, claim.root.subject.key) == ("product_swap", "product_swap", "S01-T2")
    first = min(claim.findings, key=lambda finding: finding.detected_at)
    assert (first.rule, first.cause, first.subject.key) == ("tank_balance", "product_swap", "S01-T2")
    assert onset < first.detected_at < onset + timedelta(days=1)
    assert first.estimate.low < 10.0 < first.estimate.high
    assert first.evidence[0].reference == "S01-T2/S01-T1"
    assert abs(claim.root.onset - onset) < timedelta(hours=3)
    assert claim.root.estimate.low < 10.5
    assert claim.root.estimate.high > 9.5


def test_it_is_the_same_wherever_cut() -> None:
    past, onset = past_of("product_swap", station="S01", percent=10.0)
    cuts = [onset + timedelta(hours=hours) for hours in (5.2, 11.9)]
    assert cut_invariant(TankBalance(TankBalance.Settings()), past, cuts)


def test_a_nozzle_at_the_wrong_tank_is_one_alarm_that_names_it() -> None:
    past, _ = past_of("nozzle_remapped", tanks=4, days=30, station="S01")
    (claim,) = alarms(past)
    (nozzle,) = {finding.subject.nozzle_id for finding in claim.findings}
    assert nozzle is not None
    assert {finding.rule for finding in claim.findings} == {"tank_balance", "wrong_tank"}
    assert {finding.cause for finding in claim.findings} == {"wrong_tank"}


def test_fuel_taken_from_one_of_two_tanks_is_still_that_tank_s() -> None:
    past, onset = past_of("hidden_dispenser", tank="S01-T1", litres_per_day=600.0)
    found = [claim.root for claim in alarms(past)]
    assert found
    assert {each.subject.key for each in found} == {"S01-T1"}
    assert {each.cause for each in found} <= {"offline_sale", "theft", "leak"}
    assert found[0].detected_at < onset + timedelta(days=3)


# ---------------------------------------------------------------- by hand


def day_of(gained, sold=800.0, readings=36):
    """A tank's day: litres gained in each block, and sold."""
    n = 2
    p = n + 1 + BANDS
    hours = BLOCK_US / 3.6e9
    scores, information = np.zeros((BLOCKS, p)), np.zeros((BLOCKS, p, p))
    information[:, n, n] = (hours / NOISE_L) ** 2
    scores[:, n] = -information[:, n, n] * np.asarray(gained) / hours
    litres = np.full((BLOCKS, n), sold / n)
    parts = n * len(STRATA)
    arrays = (scores, information, litres, np.full(BLOCKS, float(readings)), np.zeros(parts), np.zeros((parts, p)))
    early = (np.zeros((BLOCKS, LOOKS - 1, p)), np.zeros((BLOCKS, LOOKS - 1, p, p)))
    return Day(3.0, *(each.astype(np.float32) for each in (*arrays, np.zeros(parts), *early))).to_array()


def told(*gained, seed=1, **more):
    """Days of tanks; ``gained`` says for each what it gains in a block since ``ONSET``, beyond the gauge's noise."""
    chance = np.random.default_rng(seed)
    digests = {}
    for day in range(ONSET + 3 * APART_DAYS):
        digests[day] = {
            f"S01-T{number}": day_of(chance.normal(0.0, NOISE_L, BLOCKS) + litres * (day >= ONSET), **more)
            for number, litres in enumerate(gained, 1)
        }
    return digests


def crossings(digests):
    made = Crossings(digests)
    last = max(digests, default=0)
    marked = {tank: sum(int(made.blocks(day, tank).sum()) for day in digests) for tank in digests.get(last, {})}
    return list(made.found(min(digests, default=0), last, 0)), marked


def test_what_one_gains_and_another_loses_is_told_once_and_marks_both() -> None:
    found, marked = crossings(told(0.0, 80.0, -80.0))
    (crossing,) = found
    assert (crossing.gaining, crossing.losing, crossing.nozzle) == ("S01-T2", "S01-T3", None)
    assert from_us(crossing.since_us) == from_us(ONSET * DAY_US)
    assert crossing.at_us - crossing.since_us < DAY_US / 2
    value, sd = crossing.share
    assert abs(value - 0.1) < 2.0 * sd < 0.04
    assert marked == {"S01-T1": 0, "S01-T2": 3 * APART_DAYS * BLOCKS, "S01-T3": 3 * APART_DAYS * BLOCKS}


@pytest.mark.parametrize(
    "gained",
    [(0.0, -80.0), (80.0, 0.0), (80.0, 80.0), (-80.0, -80.0), (80.0, -30.0), (30.0, -80.0), (15.0, -15.0), (4.0, -4.0)],
)
def test_what_does_not_mirror_or_may_be_two_charts_is_left_to_the_tank(gained) -> None:
    assert crossings(told(*gained)) == ([], {"S01-T1": 0, "S01-T2": 0})


def test_more_taken_during_a_swap_shows_in_the_tank_again() -> None:
    digests = told(80.0, -80.0)
    more = told(80.0, -160.0)
    later = ONSET + 5
    _, marked = crossings({day: more[day] if day >= later else digests[day] for day in digests})
    assert marked["S01-T2"] <= (later - ONSET + 2) * BLOCKS


def test_after_a_week_without_it_is_told_anew() -> None:
    digests, quiet = told(80.0, -80.0), told(0.0, 0.0)
    pause = range(ONSET + 3, ONSET + 4 + APART_DAYS)
    found, _ = crossings({day: quiet[day] if day in pause else digests[day] for day in digests})
    assert len(found) == 2


def test_a_dip_a_day_and_days_without_readings_say_nothing() -> None:
    assert crossings(told(80.0, -80.0, readings=1))[0] == []
    digests = told(80.0, -80.0)
    assert len(crossings({day: tanks for day, tanks in digests.items() if day % 2})[0]) == 1
    assert crossings({}) == ([], {})


@given(st.lists(st.floats(-1e6, 1e6), min_size=BLOCKS, max_size=BLOCKS), st.floats(0.0, 1e5))
def test_any_amounts_are_judged(gained, sold) -> None:
    digests = {3: {"S01-T1": day_of(gained, sold), "S01-T2": day_of([-each for each in gained], sold)}}
    found, marked = crossings(digests)
    assert marked["S01-T1"] == marked["S01-T2"] <= BLOCKS
    assert all(np.isfinite(crossing.share).all() for crossing in found)


def test_a_day_without_some_blocks_keeps_the_others() -> None:
    day = Day.from_array(day_of(np.arange(BLOCKS)))
    some = np.arange(BLOCKS) < 3
    left = day.without(some)
    assert not left.information[some].any()
    assert (left.scores[~some] == day.scores[~some]).all()
    assert (left.litres == day.litres).all()
    assert day.without(~some | some) is None
    assert day.without(some & ~some) is day
