"""Two-Wire bytes: the vectors, what is refused, what a damaged block can only have said, and noise."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import BadReply
from pumpwatch.testing import load_cases
from pumpwatch_twowire import damaged, listening
from pumpwatch_twowire.asking import Exchange
from pumpwatch_twowire.damaged import Money, Repair, Usual
from pumpwatch_twowire.listening import FillingHeard, Listener, MoneyHeard, NozzleHeard, StatusHeard, TotalsHeard
from pumpwatch_twowire.words import (
    LONGEST_BLOCK,
    Filling,
    GradeTotal,
    Layout,
    Question,
    Status,
    check_word,
    is_sound,
    number,
    totals,
)

LAYOUT = Layout(6)
SALE = bytes.fromhex(
    "FF F1 F8 EB E0 E0 E0 E1 F6 E0 F4 F7 E9 E8 E7 E0 F9 E0 E0 E5 E5 E2 E0 FA E0 E2 E1 E0 E2 E0 FB E4 F0"
)
QUERY = bytes.fromhex("FF E9 FE E0 E1 E0 FB EE F0")
FILLING = Filling(pump=1, grade=0, price=789, volume=25_500, money=20_120)
REPAIR = Repair(LAYOUT, Money(), {1: frozenset({0}), 2: frozenset({0})})


def words(value: int, digits: int) -> bytes:
    return bytes(0xE0 | int(digit) for digit in reversed(f"{value:0{digits}d}"))


def closed(block: bytes) -> bytes:
    block += b"\xfb"
    return block + bytes((0xE0 | (-sum(byte & 15 for byte in block) & 15), 0xF0))


def block_of(filling: Filling, digits: int = 6) -> bytes:
    head = bytes((0xFF, 0xF1, 0xF8, 0xEB, 0xE0 | filling.pump - 1, 0xE0, 0xE0, 0xE1, 0xF6, 0xE0 | filling.grade))
    volume, money = words(filling.volume, digits), words(filling.money, digits)
    return closed(head + b"\xf4\xf7" + words(filling.price, 4) + b"\xf9" + volume + b"\xfa" + money)


def totals_of(*grades: tuple[int, int, int]) -> bytes:
    block = b"\xff"
    for grade, (volume, money, price) in enumerate(grades):
        block += bytes((0xF6, 0xE0 | grade, 0xF9)) + words(volume, 8) + b"\xfa" + words(money, 8)
        block += b"\xf4" + words(price, 4) + b"\xf5" + words(price, 4)
    return closed(block)


# ---------------------------------------------------------------- vectors


def test_the_built_vector() -> None:
    assert LAYOUT.filling(SALE) == FILLING
    assert block_of(FILLING) == SALE
    assert Money().fits(FILLING)


def test_the_nozzle_query() -> None:
    assert is_sound(QUERY)
    assert check_word(bytes.fromhex("FF E9 FE E0 E1 E0 FB")) == 0xEE


def test_where_the_words_stand() -> None:
    block = bytearray(SALE)
    block[4], block[9] = 0xEF, 0xE3
    block[12:16], block[17:23], block[24:30] = words(1234, 4), words(654_321, 6), words(987_654, 6)
    block[31] = check_word(block[:31])
    assert LAYOUT.filling(bytes(block)) == Filling(16, 3, 1234, 654_321, 987_654)
    older = block_of(Filling(9, 1, 789, 25_500, 20_120), digits=5)
    assert len(older) == Layout(5).size == 31
    assert Layout(5).filling(older) == Filling(9, 1, 789, 25_500, 20_120)


def test_totals_of_three_grades() -> None:
    block = totals_of((12_345_678, 87_654_321, 789), (1, 2, 840), (0, 0, 700))
    assert len(block) == 94
    assert totals(block) == (
        GradeTotal(0, 12_345_678, 87_654_321, 789),
        GradeTotal(1, 1, 2, 840),
        GradeTotal(2, 0, 0, 700),
    )


def test_the_questions_are_four_bytes_and_no_more() -> None:
    assert [question.to(1) for question in Question] == [b"\x01", b"\x41", b"\x51", b"\x61"]
    assert Question.STATUS.to(16) == b"\x00"
    assert Question.MONEY.to(10) == b"\x6a"
    sent = {question.to(pump)[0] >> 4 for question in Question for pump in range(1, 17)}
    assert sent == {0, 4, 5, 6}


def test_every_vector_is_a_testcase() -> None:
    folder = Path(__file__).parents[2] / "drivers" / "pumpwatch_twowire" / "testcases"
    captures = [case.capture for case in load_cases(folder)]
    said = b"".join(c.passed + b"".join(reply for _, reply in c.exchanges) for c in captures)
    price = closed(bytes.fromhex("FF E5 F4 F6 E0 F7") + words(789, 4))
    preset = closed(bytes.fromhex("FF E3 F1 F4 F8") + words(20_120, 6))
    for vector in (SALE, QUERY, price, preset, bytes.fromhex("BA B0 B3 B1 B0 B1 B0 B0 B0")):
        assert vector in said
    assert any(len(reply) == 94 for c in captures for _, reply in c.exchanges)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("place", range(len(SALE)))
def test_no_filling_comes_of_a_damaged_block(place: int) -> None:
    for word in range(256):
        block = SALE[:place] + bytes((word,)) + SALE[place + 1 :]
        if word == SALE[place]:
            continue
        with pytest.raises(BadReply):
            LAYOUT.filling(block)


@given(st.integers(0, 93), st.integers(1, 255))
def test_no_totals_come_of_a_damaged_block(place: int, change: int) -> None:
    block = bytearray(totals_of((12_345_678, 87_654_321, 789), (1, 2, 840), (5, 6, 700)))
    block[place] ^= change
    with pytest.raises(BadReply):
        totals(bytes(block))


@given(st.binary(max_size=120))
def test_rubbish_is_only_a_bad_reply(rubbish: bytes) -> None:
    for reader in (LAYOUT.filling, totals, number):
        try:
            reader(rubbish)
        except BadReply:
            continue
        assert rubbish == b"" or reader is number or is_sound(rubbish)


@settings(max_examples=120)
@given(
    st.sampled_from(list(Question)),
    st.sampled_from([None, True, False]),
    st.lists(
        st.one_of(st.binary(max_size=30), st.sampled_from([SALE, totals_of((1, 2, 3)), b"\x61", b"\x62"])), max_size=4
    ),
)
def test_an_answer_is_whole_or_refused(question: Question, echoes: bool | None, parts: list[bytes]) -> None:
    exchange = Exchange(question, 1, LAYOUT, echoes)
    received = b"".join(parts)
    for end in range(len(received) + 1):
        try:
            length = exchange.complete(received[:end])
        except BadReply:
            return
        assert 0 <= length <= end
        if length:
            reply = received[:length]
            match question:
                case Question.STATUS:
                    assert exchange.status(reply) in Status
                case Question.MONEY:
                    assert 0 <= exchange.money(reply) < 10**6
                case Question.TRANSACTION:
                    assert exchange.filling(reply) == (FILLING, SALE)
                case Question.TOTALS:
                    assert exchange.totals(reply)
            return


@pytest.mark.parametrize("late", [b"\x62", words(20_120, 6), block_of(FILLING)])
def test_answers_to_other_questions_without_end_are_given_up(late: bytes) -> None:
    exchange = Exchange(Question.TOTALS, 1, LAYOUT)
    answer = totals_of((1_000_000, 7_890_000, 789))
    assert exchange.complete(late * 3 + answer) == len(late * 3 + answer)
    with pytest.raises(BadReply, match="to other questions"):
        exchange.complete(late * 1_000)


def test_a_block_without_end_is_given_up() -> None:
    exchange = Exchange(Question.TOTALS, 1, LAYOUT)
    with pytest.raises(BadReply, match="does not check"):
        exchange.complete(b"\xff" + b"\xe1" * LONGEST_BLOCK)


# ---------------------------------------------------------------- what a damaged block can only have said


class CountingMoney(Money):
    """Counts how often money is worked out: the work that a damaged block makes."""

    count = 0

    def of(self, volume: int, price: int, *, nearest: bool) -> tuple[int, ...]:
        CountingMoney.count += 1
        return super().of(volume, price, nearest=nearest)


@pytest.mark.parametrize("places", [(17, 18, 13, 12, 25), (4, 31, 17, 18, 12), (17, 18, 4, 31)])
def test_damaged_blocks_make_bounded_work(places: tuple[int, ...]) -> None:
    """Of a hostile pump, which teaches many prices first: neither a block nor a second of the line holds others up."""
    hears = Listener(Repair(LAYOUT, CountingMoney(), {1: frozenset({0})}))
    for price in range(700, 1_000, 3):
        hears.feed(b"\x41" + block_of(Filling(1, 0, price, 25_500, round(25.5 * price))))
    bad = spoilt(SALE, **{f"p{place}": 0x13 for place in places})
    CountingMoney.count = 0
    hears.feed(bad)
    assert 0 < CountingMoney.count <= damaged.MOST_TRIED
    one = CountingMoney.count
    hears.feed(bad * 500)
    assert CountingMoney.count <= one * (1 + listening.MOST_REPAIRS)
    last = hears.feed(b"\x41" + SALE)
    assert [heard.fillings for heard in last if isinstance(heard, FillingHeard) and heard.whole] == [(FILLING,)]


def test_a_block_that_leaves_open_too_much_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = spoilt(SALE, p17=0, p18=0)
    assert REPAIR.nearest(bad, 1, usual()) == ((FILLING,), True)
    for most in (0, 1, 10):
        monkeypatch.setattr(damaged, "MOST_TRIED", most)
        assert REPAIR.nearest(bad, 1, usual()) == ((), False)


def usual(*prices: int) -> Usual:
    known = Usual()
    for _ in range(10):
        known.block(FILLING, SALE, Money())
    for price in prices:
        known.price(price)
    return known


def spoilt(block: bytes, **words: int) -> bytes:
    wrong = bytearray(block)
    for place, word in words.items():
        wrong[int(place[1:])] = word
    return bytes(wrong)


def test_unreadable_words_are_restored() -> None:
    bad = spoilt(SALE, p0=0, p12=0, p13=0, p19=0, p20=0)
    assert REPAIR.nearest(bad, 1, usual()) == ((FILLING,), True)


def test_one_wrong_digit_is_seen() -> None:
    assert REPAIR.nearest(spoilt(SALE, p20=0xE4), 1, usual()) == ((FILLING,), True)
    assert REPAIR.nearest(spoilt(SALE, p31=0xE0), 1, usual()) == ((FILLING,), True)


def test_whose_it_was_may_be_unclear() -> None:
    """The pump's own word against the question before it, and the check word, which may be lost."""
    assert REPAIR.nearest(spoilt(SALE, p4=0xE1), 1, usual()) == ((FILLING,), True)
    found, clear = REPAIR.nearest(spoilt(SALE, p4=0xE1, p31=0x00), 1, usual())
    assert ({filling.pump for filling in found}, clear) == ({1, 2}, False)
    assert REPAIR.nearest(spoilt(SALE, p19=0x00), 2, usual())[1] is False
    assert REPAIR.nearest(spoilt(SALE, p4=0x00), 1, usual()) == ((FILLING,), True)
    assert REPAIR.nearest(spoilt(SALE, p4=0x00), None, usual()) == ((FILLING,), True), "the check word tells"
    assert REPAIR.nearest(spoilt(SALE, p4=0x00, p31=0x00), None, usual())[1] is False
    assert REPAIR.nearest(spoilt(SALE, p4=0xE1, p19=0x00), None, usual())[1] is False
    assert REPAIR.nearest(spoilt(SALE, p4=0xE5), 7, usual()) == ((), False), "neither is ours"


def test_too_much_damage_is_nothing() -> None:
    assert REPAIR.nearest(bytes(33), 1, usual()) == ((), False)
    assert REPAIR.nearest(SALE[:-1], 1, usual()) == ((), False)
    assert REPAIR.nearest(spoilt(SALE, p17=0, p18=0, p19=0, p20=0, p21=0, p22=0), 1, usual()) == ((), False)


def test_an_unknown_price_that_is_unreadable_cannot_be_restored() -> None:
    block = block_of(Filling(1, 0, 655, 10_000, 6_550))
    assert REPAIR.nearest(spoilt(block, p12=0), 1, Usual()) == ((), False)


def test_on_a_ruined_line_everything_is_unclear() -> None:
    known = usual()
    for _ in range(64):
        known.damaged()
    found, clear = REPAIR.nearest(spoilt(SALE, p19=0), 1, known)
    assert FILLING in found
    assert not clear


@settings(max_examples=80, deadline=None)
@given(st.data(), st.integers(100, 999_999), st.integers(1, 4))
def test_unreadable_words_never_make_another_filling(data: st.DataObject, volume: int, count: int) -> None:
    """However few or many words are unreadable: the filling that was, or nothing, or several of which it is one."""
    filling = Filling(1, 0, 789, volume, int(volume * 789 / 1000 + 0.5))
    if filling.money >= 10**6:
        return
    block = bytearray(block_of(filling))
    for _ in range(count):
        block[data.draw(st.integers(0, 32))] = data.draw(st.integers(0, 0xBF))
    known = usual(789)
    known._fine = 1  # any last digit may come
    found, clear = REPAIR.nearest(bytes(block), 1, known)
    assert not clear or found == (filling,)
    assert found == () or filling in found


# ---------------------------------------------------------------- listening


def listener() -> Listener:
    return Listener(REPAIR)


def test_a_status_is_heard_behind_its_question_alone() -> None:
    assert listener().feed(b"\x01\x61\x02\x72\x01\x72\x61\x00\x60") == [
        StatusHeard(1, Status.IDLE),
        StatusHeard(2, Status.CALL),
        StatusHeard(16, Status.IDLE),
    ]
    assert listener().feed(b"\x01\x01\x91") == [StatusHeard(1, Status.BUSY)], "an echo"


def test_running_money_stands_between_other_bytes() -> None:
    digits = words(17_89, 6)
    assert listener().feed(b"\x61" + digits + b"\x02") == [MoneyHeard(1, 1789)]
    assert listener().feed(b"\x61\x61" + digits + b"\x02") == [MoneyHeard(1, 1789)]
    assert listener().feed(b"\x61" + digits + b"\xe1\x02") == []
    assert listener().feed(b"\x61" + digits[:-1] + b"\x02\x62") == [StatusHeard(2, Status.IDLE)]
    assert listener().feed(b"\xe1\x61" + digits + b"\x02") == []


def test_totals_are_those_of_the_pump_that_was_asked() -> None:
    block = totals_of((100, 789, 789))
    (heard,) = listener().feed(b"\x52" + block)
    assert heard == TotalsHeard(2, (GradeTotal(0, 100, 789, 789),))
    assert listener().feed(b"\x52\x52" + block) == [heard]
    assert listener().feed(b"\x01\x61" + block) == [StatusHeard(1, Status.IDLE)]
    assert listener().feed(b"\x52\x07" + block) == []


def test_the_nozzle_that_is_out() -> None:
    reply = bytes.fromhex("BA B0 B3 B1 B0 B1 B0 B0 B0 B2 B0 B0 B0 B0 B2 C3 C1 8D 8A")
    longer = bytes.fromhex("BA B0 B3 C3 B0 B1 B0 B0 B0 B2 B0 B0 B0 B0 B1 B1 B1 C3 C1 8D 8A")
    assert listener().feed(QUERY + reply + b"\x01") == [NozzleHeard(1, 2)]
    assert listener().feed(QUERY + longer) == [NozzleHeard(12, 1)]
    assert listener().feed(b"\x0a\xba") == [StatusHeard(10, Status.FILLING_END)]


@pytest.mark.parametrize("lost", [(), (0,), (0, 3), (1, 32), (8, 10)])
def test_a_filling_is_found_whatever_word_of_its_frame_is_lost(lost: tuple[int, ...]) -> None:
    block = spoilt(SALE, **{f"p{place}": 0 for place in lost})
    hear = listener()
    hear.feed(b"".join(b"\x41" + SALE for _ in range(10)))
    (heard,) = hear.feed(b"\x41" + block + b"\x01\x02")
    assert isinstance(heard, FillingHeard)
    assert (heard.fillings, heard.whole, heard.block) == ((FILLING,), not lost, block)


PIECES = [b"\x01\x61", b"\x41" + SALE, b"\x51" + totals_of((1, 2, 789)), b"\x61" + words(5, 6), QUERY, b"\x21\xd1"]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=12), st.integers(1, 50))
def test_pieces_make_no_difference_and_little_is_kept(parts: list[bytes], size: int) -> None:
    stream = b"".join(parts)
    whole, split = listener(), listener()
    heard = whole.feed(stream)
    in_pieces = []
    for start in range(0, len(stream), size):
        in_pieces += split.feed(stream[start : start + size])
        assert len(split._rest) <= LONGEST_BLOCK + size + 8
    assert in_pieces == heard
    for filling in (f for each in heard if isinstance(each, FillingHeard) and each.whole for f in each.fillings):
        assert block_of(filling) == SALE


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=5000))
def test_noise_is_forgotten(noise: bytes) -> None:
    hear = listener()
    assert all(not isinstance(each, FillingHeard) for each in hear.feed(noise))
    hear.feed(b"\x01\x61" * 300)
    assert len(hear._rest) < 8
    assert hear.feed(b"\x41" + SALE) == [FillingHeard(1, (FILLING,), SALE, True, True)]
