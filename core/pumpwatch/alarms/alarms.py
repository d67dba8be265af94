"""The alarms organ: every act is on disk before anybody sees it, and the current list is in memory."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pumpwatch.alarms import filing, storage
from pumpwatch.alarms.alarm import Alarm, LogEntry, acknowledged, cleared, list_order, returned, stood_again
from pumpwatch.alarms.changes import Bell, Changes
from pumpwatch.alarms.filing import Turn
from pumpwatch.alarms.states import State
from pumpwatch.alarms.wire import finding_from_json, finding_to_json
from pumpwatch.errors import PumpwatchError, Refused

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

    async def found(self, since: datetime, limit: int = LIMIT) -> tuple[Finding, ...]:
        """The newest ``limit`` findings that hold, received at ``since`` or later, in the order in which they came."""
        async with self._database.reading() as connection:
            return tuple(await storage.found(connection, since, max(0, min(limit, LIMIT))))

    def subscribe(self) -> Changes:
        """A place to wait for changes of ``current`` from now on."""
        return Changes(self._bell)

    # ------------------------------------------------------------ acts of rules

    async def raise_(self, finding: Finding) -> Alarm | None:
        """Take a finding: a new alarm, one more for the open alarm of this rule and subject, or (info) an event.

        A finding that was seen before changes nothing, even when its alarm is cleared; except that the newest finding
        of an open alarm may be told again with more known (a further device is lost) and then takes its own place
        without counting again. One that was withdrawn is new. Returns its alarm; None for info. Raises ``BadReply``
        when the finding cannot be kept.
        """
        known = self._open.get((finding.rule, finding.subject.key))
        if known is not None and known.state.stands and not self._doubtful and _is_same(known.finding, finding):
            return known
        finding = _as_kept(finding)
        async with self._turn() as turn:
            return await filing.take(turn, finding)

    async def settle(self, rule: str, standing_keys: Collection[str]) -> tuple[Alarm, ...]:
        """A standing rule has looked, and these ``subject.key`` are all that is wrong now.

        Its other alarms return. A returned alarm that is among them stands again, for its finding need not be a new
        one; but not when another alarm explains all it has. Returns what changed.
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

        What followed from it stands by itself again, in alarms of its own. One that itself follows from another is
        only told of in the log of the alarm to which it went. Saying so twice is once. Returns the alarm of the finding
        when it is open or has changed, None when there is nothing to change. What was found stays on record.
        """
        async with self._turn() as turn:
            return await filing.withdraw(turn, finding_id)

    async def attach(self, finding: Finding, cause_id: str) -> Alarm | None:
        """A finding follows from another, whose alarm it goes to; one cause is one alarm.

        If it had raised an alarm of its own before its cause was known, that one no longer counts it, and returns when
        it has no other. A cause that was withdrawn or whose alarm is not active or acknowledged explains nothing: then
        the finding raises its own. Returns the cause's alarm, or else its own; raises as ``raise_``.
        """
        finding = _as_kept(finding)
        async with self._turn() as turn:
            return await filing.attach(turn, finding, cause_id)

    async def unknown(self, findings: Iterable[Finding]) -> list[Finding]:
        """Those that have never been told, or were withdrawn since, in their order."""
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
    async def _turn(self) -> AsyncIterator[Turn]:
        """One act: read and write inside one transaction, then show what changed."""
        async with self._turns:
            if self._doubtful:
                await self._read_back()
            async with self._database.writing() as connection:
                turn = Turn(connection, self._clock.now())
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
    if alarm.rule != rule or not alarm.state.is_open:
        return False
    if alarm.subject.key in standing_keys:
        return alarm.state is State.RETURNED and alarm.count > 0
    return alarm.state.stands


def _settled(alarm: Alarm, standing_keys: Collection[str], at: datetime) -> Alarm:
    return stood_again(alarm, at) if alarm.subject.key in standing_keys else returned(alarm, at)


def _as_kept(finding: Finding) -> Finding:
    """As it will be read back."""
    return finding_from_json(finding_to_json(finding))


def _is_same(kept: Finding, told: Finding) -> bool:
    """Whether it is the very same; quickly, and maybe no for one that would be kept the same."""
    try:
        return kept.id == told.id and kept == told
    except ValueError:  # a numpy array among its figures
        return False


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
