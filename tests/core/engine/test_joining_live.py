"""The engine reads simulated pumps and tax ports at once: its transactions carry what both of them say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import pumpwatch_modbus
import pumpwatch_taxport
from pumpwatch import CHANNEL_UNHEARD, CHANNEL_UNMATCHED, DeviceEvent, Transaction
from pumpwatch.database import Database, ledger_url
from pumpwatch.engine import Engine
from pumpwatch.ledger import Ledger
from pumpwatch.plugins import Plugins
from pumpwatch.settings import parse_settings
from pumpwatch.testing import FakeClock
from pumpwatch_sim.fleet import Fleet, LineEntry, Stations
from pumpwatch_sim.live.faults import Fault, FaultKind
from pumpwatch_sim.live.lines import BusLine
from pumpwatch_sim.live.sim import Sim, running
from pumpwatch_sim.staging import stage

pytestmark = pytest.mark.integration
START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
BRANDS = Path(__file__).parents[3] / "config" / "brands"


def configuration(sim: Sim, folder: Path) -> str:
    """Every dispenser with its pump line and its tax port; the register map tells no tax figures and no pulses."""
    text = (BRANDS / "generic-4.toml").read_text(encoding="utf-8")
    (folder / "bare.toml").write_text(re.sub(r"(?m)^(tax_|encoder_pulses|pulse_l).*\n", "", text), encoding="utf-8")
    outlet = sim.outlets["S01"]
    pumps = next(line for line in outlet.lines if line.protocol == "modbus")
    lines = ["[acquisition]", "timeout_s = 5", "[detection]", "review_s = 0", "[[stations]]", 'id = "S01"']
    for dispenser in outlet.player.dispensers:
        (tax,) = [x for x in outlet.lines if x.protocol == "taxport" and dispenser.dispenser_id in x.offer.devices]
        assert isinstance(tax, BusLine)
        nozzles = [nozzle.nozzle_id for nozzle in dispenser.nozzles]
        common = f'dispenser = "{dispenser.dispenser_id}"\nnozzles = {nozzles}'
        lines += [
            f'[[stations.devices]]\nid = "P{dispenser.unit}"\ndriver = "modbus"\nline = "{pumps.offer.address}"',
            f'{common}\nsettings = {{ map = "{folder / "bare.toml"}", unit = {dispenser.unit} }}',
            f'[[stations.devices]]\nid = "TAX{dispenser.unit}"\ndriver = "taxport"\nline = "{tax.offer.address}"',
            common,
        ]
    return "\n".join(lines)


class Rig:
    """A running engine beside a running simulator, on one clock that is turned by hand."""

    def __init__(self, engine: Engine, sim: Sim, clock: FakeClock) -> None:
        self.engine = engine
        self.sim = sim
        self.clock = clock
        self.truth: dict[tuple[str, int], tuple[float, float | None, float | None]] = {}
        """Displayed litres, tax litres and tax money by nozzle and number."""

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.clock.advance(1.0)
            await asyncio.sleep(0.001)
            for nozzle in self.sim.outlets["S01"].player.nozzles:
                self.truth |= {
                    (nozzle.nozzle_id, s.sequence): (s.volume / 100, _told(s.tax_volume), _told(s.tax_amount))
                    for s in nozzle.sales
                    if s is not None and START + timedelta(seconds=40) < datetime.fromtimestamp(s.end_s, UTC)
                }

    async def sales(self) -> dict[tuple[str, int], Transaction]:
        await self.engine.historian.flush()
        found = await self.engine.historian.transactions(limit=10_000)
        return {(sale.nozzle_id, sale.seq): sale for sale in found}

    async def events(self, code: str) -> list[DeviceEvent]:
        await self.engine.historian.flush()
        day = timedelta(days=1)
        found = await self.engine.historian.records(DeviceEvent, start=START - day, end=START + day, limit=10_000)
        return [e for e in found if isinstance(e, DeviceEvent) and e.detail.get("code") == code]


def _told(hundredths: int) -> float | None:
    return hundredths / 100 if hundredths else None


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    clock = FakeClock(START)
    lines = (LineEntry(protocol="modbus"), LineEntry(protocol="taxport"))
    fleet = Fleet(name="joined", stations=Stations(count=1, hours="flat", demand=20.0, outages=False), line=lines)
    async with running(stage(fleet, START), clock, folder / "sim") as sim:
        plugins = Plugins.discover()
        for name, module in (("modbus", pumpwatch_modbus), ("taxport", pumpwatch_taxport)):
            if name not in plugins.drivers:
                plugins.register(name, module, "test")
        data = folder / "data"
        data.mkdir()
        async with Database.open(ledger_url(data)) as database:
            plan = sim.outlets["S01"].player.plan
            parts = [part.registered for part in plan.dispensers]
            tanks = [tank.registered for tank in plan.tanks]
            nozzles = [nozzle.registered for part in plan.dispensers for nozzle in part.nozzles]
            await Ledger(database).put([plan.registered, *parts, *tanks, *nozzles])
        async with Engine.open(parse_settings(configuration(sim, folder)), data, plugins, clock) as engine:
            task = asyncio.create_task(engine.run())
            try:
                yield Rig(engine, sim, clock)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def test_transactions_carry_the_display_and_the_tax_memory(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.pass_time(250)
        known, late = await one.sales(), one.clock.now() - timedelta(seconds=40)
        wanted = {key: facts for key, facts in one.truth.items() if key in known and known[key].end < late}
        assert len(wanted) >= 4
        joined = {key: (known[key].volume_l, known[key].tax_l, known[key].tax_cny) for key in wanted}
        assert joined == wanted
        assert await one.events(CHANNEL_UNMATCHED) == []
        assert all(sale.encoder_l is None for sale in known.values())
        subjects = [(alarm.rule, alarm.subject.key) for alarm in one.engine.alarms.current()]
        assert subjects == []

        # The tax ports fall silent: fillings are passed on, and it is told why they lack their tax figures.
        one.sim.faults.add(Fault("S01", "taxport", FaultKind.DISCONNECT, one.sim.moment.tick(), None))
        gone = one.clock.now()
        await one.pass_time(60)
        known = await one.sales()
        bare = {key: sale for key, sale in known.items() if sale.end > gone + timedelta(seconds=5)}
        assert len(bare) >= 2
        assert {sale.tax_l for sale in bare.values()} == {None}
        told = {(event.device_id, event.detail["seq"]) for event in await one.events(CHANNEL_UNHEARD)}
        assert bare.keys() <= told
        assert [alarm.rule for alarm in one.engine.alarms.current() if alarm.rule == "tax_memory"] == []
