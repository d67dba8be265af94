"""Gilbarco Two-Wire: known vectors, the life of a pump, echo, noise, a whole conversation."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.model import NozzleState
from pumpwatch_sim.wire import twowire
from pumpwatch_sim.wire.twowire import Settings, TwoWireController, TwoWirePumps

SALE = "FF F1 F8 EB E0 E0 E0 E1 F6 E0 F4 F7 E9 E8 E7 E0 F9 E0 E0 E5 E5 E2 E0 FA E0 E2 E1 E0 E2 E0 FB E4 F0"
QUERY = "FF E9 FE E0 E1 E0 FB EE F0"


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def loop(fakes: ModuleType, count: int = 1, **kwargs: object) -> tuple[list, TwoWirePumps]:
    made = fakes.nozzles(count)
    return made, TwoWirePumps([fakes.FakeDispenser(made)], **kwargs)


def status(pumps: TwoWirePumps, pump: int = 1) -> int:
    (answer,) = pumps.receive(bytes((pump & 0x0F,)))
    assert answer & 0x0F == pump & 0x0F
    return answer >> 4


def test_the_sale_of_the_vector() -> None:
    assert twowire.transaction(1, 0, 789, 25500, 20120) == octets(SALE)
    assert twowire.intact(octets(SALE))


def test_the_nozzle_query_of_the_vector() -> None:
    assert octets(QUERY) == twowire.NOZZLE_QUERY
    assert twowire.lrc(octets("FF E9 FE E0 E1 E0 FB")) == 0xEE


def test_where_the_fields_stand() -> None:
    block = twowire.transaction(16, 3, 1234, 654321, 987654)
    assert len(block) == 33
    assert block[4] == 0xEF
    assert block[9] == 0xE3
    assert block[12:16] == octets("E4 E3 E2 E1")
    assert block[17:23] == octets("E1 E2 E3 E4 E5 E6")
    assert block[24:30] == octets("E4 E5 E6 E7 E8 E9")
    assert len(twowire.transaction(1, 0, 789, 25500, 20120, digits=5)) == 31


def test_totals_are_30_bytes_a_grade() -> None:
    block = twowire.totals([(12345678, 87654321, 789), (1, 2, 3), (4, 5, 6)])
    assert len(block) == 94
    assert block[:5] == octets("FF F6 E0 F9 E8")
    assert block[4:12] == octets("E8 E7 E6 E5 E4 E3 E2 E1")
    assert block[13:21] == octets("E1 E2 E3 E4 E5 E6 E7 E8")
    assert block[22:26] == block[27:31] == octets("E9 E8 E7 E0")
    assert block[31:34] == octets("F6 E1 F9")
    assert twowire.intact(block)


def test_a_price_block_is_13_bytes() -> None:
    block = twowire.price_block(1, 789)
    assert block[:10] == octets("FF E5 F4 F6 E1 F7 E9 E8 E7 E0")
    assert len(block) == 13
    assert twowire.intact(block)


def test_the_sale_comes_from_a_pump(fakes: ModuleType) -> None:
    (nozzle,), pumps = loop(fakes)
    nozzle.lift()
    nozzle.fuel(2550)
    nozzle.amount = 20120
    nozzle.hang()
    assert pumps.receive(b"\x41") == octets(SALE)


def test_the_life_of_a_pump(fakes: ModuleType) -> None:
    (nozzle,), pumps = loop(fakes)
    assert status(pumps) == 6
    nozzle.lift()
    assert status(pumps) == 7
    assert pumps.receive(b"\x21") == b"\xd1"
    reply = pumps.receive(octets(QUERY))
    assert len(reply) == 19
    assert reply[:9] == octets("BA B0 B3 B1 B0 B1 B0 B0 B0")
    assert reply[14] == 0xB1
    assert pumps.receive(b"\x21") == b"\xd1"
    assert pumps.receive(twowire.price_block(0, 789)) == b""
    assert pumps.receive(b"\x11") == b""
    assert status(pumps) == 8
    nozzle.fuel(100)
    assert status(pumps) == 9
    assert pumps.receive(b"\x61") == octets("E9 E8 E7 E0 E0 E0")
    nozzle.hang()
    assert status(pumps) == 0xB
    assert status(pumps) == 0xB
    assert len(pumps.receive(b"\x41")) == 33
    assert status(pumps) == 6
    totals = pumps.receive(b"\x51")
    assert totals[4:12] == twowire.words(100, 8)
    assert totals[13:21] == twowire.words(789, 8)


def test_a_preset_ends_differently(fakes: ModuleType) -> None:
    (nozzle,), pumps = loop(fakes)
    nozzle.lift()
    nozzle.fuel(2000)
    status(pumps)
    nozzle.stop(preset=fakes.Preset.LITRES)
    assert status(pumps) == 0xA
    nozzle.hang()
    assert status(pumps) == 0xA
    nozzle.lift()
    assert status(pumps) == 7


def test_a_preset_read_before_the_nozzle_is_hung_up_needs_no_second_reading(fakes: ModuleType) -> None:
    (nozzle,), pumps = loop(fakes)
    controller = TwoWireController([fakes.FakeDispenser([nozzle])])
    conversation(controller, pumps, 4)
    nozzle.lift()
    nozzle.fuel(2000)
    conversation(controller, pumps, 2)
    nozzle.stop(preset=fakes.Preset.LITRES)
    waiting = conversation(controller, pumps, 20)
    assert [asked for asked, _ in waiting].count(b"\x41") == 1
    assert waiting[-1] == (b"\x01", b"\xa1")
    nozzle.hang()
    assert set(conversation(controller, pumps, 6)) == {(b"\x01", b"\x61")}


def test_stopping(fakes: ModuleType) -> None:
    (nozzle,), pumps = loop(fakes)
    nozzle.lift()
    pumps.receive(b"\x31")
    assert status(pumps) == 7, "in 7 it changes nothing"
    pumps.receive(b"\x11")
    assert status(pumps) == 8
    pumps.receive(b"\xfc")
    assert status(pumps) == 6
    nozzle.hang()
    assert status(pumps) == 6
    nozzle.lift()
    assert status(pumps) == 7
    nozzle.state = NozzleState.LOCKED
    assert status(pumps) == 0xC


def test_a_damaged_block_is_a_data_error_once(fakes: ModuleType) -> None:
    (nozzle,), pumps = loop(fakes)
    nozzle.lift()
    pumps.receive(b"\x21")
    assert pumps.receive(octets("FF E9 FE E0 E1 E0 FB ED F0")) == b""
    assert status(pumps) == 0
    assert status(pumps) == 7


def test_digits_and_decimals(fakes: ModuleType) -> None:
    settings = Settings(digits=5, volume_decimals=2, money_decimals=1, price_decimals=1, totals=1)
    (nozzle,), pumps = loop(fakes, settings=settings)
    nozzle.sell(2550)
    assert pumps.receive(b"\x61") == twowire.words(2012, 5)
    sale = pumps.receive(b"\x41")
    assert sale[12:16] == twowire.words(78, 4)
    assert sale[17:22] == twowire.words(2550, 5)
    assert sale[23:28] == twowire.words(2012, 5)
    nozzle.totalizer = 1234567
    nozzle.lift()
    assert pumps.receive(b"\x51")[4:12] == twowire.words(123456, 8)
    pumps.receive(b"\x21")
    assert pumps.receive(octets(QUERY))[9:14] == octets("B1 B7 B0 B0 B0")


def test_sixteen_pumps_and_no_more(fakes: ModuleType) -> None:
    dispensers = [fakes.FakeDispenser(fakes.nozzles(4), f"S01-D{n}", n) for n in range(1, 5)]
    pumps = TwoWirePumps(dispensers)
    assert pumps.receive(b"\x00") == b"\x60"
    assert pumps.devices == {"S01-D1": 1, "S01-D2": 5, "S01-D3": 9, "S01-D4": 13}
    assert pumps.receive(b"\x40")[4] == 0xEF
    dispensers[3].nozzles[3].lift()
    assert pumps.receive(b"\x00") == b"\x70"
    pumps.receive(b"\x20")
    assert pumps.receive(octets(QUERY))[3] == 0xC7
    five = [*dispensers, fakes.FakeDispenser(fakes.nozzles(4), "S01-D5", 5)]
    with pytest.raises(ValueError, match="20 fuelling sides"):
        TwoWirePumps(five)
    assert TwoWirePumps(five, nozzles_per_side=2).devices["S01-D5"] == 9


def test_nobody_answers_for_a_pump_that_is_not_there(fakes: ModuleType) -> None:
    _, pumps = loop(fakes, 2)
    assert pumps.receive(b"\x03\x43\x53\x63\x23\x00") == b""


def test_the_loop_may_echo(fakes: ModuleType) -> None:
    (nozzle,), pumps = loop(fakes, echo=True)
    assert pumps.receive(b"\x01") == b"\x01\x61"
    nozzle.lift()
    assert pumps.receive(b"\x21") == b"\x21\xd1"
    answer = pumps.receive(octets(QUERY))
    assert answer[:9] == octets(QUERY)
    assert len(answer) == 28, "as the driver of the public source expects"
    assert answer[23] == 0xB1


def test_nozzles_of_one_side_share_its_display(fakes: ModuleType) -> None:
    (first, second), pumps = loop(fakes, 2, nozzles_per_side=2)
    second.lift()
    assert status(pumps) == 7
    second.fuel(500)
    assert status(pumps) == 9
    first.sell(300)
    second.hang()
    assert status(pumps) == 0xB
    assert pumps.receive(b"\x41")[9] == 0xE1
    assert status(pumps) == 0xB, "the other one's filling has not been read either"
    assert pumps.receive(b"\x41")[9] == 0xE0
    assert status(pumps) == 6


def test_split_and_joined_bytes(fakes: ModuleType) -> None:
    stream = b"\x01\x21" + octets(QUERY) + b"\x41\x51"
    (one,), whole = loop(fakes)
    (other,), split = loop(fakes)
    one.lift()
    other.lift()
    assert whole.receive(stream) == fakes.in_pieces(stream, split.receive)


@given(st.binary(max_size=300))
def test_noise_never_stops_the_loop(fakes: ModuleType, noise: bytes) -> None:
    made = fakes.nozzles(3)
    dispensers = [fakes.FakeDispenser(made)]
    pumps, controller = TwoWirePumps(dispensers), TwoWireController(dispensers)
    pumps.receive(noise)
    assert len(pumps._block) < 64
    for _ in range(6):
        controller.turn()
        controller.receive(noise)
    assert controller.turn()
    pumps.pause()
    made[0].lift()
    assert status(pumps) in {0, 7, 8}
    assert status(pumps) in {7, 8}


@given(st.integers(0, 10**9), st.integers(1, 8))
def test_words_are_read_again(number: int, digits: int) -> None:
    text = "".join(str(word & 0x0F) for word in reversed(twowire.words(number, digits)))
    assert int(text) == number % 10**digits


def conversation(controller: TwoWireController, pumps: TwoWirePumps, turns: int) -> list[tuple[bytes, bytes]]:
    heard = []
    for _ in range(turns):
        asked = controller.turn()
        answered = pumps.receive(asked)
        controller.receive(answered)
        heard.append((asked, answered))
    return heard


@pytest.mark.parametrize("echo", [False, True])
def test_a_tap_hears_a_whole_filling(fakes: ModuleType, echo: bool) -> None:
    made = fakes.nozzles(2)
    dispensers = [fakes.FakeDispenser(made)]
    controller, pumps = TwoWireController(dispensers), TwoWirePumps(dispensers, echo=echo)
    assert [asked for asked, _ in conversation(controller, pumps, 6)] == [
        b"\x01",
        b"\x51",
        b"\x02",
        b"\x52",
        b"\x01",
        b"\x02",
    ]
    made[1].lift()
    lifted = [asked for asked, _ in conversation(controller, pumps, 8)]
    assert lifted == [
        b"\x01",
        b"\x02",
        b"\x22",
        octets(QUERY),
        b"\x22",
        twowire.price_block(0, 789),
        b"\x12",
        b"\x01",
    ]
    assert conversation(controller, pumps, 1)[0][1][-1:] == b"\x82"
    money = []
    for volume in range(100, 2600, 100):
        made[1].fuel(volume)
        money += [answered[-6:] for asked, answered in conversation(controller, pumps, 3) if asked == b"\x62"]
    assert len(money) == 25
    made[1].hang()
    heard = conversation(controller, pumps, 6)
    answers = dict(heard)
    assert answers[b"\x42"][-33:] == twowire.transaction(2, 0, 789, 25000, 19725)
    assert answers[b"\x52"][-34:] == twowire.totals([(2500, 19725, 789)])
    assert [asked for asked, _ in conversation(controller, pumps, 2)] in ([b"\x01", b"\x02"], [b"\x02", b"\x01"])


@given(st.lists(st.booleans(), min_size=20, max_size=80))
def test_the_conversation_survives_lost_answers(fakes: ModuleType, kept: list[bool]) -> None:
    made = fakes.nozzles(2)
    dispensers = [fakes.FakeDispenser(made)]
    controller, pumps = TwoWireController(dispensers), TwoWirePumps(dispensers)
    made[0].lift()
    for keep in kept:
        answered = pumps.receive(controller.turn())
        if keep:
            controller.receive(answered)
    made[0].fuel(100)
    made[0].hang()
    heard = dict(conversation(controller, pumps, 20))
    assert heard[b"\x51"] == twowire.totals([(100, 789, 789)])
