"""Answers put together from several places: of two samples of one path and time the later write counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pumpwatch.historian.rows import Shape, is_about
from pumpwatch.model import Batch, Record, SampleBatch, to_us


def newest_of(parts: Sequence[SampleBatch], start_us: int, end_us: int, limit: int) -> SampleBatch:
    """The samples of one path with start <= time < end by time, at most ``limit`` (the newest); later parts count."""
    whole = joined(parts)
    inside = np.flatnonzero((whole.at_us >= start_us) & (whole.at_us < end_us))
    order = inside[np.argsort(whole.at_us[inside], kind="stable")]
    at = whole.at_us[order]
    order = order[np.append(at[1:] != at[:-1], True)] if len(at) else order
    return picked(whole, order[max(0, len(order) - limit) :])


def last_of_each(parts: Sequence[SampleBatch]) -> SampleBatch:
    """The last sample of every path, by path; later parts count."""
    whole = joined(parts)
    newest: dict[str, int] = {}
    at = whole.at_us.tolist()
    for i, path in enumerate(whole.paths):
        known = newest.get(path)
        if known is None or at[i] >= at[known]:
            newest[path] = i
    return picked(whole, np.array([newest[p] for p in sorted(newest)], np.intp))


def of_path(batches: Iterable[Batch], path: str) -> SampleBatch:
    """The samples of one path in these batches, in the order they came."""
    station = path.partition("/")[0]
    parts: list[SampleBatch] = []
    for batch in batches:
        samples = batch.samples
        if samples.station == station and path in samples.paths:
            parts.append(picked(samples, np.flatnonzero([p == path for p in samples.paths])))
    return joined(parts, station)


def of_kind(
    batches: Iterable[Batch],
    kind: type[Record],
    *,
    station_id: str | None = None,
    key: str | None = None,
    start_us: int | None = None,
    end_us: int | None = None,
) -> list[Record]:
    """The records of one kind in these batches, in the order they came."""
    return [
        r
        for b in batches
        if station_id is None or b.station == station_id
        for r in b.records
        if isinstance(r, kind)
        and is_about(r, b.station, key)
        and (start_us is None or to_us(r.at) >= start_us)
        and (end_us is None or to_us(r.at) < end_us)
    ]


def newest_records(shape: Shape, first: Iterable[Record], later: Iterable[Record], limit: int) -> list[Record]:
    """Both, newest first; of two reports of one record the first stands and the later fills what it left out."""
    known: dict[tuple[object, ...], Record] = {}
    for record in (*first, *later):
        identity = shape.identity(record)
        known[identity] = shape.filled(known[identity], record) if identity in known else record
    return sorted(known.values(), key=lambda r: r.at, reverse=True)[:limit]


def joined(parts: Sequence[SampleBatch], station: str | None = None) -> SampleBatch:
    """All rows of ``parts`` in one; its station is that of the parts, or empty when they differ."""
    if len(parts) == 1:
        return parts[0]
    stations = {p.station for p in parts if len(p)} or {p.station for p in parts}
    if station is None:
        station = stations.pop() if len(stations) == 1 else ""
    texted = any(p.texts for p in parts)
    return SampleBatch(
        station,
        tuple(path for p in parts for path in p.paths),
        np.concatenate([np.empty(0, np.int64), *(p.at_us for p in parts)]),
        np.concatenate([np.empty(0, np.float64), *(p.values for p in parts)]),
        tuple(t for p in parts for t in p.texts or (None,) * len(p)) if texted else (),
        np.concatenate([np.empty(0, np.uint8), *(p.qualities for p in parts)]),
    )


def picked(samples: SampleBatch, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> SampleBatch:
    """Some rows, in the order given."""
    numbers = rows.tolist()
    return SampleBatch(
        samples.station,
        tuple(samples.paths[i] for i in numbers),
        samples.at_us[rows],
        samples.values[rows],
        tuple(samples.texts[i] for i in numbers) if samples.texts else (),
        samples.qualities[rows],
    )
