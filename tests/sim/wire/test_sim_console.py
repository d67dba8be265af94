"""The console of a simulated station: every function, both formats, both systems of units, the security code."""

from __future__ import annotations

import struct
from datetime import timedelta
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch_sim.live.views import DropLook
from pumpwatch_sim.wire import tls350, tls350_display
from pumpwatch_sim.wire.console import FullConsole, LeakTest, StationConsole, Units
from pumpwatch_sim.wire.tls350 import Tls350

REAL_20C = (
    "i20C002609151558" + "".join(f"{tank:02d}000-001010800-0010108000A" + "0" * 80 for tank in (1, 2, 3)) + "&&BFA8"
)
"""A console of three tanks without any delivery (public source 68874032749)."""


def station(fakes: ModuleType) -> object:
    before = fakes.LOOK
    after = type(before)(2000.0, 25000.0, 24900.0, 5000.0, 12.5, 21.0, 19.5, 742.0)
    drop = DropLook(fakes.NOW - timedelta(hours=2), fakes.NOW - timedelta(hours=1, minutes=30), before, after)
    return fakes.FakeStation(
        tanks=[fakes.FakeTank(delivered=[drop]), fakes.FakeTank("S01-T2", 2, "0#", receiving=True)]
    )


def numbers(text: str) -> list[float]:
    return [round(struct.unpack(">f", bytes.fromhex(text[at : at + 8]))[0], 3) for at in range(0, len(text), 8)]


def said(reply: bytes, command: str) -> str:
    """The data of a computer-format reply whose checksum closes."""
    text = reply.decode("ascii")
    assert text.startswith(f"\x01{command}2406011230")
    assert text[-7:-5] == "&&"
    assert (sum(reply[:-5]) + int(text[-5:-1], 16)) % 0x10000 == 0
    assert text[-1] == "\x03"
    return text[17:-7]


def ask(fakes: ModuleType, command: str, units: Units = Units.METRIC) -> str:
    return said(tls350.answer(command, StationConsole(station(fakes), units)), command)


def test_it_is_a_full_console(fakes: ModuleType) -> None:
    assert isinstance(StationConsole(station(fakes)), FullConsole)


def test_inventory(fakes: ModuleType) -> None:
    text = ask(fakes, "i20101")
    assert text[:9] == "011000007"
    assert numbers(text[9:]) == [15000.25, 14950.5, 14999.75, 1234.5, 12.3, 18.25, 20.5]
    assert ask(fakes, "i20102")[:9] == "024000107"


def test_inventory_in_us_units(fakes: ModuleType) -> None:
    values = numbers(ask(fakes, "i20101", Units.US)[9:])
    assert values[0] == pytest.approx(15000.25 / 3.785411784, abs=0.01)
    assert values[1] == pytest.approx(14950.5 * (1 - 0.0012 * 4.44) / 3.785411784, abs=0.01)
    assert values[3] == pytest.approx(1234.5 / 25.4, abs=0.001)
    assert values[5] == pytest.approx(18.25 * 1.8 + 32, abs=0.001)


def test_deliveries_and_the_last_one(fakes: ModuleType) -> None:
    text = ask(fakes, "i20200")
    assert text[:27] == "0110124060110302406011100" + "0A"
    values = numbers(text[27:107])
    assert values == [15000.25, 14950.5, 12.3, 18.25, 25000.0, 24900.0, 12.5, 19.5, 1234.5, 2000.0]
    assert text[107:] == "02400"
    assert ask(fakes, "i20C01") == text[:107]
    assert ask(fakes, "i20C02") == "02400-001010800-0010108000A" + "0" * 80


def test_the_last_delivery_of_a_real_console(fakes: ModuleType) -> None:
    at = fakes.NOW.replace(year=2026, month=9, day=15, hour=15, minute=58)
    reply = tls350.i20c("00", at, [(tank, "0", []) for tank in (1, 2, 3)])
    assert reply == b"\x01" + REAL_20C.encode() + b"\x03"


def test_the_tank_chart(fakes: ModuleType) -> None:
    text = ask(fakes, "i21601")
    assert text[:3] == "011"
    assert numbers(text[3:27]) == [2500.0, 30000.0, 12.0]
    assert text[27:29] == "32", "fifty, hexadecimal"
    points = numbers(text[29:])
    assert len(points) == 150
    assert points[:6] == [50.0, 600.0, 12.0, 100.0, 1200.0, 12.0]
    assert points[-3:] == [2500.0, 30000.0, 12.0]


def test_set_up(fakes: ModuleType) -> None:
    assert ask(fakes, "i60200") == "01GASOLINE 92         02DIESEL 0            "
    assert ask(fakes, "i60300") == "011024"
    assert numbers(ask(fakes, "i60401")[2:]) == [30000.0]
    assert ask(fakes, "i50100") == ""
    assert ask(fakes, "i90200") == StationConsole.software


def test_alarms_follow_the_reading(fakes: ModuleType) -> None:
    made = station(fakes)
    first, second = made.tanks
    first.reading = type(first.reading)(2400.0, 29000.0, 28900.0, 1000.0, 90.0, 250.0, 18.0, 740.0)
    second.reading = type(first.reading)(100.0, 500.0, 499.0, 29500.0, 0.0, 0.0, 18.0, 840.0)
    console = StationConsole(made)
    assert said(tls350.answer("i20500", console), "i20500") == "01020304020105"
    assert said(tls350.answer("i10100", console), "i10100") == "020301020401020502"
    assert ask(fakes, "i10100") == "000000"


def test_leak_tests_and_alarm_history(fakes: ModuleType) -> None:
    assert ask(fakes, "i20600") == "01000200"
    assert ask(fakes, "i20300") == ""
    at = fakes.NOW
    assert (
        said(tls350.i206("01", at, [(1, [(at, 0x19), (at, 3)])]), "i20601") == "010224060112300019" + "24060112300003"
    )
    test = LeakTest(at, 2, 18.0, 18.5, 15000.0, -0.25, (14999.875, 14999.75))
    text = said(tls350.i203("01", at, [(1, "1", [test])]), "i20301")
    assert text[:17] == "01124060112300206"
    assert numbers(text[17:]) == [18.0, 18.5, 15000.0, -0.25, 14999.875, 14999.75]


def test_display_format(fakes: ModuleType) -> None:
    console = StationConsole(station(fakes))
    reply = tls350.answer("I20100", console).decode("ascii")
    assert reply.startswith("\x01\r\nI20100\r\nJUN  1, 2024 12:30 PM\r\n")
    assert reply.endswith("\r\n\x03")
    assert "&&" not in reply
    assert "  1  GASOLINE 92          15000     14950    15000  1234.50    12.30    18.25\r\n" in reply
    assert "\n" not in reply.replace("\r\n", "")


def test_the_consoles_way_to_write_a_moment(fakes: ModuleType) -> None:
    at = fakes.NOW.replace(year=1996, month=1, day=22)
    assert tls350_display.moment(at.replace(hour=15, minute=6)) == "JAN 22, 1996  3:06 PM"
    assert tls350_display.moment(at.replace(hour=0, minute=0)) == "JAN 22, 1996 12:00 AM"
    assert tls350_display.moment(at.replace(hour=12, minute=59)) == "JAN 22, 1996 12:59 PM"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("I10100", "ALL FUNCTIONS NORMAL"),
        ("I20200", "    START: JUN  1, 2024 10:30 AM"),
        ("I20C01", "   AMOUNT:"),
        ("I20300", "NO TEST DATA AVAILABLE"),
        ("I20500", "  2  DIESEL 0            NORMAL"),
        ("I20600", "TANK ALARM HISTORY"),
        ("I21601", "    100.00    1200.0"),
        ("I50100", "JUN  1, 2024 12:30 PM"),
        ("I60200", "  1  GASOLINE 92"),
        ("I60300", "DIESEL 0            4"),
        ("I60401", "  30000"),
        ("I90200", "CREATED - 26.01.15.09.30"),
    ],
)
def test_reports_for_people(fakes: ModuleType, command: str, words: str) -> None:
    reply = tls350.answer(command, StationConsole(station(fakes))).decode("ascii")
    assert reply.startswith(f"\x01\r\n{command}\r\n")
    assert words in reply


@pytest.mark.parametrize("command", ["I99900", "i99900", "S50100", "s60200", "I50101", "X20100", "I2010"])
def test_an_unknown_function_is_answered_9999(fakes: ModuleType, command: str) -> None:
    assert tls350.answer(command, StationConsole(station(fakes))) == b"\x019999FF1B\x03"


@given(st.sampled_from(["i", "I"]), st.integers(0, 0xFFF), st.integers(0, 99))
def test_any_function_is_survived(fakes: ModuleType, form: str, function: int, tank: int) -> None:
    reply = tls350.answer(f"{form}{function:03X}{tank:02d}", StationConsole(station(fakes)))
    assert reply[0] == 1
    assert reply[-1] == 3


def test_a_line_to_the_console(fakes: ModuleType) -> None:
    line = Tls350(StationConsole(station(fakes)))
    assert line.receive(b"\x01i20101\r\n").startswith(b"\x01i201012406011230")
    assert line.receive(b"\x01I201") == b""
    assert line.receive(b"01\r\n").startswith(b"\x01\r\nI20101\r\n")
    assert line.receive(b"\x01i2") == b""
    assert line.pause() == tls350.UNKNOWN
    assert line.pause() == b""


def test_a_wrong_security_code_is_met_with_silence(fakes: ModuleType) -> None:
    line = Tls350(StationConsole(station(fakes)), security="ABC123")
    assert line.receive(b"\x01i20100\r\n") + line.pause() == b""
    assert line.receive(b"\x01XYZ123i20100\r\n") + line.pause() == b""
    assert line.receive(b"\x01ABC123i20100\r\n").startswith(b"\x01i20100")
    assert line.receive(b"\x01ABC123i99900") == tls350.UNKNOWN


@given(st.binary(max_size=400))
def test_noise_never_stops_the_console(fakes: ModuleType, noise: bytes) -> None:
    line = Tls350(StationConsole(station(fakes)))
    line.receive(noise)
    line.pause()
    assert line.receive(b"\x01i10100").startswith(b"\x01i101002406011230")
