"""Fillings whose block was spoilt or not heard: what the money heard before and the totals prove, and what not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pumpwatch_twowire.damaged import Money
from pumpwatch_twowire.pump import Pump, Sale
from pumpwatch_twowire.words import Filling, GradeTotal, Status

NOW = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
TRUE = Filling(1, 0, 789, 25_500, 20_120)
"""25.5 L at 7.89, rounded up from 201.195."""


class Heard:
    """A pump whose totals are known and that has fuelled; time passes with each status."""

    def __init__(self, *running: int, totals: bool = True) -> None:
        self.pump = Pump(1, Money(), 2)
        self.seconds = 0
        for _ in range(2 if totals else 0):
            self.count(0, 0)
        self.status(Status.CALL, Status.AUTHORISED, Status.BUSY, Status.BUSY)
        for money in running:
            self.pump.hear_money(money, self.now)
        self.status(Status.FILLING_END)

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def status(self, *each: Status) -> None:
        for status in each:
            self.seconds += 1
            self.pump.hear_status(status, self.now)

    def count(self, volume: int, money: int, price: int = 789) -> None:
        self.pump.hear_totals((GradeTotal(0, 1_000_000 + volume, 7_890_000 + money, price),), self.now)

    def rest(self) -> list[Sale]:
        self.status(*[Status.FILLING_END] * 3, *[Status.IDLE] * 4)
        return self.pump.take()


def test_the_money_heard_twice_tells_which_it_was() -> None:
    other = Filling(1, 0, 789, 25_000, 19_725)
    one = Heard(20_000, 20_120, 20_120, totals=False)
    one.pump.hear_unclear((other, TRUE), b"spoilt", True, one.now)
    assert [sale.filling for sale in one.rest()] == [TRUE]
    several = Heard(20_000, 20_120, 20_120, totals=False)
    several.pump.hear_unclear((other, TRUE), b"spoilt", False, several.now)
    assert several.rest() == [], "another pump may have said it"


def test_money_that_was_about_to_reach_it_will_do_where_nothing_else_fits() -> None:
    one = Heard(19_000, 19_500, 19_900, totals=False)
    one.pump.hear_unclear((TRUE,), b"spoilt", True, one.now)
    assert [sale.filling for sale in one.rest()] == [TRUE]
    near = Filling(1, 0, 789, 25_510, 20_127)
    unsure = Heard(19_000, 19_500, 19_900, totals=False)
    unsure.pump.hear_unclear((TRUE, near), b"spoilt", True, unsure.now)
    assert unsure.rest() == []
    far = Heard(9_000, 9_500, 9_900, totals=False)
    far.pump.hear_unclear((TRUE,), b"spoilt", True, far.now)
    assert far.rest() == []


def test_the_totals_tell_apart_what_differs_by_a_cent() -> None:
    cent = Filling(1, 0, 789, 25_500, 20_119)
    one = Heard(9_000, 9_500)
    one.pump.hear_unclear((cent, TRUE), b"spoilt", True, one.now)
    one.count(2_550, 20_120)
    assert [(sale.filling, sale.total_volume) for sale in one.rest()] == [(TRUE, 1_002_550)]


def test_totals_alone_tell_a_filling_when_all_agrees() -> None:
    one = Heard(19_900, 20_000, 20_100)
    one.count(2_550, 20_120)
    (sale,) = one.rest()
    assert (sale.filling, sale.block, sale.whole) == (TRUE, b"", False)
    assert (sale.total_volume, sale.total_money) == (1_002_550, 7_910_120)
    one.pump.hear_filling(TRUE, b"late", True, one.now)
    assert one.rest() == [], "the same block, read late, is the same filling"


def test_a_block_that_comes_after_the_totals_is_taken_for_it() -> None:
    one = Heard(19_900, 20_000, 20_100)
    one.count(2_550, 20_120)
    one.pump.hear_filling(TRUE, b"block", True, one.now)
    (sale,) = one.rest()
    assert (sale.block, sale.whole) == (b"block", True)


def test_totals_alone_invent_nothing() -> None:
    two_fillings = Heard(9_900, 10_000, 10_060)
    two_fillings.count(2_550, 20_120)
    assert two_fillings.rest() == [], "the money heard was of half of it"
    other_price = Heard(19_900, 20_000, 20_100)
    other_price.count(2_550, 20_120, 788)
    assert other_price.rest() == [], "money is not volume times price"
    unknown = Heard(19_900, 20_000, 20_100, totals=False)
    unknown.count(2_550, 20_120)
    assert unknown.rest() == [], "nobody knows where they stood before"
