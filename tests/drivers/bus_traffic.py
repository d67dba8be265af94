"""Pump buses for tests: traffic written down, made by the simulator's pumps and controller, and a simulator that runs.

Both know what was really sold.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from pumpwatch import Driver, NotReachable, Sample, Transaction, from_us
from pumpwatch.clock import SystemClock
from pumpwatch.line import WireLine
from pumpwatch.settings import LineAddress
from pumpwatch.testing import ScriptedLine
from pumpwatch_sim.fleet import Fleet, LineEntry, Stations
from pumpwatch_sim.live import lines
from pumpwatch_sim.live.player import StationPlayer
from pumpwatch_sim.live.sim import Sim, running
from pumpwatch_sim.live.views import DispenserView
from pumpwatch_sim.staging import stage
from pumpwatch_sim.world.timeline import Purpose

START = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
TURN_S = 0.1


class Pumps(Protocol):
    def receive(self, data: bytes) -> bytes: ...


class Controller(Protocol):
    def turn(self) -> bytes: ...
    def receive(self, data: bytes) -> None: ...


@dataclass(frozen=True)
class Sold:
    """A filling as it really was; 0.01 L and 0.01 CNY."""

    nozzle_id: str
    start: datetime
    end: datetime
    hung: datetime
    volume: int
    amount: int
    price: int
    totalizer: int

    @property
    def figures(self) -> tuple[str, int, int, int]:
        return self.nozzle_id, self.volume, self.amount, self.price


@dataclass(frozen=True)
class Traffic:
    """What passed: for each turn of the controller its time, question and answer."""

    dispensers: Sequence[tuple[str, tuple[str, ...]]]
    """Id and nozzles of each dispenser."""
    turns: Sequence[tuple[datetime, bytes, bytes]]
    sold: Sequence[Sold]

    @property
    def nozzles(self) -> tuple[str, ...]:
        return tuple(nozzle for _, nozzles in self.dispensers for nozzle in nozzles)

    def settled(self) -> Counter[tuple[str, int, int, int]]:
        """Fillings that flowed when the first byte was heard, or later, and were over a while before the last."""
        since, until = self.turns[0][0], self.turns[-1][0] - timedelta(seconds=15)
        return Counter(sale.figures for sale in self.sold if sale.end > since and sale.hung < until)

    def all(self) -> Counter[tuple[str, int, int, int]]:
        return Counter(sale.figures for sale in self.sold)

    def asked_twice(self, questions: frozenset[bytes]) -> Traffic:
        """The same with some questions asked again at once, and answered alike."""
        twice = [turn for turn in self.turns for _ in range(2 if turn[1] in questions else 1)]
        return replace(self, turns=twice)

    def heard(
        self, rng: random.Random | None = None, share: float = 0.01, flips: bool = False
    ) -> Iterator[tuple[datetime, bytes]]:
        """The bytes of each second, a share of them replaced by any others, or with one bit the other way."""
        second, passed = self.turns[0][0], bytearray()
        for at, asked, answered in self.turns:
            while at >= second + timedelta(seconds=1):
                second += timedelta(seconds=1)
                yield second, spoilt(bytes(passed), rng, share, flips)
                passed.clear()
            passed += asked + answered
        yield second + timedelta(seconds=1), spoilt(bytes(passed), rng, share, flips)


def spoilt(data: bytes, rng: random.Random | None, share: float, flips: bool) -> bytes:
    if rng is None:
        return data
    noisy = bytearray(data)
    for place in range(len(noisy)):
        if rng.random() < share:
            noisy[place] ^= 1 << rng.randrange(8) if flips else rng.randrange(1, 256)
    return bytes(noisy)


def record(
    bus: Callable[[Sequence[DispenserView]], tuple[Pumps, Controller]],
    *,
    seconds: float = 3600.0,
    seed: int = 1,
    station: int = 0,
    stations: int = 1,
    demand: float = 5.0,
) -> Traffic:
    """Play a busy station and write down what passes."""
    settings = Stations(count=stations, hours="flat", demand=demand, outages=False)
    staging = stage(Fleet(name="bus", seed=seed, stations=settings), START)
    station_id = staging.county.stations[station].station_id
    clock = [staging.start_us]
    player = StationPlayer(staging, station_id, lambda: clock[0])
    pumps, controller = bus(player.dispensers)
    turns = []
    while clock[0] < staging.start_us + seconds * 1e6:
        asked = controller.turn()
        answered = pumps.receive(asked)
        controller.receive(answered)
        turns.append((from_us(clock[0]), asked, answered))
        clock[0] += round(TURN_S * 1e6)
    names = [nozzle.registered.nozzle_id for part in player.plan.dispensers for nozzle in part.nozzles]
    sold = []
    for timeline in staging.timelines(station_id):
        if timeline.start_us > clock[0]:
            break
        rows = timeline.sales
        for row in range(len(rows)):
            if rows.purpose[row] == Purpose.HIDDEN or not (
                staging.start_us <= rows.hung_us[row] and rows.start_us[row] < clock[0]
            ):
                continue
            times = [from_us(int(getattr(rows, name)[row])) for name in ("start_us", "end_us", "hung_us")]
            figures = [int(getattr(rows, name)[row]) for name in ("volume", "amount", "price", "totalizer")]
            sold.append(Sold(names[int(rows.nozzle[row])], *times, *figures))
    dispensers = [
        (part.registered.dispenser_id, tuple(n.registered.nozzle_id for n in part.nozzles))
        for part in player.plan.dispensers
    ]
    return Traffic(dispensers, turns, sorted(sold, key=lambda sale: sale.end))


async def rebuilt(
    traffic: Traffic, driver: Driver, line: ScriptedLine, rng: random.Random | None = None, flips: bool = False
) -> list[Transaction]:
    """What a driver that listens makes of it, read once a second."""
    await driver.connect()
    found: list[Transaction] = []
    for at, passed in traffic.heard(rng, flips=flips):
        line.pass_on(passed)
        found += [r for r in (await driver.read([], at)).records if isinstance(r, Transaction)]
    assert line.asked == []
    return found


def figures(sales: Sequence[Transaction]) -> Counter[tuple[str, int, int, int]]:
    """As ``Sold.figures``."""
    return Counter(
        (s.nozzle_id, round(s.volume_l * 100), round(s.amount_cny * 100), round(s.unit_price * 100)) for s in sales
    )


# ---------------------------------------------------------------- a simulator that runs

SPEED = 20.0
LIVE_TURN_S = 0.005
"""A tenth of a second of the world."""


@dataclass
class LiveBus:
    """A line of a busy simulated station."""

    sim: Sim
    line: WireLine
    nozzles: tuple[str, ...]
    """In the order of their addresses, which count from 1."""
    passed: list[tuple[str, bytes]]
    """What the line sent (``>``), got (``<``) or heard (``=``)."""

    @property
    def sent(self) -> set[bytes]:
        return {data for direction, data in self.passed if direction == ">"}

    def really_sold(self) -> set[tuple[str, int, int, int]]:
        """What the nozzles' own memories have."""
        player = self.sim.outlets["S01"].player
        return {
            (nozzle.nozzle_id, sale.volume, sale.amount, sale.price)
            for nozzle in player.nozzles
            for sale in nozzle.sales
            if sale is not None
        }

    async def watch(self, driver: Driver, sales: int) -> tuple[list[Transaction], list[Sample]]:
        """Read until so many fillings have been told; each is one that the nozzle remembers."""
        told: list[Transaction] = []
        samples: list[Sample] = []
        async with asyncio.timeout(120):
            while len(told) < sales:
                await driver.connect()
                try:
                    reading = await driver.read(driver.tags(), from_us(self.sim.moment.tick()))
                except NotReachable:  # the controller looks only now and then whether somebody listens
                    await asyncio.sleep(0.5 / SPEED)
                    continue
                samples += reading.samples
                for record in reading.records:
                    assert isinstance(record, Transaction)
                    assert set(figures([record])) <= self.really_sold()
                    told.append(record)
                await asyncio.sleep(0.5 / SPEED)
        await driver.close()
        return told, samples


@asynccontextmanager
async def live(folder: Path, protocol: str, wire: str, mode: str) -> AsyncIterator[LiveBus]:
    """A station whose pumps are on such a line, twenty times as fast as life."""
    settings = Stations(count=1, hours="flat", demand=20.0, outages=False)
    entry = LineEntry.model_validate({"protocol": protocol, "wire": wire, "mode": mode})
    clock, turn_s = SystemClock(), lines.TURN_S
    lines.TURN_S = LIVE_TURN_S
    try:
        async with running(
            stage(Fleet(name="bus", stations=settings, line=(entry,)), START), clock, folder, SPEED
        ) as sim:
            outlet = sim.outlets["S01"]
            offer = next(line.offer for line in outlet.lines if line.offer.protocol == protocol)
            names = tuple(n.registered.nozzle_id for part in outlet.player.plan.dispensers for n in part.nozzles)
            line = WireLine(LineAddress.parse(offer.address))
            bus = LiveBus(sim, line, names, [])
            line.on_bytes = lambda direction, data: bus.passed.append((direction, data))
            try:
                yield bus
            finally:
                line.close()
    finally:
        lines.TURN_S = turn_s


async def deaf(driver: Driver, line: ScriptedLine, passes: bytes, at: datetime, seconds: int) -> str:
    """Why a driver that hears this every second is not reachable; empty when it is."""
    await driver.connect()
    for second in range(seconds):
        line.pass_on(passes)
        try:
            await driver.read(driver.tags(), at + timedelta(seconds=second))
        except NotReachable as error:
            return str(error)
    return ""
