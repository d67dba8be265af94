"""A line over real sockets and a real pseudo-terminal: whole replies, late bytes, losses, turns."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from pumpwatch import BadReply, NotReachable, Refused
from pumpwatch.line import MOST_HEARD, SILENCES_BEFORE_REOPEN, Wire, WireLine
from pumpwatch.settings import LineAddress


def one_line(received: bytes) -> int:
    return received.find(b"\n") + 1


@asynccontextmanager
async def peer(
    answer: Callable[[bytes, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[WireLine, list[int]]]:
    """A TCP peer that answers each chunk it gets, and a line to it; the list counts connections."""
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        serving.append(asyncio.current_task())
        with suppress(ConnectionError):
            while data := await reader.read(1000):
                await answer(data, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    serving: list[asyncio.Task[None]] = []

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    line = WireLine(LineAddress.parse(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    try:
        yield line, connections
    finally:
        line.close()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*serving)


async def test_a_reply_in_pieces_is_put_together() -> None:
    async def answer(data: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in b"ok " + data:
            writer.write(bytes([byte]))
            await writer.drain()

    async with peer(answer) as (line, _):
        assert await line.ask(b"one\n", one_line) == b"ok one\n"
        assert await line.ask(b"two\n", one_line) == b"ok two\n"


async def given_up(line: WireLine, question: bytes, heard: asyncio.Event) -> None:
    """Ask, and stop waiting once the peer has heard it, as a deadline does."""
    heard.clear()
    asking = asyncio.create_task(line.ask(question, one_line))
    await heard.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_late_reply_is_not_taken_for_the_next_one() -> None:
    heard, release = asyncio.Event(), asyncio.Event()
    seen: list[bytes] = []

    async def answer(data: bytes, writer: asyncio.StreamWriter) -> None:
        heard.set()
        if data == b"slow\n":
            await release.wait()
        writer.write(b"re " + data)

    async with peer(answer) as (line, connections):
        await given_up(line, b"slow\n", heard)
        assert line._wire is not None
        late, gather = asyncio.Event(), line._wire.data_received

        def data_received(data: bytes) -> None:
            gather(data)
            seen.append(data)
            late.set()

        line._wire.data_received = data_received  # type: ignore[method-assign]
        release.set()
        await late.wait()
        assert seen == [b"re slow\n"]
        assert await line.ask(b"next\n", one_line) == b"re next\n"
        assert len(connections) == 1


async def test_a_codec_complaint_reaches_the_one_who_asked_and_the_line_goes_on() -> None:
    async def answer(data: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    def picky(received: bytes) -> int:
        if received.startswith(b"bad"):
            raise BadReply("begins with bad")
        return one_line(received)

    async with peer(answer) as (line, _):
        with pytest.raises(BadReply, match="begins with bad"):
            await line.ask(b"bad\n", picky)
        assert await line.ask(b"good\n", picky) == b"good\n"


async def test_nobody_there() -> None:
    line = WireLine(LineAddress.parse("tcp://127.0.0.1:9"))
    with pytest.raises(NotReachable, match=r"127\.0\.0\.1:9"):
        await line.ask(b"x", one_line)


async def test_a_broken_connection_is_opened_again_at_the_next_question() -> None:
    async def answer(data: bytes, writer: asyncio.StreamWriter) -> None:
        if data == b"die\n":
            writer.transport.abort()
        else:
            writer.write(data)

    async with peer(answer) as (line, connections):
        with pytest.raises(NotReachable):
            await line.ask(b"die\n", one_line)
        assert await line.ask(b"live\n", one_line) == b"live\n"
        assert len(connections) == 2


async def test_a_peer_that_stays_silent_is_connected_to_anew() -> None:
    heard = asyncio.Event()

    async def silent(_data: bytes, _writer: asyncio.StreamWriter) -> None:
        heard.set()

    async with peer(silent) as (line, connections):
        for _ in range(SILENCES_BEFORE_REOPEN + 1):
            await given_up(line, b"?\n", heard)
        assert len(connections) == 2


async def test_endless_talk_is_given_up() -> None:
    async def flood(_data: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 200_000)

    async with peer(flood) as (line, _):
        with pytest.raises(NotReachable, match="without end"):
            await line.ask(b"?\n", one_line)


async def test_a_trace_sees_both_directions() -> None:
    async def answer(data: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"re " + data)

    async with peer(answer) as (line, _):
        seen: list[tuple[str, bytes]] = []
        line.on_bytes = lambda way, data: seen.append((way, data))
        await line.ask(b"a\n", one_line)
        assert seen == [(">", b"a\n"), ("<", b"re a\n")]


async def test_a_serial_line_over_a_pseudo_terminal() -> None:
    ours, theirs = pty.openpty()
    for end in (ours, theirs):
        tty.setraw(end)
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: os.write(ours, b"re " + os.read(ours, 1000)))
    line = WireLine(LineAddress.parse(f"serial:{os.ttyname(theirs)}?baud=9600&parity=O"))
    try:
        async with asyncio.timeout(30):
            assert await line.ask(b"one\n", one_line) == b"re one\n"
            assert await line.ask(b"two\n", one_line) == b"re two\n"
    finally:
        line.close()
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


async def test_a_serial_port_without_bytes_is_not_gone_but_one_that_is_closed_is() -> None:
    """The system wakes readers for nothing at times, and a port then reads as empty, as at its end."""
    ours, theirs = pty.openpty()
    for end in (ours, theirs):
        tty.setraw(end)
    line = WireLine(LineAddress.parse(f"serial:{os.ttyname(theirs)}?baud=9600"))
    os.close(theirs)
    ear = await line.listen()
    try:
        line._transport._readable()
        os.write(ours, b"here")
        async with asyncio.timeout(30):
            while not (heard := ear.heard()):  # noqa: ASYNC110 - an ear tells nobody
                await asyncio.sleep(0)
        assert heard == b"here"
    finally:
        os.close(ours)
    async with asyncio.timeout(30):
        with pytest.raises(NotReachable):
            while True:
                ear.heard()
                await asyncio.sleep(0)
    line.close()


async def test_a_serial_port_that_is_not_there() -> None:
    line = WireLine(LineAddress.parse("serial:/dev/no-such-port"))
    with pytest.raises(NotReachable, match="no-such-port"):
        await line.ask(b"x", one_line)


async def test_who_listens_hears_all_that_passes_and_the_line_sends_nothing() -> None:
    speaking: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    sent_by_us: list[bytes] = []
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await speaking.put(writer)
        sent_by_us.append(await reader.read())
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    passed: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def passes(data: bytes) -> None:
        writer.write(data)
        while data:
            way, piece = await passed.get()
            assert way == "="
            assert data.startswith(piece)
            data = data[len(piece) :]

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    line = WireLine(LineAddress.parse(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    line.on_bytes = lambda way, data: passed.put_nowait((way, data))
    first = await line.listen()
    second = await line.listen()
    writer = await speaking.get()
    assert first.heard() == b""
    await passes(b"\x50\x20\xfa")
    assert first.heard() == b"\x50\x20\xfa"
    assert first.heard() == b""
    await passes(b"\x50\x70\xfa")
    assert (first.heard(), second.heard()) == (b"\x50\x70\xfa", b"\x50\x20\xfa\x50\x70\xfa")
    with pytest.raises(Refused, match="somebody listens here"):
        await line.ask(b"poll", len)
    await passes(b"\x51\x20\xfa")
    line.close()
    await ended.wait()
    assert sent_by_us == [b""]
    assert first.heard() == b"\x51\x20\xfa"
    with pytest.raises(NotReachable):
        first.heard()
    server.close()
    await server.wait_closed()


async def test_what_nobody_fetches_is_bounded_and_the_newest_stays() -> None:
    wire = Wire()
    ear = wire.ear()
    for piece in range(20):
        wire.data_received(bytes([piece]) * 100_000)
    heard = ear.heard()
    assert len(heard) == MOST_HEARD
    assert heard.endswith(b"\x13" * 100_000)


@pytest.mark.parametrize("address", ["opc.tcp://127.0.0.1:4840", "call:"])
async def test_no_bytes_on_a_line_without_bytes(address: str) -> None:
    with pytest.raises(Refused, match="no bytes are exchanged"):
        await WireLine(LineAddress.parse(address)).ask(b"hello", len)
