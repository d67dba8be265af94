"""Which protocol is spoken how: the devices of each kind of line, and what a serial port must be set to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig
from pumpwatch_sim.live.faults import Frame
from pumpwatch_sim.wire import compac, dart, ifsf, lanfeng, modbus, rtu, taxport, tls350, twowire
from pumpwatch_sim.wire.console import StationConsole, Units
from pumpwatch_sim.wire.crc import crc16
from pumpwatch_sim.wire.dart_frames import FIRST_ADDRESS, MOST_SIDES
from pumpwatch_sim.wire.registers import DispenserRegisters

if TYPE_CHECKING:
    from pumpwatch_sim.fleet import LineEntry
    from pumpwatch_sim.live.player import DispenserPlayer, StationPlayer
    from pumpwatch_sim.live.views import Controller, Pump


class Role(StrEnum):
    """What a line is for; a station has at least one for its pumps and one for its gauge."""

    PUMPS = "pumps"
    GAUGE = "gauge"
    TAX = "tax"


class HangUpError(Exception):
    """The device ends the connection."""


@dataclass(frozen=True, slots=True)
class Bus:
    """The devices on one line."""

    devices: Mapping[str, int]
    """Dispenser or tank id → its address."""
    talk: Callable[[], Pump]
    """The devices' side of a new connection. On a bus it is the same for all: there is one state."""
    controller: Controller | None = None
    """The station's own master, when the line is only listened to."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a protocol is spoken."""

    role: Role
    build: Callable[[StationPlayer, LineEntry], Sequence[Bus]]
    serial: str = "baud=9600&parity=N"
    """Of a line on a serial port."""
    gap_s: float | None = None
    """So long a quiet means a pause; None: pauses mean nothing."""
    frame: Frame = field(default_factory=Frame)


# ---------------------------------------------------------------- the devices' side


class ModbusSession:
    """A Modbus TCP master's connection to the dispensers of a station; a dispenser that is out stays silent."""

    def __init__(self, units: Mapping[int, modbus.Registers], out: Callable[[int], bool]) -> None:
        self._units = units
        self._out = out
        self._framer = modbus.RequestFramer()

    def receive(self, data: bytes) -> bytes:
        """Answer each request in its turn. Raises ``HangUpError`` at garbage."""
        try:
            requests = self._framer.feed(data)
        except modbus.GarbageError as error:
            raise HangUpError(str(error)) from error
        return b"".join(modbus.answer(r, self._units) for r in requests if not self._out(r.unit))

    def pause(self) -> bytes:
        """TCP knows no pauses."""
        return b""


class Party:
    """Devices in parallel on one wire: all hear everything, those addressed answer, those that are out do not."""

    def __init__(self, station: StationPlayer, members: Sequence[tuple[Sequence[str], Pump]]) -> None:
        """Each member with the ids of its devices; it is out when all of them are."""
        self._station = station
        self._members = members

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the line."""
        return b"".join(pump.receive(data) for pump in self._in())

    def pause(self) -> bytes:
        """The line has been quiet."""
        return b"".join(pump.pause() for pump in self._in())

    def _in(self) -> list[Pump]:
        if not self._station.outages:
            return [pump for _, pump in self._members]
        return [pump for ids, pump in self._members if not all(map(self._station.out, ids))]


# ---------------------------------------------------------------- the protocols


def _units(station: StationPlayer, entry: LineEntry) -> tuple[dict[int, modbus.Registers], dict[int, str]]:
    """Registers and dispenser of each unit."""
    if entry.map == "compac-c5000":
        hoses: dict[int, modbus.Registers] = dict(compac.units(station.dispensers))
        owners = [dispenser.dispenser_id for dispenser in station.dispensers for _ in dispenser.nozzles]
        return hoses, dict(zip(hoses, owners, strict=True))
    dispensers = station.dispensers
    return {d.unit: DispenserRegisters(d) for d in dispensers}, {d.unit: d.dispenser_id for d in dispensers}


def _first(owners: Mapping[int, str]) -> dict[str, int]:
    return {owner: unit for unit, owner in reversed(list(owners.items()))}


def _modbus(station: StationPlayer, entry: LineEntry) -> Sequence[Bus]:
    units, owners = _units(station, entry)

    def out(unit: int) -> bool:
        return station.out(owners[unit]) if unit in owners else False

    return [Bus(_first(owners), lambda: ModbusSession(units, out))]


def _rtu(station: StationPlayer, entry: LineEntry) -> Sequence[Bus]:
    units, owners = _units(station, entry)
    members = [((owners[unit],), rtu.ModbusRtu({unit: registers})) for unit, registers in units.items()]
    party = Party(station, members)
    return [Bus(_first(owners), lambda: party)]


def _nozzles_per_side(dispensers: Sequence[DispenserPlayer], most: int) -> int:
    """As few as let all sides have an address."""
    for nozzles in (1, 2, 3, 4):
        if sum(-(-len(dispenser.nozzles) // nozzles) for dispenser in dispensers) <= most:
            return nozzles
    raise BadConfig(f"{dispensers[0].dispenser_id}: more fuelling sides than the {most} one line takes")


def _dart(station: StationPlayer, entry: LineEntry) -> Sequence[Bus]:
    per_side = _nozzles_per_side(station.dispensers, MOST_SIDES)
    members, first = [], FIRST_ADDRESS
    for dispenser in station.dispensers:
        members.append(
            ((dispenser.dispenser_id,), dart.DartPumps([dispenser], first_address=first, nozzles_per_side=per_side))
        )
        first += -(-len(dispenser.nozzles) // per_side)
    party = Party(station, members)
    devices = {name: address for _, pumps in members for name, address in pumps.devices.items()}
    return [Bus(devices, lambda: party, dart.DartController(station.dispensers, nozzles_per_side=per_side))]


def _twowire(station: StationPlayer, entry: LineEntry) -> Sequence[Bus]:
    per_side = _nozzles_per_side(station.dispensers, twowire.MOST_PUMPS)
    pumps = twowire.TwoWirePumps(station.dispensers, nozzles_per_side=per_side)
    party = Party(station, [(tuple(pumps.devices), pumps)])
    controller = twowire.TwoWireController(station.dispensers, nozzles_per_side=per_side)
    return [Bus(pumps.devices, lambda: party, controller)]


def _lanfeng(station: StationPlayer, entry: LineEntry) -> Sequence[Bus]:
    guns = lanfeng.LanfengGuns(station.dispensers)
    party = Party(station, [(tuple(guns.devices), guns)])
    return [Bus(guns.devices, lambda: party, lanfeng.LanfengController(station.dispensers))]


def _taxport(station: StationPlayer, entry: LineEntry) -> Sequence[Bus]:
    """A port for each dispenser: the tax board is its own."""

    def port(dispenser: DispenserPlayer) -> Bus:
        pump = taxport.TaxPort([dispenser])
        party = Party(station, [((dispenser.dispenser_id,), pump)])
        return Bus(pump.devices, lambda: party)

    return [port(dispenser) for dispenser in station.dispensers]


def _ifsf(station: StationPlayer, entry: LineEntry) -> Sequence[Bus]:
    dispensers, gauge = ifsf.IfsfDispensers(station.dispensers), ifsf.IfsfGauge(station)
    party = Party(station, [(tuple(dispensers.devices), dispensers), (tuple(gauge.devices), gauge)])
    return [Bus(dict(dispensers.devices) | dict(gauge.devices), lambda: party)]


def _tls350(station: StationPlayer, entry: LineEntry) -> Sequence[Bus]:
    console = StationConsole(station, Units(entry.units))
    devices = {tank.tank_id: tank.number for tank in station.tanks}
    return [Bus(devices, lambda: Party(station, [(tuple(devices), tls350.Tls350(console))]))]


def _seal_rtu(reply: bytes) -> bytes:
    return reply[:-2] + crc16(reply[:-2], 0xFFFF).to_bytes(2, "little")


def _seal_dart(reply: bytes) -> bytes:
    if len(reply) < 6 or b"\x10\xfa" in reply:
        return reply
    return reply[:-4] + crc16(reply[:-4]).to_bytes(2, "little") + reply[-2:]


def _seal_tls350(reply: bytes) -> bytes:
    return reply[:-5] + f"{-sum(reply[:-5]) & 0xFFFF:04X}".encode("ascii") + reply[-1:]


KINDS: Mapping[str, Kind] = {
    "modbus": Kind(Role.PUMPS, _modbus, frame=Frame(address=6)),
    "modbus-rtu": Kind(
        Role.PUMPS, _rtu, "baud=9600&parity=N", 0.005, Frame(address=0, checksum=(-2, 0), seal=_seal_rtu)
    ),
    "dart": Kind(Role.PUMPS, _dart, "baud=9600&parity=O", 0.05, Frame(address=0, checksum=(-4, -2), seal=_seal_dart)),
    "twowire": Kind(Role.PUMPS, _twowire, "baud=5787&parity=E", 0.068, Frame(address=0, checksum=(-2, -1))),
    "lanfeng": Kind(Role.PUMPS, _lanfeng, "baud=9600&parity=N", 0.05, Frame(address=0, checksum=(-1, 0))),
    "taxport": Kind(Role.TAX, _taxport, "baud=9600&parity=E", 0.05, Frame(address=0, checksum=(-1, 0))),
    "ifsf": Kind(Role.PUMPS, _ifsf, gap_s=1.0, frame=Frame(address=2)),
    "tls350": Kind(
        Role.GAUGE,
        _tls350,
        "baud=9600&bytesize=7&parity=O",
        0.2,
        Frame(address=6, checksum=(-5, -1), text=True, seal=_seal_tls350),
    ),
}
"""All but OPC UA, which is a server of its own."""
