"""kill -9 at any moment: whatever was acknowledged is there afterwards, whole and once."""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import datetime, timedelta
from pathlib import Path

from pumpwatch.clock import SystemClock
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, Historian

WRITER = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import numpy as np
from pumpwatch import Batch, SampleBatch, Transaction, to_us
from pumpwatch.clock import SystemClock
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, Historian

START = datetime.fromisoformat(sys.argv[3])

async def main():
    folder, first = Path(sys.argv[1]), int(sys.argv[2])
    store = EmbeddedStore(EmbeddedSettings(merge_at=3), folder / "embedded")
    often = {"commit_s": 0.002, "gather_s": 0.02, "gather_rows": 600}
    async with Historian.open(folder, store, SystemClock(), **often) as historian:
        running = asyncio.create_task(historian.run())
        number, said = first, 0
        while True:
            at = START + timedelta(seconds=number)
            paths = tuple(f"S01/D1/nozzle-{n}.volume" for n in range(10))
            values, good = np.full(10, float(number)), np.zeros(10, np.uint8)
            samples = SampleBatch("S01", paths, np.full(10, to_us(at)), values, (), good)
            sale = Transaction("S01-N01", number, at, at, 1.0, 1.0, 1.0, raw=bytes(50))
            await historian.keep(Batch("S01", samples, (sale,), at))
            number += 1
            if number % 3 == 0:
                await asyncio.sleep(0.001)
            if historian.acknowledged > said:
                said = historian.acknowledged
                print(first + said - 1, flush=True)

asyncio.run(main())
"""


async def test_nothing_acknowledged_is_lost_at_kill_9(tmp_path: Path, start: datetime) -> None:
    folder = tmp_path / "history"
    chance = random.Random(11)
    first, acknowledged = 0, 0
    for _ in range(5):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(folder), str(first), start.isoformat(), stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        for _ in range(chance.randrange(5, 80)):
            assert await writer.stdout.readline()  # however long the disk takes
        await asyncio.sleep(chance.uniform(0.0, 0.03))
        writer.kill()
        said = (await writer.stdout.read()).decode().split("\n")[:-1]
        await writer.wait()
        acknowledged = max([acknowledged, *map(int, said)])

        store = EmbeddedStore(EmbeddedSettings(merge_at=3), folder / "embedded")
        async with Historian.open(folder, store, SystemClock()) as historian:
            far = start + timedelta(days=30)
            series = [
                (await historian.series(f"S01/D1/nozzle-{n}.volume", start, far)).samples.values.tolist()
                for n in (0, 4, 9)
            ]
            numbers = [t.seq for t in reversed(await historian.transactions(limit=1_000_000))]
            assert historian.damage == ()
        assert len(numbers) >= acknowledged + 1
        assert numbers == list(range(len(numbers)))  # no gap, nothing twice
        assert series == [[float(n) for n in numbers]] * 3  # no batch half there
        first = len(numbers)
    assert acknowledged > 100
