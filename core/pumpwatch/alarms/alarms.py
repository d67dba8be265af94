"""The alarms organ: every act is on disk before anybody sees it, and the current list is in memory."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pumpwatch.alarms import storage
from pumpwatch.alarms.alarm import (
    Alarm,
    LogEntry,
    acknowledged,
    cleared,
    explained_by,
    joined,
    list_order,
    raised,
    repeated,
    returned,
    stood_again,
    told_again,
    withdrawn,
)
from pumpwatch.alarms.changes import Bell, Changes
from pumpwatch.alarms.states import State
from pumpwatch.alarms.wire import finding_from_json, finding_to_json
from pumpwatch.errors import PumpwatchError, Refused
from pumpwatch.model import Severity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from pumpwatch.clock import Clock
    from pumpwatch.database import Database
    from pumpwatch.model import Finding

LIMIT: Final = 10_000
"""The most alarms one question is answered with."""
NAME_LENGTH: Final = 100
NOTE_LENGTH: Final = 4_000
_ID: Final = re.compile(r"A-([0-9]{6,15})")


class UnknownAlarm(PumpwatchError):  # noqa: N818 - the field's word, as in pumpwatch.errors
    """No alarm has this id."""


@dataclass(slots=True)
class _Turn:
    """One act under way."""

    connection: AsyncConnection
    at: datetime
    changed: list[Alarm] = field(default_factory=list)


class Alarms:
    """Raises, returns, acknowledges and clears alarms, one act after the other; each is one transaction.

    The engine calls ``load`` before anything else. What an act has changed is seen by ``current`` only after it is on
    disk; an act that was broken off on its way there is read back from disk before the next one. Every act may raise
    ``NotReachable`` when the disk fails; then nothing has happened.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._open: dict[tuple[str, str], Alarm] = {}
        """By rule and subject."""
        self._sorted: tuple[Alarm, ...] | None = None
        self._bell = Bell()
        self._turns = asyncio.Lock()
        self._loaded = False
        self._doubtful = True
        """Memory may not be what is on disk."""

    # ------------------------------------------------------------ looking

    async def load(self) -> None:
        """Read the current alarms from disk."""
        async with self._turns:
            await self._read_back()

    def current(self) -> tuple[Alarm, ...]:
        """All open alarms: unacknowledged first, then by severity, then newest."""
        if not self._loaded:
            raise RuntimeError("Alarms.load() comes first")
        if self._sorted is None:
            self._sorted = tuple(sorted(self._open.values(), key=list_order))
        return self._sorted

    async def recent(self, hours: float = 4.0) -> tuple[Alarm, ...]:
        """All open alarms as in ``current``, then those cleared in the last ``hours``, newest first."""
        since = self._clock.now() - timedelta(hours=hours)
        async with self._database.reading() as connection:
            over = await storage.alarms_where(connection, storage.ALARMS.c.cleared_at >= since, limit=LIMIT)
        gone = {alarm.number for alarm in over}
        return (*(alarm for alarm in self.current() if alarm.number not in gone), *over)

    async def history(
        self,
        limit: int = 200,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        rule: str | None = None,
        station_id: str | None = None,
        state: State | None = None,
    ) -> tuple[Alarm, ...]:
        """Open and cleared alarms that were raised at ``since`` <= time < ``until``, newest first."""
        columns = storage.ALARMS.c
        wanted: list[ColumnElement[bool]] = []
        if since is not None:
            wanted.append(columns.raised_at >= since)
        if until is not None:
            wanted.append(columns.raised_at < until)
        if rule is not None:
            wanted.append(columns.rule == rule)
        if station_id is not None:
            wanted.append(columns.station_id == station_id)
        if state is not None:
            wanted.append(columns.state == state.value)
        async with self._database.reading() as connection:
            return tuple(await storage.alarms_where(connection, *wanted, limit=max(0, min(limit, LIMIT))))

    async def alarm(self, alarm_id: str) -> Alarm:
        """One alarm, open or not. Raises ``UnknownAlarm``."""
        async with self._database.reading() as connection:
            return await _one(connection, alarm_id)

    async def log(self, alarm_id: str, limit: int = 1_000) -> tuple[LogEntry, ...]:
        """The newest ``limit`` acts upon an alarm, oldest first; ``Alarm.log`` has the first and the newest fifty."""
        async with self._database.reading() as connection:
            alarm = await _one(connection, alarm_id)
            return tuple(await storage.log_of(connection, alarm.number, max(0, min(limit, LIMIT))))

    async def events(self, limit: int = 200, *, since: datetime | None = None) -> tuple[Finding, ...]:
        """Findings of severity info, which raise no alarm; newest first, received at ``since`` or later."""
        async with self._database.reading() as connection:
            return tuple(await storage.events(connection, since, max(0, min(limit, LIMIT))))

    def subscribe(self) -> Changes:
        """A place to wait for changes of ``current`` from now on."""
        return Changes(self._bell)

    # ------------------------------------------------------------ acts of rules

    async def raise_(self, finding: Finding) -> Alarm | None:
        """Take a finding: a new alarm, one more for the open alarm of this rule and subject, or (info) an event.

        A finding that was seen before changes nothing, even when its alarm is cleared; except that the newest finding
        of an open alarm may be told again with more known (a further device is lost) and then takes its own place
        without counting again. Returns its alarm; None for info. Raises ``BadReply`` when the finding cannot be kept.
        """
        finding = finding_from_json(finding_to_json(finding))  # as it will be read back
        known = self._open.get((finding.rule, finding.subject.key))
        if known is not None and known.finding == finding:
            return known
        async with self._turn() as turn:
            if known is not None and known.finding.id == finding.id:
                return await self._tell_again(turn, finding)
            seen, number = await storage.alarm_of_finding(turn.connection, finding.id)
            if seen:
                return None if number is None else (await storage.alarms_numbered(turn.connection, [number]))[0]
            if finding.severity is Severity.INFO:
                await storage.insert_finding(turn.connection, finding, None, turn.at)
                return None
            before = await storage.open_alarm(turn.connection, finding.rule, finding.subject.key)
            if before is None:
                after = raised(await storage.next_number(turn.connection), finding, turn.at)
                await storage.insert_alarm(turn.connection, after)
            else:
                after = repeated(before, finding, turn.at)
                await storage.update_alarms(turn.connection, [(before, after)])
            await storage.insert_finding(turn.connection, finding, after.number, turn.at)
            turn.changed.append(after)
            return after

    async def _tell_again(self, turn: _Turn, finding: Finding) -> Alarm | None:
        before = await storage.open_alarm(turn.connection, finding.rule, finding.subject.key)
        if before is None or before.finding.id != finding.id:
            return before
        after = told_again(before, finding, turn.at)
        await storage.update_alarms(turn.connection, [(before, after)])
        await storage.update_finding(turn.connection, finding)
        turn.changed.append(after)
        return after

    async def settle(self, rule: str, standing_keys: Collection[str]) -> tuple[Alarm, ...]:
        """A standing rule has looked, and these ``subject.key`` are all that is wrong now.

        Its other alarms return. A returned alarm that is among them stands again, for its finding need not be a new
        one. Returns what changed.
        """
        if not self._doubtful and not self._unsettled(rule, standing_keys):
            return ()
        async with self._turn() as turn:
            found = await storage.alarms_numbered(turn.connection, self._unsettled(rule, standing_keys))
            found = [alarm for alarm in found if _is_unsettled(alarm, rule, standing_keys)]
            changes = [(alarm, _settled(alarm, standing_keys, turn.at)) for alarm in found]
            await storage.update_alarms(turn.connection, changes)
            turn.changed += [after for _, after in changes]
            return tuple(turn.changed)

    async def withdraw(self, finding_id: str) -> Alarm | None:
        """A record that arrived late has shown a finding to be none: its alarm returns unless it has others.

        Returns the alarm when it is open, None when there is nothing left to change. What was found stays on record.
        """
        async with self._turn() as turn:
            _, number = await storage.alarm_of_finding(turn.connection, finding_id)
            if number is None:
                return None
            (before,) = await storage.alarms_numbered(turn.connection, [number])
            if not before.state.is_open:
                return None
            after = withdrawn(before, turn.at, finding_id)
            await storage.update_alarms(turn.connection, [(before, after)])
            turn.changed.append(after)
            return after

    async def attach(self, finding: Finding, cause_id: str) -> Alarm | None:
        """A finding follows from another, whose alarm it goes to; one cause is one alarm.

        If it had raised an alarm of its own before its cause was known, and nothing else did, that one returns. A cause
        without an open alarm explains nothing: then the finding raises its own. Returns the cause's alarm.
        """
        async with self._turn() as turn:
            _, number = await storage.alarm_of_finding(turn.connection, cause_id)
            seen, own = await storage.alarm_of_finding(turn.connection, finding.id)
            cause = (await storage.alarms_numbered(turn.connection, [number]))[0] if number is not None else None
            explained = cause is not None and cause.state.is_open
            if cause is not None and explained and not seen:
                after = joined(cause, finding, turn.at)
                await storage.update_alarms(turn.connection, [(cause, after)])
                await storage.insert_finding(turn.connection, finding, cause.number, turn.at)
                turn.changed.append(after)
                return after
            if cause is not None and explained and own not in {None, number}:
                (before,) = await storage.alarms_numbered(turn.connection, [own] if own is not None else [])
                if before.count == 1 and before.state.is_open and before.state is not State.RETURNED:
                    after = explained_by(before, cause, turn.at)
                    await storage.update_alarms(turn.connection, [(before, after)])
                    turn.changed.append(after)
        return cause if explained else await self.raise_(finding)

    async def unknown(self, findings: Iterable[Finding]) -> list[Finding]:
        """Those that have never been told, in their order."""
        wanted = list(findings)
        async with self._database.reading() as connection:
            known = await storage.known_findings(connection, [finding.id for finding in wanted])
        return [finding for finding in wanted if finding.id not in known]

    # ------------------------------------------------------------ acts of people

    async def acknowledge(self, alarm_id: str, by: str, note: str = "") -> Alarm:
        """``by`` knows of the alarm. Saying so twice is once.

        Raises ``UnknownAlarm``; ``Refused`` when somebody else was first or the alarm is cleared.
        """
        by, note = _person(by), _note(note)
        async with self._turn() as turn:
            before = await _one(turn.connection, alarm_id)
            if before.state is State.ACKNOWLEDGED:
                if before.acknowledged_by == by:
                    return before
                raise Refused(
                    f"alarm {before.id} was acknowledged by {before.acknowledged_by} at {before.acknowledged_at}; "
                    "nothing is left to do"
                )
            after = acknowledged(before, turn.at, by, note)
            await storage.update_alarms(turn.connection, [(before, after)])
            turn.changed.append(after)
            return after

    async def clear(self, alarm_id: str, by: str, note: str) -> Alarm:
        """``by`` ends the alarm and says why. Raises ``UnknownAlarm``; ``Refused`` without note or when it is over."""
        by, note = _person(by), _note(note)
        if not note:
            raise Refused(f"clearing alarm {alarm_id} needs a note that says why")
        async with self._turn() as turn:
            before = await _one(turn.connection, alarm_id)
            after = cleared(before, turn.at, by, note)
            await storage.update_alarms(turn.connection, [(before, after)])
            turn.changed.append(after)
            return after

    # ------------------------------------------------------------ how an act is done

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[_Turn]:
        """One act: read and write inside one transaction, then show what changed."""
        async with self._turns:
            if self._doubtful:
                await self._read_back()
            async with self._database.writing() as connection:
                turn = _Turn(connection, self._clock.now())
                yield turn
                self._doubtful = bool(turn.changed)  # until the commit has returned, nobody knows what is on disk
            self._doubtful = False
            if turn.changed:
                for alarm in turn.changed:
                    self._show(alarm)
                self._changed()

    async def _read_back(self) -> None:
        async with self._database.reading() as connection:
            rows = await storage.alarms_where(connection, storage.ALARMS.c.state != State.CLEARED.value)
        self._open = {(alarm.rule, alarm.subject.key): alarm for alarm in rows}
        self._loaded = True
        self._doubtful = False
        self._changed()

    def _show(self, alarm: Alarm) -> None:
        if alarm.state.is_open:
            self._open[alarm.rule, alarm.subject.key] = alarm
        else:
            self._open.pop((alarm.rule, alarm.subject.key), None)

    def _changed(self) -> None:
        self._sorted = None
        self._bell.ring()

    def _unsettled(self, rule: str, standing_keys: Collection[str]) -> list[int]:
        return [alarm.number for alarm in self._open.values() if _is_unsettled(alarm, rule, standing_keys)]


def _is_unsettled(alarm: Alarm, rule: str, standing_keys: Collection[str]) -> bool:
    """Whether an alarm of this rule is open and in another state than the look says."""
    stands = alarm.subject.key in standing_keys
    return alarm.rule == rule and alarm.state.is_open and stands is (alarm.state is State.RETURNED)


def _settled(alarm: Alarm, standing_keys: Collection[str], at: datetime) -> Alarm:
    return stood_again(alarm, at) if alarm.subject.key in standing_keys else returned(alarm, at)


async def _one(connection: AsyncConnection, alarm_id: str) -> Alarm:
    match = _ID.fullmatch(alarm_id)
    found = await storage.alarms_numbered(connection, [int(match[1])]) if match else []
    if not found or found[0].id != alarm_id:
        raise UnknownAlarm(f"there is no alarm {alarm_id[:40]!r}; look at the list of alarms again")
    return found[0]


def _person(by: str) -> str:
    name = by.strip()
    if not name or len(name) > NAME_LENGTH or any(unicodedata.category(c)[0] == "C" for c in name):
        raise Refused(f"who does this? A name of 1 to {NAME_LENGTH} characters is needed, not {by[:NAME_LENGTH]!r}")
    return name


def _note(note: str) -> str:
    text = note.strip()
    if len(text) > NOTE_LENGTH:
        raise Refused(f"the note has {len(text)} characters; at most {NOTE_LENGTH} are kept")
    return text.encode(errors="replace").decode().replace("\x00", "�")
