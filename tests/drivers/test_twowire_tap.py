"""Two-Wire listened to: an hour of a busy station's traffic, with a hundredth of its bytes damaged.

The traffic is made by the simulator's pumps and controller. The controller reads each filling once and the totals once
after it; what a damaged block has lost is only what price, money, check word and totals do not say again.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from pumpwatch import Site
from pumpwatch.testing import ScriptedLine
from pumpwatch_sim.wire.twowire import TwoWireController, TwoWirePumps
from pumpwatch_twowire import TwoWireDriver, TwoWireSettings

if TYPE_CHECKING:
    from bus_traffic import Traffic

TWICE = frozenset(bytes((command,)) for command in range(0x40, 0x50))
"""The questions for a filling."""


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
    return buses.record(lambda views: (TwoWirePumps(views), TwoWireController(views)))


@pytest.fixture(scope="module")
def hour_twice(hour: Traffic) -> Traffic:
    """The controller reads each filling twice."""
    return hour.asked_twice(TWICE)


def listener(traffic: Traffic) -> tuple[TwoWireDriver, ScriptedLine]:
    line = ScriptedLine({})
    settings = TwoWireSettings(pumps=tuple(range(1, len(traffic.nozzles) + 1)))
    return TwoWireDriver(settings, Site("S01", "D1", "S01-D1", traffic.nozzles), line), line


async def test_every_sale_of_a_clean_hour_with_its_totals(buses: ModuleType, hour: Traffic) -> None:
    driver, line = listener(hour)
    sales = await buses.rebuilt(hour, driver, line)
    assert len(hour.settled()) > 50
    assert hour.settled() - buses.figures(sales) == {}
    assert buses.figures(sales) - hour.all() == {}
    assert all(sale.totalizer_l is not None and not sale.attributes for sale in sales)
    really = {(sold.nozzle_id, sold.totalizer % 10**8): sold for sold in hour.sold}  # eight digits on the wire
    for sale in sales:
        sold = really[sale.nozzle_id, round((sale.totalizer_l or 0) * 100)]
        assert -1 <= (sale.start - sold.start).total_seconds() < 10 or sold.start < hour.turns[0][0]
        assert sold.end - timedelta(seconds=1) <= sale.end < sold.hung + timedelta(seconds=10)
    by_nozzle: dict[str, list] = {}
    for sale in sales:
        by_nozzle.setdefault(sale.nozzle_id, []).append(sale)
    assert max(map(len, by_nozzle.values())) > 3
    for told in by_nozzle.values():
        assert [sale.seq for sale in told] == [int(sale.end.timestamp()) for sale in told]
        assert len({sale.seq for sale in told}) == len(told)


async def test_damaged_bytes_cost_almost_nothing_and_invent_nothing(buses: ModuleType, hour: Traffic) -> None:
    """Of bytes replaced by any others; the controller reads each filling once."""
    driver, line = listener(hour)
    sales = await buses.rebuilt(hour, driver, line, random.Random(1))
    assert buses.figures(sales) - hour.all() == {}
    missing = hour.settled() - buses.figures(sales)
    assert missing.total() <= 0.001 * hour.settled().total()
    assert any(sale.attributes == {"block": "damaged"} for sale in sales)


async def test_flipped_bits_are_harder_to_see(buses: ModuleType, hour: Traffic) -> None:
    """A digit with one bit the other way is often a digit, and nothing but the check word tells."""
    driver, line = listener(hour)
    sales = await buses.rebuilt(hour, driver, line, random.Random(3), flips=True)
    assert buses.figures(sales) - hour.all() == {}
    missing = hour.settled() - buses.figures(sales)
    assert missing.total() <= 0.001 * hour.settled().total()


async def test_a_controller_that_reads_twice_loses_nothing(buses: ModuleType, hour_twice: Traffic) -> None:
    driver, line = listener(hour_twice)
    sales = await buses.rebuilt(hour_twice, driver, line, random.Random(4), flips=True)
    assert len(hour_twice.settled()) > 50
    assert buses.figures(sales) - hour_twice.all() == {}
    missing = hour_twice.settled() - buses.figures(sales)
    assert missing.total() <= 0.001 * hour_twice.settled().total()


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
