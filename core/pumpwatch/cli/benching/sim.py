"""Suite ``sim``: how fast the simulated county is made as files, and what it costs to run live."""

from __future__ import annotations

import asyncio
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumpwatch.cli.benching.county import County, cpu_s, need_proc, rss_mib, simulated
from pumpwatch.errors import NotReachable

WATCH_S = 0.1
"""How often the memory of a generating simulator is looked at."""
WARM_UP, SECONDS = 5, 20
"""Rounds of one second each: not counted, counted."""
_REQUEST = struct.Struct(">HHHBBHH")
_READ_HOLDING = 3
_FIRST, _COUNT = 100, 80
"""The live registers of a generic dispenser."""


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """The four figures of the suite; there is no peer."""
    need_proc()
    figures = generated("county")
    with tempfile.TemporaryDirectory() as scratch, simulated(Path(scratch), "--fleet", "demo") as county:
        figures["live_core_share"] = asyncio.run(polled(county, SECONDS))[1]
    with tempfile.TemporaryDirectory() as scratch, simulated(Path(scratch), "--fleet", "five-hundred") as county:
        served, figures["live_core_share_500"] = asyncio.run(polled(county, SECONDS))
    figures |= {"stations_served_at_1hz": statistics.median(served), "stations_served_worst_second": min(served)}
    return figures, {}


def generated(fleet: str) -> dict[str, float]:
    """What it costs to make a fleet's data set as Parquet, by two workers."""
    with tempfile.TemporaryDirectory() as scratch:
        out = str(Path(scratch) / "county")
        command = [sys.executable, "-m", "pumpwatch_sim", "generate", "--fleet", fleet, "--out", out]
        began, peak = time.monotonic(), 0.0
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*command, "--workers", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None:
            peak = max(peak, rss_mib(process.pid))
            time.sleep(WATCH_S)
        if process.returncode:
            raise NotReachable(f"{' '.join(command)} ended with code {process.returncode}; run it to see why")
        return {"generate_seconds": time.monotonic() - began, "generate_peak_rss_mib": peak}


# ---------------------------------------------------------------- live


async def polled(county: County, seconds: int, warm_up: int = WARM_UP) -> tuple[list[int], float]:
    """Ask every dispenser for its live registers once a second.

    Returns how many stations had answered for all their dispensers before the next second, for each second; and the
    simulator's share of one core meanwhile.
    """
    lines = [await Line.open(station) for station in county.address_book["stations"]]
    served: list[int] = []
    loop = asyncio.get_running_loop()
    try:
        begin = began = loop.time()
        spent = 0.0
        for second in range(warm_up + seconds):
            if second == warm_up:
                began, spent = loop.time(), cpu_s(county.pid)
            for line in lines:
                line.ask(second)
            await asyncio.sleep(begin + second + 1.0 - loop.time())
            if second >= warm_up:
                served.append(sum(not line.waiting for line in lines))
        share = (cpu_s(county.pid) - spent) / (loop.time() - began)
    finally:
        for line in lines:
            line.close()
    return served, share


@dataclass(slots=True)
class Line(asyncio.Protocol):
    """A station's line: asks all its dispensers at once, so that the client costs next to nothing."""

    units: list[int]
    transport: asyncio.Transport | None = None
    waiting: set[int] = field(default_factory=set)
    _round: int = 0
    _unread: bytes = b""

    @classmethod
    async def open(cls, station: dict[str, Any]) -> Line:
        """Connect to a station of ``sim.json``."""
        line = cls([dispenser["unit"] for dispenser in station["dispensers"]])
        loop = asyncio.get_running_loop()
        line.transport, _ = await loop.create_connection(lambda: line, "127.0.0.1", station["modbus_port"])
        return line

    def ask(self, second: int) -> None:
        """Send this second's questions; a transaction's number tells the second and the unit."""
        self._round, self.waiting = second & 0xFF, set(self.units)
        if self.transport is not None:
            self.transport.write(
                b"".join(
                    _REQUEST.pack(self._round << 8 | unit, 0, 6, unit, _READ_HOLDING, _FIRST, _COUNT)
                    for unit in self.units
                )
            )

    def data_received(self, data: bytes) -> None:
        """Strike off the units that answer this second's question; late answers to older ones count for nothing."""
        data = self._unread + data
        while len(data) >= 6 and len(data) >= (size := 6 + int.from_bytes(data[4:6], "big")):
            if data[0] == self._round and data[7] == _READ_HOLDING:
                self.waiting.discard(data[1])
            data = data[size:]
        self._unread = data

    def close(self) -> None:
        """Hang up."""
        if self.transport is not None:
            self.transport.close()
