"""Readings of one totalizer: which count, and which sales they show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pumpwatch import Totalizer


def test_a_reading_counts_when_something_agrees_with_it() -> None:
    total = Totalizer(8)
    assert not total.hear(1_000)
    assert total.value is None
    assert not total.hear(1_000)
    assert (total.value, total.is_sure) == (1_000, True)
    assert total.hear(3_550, 2_550.0)
    assert total.value == 3_550
    total.hear(9_999)
    assert (total.value, total.is_sure) == (3_550, False)
    total.hear(9_999)
    assert total.value == 9_999


def test_sales_lead_from_one_reading_to_the_next() -> None:
    total = Totalizer(8)
    total.hear(99_999_000)
    total.hear(99_999_000)
    assert not total.sold(500.4)
    assert not total.sold(700.4)
    total.hear(200)
    assert (total.value, total.is_sure) == (200, True), "it rolls over, and each sale may be rounded"
    total.hear(1_200)
    assert total.sold(1_000.0), "heard before it was told"
    assert total.value == 1_200


def test_some_count_a_sale_before_it_is_told() -> None:
    total = Totalizer(8)
    for reading in (1_000, 1_000, 3_000, 3_000):
        total.hear(reading)
    assert (total.value, total.is_sure) == (3_000, True), "the flow has ended, the nozzle is still out"
    assert total.hear(3_000, 2_000.0), "it hangs: the last reading has moved by this sale"
    assert not total.hear(3_000, 2_000.0), "by one such sale and not by two"
    for reading in (4_500, 4_500):
        total.hear(reading)
    assert total.sold(1_500.0)
    assert not total.sold(1_500.0)
    total.hear(6_000)
    assert (total.value, total.is_sure) == (6_000, True), "the one that it had not counted yet"


def test_a_move_that_is_not_this_sale_does_not_show_it() -> None:
    total = Totalizer(8)
    for reading in (1_000, 1_000, 3_000, 3_000):
        total.hear(reading)
    assert not total.hear(3_000, 1_700.0)
    assert not total.sold(1_700.0)
    assert not total.sold(2_000.0), "the move belongs to an earlier sale"


def test_when_it_was_heard_and_whether_sales_have_been_told_since() -> None:
    start, second = datetime(2026, 11, 22, 4, 0, tzinfo=UTC), timedelta(seconds=1)
    total = Totalizer(8)
    assert (total.at, total.is_behind) == (None, False)
    total.hear(1_000, at=start)
    assert total.at is None, "it does not count yet"
    total.hear(1_000, at=start + second)
    assert (total.at, total.is_behind) == (start + second, False)
    total.sold(2_550)
    assert (total.at, total.is_behind) == (start + second, True)
    total.hear(3_550, at=start + 2 * second)
    assert (total.at, total.is_behind) == (start + 2 * second, False)
    assert total.hear(4_000, 450, start + 3 * second)
    assert (total.at, total.is_behind) == (start + 3 * second, False), "it contains the sale that is told next"
