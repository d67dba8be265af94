"""An unknown line is only listened to, and asked as its user agreed to; over real sockets and a pseudo-terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import groupby
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pumpwatch import BadConfig, NotReachable, Probe
from pumpwatch.cli import app
from pumpwatch.cli.driving import probe as probing
from pumpwatch.cli.driving.orders import ORDERS, orders_in
from pumpwatch.plugins import Plugins
from pumpwatch.settings import LineAddress
from pumpwatch.testing import ReplayDevice, TestCase

COLLECTOR_S = 4.0
"""So seldom a collector may ask at a tax port."""
LISTENED_S = probing.LISTENED_S
DRIVERS = Path(__file__).parents[3] / "drivers"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "LISTENED_S", 0.1)
    monkeypatch.setattr(probing, "ANSWERED_S", 0.1)


def probes_of(*names: str) -> list[tuple[str, Probe]]:
    drivers = Plugins.discover().drivers
    return [(name, each) for name in names for each in drivers[name].probes()]


async def found_on(address: str, *names: str) -> list[tuple[str, str, dict]]:
    """Asked as each of the names."""
    probes = probes_of(*names)
    ears, asked = ([item for item in probes if bool(item[1].request) is asks] for asks in (False, True))
    found = await probing.look(LineAddress.parse(address), ears, asked, "?" in address, len)
    return [(each.driver, each.what, each.settings) for each in found]


async def test_a_modbus_device_on_tcp() -> None:
    case = TestCase.load(DRIVERS / "pumpwatch_modbus" / "testcases" / "generic-4-tcp")
    async with ReplayDevice(case).on_tcp() as address:
        found = await found_on(address, "modbus")
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
async def answered_on(answer: Callable[[bytes], bytes]) -> AsyncIterator[tuple[str, bytearray]]:
    """A line on which each piece, and at first nothing, is answered so; and all that was sent to it."""
    sent = bytearray()
    tasks: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        with suppress(ConnectionError):
            writer.write(answer(b""))
            while piece := await reader.read(4096):
                sent.extend(piece)
                writer.write(answer(piece))
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


def pump(piece: bytes) -> bytes:
    """Two-Wire's pump 1, its nozzle lifted."""
    return b"\x71" if b"\x01" in piece else b""


@pytest.mark.parametrize("options", [(), ("--ask", "tls350", "--yes"), ("--ask", "dart", "--yes")])
def test_a_two_wire_loop_gets_no_order(options: tuple[str, ...]) -> None:
    """The bytes of DART's polls and of a console's question would stop its pumps or take a price."""

    async def probed() -> tuple[str, bytes]:
        async with answered_on(pump) as (address, sent):
            result = await asyncio.to_thread(CliRunner().invoke, app, ["driver", "probe", address, "--json", *options])
        assert result.exit_code == 0, result.output
        return result.stdout, bytes(sent)

    told, sent = asyncio.run(probed())
    assert orders_in([sent]) == {}
    assert bool(sent) is bool(options)
    assert [row["driver"] for row in json.loads(told)] == (["twowire"] if options else [])


async def test_who_answers_unintelligibly_may_be_a_pump() -> None:
    asked = probing.questions(Plugins.discover().drivers, "tls350")
    async with answered_on(lambda piece: b"\x99\x99" if b"\x03" in piece else b"") as (address, sent):
        with pytest.raises(NotReachable, match="a question of twowire was answered with 99 99; nothing more was sent"):
            await probing.look(LineAddress.parse(address), [], asked, False, len)
    assert bytes(sent) == b"\x01\x02\x03"


def test_nothing_is_sent_that_was_not_agreed_to() -> None:
    async def probed() -> tuple[Result, bytes]:
        async with answered_on(pump) as (address, sent):
            result = await asyncio.to_thread(
                CliRunner().invoke, app, ["driver", "probe", address, "--ask", "tls350"], "n\n"
            )
        return result, bytes(sent)

    result, sent = asyncio.run(probed())
    assert (result.exit_code, sent) == (1, b"")
    assert "01 69 39 30 32 30 30 0d 0a" in result.stderr
    assert "To a Two-Wire device this says: stop pump 9" in result.stderr


def test_who_asks_seldom_is_heard() -> None:
    assert LISTENED_S >= 2 * COLLECTOR_S


@pytest.mark.parametrize(("line", "bauds"), [("rfc2217://h:1", {9600, 19200}), ("tls://h:1", {0})])
def test_a_port_far_away_has_a_speed(line: str, bauds: set[int]) -> None:
    settings = probing._by_setting(LineAddress.parse(line), probes_of("dart"), False)
    assert {where.baud if where.scheme == "rfc2217" else 0 for where in settings} == bauds


async def test_asking_ends_when_somebody_speaks_who_was_not_asked() -> None:
    """A controller that asks more seldom than one listens."""
    said: list[bytes] = []

    def talk(piece: bytes) -> bytes:
        said.extend([piece] if piece else [])
        return b"a question of its own" if said else b""

    first, second = (Probe(lambda received: "", request) for request in (b"who is there?", b"and you?"))
    async with answered_on(talk) as (address, _):
        with pytest.raises(NotReachable, match="who was not asked"):
            await probing.look(LineAddress.parse(address), [], [("one", first), ("one", second)], False, len)
    assert said == [b"who is there?"]


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
        found = await probing.look(LineAddress.parse(address), [("tap", heard)], [("asker", asks)], False, len)
    assert [(each.driver, each.what, each.heard) for each in found] == [("tap", "a pump", True)]
    async with spoken_on(b"noise") as (address, more):
        with pytest.raises(NotReachable, match="nothing was sent"):
            await probing.look(LineAddress.parse(address), [("tap", heard)], [("asker", asks)], False, len)
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


# ---------------------------------------------------------------- what the questions would order elsewhere

ELSEWHERE = {
    "dart": {"Two-Wire"},
    "ifsf": {"Two-Wire"},
    "lanfeng": set(),
    "modbus": {"Two-Wire"},
    "taxport": set(),
    "tls350": {"Two-Wire"},
    "twowire": set(),
}
"""Of each driver that asks: the protocols to whose devices its questions are orders."""


def test_every_question_against_every_protocol() -> None:
    asked = {
        name: [each.request for each in kind.probes() if each.request]
        for name, kind in Plugins.discover().drivers.items()
    }
    found = {name: {order.protocol for order in orders_in(own)} for name, own in asked.items() if own}
    assert found == ELSEWHERE
    assert sum(map(len, asked.values())) > 80


ORDERED = (
    ("Two-Wire", "authorise pump 16", "10"),
    ("Two-Wire", "authorise pump 1", "11"),
    ("Two-Wire", "take data (price, preset) pump 4", "24"),
    ("Two-Wire", "stop pump 15", "3f"),
    ("Two-Wire", "stop all pumps", "fc"),
    ("DART", "data for a pump", "50300101061f5e03fa"),  # authorise
    ("DART", "data for a pump", "513f0503008123a80703fa"),  # price
    ("Lanfeng", "control, fuel, stop, preset or price", "0100a100000000000000005f"),
    ("Lanfeng", "control, fuel, stop, preset or price", "0100b100000000000000004f"),
    ("Modbus RTU", "write", "010600010003980b"),
    ("Modbus TCP", "write", "000100000006010600010003"),
    ("IFSF", "write", "01010201004100040121140103"),
    ("TLS-350", "set", "01" + b"s50100".hex()),
    ("TLS-350", "set", "01" + b"123456S50100".hex()),
    ("Censtar", "price, stop, authorise or clear", "fc060106"),
    ("Tokheim", "pause, resume, authorise or price", "f10ea55a"),
)


@pytest.mark.parametrize(("protocol", "what", "data"), ORDERED)
def test_an_order_is_known(protocol: str, what: str, data: str) -> None:
    told = {order.protocol: said for order, said in orders_in([bytes.fromhex(data)]).items()}
    assert what in told[protocol]
    assert {order.protocol for order in ORDERS} == {each for each, _, _ in ORDERED}


def heard_at(data: bytes, probe: Probe, baud: float) -> bytes:
    """What a receiver of 8 bits and even parity takes the bits of a question for that comes at another speed."""
    bits = [1] * 3
    for byte in data:
        ones = [byte >> place & 1 for place in range(probe.bytesize)]
        parity = [] if probe.parity == "N" else [(sum(ones) + (probe.parity == "O")) % 2]
        bits += [0, *ones, *parity, 1]
    ratio, at, heard = probe.baud / baud, 3.0, bytearray()

    def level(place: float) -> int:
        return bits[int(place)] if place < len(bits) else 1

    while at < len(bits):
        if level(at) or level(at + ratio / 2):
            at += 1 / 16
            continue
        *ones, parity, stop = (level(at + ratio * (1.5 + place)) for place in range(10))
        if stop and (sum(ones) + parity) % 2 == 0:
            heard.append(sum(bit << place for place, bit in enumerate(ones)))
        at += ratio * 10.5
    return bytes(heard)


def test_what_is_asked_before_the_rest_orders_nothing_at_any_speed() -> None:
    """Two-Wire's questions are put before others; those at 9600 are heard by a loop of 5787, too."""
    kinds = Plugins.discover().drivers
    first = [each for name, each in probing.questions(kinds, "tls350") if name != "tls350"]
    assert {each.baud for each in first} == {5787, 9600}
    assert heard_at(b"\x01\x3c", first[0], 5787) == b"\x01\x3c"
    for each in first:
        for baud in (5600, 5760, 5787, 5960, 9400, 9600, 9800):
            assert orders_in([heard_at(each.request, each, baud)]) == {}


def test_a_driver_whose_questions_are_orders_to_its_own_devices_asks_nothing() -> None:
    kinds = dict(Plugins.discover().drivers)
    twowire = kinds["twowire"]
    kinds["twowire"] = type("Careless", (twowire,), {"probes": classmethod(lambda cls: [Probe(str, b"\x11")])})
    with pytest.raises(BadConfig, match="orders to such devices"):
        probing.questions(kinds, "twowire")
    with pytest.raises(BadConfig, match="the driver twowire must ask first"):
        probing.questions(kinds, "dart")
    kinds["twowire"] = twowire
    for name in ("lanfeng", "taxport"):  # harmless at their own speed
        assert [each for each, _ in groupby(each for each, _ in probing.questions(kinds, name))] == ["twowire", name]
    with pytest.raises(BadConfig, match="there are: dart, ifsf, lanfeng"):
        probing.questions(kinds, "opcua")
