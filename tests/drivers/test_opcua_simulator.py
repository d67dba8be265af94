"""The OPC UA driver reads a simulated station, a process of its own: identities, tanks, and fillings as they end."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pumpwatch import DeviceIdentity, Driver, NozzleState, Quality, Reading, Site, TankReading, Transaction
from pumpwatch_opcua import OpcuaDriver, OpcuaSettings

pytestmark = pytest.mark.integration

FLEET = """
name = "opcua"
start = "now"
days = 3
[stations]
count = 1
outages = false
demand = 20.0
hours = "flat"
[[line]]
protocol = "opcua"
"""
SPEED = 20


@asynccontextmanager
async def simulator(folder: Path) -> AsyncIterator[dict[str, Any]]:
    """One busy, honest station behind an OPC UA server; its entry in sim.json."""
    (folder / "fleet.toml").write_text(FLEET, encoding="utf-8")
    command = ["-m", "pumpwatch_sim", "serve", "--out", str(folder), "--fleet", str(folder / "fleet.toml")]
    command += ["--no-cheats", "--speed", str(SPEED), "--until-stdin-closes"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(120):
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


async def test_a_simulated_station(tmp_path: Path) -> None:
    async with simulator(tmp_path) as station:
        (address,) = [line["address"] for line in station["lines"] if line["protocol"] == "opcua"]
        line = SimpleNamespace(address=address)
        sites = [
            Site(station["station_id"], f"D{n}", dispenser["dispenser_id"], tuple(dispenser["nozzle_ids"]))
            for n, dispenser in enumerate(station["dispensers"], 1)
        ]
        gauge = Site(station["station_id"], "TANKS", tank_ids=tuple(station["tank_ids"]))
        settings = OpcuaSettings(brand="county")
        drivers: list[Driver] = [OpcuaDriver(settings, site, line) for site in (*sites, gauge)]
        first = {}
        for driver in drivers:
            await driver.connect()
            first[driver.site.device_id] = await driver.read(driver.tags(), datetime.now(UTC))
        for site in sites:
            check_dispenser(tmp_path, site, first[site.device_id])
        check_tanks(tmp_path, gauge, first["TANKS"])
        await watch_fillings(drivers[:-1])
        for driver in drivers:
            await driver.close()


def check_dispenser(folder: Path, site: Site, reading: Reading) -> None:
    samples = {sample.tag: sample for sample in reading.samples}
    assert all(sample.quality is Quality.GOOD for sample in samples.values())
    assert {samples[f"nozzle-{n}.state"].value for n in range(1, len(site.nozzle_ids) + 1)} <= set(NozzleState)
    (identity,) = [record for record in reading.records if isinstance(record, DeviceIdentity)]
    registered = ledger(folder, "dispensers", "dispenser_id")[site.dispenser_id or ""]
    for key in ("serial", "mainboard_serial", "firmware_version", "firmware_digest", "tax_serial"):
        assert getattr(identity, key) == registered[key]
    nozzles = ledger(folder, "nozzles", "nozzle_id")
    assert identity.encoder_serials == {nozzle: nozzles[nozzle]["encoder_serial"] for nozzle in site.nozzle_ids}


def check_tanks(folder: Path, site: Site, reading: Reading) -> None:
    registered = ledger(folder, "tanks", "tank_id")
    readings = [record for record in reading.records if isinstance(record, TankReading)]
    assert tuple(record.tank_id for record in readings) == site.tank_ids
    for record in readings:
        assert record.volume_l is not None
        assert 0 < record.volume_l <= float(registered[record.tank_id]["capacity_l"])
        assert datetime.now(UTC) - record.at < timedelta(minutes=5)


async def watch_fillings(drivers: list[Driver]) -> None:
    """Until four fillings have ended: each is whole, in its order, and its totalizer grew by its volume."""
    fillings: dict[str, list[Transaction]] = {}
    before: dict[str, float] = {}
    async with asyncio.timeout(120):
        while sum(map(len, fillings.values())) < 4:
            await asyncio.sleep(0.25)
            for driver in drivers:
                reading = await driver.read(driver.tags(), datetime.now(UTC))
                assert not [s for s in reading.samples if s.quality is not Quality.GOOD]
                for sale in reading.records:
                    if isinstance(sale, Transaction):
                        fillings.setdefault(sale.nozzle_id, []).append(sale)
                        check_filling(sale, before)
    for sales in fillings.values():
        assert [sale.seq for sale in sales] == list(range(sales[0].seq, sales[0].seq + len(sales)))


def check_filling(sale: Transaction, before: dict[str, float]) -> None:
    assert sale.start <= sale.end
    assert sale.volume_l > 0
    assert sale.amount_cny == pytest.approx(sale.volume_l * sale.unit_price, abs=0.011)
    assert sale.encoder_pulses is not None
    assert sale.totalizer_l is not None
    if sale.nozzle_id in before:
        assert sale.totalizer_l == pytest.approx(before[sale.nozzle_id] + sale.volume_l, abs=0.011)
    before[sale.nozzle_id] = sale.totalizer_l
