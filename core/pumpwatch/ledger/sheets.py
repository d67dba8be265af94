"""Reads a ledger table from an Excel sheet: values only, a formula in a cell is an error that names the cell."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, Self
from xml.etree.ElementTree import ParseError

from openpyxl import load_workbook
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from pumpwatch.ledger.files import FileRow, UnreadableFile

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

BYTES_LIMIT: Final = 256 * 1024**2
"""Bytes a workbook may have when unpacked."""
RATIO_LIMIT: Final = 200
"""How many times smaller a large part may be when packed; real sheets stay below 50."""
PARTS_LIMIT: Final = 2_000
ROWS_LIMIT: Final = 200_000
COLUMNS_LIMIT: Final = 200
_SMALL: Final = 1024**2
_BROKEN: Final = (
    zipfile.BadZipFile,
    InvalidFileException,
    ParseError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OSError,
    EOFError,
    RuntimeError,
    OverflowError,
    zlib.error,
)
"""What openpyxl lets through when a workbook is none."""


class Workbook:
    """An open ``.xlsx`` file. Raises ``UnreadableFile`` for what is none and for what unpacks to no end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_archive(path)
        try:
            self._book = load_workbook(path, read_only=True, data_only=False, keep_links=False)
        except _BROKEN as error:
            raise UnreadableFile(f"is not an Excel workbook, or damaged ({error}); save it anew as .xlsx") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._book.close()

    @property
    def sheets(self) -> tuple[str, ...]:
        """Names of its sheets, in their order."""
        return tuple(sheet.title for sheet in self._book.worksheets)

    def cells(self, sheet: str) -> Iterator[tuple[int, list[Any]]]:
        """Number and cells of each row of a sheet."""
        try:
            found = self._book[sheet]
            found.reset_dimensions()  # what a sheet says of its own size need not be so
            yield from enumerate(map(list, found.iter_rows(max_col=COLUMNS_LIMIT + 1)), 1)
        except _BROKEN as error:
            raise UnreadableFile(f"the sheet {sheet} is damaged ({error}); save it anew as .xlsx") from error


class SheetFile:
    """One sheet as a table: the first, or the one that bears the table's name."""

    def __init__(self, path: Path, table: str) -> None:
        self.path = path
        self._workbook = Workbook(path)
        sheets = self._workbook.sheets
        if not sheets:
            self._workbook.__exit__(None, None, None)
            raise UnreadableFile("has no sheet")
        self._sheet = table if table in sheets else sheets[0]
        self.size = path.stat().st_size
        self.read_so_far = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workbook.__exit__(kind, error, trace)

    def rows(self) -> Iterator[FileRow]:
        """Every row that is not empty, the header first."""
        width = 0
        for number, cells in self._workbook.cells(self._sheet):
            if number > ROWS_LIMIT:
                raise UnreadableFile(f"the sheet {self._sheet} has more than {ROWS_LIMIT:,} rows")
            texts, wrong = [], []
            for place, cell in enumerate(cells):
                text, reason = _text(cell.value, cell.data_type)
                texts.append(text)
                if reason:
                    wrong.append((place, f"the cell {get_column_letter(place + 1)}{number} {reason}"))
            while texts and not texts[-1] and len(texts) > width and (not wrong or wrong[-1][0] < len(texts) - 1):
                texts.pop()
            if len(texts) > COLUMNS_LIMIT:
                raise UnreadableFile(f"the sheet {self._sheet} has more than {COLUMNS_LIMIT} columns")
            if any(texts) or wrong:
                texts += [""] * (width - len(texts))
                width = width or len(texts)
                yield FileRow(number, tuple(texts), "", tuple(wrong))
        self.read_so_far = self.size


def _text(value: object, kind: str) -> tuple[str, str]:
    """A cell as CSV would have it, and why it may not be."""
    if value is None:
        return "", ""
    if kind == "f" or not isinstance(value, str | bool | int | float | date | time | timedelta):
        return str(value), f"holds the formula {str(getattr(value, 'text', value))[:80]!r}; write the value itself"
    if kind == "e":
        return str(value), f"holds the error {value}"
    if isinstance(value, bool):
        return ("true" if value else "false"), ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value)), ""
    if isinstance(value, datetime):
        # Excel keeps every day as a time at midnight; it has no offsets
        return (value.date() if value.time() == time() else value).isoformat(), ""
    return (value.isoformat() if isinstance(value, date | time) else str(value).strip()), ""


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UnreadableFile(f"is not an Excel workbook ({error}); save it anew as .xlsx") from error
    whole = sum(part.file_size for part in parts)
    if len(parts) > PARTS_LIMIT or whole > BYTES_LIMIT:
        raise UnreadableFile(f"unpacks to {len(parts):,} parts of {whole:,} bytes; no ledger is so large")
    for part in parts:
        if part.file_size > _SMALL and part.file_size > RATIO_LIMIT * max(part.compress_size, 1):
            raise UnreadableFile(f"its part {part.filename} is packed {RATIO_LIMIT} times and more; no sheet is")
