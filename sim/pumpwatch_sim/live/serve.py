"""The simulator process: the world on the clock, its ports, its control port, and a clean end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig, Refused
from pumpwatch_sim.county import STATION_COUNT, County, StationPlan, build_county
from pumpwatch_sim.dataset.papers import write_json, write_ledger
from pumpwatch_sim.live.control import SIM_FILE, Answer, ControlConnection, Orders
from pumpwatch_sim.live.gauge import Gauge, Units
from pumpwatch_sim.live.outlet import Outlet, Port
from pumpwatch_sim.scenarios.cheats import choose_cheats, truth_of
from pumpwatch_sim.wire.registers import DispenserRegisters
from pumpwatch_sim.world.people import LOCAL
from pumpwatch_sim.world.world import STEP_S, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pumpwatch.clock import Clock

_MOST_STEPS = 50
"""Steps taken in one go when the process has slept; it goes on answering in between."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `serve` was asked for."""

    out: Path
    stations: int = STATION_COUNT
    seed: int = 1
    cheats: bool = True
    demand: float = 1.0
    us_gauges: frozenset[str] = frozenset()
    """Stations whose gauge reports gallons, inches and degrees Fahrenheit."""
    until_stdin_closes: bool = False


async def serve(options: Options, clock: Clock, announce: Callable[[str], object]) -> None:
    """Simulate until SIGINT, SIGTERM or, if asked for, the end of standard input.

    Raises ``BadConfig`` for what cannot be. ``sim.json`` is written when all ports listen and removed at the end.
    """
    stop = asyncio.Event()
    with _stop_at_signals(stop), _stop_at_end_of_input(stop, options.until_stdin_closes):
        async with AsyncExitStack() as stack:
            sim = await stack.enter_async_context(running(options, clock))
            world = sim.world
            announce(
                f"{len(sim.outlets)} stations with {len(world.dispensers)} dispensers and {len(world.nozzles)} nozzles "
                f"listen; see {options.out / SIM_FILE}"
            )
            await stop.wait()


@contextmanager
def _stop_at_signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
            stack.callback(loop.remove_signal_handler, number)
        yield


@contextmanager
def _stop_at_end_of_input(stop: asyncio.Event, wanted: bool) -> Iterator[None]:
    """The parent holds the other end of the pipe: when it dies, however it dies, the pipe closes."""
    if not wanted:
        yield
        return
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()

    def readable() -> None:
        if not os.read(stdin, 65_536):
            loop.remove_reader(stdin)
            stop.set()

    try:
        loop.add_reader(stdin, readable)
    except PermissionError as error:
        raise BadConfig(
            "--until-stdin-closes: standard input is a file or /dev/null, which never closes; give it a pipe"
        ) from error
    try:
        yield
    finally:
        loop.remove_reader(stdin)


class Sim:
    """A world with its outlets; made by :func:`running`."""

    def __init__(self, options: Options, clock: Clock) -> None:
        """Build everything and take the ports. Raises ``BadConfig``."""
        self._clock = clock
        self._options = options
        now = clock.now()
        county = build_county(options.seed, now.astimezone(LOCAL).date(), options.stations)
        unknown = options.us_gauges - {station.station_id for station in county.stations}
        if unknown:
            raise BadConfig(f"--us-gauge {min(unknown)}: no such station; there are {_span(county)}")
        self.world = World(county, now, options.demand)
        self.cheats = choose_cheats(county) if options.cheats else ()
        for cheat in self.cheats:
            cheat.begin(self.world)
        self.outlets = {station.station_id: self._outlet(station) for station in county.stations}
        self.orders = Orders()
        self.control = Port(lambda port: ControlConnection(port, self.orders))

    def _outlet(self, station: StationPlan) -> Outlet:
        world = self.world
        units = {
            plan.unit: DispenserRegisters(world.dispensers[plan.registered.dispenser_id], lambda: world.now_s)
            for plan in station.dispensers
        }
        tanks = [world.tanks[plan.registered.tank_id] for plan in station.tanks]
        return Outlet(units, Gauge(world.county.seed, tanks, lambda: world.now_us, self._units(station.station_id)))

    def _units(self, station: str) -> Units:
        return Units.US if station in self._options.us_gauges else Units.METRIC

    async def turn(self) -> None:
        """Move the world with the clock, for ever."""
        while True:
            self.world.advance_to(self._clock.now(), _MOST_STEPS)
            await self._clock.sleep(STEP_S)  # a late turn takes two steps, so being late does not add up

    async def obey(self, order: dict[str, object]) -> Answer:
        """Carry out one order from the control port; raises ``Refused``."""
        match order:
            case {"do": "status"}:
                return self._status()
            case {"do": "stop", "station": str(station)}:
                await self._outlet_of(station).close()
                return {"station": station, "listening": False}
            case {"do": "start", "station": str(station)}:
                try:
                    await self._outlet_of(station).open()
                except OSError as error:
                    raise Refused(f"{station} cannot listen again ({error}); start the simulator anew") from error
                return {"station": station, "listening": True}
            case _:
                raise Refused(f"unknown order {order}; there are stop and start with a station, and status")

    def _outlet_of(self, station: str) -> Outlet:
        outlet = self.outlets.get(station)
        if outlet is None:
            raise Refused(f"no station {station!r}; there are {_span(self.world.county)}")
        return outlet

    def _status(self) -> Answer:
        stopped = [name for name, outlet in self.outlets.items() if not outlet.listening]
        return {
            "stations": len(self.outlets),
            "stopped": stopped,
            "nozzles": len(self.world.nozzles),
            "fuelling": len(self.world.fuelling),
            "running_s": round((self.world.now_us - self.world.start_us) / 1e6, 1),
        }

    def address_book(self) -> dict[str, object]:
        """The content of ``sim.json``."""
        stations = []
        for plan in self.world.county.stations:
            outlet = self.outlets[plan.station_id]
            dispensers = [
                {
                    "dispenser_id": part.registered.dispenser_id,
                    "unit": part.unit,
                    "nozzle_ids": [nozzle.registered.nozzle_id for nozzle in part.nozzles],
                }
                for part in plan.dispensers
            ]
            stations.append(
                {
                    "station_id": plan.station_id,
                    "modbus_port": outlet.modbus.number,
                    "gauge_port": outlet.gauge.number,
                    "gauge_units": self._units(plan.station_id),
                    "dispensers": dispensers,
                    "tank_ids": [tank.registered.tank_id for tank in plan.tanks],
                }
            )
        return {"control_port": self.control.number, "stations": stations}


@asynccontextmanager
async def running(options: Options, clock: Clock) -> AsyncIterator[Sim]:
    """A simulator that listens and runs until the body ends; its files stand in ``options.out`` meanwhile."""
    file = options.out / SIM_FILE
    async with AsyncExitStack() as stack:
        sim = Sim(options, clock)
        for outlet in sim.outlets.values():
            stack.push_async_callback(outlet.close, hold=False)
            await outlet.open()
        stack.push_async_callback(sim.control.close, hold=False)
        await sim.control.open()
        file.unlink(missing_ok=True)  # whoever waits for it must not read an old one
        write_ledger(options.out / "ledger", sim.world.county)
        write_json(options.out / "truth.json", truth_of(sim.cheats, sim.world))
        write_json(file, sim.address_book())
        stack.callback(file.unlink, missing_ok=True)
        async with asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(sim.turn()), tasks.create_task(sim.orders.carry_out(sim.obey))]
            try:
                yield sim
            finally:
                for task in work:
                    task.cancel()


def _span(county: County) -> str:
    names = [station.station_id for station in county.stations]
    return ", ".join(names) if len(names) <= 12 else f"{names[0]} to {names[-1]}"
