"""The simulator process: which fleet, until when, and a clean end."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig
from pumpwatch_sim.fleet import Fleet, LineEntry, load_fleet
from pumpwatch_sim.fleets import fleet_path
from pumpwatch_sim.live.control import SIM_FILE
from pumpwatch_sim.live.sim import running, span
from pumpwatch_sim.staging import Staging, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from pumpwatch.clock import Clock

_SOON_S = 3.0
_SOON_S_PER_STATION = 0.08
"""So long after the call a fleet that starts "now" begins, for its stations have to be made first."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `serve` was asked for; None: as the fleet file has it."""

    out: Path
    fleet: str = "demo"
    """Name or path."""
    speed: float = 1.0
    stations: int | None = None
    seed: int | None = None
    cheats: bool = True
    demand: float | None = None
    us_gauges: frozenset[str] = frozenset()
    """Stations whose gauge reports gallons, inches and degrees Fahrenheit."""
    until_stdin_closes: bool = False


async def serve(
    options: Options,
    clock: Clock,
    announce: Callable[[str], object],
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> None:
    """Simulate until SIGINT, SIGTERM or, if asked for, the end of standard input.

    Raises ``BadConfig`` for what cannot be. ``sim.json`` is written when all lines listen and removed at the end.
    """
    stop = asyncio.Event()
    with _stop_at_signals(stop), _stop_at_end_of_input(stop, options.until_stdin_closes):
        _open_many_files()
        staging = staged(options, clock.now())
        async with running(staging, clock, options.out, options.speed, progress) as sim:
            dispensers = sum(len(player.dispensers) for player in sim.players)
            nozzles = sum(len(player.nozzles) for player in sim.players)
            announce(
                f"{len(sim.outlets)} stations with {dispensers} dispensers and {nozzles} nozzles listen; "
                f"see {options.out / SIM_FILE}"
            )
            await stop.wait()


def staged(options: Options, now: datetime) -> Staging:
    """The fleet as asked for, ready to be served. Raises ``BadConfig``."""
    fleet = _asked(load_fleet(fleet_path(options.fleet)), options)
    staging = stage(fleet, now + timedelta(seconds=_SOON_S + _SOON_S_PER_STATION * fleet.stations.count))
    unknown = options.us_gauges - {station.station_id for station in staging.county.stations}
    if unknown:
        raise BadConfig(f"--us-gauge {min(unknown)}: no such station; there are {span(staging.county)}")
    return staging


def _asked(fleet: Fleet, options: Options) -> Fleet:
    """The fleet with the options in place of what the file says."""
    stations, scenarios, lines = fleet.stations, fleet.scenario, fleet.line
    if options.stations is not None:
        if not 1 <= options.stations <= 2_000:
            raise BadConfig(f"--stations {options.stations}: give 1 to 2000 stations; the county of the demo has 46")
        stations = stations.model_copy(update={"count": options.stations})
        scenarios = scenarios[: options.stations]
    if options.demand is not None:
        if not 0.0 < options.demand <= 20.0:
            raise BadConfig(f"--demand {options.demand:g}: give a factor above 0 and at most 20; 1 is the usual day")
        stations = stations.model_copy(update={"demand": min(20.0, stations.demand * options.demand)})
    if options.us_gauges:
        lines = (*lines, LineEntry(stations=tuple(sorted(options.us_gauges)), protocol="tls350", units="us"))
    return fleet.model_copy(
        update={
            "seed": fleet.seed if options.seed is None else options.seed,
            "stations": stations,
            "scenario": scenarios if options.cheats else (),
            "line": lines,
        }
    )


def _open_many_files() -> None:
    """Each line and each peer is an open file; a county of hundreds needs more than many systems start with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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
