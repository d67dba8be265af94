"""A day's samples rolled up by minute and hour, and these as checked bytes and back; no input or output."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from pumpwatch.errors import BadReply
from pumpwatch.historian.answers import newest_of
from pumpwatch.historian.segments import DAY_US, numbers
from pumpwatch.model import Quality, SampleBatch, Summaries

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEAD: Final = struct.Struct("<IIHB7s")
"""CRC-32 of what follows it, length before compression, rows, decimals, bytes of a number of each column."""
_FLOATS: Final = 255
"""In place of the decimals: numbers of any kind."""
_DECIMALS: Final = 3
COLUMNS: Final = ("start_us", "count", "good", "low", "high", "mean", "last")
"""Of ``Summaries``."""
_FIRST_US, _LAST_US = -(2**63), 2**63 - 1
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


def rolled(table: pa.Table, day: int) -> Iterator[tuple[str, Level, bytes]]:
    """The roll-ups of each path of an arranged table of one day."""
    path = table["path"].combine_chunks()
    names = path.dictionary
    minutes = _each(table, path.indices.to_numpy()).by(Level.MINUTE)
    for level, rows in ((Level.MINUTE, minutes), (Level.HOUR, minutes.by(Level.HOUR))):
        first = 0
        for last in (np.flatnonzero(np.append(rows.code[1:] != rows.code[:-1], True)) + 1).tolist():
            yield names[int(rows.code[first])].as_py(), level, _packed(rows.part(first, last), day, level)
            first = last


def amended(known: Summaries, early: SampleBatch, late: SampleBatch, level: Level) -> Summaries:
    """Buckets of a day of which samples are gone, with the samples of the tag that are there.

    ``early`` is what is left of that from which the buckets were reckoned, ``late`` what came since. A bucket of which
    all is left is reckoned anew; to others what came late is added, unless it tells the very same bucket again.
    """
    whole = newest_of([early, late], _FIRST_US, _LAST_US, len(early) + len(late))
    anew, left, more = (Summaries.of(known.path, those, 0, level.us) for those in (whole, early, late))
    is_anew = _in(left, anew.start_us, left.count) >= _in(known, anew.start_us, known.count)
    kept = ~np.isin(known.start_us, anew.start_us[is_anew])
    is_added = ~np.isin(more.start_us, anew.start_us[is_anew]) & ~_is_told_again(known, more)
    parts = (_some(known, kept), _some(anew, is_anew), _some(more, is_added))
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    order = np.argsort(columns["start_us"], kind="stable")  # the later write has the last word of a bucket
    one = Summaries(known.path, **{name: column[order] for name, column in columns.items()})
    return wider(one, level)


def wider(known: Summaries, level: Level) -> Summaries:
    """The same in buckets of this level."""
    return Summaries.joined(known.path, (known,), 0, level.us)


def packed(known: Summaries, day: int, level: Level) -> bytes:
    """A day's roll-ups of one path as checked bytes; see ``unpacked``."""
    return _packed(_rows(known), day, level)


def _in(those: Summaries, start_us: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) the column's values in the buckets that begin so; 0 where there is none."""
    if not len(those):
        return np.zeros(len(start_us), np.int64)
    place = np.minimum(np.searchsorted(those.start_us, start_us), len(those) - 1)
    return np.where(those.start_us[place] == start_us, column[place], 0)


def _is_told_again(known: Summaries, more: Summaries) -> NDArray[np.bool_]:
    """(n,) whether each bucket of ``more`` is as it is known."""
    if not len(known):
        return np.zeros(len(more), np.bool_)
    place = np.minimum(np.searchsorted(known.start_us, more.start_us), len(known) - 1)
    same = np.ones(len(more), np.bool_)
    for name in COLUMNS:
        same &= np.isclose(getattr(known, name)[place], getattr(more, name), 1e-12, 0.0, equal_nan=True)
    return same


def _some(those: Summaries, rows: NDArray[np.bool_]) -> Summaries:
    return Summaries(those.path, **{name: getattr(those, name)[rows] for name in COLUMNS})


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
