"""Modbus RTU: frames by hand, the end of a frame, noise, and pymodbus as an independent master over a pty."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import ModbusSerialClient
from pymodbus.exceptions import ModbusIOException

from pumpwatch_sim.wire import modbus, rtu
from pumpwatch_sim.wire.rtu import ModbusRtu

READ = bytes.fromhex("01 03 00 00 00 0A C5 CD")
"""The textbook's example: ten registers of unit 1."""


class Counting:
    """Registers 0 to 299 hold their own address."""

    def read(self, address: int, quantity: int) -> bytes:
        if address + quantity > 300:
            raise modbus.OutsideError
        return b"".join(number.to_bytes(2, "big") for number in range(address, address + quantity))


def device() -> ModbusRtu:
    return ModbusRtu({1: Counting(), 2: Counting()})


def test_the_textbooks_frame() -> None:
    assert rtu.framed(1, bytes.fromhex("03 00 00 00 0A")) == READ
    assert rtu.framed(2, bytes.fromhex("07")) == bytes.fromhex("02 07 41 12"), "the specification's own example"


def test_a_read_is_answered() -> None:
    reply = device().receive(READ)
    assert reply[:3] == bytes.fromhex("01 03 14")
    assert reply[3:23] == Counting().read(0, 10)
    assert rtu.framed(1, reply[1:-2]) == reply


@pytest.mark.parametrize(
    ("unit", "pdu", "reply"),
    [
        (1, "03 01 2B 00 02", "83 02"),
        (1, "03 00 00 00 7E", "83 03"),
        (1, "04 00 00 00 01", "84 01"),
        (1, "06 00 00 00 01", "86 01"),
        (1, "10 00 00 00 01 02 00 01", "90 01"),
        (1, "11", "91 01"),
    ],
)
def test_what_cannot_be_done_is_an_exception(unit: int, pdu: str, reply: str) -> None:
    answer = device().receive(rtu.framed(unit, bytes.fromhex(pdu)))
    assert answer == rtu.framed(unit, bytes.fromhex(reply))


def test_a_frame_of_unknown_length_ends_with_a_pause() -> None:
    made = device()
    assert made.receive(rtu.framed(2, bytes.fromhex("2B 0E 01 00"))) == b""
    assert made.pause() == rtu.framed(2, bytes.fromhex("AB 01"))
    assert made.pause() == b""


def test_silence_for_strangers_broadcasts_and_damage() -> None:
    made = device()
    assert made.receive(rtu.framed(7, READ[1:-2])) == b""
    assert made.receive(rtu.framed(0, READ[1:-2])) == b""
    assert made.pause() == b""
    assert made.receive(READ[:-1] + b"\x00") == b""
    assert made.pause() == b""
    assert made.receive(READ)


def test_split_and_joined_frames_behind_noise() -> None:
    stream = b"\x01\x10\xff" + READ + b"\x00" + rtu.framed(2, bytes.fromhex("03 00 05 00 01")) + READ
    whole = device().receive(stream)
    assert whole == device().receive(READ) + rtu.framed(2, bytes.fromhex("03 02 00 05")) + device().receive(READ)
    split = device()
    assert b"".join(split.receive(bytes((byte,))) for byte in stream) == whole


@given(st.binary(max_size=600))
def test_noise_never_stops_the_line(noise: bytes) -> None:
    made = device()
    made.receive(noise)
    assert len(made._rest) <= 256
    made.pause()
    assert made.receive(READ)


@given(st.integers(0, 5), st.binary(min_size=1, max_size=200))
def test_any_request_is_answered_or_met_with_silence(unit: int, pdu: bytes) -> None:
    made = device()
    answer = made.receive(rtu.framed(unit, pdu)) + made.pause()
    if unit in {1, 2} and pdu[0] not in {1, 2, 3, 4, 5, 6, 7, 11, 12, 15, 16, 17, 20, 21}:
        assert answer == rtu.framed(unit, bytes((pdu[0] | 0x80, 1)))
    assert answer[:1] in {b"", bytes((unit,))}


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """Two ends of a serial line: a file descriptor for the devices, a path for the master."""
    devices, master = os.openpty()
    tty.setraw(devices)
    tty.setraw(master)
    yield devices, os.ttyname(master)
    os.close(devices)
    os.close(master)


async def test_pymodbus_reads_over_a_pty(line: tuple[int, str]) -> None:
    end, path = line
    made = device()
    loop = asyncio.get_running_loop()
    loop.add_reader(end, lambda: os.write(end, made.receive(os.read(end, 256))))

    def talk() -> None:
        client = ModbusSerialClient(path, baudrate=9600, parity="N", timeout=30, retries=0)
        assert client.connect()
        try:
            for unit in (1, 2):
                reply = client.read_holding_registers(100, count=125, device_id=unit)
                assert reply.registers == list(range(100, 225))
            assert client.read_holding_registers(299, count=2, device_id=1).exception_code == 2
            assert client.write_register(1, 1, device_id=1).exception_code == 1
            assert client.read_input_registers(1, device_id=1).exception_code == 1
        finally:
            client.close()
        impatient = ModbusSerialClient(path, baudrate=9600, parity="N", timeout=0.05, retries=0)
        assert impatient.connect()
        try:
            with pytest.raises(ModbusIOException):
                impatient.read_holding_registers(0, count=1, device_id=9)
        finally:
            impatient.close()

    try:
        await asyncio.to_thread(talk)
    finally:
        loop.remove_reader(end)
