"""The Modbus server codec: frames written by hand."""

from __future__ import annotations

import pytest

from pumpwatch_sim.wire import modbus
from pumpwatch_sim.wire.modbus import GarbageError, Request, RequestFramer

READ = bytes.fromhex("0001 0000 0006 02 03 0064 0002")


class Counting:
    """Registers 100 to 299 hold their own address."""

    def read(self, address: int, quantity: int) -> bytes:
        if address < 100 or address + quantity > 300:
            raise modbus.OutsideError
        return b"".join(number.to_bytes(2, "big") for number in range(address, address + quantity))


def ask(frame: str) -> str:
    (request,) = RequestFramer().feed(bytes.fromhex(frame))
    return modbus.answer(request, {2: Counting()}).hex()


def test_a_read_is_answered_with_its_registers() -> None:
    assert ask("0001 0000 0006 02 03 0064 0002") == "0001000000070203040064" + "0065"


def test_125_registers_are_the_most() -> None:
    reply = bytes.fromhex(ask("ABCD 0000 0006 02 03 0064 007D"))
    assert reply[:9] == bytes.fromhex("ABCD 0000 00FD 02 03 FA")
    assert len(reply) == 9 + 250
    assert ask("ABCD 0000 0006 02 03 0064 007E") == "abcd00000003028303"
    assert ask("ABCD 0000 0006 02 03 0064 0000") == "abcd00000003028303"


@pytest.mark.parametrize(
    ("pdu", "reply"),
    [
        ("0006 02 03 0063 0002", "0003 02 83 02"),  # below the map
        ("0006 02 03 012B 0002", "0003 02 83 02"),  # across its end
        ("0006 02 03 FFFF 0002", "0003 02 83 02"),
        ("0006 02 04 0064 0002", "0003 02 84 01"),  # input registers: not here
        ("0006 02 06 0064 0002", "0003 02 86 01"),  # a write: never
        ("0009 02 10 0064 0001 02 0001", "0003 02 90 01"),
        ("0004 02 03 0064", "0003 02 83 03"),  # too short to be a read
        ("0006 07 03 0064 0002", "0003 07 83 0B"),  # nobody of that number on the line
    ],
)
def test_what_cannot_be_done_is_an_exception(pdu: str, reply: str) -> None:
    assert ask("0005 0000" + pdu) == "00050000" + reply.replace(" ", "").lower()


def test_requests_may_be_pipelined_and_split_anywhere() -> None:
    second = bytes.fromhex("0002 0000 0006 01 03 0000 0054")
    stream = READ + second + READ
    expected = [Request(1, 2, READ[7:]), Request(2, 1, second[7:]), Request(1, 2, READ[7:])]
    assert RequestFramer().feed(stream) == expected
    for cut in range(len(stream)):
        framer = RequestFramer()
        assert framer.feed(stream[:cut]) + framer.feed(stream[cut:]) == expected


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", bytes.fromhex("0001 0001 0006 02 03 0064 0002"), bytes.fromhex("0001 0000 0001 02 03"),
     bytes.fromhex("0001 0000 00FF 02 03")],
)  # fmt: skip
def test_garbage_is_recognised(garbage: bytes) -> None:
    with pytest.raises(GarbageError):
        RequestFramer().feed(garbage)
