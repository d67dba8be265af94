"""The Modbus codec against pymodbus in the same run: one reply of 60 registers, 48 scaled values."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime

from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU

from pumpwatch import Tag
from pumpwatch_modbus.codec import RegisterRead, TcpFraming
from pumpwatch_modbus.reads import Span
from pumpwatch_modbus.values import CODES, WIDTHS, Encoding, Layout, Order, Point

KINDS = (["u32"] * 3 + ["u16"] * 9) * 4
REGISTERS = struct.pack(">" + "".join(CODES[kind] for kind in KINDS), *range(10_000, 10_048))
NOW = datetime(2026, 11, 22, tzinfo=UTC)
DATATYPES = {"u32": ModbusClientMixin.DATATYPE.UINT32, "u16": ModbusClientMixin.DATATYPE.UINT16}


def points() -> list[Point]:
    found, place = [], 0
    for i, kind in enumerate(KINDS):
        width = WIDTHS[kind]
        found.append(
            Point(Tag(f"nozzle-{i // 12 + 1}.value-{i % 12}"), Span(place, width), Encoding(kind, width, 0.01))
        )
        place += width
    return found


def ours() -> Callable[[], list]:
    read = RegisterRead(1, 3, Span(0, 60))
    framing, layout = TcpFraming(), Layout(points(), [read.span], Order())
    body = bytes([0, 0, 0, 123, 1, 3, 120]) + REGISTERS

    def decode() -> list:
        exchange = framing.exchange(read)
        frame = exchange.request[:2] + body
        return list(layout.decode([exchange.registers(frame[: exchange.complete(frame)])], NOW).values)

    return decode


def theirs() -> Callable[[], list]:
    framer = FramerSocket(DecodePDU(False))
    frame = bytes([0, 1, 0, 0, 0, 123, 1, 3, 120]) + REGISTERS
    plan = [(p.at.first, p.at.end, DATATYPES[p.encoding.type]) for p in points()]

    def decode() -> list:
        _, pdu = framer.handleFrame(frame, 1, 1)
        assert pdu is not None
        registers = pdu.registers
        return [ModbusClientMixin.convert_from_registers(registers[a:b], kind) * 0.01 for a, b, kind in plan]

    return decode


def rate(decode: Callable[[], list], seconds: float = 0.08) -> float:
    """Replies a CPU-second."""
    began, count = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        for _ in range(20):
            decode()
        count += 20
    return count / spent


def test_samples_cost_less_than_pymodbus_needs_for_bare_numbers() -> None:
    """Ours end with columns (tag, value, time, quality), made a list here like theirs of floats."""
    mine, others = ours(), theirs()
    assert [round(value, 2) for value in mine()] == [round(value, 2) for value in others()]
    rounds = [(rate(mine), rate(others)) for _ in range(6)]
    assert max(a / b for a, b in rounds) > 2
