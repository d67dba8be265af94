"""Lanfeng: known vectors, states, totals, noise, a whole conversation."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch_sim.wire import lanfeng
from pumpwatch_sim.wire.lanfeng import LanfengController, LanfengGuns

VECTORS = {0xB8: 0x48, 0xA0: 0x60, 0xA1: 0x5F, 0xB1: 0x4F, 0xAC: 0x54, 0xAD: 0x53}
STATE = lanfeng.request(1, 0xB8)


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def line(fakes: ModuleType, count: int = 1, **kwargs: object) -> tuple[list, LanfengGuns]:
    made = fakes.nozzles(count)
    return made, LanfengGuns([fakes.FakeDispenser(made)], **kwargs)


@pytest.mark.parametrize(("command", "check"), VECTORS.items())
def test_requests_of_the_vendor_sheet(fakes: ModuleType, command: int, check: int) -> None:
    vector = bytes((1, 0, command, 0, 0, 0, 0, 0, 0, 0, 0, check))
    assert lanfeng.request(1, command) == vector
    _, guns = line(fakes)
    reply = guns.receive(vector)
    assert len(reply) == 12
    assert reply[0] == 1
    assert sum(reply[1:]) % 256 == 0, "the gun is outside the check sum"


def test_the_state_follows_the_nozzle(fakes: ModuleType) -> None:
    (nozzle,), guns = line(fakes)
    assert guns.receive(STATE)[1:11] == octets("00 07 89 00 00 00 00 00 00 41")
    nozzle.lift()
    assert guns.receive(STATE)[10] == 0xC1
    nozzle.fuel(2550)
    assert guns.receive(STATE)[1:11] == octets("00 07 89 02 01 20 00 25 50 C2")
    nozzle.stop()
    assert guns.receive(STATE)[10] == 0xC2
    nozzle.hang()
    assert guns.receive(STATE)[1:11] == octets("00 07 89 02 01 20 00 25 50 41")


def test_control_is_taken_and_released(fakes: ModuleType) -> None:
    _, guns = line(fakes, controlled=False)
    assert guns.receive(STATE)[10] == 0x01
    assert guns.receive(lanfeng.request(1, 0xA0))[10] == 0x41
    assert guns.receive(lanfeng.request(1, 0xB0))[10] == 0x01


def test_totals_have_six_bytes(fakes: ModuleType) -> None:
    (nozzle,), guns = line(fakes)
    nozzle.totalizer, nozzle.totalizer_amount = 123456789, 987654321
    assert guns.receive(lanfeng.request(1, 0xAD))[5:11] == octets("00 01 23 45 67 89")
    assert guns.receive(lanfeng.request(1, 0xAC))[5:11] == octets("00 09 87 65 43 21")


def test_orders_change_nothing(fakes: ModuleType) -> None:
    (nozzle,), guns = line(fakes)
    for command in (0xA1, 0xA2, 0xA3, 0xA4, 0xA6, 0xA8, 0xA9, 0xB1):
        reply = guns.receive(lanfeng.request(1, command, b"\x09\x99"))
        assert reply == guns.receive(STATE)
    assert nozzle.price == 789
    assert guns.receive(lanfeng.request(1, 0x77)) == b""
    assert guns.receive(lanfeng.request(2, 0xB8)) == b""


def test_guns_count_over_dispensers(fakes: ModuleType) -> None:
    dispensers = [fakes.FakeDispenser(fakes.nozzles(2), "S01-D1"), fakes.FakeDispenser(fakes.nozzles(2), "S01-D2", 2)]
    guns = LanfengGuns(dispensers)
    assert guns.devices == {"S01-D1": 1, "S01-D2": 3}
    dispensers[1].nozzles[1].lift()
    assert [guns.receive(lanfeng.request(gun, 0xB8))[10] for gun in (1, 2, 3, 4)] == [0x41, 0x41, 0x41, 0xC1]


def test_a_wrong_check_byte_is_met_with_silence(fakes: ModuleType) -> None:
    _, guns = line(fakes)
    assert guns.receive(STATE[:-1] + b"\x00") == b""
    assert guns.receive(STATE)[:1] == b"\x01"


@given(st.binary(max_size=100))
def test_a_frame_is_found_behind_noise(fakes: ModuleType, noise: bytes) -> None:
    _, guns = line(fakes)
    guns.receive(noise)
    assert len(guns._framer._rest) < 12
    guns.pause()
    assert guns.receive(STATE)[10] in {0x41, 0x01}
    controller = LanfengController([fakes.FakeDispenser(fakes.nozzles(2))])
    controller.turn()
    controller.receive(noise)
    assert len(controller.turn()) == 12


@given(st.binary(min_size=9, max_size=9))
def test_any_command_is_survived(fakes: ModuleType, content: bytes) -> None:
    (nozzle,), guns = line(fakes)
    assert len(guns.receive(lanfeng.frame(1, b"\0" + content))) in {0, 12}
    guns.receive(lanfeng.frame(1, content))
    assert nozzle.price == 789


def test_split_and_joined_frames(fakes: ModuleType) -> None:
    stream = b"\x05\x01\x00" + STATE + lanfeng.request(2, 0xAD) + STATE
    _, whole = line(fakes, 2)
    _, split = line(fakes, 2)
    answer = whole.receive(stream)
    assert len(answer) == 36
    assert fakes.in_pieces(stream, split.receive) == answer


def test_a_tap_hears_a_whole_filling(fakes: ModuleType) -> None:
    made = fakes.nozzles(2)
    dispensers = [fakes.FakeDispenser(made)]
    controller, guns = LanfengController(dispensers), LanfengGuns(dispensers, controlled=False)

    def converse(turns: int) -> list[tuple[int, int]]:
        """Gun and command of each request; every request is answered."""
        heard = []
        for _ in range(turns):
            asked = controller.turn()
            answered = guns.receive(asked)
            assert len(answered) == 12
            controller.receive(answered)
            heard.append((asked[0], asked[2]))
        return heard

    assert converse(6) == [(1, 0xA0), (1, 0xAC), (1, 0xAD), (2, 0xA0), (2, 0xAC), (2, 0xAD)]
    assert converse(4) == [(1, 0xB8), (2, 0xB8)] * 2
    made[1].lift()
    assert converse(5) == [(1, 0xB8), (2, 0xB8), (2, 0xA4), (2, 0xA1), (1, 0xB8)]
    made[1].fuel(1000)
    assert converse(2) == [(2, 0xB8), (1, 0xB8)]
    made[1].hang()
    assert converse(4) == [(2, 0xB8), (2, 0xAC), (2, 0xAD), (1, 0xB8)]
