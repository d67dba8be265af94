"""Questions about tags: last values, series, summaries by bucket, and values as of given times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from pumpwatch.canonical import SAMPLES_SCHEMA, samples_table
from pumpwatch.engine.queries.pages import TIME, Page, Window, cursor, moment, place_of
from pumpwatch.errors import BadConfig
from pumpwatch.model import from_us

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.historian import Historian
    from pumpwatch.hub import Last

SAMPLES: Final = SAMPLES_SCHEMA
"""``value`` is null where there is no number, ``text`` where there is no text."""
SUMMARIES: Final = pa.schema(
    [
        ("path", pa.string()),
        ("start", TIME),
        ("count", pa.int64()),
        ("good", pa.int64()),
        *((name, pa.float64()) for name in ("min", "max", "mean", "last")),
    ]
)
_AT_ONCE: Final = 50_000
"""Samples asked for at a time where only some are wanted."""
_BUCKETS: Final = 20_000
"""Of one tag asked for at a time."""
_MOST_STRETCHES: Final = 5_000
"""Looks into the past that one as-of question may take."""
_MOST_PAGES: Final = 200
"""Of ``_AT_ONCE`` samples that one as-of question may turn beyond the first of each look."""
_STEPS: Final = 256
"""So often is asked for one page."""


def latest(known: Mapping[str, Last], prefix: str, after: str | None, limit: int) -> Page:
    """The last sample of every tag whose path begins with ``prefix``, by path."""
    behind = place_of(after, (str,))[0] if after else ""
    paths = list(islice((p for p in sorted(known) if p.startswith(prefix) and p > behind), limit + 1))
    rows = [(path, known[path]) for path in paths[:limit]]
    table = pa.table(
        {
            "path": [path for path, _ in rows],
            "at": pa.array([last.at_us for _, last in rows], pa.int64()).cast(TIME),
            "value": [None if isinstance(last.value, str) else last.value for _, last in rows],
            "text": [last.value if isinstance(last.value, str) else None for _, last in rows],
            "quality": [int(last.quality) for _, last in rows],
        },
        schema=SAMPLES,
    )
    return Page(table, cursor(paths[limit - 1]) if len(paths) > limit else None)


async def samples(
    historian: Historian,
    *,
    station_id: str | None,
    paths: Sequence[str],
    window: Window,
    after: str | None,
    limit: int,
) -> Page:
    """Samples of some tags, or of all of a station, by path and time."""
    behind = None
    if after:
        path, at_us = place_of(after, (str, int))
        behind = path, moment(at_us)
    found = await historian.samples(
        station_id=station_id, paths=paths, start=window.start, end=window.end, after=behind, limit=limit
    )
    last = cursor(found.paths[-1], int(found.at_us[-1])) if len(found) >= limit else None
    return Page(samples_table(found), last)


async def summaries(
    historian: Historian, *, paths: Sequence[str], window: Window, width: timedelta, after: str | None, limit: int
) -> Page:
    """Buckets of ``width`` from ``window.start`` on, by path and time; those without a sample are left out."""
    behind, resumed_us = place_of(after, (str, int)) if after else ("", window.start_us)
    width_us = width // timedelta(microseconds=1)
    left, steps, parts = limit, _STEPS, [SUMMARIES.empty_table()]
    for path in sorted(set(paths)):
        if path < behind:
            continue
        begin_us = resumed_us if path == behind else window.start_us
        begin_us = window.start_us + max(0, begin_us - window.start_us) // width_us * width_us
        while begin_us < window.end_us:
            if not left or not steps:
                return Page(pa.concat_tables(parts), cursor(path, begin_us))
            until_us = min(window.end_us, begin_us + width_us * _BUCKETS)
            told = await historian.summaries(path, from_us(begin_us), from_us(until_us), width)
            columns = (told.start_us, told.count, told.good, told.low, told.high, told.mean, told.last)
            arrays = [pa.array(column, from_pandas=True) for column in columns]
            arrays[0] = arrays[0].cast(TIME)
            table = pa.table([pa.array([path] * len(told), pa.string()), *arrays], schema=SUMMARIES)
            parts.append(table.slice(0, left))
            begin_us = int(told.start_us[left]) if len(told) > left else until_us
            left, steps = left - len(parts[-1]), steps - 1
    return Page(pa.concat_tables(parts))


@dataclass(slots=True)
class _Found:
    """What one tag said as of each of n times."""

    at_us: NDArray[np.int64]
    """(n,) -1 where it said nothing."""
    values: NDArray[np.float64]
    texts: list[str | None]
    qualities: NDArray[np.uint8]

    def columns(self, path: str) -> dict[str, pa.Array]:
        """Four columns, named after the path."""
        unknown = self.at_us < 0
        return {
            path: pa.array(self.values, from_pandas=True),
            f"{path}:text": pa.array(self.texts, pa.string()),
            f"{path}:at": pa.array(self.at_us, pa.int64(), mask=unknown).cast(TIME),
            f"{path}:quality": pa.array(self.qualities, pa.uint8(), mask=unknown),
        }


async def as_of(
    historian: Historian, paths: Sequence[str], times_us: NDArray[np.int64], lookback: timedelta
) -> dict[str, pa.Array]:
    """For each of n times, in any order, the last sample of each tag at it or before; none that is older.

    Columns ``PATH``, ``PATH:text``, ``PATH:at`` and ``PATH:quality``.
    """
    if len(set(paths)) < len(paths):
        raise BadConfig("path: a tag stands there twice; name each once")
    columns: dict[str, pa.Array] = {}
    lookback_us = lookback // timedelta(microseconds=1)
    work = len(paths) * sum(1 for _ in _stretches(times_us, lookback_us))
    if work > _MOST_STRETCHES:
        raise BadConfig(f"{work:,} looks into the past are too many; ask for fewer tags, or for times nearer together")
    pages = iter(range(_MOST_PAGES))
    for path in paths:
        columns |= (await _as_of(historian, path, times_us, lookback_us, pages)).columns(path)
    return columns


async def _as_of(
    historian: Historian, path: str, times_us: NDArray[np.int64], lookback_us: int, pages: Iterator[int]
) -> _Found:
    n = len(times_us)
    texts: list[str | None] = [None] * n
    found = _Found(np.full(n, -1, np.int64), np.full(n, np.nan), texts, np.zeros(n, np.uint8))
    for rows, start, end in _stretches(times_us, lookback_us):
        after = None
        while True:
            page = await historian.samples(paths=(path,), start=start, end=end, after=after, limit=_AT_ONCE)
            place = np.searchsorted(page.at_us, times_us[rows], side="right") - 1
            known = (place >= 0) & (
                times_us[rows] - page.at_us[np.maximum(place, 0)] <= lookback_us if len(page) else False
            )
            mine, place = rows[known], place[known]
            found.at_us[mine], found.values[mine] = page.at_us[place], page.values[place]
            found.qualities[mine] = page.qualities[place]
            for row, sample in zip(mine.tolist(), place.tolist(), strict=True):
                texts[row] = page.texts[sample] if page.texts else None
            if len(page) < _AT_ONCE:
                break
            if next(pages, None) is None:
                raise BadConfig(
                    f"more than {_MOST_PAGES * _AT_ONCE:,} samples lie before these times; "
                    "ask for fewer tags or times, or a shorter lookback"
                )
            after = path, from_us(page.at_us[-1])
    return found


def instants(times_us: NDArray[np.int64]) -> pa.Table:
    """The times asked for as a table of one column, ``at``."""
    return pa.table({"at": pa.array(times_us).cast(TIME)})


def beside(rows: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """A table with further columns on its right."""
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    return rows


def _stretches(times_us: NDArray[np.int64], lookback_us: int) -> Iterator[tuple[NDArray[np.intp], datetime, datetime]]:
    """Rows whose stretches of ``lookback_us`` touch, with the time that they cover together."""
    order = np.argsort(times_us, kind="stable")
    cuts = np.flatnonzero(np.diff(times_us[order]) > lookback_us) + 1
    for rows in np.split(order, cuts):
        if len(rows):
            first, last = int(times_us[rows[0]]), int(times_us[rows[-1]])
            yield rows, from_us(max(0, first - lookback_us)), from_us(last + 1)
