"""The OPC UA outlet, read by asyncua's own command line tools and its client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua

from pumpwatch.model import NozzleState
from pumpwatch_sim.wire import opcua

TOOLS = Path(sys.executable).parent

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def station(fakes: ModuleType) -> Any:
    return fakes.FakeStation([fakes.FakeDispenser(fakes.nozzles(2))], [fakes.FakeTank()])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(station: Any) -> AsyncIterator[str]:
    """One server for all tests: it takes seconds to build."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opcua, "PERIOD_S", 0.02)
        async with opcua.serving(station, 0) as address:
            yield address


async def tool(name: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        TOOLS / name, *arguments, "--timeout", "20", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@asynccontextmanager
async def connected(address: str):
    async with Client(address, timeout=20) as client:
        index = await client.get_namespace_index(opcua.NAMESPACE)
        yield lambda path: client.get_node(f"ns={index};s={path}")


async def becomes(node: Any, right: Callable[[Any], bool]) -> Any:
    """The node's value as soon as it is right; the test's own time limit is the deadline."""
    while True:
        value = await node.read_value()
        if right(value):
            return value


async def test_the_command_line_tools_read_a_station(station: Any, address: str) -> None:
    station.dispensers[0].nozzles[0].totalizer = 1234567
    async with connected(address) as node:
        await becomes(node("S01-D1.nozzle-1.totalizer_l"), bool)
    read, listed = await asyncio.gather(
        tool("uaread", "-u", address, "-n", "ns=2;s=S01-D1.nozzle-1.totalizer_l"),
        tool("uals", "-u", address, "-n", "ns=2;s=S01-D1", "-d", "2"),
    )
    assert read.strip() == "12345.67"
    for name in ("SerialNumber", "SoftwareRevision", "MainboardSerialNumber", "nozzle-1", "nozzle-2", "unit_price"):
        assert name in listed


async def test_values_follow_the_view(station: Any, address: str) -> None:
    nozzle = station.dispensers[0].nozzles[1]
    async with connected(address) as node:
        assert await node("S01-D1.nozzle-2.volume_l").read_value() == 0.0
        assert await node("S01-D1.SerialNumber").read_value() == "DEMO-123456"
        assert await node("S01-D1.nozzle-2.encoder_serial").read_value() == "EN-2"
        assert await node("S01-T1.height_mm").read_value() == 1234.5
        assert await node("S01-T1.receiving").read_value() == 0
        nozzle.lift()
        nozzle.fuel(2550)
        assert await becomes(node("S01-D1.nozzle-2.flow_l_min"), bool) == 40.0
        assert await node("S01-D1.nozzle-2.volume_l").read_value() == 25.5
        assert await node("S01-D1.nozzle-2.amount_cny").read_value() == 201.2
        assert await becomes(node("S01-D1.nozzle-2.state"), bool) == 2
        station.dispensers[0].identity = type(station.dispensers[0].identity)("X", "MB-2", "9.9", "cd" * 32, "TX")
        assert await becomes(node("S01-D1.nozzle-2.encoder_serial"), lambda value: value != "EN-2") == ""
        assert await node("S01-D1.MainboardSerialNumber").read_value() == "MB-2"
        assert await node("S01-D1.DeviceHealth").read_value() == 0
        nozzle.state = NozzleState.LOCKED
        assert await becomes(node("S01-D1.DeviceHealth"), bool) == 1


@pytest.mark.parametrize("user", [None, "admin"])
async def test_nobody_writes(address: str, user: str | None) -> None:
    client = Client(address, timeout=20)
    if user is not None:
        client.set_user(user)
        client.set_password("x")
    async with client:
        node = client.get_node("ns=2;s=S01-D1.nozzle-1.grade")
        with pytest.raises(ua.UaStatusCodeError):
            await node.write_value("0#")
        assert await node.read_value() == "92#"


async def test_a_port_that_is_taken_is_an_error(station: Any, address: str) -> None:
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        async with opcua.serving(station, port):
            pass


async def test_without_a_client_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opcua, "PERIOD_S", 0.0)
    written = asyncio.Event()

    class CountingTree:
        async def write(self) -> None:
            written.set()

    clients: list[str] = []
    task = asyncio.create_task(
        opcua._refresh(SimpleNamespace(bserver=SimpleNamespace(clients=clients)), CountingTree())
    )
    for _ in range(50):
        await asyncio.sleep(0)
    assert not written.is_set()
    clients.append("somebody")
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
