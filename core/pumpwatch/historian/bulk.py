"""Records by the hundred thousand: what imports hand to a store in columns, and exports take from it in pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pumpwatch.contracts import Store
from pumpwatch.historian.rows import SHAPES, Form, Plain, Shape, mended_json
from pumpwatch.model import Batch, Record, SampleBatch, Transaction, from_us, to_us

_PAGE: Final = 20_000
_HOUR_US: Final = 3_600_000_000
_LONG_AGO_US: Final = to_us(datetime(1970, 1, 1, tzinfo=UTC))
_FAR_US: Final = to_us(datetime(2100, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class RecordBlock:
    """Records of one kind as columns of equal length: plain values as ``Shape.row`` gives them."""

    kind: type[Record]
    stations: Sequence[str]
    columns: Mapping[str, Sequence[Plain]]
    """By field of the record; a field that is not there is empty in all rows. NaN counts as empty."""

    def __len__(self) -> int:
        return len(self.stations)


@dataclass(frozen=True, slots=True)
class Difference:
    """A record that was reported before, and otherwise; the first report stands."""

    number: int
    """Its row in the block."""
    field: str
    first: Plain


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a block; the rest of its rows was there already, word for word."""

    added: int
    filled: int
    """Known records to which something was added that the first report had left out."""
    differing: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """Fields of records as numbers."""

    series: Mapping[str, NDArray[np.float64]]
    """(n, fields) by subject, each in its order; NaN for nothing, whole numbers exact up to 2⁵³."""
    words: Mapping[str, tuple[str, ...]]
    """Of each field that holds words: those its numbers count in; −1 is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Touched:
    """Marks of a station's records, hour by hour: where records came, changed or went, the mark is another."""

    file: int
    """Mark of the store itself."""
    hour: NDArray[np.int64]
    """(n,) hours since 1970 UTC in which there ever were records, in order."""
    stamp: NDArray[np.int64]
    """(n,)"""

    def between(self, start_us: int, end_us: int) -> bytes:
        """The same bytes only as long as no record of start <= time < end has come, changed or gone."""
        mine = slice(*self.hour.searchsorted(np.array([start_us // _HOUR_US, -(-end_us // _HOUR_US)])).tolist())
        told = (np.array([self.file], np.int64), self.hour[mine], self.stamp[mine])
        return hashlib.blake2b(b"".join(each.tobytes() for each in told), digest_size=16).digest()


@runtime_checkable
class BulkRecords(Protocol):
    """A store that takes and gives records in bulk. One that does not is served record by record."""

    async def add_records(self, block: RecordBlock) -> Taken:
        """Keep a block for good. Raises ``NotReachable`` and ``Refused`` as ``Store.write`` does."""

    def pages(self, kind: type[Record], start_us: int, end_us: int) -> AsyncIterator[Sequence[tuple[Plain, ...]]]:
        """All records of a kind with start <= time < end as rows, in the order of ``Shape.order``."""

    async def bounds(self, kind: type[Record]) -> tuple[int, int] | None:
        """The first and the last time of a kind; None when there is none."""

    async def of_station(
        self, kind: type[Record], station_id: str, names: Sequence[str], start_us: int, end_us: int
    ) -> Mapping[str, Sequence[tuple[Plain, ...]]]:
        """These fields of a station's records with start <= time < end, by subject, each series in its order."""

    async def numbers_of_station(
        self, kind: type[Record], station_id: str, names: Sequence[str], start_us: int, end_us: int
    ) -> Numbers:
        """The same as numbers, several times as fast."""

    async def attribute_names(self, kind: type[Record], start_us: int, end_us: int) -> set[str]:
        """Names of all attributes among those records."""


class Reader(Protocol):
    """Answers as ``BulkRecords`` does, but blocks: for processes that do nothing else."""

    def of_station(
        self, kind: type[Record], station_id: str, names: Sequence[str], start_us: int, end_us: int
    ) -> Mapping[str, Sequence[tuple[Plain, ...]]]:
        """See ``BulkRecords``. Raises ``NotReachable``."""

    def numbers_of_station(
        self, kind: type[Record], station_id: str, names: Sequence[str], start_us: int, end_us: int
    ) -> Numbers:
        """See ``BulkRecords``. Raises ``NotReachable``."""

    def touched(self, station_id: str) -> Touched:
        """Marks of what is stored by now. Raises ``NotReachable``."""


class Lent(Protocol):
    """Records that other processes may read for a while. It is pickled."""

    def opened(self) -> AbstractContextManager[Reader]:
        """Read in this process. Raises ``NotReachable``; the owner may still answer, and mend what is damaged."""


@runtime_checkable
class LendsRecords(Protocol):
    """A store whose records other processes can read by themselves; most cannot."""

    def lent(self) -> AbstractAsyncContextManager[Lent]:
        """Others may read what is stored by now, while the store goes on; they must have closed when this ends."""


async def add_block(store: Store, block: RecordBlock, arrived: datetime) -> Taken:
    """Keep a block in any store. One without the bulk door does not tell what it had: all counts as added."""
    if isinstance(store, BulkRecords):
        return await store.add_records(block)
    shape = SHAPES[block.kind]
    names = list(block.columns)
    by_station: dict[str, list[Record]] = {}
    for station, *values in zip(block.stations, *block.columns.values(), strict=True):
        named = {n: None if v != v else v for n, v in zip(names, values, strict=True)}  # noqa: PLR0124 - NaN
        by_station.setdefault(station, []).append(shape.from_named(named))
    await store.write([Batch(s, _nothing(s), tuple(those), arrived) for s, those in by_station.items()])
    return Taken(len(block), 0)


async def pages(
    store: Store, kind: type[Record], homes: Sequence[str], start_us: int, end_us: int
) -> AsyncIterator[Sequence[tuple[Plain, ...]]]:
    """All records of a kind with start <= time < end as rows, in the order of ``Shape.order``.

    ``homes`` are the subjects to ask for where the store has no bulk door; a kind that has none is asked for whole.
    """
    shape = SHAPES[kind]
    if isinstance(store, BulkRecords):
        async for page in store.pages(kind, start_us, end_us):
            yield page
        return
    asked: list[str | None] = [*sorted(homes)]
    for home in asked or [None]:
        found: dict[tuple[object, ...], tuple[Plain, ...]] = {}
        until = end_us
        while some := await _newest(store, shape, home, start_us, until):
            before = len(found)
            found |= {shape.identity(r): shape.row(r) for r in some}
            oldest = to_us(some[-1].at)
            if len(some) < _PAGE or (len(found) == before and oldest + 1 >= until):
                break
            until = oldest + 1  # others of that very moment may be on the next page
        place = {c.name: i for i, c in enumerate(shape.columns)}
        keys = [place[k] for k in shape.order]
        yield sorted(found.values(), key=lambda row: [(row[k] is not None, row[k]) for k in keys])


async def bounds(store: Store, kind: type[Record], homes: Sequence[str]) -> tuple[int, int] | None:
    """The first and the last time of a kind; ``homes`` as in ``pages``. None when there is none."""
    if isinstance(store, BulkRecords):
        return await store.bounds(kind)
    time = next(i for i, c in enumerate(SHAPES[kind].columns) if c.name == SHAPES[kind].time)
    ends = [int(str(row[time])) async for page in pages(store, kind, homes, _LONG_AGO_US, _FAR_US) for row in page]
    return (min(ends), max(ends)) if ends else None


async def of_station(
    store: Store,
    kind: type[Record],
    station_id: str,
    homes: Sequence[str],
    names: Sequence[str],
    start_us: int,
    end_us: int,
) -> Mapping[str, Sequence[tuple[Plain, ...]]]:
    """These fields of a station's records with start <= time < end, by subject, each series in its order.

    ``homes`` are the subjects to ask for where the store has no bulk door.
    """
    if isinstance(store, BulkRecords):
        return await store.of_station(kind, station_id, names, start_us, end_us)
    shape = SHAPES[kind]
    places = [next(i for i, c in enumerate(shape.columns) if c.name == name) for name in names]
    subject = next(i for i, c in enumerate(shape.columns) if c.name == shape.subject)
    found: dict[str, list[tuple[Plain, ...]]] = {}
    async for page in pages(store, kind, homes, start_us, end_us):
        for row in page:
            found.setdefault(str(row[subject]), []).append(tuple(row[i] for i in places))
    return found


async def numbers_of_station(
    store: Store,
    kind: type[Record],
    station_id: str,
    homes: Sequence[str],
    names: Sequence[str],
    start_us: int,
    end_us: int,
) -> Numbers:
    """The same as numbers."""
    if isinstance(store, BulkRecords):
        return await store.numbers_of_station(kind, station_id, names, start_us, end_us)
    rows = await of_station(store, kind, station_id, homes, names, start_us, end_us)
    forms = {column.name: column.form for column in SHAPES[kind].columns}
    words: dict[str, tuple[str, ...]] = {}
    codes: list[Callable[[Plain], float]] = []
    for place, name in enumerate(names):
        if forms[name] is Form.TEXT:
            told = {str(row[place]) for those in rows.values() for row in those if row[place] is not None}
            words[name] = tuple(sorted(told))
            numbered: dict[Plain, float] = {None: -1.0}
            numbered.update((word, float(i)) for i, word in enumerate(words[name]))
            codes.append(numbered.__getitem__)
        else:
            codes.append(_number)
    return Numbers(
        {
            subject: np.array([[code(v) for code, v in zip(codes, row, strict=True)] for row in those], np.float64)
            for subject, those in rows.items()
        },
        words,
    )


def _number(value: Plain) -> float:
    return np.nan if value is None else float(value)


async def attribute_names(
    store: Store, kind: type[Record], homes: Sequence[str], start_us: int, end_us: int
) -> set[str]:
    """Names of all attributes among those records."""
    if isinstance(store, BulkRecords):
        return await store.attribute_names(kind, start_us, end_us)
    place = next(i for i, c in enumerate(SHAPES[kind].columns) if c.name == "attributes")
    names: set[str] = set()
    async for page in pages(store, kind, homes, start_us, end_us):
        names.update(*(json.loads(mended_json(str(row[place]))) for row in page if row[place]))
    return names


async def _newest(store: Store, shape: Shape, home: str | None, start_us: int, end_us: int) -> Sequence[Record]:
    start, end = from_us(start_us), from_us(end_us)
    if shape.kind is Transaction:
        return await store.transactions(nozzle_id=home, start=start, end=end, limit=_PAGE)
    return await store.records(shape.kind, start=start, end=end, key=home, limit=_PAGE)


def _nothing(station: str) -> SampleBatch:
    return SampleBatch(station, (), np.empty(0, np.int64), np.empty(0, np.float64), (), np.empty(0, np.uint8))
