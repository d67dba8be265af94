"""A tag's summaries where part of its samples is not yet in the store: the stretches these touch are reckoned anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from pumpwatch.contracts import Store
from pumpwatch.historian.answers import newest_of
from pumpwatch.model import SampleBatch, Summaries, from_us, to_us

_MINUTE_US: Final = 60_000_000
_HOUR_US: Final = 3_600_000_000
_PAGE: Final = 100_000


async def summaries(
    store: Store, fresh: SampleBatch, path: str, start: datetime, end: datetime, width: timedelta
) -> Summaries:
    """What ``store`` would say if it held ``fresh`` too: samples of ``path`` with start <= time < end.

    A fresh sample may take the place of one that is stored, so the store's summaries are of no use where there are
    fresh ones.
    """
    if not len(fresh):
        return await store.summaries(path, start, end, width)
    origin_us, end_us, width_us = to_us(start), to_us(end), max(1, width // timedelta(microseconds=1))
    parts: list[Summaries] = []
    at_us = origin_us
    for first_us, last_us in (*_touched(fresh, origin_us, end_us, width_us), (end_us, end_us)):
        for a, b in _cut(at_us, first_us, origin_us, width_us):
            parts.append(await store.summaries(path, from_us(a), from_us(b), width))
        if first_us < last_us:
            both = await _both(store, fresh, path, first_us, last_us)
            parts.append(Summaries.of(path, both, origin_us, width_us))
        at_us = last_us
    return Summaries.joined(path, parts, origin_us, width_us)


def _touched(fresh: SampleBatch, origin_us: int, end_us: int, width_us: int) -> Iterator[tuple[int, int]]:
    """The stretches that hold all fresh samples: of whole buckets, or of whole minutes of wide ones."""
    grain_us = width_us if width_us <= _HOUR_US else _MINUTE_US
    grains = np.unique((fresh.at_us - origin_us) // grain_us)
    ends = np.flatnonzero(np.append(np.diff(grains) * grain_us > _HOUR_US, True))
    first = 0
    for last in ends.tolist():
        yield (
            origin_us + int(grains[first]) * grain_us,
            min(origin_us + (int(grains[last]) + 1) * grain_us, end_us),
        )
        first = last + 1


def _cut(first_us: int, last_us: int, origin_us: int, width_us: int) -> Iterator[tuple[int, int]]:
    """A stretch up to the next edge of a bucket, and the rest."""
    edge_us = min(last_us, origin_us - (origin_us - first_us) // width_us * width_us)
    for a, b in ((first_us, edge_us), (edge_us, last_us)):
        if a < b:
            yield a, b


async def _both(store: Store, fresh: SampleBatch, path: str, first_us: int, last_us: int) -> SampleBatch:
    """What is stored and what is fresh of one stretch, whole."""
    pages: list[SampleBatch] = []
    until_us = last_us
    while first_us < until_us:
        page = (await store.series(path, from_us(first_us), from_us(until_us), _PAGE)).samples
        pages.insert(0, page)
        if len(page) < _PAGE:
            break
        until_us = int(page.at_us[0])
    return newest_of([*pages, fresh], first_us, last_us, sum(map(len, pages)) + len(fresh))
