"""The simulator over real sockets: bytes written by hand, and pymodbus as an independent master."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient

from pumpwatch_sim.live.serve import Options, Sim, running

Converse = Callable[[int, bytes, int], Awaitable[bytes]]


def on(sim: Sim, seconds: float) -> None:
    sim.world.advance_to(sim.world.start + timedelta(seconds=seconds))


async def order(sim: Sim, text: str) -> dict[str, object]:
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.control.number)
    writer.write(text.encode() + b"\n")
    answer = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    assert isinstance(answer, dict)
    return answer


# ---------------------------------------------------------------- Modbus


async def test_pipelined_reads_of_several_units(sim: Sim, converse: Converse) -> None:
    port = sim.outlets["S01"].modbus.number
    request = bytes.fromhex(
        "0001 0000 0006 01 03 0000 0001  0002 0000 0006 02 03 0002 0008  0003 0000 0006 63 03 0000 0001"
    )
    serial = (sim.world.dispensers["S01-D2"].plan.registered.serial or "").encode().ljust(16, b"\0")
    expected = bytes.fromhex("0001 0000 0005 01 03 02 0001  0002 0000 0013 02 03 10") + serial
    expected += bytes.fromhex("0003 0000 0003 63 83 0B")
    assert await converse(port, request, len(expected)) == expected


async def test_exceptions_on_the_wire(sim: Sim, converse: Converse) -> None:
    port = sim.outlets["S01"].modbus.number
    request = bytes.fromhex("0007 0000 0006 01 03 0054 0001  0008 0000 0006 01 06 0064 0001")
    assert await converse(port, request, 18) == bytes.fromhex("0007 0000 0003 01 83 02  0008 0000 0003 01 86 01")


async def test_garbage_closes_the_connection(sim: Sim, converse: Converse) -> None:
    port = sim.outlets["S01"].modbus.number
    assert await converse(port, b"GET / HTTP/1.1\r\n\r\n", -1) == b""
    assert len(await converse(port, bytes.fromhex("0001 0000 0006 01 03 0000 0001"), 11)) == 11


async def test_a_master_that_never_reads_does_not_pile_up_replies(sim: Sim) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.outlets["S01"].modbus.number, limit=1024)
    writer.transport.pause_reading()
    request = bytes.fromhex("0001 0000 0006 01 03 00C8 007D") * 1000
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 4000:  # a million replies' worth; long before, nobody takes the requests any more
            writer.write(request)
            await asyncio.wait_for(writer.drain(), 0.5)
            sent += 1
    writer.transport.abort()
    assert sent < 4000
    assert not reader.at_eof()


async def test_pymodbus_reads_a_sale_from_start_to_memory(sim: Sim) -> None:
    nozzle = sim.world.nozzles[next(c.subject.nozzle_id for c in sim.cheats if c.cause == "offline_sale") or ""]
    plan = next(p for s in sim.world.county.stations for p in s.dispensers if nozzle.plan in p.nozzles)
    place = plan.nozzles.index(nozzle.plan)
    client = AsyncModbusTcpClient("127.0.0.1", port=sim.outlets[plan.registered.station_id].modbus.number)
    assert await client.connect()

    async def read(address: int, count: int) -> bytes:
        reply = await client.read_holding_registers(address, count=count, device_id=plan.unit)
        assert not reply.isError()
        return struct.pack(f">{count}H", *reply.registers)

    try:
        before = struct.unpack(">HHIIHHQQI4x", await read(100 + 20 * place, 20))
        on(sim, 10)
        state, _, volume, _, flow, *_ = struct.unpack(">HHIIHHQQI4x", await read(100 + 20 * place, 20))
        assert (state, volume > 0, 300 < flow < 430) == (2, True, True)
        on(sim, 20)
        after = struct.unpack(">HHIIHHQQI4x", await read(100 + 20 * place, 20))
        assert after[0] == 3
        assert after[8] == before[8] + 1
        assert after[6] == before[6] + after[2]
        sale = struct.unpack(">IIIIIHHQQIHHIII4x", await read(200 + (place * 4 + after[8] % 4) * 32, 32))
        assert sale[0] == after[8]
        assert sale[3] == after[2] == sale[9] == sale[13]
        assert sale[7] == after[6]
        on(sim, 60)
        hidden = struct.unpack(">HHIIHHQQI4x", await read(100 + 20 * place, 20))
        assert (hidden[0], hidden[8], hidden[6]) == (0, after[8], after[6] + 3650)
        refused = await client.read_holding_registers(90, count=20, device_id=plan.unit)
        assert refused.exception_code == 2
        coils = await client.read_coils(0, count=8, device_id=plan.unit)
        assert coils.exception_code == 1
    finally:
        client.close()


# ---------------------------------------------------------------- TLS-350


def body(reply: bytes) -> str:
    assert reply[0] == 1
    assert reply[-1] == 3
    assert (sum(reply[:-5]) + int(reply[-5:-1], 16)) % 0x10000 == 0
    return reply[1:-7].decode("ascii")


@pytest.mark.parametrize("end", [b"", b"\r", b"\n", b"\r\n"])
async def test_inventory_with_any_line_end(sim: Sim, converse: Converse, end: bytes) -> None:
    tanks = len(sim.world.county.stations[0].tanks)
    reply = await converse(sim.outlets["S01"].gauge.number, b"\x01i20100" + end, 1 + 16 + 65 * tanks + 7)
    text = body(reply)
    assert text.startswith("i201002611221230")
    for place in range(tanks):
        record = text[16 + 65 * place :][:65]
        live = sim.world.tanks[f"S01-T{place + 1}"]
        assert record[:2] == f"{place + 1:02d}"
        assert record[3:9] == "000007"
        floats = struct.unpack(">7f", bytes.fromhex(record[9:]))
        assert floats[0] == pytest.approx(live.fuel_l, abs=25)
        assert floats[3] == pytest.approx(live.plan.shape.height_mm(live.fuel_l + live.water_l), abs=1.2)


async def test_one_tank_in_us_units(sim: Sim, converse: Converse) -> None:
    reply = await converse(sim.outlets["S20"].gauge.number, b"\x01i20102\r\n", 1 + 16 + 65 + 7)
    text = body(reply)
    assert text[:18] == "i20102261122123002"
    gallons, _, _, inches, *_ = struct.unpack(">7f", bytes.fromhex(text[25:]))
    live = sim.world.tanks["S20-T2"]
    assert gallons == pytest.approx(live.fuel_l / 3.785411784, abs=7)
    assert inches == pytest.approx(live.plan.shape.height_mm(live.fuel_l + live.water_l) / 25.4, abs=0.06)


async def test_stacked_commands_and_the_other_functions(sim: Sim, converse: Converse) -> None:
    tanks = len(sim.world.county.stations[0].tanks)
    expected = [
        "i101002611221230000000",
        "i202002611221230" + "".join(f"{n + 1:02d}{product_of(sim, n)}00" for n in range(tanks)),
        "i205002611221230" + "".join(f"{n + 1:02d}00" for n in range(tanks)),
        "i501002611221230",
        "i902002611221230SOFTWARE# 346100-100-DEMCREATED - 26.01.15.09.30",
    ]
    request = b"\x01i10100\r\n\x01i20200\x01i20500\r\x01i50100\n\x01i90200\x01i77700\r\n"
    size = sum(len(text) + 8 for text in expected) + 10
    reply = await converse(sim.outlets["S01"].gauge.number, request, size)
    *frames, unknown, rest = (part + b"\x03" for part in reply.split(b"\x03"))
    assert [body(frame) for frame in frames] == expected
    assert unknown == b"\x019999FF1B\x03"
    assert rest == b"\x03"


def product_of(sim: Sim, place: int) -> str:
    grade = sim.world.county.stations[0].tanks[place].registered.grade
    return {"92#": "1", "95#": "2", "98#": "3", "0#": "4"}[grade]


async def test_a_short_command_without_an_end_is_answered_after_a_gap(sim: Sim, converse: Converse) -> None:
    assert await converse(sim.outlets["S01"].gauge.number, b"\x01i2", 10) == b"\x019999FF1B\x03"


# ---------------------------------------------------------------- stopping and starting stations


async def test_a_stopped_station_is_cut_and_comes_back_on_the_same_ports(sim: Sim, converse: Converse) -> None:
    outlet = sim.outlets["S20"]
    ports = (outlet.modbus.number, outlet.gauge.number)
    ask = bytes.fromhex("0001 0000 0006 01 03 0000 0001")
    reader, writer = await asyncio.open_connection("127.0.0.1", ports[0])
    writer.write(ask)
    await reader.readexactly(11)

    assert await order(sim, '{"do": "stop", "station": "S20"}') == {"ok": True, "station": "S20", "listening": False}
    assert await reader.read() == b""
    writer.close()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
    assert len(await converse(sim.outlets["S01"].modbus.number, ask, 11)) == 11, "the others go on"
    status = await order(sim, '{"do": "status"}')
    assert (status["stations"], status["stopped"]) == (3, ["S20"])
    assert (await order(sim, '{"do": "stop", "station": "S20"}'))["ok"] is True, "stopping twice is no error"

    assert await order(sim, '{"do": "start", "station": "S20"}') == {"ok": True, "station": "S20", "listening": True}
    assert (outlet.modbus.number, outlet.gauge.number) == ports
    assert len(await converse(ports[0], ask, 11)) == 11
    assert await converse(ports[1], b"\x01i77700", 10) == b"\x019999FF1B\x03"
    assert (await order(sim, '{"do": "start", "station": "S20"}'))["ok"] is True
    assert (await order(sim, '{"do": "status"}'))["stopped"] == []


async def test_the_world_goes_on_while_a_station_is_stopped(sim: Sim) -> None:
    await order(sim, '{"do": "stop", "station": "S01"}')
    before = sum(n.sequence for name, n in sim.world.nozzles.items() if name.startswith("S01"))
    on(sim, 900)
    assert sum(n.sequence for name, n in sim.world.nozzles.items() if name.startswith("S01")) > before


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"do": "stop", "station": "S99"}', "S01, S20, S43"),
        ('{"do": "stop"}', "stop and start with a station"),
        ('{"do": "dance", "station": "S01"}', "stop and start with a station"),
        ("[1, 2]", "no JSON object"),
        ("hello", "no JSON object"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused_with_a_remedy(sim: Sim, text: str, error: str) -> None:
    answer = await order(sim, text)
    assert answer["ok"] is False
    assert error in str(answer["error"])


async def test_orders_on_one_connection_are_answered_in_turn(sim: Sim) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.control.number)
    writer.write(b'{"do": "stop", "station": "S01"}\n{"do": "status"}\n{"do": "start", "station": "S01"}\n')
    answers = [json.loads(await reader.readline()) for _ in range(3)]
    writer.close()
    await writer.wait_closed()
    assert [answer.get("listening") for answer in answers] == [False, None, True]
    assert answers[1]["stopped"] == ["S01"]


async def test_an_endless_line_ends_the_connection(sim: Sim, converse: Converse) -> None:
    assert await converse(sim.control.number, b"x" * 10_000, -1) == b""


# ---------------------------------------------------------------- its own clock


async def test_the_world_follows_the_clock_it_is_given(tmp_path: Path, clock: object) -> None:
    move = clock.move  # type: ignore[attr-defined]
    async with running(Options(out=tmp_path, stations=1), clock) as sim:  # type: ignore[arg-type]
        await move(0.2)
        assert sim.world.now_us == sim.world.start_us + 200_000
        await move(5.0)
        assert sim.world.now_us == sim.world.start_us + 5_200_000
        await move(60.0)
        assert sim.world.now_us == sim.world.start_us + 15_200_000, "at most ten seconds in one go"
        await move(0.2)
        assert sim.world.now_us == sim.world.start_us + 25_200_000


async def test_nothing_listens_and_no_address_stands_after_the_end(tmp_path: Path, clock: object) -> None:
    (tmp_path / "sim.json").write_text("left by a run that was killed")
    async with running(Options(out=tmp_path, stations=2), clock) as sim:  # type: ignore[arg-type]
        book = json.loads((tmp_path / "sim.json").read_text(encoding="utf-8"))
        _, writer = await asyncio.open_connection("127.0.0.1", sim.outlets["S01"].modbus.number)
    writer.close()
    assert not (tmp_path / "sim.json").exists()
    ports = [book["control_port"]] + [s[key] for s in book["stations"] for key in ("modbus_port", "gauge_port")]
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
