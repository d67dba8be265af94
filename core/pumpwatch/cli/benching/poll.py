"""Suite ``poll``: our Modbus driver with decode and scaling against plain pymodbus block reads of the same county."""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumpwatch.cli.benching.county import simulated
from pumpwatch.cli.demo import configuration
from pumpwatch.engine import wire
from pumpwatch.errors import BadConfig
from pumpwatch.model import ScanClass
from pumpwatch.plugins import Plugins
from pumpwatch.settings import parse_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SECONDS = 4.0
"""Length of each measured round."""
ROUNDS = 3
DISPENSER_BLOCK = (100, 80)
"""First address and count of the live registers of the generic dispenser."""


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """Reads and values per CPU-second, and the ratio to the peer."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        with simulated(out, "--stations", "5", "--no-cheats") as county:
            return asyncio.run(_poll_rounds(county.address_book, out))


async def _poll_rounds(county: dict[str, Any], out: Path) -> tuple[dict[str, float], dict[str, float]]:
    try:
        from pymodbus.client import AsyncModbusTcpClient  # noqa: PLC0415 - the peer; an extra
    except ImportError as error:
        raise BadConfig("the poll suite measures against pymodbus; run: pip install 'pumpwatch[modbus]'") from error
    wiring = wire(parse_settings(configuration(county, 0)), Plugins.discover(), out)
    stations = county["stations"]
    clients = [AsyncModbusTcpClient("127.0.0.1", port=s["modbus_port"]) for s in stations]
    drivers = [next(d.driver for d in wiring.devices if d.site.station_id == s["station_id"]) for s in stations]
    fast = [[t for t in d.tags() if t.scan is ScanClass.FAST] for d in drivers]
    for client in clients:
        await client.connect()

    async def ours(i: int) -> int:
        return len((await drivers[i].read(fast[i], datetime.now(UTC))).samples)

    async def theirs(i: int) -> int:
        address, count = DISPENSER_BLOCK
        return len((await clients[i].read_holding_registers(address, count=count, device_id=1)).registers)

    results: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        for name, work in (("ours", ours), ("theirs", theirs)):
            results[name].append(await _closed_loop(work, len(stations)))
    for client in clients:
        client.close()
    for line in wiring.lines:
        line.close()
    reads, values = np.median(results["ours"], axis=0)
    peer_reads, registers = np.median(results["theirs"], axis=0)
    return (
        {
            "poll_reads_per_cpu_s": float(reads),
            "poll_values_per_cpu_s": float(values),
            "poll_ratio_to_pymodbus": float(reads / peer_reads),
        },
        {"pymodbus_block_reads_per_cpu_s": float(peer_reads), "pymodbus_registers_per_cpu_s": float(registers)},
    )


async def _closed_loop(work: Callable[[int], Awaitable[int]], width: int) -> tuple[float, float]:
    """Reads and values per CPU-second of this process with one read outstanding per connection."""
    deadline = time.monotonic() + SECONDS
    reads = values = 0

    async def one(i: int) -> None:
        nonlocal reads, values
        while time.monotonic() < deadline:
            count = await work(i)
            values += count
            reads += 1

    began = time.process_time()
    await asyncio.gather(*(one(i) for i in range(width)))
    spent = time.process_time() - began
    return reads / spent, values / spent
