"""What of many segments, rows and buckets a question is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pumpwatch.historian.answers import picked
from pumpwatch.historian.rolling import COLUMNS
from pumpwatch.historian.segments import DAY_US, ODD_DAY, Segment, numbers
from pumpwatch.model import SampleBatch, Summaries

if TYPE_CHECKING:
    from pumpwatch.historian.answers import Asked


def touching(known: Sequence[Segment], start_us: int, end_us: int) -> list[Segment]:
    """Segments that may hold samples with start <= time < end."""
    return [s for s in known if s.last_us >= start_us and s.first_us < end_us]


def days_of(known: Sequence[Segment], start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """The span day by day, as far as there are samples; whole when some lie anywhere."""
    days = {s.day for s in touching(known, start_us, end_us)}
    if ODD_DAY in days:
        yield start_us, end_us
        return
    for day in sorted(days):
        yield max(day * DAY_US, start_us), min((day + 1) * DAY_US, end_us)


def of_days(rows: SampleBatch, days: Sequence[int], *, among: bool) -> SampleBatch:
    """Samples of these days, or of all others."""
    return picked(rows, np.flatnonzero(np.isin(rows.at_us // DAY_US, days, invert=not among)))


def between(rolled_up: Summaries, start_us: int, end_us: int) -> Summaries:
    """The buckets with start <= begin < end."""
    a, b = np.searchsorted(rolled_up.start_us, (start_us, end_us))
    columns = (getattr(rolled_up, name)[a:b] for name in COLUMNS)
    return Summaries(rolled_up.path, *columns)


def filtered(table: pa.Table, asked: Asked) -> pa.Table:
    """The rows of an arranged table that were asked for."""
    path = table["path"].combine_chunks()
    codes, at = path.indices.to_numpy(), numbers(table["time"])
    names = path.dictionary.to_pylist()
    inside = np.fromiter(map(asked.holds, names), np.bool_, len(names))[codes]
    inside &= (at >= asked.start_us) & (at < asked.end_us)
    if asked.after is not None and asked.after[0] in names:
        inside &= (codes != names.index(asked.after[0])) | (at > asked.after[1])
    rows = np.flatnonzero(inside)
    if not len(rows):
        return table.slice(0, 0)
    if rows[-1] - rows[0] + 1 == len(rows):  # as a station's are: nothing is copied
        return table.slice(rows[0], len(rows))
    return table.take(pa.array(rows))


def rows_of(table: pa.Table, wanted: Callable[[str], bool]) -> pa.Table:
    """The rows of an arranged table whose path is wanted."""
    path = table["path"].combine_chunks()
    names = path.dictionary.to_pylist()
    inside = np.fromiter(map(wanted, names), np.bool_, len(names))[path.indices.to_numpy()]
    return table.filter(pa.array(inside))
