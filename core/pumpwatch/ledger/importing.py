"""Imports the ledger's tables of a canonical data set: bad rows are named and put aside, the rest goes in."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig
from pumpwatch.ledger.canonical import LEDGER_TABLES, CanonicalTable, Column, Scalar, check_text
from pumpwatch.ledger.files import REJECT_COLUMNS, FileRow, Rejects, RowSource, UnreadableFile
from pumpwatch.ledger.folder import find, opened
from pumpwatch.ledger.threads import in_thread
from pumpwatch.ledger.upserts import Fate, Incoming, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pumpwatch.database import Database

ROWS_AT_ONCE = 250
"""Rows in one transaction: few, so that alarms need not wait for a long import."""
PROBLEMS_KEPT = 1_000
"""Problems a table's report names; the rejects file has more."""
REASON_LIMIT = 500
"""Characters of a reason that a report shows."""


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row, or a whole file (line 1), was not imported."""

    file: str
    line: int
    column: str
    """Empty when the row as a whole is wrong."""
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}"
        return f"{place}: {self.column}: {self.reason}" if self.column else f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class TableReport:
    """What became of one file."""

    table: str
    file: str
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    problems: tuple[RowProblem, ...] = ()
    """At most ``PROBLEMS_KEPT``; one row may have several."""
    rejects: Path | None = None
    """The file of refused rows, if there is one."""

    @property
    def rows(self) -> int:
        """Rows read, the header not counted."""
        return self.added + self.changed + self.unchanged + self.rejected


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a folder."""

    tables: tuple[TableReport, ...]
    """The tables that were there, in the order of import."""
    others: tuple[str, ...]
    """Files in the folder that look like tables and were not read: other tables, or misspelt names."""

    @property
    def problems(self) -> tuple[RowProblem, ...]:
        """Everything that was not right."""
        return tuple(problem for table in self.tables for problem in table.problems)

    @property
    def rejected(self) -> int:
        """Rows that were not imported."""
        return sum(table.rejected for table in self.tables)


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import is; told after every ``ROWS_AT_ONCE`` rows, where it pauses, and at the end of each file."""

    table: str
    rows: int
    bytes_read: int
    bytes_total: int
    """Of this file."""


async def import_folder(
    database: Database,
    folder: Path,
    *,
    rejects: Path | None = None,
    progress: Callable[[ImportProgress], None] | None = None,
) -> ImportReport:
    """Import the ledger's tables of a folder as far as they are there, each as CSV, Parquet or Excel.

    A row with a known key changes that entry: a column the file has not leaves what was known, an empty cell takes it
    away. Each ``ROWS_AT_ONCE`` rows are one transaction, so an import that is broken off leaves good rows and can be
    run again. ``rejects`` is a folder for ``NAME.rejects.csv``. Raises ``BadConfig`` when the folder cannot be read.
    """
    names = [table.name for table in LEDGER_TABLES]
    found = await in_thread(find, folder, names, names)
    reports = [refused_file(file, file, reason) for file, reason in found.broken.items()]
    for table in LEDGER_TABLES:
        if paths := found.files.get(table.name):
            reports.append(await import_table(database, table, paths, rejects=rejects, progress=progress))
    return ImportReport(tuple(reports), found.others)


async def import_table(
    database: Database,
    table: CanonicalTable,
    paths: Sequence[Path],
    *,
    rejects: Path | None = None,
    progress: Callable[[ImportProgress], None] | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> TableReport:
    """Import one table; see ``import_folder``. Two files of one table are refused both.

    More ``rows_at_once`` than a few hundred are for those who know that nobody else is waiting to write.
    """
    if len(paths) > 1:
        return refused_twice(table.name, paths)
    (path,) = paths
    try:
        with ExitStack() as stack:  # so that a file whose opening was cancelled is closed too
            file = await in_thread(lambda: stack.enter_context(opened(path, table.name)))
            importer = _TableImport(database, table, file, progress, rows_at_once)
            return await importer.run(rejects / f"{table.name}.rejects.csv" if rejects else None)
    except UnreadableFile as error:
        return refused_file(table.name, path.name, str(error))
    except OSError as error:
        raise BadConfig(f"cannot import {path}: {error.strerror} ({error.filename or path})") from error


def refused_file(table: str, file: str, reason: str) -> TableReport:
    """The report of a file of which nothing could be read."""
    return TableReport(table, file, problems=(RowProblem(file, 1, "", f"nothing of this file is imported: {reason}"),))


def refused_twice(table: str, paths: Sequence[Path]) -> TableReport:
    """The report of a table that is there more than once."""
    names = " and ".join(path.name for path in paths)
    return refused_file(table, paths[0].name, f"{names} both hold the table {table}; keep one of them")


@dataclass(frozen=True, slots=True)
class _Header:
    """Where each column stands. None in ``places`` is a column without a name, or one of a rejects file."""

    names: tuple[str, ...]
    places: tuple[Column | str | None, ...]
    """A canonical column, or the name of an attribute."""


class _BadHeaderError(Exception):
    def __init__(self, reason: str, column: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column


def _read_some(rows: Iterator[FileRow | None], most: int) -> tuple[list[FileRow], bool]:
    """The next rows, up to a pause or as many as may be, and whether there may be more."""
    some: list[FileRow] = []
    for row in rows:
        if row is not None:
            some.append(row)
        if row is None or len(some) == most:
            return some, True
    return some, False


async def _first(rows: Iterator[FileRow | None]) -> FileRow:
    more = True
    while more:
        some, more = await in_thread(_read_some, rows, 1)
        if some:
            return some[0]
    return FileRow(1, (), "is empty; the first line of a file names its columns")


@dataclass(slots=True)
class _TableImport:
    database: Database
    table: CanonicalTable
    file: RowSource
    progress: Callable[[ImportProgress], None] | None
    rows_at_once: int
    fates: Counter[Fate] = field(default_factory=Counter)
    problems: list[RowProblem] = field(default_factory=list)
    seen: dict[tuple[Scalar, ...], tuple[int, int]] = field(default_factory=dict)
    """Key → line and hash of its row: the same row twice is harmless, two that differ are not."""

    async def run(self, rejects_path: Path | None) -> TableReport:
        rows = self.file.rows()
        try:
            header = self._read_header(await _first(rows))
        except _BadHeaderError as error:
            header = _Header((), ())
            reason = f"nothing of this file is imported: {error.reason}"
            self.problems.append(RowProblem(self.file.path.name, 1, error.column, reason))
        with Rejects(rejects_path, header.names) as rejects:
            try:
                more = bool(header.names)
                while more:
                    some, more = await in_thread(_read_some, rows, self.rows_at_once)
                    await self._take(header, some, rejects)
                    if some or more:
                        self._tell(self.file.read_so_far)
            except UnreadableFile as error:
                reason = f"the rest of the file is not read: it {error}"
                self.problems.append(RowProblem(self.file.path.name, self.fates.total() + 1, "", reason))
            self._tell(self.file.size)
            return TableReport(
                table=self.table.name,
                file=self.file.path.name,
                added=self.fates[Fate.ADDED],
                changed=self.fates[Fate.CHANGED],
                unchanged=self.fates[Fate.UNCHANGED],
                rejected=self.fates[Fate.REJECTED],
                problems=tuple(self.problems),
                rejects=rejects.written,
            )

    async def _take(self, header: _Header, rows: Iterable[FileRow], rejects: Rejects) -> None:
        good: list[tuple[FileRow, Incoming]] = []
        for row in rows:
            incoming, wrong = self._read_row(header, row)
            if incoming is None or wrong:
                self._reject(row, wrong, rejects)
            else:
                good.append((row, incoming))
        if not good:
            return
        async with self.database.writing() as connection:
            outcomes = await write_rows(connection, self.table, [incoming for _, incoming in good])
        for (row, _), outcome in zip(good, outcomes, strict=True):
            if outcome.fate is Fate.REJECTED:
                self._reject(row, [(self.table.column_of(outcome.column), outcome.reason)], rejects)
            else:
                self.fates[outcome.fate] += 1

    # ------------------------------------------------------------ header

    def _read_header(self, row: FileRow) -> _Header:
        names = row.cells
        if reason := row.error or next(filter(None, (*map(check_text, names), *(why for _, why in row.wrong))), ""):
            raise _BadHeaderError(f"the header {reason}")
        if twice := [name for name, count in Counter(names).items() if name and count > 1]:
            raise _BadHeaderError("the column stands twice in the header", twice[0])
        columns = {column.name: column for column in self.table.columns}
        places = tuple(None if name in ("", *REJECT_COLUMNS) else columns.get(name, name) for name in names)
        if missing := [name for name in self.table.required if columns[name] not in places]:
            hint = next((f"; the cells are separated by {s!r}, write commas" for s in (";", "\t") if s in names[0]), "")
            raise _BadHeaderError(f"the column is missing; there are: {', '.join(names)[:300]}{hint}", missing[0])
        return _Header(names, places)

    # ------------------------------------------------------------ rows

    def _read_row(self, header: _Header, row: FileRow) -> tuple[Incoming | None, list[tuple[str, str]]]:
        """The row's values, or column and reason of everything that is wrong with it."""
        if row.error:
            return None, [("", row.error)]
        if len(row.cells) != len(header.places):
            return None, [
                ("", f"has {len(row.cells)} cells, the header {len(header.places)}; look for a comma or quotation mark")
            ]
        values: dict[str, Scalar] = {}
        attributes: dict[str, str | None] = {}
        wrong: list[tuple[str, str]] = []
        unreadable = dict(row.wrong)
        for number, (name, place, cell) in enumerate(zip(header.names, header.places, row.cells, strict=True)):
            reason = unreadable.get(number) or check_text(cell)
            if reason:
                pass
            elif isinstance(place, Column):
                values[place.target], reason = self._value(place, cell)
            elif place is not None:
                attributes[place] = cell or None
            elif cell and not name:
                reason = "stands in a column without a name"
            if reason:
                wrong.append((name, reason))
        if not wrong and (twice := self._given_before(row, values)):
            wrong.append((self.table.column_of(self.table.key[0]), f"given already, and differently, in line {twice}"))
        return (None, wrong) if wrong else (Incoming(values, attributes), [])

    def _value(self, column: Column, cell: str) -> tuple[Scalar, str]:
        """The value of a cell, and why it may not be."""
        if not cell:
            return self.table.defaults[column.target], "is empty" if column.required else ""
        try:
            value = column.read(cell)
        except ValueError as error:
            return None, str(error)
        return value, column.check(value)

    def _given_before(self, row: FileRow, values: Mapping[str, Scalar]) -> int | None:
        key = self.table.identity({**self.table.defaults, **values} if self.table.derived else values)
        line, content = self.seen.setdefault(key, (row.line, hash(row.cells)))
        return line if content != hash(row.cells) else None

    # ------------------------------------------------------------ telling

    def _reject(self, row: FileRow, wrong: list[tuple[str, str]], rejects: Rejects) -> None:
        self.fates[Fate.REJECTED] += 1
        for column, reason in wrong[: PROBLEMS_KEPT - len(self.problems)]:
            self.problems.append(RowProblem(self.file.path.name, row.line, column, reason[:REASON_LIMIT]))
        rejects.add(
            row, wrong[0][0], "; ".join(f"{column}: {reason}" if column else reason for column, reason in wrong)
        )

    def _tell(self, bytes_read: int) -> None:
        if self.progress is not None:
            self.progress(ImportProgress(self.table.name, self.fates.total(), bytes_read, self.file.size))
