"""Measured tables as blocks of columns, from CSV and from Parquet alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import numpy as np
import pyarrow as pa
from pyarrow import csv

from pumpwatch.ledger.files import LINE_LIMIT, CanonicalFile, FileRow
from pumpwatch.ledger.parquet import ParquetFile, as_texts

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

BLOCK_ROWS: Final = 50_000
_BLOCK_CHARACTERS: Final = 32 * 1024**2
_ROW_BYTES: Final = 128
"""Of a usual row: a block is so many bytes for each row it is to have."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a file, as columns in the order of its header."""

    lines: Sequence[int]
    columns: Sequence[Any]
    """Arrow arrays, each as long as ``lines``; texts from CSV, their own types from Parquet."""
    unreadable: Sequence[FileRow] = field(default=())
    """Rows between them that have not the form of a row."""

    def __len__(self) -> int:
        return len(self.lines)

    def row(self, number: int) -> FileRow:
        """One of its rows as text."""
        cells = [as_texts(column.slice(number, 1))[0] or "" for column in self.columns]
        return FileRow(self.lines[number], tuple(cell.strip() for cell in cells))


class BlockSource(Protocol):
    """An open file of a measured table; both methods may raise ``UnreadableFile``."""

    size: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def read_so_far(self) -> int:
        """How much of it has been read, in the measure of ``size``."""

    def header(self) -> FileRow:
        """The names of its columns; asked first."""

    def blocks(self) -> Iterator[Block]:
        """The rest of it."""


class ParquetBlocks:
    """A Parquet file in blocks."""

    def __init__(self, path: Path, rows: int = BLOCK_ROWS) -> None:
        self._file = ParquetFile(path)
        self._rows = rows
        self.size = self._file.size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)

    @property
    def read_so_far(self) -> int:
        """Rows read."""
        return self._file.read_so_far

    def header(self) -> FileRow:
        """The names of its columns."""
        return FileRow(1, tuple(name.strip() for name in self._file.header))

    def blocks(self) -> Iterator[Block]:
        """All rows."""
        line = 1
        for batch in self._file.batches(self._rows):
            yield Block(range(line, line + batch.num_rows), batch.columns)
            line += batch.num_rows


class CsvBlocks:
    """A CSV file in blocks; rows of the wrong form are sorted out.

    As long as it is plain (no quotation marks, one kind of line end) Arrow takes it apart, ten times as fast; from the
    first block on that is not, the reader that bears with everything does.
    """

    def __init__(self, path: Path, rows: int = BLOCK_ROWS) -> None:
        self._path = path
        self._rows = rows
        self.size = path.stat().st_size
        self._raw = path.open("rb")
        self._patient: CanonicalFile | None = None
        self._patient_rows: Iterator[tuple[int, list[str], str]] = iter(())
        self._width = 0
        self._line = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()
        if self._patient is not None:
            self._patient.__exit__(kind, error, trace)

    @property
    def read_so_far(self) -> int:
        """Bytes read."""
        return self._raw.tell() if self._patient is None else self._patient.read_so_far

    def header(self) -> FileRow:
        """The names of its columns."""
        self._be_patient(0, 1)
        for line, cells, error in self._patient_rows:
            names = tuple(cell.strip() for cell in cells)
            if error or any(names):
                self._width = len(names)
                self._try_plain(line)
                return FileRow(line, names, error)
        return FileRow(1, (), "is empty; the first line of a file names its columns")

    def blocks(self) -> Iterator[Block]:
        """All rows that are not empty."""
        while self._patient is None:
            start = self._raw.tell()
            data = self._raw.read(self._rows * _ROW_BYTES)
            if not data:
                return
            if len(data) == self._rows * _ROW_BYTES:
                data = data[: data.rfind(b"\n") + 1]
            data = _first_lines(data, self._rows)
            block = _plain_block(data, self._line, self._width)
            if block is None:
                self._be_patient(start, self._line)
                break
            self._raw.seek(start + len(data))
            self._line += data.count(b"\n")
            yield block
        if self._patient is not None:
            yield from self._patient_blocks(self._patient)

    def _be_patient(self, offset: int, line: int) -> None:
        self._patient = CanonicalFile(self._path, offset, line)
        self._patient_rows = self._patient.raw_rows()

    def _try_plain(self, header_line: int) -> None:
        """Let Arrow begin after the header, if that is a plain line and nothing stands before it."""
        lines = [self._raw.readline(LINE_LIMIT) for _ in range(header_line)]
        if _is_plain(b"x" + lines[-1]) and not any(line.strip() for line in lines[:-1]) and self._patient is not None:
            self._patient.__exit__(None, None, None)
            self._patient = None
            self._line = header_line + 1

    def _patient_blocks(self, file: CanonicalFile) -> Iterator[Block]:
        rows: list[list[str]] = []
        lines: list[int] = []
        unreadable: list[FileRow] = []
        began = file.read_so_far
        for line, cells, error in self._patient_rows:
            if len(cells) == self._width and not error:
                rows.append(cells)
                lines.append(line)
            elif error or any(map(str.strip, cells)):
                reason = error or _wrong_width(len(cells), self._width)
                unreadable.append(FileRow(line, tuple(cells), reason))
            seen = len(lines) + len(unreadable)
            if seen >= self._rows or (seen % 64 == 0 and file.read_so_far - began > _BLOCK_CHARACTERS):
                yield _patient_block(rows, lines, unreadable, self._width)
                rows, lines, unreadable = [], [], []
                began = file.read_so_far
        yield _patient_block(rows, lines, unreadable, self._width)


def _wrong_width(cells: int, width: int) -> str:
    return f"has {cells} cells, the header {width}; look for a comma or quotation mark"


def _first_lines(data: bytes, count: int) -> bytes:
    """At most so many lines; short ones would make a block of bytes too many rows."""
    if data.count(b"\n") <= count:
        return data
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    return data[: int(ends[count - 1]) + 1]


def _is_plain(data: bytes) -> bool:
    """Whether lines are lines and commas commas, and no line is empty or too long."""
    if data[:1] in b"\r\n" or any(odd in data for odd in (b'"', b"\0", b"\n\n", b"\n\r")):
        return False
    return data.count(b"\r") == data.count(b"\r\n")


def _plain_block(data: bytes, first_line: int, width: int) -> Block | None:
    """A block of plain lines, None for one that is not plain."""
    if not _is_plain(data):
        return None
    odd: list[tuple[int, str]] = []

    def note(row: Any) -> str:  # noqa: ANN401 - pyarrow has no types
        odd.append((row.number, row.text))
        return "skip"

    names = [str(i) for i in range(width)]
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            csv.ParseOptions(quote_char=False, double_quote=False, ignore_empty_lines=False, invalid_row_handler=note),
            csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        return None
    skipped = {number for number, _ in odd}
    total = table.num_rows + len(odd)
    lines = range(first_line, first_line + total)
    kept: Sequence[int] = [line for number, line in enumerate(lines, 1) if number not in skipped] if odd else lines
    unreadable = [
        FileRow(first_line + number - 1, tuple(cells), _wrong_width(len(cells), width))
        for number, text in odd
        if any(map(str.strip, cells := text.rstrip("\r\n").split(",")))
    ]
    return Block(kept, [column.combine_chunks() for column in table.columns], unreadable)


def _patient_block(rows: list[list[str]], lines: list[int], unreadable: list[FileRow], width: int) -> Block:
    try:
        return Block(lines, _columns(rows, width), unreadable)
    except UnicodeEncodeError:
        kept = [i for i, row in enumerate(rows) if _is_text(row)]
        odd = sorted(set(range(len(rows))).difference(kept))
        reason = "is not UTF-8 text; save the table as CSV in UTF-8"
        unreadable += [FileRow(lines[i], tuple(rows[i]), reason) for i in odd]
        return Block([lines[i] for i in kept], _columns([rows[i] for i in kept], width), unreadable)


def _columns(rows: list[list[str]], width: int) -> list[Any]:
    if not rows:
        return [pa.array([], pa.string())] * width
    return [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]


def _is_text(row: list[str]) -> bool:
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return False
    return True
