"""Indication errors: what is pooled, how sure it is, and when nothing is said."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pumpwatch_dashboards.indication import _student, indications


def sale(nozzle: str, shown: float | None, counted: float | None) -> dict[str, Any]:
    return {"nozzle_id": nozzle, "volume_l": shown, "encoder_l": counted}


@pytest.mark.parametrize(("freedom", "t"), [(4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042), (1000, 1.962)])
def test_student(freedom: int, t: float) -> None:
    assert _student(freedom) == pytest.approx(t, abs=0.0011)


def test_error_is_pooled_over_litres_with_its_sign() -> None:
    small, large = [sale("S01-N01", 10.0, 10.0)] * 5, [sale("S01-N01", 51.0, 50.0)] * 5
    (found,) = indications(small + large)
    assert found.sales == 10
    assert found.error == pytest.approx(100 * (305 / 300 - 1))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.error < found.high  # type: ignore[operator]
    (gives_more,) = indications([sale("S01-N01", 49.8, 50.0)] * 6)
    assert gives_more.error == pytest.approx(-0.4)


def test_four_sales_are_too_few_and_the_nozzle_still_stands_there() -> None:
    (found,) = indications([sale("S01-N01", 20.0, 19.9)] * 4)
    assert (found.sales, found.error, found.low, found.high) == (4, None, None, None)
    (silent,) = indications([sale("S01-N02", 20.0, None)] * 9)
    assert (silent.nozzle_id, silent.sales, silent.error) == ("S01-N02", 0, None)


@pytest.mark.parametrize("odd", [0.0, -3.0, float("nan"), float("inf"), "20", True, None])
def test_what_is_no_volume_is_left_out(odd: object) -> None:
    good = [sale("S01-N01", 20.0, 20.0)] * 5
    (found,) = indications([*good, {"nozzle_id": "S01-N01", "volume_l": 20.0, "encoder_l": odd}, {"volume_l": 1.0}])
    assert (found.sales, found.error) == (5, 0.0)


def test_equal_readings_are_no_surer_than_the_display() -> None:
    """Five sales that agree to the last digit still have the rounding of both channels."""
    (found,) = indications([sale("S01-N01", 20.0, 20.0)] * 5)
    assert found.high == pytest.approx(100 * 2.776 * (5 * 2 * 0.01**2 / 12) ** 0.5 / 100, rel=0.001)


def test_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    chance, inside, rounds = random.Random(7), 0, 600
    for _ in range(rounds):
        pairs = [
            (counted := round(chance.uniform(8, 50), 2), counted * (1.004 + chance.gauss(0, 0.002))) for _ in range(12)
        ]
        (found,) = indications([sale("S01-N01", round(shown, 2), counted) for counted, shown in pairs])
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.4 <= found.high
    assert 0.92 <= inside / rounds <= 0.985


def test_nozzles_come_in_their_order() -> None:
    sales = [sale(f"S01-N{n:02d}", 20.0, 20.0) for n in (11, 2, 1)]
    assert [i.nozzle_id for i in indications(sales)] == ["S01-N01", "S01-N02", "S01-N11"]
