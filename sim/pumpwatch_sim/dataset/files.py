"""One file of a table, written piece by piece: Parquet or CSV."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pumpwatch_sim.dataset.tables import SCHEMAS

if TYPE_CHECKING:
    from typing import BinaryIO

ROW_GROUP = 1 << 17


class Format(StrEnum):
    """What the tables are written as."""

    PARQUET = "parquet"
    CSV = "csv"


class TableFile(ABC):
    """A table growing in a file."""

    rows: int = 0

    def write(self, table: pa.Table) -> None:
        """Append these rows."""
        self.rows += table.num_rows
        self._write(table)

    @abstractmethod
    def _write(self, table: pa.Table) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Finish the file."""


class ParquetFile(TableFile):
    """Zstandard-compressed; what is written at once begins a row group."""

    def __init__(self, folder: Path, name: str) -> None:
        """Create ``NAME.parquet``."""
        self._writer = pq.ParquetWriter(folder / f"{name}.parquet", SCHEMAS[name], compression="zstd")

    def _write(self, table: pa.Table) -> None:
        if table.num_rows:
            self._writer.write_table(table, row_group_size=ROW_GROUP)

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


class CsvFile(TableFile):
    """UTF-8 with a header; times as ISO 8601 with offset, null as nothing."""

    def __init__(self, folder: Path, name: str) -> None:
        """Create ``NAME.csv``."""
        self._file: BinaryIO = (folder / f"{name}.csv").open("wb")
        self._file.write((",".join(SCHEMAS[name].names) + "\n").encode())

    def _write(self, table: pa.Table) -> None:
        self._file.write(csv_rows(table))

    def append(self, encoded: Path, rows: int) -> None:
        """Append rows that :func:`csv_rows` has encoded elsewhere."""
        self.rows += rows
        with encoded.open("rb") as source:
            while block := source.read(1 << 20):
                self._file.write(block)

    def close(self) -> None:
        """Flush."""
        self._file.close()


def csv_rows(table: pa.Table) -> bytes:
    """A table as lines of CSV without a header."""
    whole = table.combine_chunks()  # pyarrow 26 writes garbage for a table of which some chunk is empty
    columns = [_text_times(column) if pa.types.is_timestamp(column.type) else column for column in whole.columns]
    sink = pa.BufferOutputStream()
    plain = pa.table(columns, names=table.column_names)
    pa_csv.write_csv(plain, sink, pa_csv.WriteOptions(include_header=False, quoting_style=_quoting(plain)))
    return bytes(sink.getvalue())


def _text_times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """``2026-06-01T00:00:00+00:00``, with microseconds only where there are some."""
    text = pc.replace_substring(pc.cast(column, pa.string()), " ", "T")
    return pc.replace_substring(pc.replace_substring(text, ".000000", ""), "Z", "+00:00")


def _quoting(table: pa.Table) -> str:
    """Quotes only where a text of this table needs them: most are ids and words."""
    for column in table.columns:
        if pa.types.is_string(column.type) and pc.any(pc.match_substring_regex(column, '[",\r\n]')).as_py():
            return "needed"
    return "none"
