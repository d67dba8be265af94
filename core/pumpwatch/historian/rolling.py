"""A day's samples rolled up by minute and hour, and these as checked bytes and back; no input or output."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from pumpwatch.errors import BadReply
from pumpwatch.historian.segments import DAY_US, numbers
from pumpwatch.model import Quality, Summaries

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEAD: Final = struct.Struct("<IIHB7s")
"""CRC-32 of what follows it, length before compression, rows, decimals, bytes of a number of each column."""
_FLOATS: Final = 255
"""In place of the decimals: numbers of any kind."""
_DECIMALS: Final = 3
_LARGEST: Final = 2.0**40
"""Of a number in thousandths, so that its sum over a day is exact."""


class Level(IntEnum):
    """How wide a roll-up's buckets are, in minutes."""

    MINUTE = 1
    HOUR = 60

    @property
    def us(self) -> int:
        """Microseconds."""
        return self * 60_000_000


@dataclass(frozen=True, slots=True)
class _Rows:
    """Buckets of several paths, one after the other; columns of equal length n."""

    code: NDArray[np.int32]
    start_us: NDArray[np.int64]
    count: NDArray[np.int64]
    good: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    last: NDArray[np.float64]
    total: NDArray[np.float64]
    thousandths: NDArray[np.int64]
    """The total, where ``exact``."""
    exact: NDArray[np.bool_]
    """Whether all numbers are whole thousandths."""

    def by(self, level: Level) -> _Rows:
        """The same in wider buckets."""
        bucket = self.start_us // level.us
        first = np.flatnonzero(np.append(True, (bucket[1:] != bucket[:-1]) | (self.code[1:] != self.code[:-1])))
        good = np.add.reduceat(self.good, first)
        newest = np.maximum.reduceat(np.where(self.good > 0, np.arange(len(bucket)), 0), first)
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.add.reduceat(self.total, first)
        return _Rows(
            self.code[first],
            bucket[first] * level.us,
            np.add.reduceat(self.count, first),
            good,
            np.fmin.reduceat(self.low, first),
            np.fmax.reduceat(self.high, first),
            np.where(good > 0, self.last[newest], np.nan),
            total,
            np.add.reduceat(self.thousandths, first),
            np.logical_and.reduceat(self.exact, first),
        )

    def part(self, first: int, last: int) -> _Rows:
        """Some rows."""
        return _Rows(*(getattr(self, f.name)[first:last] for f in fields(self)))


def rolled(
    table: pa.Table, day: int, known: Callable[[str, Level], Summaries | None] = lambda path, level: None
) -> Iterator[tuple[str, Level, bytes]]:
    """The roll-ups of each path of an arranged table of one day; together with what is ``known``, see ``fuller``."""
    path = table["path"].combine_chunks()
    names = path.dictionary
    minutes = _each(table, path.indices.to_numpy()).by(Level.MINUTE)
    for level, rows in ((Level.MINUTE, minutes), (Level.HOUR, minutes.by(Level.HOUR))):
        first = 0
        for last in (np.flatnonzero(np.append(rows.code[1:] != rows.code[:-1], True)) + 1).tolist():
            path, part = names[int(rows.code[first])].as_py(), rows.part(first, last)
            before = known(path, level)
            yield path, level, _packed(part if before is None else _fuller(_rows(before), part), day, level)
            first = last


def fuller(known: Summaries, more: Summaries) -> Summaries:
    """Bucket by bucket, equally wide, whoever knows of more samples; where these are as many, ``more``."""
    names = [f.name for f in fields(Summaries) if f.name != "path"]
    columns = {name: np.concatenate([getattr(known, name), getattr(more, name)]) for name in names}
    order = _chosen(columns["start_us"], columns["count"])
    return Summaries(known.path, **{name: column[order] for name, column in columns.items()})


def _fuller(known: _Rows, more: _Rows) -> _Rows:
    columns = [np.concatenate([getattr(known, f.name), getattr(more, f.name)]) for f in fields(_Rows)]
    rows = _Rows(*columns)
    order = _chosen(rows.start_us, rows.count)
    return _Rows(*(column[order] for column in columns))


def _chosen(start_us: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.intp]:
    order = np.lexsort((count, start_us))
    start_us = start_us[order]
    chosen: NDArray[np.intp] = order[np.append(start_us[1:] != start_us[:-1], True)]
    return chosen


def _rows(known: Summaries) -> _Rows:
    """Buckets that were unpacked, as they were before."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.where(known.good > 0, known.mean * known.good, 0.0)
    thousandths, exact = _in_thousandths(total)
    for column in (known.low, known.high, known.last):
        exact &= _in_thousandths(np.where(known.good > 0, column, 0.0))[1]
    return _Rows(
        np.zeros(len(known), np.int32),
        known.start_us,
        known.count,
        known.good,
        known.low,
        known.high,
        known.last,
        total,
        thousandths,
        exact,
    )


def _in_thousandths(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Numbers as whole thousandths, and whether they are such; 0 where not."""
    with np.errstate(over="ignore"):
        thousandths = np.rint(values * 10**_DECIMALS)
    exact = (np.abs(thousandths) < _LARGEST) & (thousandths / 10**_DECIMALS == values)
    return np.where(exact, thousandths, 0).astype(np.int64), exact


def unpacked(blob: bytes, path: str, day: int, level: Level) -> Summaries:
    """A day's roll-ups of one path. Raises ``BadReply`` when a single bit is not as it was."""
    if len(blob) < _HEAD.size or zlib.crc32(memoryview(blob)[4:]) != _HEAD.unpack_from(blob)[0]:
        raise BadReply(f"the roll-up of {path} for day {day} is damaged")
    _, length, n, decimals, widths = _HEAD.unpack_from(blob)
    raw = pa.Codec("zstd").decompress(memoryview(blob)[_HEAD.size :], length, asbytes=True)
    columns: list[NDArray[np.uint8]] = []
    at = 0
    for width in widths:
        shuffled = np.frombuffer(raw, np.uint8, n * width, at).reshape(width, n)
        columns.append(np.ascontiguousarray(shuffled.T))
        at += n * width
    slots, more, bad = map(_whole, columns[:3])
    good = more + 1 - bad
    if decimals == _FLOATS:
        low, high, last, total = (c.view(np.float64)[:, 0] for c in columns[3:])
    else:
        steps, above, last_above, total_above = map(_whole, columns[3:])
        lows = np.cumsum((steps >> 1) ^ -(steps & 1))
        low, high, last, total = (
            np.where(good > 0, c, np.nan) / 10**decimals
            for c in (lows, lows + above, lows + last_above, lows * good + total_above)
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / good
    return Summaries(path, np.cumsum(slots) * level.us + day * DAY_US, more + 1, good, low, high, mean, last)


def _whole(column: NDArray[np.uint8]) -> NDArray[np.int64]:
    return column.view(f"u{column.shape[1]}")[:, 0].astype(np.int64)


def _each(table: pa.Table, codes: NDArray[np.int32]) -> _Rows:
    """Every sample as a bucket of its own."""
    values = np.asarray(table["value"].to_numpy(), np.float64)
    good = np.isfinite(values) & (table["quality"].to_numpy() < Quality.BAD)
    known = np.where(good, values, 0.0)
    thousandths, exact = _in_thousandths(known)
    values = np.where(good, values, np.nan)
    return _Rows(
        codes,
        numbers(table["time"]),
        np.ones(len(codes), np.int64),
        good.astype(np.int64),
        values,
        values,
        values,
        known,
        thousandths,
        exact,
    )


def _packed(rows: _Rows, day: int, level: Level) -> bytes:
    slots = (rows.start_us - day * DAY_US) // level.us
    columns: list[NDArray[np.int64] | NDArray[np.float64]] = [
        np.diff(slots, prepend=0),
        rows.count - 1,
        rows.count - rows.good,
    ]
    decimals = _FLOATS
    if rows.exact.all():
        decimals = _DECIMALS
        known = rows.good > 0
        whole = np.stack(
            [
                np.rint(np.where(known, c, 0.0) * 10**_DECIMALS).astype(np.int64)
                for c in (rows.low, rows.high, rows.last)
            ]
            + [rows.thousandths]
        )
        while decimals and not (whole % 10).any():
            whole, decimals = whole // 10, decimals - 1
        low, high, last, total = whole
        steps = np.diff(low, prepend=0)
        columns += [(steps << 1) ^ (steps >> 63), high - low, last - low, total - low * rows.good]
    else:
        columns += [rows.low, rows.high, rows.last, rows.total]
    narrow = [c if c.dtype == np.float64 else c.astype(np.min_scalar_type(c.max())) for c in columns]
    raw = b"".join(c.view(np.uint8).reshape(len(c), -1).T.tobytes() for c in narrow)
    packed: bytes = pa.Codec("zstd", compression_level=3).compress(raw, asbytes=True)
    head = _HEAD.pack(0, len(raw), len(slots), decimals, bytes(c.itemsize for c in narrow))
    body = head[4:] + packed
    return struct.pack("<I", zlib.crc32(body)) + body
