"""A clock driven by hand, stations whose timelines are written by hand, and a simulator that listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pumpwatch.clock import Clock
from pumpwatch.model import to_us
from pumpwatch_sim.county import build_county
from pumpwatch_sim.fleet import Fleet, Stations
from pumpwatch_sim.live.player import StationPlayer
from pumpwatch_sim.live.serve import Options, staged
from pumpwatch_sim.live.sim import Sim, running
from pumpwatch_sim.staging import Staging
from pumpwatch_sim.world.plans import County, StationPlan
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, Sales, TankCourse, Timeline

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
DAY_US = 86_400_000_000
BOOLS, FLOATS = {"recorded"}, {"flow_l_min", "out_l", "metered_l", "temperature_c", "jump_at"}


class HandClock(Clock):
    """Time stands still until a test moves it."""

    def __init__(self) -> None:
        self._passed = 0.0
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return START + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return self._passed

    async def sleep(self, seconds: float) -> None:
        until = self._passed + seconds
        while self._passed < until:
            await self._moved.wait()

    def deadline(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)

    def move(self, seconds: float) -> None:
        """Let time pass; whoever sleeps wakes when the test next waits."""
        self._passed += seconds
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def sales_of(origin_us: int, rows: list[dict[str, float]]) -> Sales:
    """Honest fillings of 20 L at 8.00 unless a row says otherwise; times in seconds from the origin."""
    columns: dict[str, list[float]] = {f.name: [] for f in fields(Sales)}
    for number, row in enumerate(sorted(rows, key=lambda row: (row["start"], row.get("nozzle", 0))), 1):
        volume = row.get("volume", 2000)
        start = row["start"]
        whole = {
            "nozzle": 0,
            "flow_l_min": 40.0,
            "purpose": 0,
            "preset": 0,
            "preset_value": 0,
            "payment": 3,
            "out_l": volume / 100,
            "metered_l": volume / 100,
            "temperature_c": 12.0,
            "pulses": volume,
            "start_volume": 0,
            "jump": 0,
            "jump_at": 0.0,
            "volume": volume,
            "price": 800,
            "amount": (volume * row.get("price", 800) + 50) // 100,
            "tax_volume": volume,
            "seq": 100 + number,
            "totalizer": 1_000_000 + 10_000 * number,
            "totalizer_amount": 8_000_000 + 80_000 * number,
            "recorded": True,
        } | {name: value for name, value in row.items() if name not in {"start", "lasts"}}
        whole["tax_amount"] = row.get("tax_amount", 0 if whole["tax_volume"] == NO_TAX_RECORD else whole["amount"])
        times = {"lifted_us": start - 3.0, "start_us": start, "end_us": start + row.get("lasts", 32.0)}
        times["hung_us"] = times["end_us"] + 6.0
        whole |= {name: origin_us + round(seconds * 1e6) for name, seconds in times.items()}
        for name, values in columns.items():
            values.append(whole[name])
    types = {name: bool if name in BOOLS else float if name in FLOATS else np.int64 for name in columns}
    return Sales(**{name: np.array(values, types[name]) for name, values in columns.items()})


def course_of(station: StationPlan, tank: int, start_us: int, end_us: int) -> TankCourse:
    """A tank in which nothing moves."""
    plan = station.tanks[tank]
    ends = np.array([start_us, end_us], np.int64)
    slow = np.arange(start_us, end_us + 1, 3_600_000_000, dtype=np.int64)
    level = np.full(len(slow), 1.0)
    return TankCourse(
        plan, ends, np.full(2, plan.stock_20c_l), slow, 12.0 * level, 20.0 * level, plan.product.density_20c * level, {}
    )


@dataclass(frozen=True, slots=True, eq=False)
class HandStaging(Staging):
    """Stretches of a week with the rows a test gives, and empty ones after them."""

    weeks: list[list[dict[str, float]]] = field(default_factory=list)
    """Rows of each week, seconds from the week's own start."""
    change: Callable[[int, Timeline], None] = lambda week, timeline: None
    """What else a test puts into a week."""
    made: list[int] = field(default_factory=list)
    """Weeks made so far."""

    def timelines(self, station_id: str) -> Iterator[Timeline]:
        station = next(plan for plan in self.county.stations if plan.station_id == station_id)
        week = 0
        while True:
            start_us = self.origin_us + 7 * week * DAY_US
            end_us = start_us + 7 * DAY_US
            rows = self.weeks[week] if week < len(self.weeks) else []
            tanks = tuple(course_of(station, tank, start_us, end_us) for tank in range(len(station.tanks)))
            timeline = Timeline(station, week, self.origin_us, start_us, end_us, sales_of(start_us, rows), tanks)
            self.change(week, timeline)
            self.made.append(week)
            yield timeline
            week += 1


@dataclass
class Stage:
    """A player and the time it looks at, in seconds from the origin."""

    staging: HandStaging
    player: StationPlayer
    at: list[int]

    def to(self, seconds: float) -> StationPlayer:
        """Move on."""
        self.at[0] = self.staging.origin_us + round(seconds * 1e6)
        return self.player


@pytest.fixture(scope="session")
def county() -> County:
    return build_county(1, date(2026, 11, 22), 3)


@pytest.fixture
def play(county: County) -> Callable[..., Stage]:
    """The first station with these weeks of fillings."""

    def play(*weeks: list[dict[str, float]], change: Callable[[int, Timeline], None] | None = None) -> Stage:
        origin_us = to_us(START)
        more = {} if change is None else {"change": change}
        staging = HandStaging(
            Fleet(name="hand", stations=Stations(count=3)),
            county,
            (),
            origin_us,
            origin_us + DAY_US,
            origin_us + 90 * DAY_US,
            list(weeks),
            **more,
        )
        at = [origin_us]
        return Stage(staging, StationPlayer(staging, county.stations[0].station_id, lambda: at[0]), at)

    return play


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def new_sim(tmp_path: Path, clock: HandClock) -> Callable[..., AbstractAsyncContextManager[Sim]]:
    """Serve the demo's fleet with these options, at the hand clock's time."""

    def new_sim(folder: Path = tmp_path, speed: float = 1.0, **options: object) -> AbstractAsyncContextManager[Sim]:
        asked = Options(out=folder, **options)  # type: ignore[arg-type]
        return running(staged(asked, clock.now()), clock, folder, speed)

    return new_sim


@pytest.fixture
async def sim(new_sim: Callable[..., AbstractAsyncContextManager[Sim]]) -> AsyncIterator[Sim]:
    """Three stations with their cheats; the second one's gauge speaks US units."""
    async with new_sim(stations=3, us_gauges=frozenset({"S20"})) as sim:
        yield sim


@pytest.fixture
def converse() -> Callable[[int, bytes, int], object]:
    """Send bytes to a port and read so many back (or until the other side ends with -1)."""

    async def talk(port: int, request: bytes, size: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            async with asyncio.timeout(30):
                return await (reader.read() if size < 0 else reader.readexactly(size))
        finally:
            writer.close()
            await writer.wait_closed()

    return talk
