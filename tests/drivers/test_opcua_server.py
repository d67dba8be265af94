"""The OPC UA driver against asyncua's own server: values, subscriptions, limits, outages, restarts, cancellation."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Server, ua
from asyncua.server.address_space import AddressSpace
from asyncua.server.monitored_item_service import MonitoredItemService
from asyncua.server.uaprocessor import UaProcessor

from pumpwatch import BadReply, NotReachable, Quality, Reading, Sample, Site
from pumpwatch_opcua import OpcuaDriver, OpcuaSettings

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.integration]

NAMES = ("a", "b", "c", "d", "e", "f")
MAP = "\n".join(
    [
        'title = "test"',
        '[namespaces]\nx = "urn:test"',
        *(f'[[tags]]\nname = "{name}"\nnode = "/x:dev/x:{name}"' for name in NAMES),
        '[[tags]]\nname = "name"\nnode = "ns=x;s=name"\nkind = "identity"',
        '[[tags]]\nname = "third"\nnode = "nsu=urn:test;s=many"\nindex = 2',
        '[[tags]]\nname = "coming"\nnode = "/x:dev/x:coming"',
    ]
)
T0 = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)


@dataclass
class Station:
    """A server with a few variables."""

    server: Server
    address: str
    map: Path
    index: int
    nodes: dict[str, Any] = field(default_factory=dict)
    turn: int = 0

    async def write(self, name: str, value: Any, status: int = 0, kind: ua.VariantType | None = None) -> datetime:
        """Write with the next source time, which is returned."""
        self.turn += 1
        at = T0 + timedelta(seconds=self.turn)
        data = ua.DataValue(ua.Variant(value, kind), ua.StatusCode(status), SourceTimestamp=at)
        await self.server.write_attribute_value(self.nodes[name].nodeid, data)
        written = await self.nodes[name].read_attribute(ua.AttributeIds.Value, raise_on_bad_status=False)
        assert written.SourceTimestamp == at
        return at

    async def start_again(self) -> None:
        """As after a crash: sessions and subscriptions are forgotten, values are kept."""
        service = self.server.iserver.subscription_service
        await service.delete_subscriptions(list(service.subscriptions))
        for session in list(self.server.iserver._external_sessions.values()):
            await session.close_session()
        await self.server.start()

    def driver(self, **keys: Any) -> OpcuaDriver:
        settings = OpcuaSettings(map=self.map, **{"publishing_s": 0.05, "queue": 100, **keys})
        return OpcuaDriver(settings, Site("S01", "D1"), SimpleNamespace(address=self.address))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def station(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Station]:
    """One server for all tests: it takes seconds to build."""
    probe = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    server = Server()
    await server.init()
    address = f"opc.tcp://127.0.0.1:{port}/test"
    server.set_endpoint(address)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    path = tmp_path_factory.mktemp("opcua") / "map.toml"
    path.write_text(MAP, encoding="utf-8")
    station = Station(server, address, path, await server.register_namespace("urn:test"))
    dev = await server.nodes.objects.add_object(ua.NodeId("dev", station.index), ua.QualifiedName("dev", station.index))
    for name, value in (*((name, 0.0) for name in NAMES), ("name", "MB-1"), ("many", [1.0, 2.0, 3.0])):
        node = ua.NodeId(name, station.index)
        station.nodes[name] = await dev.add_variable(node, ua.QualifiedName(name, station.index), value)
    station.nodes["dev"] = dev
    async with server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AddressSpace, "_is_expected_variant_type", lambda *_: True)  # it shall tell nonsense
            yield station


@pytest_asyncio.fixture(loop_scope="module")
async def driver(station: Station, no_leftovers: None) -> AsyncIterator[OpcuaDriver]:
    driver = station.driver()
    yield driver
    await driver.close()


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def no_leftovers() -> AsyncIterator[None]:
    """After the test there is no task of the library's client."""
    yield
    left = [task for task in asyncio.all_tasks() if "UaSession" in repr(task.get_coro())]
    assert left == []


async def read(driver: OpcuaDriver, now: datetime = T0) -> Reading:
    return await driver.read(driver.tags(), now)


def by_tag(reading: Reading) -> dict[str, Sample]:
    return {sample.tag: sample for sample in reading.samples}


async def heard(driver: OpcuaDriver, enough: Callable[[list[Sample]], bool]) -> list[Sample]:
    """What the subscription tells, until it is enough; the test's own time limit is the deadline."""
    samples: list[Sample] = []
    while not enough(samples):
        await asyncio.sleep(0.01)
        samples += (await driver.read([], T0)).samples
    return samples


def values(samples: list[Sample], tag: str) -> list[object]:
    return [sample.value for sample in samples if sample.tag == tag]


# ---------------------------------------------------------------- values


async def test_the_first_read_has_everything(station: Station, driver: OpcuaDriver) -> None:
    at = await station.write("a", 12.5)
    await driver.connect()
    samples = by_tag(await read(driver, datetime.now(UTC)))
    assert samples.keys() == {tag.name for tag in driver.tags()}
    assert samples["a"] == Sample("a", 12.5, at)
    assert samples["name"].value == "MB-1"
    assert samples["third"].value == 3.0
    assert samples["coming"][1::2] == (None, Quality.REFUSED)
    assert abs(samples["server.clock_difference"].value) < 60
    assert samples["server.lost"].value == 0


async def test_what_cannot_be_a_value_is_bad(station: Station, driver: OpcuaDriver) -> None:
    await driver.connect()
    await read(driver)
    hostile = [math.nan, math.inf, "x" * 10_000, [1.0] * 50, b"\xff", datetime(2026, 1, 1, tzinfo=UTC), 2**63 - 1]
    for value in hostile:
        await station.write("a", value)
    for status in (ua.StatusCodes.BadSensorFailure, ua.StatusCodes.UncertainLastUsableValue):
        await station.write("a", 1.0, status)
    await station.write("name", "a" * 5000)
    await station.write("b", ua.NodeId("x", 3), kind=ua.VariantType.NodeId)
    samples = await heard(driver, lambda told: len(values(told, "a")) == 9 and values(told, "name") != [])
    qualities = [sample.quality for sample in samples if sample.tag == "a"]
    assert qualities == [Quality.BAD_REPLY] * 5 + [Quality.GOOD] * 2 + [Quality.BAD, Quality.STALE]
    assert values(samples, "a")[5:] == [datetime(2026, 1, 1, tzinfo=UTC).timestamp(), 2**63 - 1, None, 1.0]
    assert by_tag(Reading(samples))["name"].quality is Quality.BAD_REPLY
    assert by_tag(Reading(samples))["b"].quality is Quality.BAD_REPLY
    await station.write("name", "MB-1")


async def test_every_change_comes_once_in_order(station: Station, driver: OpcuaDriver) -> None:
    await driver.connect()
    await read(driver)
    times = [await station.write("c", float(n)) for n in range(1, 51)]
    samples = await heard(driver, lambda told: len(told) >= 50)
    assert [(s.value, s.at) for s in samples if s.tag == "c"] == [(float(n), at) for n, at in enumerate(times, 1)]
    assert by_tag(await read(driver))["c"].value == 50.0, "a tag that is due is told although it has not changed"


# ---------------------------------------------------------------- what the server refuses


@pytest.mark.parametrize("declared", [True, False])
async def test_the_servers_limits_are_kept(station: Station, monkeypatch: pytest.MonkeyPatch, declared: bool) -> None:
    """Declared or not: it takes three operations at once."""
    sizes: list[int] = []

    def limited(name: str, count: Callable[[Any], int], owner: type) -> None:
        whole = getattr(owner, name)

        async def few(self: Any, parameters: Any) -> Any:
            sizes.append(count(parameters))
            if sizes[-1] > 3:
                raise ua.utils.ServiceError(ua.StatusCodes.BadTooManyOperations)
            return await whole(self, parameters)

        monkeypatch.setattr(owner, name, few)

    limited("create_monitored_items", lambda parameters: len(parameters.ItemsToCreate), MonitoredItemService)
    ids = ua.ObjectIds
    limit = station.server.get_node(ids.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall)
    before = await limit.read_value()
    await limit.write_value(ua.Variant(3 if declared else 0, ua.VariantType.UInt32))
    driver = station.driver()
    try:
        await driver.connect()
        assert all(p.subscribed for p in driver._device._points.values() if p.name != "coming")
        assert (max(sizes) <= 3) is declared
        assert sum(size for size in sizes if size <= 3) == 8
    finally:
        await driver.close()
        await limit.write_value(ua.Variant(before, ua.VariantType.UInt32))


async def test_without_a_subscription_values_are_read(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station.server.iserver, "max_subscriptions", 0)
    driver = station.driver()
    await driver.connect()
    for n in (1.0, 2.0):
        await station.write("d", n)
        samples = by_tag(await read(driver))
        assert samples["d"].value == n
        assert samples["name"].value == "MB-1"
        assert samples["coming"].quality is Quality.REFUSED
    assert not any(point.subscribed for point in driver._device._points.values())
    await driver.close()


async def test_items_that_are_refused_are_read(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MonitoredItemService._create_data_change_monitored_item

    async def few(self: Any, item: Any) -> ua.MonitoredItemCreateResult:
        if item.ItemToMonitor.NodeId.Identifier == "e":
            return ua.MonitoredItemCreateResult(ua.StatusCode(ua.StatusCodes.BadTooManyMonitoredItems))
        return await whole(self, item)

    monkeypatch.setattr(MonitoredItemService, "_create_data_change_monitored_item", few)
    driver = station.driver()
    await driver.connect()
    assert [p.name for p in driver._device._points.values() if not p.subscribed] == ["e", "coming"]
    await read(driver)
    await station.write("e", 5.0)
    assert by_tag(await read(driver))["e"].value == 5.0
    await driver.close()


async def test_poll_mode(station: Station) -> None:
    driver = station.driver(mode="poll")
    await driver.connect()
    at = await station.write("f", 6.5)
    assert by_tag(await read(driver))["f"] == Sample("f", 6.5, at)
    assert driver._device._link.session._publish_task is None
    await driver.close()


# ---------------------------------------------------------------- losses


async def test_a_broken_connection_loses_and_doubles_nothing(station: Station, driver: OpcuaDriver) -> None:
    await driver.connect()
    await read(driver)
    await station.write("a", 1.0)
    await heard(driver, lambda told: values(told, "a") == [1.0])
    for transport in list(station.server.iserver.asyncio_transports):
        transport.abort()
    await gone(driver)
    for n in range(2, 20):
        await station.write("a", float(n))
    await driver.connect()
    assert driver._device._link.sessions == 1, "the session was taken up again"
    samples = await heard(driver, lambda told: 19.0 in values(told, "a"))
    assert values(samples, "a") == [float(n) for n in range(2, 20)]


async def test_a_message_lost_on_the_way_is_asked_for(
    station: Station, driver: OpcuaDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = UaProcessor.forward_publish_response
    lose, lost = asyncio.Event(), asyncio.Event()

    async def swallow(self: Any, result: Any, request: Any) -> None:
        if not lose.is_set() or not result.NotificationMessage.NotificationData:
            await forward(self, result, request)
        else:
            lose.clear()
            lost.set()
            self._transport.abort()

    monkeypatch.setattr(UaProcessor, "forward_publish_response", swallow)
    await driver.connect()
    await read(driver)
    await station.write("b", 1.0)
    await heard(driver, lambda told: values(told, "b") == [1.0])
    lose.set()
    await station.write("b", 2.0)
    await lost.wait()
    await gone(driver)
    await driver.connect()
    await station.write("b", 3.0)
    samples = await heard(driver, lambda told: 3.0 in values(told, "b"))
    assert values(samples, "b") == [2.0, 3.0]
    assert driver._device._subscriber.unrecovered == 0


async def test_a_message_that_makes_no_sense_is_asked_for_again(
    station: Station, driver: OpcuaDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await driver.connect()
    await read(driver)
    await station.write("e", 1.0)
    await heard(driver, lambda told: values(told, "e") == [1.0])
    broken = asyncio.Event()

    def stumble(*_: Any) -> Any:
        broken.set()
        monkeypatch.undo()
        raise struct.error("the bytes end too early")

    monkeypatch.setattr("pumpwatch_opcua.decoding.message", stumble)
    await station.write("e", 2.0)
    await broken.wait()
    await asyncio.sleep(0)
    with pytest.raises(BadReply, match="a notification that makes no sense"):
        await driver.read([], T0)
    await driver.connect()
    await station.write("e", 3.0)
    assert values(await heard(driver, lambda told: 3.0 in values(told, "e")), "e") == [2.0, 3.0]


async def gone(driver: OpcuaDriver) -> None:
    """Read until the driver has noticed that the connection is lost."""
    with pytest.raises(NotReachable):
        while True:
            await asyncio.sleep(0.01)
            assert (await driver.read([], T0)).samples == []


async def test_a_server_that_starts_again(station: Station, driver: OpcuaDriver) -> None:
    """All items live again; what was told before is not told twice; what nobody fetched is not lost."""
    await driver.connect()
    await read(driver)
    await station.write("c", 100.0)
    await heard(driver, lambda told: values(told, "c") == [100.0])
    await station.write("c", 101.0)
    while not driver._device._subscriber._box._waiting:  # noqa: ASYNC110 - the library has no event for it
        await asyncio.sleep(0.01)
    await station.server.stop()
    with pytest.raises(NotReachable):
        await driver.read([], T0)
    with pytest.raises(NotReachable, match=r"127\.0\.0\.1"):
        await driver.connect()
    await station.write("d", 55.0)
    await station.start_again()
    await driver.connect()
    assert driver._device._link.sessions == 2
    assert all(p.subscribed for p in driver._device._points.values() if p.name != "coming")
    first = await read(driver)
    assert values(list(first.samples), "c") == [101.0]
    assert values(list(first.samples), "d") == [55.0]
    for n, name in enumerate(NAMES):
        await station.write(name, 1000.0 + n)
    samples = await heard(driver, lambda told: {s.tag for s in told} >= set(NAMES))
    assert {s.tag: s.value for s in samples} == {name: 1000.0 + n for n, name in enumerate(NAMES)}
    assert len(samples) == len(NAMES)


async def test_a_subscription_the_server_has_dropped_is_made_again(station: Station, driver: OpcuaDriver) -> None:
    await driver.connect()
    await read(driver)
    service = station.server.iserver.subscription_service
    await service.delete_subscriptions(list(service.subscriptions))
    while driver._device._link.session.stopped is None:
        await station.write("a", 1.0)
        driver._device._link.session._publish_task.cancel()  # a new request meets a server without subscriptions
        await asyncio.sleep(0.01)
        driver._device._link.session.ensure_publish_loop()
        await asyncio.sleep(0.05)
    await read(driver)
    await station.write("a", 77.0)
    assert 77.0 in values(await heard(driver, lambda told: 77.0 in values(told, "a")), "a")


async def test_silence_is_a_loss(driver: OpcuaDriver) -> None:
    await driver.connect()
    await read(driver, T0)
    driver._device._subscriber._responses = driver._device._subscriber._box.responses
    with pytest.raises(NotReachable, match="keep-alive"):
        await driver.read([], T0 + timedelta(hours=1))
    await driver.connect()
    assert by_tag(await read(driver))["name"].value == "MB-1"


async def test_keys_are_renewed_in_time(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = station.driver(mode="poll")
    await driver.connect()
    await read(driver, T0)
    token = driver._device._link._client.uaclient.protocol._connection.security_token.TokenId
    await read(driver, T0 + timedelta(minutes=44))
    assert driver._device._link._client.uaclient.protocol._connection.security_token.TokenId == token
    assert by_tag(await read(driver, T0 + timedelta(minutes=46)))["name"].value == "MB-1"
    assert driver._device._link._client.uaclient.protocol._connection.security_token.TokenId == token + 1
    await driver.close()


# ---------------------------------------------------------------- cancellation and the end


async def test_every_method_may_be_cut_short_anywhere(station: Station, driver: OpcuaDriver) -> None:
    """Cancelled after so many turns of the loop, each time a little later: the driver stays usable."""
    connected = False
    for turns in range(0, 60, 3):
        task = asyncio.create_task(driver.connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=30)
        assert done == {task}
        connected = connected or not task.cancelled()
    await driver.connect()
    at = await station.write("a", 31.0)
    for turns in range(6):
        task = asyncio.create_task(read(driver))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    samples = await heard(driver, lambda told: values(told, "a")[-1:] == [31.0])
    assert [sample for sample in samples if sample.tag == "a"][-1] == Sample("a", 31.0, at)
    task = asyncio.create_task(driver.close())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0.01)
    await driver.connect()
    assert by_tag(await read(driver))["name"].value == "MB-1"
    await driver.close()


async def test_closing_leaves_neither_task_nor_socket(station: Station) -> None:
    before = asyncio.all_tasks()
    clients = len(station.server.bserver.clients)
    driver = station.driver()
    await driver.close()
    await driver.connect()
    await read(driver)
    protocol = driver._device._link._client.uaclient.protocol
    await driver.close()
    assert protocol.transport is None, "the socket is closed"
    while len(station.server.bserver.clients) > clients:  # noqa: ASYNC110 - likewise
        await asyncio.sleep(0.01)
    await driver.close()
    theirs = ("OPCUAProtocol", "UaProcessor", "BinaryServer", "InternalS", "Subscription")
    ours = [t for t in asyncio.all_tasks() - before if not any(name in repr(t.get_coro()) for name in theirs)]
    assert ours == []
    with pytest.raises(NotReachable):
        await read(driver)


async def test_nobody_there(station: Station) -> None:
    driver = station.driver()
    driver._device._link.address = "opc.tcp://127.0.0.1:1/"
    with pytest.raises(NotReachable, match=r"127\.0\.0\.1:1"):
        await driver.connect()
    await driver.close()


async def test_something_else_listens_there(station: Station) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20)
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    driver = station.driver()
    driver._device._link.address = f"opc.tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with pytest.raises(NotReachable):
        await driver.connect()
    server.close()
    await server.wait_closed()


async def test_a_node_that_comes_later_is_found(station: Station, driver: OpcuaDriver) -> None:
    """The last test: the node stays."""
    await driver.connect()
    assert by_tag(await read(driver))["coming"].quality is Quality.REFUSED
    name = ua.QualifiedName("coming", station.index)
    await station.nodes["dev"].add_variable(ua.NodeId("coming", station.index), name, 7.0)
    later = T0 + timedelta(seconds=5)
    assert by_tag(await read(driver, later))["coming"].quality is Quality.REFUSED
    driver._device._looked = later - timedelta(minutes=1)
    assert by_tag(await read(driver, later))["coming"].value == 7.0
