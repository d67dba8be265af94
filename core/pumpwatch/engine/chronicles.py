"""Puts chronicles to a station from the digests that are kept, and makes and keeps those that are not."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

import pumpwatch
from pumpwatch.contracts import Chronicle, Digests
from pumpwatch.engine.shelf import Made, Memory, Shelf, SpoiltError, mark_of
from pumpwatch.errors import NotReachable
from pumpwatch.historian.damage import is_damage
from pumpwatch.model import from_us, to_us
from pumpwatch.past import Channel

if TYPE_CHECKING:
    from pumpwatch.canonical import FarPast
    from pumpwatch.engine.shelf import Digest
    from pumpwatch.historian.bulk import Touched
    from pumpwatch.model import Finding
    from pumpwatch.past import StationPast

_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 24 * _HOUR_US
_KEPT_DAYS: Final = 60
"""So much longer than they are needed digests are kept."""
_INSTANT: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class Said:
    """What chronicles say of one station."""

    findings: list[Finding] = field(default_factory=list)
    off: dict[str, str] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    trouble: str | None = None
    """Why nothing was kept."""
    spoilt: bool = False
    """The file is damaged and should be set aside."""


def judge_chronicles(
    far: FarPast, rules: Sequence[Chronicle], since: datetime, until: datetime, path: Path | None
) -> Said:
    """Everything with since < detected_at <= until at this station; the same whatever ``path`` holds.

    Raises ``NotReachable`` when the records cannot be read.
    """
    if path is not None:
        try:
            with Shelf.opened(path, far.registered.station_id) as shelf:
                return _Judging(far, since, until, shelf).judge(rules)
        except SpoiltError as error:
            trouble, spoilt = str(error), True
        except sqlite3.Error as error:
            trouble, spoilt = str(error), is_damage(error)
        said = _Judging(far, since, until, None).judge(rules)
        said.trouble, said.spoilt = trouble, spoilt
        return said
    return _Judging(far, since, until, None).judge(rules)


@dataclass(frozen=True, slots=True)
class _Task:
    """Rules that share their digests, and what there is of those."""

    name: str
    rules: Sequence[Chronicle]
    label: bytes
    days: Sequence[int]
    """Whose digests are wanted."""
    labels: Mapping[int, bytes]
    """Of the days that are over."""
    kept: Mapping[int, tuple[bytes, Digest]]
    runs: Sequence[tuple[Sequence[int], datetime, datetime]]
    """Days that must be made, near one another, and the time whose records they need."""


class _Judging:
    """One station, one period."""

    def __init__(self, far: FarPast, since: datetime, until: datetime, shelf: Shelf | None) -> None:
        self._far, self._since, self._until, self._shelf = far, since, until, shelf
        self._touched: Touched = far.touched()  # before anything is read: what comes meanwhile has another mark
        self._registered = _registered(far.registered)
        self._said = Said()

    def judge(self, rules: Sequence[Chronicle]) -> Said:
        """Put them all."""
        if not rules:
            return self._said
        shared: dict[str, list[Chronicle]] = {}
        for rule in rules:
            shared.setdefault(_name(rule), []).append(rule)
        tasks = []
        for name, those in shared.items():
            with self._failing(those):
                tasks.append(self._task(name, those))
        self._records = _Records(self._far, self._touched, [(a, b) for task in tasks for _, a, b in task.runs])
        start, end = earlier(self._since, max(rule.context for rule in rules)), earlier(self._until, -_INSTANT)
        recent = self._far.between(start, end).late(lambda: self._records.past(start, end).between(start, end))
        for task in tasks:
            with self._failing(task.rules):
                self._put(task, recent)
        return self._said

    @contextmanager
    def _failing(self, rules: Iterable[Chronicle]) -> Iterator[None]:
        """Note that these rules fail when anything does: a rule is a plugin, it may do anything."""
        try:
            yield
        except (SpoiltError, sqlite3.Error, NotReachable):
            raise
        except Exception as error:
            for rule in rules:
                self._said.failing[rule.rule] = f"{self._far.registered.station_id}: {type(error).__name__}: {error}"

    def _task(self, name: str, rules: Sequence[Chronicle]) -> _Task:
        """What is to be done for rules that share their digests."""
        one = rules[0]
        label = _code(one)
        days = self._days(one, max(rule.days for rule in rules))
        labels = {day: self._label(one, day, label) for day in days if self._is_over(one, day)}
        kept = {} if self._shelf is None else self._shelf.known(name, labels)
        runs = []
        for run in _runs([day for day in days if day not in kept], one.context.days + 1):
            start, end = from_us(_span(one, run[0])[0]), from_us(_span(one, run[-1])[1])
            runs.append((run, start, min(end, earlier(self._until, -_INSTANT))))
        return _Task(name, rules, label, days, labels, kept, runs)

    def _put(self, task: _Task, recent: StationPast) -> None:
        """Make the digests that are not kept, put the rules to all of them, and keep what can be kept."""
        rules = [rule for rule in task.rules if not self._is_off(rule, task, recent)]
        if not rules:
            return
        marks = {day: mark for day, (mark, _) in task.kept.items()}
        digests = {day: digest for day, (_, digest) in task.kept.items()}
        made = []
        for run, start, end in task.runs:
            past = self._records.past(start, end)
            for day in run:
                digests[day] = rules[0].digest(past, day)
                if day in task.labels:
                    marks[day] = mark_of(digests[day])
                    made.append(Made(day, task.labels[day], marks[day], digests[day]))
        memory = Memory({} if self._shelf is None else self._shelf.memory(task.name, task.label))
        told = Digests({day: digests[day] for day in sorted(digests) if len(digests[day])}, marks)
        for rule in rules:
            with self._failing([rule]):
                findings = list(rule.conclude(recent, told, self._since, self._until, memory))
                self._said.findings += [f for f in findings if self._since < f.detected_at <= self._until]
        if self._shelf is not None:
            first = min(task.days, default=0) - _KEPT_DAYS
            self._shelf.keep(task.name, made, task.label, memory.before, memory, first)

    def _is_off(self, rule: Chronicle, task: _Task, recent: StationPast) -> bool:
        """Whether data are missing that the rule needs; those that are there in a part of the time are there in all.

        So what is read for digests often suffices. It does not say how often tanks are read in all the time.
        """
        if rule.needs and task.runs:
            part = self._records.past(*task.runs[-1][1:])
            if part.start >= recent.start and rule.needs <= part.channels - {Channel.TANK_READINGS}:
                return False
        if missing := rule.needs and rule.needs - recent.channels:
            self._said.off[rule.rule] = ", ".join(sorted(missing))
        return bool(missing)

    def _days(self, rule: Chronicle, back: int) -> list[int]:
        """The days that must be told and have records."""
        wanted = rule.days_between(earlier(self._since, timedelta(days=back + 1)), self._until)
        first_us = self._touched.hour * _HOUR_US + rule.utc_offset_us
        days = np.unique(np.concatenate((first_us // _DAY_US, (first_us + _HOUR_US - 1) // _DAY_US)))
        found: list[int] = days[(days >= wanted.start) & (days < wanted.stop)].tolist()
        return found

    def _is_over(self, rule: Chronicle, day: int) -> bool:
        return _span(rule, day)[1] <= to_us(self._until)

    def _label(self, rule: Chronicle, day: int, code: bytes) -> bytes:
        """Of everything that the digest of a day depends on."""
        start, end = _span(rule, day)
        return hashlib.blake2b(code + self._registered + self._touched.between(start, end), digest_size=16).digest()


class _Records:
    """Reads a station's records; those of a time that lies within another wanted one are read with that, once."""

    def __init__(self, far: FarPast, touched: Touched, wanted: Iterable[tuple[datetime, datetime]]) -> None:
        self._far, self._touched = far, touched
        self._wanted = sorted(wanted, key=lambda span: span[0] - span[1])  # the longest first
        self._read: dict[tuple[datetime, datetime], StationPast] = {}

    def past(self, start: datetime, end: datetime) -> StationPast:
        """The past with records of at least this time."""
        span = next((each for each in self._wanted if each[0] <= start and end <= each[1]), (start, end))
        if span not in self._read:
            self._read[span] = self._far.between(*span).read(self._touched)
        return self._read[span]


def _span(rule: Chronicle, day: int) -> tuple[int, int]:
    """From when until when records matter to a day's digest, microseconds."""
    start = day * _DAY_US - rule.utc_offset_us
    return start - rule.context // _INSTANT, start + _DAY_US + rule.settling // _INSTANT


def _runs(days: Sequence[int], apart: int) -> Iterator[list[int]]:
    """Days in runs that lie so many days apart."""
    run: list[int] = []
    for day in days:
        if run and day - run[-1] > apart:
            yield run
            run = []
        run.append(day)
    if run:
        yield run


def _name(rule: Chronicle) -> str:
    """What rules that share their digests have in common."""
    settings = hashlib.blake2b(rule.settings.model_dump_json().encode(), digest_size=8).hexdigest()
    return f"{rule.digests_of or rule.rule} {settings}"


def _registered(past: StationPast) -> bytes:
    """Of all that the ledger says of a station and a digest may depend on."""
    told = hashlib.blake2b(digest_size=16)
    told.update(repr((past.station, past.dispensers, past.nozzles, past.tanks, past.work_orders)).encode())
    for tank, chart in sorted(past.charts.items()):
        told.update(tank.encode() + chart.height_mm.tobytes() + chart.volume_l.tobytes())
    return told.digest()


def _code(rule: Chronicle) -> bytes:
    """Of the program and the rule."""
    told = hashlib.blake2b(_files(type(rule).__module__.partition(".")[0]), digest_size=16)
    told.update(f"{_files('pumpwatch').hex()} {pumpwatch.__version__} {_name(rule)} {rule.version}".encode())
    return told.digest()


@cache
def _files(package: str) -> bytes:
    """Of the source of a package or a module; of nothing where there is none, the version must do then."""
    told = hashlib.blake2b(digest_size=16)
    try:
        source = Path(import_module(package).__file__ or "")
        files = sorted(source.parent.rglob("*.py")) if source.name == "__init__.py" else [source]
        for file in files:
            told.update(file.read_bytes())
    except (ImportError, OSError):
        return told.digest()
    return told.digest()


def earlier(at: datetime, by: timedelta) -> datetime:
    """So much before; at the ends of the calendar, the end itself."""
    try:
        return at - by
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if by > timedelta(0) else datetime.max.replace(tzinfo=UTC)
