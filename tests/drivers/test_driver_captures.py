"""The captures of every driver: each is played to it and must give what its ``expected.toml`` says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pumpwatch import PumpwatchError, Reading
from pumpwatch.plugins import Plugins
from pumpwatch.testing import ScriptedLine, TestCase, load_cases

SHELF = Path(__file__).parents[2] / "drivers"
DRIVERS = Plugins.discover().drivers
CASES = {
    f"{folder.parent.name}/{case.name}": case
    for folder in sorted(SHELF.glob("*/testcases"))
    for case in load_cases(folder)
}


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_capture(case: TestCase, chunk: int) -> None:
    kind = DRIVERS[case.folder.parents[1].name.removeprefix("pumpwatch_")]
    line = ScriptedLine(case.answer, chunk=chunk)
    driver = case.driver(kind, line)
    outcome: Reading | Exception
    try:
        async with asyncio.timeout(0.2):
            if case.capture.passed:
                outcome = await heard(case, driver, line, chunk)
            else:
                outcome = await driver.read(case.tags(driver), case.now)
    except (PumpwatchError, TimeoutError) as error:
        outcome = error
    assert case.differences(outcome) == []


async def heard(case, driver, line: ScriptedLine, chunk: int) -> Reading:
    """What a driver that listens makes of what passes, a piece a read."""
    await driver.connect()
    samples, records = [], []
    for start in range(0, len(case.capture.passed), chunk):
        line.pass_on(case.capture.passed[start : start + chunk])
        reading = await driver.read(case.tags(driver), case.now)
        samples += reading.samples
        records += reading.records
    return Reading(samples, records)


def test_every_vector_of_the_manual_is_there() -> None:
    """Checksums of the manual's examples and of a real console's alarm."""
    captures = b"".join(reply for case in CASES.values() for _, reply in case.capture.exchanges)
    assert [c for c in ("E1E8", "EF20", "FB2B", "FA6B", "E650", "FB3B") if b"&&" + c.encode() not in captures] == []
