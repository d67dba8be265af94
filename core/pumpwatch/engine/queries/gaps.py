"""The question where nothing good was heard of a tag or a device for longer than it may be silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from pumpwatch.engine.queries.pages import TIME, Page, Window, cursor, place_of
from pumpwatch.model import Quality, from_us

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.historian import Historian

GAPS: Final = pa.schema(
    [("subject", pa.string()), ("start", TIME), ("end", TIME), ("seconds", pa.float64()), ("reason", pa.string())]
)
"""``end`` is null where it is not over; ``seconds`` then reaches to the end of what was asked for."""
_DAY_US: Final = 86_400_000_000
_DAYS_AT_ONCE: Final = 31
"""Days that are looked through for one page."""
_ROWS: Final = 100_000


@dataclass(slots=True)
class _Reach:
    """How far one has looked."""

    at_us: int
    good_us: int
    """Up to here all is known: the last good sample, or where one began to look."""
    bad_us: int = -1
    """The first sample since then that was BAD; -1 while there is none."""
    quality: int = 0
    """Of that sample."""


async def gaps(
    historian: Historian,
    *,
    subject: str,
    paths: Sequence[str],
    longest: timedelta,
    window: Window,
    after: str | None,
    limit: int,
) -> Page:
    """Stretches longer than ``longest`` in which none of these tags told a value that was not BAD, oldest first.

    A gap begins with the last good sample, after which nothing is known, or with the first BAD one; it ends with the
    next good sample.
    """
    longest_us = longest // timedelta(microseconds=1)
    if after:
        reach = _Reach(*place_of(after, (int, int, int, int)))
        reach.at_us = max(reach.at_us, window.start_us)
    else:
        reach = _Reach(window.start_us, window.start_us)
        at_us, good = await _heard(historian, paths, max(0, window.start_us - longest_us), window.start_us)
        if len(at_us) and good[-1] < Quality.BAD:
            reach.good_us = int(at_us[-1])
    rows: list[tuple[int, int | None, str]] = []
    for _ in range(_DAYS_AT_ONCE):
        if reach.at_us >= window.end_us:
            break
        until_us = min(window.end_us, (reach.at_us // _DAY_US + 1) * _DAY_US)
        at_us, qualities = await _heard(historian, paths, reach.at_us, until_us)
        reach.at_us = until_us
        for at, quality, is_first in _edges(at_us, qualities, longest_us):
            if not is_first and quality < Quality.BAD:
                reach.good_us = at
                continue
            if quality >= Quality.BAD:
                if reach.bad_us < 0:
                    reach.bad_us, reach.quality = at, quality
                continue
            _note(rows, reach, at, longest_us)
            if len(rows) == limit:
                return Page(_table(subject, rows, window.end_us), cursor(at + 1, at, -1, 0))
            reach.good_us, reach.bad_us = at, -1
    if reach.at_us < window.end_us:
        more = cursor(reach.at_us, reach.good_us, reach.bad_us, reach.quality)
        return Page(_table(subject, rows, window.end_us), more)
    _note(rows, reach, window.end_us, longest_us, is_over=False)
    return Page(_table(subject, rows, window.end_us))


def _note(
    rows: list[tuple[int, int | None, str]], reach: _Reach, until_us: int, longest_us: int, *, is_over: bool = True
) -> None:
    is_bad = reach.bad_us >= 0
    start_us = reach.bad_us if is_bad and reach.bad_us - reach.good_us <= longest_us else reach.good_us
    if until_us - start_us > longest_us:
        reason = _name(reach.quality) if is_bad else "silent"
        rows.append((start_us, until_us if is_over else None, reason))


def _edges(at_us: NDArray[np.int64], qualities: NDArray[np.uint8], longest_us: int) -> list[tuple[int, int, bool]]:
    """The first and the last sample of each run that is all good or all BAD and without a silence.

    Time, quality, and whether it is a first one.
    """
    if not len(at_us):
        return []
    is_bad = qualities >= Quality.BAD
    first = np.append(True, (is_bad[1:] != is_bad[:-1]) | (np.diff(at_us) > longest_us))
    wanted = first | np.append(first[1:], True)
    return list(zip(at_us[wanted].tolist(), qualities[wanted].tolist(), first[wanted].tolist(), strict=True))


async def _heard(
    historian: Historian, paths: Sequence[str], start_us: int, end_us: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """When anything was heard of these tags, in order, with the best quality of each moment."""
    times, qualities = [np.empty(0, np.int64)], [np.empty(0, np.uint8)]
    after = None
    while start_us < end_us and paths:
        page = await historian.samples(
            paths=paths, start=from_us(start_us), end=from_us(end_us), after=after, limit=_ROWS
        )
        times.append(page.at_us)
        qualities.append(page.qualities)
        if len(page) < _ROWS:
            break
        after = page.paths[-1], from_us(page.at_us[-1])
    at, quality = np.concatenate(times), np.concatenate(qualities)
    order = np.lexsort((quality, at))
    at, quality = at[order], quality[order]
    is_first = np.append(True, at[1:] != at[:-1]) if len(at) else np.zeros(0, np.bool_)
    return at[is_first], quality[is_first]


def _name(quality: int) -> str:
    try:
        return Quality(quality).name.lower()
    except ValueError:
        return Quality.BAD.name.lower()


def _table(subject: str, rows: Sequence[tuple[int, int | None, str]], end_us: int) -> pa.Table:
    return pa.table(
        [
            pa.array([subject] * len(rows), pa.string()),
            pa.array([start for start, _, _ in rows], pa.int64()).cast(TIME),
            pa.array([end for _, end, _ in rows], pa.int64()).cast(TIME),
            pa.array([((end_us if end is None else end) - start) / 1e6 for start, end, _ in rows], pa.float64()),
            pa.array([reason for _, _, reason in rows], pa.string()),
        ],
        schema=GAPS,
    )
