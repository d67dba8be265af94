"""Both drivers read a simulated station, a process of its own, over real sockets."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from pumpwatch import DeviceIdentity, Quality, Site, TankReading, Transaction
from pumpwatch.line import WireLine
from pumpwatch.settings import LineAddress
from pumpwatch_modbus import ModbusDriver, ModbusSettings
from pumpwatch_tls350 import Tls350Driver, Tls350Settings

pytestmark = pytest.mark.integration


@asynccontextmanager
async def simulator(folder: Path) -> AsyncIterator[dict]:
    """One honest, busy station whose time hardly passes, so that nothing is sold between two reads; from sim.json."""
    command = ["-m", "pumpwatch_sim", "serve", "--out", str(folder), "--stations", "1", "--no-cheats"]
    command += ["--demand", "20", "--speed", "0.001", "--until-stdin-closes"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            assert process.stdout is not None
            assert b"listen" in await process.stdout.readline()
        (station,) = json.loads((folder / "sim.json").read_text())["stations"]
        yield station
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(60):
            await process.wait()


def ledger(folder: Path, table: str, key: str) -> dict[str, dict[str, str]]:
    with (folder / "ledger" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return {row[key]: row for row in csv.DictReader(file)}


async def test_both_drivers_read_a_simulated_station(tmp_path: Path) -> None:
    async with simulator(tmp_path) as station:
        pumps = WireLine(LineAddress.parse(f"tcp://127.0.0.1:{station['modbus_port']}"))
        tanks = WireLine(LineAddress.parse(f"tcp://127.0.0.1:{station['gauge_port']}"))
        try:
            await read_dispensers(tmp_path, station, pumps)
            await read_gauge(tmp_path, station, tanks)
        finally:
            pumps.close()
            tanks.close()


async def read_dispensers(folder: Path, station: dict, line: WireLine) -> None:
    """Every dispenser on one connection: its identity as registered, and the last four sales of each nozzle."""
    dispensers = ledger(folder, "dispensers", "dispenser_id")
    nozzles = ledger(folder, "nozzles", "nozzle_id")
    for n, dispenser in enumerate(station["dispensers"], 1):
        site = Site(station["station_id"], f"D{n}", dispenser["dispenser_id"], tuple(dispenser["nozzle_ids"]))
        driver = ModbusDriver(ModbusSettings(brand="generic-4", unit=dispenser["unit"]), site, line)
        async with asyncio.timeout(60):
            reading = await driver.read(driver.tags(), datetime.now(UTC))
        assert {sample.tag for sample in reading.samples} == {tag.name for tag in driver.tags()}
        assert all(sample.quality is Quality.GOOD for sample in reading.samples)
        (identity,) = [record for record in reading.records if isinstance(record, DeviceIdentity)]
        for key in ("serial", "mainboard_serial", "firmware_version", "firmware_digest", "tax_serial"):
            assert getattr(identity, key) == dispensers[site.dispenser_id or ""][key]
        assert identity.encoder_serials == {nozzle: nozzles[nozzle]["encoder_serial"] for nozzle in site.nozzle_ids}
        for nozzle in site.nozzle_ids:
            check_sales([r for r in reading.records if isinstance(r, Transaction) and r.nozzle_id == nozzle])


def check_sales(sales: list[Transaction]) -> None:
    """An honest nozzle's memory hangs together."""
    assert len(sales) == 4
    for before, after in pairwise(sales):
        assert after.seq == before.seq + 1
        assert before.end < after.end
        assert before.totalizer_l is not None
        assert after.totalizer_l == pytest.approx(before.totalizer_l + after.volume_l, abs=1e-6)
    for sale in sales:
        assert sale.start < sale.end
        assert sale.encoder_l == pytest.approx(sale.volume_l, abs=0.02)
        assert sale.amount_cny == pytest.approx(sale.volume_l * sale.unit_price, abs=0.011)


async def read_gauge(folder: Path, station: dict, line: WireLine) -> None:
    """Every tank holds something, and no more than the ledger allows."""
    site = Site(station["station_id"], "TLS", tank_ids=tuple(station["tank_ids"]))
    gauge = Tls350Driver(Tls350Settings(units=station["gauge_units"]), site, line)
    now = datetime.now(UTC)
    async with asyncio.timeout(60):
        reading = await gauge.read(gauge.tags(), now)
    samples = {sample.tag: sample for sample in reading.samples}
    assert all(sample.quality is Quality.GOOD for sample in samples.values())
    assert samples["status"].value == "normal"
    assert abs(samples["clock_difference"].value) <= 60
    registered = ledger(folder, "tanks", "tank_id")
    readings = [record for record in reading.records if isinstance(record, TankReading)]
    assert [record.tank_id for record in readings] == station["tank_ids"]
    for record in readings:
        assert abs(record.at - now) <= timedelta(seconds=90)
        assert record.volume_l is not None
        assert 0 < record.volume_l <= float(registered[record.tank_id]["capacity_l"])
