"""Part of suite ``poll``: the OPC UA driver against the plain library, both subscribed to the same server.

The server is a double in a process of its own (``opcua_server``): it answers from prepared bytes, so that what is
measured is the client. The figures are updates per CPU-second of the client from the socket to samples, and how long
10,000 items take to be subscribed, and to live again after the server has started again.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pumpwatch.engine import wire
from pumpwatch.errors import BadConfig, NotReachable
from pumpwatch.plugins import Plugins
from pumpwatch.settings import parse_settings

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from pumpwatch.contracts import Driver

ITEMS = 10_000
PERIOD_S = 0.5
"""Each item changes, and is told, once in this time."""
SECONDS = 4.0
"""Length of each measured round."""
ROUNDS = 3
"""Times that everything is subscribed anew; the shortest counts, for other work on the machine only makes it longer."""
SCAN_S = 1.0
RETRY_S = 0.2
"""Pause between two tries at a server that is away."""


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """Our figures and those of the library."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # the double ends connections in its own way
    with tempfile.TemporaryDirectory() as scratch:
        return asyncio.run(_measure(Path(scratch)))


async def _measure(scratch: Path) -> tuple[dict[str, float], dict[str, float]]:
    try:
        import asyncua  # noqa: F401, PLC0415 - the peer; an extra
    except ImportError as error:
        raise BadConfig("the poll suite measures against asyncua; run: pip install 'pumpwatch[opcua]'") from error
    async with _double() as (port, process):
        driver = _driver(scratch, port)
        subscribed_s = [await _subscribed(driver) for _ in range(ROUNDS)]
        updates = await _updates(driver)
        again_s = await _live_again(driver, process)
        await driver.close()
        library = await _library(port)
    return (
        {
            "opcua_updates_per_cpu_s": updates,
            "opcua_subscribe_10k_s": min(subscribed_s),
            "opcua_live_again_10k_s": again_s,
            "opcua_updates_ratio_to_asyncua": updates / library,
        },
        {"asyncua_updates_per_cpu_s": library},
    )


@asynccontextmanager
async def _double() -> AsyncIterator[tuple[int, Process]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        str(Path(__file__).with_name("opcua_server.py")),  # by its path: it needs nothing of the command line
        str(PERIOD_S),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None  # noqa: S101 - for the type checker
    assert process.stdout is not None  # noqa: S101
    try:
        yield int(await process.stdout.readline()), process
    finally:
        process.stdin.close()
        await process.wait()


def _driver(scratch: Path, port: int) -> Driver:
    """The driver as the server would make it, with a node map of so many tags."""
    nodes = [
        f'[[tags]]\nname = "value-{n}"\nnode = "ns=bench;i={1000 + n}"\nscan = "fast"' for n in range(1, ITEMS + 1)
    ]
    head = 'title = "bench"\n[namespaces]\nbench = "urn:pumpwatch:bench"'
    (scratch / "map.toml").write_text("\n".join([head, *nodes]), encoding="utf-8")
    configuration = f"""
[[stations]]
id = "S01"
[[stations.devices]]
id = "D1"
driver = "opcua"
line = "opc.tcp://127.0.0.1:{port}"
settings = {{ map = "{(scratch / "map.toml").as_posix()}", publishing_s = {PERIOD_S} }}
"""
    return wire(parse_settings(configuration), Plugins.discover(), scratch).devices[0].driver


async def _subscribed(driver: Driver) -> float:
    """Seconds from nothing to a session with every item subscribed."""
    await driver.close()
    began = time.perf_counter()
    await driver.connect()
    return time.perf_counter() - began


async def _updates(driver: Driver) -> float:
    """Updates per CPU-second of this process, from the socket to samples."""
    tags = [tag for tag in driver.tags() if tag.name.startswith("value-")]
    await asyncio.sleep(2 * PERIOD_S)
    await driver.read(tags, datetime.now(UTC))
    updates, began, spent = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < SECONDS:
        await asyncio.sleep(SCAN_S)
        before = datetime.now(UTC)
        updates += len((await driver.read(tags, before)).samples)
    return updates / (time.process_time() - spent)


async def _live_again(driver: Driver, process: Process) -> float:
    """Seconds from the moment the server listens again until every item has told a new value."""
    assert process.stdin is not None  # noqa: S101 - for the type checker
    assert process.stdout is not None  # noqa: S101
    tags = driver.tags()
    process.stdin.write(b"\n")
    listening = asyncio.create_task(process.stdout.readline())
    began: float | None = None
    live: set[str] = set()
    while len(live) < ITEMS:
        if began is None and listening.done():
            began, since = time.perf_counter(), datetime.now(UTC)
        try:
            await driver.connect()
            for sample in (await driver.read(tags, datetime.now(UTC))).samples:
                if began is not None and sample.quality.is_good and sample.at > since:
                    live.add(sample.tag)
        except NotReachable:
            pass
        await asyncio.sleep(RETRY_S)
    await listening
    return time.perf_counter() - (began or 0.0)


async def _library(port: int) -> float:
    """The same by the library's own subscription and handler."""
    from asyncua import Client, ua  # type: ignore[attr-defined]  # noqa: PLC0415 - the peer

    class Handler:
        updates = 0

        def datachange_notification(self, node: object, value: object, data: object) -> None:
            self.updates += 1

    handler = Handler()
    async with Client(f"opc.tcp://127.0.0.1:{port}", timeout=60) as client:
        subscription = await client.create_subscription(PERIOD_S * 1000, handler)
        nodes = [client.get_node(ua.NodeId(ua.Int32(1000 + n), ua.Int16(1))) for n in range(1, ITEMS + 1)]
        for first in range(0, ITEMS, 1000):
            await subscription.subscribe_data_change(nodes[first : first + 1000])
        await asyncio.sleep(2 * PERIOD_S)
        updates, spent = handler.updates, time.process_time()
        await asyncio.sleep(SECONDS)
        return (handler.updates - updates) / (time.process_time() - spent)
