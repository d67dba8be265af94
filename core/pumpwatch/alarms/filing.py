"""Where a finding goes, and what becomes of those that follow from it; everything within one act."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pumpwatch.alarms import storage
from pumpwatch.alarms.alarm import Alarm, explained_by, joined, raised, repeated, told_again, told_of, withdrawn
from pumpwatch.model import Severity

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from pumpwatch.alarms.storage import Filed
    from pumpwatch.model import Finding


@dataclass(slots=True)
class Turn:
    """One act under way."""

    connection: AsyncConnection
    at: datetime
    changed: list[Alarm] = field(default_factory=list)
    """In the order of the changes; the last of an alarm is how it stands."""

    async def alarm(self, number: int | None) -> Alarm | None:
        """The alarm of this number as it stands in this act."""
        return None if number is None else (await storage.alarms_numbered(self.connection, [number]))[0]

    async def change(self, before: Alarm, after: Alarm) -> Alarm:
        """Write what has become of an alarm."""
        await storage.update_alarms(self.connection, [(before, after)])
        self.changed.append(after)
        return after


async def take(turn: Turn, finding: Finding) -> Alarm | None:
    """A finding that stands by itself; one known changes nothing, unless it is the newest and more is known of it."""
    place = await storage.filed(turn.connection, finding.id)
    if place is None or place.withdrawn or await _is_left_alone(turn, place):
        return await _stand(turn, finding, anew=place is not None)
    alarm = await turn.alarm(place.alarm_number)
    if alarm is None or place.cause_id is not None or not alarm.state.is_open:
        return alarm
    if alarm.finding.id != finding.id or alarm.finding == finding or not _is_own(alarm, finding):
        return alarm
    await storage.update_finding(turn.connection, finding)
    return await turn.change(alarm, told_again(alarm, finding, turn.at))


async def attach(turn: Turn, finding: Finding, cause_id: str) -> Alarm | None:
    """A finding that follows from another: to the alarm that stands for that, if one does."""
    cause = await turn.alarm(await _alarm_of_root(turn, cause_id))
    if cause is None or not cause.state.stands:
        return await take(turn, finding)
    place = await storage.filed(turn.connection, finding.id)
    if place is None or place.withdrawn:
        file = storage.file_finding
        await file(turn.connection, finding, cause.number, turn.at, anew=place is not None, cause_id=cause_id)
        return await turn.change(cause, joined(cause, finding, turn.at))
    own = await turn.alarm(place.alarm_number)
    if place.cause_id is None and own is not None and own.number != cause.number and own.state.stands:
        await storage.mark_following(turn.connection, finding.id, cause_id)
        left = await storage.newest_standing(turn.connection, own.number)
        await turn.change(own, explained_by(own, finding.id, left, cause, turn.at))
    return cause


async def withdraw(turn: Turn, finding_id: str) -> Alarm | None:
    """A finding no longer holds: its alarm counts it no more, and what followed from it stands by itself."""
    place = await storage.filed(turn.connection, finding_id)
    alarm = await turn.alarm(place.alarm_number) if place is not None else None
    if place is None or place.withdrawn:
        return alarm if alarm is not None and alarm.state.is_open else None
    await storage.mark_withdrawn(turn.connection, finding_id, turn.at)
    if alarm is not None and alarm.state.is_open:
        if place.cause_id is not None:
            after = told_of(alarm, finding_id, turn.at)
        else:
            left = await storage.newest_standing(turn.connection, alarm.number)
            after = withdrawn(alarm, finding_id, left, turn.at)
        await turn.change(alarm, after)
    await _set_free(turn, finding_id)
    return next((after for after in reversed(turn.changed) if after.number == place.alarm_number), None)


async def _stand(turn: Turn, finding: Finding, *, anew: bool) -> Alarm | None:
    """A new alarm, one more for the open one of this rule and subject, or (info) an event."""
    if finding.severity is Severity.INFO:
        await storage.file_finding(turn.connection, finding, None, turn.at, anew=anew)
        return None
    before = await storage.open_alarm(turn.connection, finding.rule, finding.subject.key)
    if before is None:
        after = raised(await storage.next_number(turn.connection), finding, turn.at)
        await storage.insert_alarm(turn.connection, after)
        turn.changed.append(after)
    else:
        after = await turn.change(before, repeated(before, finding, turn.at))
    await storage.file_finding(turn.connection, finding, after.number, turn.at, anew=anew)
    return after


async def _set_free(turn: Turn, cause_id: str) -> None:
    """What followed from a finding stands by itself, and takes with it what follows from that."""
    for finding, _ in await storage.following(turn.connection, cause_id):
        alarm = await _stand(turn, finding, anew=True)
        if alarm is None:
            await _set_free(turn, finding.id)
        else:
            await _bring_along(turn, finding.id, alarm.number)


async def _bring_along(turn: Turn, cause_id: str, number: int) -> None:
    """What follows from a finding, and has had no alarm of its own, goes to the alarm to which that has gone."""
    for finding, before in await storage.following(turn.connection, cause_id):
        filed, now = await turn.alarm(before), await turn.alarm(number)
        if now is not None and (filed is None or not _is_own(filed, finding)):
            await storage.move_finding(turn.connection, finding.id, number)
            await turn.change(now, joined(now, finding, turn.at))
        await _bring_along(turn, finding.id, number)


async def _alarm_of_root(turn: Turn, cause_id: str) -> int | None:
    """The number of the alarm that stands for a cause: that of what it follows from itself, as far as that goes."""
    seen: set[str] = set()
    while cause_id not in seen:
        seen.add(cause_id)
        place = await storage.filed(turn.connection, cause_id)
        if place is None or place.withdrawn:
            return None
        if place.cause_id is None:
            return place.alarm_number
        cause_id = place.cause_id
    return None


async def _is_left_alone(turn: Turn, place: Filed) -> bool:
    """Whether no alarm that stands tells of a finding's cause, and no person has ended the alarm it is filed with."""
    if place.cause_id is None:
        return False
    cause = await turn.alarm(await _alarm_of_root(turn, place.cause_id))
    alarm = await turn.alarm(place.alarm_number)
    return (cause is None or not cause.state.stands) and alarm is not None and alarm.cleared_by is None


def _is_own(alarm: Alarm, finding: Finding) -> bool:
    return (alarm.rule, alarm.subject.key) == (finding.rule, finding.subject.key)
