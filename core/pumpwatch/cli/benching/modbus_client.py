"""One client of the suite ``poll`` in a process of its own, as the reference measures: ours or pymodbus's, on one loop.

Run by its path, so that pymodbus finds a process without anything of ours. It connects, says so, and then takes a
stretch a line: which way, and how many seconds. It answers each with blocks and CPU-seconds, user's and all.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    Work: TypeAlias = Callable[[int], Awaitable[object]]

HOST = "127.0.0.1"
CONNECTIONS = 50
GATEWAYS = 4
"""Connections on which several reads are under way."""
BLOCK = 60
"""Registers of a read."""
BLOCKS = 16
"""Reads of which a pipelined scan is made."""


class Way:
    """What one connection does, how many blocks that brings, and on how many connections."""

    def __init__(self, work: Work, blocks: int, connections: int) -> None:
        self._work = work
        self._blocks = blocks
        self._connections = connections

    async def stretch(self, seconds: float) -> int:
        """Each connection asks as soon as it was answered; the blocks that came."""
        deadline = time.monotonic() + seconds
        work, blocks = self._work, self._blocks

        async def one(i: int) -> int:
            brought = 0
            while True:
                await work(i)
                brought += blocks
                if time.monotonic() >= deadline:
                    return brought

        return sum(await asyncio.gather(*(one(i) for i in range(self._connections))))


async def of_pymodbus(port: int) -> dict[str, Way]:
    """Its asynchronous client; it hands out the registers."""
    from pymodbus.client import AsyncModbusTcpClient  # noqa: PLC0415 - only where it is measured

    clients = [AsyncModbusTcpClient(HOST, port=port, timeout=5) for _ in range(CONNECTIONS)]
    for client in clients:
        await client.connect()

    async def work(i: int) -> None:
        await clients[i].read_holding_registers(0, count=BLOCK, device_id=1)

    return {"pymodbus": Way(work, 1, CONNECTIONS)}


async def of_ours(port: int, one: str, many: str) -> dict[str, Way]:
    """The driver as acquisition calls it: 48 numbers of each block decoded and scaled, with time and quality."""
    from datetime import UTC, datetime  # noqa: PLC0415 - only where it is measured
    from pathlib import Path  # noqa: PLC0415 - likewise

    from pumpwatch.cli.benching.poll import drivers_on  # noqa: PLC0415 - likewise

    _, narrow = drivers_on(port, Path(one), CONNECTIONS)
    _, wide = drivers_on(port, Path(many), GATEWAYS, outstanding=BLOCKS)
    tags, all_tags = tuple(narrow[0].tags()), tuple(wide[0].tags())

    async def ours(i: int) -> None:
        await narrow[i].read(tags, datetime.now(UTC))

    async def pipelined(i: int) -> None:
        await wide[i].read(all_tags, datetime.now(UTC))

    return {"ours": Way(ours, 1, CONNECTIONS), "pipelined": Way(pipelined, BLOCKS, GATEWAYS)}


def measured(runner: asyncio.Runner, ways: dict[str, Way], lines: TextIO) -> None:
    """Do what the lines say."""
    for line in lines:
        name, seconds = line.split()
        before = resource.getrusage(resource.RUSAGE_SELF)
        blocks = runner.run(ways[name].stretch(float(seconds)))
        after = resource.getrusage(resource.RUSAGE_SELF)
        user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        print(json.dumps({"blocks": blocks, "user": user, "all": user + system}), flush=True)  # noqa: T201 - the answer


def main(loop: str, port: int, *maps: str) -> None:
    """Pymodbus's client without maps, else ours."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415 - an extra

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        ways = runner.run(of_ours(port, *maps) if maps else of_pymodbus(port))
        for way in ways.values():
            runner.run(way.stretch(0.0))
        print(json.dumps({"blocks": 0, "user": 0.0, "all": 0.0}), flush=True)  # noqa: T201 - it is ready
        measured(runner, ways, sys.stdin)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
