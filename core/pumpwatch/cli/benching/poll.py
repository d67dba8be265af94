"""Suite ``poll``: our Modbus driver against pymodbus, OPC UA, and one dead device among fifty.

A block is 60 registers. Ours are 48 numbers with decode, scaling, time and quality; pymodbus hands out the registers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

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

SECONDS = 0.4
"""Length of each measured stretch; they alternate, so that a machine that others use too slows all alike."""
STRETCHES = 15
ROUNDS = 5
"""Of the county with and without a dead device."""
CONNECTIONS = 50
GATEWAYS = 4
"""Connections on which several reads are under way."""
BLOCK = 60
"""Registers of a read."""
BLOCKS = 16
"""Reads of which a pipelined scan is made."""
DEVICES = 50
SCANNED_S = 8.0
"""Length of each of its rounds."""
KINDS = (("u32", 2),) * 3 + (("u16", 1),) * 9
"""Types and widths of a quarter of a block."""


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """Ratios to pymodbus's asynchronous client, per CPU-second of the client, and what a dead device costs others.

    ``…_user`` are the same by user time, without what the system spends on sending and receiving. The bare socket does
    nothing else: no client that asks one question at a time can be better than its ratio to pymodbus. It makes a call
    to send and one to receive a block, as ours and pymodbus do, and they one more to wait, shared by all connections
    that are ready; pipelined, the three are shared by all blocks of a scan.
    """
    with tempfile.TemporaryDirectory() as scratch, _server() as port:
        one, many = Path(scratch) / "one.toml", Path(scratch) / "many.toml"
        _write_map(one, 1)
        _write_map(many, BLOCKS)
        rates = _compare(port, one, many)
        figures, baselines = _ratios(rates)
        figures["dead_device_p99_ratio"], baselines["scan_delay_p99_ms"] = asyncio.run(_dead_device(port, one))
    of_opcua, beside = opcua.measure()
    return figures | of_opcua, baselines | beside


class _Rate(NamedTuple):
    """Blocks per CPU-second of this process in one stretch."""

    all: float
    user: float


def _ratios(rates: Mapping[str, Sequence[_Rate]]) -> tuple[dict[str, float], dict[str, float]]:
    """Figures and baselines: the median of what was measured side by side."""
    named = {
        "modbus_vs_pymodbus_asyncio": "asyncio ours",
        "modbus_pipelined_vs_pymodbus": "asyncio pipelined",
        "modbus_vs_pymodbus_uvloop": "uvloop ours",
        "modbus_pipelined_uvloop_vs_pymodbus": "uvloop pipelined",
        "bare_socket_vs_pymodbus": "bare",
    }
    theirs, figures = rates["asyncio pymodbus"], {}
    for figure, way in named.items():
        pairs = list(zip(rates.get(way, ()), theirs, strict=False))
        if pairs:
            figures[figure] = float(np.median([ours.all / other.all for ours, other in pairs]))
            figures[f"{figure}_user"] = float(np.median([ours.user / other.user for ours, other in pairs]))
    baselines = {
        "pymodbus_block_reads_per_cpu_s": "asyncio pymodbus",
        "pymodbus_block_reads_per_cpu_s_uvloop": "uvloop pymodbus",
        "bare_socket_blocks_per_cpu_s": "bare",
    }
    medians = {
        name: float(np.median([rate.all for rate in rates[way]])) for name, way in baselines.items() if way in rates
    }
    return figures, medians


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


def _compare(port: int, one: Path, many: Path) -> dict[str, list[_Rate]]:
    """The rates of each way, stretch by stretch."""
    found: dict[str, list[_Rate]] = {}
    bare = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    with contextlib.ExitStack() as stack:
        loops = {"asyncio": stack.enter_context(asyncio.Runner())}
        if (uvloop := loop_factory()) is not None:
            loops["uvloop"] = stack.enter_context(asyncio.Runner(loop_factory=uvloop))
        clients = {name: runner.run(_Clients.connected(port, one, many)) for name, runner in loops.items()}
        for _ in range(STRETCHES):
            for name, runner in loops.items():
                for way in ("ours", "pipelined", "pymodbus"):
                    found.setdefault(f"{name} {way}", []).append(runner.run(clients[name].stretch(way)))
            found.setdefault("bare", []).append(_bare(bare))
        for name, runner in loops.items():
            runner.run(clients[name].close())
    for connection in bare:
        connection.close()
    return found


class _Clients:
    """Ours, and pymodbus's, all connected; on one loop."""

    def __init__(self, port: int, one: Path, many: Path) -> None:
        try:
            from pymodbus.client import AsyncModbusTcpClient  # noqa: PLC0415 - the peer; an extra
        except ImportError as error:
            raise BadConfig("the poll suite measures against pymodbus; run: pip install 'pumpwatch[modbus]'") from error
        self._pymodbus = [AsyncModbusTcpClient("127.0.0.1", port=port) for _ in range(CONNECTIONS)]
        lines, self._drivers = _drivers(port, one, CONNECTIONS)
        more, self._wide = _drivers(port, many, GATEWAYS, outstanding=BLOCKS)
        self._lines = [*lines, *more]
        self._tags, self._all_tags = tuple(self._drivers[0].tags()), tuple(self._wide[0].tags())

    @classmethod
    async def connected(cls, port: int, one: Path, many: Path) -> _Clients:
        """Every connection open and every scan planned."""
        clients = cls(port, one, many)
        for client in clients._pymodbus:
            await client.connect()
        for work, count in clients._ways().values():
            for i in range(count):
                await work(i)
        return clients

    def _ways(self) -> dict[str, tuple[Callable[[int], Awaitable[int]], int]]:
        """What one connection does and how many blocks it brings, and on how many connections."""

        async def ours(i: int) -> int:
            await self._drivers[i].read(self._tags, datetime.now(UTC))
            return 1

        async def pipelined(i: int) -> int:
            await self._wide[i].read(self._all_tags, datetime.now(UTC))
            return BLOCKS

        async def pymodbus(i: int) -> int:
            await self._pymodbus[i].read_holding_registers(0, count=BLOCK, device_id=1)
            return 1

        return {
            "ours": (ours, CONNECTIONS),
            "pipelined": (pipelined, GATEWAYS),
            "pymodbus": (pymodbus, CONNECTIONS),
        }

    async def stretch(self, way: str) -> _Rate:
        """Each connection asks as soon as it was answered."""
        work, count = self._ways()[way]
        deadline = time.monotonic() + SECONDS

        async def one(i: int) -> int:
            blocks = 0
            while time.monotonic() < deadline:
                blocks += await work(i)
            return blocks

        began = os.times()
        return _rate(sum(await asyncio.gather(*(one(i) for i in range(count)))), began)

    async def close(self) -> None:
        """Let go of all."""
        for client in self._pymodbus:
            client.close()
        for line in self._lines:
            line.close()
        await asyncio.sleep(0)  # the loop closes what was let go


def _bare(connections: Sequence[socket.socket]) -> _Rate:
    """What sending and receiving cost at the least: no loop, no task, and nothing is looked at."""
    request = struct.pack(">HHHBBHH", 0, 0, 6, 1, 3, 0, BLOCK)
    size = 9 + 2 * BLOCK
    with selectors.DefaultSelector() as selector:
        began = os.times()
        for connection in connections:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
            connection.send(request)
        deadline, waiting, blocks = time.monotonic() + SECONDS, len(connections), 0
        while waiting:
            goes_on = time.monotonic() < deadline
            for key, _ in selector.select():
                connection = cast("socket.socket", key.fileobj)
                blocks += len(connection.recv(512)) // size
                if goes_on:
                    connection.send(request)
                else:
                    waiting -= 1
        return _rate(blocks, began)


def _rate(blocks: int, began: os.times_result) -> _Rate:
    ended = os.times()
    user, system = ended.user - began.user, ended.system - began.system
    return _Rate(blocks / max(user + system, 1e-3), blocks / max(user, 1e-3))


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
