"""How records lie in SQLite: one clustered table a type, brought up to date when opened, saved from when damaged."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from pumpwatch.errors import BadConfig
from pumpwatch.historian.damage import unless_full
from pumpwatch.historian.rows import SHAPES, Form, Shape
from pumpwatch.historian.touching import prepare_touched, touch_all

LAYOUT: Final = 2
"""Written into the file; 1 did not note which hours are touched, 0 had tables with row numbers and four indices."""
_CLUSTERED: Final = 1
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
_SUBJECTS: Final = (
    "CREATE TABLE IF NOT EXISTS subjects (kind TEXT NOT NULL, station TEXT NOT NULL, subject TEXT NOT NULL, "
    "PRIMARY KEY (kind, station, subject)) WITHOUT ROWID"
)
_SALVAGE_TRIES: Final = 2_000


def prepare(file: sqlite3.Connection) -> None:
    """Make what is missing; all of it or nothing. Raises ``BadConfig`` for a file of a newer program."""
    (layout,) = file.execute("PRAGMA user_version").fetchone()
    if layout > LAYOUT:
        raise BadConfig(
            f"its records have layout {layout}, this program knows layouts up to {LAYOUT}: they were last opened by a "
            "newer pumpwatch; install that version or a newer one"
        )
    with file:
        file.execute("BEGIN IMMEDIATE")
        file.execute(_LATEST)
        file.execute(_SUBJECTS)
        for shape in SHAPES.values():
            known = _columns(file, "main", shape.table)
            if layout < _CLUSTERED and known:
                _move(file, shape, known)
                continue
            file.execute(_create(shape))
            for column in shape.columns:
                if known and column.name not in known:
                    file.execute(
                        f'ALTER TABLE {shape.table} ADD COLUMN "{column.name}" {_TYPES.get(column.form, "TEXT")}'
                    )
        prepare_touched(file)
        if layout < LAYOUT:
            touch_all(file)
        file.execute(f"PRAGMA user_version = {LAYOUT}")


def column_names(shape: Shape) -> tuple[str, ...]:
    """The columns of a table in the order of ``Shape.row``, with the station in front."""
    return ("station", *(c.name for c in shape.columns))


def listed(names: Sequence[str], prefix: str = "") -> str:
    """Names as SQL wants them."""
    return ", ".join(f'{prefix}"{n}"' for n in names)


def salvage(file: sqlite3.Connection) -> int:
    """Copy from the attached database ``damaged`` every row that can still be read; return how many."""
    saved = _salvage_numbered(file, "latest", ("path", "at", "value", "text", "quality"))
    for shape in SHAPES.values():
        try:
            known = _columns(file, "damaged", shape.table)
            sql = file.execute("SELECT sql FROM damaged.sqlite_master WHERE name = ?", (shape.table,)).fetchone()
        except sqlite3.DatabaseError:
            continue
        names = [n for n in column_names(shape) if n in known]
        if sql and "WITHOUT ROWID" in sql[0]:
            saved += _salvage_clustered(file, shape, names)
        elif sql:
            saved += _salvage_numbered(file, shape.table, names, shape)
        file.execute(_know_subjects(shape))
    return saved


# ---------------------------------------------------------------- tables


def _create(shape: Shape) -> str:
    columns = [
        f'"{c.name}" {_TYPES.get(c.form, "TEXT")}'
        + ("" if c.name not in shape.key and (c.may_lack or c.form is Form.REAL) else " NOT NULL")
        for c in shape.columns
    ]
    return (
        f"CREATE TABLE IF NOT EXISTS {shape.table} (station TEXT NOT NULL, {', '.join(columns)}, "
        f"PRIMARY KEY ({listed(shape.order)})) WITHOUT ROWID"
    )


def _move(file: sqlite3.Connection, shape: Shape, known: Sequence[str]) -> None:
    """Bring a table of layout 0 into this one."""
    names = [n for n in column_names(shape) if n in known]
    file.execute(f"ALTER TABLE {shape.table} RENAME TO old_{shape.table}")
    file.execute(_create(shape))
    file.execute(
        f"INSERT INTO {shape.table} ({listed(names)}) "  # noqa: S608 - names from SHAPES
        f"SELECT {_sources(shape, names)} FROM old_{shape.table} WHERE true ORDER BY {listed(shape.order)}"
    )
    file.execute(f"DROP TABLE old_{shape.table}")
    file.execute(_know_subjects(shape))


def _know_subjects(shape: Shape) -> str:
    return (
        f"INSERT OR IGNORE INTO subjects SELECT DISTINCT '{shape.table}', station, \"{shape.subject}\" "  # noqa: S608
        f"FROM {shape.table}"
    )


def _sources(shape: Shape, names: Sequence[str]) -> str:
    """What of an older table becomes these columns: a key has no empty part, an event's station is its own."""
    own = {"station": '"station_id"'} if "station_id" in shape.key else {}
    return ", ".join(own.get(n, f"coalesce(\"{n}\", '')" if n in shape.key else f'"{n}"') for n in names)


def _columns(file: sqlite3.Connection, schema: str, table: str) -> list[str]:
    return [row[1] for row in file.execute(f"PRAGMA {schema}.table_info({table})")]


# ---------------------------------------------------------------- saving what can be read


def _salvage_numbered(file: sqlite3.Connection, table: str, names: Sequence[str], shape: Shape | None = None) -> int:
    """Halve ranges of row numbers until every one of them can be read or is a single row."""
    try:
        first, last = file.execute(f"SELECT min(rowid), max(rowid) FROM damaged.{table}").fetchone()  # noqa: S608
    except sqlite3.DatabaseError:
        return 0
    sources = _sources(shape, names) if shape else listed(names)
    copy = (
        f"INSERT OR IGNORE INTO {table} ({listed(names)}) "  # noqa: S608 - names from SHAPES
        f"SELECT {sources} FROM damaged.{table} NOT INDEXED WHERE rowid BETWEEN ? AND ?"
    )
    return 0 if first is None else _halved(file, copy, (), first, last)


def _salvage_clustered(file: sqlite3.Connection, shape: Shape, names: Sequence[str]) -> int:
    """Home by home: whole, or from both ends up to what cannot be read, and what lies between by halving the time."""
    here = " AND ".join(f'"{h}" = ?' for h in shape.home)
    source = f"SELECT {listed(names)} FROM damaged.{shape.table} WHERE {here}"  # noqa: S608 - names from SHAPES
    into = f"INSERT OR IGNORE INTO {shape.table} ({listed(names)})"
    span = f'{into} {source} AND "{shape.time}" BETWEEN ? AND ?'
    saved = 0
    torn = []
    for home in sorted(set(_homes(file, shape))):
        try:
            saved += file.execute(f"{into} {source}", home).rowcount
        except sqlite3.DatabaseError as error:
            unless_full(error)
            torn.append(home)
    time = names.index(shape.time)
    values = f"{into} VALUES ({', '.join('?' * len(names))})"
    for home in torn:
        edges: list[int | None] = []
        for direction in ("ASC", "DESC"):
            readable = _readable(file, f'{source} ORDER BY "{shape.time}" {direction}', home)
            before = file.total_changes
            last = None
            while some := list(islice(readable, 10_000)):
                with file:  # one commit for all: each waits for the disk
                    file.execute("BEGIN")
                    file.executemany(values, some)
                last = some[-1][time]
            saved += file.total_changes - before
            edges.append(last)
        known = file.execute(f'SELECT min("{shape.time}"), max("{shape.time}") FROM {shape.table}').fetchone()  # noqa: S608
        first, final = (k if edge is None else edge for edge, k in zip(edges, known, strict=True))
        if first is not None and first < final:
            saved += _halved(file, span, home, first, final)
    return saved


def _readable(file: sqlite3.Connection, sql: str, given: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Rows up to the first that cannot be read."""
    try:
        yield from file.execute(sql, given)
    except sqlite3.DatabaseError:
        return


def _homes(file: sqlite3.Connection, shape: Shape) -> Iterator[tuple[str, ...]]:
    """Every home that is named anywhere in the damaged file."""
    try:
        for station, subject in file.execute(
            "SELECT station, subject FROM damaged.subjects WHERE kind = ?", (shape.table,)
        ).fetchall():
            yield (station, subject)[-len(shape.home) :]
    except sqlite3.DatabaseError:
        pass  # the table itself tells them too
    for sign, direction in ((">", "ASC"), ("<", "DESC")):
        places = ", ".join("?" * len(shape.home))
        order = ", ".join(f'"{h}" {direction}' for h in shape.home)
        beyond = (
            f"SELECT {listed(shape.home)} FROM damaged.{shape.table} "  # noqa: S608
            f"WHERE ({listed(shape.home)}) {sign} ({places}) ORDER BY {order} LIMIT 1"
        )
        home: tuple[str, ...] = ("" if sign == ">" else "\U0010ffff",) * len(shape.home)
        try:
            while found := file.execute(beyond, home).fetchone():
                home = tuple(found)
                yield home
        except sqlite3.DatabaseError:
            continue


def _halved(file: sqlite3.Connection, copy: str, head: tuple[str, ...], first: int, last: int) -> int:
    """Copy what lies between two numbers, halving what cannot be read whole.

    The widest first: a bad page of a clustered table spans more microseconds than anybody can try.
    """
    ranges = deque([(first, last)])
    saved = 0
    for _ in range(_SALVAGE_TRIES):
        if not ranges:
            break
        first, last = ranges.popleft()
        try:
            saved += file.execute(copy, (*head, first, last)).rowcount
        except sqlite3.DatabaseError as error:
            unless_full(error)
            middle = (first + last) // 2
            ranges += [(first, middle), (middle + 1, last)] if first < last else []
    return saved
