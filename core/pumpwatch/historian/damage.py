"""Files that turn out broken: how to know, and how to move them aside under a name of their own."""

from __future__ import annotations

import sqlite3
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pumpwatch.historian.copying import sync

_PARTS: Final = ("", "-wal", "-shm")
_SAVING: Final = ".saving"


@dataclass(frozen=True, slots=True)
class Wal:
    """A write-ahead log as it lay there before SQLite touched it; the layout is section 4 of SQLite's file format."""

    data: bytes
    frames: int
    """Frames up to the last commit of its present generation (the frames with the salt of its head)."""

    @classmethod
    def read(cls, database: Path) -> Wal | None:
        """The log beside ``database``, if there is one with anything in it."""
        log = database.with_name(database.name + "-wal")
        if not log.exists() or not 32 < log.stat().st_size <= 64 * 1024**2:
            return None
        data = log.read_bytes()
        magic, _, page, _, salt = struct.unpack_from(">IIII8s", data)
        if magic & ~1 != 0x377F0682 or not 512 <= page <= 65536:
            return cls(data, max(1, len(data) // 4120))
        step = 24 + page
        frames = 0
        for number, at in enumerate(range(32, len(data) - step + 1, step), 1):
            is_commit = data[at + 4 : at + 8] != b"\0\0\0\0"
            if is_commit and data[at + 8 : at + 16] == salt:
                frames = number
        return cls(data, frames)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is broken (not locked, not full)."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or code == sqlite3.SQLITE_IOERR_SHORT_READ


def unless_full(error: sqlite3.DatabaseError) -> None:
    """Raises the error when it is about room to write, and not about what cannot be read."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_FULL or code in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC):
        raise error


def emptied(path: Path) -> list[str]:
    """A sentence when a file that is there has nothing in it: to SQLite it would be a new one."""
    log = path.with_name(path.name + "-wal")
    gone = path.exists() and not path.stat().st_size and not (log.exists() and log.stat().st_size)
    return [f"{path}: was empty, all that it held is gone; begun anew"] if gone else []


def fault_of(file: sqlite3.Connection) -> str | None:
    """What SQLite finds wrong when it reads the whole file."""
    try:
        faults = [fault for (fault,) in file.execute("PRAGMA integrity_check(1)") if fault != "ok"]
    except sqlite3.DatabaseError as error:
        faults = [str(error)]
    return faults[0] if faults else None


def unused_name(path: Path) -> Path:
    """A free name beside ``path`` under which a damaged file is kept."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside


def kept_aside(path: Path) -> list[str]:
    """A sentence for each file that was moved aside in an earlier run and still lies there."""
    found = sorted(path.parent.glob(path.name + "*.damaged-*"))
    return [f"{p}: kept from an earlier damage; examine it, then remove it" for p in found]


def move_aside(database: Path) -> Path:
    """Rename a damaged SQLite file together with its WAL; return its new name."""
    aside = unused_name(database)
    for suffix in _PARTS:
        part = database.with_name(database.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    _lengthen(aside)
    return aside


def saving(database: Path) -> Path:
    """Where the file is made that is to replace a damaged one, which keeps its place until all of it is read.

    So whoever is killed meanwhile begins anew.
    """
    made = database.with_name(database.name + _SAVING)
    for suffix in _PARTS:
        made.with_name(made.name + suffix).unlink(missing_ok=True)
    if database.exists():
        _lengthen(database)
    return made


def put_in_place(made: Path, database: Path) -> Path:
    """The file that was made, closed by now, replaces the damaged one, which is kept; return its name."""
    if made.with_name(made.name + "-wal").exists():
        raise sqlite3.OperationalError(f"{made}: not all of it was written")
    sync(made)
    aside = move_aside(database)
    made.rename(database)
    sync(database.parent)
    return aside


def finish_placing(database: Path) -> None:
    """Do the rest of ``put_in_place`` when its program was killed: the damaged file is moved only when all is saved."""
    made = database.with_name(database.name + _SAVING)
    if database.exists() or not made.exists():
        return
    free = unused_name(database)
    aside = free.with_suffix(f".damaged-{int(free.name.rpartition('-')[2]) - 1}")
    for suffix in _PARTS[1:]:
        part = database.with_name(database.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    made.rename(database)


def _lengthen(database: Path) -> None:
    """Give a file that was cut short its length back, with zeros: SQLite reads nothing of a file that is too short."""
    with database.open("r+b") as file:
        head = file.read(100)
        if head.startswith(b"SQLite format 3\0"):
            page, pages = struct.unpack_from(">H", head, 16)[0], struct.unpack_from(">I", head, 28)[0]
            wanted = (65536 if page == 1 else page) * pages
            if file.seek(0, 2) < wanted <= 64 * 1024**3:
                file.truncate(wanted)
