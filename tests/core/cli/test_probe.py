"""An unknown line is listened to first, and asked only where nobody speaks; over real sockets and a pseudo-terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import NotReachable, Probe
from pumpwatch.cli.driving import probe as probing
from pumpwatch.plugins import Plugins
from pumpwatch.settings import LineAddress
from pumpwatch.testing import ReplayDevice, TestCase

DRIVERS = Path(__file__).parents[3] / "drivers"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "LISTENED_S", 0.1)
    monkeypatch.setattr(probing, "ANSWERED_S", 0.1)


def probes_of(*names: str) -> list[tuple[str, Probe]]:
    drivers = Plugins.discover().drivers
    return [(name, each) for name in names for each in drivers[name].probes()]


async def found_on(address: str, *names: str) -> list[tuple[str, str, dict]]:
    found = await probing.look(LineAddress.parse(address), probes_of(*names), "?" in address, len)
    return [(each.driver, each.what, each.settings) for each in found]


async def test_a_modbus_device_on_tcp() -> None:
    case = TestCase.load(DRIVERS / "pumpwatch_modbus" / "testcases" / "generic-4-tcp")
    async with ReplayDevice(case).on_tcp() as address:
        found = await found_on(address, "tls350", "modbus")
    assert ("modbus", "unit 1", {"unit": 1, "framing": "tcp"}) in found
    assert {driver for driver, _, _ in found} == {"modbus"}


async def test_a_console_on_a_serial_port() -> None:
    theirs, ours = pty.openpty()
    tty.setraw(theirs)
    tty.setraw(ours)
    asked: list[bytes] = []

    def answer() -> None:
        asked.append(os.read(theirs, 256))
        if asked[-1].startswith(b"\x01i90200"):
            body = b"\x01i902009701010000SOFTWARE# 346020-100-BCREATED - 98.02.24.16.17&&"
            os.write(theirs, body + b"%04X\x03" % (-sum(body) & 0xFFFF))

    asyncio.get_running_loop().add_reader(theirs, answer)
    try:
        found = await found_on(f"serial:{os.ttyname(ours)}?baud=9600", "tls350")
    finally:
        asyncio.get_running_loop().remove_reader(theirs)
        os.close(theirs)
        os.close(ours)
    assert found == [("tls350", "software 346020-100-B, 98.02.24.16.17", {})]
    assert len(asked) == 1


@asynccontextmanager
async def spoken_on(says: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A line on which somebody speaks; and what was sent to it."""
    sent: list[bytes] = []
    tasks: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        with suppress(ConnectionError):
            writer.write(says)
            sent.append(await reader.read())
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", sent
    finally:
        server.close()
        await asyncio.gather(*(task for task in tasks if task))
        await server.wait_closed()


async def test_nothing_is_sent_where_somebody_speaks() -> None:
    heard = Probe(lambda received: "a pump" if received == b"hello" else "")
    asks = Probe(lambda received: "anything", b"who is there?")
    async with spoken_on(b"hello") as (address, sent):
        found = await probing.look(LineAddress.parse(address), [("tap", heard), ("asker", asks)], False, len)
    assert [(each.driver, each.what, each.heard) for each in found] == [("tap", "a pump", True)]
    async with spoken_on(b"noise") as (address, more):
        with pytest.raises(NotReachable, match="nothing was sent"):
            await probing.look(LineAddress.parse(address), [("tap", heard), ("asker", asks)], False, len)
    assert {*sent, *more} == {b""}


TAPS = (
    ("dart", "tap-completed", "address 50"),
    ("twowire", "tap-filling", "pump "),
    ("lanfeng", "tap-filling", "gun "),
)


@pytest.mark.parametrize(("name", "case", "says"), TAPS)
async def test_a_bus_is_known_by_what_passes(name: str, case: str, says: str) -> None:
    passed = TestCase.load(DRIVERS / f"pumpwatch_{name}" / "testcases" / case).capture.passed
    async with spoken_on(b"\x00" + passed) as (address, sent):
        found = await found_on(address, "dart", "twowire", "lanfeng", "taxport", "ifsf", "modbus")
    assert {driver for driver, _, _ in found} == {name}
    assert all(what.startswith(says) for _, what, _ in found)
    assert {*sent} == {b""}


ASKED = (
    ("dart", "poll-completed", "address 50"),
    ("twowire", "fuelling", "pump 2"),
    ("lanfeng", "idle", "gun 1"),
    ("taxport", "tax-info", "tax board 1234567890"),
    ("taxport", "not-initialised", "tax board 0000012345, not initialised"),
)


@pytest.mark.parametrize(("name", "case", "says"), ASKED)
async def test_where_nobody_speaks_it_is_asked(name: str, case: str, says: str) -> None:
    device = ReplayDevice(TestCase.load(DRIVERS / f"pumpwatch_{name}" / "testcases" / case))
    async with device.on_tcp() as address:
        found = await found_on(address, name)
    assert found[0][1] == says
    kind = Plugins.discover().drivers[name]
    assert {key for _, _, told in found for key in told} <= set(kind.Settings.model_fields)


async def test_ifsf_nodes_tell_who_they_are() -> None:
    dispensers, gauges = (each for _, each in probes_of("ifsf"))
    answers = b"".join(bytes((2, 126, 1, node, 0, 0x20, 0, 5, 1, 1, 2, 1, 4)) for node in (9, 3))
    assert dispensers.recognise(b"\x7f\x00\x00" + answers) == "dispenser, node 3, 9"
    assert not gauges.recognise(answers)
    assert not dispensers.recognise(answers[:-14])
    assert not dispensers.recognise(bytes((2, 1, 1, 3, 0, 0x20, 0, 5, 1, 1, 2, 1, 4)))  # to somebody else


def test_no_question_is_recognised_as_an_answer() -> None:
    """A converter may give back what it was sent."""
    asks = [(name, each) for name, each in probes_of("dart", "twowire", "lanfeng", "taxport", "ifsf") if each.request]
    assert len(asks) > 40
    assert [(name, each.request) for name, each in asks if each.recognise(each.request)] == []


@pytest.mark.parametrize("name", ["dart", "twowire", "lanfeng", "taxport", "ifsf"])
@settings(max_examples=30)
@given(received=st.binary(max_size=200))
def test_recognising_is_given_anything_and_raises_nothing(name: str, received: bytes) -> None:
    for _, each in probes_of(name):
        assert isinstance(each.recognise(received), str)
