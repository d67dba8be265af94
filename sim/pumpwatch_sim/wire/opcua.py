"""An OPC UA server of one station: device nodes in the manner of OPC 10000-100 (DI) and a namespace of its own.

There is no companion specification for fuel dispensers, so none is claimed: the identity
properties only bear the names DI gives them. Nobody may write. Values are taken from the view once a second while a
client is connected and lie still otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager

from pumpwatch.model import NozzleState

if TYPE_CHECKING:
    from asyncua.common.node import Node
    from asyncua.server.internal_server import InternalServer

    from pumpwatch_sim.live.views import DispenserView, NozzleView, StationView, TankLook, TankView

NAMESPACE = "urn:pumpwatch:simulated-county"
LOOPBACK = "127.0.0.1"
PERIOD_S = 1.0

Value: TypeAlias = int | float | str
Reading: TypeAlias = Callable[[], Value]

_TYPES = {int: ua.VariantType.Int64, float: ua.VariantType.Double, str: ua.VariantType.String}


class _Readers(UserManager):
    """Whoever comes may read, an "admin" too."""

    def get_user(
        self,
        iserver: InternalServer,
        username: str | None = None,
        password: str | None = None,
        certificate: object = None,
    ) -> User:
        """The same for everybody."""
        return User(role=UserRole.User)


@asynccontextmanager
async def serving(view: StationView, port: int, host: str = LOOPBACK) -> AsyncIterator[str]:
    """Serve a station on a port (0: any free one) and give the address, ``opc.tcp://host:port/``.

    Raises ``OSError`` when the port is taken. Ends with the block.
    """
    number = await _free_port(host, port)
    server = Server(user_manager=_Readers())
    await server.init()
    address = f"opc.tcp://{host}:{number}/"
    server.set_endpoint(address)
    server.set_server_name(f"pumpwatch {view.station_id}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    tree = await _Tree.planted(server, view)
    async with server:
        # Not a task group: the block may be left by another task than the one that entered it.
        refreshing = asyncio.create_task(_refresh(server, tree))
        try:
            yield address
        finally:
            refreshing.cancel()
            await asyncio.wait([refreshing])
        if not refreshing.cancelled():
            refreshing.result()


class _Tree:
    """The station's variables and where their values come from."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._readings: list[tuple[Node, Reading, Value]] = []

    @classmethod
    async def planted(cls, server: Server, view: StationView) -> _Tree:
        """Make all nodes of a station below ``Objects``."""
        tree = cls(await server.register_namespace(NAMESPACE))
        station = await tree._folder(server.nodes.objects, view.station_id, view.station_id)
        for dispenser in view.dispensers:
            await tree._dispenser(station, dispenser)
        for tank in view.tanks:
            await tree._tank(station, tank)
        return tree

    async def write(self) -> None:
        """Write what has changed since the last time."""
        for place, (node, read, before) in enumerate(self._readings):
            now = read()
            if not _same(now, before):
                await node.write_value(_stamped(now))
                self._readings[place] = (node, read, now)

    async def _folder(self, parent: Node, path: str, name: str) -> Node:
        return await parent.add_object(self._id(path), ua.QualifiedName(name, self._index))

    def _id(self, path: str) -> ua.NodeId:
        return ua.NodeId(ua.String(path), ua.Int16(self._index))

    async def _variables(
        self, parent: Node, path: str, readings: Mapping[str, Reading], properties: bool = False
    ) -> None:
        add = parent.add_property if properties else parent.add_variable
        for name, read in readings.items():
            value = read()
            variant = ua.Variant(value, _TYPES[type(value)])
            node = await add(self._id(f"{path}.{name}"), ua.QualifiedName(name, self._index), variant)
            await node.write_value(_stamped(value))
            self._readings.append((node, read, value))

    async def _dispenser(self, station: Node, dispenser: DispenserView) -> None:
        path = dispenser.dispenser_id
        device = await self._folder(station, path, path)
        await self._variables(
            device,
            path,
            {
                "Manufacturer": lambda: "pumpwatch (simulated)",
                "SerialNumber": lambda: dispenser.identity.serial,
                "SoftwareRevision": lambda: dispenser.identity.firmware_version,
                "SoftwareDigest": lambda: dispenser.identity.firmware_digest,
                "MainboardSerialNumber": lambda: dispenser.identity.mainboard_serial,
                "TaxSerialNumber": lambda: dispenser.identity.tax_serial,
                "RevisionCounter": lambda: dispenser.identity_changes,
                "DeviceHealth": lambda: _health(dispenser),
            },
            properties=True,
        )
        await self._variables(device, path, {"clock_s": lambda: dispenser.now_s})
        for place, nozzle in enumerate(dispenser.nozzles):
            await self._nozzle(device, f"{path}.nozzle-{nozzle.number}", dispenser, nozzle, place)

    async def _nozzle(self, device: Node, path: str, dispenser: DispenserView, nozzle: NozzleView, place: int) -> None:
        node = await self._folder(device, path, f"nozzle-{nozzle.number}")

        def encoder() -> str:
            serials = dispenser.identity.encoder_serials
            return serials[place] if place < len(serials) else ""

        await self._variables(
            node,
            path,
            {
                "nozzle_id": lambda: nozzle.nozzle_id,
                "grade": lambda: nozzle.grade,
                "encoder_serial": encoder,
                "state": lambda: int(nozzle.state),
                "unit_price": lambda: nozzle.price / 100,
                "volume_l": lambda: nozzle.volume / 100,
                "amount_cny": lambda: nozzle.amount / 100,
                "pulses": lambda: nozzle.pulses,
                "flow_l_min": lambda: nozzle.flow / 10,
                "totalizer_l": lambda: nozzle.totalizer / 100,
                "totalizer_cny": lambda: nozzle.totalizer_amount / 100,
                "sequence": lambda: nozzle.sequence,
            },
        )

    async def _tank(self, station: Node, tank: TankView) -> None:
        path = tank.tank_id
        node = await self._folder(station, path, path)

        def of(value: Callable[[TankLook], float]) -> Reading:
            return lambda: float(value(tank.look()))

        await self._variables(
            node,
            path,
            {
                "grade": lambda: tank.grade,
                "capacity_l": lambda: float(tank.capacity_l),
                "receiving": lambda: int(tank.receiving),
                "height_mm": of(lambda look: look.height_mm),
                "volume_l": of(lambda look: look.volume_l),
                "volume_20c_l": of(lambda look: look.volume_20c_l),
                "ullage_l": of(lambda look: look.ullage_l),
                "water_mm": of(lambda look: look.water_mm),
                "temperature_c": of(lambda look: look.temperature_c),
                "density_kg_m3": of(lambda look: look.density_kg_m3),
            },
        )


def _same(now: Value, before: Value) -> bool:
    """NaN (a probe without a densitometer) is the same as NaN."""
    return now == before or (now != now and before != before)  # noqa: PLR0124


def _health(dispenser: DispenserView) -> int:
    """NORMAL (0) or FAILURE (1) as OPC 10000-100 numbers them; a self-locked nozzle is a failure."""
    return int(any(nozzle.state is NozzleState.LOCKED for nozzle in dispenser.nozzles))


def wall_clock() -> datetime:
    """What the server takes the time from; the county's own may run faster."""
    return datetime.now(UTC)


def _stamped(value: Value) -> ua.DataValue:
    at = ua.DateTime.fromtimestamp(wall_clock().timestamp(), UTC)
    return ua.DataValue(ua.Variant(value, _TYPES[type(value)]), SourceTimestamp=at)


async def _refresh(server: Server, tree: _Tree) -> None:
    """Once a second, as long as somebody is there to see it."""
    while True:
        if server.bserver is not None and server.bserver.clients:
            await tree.write()
        await asyncio.sleep(PERIOD_S)


async def _free_port(host: str, port: int) -> int:
    """The port, or any, if nobody has it: the library builds for seconds before it tries, and tells no number."""
    probe = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    try:
        number: int = probe.sockets[0].getsockname()[1]
    finally:
        probe.close()
        await probe.wait_closed()
    return number
