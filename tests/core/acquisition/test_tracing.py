"""Who looks on at a device sees its bytes and no neighbour's, and what they mean."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from pumpwatch import Driver, PluginSettings, Reading, Sample, Site, Tag
from pumpwatch.acquisition import Acquisition, Device
from pumpwatch.acquisition.tracing import MOST_WAITING, Tracing
from pumpwatch.clock import SystemClock
from pumpwatch.hub import Hub
from pumpwatch.line import WireLine
from pumpwatch.settings import AcquisitionSettings, LineAddress
from pumpwatch.testing import Capture, ReplayDevice, TestCase


class Asker(Driver):
    """Asks its own name."""

    name = "asker"

    def tags(self):
        return [Tag("value", description="what it says")]

    async def read(self, tags, now):
        reply = await self.line.ask(self.site.device_id.encode(), lambda got: len(got) if len(got) == 2 else 0)
        return Reading([Sample("value", reply.decode(), now)])

    def explain(self, way: str, data: bytes) -> str:
        if data == b"b!":
            raise ValueError("no word for it")
        return f"{way}{data.decode()}"


@asynccontextmanager
async def scanning():
    capture = Capture(((b"A", b"a!"), (b"B", b"b!")))
    device = ReplayDevice(TestCase(Path("none"), capture, {"now": datetime.now(UTC)}))
    async with device.on_tcp() as address:
        line = WireLine(LineAddress.parse(address))
        devices = [
            Device(site, Asker(PluginSettings(), site, line), line.turn) for site in (Site("S", "A"), Site("S", "B"))
        ]
        acquisition = Acquisition(devices, AcquisitionSettings(normal_s=0.02), Hub(), SystemClock())
        task = asyncio.create_task(acquisition.run())
        try:
            yield acquisition, line
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            line.close()


async def test_each_device_is_seen_alone() -> None:
    async with scanning() as (acquisition, line), asyncio.timeout(30):
        with acquisition.trace("S/A") as at_a, acquisition.trace("S/B") as at_b:
            seen_a = [await at_a.get() for _ in range(6)]
            seen_b = [await at_b.get() for _ in range(6)]
        assert {(seen.way, seen.data, seen.meaning) for seen in seen_a} == {(">", b"A", ">A"), ("<", b"a!", "<a!")}
        assert {(seen.way, seen.data) for seen in seen_b} == {(">", b"B"), ("<", b"b!")}
        assert {seen.meaning for seen in seen_b if seen.way == "<"} == {
            "cannot be explained: ValueError('no word for it')"
        }
        async with line.turn:
            assert line.on_bytes is None


async def test_who_looks_on_slowly_misses_the_oldest() -> None:
    site = Site("S", "A")
    line = WireLine(LineAddress.parse("tcp://127.0.0.1:1"))
    tracing = Tracing(Asker(PluginSettings(), site, line), SystemClock())
    with tracing.looking_on() as queue, tracing.turn():
        assert line.on_bytes is not None
        for number in range(MOST_WAITING + 10):
            line.on_bytes("<", b"%d" % number)
        assert queue.qsize() == MOST_WAITING
        assert queue.get_nowait().data == b"10"
    assert line.on_bytes is None
