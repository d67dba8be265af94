"""The simulated county as it is served: its stations on their lines, the control port, and the files about them."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig, Refused
from pumpwatch.model import NozzleState, from_us
from pumpwatch_sim.dataset.papers import write_json, write_ledger
from pumpwatch_sim.dataset.truth import truth_of
from pumpwatch_sim.fleet import LineEntry
from pumpwatch_sim.live.control import SIM_FILE, Answer, ControlConnection, Orders
from pumpwatch_sim.live.faults import FaultKind, Faults, fault_of
from pumpwatch_sim.live.lines import BusLine, Line, entries_of, lines_of
from pumpwatch_sim.live.moment import Moment
from pumpwatch_sim.live.player import StationPlayer
from pumpwatch_sim.live.wires import Port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from pumpwatch.clock import Clock
    from pumpwatch_sim.staging import Staging
    from pumpwatch_sim.world.plans import County

AHEAD_S = 60.0
"""Stretches are made so long before they are due, in real time, and an hour of the world at least."""
_LEAST_AHEAD_US = 3_600_000_000
_LOOK_S = 10.0
_DEFAULT_LINES = (LineEntry(protocol="modbus"), LineEntry(protocol="tls350"))


@dataclass(frozen=True, slots=True)
class Outlet:
    """A station with its lines."""

    player: StationPlayer
    lines: list[Line] = field(default_factory=list)

    @property
    def listening(self) -> bool:
        """Whether the station can be reached."""
        return all(line.listening for line in self.lines)

    async def open(self) -> None:
        """Make the station reachable."""
        for line in self.lines:
            await line.open()

    async def close(self, hold: bool = True) -> None:
        """Take the station off the network; with ``hold`` its addresses stay its own."""
        for line in self.lines:
            await line.close(hold)

    def port(self, protocol: str) -> int | None:
        """The TCP port of the first line that speaks this protocol."""
        for line in self.lines:
            if line.protocol == protocol and isinstance(line, BusLine) and isinstance(line.wire, Port):
                return line.wire.number
        return None


class Sim:
    """A staged fleet on its lines; made by :func:`running`."""

    def __init__(self, staging: Staging, clock: Clock, moment: Moment) -> None:
        """No address is taken yet. Raises ``BadConfig`` for what the fleet says of lines and faults."""
        self.staging = staging
        self.moment = moment
        self._clock = clock
        self.faults = Faults(staging.county.stations, staging.fleet.fault, staging.start_us)
        self.outlets: dict[str, Outlet] = {}
        self.orders = Orders()
        known = {plan.station_id for plan in staging.county.stations}
        for entry in staging.fleet.line:
            if unknown := sorted(set(entry.stations) - known):
                raise BadConfig(f"[[line]] {entry.protocol}: no station {unknown[0]}; there are {span(staging.county)}")
        self.control = Port(lambda port: ControlConnection(port, self.orders))

    def take_addresses(self) -> None:
        """Make all lines; they have addresses now but do not answer. Raises ``BadConfig``, ``OSError``.

        Whatever comes of it, :meth:`close` lets go of what has been taken.
        """
        fleet, moment = self.staging.fleet, self.moment
        for plan in self.staging.county.stations:
            entries = entries_of(plan.station_id, fleet.line, _DEFAULT_LINES)
            # An OPC UA server asks by itself and not because bytes came in.
            ticking = any(entry.protocol == "opcua" for entry in entries)
            player = StationPlayer(self.staging, plan.station_id, moment.tick if ticking else moment)
            outlet = self.outlets[plan.station_id] = Outlet(player)
            for line in lines_of(player, entries, self.faults, fleet.seed, moment):
                outlet.lines.append(line)

    @property
    def players(self) -> list[StationPlayer]:
        """All stations."""
        return [outlet.player for outlet in self.outlets.values()]

    async def open(self) -> None:
        """Make all stations reachable."""
        self.moment.tick()
        for outlet in self.outlets.values():
            outlet.player.look_round()
            await outlet.open()
        await self.control.open()

    async def close(self) -> None:
        """Let go of all addresses."""
        for outlet in self.outlets.values():
            await outlet.close(hold=False)
        await self.control.close(hold=False)

    async def prepare(self, pool: ThreadPoolExecutor, progress: Callable[[int, int], object]) -> None:
        """Make what is coming, in another thread."""
        loop = asyncio.get_running_loop()
        ahead_us = max(_LEAST_AHEAD_US, round(AHEAD_S * 1e6 * self.moment.speed))
        for done, player in enumerate(self.players):
            progress(done, len(self.outlets))
            until_us = self.moment.tick() + ahead_us
            if player.made_until_us <= until_us:
                await loop.run_in_executor(pool, player.prepare, until_us)
        progress(len(self.outlets), len(self.outlets))

    async def look_ahead(self, pool: ThreadPoolExecutor) -> None:
        """Go on making what is coming, for ever."""
        while True:
            await self._clock.sleep(_LOOK_S)
            await self.prepare(pool, lambda done, of: None)
            for player in self.players:
                # A station nobody polls goes on too; otherwise all it has ever been would pile up.
                player.look_on()
                await asyncio.sleep(0)

    # ------------------------------------------------------------ orders

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
            case {"do": "fault", "station": str(station)}:
                return self._set_fault(station, order)
            case {"do": "clear", "station": str(station)}:
                return self._clear_faults(station, order)
            case _:
                raise Refused(
                    f"unknown order {order}; there are stop and start with a station, fault and clear with a station, "
                    "and status"
                )

    def _set_fault(self, station: str, order: dict[str, object]) -> Answer:
        self._line_of(station, order)
        try:
            fault = fault_of(order, self.moment.tick(), self.moment.speed)
        except BadConfig as error:
            raise Refused(str(error)) from error
        until = None if fault.end_us is None else from_us(fault.end_us).isoformat()
        reached = self.faults.add(fault, fault.start_us)
        return {"station": station, "fault": fault.kind, "stations": reached, "until": until}

    def _clear_faults(self, station: str, order: dict[str, object]) -> Answer:
        protocol = self._line_of(station, order)
        kind = order.get("kind")
        if kind is not None and kind not in list(FaultKind):
            raise Refused(f"no fault {kind!r}; there are {', '.join(FaultKind)}")
        cleared = self.faults.clear(station, protocol, None if kind is None else FaultKind(str(kind)))
        return {"station": station, "cleared": cleared}

    def _line_of(self, station: str, order: dict[str, object]) -> str | None:
        protocol = order.get("protocol")
        spoken = sorted({line.protocol for line in self._outlet_of(station).lines})
        if protocol is None:
            return None
        if protocol not in spoken:
            raise Refused(f"{station} has no line {protocol!r}; there are {', '.join(spoken)}")
        return str(protocol)

    def _outlet_of(self, station: str) -> Outlet:
        outlet = self.outlets.get(station)
        if outlet is None:
            raise Refused(f"no station {station!r}; there are {span(self.staging.county)}")
        return outlet

    def _status(self) -> Answer:
        now_us = self.moment.tick()
        nozzles = [nozzle for player in self.players for nozzle in player.nozzles]
        faults = self.faults.all_at_work(now_us)
        return {
            "stations": len(self.outlets),
            "stopped": [name for name, outlet in self.outlets.items() if not outlet.listening],
            "nozzles": len(nozzles),
            "fuelling": sum(nozzle.state is NozzleState.FUELLING for nozzle in nozzles),
            "running_s": round((now_us - self.staging.start_us) / 1e6, 1),
            "speed": self.moment.speed,
            "at": from_us(now_us).isoformat(),
            "faults": [{"station": f.station_id, "protocol": f.protocol, "kind": f.kind} for f in faults],
        }

    def address_book(self) -> dict[str, object]:
        """The content of ``sim.json``."""
        return {"control_port": self.control.number, "stations": [_entry(o) for o in self.outlets.values()]}


def _entry(outlet: Outlet) -> dict[str, object]:
    """A station in ``sim.json``; the ports of Modbus and TLS-350 also stand by themselves, where it has them."""
    plan = outlet.player.plan
    entry: dict[str, object] = {"station_id": plan.station_id}
    if (port := outlet.port("modbus")) is not None:
        entry["modbus_port"] = port
    if (port := outlet.port("tls350")) is not None:
        entry["gauge_port"] = port
    entry["gauge_units"] = next((line.units for line in outlet.lines if line.protocol == "tls350"), "metric")
    entry["dispensers"] = [
        {
            "dispenser_id": part.registered.dispenser_id,
            "unit": part.unit,
            "nozzle_ids": [nozzle.registered.nozzle_id for nozzle in part.nozzles],
        }
        for part in plan.dispensers
    ]
    entry["tank_ids"] = [tank.registered.tank_id for tank in plan.tanks]
    entry["lines"] = [asdict(line.offer) for line in outlet.lines]
    return entry


@asynccontextmanager
async def running(
    staging: Staging,
    clock: Clock,
    out: Path,
    speed: float = 1.0,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> AsyncIterator[Sim]:
    """A simulator that listens until the body ends; its files stand in ``out`` meanwhile.

    A fleet that starts "now" keeps the machine's time, others begin at their start when everything listens.
    """
    file = out / SIM_FILE
    keeps_time = staging.fleet.start == "now" and speed == 1.0
    moment = Moment(clock, staging.start_us, speed, staging.start_us if keeps_time else None)
    async with AsyncExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(1, "stretches"))
        sim = Sim(staging, clock, moment)
        stack.push_async_callback(sim.close)
        sim.take_addresses()
        await sim.prepare(pool, progress)
        await sim.open()
        moment.begin()
        file.unlink(missing_ok=True)  # whoever waits for it must not read an old one
        write_ledger(out / "ledger", staging.county)
        write_json(out / "truth.json", truth_of(staging))
        write_json(file, sim.address_book())
        stack.callback(_forget, file, sim.control.number)
        async with asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(sim.look_ahead(pool)), tasks.create_task(sim.orders.carry_out(sim.obey))]
            try:
                yield sim
            finally:
                for task in work:
                    task.cancel()


def _forget(file: Path, control_port: int) -> None:
    """Remove ``sim.json`` unless another simulator has written its own meanwhile."""
    try:
        book = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(book, dict) and book.get("control_port") == control_port:
        file.unlink(missing_ok=True)


def span(county: County) -> str:
    """The ids of its stations, in short."""
    names = [station.station_id for station in county.stations]
    return ", ".join(names) if len(names) <= 12 else f"{names[0]} to {names[-1]}"
