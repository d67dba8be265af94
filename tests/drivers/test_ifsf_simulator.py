"""A simulated station that speaks IFSF, over real sockets: every sale once, as the pump has it; and by the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pumpwatch import DeviceIdentity, NotReachable, Quality, Site, TankReading, Transaction
from pumpwatch.acquisition import Displays
from pumpwatch.clock import Clock, SystemClock
from pumpwatch.engine import Engine
from pumpwatch.line import WireLine
from pumpwatch.plugins import Plugins
from pumpwatch.settings import LineAddress, parse_settings
from pumpwatch_ifsf import IfsfDriver, IfsfSettings
from pumpwatch_sim.fleet import Fleet, LineEntry, Stations
from pumpwatch_sim.live.player import StationPlayer
from pumpwatch_sim.live.sim import Sim, running
from pumpwatch_sim.staging import stage

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
Simulated = Callable[[], AbstractAsyncContextManager["Station"]]


class HandClock(Clock):
    """Time stands still until a test moves it."""

    def __init__(self) -> None:
        self._passed = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return self._passed

    async def sleep(self, seconds: float) -> None:
        await asyncio.get_running_loop().create_future()

    def deadline(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)

    def move(self, seconds: float) -> None:
        self._passed += seconds


class Station:
    """The first station of a busy county, its only IFSF line, and the hand on its clock."""

    def __init__(self, sim: Sim, clock: HandClock) -> None:
        self.clock = clock
        outlet = sim.outlets["S01"]
        self.player: StationPlayer = outlet.player
        (self.offer,) = [line.offer for line in outlet.lines if line.protocol == "ifsf"]

    def line(self) -> WireLine:
        return WireLine(LineAddress.parse(self.offer.address))

    def took(self) -> dict[tuple[str, int], int]:
        """How long each of them took, seconds, by nozzle and end."""
        return {
            (nozzle.nozzle_id, sale.end_s): sale.end_s - sale.start_s
            for dispenser in self.player.dispensers
            for nozzle in dispenser.nozzles
            for sale in nozzle.sales
            if sale is not None
        }

    def sold(self) -> set[tuple[Any, ...]]:
        """Every sale in the memories of the pumps."""
        return {
            (
                nozzle.nozzle_id,
                (sale.sequence - 1) % 9_999 + 1,
                sale.end_s,
                sale.volume,
                sale.amount,
                sale.price,
                sale.totalizer,
            )
            for dispenser in self.player.dispensers
            for nozzle in dispenser.nozzles
            for sale in nozzle.sales
            if sale is not None
        }


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    @asynccontextmanager
    async def simulated() -> AsyncIterator[Station]:
        clock = HandClock()
        fleet = Fleet(
            name="ifsf", stations=Stations(count=1, hours="flat", demand=20.0), line=(LineEntry(protocol="ifsf"),)
        )
        async with running(stage(fleet, clock.now()), clock, tmp_path / "sim") as sim:
            yield Station(sim, clock)

    return simulated


def told(sale: Transaction) -> tuple[Any, ...]:
    figures = (sale.volume_l, sale.amount_cny, sale.unit_price, sale.totalizer_l or 0.0)
    return (sale.nozzle_id, sale.seq, int(sale.end.timestamp()), *(round(figure * 100) for figure in figures))


async def test_every_sale_of_a_dispenser_is_told_once(simulated: Simulated) -> None:
    async with simulated() as station:
        pump = station.player.dispensers[0]
        ids = tuple(nozzle.nozzle_id for nozzle in pump.nozzles)
        line = station.line()
        driver = IfsfDriver(IfsfSettings(node=pump.unit), Site("S01", "D1", pump.dispenser_id, ids), line)
        displays = Displays(driver.site)
        sold = {sale for sale in station.sold() if sale[0] in ids}
        found: list[Transaction] = []
        took: dict[tuple[str, int], int] = {}
        states: set[object] = set()
        try:
            for _ in range(450):
                station.clock.move(2.0)
                async with asyncio.timeout(30):
                    reading = await driver.read(driver.tags(), station.clock.now())
                assert {sample.quality for sample in reading.samples} == {Quality.GOOD}
                at = station.clock.monotonic()
                assert list(displays.look(reading.samples, at, at)) == []
                states |= {sample.value for sample in reading.samples if sample.tag.endswith(".state")}
                found += [record for record in reading.records if isinstance(record, Transaction)]
                sold |= {sale for sale in station.sold() if sale[0] in ids}
                took |= station.took()
        finally:
            line.close()
        assert len(found) > 20
        assert sorted(map(told, found)) == sorted(sold)
        seen = [(sale.end - sale.start).total_seconds() for sale in found]
        true = [took[sale.nozzle_id, int(sale.end.timestamp())] for sale in found]
        watched = [(a, b) for a, b in zip(seen, true, strict=True) if a]
        assert len(watched) >= len(found) - 4 * len(ids) - 3
        assert all(abs(a - b) <= 3 for a, b in watched)
        assert {sale.attributes["security_checksum"] for sale in found} == {"sound"}
        assert states == {0, 1, 2}
        volumes = {sample.tag: sample.value for sample in reading.samples}
        for number, nozzle in enumerate(pump.nozzles, 1):
            assert volumes[f"nozzle-{number}.totalizer"] == nozzle.totalizer / 100
            assert volumes[f"nozzle-{number}.volume"] == nozzle.volume / 100


async def test_its_nodes_are_found_or_named(simulated: Simulated) -> None:
    async with simulated() as station:
        line = station.line()
        try:
            gauge = IfsfDriver(IfsfSettings(), Site("S01", "ATG", tank_ids=("S01-T1",)), line)
            async with asyncio.timeout(30):
                await gauge.connect()
                reading = await gauge.read(gauge.tags(), station.clock.now())
            (level,) = [record for record in reading.records if isinstance(record, TankReading)]
            assert level.height_mm == pytest.approx(station.player.tanks[0].look().height_mm, abs=0.001)
            pumps = len(station.player.dispensers)
            nozzles = tuple(nozzle.nozzle_id for nozzle in station.player.dispensers[0].nozzles)
            driver = IfsfDriver(IfsfSettings(), Site("S01", "D1", "S01-D1", nozzles), line)
            async with asyncio.timeout(30):
                if pumps > 1:
                    with pytest.raises(Exception, match="give each a device with its `node`"):
                        await driver.connect()
                else:
                    await driver.connect()
        finally:
            line.close()


async def test_a_node_that_is_not_there_stays_silent(simulated: Simulated) -> None:
    async with simulated() as station:
        line = station.line()
        driver = IfsfDriver(IfsfSettings(node=99), Site("S01", "D1", "S01-D1", ("S01-N01",)), line)
        try:
            with pytest.raises((TimeoutError, NotReachable)):
                async with asyncio.timeout(0.2):
                    await driver.read(driver.tags(), station.clock.now())
        finally:
            line.close()


async def test_a_station_through_the_engine(simulated: Simulated, tmp_path: Path) -> None:
    async with simulated() as station:
        devices = "".join(
            f"""
  [[stations.devices]]
  id = "D{pump.unit}"
  driver = "ifsf"
  line = "{station.offer.address}"
  dispenser = "{pump.dispenser_id}"
  nozzles = {[nozzle.nozzle_id for nozzle in pump.nozzles]}
  settings = {{ node = {pump.unit} }}
"""
            for pump in station.player.dispensers
        )
        gauge = f"""
  [[stations.devices]]
  id = "ATG"
  driver = "ifsf"
  line = "{station.offer.address}"
  tanks = {[tank.tank_id for tank in station.player.tanks]}
  settings = {{ node = 1 }}
"""
        scans = "fast_s = 0.05\nnormal_s = 0.2\nslow_s = 0.5\ntimeout_s = 30\n"
        config = f'[acquisition]\n{scans}[[stations]]\nid = "S01"\n{devices}{gauge}'
        async with Engine.open(
            parse_settings(config.replace("'", '"')), tmp_path / "var", Plugins.discover(), SystemClock()
        ) as engine:
            running_ = asyncio.create_task(engine.run())
            kinds: dict[type, int] = {}
            try:
                with engine.hub.subscribe(10_000) as stream:
                    async with asyncio.timeout(60):
                        async for batch in stream:
                            station.clock.move(2.0)
                            for record in batch.records:
                                kinds[type(record)] = kinds.get(type(record), 0) + 1
                            if kinds.get(Transaction, 0) > 100 and {DeviceIdentity, TankReading} <= kinds.keys():
                                break
                assert all(device.connected for device in engine.acquisition.devices)
                latest = engine.hub.latest
                assert (
                    latest["S01/D1/identity.wm_software_version"].value
                    == latest["S01/D1/identity.firmware_version"].value
                )
                registered = station.player.plan.dispensers[0].registered
                assert latest["S01/D1/identity.serial"].value == (registered.serial or "").replace("-", "")
                assert latest["S01/D1/identity.firmware_version"].value == registered.firmware_version
                assert latest["S01/ATG/tank-1.height"].quality.is_good
                kept = await engine.historian.transactions(limit=10_000)
                assert len({sale.key for sale in kept}) == len(kept) > 90, "the last may still be on their way"
            finally:
                running_.cancel()
                await asyncio.gather(running_, return_exceptions=True)
