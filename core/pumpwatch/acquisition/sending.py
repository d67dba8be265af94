"""Which of a device's samples are worth passing on: what has changed, and what has not been said for a heartbeat."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pumpwatch.model import Sample, SampleBatch, SampleColumns, to_us

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pumpwatch.contracts import Site
    from pumpwatch.model import Quality, Value

_LONG_AGO = -1e9
MOST_PLACED = 64
"""Combinations of tags whose places are remembered; three scan classes make seven."""


class Sending:
    """What of one device has been passed on last, of each tag.

    Samples are looked at one by one, and columns all at once. What was said is kept in the form that came last; few
    drivers change it, save that a device that fails is told of tag by tag.
    """

    def __init__(self, site: Site, heartbeat_s: float) -> None:
        self._site = site
        self._heartbeat_s = heartbeat_s
        self._said: dict[str, tuple[Value, Quality | int, float]] = {}
        """Value, quality and when, by the core's clock."""
        self._table: _Table | None = None
        """The same in columns, instead."""

    def news(self, samples: Sequence[Sample], now: float) -> SampleBatch | None:
        """Those worth passing on at ``now``; None where there are none."""
        if isinstance(samples, SampleColumns):
            if self._table is None:
                self._table = _Table(f"{self._site.station_id}/{self._site.device_id}/", self._said)
            return self._table.news(self._site.station_id, samples, now, now - self._heartbeat_s)
        if self._table is not None:
            self._said, self._table = self._table.rows(), None
        news = []
        for sample in samples:
            value, quality, at = self._said.get(sample.tag, (None, None, _LONG_AGO))
            if value != sample.value or quality != sample.quality or now - at >= self._heartbeat_s:
                self._said[sample.tag] = (sample.value, sample.quality, now)
                news.append(sample)
        return SampleBatch.pack(self._site.station_id, self._site.device_id, news) if news else None


class _Known(NamedTuple):
    """Of the tags of one reading."""

    places: NDArray[np.intp]
    """(n,) where each stands in the table."""
    order: dict[int, int]
    """The other way round."""
    paths: tuple[str, ...]
    """n full paths."""


class _Table:
    """The tags of one device and what was said of each last, as columns."""

    def __init__(self, prefix: str, said: dict[str, tuple[Value, Quality | int, float]]) -> None:
        self._prefix = prefix
        self._places: dict[str, int] = {tag: i for i, tag in enumerate(said)}
        rows = said.values()
        self._values = np.array([v if isinstance(v, int | float) else np.nan for v, _, _ in rows], np.float64)
        self._qualities = np.array([quality for _, quality, _ in rows], np.uint8)
        self._at = np.array([at for _, _, at in rows], np.float64)
        self._texts: dict[int, str] = {i: v for i, (v, _, _) in enumerate(rows) if isinstance(v, str)}
        """By place."""
        self._known: dict[tuple[str, ...], _Known] = {}

    def rows(self) -> dict[str, tuple[Value, Quality | int, float]]:
        """The same by tag."""
        values = [None if np.isnan(v) else float(v) for v in self._values]
        return {
            tag: (self._texts.get(i, values[i]), int(self._qualities[i]), float(self._at[i]))
            for tag, i in self._places.items()
        }

    def news(self, station: str, samples: SampleColumns, now: float, heard_before: float) -> SampleBatch | None:
        """See ``Sending.news``."""
        if samples.tags not in self._known:
            self._place(samples.tags)
        places, order, paths = self._known[samples.tags]
        # As bits, so that an absent value (NaN) is equal to itself.
        new = samples.values.view(np.int64) != self._values[places].view(np.int64)
        new |= samples.qualities != self._qualities[places]
        new |= self._at[places] <= heard_before
        texts = {i: value for i, value in samples.exact.items() if isinstance(value, str)}
        for i, text in texts.items():
            new[i] |= self._texts.get(int(places[i])) != text
        for place in self._texts:
            if (known := order.get(place)) is not None and known not in texts:
                new[known] = True
        chosen = np.flatnonzero(new)
        if not len(chosen):
            return None
        there, values, qualities = places[chosen], samples.values[chosen], samples.qualities[chosen]
        self._values[there], self._qualities[there], self._at[there] = values, qualities, now
        told: tuple[str | None, ...] = ()
        if texts or self._texts:
            told = tuple([texts.get(i) for i in chosen.tolist()])
            for place, said in zip(there.tolist(), told, strict=True):
                self._texts.pop(place, None)
                if said is not None:
                    self._texts[place] = said
            told = told if any(text is not None for text in told) else ()
        if len(chosen) < len(paths):
            paths = tuple([paths[i] for i in chosen.tolist()])
        return SampleBatch(station, paths, np.full(len(chosen), to_us(samples.at)), values, told, qualities)

    def _place(self, tags: tuple[str, ...]) -> None:
        if len(self._known) >= MOST_PLACED:
            self._known.clear()
        places = np.array([self._places.setdefault(tag, len(self._places)) for tag in tags], np.intp)
        if more := len(self._places) - len(self._values):
            self._values = np.concatenate([self._values, np.full(more, np.nan)])
            self._qualities = np.concatenate([self._qualities, np.zeros(more, np.uint8)])
            self._at = np.concatenate([self._at, np.full(more, _LONG_AGO)])
        order = {place: i for i, place in enumerate(places.tolist())}
        self._known[tags] = _Known(places, order, tuple(intern(self._prefix + tag) for tag in tags))
