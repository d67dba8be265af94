"""Both brands read from pymodbus's own servers: TCP, RTU over TCP, and RTU over a pseudo-terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import struct
import tty
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from pumpwatch import DeviceIdentity, NotReachable, Quality, Refused, Site, Transaction
from pumpwatch.line import WireLine
from pumpwatch.settings import LineAddress
from pumpwatch_modbus import ModbusDriver, ModbusSettings

SITE = Site("S01", "D1", "S01-D1", ("S01-N01", "S01-N02", "S01-N03", "S01-N04"))
HOSE = Site("S01", "D2", "S01-D2", ("S01-N05",))
pytestmark = pytest.mark.integration


def words(data: bytes) -> list[int]:
    return list(struct.unpack(f">{len(data) // 2}H", data))


def generic(unit: int) -> SimDevice:
    """Four nozzles; nozzle 1 has sold three times, its number 3 holds its last filling."""
    head = struct.pack(">HH", 1, 0) + b"GD4-000123".ljust(16, b"\0") + b"MB-77".ljust(16, b"\0")
    head += b"V4.2.1".ljust(16, b"\0") + bytes(range(32)) + b"TAX-1".ljust(16, b"\0") + struct.pack(">I", 1_790_000_000)
    head += b"".join(f"ENC-{n}".encode().ljust(16, b"\0") for n in (1, 2, 3, 4))
    live = b"".join(
        struct.pack(">HHIIHHQQI4x", n, 95, 100 * n, 812 * n, 300 + n, 812, 10**10 + n, 10**12 + n, 3 if n == 1 else 0)
        for n in (1, 2, 3, 4)
    )
    slots = bytearray(1024)
    for seq in (1, 2, 3):
        sale = (seq, 1_785_000_000, 1_785_000_060, 1000 * seq, 8120 * seq, 812, 1, 10**6, 10**7, 1000 * seq, 100, 0, 0)
        struct.pack_into(">IIIIIHHQQIHHIII4x", slots, seq * 64, *sale, 1000 * seq, 0xFFFFFFFF)
    return SimDevice(
        id=unit,
        simdata=[
            SimData(0, values=words(head), datatype=DataType.REGISTERS),
            SimData(100, values=words(live), datatype=DataType.REGISTERS),
            SimData(200, values=words(bytes(slots)), datatype=DataType.REGISTERS),
        ],
    )


def compac(unit: int) -> SimDevice:
    """A C5000 with low words first."""
    now = [0, 812, 20510 & 0xFFFF, 20510 >> 16, 16654, 0, 0x0000, 0x1234, 0x5678, 0, 0x98, 0x7654]
    now += [200, 3050, 0, 0xFFF6, 25, 0x0001, 0x2345]
    last = [1, 30000, 0, 0x9040, 0x0003, 21, 190, 210]
    return SimDevice(
        id=unit,
        simdata=[
            SimData(100, values=now, datatype=DataType.REGISTERS),
            SimData(124, values=last, datatype=DataType.REGISTERS),
            SimData(200, values=[0, 812, 200, 250, 3], datatype=DataType.REGISTERS),
        ],
    )


@contextlib.asynccontextmanager
async def tcp_line(devices: list[SimDevice], framer: FramerType = FramerType.SOCKET) -> AsyncIterator[WireLine]:
    server = ModbusTcpServer(devices, framer=framer, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    port = server.transport.sockets[0].getsockname()[1]
    line = WireLine(LineAddress.parse(f"tcp://127.0.0.1:{port}"))
    try:
        yield line
    finally:
        line.close()
        await server.shutdown()


@contextlib.asynccontextmanager
async def serial_line(devices: list[SimDevice]) -> AsyncIterator[WireLine]:
    """Two pseudo-terminals joined by hand: the server opens one end, the line the other."""
    ours, our_port = pty.openpty()
    theirs, their_port = pty.openpty()
    for fd in (ours, our_port, theirs, their_port):
        tty.setraw(fd)
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: os.write(theirs, os.read(ours, 4096)))
    loop.add_reader(theirs, lambda: os.write(ours, os.read(theirs, 4096)))
    server = ModbusSerialServer(devices, framer=FramerType.RTU, port=os.ttyname(their_port), baudrate=9600, parity="N")
    await server.serve_forever(background=True)
    line = WireLine(LineAddress.parse(f"serial:{os.ttyname(our_port)}?baud=9600&parity=N"))
    try:
        yield line
    finally:
        line.close()
        await server.shutdown()
        for fd in (ours, theirs):
            loop.remove_reader(fd)
        for fd in (ours, our_port, theirs, their_port):
            os.close(fd)


def check_generic(samples: dict, records: list) -> None:
    for n in (1, 2, 3, 4):
        live = {
            name: samples[f"nozzle-{n}.{name}"].value for name in ("state", "volume", "amount", "flow", "totalizer")
        }
        expected = {"state": n, "volume": float(n), "amount": 8.12 * n, "flow": 30 + n / 10}
        assert live == pytest.approx(expected | {"totalizer": 10**8 + n / 100})
    sold = [record for record in records if isinstance(record, Transaction)]
    assert [(s.nozzle_id, s.seq, s.volume_l, s.amount_cny) for s in sold] == [
        ("S01-N01", n, 10.0 * n, 812 * n / 10) for n in (1, 2, 3)
    ]
    (identity,) = [record for record in records if isinstance(record, DeviceIdentity)]
    assert (identity.serial, identity.mainboard_serial, identity.tax_serial) == ("GD4-000123", "MB-77", "TAX-1")
    assert identity.firmware_digest == bytes(range(32)).hex()
    assert identity.encoder_serials == {f"S01-N0{n}": f"ENC-{n}" for n in (1, 2, 3, 4)}


async def read_all(driver: ModbusDriver, now: datetime) -> tuple[dict, list]:
    async with asyncio.timeout(30):
        await driver.connect()
        reading = await driver.read(driver.tags(), now)
    return {sample.tag: sample for sample in reading.samples}, list(reading.records)


async def test_the_generic_dispenser_over_tcp(now) -> None:
    async with tcp_line([generic(1), generic(2)]) as line:
        for unit in (1, 2):
            driver = ModbusDriver(ModbusSettings(brand="generic-4", unit=unit), SITE, line)
            check_generic(*await read_all(driver, now))


async def test_the_generic_dispenser_over_rtu_on_tcp(now) -> None:
    async with tcp_line([generic(3)], FramerType.RTU) as line:
        driver = ModbusDriver(ModbusSettings(brand="generic-4", unit=3, framing="rtu"), SITE, line)
        check_generic(*await read_all(driver, now))


async def test_the_generic_dispenser_over_a_serial_port(now) -> None:
    async with serial_line([generic(5)]) as line:
        driver = ModbusDriver(ModbusSettings(brand="generic-4", unit=5, framing="rtu"), SITE, line)
        check_generic(*await read_all(driver, now))
        _, records = await read_all(driver, now)
        assert records == []


async def test_the_c5000_over_tcp(now) -> None:
    async with tcp_line([compac(1)]) as line:
        driver = ModbusDriver(ModbusSettings(brand="compac-c5000", unit=1, word_order="low_first"), HOSE, line)
        samples, records = await read_all(driver, now)
    assert {name: sample.value for name, sample in samples.items() if name.startswith("nozzle-1.")} == pytest.approx(
        {
            "nozzle-1.price": 8.12,
            "nozzle-1.volume": 20.51,
            "nozzle-1.amount": 166.54,
            "nozzle-1.totalizer": 567812340000 / 100,
            "nozzle-1.totalizer_amount": 765400980000 / 100,
            "nozzle-1.pressure": 200,
            "nozzle-1.flow": 30.5,
            "nozzle-1.electronic_tote": 23450001,
            "nozzle-1.end_of_sale": 1,
            "nozzle-1.last_volume": 30.0,
            "nozzle-1.last_amount": 233.536,
            "nozzle-1.last_temperature": 21,
            "nozzle-1.last_start_pressure": 190,
            "nozzle-1.last_end_pressure": 210,
            "nozzle-1.price_set": 8.12,
        }
    )
    assert samples["temperature-1"].value == -10
    assert all(sample.quality is Quality.GOOD for sample in samples.values())
    assert records == []


async def test_the_c5000_with_one_based_addresses(now) -> None:
    """The real server answers exception 2 when the base offset is wrong."""
    async with tcp_line([compac(1)]) as line:
        wrong = ModbusDriver(ModbusSettings(brand="compac-c5000", unit=1, base_offset=-50), HOSE, line)
        with pytest.raises(Refused, match=r"registers 50–68: .*no such register; check brand, base_offset"):
            await read_all(wrong, now)


async def test_nobody_there(now) -> None:
    async with tcp_line([generic(1)]) as line:
        pass
    gone = WireLine(LineAddress.parse(line.address))
    driver = ModbusDriver(ModbusSettings(brand="generic-4", unit=1), SITE, gone)
    with pytest.raises(NotReachable):
        await read_all(driver, now)
    gone.close()


def answer_of(request: bytes) -> bytes:
    """A device's right answer, each register its own address."""
    first, count = int.from_bytes(request[8:10], "big"), int.from_bytes(request[10:12], "big")
    values = b"".join((first + i).to_bytes(2, "big") for i in range(count))
    return request[:4] + (3 + 2 * count).to_bytes(2, "big") + request[6:8] + bytes([2 * count]) + values


@contextlib.asynccontextmanager
async def gateway(*, takes: int, backwards: bool) -> AsyncIterator[tuple[WireLine, list[int]]]:
    """Answers as many requests as it ``takes`` at a time and drops the rest; the list tells how many came together."""
    together: list[int] = []
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                requests = [data[i : i + 12] for i in range(0, len(data), 12)]
                together.append(len(requests))
                answers = [answer_of(request) for request in requests[:takes]]
                writer.write(b"".join(reversed(answers) if backwards else answers))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    line = WireLine(LineAddress.parse(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    try:
        yield line, together
    finally:
        line.close()
        server.close()
        await asyncio.gather(*(task for task in serving if task))
        await server.wait_closed()


def far_apart(folder: Path) -> Path:
    """A map of nine registers that no two of which one read can take."""
    tags = "".join(
        f'[[tags]]\nname = "v{n}"\naddress = {200 * n}\ntype = "u16"\ndescription = "register"\n' for n in range(9)
    )
    file = folder / "map.toml"
    file.write_text(f'title = "far apart"\nnozzles = 0\n{tags}', encoding="utf-8")
    return file


@pytest.mark.parametrize("backwards", [False, True])
async def test_several_requests_at_a_time_are_answered_in_any_order(tmp_path: Path, now, backwards: bool) -> None:
    async with gateway(takes=16, backwards=backwards) as (line, together):
        driver = ModbusDriver(ModbusSettings(map=far_apart(tmp_path), unit=1, outstanding=4), Site("S", "D"), line)
        samples, _ = await read_all(driver, now)
    assert {name: sample.value for name, sample in samples.items()} == {f"v{n}": 200 * n for n in range(9)}
    assert together == [4, 4, 1]


async def test_a_gateway_that_takes_one_request_at_a_time_is_asked_so(tmp_path: Path, now) -> None:
    async with gateway(takes=1, backwards=False) as (line, together):
        driver = ModbusDriver(ModbusSettings(map=far_apart(tmp_path), unit=1, outstanding=4), Site("S", "D"), line)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await driver.read(driver.tags(), now)
        samples, _ = await read_all(driver, now)
    assert {name: sample.value for name, sample in samples.items()} == {f"v{n}": 200 * n for n in range(9)}
    assert together == [4, *[1] * 9]
