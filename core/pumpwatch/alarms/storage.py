"""Alarms between memory and disk: rows to facts and back. Everything here runs inside the caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, insert, or_, select, update

from pumpwatch.alarms.alarm import LOG_KEPT, Alarm, LogEntry
from pumpwatch.alarms.states import Act, State
from pumpwatch.alarms.tables import AlarmLogRow, AlarmRow, FindingRow
from pumpwatch.alarms.wire import finding_from_json, finding_to_json
from pumpwatch.database import table_of
from pumpwatch.model import Department, Finding, Severity, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

ALARMS = table_of(AlarmRow)
FINDINGS = table_of(FindingRow)
LOG = table_of(AlarmLogRow)
_AT_ONCE = 500
"""Numbers in one IN list."""


@dataclass(frozen=True, slots=True)
class Filed:
    """Where a finding that was told before is kept."""

    alarm_number: int | None
    """None: an event."""
    cause_id: str | None
    """The finding from which it follows."""
    withdrawn: bool


async def alarms_where(
    connection: AsyncConnection, *conditions: ColumnElement[bool], limit: int | None = None
) -> list[Alarm]:
    """Alarms with their newest finding and the kept part of their log, newest first."""
    statement = (
        select(ALARMS, FINDINGS.c.body)
        .join(FINDINGS, FINDINGS.c.id == ALARMS.c.finding_id)
        .where(*conditions)
        .order_by(ALARMS.c.number.desc())
        .limit(limit)
    )
    rows = (await connection.execute(statement)).mappings().all()
    logs: dict[int, list[LogEntry]] = defaultdict(list)
    for start in range(0, len(rows), _AT_ONCE):
        await _add_logs(connection, [row["number"] for row in rows[start : start + _AT_ONCE]], logs)
    return [_alarm(row, logs[row["number"]]) for row in rows]


async def alarms_numbered(connection: AsyncConnection, numbers: Sequence[int]) -> list[Alarm]:
    """These alarms, newest first."""
    found: list[Alarm] = []
    for start in range(0, len(numbers), _AT_ONCE):
        found += await alarms_where(connection, ALARMS.c.number.in_(numbers[start : start + _AT_ONCE]))
    return found


async def open_alarm(connection: AsyncConnection, rule: str, key: str) -> Alarm | None:
    """The one open alarm of a rule and a subject."""
    same = (ALARMS.c.rule == rule, ALARMS.c.subject_key == key, ALARMS.c.state != State.CLEARED.value)
    return next(iter(await alarms_where(connection, *same)), None)


async def filed(connection: AsyncConnection, finding_id: str) -> Filed | None:
    """Where the finding is kept; None when it has never been told."""
    columns = FINDINGS.c
    wanted = select(columns.alarm_number, columns.cause_id, columns.withdrawn_at).where(columns.id == finding_id)
    row = (await connection.execute(wanted)).first()
    return None if row is None else Filed(row.alarm_number, row.cause_id, row.withdrawn_at is not None)


async def known_findings(connection: AsyncConnection, ids: Sequence[str]) -> set[str]:
    """Those of the ids that have been told and not withdrawn."""
    known: set[str] = set()
    for start in range(0, len(ids), _AT_ONCE):
        some = (FINDINGS.c.id.in_(ids[start : start + _AT_ONCE]), FINDINGS.c.withdrawn_at.is_(None))
        known.update((await connection.execute(select(FINDINGS.c.id).where(*some))).scalars())
    return known


async def following(connection: AsyncConnection, cause_id: str) -> list[tuple[Finding, int | None]]:
    """The findings that follow straight from this one, and the numbers of their alarms, as they came."""
    wanted = (
        select(FINDINGS.c.body, FINDINGS.c.alarm_number)
        .where(FINDINGS.c.cause_id == cause_id, FINDINGS.c.withdrawn_at.is_(None))
        .order_by(FINDINGS.c.received_at, FINDINGS.c.id)
    )
    return [(finding_from_json(row.body), row.alarm_number) for row in await connection.execute(wanted)]


async def newest_standing(connection: AsyncConnection, alarm_number: int) -> Finding | None:
    """The newest finding that an alarm counts."""
    wanted = (
        select(FINDINGS.c.body)
        .where(FINDINGS.c.alarm_number == alarm_number)
        .where(FINDINGS.c.cause_id.is_(None), FINDINGS.c.withdrawn_at.is_(None))
        .order_by(FINDINGS.c.received_at.desc(), FINDINGS.c.id.desc())
        .limit(1)
    )
    body = (await connection.execute(wanted)).scalar_one_or_none()
    return None if body is None else finding_from_json(body)


async def next_number(connection: AsyncConnection) -> int:
    """The number of the next alarm. Alarms are never deleted, so it rises for good."""
    newest = (await connection.execute(select(func.max(ALARMS.c.number)))).scalar_one()
    return int(newest or 0) + 1


async def insert_alarm(connection: AsyncConnection, alarm: Alarm) -> None:
    """A new alarm with its log."""
    await connection.execute(insert(ALARMS), [_columns(alarm)])
    await connection.execute(insert(LOG), _log_rows(alarm, alarm.acts))


async def update_alarms(connection: AsyncConnection, changes: Sequence[tuple[Alarm, Alarm]]) -> None:
    """Alarms before and after an act, with the entries that their logs have gained."""
    if not changes:
        return
    wanted = update(ALARMS).where(ALARMS.c.number == bindparam("wanted"))
    await connection.execute(wanted, [{"wanted": after.number, **_columns(after)} for _, after in changes])
    if rows := [row for before, after in changes for row in _log_rows(after, after.acts - before.acts)]:
        await connection.execute(insert(LOG), rows)


async def file_finding(
    connection: AsyncConnection,
    finding: Finding,
    alarm_number: int | None,
    at: datetime,
    *,
    anew: bool,
    cause_id: str | None = None,
) -> None:
    """Keep a finding, whole, as one that holds; ``anew`` in the place it has already."""
    row = {
        "id": finding.id,
        "alarm_number": alarm_number,
        "cause_id": cause_id,
        "withdrawn_at": None,
        "rule": finding.rule,
        "subject_key": finding.subject.key,
        "severity": finding.severity.value,
        "received_at": at,
        "body": finding_to_json(finding),
    }
    if anew:
        await connection.execute(update(FINDINGS).where(FINDINGS.c.id == finding.id).values(row))
    else:
        await connection.execute(insert(FINDINGS), [row])


async def update_finding(connection: AsyncConnection, finding: Finding) -> None:
    """The same finding, told again."""
    row = {"severity": finding.severity.value, "body": finding_to_json(finding)}
    await connection.execute(update(FINDINGS).where(FINDINGS.c.id == finding.id).values(row))


async def mark_withdrawn(connection: AsyncConnection, finding_id: str, at: datetime) -> None:
    """It no longer holds."""
    await connection.execute(update(FINDINGS).where(FINDINGS.c.id == finding_id).values(withdrawn_at=at))


async def mark_following(connection: AsyncConnection, finding_id: str, cause_id: str) -> None:
    """It follows from another; its alarm remains its own."""
    await connection.execute(update(FINDINGS).where(FINDINGS.c.id == finding_id).values(cause_id=cause_id))


async def move_finding(connection: AsyncConnection, finding_id: str, alarm_number: int) -> None:
    """It goes to the alarm to which its cause has gone."""
    await connection.execute(update(FINDINGS).where(FINDINGS.c.id == finding_id).values(alarm_number=alarm_number))


async def events(connection: AsyncConnection, since: datetime | None, limit: int) -> list[Finding]:
    """Findings without alarm that hold, newest first."""
    statement = select(FINDINGS.c.body).where(FINDINGS.c.alarm_number.is_(None), FINDINGS.c.withdrawn_at.is_(None))
    if since is not None:
        statement = statement.where(FINDINGS.c.received_at >= since)
    found = await connection.execute(statement.order_by(FINDINGS.c.received_at.desc(), FINDINGS.c.id).limit(limit))
    return [finding_from_json(body) for body in found.scalars()]


async def found(connection: AsyncConnection, since: datetime, limit: int) -> list[Finding]:
    """The newest findings that hold, with or without alarm, in the order in which they came."""
    held = select(FINDINGS.c.body).where(FINDINGS.c.withdrawn_at.is_(None), FINDINGS.c.received_at >= since)
    newest = held.order_by(FINDINGS.c.received_at.desc(), FINDINGS.c.id.desc()).limit(limit)
    return [finding_from_json(body) for body in (await connection.execute(newest)).scalars()][::-1]


async def log_of(connection: AsyncConnection, number: int, limit: int) -> list[LogEntry]:
    """The newest ``limit`` acts upon an alarm, oldest first."""
    newest = select(LOG).where(LOG.c.alarm_number == number).order_by(LOG.c.seq.desc()).limit(limit)
    return [_entry(row) for row in (await connection.execute(newest)).mappings()][::-1]


async def _add_logs(connection: AsyncConnection, numbers: Sequence[int], logs: dict[int, list[LogEntry]]) -> None:
    kept = or_(LOG.c.seq == 1, LOG.c.seq > ALARMS.c.acts - (LOG_KEPT - 1))
    statement = (
        select(LOG)
        .join(ALARMS, ALARMS.c.number == LOG.c.alarm_number)
        .where(LOG.c.alarm_number.in_(numbers), kept)
        .order_by(LOG.c.alarm_number, LOG.c.seq)
    )
    for row in (await connection.execute(statement)).mappings():
        logs[row["alarm_number"]].append(_entry(row))


def _log_rows(alarm: Alarm, gained: int) -> list[dict[str, Any]]:
    return [
        {
            "alarm_number": alarm.number,
            "seq": alarm.acts - gained + i,
            "at": entry.at,
            "act": entry.act.value,
            "by": entry.by,
            "note": entry.note,
            "state": alarm.state.value,
        }
        for i, entry in enumerate(alarm.log[len(alarm.log) - gained :], 1)
    ]


def _columns(alarm: Alarm) -> dict[str, Any]:
    return {
        "number": alarm.number,
        "rule": alarm.rule,
        "subject_key": alarm.subject.key,
        "cause": alarm.cause,
        "station_id": alarm.subject.station_id,
        "dispenser_id": alarm.subject.dispenser_id,
        "nozzle_id": alarm.subject.nozzle_id,
        "tank_id": alarm.subject.tank_id,
        "severity": alarm.severity.value,
        "departments": [department.value for department in alarm.departments],
        "state": alarm.state.value,
        "raised_at": alarm.raised_at,
        "onset": alarm.onset,
        "acknowledged_at": alarm.acknowledged_at,
        "acknowledged_by": alarm.acknowledged_by,
        "returned_at": alarm.returned_at,
        "cleared_at": alarm.cleared_at,
        "cleared_by": alarm.cleared_by,
        "count": alarm.count,
        "finding_id": alarm.finding.id,
        "acts": alarm.acts,
    }


def _alarm(row: Any, log: Sequence[LogEntry]) -> Alarm:  # noqa: ANN401 - SQLAlchemy's row mapping has no column types
    return Alarm(
        number=row["number"],
        rule=row["rule"],
        cause=row["cause"],
        subject=Subject(row["station_id"], row["dispenser_id"], row["nozzle_id"], row["tank_id"]),
        severity=Severity(row["severity"]),
        departments=tuple(Department(name) for name in row["departments"]),
        state=State(row["state"]),
        raised_at=row["raised_at"],
        onset=row["onset"],
        count=row["count"],
        finding=finding_from_json(row["body"]),
        acknowledged_at=row["acknowledged_at"],
        acknowledged_by=row["acknowledged_by"],
        returned_at=row["returned_at"],
        cleared_at=row["cleared_at"],
        cleared_by=row["cleared_by"],
        acts=row["acts"],
        log=tuple(log),
    )


def _entry(row: Any) -> LogEntry:  # noqa: ANN401 - as above
    return LogEntry(row["at"], Act(row["act"]), row["by"], row["note"])
