"""What explains a step of a tank and what does not: papers, clocks, other tanks; nothing vanishes without a note."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from worlds import judged, world

from pumpwatch import Delivery, DeviceEvent, EventKind, Severity, WorkOrder, to_us
from pumpwatch.courses import HOUR_US, courses, work_on
from pumpwatch.detection.replay import in_order, judge_station
from pumpwatch_wetstock import DeliveryPapers, HiddenSales, ProductSwap, UnrecordedWithdrawal, WrongTank

STATION, TANK, OTHER = "S15", "S15-T1", "S15-T3"
NIGHT = datetime(2026, 3, 23, 18, tzinfo=UTC)
"""Two o'clock in the morning of a day in the fourth week."""


def alarms(findings):
    return [finding for finding in findings if finding.severity is not Severity.INFO]


def moved(past, tank, at, litres, minutes=60):
    """The same station whose tank gains litres (or loses them) evenly from this time on."""
    levels = past.levels[tank]
    share = np.clip((levels.at_us - to_us(at)) / (minutes * 60e6), 0.0, 1.0)
    more = replace(levels, volume_l=levels.volume_l + share * litres, volume_20c_l=levels.volume_20c_l + share * litres)
    return replace(past, levels=dict(past.levels) | {tank: more})


def ordered(past, tank, *times, kind="repair", repairer="甲", station="乙"):
    orders = tuple(
        WorkOrder(STATION, tank, at, kind, signed_by_repairer=repairer, signed_by_station=station) for at in times
    )
    return replace(past, work_orders=(*past.work_orders, *orders))


def cut_anywhere(past, rule, hours):
    made = rule(rule.Settings())
    cut = past.start + timedelta(hours=hours)
    whole = in_order(judge_station(past, [made], past.start, past.end)[0])
    parts = [
        *judge_station(past.between(past.start, cut), [made], past.start, cut)[0],
        *judge_station(past.between(cut - rule.lookback, past.end), [made], cut, past.end)[0],
    ]
    assert whole
    assert [(f.id, f.estimate, f.onset) for f in in_order(parts)] == [(f.id, f.estimate, f.onset) for f in whole]


# ---------------------------------------------------------------- work


@pytest.mark.parametrize(
    "paper",
    [
        {"repairer": None, "station": None},
        {"repairer": None},
        {"station": None},
        {"kind": "inspection"},
        {"kind": "verification"},
    ],
)
def test_a_paper_that_is_not_of_signed_work_explains_nothing(paper):
    past = moved(world(station=STATION)[0], TANK, NIGHT, -300.0)
    told = [(f.id, f.severity) for f in judged(past, UnrecordedWithdrawal)]
    assert alarms(judged(past, UnrecordedWithdrawal))
    assert [(f.id, f.severity) for f in judged(ordered(past, TANK, NIGHT, **paper), UnrecordedWithdrawal)] == told


@pytest.mark.parametrize(("litres", "severity"), [(300.0, Severity.INFO), (4_000.0, Severity.LOW)])
def test_what_is_lost_under_signed_work_is_told(litres, severity):
    past = ordered(moved(world(station=STATION)[0], TANK, NIGHT, -litres), TANK, NIGHT)
    (found,) = judged(past, UnrecordedWithdrawal)
    assert (found.severity, found.subject.key) == (severity, TANK)
    assert found.estimate.value == pytest.approx(litres, rel=0.15)
    assert "签字" in found.explanation.why.zh


def test_small_losses_under_work_night_after_night_add_up():
    past = world(station=STATION)[0]
    nights = [NIGHT + timedelta(days=day) for day in range(7)]
    for night in nights:
        past = moved(past, TANK, night, -300.0)
    found = judged(ordered(past, TANK, *nights), UnrecordedWithdrawal)
    assert Severity.LOW in {f.severity for f in found}
    assert len(found) <= 5


def test_a_paper_every_ten_days_is_no_excuse_the_third_time():
    past = world(station=STATION)[0]
    nights = [NIGHT + timedelta(days=day) for day in (-10, 0, 10)]
    for night in nights:
        past = moved(past, TANK, night, -300.0)
    found = judged(ordered(past, TANK, *nights), UnrecordedWithdrawal)
    assert [f.severity for f in found] == [Severity.INFO, Severity.INFO, Severity.LOW]
    assert "第三次" in found[-1].explanation.why.zh
    cut_anywhere(ordered(past, TANK, *nights), UnrecordedWithdrawal, 24 * 30 + 5)


def test_orders_at_any_time_of_a_day_cover_no_tank_twice():
    past = moved(world(station=STATION)[0], TANK, NIGHT, -300.0)
    times = [NIGHT + timedelta(hours=hour) for hour in range(-3, 3)]
    found = judged(ordered(past, TANK, *times), UnrecordedWithdrawal)
    assert [f.severity for f in found] == [Severity.INFO]


@pytest.mark.parametrize(("litres", "severity"), [(500.0, Severity.INFO), (4_000.0, Severity.LOW)])
def test_what_came_under_signed_work_is_told(litres, severity):
    honest = world(station=STATION)[0]
    past = moved(honest, TANK, NIGHT, litres, minutes=20)
    (alarm,) = judged(past, DeliveryPapers)
    assert alarm.severity is Severity.HIGH
    (found,) = judged(ordered(past, TANK, NIGHT), DeliveryPapers)
    assert (found.id, found.severity) == (alarm.id, severity)
    (still,) = judged(ordered(past, TANK, NIGHT, station=None), DeliveryPapers)
    assert still.severity is Severity.HIGH


def test_work_counts_by_its_signatures():
    past = world(station=STATION)[0]
    assert work_on(ordered(past, TANK, NIGHT), (TANK,)) == [to_us(NIGHT)]
    assert work_on(ordered(past, TANK, NIGHT, repairer=""), (TANK,)) == []
    assert work_on(ordered(past, OTHER, NIGHT), (TANK,)) == []


def test_a_month_with_signed_work_is_a_note():
    past, _ = world(station="S11", days=84)
    sales = past.sales
    late = sales.start_us >= to_us(past.start + timedelta(days=49))
    fewer = replace(past, sales=replace(sales, volume_l=np.where(late, sales.volume_l * 0.98, sales.volume_l)))
    found = alarms(judged(fewer, HiddenSales))
    tanks = {f.subject.tank_id for f in found} - {None}
    assert tanks
    at = past.start + timedelta(days=45)
    orders = tuple(
        WorkOrder("S11", tank.tank_id, at, "repair", signed_by_repairer="甲", signed_by_station="乙")
        for tank in past.tanks
    )
    noted = judged(replace(fewer, work_orders=orders), HiddenSales)
    assert {f.severity for f in noted} == {Severity.INFO}
    assert {f.subject.tank_id for f in noted} >= tanks
    unsigned = tuple(replace(order, signed_by_repairer=None) for order in orders)
    assert alarms(judged(replace(fewer, work_orders=unsigned), HiddenSales)) == found


# ---------------------------------------------------------------- clocks


def clocks(past, step_s):
    """The same station where every dispenser is told to have been corrected every day at one o'clock."""
    events = tuple(
        DeviceEvent(past.start + timedelta(days=day, hours=1), STATION, dispenser.dispenser_id, EventKind.CLOCK,
                    {"step_s": step_s, "source": "ntp"})
        for day in range(42)
        for dispenser in past.dispensers
    )  # fmt: skip
    return replace(past, events=tuple(sorted((*past.events, *events), key=lambda event: event.at)))


def test_a_correction_of_two_minutes_hides_no_withdrawal():
    past, _ = world("W03", STATION, tank=TANK)
    assert judged(past, UnrecordedWithdrawal)
    assert {f.cause for f in alarms(judged(clocks(past, 121), UnrecordedWithdrawal))} == {"theft"}


def test_what_a_wrong_clock_may_explain_is_a_note():
    past, _ = world("W03", STATION, tank=TANK)
    found = judged(clocks(past, 36_000), UnrecordedWithdrawal)
    assert {f.severity for f in found} == {Severity.INFO}
    assert "时钟" in found[0].explanation.title.zh


def test_a_correction_of_two_minutes_hides_no_crossed_tank():
    past, _ = world("F23", STATION, tank=OTHER)
    assert judged(clocks(past, 121), ProductSwap)
    past, _ = world("C10", STATION, nozzle="S15-N01")
    assert judged(clocks(past, 121), WrongTank)


def test_clocks_that_tell_nonsense_are_not_believed():
    past, _ = world("W03", STATION, tank=TANK)
    for nonsense in (float("nan"), float("inf"), "much", None):
        assert judged(clocks(past, nonsense), UnrecordedWithdrawal) == judged(past, UnrecordedWithdrawal)


# ---------------------------------------------------------------- told again


@pytest.mark.parametrize("first", range(7))
def test_a_far_larger_fall_is_told_in_the_same_week(first):
    begin = NIGHT + timedelta(days=first)
    past = moved(world(station=STATION)[0], TANK, begin, -100.0, minutes=15)
    past = moved(past, TANK, begin + timedelta(days=2), -2_000.0, minutes=60)
    found = judged(past, UnrecordedWithdrawal)
    assert any(f.estimate.value > 1_500.0 for f in found)
    assert len({f.id for f in found}) == len(found)


@pytest.mark.parametrize("hours", [505.0, 560.3, 590.0, 700.1])
def test_notes_and_what_is_told_again_are_the_same_wherever_cut(hours):
    past = moved(world(station=STATION)[0], TANK, NIGHT, -100.0, minutes=15)
    past = moved(past, TANK, NIGHT + timedelta(days=2), -2_000.0)
    past = moved(past, OTHER, NIGHT + timedelta(days=1), -400.0)
    past = moved(past, OTHER, NIGHT + timedelta(days=3), -1_000.0)
    past = ordered(past, OTHER, NIGHT + timedelta(days=1), NIGHT + timedelta(days=3))
    cut_anywhere(clocks(past, 300), UnrecordedWithdrawal, hours)


# ---------------------------------------------------------------- other tanks


def test_fuel_pumped_into_another_grade_is_a_swap_and_of_the_same_grade_a_note():
    honest = world(station=STATION)[0]
    grades = {tank.tank_id: tank.grade for tank in honest.tanks}
    for giver, severity, cause in (
        (next(t for t in grades if grades[t] != grades[TANK]), Severity.HIGH, "product_swap"),
        (next(t for t in grades if grades[t] == grades[TANK] and t != TANK), Severity.INFO, "unrecorded_delivery"),
    ):
        past = moved(moved(honest, TANK, NIGHT, 4_000.0), giver, NIGHT, -4_000.0)
        (found,) = judged(past, DeliveryPapers, UnrecordedWithdrawal)
        assert (found.severity, found.cause, found.subject.tank_id) == (severity, cause, TANK)
        assert found.estimate.value == pytest.approx(4_000.0, rel=0.1)


def test_one_paper_for_two_joined_tanks_counts_twice():
    past, _ = world("H13", STATION, tank=TANK)
    joined = past.manifold(TANK)
    halves: list[Delivery] = []
    for paper in past.deliveries:
        if paper.tank_id not in joined:
            halves.append(paper)
            continue
        half = replace(paper, declared_l=(paper.declared_l or 0.0) / 2.0,
                       declared_20c_l=None if paper.declared_20c_l is None else paper.declared_20c_l / 2.0)  # fmt: skip
        halves += [replace(half, tank_id=tank) for tank in joined]
    assert len(halves) > len(past.deliveries)
    assert alarms(judged(replace(past, deliveries=tuple(halves)), DeliveryPapers)) == []


def test_one_document_for_two_tanks_that_got_nothing_has_two_findings():
    past, _ = world("H13", STATION, tank=TANK)
    joined = past.manifold(TANK)
    at = NIGHT + timedelta(hours=6)
    papers = tuple(Delivery(tank, at, declared_l=5_000.0, document_no="D-1") for tank in joined)
    found = judged(replace(past, deliveries=(*past.deliveries, *papers)), DeliveryPapers)
    assert len({f.id for f in found}) == len(found) == 2


def test_one_paper_explains_one_rise():
    honest = world(station=STATION)[0]
    grades = {tank.tank_id: tank.grade for tank in honest.tanks}
    same = next(t for t in grades if grades[t] == grades[TANK] and t != TANK)
    past = moved(moved(honest, TANK, NIGHT, 4_000.0, 20), TANK, NIGHT + timedelta(hours=3), 4_000.0, 20)
    paper = Delivery(same, NIGHT + timedelta(hours=2), declared_l=4_000.0, declared_20c_l=4_000.0,
                     document_no="D-1")  # fmt: skip
    found = judged(replace(past, deliveries=(*past.deliveries, paper)), DeliveryPapers)
    rises = [f for f in found if f.subject.tank_id == TANK]
    assert len(rises) == 2
    assert [f.severity for f in alarms(rises)] == [Severity.HIGH]


@pytest.mark.parametrize("late_s", [1, 60, 150])
def test_joined_tanks_are_one_though_their_gauges_are_read_in_turn(late_s):
    past, _ = world("H13", STATION, tank=TANK)
    second = past.manifold(TANK)[1]
    levels = past.levels[second]
    later = replace(levels, at_us=levels.at_us + late_s * 1_000_000)
    turned = replace(past, levels=dict(past.levels) | {second: later})
    usual = {course.tanks: course for course in courses(past)}
    for course in courses(turned):
        assert abs(len(course.at_us) - len(usual[course.tanks].at_us)) <= 1
        assert [round(r.litres, -2) for r in course.rises] == pytest.approx(
            [round(r.litres, -2) for r in usual[course.tanks].rises], abs=200.0
        )
    assert alarms(judged(turned, DeliveryPapers, UnrecordedWithdrawal)) == []


def test_a_joined_tank_that_is_silent_for_a_while_leaves_a_gap():
    past, _ = world("H13", STATION, tank=TANK)
    second = past.manifold(TANK)[1]
    levels = past.levels[second]
    heard = (levels.at_us < to_us(NIGHT)) | (levels.at_us > to_us(NIGHT) + 4 * HOUR_US)
    gap = replace(past, levels=dict(past.levels) | {second: levels.take(np.flatnonzero(heard))})
    course = next(course for course in courses(gap) if len(course.tanks) == 2)
    inside = (course.at_us > to_us(NIGHT) + HOUR_US) & (course.at_us < to_us(NIGHT) + 3 * HOUR_US)
    assert not inside.any()
    assert len(course.at_us) > len(levels) - 60


# ---------------------------------------------------------------- the onset does not know where the data begin


@pytest.mark.parametrize(("rule", "name", "more"), [
    (WrongTank, "C10", {"nozzle": "S15-N01"}),
    (ProductSwap, "F23", {"tank": OTHER}),
])  # fmt: skip
def test_the_onset_is_the_same_wherever_cut(rule, name, more):
    past, _ = world(name, STATION, **more)
    for hours in (611.7, 803.0):
        cut_anywhere(past, rule, hours)
