"""DART as bytes: captured frames, damage, who said what, and that nothing but questions can be said."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pumpwatch_dart.frames import KEPT, Cutter, Frame, Kind, control, crc16, data
from pumpwatch_dart.requests import Ask, Counter, acknowledge, ask, poll
from pumpwatch_dart.traffic import FromController, FromPump, Traffic
from pumpwatch_dart.transactions import (
    Alarm,
    Command,
    Identity,
    NozzleReport,
    Parameters,
    Preset,
    Prices,
    Shown,
    Status,
    Totals,
    from_controller,
    from_pump,
)

CASES = Path(__file__).parents[2] / "drivers" / "pumpwatch_dart" / "testcases"
octets = bytes.fromhex

CONTROLS = {
    "50 20 FA": Frame(Kind.POLL, 0x50),
    "50 70 FA": Frame(Kind.EOT, 0x50),
    "51 C5 FA": Frame(Kind.ACK, 0x51, 5),
}
COMMANDS = {
    "50 30 01 01 00 9F 5C 03 FA": Command(1, b"\x00"),
    "51 35 01 01 00 A2 50 03 FA": Command(1, b"\x00"),
    "50 30 01 01 05 5F 5F 03 FA": Command(1, b"\x05"),
    "50 30 01 01 06 1F 5E 03 FA": Command(1, b"\x06"),
    "50 30 01 01 08 9E 9A 03 FA": Command(1, b"\x08"),
    "51 3E 01 01 04 A1 B7 03 FA": Command(1, b"\x04"),
    "51 32 02 01 01 92 E4 03 FA": Command(2, b"\x01"),
    "51 35 03 04 99 99 99 99 04 89 03 FA": Preset(99_999_999, is_volume=True),
    "51 3F 05 03 00 81 23 A8 07 03 FA": Prices((8123,)),
    "52 3C 05 09 00 12 34 00 56 78 00 26 53 A9 46 03 FA": Prices((1234, 5678, 2653)),
    "50 30 65 01 01 1F 43 03 FA": Command(0x65, b"\x01"),
    "51 30 65 01 01 22 83 03 FA": Command(0x65, b"\x01"),
    "52 30 65 01 01 66 83 03 FA": Command(0x65, b"\x01"),
}
REPORTS = {
    "50 38 65 10 01 00 00 18 03 67 00 00 18 03 67 00 00 00 00 00 59 AB 03 FA": (Totals(1, volume=180367),),
    "53 30 65 10 02 00 00 66 64 16 00 00 66 64 16 00 00 00 00 00 57 4F 03 FA": (Totals(2, volume=666416),),
    "50 31 65 10 01 00 66 49 92 22 00 00 00 00 00 00 00 00 00 00 63 73 03 FA": (Totals(1, volume=66499222),),
    "51 31 01 01 04 03 04 00 81 23 11 02 08 00 00 04 28 00 00 34 77 03 04 00 81 23 11 83 55 03 FA": (
        Status.FILLING,
        NozzleReport(8123, 1, out=True),
        Shown(428, 3477),
        NozzleReport(8123, 1, out=True),
    ),
    "50 32 02 08 00 00 00 31 00 00 00 51 03 04 00 16 45 00 01 01 05 B3 85 03 FA": (
        Shown(31, 51),
        NozzleReport(1645, 0, out=False),
        Status.COMPLETED,
    ),
    "53 30 02 08 00 00 12 11 00 00 01 86 03 04 00 15 39 00 01 01 05 AA CF 03 FA": (
        Shown(1211, 186),
        NozzleReport(1539, 0, out=False),
        Status.COMPLETED,
    ),
    "51 33 02 08 00 00 01 31 00 00 02 00 01 01 06 22 48 03 FA": (Shown(131, 200), Status.LIMIT),
    "51 3A 03 04 00 81 23 11 26 14 03 FA": (NozzleReport(8123, 1, out=True),),
}
VECTORS = [*CONTROLS, *COMMANDS, *REPORTS]


# ---------------------------------------------------------------- captured frames


@pytest.mark.parametrize("vector", [*COMMANDS, *REPORTS])
def test_a_captured_frame_is_cut_checked_and_made_alike(vector: str) -> None:
    raw = octets(vector)
    (frame,) = Cutter().feed(raw)
    assert (frame.kind, frame.address, frame.number, frame.raw) == (Kind.DATA, raw[0], raw[1] & 0x0F, raw)
    assert data(frame.address, frame.number, frame.payload) == raw


@pytest.mark.parametrize(("vector", "frame"), CONTROLS.items())
def test_captured_frames_of_three_bytes(vector: str, frame: Frame) -> None:
    (cut,) = Cutter().feed(octets(vector))
    assert (cut.kind, cut.address, cut.number) == (frame.kind, frame.address, frame.number)
    assert control(frame.kind, frame.address, frame.number) == octets(vector)


@pytest.mark.parametrize(("vector", "order"), COMMANDS.items())
def test_what_the_controller_said(vector: str, order: object) -> None:
    assert from_controller(octets(vector)[2:-4]) == (order,)


@pytest.mark.parametrize(("vector", "facts"), REPORTS.items())
def test_what_the_pump_said(vector: str, facts: tuple[object, ...]) -> None:
    assert from_pump(octets(vector)[2:-4]) == facts


def test_every_vector_is_in_a_testcase() -> None:
    """What a technician reads in the folders is what was captured."""
    captured = b"".join(
        octets("".join(line.partition("#")[0].strip(" <>=") for line in file.read_text().splitlines()))
        for file in CASES.glob("*/capture.hex")
    )
    assert [vector for vector in VECTORS if octets(vector) not in captured] == []


def test_what_else_a_pump_says() -> None:
    china = octets("65 0D 02 FA 00 00 18 03 67 10 00 01 42 31 00")
    assert from_pump(china) == (Totals(2, 180367, 14231_00, china=True),)
    assert from_pump(octets("65 10 11 00 01 42 31 00") + bytes(10)) == (Totals(1, amount=14231_00),)
    assert from_pump(octets("0733") + bytes(22) + bytes((3, 0, 2)) + bytes(26)) == (Parameters(3, 0, 2),)
    assert from_pump(octets("09 05 00 20 24 01 17 05 01 06")) == (Identity("0020240117"), Alarm(6))
    assert from_pump(octets("67 06 00 07 89 00 08 01")) == (Prices((789, 801)),)
    assert from_pump(octets("66 02 12 34 01 01 01")) == (Status.RESET,), "what is not known is passed over"
    assert from_controller(octets("04 04 00 02 00 00")) == (Preset(20000, is_volume=False),)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "01",
        "01 02 05",
        "01 01 03",
        "02 08 00 00 0A 00 00 00 00 00",
        "03 04 00 07 89 E1",
        "05 02 00 00",
        "65 10 00 00 00 18 03 67 00 00 18 03 67 00 00 00 00 00",
        "65 0D 01 00 00 0F 18 03 67 00 00 01 42 31 00",
        "09 05 00 20 24 01 1A",
        "67 04 00 07 89 00",
        "01 01 05 02",
        "0D 01 00",
    ],
)
def test_what_no_pump_says(payload: str) -> None:
    assert from_pump(octets(payload)) is None


@pytest.mark.parametrize(
    "payload", ["", "01 01 01", "02 02 01 01", "02 01 10", "03 04 00 0A 00 00", "65 01 0A", "67 03 00 07 89"]
)
def test_what_no_controller_says(payload: str) -> None:
    assert from_controller(octets(payload)) is None


# ---------------------------------------------------------------- the stream

PAYLOADS = st.binary(max_size=60)
ADDRESSES = st.integers(0x50, 0x6F)


@given(ADDRESSES, st.integers(0, 15), PAYLOADS)
@example(0x50, 0, octets("FA 10 10 FA 03 FA"))
def test_what_is_made_is_cut(address: int, number: int, payload: bytes) -> None:
    raw = data(address, number, payload)
    assert [(f.kind, f.number, f.payload) for f in Cutter().feed(raw)] == [(Kind.DATA, number, payload)]
    assert crc16(raw[:-2].replace(b"\x10\xfa", b"\xfa")) == 0, "a checksum over all is zero"


@given(st.lists(st.sampled_from(VECTORS), max_size=12), st.randoms(use_true_random=False), st.binary(max_size=30))
def test_however_it_is_split(vectors: list[str], dice: object, noise: bytes) -> None:
    stream = noise + b"".join(map(octets, vectors))
    whole, split = Cutter().feed(stream), Cutter()
    cut: list[Frame] = []
    at = 0
    while at < len(stream):
        step = dice.randint(1, 9)  # type: ignore[attr-defined]
        cut += split.feed(stream[at : at + step])
        at += step
    assert cut == whole


@settings(derandomize=True, max_examples=300)
@given(st.sampled_from([*COMMANDS, *REPORTS]), st.integers(0), st.integers(1, 255))
def test_nothing_comes_of_a_damaged_frame(vector: str, place: int, damage: int) -> None:
    """Whatever becomes of one byte between address and checksum; the two last bytes are under no checksum."""
    raw = bytearray(octets(vector))
    raw[place % (len(raw) - 2)] ^= damage
    assert [frame for frame in Cutter().feed(bytes(raw)) if frame.kind is Kind.DATA] == []
    assert not any(isinstance(h, FromPump) and h.facts for h in Traffic().feed(bytes(raw)))
    assert not any(isinstance(h, FromController) and h.orders for h in Traffic().feed(bytes(raw)))


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"\x50", b"\x5f", b"\x30", b"\x3f", b"\x10", b"\x00", b"\x10\xfa"]), max_size=400),
    st.binary(max_size=60),
)
def test_a_frame_behind_noise_is_the_one_that_trying_each_beginning_finds(noise: list[bytes], payload: bytes) -> None:
    chunk = b"".join(noise) + data(0x52, 3, payload)
    (found,) = [frame for frame in Cutter().feed(chunk) if frame.kind is Kind.DATA]
    sound = []
    for start in range(max(0, len(chunk) - KEPT), len(chunk) - 5):
        plain = chunk[start:-2].replace(b"\x10\xfa", b"\xfa")
        is_one = 0x50 <= plain[0] <= 0x6F and plain[1] >> 4 == 3 and len(plain) <= 256
        if is_one and crc16(plain[:-2]) == int.from_bytes(plain[-2:], "little"):
            sound.append(chunk[start:])
    assert found.raw == sound[0]


@pytest.mark.parametrize("damage", ["AA FA", "03 AA", "AA AA", "10 FA"])
def test_a_damaged_end_does_not_harm_what_the_checksum_covers(damage: str) -> None:
    completed = octets(list(REPORTS)[4])
    cut = Cutter().feed(completed[:-2] + octets(damage) + octets("50 C2 FA 50 20 FA"))
    told = [(f.kind, f.payload) for f in cut if f.kind is Kind.DATA]
    assert told == [(Kind.DATA, completed[2:-4])]
    assert cut[-1].kind is Kind.POLL


@given(st.binary(max_size=2000))
def test_noise_raises_nothing_and_makes_no_pump_speak(noise: bytes) -> None:
    heard = Traffic().feed(noise)
    assert not [h for h in heard if isinstance(h, FromPump) and any(isinstance(f, Shown | Totals) for f in h.facts)]


@given(PAYLOADS)
def test_any_payload_is_understood_or_not(payload: bytes) -> None:
    from_pump(payload)
    from_controller(payload)


def test_memory_is_bounded() -> None:
    traffic = Traffic()
    never_ends = b"\x50\x30" * 4096
    traffic.feed(never_ends)
    tracemalloc.start()
    for _ in range(256):
        traffic.feed(never_ends)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 64 * KEPT
    assert len(traffic._cutter._rest) <= KEPT


# ---------------------------------------------------------------- who said what

POLL, EOT, ACK = octets("50 20 FA"), octets("50 70 FA"), octets("50 C0 FA")
COMPLETED_OR_RESET = "01 01 05"


def said(*frames: bytes) -> list[str]:
    """Who has said something, by the bytes of a line."""
    heard = Traffic().feed(b"".join(frames))
    return [
        "pump" if isinstance(h, FromPump) else "controller"
        for h in heard
        if (h.facts if isinstance(h, FromPump) else h.orders)
    ]


def test_the_same_bytes_after_a_poll_and_without_one() -> None:
    frame = data(0x50, 0, octets(COMPLETED_OR_RESET))
    assert said(POLL, frame) == ["pump"]
    assert said(POLL, EOT, frame) == ["controller"]
    assert said(octets("51 20 FA"), frame) == ["controller"]
    assert said(b"\x77\xfa", frame) == [], "after noise nobody can tell"


def test_the_numbers_tell_after_noise() -> None:
    pump = [POLL, data(0x50, 4, octets("0208 00000100 00000789")), octets("50 C4 FA")]
    controller = [POLL, EOT, data(0x50, 9, octets("65 01 01")), octets("50 C9 FA")]
    assert said(*pump, *controller, b"\x77\xfa", data(0x50, 5, octets(COMPLETED_OR_RESET)))[2:] == ["pump"]
    assert said(*pump, *controller, b"\x77\xfa", data(0x50, 10, octets(COMPLETED_OR_RESET)))[2:] == ["controller"]


def test_a_poll_without_an_answer_does_not_make_a_command_a_report() -> None:
    pump = [POLL, data(0x50, 4, octets("0208 00000100 00000789")), octets("50 C4 FA")]
    controller = [POLL, EOT, data(0x50, 9, octets("65 01 01")), octets("50 C9 FA")]
    assert said(*pump, *controller, POLL, data(0x50, 10, octets(COMPLETED_OR_RESET)))[2:] == []


def test_what_says_itself_who_sent_it() -> None:
    assert said(b"\x77\xfa", data(0x50, 7, octets("05 03 00 07 89"))) == ["controller"]
    assert said(b"\x77\xfa", data(0x50, 7, octets("05 01 06"))) == ["pump"]
    assert said(b"\x77\xfa", data(0x50, 7, octets("02 08 01 02 03 04 05 06 07 08"))) == [], (
        "eight nozzles, or a display"
    )


def test_said_again_it_is_said_once() -> None:
    alarm = data(0x50, 7, octets("05 01 06"))
    assert said(POLL, alarm, POLL, alarm, octets("50 C7 FA")) == ["pump"]
    assert said(POLL, alarm, POLL, data(0x50, 8, octets("05 01 06"))) == ["pump", "pump"]


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_go_on_over_the_wrap(first: int) -> None:
    pump = [POLL, data(0x50, 15, octets("0208 00000100 00000789")), octets("50 CF FA")]
    controller = [POLL, EOT, data(0x50, 7, octets("65 01 01")), octets("50 C7 FA")]
    heard = said(*pump, *controller, POLL, data(0x50, first, octets(COMPLETED_OR_RESET)))
    assert heard[2:] == ["pump"]


# ---------------------------------------------------------------- what can be said at all


def test_only_questions_can_be_made() -> None:
    made = {ask(0x50, 0, question)[2:-4] for question in Ask}
    made |= {ask(0x50, 0, Counter(n, of_amount=a))[2:-4] for n in range(1, 10) for a in (False, True)}
    codes = {0x00, 0x02, 0x03, 0x04}
    counters = {*range(1, 10), *range(0x11, 0x1A)}
    assert made == {bytes((1, 1, c)) for c in codes} | {bytes((0x65, 1, c)) for c in counters}
    assert poll(0x6F) == octets("6F 20 FA")
    assert acknowledge(0x50, 15) == octets("50 CF FA 50 20 FA")


@pytest.mark.parametrize("order", [b"\x01\x01\x06", "AUTHORIZE", 6, None, ("01", "01"), Command(1, b"\x06")])
def test_whatever_is_no_question_is_refused_before_a_byte_is_made(order: object) -> None:
    with pytest.raises(TypeError, match="is no question"):
        ask(0x50, 0, order)  # type: ignore[arg-type]


def test_there_is_no_such_question() -> None:
    for payload in (b"\x01\x01\x05", b"\x01\x01\x06", b"\x01\x01\x08"):
        with pytest.raises(ValueError, match="not a valid Ask"):
            Ask(payload)
    for nozzle in (0, 10, 0x105):
        with pytest.raises(ValueError, match="nozzles 1 to 9"):
            Counter(nozzle)
    for address in (0x4F, 0x70):
        with pytest.raises(ValueError, match="no address of a side"):
            poll(address)
