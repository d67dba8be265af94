"""Where the digests of days are kept between reviews: one SQLite file in the data folder, a cache.

It may be deleted at any time. Every row bears a label of all that it was made from; what has another label now is not
used. So nothing depends on what was written when a process died.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch.historian.damage import is_damage, move_aside

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Digest = Mapping[str, NDArray[np.float32]]

FILE_NAME: Final = "digests.sqlite"
_LAYOUT: Final = 1
_WAIT_S: Final = 20.0
_UNUSED_DAYS: Final = 365
_TABLES: Final = (
    "CREATE TABLE digests (name TEXT NOT NULL, station TEXT NOT NULL, day INTEGER NOT NULL, label BLOB NOT NULL, "
    "mark BLOB NOT NULL, head TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (name, station, day))",
    "CREATE TABLE memories (name TEXT NOT NULL, station TEXT NOT NULL, key TEXT NOT NULL, label BLOB NOT NULL, "
    "mark BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (name, station, key))",
)


class SpoiltError(Exception):
    """What is kept cannot be read: the file is damaged."""


@dataclass(frozen=True, slots=True)
class Made:
    """A day's digest to be kept."""

    day: int
    label: bytes
    mark: bytes
    """``mark_of`` it."""
    digest: Digest


def mark_of(digest: Digest) -> bytes:
    """The same bytes for the same digest."""
    told = hashlib.blake2b(digest_size=16)
    for name, values in sorted(digest.items()):
        told.update(f"{name} {values.shape} ".encode())
        told.update(np.ascontiguousarray(values, np.float32).tobytes())
    return told.digest()


def mend(path: Path) -> str | None:
    """Make the file, anew where it is damaged or of another layout; what was done to it, as a sentence.

    To be called while nobody else has it open. Raises nothing: without the file everything is reckoned anew.
    """
    try:
        _prepare(path)
    except sqlite3.DatabaseError as error:
        return set_aside(path, str(error)) if is_damage(error) else f"{path}: cannot be used ({error})"
    except OSError as error:
        return f"{path}: cannot be used ({error})"
    return None


def set_aside(path: Path, why: str) -> str:
    """Move the damaged file away and begin anew; a sentence that says so."""
    try:
        aside = move_aside(path)
        _prepare(path)
    except (OSError, sqlite3.DatabaseError) as error:
        return f"{path}: damaged ({why}) and cannot be replaced ({error})"
    return f"{path}: damaged ({why}); it is kept as {aside.name}, and what it held is reckoned anew"


def _prepare(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        (layout,) = file.execute("PRAGMA user_version").fetchone()
        if layout == _LAYOUT:
            return
        with file:
            file.execute("BEGIN IMMEDIATE")
            for table in ("digests", "memories"):
                file.execute(f"DROP TABLE IF EXISTS {table}")
            for sql in _TABLES:
                file.execute(sql)
            file.execute(f"PRAGMA user_version = {_LAYOUT}")


class Shelf:
    """The file, open in this process for one station. Its methods raise ``SpoiltError`` and ``sqlite3.Error``."""

    def __init__(self, file: sqlite3.Connection, station_id: str) -> None:
        self._file = file
        self._station = station_id

    @classmethod
    @contextmanager
    def opened(cls, path: Path, station_id: str) -> Iterator[Shelf]:
        """Open a file that ``mend`` has made."""
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)) as file:
            file.execute("PRAGMA synchronous = NORMAL")
            yield cls(file, station_id)

    def known(self, name: str, labels: Mapping[int, bytes]) -> dict[int, tuple[bytes, Digest]]:
        """Of these days those that are kept under these labels: their marks, and digests that are loaded when used."""
        if not labels:
            return {}
        sql = "SELECT day, label, mark, head FROM digests WHERE name = ? AND station = ? AND day BETWEEN ? AND ?"
        found: dict[int, tuple[bytes, Digest]] = {}
        for day, label, mark, head in self._file.execute(sql, (name, self._station, min(labels), max(labels))):
            if labels.get(day) == label:
                found[day] = (mark, _Kept(self, name, day, mark, _head(head)))
        return found

    def body(self, name: str, day: int) -> bytes:
        """The numbers of a digest, one after another."""
        sql = "SELECT body FROM digests WHERE name = ? AND station = ? AND day = ?"
        row = self._file.execute(sql, (name, self._station, day)).fetchone()
        if row is None:
            raise SpoiltError(f"the digest of day {day} at {self._station} is gone")
        try:
            return zlib.decompress(row[0])
        except zlib.error as error:
            raise SpoiltError(f"the digest of day {day} at {self._station} cannot be read: {error}") from error

    def memory(self, name: str, label: bytes) -> dict[str, bytes]:
        """What is remembered under this label."""
        sql = "SELECT key, mark, body FROM memories WHERE name = ? AND station = ? AND label = ?"
        found = {}
        for key, mark, body in self._file.execute(sql, (name, self._station, label)):
            if hashlib.blake2b(body, digest_size=16).digest() != mark:
                raise SpoiltError(f"what is remembered of {self._station} cannot be read")
            found[key] = body
        return found

    def keep(
        self,
        name: str,
        made: Iterable[Made],
        label: bytes,
        before: Mapping[str, bytes],
        memory: Mapping[str, bytes],
        first_day: int,
    ) -> None:
        """Keep digests and what is remembered, in one transaction; forget this name's digests before ``first_day``.

        Other names may look further back; of those nobody uses any more what is a year older goes too.
        """
        rows = [(name, self._station, one.day, one.label, one.mark, *_packed(one.digest)) for one in made]
        changed = {key: body for key, body in memory.items() if before.get(key) != body}
        gone = [key for key in before if key not in memory]
        if not rows and not changed and not gone:
            return
        with self._file as file:
            file.execute("BEGIN IMMEDIATE")
            file.execute(
                "DELETE FROM digests WHERE station = ? AND ((name = ? AND day < ?) OR day < ?)",
                (self._station, name, first_day, first_day - _UNUSED_DAYS),
            )
            file.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            where = "WHERE name = ? AND station = ?"
            file.execute(f"DELETE FROM memories {where} AND label != ?", (name, self._station, label))  # noqa: S608
            file.executemany(
                f"DELETE FROM memories {where} AND key = ?",  # noqa: S608
                [(name, self._station, key) for key in gone],
            )
            file.executemany(
                "INSERT OR REPLACE INTO memories VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (name, self._station, key, label, hashlib.blake2b(body, digest_size=16).digest(), body)
                    for key, body in changed.items()
                ],
            )


class _Kept(Mapping[str, "NDArray[np.float32]"]):
    """One day's digest on the shelf; its numbers are read when they are asked for."""

    def __init__(self, shelf: Shelf, name: str, day: int, mark: bytes, shapes: dict[str, tuple[int, ...]]) -> None:
        self._shelf, self._name, self._day, self._mark = shelf, name, day, mark
        self._shapes = shapes
        self._values: Digest | None = None

    def __getitem__(self, key: str) -> NDArray[np.float32]:
        if key not in self._shapes:
            raise KeyError(key)
        if self._values is None:
            self._values = self._read()
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __contains__(self, key: object) -> bool:
        return key in self._shapes

    def _read(self) -> Digest:
        body = self._shelf.body(self._name, self._day)
        found: dict[str, NDArray[np.float32]] = {}
        at = 0
        for key, shape in self._shapes.items():
            end = at + 4 * int(np.prod(shape, dtype=np.int64))
            found[key] = np.frombuffer(body[at:end].ljust(end - at, b"\0"), np.float32).reshape(shape)
            at = end
        if at != len(body) or mark_of(found) != self._mark:
            raise SpoiltError(f"the digest of day {self._day} is not what was kept")
        return found


def _packed(digest: Digest) -> tuple[str, bytes]:
    head = json.dumps([[name, list(values.shape)] for name, values in digest.items()], ensure_ascii=False)
    body = b"".join(np.ascontiguousarray(values, np.float32).tobytes() for values in digest.values())
    return head, zlib.compress(body, 1)


def _head(told: str) -> dict[str, tuple[int, ...]]:
    try:
        return {str(name): tuple(int(n) for n in shape) for name, shape in json.loads(told)}
    except (ValueError, TypeError) as error:
        raise SpoiltError(f"a digest's head cannot be read: {error}") from error


class Memory(MutableMapping[str, bytes]):
    """What a rule remembers of a station, and what it was before."""

    def __init__(self, before: Mapping[str, bytes]) -> None:
        self.before = dict(before)
        self._now = dict(before)

    def __getitem__(self, key: str) -> bytes:
        return self._now[key]

    def __setitem__(self, key: str, value: bytes) -> None:
        self._now[key] = value

    def __delitem__(self, key: str) -> None:
        del self._now[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)
