"""Pseudo-terminals as a peer with a serial port finds them; TCP ports are tested with the lines."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import serial

from pumpwatch_sim.live.wires import Connection, Port, Pty


@pytest.fixture
async def echo() -> AsyncIterator[Pty]:
    """Gives back what it gets."""
    pty = Pty()
    pty.received = pty.send
    await pty.open()
    yield pty
    await pty.close(hold=False)


async def asked(port: serial.Serial, data: bytes) -> bytes:
    port.write(data)
    got = b""
    async with asyncio.timeout(30):
        while len(got) < len(data):
            await asyncio.sleep(0)
            got += port.read(65_536)
    return got


@pytest.mark.parametrize(("baud", "parity"), [(9600, "O"), (5787, "E"), (2400, "N")])
async def test_every_byte_passes_unchanged(echo: Pty, baud: int, parity: str) -> None:
    with serial.Serial(echo.path, baud, parity=parity, timeout=0, exclusive=True) as port:
        every = bytes(range(256)) * 8
        assert await asked(port, every) == every


async def test_peers_come_and_go(echo: Pty) -> None:
    for turn in range(3):
        with serial.Serial(echo.path, timeout=0, exclusive=True) as port:
            assert await asked(port, bytes([turn, 3, 4])) == bytes([turn, 3, 4])
        assert echo.listening


async def test_what_nobody_reads_is_bounded_and_can_be_forgotten(echo: Pty) -> None:
    for _ in range(50):
        echo.send(bytes(4096))
    assert 4000 < echo.unread < 80_000
    echo.forget()
    async with asyncio.timeout(30):
        while echo.unread:
            await asyncio.sleep(0)
            echo.forget()
    with serial.Serial(echo.path, timeout=0, exclusive=True) as port:
        assert await asked(port, b"new") == b"new"


async def test_a_closed_one_is_silent_and_comes_back_under_the_same_name(echo: Pty) -> None:
    path = echo.path
    with serial.Serial(path, timeout=0, exclusive=True) as port:
        await echo.close()
        assert not echo.listening
        port.write(b"lost")
        echo.send(b"lost")
        for _ in range(20):
            await asyncio.sleep(0)
        assert port.read(100) == b""
        await echo.open()
        assert echo.path == path
        assert await asked(port, b"heard") == b"heard"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_stays_open() -> None:
    gc.collect()  # what earlier tests have left is not closed in between
    before = open_files()
    pty = Pty()
    await pty.open()
    await pty.close(hold=False)
    await pty.close(hold=False)
    assert open_files() == before


async def test_a_peer_that_does_not_read_is_owed_only_so_much() -> None:
    port = Port(Connection)
    await port.open()
    _, writer = await asyncio.open_connection("127.0.0.1", port.number, limit=1024)
    writer.transport.pause_reading()
    async with asyncio.timeout(30):
        while not port.opened:  # noqa: ASYNC110 - nothing else tells of it
            await asyncio.sleep(0)
    (connection,) = port.opened
    for _ in range(10_000):
        connection.send(bytes(4096))
    assert connection._transport is not None
    assert 65_536 < connection._transport.get_write_buffer_size() < 300_000
    writer.transport.abort()
    await port.close(hold=False)
