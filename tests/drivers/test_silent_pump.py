"""Drivers that ask several pumps: one that is silent takes no other with it, and is there again when it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from pumpwatch import Driver, Line, NotReachable, Quality, Reading, SilentError, Site, Turns
from pumpwatch.testing import ScriptedLine
from pumpwatch_dart import DartDriver, DartSettings
from pumpwatch_lanfeng import LanfengDriver, LanfengSettings
from pumpwatch_sim.fleet import Fleet, Stations
from pumpwatch_sim.live.player import StationPlayer
from pumpwatch_sim.live.views import Pump
from pumpwatch_sim.staging import stage
from pumpwatch_sim.wire.dart import DartPumps
from pumpwatch_sim.wire.lanfeng import LanfengGuns
from pumpwatch_sim.wire.twowire import TwoWirePumps
from pumpwatch_twowire import TwoWireDriver, TwoWireSettings

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
SITE = Site("S01", "D1", "S01-D1", ("S01-N01", "S01-N02", "S01-N03"))
QUICK = 0.02


def dart(line: Line) -> Driver:
    return DartDriver(DartSettings(address=0x50, mode="poll", answer_s=QUICK), SITE, line)


def twowire(line: Line) -> Driver:
    return TwoWireDriver(TwoWireSettings(pumps=(1, 2, 3), mode="poll", answer_s=QUICK), SITE, line)


def lanfeng(line: Line) -> Driver:
    return LanfengDriver(LanfengSettings(guns=(1, 2, 3), mode="poll", answer_s=QUICK), SITE, line)


class Bus:
    """Three pumps, of which some are switched off."""

    def __init__(self, pumps: Pump, number: Callable[[bytes], int]) -> None:
        self.off: set[int] = set()
        self.line = ScriptedLine(lambda asked: None if number(asked) in self.off else pumps.receive(asked) or None)


def bus(protocol: str) -> Bus:
    staging = stage(Fleet(name="silent", stations=Stations(count=1, tanks=1, nozzles_per_tank=3, outages=False)), START)
    dispensers = StationPlayer(staging, "S01", lambda: staging.start_us).dispensers
    match protocol:
        case "dart":
            return Bus(DartPumps(dispensers), lambda asked: asked[0] - 0x4F)
        case "twowire":
            return Bus(TwoWirePumps(dispensers), lambda asked: asked[0] & 0x0F)
        case _:
            return Bus(LanfengGuns(dispensers), lambda asked: asked[0])


async def qualities(driver: Driver, second: int) -> list[Quality]:
    reading: Reading = await driver.read(driver.tags(), START + timedelta(seconds=second))
    told = {sample.tag: sample.quality for sample in reading.samples}
    assert told.keys() == {tag.name for tag in driver.tags()}
    for n in range(1, 4):
        own = {quality for tag, quality in told.items() if tag.startswith(f"nozzle-{n}.")}
        assert own == {Quality.NOT_CONNECTED} or Quality.NOT_CONNECTED not in own
    return [told[f"nozzle-{n}.state"] for n in range(1, 4)]


@pytest.mark.parametrize("make", [dart, twowire, lanfeng])
async def test_one_silent_pump(make: Callable[[Line], Driver]) -> None:
    pumps = bus(make.__name__)
    driver = make(pumps.line)
    await driver.connect()
    for second in range(3):
        seen = await qualities(driver, second)
    assert seen == [Quality.GOOD] * 3
    pumps.off = {2}
    for second in range(3, 6):
        seen = await qualities(driver, second)
    assert seen == [Quality.GOOD, Quality.NOT_CONNECTED, Quality.GOOD]
    pumps.off = {1, 2, 3}
    with pytest.raises(NotReachable):
        await qualities(driver, 6)
    pumps.off = set()
    for second in range(7, 12):
        seen = await qualities(driver, second)
    assert seen == [Quality.GOOD] * 3


async def test_silent_ones_are_tried_in_turns_and_a_single_one_is_waited_for() -> None:
    async def never() -> int:
        await asyncio.get_running_loop().create_future()
        return 0

    async def at_once() -> int:
        return 7

    turns = Turns(range(1, 6), QUICK)
    for _ in range(2):
        for number in (1, 2, 3, 4):
            with pytest.raises(SilentError, match=f"number {number} "):
                await turns.within(number, never())
    assert [turns.due() for _ in range(3)] == [[5, 1, 2], [5, 3, 4], [5, 1, 2]]
    assert await turns.within(3, at_once()) == 7
    assert turns.due()[:2] == [3, 5]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2 * QUICK):
            await Turns([1], QUICK).within(1, never())
