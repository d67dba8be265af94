"""Wayne DART: captured frames, the life of a pump, a damaged line, a whole conversation."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.model import NozzleState
from pumpwatch_sim.wire import dart
from pumpwatch_sim.wire.dart import DartController, DartPumps
from pumpwatch_sim.wire.dart_frames import (
    ACK,
    DATA,
    EOT,
    NAK,
    POLL,
    Frame,
    Framer,
    Settings,
    control,
    data,
    dc3,
    dc7,
    dc101,
    transaction,
    transactions,
)

POLL_50, EOT_50 = bytes.fromhex("50 20 FA"), bytes.fromhex("50 70 FA")

VECTORS = [
    "50 30 01 01 00 9F 5C 03 FA",
    "51 35 01 01 00 A2 50 03 FA",
    "50 30 01 01 05 5F 5F 03 FA",
    "50 30 01 01 06 1F 5E 03 FA",
    "50 30 01 01 08 9E 9A 03 FA",
    "51 3E 01 01 04 A1 B7 03 FA",
    "51 32 02 01 01 92 E4 03 FA",
    "51 35 03 04 99 99 99 99 04 89 03 FA",
    "51 3F 05 03 00 81 23 A8 07 03 FA",
    "52 3C 05 09 00 12 34 00 56 78 00 26 53 A9 46 03 FA",
    "50 30 65 01 01 1F 43 03 FA",
    "51 30 65 01 01 22 83 03 FA",
    "52 30 65 01 01 66 83 03 FA",
    "50 38 65 10 01 00 00 18 03 67 00 00 18 03 67 00 00 00 00 00 59 AB 03 FA",
    "53 30 65 10 02 00 00 66 64 16 00 00 66 64 16 00 00 00 00 00 57 4F 03 FA",
    "50 31 65 10 01 00 66 49 92 22 00 00 00 00 00 00 00 00 00 00 63 73 03 FA",
    "51 31 01 01 04 03 04 00 81 23 11 02 08 00 00 04 28 00 00 34 77 03 04 00 81 23 11 83 55 03 FA",
    "50 32 02 08 00 00 00 31 00 00 00 51 03 04 00 16 45 00 01 01 05 B3 85 03 FA",
    "53 30 02 08 00 00 12 11 00 00 01 86 03 04 00 15 39 00 01 01 05 AA CF 03 FA",
    "51 33 02 08 00 00 01 31 00 00 02 00 01 01 06 22 48 03 FA",
    "51 3A 03 04 00 81 23 11 26 14 03 FA",
]


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize("vector", VECTORS)
def test_a_captured_frame_is_read_and_written_alike(vector: str) -> None:
    raw = octets(vector)
    (frame,) = Framer().feed(raw)
    assert frame.intact
    assert (frame.address, frame.kind, frame.number) == (raw[0], DATA, raw[1] & 0x0F)
    assert data(frame.address, frame.number, frame.payload) == raw
    assert b"".join(transaction(code, content) for code, content in transactions(frame.payload)) == frame.payload


@pytest.mark.parametrize(
    ("vector", "frame"),
    [("50 20 FA", Frame(0x50, POLL, 0)), ("50 70 FA", Frame(0x50, EOT, 0)), ("51 C5 FA", Frame(0x51, ACK, 5))],
)
def test_captured_frames_of_three_bytes(vector: str, frame: Frame) -> None:
    assert Framer().feed(octets(vector)) == [frame]
    assert control(frame.address, frame.kind, frame.number) == octets(vector)


def test_transactions_of_the_captures() -> None:
    assert dc101(1, 180367, 180367) == octets("65 10 01 00 00 18 03 67 00 00 18 03 67 00 00 00 00 00")
    assert dc3(8123, 1, True) == octets("03 04 00 81 23 11")
    assert dc3(1645, 0, False) == octets("03 04 00 16 45 00")


def test_parameters_are_51_bytes() -> None:
    report = dc7(Settings(volume_decimals=3, amount_decimals=0, price_decimals=1), 2)
    assert report[:2] == octets("07 33")
    assert len(report) == 2 + 51
    assert report[2 + 22 : 2 + 25] == octets("03 00 01")
    assert report[2 + 30 : 2 + 34] == octets("99 99 99 99")
    assert report[2 + 36 : 2 + 38] == octets("01 02")


def line(fakes: ModuleType, nozzles: int = 1, **kwargs: object) -> tuple[list, DartPumps]:
    made = fakes.nozzles(nozzles)
    return made, DartPumps([fakes.FakeDispenser(made)], **kwargs)


def told(pumps: DartPumps, address: int = 0x50) -> list[tuple[int, bytes]]:
    """Poll, acknowledge, and what was in the DATA; nothing for EOT."""
    answer = pumps.receive(control(address, POLL))
    if answer == control(address, EOT):
        return []
    (frame,) = Framer().feed(answer)
    assert frame.intact
    assert pumps.receive(control(address, ACK, frame.number)) == b""
    return transactions(frame.payload)


def command(pumps: DartPumps, payload: str, number: int = 0, address: int = 0x50) -> None:
    assert pumps.receive(data(address, number, octets(payload))) == control(address, ACK, number)


def test_a_quiet_pump_ends_every_poll_with_eot(fakes: ModuleType) -> None:
    _, pumps = line(fakes)
    assert pumps.receive(POLL_50) == EOT_50
    assert pumps.receive(octets("51 20 FA")) == b"", "nobody has that address"
    assert pumps.devices == {"S01-D1": 0x50}


def test_requests_of_the_captures_are_acknowledged(fakes: ModuleType) -> None:
    for vector in VECTORS[:13]:
        _, pumps = line(fakes, 4)
        raw = octets(vector)
        assert pumps.receive(raw) == bytes((raw[0], 0xC0 | raw[1] & 0x0F, 0xFA))


def test_a_filling_is_volunteered_step_by_step(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.lift()
    assert told(pumps) == [(3, octets("00 07 89 11"))]
    command(pumps, "02 01 01", 1)
    command(pumps, "01 01 05", 2)
    command(pumps, "05 03 00 07 89", 3)
    command(pumps, "01 01 06", 4)
    assert told(pumps) == [(1, b"\x02")]
    nozzle.fuel(42)
    assert told(pumps) == [(1, b"\x04"), (3, octets("00 07 89 11")), (2, octets("00 00 00 42 00 00 03 31"))]
    assert told(pumps) == [], "nothing has flowed since"
    nozzle.fuel(43)
    assert told(pumps) == [(2, octets("00 00 00 43 00 00 03 39"))]
    nozzle.hang()
    assert told(pumps) == [(2, octets("00 00 00 43 00 00 03 39")), (3, octets("00 07 89 00")), (1, b"\x05")]
    assert told(pumps) == []
    command(pumps, "01 01 05", 5)
    assert told(pumps) == [(1, b"\x01")]


def test_a_completion_as_captured_but_for_its_price(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes, settings=Settings(price_decimals=3))
    nozzle.price = 165
    nozzle.lift()
    told(pumps)
    nozzle.fuel(12)
    told(pumps)
    nozzle.volume, nozzle.amount = 31, 51
    nozzle.hang()
    assert pumps.receive(POLL_50) == data(0x50, 2, octets("02 08 00 00 00 31 00 00 00 51 03 04 00 16 50 00 01 01 05"))


def test_a_preset_ends_at_its_limit_as_captured(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes, first_address=0x51)
    nozzle.price = 153
    nozzle.lift()
    told(pumps, 0x51)
    nozzle.fuel(100)
    told(pumps, 0x51)
    nozzle.fuel(130)
    told(pumps, 0x51)
    nozzle.volume, nozzle.amount = 131, 200
    nozzle.stop(preset=fakes.Preset.MONEY)
    assert pumps.receive(octets("51 20 FA")) == octets(VECTORS[19])
    told(pumps, 0x51)
    nozzle.hang()
    assert told(pumps, 0x51)[-1] == (1, b"\x05")


def test_a_pause_without_a_preset_goes_on_as_filling(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.lift()
    told(pumps)
    nozzle.fuel(100)
    told(pumps)
    nozzle.stop()
    assert told(pumps) == []


def test_what_is_not_acknowledged_is_sent_again_with_its_number(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.lift()
    first = pumps.receive(POLL_50)
    nozzle.fuel(10)
    assert pumps.receive(POLL_50) == first
    assert pumps.receive(control(0x50, NAK, 0)) == b""
    assert pumps.receive(control(0x50, ACK, 7)) == b"", "the wrong number acknowledges nothing"
    assert pumps.receive(POLL_50) == first
    pumps.receive(control(0x50, ACK, 0))
    (frame,) = Framer().feed(pumps.receive(POLL_50))
    assert frame.number == 1
    assert (2, octets("00 00 00 10 00 00 00 79")) in transactions(frame.payload)


def test_acknowledge_and_poll_in_one(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.lift()
    pumps.receive(POLL_50)
    assert pumps.receive(control(0x50, 0xE0, 0)) == EOT_50


@pytest.mark.parametrize("wrap_to", [0, 1])
def test_numbers_wrap(fakes: ModuleType, wrap_to: int) -> None:
    (nozzle,), pumps = line(fakes, settings=Settings(wrap_to=wrap_to))
    nozzle.lift()
    numbers = []
    for volume in range(1, 36):
        (frame,) = Framer().feed(pumps.receive(POLL_50))
        numbers.append(frame.number)
        pumps.receive(control(0x50, ACK, frame.number))
        nozzle.fuel(volume)
    circle = [*range(wrap_to, 16)]
    assert numbers == (circle * 3)[:35]


def test_a_repeated_command_is_acknowledged_and_not_executed_twice(fakes: ModuleType) -> None:
    _, pumps = line(fakes)
    command(pumps, "01 01 00", 3)
    command(pumps, "01 01 00", 3)
    assert told(pumps)
    assert told(pumps) == []
    command(pumps, "01 01 00", 0)
    command(pumps, "01 01 00", 0)
    assert told(pumps)
    assert told(pumps), "TX# 0 is a new beginning every time"


def test_a_command_out_of_turn_or_damaged_is_refused(fakes: ModuleType) -> None:
    _, pumps = line(fakes)
    command(pumps, "01 01 00", 3)
    assert pumps.receive(data(0x50, 9, octets("01 01 00"))) == octets("50 59 FA")
    command(pumps, "01 01 00", 4)
    command(pumps, "01 01 00", 0)
    assert pumps.receive(octets("50 31 01 01 00 9F 5D 03 FA")) == octets("50 51 FA")


def test_authorising_is_refused_unless_reset(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.sell(500)
    assert told(pumps)[-1] == (1, b"\x05")
    command(pumps, "01 01 06")
    assert told(pumps) == []
    command(pumps, "01 01 05")
    command(pumps, "01 01 06")
    assert told(pumps) == [(1, b"\x02")]
    command(pumps, "01 01 08")
    assert told(pumps) == [(1, b"\x01")]


def test_answers_to_questions(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.sell(2550)
    told(pumps)
    for question in ("01 01 00", "01 01 03", "01 01 04", "01 01 0F", "01 01 02"):
        command(pumps, question)
    assert told(pumps) == [(1, b"\x05"), (3, octets("00 07 89 00"))]
    assert told(pumps) == [(9, octets("00 20 24 01 17"))]
    assert told(pumps) == [(2, octets("00 00 25 50 00 02 01 20")), (3, octets("00 07 89 00"))]
    assert told(pumps) == [(0x67, octets("00 07 89"))]
    assert told(pumps)[0][0] == 7


def test_another_mainboard_has_another_identity_and_tells_its_restart(fakes: ModuleType) -> None:
    made = fakes.nozzles(1)
    dispenser = fakes.FakeDispenser(made)
    pumps = DartPumps([dispenser])
    dispenser.identity = fakes.Identity("DEMO-1", "MB-NEW", "4.2.1", "ab" * 32, "TX")
    dispenser.identity_changes += 1
    assert told(pumps) == [(5, b"\x01")]
    command(pumps, "01 01 03")
    assert told(pumps) != [(9, octets("00 20 24 01 17"))]


def test_a_lock_shows_as_switched_off_with_a_pulser_alarm(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.state = NozzleState.LOCKED
    assert told(pumps) == [(1, b"\x07"), (5, b"\x06")]
    assert told(pumps) == []
    nozzle.state = NozzleState.IDLE
    assert told(pumps) == [(1, b"\x01")]


def test_totals_in_both_variants(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.totalizer, nozzle.totalizer_amount = 180367, 1423100
    told(pumps)
    command(pumps, "65 01 01")
    command(pumps, "65 01 11")
    command(pumps, "65 01 02")
    assert told(pumps) == [(0x65, octets("01 00 00 18 03 67 00 00 18 03 67 00 00 00 00 00"))]
    assert told(pumps) == [(0x65, octets("11 00 01 42 31 00 00 01 42 31 00 00 00 00 00 00"))]
    assert told(pumps) == [], "there is no second nozzle"
    (nozzle,), pumps = line(fakes, settings=Settings(china_totals=True))
    nozzle.totalizer, nozzle.totalizer_amount = 180367, 1423100
    told(pumps)
    command(pumps, "65 01 01")
    assert told(pumps) == [(0x65, octets("01 00 00 00 18 03 67 00 00 01 42 31 00"))]


def test_an_answer_says_of_a_lifted_nozzle_that_it_is_out(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.lift()
    nozzle.fuel(100)
    command(pumps, "01 01 00")
    assert told(pumps) == [(1, b"\x04"), (3, octets("00 07 89 11")), (2, octets("00 00 01 00 00 00 07 89"))]
    assert told(pumps)[0] != (3, octets("00 07 89 11")), "it is not told again"


def test_totals_move_when_the_nozzle_is_hung_up(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.sell(1000)
    told(pumps)
    nozzle.lift()
    nozzle.fuel(500)
    nozzle.stop()
    for content in ("00 00 00 10 00", "00 00 00 78 90"):
        command(pumps, "65 01 01" if content.endswith("00") else "65 01 11")
        assert any(code == 0x65 and text[1:6] == octets(content) for _ in range(8) for code, text in told(pumps))
    nozzle.hang()
    command(pumps, "65 01 01")
    assert any(code == 0x65 and text[1:6] == octets("00 00 00 15 00") for _ in range(8) for code, text in told(pumps))


def test_what_the_display_did_not_see_only_the_totals_tell(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.sell(1000)
    told(pumps)
    nozzle.totalizer += 3000
    assert told(pumps) == []
    command(pumps, "65 01 01")
    assert told(pumps)[0][1][1:6] == octets("00 00 00 40 00")
    nozzle.sell(200)
    assert told(pumps)[0] == (2, octets("00 00 02 00 00 00 15 78"))


def test_a_sale_between_two_polls_is_not_lost(fakes: ModuleType) -> None:
    (nozzle,), pumps = line(fakes)
    nozzle.sell(777)
    assert told(pumps)[0] == (2, octets("00 00 07 77 00 00 61 31"))


def test_nozzles_of_one_side_share_its_display(fakes: ModuleType) -> None:
    (first, second, third), pumps = line(fakes, 3, nozzles_per_side=3)
    second.lift()
    assert told(pumps) == [(3, octets("00 07 89 12"))]
    second.fuel(100)
    told(pumps)
    third.sell(55)
    second.fuel(200)
    assert told(pumps) == [(2, octets("00 00 02 00 00 00 15 78"))]
    second.hang()
    assert told(pumps)[1:] == [(3, octets("00 07 89 00")), (1, b"\x05")]
    assert told(pumps)[:2] == [(2, octets("00 00 00 55 00 00 04 34")), (3, octets("00 07 89 00"))]
    first.lift()
    assert told(pumps) == [(3, octets("00 07 89 11"))]


def test_addresses_count_up_and_32_are_the_most(fakes: ModuleType) -> None:
    dispensers = [fakes.FakeDispenser(fakes.nozzles(4), f"S01-D{n}", n) for n in range(1, 9)]
    pumps = DartPumps(dispensers)
    assert list(pumps.devices.values()) == [0x50, 0x54, 0x58, 0x5C, 0x60, 0x64, 0x68, 0x6C]
    assert pumps.receive(octets("6F 20 FA")) == octets("6F 70 FA")
    with pytest.raises(ValueError, match="36 fuelling sides"):
        DartPumps([*dispensers, fakes.FakeDispenser(fakes.nozzles(4))])


# ------------------------------------------------------------------------------------------------- a damaged line


@given(st.integers(0x50, 0x6F), st.integers(0, 15), st.binary(max_size=60))
def test_whatever_is_sent_is_read_again(address: int, number: int, payload: bytes) -> None:
    raw = data(address, number, payload)
    assert raw.count(b"\xfa") - raw.count(b"\x10\xfa") >= 1
    assert Framer().feed(raw) == [Frame(address, DATA, number, payload)]
    framer = Framer()
    assert [frame for byte in raw for frame in framer.feed(bytes((byte,)))] == [Frame(address, DATA, number, payload)]


def test_transparency() -> None:
    raw = data(0x50, 0, octets("FA 10 10 FA"))
    assert raw[2:8] == octets("10 FA 10 10 10 FA")
    assert Framer().feed(raw)[0].payload == octets("FA 10 10 FA")


@given(st.binary(max_size=400))
def test_noise_never_stops_the_line(fakes: ModuleType, noise: bytes) -> None:
    pumps = DartPumps([fakes.FakeDispenser(fakes.nozzles(2))])
    controller = DartController([fakes.FakeDispenser(fakes.nozzles(2))])
    pumps.receive(noise)
    controller.turn()
    controller.receive(noise)
    controller.turn()
    pumps.pause()
    assert pumps.receive(POLL_50)[:1] == b"\x50"
    assert pumps.receive(b"\x00\xff\x51" + octets("50 20 FA"))[:1] == b"\x50"


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 9, 13, 14, 15, 0x65]), st.binary(max_size=20)), max_size=12))
def test_any_command_is_survived(fakes: ModuleType, orders: list[tuple[int, bytes]]) -> None:
    made, pumps = line(fakes, 2)
    made[0].sell(100)
    payload = b"".join(transaction(code, content) for code, content in orders)
    assert pumps.receive(data(0x50, 1, payload)) == octets("50 C1 FA")
    assert pumps.receive(data(0x50, 2, payload[:-1])) == octets("50 C2 FA")
    for _ in range(40):
        told(pumps)
    assert told(pumps) == []
    assert (made[0].price, made[0].totalizer) == (789, 100)


def test_memory_is_bounded(fakes: ModuleType) -> None:
    _, pumps = line(fakes)
    pumps.receive(b"\x50\x30" * 10_000)
    assert len(pumps._framer._rest) <= 256
    for number in range(200):
        pumps.receive(data(0x50, number % 16, octets("01 01 00")))
    assert len(pumps._pumps[0x50]._answers) <= 16


def test_split_and_joined_frames(fakes: ModuleType) -> None:
    stream = POLL_50 + data(0x50, 1, octets("01 01 00")) + octets("51 20 FA")
    _, whole = line(fakes, 2)
    _, split = line(fakes, 2)
    expected = EOT_50 + octets("50 C1 FA 51 70 FA")
    assert whole.receive(stream) == expected
    assert fakes.in_pieces(stream, split.receive) == expected


# ------------------------------------------------------------------------------------------------- the controller


def conversation(controller: DartController, pumps: DartPumps, turns: int) -> list[tuple[str, Frame]]:
    """What a tap hears."""
    heard = []
    for _ in range(turns):
        asked = controller.turn()
        answered = pumps.receive(asked)
        controller.receive(answered)
        heard += [("controller", frame) for frame in Framer().feed(asked)]
        heard += [("pump", frame) for frame in Framer().feed(answered)]
    return heard


def codes(heard: list[tuple[str, Frame]], who: str) -> list[tuple[int, bytes]]:
    return [item for name, frame in heard if name == who for item in transactions(frame.payload)]


def test_a_tap_hears_a_whole_filling(fakes: ModuleType) -> None:
    made = fakes.nozzles(2)
    dispensers = [fakes.FakeDispenser(made)]
    controller, pumps = DartController(dispensers), DartPumps(dispensers)
    start = conversation(controller, pumps, 60)
    assert {(5, octets("00 07 89")), (0x65, b"\x01"), (0x65, b"\x11"), (1, b"\x03")} <= set(codes(start, "controller"))
    assert {code for code, _ in codes(start, "pump")} >= {1, 7, 9, 0x65}
    idle = conversation(controller, pumps, 8)
    assert {frame.kind for _, frame in idle} == {POLL, EOT}
    made[1].lift()
    lifted = conversation(controller, pumps, 25)
    assert codes(lifted, "pump")[0] == (3, octets("00 07 89 11"))
    orders = [(2, b"\x01"), (1, b"\x05"), (5, octets("00 07 89")), (1, b"\x06")]
    assert codes(lifted, "controller") == orders
    assert {frame.address for name, frame in lifted if frame.kind == DATA} == {0x51}
    assert codes(lifted, "pump")[-1] == (1, bytes((dart.AUTHORISED,)))
    volumes = []
    for volume in range(100, 2600, 100):
        made[1].fuel(volume)
        volumes += [content for code, content in codes(conversation(controller, pumps, 6), "pump") if code == 2]
    assert volumes == sorted(volumes)
    assert len(set(volumes)) == 25
    made[1].hang()
    done = conversation(controller, pumps, 30)
    completed = codes(done, "pump")
    assert completed[0] == (2, octets("00 00 25 00 00 01 97 25"))
    assert (1, b"\x05") in completed
    assert (0x65, octets("01 00 00 00 25 00 00 00 00 25 00 00 00 00 00 00")) in completed
    assert (0x65, octets("11 00 00 01 97 25 00 00 01 97 25 00 00 00 00 00")) in completed
    assert all(frame.intact for _, frame in start + lifted + done)
    assert not [frame for _, frame in start + lifted + done if frame.kind == NAK]


def test_new_prices_go_to_all_pumps(fakes: ModuleType) -> None:
    made = fakes.nozzles(2)
    dispensers = [fakes.FakeDispenser(made)]
    controller, pumps = DartController(dispensers), DartPumps(dispensers)
    conversation(controller, pumps, 80)
    made[0].price = 801
    heard = conversation(controller, pumps, 20)
    assert codes(heard, "controller") == [(5, octets("00 08 01"))]


@given(st.lists(st.sampled_from(["ok", "lost", "mute", "damaged"]), min_size=30, max_size=120))
def test_the_conversation_survives_a_bad_line(fakes: ModuleType, fates: list[str]) -> None:
    made = fakes.nozzles(1)
    dispensers = [fakes.FakeDispenser(made)]
    controller, pumps = DartController(dispensers), DartPumps(dispensers)
    made[0].sell(1234)
    for fate in fates:
        asked = controller.turn()
        answered = pumps.receive(asked) if fate != "lost" else b""
        if fate == "damaged" and len(answered) > 5:
            answered = answered[:4] + bytes((answered[4] ^ 0x55,)) + answered[5:]
        controller.receive(b"" if fate == "mute" else answered)
    heard = conversation(controller, pumps, 60)
    assert {frame.kind for _, frame in heard[-4:]} == {POLL, EOT}, "it has come to rest"
    made[0].sell(55)
    after = codes(conversation(controller, pumps, 60), "pump")
    assert (2, octets("00 00 00 55 00 00 04 34")) in after
    assert (0x65, octets("01 00 00 00 12 89 00 00 00 12 89 00 00 00 00 00")) in after
