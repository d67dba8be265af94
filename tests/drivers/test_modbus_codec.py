"""Framing, TCP and RTU: whole replies and pieces, late replies, refusals and rubbish; pymodbus is the other side."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from pumpwatch import BadReply, NotReachable, PumpwatchError, Refused
from pumpwatch_modbus.codec import MOST_SKIPPED, RegisterRead, RtuFraming, TcpFraming, TcpWindow
from pumpwatch_modbus.reads import Span

READ = RegisterRead(7, 3, Span(0x006B, 3))
REGISTERS = bytes.fromhex("022b00000064")


def tcp_reply(pdu: str, transaction: str = "0701", unit: str = "07") -> bytes:
    body = bytes.fromhex(unit + pdu)
    return bytes.fromhex(transaction) + b"\0\0" + len(body).to_bytes(2, "big") + body


def rtu_reply(body: str) -> bytes:
    data = bytes.fromhex(body)
    return data + FramerRTU.compute_CRC(data).to_bytes(2, "big")


GOOD = {"tcp": tcp_reply("0306022b00000064"), "rtu": rtu_reply("070306022b00000064")}
FRAMINGS = {"tcp": TcpFraming, "rtu": RtuFraming}
both = pytest.mark.parametrize("framing", ["tcp", "rtu"])


def listen(framing: str, received: bytes, chunk: int = 1, read: RegisterRead = READ) -> bytes | None:
    """Registers of the reply in a stream that comes in chunks; None while more is awaited."""
    exchange = FRAMINGS[framing]().exchange(read)
    for end in range(chunk, len(received) + chunk, chunk):
        if length := exchange.complete(received[:end]):
            return exchange.registers(received[:length])
    return None


def test_requests_are_those_of_the_specification() -> None:
    """The example of MODBUS Application Protocol V1.1b3, 6.3: registers 108 to 110."""
    assert TcpFraming().exchange(READ).request.hex() == "0701000000060703006b0003"
    assert RtuFraming().exchange(READ).request == rtu_reply("0703006b0003")


def test_transactions_count_and_never_meet_those_of_another_unit() -> None:
    framing = TcpFraming()
    seen = [framing.exchange(READ).request[:2] for _ in range(300)]
    assert {t[0] for t in seen} == {7}
    assert all(a != b for a, b in pairwise(seen))


@both
@given(st.integers(1, 247), st.integers(0, 65535), st.data())
@settings(max_examples=40, deadline=None)
def test_pymodbus_understands_us_and_we_understand_it(framing: str, unit: int, first: int, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 65535), min_size=1, max_size=125))
    framer = (FramerSocket if framing == "tcp" else FramerRTU)(DecodePDU(True))
    exchange = FRAMINGS[framing]().exchange(RegisterRead(unit, 3, Span(first, len(words))))
    used, request = framer.handleFrame(exchange.request, unit, 0)
    assert request is not None
    assert (used, request.address, request.count) == (len(exchange.request), first, len(words))
    reply = ReadHoldingRegistersResponse(registers=words, dev_id=unit, transaction_id=request.transaction_id)
    frame = framer.buildFrame(reply)
    assert exchange.complete(frame) == len(frame)
    assert exchange.registers(frame) == b"".join(word.to_bytes(2, "big") for word in words)


@both
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
def test_a_reply_in_pieces(framing: str, chunk: int) -> None:
    assert listen(framing, GOOD[framing], chunk) == REGISTERS
    assert listen(framing, GOOD[framing][:-1], chunk) is None


@both
def test_bytes_behind_the_reply_stay_on_the_line(framing: str) -> None:
    exchange = FRAMINGS[framing]().exchange(READ)
    assert exchange.complete(GOOD[framing] + b"\xff\xff") == len(GOOD[framing])


@both
def test_late_replies_are_skipped(framing: str) -> None:
    late = {
        "tcp": [
            tcp_reply("0306aaaabbbbcccc", "0700"),
            tcp_reply("0302aaaa", "09fe", "09"),
            tcp_reply("8302", "07ff"),
        ],
        "rtu": [rtu_reply("090302aaaa"), rtu_reply("070304aaaabbbb")],
    }[framing]
    assert listen(framing, b"".join(late) + GOOD[framing]) == REGISTERS
    assert listen(framing, b"".join(late)) is None


@both
@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (1, Refused, "function"),
        (2, Refused, "107–109.*no such register.*base_offset"),
        (3, Refused, "max_registers"),
        (4, Refused, "failed"),
        (6, Refused, "busy"),
        (77, Refused, "exception 77"),
        (10, NotReachable, "gateway"),
        (11, NotReachable, "unit 7.*power"),
    ],
)
def test_exceptions(framing: str, code: int, error: type[Exception], words: str) -> None:
    framer = (FramerSocket if framing == "tcp" else FramerRTU)(DecodePDU(True))
    reply = framer.buildFrame(ExceptionResponse(3, code, device_id=7, transaction=0x0701))
    with pytest.raises(error, match=words):
        listen(framing, reply)


@pytest.mark.parametrize(
    ("what", "frame"),
    [
        ("another protocol", "0701000100090703060000000000"),
        ("a length of nothing", "07010000000107"),
        ("a length beyond any frame", "070100000fff0703"),
        ("another unit", "07010000000908030600010002"),
        ("another function", "07010000000907040600010002"),
        ("fewer registers", "070100000007070304000100020003"),
        ("a byte count that contradicts the length", "0701000000090703040001000200030004"),
        ("a long exception", "07010000000407830200"),
        ("a transaction nobody asked", "000100000009070306000100020003"),
        ("a web server", b"HTTP/1.1 400 Bad Request\r\n".hex()),
    ],
)
def test_what_is_no_answer_over_tcp(what: str, frame: str) -> None:
    for chunk in (1, 100):
        with pytest.raises(BadReply, match="unit 7, registers 107–109"):
            listen("tcp", bytes.fromhex(frame), chunk)


@pytest.mark.parametrize(
    ("what", "frame"),
    [
        ("a wrong checksum", "070306022b000000640000"),
        ("another function", "0706006b0003f8fb"),
        ("half a register", "07030500000000000000"),
        ("noise", "ffffffffffffffff"),
    ],
)
def test_what_is_no_answer_over_rtu(what: str, frame: str) -> None:
    for chunk in (1, 100):
        with pytest.raises(BadReply, match="unit 7, registers 107–109"):
            listen("rtu", bytes.fromhex(frame), chunk)


@pytest.mark.parametrize("first", [0x0000, 0x006B, 0x0200, 0x0303, 0x06FF])
@pytest.mark.parametrize("count", [1, 2, 3, 125])
@pytest.mark.parametrize("chunk", [1, 7, 300])
def test_a_converter_that_echoes_the_request(first: int, count: int, chunk: int) -> None:
    read = RegisterRead(7, 3, Span(first, count))
    words = bytes(range(2 * count))
    stream = RtuFraming().exchange(read).request + rtu_reply(f"0703{2 * count:02x}" + words.hex())
    assert listen("rtu", stream, chunk, read) == words


def test_endless_late_replies_are_given_up() -> None:
    tcp, rtu = tcp_reply("0306aaaabbbbcccc", "0700"), rtu_reply("070304aaaabbbb")
    for framing, frame in (("tcp", tcp), ("rtu", rtu)):
        with pytest.raises(BadReply):
            listen(framing, frame * (2 + MOST_SKIPPED // len(frame)), len(frame))


@both
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 40))
@example(b"", 1)
def test_rubbish_never_does_more_than_complain(framing: str, data: bytes, chunk: int) -> None:
    try:
        listen(framing, data, chunk)
    except PumpwatchError as error:
        assert isinstance(error, BadReply | Refused | NotReachable)
    try:
        FRAMINGS[framing]().exchange(READ).registers(data)
    except PumpwatchError as error:
        assert isinstance(error, BadReply | Refused | NotReachable)


@both
@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 40))
def test_a_damaged_reply_gives_no_other_registers(framing: str, data: st.DataObject, chunk: int) -> None:
    frame = bytearray(GOOD[framing])
    position = data.draw(st.integers(0, len(frame) - 1))
    frame[position] ^= data.draw(st.integers(1, 255))
    try:
        found = listen(framing, bytes(frame), chunk)
    except PumpwatchError as error:
        assert isinstance(error, BadReply | Refused | NotReachable)
    else:
        # TCP itself protects the registers; RTU must notice any change.
        assert found is None or (framing == "tcp" and position >= 9 and len(found) == len(REGISTERS))


# ---------------------------------------------------------------- several at a time

READS = [RegisterRead(7, 3, Span(100 * n, 1 + n)) for n in range(5)]


def window_replies(refused: int | None = None) -> list[bytes]:
    """To each of ``READS`` when they are the first that are asked."""
    replies = [
        tcp_reply(f"03{2 * read.span.size:02x}" + bytes([n] * 2 * read.span.size).hex(), f"07{n + 1:02x}")
        for n, read in enumerate(READS)
    ]
    if refused is not None:
        replies[refused] = tcp_reply("8302", f"07{refused + 1:02x}")
    return replies


@settings(max_examples=200, deadline=None)
@given(
    st.permutations(range(5)),
    st.integers(1, 200),
    st.one_of(st.none(), st.integers(0, 4)),
    st.integers(0, 5),
    st.data(),
)
def test_answers_to_several_come_in_any_order_and_in_pieces(
    order: list[int], chunk: int, refused: int | None, late: int, data: st.DataObject
) -> None:
    replies = window_replies(refused)
    frames = [replies[n] for n in order]
    frames.insert(late, tcp_reply("0302aaaa", "0790"))  # to a question of long ago
    twice = data.draw(st.integers(0, 4))
    frames.insert(data.draw(st.integers(0, len(frames) - 1)), replies[twice])
    received = b"".join(frames)
    window = TcpWindow(TcpFraming(), READS)
    assert window.request == b"".join(asked_at_once())
    for end in range(chunk, len(received) + chunk, chunk):
        if length := window.complete(received[:end]):
            break
    told = window.registers(received[:length])
    for n, answer in enumerate(told):
        if n == refused:
            assert isinstance(answer, Refused)
        else:
            assert answer == bytes([n] * 2 * READS[n].span.size)


def asked_at_once() -> list[bytes]:
    framing = TcpFraming()
    return [framing.exchange(read).request for read in READS]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_window_of_damaged_answers_gives_no_other_registers(data: st.DataObject) -> None:
    received = bytearray(b"".join(window_replies()))
    for place in data.draw(st.lists(st.integers(0, len(received) - 1), min_size=1, max_size=4)):
        received[place] ^= data.draw(st.integers(1, 255))
    window = TcpWindow(TcpFraming(), READS)
    try:
        length = window.complete(bytes(received))
        told = window.registers(bytes(received[:length])) if length else []
    except PumpwatchError as error:
        assert isinstance(error, BadReply | Refused | NotReachable)
    else:
        sizes = [2 * read.span.size for read in READS]
        assert all(isinstance(t, Refused) or len(t) == n for t, n in zip(told, sizes, strict=False))
