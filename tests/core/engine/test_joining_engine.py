"""What waits to be joined goes through the engine whole: published once, kept at a stop, completed after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pumpwatch import (
    CHANNEL_UNHEARD,
    ChannelHeard,
    ChannelSale,
    DeviceEvent,
    Driver,
    NotReachable,
    Reading,
    Record,
    SalePart,
    Sample,
    ScanClass,
    Tag,
    Transaction,
    hookimpl,
)
from pumpwatch.engine import Engine
from pumpwatch.plugins import Plugins
from pumpwatch.settings import parse_settings
from pumpwatch.testing import FakeClock

CONFIG = """
[detection]
review_s = 0
[[stations]]
id = "S01"
  [[stations.devices]]
  id = "D1"
  driver = "pump"
  line = "tcp://127.0.0.1:1"
  nozzles = ["S01-N01"]
  [[stations.devices]]
  id = "TAX1"
  driver = "tax"
  line = "tcp://127.0.0.1:2"
  nozzles = ["S01-N01"]
"""


@dataclass
class Devices:
    """What the two drivers in memory will say next."""

    pump: list[Record | SalePart] = field(default_factory=list)
    tax: list[Record | SalePart] = field(default_factory=list)
    tax_is_down: bool = False


def plugin(devices: Devices) -> ModuleType:
    class Memory(Driver):
        def tags(self) -> Sequence[Tag]:
            return [Tag("ticks", scan=ScanClass.FAST)]

        async def read(self, tags: Sequence[Tag], now: Any) -> Reading:
            told: list[Record | SalePart] = getattr(devices, self.name)
            if self.name == "tax" and devices.tax_is_down:
                raise NotReachable("unplugged by the test")
            told, rest = told.copy(), told.clear()
            assert rest is None
            return Reading([Sample("ticks", 1, now)], told)

    class Pump(Memory):
        name = "pump"

    class Tax(Memory):
        name = "tax"
        sale_channels = frozenset({"tax"})

    module = ModuleType("two_devices")
    module.pumpwatch_drivers = hookimpl(lambda: [Pump, Tax])  # type: ignore[attr-defined]
    return module


@dataclass
class Rig:
    engine: Engine
    devices: Devices
    clock: FakeClock
    published: list[Record] = field(default_factory=list)

    async def pass_time(self, seconds: float, step: float = 0.5) -> None:
        for _ in range(int(seconds / step)):
            await self.clock.advance(step)
            await asyncio.sleep(0.001)

    def sale(self, seq: int = 1, **more: Any) -> Transaction:
        end = self.clock.now()
        return Transaction("S01-N01", seq, end - timedelta(minutes=1), end, 30.0, 240.0, 8.0, **more)

    def taxed(self, sale: Transaction) -> ChannelSale:
        before = sale.end - timedelta(seconds=4)
        return ChannelSale("S01-N01", sale.end, "tax", 30.0, 240.0, at_resolution_s=60.0, seen_after=before)

    async def stored(self) -> tuple[list[Transaction], list[DeviceEvent]]:
        await self.engine.historian.flush()
        day = timedelta(days=1)
        now = self.clock.now()
        events = await self.engine.historian.records(DeviceEvent, start=now - day, end=now + day)
        alarms = [e for e in events if isinstance(e, DeviceEvent) and e.detail.get("code")]
        return list(await self.engine.historian.transactions()), alarms


@pytest.fixture
def rig(tmp_path: Path) -> Callable[[], Any]:
    """The same folder and clock each time, so that a second one is a restart."""
    devices, clock = Devices(), FakeClock()

    @asynccontextmanager
    async def running() -> AsyncIterator[Rig]:
        plugins = Plugins()
        plugins.register("embedded", __import__("pumpwatch.historian", fromlist=["x"]), "test")
        plugins.register("two", plugin(devices), "test")
        async with Engine.open(parse_settings(CONFIG), tmp_path, plugins, clock) as engine:
            one = Rig(engine, devices, clock)

            async def note(batch: Any) -> None:
                one.published += batch.records

            engine.hub.attach(note)
            task = asyncio.create_task(engine.run())
            try:
                yield one
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    return running


async def test_a_joined_filling_is_published_once_and_its_parts_never(rig: Callable[[], Any]) -> None:
    async with rig() as one:
        await one.pass_time(5)
        sale = one.sale()
        one.devices.pump.append(sale)
        await one.pass_time(5)
        assert not [r for r in one.published if isinstance(r, Transaction)], "it waits"
        one.devices.tax += [one.taxed(sale), ChannelHeard("S01-N01", "tax", sale.end, sale.end)]
        await one.pass_time(5)
        whole = replace(sale, tax_l=30.0, tax_cny=240.0)
        assert [r for r in one.published if isinstance(r, Transaction)] == [whole]
        assert not [r for r in one.published if isinstance(r, ChannelSale | ChannelHeard)]
        assert await one.stored() == ([whole], [])


async def test_a_filling_goes_on_alone_when_its_patience_is_over_or_nobody_is_there(rig: Callable[[], Any]) -> None:
    async with rig() as one:
        await one.pass_time(5)
        sale = one.sale()
        one.devices.pump.append(sale)
        await one.pass_time(30)
        sales, events = await one.stored()
        assert sales == [sale]
        assert [event.detail["code"] for event in events] == [CHANNEL_UNHEARD]
        one.devices.tax_is_down = True
        await one.pass_time(5)
        later = one.sale(2)
        one.devices.pump.append(later)
        await one.pass_time(3)
        assert later in one.published


async def test_what_waits_at_a_stop_is_kept_and_completed_after_the_restart(rig: Callable[[], Any]) -> None:
    async with rig() as one:
        await one.pass_time(5)
        sale = one.sale()
        one.devices.pump.append(sale)
        await one.pass_time(3)
        assert sale not in one.published
    async with rig() as one:
        assert (await one.stored())[0] == [sale]
        await one.pass_time(3)
        told_again = [one.sale(2), sale]
        one.devices.pump += told_again
        one.devices.tax.append(one.taxed(told_again[0]))
        await one.pass_time(40)
        one.devices.tax.append(replace(one.taxed(sale), seen_after=None))
        await one.pass_time(620, 5.0)
        sales, events = await one.stored()
        assert {s.seq: s.tax_l for s in sales} == {1: 30.0, 2: 30.0}
        assert [e.detail["code"] for e in events] == [CHANNEL_UNHEARD], "no edit, nothing unmatched"
        fillings = [r for r in one.published if isinstance(r, Transaction)]
        assert [s.seq for s in fillings] == [2, 1], "each once; the one that was kept only when it was whole"


async def test_what_waits_is_kept_at_once_and_completed_after_a_crash(rig: Callable[[], Any]) -> None:
    async with rig() as one:
        await one.pass_time(5)
        sale = one.sale()
        one.devices.pump.append(sale)
        await one.pass_time(3)
        assert sale not in one.published
        assert await one.stored() == ([sale], []), "rules do not see it yet, but it is kept"
        one.engine.acquisition.joining.flush = dict  # the machine stops without a word
    async with rig() as one:
        await one.pass_time(3)
        assert [r for r in one.published if isinstance(r, Transaction)] == [], "it waits again"
        told_again = [one.sale(2), sale]
        one.devices.pump += told_again
        one.devices.tax.append(one.taxed(told_again[0]))
        await one.pass_time(40)
        one.devices.tax.append(replace(one.taxed(sale), seen_after=None))
        await one.pass_time(620, 5.0)
        sales, events = await one.stored()
        assert {s.seq: s.tax_l for s in sales} == {1: 30.0, 2: 30.0}
        assert [event.detail["code"] for event in events] == [CHANNEL_UNHEARD], "no edit, nothing unmatched"
        fillings = [r for r in one.published if isinstance(r, Transaction) and r.seq == 1]
        assert [(s.seq, s.tax_l) for s in fillings] == [(1, None), (1, 30.0)]


async def test_after_a_crash_a_filling_is_judged_though_its_channel_stays_silent(rig: Callable[[], Any]) -> None:
    async with rig() as one:
        await one.pass_time(5)
        sale = one.sale()
        one.devices.pump.append(sale)
        await one.pass_time(3)
        one.engine.acquisition.joining.flush = dict
    async with rig() as one:
        await one.pass_time(40)
        assert [r for r in one.published if isinstance(r, Transaction)] == [sale]
        sales, events = await one.stored()
        assert sales == [sale]
        assert [event.detail["code"] for event in events] == [CHANNEL_UNHEARD]
    async with rig() as one:
        await one.pass_time(40)
        assert [r for r in one.published if isinstance(r, Transaction)] == [], "decided before the second stop"
