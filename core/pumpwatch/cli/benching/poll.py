"""Suite ``poll``: our Modbus driver against pymodbus, OPC UA, and one dead device among fifty.

A block is 60 registers. Ours are 48 numbers with decode, scaling, time and quality; pymodbus hands out the registers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import json
import logging
import os
import random
import resource
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from pumpwatch.acquisition import Acquisition, Device
from pumpwatch.cli.benching import modbus_client, modbus_server, opcua
from pumpwatch.cli.benching.modbus_client import BLOCK, BLOCKS, CONNECTIONS
from pumpwatch.clock import SystemClock
from pumpwatch.contracts import Site
from pumpwatch.errors import BadConfig, NotReachable
from pumpwatch.hub import Hub
from pumpwatch.line import WireLine
from pumpwatch.plugins import Plugins
from pumpwatch.settings import AcquisitionSettings, LineAddress

if TYPE_CHECKING:
    from pumpwatch.contracts import Driver

SECONDS = 0.4
"""Length of each measured stretch; they alternate, so that a machine that others use too slows all alike."""
STRETCHES = 15
ROUNDS = 11
"""Of the county with and without a dead device."""
DEVICES = 50
SCANNED_S = 3.5
"""Length of each of its rounds."""
PERIOD_S = 0.1
"""So often each device is read: 1,700 scans a round, of which the 99th percentile is taken."""
KINDS = (("u32", 2),) * 3 + (("u16", 1),) * 9
"""Types and widths of a quarter of a block."""
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 23), "MALLOC_TRIM_THRESHOLD_": str(1 << 24)}
"""So set, glibc keeps freed blocks of 256 KiB instead of asking the system for another at each reply."""


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """Ratios to pymodbus's asynchronous client, per CPU-second of the client, and what a dead device costs others.

    As the reference measures, each client is alone in a process; their stretches alternate. ``modbus_vs_pymodbus_…``
    and ``modbus_pipelined_vs_pymodbus`` are over pymodbus on asyncio, which is the reference's unit, whatever loop ours
    is on; ``…_uvloop_vs_pymodbus_uvloop`` is over pymodbus on uvloop too. A deadline is not among it: acquisition
    sets one a scan. pymodbus on asyncio takes 256 KiB from the system for each reply and gives them back, unless the
    process has taught its allocator to keep them; ``…_kept`` are over pymodbus in a process that does.

    ``…_user`` are by user time, without what the system spends on sending and receiving. The bare socket does
    nothing else: no client that asks one question at a time can be better than its ratio to pymodbus. It makes a call
    to send and one to receive a block, as ours and pymodbus do, and they one more to wait, shared by all connections
    that are ready; pipelined, the three are shared by all blocks of a scan.
    """
    if importlib.util.find_spec("pymodbus") is None:
        raise BadConfig("the poll suite measures against pymodbus; run: pip install 'pumpwatch[modbus]'")
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
    figures = {}
    for figure, way, other in (
        ("modbus_vs_pymodbus_asyncio", "asyncio ours", "asyncio pymodbus"),
        ("modbus_vs_pymodbus_uvloop", "uvloop ours", "asyncio pymodbus"),
        ("modbus_pipelined_vs_pymodbus", "asyncio pipelined", "asyncio pymodbus"),
        ("modbus_pipelined_uvloop_vs_pymodbus", "uvloop pipelined", "asyncio pymodbus"),
        ("modbus_uvloop_vs_pymodbus_uvloop", "uvloop ours", "uvloop pymodbus"),
        ("modbus_vs_pymodbus_asyncio_kept", "asyncio ours", "kept pymodbus"),
        ("modbus_vs_pymodbus_uvloop_kept", "uvloop ours", "kept pymodbus"),
        ("modbus_pipelined_vs_pymodbus_kept", "asyncio pipelined", "kept pymodbus"),
        ("bare_socket_vs_pymodbus", "bare", "asyncio pymodbus"),
    ):
        pairs = list(zip(rates.get(way, ()), rates.get(other, ()), strict=False))
        if pairs:
            figures[figure] = float(np.median([ours.all / theirs.all for ours, theirs in pairs]))
            figures[f"{figure}_user"] = float(np.median([ours.user / theirs.user for ours, theirs in pairs]))
    baselines = {
        "pymodbus_block_reads_per_cpu_s": "asyncio pymodbus",
        "pymodbus_block_reads_per_cpu_s_kept": "kept pymodbus",
        "pymodbus_block_reads_per_cpu_s_uvloop": "uvloop pymodbus",
        "bare_socket_blocks_per_cpu_s": "bare",
    }
    medians = {
        name: float(np.median([rate.all for rate in rates[way]])) for name, way in baselines.items() if way in rates
    }
    return figures, medians


@contextlib.contextmanager
def _server() -> Iterator[int]:
    command = [sys.executable, "-P", modbus_server.__file__]
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


def drivers_on(port: int, file: Path, count: int, outstanding: int = 1) -> tuple[list[WireLine], list[Driver]]:
    """So many devices, each on a line of its own."""
    kind = Plugins.discover().driver("modbus")
    lines = [WireLine(LineAddress.parse(f"tcp://127.0.0.1:{port}")) for _ in range(count)]
    settings = kind.Settings.model_validate({"map": file, "unit": 1, "outstanding": outstanding})
    return lines, [kind(settings, Site("S01", f"D{n}"), line) for n, line in enumerate(lines, 1)]


def _compare(port: int, one: Path, many: Path) -> dict[str, list[_Rate]]:
    """The rates of each way, stretch by stretch."""
    found: dict[str, list[_Rate]] = {}
    bare = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    with contextlib.ExitStack() as stack:
        ways: dict[str, _Client] = {}
        for loop in ("asyncio", "uvloop") if importlib.util.find_spec("uvloop") else ("asyncio",):
            ours = stack.enter_context(_Client(loop, port, one, many))
            ways |= {f"{loop} ours": ours, f"{loop} pipelined": ours}
            ways[f"{loop} pymodbus"] = stack.enter_context(_Client(loop, port))
        ways["kept pymodbus"] = stack.enter_context(_Client("asyncio", port, environment=KEPT))
        for _ in range(STRETCHES):
            for way, client in ways.items():
                found.setdefault(way, []).append(client.stretch(way.split()[1]))
            found.setdefault("bare", []).append(_bare(bare))
    for connection in bare:
        connection.close()
    return found


class _Client:
    """A ``modbus_client`` in its process."""

    def __init__(self, loop: str, port: int, *maps: Path, environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-P", modbus_client.__file__, loop, str(port), *map(str, maps)]
        self._process = subprocess.Popen(  # noqa: S603 - ours
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def __enter__(self) -> _Client:
        self._told()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def stretch(self, way: str) -> _Rate:
        """One; it waits meanwhile."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{way} {SECONDS}\n")
            self._process.stdin.flush()
        told = self._told()
        return _rate(told["blocks"], told["all"], told["user"])

    def _told(self) -> dict[str, float]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._process.communicate()
            raise NotReachable(f"a measured client ended with {self._process.returncode}; why stands above")
        told: dict[str, float] = json.loads(line)
        return told


def _bare(connections: Sequence[socket.socket]) -> _Rate:
    """What sending and receiving cost at the least: no loop, no task, and nothing is looked at."""
    request = struct.pack(">HHHBBHH", 0, 0, 6, 1, 3, 0, BLOCK)
    size = 9 + 2 * BLOCK
    with selectors.DefaultSelector() as selector:
        began = resource.getrusage(resource.RUSAGE_SELF)
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
        ended = resource.getrusage(resource.RUSAGE_SELF)
        user, system = ended.ru_utime - began.ru_utime, ended.ru_stime - began.ru_stime
        return _rate(blocks, user + system, user)


def _rate(blocks: float, all_s: float, user_s: float) -> _Rate:
    return _Rate(blocks / max(all_s, 1e-3), blocks / max(user_s, 1e-3))


async def _dead_device(port: int, file: Path) -> tuple[float, float]:
    """How late the scans of 49 devices begin when the fiftieth is silent, over when it is not (99th percentile)."""

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    logging.getLogger("pumpwatch.acquisition").setLevel(logging.ERROR)  # that it is dead need not be said
    held: list[asyncio.StreamWriter] = []
    dead = await asyncio.start_server(silent, "127.0.0.1", 0)
    dead_port: int = dead.sockets[0].getsockname()[1]
    ratios, alive_ms = [], []
    for round_ in range(ROUNDS):
        late = {}
        for last in (port, dead_port) if round_ % 2 else (dead_port, port):
            random.seed(round_)  # the lines begin at the same phases, with the dead device and without
            gc.collect()
            late[last] = await _scanned(port, file, last)
        ratios.append(late[dead_port] / late[port])
        alive_ms.append(late[port])
    for writer in held:
        writer.close()
    dead.close()
    await dead.wait_closed()
    return float(np.median(ratios)), float(np.median(alive_ms))


async def _scanned(port: int, file: Path, last_port: int) -> float:
    """Milliseconds by which the scans of the first 49 devices are late, the 99th percentile."""
    lines, drivers = drivers_on(port, file, DEVICES - 1)
    last_lines, last = drivers_on(last_port, file, 1)
    devices = [
        Device(driver.site, driver, line.turn)
        for driver, line in zip([*drivers, *last], [*lines, *last_lines], strict=True)
    ]
    acquisition = Acquisition(devices, AcquisitionSettings(fast_s=PERIOD_S, timeout_s=0.5), Hub(), SystemClock())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SCANNED_S):
            await acquisition.run()
    for line in (*lines, *last_lines):
        line.close()
    delays = [delay for device in devices[:-1] for delay in device.delays]
    return float(np.percentile(delays, 99)) * 1000
