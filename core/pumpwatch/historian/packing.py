"""Numbers by the million out of SQLite: a copy in memory is read page by page, and no number is ever Python's.

The copy is laid out as section 1.6 and 2 of SQLite's file format say, which is promised to stay as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PAGE: Final = 65_536
_LEAF: Final = 13
_NOTHING, _REAL, _ZERO, _ONE = 0, 7, 8, 9
"""Kinds of values; 1 to 6 are whole numbers of so many bytes:"""
_BYTES: Final = np.array([0, 1, 2, 3, 4, 6, 8, 8, 0, 0])
_SHIFT: Final = np.minimum(64 - 8 * _BYTES, 63)
"""How far the eight bytes at a whole number are from being it."""
_MOST_COLUMNS: Final = 100
"""So that lengths stay what is read of them here."""


def numbers(
    file: sqlite3.Connection, asked: Sequence[tuple[str, Sequence[object]]], columns: int
) -> list[NDArray[np.float64]]:
    """(n, columns) what each ``SELECT`` of numbers gives, in its order; NaN for NULL and for infinity.

    ``asked`` are the questions and what is given to them; all at once, for a copy costs as much as hundreds of rows.
    """
    if hasattr(file, "serialize") and columns <= _MOST_COLUMNS:
        with _copy(file) as name:
            file.execute(f"CREATE TABLE {name}.copy ({', '.join(f'c{i}' for i in range(columns))})")
            counts = [file.execute(f"INSERT INTO {name}.copy {sql}", given).rowcount for sql, given in asked]
            found = _unpacked(file.serialize(name=name), columns)
        if found is not None and len(found) == sum(counts):
            return [found[a:b] for a, b in pairwise(accumulate(counts, initial=0))]
    return [_fetched(file.execute(sql, given), columns) for sql, given in asked]


def _fetched(rows: Iterable[Sequence[object]], columns: int) -> NDArray[np.float64]:
    """(n, columns) the rows as Python has them."""
    flat = np.fromiter((np.nan if value is None else value for value in chain.from_iterable(rows)), np.float64)
    flat[np.isinf(flat)] = np.nan
    return flat.reshape(-1, columns)


@contextmanager
def _copy(file: sqlite3.Connection) -> Iterator[str]:
    """A place in memory for one table, new each time so that no page of it was used before."""
    file.execute("ATTACH ':memory:' AS packing")
    try:
        file.execute(f"PRAGMA packing.page_size = {_PAGE}")
        file.execute("PRAGMA packing.journal_mode = OFF")
        yield "packing"
    finally:
        file.execute("DETACH packing")


def _unpacked(image: bytes, columns: int) -> NDArray[np.float64] | None:
    """(n, columns) the rows of the one table; None when it is laid out otherwise."""
    data = np.frombuffer(image + bytes(8), np.uint8)
    cells = _cells(data, len(image))
    at = cells + 1 + (data[cells] >= 128)  # the length of the row, one byte or two
    more = np.ones(len(at), bool)
    while more.any():  # its number
        more &= data[at] >= 128
        at += more
    at += 1
    if (data[at] != columns + 1).any():
        return None
    kinds, at = at + 1, at + 1 + columns
    words = np.ndarray((len(image) + 1,), ">u8", data, strides=(1,))  # the eight bytes that begin at each byte
    found = np.empty((columns, len(at)))
    for column, values in enumerate(found):
        kind = data[kinds + column]
        if kind.max(initial=0) > _ONE:
            return None
        _fill(values, kind, words[at].astype(np.uint64))
        at += _BYTES[kind]
    return found.T


def _fill(values: NDArray[np.float64], kind: NDArray[np.uint8], raw: NDArray[np.uint64]) -> None:
    """(n,) values of these kinds, out of the eight bytes where each begins."""
    least, most = kind.min(initial=_ONE), kind.max(initial=0)
    if least == most == _REAL:
        values[:] = raw.view(np.float64)
    else:
        values[:] = raw.view(np.int64) >> _SHIFT[kind]
        np.copyto(values, raw.view(np.float64), where=kind == _REAL)
        if least == _NOTHING:
            values[kind == _NOTHING] = np.nan
        if most >= _ZERO:
            values[kind == _ZERO] = 0.0
            values[kind == _ONE] = 1.0
    values[np.isinf(values)] = np.nan


def _cells(data: NDArray[np.uint8], end: int) -> NDArray[np.int64]:
    """(n,) where the rows begin, in their order; the first page holds the schema."""
    leaves: list[tuple[int, NDArray[np.int64]]] = []
    for page in range(_PAGE, end, _PAGE):
        count = int(data[page + 3]) * 256 + int(data[page + 4])
        if data[page] == _LEAF and count:
            places = data[page + 8 : page + 8 + 2 * count].view(">u2").astype(np.int64) + page
            leaves.append((_number(data, int(places[0])), places))
    ordered = [places for _, places in sorted(leaves, key=lambda leaf: leaf[0])]
    return np.concatenate(ordered) if ordered else np.zeros(0, np.int64)


def _number(data: NDArray[np.uint8], cell: int) -> int:
    """The number of the row that begins here."""
    at, number = cell + 1 + (data[cell] >= 128), 0
    while data[at] >= 128:
        number = (number << 7) | (int(data[at]) & 127)
        at += 1
    return (number << 7) | int(data[at])
