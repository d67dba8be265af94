"""Suite ``poll``: our Modbus driver against pymodbus, OPC UA, and one dead device among fifty.

A block is 60 registers. Ours are 48 numbers with decode, scaling, time and quality; pymodbus hands out the registers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch.acquisition import Acquisition, Device
from pumpwatch.cli.benching import opcua
from pumpwatch.cli.serving import loop_factory
from pumpwatch.clock import SystemClock
from pumpwatch.contracts import Site
from pumpwatch.errors import BadConfig
from pumpwatch.hub import Hub
from pumpwatch.line import WireLine
from pumpwatch.plugins import Plugins
from pumpwatch.settings import AcquisitionSettings, LineAddress

if TYPE_CHECKING:
    from pumpwatch.contracts import Driver

SECONDS = 2.0
"""Length of each measured round."""
ROUNDS = 5
CONNECTIONS = 4
BLOCK = 60
"""Registers of a read."""
BLOCKS = 16
"""Reads of which a pipelined scan is made."""
DEVICES = 50
SCANNED_S = 8.0
"""Of the county with and without a dead device."""
KINDS = (("u32", 2),) * 3 + (("u16", 1),) * 9
"""Types and widths of a quarter of a block."""


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """Ratios to pymodbus's asynchronous client, per CPU-second of the client, and what a dead device costs others."""
    with tempfile.TemporaryDirectory() as scratch, _server() as port:
        one, many = Path(scratch) / "one.toml", Path(scratch) / "many.toml"
        _write_map(one, 1)
        _write_map(many, BLOCKS)
        on_asyncio = asyncio.run(_compare(port, one, many))
        figures = {
            "modbus_vs_pymodbus_asyncio": on_asyncio["ours"] / on_asyncio["pymodbus"],
            "modbus_pipelined_vs_pymodbus": on_asyncio["pipelined"] / on_asyncio["pymodbus"],
        }
        baselines = {"pymodbus_block_reads_per_cpu_s": on_asyncio["pymodbus"]}
        if (uvloop := loop_factory()) is not None:
            with asyncio.Runner(loop_factory=uvloop) as runner:
                on_uvloop = runner.run(_compare(port, one, many))
            figures["modbus_vs_pymodbus_uvloop"] = on_uvloop["ours"] / on_asyncio["pymodbus"]
            figures["modbus_pipelined_uvloop_vs_pymodbus"] = on_uvloop["pipelined"] / on_asyncio["pymodbus"]
            baselines["pymodbus_block_reads_per_cpu_s_uvloop"] = on_uvloop["pymodbus"]
        figures["dead_device_p99_ratio"], baselines["scan_delay_p99_ms"] = asyncio.run(_dead_device(port, one))
    of_opcua, beside = opcua.measure()
    return figures | of_opcua, baselines | beside


@contextlib.contextmanager
def _server() -> Iterator[int]:
    command = [sys.executable, "-m", "pumpwatch.cli.benching.modbus_server"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        yield int(process.stdout.readline() if process.stdout else "")
    finally:
        process.communicate()


def _write_map(file: Path, blocks: int) -> None:
    lines = ['title = "bench"', "nozzles = 0", f"max_registers = {BLOCK}"]
    for block in range(blocks):
        address = 2 * BLOCK * block
        for place, (kind, width) in enumerate(KINDS * 4):
            lines += ["[[tags]]", f'name = "v{block}-{place}"', f"address = {address}", f'type = "{kind}"']
            lines += ["scale = 0.01", 'scan = "fast"', 'description = "a number"']
            address += width
    file.write_text("\n".join(lines), encoding="utf-8")


def _drivers(port: int, file: Path, count: int, outstanding: int = 1) -> tuple[list[WireLine], list[Driver]]:
    kind = Plugins.discover().driver("modbus")
    lines = [WireLine(LineAddress.parse(f"tcp://127.0.0.1:{port}")) for _ in range(count)]
    settings = kind.Settings.model_validate({"map": file, "unit": 1, "outstanding": outstanding})
    return lines, [kind(settings, Site("S01", f"D{n}"), line) for n, line in enumerate(lines, 1)]


async def _compare(port: int, one: Path, many: Path) -> dict[str, float]:
    """Blocks per CPU-second of each; the rounds alternate."""
    try:
        from pymodbus.client import AsyncModbusTcpClient  # noqa: PLC0415 - the peer; an extra
    except ImportError as error:
        raise BadConfig("the poll suite measures against pymodbus; run: pip install 'pumpwatch[modbus]'") from error
    clients = [AsyncModbusTcpClient("127.0.0.1", port=port) for _ in range(CONNECTIONS)]
    for client in clients:
        await client.connect()
    lines, drivers = _drivers(port, one, CONNECTIONS)
    more_lines, wide = _drivers(port, many, CONNECTIONS, outstanding=BLOCKS)
    tags, all_tags = drivers[0].tags(), wide[0].tags()

    async def ours(i: int) -> int:
        await drivers[i].read(tags, datetime.now(UTC))
        return 1

    async def pipelined(i: int) -> int:
        await wide[i].read(all_tags, datetime.now(UTC))
        return BLOCKS

    async def pymodbus(i: int) -> int:
        await clients[i].read_holding_registers(0, count=BLOCK, device_id=1)
        return 1

    found: dict[str, list[float]] = {"ours": [], "pipelined": [], "pymodbus": []}
    for _ in range(ROUNDS):
        for name, work in (("ours", ours), ("pipelined", pipelined), ("pymodbus", pymodbus)):
            found[name].append(await _closed_loop(work))
    for client in clients:
        client.close()
    for line in (*lines, *more_lines):
        line.close()
    return {name: float(np.median(rates)) for name, rates in found.items()}


async def _closed_loop(work: Callable[[int], Awaitable[int]]) -> float:
    """Blocks per CPU-second of this process, each connection asking as soon as it was answered."""
    deadline = time.monotonic() + SECONDS
    blocks = 0

    async def one(i: int) -> None:
        nonlocal blocks
        while time.monotonic() < deadline:
            blocks += await work(i)

    began = time.process_time()
    await asyncio.gather(*(one(i) for i in range(CONNECTIONS)))
    return blocks / (time.process_time() - began)


async def _dead_device(port: int, file: Path) -> tuple[float, float]:
    """How late the scans of 49 devices begin when the fiftieth is silent, over when it is not (99th percentile)."""

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    logging.getLogger("pumpwatch.acquisition").setLevel(logging.ERROR)  # that it is dead need not be said
    held: list[asyncio.StreamWriter] = []
    dead = await asyncio.start_server(silent, "127.0.0.1", 0)
    dead_port: int = dead.sockets[0].getsockname()[1]
    ratios, alive_ms = [], []
    for _ in range(ROUNDS):
        late = {last: await _scanned(port, file, last) for last in (port, dead_port)}
        ratios.append(late[dead_port] / late[port])
        alive_ms.append(late[port])
    for writer in held:
        writer.close()
    dead.close()
    await dead.wait_closed()
    return float(np.median(ratios)), float(np.median(alive_ms))


async def _scanned(port: int, file: Path, last_port: int) -> float:
    """Milliseconds by which the scans of the first 49 devices are late, the 99th percentile."""
    lines, drivers = _drivers(port, file, DEVICES - 1)
    last_lines, last = _drivers(last_port, file, 1)
    devices = [
        Device(driver.site, driver, line.turn)
        for driver, line in zip([*drivers, *last], [*lines, *last_lines], strict=True)
    ]
    acquisition = Acquisition(devices, AcquisitionSettings(fast_s=0.5, timeout_s=0.5), Hub(), SystemClock())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SCANNED_S):
            await acquisition.run()
    for line in (*lines, *last_lines):
        line.close()
    delays = [delay for device in devices[:-1] for delay in device.delays]
    return float(np.percentile(delays, 99)) * 1000
