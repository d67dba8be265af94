"""Records in SQLite: one table a type, a primary key that makes writes idempotent, and the last sample of each path."""

from __future__ import annotations

import heapq
import math
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from pumpwatch.errors import BadConfig, NotReachable, Refused
from pumpwatch.historian.bulk import Difference, Numbers, RecordBlock, Taken
from pumpwatch.historian.copying import copy_database
from pumpwatch.historian.damage import (
    emptied,
    fault_of,
    finish_placing,
    is_damage,
    kept_aside,
    put_in_place,
    saving,
    unless_full,
)
from pumpwatch.historian.layout import column_names, listed, prepare, salvage
from pumpwatch.historian.reading import LentRecords, numbers_of, rows_of, span
from pumpwatch.historian.rows import SHAPES, Plain, Shape, mended
from pumpwatch.historian.touching import HOUR_US, by_hour, hours_of, touch, touch_all
from pumpwatch.model import DeviceEvent, Record, SampleBatch, Transaction
from pumpwatch.past import resubmission

T = TypeVar("T")

_KEEP_LATEST: Final = (
    "INSERT INTO latest VALUES (?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET at = excluded.at, "
    "value = excluded.value, text = excluded.text, quality = excluded.quality WHERE excluded.at >= latest.at"
)
_KEEP_SUBJECT: Final = "INSERT OR IGNORE INTO subjects VALUES (?, ?, ?)"
_BULK_CACHE_KIB: Final = 65_536
_WAIT_S: Final = 1.0
"""How long to wait for others who have the file open; within one server nobody has, but readers whom it was lent."""
_WAIT_MENDING_S: Final = 60.0
"""The same for a file made anew, which readers find empty and leave at once."""
_LOCKED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_SALES: Final = SHAPES[Transaction]
_EVENTS: Final = SHAPES[DeviceEvent]


class Records:
    """One SQLite file, held alone. Its methods are called from the store's threads and block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._damage: list[str] = []
        self._open_file: sqlite3.Connection | None = None
        self._subjects: set[tuple[str, str, str]] = set()
        """Table, station and subject of every series there is: what a question without an id is put to."""
        self._lendings = 0

    @property
    def damage(self) -> tuple[str, ...]:
        """What was found damaged and set aside, as sentences."""
        return tuple(self._damage)

    def open(self) -> None:
        """Open or create the file. Raises ``BadConfig`` when it cannot be had."""
        finish_placing(self.path)
        self._damage.extend([*kept_aside(self.path), *emptied(self.path)])
        try:
            self._connect(_WAIT_S)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                self.close()
                raise BadConfig(
                    f"{self.path} cannot be opened ({error}); "
                    "check that no other server holds it, and the folder's owner and rights"
                ) from error
            try:
                self._replace_file(error)
            except sqlite3.OperationalError as full:
                self.close()
                raise BadConfig(
                    f"{self.path}: damaged ({error}), what is in it cannot be saved ({full}); free space on its disk"
                ) from full

    def close(self) -> None:
        """Close the file."""
        file, self._open_file = self._open_file, None
        if file is not None:
            file.close()

    def mend(self) -> None:
        """Read everything; when the file is damaged, save what can be read of it."""
        with self._lock:
            if self._open_file is None:
                raise NotReachable(f"{self.path}: the store is closed")
            if fault := fault_of(self._open_file):
                self._saved_file(sqlite3.DatabaseError(fault))

    # ------------------------------------------------------------ writing

    def write(self, records: Iterable[tuple[str, Record]], latest: Sequence[tuple[object, ...]]) -> None:
        """Keep records (each with its station) and the last samples; durable when it returns.

        What was reported first stands; a later report of the same record only fills what the first left out, and one
        of a filling that says otherwise leaves an event (``past.resubmission``). Raises ``Refused`` for a value SQLite
        has no room for.
        """
        rows: dict[Shape, list[tuple[Plain, ...]]] = {}
        for station, record in records:
            shape = SHAPES[type(record)]
            rows.setdefault(shape, []).append(_fitting(shape, station, shape.row(record)))

        def write(file: sqlite3.Connection) -> None:
            news: set[tuple[str, str, str]] = set()
            with file:
                file.execute("BEGIN IMMEDIATE")
                if sales := rows.get(_SALES):
                    rows.setdefault(_EVENTS, []).extend(_resubmitted(file, sales))
                hours: set[tuple[str, int]] = set()
                for shape, those in rows.items():
                    hours |= _kept(file, shape, those)
                    news |= self._unknown(file, shape, _subjects_of(shape, those))
                touch(file, hours)
                file.executemany(_KEEP_LATEST, latest)
            self._subjects |= news

        self._told(write)

    def add(self, block: RecordBlock) -> Taken:
        """Keep a block in one transaction; durable when it returns. Raises as ``write`` does.

        A row that says otherwise than what is known is left out whole and told; of a filling it also leaves an event.
        """
        shape = SHAPES[block.kind]
        empty = (None,) * len(block)
        columns = [block.columns.get(c.name, empty) for c in shape.columns]
        for i in _optional_keys(shape):
            columns[i] = ["" if value is None else value for value in columns[i]]
        told = [i for i, c in enumerate(shape.columns) if c.name in block.columns or c.name in shape.key]
        insert = _insert(shape, names=("station", *(shape.columns[i].name for i in told)))
        places = {c.name: i for i, c in enumerate(shape.columns)}
        times, subjects = columns[places[shape.time]], columns[places[shape.subject]]

        def add(file: sqlite3.Connection) -> Taken:
            file.execute(f"PRAGMA cache_size = -{_BULK_CACHE_KIB}")
            with file:
                file.execute("BEGIN IMMEDIATE")
                before = file.total_changes
                # empty columns left out: a fifth less work, most of which is handing values over one by one
                those = zip(block.stations, *(columns[i] for i in told), strict=True)
                file.executemany(f"{insert} ON CONFLICT DO NOTHING", those)
                added = file.total_changes - before
                rows = list(zip(block.stations, *columns, strict=True)) if added < len(block) else []
                filled, differing = _compared(file, shape, rows) if rows else (0, ())
                news = self._unknown(file, shape, zip(block.stations, subjects, strict=True))
                hours = hours_of(block.stations, times) if added or filled else set()
                if shape is _SALES and differing:
                    events = _resubmitted(file, [rows[d.number] for d in differing])
                    hours |= _kept(file, _EVENTS, events)
                    news |= self._unknown(file, _EVENTS, _subjects_of(_EVENTS, events))
                touch(file, hours)
            self._subjects |= news
            return Taken(added, filled, differing)

        return self._told(add)

    def _unknown(
        self, file: sqlite3.Connection, shape: Shape, pairs: Iterable[tuple[Plain, Plain]]
    ) -> set[tuple[str, str, str]]:
        """Series (station and subject) among these that are new, noted in the file."""
        news = {(shape.table, str(station), str(subject)) for station, subject in set(pairs)} - self._subjects
        file.executemany(_KEEP_SUBJECT, sorted(news))
        return news

    # ------------------------------------------------------------ reading

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
        time = next(i for i, c in enumerate(shape.columns) if c.name == shape.time)

        def find(file: sqlite3.Connection) -> list[tuple[Plain, ...]]:
            series: list[Iterator[tuple[Plain, ...]]] = []
            for table, station, name in sorted(self._subjects):
                if table == shape.table and station_id in (None, station) and subject in (None, name):
                    where, given = span(shape, station, name, start_us, end_us)
                    sql = f'SELECT {_fields(shape)} FROM {table} WHERE {where} ORDER BY "{shape.time}" DESC LIMIT ?'  # noqa: S608
                    series.append(file.execute(sql, (*given, limit)))
            return list(islice(heapq.merge(*series, key=itemgetter(time), reverse=True), limit))

        return [shape.record(_empty_keys(shape, row)) for row in self._guarded(find)]

    def series(self, kind: type[Record]) -> list[tuple[str, str]]:
        """Station and subject of every series of a kind, in the order in which they are kept."""
        shape = SHAPES[kind]
        with self._lock:
            pairs = [(station, name) for table, station, name in self._subjects if table == shape.table]
        return sorted(pairs, key=lambda pair: pair if len(shape.home) > 1 else pair[::-1])

    def page(
        self, kind: type[Record], pair: tuple[str, str], start_us: int, end_us: int, after: tuple[Plain, ...], n: int
    ) -> list[tuple[Plain, ...]]:
        """At most n rows of one series with start <= time < end, in their order, after the row with this key."""
        shape = SHAPES[kind]
        where, given = span(shape, *pair, start_us, end_us)
        rest = shape.order[len(shape.home) :]
        if after:
            where += f" AND ({listed(rest)}) > ({', '.join('?' * len(rest))})"
            given += tuple("" if value is None else value for value in after)
        sql = f"SELECT {_fields(shape)} FROM {shape.table} WHERE {where} ORDER BY {listed(rest)} LIMIT ?"  # noqa: S608
        rows = self._guarded(lambda file: file.execute(sql, (*given, n)).fetchall())
        return [tuple(_empty_keys(shape, row)) for row in rows] if _optional_keys(shape) else rows

    def bounds(self, kind: type[Record]) -> tuple[int, int] | None:
        """The first and the last time of a kind; None when there is none."""
        shape = SHAPES[kind]

        def find(file: sqlite3.Connection) -> list[int]:
            ends: list[int] = []
            for table, station, name in self._subjects:
                if table == shape.table:
                    where, given = span(shape, station, name, None, None)
                    for edge in ("min", "max"):
                        sql = f'SELECT {edge}("{shape.time}") FROM {table} WHERE {where}'  # noqa: S608
                        ends += [at for (at,) in file.execute(sql, given) if at is not None]
            return ends

        ends = self._guarded(find)
        return (min(ends), max(ends)) if ends else None

    def of_station(
        self, kind: type[Record], station_id: str, names: Sequence[str], start_us: int, end_us: int
    ) -> dict[str, list[tuple[Plain, ...]]]:
        """These fields of a station's records with start <= time < end, by subject, each series in its order."""
        return self._guarded(lambda file: rows_of(file, SHAPES[kind], station_id, names, start_us, end_us))

    def numbers_of_station(
        self, kind: type[Record], station_id: str, names: Sequence[str], start_us: int, end_us: int
    ) -> Numbers:
        """As ``of_station``, but as numbers: series never are Python's rows."""
        return self._guarded(lambda file: numbers_of(file, SHAPES[kind], station_id, names, start_us, end_us))

    @contextmanager
    def lent(self) -> Iterator[LentRecords]:
        """Others may read the file meanwhile, and must have closed it before this ends."""
        try:
            self._lend(1)
            yield LentRecords(self.path)
        finally:
            self._lend(-1)

    def _lend(self, more: int) -> None:
        with self._lock:
            self._lendings += more

        with suppress(
            NotReachable, sqlite3.OperationalError
        ):  # closed, or somebody still reads: the next write asks again
            self._guarded(self._lock_or_share)

    def _lock_or_share(self, file: sqlite3.Connection) -> None:
        file.execute(f"PRAGMA locking_mode = {'NORMAL' if self._lendings else 'EXCLUSIVE'}")
        file.execute("BEGIN IMMEDIATE")
        file.execute("COMMIT")  # only now it is so

    def attribute_names(self, kind: type[Record], start_us: int, end_us: int) -> set[str]:
        """Names of all attributes among the records with start <= time < end."""
        shape = SHAPES[kind]
        sql = (
            f"SELECT DISTINCT CAST(one.key AS BLOB) FROM {shape.table} t, json_each(t.attributes) one "  # noqa: S608
            f'WHERE t.attributes IS NOT NULL AND t."{shape.time}" >= ? AND t."{shape.time}" < ?'
        )
        rows = self._guarded(lambda file: file.execute(sql, (start_us, end_us)).fetchall())
        return {mended(name.decode(errors="surrogatepass")) for (name,) in rows}

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

    # ------------------------------------------------------------ forgetting

    def forget(self, kind: type[Record], before_us: int) -> None:
        """Remove the records of one type that are older. Raises ``NotReachable``."""
        shape = SHAPES[kind]

        def forget(file: sqlite3.Connection) -> None:
            for table, station, name in sorted(self._subjects):
                if table == shape.table:
                    where, given = span(shape, station, name, None, before_us)
                    with file:
                        file.execute("BEGIN IMMEDIATE")
                        first = f'SELECT min("{shape.time}") FROM {table} WHERE {where}'  # noqa: S608 - from SHAPES
                        (oldest,) = file.execute(first, given).fetchone()
                        if oldest is not None:
                            file.execute(f"DELETE FROM {table} WHERE {where}", given)  # noqa: S608 - the same
                            hours = range(oldest // HOUR_US, before_us // HOUR_US + 1)
                            touch(file, ((station, hour) for hour in hours))

        self._told(forget)

    def forget_latest(self, before: Callable[[str], int | None]) -> None:
        """Remove last samples that are older than their path says; None: never. Raises ``NotReachable``."""

        def forget(file: sqlite3.Connection) -> None:
            known = file.execute("SELECT path, at FROM latest").fetchall()
            gone = [(path,) for path, at in known if (edge := before(path)) is not None and at < edge]
            with file:
                file.execute("BEGIN IMMEDIATE")
                file.executemany("DELETE FROM latest WHERE path = ?", gone)

        self._told(forget)

    def copy_to(self, path: Path) -> None:
        """One state of the file; writes and questions wait as long."""
        self._guarded(lambda file: copy_database(file, path))

    # ------------------------------------------------------------ the file

    def _connect(self, wait_s: float, path: Path | None = None) -> sqlite3.Connection:
        """Open the file and keep everybody else out, even while it is lent."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(path or self.path, isolation_level=None, timeout=wait_s, check_same_thread=False)
        self._open_file = file
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the log: locked before, it stays locked
        file.execute("PRAGMA locking_mode = EXCLUSIVE")
        file.execute("PRAGMA synchronous = FULL")
        prepare(file)  # may sort whole tables of an older layout, which must not happen in memory
        file.execute("PRAGMA temp_store = MEMORY")
        file.execute(f"PRAGMA busy_timeout = {round(1_000 * _WAIT_S)}")
        self._subjects = set(file.execute("SELECT kind, station, subject FROM subjects"))
        return file

    def _told(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Write, with SQLite's errors as the store's."""
        try:
            return self._guarded(work)
        except (OverflowError, sqlite3.IntegrityError) as error:
            raise Refused(f"{self.path}: a record cannot be stored ({error})") from error
        except sqlite3.OperationalError as error:
            locked = error.sqlite_errorcode & 0xFF in _LOCKED
            remedy = (
                "another process still has it open, the next write tries again" if locked else "free space on its disk"
            )
            raise NotReachable(f"{self.path}: cannot be written ({error}); {remedy}") from error

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            if self._open_file is None:
                raise NotReachable(f"{self.path}: the store is closed")
            try:
                return work(self._open_file)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                return work(self._saved_file(error))

    def _saved_file(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """A sound file in the place of the damaged one; raises ``NotReachable`` when there is no room for it."""
        try:
            return self._replace_file(error)
        except sqlite3.OperationalError as full:
            raise NotReachable(
                f"{self.path}: damaged ({error}), what is in it cannot be saved ({full}); free space on its disk"
            ) from full

    def _replace_file(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """Copy every row that can still be read to a new file, which takes the place of the damaged one.

        Raises ``sqlite3.OperationalError`` when there is no room; then all is as before.
        """
        self.close()
        made = saving(self.path)
        saved = 0
        try:
            file = self._connect(_WAIT_S, made)
            try:
                file.execute("ATTACH DATABASE ? AS damaged", (str(self.path),))
                saved = salvage(file)
                touch_all(file)
                file.execute("DETACH DATABASE damaged")
            except sqlite3.DatabaseError as unreadable:
                unless_full(unreadable)  # else nothing in it can be read
            self.close()
            aside = put_in_place(made, self.path)
        except sqlite3.OperationalError:
            self.close()
            saving(self.path)
            with suppress(sqlite3.DatabaseError):
                self._connect(_WAIT_S)
            raise
        file = self._connect(_WAIT_MENDING_S)
        self._damage.append(
            f"{self.path}: damaged ({error}); {saved} records were saved, the rest is kept in {aside.name}"
        )
        if self._lendings:  # readers come in when all is saved: half of it looks to them like a past
            self._lock_or_share(file)
        return file


# ---------------------------------------------------------------- statements; all names come from SHAPES


def _resubmitted(file: sqlite3.Connection, rows: Sequence[tuple[Plain, ...]]) -> list[tuple[Plain, ...]]:
    """Events of those fillings that are known, or stand here before, and say otherwise."""
    fields, events = _fields(_SALES), []
    where = " AND ".join(f'"{k}" = ?' for k in _SALES.order)
    places = [column_names(_SALES).index(k) for k in _SALES.order]
    here: dict[tuple[Plain, ...], tuple[Plain, ...]] = {}
    for row in rows:
        key = tuple(row[i] for i in places)
        known = here.get(key) or file.execute(f"SELECT {fields} FROM {_SALES.table} WHERE {where}", key).fetchone()  # noqa: S608
        if known is None:
            here[key] = row[1:]
            continue
        first, later = _SALES.record(known), _SALES.record(row[1:])
        if isinstance(first, Transaction) and isinstance(later, Transaction):
            event = resubmission(first, later, str(row[0]))
            if event is not None:
                events.append(_fitting(_EVENTS, event.station_id, _EVENTS.row(event)))
    return events


def _kept(file: sqlite3.Connection, shape: Shape, rows: Iterable[tuple[Plain, ...]]) -> set[tuple[str, int]]:
    """Write rows; stations and hours of which anything is new."""
    changed = set()
    for hour, those in by_hour(shape, rows).items():
        before = file.total_changes
        file.executemany(_insert(shape) + _fill(shape), those)
        if file.total_changes > before:
            changed.add(hour)
    return changed


def _subjects_of(shape: Shape, rows: Iterable[tuple[Plain, ...]]) -> Iterator[tuple[Plain, Plain]]:
    return map(itemgetter(0, column_names(shape).index(shape.subject)), rows)


def _insert(shape: Shape, table: str = "", names: Sequence[str] = ()) -> str:
    names = names or column_names(shape)
    return f"INSERT INTO {table or shape.table} ({listed(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608


def _fillable(shape: Shape) -> list[str]:
    return [c.name for c in shape.columns if c.may_lack and c.name not in shape.key]


def _fill(shape: Shape) -> str:
    """What a second report does: nothing, unless it knows what the first left out."""
    fillable = _fillable(shape)
    fill = ", ".join(f'"{c}" = coalesce("{c}", excluded."{c}")' for c in fillable)
    news = " OR ".join(f'("{c}" IS NULL AND excluded."{c}" IS NOT NULL)' for c in fillable)
    return f" ON CONFLICT DO UPDATE SET {fill} WHERE {news}" if fillable else " ON CONFLICT DO NOTHING"


def _fields(shape: Shape) -> str:
    return listed([c.name for c in shape.columns])


def _compared(
    file: sqlite3.Connection, shape: Shape, rows: Sequence[tuple[Plain, ...]]
) -> tuple[int, tuple[Difference, ...]]:
    """Fill from these rows what is missing; name those that say otherwise than the table."""
    columns = [f'"{row[1]}" {row[2]}' for row in file.execute(f"PRAGMA table_info({shape.table})")]
    file.execute(f"CREATE TEMP TABLE incoming ({', '.join(columns)})")
    file.executemany(_insert(shape, "incoming"), rows)
    differing: list[Difference] = []
    filled = 0
    while True:  # once more for every column that a further row of the same key may still fill, or tell otherwise
        found = _differing(file, shape)
        differing += found
        file.executemany("DELETE FROM incoming WHERE rowid = ?", [(d.number + 1,) for d in found])
        changes = _fill_once(file, shape)
        if not changes:
            break
        filled += changes
    file.execute("DROP TABLE incoming")
    return filled, tuple(sorted(differing, key=lambda d: d.number))


def _fill_once(file: sqlite3.Connection, shape: Shape) -> int:
    """Fill each known record from the first of its rows that knows more; how many were filled."""
    news = " OR ".join(f'(t."{c}" IS NULL AND i."{c}" IS NOT NULL)' for c in _fillable(shape))
    if not news:
        return 0
    names = listed(column_names(shape))
    key = ", ".join(f'i."{k}"' for k in shape.order)
    before = file.total_changes
    file.execute(
        f"INSERT INTO {shape.table} ({names}) SELECT {names} FROM incoming WHERE rowid IN ("  # noqa: S608
        f"SELECT min(i.rowid) FROM incoming i CROSS JOIN {shape.table} t ON {_same(shape)} WHERE {news} "
        f"GROUP BY {key}){_fill(shape)}"
    )
    return file.total_changes - before


def _same(shape: Shape) -> str:
    return " AND ".join(f'i."{k}" = t."{k}"' for k in shape.order)


def _differing(file: sqlite3.Connection, shape: Shape) -> list[Difference]:
    facts = [n for n in column_names(shape) if n not in shape.key]
    differs = {n: f'(i."{n}" <> t."{n}")' for n in facts}
    first = " ".join(f"WHEN {condition} THEN '{n}'" for n, condition in differs.items())
    value = " ".join(f'WHEN {condition} THEN t."{n}"' for n, condition in differs.items())
    same = _same(shape)
    found = file.execute(
        f"SELECT i.rowid, CASE {first} END, CASE {value} END FROM incoming i CROSS JOIN {shape.table} t ON {same} "  # noqa: S608
        f"WHERE {' OR '.join(differs.values())}"
    )
    return [Difference(number - 1, name, told) for number, name, told in found]


def _fitting(shape: Shape, station: str, row: tuple[Any, ...]) -> tuple[Plain, ...]:
    """A row as SQLite takes it: no empty key, and question marks for lone surrogates (bytes that were no text)."""
    fitting: list[Plain] = []
    for column, value in zip(shape.columns, row, strict=True):
        if value is None and column.name in shape.key:
            fitting.append("")
        else:
            fitting.append(mended(value) if isinstance(value, str) else value)
    if "station_id" in shape.key:
        station = str(row[next(i for i, c in enumerate(shape.columns) if c.name == "station_id")])
    return (station, *fitting)


def _optional_keys(shape: Shape) -> list[int]:
    """Places of columns that may lack but stand in the key, where SQLite wants an empty text for nothing."""
    return [i for i, c in enumerate(shape.columns) if c.may_lack and c.name in shape.key]


def _empty_keys(shape: Shape, row: tuple[Plain, ...]) -> Iterator[Plain]:
    """A row as the record is made of it: what is empty in the key and may be is None."""
    for column, value in zip(shape.columns, row, strict=True):
        yield None if value == "" and column.may_lack and column.name in shape.key else value
