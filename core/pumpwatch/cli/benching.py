"""``pumpwatch bench``: what this machine bears, measured against a named peer in the same run."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.progress import Progress

from pumpwatch.cli.demo import configuration
from pumpwatch.cli.output import AsJson, show, show_json, stderr
from pumpwatch.clock import SystemClock
from pumpwatch.engine import wire
from pumpwatch.errors import BadConfig, NotReachable
from pumpwatch.historian import Historian
from pumpwatch.historian.embedded import EmbeddedStore
from pumpwatch.model import Batch, SampleBatch, ScanClass, to_us
from pumpwatch.plugins import Plugins
from pumpwatch.settings import parse_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SECONDS = 4.0
"""Length of each measured round."""
ROUNDS = 3
DISPENSER_BLOCK = (100, 80)
"""First address and count of the live registers of the generic dispenser."""


class Suite(StrEnum):
    """What can be measured."""

    POLL = "poll"
    STORE = "store"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(bench)


def bench(
    suite: Annotated[Suite | None, typer.Argument(help="One suite; all without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure speed: figures, the same work by a named peer, and the machine. Ratios count, absolutes are context."""
    result: dict[str, Any] = {"figures": {}, "baselines": {}, "machine": _machine()}
    suites = {Suite.POLL: _poll, Suite.STORE: _store}
    with Progress(console=stderr, transient=True) as progress:
        for name in [suite] if suite else list(Suite):
            task = progress.add_task(name.value, total=None)
            figures, baselines = suites[name]()
            progress.update(task, total=1, completed=1)
            result["figures"] |= figures
            result["baselines"] |= baselines
    if as_json:
        show_json(result)
    else:
        rows = [{"figure": k, "value": f"{v:,.4g}"} for k, v in result["figures"].items()]
        rows += [{"figure": f"baseline: {k}", "value": f"{v:,.4g}"} for k, v in result["baselines"].items()]
        show(rows, as_json=False, title=result["machine"]["cpu"])


def _machine() -> dict[str, Any]:
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "load": os.getloadavg()[0],
    }


# ---------------------------------------------------------------- polling


def _poll() -> tuple[dict[str, float], dict[str, float]]:
    """Our Modbus driver with decode and scaling against plain pymodbus block reads, from the same simulated county."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        command = [sys.executable, "-m", "pumpwatch_sim", "serve", "--out", scratch, "--stations", "5", "--no-cheats"]
        sim = subprocess.Popen(  # noqa: S603 - our own program
            [*command, "--until-stdin-closes"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        try:
            county = _county(out, sim)
            return asyncio.run(_poll_rounds(county, out))
        finally:
            sim.terminate()
            sim.wait(10)
            if sim.stdin:
                sim.stdin.close()


def _county(out: Path, sim: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while not (out / "sim.json").is_file():
        if sim.poll() is not None or time.monotonic() > deadline:
            raise NotReachable("the simulated county did not start")
        time.sleep(0.1)
    found: dict[str, Any] = json.loads((out / "sim.json").read_text(encoding="utf-8"))
    return found


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


# ---------------------------------------------------------------- store


def _store() -> tuple[dict[str, float], dict[str, float]]:
    """Durable ingest through journal and store in batches of 1,000 samples, and the space they take."""
    with tempfile.TemporaryDirectory() as scratch:
        return asyncio.run(_ingest(Path(scratch))), {}


async def _ingest(folder: Path, batches: int = 300, tags: int = 1_000) -> dict[str, float]:
    store = EmbeddedStore(EmbeddedStore.Settings(), folder / "embedded")
    paths = tuple(f"S{i // 50:02}/D{i // 10 % 5 + 1}/nozzle-{i % 10}.volume" for i in range(tags))
    random = np.random.default_rng(1)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    good = np.zeros(tags, np.uint8)
    began, cpu = time.monotonic(), time.process_time()
    async with Historian.open(folder, store, SystemClock()) as historian:
        running = asyncio.create_task(historian.run())
        for second in range(batches):
            at = start + timedelta(seconds=second)
            values = np.round(random.normal(30, 10, tags), 2)
            times = np.full(tags, to_us(at))
            await historian.keep(Batch("S00", SampleBatch("S00", paths, times, values, (), good), (), at))
        await historian.flush()
        spent, took = time.process_time() - cpu, time.monotonic() - began
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())  # noqa: ASYNC240 - the measurement is over
    samples = batches * tags
    return {
        "store_samples_per_cpu_s": samples / spent,
        "store_samples_per_s": samples / took,
        "store_bytes_per_sample": size / samples,
    }
