"""Snapshots for backups: what a data folder holds at one moment, while it is being written."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final

from pumpwatch.database import ledger_url
from pumpwatch.errors import NotReachable, Refused
from pumpwatch.historian.copying import copy_database_file

if TYPE_CHECKING:
    from pumpwatch.clock import Clock
    from pumpwatch.historian import Historian

_FOLDER: Final = "snapshots"
"""In the data folder."""
_RESERVE: Final = 1024**3
"""Bytes that stay free on the data folder's disk."""
_STALE_S: Final = 600.0
"""Nobody has touched a snapshot for so long: whoever asked for it has died."""
_BESIDES: Final = ("pumpwatch.toml", "rejects")
"""Further files and folders of the data folder that a backup takes along."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A folder that holds what was there at one moment."""

    folder: Path
    left_out: tuple[str, ...]
    """What is not in it, as sentences."""

    def files(self, data: Path) -> list[tuple[str, Path]]:
        """All that a backup is made of: path below the data folder, and where it is now."""
        told = [(path.relative_to(self.folder).as_posix(), path) for path in _below(self.folder)]
        besides = [path for name in _BESIDES for path in _below(data / name)]
        aside = [path for path in _below(data / "history") if "damaged" in path.relative_to(data).as_posix()]
        return sorted({*told, *((path.relative_to(data).as_posix(), path) for path in (*besides, *aside))})

    def touch(self) -> None:
        """Show the server that it is still being fetched."""
        with suppress(OSError):  # a folder of another owner: then a long backup may be taken for a dead one
            os.utime(self.folder)


async def snapshot(historian: Historian, data: Path) -> Snapshot:
    """Everything acknowledged so far; whoever asked takes the folder away. Raises ``NotReachable`` and ``Refused``."""
    ledger = Path(ledger_url(data).database or "")
    try:
        folder = await asyncio.to_thread(_room, data)
        try:
            missing = await historian.copy_to(folder / "history")
            await asyncio.to_thread(copy_database_file, ledger, folder / ledger.name)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
    except (OSError, sqlite3.Error) as error:
        raise NotReachable(f"no snapshot could be made in {data}: {error}; see that its disk has room") from error
    return Snapshot(folder, () if missing is None else (missing,))


def clear(data: Path) -> None:
    """Take away what snapshots there are."""
    shutil.rmtree(data / _FOLDER, ignore_errors=True)


class Snapshots:
    """A running server's; one at a time."""

    def __init__(self, historian: Historian, data: Path, clock: Clock) -> None:
        self._historian = historian
        self._data = data
        self._clock = clock
        self._making = asyncio.Lock()
        self._made: Snapshot | None = None
        self._seen: tuple[int, float] = (0, 0.0)
        """When the snapshot was last touched, and when that was noticed."""
        self._is_given_up = False
        clear(data)  # of a server that was killed

    async def make(self) -> Snapshot:
        """See ``snapshot``; ``drop`` it when it has been fetched. Raises ``Refused`` while another is being fetched."""
        if self._making.locked() or self._is_fetched():
            raise Refused(
                "another backup is being made; try again when it is over, "
                f"or, when it was killed, every {_STALE_S / 60:g} minutes"
            )
        async with self._making:
            self._is_given_up = False
            await self._take_away()
            self._made = await snapshot(self._historian, self._data)
            if self._is_given_up:
                await self._take_away()
                raise Refused("the backup was broken off while it was being prepared; begin it anew")
            self._seen = (_touched_ns(self._made), self._clock.monotonic())
            return self._made

    async def drop(self) -> None:
        """Take the snapshot away, at once or when it is made."""
        self._is_given_up = True
        if not self._making.locked():
            await self._take_away()

    async def _take_away(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            await asyncio.to_thread(shutil.rmtree, made.folder, ignore_errors=True)

    def _is_fetched(self) -> bool:
        if self._made is None:
            return False
        touched, now = _touched_ns(self._made), self._clock.monotonic()
        if touched != self._seen[0]:
            self._seen = (touched, now)
        return now - self._seen[1] < _STALE_S


def _touched_ns(made: Snapshot) -> int:
    try:
        return made.folder.stat().st_mtime_ns
    except OSError:
        return 0


def _room(data: Path) -> Path:
    """A new folder, when there is room for a copy of the databases: segments are only linked."""
    needed = sum(path.stat().st_size for path in _below(data) if path.suffix == ".sqlite")
    free = shutil.disk_usage(data).free
    if free - needed < _RESERVE:
        raise NotReachable(
            f"the disk of {data} has {free / 1024**2:,.0f} MB free; a backup needs {needed / 1024**2:,.0f} MB "
            f"there for a while, and {_RESERVE / 1024**2:,.0f} MB stay free for what devices report: free space on it"
        )
    (data / _FOLDER).mkdir(exist_ok=True)
    return Path(mkdtemp(dir=data / _FOLDER))


def _below(place: Path) -> list[Path]:
    """The files of a folder, or the file itself."""
    if place.is_file():
        return [place]
    found = []
    with suppress(FileNotFoundError):
        found = [path for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    return found
