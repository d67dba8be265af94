"""IFSF over TCP/IP: a known answer, data bases field by field, writes, damage."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.model import NozzleState
from pumpwatch_sim.wire import ifsf
from pumpwatch_sim.wire.ifsf import Framer, IfsfDispensers, IfsfGauge, Message

EXAMPLE = "02 01 01 02 00 29 00 05 01 21 14 01 03"
HOST = (2, 1)


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def asked(address: str, ids: list[int], node: int = 2, subnet: int = 1) -> bytes:
    return Message((subnet, node), HOST, ifsf.READ, 9, octets(address), bytes(ids)).encoded()


def fields(content: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(content):
        size = content[at + 1]
        found[content[at]] = content[at + 2 : at + 2 + size]
        at += 2 + size
    return found


def read(device: object, address: str, ids: list[int], node: int = 2, subnet: int = 1) -> dict[int, bytes]:
    (message,) = Framer().feed(device.receive(asked(address, ids, node, subnet)))
    assert (message.receiver, message.sender) == (HOST, (subnet, node))
    assert (message.kind, message.token, message.address) == (ifsf.ANSWER, 9, octets(address))
    return fields(message.content)


def island(fakes: ModuleType, count: int = 2) -> tuple[list, IfsfDispensers]:
    made = fakes.nozzles(count)
    return made, IfsfDispensers([fakes.FakeDispenser(made, unit=2)])


def test_the_example_is_the_answer_of_an_idle_point(fakes: ModuleType) -> None:
    _, device = island(fakes)
    assert device.receive(octets("01 02 02 01 00 09 00 03 01 21 14")) == octets(EXAMPLE)
    (message,) = Framer().feed(octets(EXAMPLE))
    assert (message.kind, message.token, message.address, message.content) == (1, 9, b"\x21", octets("14 01 03"))
    assert message.encoded() == octets(EXAMPLE)


def test_numbers() -> None:
    assert ifsf.number8(20120) == octets("06 00 02 01 20")
    assert ifsf.price6(789) == octets("04 00 07 89")
    assert ifsf.total12(123456789012) == octets("0A 12 34 56 78 90 12")


def test_the_calculator_tells_who_it_is(fakes: ModuleType) -> None:
    _, device = island(fakes)
    said = read(device, "01", [53, 54, 55, 56, 57, 59, 60, 61, 80, 81, 4, 5, 26])
    assert said[53] == b"DEMO123456  "
    assert said[54] == b"4.2.1       "
    assert said[55] == b"4.2.1 "
    assert said[56] == said[59] == octets("20 24 05 01")
    assert said[61] == octets("C0 FF EE 11")
    assert said[80] == octets("10 21")
    assert (said[4], said[5]) == (b"\x02", b"\x02")
    assert {number: len(data) for number, data in said.items()} == {
        53: 12, 54: 12, 55: 6, 56: 4, 57: 1, 59: 4, 60: 7, 61: 4, 80: 2, 81: 2, 4: 1, 5: 1, 26: 1,
    }  # fmt: skip


def test_a_changed_identity_shows_with_its_day(fakes: ModuleType) -> None:
    dispenser = fakes.FakeDispenser(fakes.nozzles(1), unit=2)
    device = IfsfDispensers([dispenser])
    dispenser.identity = replace(dispenser.identity, firmware_digest="ab" * 32)
    dispenser.identity_changes += 1
    said = read(device, "01", [59, 61])
    assert said == {59: octets("20 24 06 01"), 61: octets("AB AB AB AB")}


def test_a_fuelling_point_follows_its_nozzle(fakes: ModuleType) -> None:
    (_, nozzle), device = island(fakes)
    states = []
    for act in (nozzle.lift, lambda: nozzle.fuel(2550), nozzle.stop, nozzle.hang):
        act()
        said = read(device, "22", [20, 21, 34, 35, 36, 37])
        states.append((said[20][0], said[21][0], said[35].hex()))
    nozzle.state = NozzleState.LOCKED
    states.append((read(device, "22", [20])[20][0], 0, ""))
    assert states == [
        (4, 1, "0600000000"),
        (8, 1, "0600002550"),
        (8, 1, "0600002550"),
        (3, 0, "0600002550"),
        (1, 0, ""),
    ]
    assert said[34] == octets("06 00 02 01 20")
    assert said[36] == octets("04 00 07 89")
    assert read(device, "21", [20]) == {20: b"\x03"}, "the other nozzle is another point"


def test_meters_and_logical_nozzles_have_totals(fakes: ModuleType) -> None:
    (_, nozzle), device = island(fakes)
    nozzle.totalizer, nozzle.totalizer_amount, nozzle.sequence = 123456789, 974073999, 4321
    assert read(device, "82", [2, 3, 20]) == {2: b"\x64", 3: octets("27 10"), 20: octets("0A 00 01 23 45 67 89")}
    said = read(device, "22 11", [20, 21, 22])
    assert said == {
        20: octets("0A 00 01 23 45 67 89"),
        21: octets("0A 00 09 74 07 39 99"),
        22: octets("0A 00 00 00 43 21 00"),
    }


def test_a_transaction_with_its_security_checksum(fakes: ModuleType) -> None:
    (nozzle, _), device = island(fakes)
    nozzle.totalizer = 1000
    nozzle.sell(2550)
    nozzle.sell(1000)
    said = read(device, "21 21 00 01", [1, 5, 6, 7, 8, 10, 14, 21, 202, 203, 204, 205])
    assert said[1] == octets("00 01")
    assert said[5] == octets("06 00 02 01 20")
    assert said[6] == octets("06 00 00 25 50")
    assert said[7] == octets("04 00 07 89")
    assert said[10] == octets("00 00 00 92")
    assert said[202] == octets("20 24 06 01")
    assert said[203] == octets("12 30 00")
    assert said[204] == octets("0A 00 00 00 00 10 00")
    assert said[205] == octets("0A 00 00 00 00 35 50")
    assert said[21] == b"\x01"
    assert read(device, "21 21 00 02", [21])[21] == b"\x02"
    plain = octets("21 00 01 06 00 02 01 20 06 00 00 25 50")
    assert said[14].hex() == f"{ifsf.checksum(0x1021, 0, plain):06x}"
    assert read(device, "21 21 00 09", [5]) == {5: b""}, "no such transaction"


def test_after_transaction_9999_comes_1(fakes: ModuleType) -> None:
    (nozzle, _), device = island(fakes)
    assert read(device, "21", [29])[29] == octets("00 00")
    nozzle.sequence = 9_997
    numbers = []
    for _ in range(4):
        nozzle.sell(100)
        numbers.append(read(device, "21", [29, 41])[29].hex())
        assert read(device, f"21 21 {numbers[-1]}", [1])[1].hex() == numbers[-1]
    assert numbers == ["9998", "9999", "0001", "0002"]


def test_the_checksum_is_a_crc_of_polynomial_and_seed() -> None:
    assert ifsf.checksum(0x1021, 0, b"123456789") == 0x31C3
    assert ifsf.checksum(0x1021, 0xFFFF, b"123456789") == 0x29B1
    assert ifsf.checksum(0x8005, 0, b"123456789") == 0xFEE8


def test_what_is_not_there_has_length_0(fakes: ModuleType) -> None:
    _, device = island(fakes)
    assert read(device, "21", [99, 20]) == {99: b"", 20: b"\x03"}
    assert read(device, "24", [20]) == {20: b""}
    assert read(device, "8F", [20]) == {20: b""}
    assert read(device, "41", [2]) == {2: b""}
    assert read(device, "21", []) == {}


def test_writes_are_acknowledged_and_change_nothing(fakes: ModuleType) -> None:
    (nozzle, _), device = island(fakes)
    order = Message((1, 2), HOST, ifsf.WRITE, 3, b"\x21", octets("3E 00"))
    (back,) = Framer().feed(device.receive(order.encoded()))
    assert (back.kind, back.token, back.address, back.content) == (7, 3, b"\x21", octets("00 3E 00"))
    forged = Message((1, 2), HOST, ifsf.WRITE, 3, b"\x21\x11", octets("14 07 0A 00 00 00 00 00 01"))
    (back,) = Framer().feed(device.receive(forged.encoded()))
    assert back.content == octets("05 14 02")
    assert nozzle.totalizer == 0
    for kind in (ifsf.ANSWER, ifsf.UNSOLICITED, ifsf.ACKNOWLEDGE):
        assert device.receive(Message((1, 2), HOST, kind, 1, b"\x21", b"\x14").encoded()) == b""


def test_messages_for_others_are_not_answered(fakes: ModuleType) -> None:
    _, device = island(fakes)
    assert device.receive(asked("21", [20], node=3)) == b""
    assert device.receive(asked("21", [20], subnet=9)) == b""


def test_more_than_four_nozzles_do_not_fit(fakes: ModuleType) -> None:
    with pytest.raises(ValueError, match="four fuelling points"):
        IfsfDispensers([fakes.FakeDispenser(fakes.nozzles(5))])


def test_a_tank_gauge(fakes: ModuleType) -> None:
    cold = replace(fakes.LOOK, temperature_c=-7.25, density_kg_m3=float("nan"))
    station = fakes.FakeStation(tanks=[fakes.FakeTank(), fakes.FakeTank("S01-T2", 2, reading=cold)])
    gauge = IfsfGauge(station)
    assert gauge.devices == {"S01-T1": 0x21, "S01-T2": 0x22}
    ids = [0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x0A, 0x0B]
    assert read(gauge, "21", ids, 1, 9) == {
        0x20: b"\x02",
        0x21: b"\0\0",
        0x40: octets("01 23 45 00"),
        0x41: octets("0A 00 00 01 50 00 25"),
        0x42: octets("0A 00 00 01 49 50 50"),
        0x43: octets("02 18 25"),
        0x44: octets("00 01 23 00"),
        0x45: (742).to_bytes(2, "big"),
        0x46: octets("20 24 06 01"),
        0x47: octets("12 30 00"),
        0x0A: octets("02 50 00 00"),
        0x0B: octets("0A 00 00 03 00 00 00"),
    }
    assert read(gauge, "22", [0x43, 0x45], 1, 9) == {0x43: octets("82 07 25"), 0x45: b""}
    everyone = Framer().feed(gauge.receive(asked("20", [0x40], 1, 9)))
    assert [message.address for message in everyone] == [b"\x21", b"\x22"]


@given(st.binary(max_size=300))
def test_noise_is_survived(fakes: ModuleType, noise: bytes) -> None:
    made = fakes.nozzles(4)
    made[0].sell(100)
    device = IfsfDispensers([fakes.FakeDispenser(made, unit=2)])
    gauge = IfsfGauge(fakes.FakeStation(tanks=[fakes.FakeTank()]))
    device.receive(noise)
    gauge.receive(noise)
    assert len(device._framer._rest) <= 8 + 1024
    device.pause()
    assert read(device, "21", [20]) == {20: b"\x03"}


@given(st.binary(min_size=1, max_size=6), st.binary(max_size=20), st.integers(0, 7))
def test_any_address_and_content_is_survived(fakes: ModuleType, address: bytes, content: bytes, kind: int) -> None:
    made = fakes.nozzles(4)
    made[0].sell(100)
    device = IfsfDispensers([fakes.FakeDispenser(made, unit=2)])
    gauge = IfsfGauge(fakes.FakeStation(tanks=[fakes.FakeTank()]), node=2)
    for subnet, peer in ((1, device), (9, gauge)):
        back = peer.receive(Message((subnet, 2), HOST, kind, 5, address, content).encoded())
        assert bool(back) == (kind in {ifsf.READ, ifsf.WRITE, ifsf.UNSOLICITED_TO_ACK})
        assert all(message.token == 5 for message in Framer().feed(back))


def test_split_and_joined_messages(fakes: ModuleType) -> None:
    stream = b"\xff\xff" + asked("21", [20]) + asked("01", [53]) + asked("22 11", [20])
    _, whole = island(fakes)
    _, split = island(fakes)
    answer = whole.receive(stream)
    assert len(Framer().feed(answer)) == 3
    assert fakes.in_pieces(stream, split.receive) == answer
