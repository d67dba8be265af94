"""One driver on one line to one replayed device; and what of its claims is untrue."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pumpwatch.errors import NotReachable, PumpwatchError
from pumpwatch.line import WireLine
from pumpwatch.model import Reading, Transaction
from pumpwatch.settings import LineAddress
from pumpwatch.testing.captures import Misbehaviour, ReplayDevice, TestCase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from pumpwatch.contracts import Driver
    from pumpwatch.model import Record, SalePart, Sample, Tag
    from pumpwatch.testing.certifying.subject import Subject

PATIENCE_S: Final = 0.3
"""Deadline of a read that should answer at once; one that should not is given up after a part of it."""
CANCELLED_S: Final = 0.1
"""Within this a driver must let go when it is cancelled."""
_MOST_TOLD: Final = 20

Result = TypeVar("Result")


async def within(work: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """What comes of it, or ``TimeoutError``; also of work that does not let itself be cancelled at once."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if done:
        return task.result()
    await let_go(task)
    raise TimeoutError(f"nothing within {seconds:g} s")


async def let_go(task: asyncio.Future[Any]) -> float:
    """Cancel until it ends; seconds until it did after being told once, or more than all patience."""
    began, busy = time.monotonic(), time.process_time()
    task.cancel()
    await asyncio.wait({task}, timeout=2 * CANCELLED_S)
    waited, worked = time.monotonic() - began, time.process_time() - busy
    took = min(waited, worked + CANCELLED_S / 2) if task.done() else math.inf
    for _ in range(_MOST_TOLD):
        if task.done():
            break
        task.cancel()
        await asyncio.wait({task}, timeout=CANCELLED_S)
    if task.done() and not task.cancelled():
        task.exception()
    return took


@dataclass
class Bench:
    """One driver on one line to one replayed device."""

    case: TestCase
    device: ReplayDevice
    line: WireLine
    driver: Driver
    tags: list[Tag] = field(default_factory=list)

    async def read(self, patience_s: float = PATIENCE_S, later: timedelta = timedelta(0)) -> Reading | Exception:
        """One scan as the runner makes it."""
        try:
            return await within(self._scan(later), patience_s)
        except (PumpwatchError, TimeoutError) as error:
            return error

    async def _scan(self, later: timedelta) -> Reading:
        await self.driver.connect()
        return await self.driver.read(self.tags, self.case.now + later)

    async def hear_all(self) -> Reading | Exception:
        """What came of everything that passes on a line that is listened to."""
        samples: list[Sample] = []
        records: list[Record | SalePart] = []

        async def hear() -> None:
            await self.driver.connect()
            while True:
                reading = await self.driver.read(self.tags, self.case.now)
                samples.extend(reading.samples)
                records.extend(reading.records)
                await asyncio.sleep(0.001)

        try:
            await within(hear(), 10 * PATIENCE_S)
        except NotReachable:
            return Reading(samples, records)
        except (PumpwatchError, TimeoutError) as error:
            return error
        raise AssertionError("unreachable")


@asynccontextmanager
async def on_the_bench(
    subject: Subject, case: TestCase, misbehaviour: Misbehaviour | None = None
) -> AsyncIterator[Bench]:
    """The driver, connected to its device."""
    device = ReplayDevice(case, misbehaviour)
    async with device.on_tcp() as address:
        line = WireLine(LineAddress.parse(address))
        driver = case.driver(subject.kind, line)
        bench = Bench(case, device, line, driver, case.tags(driver))
        try:
            yield bench
        finally:
            with suppress(PumpwatchError):
                await driver.close()
            line.close()


def truth(case: TestCase, reading: Reading) -> tuple[dict[str, object], set[str]]:
    """Values by tag, and what is said by records, of a reading that is right."""
    values: dict[str, object] = {sample.tag: sample.value for sample in reading.samples if sample.quality.is_good}
    return values, {sale_of(record) for record in reading.records}


def sale_of(record: object) -> str:
    """A record without when it was read, which a device without a clock cannot say twice alike."""
    if isinstance(record, Transaction):
        return repr(
            (record.nozzle_id, record.seq, record.volume_l, record.amount_cny, record.unit_price, record.totalizer_l)
        )
    return type(record).__name__


def untrue(outcome: Reading | Exception, values: dict[str, object], said: set[str]) -> list[str]:
    """What a reading claims that is not so."""
    if isinstance(outcome, Exception):
        return []
    wrong = [
        f"{sample.tag} = {sample.value!r} with quality {sample.quality.name}"
        for sample in outcome.samples
        if sample.quality.is_good and sample.tag in values and sample.value != values[sample.tag]
    ]
    sales = [sale_of(r) for r in outcome.records if isinstance(r, Transaction)]
    return wrong + [f"a sale that never was: {sale}" for sale in sales if sale not in said]
