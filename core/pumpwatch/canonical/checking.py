"""Checks a block of a measured table column by column; only what looks wrong is read again row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pumpwatch.canonical.blocks import Block
from pumpwatch.canonical.measured import TEXT_LIMIT, WHOLE_LIMIT, MeasuredColumn, MeasuredTable, as_json
from pumpwatch.historian import Plain, RecordBlock
from pumpwatch.ledger.canonical import FIRST_YEAR, LAST_YEAR, check_text
from pumpwatch.ledger.files import FileRow
from pumpwatch.ledger.parquet import as_texts
from pumpwatch.model import to_us

Bools: TypeAlias = NDArray[np.bool_]

_FIRST_US: Final = to_us(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC))
_LAST_US: Final = to_us(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)) - 1
_TIME: Final = pa.timestamp("us", "UTC")


@dataclass(slots=True)
class Refusal:
    """A row that may not be: the row, and column and reason of everything wrong with it."""

    row: FileRow
    wrong: list[tuple[str, str]]


@dataclass(slots=True)
class Checked:
    """A block as the store wants it."""

    records: RecordBlock
    numbers: list[int]
    """Of each record, which row of the file's block it was."""
    refused: list[Refusal] = field(default_factory=list)


class Checker:
    """Checks blocks of one file."""

    def __init__(self, table: MeasuredTable, header: Sequence[str | None], homes: Mapping[str, str]) -> None:
        """``header`` has None for a column that is passed over; ``homes`` the station of every id that may be.

        The cells of a column without a name must be empty.
        """
        self.table = table
        self._header = header
        self._homes = homes
        self._json: dict[tuple[str | None, ...], str | None] = {}

    def check(self, block: Block) -> Checked:
        """The good rows as records, the others with their reasons."""
        n = len(block)
        suspicious = np.zeros(n, np.bool_)
        columns = {name: column for name, column in zip(self._header, block.columns, strict=True) if name}
        values: dict[str, list[Any]] = {}
        times: dict[str, NDArray[np.int64]] = {}
        stations: list[str] = [""] * n
        for column in self.table.columns:
            cells = columns.pop(column.name, None)
            if cells is None:
                continue
            if column.form in ("number", "whole"):
                numbers, bad = _numbers(column, cells)
                values[column.field] = numbers.tolist()
            elif column.form == "time":
                times[column.field], bad = _times(cells)
                values[column.field] = times[column.field].tolist()
            else:
                words, codes, bad = self._words(column, cells)
                values[column.field] = words[codes].tolist()
                if column.field == self.table.refers:
                    at = np.array([self._homes.get(w, "") for w in words.tolist()], object)
                    stations = at[codes].tolist()
            suspicious |= bad
        if "start" in times:
            suspicious |= times["start"] > times["end"]
        for name, nameless in zip(self._header, block.columns, strict=True):
            if name == "":
                cells_said, codes = _distinct(nameless)
                suspicious |= np.array([bool(cell) for cell in cells_said], np.bool_)[codes]
        attributes, bad = self._attributes(columns, n)
        suspicious |= bad
        if attributes is not None:
            values["attributes"] = attributes
        return self._sorted_out(block, values, stations, suspicious)

    def _sorted_out(
        self, block: Block, values: dict[str, list[Any]], stations: list[str], suspicious: Bools
    ) -> Checked:
        """Read suspicious rows singly: some are right after all, written in a way the fast reading does not know."""
        refused = [Refusal(row, [("", row.error)]) for row in block.unreadable]
        dropped: set[int] = set()
        for number in np.flatnonzero(suspicious).tolist():
            row = block.row(number)
            if not any(row.cells):
                dropped.add(number)
                continue
            cells = {name: cell for name, cell in zip(self._header, row.cells, strict=True) if name}
            known, wrong = self.table.read(cells, self._homes)
            own = {column.name for column in self.table.columns}
            extra = {name: cell for name, cell in cells.items() if name not in own}
            wrong += [(name, reason) for name, cell in extra.items() if (reason := _bad_text(cell))]
            if any(cell for name, cell in zip(self._header, row.cells, strict=True) if name == ""):
                wrong.append(("", "a cell stands in a column without a name"))
            if wrong:
                refused.append(Refusal(row, wrong))
                dropped.add(number)
                continue
            stations[number] = self._homes[str(known[self.table.refers])]
            for name, column in values.items():
                if name == "attributes":
                    column[number] = as_json({k: v for k, v in extra.items() if v}) or None
                else:
                    column[number] = known.get(name)
        numbers = list(range(len(block)))
        if dropped:
            numbers = [i for i in numbers if i not in dropped]
            stations = [stations[i] for i in numbers]
            values = {name: [column[i] for i in numbers] for name, column in values.items()}
        refused.sort(key=lambda r: r.row.line)
        return Checked(RecordBlock(self.table.kind, stations, values), numbers, refused)

    # ------------------------------------------------------------ columns of words

    def _words(self, column: MeasuredColumn, cells: Any) -> tuple[NDArray[np.object_], NDArray[np.int64], Bools]:  # noqa: ANN401
        """Distinct plain values, which of them each row has, and which rows look wrong."""
        words, codes = _distinct(cells)
        values: list[Plain] = []
        bad = []
        for word in words:
            value: Plain = None
            wrong = column.required
            if word:
                try:
                    value = column.read(word)
                    wrong = bool(_bad_text(word)) or (column.field == self.table.refers and value not in self._homes)
                except ValueError:
                    wrong = True
            values.append(value or None)
            bad.append(wrong)
        kept = np.empty(len(values), object)
        kept[:] = values
        return kept, codes, np.array(bad, np.bool_)[codes]

    def _attributes(self, columns: Mapping[str, Any], n: int) -> tuple[list[str | None] | None, Bools]:
        """The unknown columns as the JSON the historian keeps; None when there is nothing in any."""
        bad = np.zeros(n, np.bool_)
        given: dict[str, list[str | None]] = {}
        for name, cells in columns.items():
            words, codes = _distinct(cells)
            bad |= np.array([bool(_bad_text(word)) for word in words], np.bool_)[codes]
            if any(words):
                kept = np.empty(len(words), object)
                kept[:] = [word or None for word in words]
                given[name] = kept[codes].tolist()
        if not given:
            return None, bad
        names = list(given)
        self._json.clear()
        known = self._json
        out: list[str | None] = []
        for row in zip(*given.values(), strict=True):
            if row not in known:
                known[row] = as_json({k: v for k, v in zip(names, row, strict=True) if v}) or None
            out.append(known[row])
        return out, bad


def _bad_text(cell: str) -> str:
    return check_text(cell) or (f"is longer than {TEXT_LIMIT} characters" if len(cell) > TEXT_LIMIT else "")


# ---------------------------------------------------------------- fast reading; it may call right things suspicious


def _numbers(column: MeasuredColumn, cells: Any) -> tuple[NDArray[np.float64], Bools]:  # noqa: ANN401
    """Numbers with NaN for nothing, and which rows look wrong. Whole ones stay exact up to 2**53."""
    if not (pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type)):
        cells, lost = _cast(_trimmed(cells), pa.float64())
    else:
        lost = np.zeros(len(cells), np.bool_)
        whole = pa.types.is_integer(cells.type)
        if whole and len(cells) and _beyond_exact(cells):
            return np.full(len(cells), np.nan), np.ones(len(cells), np.bool_)
        cells = cells.cast(pa.float64())
    absent = cells.is_null().to_numpy(zero_copy_only=False)
    values = cells.to_numpy(zero_copy_only=False).astype(np.float64)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(values) & (values >= column.low) & (values <= column.high)
        if column.form == "whole":
            good &= (values == np.floor(values)) & (np.abs(values) <= WHOLE_LIMIT)
    bad = lost | (absent & column.required) | (~absent & ~good)
    return values, bad


def _beyond_exact(cells: Any) -> bool:  # noqa: ANN401
    ends = pc.min_max(cells).as_py()
    return any(end is not None and abs(end) > WHOLE_LIMIT for end in ends.values())


def _times(cells: Any) -> tuple[NDArray[np.int64], Bools]:  # noqa: ANN401
    """Microseconds since 1970 UTC, and which rows look wrong."""
    lost = np.zeros(len(cells), np.bool_)
    if pa.types.is_timestamp(cells.type):
        cells = cells.cast(_TIME, safe=False)
    else:
        cells, lost = _cast(_trimmed(cells), _TIME)
    absent = cells.is_null().to_numpy(zero_copy_only=False)
    micros = pc.fill_null(cells.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return micros, lost | absent | (micros < _FIRST_US) | (micros > _LAST_US)


def _trimmed(cells: Any) -> Any:  # noqa: ANN401
    """Texts without blanks at their ends, null for nothing."""
    if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
        cells = pa.array(as_texts(cells), pa.string())
    trimmed = pc.utf8_trim_whitespace(cells)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)


def _cast(cells: Any, kind: Any) -> tuple[Any, Bools]:  # noqa: ANN401
    """Cells in another type, and which of them could not be: those are null."""
    lost = np.zeros(len(cells), np.bool_)
    try:
        return cells.cast(kind), lost
    except pa.ArrowInvalid:
        pass
    parts: list[Any] = []
    ranges = [(0, len(cells))]
    while ranges:
        start, end = ranges.pop()
        try:
            parts.append(cells.slice(start, end - start).cast(kind))
        except pa.ArrowInvalid:
            if end - start == 1:
                lost[start] = True
                parts.append(pa.nulls(1, kind))
            else:
                middle = (start + end) // 2
                ranges += [(middle, end), (start, middle)]
    return pa.concat_arrays(parts), lost


def _distinct(cells: Any) -> tuple[list[str], NDArray[np.int64]]:  # noqa: ANN401
    """Distinct texts, blanks at their ends taken off and nothing as an empty one, and which each row has."""
    if not pa.types.is_dictionary(cells.type):
        if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
            cells = pa.array(as_texts(cells), pa.string())
        cells = cells.dictionary_encode()
    words = [(word or "").strip() for word in as_texts(cells.dictionary)]
    codes = pc.fill_null(cells.indices.cast(pa.int64()), len(words)).to_numpy(zero_copy_only=False)
    return [*words, ""], codes
