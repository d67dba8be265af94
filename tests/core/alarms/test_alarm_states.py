"""Every state and every act, and what a fact becomes of them."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.alarms import Act, State, step
from pumpwatch.alarms.alarm import LOG_KEPT, acknowledged, cleared, raised, repeated, returned, stood_again
from pumpwatch.errors import Refused
from pumpwatch.model import Department, Severity

NO = None
#            raise           repeat               acknowledge          return            clear
EXPECTED = {
    None: (State.ACTIVE, NO, NO, NO, NO),
    State.ACTIVE: (NO, State.ACTIVE, State.ACKNOWLEDGED, State.RETURNED, State.CLEARED),
    State.ACKNOWLEDGED: (NO, State.ACKNOWLEDGED, NO, State.CLEARED, State.CLEARED),
    State.RETURNED: (NO, State.ACTIVE, State.CLEARED, State.RETURNED, State.CLEARED),
    State.CLEARED: (NO, NO, NO, NO, NO),
}
CASES = [(state, act, after) for state, row in EXPECTED.items() for act, after in zip(Act, row, strict=True)]


def test_the_table_is_whole():
    assert {(state, act) for state, act, _ in CASES} == set(itertools.product([None, *State], Act))


@pytest.mark.parametrize(("state", "act", "after"), CASES)
def test_step(state, act, after):
    if after is not None:
        assert step(state, act) is after
    else:
        with pytest.raises(Refused, match=f"cannot {act} an alarm that"):
            step(state, act)


@given(st.lists(st.sampled_from(Act)))
def test_nothing_leads_out_of_cleared_and_only_people_or_the_data_lead_there(acts):
    state = None
    for act in acts:
        try:
            after = step(state, act)
        except Refused:
            continue
        if after is State.CLEARED:
            assert act in (Act.CLEAR, Act.ACKNOWLEDGE, Act.RETURN)
        assert state is not State.CLEARED
        state = after


def test_a_first_finding(finding, clock):
    alarm = raised(12, finding(), clock.now())
    assert (alarm.id, alarm.state, alarm.count, alarm.acts) == ("A-000012", State.ACTIVE, 1, 1)
    assert (alarm.log[0].act, alarm.log[0].by, alarm.log[0].at) == (Act.RAISE, "", clock.now())
    assert raised(1_234_567, finding(), clock.now()).id == "A-1234567"


def test_another_finding_adds_up_and_severity_only_rises(finding, clock):
    first = finding("F1", severity=Severity.MEDIUM)
    alarm = raised(1, first, clock.now())
    low = finding(
        "F2",
        severity=Severity.LOW,
        cause="tampering",
        departments=(Department.POLICE, Department.MARKET_REGULATION),
        onset=first.onset - timedelta(days=1),
    )
    alarm = repeated(alarm, low, clock.now())
    assert (alarm.severity, alarm.cause, alarm.count, alarm.finding) == (Severity.MEDIUM, "tampering", 2, low)
    assert alarm.departments == (Department.MARKET_REGULATION, Department.POLICE)
    assert alarm.onset == low.onset
    assert len(alarm.log) == 1  # that it counts is no news
    alarm = repeated(alarm, finding("F3", severity=Severity.CRITICAL), clock.now())
    assert (alarm.severity, alarm.onset) == (Severity.CRITICAL, low.onset)
    assert alarm.log[-1].note == "severity medium → critical"


def test_returning_and_standing_again(finding, clock):
    alarm = returned(raised(1, finding(), clock.now()), clock.now())
    assert (alarm.state, alarm.returned_at) == (State.RETURNED, clock.now())
    for again in (repeated(alarm, finding("F2"), clock.now()), stood_again(alarm, clock.now())):
        assert (again.state, again.returned_at, again.log[-1].note) == (State.ACTIVE, None, "stands again")


def test_who_and_when_of_every_way_to_the_end(finding, clock):
    now = clock.now()
    alarm = raised(1, finding(), now)
    known = acknowledged(alarm, now, "示例甲", "seen")
    assert (known.state, known.acknowledged_by, known.acknowledged_at, known.cleared_at) == (
        State.ACKNOWLEDGED, "示例甲", now, None,
    )  # fmt: skip
    by_itself = returned(known, now)
    assert (by_itself.state, by_itself.cleared_at, by_itself.cleared_by) == (State.CLEARED, now, None)
    by_acknowledging = acknowledged(returned(alarm, now), now, "示例乙", "")
    assert (by_acknowledging.cleared_by, by_acknowledging.acknowledged_by) == ("示例乙", "示例乙")
    by_clearing = cleared(alarm, now, "示例丙", "why")
    assert (by_clearing.state, by_clearing.cleared_by, by_clearing.acknowledged_by) == (State.CLEARED, "示例丙", None)
    assert [(e.act, e.by, e.note) for e in by_clearing.log] == [(Act.RAISE, "", ""), (Act.CLEAR, "示例丙", "why")]


def test_the_log_carried_along_is_bounded(finding, clock):
    alarm = raised(1, finding(), clock.now())
    for _ in range(100):
        alarm = stood_again(returned(alarm, clock.now()), clock.now())
    assert (len(alarm.log), alarm.acts) == (LOG_KEPT, 201)
    assert alarm.log[0].act is Act.RAISE
    assert alarm.log[-1].act is Act.REPEAT
