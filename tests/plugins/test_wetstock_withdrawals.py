"""unrecorded_withdrawal, wrong_tank, product_swap and hidden_sales: found, quiet, the same wherever cut."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
import pytest
from worlds import judged, world

from pumpwatch import Severity, StationPast
from pumpwatch.courses import courses
from pumpwatch.detection.replay import in_order, judge_station
from pumpwatch_wetstock import HiddenSales, ProductSwap, UnrecordedWithdrawal, WrongTank

STATION, TANK, NOZZLE = "S15", "S15-T1", "S15-N01"


def onset_of(items) -> datetime:
    return datetime.fromisoformat(items[0]["onset"].replace("Z", "+00:00"))


@pytest.mark.parametrize("tank", ["S15-T3", "S15-T4"])
def test_twenty_one_litres_in_one_window_at_three_litres_of_noise(tank):
    past, items = world("W03", STATION, tank=tank, litres=21.0, every_days=7.0)
    course = next(course for course in courses(past) if tank in course.tanks)
    assert course.noise_l(int(course.at_us[-1])) == pytest.approx(3.0, abs=0.3)
    found = judged(past, UnrecordedWithdrawal)
    assert {(f.cause, f.subject.key) for f in found} == {("theft", tank)}
    assert [(f.detected_at - onset_of(items)).days for f in found] == [0, 7, 14, 21]
    assert all(f.estimate.low < 21.0 < f.estimate.high for f in found)


@pytest.mark.parametrize(
    ("name", "more", "cause", "subject"),
    [
        ("T05", {"nozzle": NOZZLE}, "offline_sale", NOZZLE),
        ("T05", {"nozzle": NOZZLE, "litres": 30}, "offline_sale", NOZZLE),
        ("T06", {"tank": "S15-T3"}, "offline_sale", "S15-T3"),
        ("T06", {"tank": "S15-T3", "litres_per_day": 200, "fills_per_day": 20}, "offline_sale", "S15-T3"),
        ("W03", {"tank": TANK}, "theft", TANK),
        ("C01", {}, "collector_outage", STATION),
    ],
)
def test_fuel_that_left_without_a_record(name, more, cause, subject):
    past, items = world(name, STATION, **more)
    found = judged(past, UnrecordedWithdrawal)
    assert {(f.cause, f.subject.key) for f in found} == {(cause, subject)}
    assert timedelta(0) < found[0].detected_at - onset_of(items) < timedelta(days=14)
    assert len(found) <= 6  # a week each, and again when a whole night is far more than one fall
    assert len({f.id for f in found}) == len(found)
    if name in {"T05", "W03"}:
        litres = items[0]["size"]["value"]
        assert all(f.estimate.low < litres * 1.1 and f.estimate.high > litres * 0.9 for f in found)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("", {}),
        ("H01", {}),
        ("H03", {}),
        ("H05", {}),
        ("H06", {}),
        ("H08", {"dispenser": "S15-D1"}),
        ("H10", {"nozzle": NOZZLE}),
        ("H12", {"tank": TANK, "offset_mm": -20}),
        ("H13", {"tank": TANK}),
        ("H20", {"dispenser": "S15-D1"}),
        ("T04", {"nozzle": NOZZLE}),
        ("C06", {"dispenser": "S15-D1"}),
        ("W01", {"tank": TANK, "gallons_per_hour": 2}),
    ],
)
def test_what_has_another_reason_is_quiet(name, more):
    past, _ = world(name, STATION, **more)
    found = judged(past, UnrecordedWithdrawal, WrongTank, ProductSwap)
    assert [f for f in found if f.severity is not Severity.INFO] == []
    assert name in {"H12", "C06"} or found == []


def test_without_totalizers_the_tank_still_tells():
    past, _ = world("T05", STATION, nozzle=NOZZLE)
    bare = replace(past, sales=replace(past.sales, totalizer_l=np.full(len(past.sales), np.nan)))
    found = judged(bare, UnrecordedWithdrawal)
    assert found
    assert {f.subject.key for f in found} == {TANK}


def test_daily_dips_are_not_enough():
    past, _ = world("W03", STATION, tank=TANK)
    dips = {tank: levels.take(slice(0, None, 288)) for tank, levels in past.levels.items()}
    rare = replace(past, levels=dips)
    off = judge_station(rare, [r(r.Settings()) for r in (UnrecordedWithdrawal, WrongTank, HiddenSales)], past.start,
                        past.end)[2]  # fmt: skip
    assert set(off) == {"unrecorded_withdrawal", "wrong_tank", "hidden_sales"}


def test_a_nozzle_registered_at_another_tank_is_named_within_days():
    past, _ = world("C10", STATION, nozzle=NOZZLE)
    found = judged(past, WrongTank)
    assert {(f.cause, f.subject) for f in found} == {("wrong_tank", past.subject(NOZZLE))}
    assert found[0].detected_at - past.start < timedelta(days=4)
    assert found[-1].estimate.low < 100.0 < found[-1].estimate.high + 1.5
    assert judged(past, UnrecordedWithdrawal) == []


def test_a_cheap_grade_sold_as_a_dear_one():
    past, items = world("F23", STATION, tank="S15-T3")
    found = judged(past, ProductSwap)
    assert {(f.cause, f.subject.key) for f in found} == {("product_swap", "S15-T3")}
    assert found[0].detected_at - onset_of(items) < timedelta(days=7)
    assert found[-1].estimate.value == pytest.approx(20.0, abs=2.0)


@pytest.mark.parametrize(
    ("rule", "name", "more"),
    [
        (UnrecordedWithdrawal, "T05", {"nozzle": NOZZLE}),
        (UnrecordedWithdrawal, "W03", {"tank": TANK}),
        (UnrecordedWithdrawal, "C01", {}),
        (WrongTank, "C10", {"nozzle": NOZZLE}),
        (ProductSwap, "F23", {"tank": "S15-T3"}),
    ],
)
@pytest.mark.parametrize("hours", [611.7, 803.0])
def test_cut_anywhere_the_findings_are_the_same(rule, name, more, hours):
    past, _ = world(name, STATION, **more)
    made = rule(rule.Settings())
    cut = past.start + timedelta(hours=hours)
    whole = in_order(judge_station(past, [made], past.start, past.end)[0])
    parts = in_order(
        [
            *judge_station(past.between(past.start, cut), [made], past.start, cut)[0],
            *judge_station(past.between(cut - rule.lookback, past.end), [made], cut, past.end)[0],
        ]
    )
    assert [(f.id, f.estimate) for f in parts] == [(f.id, f.estimate) for f in whole]
    assert whole


# ---------------------------------------------------------------- the month's balance


def hidden(past: StationPast, share: float, since: datetime) -> StationPast:
    """The same station with this share of its sales never recorded: no number, no litre on any counter."""
    sales = past.sales
    chance = np.random.default_rng(7)
    late = sales.start_us >= int(since.timestamp() * 1e6)
    gone = late & (chance.random(len(sales)) < share)
    total, number = sales.totalizer_l.copy(), sales.seq.copy()
    for nozzle in sales.nozzle_ids:
        mine = sales.of(nozzle)
        total[mine] -= np.cumsum(np.where(gone[mine], sales.volume_l[mine], 0.0))
        number[mine] -= np.cumsum(gone[mine])
    return replace(past, sales=replace(sales, totalizer_l=total, seq=number).take(~gone))


@lru_cache(maxsize=1)
def quarter() -> StationPast:
    return world(station="S11", days=84)[0]


def test_one_percent_of_the_sales_hidden_for_a_month():
    past = quarter()
    found = judged(hidden(past, 0.01, past.start + timedelta(days=49)), HiddenSales)
    assert found
    assert {f.cause for f in found} == {"offline_sale"}
    assert all(0.4 < f.estimate.value < 1.8 for f in found)


def test_an_honest_quarter_balances():
    assert judged(quarter(), HiddenSales) == []


def test_litres_that_customers_paid_for_and_did_not_get():
    past = quarter()
    sales = past.sales
    late = sales.start_us >= int((past.start + timedelta(days=49)).timestamp() * 1e6)
    more = np.where(late, sales.volume_l * 1.02, sales.volume_l)
    found = judged(replace(past, sales=replace(sales, volume_l=more)), HiddenSales)
    assert found
    assert {f.cause for f in found} == {"short_delivery"}
    assert all(-2.6 < f.estimate.value < -0.6 for f in found)


def test_the_balance_is_the_same_wherever_it_is_cut():
    past = quarter()
    bad = hidden(past, 0.02, past.start + timedelta(days=40))
    made = HiddenSales(HiddenSales.Settings())
    cut = bad.start + timedelta(days=66, hours=3)
    whole = in_order(judge_station(bad, [made], bad.start, bad.end)[0])
    parts = in_order(
        [
            *judge_station(bad.between(bad.start, cut), [made], bad.start, cut)[0],
            *judge_station(bad.between(cut - made.lookback, bad.end), [made], cut, bad.end)[0],
        ]
    )
    assert [(f.id, f.estimate) for f in parts] == [(f.id, f.estimate) for f in whole]
    assert whole
