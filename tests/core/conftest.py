"""A small station without wires: a driver that answers from memory, a ledger, an engine on a clock turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pumpwatch import (
    Dispenser,
    Driver,
    NotReachable,
    Nozzle,
    PluginSettings,
    Reading,
    Record,
    Sample,
    ScanClass,
    Station,
    Tag,
    Tank,
    Transaction,
    hookimpl,
)
from pumpwatch.database import Database, ledger_url
from pumpwatch.engine import Engine
from pumpwatch.ledger import Ledger
from pumpwatch.plugins import Plugins
from pumpwatch.settings import parse_settings
from pumpwatch.testing import FakeClock

CONFIG = """
[server]
name = "Bench"
[acquisition]
backoff_max_s = 5
[[stations]]
id = "S01"
  [[stations.devices]]
  id = "D1"
  driver = "memory"
  line = "tcp://127.0.0.1:1"
  dispenser = "S01-D1"
  nozzles = ["S01-N01"]
"""


@dataclass
class Forecourt:
    """What the driver in memory will say next."""

    values: dict[str, Any] = field(
        default_factory=lambda: {
            "nozzle-1.state": 0,
            "nozzle-1.volume": 0.0,
            "nozzle-1.amount": 0.0,
            "nozzle-1.flow": 0.0,
        }
    )
    records: list[Record] = field(default_factory=list)
    down: bool = False


def make_sale(end: datetime, seq: int, volume: float = 30.0, **more: Any) -> Transaction:
    """A filling of nozzle 1; honest unless told otherwise."""
    facts: dict[str, Any] = {
        "nozzle_id": "S01-N01",
        "seq": seq,
        "start": end - timedelta(seconds=60),
        "end": end,
        "volume_l": volume,
        "amount_cny": round(volume * 7.5, 2),
        "unit_price": 7.5,
        "encoder_pulses": round(volume * 100),
    }
    return Transaction(**(facts | more))


def memory_plugin(forecourt: Forecourt) -> ModuleType:
    """A plugin module whose driver reads ``forecourt``."""

    class Memory(Driver):
        name = "memory"
        Settings = PluginSettings

        def tags(self) -> Sequence[Tag]:
            return [Tag(name, scan=ScanClass.FAST) for name in forecourt.values]

        async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
            if forecourt.down:
                raise NotReachable("unplugged by the test")
            records, forecourt.records = forecourt.records, []
            return Reading([Sample(t.name, forecourt.values[t.name], now) for t in tags], records)

    module = ModuleType("memory_plugin")
    module.pumpwatch_drivers = hookimpl(lambda: [Memory])  # type: ignore[attr-defined]
    return module


@dataclass
class Rig:
    """A running engine and the hands that move it."""

    engine: Engine
    forecourt: Forecourt
    clock: FakeClock

    async def until(self, true: Callable[[], Any], seconds: float = 120) -> None:
        """Turn the clock in small steps, giving the disk's threads real time, until something is true.

        When the time is over a slow disk is given as much again in long steps, half a minute of the real one.
        """
        for real_s in (0.002, 30.0 * 0.25 / seconds):
            for _ in range(int(seconds / 0.25)):
                if true():
                    return
                await self.clock.advance(0.25)
                await asyncio.sleep(real_s)
        raise AssertionError(f"not true within {seconds:g} s")


async def register(data: Path) -> None:
    async with Database.open(ledger_url(data)) as database:
        await Ledger(database).put(
            [
                Station("S01", "示例一站", short_name="一站", attributes={"name_en": "Demo One"}),
                Dispenser("S01-D1", "S01", brand="memory", mainboard_serial="MB-1"),
                Tank("S01-T1", "S01", "92#", 30_000.0),
                Nozzle("S01-N01", "S01-D1", "S01-T1", "92#", pulse_l=0.01),
            ]
        )


@pytest.fixture
def rig(tmp_path: Path) -> Callable[[], Any]:
    """``async with rig() as r``: the same data folder each time, so that a second one is a restart."""
    forecourt, clock = Forecourt(), FakeClock()

    @asynccontextmanager
    async def running() -> AsyncIterator[Rig]:
        if not (tmp_path / "ledger.sqlite").exists():
            await register(tmp_path)
        plugins = Plugins.discover()
        plugins.register("memory", memory_plugin(forecourt), "test")
        async with Engine.open(parse_settings(CONFIG), tmp_path, plugins, clock) as engine:
            task = asyncio.create_task(engine.run())
            try:
                yield Rig(engine, forecourt, clock)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    return running


@pytest.fixture
def sale() -> Callable[..., Transaction]:
    """Makes fillings: ``sale(end, seq, encoder_pulses=…)``."""
    return make_sale
