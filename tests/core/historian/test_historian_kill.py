"""kill -9 at any moment: what was acknowledged is there afterwards, whole and once; ``make soak`` goes on longer."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pumpwatch.clock import SystemClock
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, Historian

ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))

WRITER = """
import asyncio, os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import numpy as np
from pumpwatch import Batch, SampleBatch, Transaction, to_us
from pumpwatch.clock import SystemClock
from pumpwatch.historian import EmbeddedSettings, EmbeddedStore, Historian

START = datetime.fromisoformat(sys.argv[2])

async def main(first):
    folder = Path(sys.argv[1])
    store = EmbeddedStore(EmbeddedSettings(merge_at=3), folder / "embedded")
    often = {"commit_s": 0.002, "gather_s": 0.02, "gather_rows": 600}
    async with Historian.open(folder, store, SystemClock(), **often) as historian:
        running = asyncio.create_task(historian.run())
        number, said = first, 0
        while True:
            at = START + timedelta(minutes=10 * number)
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

for line in sys.stdin:  # what is imported once serves every round
    if child := os.fork():
        print("pid", child, flush=True)
        os.waitpid(child, 0)
        print("end", flush=True)
    else:
        asyncio.run(main(int(line)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 is for POSIX")
async def test_nothing_acknowledged_is_lost_at_kill_9(tmp_path: Path, start: datetime) -> None:
    folder = tmp_path / "history"
    chance = random.Random(11)
    first, acknowledged = 0, 0
    writers = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WRITER,
        str(folder),
        start.isoformat(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert writers.stdin is not None
    assert writers.stdout is not None
    for _ in range(ROUNDS):
        writers.stdin.write(f"{first}\n".encode())
        _, pid = (await writers.stdout.readline()).split()
        for _ in range(chance.randrange(1, 40)):
            acknowledged = max(acknowledged, int(await writers.stdout.readline()))  # however long the disk takes
        await asyncio.sleep(chance.uniform(0.0, 0.03))
        os.kill(int(pid), signal.SIGKILL)
        while not (line := await writers.stdout.readline()).endswith(b"end\n"):
            acknowledged = max(acknowledged, int(line))

        store = EmbeddedStore(EmbeddedSettings(merge_at=3), folder / "embedded")
        async with Historian.open(folder, store, SystemClock()) as historian:
            far = start + timedelta(days=36_500)
            series = [
                (await historian.series(f"S01/D1/nozzle-{n}.volume", start, far, 10_000_000)).samples.values.tolist()
                for n in (0, 4, 9)
            ]
            numbers = [t.seq for t in reversed(await historian.transactions(limit=10_000_000))]
            hours = await historian.summaries("S01/D1/nozzle-4.volume", start, far, timedelta(hours=1))
            assert historian.damage == ()
        assert len(numbers) >= acknowledged + 1
        assert numbers == list(range(len(numbers)))  # no gap, nothing twice
        assert series == [[float(n) for n in numbers]] * 3  # no batch half there
        assert hours.count.sum() == len(numbers)
        assert hours.last.tolist() == [float(n) for n in numbers[5::6]] + [
            float(n) for n in numbers[-1:] if len(numbers) % 6
        ]
        first = len(numbers)
    writers.stdin.close()
    assert await writers.wait() == 0
    assert acknowledged > 100
