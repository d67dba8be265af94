"""One driver on one line to one replayed device; and what of its claims is untrue."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from pumpwatch.errors import NotReachable, PumpwatchError
from pumpwatch.line import WireLine
from pumpwatch.model import Reading, Transaction
from pumpwatch.settings import LineAddress
from pumpwatch.testing.captures import Misbehaviour, ReplayDevice, TestCase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    from pumpwatch.contracts import Driver
    from pumpwatch.model import Record, SalePart, Sample, Tag
    from pumpwatch.testing.certifying.subject import Subject

PATIENCE_S: Final = 0.3
"""Deadline of a read that should answer at once; one that should not is given up after a part of it."""
CANCELLED_S: Final = 0.1
"""Within this a driver must let go when it is cancelled."""
BUSY_S: Final = 0.05
"""So much work of its own a read may do for each question; meanwhile no other device is served."""
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

    async def hear_all(self, later: timedelta = timedelta(0)) -> Reading | Exception:
        """What came of everything that passes on a line that is listened to; all of it again at each call."""
        samples: list[Sample] = []
        records: list[Record | SalePart] = []

        async def hear() -> None:
            await self.driver.connect()
            while True:
                reading = await self.driver.read(self.tags, self.case.now + later)
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


class Sale(NamedTuple):
    """What a sale says, without when it was read, which a device without a clock cannot say twice alike."""

    nozzle_id: str
    seq: int
    volume_l: float
    amount_cny: float
    unit_price: float
    totalizer_l: float | None


def sale_of(sale: Transaction) -> Sale:
    """What a sale says."""
    return Sale(sale.nozzle_id, sale.seq, sale.volume_l, sale.amount_cny, sale.unit_price, sale.totalizer_l)


def truth(reading: Reading) -> tuple[dict[str, object], set[Sale]]:
    """Values by tag, and the sales, of a reading that is right."""
    values: dict[str, object] = {sample.tag: sample.value for sample in reading.samples if sample.quality.is_good}
    return values, {sale_of(record) for record in reading.records if isinstance(record, Transaction)}


def invented(records: Sequence[object], said: set[Sale]) -> list[str]:
    """Sales that are not among ``said``; one may know less, and leave its totalizer out."""
    known = said | {sale._replace(totalizer_l=None) for sale in said}
    sales = [sale_of(record) for record in records if isinstance(record, Transaction)]
    return [f"a sale that never was: {tuple(sale)}" for sale in sales if sale not in known]


def untrue(outcome: Reading | Exception, values: dict[str, object], said: set[Sale]) -> list[str]:
    """What a reading claims that is not so."""
    if isinstance(outcome, Exception):
        return []
    wrong = [
        f"{sample.tag} = {sample.value!r} with quality {sample.quality.name}"
        for sample in outcome.samples
        if sample.quality.is_good and sample.tag in values and sample.value != values[sample.tag]
    ]
    return wrong + invented(outcome.records, said)


def open_files() -> int:
    """Files and sockets that this process holds; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0
