"""Records in SQLite: one table a type, a primary key that makes writes idempotent, and the last sample of each path."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from pumpwatch.errors import BadConfig, NotReachable, Refused
from pumpwatch.historian.damage import is_damage, kept_aside, move_aside
from pumpwatch.historian.rows import SHAPES, Form, Shape
from pumpwatch.model import Record, SampleBatch

T = TypeVar("T")

_TYPES: Final[Mapping[Form, str]] = {
    Form.INTEGER: "INTEGER",
    Form.TIME: "INTEGER",
    Form.REAL: "REAL",
    Form.BYTES: "BLOB",
}
_LATEST: Final = (
    "CREATE TABLE IF NOT EXISTS latest "
    "(path TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, value REAL, text TEXT, quality INTEGER NOT NULL)"
)
_KEEP_LATEST: Final = (
    "INSERT INTO latest VALUES (?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET at = excluded.at, "
    "value = excluded.value, text = excluded.text, quality = excluded.quality WHERE excluded.at >= latest.at"
)
_SALVAGE_TRIES: Final = 2_000


class Records:
    """One SQLite file, held alone. Its methods are called from the store's threads and block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._damage: list[str] = []
        self._open_file: sqlite3.Connection | None = None

    @property
    def damage(self) -> tuple[str, ...]:
        """What was found damaged and set aside, as sentences."""
        return tuple(self._damage)

    def open(self) -> None:
        """Open or create the file. Raises ``BadConfig`` when it cannot be had."""
        self._damage.extend(kept_aside(self.path))
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                self.close()
                raise BadConfig(
                    f"{self.path} cannot be opened ({error}); "
                    "check that no other server holds it, and the folder's owner and rights"
                ) from error
            self._replace_file(error)

    def close(self) -> None:
        """Close the file."""
        file, self._open_file = self._open_file, None
        if file is not None:
            file.close()

    def write(self, records: Iterable[tuple[str, Record]], latest: Sequence[tuple[object, ...]]) -> None:
        """Keep records (each with its station) and the last samples; durable when it returns.

        What was reported first stands; a later report of the same record only fills what the first left out. Raises
        ``Refused`` for a value SQLite has no room for.
        """
        rows: dict[type[Record], list[tuple[object, ...]]] = {}
        for station, record in records:
            rows.setdefault(type(record), []).append((station, *map(_fitting, SHAPES[type(record)].row(record))))

        def write(file: sqlite3.Connection) -> None:
            with file:
                file.execute("BEGIN IMMEDIATE")
                for kind, those in rows.items():
                    file.executemany(_insert(SHAPES[kind]), those)
                file.executemany(_KEEP_LATEST, latest)

        try:
            self._guarded(write)
        except (OverflowError, sqlite3.IntegrityError) as error:
            raise Refused(f"{self.path}: a record cannot be stored ({error})") from error
        except sqlite3.OperationalError as error:
            raise NotReachable(f"{self.path}: cannot be written ({error}); free space on its disk") from error

    def find(
        self,
        kind: type[Record],
        *,
        station_id: str | None = None,
        subject: str | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
        limit: int,
    ) -> list[Record]:
        """Records with start <= time < end, newest first."""
        shape = SHAPES[kind]
        wanted = {
            "station = ?": station_id,
            f'"{shape.subject}" = ?': subject,
            f'"{shape.time}" >= ?': start_us,
            f'"{shape.time}" < ?': end_us,
        }
        given = {condition: value for condition, value in wanted.items() if value is not None}
        columns = ", ".join(f'"{c.name}"' for c in shape.columns)
        sql = (
            f"SELECT {columns} FROM {shape.table} WHERE {' AND '.join(['1', *given])} "  # noqa: S608 - names from SHAPES
            f'ORDER BY "{shape.time}" DESC, rowid DESC LIMIT ?'
        )
        rows = self._guarded(lambda file: file.execute(sql, (*given.values(), limit)).fetchall())
        return [shape.record(row) for row in rows]

    def latest(self) -> SampleBatch:
        """The last sample of every path."""
        rows = self._guarded(lambda file: file.execute("SELECT * FROM latest ORDER BY path").fetchall())
        texts = tuple(row[3] for row in rows)
        return SampleBatch(
            "",
            tuple(row[0] for row in rows),
            np.array([row[1] for row in rows], np.int64),
            np.array([math.nan if row[2] is None else row[2] for row in rows], np.float64),
            texts if any(t is not None for t in texts) else (),
            np.array([row[4] for row in rows], np.uint8),
        )

    def forget(self, kind: type[Record], before_us: int) -> None:
        """Remove the records of one type that are older."""
        shape = SHAPES[kind]
        sql = f'DELETE FROM {shape.table} WHERE "{shape.time}" < ?'  # noqa: S608 - names from SHAPES
        self._guarded(lambda file: file.execute(sql, (before_us,)))

    def forget_latest(self, before_us: int) -> None:
        """Remove last samples that are older."""
        self._guarded(lambda file: file.execute("DELETE FROM latest WHERE at < ?", (before_us,)))

    # ------------------------------------------------------------ the file

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(self.path, isolation_level=None, timeout=1.0, check_same_thread=False)
        self._open_file = file
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            file.execute(f"PRAGMA {pragma}")
        file.execute(_LATEST)
        for shape in SHAPES.values():
            for sql in _create(shape):
                file.execute(sql)
        return file

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            if self._open_file is None:
                raise NotReachable(f"{self.path}: the store is closed")
            try:
                return work(self._open_file)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                return work(self._replace_file(error))

    def _replace_file(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """Set the damaged file aside, start a new one and copy over every row that can still be read."""
        self.close()
        aside = move_aside(self.path)
        file = self._connect()
        saved = 0
        try:
            file.execute("ATTACH DATABASE ? AS damaged", (str(aside),))
            for table in ("latest", *(s.table for s in SHAPES.values())):
                saved += _salvage(file, table)
            file.execute("DETACH DATABASE damaged")
        except sqlite3.DatabaseError:
            pass  # nothing in it can be read
        self._damage.append(
            f"{self.path}: damaged ({error}); {saved} records were saved, the rest is kept in {aside.name}"
        )
        return file


def _salvage(file: sqlite3.Connection, table: str) -> int:
    try:
        first, last = file.execute(f"SELECT min(rowid), max(rowid) FROM damaged.{table}").fetchone()  # noqa: S608
    except sqlite3.DatabaseError:
        return 0
    ranges = [] if first is None else [(first, last)]
    copy = f"INSERT OR IGNORE INTO {table} SELECT * FROM damaged.{table} NOT INDEXED WHERE rowid BETWEEN ? AND ?"  # noqa: S608
    saved = 0
    for _ in range(_SALVAGE_TRIES):
        if not ranges:
            break
        first, last = ranges.pop()
        try:
            saved += file.execute(copy, (first, last)).rowcount
        except sqlite3.DatabaseError:
            middle = (first + last) // 2
            ranges += [(middle + 1, last), (first, middle)] if first < last else []
    return saved


def _create(shape: Shape) -> list[str]:
    columns = [
        f'"{c.name}" {_TYPES.get(c.form, "TEXT")}{"" if c.may_lack or c.form is Form.REAL else " NOT NULL"}'
        for c in shape.columns
    ]
    optional = {c.name for c in shape.columns if c.may_lack}
    key = ", ".join(f"coalesce(\"{k}\", '')" if k in optional else f'"{k}"' for k in shape.key)
    return [
        f"CREATE TABLE IF NOT EXISTS {shape.table} (station TEXT NOT NULL, {', '.join(columns)})",
        f"CREATE UNIQUE INDEX IF NOT EXISTS {shape.table}_key ON {shape.table} ({key})",
        f'CREATE INDEX IF NOT EXISTS {shape.table}_time ON {shape.table} ("{shape.time}")',
        f'CREATE INDEX IF NOT EXISTS {shape.table}_subject ON {shape.table} ("{shape.subject}", "{shape.time}")',
        f'CREATE INDEX IF NOT EXISTS {shape.table}_station ON {shape.table} (station, "{shape.time}")',
    ]


def _insert(shape: Shape) -> str:
    fillable = [c.name for c in shape.columns if c.may_lack and c.name not in shape.key]
    fill = "UPDATE SET " + ", ".join(f'"{c}" = coalesce("{c}", excluded."{c}")' for c in fillable)
    places = ", ".join("?" * (len(shape.columns) + 1))
    return f"INSERT INTO {shape.table} VALUES ({places}) ON CONFLICT DO {fill if fillable else 'NOTHING'}"  # noqa: S608


def _fitting(value: Any) -> Any:  # noqa: ANN401 - any plain value passes
    """Lone surrogates (bytes that were no text) cannot be kept in SQLite and become question marks."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
