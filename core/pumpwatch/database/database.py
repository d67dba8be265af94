"""One open database: its connections, its turns at writing and the meaning of its errors."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    IntegrityError,
    InterfaceError,
    MissingGreenlet,
    OperationalError,
)
from sqlalchemy.ext.asyncio import create_async_engine

from pumpwatch.database.upgrading import upgrade
from pumpwatch.errors import BadConfig, NotReachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy import Connection
    from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection as SqliteConnection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry

FILE_NAME: Final = "ledger.sqlite"
BUSY_MS: Final = 10_000
"""How long a statement waits for another process that writes to the same SQLite file."""
_SQLITE: Final = "sqlite+aiosqlite"
_POSTGRESQL: Final = "postgresql+asyncpg"
_WRITES: Final = "pumpwatch_writes"
_CANNOT_OPEN: Final = "cannot open the database {name}: {cause}; see that its folder exists and may be written"


def ledger_url(folder: Path) -> URL:
    """The default database: ``ledger.sqlite`` in the data folder."""
    return URL.create(_SQLITE, database=str(folder / FILE_NAME))


class Database:
    """Lends connections. Many may read at once; writers of this process take turns, in the order they came.

    Made by ``Database.open``. A transaction that has returned survives a power cut (SQLite: WAL, synchronous FULL).
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{_WRITES: True})
        self._turn = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: URL | str) -> AsyncIterator[Database]:
        """Open, bring the schema up to date, and close at the end.

        Raises ``BadConfig`` when this URL can never work (also when the database is newer than the program) and
        ``NotReachable`` when it may work later.
        """
        parsed = _parse(url)
        engine = _engine(parsed)
        try:
            database = cls(engine)
            with _opening(database.name):
                async with database.writing() as connection:
                    await connection.run_sync(upgrade)
            yield database
        finally:
            await engine.dispose()

    @property
    def name(self) -> str:
        """The URL without its password; what messages call this database."""
        return self._engine.url.render_as_string(hide_password=True)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one state of the database and is not to write."""
        with self._meaning():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end, rolled back when the body raises.

        Keep it short: everybody else who writes is waiting. Not to be nested. ``IntegrityError`` passes through, for
        the caller knows what it means; what is wrong with the database itself is ``NotReachable`` or ``BadConfig``.
        """
        async with self._turn:
            with self._meaning():
                async with self._writer.begin() as connection:
                    yield connection

    @contextmanager
    def _meaning(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except (OperationalError, InterfaceError) as error:
            raise NotReachable(
                f"the database {self.name} does not answer: {error.orig}; see that its disk has room and may be "
                "written, and that no other program holds it"
            ) from error
        except DatabaseError as error:
            raise BadConfig(f"the database {self.name} cannot be used: {error.orig}; restore a backup") from error


@contextmanager
def _opening(name: str) -> Iterator[None]:
    """While opening, a SQLite file that does not answer is mostly one that never will."""
    try:
        yield
    except NotReachable as error:
        cause = str(getattr(error.__cause__, "orig", ""))
        if "locked" in cause or not name.startswith("sqlite"):
            raise
        raise BadConfig(_CANNOT_OPEN.format(name=name, cause=cause)) from error
    except OSError as error:
        raise NotReachable(f"the database {name} does not answer: {error}; see that its server runs") from error


def _parse(url: URL | str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise BadConfig(
            f"not a database URL: write {_SQLITE}:///FOLDER/{FILE_NAME} or {_POSTGRESQL}://USER@HOST/NAME"
        ) from error
    name = parsed.render_as_string(hide_password=True)
    if parsed.drivername not in (_SQLITE, _POSTGRESQL):
        raise BadConfig(f"the database {name} cannot be used: only {_SQLITE}:// and {_POSTGRESQL}:// are")
    if parsed.drivername == _SQLITE and (not parsed.database or ":memory:" in parsed.database or parsed.query):
        raise BadConfig(f"the database {name} is not a plain file: write {_SQLITE}:///FOLDER/{FILE_NAME}")
    return parsed


def _engine(url: URL) -> AsyncEngine:
    try:
        engine = create_async_engine(url, json_serializer=_to_json)
    except ModuleNotFoundError as error:
        raise BadConfig(
            f"the database {url.render_as_string(hide_password=True)} needs the package {error.name}: "
            f"pip install {error.name}"
        ) from error
    if url.drivername == _SQLITE:
        _prepare_file(Path(url.database or ""))
        event.listen(engine.sync_engine, "connect", _on_connect)
        event.listen(engine.sync_engine, "invalidate", _on_invalidate)
        event.listen(engine.sync_engine, "begin", _on_begin)
    return engine


def _prepare_file(path: Path) -> None:
    """Make the folder and the file, in WAL mode; here an error leaves no thread of the driver behind."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=BUSY_MS / 1000)) as connection:
            _switch_to_wal(connection)
    except OSError as error:
        raise BadConfig(f"cannot make the folder {path.parent} for the database: {error.strerror}") from error
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise NotReachable(f"the database {path} is held by another program: {error}; stop it first") from error
        raise BadConfig(_CANNOT_OPEN.format(name=path, cause=error)) from error
    except sqlite3.DatabaseError as error:
        raise BadConfig(f"the database {path} cannot be used: {error}; restore a backup") from error


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Turn a new file to WAL, which lasts.

    Of several that switch at once SQLite refuses all but one, and without waiting for its busy timeout: each of them
    would wait for the others. https://www.sqlite.org/rescode.html#busy
    """
    give_up = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


def _on_connect(connection: SqliteConnection, _record: ConnectionPoolEntry) -> None:
    """Set up a SQLite connection; https://www.sqlite.org/pragma.html.

    ``isolation_level = None`` takes BEGIN away from the driver, which would not send it before DDL and SELECT;
    ``_on_begin`` sends it instead.
    """
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
    finally:
        cursor.close()


def _on_invalidate(connection: SqliteConnection, _record: ConnectionPoolEntry, _error: BaseException | None) -> None:
    """Give back SQLite's lock before a connection is thrown away because its task was cancelled.

    Closing does not do that as long as a statement is alive, and one may live on in the traceback of the cancellation.
    """
    with suppress(MissingGreenlet, sqlite3.Error):
        connection.rollback()


def _on_begin(connection: Connection) -> None:
    """Take SQLite's write lock at once when the transaction is to write: a lock taken late can fail without waiting."""
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _to_json(value: object) -> str:
    """JSON as people read it (Chinese stays Chinese) and as every database accepts it (no NaN)."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
