"""The organ on a real file: acts of rules and of people, one after the other and at once."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from pumpwatch.alarms import Act, Alarms, State, UnknownAlarm, finding_to_json
from pumpwatch.alarms.alarm import LOG_KEPT
from pumpwatch.errors import BadReply, NotReachable, Refused
from pumpwatch.model import Evidence, Severity, Subject

ANN, BEN = "示例甲", "Demo B"


async def on_disk(database, clock) -> tuple[object, ...]:
    """What a server started now would show."""
    other = Alarms(database, clock)
    await other.load()
    return other.current()


def at_station(number: int) -> dict[str, object]:
    return {"subject": Subject(f"S{number:02d}"), "rule": "station_silent"}


# ---------------------------------------------------------------- rules


async def test_a_finding_raises_an_alarm(alarms, database, clock, finding):
    alarm = await alarms.raise_(finding())
    assert (alarm.id, alarm.state, alarm.raised_at) == ("A-000001", State.ACTIVE, clock.now())
    assert alarm.finding == finding()
    assert alarms.current() == (alarm,)
    assert await on_disk(database, clock) == (alarm,)


async def test_the_newest_finding_told_again_with_more_known_takes_its_own_place(alarms, database, clock, finding):
    await alarms.raise_(finding("F1", severity=Severity.LOW))
    told = await alarms.raise_(finding("F1", severity=Severity.MEDIUM, cause="collector_outage"))
    assert (told.id, told.count, told.severity, told.cause) == ("A-000001", 1, Severity.MEDIUM, "collector_outage")
    assert alarms.current() == (told,)
    again = Alarms(database, clock)
    await again.load()
    assert again.current() == (told,)
    before = alarms.current()[0]
    await alarms.raise_(finding("F1", severity=Severity.MEDIUM, cause="collector_outage"))
    assert alarms.current()[0] is before, "the same words again are no news"
    await alarms.clear(told.id, "示例员", "over")
    assert (await alarms.raise_(finding("F1", severity=Severity.HIGH))).state is State.CLEARED


async def test_a_finding_seen_before_changes_nothing_even_when_its_alarm_is_over(alarms, finding):
    first = await alarms.raise_(finding())
    second = await alarms.raise_(finding("F2"))
    assert second.count == 2
    assert await alarms.raise_(finding("F1")) == second
    assert await alarms.raise_(finding("F2")) == second
    over = await alarms.clear(first.id, ANN, "示例")
    assert await alarms.raise_(finding("F1")) == over
    assert alarms.current() == ()
    assert (await alarms.raise_(finding("F3"))).id == "A-000002"


async def test_a_withdrawn_finding_takes_its_alarm_back_unless_there_are_others(alarms, database, clock, finding):
    first = await alarms.raise_(finding("F1"))
    gone = await alarms.withdraw("F1")
    assert (gone.id, gone.state) == (first.id, State.RETURNED)
    assert "F1" in gone.log[-1].note
    assert await on_disk(database, clock) == (gone,)
    assert (await alarms.withdraw("F1")).state is State.RETURNED
    assert (await alarms.raise_(finding("F2"))).state is State.ACTIVE
    left = await alarms.withdraw("F1")
    assert (left.state, left.count) == (State.ACTIVE, 1)
    assert await alarms.withdraw("never told") is None


async def test_what_follows_from_an_alarm_goes_to_it(alarms, database, clock, finding):
    cause = await alarms.raise_(finding("F1", rule="tax_memory"))
    late = await alarms.attach(finding("F2", rule="sequence"), "F1")
    assert late.id == cause.id
    assert late.count == 1
    assert "sequence" in late.log[-1].note
    assert await alarms.attach(finding("F2", rule="sequence"), "F1") == late, "told again it is no news"
    assert await on_disk(database, clock) == (late,) == alarms.current()
    assert await alarms.unknown([finding("F2"), finding("F9")]) == [finding("F9")]


async def test_an_alarm_that_came_before_its_cause_returns(alarms, finding):
    early = await alarms.raise_(finding("F2", rule="sequence"))
    cause = await alarms.raise_(finding("F1", rule="tax_memory"))
    assert (await alarms.attach(finding("F2", rule="sequence"), "F1")).id == cause.id
    after = await alarms.alarm(early.id)
    assert after.state is State.RETURNED
    assert cause.id in after.log[-1].note


async def test_a_cause_without_an_open_alarm_explains_nothing(alarms, finding):
    cause = await alarms.raise_(finding("F1", rule="tax_memory"))
    await alarms.clear(cause.id, ANN, "示例")
    own = await alarms.attach(finding("F2", rule="sequence"), "F1")
    assert (own.rule, own.state) == ("sequence", State.ACTIVE)


async def test_one_alarm_for_a_rule_and_a_subject(alarms, database, clock, finding):
    await alarms.raise_(finding("F1", severity=Severity.MEDIUM))
    alarm = await alarms.raise_(finding("F2", severity=Severity.HIGH))
    other_rule = await alarms.raise_(finding("F3", rule="sequence"))
    other_subject = await alarms.raise_(finding("F4", subject=Subject("S01", "S01-D1", "S01-N04")))
    assert (alarm.id, alarm.count, alarm.severity) == ("A-000001", 2, Severity.HIGH)
    assert {a.id for a in alarms.current()} == {"A-000001", "A-000002", "A-000003"}
    assert (other_rule.count, other_subject.count) == (1, 1)
    assert await on_disk(database, clock) == alarms.current()


async def test_info_is_an_event_without_alarm(alarms, clock, finding):
    info = finding("E1", severity=Severity.INFO)
    assert await alarms.raise_(info) is None
    assert await alarms.raise_(info) is None
    clock_before = clock.now()
    await clock.advance(60)
    await alarms.raise_(finding("E2", severity=Severity.INFO))
    assert alarms.current() == ()
    assert [e.id for e in await alarms.events()] == ["E2", "E1"]
    assert [e.id for e in await alarms.events(since=clock_before + timedelta(seconds=1))] == ["E2"]
    assert (await alarms.events(limit=1))[0].id == "E2"
    await alarms.raise_(finding("F1"))
    await alarms.raise_(finding("E3", severity=Severity.INFO))
    assert alarms.current()[0].count == 1


async def test_standing_alarms_return_by_themselves_and_stand_again(alarms, database, clock, finding):
    for number in (1, 2):
        await alarms.raise_(finding(f"F{number}", **at_station(number)))
    other = await alarms.raise_(finding("F9"))
    assert await alarms.settle("station_silent", {"S01", "S02"}) == ()
    (returned,) = await alarms.settle("station_silent", {"S02"})
    assert (returned.subject.key, returned.state, returned.returned_at) == ("S01", State.RETURNED, clock.now())
    assert await alarms.settle("station_silent", {"S02"}) == ()
    assert await alarms.raise_(finding("F1", **at_station(1))) == returned  # known: by itself it changes nothing
    (again,) = await alarms.settle("station_silent", {"S01", "S02"})
    assert (again.state, again.returned_at, again.count) == (State.ACTIVE, None, 1)
    await alarms.acknowledge(again.id, ANN)
    changed = await alarms.settle("station_silent", ())
    assert {(a.subject.key, a.state) for a in changed} == {("S01", State.CLEARED), ("S02", State.RETURNED)}
    assert await alarms.alarm(other.id) == other
    assert await on_disk(database, clock) == alarms.current()


async def test_a_new_finding_while_returned_makes_it_active(alarms, finding):
    await alarms.raise_(finding("F1", **at_station(1)))
    await alarms.settle("station_silent", ())
    alarm = await alarms.raise_(finding("F2", **at_station(1)))
    assert (alarm.id, alarm.state, alarm.count) == ("A-000001", State.ACTIVE, 2)


async def test_a_finding_that_cannot_be_kept_is_refused(alarms, finding):
    with pytest.raises(BadReply):
        await alarms.raise_(finding(id=""))
    with pytest.raises(BadReply):
        await alarms.raise_(finding(onset=finding().onset.replace(tzinfo=None)))
    assert alarms.current() == ()


async def test_odd_figures_are_the_same_in_memory_and_on_disk(alarms, database, clock, finding):
    await alarms.raise_(finding(evidence=(Evidence("x", "\udcff", {"y": float("nan")}),)))
    assert await on_disk(database, clock) == alarms.current()


# ---------------------------------------------------------------- people


async def test_acknowledging(alarms, clock, finding):
    await alarms.raise_(finding())
    await clock.advance(5)
    alarm = await alarms.acknowledge("A-000001", f" {ANN} ", "on my way")
    assert (alarm.state, alarm.acknowledged_by, alarm.acknowledged_at) == (State.ACKNOWLEDGED, ANN, clock.now())
    assert [(e.act, e.by, e.note, e.at) for e in alarm.log[1:]] == [(Act.ACKNOWLEDGE, ANN, "on my way", clock.now())]
    assert await alarms.acknowledge("A-000001", ANN) == alarm
    with pytest.raises(Refused, match=f"A-000001 was acknowledged by {ANN}"):
        await alarms.acknowledge("A-000001", BEN)


async def test_acknowledging_a_returned_alarm_ends_it(alarms, finding):
    await alarms.raise_(finding())
    await alarms.settle("pulse_ratio", ())
    alarm = await alarms.acknowledge("A-000001", ANN)
    assert (alarm.state, alarm.cleared_by) == (State.CLEARED, ANN)
    assert alarms.current() == ()


async def test_clearing_needs_a_note_and_is_final(alarms, finding):
    await alarms.raise_(finding())
    for note in ("", " \n"):
        with pytest.raises(Refused, match="needs a note"):
            await alarms.clear("A-000001", ANN, note)
    alarm = await alarms.clear("A-000001", ANN, "meter exchanged")
    assert (alarm.state, alarm.cleared_by, alarm.log[-1].note) == (State.CLEARED, ANN, "meter exchanged")
    with pytest.raises(Refused, match="cannot clear an alarm that is cleared"):
        await alarms.clear("A-000001", ANN, "again")
    with pytest.raises(Refused, match="cannot acknowledge an alarm that is cleared"):
        await alarms.acknowledge("A-000001", ANN)


@pytest.mark.parametrize(
    "name", ["", "A-1", "A-000002", "A-0000001", "a-000001", "A-000001 ", "A-00000١", "A-" + "9" * 15, "A-" + "9" * 40]
)
async def test_there_is_no_such_alarm(alarms, finding, name):
    await alarms.raise_(finding())
    for act in (alarms.acknowledge(name, ANN), alarms.clear(name, ANN, "x"), alarms.alarm(name), alarms.log(name)):
        with pytest.raises(UnknownAlarm, match="there is no alarm"):
            await act


@pytest.mark.parametrize("by", ["", " ", "x" * 101, "a\nb", "a\x00"])
async def test_acts_of_nobody_are_refused(alarms, finding, by):
    await alarms.raise_(finding())
    for act in (alarms.acknowledge("A-000001", by), alarms.clear("A-000001", by, "x")):
        with pytest.raises(Refused, match="who does this"):
            await act
    with pytest.raises(Refused, match="4000"):
        await alarms.acknowledge("A-000001", ANN, "x" * 4_001)
    assert alarms.current()[0].acts == 1


async def test_of_two_who_acknowledge_at_once_one_is_first(alarms, database, clock, finding):
    await alarms.raise_(finding())
    names = [ANN, BEN, ANN, "Demo C"]
    answers = await asyncio.gather(*(alarms.acknowledge("A-000001", n) for n in names), return_exceptions=True)
    assert [getattr(a, "acknowledged_by", type(a)) for a in answers] == [ANN, Refused, ANN, Refused]
    assert [e.by for e in await alarms.log("A-000001")] == ["", ANN]
    assert await on_disk(database, clock) == alarms.current()


async def test_of_two_servers_on_one_database_one_is_first(alarms, database, clock, finding):
    await alarms.raise_(finding())
    other = Alarms(database, clock)
    await other.load()
    answers = await asyncio.gather(
        alarms.acknowledge("A-000001", ANN), other.acknowledge("A-000001", BEN), return_exceptions=True
    )
    assert sorted(type(a).__name__ for a in answers) == ["Alarm", "Refused"]
    assert (await other.raise_(finding("F2"))).id == "A-000001"
    assert (await alarms.raise_(finding("F3"))).count == 3
    assert (await other.raise_(finding("F4", **at_station(1)))).id == "A-000002"
    assert (await alarms.raise_(finding("F5", **at_station(2)))).id == "A-000003"


async def test_many_acts_at_once_are_done_one_after_the_other(alarms, database, clock, finding):
    await asyncio.gather(*(alarms.raise_(finding(f"F{i}", **at_station(i % 10))) for i in range(60)))
    assert sorted(a.count for a in alarms.current()) == [6] * 10
    assert sorted(a.id for a in alarms.current()) == [f"A-{n:06d}" for n in range(1, 11)]
    assert await on_disk(database, clock) == alarms.current()


# ---------------------------------------------------------------- looking


async def test_the_list_is_ordered_for_the_operator(alarms, clock, finding):
    severities = [Severity.LOW, Severity.CRITICAL, Severity.MEDIUM, Severity.CRITICAL, Severity.HIGH]
    for number, severity in enumerate(severities, 1):
        await alarms.raise_(finding(f"F{number}", severity=severity, **at_station(number)))
        await clock.advance(1)
    await alarms.acknowledge("A-000002", ANN)
    await alarms.acknowledge("A-000001", ANN)
    await alarms.settle("station_silent", {"S01", "S02", "S04", "S05"})  # the third returns, nobody knows of it
    assert [a.number for a in alarms.current()] == [4, 5, 3, 2, 1]
    assert alarms.current() is alarms.current()


async def test_current_before_load_is_a_mistake(database, clock):
    with pytest.raises(RuntimeError, match="load"):
        Alarms(database, clock).current()


async def test_an_act_before_load_sees_what_is_on_disk(alarms, database, clock, finding):
    await alarms.raise_(finding())
    other = Alarms(database, clock)
    assert (await other.settle("pulse_ratio", ()))[0].state is State.RETURNED
    assert len(other.current()) == 1


async def test_recent_is_what_the_wall_shows(alarms, clock, finding):
    for number in (1, 2, 3):
        await alarms.raise_(finding(f"F{number}", **at_station(number)))
    await alarms.clear("A-000001", ANN, "x")
    await clock.advance(3 * 3600)
    await alarms.clear("A-000002", ANN, "x")
    assert [a.id for a in await alarms.recent(4)] == ["A-000003", "A-000002", "A-000001"]
    await clock.advance(3600 + 1)
    assert [a.id for a in await alarms.recent(4)] == ["A-000003", "A-000002"]
    assert [a.id for a in await alarms.recent(0.5)] == ["A-000003"]


async def test_history_is_filtered_newest_first(alarms, clock, finding):
    start = clock.now()
    for number in range(1, 6):
        await alarms.raise_(finding(f"F{number}", **at_station(number)))
        await clock.advance(60)
    await alarms.raise_(finding("F6"))
    await alarms.clear("A-000002", ANN, "x")

    async def numbers(**wanted: object) -> list[int]:
        return [a.number for a in await alarms.history(**wanted)]

    assert await numbers() == [6, 5, 4, 3, 2, 1]
    assert await numbers(limit=2) == [6, 5]
    assert await numbers(limit=0) == []
    assert await numbers(since=start + timedelta(seconds=60), until=start + timedelta(seconds=180)) == [3, 2]
    assert await numbers(state=State.CLEARED) == [2]
    assert await numbers(rule="pulse_ratio") == [6]
    assert await numbers(station_id="S04") == [4]
    (cleared,) = await alarms.history(state=State.CLEARED)
    assert cleared == await alarms.alarm("A-000002")
    assert [e.act for e in cleared.log] == [Act.RAISE, Act.CLEAR]


async def test_the_whole_log_stands_on_disk(alarms, database, clock, finding):
    await alarms.raise_(finding(**at_station(1)))
    for _ in range(30):
        await alarms.settle("station_silent", ())
        await clock.advance(1)
        await alarms.settle("station_silent", {"S01"})
    (alarm,) = alarms.current()
    assert (len(alarm.log), alarm.acts) == (LOG_KEPT, 61)
    whole = await alarms.log(alarm.id)
    assert len(whole) == 61
    assert alarm.log == (whole[0], *whole[-(LOG_KEPT - 1) :])
    assert await alarms.log(alarm.id, limit=2) == whole[-2:]
    assert await on_disk(database, clock) == (alarm,)


async def test_findings_are_kept_whole(alarms, database, finding):
    await alarms.raise_(finding("F1"))
    await alarms.raise_(finding("F2"))
    async with database.reading() as connection:
        rows = (await connection.execute(text("SELECT id, alarm_number, json(body) FROM findings ORDER BY id"))).all()
    assert [(row[0], row[1]) for row in rows] == [("F1", 1), ("F2", 1)]
    assert finding_to_json(finding("F1"))["evidence"][0]["reference"] in rows[0][2]
    assert "示例" in rows[0][2]


# ---------------------------------------------------------------- changes


async def test_listeners_are_woken_and_many_changes_are_one(alarms, finding):
    first, second = alarms.subscribe(), alarms.subscribe()
    waiting = asyncio.create_task(first.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    await alarms.raise_(finding("F1"))
    one = await asyncio.wait_for(waiting, 30)
    for number in range(2, 5):
        await alarms.raise_(finding(f"F{number}"))
    assert await asyncio.wait_for(second.next(), 30) == await asyncio.wait_for(first.next(), 30) > one
    waiting = asyncio.create_task(anext(first))
    await alarms.raise_(finding("F4"))  # known: no change
    await alarms.raise_(finding("E1", severity=Severity.INFO))
    await alarms.settle("pulse_ratio", {"S01-N03"})
    await alarms.acknowledge("A-000001", ANN)
    revision = await asyncio.wait_for(waiting, 30)
    await alarms.acknowledge("A-000001", ANN)
    quiet = asyncio.create_task(first.next())
    await asyncio.sleep(0.01)
    assert not quiet.done()
    await alarms.clear("A-000001", ANN, "x")
    assert await asyncio.wait_for(quiet, 30) == revision + 1


async def test_what_is_seen_is_on_disk(alarms, tmp_path, finding):
    witness = sqlite3.connect(tmp_path / "ledger.sqlite")

    async def look() -> list[tuple[int, int]]:
        seen = []
        async for _ in alarms.subscribe():
            counts = dict(witness.execute("SELECT number, count FROM alarms").fetchall())
            seen.append((alarms.current()[0].count, counts[1]))
            if seen[-1][0] == 20:
                return seen
        return seen

    looking = asyncio.create_task(look())
    await asyncio.sleep(0)
    for number in range(20):
        await alarms.raise_(finding(f"F{number}"))
    assert all(disk >= memory for memory, disk in await asyncio.wait_for(looking, 60))
    witness.close()


# ---------------------------------------------------------------- when things go wrong


async def test_when_the_disk_is_full_nothing_has_happened(alarms, database, clock, finding):
    alarm = await alarms.raise_(finding())
    async with database.writing() as connection:
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
        await connection.execute(text(f"PRAGMA max_page_count = {pages}"))
    big = finding("F2", evidence=(Evidence("x", "y" * 50_000),))
    with pytest.raises(NotReachable, match="full"):
        await alarms.raise_(big)
    assert alarms.current() == (alarm,)
    assert await on_disk(database, clock) == (alarm,)
    async with database.writing() as connection:
        await connection.execute(text("PRAGMA max_page_count = 100000"))
    assert (await alarms.raise_(big)).count == 2


async def test_an_act_is_whole_or_not_at_all(alarms, database, clock, finding):
    alarm = await alarms.raise_(finding())
    async with database.writing() as connection:
        strike = "CREATE TRIGGER strike BEFORE INSERT ON alarm_log BEGIN SELECT RAISE(ABORT, 'strike'); END"
        await connection.execute(text(strike))
    for act in (
        alarms.acknowledge(alarm.id, ANN),
        alarms.settle("pulse_ratio", ()),
        alarms.raise_(finding("F9", rule="x")),
    ):
        with pytest.raises(IntegrityError, match="strike"):
            await act
    assert alarms.current() == (alarm,) == await on_disk(database, clock)
    async with database.writing() as connection:
        await connection.execute(text("DROP TRIGGER strike"))
    assert (await alarms.raise_(finding("F9", rule="x"))).id == "A-000002"  # the broken one left nothing behind


async def test_an_act_cancelled_anywhere_leaves_memory_and_disk_alike(alarms, database, clock, finding):
    loop, kept = asyncio.get_running_loop(), []
    task: asyncio.Task[object] | None = None
    left = 0

    def count_down(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0 and task is not None:
            loop.call_soon(task.cancel)  # reaches the task while it waits for the database's thread

    engine = database._engine.sync_engine
    for name in ("begin", "before_cursor_execute", "commit"):
        event.listen(engine, name, count_down)
    for steps in range(1, 15):
        subject = Subject(f"S{steps}")
        task, left = asyncio.create_task(alarms.raise_(finding(f"F{steps}", subject=subject))), steps
        (answer,) = await asyncio.gather(task, return_exceptions=True)
        task = None
        await alarms.raise_(finding(f"G{steps}", rule="other"))
        assert alarms.current() == await on_disk(database, clock)
        kept.append((type(answer).__name__, subject in {alarm.subject for alarm in alarms.current()}))
    assert ("CancelledError", False) in kept  # broken off before it was on disk
    assert ("CancelledError", True) in kept  # broken off while the commit was under way
    assert kept[-1] == ("Alarm", True)
    for name in ("begin", "before_cursor_execute", "commit"):
        event.remove(engine, name, count_down)


async def test_what_was_found_comes_back_in_its_order_without_what_was_withdrawn(alarms, finding, clock) -> None:
    start = clock.now()
    for number, name in enumerate(("old", "F1", "F2", "note")):
        await clock.advance(3600.0)
        subject = Subject("S01", dispenser_id="S01-D1", nozzle_id=f"S01-N0{number + 1}")
        severity = Severity.INFO if name == "note" else Severity.HIGH
        await alarms.raise_(finding(name, subject=subject, severity=severity))
    await alarms.withdraw("F2")
    assert [each.id for each in await alarms.found(start + timedelta(hours=2))] == ["F1", "note"]
    assert [each.id for each in await alarms.found(start, limit=1)] == ["note"]
    (kept,) = await alarms.found(start + timedelta(hours=4))
    assert kept.severity is Severity.INFO
