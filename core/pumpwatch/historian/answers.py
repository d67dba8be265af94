"""Answers put together from several places: of two samples of one path and time the later write counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

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


@dataclass(frozen=True, slots=True)
class Asked:
    """Which samples a page may hold; see ``Store.samples``."""

    station_id: str | None
    paths: frozenset[str]
    start_us: int
    end_us: int
    after: tuple[str, int] | None

    @classmethod
    def of(
        cls,
        station_id: str | None,
        paths: Sequence[str],
        start: datetime,
        end: datetime,
        after: tuple[str, datetime] | None,
    ) -> Asked:
        """Times as microseconds."""
        behind = None if after is None else (after[0], to_us(after[1]))
        return cls(station_id, frozenset(paths), to_us(start), to_us(end), behind)

    def may_hold(self, first: str, last: str) -> bool:
        """Whether a tag from ``first`` to ``last`` may be on the page."""
        if self.after is not None:
            if last < self.after[0]:
                return False
            first = max(first, self.after[0])
        if self.station_id is not None and (last < f"{self.station_id}/" or first >= f"{self.station_id}0"):
            return False
        return not self.paths or any(first <= path <= last for path in self.paths)

    def holds(self, path: str) -> bool:
        """Whether this tag may be on the page."""
        return (
            (not self.paths or path in self.paths)
            and (self.station_id is None or path.partition("/")[0] == self.station_id)
            and (self.after is None or path >= self.after[0])
        )


def of_page(batches: Iterable[Batch], asked: Asked) -> SampleBatch:
    """The samples in these batches that were asked for, in the order they came."""
    wanted: dict[str, bool] = {}
    parts: list[SampleBatch] = []
    for batch in batches:
        samples = batch.samples
        inside = (samples.at_us >= asked.start_us) & (samples.at_us < asked.end_us)
        if not inside.any():
            continue
        for path in samples.paths:
            if path not in wanted:
                wanted[path] = asked.holds(path)
        inside &= np.fromiter(map(wanted.__getitem__, samples.paths), np.bool_, len(samples))
        if asked.after is not None:
            path, at_us = asked.after
            inside &= np.fromiter((p != path for p in samples.paths), np.bool_, len(samples)) | (samples.at_us > at_us)
        parts.append(picked(samples, np.flatnonzero(inside)))
    return joined(parts)


def first_of(parts: Sequence[SampleBatch], limit: int, station: str) -> SampleBatch:
    """The first ``limit`` samples of all parts by path and time; later parts count."""
    whole = SampleBatch.joined(station, [p for p in parts if len(p)])
    rank = {path: i for i, path in enumerate(sorted(set(whole.paths)))}
    ranks = np.fromiter(map(rank.__getitem__, whole.paths), np.int64, len(whole))
    order = np.lexsort((whole.at_us, ranks))
    ranks, at = ranks[order], whole.at_us[order]
    order = order[np.append((ranks[1:] != ranks[:-1]) | (at[1:] != at[:-1]), True)] if len(order) else order
    return picked(whole, order[:limit])


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
    return SampleBatch.joined(station, parts)


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
