"""The tax port: known vectors, both boards, dates, damage."""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from operator import xor
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch_sim.wire import taxport
from pumpwatch_sim.wire.taxport import Board, Padding, TaxPort

INFO = "BB 04 FF 83 00 7C"
SALE = "BB 1A FF 86 01 30 31 31 32 33 30 30 30 32 35 35 30 30 32 30 31 32 30 30 37 38 39 7C"


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def port(fakes: ModuleType, count: int = 1, **kwargs: object) -> tuple[list, TaxPort]:
    made = fakes.nozzles(count)
    return made, TaxPort([fakes.FakeDispenser(made)], **kwargs)


def sold(nozzle: object, volume: int, amount: int) -> None:
    """A filling whose money is what the vector says, not volume times price."""
    nozzle.lift()
    nozzle.fuel(volume)
    nozzle.amount = amount
    nozzle.hang()


@pytest.mark.parametrize(
    ("vector", "command", "content"),
    [
        (INFO, 0x83, "00"),
        ("BB 04 FF 83 01 7D", 0x83, "01"),
        ("BB 05 FF 86 01 01 79", 0x86, "01 01"),
        ("BB 06 FF 89 01 00 01 76", 0x89, "01 00 01"),
        ("BB 0D FF 87 01 32 30 32 34 30 36 30 31 01 7B", 0x87, "01 32 30 32 34 30 36 30 31 01"),
        ("BB 0B FF 88 01 32 30 32 34 30 36 01 75", 0x88, "01 32 30 32 34 30 36 01"),
    ],
)
def test_requests_of_the_vectors(fakes: ModuleType, vector: str, command: int, content: str) -> None:
    assert taxport.frame(0xFF, command, octets(content)) == octets(vector)
    (nozzle,), board = port(fakes)
    nozzle.sell(1000)
    nozzle.tax = {"20240601": (1000, 7890), "202406": (5000, 39450), "grand": (123456, 974068)}
    reply = board.receive(octets(vector))
    assert reply[0] == 0xBB
    assert reply[3] == command
    assert reply[4] == 1


def test_the_sale_of_the_vector(fakes: ModuleType) -> None:
    (nozzle,), board = port(fakes)
    sold(nozzle, 2550, 20120)
    assert board.receive(octets("BB 05 FF 86 01 01 79")) == octets(SALE)


def test_sums_and_their_sizes(fakes: ModuleType) -> None:
    (nozzle,), board = port(fakes)
    nozzle.tax = {"20240601": (45678, 360399), "202406": (1234567, 9740734), "grand": (987654321, 7792592593)}
    day = board.receive(octets("BB 0D FF 87 01 32 30 32 34 30 36 30 31 01 7B"))
    assert day[5:-1] == b"20240601" + b"00045678" + b"00360399" + b"0789"
    assert len(day) == 34
    month = board.receive(octets("BB 0B FF 88 01 32 30 32 34 30 36 01 75"))
    assert month[5:-1] == b"202406" + b"0001234567" + b"0009740734"
    assert len(month) == 32
    grand = board.receive(octets("BB 06 FF 89 01 00 01 76"))
    assert grand[5:-1] == b"000987654321" + b"007792592593"
    assert len(grand) == 30
    for reply in (day, month, grand):
        assert reply[1] == len(reply) - 2
        assert reduce(xor, reply[2:]) == 0


def test_tax_information_comes_in_two_frames(fakes: ModuleType) -> None:
    _, board = port(fakes, 2, taxpayer="91150000MA0ABCDE1234")
    reply = board.receive(octets(INFO))
    first, second = reply[:37], reply[37:]
    assert len(second) == 22
    assert first[4] == 1
    assert first[5:-1] == b"1234567890" + b"01" + b"91150000MA0ABCDE123"
    assert second[4:-1] == b"4" + b"0092" + b"202406011230"
    for part in (first, second):
        assert part[1] == len(part) - 2
        assert reduce(xor, part[2:]) == 0
    other = board.receive(taxport.frame(0xFF, 0x83, b"\x02"))
    assert other[15:17] == b"02"
    assert other[42:46] == b"0095"


@pytest.mark.parametrize(("padding", "size", "check"), [(Padding.BEFORE, 24, -1), (Padding.AFTER, 24, -3)])
def test_ytsf_boards_pad_the_second_frame(fakes: ModuleType, padding: Padding, size: int, check: int) -> None:
    _, board = port(fakes, padding=padding)
    second = board.receive(octets(INFO))[37:]
    assert len(second) == size
    assert reduce(xor, second[2:check]) == second[check]


def test_a_board_the_tax_office_has_not_set_up(fakes: ModuleType) -> None:
    (nozzle,), board = port(fakes, initialised=False)
    nozzle.sell(100)
    reply = board.receive(octets(INFO))
    assert len(reply) == 16
    assert reply[4] == 0
    assert reply[5:15] == b"1234567890"
    assert board.receive(octets("BB 05 FF 86 01 01 79")) == taxport.nothing(0x86)


@pytest.mark.parametrize(
    ("board", "guns", "first"),
    [(Board.YTSF, 1, b"0"), (Board.YTSF, 2, b"1"), (Board.KTK, 1, b"A"), (Board.KTK, 2, b"K"), (None, 2, b"1")],
)
def test_the_serial_tells_the_board(fakes: ModuleType, board: Board | None, guns: int, first: bytes) -> None:
    _, made = port(fakes, guns, board=board)
    assert made.receive(octets(INFO))[5:6] == first


def test_a_ktk_board_has_its_own_ways(fakes: ModuleType) -> None:
    (nozzle,), board = port(fakes, board=Board.KTK)
    sold(nozzle, 2550, 20120)
    reply = board.receive(octets("BB 05 FF 86 01 01 79"))
    assert len(reply) == 30
    assert reply[5:27] == octets(SALE)[5:27]
    quiet = octets("BB 0D FF 87 01 32 30 32 34 30 36 30 31 01 7B")
    assert board.receive(quiet)[5:-1] == b"20240601" + b"0" * 16 + b"0789"
    _, ytsf = port(fakes, board=Board.YTSF)
    assert ytsf.receive(quiet) == octets("BB 04 FF 87 00 78")


def test_only_what_tax_control_recorded_is_told(fakes: ModuleType) -> None:
    (nozzle,), board = port(fakes)
    assert board.receive(octets("BB 05 FF 86 01 01 79")) == taxport.nothing(0x86)
    sold(nozzle, 2550, 20120)
    sold(nozzle, 9999, 78892)
    unrecorded = nozzle.sales[2]
    nozzle.sales[2] = type(unrecorded)(
        **{name: getattr(unrecorded, name) for name in unrecorded.__slots__} | {"tax_volume": 0, "tax_amount": 0}
    )
    assert board.receive(octets("BB 05 FF 86 01 01 79")) == octets(SALE)


def test_the_time_of_a_sale_is_the_devices_wall_clock(fakes: ModuleType) -> None:
    made = fakes.nozzles(1)
    dispenser = fakes.FakeDispenser(made)
    board = TaxPort([dispenser])
    made[0].sell(100)
    dispenser.local_time += timedelta(hours=30)
    assert board.receive(octets("BB 05 FF 86 01 01 79"))[5:11] == b"011230"
    assert board.receive(octets(INFO))[37 + 9 : 37 + 21] == f"{dispenser.local_time:%Y%m%d%H%M}".encode()


@pytest.mark.parametrize("date", [b"20241301", b"2024 601", b"20240230", b"\xff" * 8])
def test_a_day_that_never_was_has_no_data(fakes: ModuleType, date: bytes) -> None:
    _, board = port(fakes, board=Board.KTK)
    assert board.receive(taxport.frame(0xFF, 0x87, b"\x01" + date + b"\x01")) == taxport.nothing(0x87)


def test_unknown_guns_modes_and_commands(fakes: ModuleType) -> None:
    (nozzle,), board = port(fakes)
    nozzle.sell(100)
    assert board.receive(taxport.frame(0xFF, 0x86, b"\x02\x01")) == taxport.nothing(0x86)
    assert board.receive(taxport.frame(0xFF, 0x86, b"\x01\x02")) == taxport.nothing(0x86), "ciphertext is not known"
    assert board.receive(taxport.frame(0xFF, 0x83, b"\x07")) == taxport.nothing(0x83)
    assert board.receive(taxport.frame(0xFF, 0x90, b"\x01\x01")) == b""
    assert board.receive(taxport.frame(0xFF, 0x86, b"\x01")) == b""


def test_a_wrong_check_byte_is_met_with_silence(fakes: ModuleType) -> None:
    _, board = port(fakes)
    assert board.receive(octets("BB 04 FF 83 00 7D")) == b""
    assert len(board.receive(octets(INFO))) == 59


@given(st.binary(max_size=200))
def test_noise_never_stops_the_port(fakes: ModuleType, noise: bytes) -> None:
    made = fakes.nozzles(1)
    board = TaxPort([fakes.FakeDispenser(made)])
    board.receive(noise)
    assert len(board._rest) <= 70
    board.pause()
    assert len(board.receive(octets(INFO))) == 59


@given(st.sampled_from([0x83, 0x86, 0x87, 0x88, 0x89, 0x90]), st.binary(max_size=12))
def test_any_question_is_survived(fakes: ModuleType, command: int, content: bytes) -> None:
    made, board = port(fakes, 2)
    made[0].sell(100)
    reply = board.receive(taxport.frame(0xFF, command, content))
    assert reply == b"" or reply[3] == command


def test_a_frame_behind_half_a_frame_is_answered_after_a_pause(fakes: ModuleType) -> None:
    _, board = port(fakes)
    assert board.receive(octets("BB 30") + octets(INFO)) == b""
    assert len(board.pause()) == 59
    assert board.pause() == b""


def test_split_and_joined_frames(fakes: ModuleType) -> None:
    stream = b"\xbb\x00" + octets(INFO) + octets("BB 06 FF 89 01 00 01 76")
    _, whole = port(fakes)
    _, split = port(fakes)
    answer = whole.receive(stream)
    assert len(answer) == 59 + 30
    assert fakes.in_pieces(stream, split.receive) == answer


@given(st.integers(2000, 2099), st.integers(1, 12))
def test_any_month_is_given_back(fakes: ModuleType, year: int, month: int) -> None:
    _, board = port(fakes)
    asked = f"{year}{month:02d}".encode()
    reply = board.receive(taxport.frame(0xFF, 0x88, b"\x01" + asked + b"\x01"))
    assert reply[5:11] == asked
