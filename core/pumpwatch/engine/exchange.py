"""Data sets into and out of a running server, one table at a time."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final

from pumpwatch.canonical import ExportedTable, Format, Span, export_folder, import_file
from pumpwatch.errors import NotReachable, Refused
from pumpwatch.ledger import Ledger, TableReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pumpwatch.database import Database
    from pumpwatch.historian import Historian

_FOLDER: Final = "exchange"
"""In the data folder: what comes in or goes out, as long as it does."""


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
        """Export a table into a file that stands alone in its folder; whoever asked takes the folder away."""
        async with self._giving:
            with self._folder(stays=True) as folder:
                ledger = Ledger(self._database)
                (told,) = await export_folder(ledger, self._historian, folder, kind=kind, tables=(table,), span=span)
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
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not stays:
            shutil.rmtree(folder, ignore_errors=True)


async def _spool(path: Path, content: AsyncIterable[bytes]) -> None:
    try:
        with path.open("wb") as file:
            async for chunk in content:
                await asyncio.to_thread(file.write, chunk)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> NotReachable:
    return NotReachable(f"the server cannot keep the table: {error.strerror}; see that its disk has room")
