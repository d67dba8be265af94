"""Roll-ups by minute and hour in one SQLite file: a checked blob a path, level and day, so that a year is one range."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from pumpwatch.errors import BadConfig, BadReply, NotReachable
from pumpwatch.historian.damage import (
    emptied,
    fault_of,
    finish_placing,
    is_damage,
    kept_aside,
    put_in_place,
    saving,
    unless_full,
)
from pumpwatch.historian.rolling import Level, unpacked
from pumpwatch.model import Summaries

T = TypeVar("T")

_PAGE: Final = 2_048
"""Small: what is left empty behind a blob is as large as a blob otherwise."""
_SCHEMA: Final = f"""
PRAGMA page_size = {_PAGE};
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS paths (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS days (day INTEGER PRIMARY KEY, through INTEGER NOT NULL, frozen INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS rollups (
    path INTEGER NOT NULL, level INTEGER NOT NULL, day INTEGER NOT NULL, blob BLOB NOT NULL,
    PRIMARY KEY (path, level, day)) WITHOUT ROWID;
"""
_SALVAGE_TRIES: Final = 2_000
_log = logging.getLogger(__name__)


class Rollups:
    """Which days are rolled up, through which write, and the roll-ups themselves.

    They can be made anew from the samples as long as these are kept, so a day's loss to a power cut is none; but they
    are kept longer than the samples. Its methods are called from the store's threads and block.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._damage: list[str] = []
        self._through: dict[int, int] = {}
        self._frozen: set[int] = set()
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    @property
    def damage(self) -> tuple[str, ...]:
        """What was found damaged, as sentences."""
        return tuple(self._damage)

    def open(self, next_order: int) -> None:
        """Open or create the file; what is rolled up of writes from ``next_order`` on is of another life of the store.

        Raises ``BadConfig`` when it cannot be had.
        """
        finish_placing(self.path)
        self._damage.extend([*kept_aside(self.path), *emptied(self.path)])
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                self.close()
                raise BadConfig(
                    f"{self.path} cannot be opened ({error}); check the folder's owner and rights"
                ) from error
            try:
                self._replace_file(error)
            except OSError as full:
                self.close()
                raise BadConfig(f"{full}; free space on its disk") from full
        for day in [d for d, through in self._through.items() if through >= next_order]:
            self.forget_day(day)

    def close(self) -> None:
        """Close the file."""
        with self._writing, self._reading:
            self._close_files()

    def through(self, day: int) -> int | None:
        """The newest write that the day's roll-ups hold; None when there are none."""
        return self._through.get(day)

    def all_through(self) -> dict[int, int]:
        """The same of every day that is rolled up, as it is now."""
        return self._through.copy()

    def is_frozen(self, day: int) -> bool:
        """Whether samples of the day are gone, so that its roll-ups cannot be made anew."""
        return day in self._frozen

    def put(self, day: int, through: int, rows: Iterable[tuple[str, Level, bytes]]) -> None:
        """Keep the roll-ups of a day in place of those of the same paths: all or, when ``rows`` raises, none."""

        def put(file: sqlite3.Connection) -> None:
            with file:
                file.execute("BEGIN IMMEDIATE")
                known = dict(file.execute("SELECT path, id FROM paths"))

                def numbered() -> Iterable[tuple[int, int, int, bytes]]:
                    for path, level, blob in rows:
                        if path not in known:
                            known[path] = file.execute("INSERT INTO paths (path) VALUES (?)", (path,)).lastrowid
                        yield known[path], level, day, blob

                file.executemany("INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?)", numbered())
                file.execute("INSERT OR REPLACE INTO days VALUES (?, ?, ?)", (day, through, day in self._frozen))

        self._write(put)
        self._through[day] = through
        self._write(lambda file: file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())

    def freeze(self, days: Iterable[int]) -> None:
        """Samples of these days are going; their roll-ups stay as they are."""
        those = [(day,) for day in days if day in self._through and day not in self._frozen]

        def freeze(file: sqlite3.Connection) -> None:
            with file:
                file.executemany("UPDATE days SET frozen = 1 WHERE day = ?", those)

        if those:
            self._write(freeze)
            self._frozen |= {day for (day,) in those}

    def forget(self, level: Level, before_day: int) -> None:
        """Drop the roll-ups of a level before a day."""

        def forget(file: sqlite3.Connection) -> None:
            with file:
                for (path,) in file.execute("SELECT id FROM paths").fetchall():
                    file.execute(
                        "DELETE FROM rollups WHERE path = ? AND level = ? AND day < ?", (path, level, before_day)
                    )

        self._write(forget)

    def forget_day(self, day: int) -> None:
        """The day is not rolled up: its samples answer, and it may be rolled up again."""

        def forget(file: sqlite3.Connection) -> None:
            with file:
                file.execute("DELETE FROM days WHERE day = ?", (day,))
                for (path,) in file.execute("SELECT id FROM paths").fetchall():
                    file.execute("DELETE FROM rollups WHERE path = ? AND level IN (1, 60) AND day = ?", (path, day))

        self._write(forget)
        self._through.pop(day, None)
        self._frozen.discard(day)

    def of(self, path: str, level: Level, first_day: int, last_day: int) -> list[Summaries]:
        """The roll-ups of a path, day by day; a damaged one is named, and its day is no longer rolled up."""
        blobs = self._read(
            "SELECT day, blob FROM rollups WHERE path = (SELECT id FROM paths WHERE path = ?) AND level = ? "
            "AND day BETWEEN ? AND ? ORDER BY day",
            (path, level, first_day, last_day),
        )
        found: list[Summaries] = []
        for day, blob in blobs:
            if day not in self._through:
                continue
            try:
                found.append(unpacked(blob, path, day, level))
            except BadReply as damage:
                self._damage.append(f"{self.path}: {damage}; it is made anew from the samples while these are kept")
                _log.error("%s", self._damage[-1])
                if self.is_frozen(day):
                    self._drop(path, level, day)
                else:
                    self.forget_day(day)
        return found

    def _drop(self, path: str, level: Level, day: int) -> None:
        one = "DELETE FROM rollups WHERE path = (SELECT id FROM paths WHERE path = ?) AND level = ? AND day = ?"
        self._write(lambda file: file.execute(one, (path, level, day)).fetchall())

    def mend(self) -> None:
        """Read everything; what is damaged is named, and its day is rolled up again where samples are left."""
        with self._writing:
            fault = None if self._writer is None else fault_of(self._writer)
            if fault:
                with self._reading:
                    self._replace_file(sqlite3.DatabaseError(fault))
        spans = self._read(
            "SELECT p.path, min(day), max(day) FROM rollups r JOIN paths p ON p.id = r.path GROUP BY 1", ()
        )
        for path, first, last in spans:
            for level in Level:
                self.of(path, level, first, last)

    # ------------------------------------------------------------ the file

    def _connect(self, path: Path | None = None) -> None:
        self._writer = sqlite3.connect(path or self.path, isolation_level=None, check_same_thread=False)
        self._writer.executescript(_SCHEMA)
        self._reader = sqlite3.connect(path or self.path, isolation_level=None, check_same_thread=False)
        rows = self._reader.execute("SELECT day, through, frozen FROM days").fetchall()
        self._through = {day: through for day, through, _ in rows}
        self._frozen = {day for day, _, frozen in rows if frozen}

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._writing:
            if self._writer is None:
                raise NotReachable(f"{self.path} is closed")
            try:
                return work(self._writer)
            except sqlite3.DatabaseError as error:
                if is_damage(error):
                    with self._reading:
                        self._replace_file(error)
                raise OSError(f"{self.path}: {error}") from error

    def _read(self, sql: str, given: Sequence[object]) -> list[Any]:
        with self._reading:
            if self._reader is None:
                raise NotReachable(f"{self.path} is closed")
            try:
                return self._reader.execute(sql, given).fetchall()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                damage = error
        with self._writing, self._reading:
            self._replace_file(damage)
        return []

    def _replace_file(self, error: sqlite3.DatabaseError) -> None:
        """Copy what can still be read to a new file, which takes the place of the damaged one."""
        self._close_files()
        made = saving(self.path)
        try:
            self._connect(made)
            saved = self._salvage()
            self._close_files()
            aside = put_in_place(made, self.path)
        except sqlite3.OperationalError as full:
            self._close_files()
            saving(self.path)
            with suppress(sqlite3.DatabaseError):
                self._connect()
            raise OSError(f"{self.path}: {full}") from full
        self._connect()
        self._damage.append(
            f"{self.path}: damaged ({error}); {saved} roll-ups were saved, the others are made anew from the samples "
            f"while these are kept; the file is kept as {aside.name}"
        )
        _log.error("%s", self._damage[-1])

    def _close_files(self) -> None:
        for file in (self._reader, self._writer):
            if file is not None:
                file.close()
        self._reader = self._writer = None

    def _salvage(self) -> int:
        """What can be read of days whose samples are gone; of the others nothing is needed."""
        file = self._writer
        if file is None:
            return 0
        file.execute("ATTACH DATABASE ? AS damaged", (str(self.path),))
        try:
            file.execute("INSERT OR IGNORE INTO paths SELECT * FROM damaged.paths")
            ((first, last),) = file.execute("SELECT min(id), max(id) FROM paths")
            ranges = [] if first is None else [(first, last)]
            try:
                days = file.execute("SELECT day, through FROM damaged.days WHERE frozen").fetchall()
            except sqlite3.DatabaseError:
                days = None
            for _ in range(_SALVAGE_TRIES):
                if not ranges:
                    break
                first, last = ranges.pop()
                try:
                    file.execute(
                        "INSERT OR IGNORE INTO rollups SELECT * FROM damaged.rollups WHERE path BETWEEN ? AND ?",
                        (first, last),
                    )
                except sqlite3.DatabaseError as error:
                    unless_full(error)
                    middle = (first + last) // 2
                    ranges += [(first, middle), (middle + 1, last)] if first < last else []
            if days is None:
                days = file.execute("SELECT DISTINCT day, 0 FROM rollups").fetchall()
            file.executemany("INSERT OR REPLACE INTO days VALUES (?, ?, 1)", days)
            ((saved,),) = file.execute("SELECT count(*) FROM rollups")
        except sqlite3.DatabaseError as error:
            unless_full(error)
            saved = 0
        file.execute("DETACH DATABASE damaged")
        return int(saved)
