"""Reads a canonical Parquet file as rows of text, as if it were CSV: one way of checking for all formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pumpwatch.ledger.files import FileRow, UnreadableFile

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

GROUP_LIMIT: Final = 2 * 1024**3
"""Bytes one row group may have; more of it would have to be in memory at once."""
_BATCH_ROWS: Final = 4_096


class ParquetFile:
    """An open Parquet file. Raises ``UnreadableFile`` for what is none, is damaged, or holds what no table may."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with meaning():
            self._file = pq.ParquetFile(path, memory_map=False)
            meta = self._file.metadata
            self.size = int(meta.num_rows)
            groups = [meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)]
        self.read_so_far = 0
        if max(groups, default=0) > GROUP_LIMIT:
            self._file.close()
            raise UnreadableFile(f"one of its row groups has {max(groups):,} bytes; {GROUP_LIMIT:,} may be")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def header(self) -> tuple[str, ...]:
        """The columns' names. Raises ``UnreadableFile`` naming a column whose type no table may hold."""
        with meaning():
            schema = self._file.schema_arrow
        for field in schema:
            if reason := unusable(field.type):
                raise UnreadableFile(f"the column {field.name} {reason}")
        return tuple(schema.names)

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Its columns, some rows at a time."""
        with meaning():
            for batch in self._file.iter_batches(batch_size=rows):
                batch.validate(full=True)  # else text that is not UTF-8 would be found out only where it is used
                self.read_so_far += batch.num_rows
                yield batch

    def rows(self) -> Iterator[FileRow]:
        """Every row as text, the header first."""
        yield FileRow(1, tuple(name.strip() for name in self.header))
        number = 0
        for batch in self.batches(_BATCH_ROWS):
            columns = [[cell or "" for cell in as_texts(column)] for column in batch.columns]
            for cells in zip(*columns, strict=True):
                number += 1
                yield FileRow(number, tuple(cell.strip() for cell in cells))


@contextmanager
def meaning() -> Iterator[None]:
    """Arrow's errors as one: the file cannot be read."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())[:200]
        raise UnreadableFile(f"is not Parquet, or damaged ({words}); write the file anew") from error


def unusable(kind: Any) -> str:  # noqa: ANN401 - pyarrow has no types
    """Why a column of this type cannot be in a table; empty when it can."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind):
        return "" if kind.tz else "holds times without offset; give them a time zone, for example UTC"
    plain = (
        pa.types.is_null,
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_date,
        pa.types.is_string,
        pa.types.is_large_string,
    )
    return "" if any(test(kind) for test in plain) else f"is {kind}, which no table may hold; write it as text"


def as_texts(column: Any) -> list[str | None]:  # noqa: ANN401 - pyarrow has no types
    """Cells as CSV would have them; None where there is nothing."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_timestamp(kind):
        micros = column.cast(pa.timestamp("us", "UTC"), safe=False).to_numpy(zero_copy_only=False)
        texts = np.datetime_as_string(micros.astype("M8[us]"), unit="us").tolist()
        return [None if text == "NaT" else text + "+00:00" for text in texts]
    if pa.types.is_date(kind):
        days = column.cast(pa.date32()).to_numpy(zero_copy_only=False).astype("M8[D]")
        return [None if text == "NaT" else text for text in np.datetime_as_string(days).tolist()]
    cells = column.to_pylist()
    if pa.types.is_boolean(kind):
        return [None if cell is None else "true" if cell else "false" for cell in cells]
    return [None if cell is None else cell if isinstance(cell, str) else str(cell) for cell in cells]
