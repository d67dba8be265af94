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


@asynccontextmanager
async def bus():
    """A line on which the returned function speaks, and two devices that listen there."""
    writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda reader, writer: writers.put_nowait(writer), "127.0.0.1", 0)
    line = WireLine(LineAddress.parse(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    ears = []

    async def open_() -> None:
        ears.append(await line.listen())

    async def speak(words: bytes) -> None:
        if not opened:
            opened.append(await writers.get())
        opened[0].write(words)
        while not ears[0].heard():  # noqa: ASYNC110 - an ear is asked
            await asyncio.sleep(0)

    opened: list[asyncio.StreamWriter] = []
    sites = (Site("S", "A"), Site("S", "B"))
    tracings = [Tracing(Asker(PluginSettings(), site, line), SystemClock()) for site in sites]
    async with asyncio.timeout(30):
        try:
            yield tracings, open_, speak
        finally:
            assert line.on_bytes is None
            line.close()
            for writer in opened:
                writer.close()
            server.close()
            await server.wait_closed()


def shown(queue: asyncio.Queue) -> list[bytes]:
    return [queue.get_nowait().data for _ in range(queue.qsize())]


async def test_a_line_that_is_listened_to_only_later_is_seen() -> None:
    """What one traces is a device that is down."""
    async with bus() as ((tracing, _), open_, speak):
        with tracing.looking_on() as queue:
            with tracing.turn():
                await open_()
            await speak(b"one")
            assert shown(queue) == [b"one"]


async def test_two_devices_of_one_bus_are_seen_together() -> None:
    async with bus() as ((first, second), open_, speak):
        await open_()
        with first.looking_on() as one:
            await speak(b"one")
            with second.looking_on() as two, first.looking_on() as another:
                await speak(b"two")
            await speak(b"three")
        assert (shown(one), shown(two), shown(another)) == ([b"one", b"two", b"three"], [b"two"], [b"two"])
