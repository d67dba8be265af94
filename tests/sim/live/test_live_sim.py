"""The simulator over real sockets: bytes written by hand, and pymodbus as an independent master."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from pumpwatch.errors import BadConfig
from pumpwatch.model import from_us
from pumpwatch_sim.live.sim import Sim
from pumpwatch_sim.world.timeline import Purpose

NewSim = Callable[..., AbstractAsyncContextManager[Sim]]
Converse = Callable[[int, bytes, int], Awaitable[bytes]]


def on(sim: Sim, clock: Any, seconds: float) -> None:
    """Let time pass until so long after the start of the world."""
    clock.move(seconds - (sim.moment.tick() - sim.staging.start_us) / 1e6)


def modbus_port(sim: Sim, station: str) -> int:
    port = sim.outlets[station].port("modbus")
    assert port is not None
    return port


def gauge_port(sim: Sim, station: str) -> int:
    port = sim.outlets[station].port("tls350")
    assert port is not None
    return port


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
    port = modbus_port(sim, "S01")
    request = bytes.fromhex(
        "0001 0000 0006 01 03 0000 0001  0002 0000 0006 02 03 0002 0008  0003 0000 0006 63 03 0000 0001"
    )
    serial = (sim.outlets["S01"].player.plan.dispensers[1].registered.serial or "").encode().ljust(16, b"\0")
    expected = bytes.fromhex("0001 0000 0005 01 03 02 0001  0002 0000 0013 02 03 10") + serial
    expected += bytes.fromhex("0003 0000 0003 63 83 0B")
    assert await converse(port, request, len(expected)) == expected


async def test_exceptions_on_the_wire(sim: Sim, converse: Converse) -> None:
    port = modbus_port(sim, "S01")
    request = bytes.fromhex("0007 0000 0006 01 03 0054 0001  0008 0000 0006 01 06 0064 0001")
    assert await converse(port, request, 18) == bytes.fromhex("0007 0000 0003 01 83 02  0008 0000 0003 01 86 01")


async def test_garbage_closes_the_connection(sim: Sim, converse: Converse) -> None:
    port = modbus_port(sim, "S01")
    assert await converse(port, b"GET / HTTP/1.1\r\n\r\n", -1) == b""
    assert len(await converse(port, bytes.fromhex("0001 0000 0006 01 03 0000 0001"), 11)) == 11


async def test_a_master_that_never_reads_does_not_pile_up_replies(sim: Sim) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", modbus_port(sim, "S01"), limit=1024)
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


async def test_pymodbus_reads_a_sale_from_start_to_memory(sim: Sim, clock: Any) -> None:
    (cheat,) = [scenario for scenario in sim.staging.scenarios if scenario.cause == "offline_sale"]
    player = sim.outlets[cheat.target.station_id].player
    timeline = next(sim.staging.timelines(player.station_id))
    sales = timeline.sales.take(timeline.sales.nozzle == cheat.target.nozzle)
    (hidden,) = [row for row in range(len(sales)) if sales.purpose[row] == Purpose.HIDDEN]
    row = hidden - 1
    nozzle = player.nozzles[cheat.target.nozzle or 0]
    dispenser = next(d for d in player.dispensers if nozzle in d.nozzles)
    place = nozzle.number - 1
    client = AsyncModbusTcpClient("127.0.0.1", port=modbus_port(sim, player.station_id))
    assert await client.connect()

    def after(time_us: int, seconds: float) -> None:
        on(sim, clock, (int(time_us) - sim.staging.start_us) / 1e6 + seconds)

    async def read(address: int, count: int) -> bytes:
        reply = await client.read_holding_registers(address, count=count, device_id=dispenser.unit)
        assert not reply.isError()
        return struct.pack(f">{count}H", *reply.registers)

    try:
        before = struct.unpack(">HHIIHHQQI4x", await read(100 + 20 * place, 20))
        after(sales.start_us[row], 5)
        state, _, volume, _, flow, *_ = struct.unpack(">HHIIHHQQI4x", await read(100 + 20 * place, 20))
        assert (state, volume > 0, 200 < flow < 900) == (2, True, True)
        after(sales.end_us[row], 1)
        done = struct.unpack(">HHIIHHQQI4x", await read(100 + 20 * place, 20))
        assert done[0] == 3
        assert done[8] == before[8] + 1 == sales.seq[row]
        assert done[6] == before[6] + done[2]
        sale = struct.unpack(">IIIIIHHQQIHHIII4x", await read(200 + (place * 4 + done[8] % 4) * 32, 32))
        assert sale[0] == done[8]
        assert sale[3] == done[2] == sale[9] == sale[13]
        assert sale[7] == done[6]
        after(sales.end_us[hidden], 0.1)
        seen = struct.unpack(">HHIIHHQQI4x", await read(100 + 20 * place, 20))
        assert (seen[0], seen[8], seen[6]) == (0, done[8], done[6] + 3650)
        refused = await client.read_holding_registers(90, count=20, device_id=dispenser.unit)
        assert refused.exception_code == 2
        coils = await client.read_coils(0, count=8, device_id=dispenser.unit)
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
    tanks = len(sim.outlets["S01"].player.tanks)
    reply = await converse(gauge_port(sim, "S01"), b"\x01i20100" + end, 1 + 16 + 65 * tanks + 7)
    text = body(reply)
    assert text.startswith("i201002611221230")
    for place in range(tanks):
        record = text[16 + 65 * place :][:65]
        look = sim.outlets["S01"].player.tanks[place].look()
        assert record[:2] == f"{place + 1:02d}"
        assert record[3:9] == "000007"
        floats = struct.unpack(">7f", bytes.fromhex(record[9:]))
        assert floats[0] == pytest.approx(look.volume_l, rel=1e-6)
        assert floats[2] == pytest.approx(look.ullage_l, rel=1e-6)
        assert floats[3] == pytest.approx(look.height_mm, rel=1e-6)
        assert floats[4] == pytest.approx(look.water_mm, rel=1e-6)


async def test_one_tank_in_us_units(sim: Sim, converse: Converse) -> None:
    reply = await converse(gauge_port(sim, "S20"), b"\x01i20102\r\n", 1 + 16 + 65 + 7)
    text = body(reply)
    assert text[:18] == "i20102261122123002"
    gallons, _, _, inches, *_ = struct.unpack(">7f", bytes.fromhex(text[25:]))
    look = sim.outlets["S20"].player.tanks[1].look()
    assert gallons == pytest.approx(look.volume_l / 3.785411784, rel=1e-6)
    assert inches == pytest.approx(look.height_mm / 25.4, rel=1e-6)


async def test_stacked_commands_and_the_other_functions(sim: Sim, converse: Converse) -> None:
    tanks = sim.outlets["S01"].player.tanks
    expected = [
        "i101002611221230000000",
        "i202002611221230" + f"01{product_of(sim, 0)}{len(tanks[0].drops()):02d}",
        "i205002611221230" + "".join(f"{n + 1:02d}00" for n in range(len(tanks))),
        "i501002611221230",
        "i902002611221230SOFTWARE# 346100-100-DEMCREATED - 26.01.15.09.30",
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", gauge_port(sim, "S01"))
    writer.write(b"\x01i10100\r\n\x01i20200\x01i20500\r\x01i50100\n\x01i90200\x01i77700\r\n")
    async with asyncio.timeout(30):
        frames = [await reader.readuntil(b"\x03") for _ in range(6)]
    writer.close()
    await writer.wait_closed()
    assert frames.pop() == b"\x019999FF1B\x03"
    for frame, text in zip(frames, expected, strict=True):
        assert body(frame).startswith(text)


def product_of(sim: Sim, place: int) -> str:
    grade = sim.outlets["S01"].player.tanks[place].grade
    return {"92#": "1", "95#": "2", "98#": "3", "0#": "4"}[grade]


async def test_a_short_command_without_an_end_is_answered_after_a_gap(sim: Sim, converse: Converse) -> None:
    assert await converse(gauge_port(sim, "S01"), b"\x01i2", 10) == b"\x019999FF1B\x03"


# ---------------------------------------------------------------- stopping and starting stations


async def test_a_stopped_station_is_cut_and_comes_back_on_the_same_ports(sim: Sim, converse: Converse) -> None:
    outlet = sim.outlets["S20"]
    ports = (outlet.port("modbus"), outlet.port("tls350"))
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
    assert len(await converse(modbus_port(sim, "S01"), ask, 11)) == 11, "the others go on"
    status = await order(sim, '{"do": "status"}')
    assert (status["stations"], status["stopped"]) == (3, ["S20"])
    assert (await order(sim, '{"do": "stop", "station": "S20"}'))["ok"] is True, "stopping twice is no error"

    assert await order(sim, '{"do": "start", "station": "S20"}') == {"ok": True, "station": "S20", "listening": True}
    assert (outlet.port("modbus"), outlet.port("tls350")) == ports
    assert len(await converse(ports[0], ask, 11)) == 11
    assert await converse(ports[1], b"\x01i77700", 10) == b"\x019999FF1B\x03"
    assert (await order(sim, '{"do": "start", "station": "S20"}'))["ok"] is True
    assert (await order(sim, '{"do": "status"}'))["stopped"] == []


async def test_the_world_goes_on_while_a_station_is_stopped(sim: Sim, clock: Any) -> None:
    await order(sim, '{"do": "stop", "station": "S01"}')
    nozzles = sim.outlets["S01"].player.nozzles
    before = sum(nozzle.sequence for nozzle in nozzles)
    on(sim, clock, 900)
    sim.moment.tick()
    assert sum(nozzle.sequence for nozzle in nozzles) > before


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


@pytest.mark.parametrize(
    "line",
    [
        "[" * 3000,
        '{"do": ' + "[" * 900 + "]" * 900 + "}",
        '{"do": "fault", "station": "S01", "kind": "jam", "for_s": 1e9}',
    ],
)
async def test_no_line_ends_the_county(new_sim: NewSim, line: str) -> None:
    async with new_sim(stations=1, speed=1000.0) as sim:
        assert (await order(sim, line))["ok"] is False
        assert (await order(sim, '{"do": "status"}'))["faults"] == []


# ---------------------------------------------------------------- faults by order


async def test_a_fault_comes_and_goes_by_order(sim: Sim, clock: Any, converse: Converse) -> None:
    said = await order(sim, '{"do": "fault", "station": "S20", "protocol": "tls350", "kind": "garbage", "for_s": 60}')
    assert (said["ok"], said["stations"]) == (True, ["S20"])
    ask = b"\x01i77700"
    good = b"\x019999FF1B\x03"
    spoilt = await converse(gauge_port(sim, "S20"), ask, 10)
    assert len(spoilt) == 10
    assert spoilt != good
    assert await converse(gauge_port(sim, "S01"), ask, 10) == good
    status = await order(sim, '{"do": "status"}')
    assert status["faults"] == [{"station": "S20", "protocol": "tls350", "kind": "garbage"}]
    clock.move(61)
    assert await converse(gauge_port(sim, "S20"), ask, 10) == good
    await order(sim, '{"do": "fault", "station": "S20", "kind": "disconnect"}')
    assert await converse(gauge_port(sim, "S20"), ask, -1) == b""
    assert (await order(sim, '{"do": "clear", "station": "S20"}'))["cleared"] == 1, "the one that is over is forgotten"
    assert await converse(gauge_port(sim, "S20"), ask, 10) == good


async def test_faults_that_are_over_do_not_pile_up(sim: Sim, clock: Any) -> None:
    for _ in range(5):
        await order(sim, '{"do": "fault", "station": "S20", "kind": "garbage", "for_s": 1}')
        clock.move(2)
    assert (await order(sim, '{"do": "clear", "station": "S20"}'))["cleared"] == 1


# ---------------------------------------------------------------- its own clock


async def test_a_county_that_starts_now_keeps_the_time_of_the_clock(sim: Sim, clock: Any) -> None:
    assert from_us(sim.moment.tick()) == clock.now()
    clock.move(3600)
    assert from_us(sim.moment.tick()) == clock.now()
    clock.move(-60)
    assert from_us(sim.moment.tick()) > clock.now(), "a clock set back makes it wait"


async def test_at_another_speed_time_runs_from_the_start(new_sim: NewSim, clock: Any) -> None:
    async with new_sim(stations=1, speed=600.0) as sim:
        assert sim.moment.tick() == sim.staging.start_us
        clock.move(60)
        assert sim.moment.tick() == sim.staging.start_us + 36_000_000_000
        player = sim.players[0]
        assert player.local_time.timestamp() == sim.moment.us // 1_000_000


async def test_stretches_are_made_before_they_are_due(sim: Sim, clock: Any) -> None:
    player = sim.players[0]
    made = player.made_until_us
    clock.move((made - sim.moment.tick()) / 1e6 - 1800)
    async with asyncio.timeout(60):
        while player.made_until_us <= made:  # noqa: ASYNC110 - another thread makes the stretch and tells nobody
            await asyncio.sleep(0.002)
    assert player.made_until_us == made + 7 * 86_400_000_000


async def test_a_station_nobody_polls_goes_on_too(new_sim: NewSim, clock: Any) -> None:
    async with new_sim(stations=1) as sim:
        player = sim.players[0]
        for _ in range(2):
            clock.move(7 * 86_400)
            for _ in range(20_000):
                if player._end_us > sim.moment.tick():
                    break
                clock.move(0.1)
                await asyncio.sleep(0.002)  # the thread that makes the stretch needs real time
            assert player._end_us > sim.moment.us
            assert len(player._made) <= 1


@pytest.mark.parametrize(("option", "words"), [({"speed": 0.0}, "--speed 0"), ({"demand": 0.0}, "--demand 0")])
async def test_options_that_cannot_be(new_sim: NewSim, option: dict[str, float], words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        async with new_sim(stations=1, **option):
            pass


async def test_the_address_book_of_another_simulator_stays(tmp_path: Path, new_sim: NewSim) -> None:
    async with new_sim(stations=1) as sim:
        other = json.dumps({"control_port": sim.control.number + 1})
        (tmp_path / "sim.json").write_text(other)
    assert (tmp_path / "sim.json").read_text() == other


async def test_nothing_listens_and_no_address_stands_after_the_end(tmp_path: Path, new_sim: NewSim) -> None:
    (tmp_path / "sim.json").write_text("left by a run that was killed")
    async with new_sim(stations=2) as sim:
        book = json.loads((tmp_path / "sim.json").read_text(encoding="utf-8"))
        _, writer = await asyncio.open_connection("127.0.0.1", modbus_port(sim, "S01"))
    writer.close()
    assert not (tmp_path / "sim.json").exists()
    ports = [book["control_port"]] + [s[key] for s in book["stations"] for key in ("modbus_port", "gauge_port")]
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
