"""What is asked of a driver that listens: noise, numbers, and how much work it makes of what passes."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pumpwatch.model import Transaction
from pumpwatch.testing.captures import TestCase
from pumpwatch.testing.certifying.bench import BUSY_S, invented, on_the_bench, truth

if TYPE_CHECKING:
    from pumpwatch.testing.certifying.subject import Subject

LINE_SHARE: Final = 0.25
"""Of the time that bytes take at 9600 baud: so much work may be made of them."""


async def in_noise(subject: Subject, case: TestCase) -> list[str]:
    """No sale that never was, no error of its own, and no long work, when bytes that pass are damaged."""
    dice = random.Random(case.name)  # noqa: S311
    noise = bytearray()
    for byte in case.capture.passed:
        noise.append(byte if dice.random() > 0.05 else dice.randrange(256))
    damaged = TestCase(case.folder, type(case.capture)((), bytes(noise)), case.expected)
    async with on_the_bench(subject, case) as bench:
        right = await bench.hear_all()
    if isinstance(right, Exception):
        return []
    _, said = truth(right)
    async with on_the_bench(subject, damaged) as bench:
        try:
            outcome = await bench.hear_all()
        except Exception as error:
            return [f"{case.name}, with noise: {error!r}"]
    records = () if isinstance(outcome, Exception) else outcome.records
    found = [f"{case.name}, with noise: {wrong}" for wrong in invented(records, said)]
    often = TestCase(case.folder, type(case.capture)((), _worn(case.capture.passed, dice)), case.expected)
    if (took := await worked(subject, often)) > may_work(often):
        found.append(f"{case.name}, with noise: {took:.2f} s of work for {len(often.capture.passed)} bytes that passed")
    return found


def _worn(passed: bytes, dice: random.Random) -> bytes:
    """The same twenty times, one byte of thirty wrong: what can nearly be read is what costs most."""
    return bytes(byte if dice.random() > 1 / 30 else dice.randrange(256) for _ in range(20) for byte in passed)


async def counted(subject: Subject, case: TestCase) -> list[str]:
    """Numbers that are made by our clock and yet run by one: after a restart they jump, and a gap means nothing."""
    numbers: list[dict[str, set[int]]] = []
    for later in (timedelta(0), timedelta(hours=1)):
        async with on_the_bench(subject, case) as bench:
            heard = await bench.hear_all(later)
        told: dict[str, set[int]] = {}
        for record in () if isinstance(heard, Exception) else heard.records:
            if isinstance(record, Transaction):
                told.setdefault(record.nozzle_id, set()).add(record.seq)
        numbers.append(told)
    return [
        f"{case.name}: it numbers the sales of {nozzle} {min(seqs)}, {min(seqs) + 1} … by itself"
        for nozzle, seqs in numbers[0].items()
        if any(seq + 1 in seqs for seq in seqs) and seqs.isdisjoint(numbers[1].get(nozzle, ()))
    ]


async def worked(subject: Subject, case: TestCase) -> float:
    """Seconds of work for what passes in a case."""
    async with on_the_bench(subject, case) as bench:
        began = time.thread_time()
        await bench.hear_all()
        return time.thread_time() - began


def may_work(case: TestCase) -> float:
    """A quarter of the time in which so many bytes pass: many devices may hang on one line, and each hears them all."""
    return BUSY_S + LINE_SHARE * len(case.capture.passed) * 11 / 9600
