"""Reads a canonical CSV file row by row, however damaged, and writes the rows that were refused beside it."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

LINE_LIMIT = 1_048_576
"""Characters a line may have; a longer one is no table, and would be held in memory whole."""
ROW_LINES = 200
ROW_CHARACTERS = 131_072
"""A row may go on over so many lines, and begin another line while it has no more characters: a quotation mark that is
not closed is looked for no further."""
BLANKS_AT_ONCE = 10_000
"""Empty rows passed over before ``rows`` pauses."""
REJECT_COLUMNS = ("rejected_line", "rejected_column", "rejected_reason")
"""Stand before the original columns in a rejects file; an import passes over them, so a mended file can be imported."""


class UnreadableFile(Exception):  # noqa: N818 - what it is
    """Why a file, or the rest of it, cannot be read; an import names it and goes on with the next file."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row as it stands in the file."""

    line: int
    """Line in which the row begins, from 1; the row's number in Excel and Parquet."""
    cells: tuple[str, ...]
    """Blanks at both ends taken off."""
    error: str = ""
    """Why the row cannot be read at all."""
    wrong: tuple[tuple[int, str], ...] = ()
    """Place of each cell that cannot be read, and why."""


class RowSource(Protocol):
    """An open file of one table. ``rows`` streams, the header first; it may raise ``UnreadableFile``."""

    path: Path
    size: int
    """Of the whole, in the measure of ``read_so_far``."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def read_so_far(self) -> int:
        """How much of it has been read."""

    def rows(self) -> Iterator[FileRow | None]:
        """Every row that is not empty, the header first; None is a pause in what is long and empty."""


class CanonicalFile:
    """An open CSV file in UTF-8, with byte order mark or without. ``rows`` streams: one row is in memory at a time.

    Bytes that are not UTF-8 become lone surrogates, which no value may hold: so they spoil their row, not the file.
    """

    def __init__(self, path: Path, offset: int = 0, line: int = 1) -> None:
        """Reading begins at the byte ``offset``, where ``line`` begins."""
        self.path = path
        self._raw = path.open("rb")
        self._raw.seek(offset)
        encoding = "utf-8" if offset else "utf-8-sig"
        self._text = io.TextIOWrapper(self._raw, encoding=encoding, errors="surrogateescape", newline="")
        self._line = line
        self.size = path.stat().st_size
        """Bytes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._text.close()

    @property
    def read_so_far(self) -> int:
        """Bytes taken from the file."""
        return self._raw.tell()

    def rows(self) -> Iterator[FileRow | None]:
        """Every row that is not empty, the header first; None after each ``BLANKS_AT_ONCE`` that are."""
        blanks = 0
        for line, cells, error in self.raw_rows():
            stripped = tuple(cell.strip() for cell in cells)
            if error or any(stripped):
                yield FileRow(line, stripped, error)
            else:
                blanks += 1
                if blanks % BLANKS_AT_ONCE == 0:
                    yield None

    def raw_rows(self) -> Iterator[tuple[int, list[str], str]]:
        """Line, cells and error of every row. A row that is no CSV costs its first line only."""
        lines = _Lines(self._text, self._line)
        reader = csv.reader(lines, strict=True)
        while True:
            line = lines.begin_row()
            try:
                yield line, next(reader), ""
            except StopIteration:
                return
            except csv.Error as error:
                lines.give_back()
                yield line, [], f"is not CSV ({error}); look for a quotation mark that is not closed"
            except _LongLineError as error:
                if lines.give_back():
                    yield line, [], "is not CSV; look for a quotation mark that is not closed"
                yield error.line, [], f"is longer than {LINE_LIMIT} characters"


class Rejects:
    """The rows that were refused, as a file a person can mend and import; made when the first one comes."""

    def __init__(self, path: Path | None, header: Sequence[str]) -> None:
        self.path = path
        self._header = header
        self._file: TextIO | None = None
        if path is not None:
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def written(self) -> Path | None:
        """The file, if there was anything to write."""
        return self.path if self._file is not None else None

    def add(self, row: FileRow, column: str, reason: str) -> None:
        """Keep a row."""
        if self.path is None:
            return
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
            self._file.write("\ufeff")  # spreadsheets take a file without this mark for a local encoding
            csv.writer(self._file).writerow([*REJECT_COLUMNS, *self._header])
        csv.writer(self._file).writerow([row.line, column, reason, *row.cells])


class _LongLineError(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Lines:
    """Lines for the CSV reader that can be given back when what began in one of them turns out to be no row."""

    def __init__(self, text: TextIO, first: int) -> None:
        self._read = text.readline
        self._number = first - 1
        self._again: deque[tuple[int, str]] = deque()
        self._taken: list[tuple[int, str]] = []
        self._characters = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self._taken) == ROW_LINES or self._characters > ROW_CHARACTERS:
            raise csv.Error(f"goes on over {len(self._taken)} lines of {self._characters} characters")
        if self._again:
            number, line = self._again.popleft()
        else:
            line = self._read(LINE_LIMIT + 1)
            if not line:
                raise StopIteration
            self._number = number = self._number + 1
        if len(line) > LINE_LIMIT:
            self._pass_over(line)
            raise _LongLineError(number)
        self._taken.append((number, line))
        self._characters += len(line)
        return line

    def begin_row(self) -> int:
        """The number of the line that comes next."""
        self._taken.clear()
        self._characters = 0
        return self._again[0][0] if self._again else self._number + 1

    def give_back(self) -> bool:
        """Read again all lines of this row but the first; whether there was a first."""
        self._again.extendleft(reversed(self._taken[1:]))
        return bool(self._taken)

    def _pass_over(self, part: str) -> None:
        while part and part[-1] not in "\r\n":
            part = self._read(LINE_LIMIT + 1)
        if part.endswith("\r") and (more := self._read(LINE_LIMIT + 1)) and more != "\n":
            self._number += 1
            self._again.append((self._number, more))
