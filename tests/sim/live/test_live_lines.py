"""Lines of every kind as peers find them: on TCP and pseudo-terminals, polled and listened to, whole and faulty."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import serial

from pumpwatch.errors import BadConfig
from pumpwatch_sim.fleet import Fleet, LineEntry, Stations
from pumpwatch_sim.live.buses import KINDS, Role
from pumpwatch_sim.live.faults import Fault, FaultKind
from pumpwatch_sim.live.lines import BusLine, entries_of, role_of
from pumpwatch_sim.live.sim import Sim, running
from pumpwatch_sim.live.views import StationView
from pumpwatch_sim.live.wires import Port, Pty
from pumpwatch_sim.staging import stage
from pumpwatch_sim.wire.crc import crc16
from pumpwatch_sim.world.timeline import Outage, OutageKind

Serve = Callable[..., Any]
Converse = Callable[[int, bytes, int], Awaitable[bytes]]
DEFAULT = (LineEntry(protocol="modbus"), LineEntry(protocol="tls350"))
ASK = {
    "modbus": bytes.fromhex("0001 0000 0006 01 03 0000 0001"),
    "modbus-rtu": bytes.fromhex("01 03 0000 0001")
    + crc16(bytes.fromhex("01 03 0000 0001"), 0xFFFF).to_bytes(2, "little"),
    "dart": bytes.fromhex("50 20 FA"),
    "twowire": bytes.fromhex("01"),
    "ifsf": bytes.fromhex("01 01 02 01 00 09 00 03 01 21 14"),
    "tls350": b"\x01i20100\r\n",
}
"""A question any station has an answer to."""


@pytest.fixture
def serve(tmp_path: Path, clock: Any) -> Serve:
    """A county of so many stations with these lines, busy day and night."""

    @asynccontextmanager
    async def serve(*lines: LineEntry, stations: int = 1, **more: Any) -> AsyncIterator[Sim]:
        settings = Stations(count=stations, hours="flat", demand=5.0)
        fleet = Fleet(name="lines", stations=settings, line=lines, **more)
        async with running(stage(fleet, clock.now()), clock, tmp_path) as sim:
            yield sim

    return serve


def line_of(sim: Sim, protocol: str, station: str = "S01") -> BusLine:
    found = next(line for line in sim.outlets[station].lines if line.protocol == protocol)
    assert isinstance(found, BusLine)
    return found


def tcp(line: BusLine) -> int:
    assert isinstance(line.wire, Port)
    return line.wire.number


async def some(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(30):
        return await reader.read(4096)


async def silent(port: int, request: bytes) -> bool:
    """Whether nothing comes while another connection is made and closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        await asyncio.wait_for(reader.read(4096), 0.3)
    except TimeoutError:
        return True
    finally:
        writer.close()
        await writer.wait_closed()
    return False


async def from_serial(port: serial.Serial, size: int = 1) -> bytes:
    got = b""
    async with asyncio.timeout(30):
        while len(got) < size:
            await asyncio.sleep(0)
            got += port.read(4096)
    return got


# ---------------------------------------------------------------- which lines a station has


def test_a_line_that_names_a_station_comes_before_one_that_names_none() -> None:
    dart = LineEntry(stations=("S07",), protocol="dart", wire="pty", mode="tap")
    tax = LineEntry(stations=("S07",), protocol="taxport")
    rtu = LineEntry(protocol="modbus-rtu", wire="pty")
    assert entries_of("S07", (), DEFAULT) == list(DEFAULT)
    assert entries_of("S07", (dart, rtu, tax), DEFAULT) == [dart, DEFAULT[1], tax]
    assert entries_of("S08", (dart, rtu, tax), DEFAULT) == [rtu, DEFAULT[1]]


def test_every_protocol_of_a_fleet_file_has_its_devices() -> None:
    protocols = LineEntry.model_fields["protocol"].annotation.__args__  # type: ignore[union-attr]
    assert {role_of(LineEntry(protocol=name)) for name in protocols} == set(Role)
    assert set(protocols) == {*KINDS, "opcua"}


@pytest.mark.parametrize("protocol", ["modbus", "tls350", "taxport", "ifsf"])
async def test_only_lines_with_a_master_can_be_listened_to(serve: Serve, protocol: str) -> None:
    with pytest.raises(BadConfig, match="tap"):
        async with serve(LineEntry(protocol=protocol, mode="tap")):  # type: ignore[arg-type]
            pass


async def test_a_line_of_a_station_that_is_not_there(serve: Serve) -> None:
    with pytest.raises(BadConfig, match="no station S99; there are S01"):
        async with serve(LineEntry(protocol="dart", stations=("S99",))):
            pass


# ---------------------------------------------------------------- polled


@pytest.mark.parametrize("protocol", list(KINDS))
@pytest.mark.parametrize("wire", ["tcp", "pty"])
async def test_every_protocol_is_offered_on_both_wires(serve: Serve, protocol: str, wire: str) -> None:
    async with serve(LineEntry(protocol=protocol, wire=wire)) as sim:  # type: ignore[arg-type]
        line = line_of(sim, protocol)
        assert line.offer.protocol == protocol
        assert line.offer.mode == "poll"
        plan = sim.outlets["S01"].player.plan
        ids = {t.registered.tank_id for t in plan.tanks} | {d.registered.dispenser_id for d in plan.dispensers}
        assert line.offer.devices
        assert set(line.offer.devices) <= ids
        if wire == "tcp":
            assert line.offer.address == f"tcp://127.0.0.1:{tcp(line)}"
        else:
            path, _, options = line.offer.address.removeprefix("serial:").partition("?")
            assert path == getattr(line.wire, "path", None)
            assert options.startswith("baud=")
        if ask := ASK.get(protocol):
            assert await answer(line, ask)


async def answer(line: BusLine, ask: bytes) -> bytes:
    if isinstance(line.wire, Pty):
        with serial.Serial(line.wire.path, timeout=0, exclusive=True) as port:
            port.write(ask)
            return await from_serial(port)
    reader, writer = await asyncio.open_connection("127.0.0.1", tcp(line))
    writer.write(ask)
    got = await some(reader)
    writer.close()
    await writer.wait_closed()
    return got


async def test_rtu_over_a_terminal_agrees_with_tcp(serve: Serve, converse: Converse) -> None:
    lines = (LineEntry(protocol="modbus-rtu", wire="pty"), LineEntry(protocol="modbus"))
    async with serve(*lines) as sim:
        request = bytes.fromhex("02 03 0002 0008")
        rtu, whole = line_of(sim, "modbus-rtu"), line_of(sim, "modbus")
        assert isinstance(rtu.wire, Pty)
        with serial.Serial(rtu.wire.path, 9600, timeout=0, exclusive=True) as port:
            port.write(request + crc16(request, 0xFFFF).to_bytes(2, "little"))
            over_serial = await from_serial(port, 21)
        over_tcp = await converse(tcp(whole), bytes.fromhex("0001 0000 0006") + request, 9 + 16)
        assert over_serial[:-2] == over_tcp[6:]
        assert crc16(over_serial, 0xFFFF) == 0
        serial_number = sim.outlets["S01"].player.plan.dispensers[1].registered.serial or ""
        assert over_tcp[9:].rstrip(b"\0").decode() == serial_number


async def test_every_dispenser_of_a_tax_line_has_a_port_of_its_own(serve: Serve) -> None:
    async with serve(LineEntry(protocol="taxport")) as sim:
        offers = [line.offer for line in sim.outlets["S01"].lines if line.protocol == "taxport"]
        dispensers = [dispenser.dispenser_id for dispenser in sim.outlets["S01"].player.dispensers]
        assert [list(offer.devices) for offer in offers] == [[name] for name in dispensers]
        assert len({offer.address for offer in offers}) == len(dispensers)


async def test_opc_ua_is_served_stopped_and_served_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    doings: list[object] = []

    @asynccontextmanager
    async def serving(view: StationView, port: int) -> AsyncIterator[str]:
        doings.append((view.station_id, port))
        yield f"opc.tcp://127.0.0.1:{port or 40_123}/"
        doings.append("ended")

    monkeypatch.setattr("pumpwatch_sim.wire.opcua.serving", serving)
    async with serve(LineEntry(protocol="opcua")) as sim:
        outlet = sim.outlets["S01"]
        (line,) = [line for line in outlet.lines if line.protocol == "opcua"]
        assert line.offer.address == "opc.tcp://127.0.0.1:40123/"
        await outlet.close()
        assert not line.listening
        await outlet.open()
        assert line.offer.address == "opc.tcp://127.0.0.1:40123/"
    assert doings == [("S01", 0), "ended", ("S01", 40_123), "ended"]


async def test_half_a_message_goes_with_whoever_began_it(serve: Serve, converse: Converse) -> None:
    async with serve(LineEntry(protocol="ifsf")) as sim:
        port = line_of(sim, "ifsf").wire
        assert isinstance(port, Port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        writer.write(ASK["ifsf"])
        whole = await some(reader)
        (connection,) = port.opened
        writer.write(ASK["ifsf"][:-1])
        writer.close()
        await writer.wait_closed()
        await connection.gone.wait()
        assert await converse(port.number, ASK["ifsf"], len(whole)) == whole


def test_half_a_message_is_forgotten_after_a_while() -> None:
    assert [name for name, kind in KINDS.items() if kind.gap_s is None] == ["modbus"], "each has a session of its own"


# ---------------------------------------------------------------- listened to


@pytest.mark.parametrize("protocol", ["dart", "twowire", "lanfeng"])
@pytest.mark.parametrize("wire", ["tcp", "pty"])
async def test_whoever_listens_hears_master_and_devices(serve: Serve, protocol: str, wire: str) -> None:
    async with serve(LineEntry(protocol=protocol, wire=wire, mode="tap")) as sim:  # type: ignore[arg-type]
        line = line_of(sim, protocol)
        assert line.offer.mode == "tap"
        if isinstance(line.wire, Pty):
            with serial.Serial(line.wire.path, timeout=0, exclusive=True) as port:
                heard = await from_serial(port, 30)
                port.write(ASK["dart"])
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", line.wire.number)
            heard = b""
            async with asyncio.timeout(30):
                while len(heard) < 30:
                    heard += await reader.read(4096)
            writer.write(ASK["dart"])
            writer.close()
            await writer.wait_closed()
        assert heard


async def test_nobody_is_told_what_was_said_before(serve: Serve) -> None:
    async with serve(LineEntry(protocol="dart", wire="pty", mode="tap")) as sim:
        line = line_of(sim, "dart")
        assert isinstance(line.wire, Pty)
        for _ in range(20):
            line._turn()
        assert line.wire.unread < 100


# ---------------------------------------------------------------- faults and outages


@pytest.mark.parametrize("wire", ["tcp", "pty"])
async def test_a_wrong_checksum_on_the_wire(serve: Serve, wire: str) -> None:
    async with serve(LineEntry(protocol="dart", wire=wire), LineEntry(protocol="tls350", wire=wire)) as sim:  # type: ignore[arg-type]
        line = line_of(sim, "tls350")

        async def whole() -> bytes:
            reply = b""
            if isinstance(line.wire, Pty):
                with serial.Serial(line.wire.path, timeout=0, exclusive=True) as port:
                    port.write(b"\x01i50100")
                    return await from_serial(port, 24)
            reader, writer = await asyncio.open_connection("127.0.0.1", line.wire.number)
            writer.write(b"\x01i50100")
            reply = await reader.readuntil(b"\x03")
            writer.close()
            await writer.wait_closed()
            return reply

        good = await whole()
        assert (sum(good[:-5]) + int(good[-5:-1], 16)) % 0x10000 == 0
        sim.faults.add(Fault("S01", "tls350", FaultKind.WRONG_CHECKSUM, 0, None, source="S01"))
        bad = await whole()
        assert (sum(bad[:-5]) + int(bad[-5:-1], 16)) % 0x10000 != 0
        assert bad[:-5] == good[:-5]


async def test_a_delayed_reply_comes_late(serve: Serve) -> None:
    async with serve() as sim:
        sim.faults.add(Fault("S01", "modbus", FaultKind.DELAY, 0, None, delay_s=2.0, source="S01"))
        late, late_writer = await asyncio.open_connection("127.0.0.1", tcp(line_of(sim, "modbus")))
        prompt, prompt_writer = await asyncio.open_connection("127.0.0.1", tcp(line_of(sim, "tls350")))
        prompt_writer.write(ASK["tls350"])
        assert await some(prompt)
        late_writer.write(ASK["modbus"])
        waiting = asyncio.create_task(some(late))
        for _ in range(3):
            prompt_writer.write(ASK["tls350"])
            assert await some(prompt)
            assert not waiting.done(), "asked first, answered last"
        assert len(await waiting) == 11
        for writer in (late_writer, prompt_writer):
            writer.close()
            await writer.wait_closed()


async def test_a_jam_silences_both_directions_of_all_lines(serve: Serve, converse: Converse) -> None:
    async with serve(stations=2) as sim:
        sim.faults.add(Fault("S01", None, FaultKind.JAM, 0, None, source="S01"))
        for protocol in ("modbus", "tls350"):
            assert await silent(tcp(line_of(sim, protocol)), ASK[protocol])
        assert await converse(tcp(line_of(sim, "modbus", "S20")), ASK["modbus"], 11)
        sim.faults.clear("S01")
        assert await converse(tcp(line_of(sim, "modbus")), ASK["modbus"], 11)


async def test_an_outage_of_one_dispenser_leaves_the_others(serve: Serve, converse: Converse) -> None:
    async with serve(LineEntry(protocol="modbus"), LineEntry(protocol="dart")) as sim:
        player = sim.outlets["S01"].player
        now = player.see()
        player._outages.append(
            Outage(now, now + 60_000_000, OutageKind.UNPLUGGED, (player.dispensers[0].dispenser_id,))
        )
        second = bytes.fromhex("0001 0000 0006 02 03 0000 0001")
        assert await silent(tcp(line_of(sim, "modbus")), ASK["modbus"])
        assert await converse(tcp(line_of(sim, "modbus")), ASK["modbus"] + second, 11) == bytes.fromhex(
            "0001 0000 0005 02 03 02 0001"
        )
        dart = line_of(sim, "dart")
        other = dart.offer.devices[player.dispensers[1].dispenser_id]
        assert await silent(tcp(dart), ASK["dart"])
        assert await converse(tcp(dart), bytes([other, 0x20, 0xFA]), 3)


async def test_a_power_cut_silences_the_station(serve: Serve, clock: Any, converse: Converse) -> None:
    async with serve() as sim:
        player = sim.outlets["S01"].player
        now = player.see()
        player._outages.append(Outage(now, now + 60_000_000, OutageKind.POWER))
        for protocol in ("modbus", "tls350"):
            assert await silent(tcp(line_of(sim, protocol)), ASK[protocol])
        clock.move(61)
        reply = await converse(tcp(line_of(sim, "modbus")), ASK["modbus"], 11)
        assert struct.unpack(">H", reply[-2:]) == (1,)
