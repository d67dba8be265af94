"""A dispenser of registers that answers like a real one; its frames are read and written by pymodbus's server side."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from pumpwatch import Driver, Site
from pumpwatch.testing import ScriptedLine
from pumpwatch_modbus import ModbusDriver, ModbusSettings


@dataclass
class RegisterDevice:
    """Holding registers behind a framing; a read outside ``blocks`` gets exception 2."""

    unit: int = 1
    rtu: bool = False
    blocks: tuple[tuple[int, int], ...] = ((0, 83), (100, 179), (200, 711))
    registers: dict[int, int] = field(default_factory=dict)
    reads: list[tuple[int, int]] = field(default_factory=list)
    """(address, count) of every request."""
    fails: Callable[[int, int], int | None] = lambda address, count: None
    """Which reads get another exception."""

    def put(self, address: int, data: bytes) -> None:
        for i in range(0, len(data), 2):
            self.registers[address + i // 2] = int.from_bytes(data[i : i + 2], "big")

    def answer(self, request: bytes) -> bytes | None:
        framer = (FramerRTU if self.rtu else FramerSocket)(DecodePDU(True))
        used, pdu = framer.handleFrame(request, self.unit, 0)
        assert pdu is not None and used == len(request)
        first, count = pdu.address, pdu.count
        self.reads.append((first, count))
        if (code := self.fails(first, count)) is not None:
            reply = ExceptionResponse(3, code)
        elif any(low <= first and first + count - 1 <= high for low, high in self.blocks):
            reply = ReadHoldingRegistersResponse(registers=[self.registers.get(first + i, 0) for i in range(count)])
        else:
            reply = ExceptionResponse(3, 2)
        reply.dev_id, reply.transaction_id = pdu.dev_id, pdu.transaction_id
        return framer.buildFrame(reply)

    # ------------------------------------------------------------ the generic four-nozzle dispenser

    def live(self, nozzle: int, *, seq: int = 0, state: int = 0, volume: int = 0, totalizer: int = 0) -> None:
        block = struct.pack(">HHIIHHQQI", state, 95, volume, 2 * volume, 305, 812, totalizer, 8 * totalizer, seq)
        self.put(100 + 20 * (nozzle - 1), block)

    def sale(self, nozzle: int, seq: int, *, at_seq: int | None = None, **fields: int) -> bytes:
        """Write a sale into its slot, or with ``at_seq`` into that of another sale."""
        given = {
            "start": 1_785_000_000 + 100 * seq,
            "end": 1_785_000_060 + 100 * seq,
            "volume": 2051,
            "amount": 16654,
            "price": 812,
            "payment": 3,
            "totalizer": 123_456_789,
            "totalizer_amount": 987_654_321_00,
            "pulses": 2051,
            "pulse": 100,
            "preset": 2,
            "preset_value": 20000,
            "tax": 2050,
            "tax_amount": 16646,
        } | fields
        slot = struct.pack(">IIIIIHHQQIHHIII4x", seq, *given.values())
        self.put(200 + ((nozzle - 1) * 4 + (seq if at_seq is None else at_seq) % 4) * 32, slot)
        return slot


@pytest.fixture
def device() -> RegisterDevice:
    return RegisterDevice()


@pytest.fixture
def new_device() -> type[RegisterDevice]:
    return RegisterDevice


@pytest.fixture
def site() -> Site:
    return Site("S01", "D1", "S01-D1", ("S01-N01", "S01-N02", "S01-N03", "S01-N04"))


@pytest.fixture
def driver(device: RegisterDevice, site: Site) -> ModbusDriver:
    """A driver of the generic map on ``device``."""
    return ModbusDriver(ModbusSettings(brand="generic-4", unit=1), site, ScriptedLine(device.answer, chunk=17))


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 22, 4, 30, 15, tzinfo=UTC)


@pytest.fixture
def values_of() -> Callable[..., dict[str, object]]:
    """Read all tags, or those named, and return the samples by tag."""

    async def read(driver: Driver, now: datetime, *names: str) -> dict[str, object]:
        tags = [tag for tag in driver.tags() if not names or tag.name in names]
        return {sample.tag: sample for sample in (await driver.read(tags, now)).samples}

    return read
