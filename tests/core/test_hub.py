"""The hub: last values, lossless sinks, lossy subscriptions."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from pumpwatch import Batch, Quality, Sample, SampleBatch
from pumpwatch.hub import Hub

AT = datetime(2026, 1, 1, tzinfo=UTC)


def batch(*samples: Sample) -> Batch:
    return Batch("S01", SampleBatch.pack("S01", "D1", samples), (), AT)


async def test_last_values_keep_numbers_texts_and_absence_apart() -> None:
    hub = Hub()
    await hub.publish(
        batch(Sample("volume", 1.5, AT), Sample("serial", "M-1", AT), Sample("state", None, AT, Quality.NOT_CONNECTED))
    )
    assert hub.latest["S01/D1/volume"].value == 1.5
    assert hub.latest["S01/D1/serial"].value == "M-1"
    assert hub.latest["S01/D1/state"].value is None
    assert hub.latest["S01/D1/state"].quality is Quality.NOT_CONNECTED
    assert hub.samples == 3


async def test_publish_waits_for_a_sink() -> None:
    hub, gate, seen = Hub(), asyncio.Event(), []

    async def sink(b: Batch) -> None:
        await gate.wait()
        seen.append(b)

    hub.attach(sink)
    publishing = asyncio.create_task(hub.publish(batch(Sample("v", 1, AT))))
    await asyncio.sleep(0)
    assert not publishing.done()
    gate.set()
    await publishing
    assert len(seen) == 1


async def test_a_slow_subscriber_loses_the_oldest_and_knows_it() -> None:
    hub = Hub()
    with hub.subscribe(size=2) as stream:
        for value in range(5):
            await hub.publish(batch(Sample("v", value, AT)))
        assert stream.dropped == 3
        got = []
        async for b in stream:
            got.append(float(b.samples.values[0]))
            if len(got) == 2:
                break
        assert got == [3.0, 4.0]


async def test_a_closed_subscription_is_forgotten() -> None:
    hub = Hub()
    with hub.subscribe(size=2) as stream:
        pass
    await hub.publish(batch(Sample("v", 1, AT)))
    await hub.publish(batch(Sample("v", 1, AT)))
    await hub.publish(batch(Sample("v", 1, AT)))
    assert stream.dropped == 0
