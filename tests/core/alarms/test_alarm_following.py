"""What follows from what, and what becomes of it when a finding is withdrawn or claimed again."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from pumpwatch.alarms import Alarms, State
from pumpwatch.alarms import alarms as organ
from pumpwatch.alarms.storage import ALARMS, FINDINGS
from pumpwatch.database import Database, ledger_url
from pumpwatch.model import Department, Evidence, Severity, Subject
from pumpwatch.testing.clock import FakeClock

ANN = "示例甲"
STANDS = (State.ACTIVE, State.ACKNOWLEDGED)


async def rows(database):
    """Every finding on disk: its alarm's number, what it follows from, whether it was withdrawn."""
    columns = FINDINGS.c
    async with database.reading() as connection:
        kept = await connection.execute(
            select(columns.id, columns.alarm_number, columns.cause_id, columns.withdrawn_at.is_not(None))
        )
        return {row[0]: tuple(row[1:]) for row in kept}


async def on_disk(database, clock):
    other = Alarms(database, clock)
    await other.load()
    return other.current()


@pytest.fixture
def cause(finding):
    return finding("F1", rule="tax_memory")


@pytest.fixture
def effect(finding):
    return finding("F2", rule="sequence")


# ---------------------------------------------------------------- a consequence is withdrawn


@pytest.mark.parametrize("known", [False, True])
async def test_withdrawing_what_followed_leaves_the_alarm_of_its_cause(alarms, database, clock, cause, effect, known):
    alarm = await alarms.raise_(cause)
    if known:
        await alarms.acknowledge(alarm.id, ANN)
    alarm = await alarms.attach(effect, "F1")
    after = await alarms.withdraw("F2")
    assert (after.id, after.state, after.count) == (alarm.id, alarm.state, 1)
    assert "F2" in after.log[-1].note
    assert after.acts == alarm.acts + 1
    assert alarms.current() == (after,) == await on_disk(database, clock)
    assert await alarms.withdraw("F2") == after, "once is enough"


async def test_withdrawing_what_followed_does_not_count_its_cause_down(alarms, finding, cause, effect):
    await alarms.raise_(cause)
    await alarms.raise_(finding("F9", rule="tax_memory"))
    await alarms.attach(effect, "F1")
    assert (await alarms.withdraw("F2")).count == 2


async def test_withdrawing_what_followed_tells_nothing_to_an_alarm_that_is_over(alarms, cause, effect):
    alarm = await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    over = await alarms.clear(alarm.id, ANN, "x")
    assert await alarms.withdraw("F2") is None
    assert await alarms.alarm(alarm.id) == over


async def test_a_withdrawn_consequence_claimed_again_goes_to_its_cause_again(alarms, database, cause, effect):
    alarm = await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    await alarms.withdraw("F2")
    assert await alarms.unknown([effect, cause]) == [effect]
    again = await alarms.attach(effect, "F1")
    assert (again.id, again.count) == (alarm.id, 1)
    assert await alarms.unknown([effect]) == []
    assert await rows(database) == {"F1": (1, None, False), "F2": (1, "F1", False)}


# ---------------------------------------------------------------- withdrawn and claimed again


@pytest.mark.parametrize("known", [False, True])
async def test_a_withdrawn_finding_claimed_again_is_new(alarms, database, clock, finding, known):
    first = await alarms.raise_(finding())
    if known:
        await alarms.acknowledge(first.id, ANN)
    gone = await alarms.withdraw("F1")
    assert (gone.state, gone.count) == (State.CLEARED if known else State.RETURNED, 0)
    assert await alarms.unknown([finding()]) == [finding()]
    again = await alarms.raise_(finding())
    assert (again.state, again.count) == (State.ACTIVE, 1)
    assert (again.id == first.id) is not known
    assert alarms.current() == (again,) == await on_disk(database, clock)
    assert await alarms.unknown([finding()]) == []
    assert await rows(database) == {"F1": (again.number, None, False)}
    assert (await alarms.withdraw("F1")).state is State.RETURNED, "and can be withdrawn again"


async def test_a_withdrawn_finding_claimed_again_says_what_is_known_now(alarms, database, clock, finding):
    await alarms.raise_(finding())
    await alarms.withdraw("F1")
    told = finding(severity=Severity.CRITICAL, cause="tampering")
    again = await alarms.raise_(told)
    assert (again.finding, again.severity, again.cause) == (told, Severity.CRITICAL, "tampering")
    assert await on_disk(database, clock) == (again,)


async def test_one_of_two_claimed_again_counts_again(alarms, finding):
    await alarms.raise_(finding("F1"))
    await alarms.raise_(finding("F2"))
    left = await alarms.withdraw("F2")
    assert (left.state, left.count, left.finding.id) == (State.ACTIVE, 1, "F1"), "the newest that stands is shown"
    assert (await alarms.raise_(finding("F2"))).count == 2


async def test_withdrawing_again_and_again_is_withdrawing_once(alarms, database, clock, finding):
    for number in (1, 2, 3):
        await alarms.raise_(finding(f"F{number}"))
    for _ in range(3):
        left = await alarms.withdraw("F1")
    assert (left.state, left.count) == (State.ACTIVE, 2)
    assert await on_disk(database, clock) == (left,)
    await alarms.withdraw("F2")
    assert (await alarms.withdraw("F3")).state is State.RETURNED
    assert (await alarms.withdraw("F3")).state is State.RETURNED


async def test_what_was_withdrawn_does_not_hold_up_an_alarm_raised_anew(alarms, finding):
    await alarms.raise_(finding("F1"))
    await alarms.withdraw("F1")
    assert (await alarms.raise_(finding("F2"))).count == 1
    assert (await alarms.withdraw("F2")).state is State.RETURNED


async def test_a_withdrawn_event_is_none_until_it_is_claimed_again(alarms, finding):
    info = finding("E1", severity=Severity.INFO)
    await alarms.raise_(info)
    assert await alarms.withdraw("E1") is None
    assert await alarms.events() == ()
    assert await alarms.unknown([info]) == [info]
    await alarms.raise_(info)
    assert await alarms.events() == (info,)


# ---------------------------------------------------------------- the cause is withdrawn


@pytest.mark.parametrize("known", [False, True])
async def test_without_its_cause_a_consequence_raises_its_own_alarm(alarms, database, clock, cause, effect, known):
    alarm = await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    if known:
        await alarms.acknowledge(alarm.id, ANN)
    gone = await alarms.withdraw("F1")
    assert (gone.id, gone.state.stands) == (alarm.id, False)
    own = next(a for a in alarms.current() if a.rule == "sequence")
    assert (own.state, own.count, own.finding) == (State.ACTIVE, 1, effect)
    assert await on_disk(database, clock) == alarms.current()
    assert await rows(database) == {"F1": (1, None, True), "F2": (2, None, False)}
    assert (await alarms.withdraw("F2")).state is State.RETURNED, "it is counted by its own alarm now"


@pytest.mark.parametrize("known", [False, True])
async def test_without_its_cause_an_alarm_that_had_returned_stands_again(alarms, cause, effect, known):
    early = await alarms.raise_(effect)
    if known:
        await alarms.acknowledge(early.id, ANN)
    await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    assert (await alarms.alarm(early.id)).state is (State.CLEARED if known else State.RETURNED)
    await alarms.withdraw("F1")
    own = next(a for a in alarms.current() if a.rule == "sequence")
    assert (own.state, own.count) == (State.ACTIVE, 1)
    assert (own.id == early.id) is not known
    await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    assert not (await alarms.alarm(own.id)).state.stands, "with its cause it goes again"


async def test_a_cause_withdrawn_after_a_person_ended_its_alarm_frees_what_followed(alarms, cause, effect):
    alarm = await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    over = await alarms.clear(alarm.id, ANN, "x")
    await alarms.withdraw("F1")
    assert await alarms.alarm(alarm.id) == over
    assert [a.rule for a in alarms.current()] == ["sequence"]


async def test_what_follows_from_a_consequence_goes_along_with_it(alarms, database, finding, cause, effect):
    await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    third = finding("F3", rule="outage_sales", departments=(Department.TAX,))
    assert (await alarms.attach(third, "F2")).number == 1
    await alarms.withdraw("F1")
    assert {a.rule: a.state for a in alarms.current()} == {"tax_memory": State.RETURNED, "sequence": State.ACTIVE}
    assert await rows(database) == {"F1": (1, None, True), "F2": (2, None, False), "F3": (2, "F2", False)}
    own = next(a for a in alarms.current() if a.rule == "sequence")
    assert Department.TAX in own.departments
    await alarms.withdraw("F2")
    assert {a.rule for a in alarms.current() if a.state.stands} == {"outage_sales"}


async def test_what_was_withdrawn_itself_is_not_freed(alarms, cause, effect):
    await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    await alarms.withdraw("F2")
    await alarms.withdraw("F1")
    assert [a.rule for a in alarms.current()] == ["tax_memory"]


async def test_freeing_is_whole_or_not_at_all(alarms, database, clock, finding, cause, effect):
    await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    before, kept = alarms.current(), await rows(database)
    async with database.writing() as connection:
        strike = "CREATE TRIGGER strike BEFORE INSERT ON alarms BEGIN SELECT RAISE(ABORT, 'strike'); END"
        await connection.execute(text(strike))
    with pytest.raises(IntegrityError, match="strike"):
        await alarms.withdraw("F1")
    assert alarms.current() == before == await on_disk(database, clock)
    assert await rows(database) == kept


# ---------------------------------------------------------------- causes that explain nothing


@pytest.mark.parametrize("standing", [False, True])
async def test_a_returned_alarm_explains_nothing(alarms, cause, effect, standing):
    alarm = await alarms.raise_(cause)
    await (alarms.settle("tax_memory", ()) if standing else alarms.withdraw("F1"))
    assert (await alarms.alarm(alarm.id)).state is State.RETURNED
    own = await alarms.attach(effect, "F1")
    assert (own.rule, own.state) == ("sequence", State.ACTIVE)
    assert (await alarms.alarm(alarm.id)).state is State.RETURNED


async def test_a_withdrawn_cause_explains_nothing_though_its_alarm_has_others(alarms, finding, cause, effect):
    await alarms.raise_(cause)
    await alarms.raise_(finding("F9", rule="tax_memory"))
    await alarms.withdraw("F1")
    assert (await alarms.attach(effect, "F1")).rule == "sequence"


async def test_an_alarm_that_another_explains_hands_on_what_follows_from_it(alarms, cause, effect, finding):
    early = await alarms.raise_(effect)
    root = await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    assert (await alarms.alarm(early.id)).state is State.RETURNED
    assert (await alarms.attach(finding("F3", rule="outage_sales"), "F2")).id == root.id


async def test_an_alarm_of_several_findings_returns_when_all_are_explained(alarms, finding, cause, effect):
    early = await alarms.raise_(effect)
    await alarms.raise_(finding("F3", rule="sequence"))
    await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    left = await alarms.alarm(early.id)
    assert (left.state, left.count, left.finding.id) == (State.ACTIVE, 1, "F3")
    await alarms.attach(finding("F3", rule="sequence"), "F1")
    assert (await alarms.alarm(early.id)).state is State.RETURNED


async def test_a_look_does_not_bring_back_what_another_alarm_explains_but_does_when_that_is_over(alarms, finding):
    lost = finding("F2", rule="link")
    own = await alarms.raise_(lost)
    await alarms.raise_(finding("F1", rule="link", subject=Subject("S01")))
    for _ in range(2):
        await alarms.attach(lost, "F1")
        await alarms.settle("link", {"S01", "S01-N03"})
        assert (await alarms.alarm(own.id)).state is State.RETURNED
    await alarms.settle("link", {"S01-N03"})
    again = await alarms.attach(lost, "F1")
    assert (again.id, again.state, again.count) == (own.id, State.ACTIVE, 1)


async def test_what_followed_and_was_ended_with_its_cause_by_a_person_is_no_news(alarms, cause, effect):
    alarm = await alarms.raise_(cause)
    await alarms.attach(effect, "F1")
    over = await alarms.clear(alarm.id, ANN, "x")
    assert await alarms.attach(effect, "F1") == over
    assert await alarms.raise_(effect) == over
    assert alarms.current() == ()


# ---------------------------------------------------------------- quick, and after anything


async def test_the_very_same_again_is_not_written_as_json(alarms, finding, monkeypatch):
    alarm = await alarms.raise_(finding())

    def never(_finding):
        pytest.fail("converted")

    monkeypatch.setattr(organ, "finding_to_json", never)
    assert await alarms.raise_(finding()) is alarm


async def test_figures_of_whatever_kind_can_be_told_again(alarms, finding):
    told = finding(evidence=(Evidence("x", "y", {"z": np.array([1.0, 2.0])}),))
    alarm = await alarms.raise_(told)
    assert await alarms.raise_(told) == alarm


PLAYS = st.lists(
    st.tuples(
        st.sampled_from(["raise", "raise", "attach", "attach", "withdraw", "settle", "acknowledge", "clear"]),
        st.integers(0, 5),
        st.integers(0, 5),
    ),
    max_size=30,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLAYS)
def test_every_alarm_counts_what_stands_after_anything(tmp_path_factory, finding, acts):
    asyncio.run(_play(tmp_path_factory.mktemp("play"), finding, acts))


async def _play(folder, pattern, acts):
    findings = [pattern(f"F{n}", rule=f"rule{n // 2}") for n in range(6)]
    async with Database.open(ledger_url(folder)) as database:
        alarms = Alarms(database, FakeClock())
        await alarms.load()
        ended = set()
        for act, one, other in acts:
            target = next((a for a in alarms.current() if a.rule == f"rule{one // 2}"), None)
            if act == "raise":
                await alarms.raise_(findings[one])
            elif act == "attach":
                await alarms.attach(findings[one], f"F{other}")
            elif act == "withdraw":
                await alarms.withdraw(f"F{one}")
            elif act == "settle":
                await alarms.settle(f"rule{one // 2}", {"S01-N03"} if other % 2 else ())
            elif target is not None and act == "clear":
                await alarms.clear(target.id, ANN, "x")
            elif target is not None and target.state is not State.ACKNOWLEDGED:
                await alarms.acknowledge(target.id, ANN)
            if act in ("settle", "clear", "acknowledge"):
                ended |= {a.number for a in await alarms.history() if not a.state.stands and a.count}
            assert await on_disk(database, FakeClock()) == alarms.current()
            await _check(database, {a.number: a for a in await alarms.history()}, ended)


async def _check(database, everything, ended):
    kept = await rows(database)
    for number, alarm in everything.items():
        counted = [name for name, row in kept.items() if row == (number, None, False)]
        if alarm.state.is_open:
            assert alarm.count == len(counted)
            assert not counted or alarm.finding.id in counted
        assert bool(counted) is alarm.state.stands or number in ended or not alarm.state.is_open
    for name, (_, cause_id, gone) in kept.items():
        root = name
        while kept[root][1] is not None:
            root = kept[root][1]
        if not gone:
            assert cause_id is None or not kept[cause_id][2], "what it follows from was withdrawn"
            number = kept[root][0]
            assert everything[number].state.stands or number in ended, "nothing tells of it"
    async with database.reading() as connection:
        shown = set((await connection.execute(select(ALARMS.c.finding_id))).scalars())
    assert shown <= kept.keys()
