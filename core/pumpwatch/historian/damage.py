"""Files that turn out broken: how to know, and how to move them aside under a name of their own."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from pumpwatch.historian.copying import sync

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PARTS: Final = ("", "-wal", "-shm")
_SAVING: Final = ".saving"
_WAL_HEAD: Final = 32
_FRAME_HEAD: Final = 24
_WAL_MAGIC: Final = 0x377F0682
_FRAMES_AT_ONCE: Final = 256
_MASK: Final = 2**32 - 1


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
        return cls(data, _frames(BytesIO(data), len(data))[0])


def torn_frames(database: Path) -> tuple[int, int]:
    """Of the log beside a database: frames that were committed to it, and how many of them SQLite will not believe.

    A frame is believed when its checksum is right, which goes over all frames before it. Raises ``OSError``.
    """
    log = database.with_name(database.name + "-wal")
    if not log.exists():
        return 0, 0
    with log.open("rb") as file:
        frames, sound = _frames(file, log.stat().st_size)
    return frames, frames - sound


def _frames(log: BinaryIO, size: int) -> tuple[int, int]:
    """Frames up to the last commit with the salt of the log's head, and up to the last commit that proves itself."""
    head = log.read(_WAL_HEAD)
    if len(head) < _WAL_HEAD:
        return 0, 0
    magic, _, page, _, salt = struct.unpack_from(">IIII8s", head)
    if magic & ~1 != _WAL_MAGIC or not 512 <= page <= 65536 or page & (page - 1):
        return max(1, size // (_FRAME_HEAD + 4096)), 0
    kind = ">u4" if magic & 1 else "<u4"
    step = _FRAME_HEAD + page
    reckoned = _sums(np.frombuffer(head[:24], kind).reshape(1, -1), (0, 0))[0]
    is_sound = reckoned == struct.unpack_from(">II", head, 24)
    frames = sound = number = 0
    while len(data := log.read(_FRAMES_AT_ONCE * step)) >= step:
        rows = np.frombuffer(data, np.uint8, len(data) // step * step).reshape(-1, step)
        words = np.ascontiguousarray(np.hstack([rows[:, :8], rows[:, _FRAME_HEAD:]])).view(kind)
        checksums = _sums(words, reckoned) if is_sound else []
        for place, row in enumerate(rows):
            number += 1
            told = row[:_FRAME_HEAD].tobytes()
            is_own = told[8:16] == salt
            is_sound = is_sound and is_own and checksums[place] == struct.unpack_from(">II", told, 16)
            if is_own and told[4:8] != bytes(4):  # a commit
                frames, sound = number, number if is_sound else sound
        reckoned = checksums[-1] if checksums else reckoned
    return frames, sound


def _sums(words: NDArray[np.uint32], before: tuple[int, int]) -> list[tuple[int, int]]:
    """Checksums after each row of words, going on from ``before``; section 4.2 of SQLite's file format.

    Each pair of words (x, y) makes a, b into a + b + x, a + 2 b + x + y: a matrix whose powers are the weights.
    """
    pairs = words.shape[1] // 2
    powers = [(1, 0, 1)]
    for _ in range(pairs):
        p, q, r = powers[-1]
        powers.append(((p + q) & _MASK, (q + r) & _MASK, (q + 2 * r) & _MASK))
    weights = np.array(powers[:pairs][::-1], np.uint64).T
    x = words[:, 0::2].astype(np.uint64)
    both = x + words[:, 1::2].astype(np.uint64)
    own = zip((x @ weights[0] + both @ weights[1]).tolist(), (x @ weights[1] + both @ weights[2]).tolist(), strict=True)
    p, q, r = powers[pairs]
    found: list[tuple[int, int]] = []
    a, b = before
    for first, second in own:
        a, b = (p * a + q * b + first) & _MASK, (q * a + r * b + second) & _MASK
        found.append((a, b))
    return found


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
    """Rename a damaged SQLite file together with its WAL; return its new name. Raises ``OSError``, all as it was."""
    aside = unused_name(database)
    moved: list[str] = []
    try:
        for suffix in _PARTS:
            part = database.with_name(database.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
                moved.append(suffix)
        _lengthen(aside)
    except OSError:
        _move_back(aside, database, moved)
        raise
    return aside


def _move_back(aside: Path, database: Path, suffixes: Sequence[str]) -> None:
    for suffix in suffixes:
        with suppress(OSError):
            aside.with_name(aside.name + suffix).rename(database.with_name(database.name + suffix))


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
    """The file that was made, closed by now, replaces the damaged one, which is kept; return its name.

    Raises ``sqlite3.OperationalError`` when the disk does not let it; then the damaged one has its place still.
    """
    if made.with_name(made.name + "-wal").exists():
        raise sqlite3.OperationalError(f"{made}: not all of it was written")
    try:
        sync(made)
        aside = move_aside(database)
        try:
            made.rename(database)
        except OSError:
            _move_back(aside, database, _PARTS)
            raise
        sync(database.parent)
    except OSError as error:
        raise sqlite3.OperationalError(f"{made}: {error}") from error
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
