"""Lanfeng listened to: an hour of a busy station's traffic, with a hundredth of its bytes damaged.

The traffic is made by the simulator's guns and controller. A gun that hangs goes on showing its last filling, so the
bus repeats it at every round.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from pumpwatch import Site
from pumpwatch.testing import ScriptedLine
from pumpwatch_lanfeng import LanfengDriver, LanfengSettings
from pumpwatch_sim.wire.lanfeng import LanfengController, LanfengGuns

if TYPE_CHECKING:
    from bus_traffic import Traffic


@pytest.fixture(scope="module")
def buses() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bus_traffic", Path(__file__).parent / "bus_traffic.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hour(buses: ModuleType) -> Traffic:
    return buses.record(lambda views: (LanfengGuns(views), LanfengController(views)))


def listener(traffic: Traffic) -> tuple[LanfengDriver, ScriptedLine]:
    line = ScriptedLine({})
    settings = LanfengSettings(guns=tuple(range(1, len(traffic.nozzles) + 1)))
    return LanfengDriver(settings, Site("S01", "D1", "S01-D1", traffic.nozzles), line), line


async def test_every_sale_of_a_clean_hour_with_its_totals(buses: ModuleType, hour: Traffic) -> None:
    driver, line = listener(hour)
    sales = await buses.rebuilt(hour, driver, line)
    assert len(hour.settled()) > 50
    assert hour.settled() - buses.figures(sales) == {}
    assert buses.figures(sales) - hour.all() == {}
    really = {(sold.nozzle_id, sold.totalizer): sold for sold in hour.sold}
    by_nozzle: dict[str, list[int]] = {}
    for sale in sales:
        sold = really[sale.nozzle_id, round((sale.totalizer_l or 0) * 100)]
        assert -1 <= (sale.start - sold.start).total_seconds() < 10 or sold.start < hour.turns[0][0]
        assert -1 <= (sale.end - sold.hung).total_seconds() < 10
        by_nozzle.setdefault(sale.nozzle_id, []).append(sale.seq)
        assert sale.seq == int(sale.end.timestamp())
    for numbers in by_nozzle.values():
        assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(("seed", "flips"), [(1, False), (2, True)])
async def test_damaged_bytes_cost_nothing_and_invent_nothing(
    buses: ModuleType, hour: Traffic, seed: int, flips: bool
) -> None:
    driver, line = listener(hour)
    sales = await buses.rebuilt(hour, driver, line, random.Random(seed), flips=flips)
    assert buses.figures(sales) - hour.all() == {}
    missing = hour.settled() - buses.figures(sales)
    assert missing.total() <= 0.001 * hour.settled().total()


async def test_a_ruined_line_invents_nothing(buses: ModuleType, hour: Traffic) -> None:
    driver, line = listener(hour)
    await driver.connect()
    told = []
    for at, passed in list(hour.heard(random.Random(5), 0.05))[:1200]:
        line.pass_on(passed)
        told += (await driver.read([], at)).records
    assert buses.figures(told) - hour.all() == {}


async def test_it_may_begin_anywhere(buses: ModuleType, hour: Traffic) -> None:
    driver, line = listener(hour)
    await driver.connect()
    seconds = list(hour.heard())[1800:]
    begins = seconds[0][0]
    line.pass_on(seconds[0][1][5:])
    told = []
    for at, passed in seconds:
        line.pass_on(passed)
        told += (await driver.read([], at)).records
    assert buses.figures(told) - hour.all() == {}
    later = {sold.figures for sold in hour.sold if sold.start > begins}
    assert later & set(hour.settled()) <= set(buses.figures(told))
