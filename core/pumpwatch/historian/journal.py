"""The disk journal: what acquisition gathered is here before it is acknowledged, and stays until the store has it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, Self, TypeVar

import aiosqlite

from pumpwatch.errors import BadConfig, BadReply, Refused
from pumpwatch.historian.codec import decode, encode
from pumpwatch.historian.coding import PathCodes
from pumpwatch.historian.copying import sync
from pumpwatch.historian.damage import (
    Wal,
    emptied,
    finish_placing,
    is_damage,
    kept_aside,
    put_in_place,
    saving,
    unless_full,
    unused_name,
)
from pumpwatch.model import Batch, to_us

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_MAX_BYTES: Final = 2 * 1024**3
DEFAULT_MAX_AGE: Final = timedelta(days=30)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT, first_us INTEGER NOT NULL, last_us INTEGER NOT NULL,
    batches INTEGER NOT NULL, samples INTEGER NOT NULL, size INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS groups_head ON groups (id, first_us, last_us, batches, samples, size);
CREATE TABLE IF NOT EXISTS set_aside (group_id INTEGER PRIMARY KEY, reason TEXT NOT NULL, blob BLOB NOT NULL);
"""
_SUMS: Final = (
    "SELECT coalesce(sum(batches), 0), coalesce(sum(samples), 0), coalesce(sum(size), 0) "
    "FROM groups INDEXED BY groups_head WHERE id BETWEEN ? AND ?"
)
_IDS: Final = "SELECT id FROM groups INDEXED BY groups_head WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
_IDS_TOUCHING: Final = (
    "SELECT id FROM groups INDEXED BY groups_head "
    "WHERE id BETWEEN ? AND ? AND last_us >= ? AND first_us < ? ORDER BY id"
)
_SAMPLES_TOUCHING: Final = (
    "SELECT coalesce(sum(samples), 0) FROM groups INDEXED BY groups_head "
    "WHERE id BETWEEN ? AND ? AND last_us >= ? AND first_us < ?"
)
_DAY: Final = timedelta(days=1)
_LAST_ID: Final = 2**63 - 1
_SALVAGE_TRIES: Final = 2_000
_SOURCES: Final = ("damaged.groups", "damaged.groups NOT INDEXED")
"""Either the index or the table may be what cannot be read."""
_ENDS: Final = tuple(f"SELECT {end}(id) FROM {source}" for source in _SOURCES for end in ("min", "max"))  # noqa: S608
_SAVE: Final = tuple(
    f"INSERT OR IGNORE INTO groups SELECT * FROM {source} WHERE id BETWEEN ? AND ?"  # noqa: S608
    for source in _SOURCES
)


class Overflow(StrEnum):
    """What a full journal does."""

    REFUSE = "refuse"
    """``append`` raises ``Refused``; the queue before it fills and drivers slow down. Nothing is dropped."""


@dataclass(frozen=True, slots=True)
class Group:
    """Batches that were acknowledged together."""

    id: int
    batches: tuple[Batch, ...]
    samples: int
    first_us: int
    """The earliest source time of a sample or record in it."""
    last_us: int

    @classmethod
    def of(cls, group_id: int, batches: Sequence[Batch]) -> Group:
        """A group with its head reckoned."""
        times = [to_us(r.at) for b in batches for r in b.records]
        for b in batches:
            if len(b.samples):
                times += (int(b.samples.at_us.min()), int(b.samples.at_us.max()))
        samples = sum(len(b.samples) for b in batches)
        return cls(group_id, tuple(batches), samples, min(times, default=0), max(times, default=0))


class Journal:
    """Groups of batches in one SQLite file (WAL, synchronous FULL), in the order of their ids.

    Damage never keeps it from opening: what cannot be read is set aside and named in ``damage``.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_age: timedelta = DEFAULT_MAX_AGE,
        overflow: Overflow = Overflow.REFUSE,
    ) -> None:
        """Full is when it holds ``max_bytes``, or batches that arrived ``max_age`` apart."""
        self.path = path
        self.max_bytes = max_bytes
        self.max_age = max_age
        self.overflow = overflow
        self.last_id = 0
        """The newest acknowledged group."""
        self.batches = 0
        """Acknowledged batches it still holds."""
        self.samples = 0
        self.size_bytes = 0
        self.oldest: datetime | None = None
        """When the oldest batch that it holds arrived."""
        self._newest: datetime | None = None
        self._damage: list[str] = []
        self._open_file: aiosqlite.Connection | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._turn = asyncio.Lock()
        self._codes = PathCodes()

    @property
    def fill(self) -> float:
        """How full by size or age, 0 to 1 (and a little over after a shutdown at the limit)."""
        return max(self.size_bytes / self.max_bytes, self._age / self.max_age)

    @property
    def _age(self) -> timedelta:
        if self.oldest is None or self._newest is None:
            return timedelta(0)
        return self._newest - self.oldest

    @property
    def damage(self) -> tuple[str, ...]:
        """What was found damaged and set aside, as sentences."""
        return tuple(self._damage)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Open or create the file. Raises ``BadConfig`` when it cannot be had (another server holds it)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._threads = self._threads or ThreadPoolExecutor(1, thread_name_prefix="pumpwatch-historian")
        finish_placing(self.path)
        self._damage.extend([*kept_aside(self.path), *emptied(self.path)])
        wal = Wal.read(self.path)
        try:
            sound = await self._connect()
            self._keep_torn_wal(wal, sound)
            await self._count()
            self._damage += [reason for (reason,) in await self._rows("SELECT reason FROM set_aside")]
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                await self.close()
                raise _unusable(self.path, error) from error
            try:
                await self._replace_file(error)
            except sqlite3.OperationalError as full:
                await self.close()
                raise BadConfig(
                    f"{self.path}: damaged ({error}), what is in it cannot be saved ({full}); free space on its disk"
                ) from full

    async def close(self) -> None:
        """Close the file and join its threads."""
        await self._close_file()
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown()

    async def in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``work`` gives, without keeping the loop from reading devices."""
        if self._threads is None:
            raise Refused(f"{self.path}: the journal is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))

    async def append(self, batches: Sequence[Batch], *, beyond_limit: bool = False) -> Group:
        """Write these as one group; on disk when it returns.

        Raises ``Refused`` when the journal or the disk is full (an empty journal takes a group of any size);
        ``beyond_limit`` passes the journal's own bound, for the last words before a shutdown. When cancelled the group
        counts as not written and its id is used again.
        """
        blob = encode(batches, self._codes)
        too_large = self.size_bytes + len(blob) > self.max_bytes
        if self.size_bytes and not beyond_limit and (too_large or self._age > self.max_age):
            raise Refused(
                f"{self.path}: the journal is full ({self.size_bytes:,} of {self.max_bytes:,} bytes wait, "
                f"for {self._age / _DAY:.1f} of {self.max_age / _DAY:.1f} days); "
                "bring the store back, or raise the journal's bounds in the settings"
            )
        head = Group.of(0, batches)

        async def insert() -> None:
            await self._file.execute(
                "INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self.last_id + 1, head.first_us, head.last_us, len(batches), head.samples, len(blob), blob),
            )

        try:
            await self._guarded(insert)
        except sqlite3.OperationalError as error:
            raise Refused(f"{self.path}: cannot be written ({error}); free space on its disk") from error
        self.last_id += 1
        self.batches += len(batches)
        self.samples += head.samples
        self.size_bytes += len(blob)
        if batches:
            self.oldest, self._newest = self.oldest or batches[0].arrived, batches[-1].arrived
        return Group(self.last_id, head.batches, head.samples, head.first_us, head.last_us)

    async def pending(self, after: int = 0, limit: int = 64, max_samples: int | None = None) -> list[Group]:
        """The oldest groups with an id above ``after``: at most ``limit``, stopping when they hold ``max_samples``.

        Empty only when none is left that can be read.
        """
        groups: list[Group] = []
        samples = 0
        while not groups and (ids := await self._fetch(_IDS, (after + 1, self.last_id, limit))):
            async with aclosing(self._read(ids)) as readable:
                async for group in readable:
                    groups.append(group)
                    samples += group.samples
                    if max_samples is not None and samples >= max_samples:
                        break
        return groups

    async def newest(self, max_samples: int, max_groups: int) -> list[Group]:
        """The newest groups that together hold at most ``max_samples``, oldest first."""
        heads = await self._fetch(
            "SELECT id, samples FROM groups INDEXED BY groups_head WHERE id <= ? ORDER BY id DESC LIMIT ?",
            (self.last_id, max_groups),
        )
        ids: list[tuple[Any, ...]] = []
        for group_id, samples in heads:
            max_samples -= samples
            if max_samples < 0:
                break
            ids.insert(0, (group_id,))
        return [g async for g in self._read(ids)]

    async def touching(self, first: int, last: int, start_us: int, end_us: int) -> AsyncGenerator[Group]:
        """Groups with ids from ``first`` to ``last`` (included) that touch start <= time < end, one at a time."""
        ids = await self._fetch(_IDS_TOUCHING, (first, min(last, self.last_id), start_us, end_us))
        async for group in self._read(ids):
            yield group

    async def samples_touching(self, first: int, last: int, start_us: int, end_us: int) -> int:
        """How many samples these groups hold, without reading them."""
        ((samples,),) = await self._fetch(_SAMPLES_TOUCHING, (first, min(last, self.last_id), start_us, end_us))
        return int(samples)

    async def drop_through(self, group_id: int) -> None:
        """Forget all groups up to this one: the store has them."""
        await self._remove(0, group_id, ("DELETE FROM groups WHERE id <= ?", (group_id,)))

    async def copy_to(self, path: Path) -> None:
        """All groups acknowledged so far, as a journal of its own."""

        async def copy() -> None:
            target = sqlite3.connect(path, check_same_thread=False)
            try:
                await self._file.backup(target)
            finally:
                target.close()
            await asyncio.to_thread(sync, path)

        await self._guarded(copy)

    async def mend(self) -> None:
        """Read everything; set aside and name what is damaged."""
        try:
            faults = [fault for (fault,) in await self._rows("PRAGMA integrity_check(1)") if fault != "ok"]
        except sqlite3.DatabaseError as error:
            faults = [str(error)]
        if faults:
            async with self._turn:
                await self._replace_file(sqlite3.DatabaseError(faults[0]))
        async for _ in self._read(await self._fetch(_IDS, (0, _LAST_ID, -1))):
            pass

    async def set_aside(self, group_id: int, reason: str) -> None:
        """Take one group out of the order, keep its bytes for an expert and name it in ``damage``."""
        await self._remove(
            group_id,
            group_id,
            ("INSERT OR REPLACE INTO set_aside SELECT id, ?, blob FROM groups WHERE id = ?", (reason, group_id)),
            ("DELETE FROM groups WHERE id = ?", (group_id,)),
        )
        self._damage.append(reason)

    # ------------------------------------------------------------ groups

    async def _read(self, ids: Sequence[tuple[Any, ...]]) -> AsyncGenerator[Group]:
        for (group_id,) in ids:
            for (blob,) in await self._fetch("SELECT blob FROM groups WHERE id = ?", (group_id,)):
                try:
                    group = await self.in_thread(_decoded, blob, group_id, self.path)
                except BadReply as error:
                    await self.set_aside(group_id, str(error))
                else:
                    yield group

    async def _remove(self, first: int, last: int, *statements: tuple[str, tuple[object, ...]]) -> None:
        async def remove() -> tuple[int, int, int]:
            sums: tuple[int, int, int]
            (sums,) = await self._rows(_SUMS, (first, last))
            for sql, parameters in statements:
                await self._file.execute(sql, parameters)
            await self._find_ends()
            return sums

        batches, samples, size = await self._guarded(remove)
        self.batches -= batches
        self.samples -= samples
        self.size_bytes -= size

    async def _count(self) -> None:
        ((self.batches, self.samples, self.size_bytes),) = await self._rows(_SUMS, (0, _LAST_ID))
        await self._find_ends()
        newest = await self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'groups'")
        self.last_id = max([self.last_id, *(seq for (seq,) in newest)])

    async def _find_ends(self) -> None:
        """Learn when the oldest and the newest batch arrived, from the groups that hold them."""
        ends: list[datetime | None] = []
        for end in ("min", "max"):
            rows = await self._rows(f"SELECT id, blob FROM groups WHERE id = (SELECT {end}(id) FROM groups)")  # noqa: S608
            try:
                ends += [decode(blob, f"group {number}")[0].arrived for number, blob in rows] or [None]
            except (BadReply, IndexError):
                ends.append(None)  # whoever reads it sets it aside
        self.oldest, self._newest = ends

    # ------------------------------------------------------------ the file

    @property
    def _file(self) -> aiosqlite.Connection:
        if self._open_file is None:
            raise Refused(f"{self.path}: the journal is closed")
        return self._open_file

    async def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        return [tuple(row) for row in await self._file.execute_fetchall(sql, parameters)]

    async def _fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        return await self._guarded(lambda: self._rows(sql, parameters))

    async def _guarded(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do ``work``; when the file turns out to be damaged, put a sound one in its place and do it again."""
        async with self._turn:
            try:
                return await work()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                await self._replace_file(error)
                return await work()

    async def _connect(self, path: Path | None = None) -> int:
        """Open the file; return how many frames of its WAL SQLite believes."""
        file = await aiosqlite.connect(path or self.path, isolation_level=None, timeout=1.0)
        self._open_file = file
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            await file.execute(f"PRAGMA {pragma}")
        ((_, sound, _),) = await file.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
        await file.executescript(_SCHEMA)
        await file.execute("PRAGMA journal_size_limit = 16777216")
        return int(sound)

    async def _close_file(self) -> None:
        file, self._open_file = self._open_file, None
        if file is not None:
            await file.close()

    async def _replace_file(self, error: sqlite3.DatabaseError) -> None:
        """Copy every group that can still be read to a new file, which takes the place of the damaged one.

        Raises ``sqlite3.OperationalError`` when there is no room; then all is as before.
        """
        await self._close_file()
        made = saving(self.path)
        try:
            await self._connect(made)
            saved = await self._salvage()
            await self._close_file()
            aside = put_in_place(made, self.path)
        except sqlite3.OperationalError:
            await self._close_file()
            saving(self.path)
            with suppress(sqlite3.DatabaseError):
                await self._connect()
            raise
        await self._connect()
        self._damage.append(
            f"{self.path}: damaged ({error}); {saved} groups were saved, the rest is kept in {aside.name}"
        )
        await self._count()

    async def _salvage(self) -> int:
        if await self._readable("ATTACH DATABASE ? AS damaged", (str(self.path),)) is None:
            return 0
        ends: list[int] = []
        for sql in _ENDS:
            ends += [end for row in await self._readable(sql) or [] for end in row if end is not None]
        ranges = [(min(ends), max(ends))] if ends else []
        for _ in range(_SALVAGE_TRIES):
            if not ranges:
                break
            first, last = ranges.pop()
            for save in _SAVE:
                if await self._readable(save, (first, last)) is not None:
                    break
            else:
                middle = (first + last) // 2
                ranges += [(middle + 1, last), (first, middle)] if first < last else []
        await self._readable("INSERT OR IGNORE INTO set_aside SELECT * FROM damaged.set_aside")
        await self._rows("DETACH DATABASE damaged")
        ((saved,),) = await self._rows("SELECT count(*) FROM groups")
        return int(saved)

    async def _readable(self, sql: str, parameters: Sequence[object] = ()) -> list[Any] | None:
        """What of a damaged file can be read; None where it cannot."""
        try:
            return await self._rows(sql, parameters)
        except sqlite3.DatabaseError as error:
            unless_full(error)
            return None

    def _keep_torn_wal(self, wal: Wal | None, sound: int) -> None:
        """Name and keep a WAL of which SQLite believes less than was committed to it."""
        if wal is None or wal.frames <= sound:
            return
        aside = unused_name(self.path.with_name(self.path.name + "-wal"))
        aside.write_bytes(wal.data)
        self._damage.append(
            f"{self.path}-wal: {wal.frames - sound} of {wal.frames} frames cannot be used "
            f"(a torn write or damage on disk); they are kept in {aside.name}"
        )


def _decoded(blob: bytes, group_id: int, path: Path) -> Group:
    return Group.of(group_id, decode(blob, f"{path}, group {group_id}"))


def _unusable(path: Path, error: sqlite3.Error) -> BadConfig:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BadConfig(
            f"{path} is held by another pumpwatch server; stop that one or start with another --data folder"
        )
    return BadConfig(f"{path} cannot be opened ({error}); check the folder's owner and rights")
