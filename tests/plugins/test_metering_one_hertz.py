"""One filling second by second: honest ones of any size and phase are quiet, what did not flow is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import NozzleState
from pumpwatch_metering.one_hertz import OneHertz
from pumpwatch_sim.world.flow import duration_s, progress_l, rate_l_min

LIFT_S, REST_S = 3.0, 6.0


def samples(litres=30.0, rate=38.0, *, phase=0.0, left=0.0, jump=0.0, jump_at=0.5, old=21.37, told=True):
    """A filling as a driver reads it each second: old total while hung, then zero (or ``left``), flow, hung again."""
    flows = float(duration_s(litres, rate))
    times = np.arange(phase, 3.0 + LIFT_S + flows + REST_S + 3.0, 1.0)
    progress, flowing = (f(litres, rate, times - 3.0 - LIFT_S) for f in (progress_l, rate_l_min))
    for at, shown, flow in zip(times.tolist(), progress.tolist(), flowing.tolist(), strict=True):
        since = at - 3.0 - LIFT_S
        total = left + shown + (jump if shown >= jump_at * litres else 0.0)
        if at < 3.0:
            state, total = NozzleState.IDLE, old
        elif since < 0.0:
            state = NozzleState.LIFTED
        elif since < flows:
            state = NozzleState.FUELLING
        elif since < flows + REST_S:
            state = NozzleState.STOPPED
        else:
            state = NozzleState.IDLE
        yield at, state, round(total, 2), flow if told else None


def watch(those):
    watcher = OneHertz()
    verdicts = [v for s in those if (v := watcher.feed(*s)) is not None]
    assert len(verdicts) <= 1
    return verdicts[0] if verdicts else None


@given(
    litres=st.floats(0.5, 150.0),
    rate=st.floats(8.0, 90.0),
    phase=st.floats(0.0, 0.999),
    told=st.booleans(),
    old=st.floats(0.0, 200.0),
)
@settings(max_examples=60, deadline=None)
def test_honest_ones_are_quiet(litres, rate, phase, told, old):
    verdict = watch(samples(litres, rate, phase=phase, told=told, old=old))
    assert verdict.wrong == ()
    assert verdict.holes == 0
    assert verdict.volume_l == pytest.approx(litres, abs=0.006)


@given(left=st.floats(0.2, 0.5), litres=st.floats(5.0, 80.0), phase=st.floats(0.0, 0.999), told=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_display_that_does_not_return_to_zero(left, litres, phase, told):
    verdict = watch(samples(litres, left=left, phase=phase, told=told))
    assert verdict.wrong == ("no_zero",)
    assert verdict.excess_l == pytest.approx(left, abs=0.01)


@given(
    share=st.floats(0.05, 0.10), litres=st.floats(10.0, 80.0), phase=st.floats(0.0, 0.999), where=st.floats(0.3, 0.9)
)
@settings(max_examples=40, deadline=None)
def test_a_display_that_jumps(share, litres, phase, where):
    verdict = watch(samples(litres, jump=share * litres, jump_at=where, phase=phase))
    assert verdict.wrong == ("jump",)
    assert verdict.excess_l == pytest.approx(share * litres, abs=0.15)


def test_a_large_jump_shows_without_a_flow():
    verdict = watch(samples(60.0, jump=6.0, told=False))
    assert verdict.wrong == ("jump",)


def test_counting_while_hung_up():
    honest = list(samples())
    creeping = [(s[0], NozzleState.IDLE, 21.37 + 0.1 * i, 0.0) for i, s in enumerate(honest[:3])]
    verdict = watch([*creeping, *honest[3:]])
    assert verdict.wrong == ("hung",)
    assert verdict.hung_l == pytest.approx(0.2)


def test_litres_that_trickle_in_are_not_accounted_for():
    trickle = [
        (at, s, round(v * 1.05, 2) if s is not NozzleState.IDLE or at > 3 else v, f) for at, s, v, f in samples()
    ]
    assert watch(trickle).wrong == ("unaccounted",)


def test_a_display_that_clears_only_when_fuel_flows():
    those = [(at, s, 21.37 if s is NozzleState.LIFTED else v, f) for at, s, v, f in samples()]
    assert watch(those).wrong == ()


def test_missing_samples_leave_a_hole_and_no_verdict_on_it():
    those = [s for i, s in enumerate(samples(jump=2.0)) if not 20 <= i <= 40]
    verdict = watch(those)
    assert verdict.holes == 1
    assert verdict.wrong == ()


def test_a_beginning_that_was_not_seen_is_not_judged():
    those = [s for s in samples() if s[0] > 15.0]
    assert watch(those).wrong == ()


def test_samples_out_of_order_or_without_a_volume_are_passed_over():
    honest = list(samples())
    noisy = [s for pair in zip(honest, honest, strict=True) for s in pair]
    noisy.insert(20, (noisy[19][0] + 0.1, NozzleState.FUELLING, float("nan"), 30.0))
    assert watch(noisy).wrong == ()


def test_one_watcher_sees_one_filling_after_another():
    watcher, said = OneHertz(), []
    for number, left in enumerate((0.0, 0.4, 0.0)):
        said += [watcher.feed(at + 100.0 * number, *rest) for at, *rest in samples(left=left)]
    assert [v.wrong for v in said if v is not None] == [(), ("no_zero",), ()]
