"""Reads a canonical CSV file row by row, however damaged, and writes the rows that were refused beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

LINE_LIMIT = 1_048_576
"""Characters a line may have; a longer one is no table, and would be held in memory whole."""
REJECT_COLUMNS = ("rejected_line", "rejected_column", "rejected_reason")
"""Stand before the original columns in a rejects file; an import passes over them, so a mended file can be imported."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row as it stands in the file."""

    line: int
    """Line in which the row begins, from 1."""
    cells: tuple[str, ...]
    """Blanks at both ends taken off."""
    error: str = ""
    """Why the row cannot be read at all."""


class CanonicalFile:
    """An open CSV file in UTF-8, with byte order mark or without. ``rows`` streams: one row is in memory at a time.

    Bytes that are not UTF-8 become lone surrogates, which no value may hold: so they spoil their row, not the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw = path.open("rb")
        self._text = io.TextIOWrapper(self._raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self.size = path.stat().st_size
        """Bytes."""

    def __enter__(self) -> CanonicalFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._text.close()

    @property
    def read_so_far(self) -> int:
        """Bytes taken from the file."""
        return self._raw.tell()

    def rows(self) -> Iterator[FileRow]:
        """Every row that is not empty, the header first."""
        reader = csv.reader(_lines(self._text), strict=True)
        while True:
            line = reader.line_num + 1
            try:
                cells = tuple(cell.strip() for cell in next(reader))
            except StopIteration:
                return
            except csv.Error as error:
                yield FileRow(line, (), f"is not CSV ({error}); look for a quotation mark that is not closed")
                continue
            except _LongLineError:
                yield FileRow(line, (), f"is longer than {LINE_LIMIT} characters; the rest of the file is not read")
                return
            if any(cells):
                yield FileRow(line, cells)


class Rejects:
    """The rows that were refused, as a file a person can mend and import; made when the first one comes."""

    def __init__(self, path: Path | None, header: Sequence[str]) -> None:
        self.path = path
        self._header = header
        self._file: TextIO | None = None
        if path is not None:
            path.unlink(missing_ok=True)

    def __enter__(self) -> Rejects:
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
    pass


def _lines(text: TextIO) -> Iterator[str]:
    while line := text.readline(LINE_LIMIT + 1):
        if len(line) > LINE_LIMIT:
            raise _LongLineError
        yield line
