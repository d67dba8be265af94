"""The tax-port driver reads simulated boards, over TCP and a pseudo-terminal; time is turned by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pumpwatch import (
    ChannelHeard,
    ChannelSale,
    DeviceEvent,
    DeviceIdentity,
    NotReachable,
    Quality,
    Record,
    SalePart,
    Site,
)
from pumpwatch.line import WireLine
from pumpwatch.settings import LineAddress
from pumpwatch.testing import FakeClock
from pumpwatch_sim.fleet import Fleet, LineEntry, Stations
from pumpwatch_sim.live.faults import Fault, FaultKind
from pumpwatch_sim.live.lines import BusLine
from pumpwatch_sim.live.sim import Sim, running
from pumpwatch_sim.staging import stage
from pumpwatch_taxport import TaxPortDriver, TaxPortSettings

pytestmark = pytest.mark.integration
START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)


class Board:
    """One driver on the tax port of the first dispenser, read once a second."""

    def __init__(self, sim: Sim, clock: FakeClock) -> None:
        self.sim = sim
        self.clock = clock
        outlet = sim.outlets["S01"]
        line = next(each for each in outlet.lines if each.protocol == "taxport")
        assert isinstance(line, BusLine)
        self.dispenser = outlet.player.dispensers[0]
        assert list(line.bus.devices) == [self.dispenser.dispenser_id]
        nozzles = tuple(nozzle.nozzle_id for nozzle in self.dispenser.nozzles)
        site = Site("S01", "TAX1", self.dispenser.dispenser_id, nozzles)
        self.line = WireLine(LineAddress.parse(line.offer.address.replace("parity=E", "parity=N")))
        self.asked: list[bytes] = []
        self.line.on_bytes = lambda way, data: self.asked.append(data) if way == ">" else None
        self.driver = TaxPortDriver(TaxPortSettings(), site, self.line)
        self.records: list[Record | SalePart] = []
        self.values: dict[str, object] = {}
        self.memory: dict[tuple[str, int], tuple[str, float, float]] = {}
        """What the simulated board has sold, by nozzle and sequence number."""

    async def watch(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.clock.advance(1.0)
            reading = await self.driver.read(self.driver.tags(), self.clock.now())
            self.records += reading.records
            self.values |= {s.tag: s.value for s in reading.samples if s.quality is Quality.GOOD}
            self.memory |= {
                (nozzle.nozzle_id, sale.sequence): (nozzle.nozzle_id, sale.tax_volume / 100, sale.tax_amount / 100)
                for nozzle in self.dispenser.nozzles
                for sale in nozzle.sales
                if sale is not None and sale.tax_volume and sale.end_s > START.timestamp()
            }

    @property
    def sales(self) -> list[ChannelSale]:
        return [record for record in self.records if isinstance(record, ChannelSale)]


@asynccontextmanager
async def board(folder: Path, wire: str = "tcp") -> AsyncIterator[Board]:
    clock = FakeClock(START)
    lines = (LineEntry.model_validate({"protocol": "taxport", "wire": wire}),)
    fleet = Fleet(name="tax", stations=Stations(count=1, hours="flat", demand=20.0, outages=False), line=lines)
    async with running(stage(fleet, START), clock, folder) as sim:
        one = Board(sim, clock)
        try:
            yield one
        finally:
            one.line.close()


@pytest.mark.parametrize("wire", ["tcp", "pty"])
async def test_every_sale_is_told_once_with_its_totals(tmp_path: Path, wire: str) -> None:
    async with board(tmp_path, wire) as one:
        await one.watch(900)
        guns = len(one.dispenser.nozzles)
        first = [sale for sale in one.sales if sale.total_l is None]
        assert 1 <= len(first) <= guns, "what the board knew before, at most once a gun"
        told = [(s.nozzle_id, s.volume_l, s.amount_cny) for s in one.sales if s.total_l is not None]
        sold = list(one.memory.values())
        # A sale of the first seconds may be the first that is told, one of the last seconds is still to come.
        assert len(told) >= 10
        assert [sale for sale in told if sale not in sold] == []
        late = {s for s in sold if s not in told}
        assert len(late) <= guns + len([1 for s in first if (s.nozzle_id, s.volume_l, s.amount_cny) in sold])
        for number, nozzle in enumerate(one.dispenser.nozzles, 1):
            day = nozzle.tax_totals(one.dispenser.local_time)
            assert one.values[f"nozzle-{number}.tax_month"] == pytest.approx(day.month[0] / 100, abs=300)
            mine = [s for s in one.sales if s.nozzle_id == nozzle.nozzle_id and s.total_l is not None]
            if mine:
                assert one.values[f"nozzle-{number}.tax_total"] == mine[-1].total_l
                assert one.values[f"nozzle-{number}.tax_volume"] == mine[-1].volume_l
            for sale in mine:
                assert sale.seen_after is not None
                assert timedelta(0) <= sale.at + timedelta(seconds=60) - sale.seen_after <= timedelta(seconds=150)
        assert not [record for record in one.records if isinstance(record, DeviceEvent)]
        assert one.values["status"] == "normal"
        assert abs(one.values["clock_difference"]) <= 60
        identities = [record for record in one.records if isinstance(record, DeviceIdentity)]
        assert {each.dispenser_id for each in identities} == {one.dispenser.dispenser_id}
        heard = [record for record in one.records if isinstance(record, ChannelHeard)]
        assert {each.nozzle_id for each in heard} == {nozzle.nozzle_id for nozzle in one.dispenser.nozzles}


async def test_four_seconds_lie_between_two_questions(tmp_path: Path) -> None:
    async with board(tmp_path) as one:
        await one.watch(60)
        assert 12 <= len(one.asked) <= 16
        assert {frame[3] for frame in one.asked} <= {0x83, 0x86, 0x87, 0x88, 0x89}


async def test_a_silent_board_is_not_reachable_until_it_answers_again(tmp_path: Path) -> None:
    async with board(tmp_path) as one:
        await one.watch(60)
        before = len(one.sales)
        one.sim.faults.add(Fault("S01", "taxport", FaultKind.DISCONNECT, one.sim.moment.tick(), None))
        failures = 0
        for _ in range(20):
            try:
                await one.watch(1)
            except NotReachable:
                failures += 1
        assert failures >= 16, "no second in which it looks well"
        one.sim.faults.clear("S01")
        await one.clock.advance(400.0)
        while one.driver._trouble is not None:
            await one.clock.advance(1.0)
            try:
                one.records += (await one.driver.read([], one.clock.now())).records
            except NotReachable:
                continue
        await one.watch(120)
        after = one.sales[before:]
        grown = sum(s.volume_l or 0.0 for s in after if s.seen_after is not None)
        ends = {s.nozzle_id: s.total_l for s in one.sales if s.total_l is not None}
        assert grown > 0
        assert ends.keys() <= {nozzle.nozzle_id for nozzle in one.dispenser.nozzles}
        total = sum(nozzle.tax_totals(one.dispenser.local_time).grand[0] for nozzle in one.dispenser.nozzles) / 100
        known = sum(float(one.values[f"nozzle-{n}.tax_total"]) for n in range(1, len(one.dispenser.nozzles) + 1))
        assert known == pytest.approx(total, abs=120.0)
