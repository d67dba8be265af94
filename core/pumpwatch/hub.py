"""Where organs meet: the last value of every tag, and the fan-out of what arrives; floor 3."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pumpwatch.model import Quality

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pumpwatch.model import Batch, SampleBatch, Value


class Last(NamedTuple):
    """The last known state of a tag."""

    value: Value
    at_us: int
    """Source time, microseconds since 1970 UTC."""
    quality: Quality


class Subscription:
    """A bounded view of the stream for people: when it is full the oldest batch is dropped and counted."""

    def __init__(self, size: int) -> None:
        self.dropped = 0
        self._waiting: deque[Batch] = deque(maxlen=size)
        self._arrived = asyncio.Event()

    def offer(self, batch: Batch) -> None:
        """Take a batch, dropping the oldest when full."""
        if len(self._waiting) == self._waiting.maxlen:
            self.dropped += 1
        self._waiting.append(batch)
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[Batch]:
        while True:
            await self._arrived.wait()
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()


class Hub:
    """Holds last values and hands each batch on.

    Sinks are lossless: ``publish`` waits for each (a full sink slows the drivers down, memory does not grow).
    Subscriptions are lossy: they never slow anything down.
    """

    def __init__(self) -> None:
        self.latest: dict[str, Last] = {}
        self.samples = 0
        """Samples published since the start."""
        self._sinks: list[Callable[[Batch], Awaitable[None]]] = []
        self._subscriptions: set[Subscription] = set()

    def attach(self, sink: Callable[[Batch], Awaitable[None]]) -> None:
        """Add a lossless sink; the engine does this once for each organ."""
        self._sinks.append(sink)

    @contextmanager
    def subscribe(self, size: int = 256) -> Iterator[Subscription]:
        """A lossy view of everything published while the context is open."""
        subscription = Subscription(size)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def remember(self, samples: SampleBatch) -> None:
        """Take over last values without handing them on (the store's, at start)."""
        texts = samples.texts or (None,) * len(samples)
        rows = zip(
            samples.paths,
            samples.at_us.tolist(),
            samples.values.tolist(),
            texts,
            samples.qualities.tolist(),
            strict=True,
        )
        for path, at_us, number, text, quality in rows:
            value = text if text is not None else None if math.isnan(number) else number
            self.latest[path] = Last(value, at_us, Quality(quality))

    async def publish(self, batch: Batch) -> None:
        """Make a batch known to everyone; returns when every sink has taken it."""
        self.remember(batch.samples)
        self.samples += len(batch.samples)
        for subscription in self._subscriptions:
            subscription.offer(batch)
        for sink in self._sinks:
            await sink(batch)
