"""One filling look by look: honest ones of any size, phase and channel are quiet, what did not flow is named."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import NozzleState
from pumpwatch.display import TRAINED, DisplayWatch, Look
from pumpwatch_sim.world.flow import duration_s, progress_l, rate_l_min

LIFT_S, REST_S = 3.0, 6.0
RATES = st.floats(8.0, 90.0)
PHASES = st.floats(0.0, 0.999)


def looks(
    litres=30.0, rate=38.0, *, phase=0.0, left=0.0, jump=0.0, jump_at=0.5, old=21.37, told=True, late=False, times=None
):
    """A filling read each second: the old total while hung, then zero (or ``left``), flow, hung again.

    ``late``: the display goes back only when fuel flows.
    """
    flows = float(duration_s(litres, rate))
    for at in times or [phase + i for i in range(int(LIFT_S + flows + REST_S) + 7)]:
        since = at - 3.0 - LIFT_S
        shown, flow = float(progress_l(litres, rate, since)), float(rate_l_min(litres, rate, since))
        total = left + shown + (jump if shown >= jump_at * litres else 0.0)
        if at < 3.0:
            state, total = NozzleState.IDLE, old
        elif since < 0.0:
            state, total = NozzleState.LIFTED, old if late else total
        elif since < flows:
            state = NozzleState.FUELLING
        elif since < flows + REST_S:
            state = NozzleState.STOPPED
        else:
            state = NozzleState.IDLE
        yield Look(at, at + 0.05, state, round(total, 2), round(flow, 1) if told else math.nan)


def watch(those, watcher=None):
    watcher = watcher or DisplayWatch()
    verdicts = [v for look in those if (v := watcher.feed(look)) is not None]
    assert len(verdicts) <= 1
    return verdicts[0] if verdicts else None


def later(those, seconds):
    return [look._replace(began=look.began + seconds, at=look.at + seconds) for look in those]


@given(
    litres=st.floats(0.5, 150.0), rate=RATES, phase=PHASES, told=st.booleans(), old=st.floats(0.0, 200.0),
    late=st.booleans(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_honest_ones_are_quiet(litres, rate, phase, told, old, late):
    verdict = watch(looks(litres, rate, phase=phase, told=told, old=old, late=late))
    assert verdict.wrong == ()
    assert verdict.holes == 0
    assert verdict.volume_l == pytest.approx(litres, abs=0.006)


@given(litres=st.floats(3.0, 80.0), rate=RATES, seed=st.integers(0, 10_000), period=st.floats(0.5, 6.0))
@settings(max_examples=80, deadline=None)
def test_dropped_and_slow_reads_of_any_period_are_quiet(litres, rate, seed, period):
    """A read may take long, come late, or not at all; the display belongs to some moment while it went on."""
    dice = random.Random(seed)
    moments, begun = [0.5], []
    while moments[-1] < LIFT_S + float(duration_s(litres, rate)) + REST_S + 12.0:
        moments.append(moments[-1] + period * dice.choice((1.0, 1.0, 1.0, 1.6, 3.0)))
    for before, at in zip([0.0, *moments], moments, strict=False):
        begun.append(at - dice.random() * min(0.9, 0.9 * (at - before)))
    those = [
        look._replace(began=begun[i], at=look.began + (dice.random() * 0.05))
        for i, look in enumerate(looks(litres, rate, times=moments))
    ]
    assert (watch(those) or watch(looks())).wrong == ()


@given(litres=st.floats(3.0, 80.0), rate=RATES, phase=PHASES, stride=st.integers(2, 3))
@settings(max_examples=40, deadline=None)
def test_a_controller_that_refreshes_seldom_is_quiet(litres, rate, phase, stride):
    fresh = list(looks(litres, rate, phase=phase))
    stale = [
        fresh[i - i % stride]._replace(began=look.began, at=look.at) for i, look in enumerate(fresh)
    ]  # fmt: skip
    assert watch(stale).wrong == ()


def test_bursts_at_the_end_are_quiet():
    """Topping up: the trigger is pulled again and again for half a second, seen or unseen."""
    dice = random.Random(3)
    for _ in range(200):
        volume, at, those = 0.0, 0.0, [Look(0.0, 0.05, NozzleState.IDLE, 12.0, 0.0)]
        for _ in range(40):
            at += 1.0
            volume += dice.choice((0.0, 0.05, 0.3, 0.62))
            those.append(Look(at, at + 0.05, NozzleState.FUELLING, round(volume, 2), dice.choice((0.0, 4.0, 38.0))))
        those.append(Look(at + 1.0, at + 1.05, NozzleState.IDLE, round(volume, 2), 0.0))
        assert watch(those).wrong == ()


@given(left=st.floats(0.2, 0.5), litres=st.floats(5.0, 80.0), phase=PHASES, told=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_display_that_does_not_return_to_zero(left, litres, phase, told):
    verdict = watch(looks(litres, left=left, phase=phase, told=told))
    assert verdict.wrong == ("no_zero",)
    assert verdict.excess_l == pytest.approx(left, abs=0.01)


@given(share=st.floats(0.05, 0.10), litres=st.floats(12.0, 80.0), phase=PHASES, where=st.floats(0.3, 0.9))
@settings(max_examples=60, deadline=None)
def test_a_display_that_jumps(share, litres, phase, where):
    verdict = watch(looks(litres, jump=share * litres, jump_at=where, phase=phase))
    assert verdict.wrong == ("jump",)
    assert verdict.excess_l == pytest.approx(share * litres, abs=0.25)
    assert verdict.trace.count(":") == 2 * len(verdict.trace.split())


def test_a_large_jump_shows_without_a_flow():
    assert watch(looks(60.0, jump=6.0, told=False)).wrong == ("jump",)


@pytest.mark.parametrize("nothing", [-1.0, -999.0, 65_535.0, math.inf])
def test_a_flow_that_cannot_be_is_none(nothing):
    jumping = list(looks(60.0, jump=6.0, told=False))
    told = [look._replace(flow_l_min=nothing) for look in jumping]
    assert watch(told) == watch(jumping)
    assert watch(told).wrong == ("jump",)


def test_counting_while_hung_up():
    honest = list(looks())
    creeping = [
        look._replace(volume_l=21.37 + 0.1 * i, flow_l_min=0.0) for i, look in enumerate(looks(times=[-2, -1, 0, 1, 2]))
    ]
    verdict = watch([*creeping, *honest[3:]])
    assert verdict.wrong == ("hung",)
    assert verdict.hung_l == pytest.approx(0.4)
    shared = [look._replace(alone=False) for look in creeping]
    assert watch([*shared, *honest[3:]]).wrong == (), "another nozzle of the same display was fuelling"


def test_a_preset_keyed_in_while_hung_is_no_counting():
    honest = list(looks())
    keyed = [honest[0]._replace(began=b, at=b + 0.05, volume_l=v) for b, v in ((-2.0, 0.0), (-1.0, 3.0), (0.0, 30.0))]
    assert watch([*keyed, *honest[1:]]).wrong == ()


def trickling(those, factor):
    return [
        look._replace(volume_l=round(look.volume_l * factor, 2)) if look.at > 3.1 else look for look in those
    ]  # fmt: skip


def test_litres_that_trickle_in_are_not_accounted_for_once_the_flow_is_known():
    watcher = DisplayWatch()
    for number in range(TRAINED):
        assert watch(later(looks(30.0 + number), 200.0 * number), watcher).wrong == ()
    assert watch(later(trickling(looks(), 1.05), 200.0 * TRAINED), watcher).wrong == ("unaccounted",)
    assert watch(later(looks(), 200.0 * (TRAINED + 1)), watcher).wrong == ()


def test_a_flow_that_is_always_told_too_low_is_no_fault_of_the_display():
    watcher = DisplayWatch()
    said = [watch(later(trickling(looks(20.0 + n), 1.05), 200.0 * n), watcher).wrong for n in range(3 * TRAINED)]
    assert set(said) == {()}


def test_a_display_that_clears_only_when_fuel_flows_and_a_small_last_total():
    for old in (0.0, 0.3, 0.6, 21.37):
        assert watch(looks(old=old, late=True)).wrong == ()


def test_missing_looks_leave_a_hole_and_no_verdict_on_it():
    verdict = watch([look for i, look in enumerate(looks(jump=2.0)) if not 20 <= i <= 40])
    assert verdict.holes == 1
    assert verdict.wrong == ()


def test_a_beginning_that_was_not_seen_is_not_judged():
    assert watch([look for look in looks(left=0.4) if look.at > 15.0]).wrong == ()


def test_a_nozzle_that_is_lifted_and_hung_up_again_is_no_filling():
    states = (NozzleState.IDLE, NozzleState.LIFTED, NozzleState.LIFTED, NozzleState.LIFTED, NozzleState.IDLE)
    shown = (21.37, 8.88, 8.88, 8.88, 21.37)
    those = [Look(at, at + 0.05, s, v, 0.0) for at, (s, v) in enumerate(zip(states, shown, strict=True))]
    assert watch(those) is None


def test_a_reading_that_goes_back_is_not_trusted():
    those = list(looks(60.0))
    torn = [look._replace(volume_l=look.volume_l + 655.36) if i == 30 else look for i, look in enumerate(those)]
    verdict = watch(torn)
    assert verdict.wrong == ()
    assert verdict.holes == 1


def test_looks_out_of_order_or_without_a_volume_are_passed_over():
    honest = list(looks())
    noisy = [look for pair in zip(honest, honest, strict=True) for look in pair]
    noisy.insert(20, noisy[19]._replace(at=noisy[19].at + 0.1, volume_l=math.nan))
    assert watch(noisy) == replace(watch(honest), trace=watch(noisy).trace)


def test_one_watcher_sees_one_filling_after_another():
    watcher = DisplayWatch()
    said = [watch(later(looks(left=left), 100.0 * i), watcher).wrong for i, left in enumerate((0.0, 0.4, 0.0))]
    assert said == [(), ("no_zero",), ()]
