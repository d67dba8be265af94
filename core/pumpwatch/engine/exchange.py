"""Data sets into and out of a running server, one table at a time."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, BinaryIO, Final

from pumpwatch.canonical import ExportedTable, Format, Span, export_folder, import_file
from pumpwatch.errors import NotReachable, Refused
from pumpwatch.ledger import Ledger, TableReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pumpwatch.database import Database
    from pumpwatch.historian import Historian

_FOLDER: Final = "exchange"
"""In the data folder: what comes in or goes out, as long as it does."""

_RESERVE: Final = 1024**3
"""Bytes that stay free on the data folder's disk: devices are recorded there too."""
_EXPORTS: Final = 4
"""Exports that may wait to be fetched."""


class Exchange:
    """The server's own ledger and historian take tables and give them; devices are read meanwhile."""

    def __init__(
        self, database: Database, historian: Historian, data: Path, ledger_changed: Callable[[], Awaitable[None]]
    ) -> None:
        self._database = database
        self._historian = historian
        self._data = data
        self._ledger_changed = ledger_changed
        self._coming: str | None = None
        self._giving = asyncio.Lock()
        self._given: list[Path] = []
        """Folders of exports that were there when last looked."""
        shutil.rmtree(data / _FOLDER, ignore_errors=True)  # of a server that was killed

    async def take(self, table: str, suffix: str, content: AsyncIterable[bytes]) -> TableReport:
        """Import a table of the data set from a file's content, once all of it is here.

        Raises ``Refused`` while another import runs, what ``content`` raises, and what ``canonical.import_file`` does.
        """
        if self._coming is not None:
            raise Refused(f"an import of {self._coming} is going on; try again when it is over")
        self._coming = table
        try:
            with self._folder() as folder:
                path = folder / f"{table}.{suffix}"
                await _spool(path, content)
                try:
                    return await import_file(
                        self._database, self._historian, table, path, rejects=self._data / "rejects", gently=True
                    )
                finally:
                    await self._ledger_changed()
        finally:
            self._coming = None

    async def give(self, table: str, kind: Format, span: Span) -> tuple[Path, ExportedTable]:
        """Export a table into a file that stands alone in its folder; whoever asked takes the folder away.

        Raises ``Refused`` while too many folders have not been taken away, and what ``canonical.export_folder`` does.
        """
        async with self._giving:
            self._given = [folder for folder in self._given if folder.exists()]
            if len(self._given) >= _EXPORTS:
                raise Refused(f"{_EXPORTS} exports are being fetched; try again when one of them is over")
            with self._folder(stays=True) as folder:
                ledger = Ledger(self._database)
                (told,) = await export_folder(ledger, self._historian, folder, kind=kind, tables=(table,), span=span)
            self._given.append(folder)
        return folder / told.file, told

    @contextmanager
    def _folder(self, *, stays: bool = False) -> Iterator[Path]:
        """A folder of its own, taken away at the end; one that ``stays`` only when something went wrong."""
        above = self._data / _FOLDER
        try:
            above.mkdir(exist_ok=True)
            folder = Path(mkdtemp(dir=above))
        except OSError as error:
            raise _no_room(error) from error
        kept = False
        try:
            yield folder
            kept = stays
        finally:
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)


async def _spool(path: Path, content: AsyncIterable[bytes]) -> None:
    try:
        with path.open("wb") as file:
            async for chunk in content:
                await asyncio.to_thread(_write, path, file, chunk)
    except OSError as error:
        raise _no_room(error) from error


def _write(path: Path, file: BinaryIO, chunk: bytes) -> None:
    free = shutil.disk_usage(path.parent).free
    if free - len(chunk) < _RESERVE:
        raise NotReachable(
            f"the server's disk has {free / 1024**2:,.0f} MB free, and {_RESERVE / 1024**2:,.0f} MB stay free for "
            "what devices report; nothing was imported: free space on it, and send the table again"
        )
    file.write(chunk)


def _no_room(error: OSError) -> NotReachable:
    return NotReachable(f"the server cannot keep the table: {error.strerror}; see that its disk has room")
