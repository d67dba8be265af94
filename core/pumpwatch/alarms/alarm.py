"""One alarm as a fact, and how each act makes another fact of it; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pumpwatch.alarms.states import Act, State, step
from pumpwatch.model import Department, Finding, Severity, Subject

LOG_KEPT: Final = 50
"""Entries of its log an alarm carries with it: the first and the newest. All stand on disk."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One act."""

    at: datetime
    act: Act
    by: str
    """The person; empty when pumpwatch itself did it."""
    note: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """What is wrong with one subject by one rule; at most one is open for each (rule, ``subject.key``)."""

    number: int
    rule: str
    cause: str
    subject: Subject
    severity: Severity
    """The highest of its findings."""
    departments: tuple[Department, ...]
    """Those of all its findings."""
    state: State
    raised_at: datetime
    onset: datetime
    """The earliest of its findings."""
    count: int
    """How many findings; those withdrawn or explained by another alarm while it was open are none."""
    finding: Finding
    """The newest."""
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    returned_at: datetime | None = None
    cleared_at: datetime | None = None
    cleared_by: str | None = None
    """None when it cleared by itself."""
    acts: int = 0
    """How many entries its log has on disk."""
    log: tuple[LogEntry, ...] = ()
    """The first and the newest ``LOG_KEPT - 1``."""

    @property
    def id(self) -> str:
        """``A-000012``."""
        return f"A-{self.number:06d}"


def raised(number: int, finding: Finding, at: datetime) -> Alarm:
    """The alarm of a first finding."""
    alarm = Alarm(
        number=number,
        rule=finding.rule,
        cause=finding.cause,
        subject=finding.subject,
        severity=finding.severity,
        departments=finding.departments,
        state=step(None, Act.RAISE),
        raised_at=at,
        onset=finding.onset,
        count=1,
        finding=finding,
    )
    return _logged(alarm, LogEntry(at, Act.RAISE, "", ""))


def repeated(alarm: Alarm, finding: Finding, at: datetime) -> Alarm:
    """Another finding: it counts and takes the place of the older one. Severity never falls while the alarm is open.

    The log tells of it only when more changed than that.
    """
    return replace(told_again(alarm, finding, at), count=alarm.count + 1)


def told_again(alarm: Alarm, finding: Finding, at: datetime) -> Alarm:
    """The same finding with more known: it takes its own place and does not count again."""
    rises = finding.severity.rank > alarm.severity.rank
    state = step(alarm.state, Act.REPEAT)
    after = replace(
        alarm,
        cause=finding.cause,
        subject=finding.subject,
        severity=finding.severity if rises else alarm.severity,
        departments=tuple(dict.fromkeys([*alarm.departments, *finding.departments])),
        state=state,
        onset=min(alarm.onset, finding.onset),
        finding=finding,
        returned_at=None,
    )
    notes = []
    if state is not alarm.state:
        notes.append("stands again")
    if rises:
        notes.append(f"severity {alarm.severity} → {finding.severity}")
    return _logged(after, LogEntry(at, Act.REPEAT, "", ", ".join(notes))) if notes else after


def stood_again(alarm: Alarm, at: datetime) -> Alarm:
    """A returned alarm whose old finding holds again."""
    after = replace(alarm, state=step(alarm.state, Act.REPEAT), returned_at=None)
    return _logged(after, LogEntry(at, Act.REPEAT, "", "stands again"))


def acknowledged(alarm: Alarm, at: datetime, by: str, note: str) -> Alarm:
    """A person knows; if it is right again already, that is the end of it."""
    state = step(alarm.state, Act.ACKNOWLEDGE)
    after = replace(alarm, state=state, acknowledged_at=at, acknowledged_by=by)
    if state is State.CLEARED:
        after = replace(after, cleared_at=at, cleared_by=by)
    return _logged(after, LogEntry(at, Act.ACKNOWLEDGE, by, note))


def returned(alarm: Alarm, at: datetime) -> Alarm:
    """It is right again; if a person knows already, that is the end of it."""
    state = step(alarm.state, Act.RETURN)
    after = replace(alarm, state=state, returned_at=at)
    if state is State.CLEARED:
        after = replace(after, cleared_at=at)
    return _logged(after, LogEntry(at, Act.RETURN, "", ""))


def joined(alarm: Alarm, finding: Finding, at: datetime) -> Alarm:
    """Another rule's finding that follows from this alarm's cause: told in the log, not counted."""
    departments = tuple(dict.fromkeys([*alarm.departments, *finding.departments]))
    note = f"explains {finding.rule} {finding.subject.key}: {finding.explanation.title.en}"
    return _logged(replace(alarm, departments=departments), LogEntry(at, Act.REPEAT, "", note))


def explained_by(alarm: Alarm, finding_id: str, left: Finding | None, cause: Alarm, at: datetime) -> Alarm:
    """One of its findings follows from another alarm's cause."""
    return _less(alarm, left, at, f"finding {finding_id} follows from {cause.id}")


def withdrawn(alarm: Alarm, finding_id: str, left: Finding | None, at: datetime) -> Alarm:
    """One of its findings no longer holds."""
    return _less(alarm, left, at, f"finding {finding_id} withdrawn: a record that arrived late explains it")


def told_of(alarm: Alarm, finding_id: str, at: datetime) -> Alarm:
    """A finding that went to this alarm, which does not count it, no longer holds."""
    note = f"finding {finding_id}, which followed from another, withdrawn"
    return _logged(alarm, LogEntry(at, Act.REPEAT, "", note))


def _less(alarm: Alarm, left: Finding | None, at: datetime, note: str) -> Alarm:
    """One finding fewer. ``left`` is the newest of the others; an alarm that has none is right again."""
    if left is not None:
        after = replace(alarm, count=max(alarm.count - 1, 1), cause=left.cause, subject=left.subject, finding=left)
        return _logged(after, LogEntry(at, Act.REPEAT, "", note))
    after = replace(alarm, count=0)
    if alarm.state is State.RETURNED:
        return _logged(after, LogEntry(at, Act.REPEAT, "", note))
    after = returned(after, at)
    return replace(after, log=(*after.log[:-1], replace(after.log[-1], note=note)))


def cleared(alarm: Alarm, at: datetime, by: str, note: str) -> Alarm:
    """A person ends it."""
    after = replace(alarm, state=step(alarm.state, Act.CLEAR), cleared_at=at, cleared_by=by)
    return _logged(after, LogEntry(at, Act.CLEAR, by, note))


def list_order(alarm: Alarm) -> tuple[Any, ...]:
    """Sort key of the list: unacknowledged first, then severity, then newest."""
    return (not alarm.state.is_unacknowledged, -alarm.severity.rank, -alarm.raised_at.timestamp(), -alarm.number)


def _logged(alarm: Alarm, entry: LogEntry) -> Alarm:
    log = (*alarm.log, entry)
    if len(log) > LOG_KEPT:
        log = (log[0], *log[2:])
    return replace(alarm, acts=alarm.acts + 1, log=log)
