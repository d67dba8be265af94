"""Lanfeng bytes: the vectors, what is refused, what is heard, and noise."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import BadReply, NozzleState
from pumpwatch.testing import load_cases
from pumpwatch_lanfeng.frames import SIZE, Exchange, Question, State, is_sound, question, state, total
from pumpwatch_lanfeng.gun import Gun
from pumpwatch_lanfeng.listening import Listener, StateHeard, TotalHeard

NOW = datetime(2026, 11, 22, 4, 30, 15, tzinfo=UTC)
CHECKS = {0xB8: 0x48, 0xA0: 0x60, 0xA1: 0x5F, 0xB1: 0x4F, 0xAC: 0x54, 0xAD: 0x53}
"""Command to check byte, as on the maker's sheet."""


def frame(gun: int, content: bytes) -> bytes:
    content = content.ljust(10, b"\0")
    return bytes((gun, *content, -sum(content) & 0xFF))


def bcd(value: int, octets: int) -> bytes:
    return bytes.fromhex(f"{value:0{2 * octets}d}")


def shows(gun: int, price: int, money: int, litres: int, status: int) -> bytes:
    return frame(gun, b"\0" + bcd(price, 2) + bcd(money, 3) + bcd(litres, 3) + bytes((status,)))


def totals(gun: int, command: int, value: int) -> bytes:
    return frame(gun, bytes((0, command, 0, 0)) + bcd(value, 6))


ANSWER = shows(1, 789, 20_120, 2_550, 0x41)
SHOWN = State(789, 20_120, 2_550, 0x41)


# ---------------------------------------------------------------- vectors


@pytest.mark.parametrize(("command", "check"), CHECKS.items())
def test_the_makers_vectors(command: int, check: int) -> None:
    vector = bytes((1, 0, command, 0, 0, 0, 0, 0, 0, 0, 0, check))
    assert is_sound(vector)
    asked = question(vector)
    assert asked == (Question(command) if command in set(Question) else None)
    if asked is not None:
        assert asked.to(1) == vector


def test_the_questions_are_three_and_no_more() -> None:
    assert [question.to(7)[2] for question in Question] == [0xB8, 0xAC, 0xAD]
    assert all(len(question.to(99)) == SIZE and is_sound(question.to(99)) for question in Question)


def test_every_vector_is_a_testcase() -> None:
    folder = Path(__file__).parents[2] / "drivers" / "pumpwatch_lanfeng" / "testcases"
    captures = [case.capture for case in load_cases(folder)]
    there = b"".join(c.passed + b"".join(asked + reply for asked, reply in c.exchanges) for c in captures)
    vectors = {command: bytes((1, 0, command, 0, 0, 0, 0, 0, 0, 0, 0, check)) for command, check in CHECKS.items()}
    assert [command for command, vector in vectors.items() if vector not in there] == []
    statuses = {reply[-2] for c in captures for _, reply in c.exchanges if reply and reply[-10] not in {0xAC, 0xAD}}
    assert {0x41, 0xC1, 0xC2} <= statuses


def test_a_state() -> None:
    assert state(ANSWER, 1) == SHOWN
    assert (SHOWN.is_up, SHOWN.is_fuelling, SHOWN.is_controlled) == (False, False, True)
    fuelling = state(shows(3, 789, 0, 0, 0xC2), 3)
    assert (fuelling.is_up, fuelling.is_fuelling, fuelling.is_known) == (True, True, True)
    assert not state(shows(3, 789, 0, 0, 0x04), 3).is_known


def test_totals_are_twelve_digits() -> None:
    assert total(totals(1, 0xAC, 123_456_789_012), 1, Question.TOTAL_MONEY) == 123_456_789_012
    assert total(frame(1, bytes(4) + bcd(77, 6)), 1, Question.TOTAL_LITRES) == 77, "a maker may leave the command out"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("place", range(SIZE))
def test_nothing_comes_of_a_damaged_frame(place: int) -> None:
    for byte in range(256):
        damaged = ANSWER[:place] + bytes((byte,)) + ANSWER[place + 1 :]
        if byte != ANSWER[place]:
            with pytest.raises(BadReply):
                state(damaged, 1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (shows(2, 789, 0, 0, 0x41), "gun 2 answered"),
        (frame(1, b"\0\x07\x8a\x02\x01\x20\x00\x25\x50\x41"), "no number '078a'"),
        (bytes(12), "does not check"),
        (ANSWER[:11], "does not check"),
    ],
)
def test_what_is_no_state(answer: bytes, says: str) -> None:
    with pytest.raises(BadReply, match=says):
        state(answer, 1)


def test_a_state_is_no_total() -> None:
    with pytest.raises(BadReply, match="no total"):
        total(ANSWER, 1, Question.TOTAL_MONEY)


@given(st.binary(max_size=40))
def test_rubbish_is_only_a_bad_reply(rubbish: bytes) -> None:
    with suppress(BadReply):
        assert 0 <= state(rubbish, 1).litres < 10**6
    for asked in (Question.TOTAL_LITRES, Question.TOTAL_MONEY):
        try:
            assert 0 <= total(rubbish, 1, asked) < 10**12
        except BadReply:
            continue


def test_an_answer_among_late_ones_and_behind_an_echo() -> None:
    asked = Exchange(Question.STATE, 1)
    late = shows(2, 1, 2, 3, 0x41) + totals(1, 0xAD, 5)
    for before in (b"", late, asked.request, asked.request + late):
        received = before + ANSWER
        assert [asked.complete(received[:n]) for n in range(len(received))] == [0] * len(received)
        assert asked.complete(received) == len(received)
        assert asked.state(received) == SHOWN
    assert asked.echo(asked.request + ANSWER) == SIZE
    assert asked.echo(ANSWER) == 0


def test_a_total_of_zero_is_no_echo_once_the_line_is_known() -> None:
    nothing = totals(1, 0xAD, 0)
    assert nothing == Question.TOTAL_LITRES.to(1)
    assert Exchange(Question.TOTAL_LITRES, 1, echoes=True).complete(nothing) == 0
    assert Exchange(Question.TOTAL_LITRES, 1, echoes=True).complete(nothing * 2) == 2 * SIZE
    known = Exchange(Question.TOTAL_LITRES, 1, echoes=False)
    assert known.complete(nothing) == SIZE
    assert known.total(nothing) == 0


@given(st.lists(st.one_of(st.binary(max_size=14), st.sampled_from([ANSWER, Question.STATE.to(1)])), max_size=4))
def test_an_answer_is_whole_or_refused(parts: list[bytes]) -> None:
    exchange, received = Exchange(Question.STATE, 1), b"".join(parts)
    for end in range(len(received) + 1):
        try:
            length = exchange.complete(received[:end])
        except BadReply:
            return
        assert 0 <= length <= end
        if length:
            exchange.state(received[:length])
            return


# ---------------------------------------------------------------- listening


def test_an_answer_is_heard_behind_its_question_to_the_same_gun() -> None:
    ask = Question.STATE.to(1)
    assert Listener().feed(ask + ANSWER) == [StateHeard(1, SHOWN)]
    assert Listener().feed(ask + ask + ANSWER) == [StateHeard(1, SHOWN)], "an echo"
    assert Listener().feed(ANSWER) == []
    assert Listener().feed(Question.STATE.to(2) + ANSWER) == []
    assert Listener().feed(frame(1, b"\0\xa1") + ANSWER) == [], "nobody knows what is said to an authorisation"
    money = Question.TOTAL_MONEY.to(1) + totals(1, 0xAC, 99)
    assert Listener().feed(b"\0\x01\x02" + money) == [TotalHeard(1, Question.TOTAL_MONEY, 99)]


@given(st.integers(0, 23), st.integers(1, 255))
def test_nothing_is_heard_of_a_damaged_exchange(place: int, change: int) -> None:
    passed = bytearray(Question.STATE.to(1) + ANSWER)
    passed[place] ^= change
    assert Listener().feed(bytes(passed) + Question.STATE.to(1) + ANSWER) == [StateHeard(1, SHOWN)]


PIECES = [Question.STATE.to(1), ANSWER, Question.TOTAL_LITRES.to(1) + totals(1, 0xAD, 7), shows(1, 1, 1, 1, 0xC2)]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=12), st.integers(1, 50))
def test_pieces_make_no_difference_and_little_is_kept(parts: list[bytes], size: int) -> None:
    stream = b"".join(parts)
    split, heard = Listener(), []
    for start in range(0, len(stream), size):
        heard += split.feed(stream[start : start + size])
        assert len(split._rest) < SIZE
    assert heard == Listener().feed(stream)


# ---------------------------------------------------------------- one gun


def feed(gun: Gun, *states: tuple[int, int, int], price: int = 800) -> list[tuple[int, int, int]]:
    """Status, litres and how often; money is price times litres."""
    for status, litres, times in states:
        for _ in range(times):
            gun.hear_state(State(price, price * litres // 100, litres, status), NOW)
    return [sale.figures for sale in gun.take()]


def test_a_filling_needs_to_be_seen_twice_or_with_the_totals() -> None:
    gun = Gun()
    assert feed(gun, (0x41, 1000, 3), (0xC1, 0, 2), (0xC2, 500, 2), (0x41, 2000, 1)) == []
    assert feed(gun, (0x41, 2000, 1)) == [(800, 16_000, 2000)]
    assert feed(gun, (0x41, 2000, 5)) == []
    for _ in range(2):
        gun.hear_total(Question.TOTAL_LITRES, 100_000, NOW)
        gun.hear_total(Question.TOTAL_MONEY, 900_000, NOW)
    assert feed(gun, (0xC2, 100, 2), (0x41, 1500, 1)) == []
    gun.hear_total(Question.TOTAL_LITRES, 101_500, NOW)
    gun.hear_total(Question.TOTAL_MONEY, 912_000, NOW)
    (sale,) = gun.take()
    assert (sale.figures, sale.total_litres, sale.total_money) == ((800, 12_000, 1500), 101_500, 912_000)


def test_what_is_no_filling() -> None:
    gun = Gun()
    assert feed(gun, (0x41, 1000, 5)) == [], "an old one"
    assert feed(gun, (0xC1, 0, 5), (0x41, 1000, 5)) == [], "lifted and hung up again"
    assert feed(gun, (0xC1, 0, 5), (0x41, 0, 5)) == [], "nothing flowed"
    assert feed(gun, (0x44, 2222, 5), (0x41, 0, 5)) == [], "a display in a state that nobody knows"
    assert feed(gun, (0x41, 3333, 5)) == [], "a display that changes by itself"


@pytest.mark.parametrize("outs", [1, 2, 5])
def test_a_new_price_on_the_old_display_is_no_filling(outs: int) -> None:
    """Lifted and hung up without fuelling, while the controller sets another price."""
    gun = Gun()
    old, new = (789, 7_890, 1_000), (800, 7_890, 1_000)
    shown = [(0x41, old)] * 2 + [(0xC1, old)] * outs + [(0xC1, new), (0x41, new), (0x41, new), (0xC1, new)]
    for status, figures in [*shown, (0xC2, new), (0x41, old), (0x41, old), (0xC1, old), (0x41, new)] * 2:
        gun.hear_state(State(*figures, status), NOW)
    assert gun.take() == []


def test_short_and_equal_fillings() -> None:
    gun = Gun()
    assert feed(gun, (0x41, 1000, 3), (0xC1, 0, 1), (0x41, 50, 2)) == [(800, 400, 50)], "too short to be heard fuelling"
    assert feed(gun, (0xC2, 10, 2), (0x41, 50, 2)) == [(800, 400, 50)]
    assert feed(gun, (0xC2, 10, 2), (0x41, 70, 1), (0xC1, 0, 1)) == [(800, 560, 70)], "out again at once"
    assert gun.state is NozzleState.LIFTED


def test_times_of_a_filling() -> None:
    gun = Gun()
    for second, (status, litres) in enumerate([(0xC1, 0), (0xC1, 0), (0xC2, 10), (0xC2, 90), (0x41, 99), (0x41, 99)]):
        gun.hear_state(State(800, 8 * litres, litres, status), NOW + timedelta(seconds=second))
    (sale,) = gun.take()
    assert (sale.start - NOW, sale.end - NOW) == (timedelta(seconds=2), timedelta(seconds=4))
