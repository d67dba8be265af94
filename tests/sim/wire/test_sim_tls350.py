"""The TLS-350 replies byte by byte, against figures of the console's manual and of a real console."""

from __future__ import annotations

import struct
from datetime import datetime

import pytest

from pumpwatch_sim.wire import tls350
from pumpwatch_sim.wire.tls350 import CommandFramer, DeliveryReport, Inventory

JAN_1996 = datetime(1996, 1, 22, 15, 6)  # noqa: DTZ001 - the console's clock knows no zone
TANK = Inventory(
    product="1",
    status=0,
    volume=5329.0,
    tc_volume=5413.0,
    ullage=4699.0,
    height=struct.unpack(">f", bytes.fromhex("4243E148"))[0],
    water=0.0,
    temperature=struct.unpack(">f", bytes.fromhex("42158F5C"))[0],
    water_volume=0.0,
)
FLOATS = "45A6880045A928004592D8004243E1480000000042158F5C00000000"


def at(text: str) -> datetime:
    return datetime.strptime(text, "%y%m%d%H%M")  # noqa: DTZ007 - as above


def frame(text: str) -> bytes:
    return b"\x01" + text.encode() + b"\x03"


def test_inventory_of_two_tanks() -> None:
    reply = tls350.i201("00", JAN_1996, [(1, TANK), (2, TANK)])
    assert reply == frame(f"i201009601221506011000007{FLOATS}021000007{FLOATS}&&E1E8")


def test_inventory_of_one_tank() -> None:
    assert tls350.i201("00", JAN_1996, [(1, TANK)]) == frame(f"i201009601221506011000007{FLOATS}&&EF20")


def test_status_all_normal() -> None:
    assert tls350.i101("00", at("9707290902"), []) == frame("i101009707290902000000&&FB2B")


def test_status_of_a_real_console_with_an_overfilled_tank() -> None:
    assert tls350.i101("00", at("2312301342"), [(2, 4, 2)]) == frame("i101002312301342020402&&FB3B")


def test_tank_status() -> None:
    assert tls350.i205("00", at("9601221507"), [(1, []), (2, [3])]) == frame("i2050096012215070100020103&&FA6B")


def test_delivery() -> None:
    values = [struct.unpack(">f", bytes.fromhex(text))[0] for text in (
        "449B8000", "4499E000", "00000000", "4293C7AE", "4549F000", "4547A000", "00000000", "429847AE", "41C33333",
        "4241147B",
    )]  # fmt: skip
    report = DeliveryReport(at("2607281505"), at("2607281514"), *values)
    assert tls350.i202("01", at("2607281514"), [(1, "1", [report])]) == frame(
        "i20201260728151401101260728150526072815140A449B80004499E000000000004293C7AE4549F0004547A00000000000"
        "429847AE41C333334241147B&&E650"
    )


def test_tank_without_deliveries() -> None:
    assert tls350.i202("01", at("2607281514"), [(1, "1", [])])[:-5].endswith(b"01100&&")


def test_every_checksum_closes_to_zero() -> None:
    for reply in (
        tls350.i201("00", JAN_1996, [(1, TANK)]),
        tls350.reply("i90200", JAN_1996, "SOFTWARE# 346100-100-DEMCREATED - 26.01.15.09.30"),
        tls350.reply("i50100", JAN_1996, ""),
    ):
        body, check = reply[:-5], reply[-5:-1]
        assert (sum(body) + int(check, 16)) % 0x10000 == 0
        assert body.endswith(b"&&")
        assert reply[-1] == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "3F800000"), (-0.0001, "B8D1B717"), (-99.99, "C2C7FAE1"), (10000, "461C4000"), (0, "0" * 8)],
)
def test_floats(value: float, text: str) -> None:
    assert tls350.floats([value]) == text


class OneTank:
    """A console with one quiet tank."""

    software = "SOFTWARE# 346100-100-DEMCREATED - 26.01.15.09.30"

    def local_time(self) -> datetime:
        return JAN_1996

    def tanks(self) -> list[int]:
        return [1]

    def alarms(self, tank: int) -> list[int]:
        return [5, 11] if tank == 1 else []

    def product(self, tank: int) -> str:
        return str(tank)

    def inventory(self, tank: int) -> Inventory:
        return TANK if tank == 1 else Inventory("9", 0, 0, 0, 0, 0, 0, 0, 0)

    def deliveries(self, tank: int) -> list[DeliveryReport]:
        return []


@pytest.mark.parametrize(
    ("command", "data"),
    [
        ("i10100", "020501021101"),
        ("i20100", f"011000007{FLOATS}"),
        ("i20101", f"011000007{FLOATS}"),
        ("i20102", ""),
        ("i20200", "01100"),
        ("i20500", "01020511"),
        ("i50100", ""),
        ("i90200", "SOFTWARE# 346100-100-DEMCREATED - 26.01.15.09.30"),
    ],
)
def test_answers(command: str, data: str) -> None:
    reply = tls350.answer(command, OneTank())
    assert reply.startswith(f"\x01{command}9601221506{data}&&".encode())
    assert reply[-1] == 3


@pytest.mark.parametrize("command", ["i99900", "I20100", "s50100", "i2010X", "i201", "i201001", "", "i50101", "i201٠١"])
def test_an_unknown_function_is_answered_9999(command: str) -> None:
    assert tls350.answer(command, OneTank()) == bytes.fromhex("01 39 39 39 39 46 46 31 42 03")


@pytest.mark.parametrize("end", [b"", b"\r", b"\n", b"\r\n"])
def test_a_command_may_end_in_any_way(end: bytes) -> None:
    framer = CommandFramer()
    assert framer.feed(b"\x01i20100" + end) == ["i20100"]
    assert not framer.pending


def test_commands_may_be_stacked_and_split() -> None:
    framer = CommandFramer()
    stream = b"\r\n\x01i20100\x01i20200\r\n\x01i10100\n"
    assert framer.feed(stream) == ["i20100", "i20200", "i10100"]
    assert [command for byte in stream for command in framer.feed(bytes([byte]))] == ["i20100", "i20200", "i10100"]


def test_a_command_of_odd_length_ends_with_its_line_a_new_one_or_a_gap() -> None:
    framer = CommandFramer()
    assert framer.feed(b"\x01i2\r") == ["i2"]
    assert framer.feed(b"\x01i2\x01i20100") == ["i2", "i20100"]
    assert framer.feed(b"\x01i2") == []
    assert framer.pending
    assert framer.idle() == ["i2"]
    assert framer.idle() == []


def test_escape_forgets_and_parity_is_cleared() -> None:
    framer = CommandFramer()
    assert framer.feed(b"\x01i20\x1b100") == []
    assert framer.feed(bytes(byte | 0x80 for byte in b"\x01i20100")) == ["i20100"]


def test_security_code() -> None:
    assert CommandFramer().feed(b"\x01123456i20100") == ["i20100"]
    secured = CommandFramer("123456")
    assert secured.feed(b"\x01123456i20100") == ["i20100"]
    assert secured.feed(b"\x01654321i20100") == []
    assert secured.feed(b"\x01i20100\r\n") == []


def test_an_endless_command_is_cut() -> None:
    framer = CommandFramer()
    assert all(len(command) <= 128 for command in framer.feed(b"\x01" + b"x" * 100_000))
    assert not framer.pending
