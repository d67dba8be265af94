"""The values of one device: decoded updates in, samples out, each update once."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pumpwatch import Quality, Sample, TagKind, Value
from pumpwatch_opcua.values import (
    EARLIEST_TICKS,
    OVERFLOW,
    TICKS_A_DAY,
    Update,
    moment,
    number,
    plain,
    quality_of,
    text,
    ticks_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncua import ua

    from pumpwatch_opcua.nodemap import Point

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class LivePoint:
    """One tag, what it was last told, and where it stands in the server as it runs now."""

    __slots__ = (
        "_divisor", "_entry", "_simple", "address", "fresh", "handle", "heard", "last", "name", "node", "sample",
        "subscribed", "tag",
    )  # fmt: skip

    def __init__(self, point: Point, handle: int) -> None:
        entry = point.entry
        self.tag = point.tag
        self.name = point.tag.name
        self.address = point.address
        self.handle = handle
        """By which the server names it in notifications."""
        self.node: ua.NodeId | None = None
        """Its NodeId in the server as it runs now; None: not known, or there is none."""
        self.subscribed = False
        self.fresh = False
        """Whether something was told since the session began; else it has to be read."""
        self.heard = False
        """Whether the subscription has told it yet: what it tells first may be older than what was read meanwhile."""
        self.last: Update = (None, -1, 0, 0)
        self.sample: Sample | None = None
        """The newest."""
        self._entry = entry
        inverse = round(1 / entry.scale)
        self._divisor = (
            float(inverse) if inverse > 1 and math.isclose(inverse * entry.scale, 1, rel_tol=1e-12) else None
        )
        bare = entry.index is None and entry.scale == 1 and entry.low is None and entry.high is None
        self._simple = bare and not entry.words and entry.kind is not TagKind.IDENTITY

    def convert(self, value: object, status: int) -> tuple[Value, Quality]:
        """The tag's value and quality; None with a BAD quality for what cannot be one."""
        if not status and self._simple and (type(value) is float or type(value) is int) and value - value == 0:
            return value, Quality.GOOD
        quality = quality_of(status)
        if quality.is_bad:
            return None, quality
        told, own = self._told(value)
        return told, own if own.is_bad or quality is Quality.GOOD else quality

    def _told(self, value: object) -> tuple[Value, Quality]:
        entry = self._entry
        told = plain(value)
        if entry.index is not None:
            if not isinstance(told, list | tuple) or entry.index >= len(told):
                return None, Quality.BAD_REPLY
            told = plain(told[entry.index])
        if told is not None and not isinstance(told, float | int | str):
            return None, Quality.BAD_REPLY
        if entry.words:
            word = entry.words.get(str(told).strip())
            return (None, Quality.OUT_OF_RANGE) if word is None else (word, Quality.GOOD)
        if entry.kind is TagKind.IDENTITY or (entry.kind is TagKind.STATE and isinstance(told, str)):
            return text(told)
        figure = number(told)
        if figure is None:
            return None, Quality.BAD_REPLY
        if self._divisor is not None:
            figure /= self._divisor
        elif entry.scale != 1:
            figure *= entry.scale
        low, high = entry.low, entry.high
        outside = (low is not None and figure < low) or (high is not None and figure > high)
        return figure, Quality.OUT_OF_RANGE if outside else Quality.GOOD


class Intake:
    """Turns updates into samples in the order of their coming, and leaves out what has been told before.

    An update is told before when its tag, source time, status and value are those of the last one: so a value that a
    new subscription repeats, or that was read and notified, is one sample.
    """

    def __init__(self, points: Iterable[LivePoint]) -> None:
        self.points = tuple(points)
        self.lost = 0
        """Values before which the server's queue overflowed."""
        self._by_handle = {point.handle: point for point in self.points}
        self._moment_ticks = 0
        self._moment = _NEVER

    def changed(self, changes: Iterable[tuple[int, Update]], now: datetime) -> list[Sample]:
        """Samples of what a subscription told."""
        samples: list[Sample] = []
        by_handle, latest = self._by_handle, ticks_of(now) + TICKS_A_DAY
        for handle, update in changes:
            point = by_handle.get(handle)
            if point is None:
                continue
            if point.heard:
                if (sample := self._take(point, update, now, latest)) is not None:
                    samples.append(sample)
                continue
            point.heard = True
            if point.fresh and 0 < update[2] < point.last[2]:
                samples.append(self._late(point, update, now, latest))
            elif (sample := self._take(point, update, now, latest)) is not None:
                samples.append(sample)
        return samples

    def read(self, point: LivePoint, update: Update, now: datetime) -> Sample | None:
        """The sample of what was read; None if it has been told before."""
        return self._take(point, update, now, ticks_of(now) + TICKS_A_DAY)

    def _take(self, point: LivePoint, update: Update, now: datetime, latest: int) -> Sample | None:
        value, status, source, server = update
        last = point.last
        point.fresh = True
        if source and source == last[2] and status == last[1] and (value == last[0] or value != value):  # noqa: PLR0124
            return None
        point.last = update
        sample = self._sample(point, value, status, source, server, now, latest)
        point.sample = sample
        return sample

    def _late(self, point: LivePoint, update: Update, now: datetime, latest: int) -> Sample:
        """A value that is older than one that has been passed on."""
        sample = self._sample(point, *update, now, latest)
        return sample._replace(quality=Quality.BACKFILLED) if sample.quality is Quality.GOOD else sample

    def _sample(
        self, point: LivePoint, value: object, status: int, source: int, server: int, now: datetime, latest: int
    ) -> Sample:
        told, quality = point.convert(value, status)
        ticks = source or server
        if status & OVERFLOW == OVERFLOW:
            self.lost += 1
        if not EARLIEST_TICKS <= ticks <= latest:
            # A clock that was never set, or set to nonsense: the value is right, its time is not.
            quality = Quality.UNCERTAIN if ticks and quality.is_good else quality
            ticks = server if EARLIEST_TICKS <= server <= latest else 0
        if ticks != self._moment_ticks:
            self._moment_ticks, self._moment = ticks, moment(ticks) if ticks else _NEVER
        return Sample(point.name, told, self._moment if ticks else now, quality)
