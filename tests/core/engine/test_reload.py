"""A driver is exchanged in a running server, and the devices of others notice nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from pumpwatch import BadConfig
from pumpwatch.api import create_app
from pumpwatch.clock import SystemClock
from pumpwatch.engine import Engine
from pumpwatch.plugins import Plugins
from pumpwatch.settings import parse_settings

DRIVER = """
from pumpwatch import Driver, Reading, Sample, Tag, hookimpl

class Counting(Driver):
    name = "{name}"
    closed = 0

    def tags(self):
        return [Tag("says", description="what it says")]

    async def read(self, tags, now):
        return Reading([Sample("says", "{says}", now)])

    async def close(self):
        type(self).closed += 1

@hookimpl
def pumpwatch_drivers():
    return [Counting]
"""
CONFIG = """
[acquisition]
normal_s = 0.05
[[stations]]
id = "S01"
  [[stations.devices]]
  id = "A"
  driver = "first"
  line = "tcp://127.0.0.1:1"
  [[stations.devices]]
  id = "B"
  driver = "second"
  line = "tcp://127.0.0.1:1"
"""


@asynccontextmanager
async def serving(folder: Path):
    """An engine that scans, and the plugins' folder."""
    plugins = folder / "plugins"
    plugins.mkdir()
    for name in ("first", "second"):
        (plugins / f"{name}.py").write_text(DRIVER.format(name=name, says="old"))
    found = Plugins.discover((), plugins)
    async with Engine.open(parse_settings(CONFIG), folder / "data", found, SystemClock()) as engine:
        running = asyncio.create_task(engine.run())
        try:
            yield engine, plugins
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def says(engine: Engine, device: str, text: str) -> None:
    """Wait until the device says so."""
    with engine.hub.subscribe() as stream:
        async with asyncio.timeout(30):
            last = engine.hub.latest.get(f"S01/{device}/says")
            if last is not None and last.value == text:
                return
            async for batch in stream:
                if f"S01/{device}/says" in batch.samples.paths and text in (batch.samples.texts or ()):
                    return


async def test_one_driver_is_exchanged_and_its_neighbour_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as (engine, plugins):
        await says(engine, "A", "old")
        await says(engine, "B", "old")
        neighbour = engine.acquisition.devices[1]
        driver, old = neighbour.driver, engine.acquisition.devices[0].driver
        (plugins / "first.py").write_text(DRIVER.format(name="first", says="new"))
        assert await engine.reload("first") == ["S01/A"]
        await says(engine, "A", "new")
        assert (neighbour.driver, neighbour.connected, neighbour.failures) == (driver, True, 0)
        assert type(old).closed == 1
        replaced = engine.acquisition.devices[0].driver
    assert (type(replaced).closed, type(driver).closed) == (1, 1)  # they say goodbye when the server stops


@pytest.mark.parametrize(
    ("wrong", "told"),
    [("import nothing_of_that_name", "not installed"), (DRIVER.format(name="other", says="new"), "not 'first'")],
)
async def test_a_driver_that_is_wrong_leaves_the_old_one(tmp_path: Path, wrong: str, told: str) -> None:
    async with serving(tmp_path) as (engine, plugins):
        await says(engine, "A", "old")
        driver = engine.acquisition.devices[0].driver
        (plugins / "first.py").write_text(wrong)
        transport = httpx.ASGITransport(create_app(engine, None))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            answer = await http.post("/api/v1/drivers/first/reload")
        assert answer.status_code == 400
        assert told in answer.json()["error"]
        assert engine.acquisition.devices[0].driver is driver
        assert engine.plugins.drivers["first"] is type(driver)
        with pytest.raises(BadConfig, match="no driver 'none'"):
            await engine.reload("none")


async def test_what_the_old_driver_read_is_published_before_it_goes(tmp_path: Path, monkeypatch) -> None:
    async with serving(tmp_path) as (engine, _):
        await says(engine, "A", "old")
        publish, gate, held, told = engine.hub.publish, asyncio.Event(), asyncio.Event(), []

        async def slowly(batch) -> None:
            if batch.samples.paths and batch.samples.paths[0].startswith("S01/A/"):
                held.set()
                await gate.wait()
                told.append(batch)
            await publish(batch)

        monkeypatch.setattr(engine.hub, "publish", slowly)
        engine.acquisition._scans["S01/A"]._sending._said.clear()  # so that the next scan has news
        async with asyncio.timeout(30):
            await held.wait()
            reloading = asyncio.create_task(engine.reload("first"))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not reloading.done()
            gate.set()
            assert await reloading == ["S01/A"]
        assert told
