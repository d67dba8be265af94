"""Exports a data folder as a canonical data set: streaming, in the order of keys, the same bytes each time."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pumpwatch.canonical.measured import MEASURED_TABLES, TABLES, MeasuredTable
from pumpwatch.errors import BadConfig
from pumpwatch.historian import Historian, Plain
from pumpwatch.historian.rows import mended_json
from pumpwatch.ledger import LEDGER_TABLES, Ledger
from pumpwatch.ledger.canonical import CanonicalTable, read_day, read_moment, read_number
from pumpwatch.ledger.threads import in_thread
from pumpwatch.model import to_us

_GROUP_ROWS: Final = 131_072
"""Rows of a row group: always so many, whatever pages the rows came in, so that equal data are equal bytes."""
_TIME: Final = pa.timestamp("us", "UTC")
_EARLIEST: Final = to_us(datetime.min.replace(tzinfo=UTC))
_LAST: Final = to_us(datetime.max.replace(tzinfo=UTC))
_KINDS: Final = {"text": pa.string(), "number": pa.float64(), "whole": pa.int64(), "time": _TIME, "day": pa.date32()}

Row: TypeAlias = Sequence[Any]


class Format(StrEnum):
    """How tables are written."""

    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class ExportedTable:
    """What was written of one table."""

    table: str
    file: str
    rows: int


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """How far an export is."""

    table: str
    rows: int


@dataclass(frozen=True, slots=True)
class Span:
    """Rows with start <= time < end; None is without limit. Rows that have no time are always in."""

    start: datetime | None = None
    end: datetime | None = None

    @property
    def start_us(self) -> int:
        """As the historian counts."""
        return _EARLIEST if self.start is None else to_us(self.start)

    @property
    def end_us(self) -> int:
        """As the historian counts."""
        return _LAST if self.end is None else to_us(self.end)


async def export_folder(
    ledger: Ledger,
    historian: Historian,
    folder: Path,
    *,
    kind: Format = Format.PARQUET,
    tables: Sequence[str] = TABLES,
    span: Span | None = None,
    progress: Callable[[ExportProgress], None] | None = None,
) -> tuple[ExportedTable, ...]:
    """Write the tables asked for; a table without rows is a file without rows. A file takes its name when it is whole.

    Raises ``BadConfig`` for an unknown table or a folder that cannot be written.
    """
    if unknown := [name for name in tables if name not in TABLES]:
        raise BadConfig(f"there is no table {unknown[0]}; there are {', '.join(TABLES)}")
    await historian.flush()
    exported = []
    try:
        folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - before anything runs
        for name in TABLES:
            if name in tables:
                path = folder / f"{name}.{kind}"
                stream = await table_rows(ledger, historian, name, span or Span())
                exported.append(ExportedTable(name, path.name, await _write(name, stream, path, kind, progress)))
    except OSError as error:
        raise BadConfig(f"cannot export to {folder}: {error.strerror} ({error.filename or folder})") from error
    return tuple(exported)


@dataclass(frozen=True, slots=True)
class TableStream:
    """A table to be written: names and kinds of its columns, and its rows page by page."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    pages: AsyncIterator[Sequence[Row]]
    """Times as microseconds, days as dates."""


async def table_rows(ledger: Ledger, historian: Historian, name: str, span: Span) -> TableStream:
    """Any table of the data set."""
    for table in MEASURED_TABLES:
        if table.name == name:
            return await _measured(ledger, historian, table, span)
    return await _ledger(ledger, next(t for t in LEDGER_TABLES if t.name == name), span)


async def _ledger(ledger: Ledger, table: CanonicalTable, span: Span) -> TableStream:
    names: set[str] = set()
    async for entries in ledger.pages(table, span.start, span.end):
        names.update(*(entry["attributes"] for entry in entries))
    extra = tuple(sorted(names))
    kinds: dict[object, str] = {read_number: "number", read_moment: "time", read_day: "day"}

    async def pages() -> AsyncIterator[Sequence[Row]]:
        async for entries in ledger.pages(table, span.start, span.end):
            yield [_entry_row(table, entry, extra) for entry in entries]

    return TableStream(
        (*(c.name for c in table.columns), *extra),
        (*(kinds.get(c.read, "text") for c in table.columns), *("text" for _ in extra)),
        pages(),
    )


def _entry_row(table: CanonicalTable, entry: Mapping[str, Any], extra: Sequence[str]) -> Row:
    values = [entry[c.target] for c in table.columns]
    plain = [to_us(v) if isinstance(v, datetime) else None if v == "" else v for v in values]
    return [*plain, *map(entry["attributes"].get, extra)]


async def _measured(ledger: Ledger, historian: Historian, table: MeasuredTable, span: Span) -> TableStream:
    register = await ledger.load()
    subjects = {"nozzle_id": [n.nozzle_id for n in register.nozzles], "tank_id": [t.tank_id for t in register.tanks]}
    homes = subjects.get(table.refers, [])
    where = (table.kind, homes, span.start_us, span.end_us)
    extra = tuple(sorted(await historian.attribute_names(*where)))
    row_of = _RowMaker(table, extra)

    async def pages() -> AsyncIterator[Sequence[Row]]:
        async for page in historian.pages(*where):
            yield await in_thread(row_of.rows, page)

    kinds = {"id": "text", "kind": "text", "detail": "text"}
    return TableStream(
        (*(c.name for c in table.columns), *extra),
        (*(kinds.get(c.form, c.form) for c in table.columns), *("text" for _ in extra)),
        pages(),
    )


class _RowMaker:
    """Rows of a file from rows of the historian."""

    def __init__(self, table: MeasuredTable, extra: Sequence[str]) -> None:
        place = {c.name: i for i, c in enumerate(table.shape.columns)}
        self._pick = itemgetter(*(place[c.field] for c in table.columns))
        self._needed = [i for i, c in enumerate(table.columns) if c.required]
        self._detail = [i for i, c in enumerate(table.columns) if c.form == "detail"]
        self._attributes = place["attributes"]
        self._extra = tuple(extra)

    def rows(self, page: Sequence[tuple[Plain, ...]]) -> Sequence[Row]:
        """Those of which the table can tell: a delivery that only the gauge saw has no papers."""
        rows: Sequence[Row] = list(map(self._pick, page))
        if self._extra or self._detail:
            rows = [self._whole(row, record[self._attributes]) for row, record in zip(rows, page, strict=True)]
        complete = [not any(map(_is_none, column)) for column in zip(*rows, strict=True)] if rows else []
        if all(complete[i] for i in self._needed if complete):
            return rows
        return [row for row in rows if all(row[i] is not None for i in self._needed)]

    def _whole(self, row: Row, attributes: Plain) -> Row:
        known = json.loads(mended_json(str(attributes))) if attributes else {}
        whole = [*row, *map(known.get, self._extra)]
        for i in self._detail:
            if whole[i] is not None:
                whole[i] = json.dumps(json.loads(mended_json(whole[i])), ensure_ascii=False, sort_keys=True)
        return whole


def _is_none(value: object) -> bool:
    return value is None


# ---------------------------------------------------------------- files


class _Writer(Protocol):
    """A file that takes pages of columns."""

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write what is left, and close."""


async def _write(
    table: str, stream: TableStream, path: Path, kind: Format, progress: Callable[[ExportProgress], None] | None
) -> int:
    part = path.with_name(path.name + ".part")
    total = 0
    try:
        writer: _Writer = _CsvWriter(part, stream) if kind is Format.CSV else _ParquetWriter(part, stream)
        try:
            async for rows in stream.pages:
                await in_thread(writer.write, rows)
                total += len(rows)
                if progress is not None:
                    progress(ExportProgress(table, total))
        finally:
            await in_thread(writer.close)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return total


class _CsvWriter:
    """CSV as RFC 4180 has it, UTF-8 without byte order mark."""

    def __init__(self, path: Path, stream: TableStream) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._times = [i for i, kind in enumerate(stream.kinds) if kind == "time"]
        self._writer = csv.writer(self._file)
        self._writer.writerow(stream.names)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        if columns:
            for i in self._times:
                columns[i] = iso_times(columns[i])
        self._writer.writerows(zip(*columns, strict=True))


class _ParquetWriter:
    """Parquet in row groups of equal length."""

    def __init__(self, path: Path, stream: TableStream) -> None:
        self._schema = arrow_schema(stream)
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[Row] = []

    def close(self) -> None:
        """Write the last row group, and close."""
        if self._waiting:
            self._group(self._waiting)
        self._file.close()

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        self._waiting += rows
        while len(self._waiting) >= _GROUP_ROWS:
            self._group(self._waiting[:_GROUP_ROWS])
            self._waiting = self._waiting[_GROUP_ROWS:]

    def _group(self, rows: Sequence[Row]) -> None:
        self._file.write_table(arrow_table(rows, self._schema), row_group_size=_GROUP_ROWS)


def arrow_schema(stream: TableStream) -> pa.Schema:
    """The columns of a table as Parquet has them."""
    return pa.schema([(name, _KINDS[kind]) for name, kind in zip(stream.names, stream.kinds, strict=True)])


def arrow_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """One or more rows as columns."""
    columns = [
        pa.array(column, pa.int64()).cast(_TIME) if field.type == _TIME else pa.array(column, field.type)
        for column, field in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.table(columns, schema=schema)


def iso_times(micros: Sequence[int]) -> list[str]:
    """ISO 8601 in UTC with its offset; a fraction only where there is one."""
    at = np.array(micros, np.int64)
    whole = at % 1_000_000 == 0
    texts = np.datetime_as_string(at.astype("M8[us]"), unit="s").tolist()
    if not whole.all():
        fine = np.datetime_as_string(at.astype("M8[us]"), unit="us").tolist()
        texts = [text if is_whole else exact for text, exact, is_whole in zip(texts, fine, whole.tolist(), strict=True)]
    return [text + "+00:00" for text in texts]
