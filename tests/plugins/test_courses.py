"""The balance of a tank: what it makes of readings, sales, work and silence, whatever order they came in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from worlds import world

from pumpwatch import Channel, WorkOrder, from_us, to_us
from pumpwatch.courses import DAY_US, HOUR_US, Course, courses, draws_of, sold_until
from pumpwatch_wetstock.matching import matches

STATION = "S15"


def course_of(past, tank: str) -> Course:
    return next(course for course in courses(past) if tank in course.tanks)


def test_the_book_stays_where_it_is_but_for_losses_and_deliveries():
    past, _ = world(station=STATION)
    for course in courses(past):
        book = course.book_ml / 1000.0
        came = sum(rise.litres for rise in course.rises)
        sold = (course.sold_ml[-1] - course.sold_ml[0]) / 1000.0
        lost = book[0] + came - book[-1]
        assert 0.5 < course.noise_l(int(course.at_us[-1])) < 8.0
        assert abs(lost / sold) < 0.015


def test_every_honest_delivery_is_one_rise_with_its_paper():
    past, _ = world(station=STATION)
    told = matches(past)
    assert len(told) == len(past.deliveries)
    assert all(match.rise is not None and len(match.papers) == 1 for match in told)
    errors = [match.rise.litres / match.declared_l - 1.0 for match in told]
    assert abs(float(np.median(errors))) < 0.01


def test_two_compartments_are_matched_with_both_papers():
    past, _ = world("H04", STATION, tank=f"{STATION}-T1")
    assert all(match.rise is not None and match.papers for match in matches(past))
    assert max(len(match.papers) for match in matches(past)) <= 2


def test_joined_tanks_are_one_course():
    past, _ = world("H13", STATION, tank=f"{STATION}-T1")
    groups = [course.tanks for course in courses(past)]
    assert (f"{STATION}-T1", f"{STATION}-T2") in groups
    assert len(groups) == 3


def test_sold_litres_are_exact_and_even_within_a_sale():
    past, _ = world(station=STATION)
    nozzle = past.nozzles[0].nozzle_id
    mine = past.sales.of(nozzle)
    start, end = int(past.sales.start_us[mine][0]), int(past.sales.end_us[mine][0])
    at = np.array([start - 1, start, (start + end) // 2, end, int(past.sales.end_us[mine][-1])], np.int64)
    sold = sold_until(past, (nozzle,), "92#", at, np.full(len(at), 20.0)) / 1000.0
    first = float(past.sales.volume_l[mine][0])
    assert sold[:4] == pytest.approx([0.0, 0.0, first / 2, first], abs=0.01)
    assert sold[-1] == pytest.approx(float(past.sales.volume_l[mine].sum()), abs=1e-6)


def test_a_frozen_gauge_is_a_gauge_that_says_nothing():
    past, _ = world("C03", STATION, tank=f"{STATION}-T1")
    honest, _ = world(station=STATION)
    frozen, usual = course_of(past, f"{STATION}-T1"), course_of(honest, f"{STATION}-T1")
    assert len(frozen.at_us) < len(usual.at_us) - 20
    assert [len(course.at_us) for course in courses(honest)] == [len(levels) for levels in honest.levels.values()]


def test_work_on_the_tank_makes_its_steps_unsure():
    past, _ = world("H12", STATION, tank=f"{STATION}-T1", offset_mm=20)
    course = course_of(past, f"{STATION}-T1")
    order = next(to_us(o.at) for o in past.work_orders if o.device_id == f"{STATION}-T1")
    assert course.is_unsure(order, order + HOUR_US)
    assert not course.is_unsure(order - 2 * DAY_US, order - DAY_US)
    assert all(rise.worked_on for rise in course.rises if abs(rise.start_us - order) < 2 * HOUR_US)


def test_test_draws_poured_back_are_no_sales():
    past, _ = world("H08", STATION, dispenser=f"{STATION}-D1", draws=60)
    honest, _ = world(station=STATION)
    for course, usual in zip(courses(past), courses(honest), strict=True):
        assert len(course.rises) == len(usual.rises)
    tested = [course for course in courses(past) if course.unsure]
    assert tested


CANS = 12
SIGNED = {"repairer": "signed_by_repairer", "institute": "signed_by_institute", "station": "signed_by_station"}


def cans(days, device, kind, *signers, every=1, between=0):
    """An honest station where on some days twelve fillings are cans of 20 L, with a paper at noon of each.

    So many of the twelve are those of customers, one after each other can.
    """
    past, _ = world(station=STATION)
    nozzle = past.nozzles[0].nozzle_id
    device = {"nozzle": nozzle, "dispenser": past.nozzles[0].dispenser_id, "station": STATION}[device]
    rows, volume = past.sales.of(nozzle), past.sales.volume_l.copy()
    starts, ends, orders = past.sales.start_us.copy(), past.sales.end_us.copy(), []
    for day in range(1, 1 + days * every, every):
        noon = to_us(past.start) + day * DAY_US + DAY_US // 2
        first = rows.start + int(np.searchsorted(ends[rows], noon))
        mine = slice(first, first + CANS)
        volume[mine] = 20.0
        volume[first + 1 : first + 2 * between : 2] = 31.7
        ends[mine] = noon + np.arange(1, CANS + 1) * HOUR_US // 60
        starts[mine] = ends[mine] - HOUR_US // 120
        signed = {SIGNED[each]: "签字人" for each in signers}
        orders.append(WorkOrder(STATION, device, from_us(noon), kind, **signed))
    sales = replace(past.sales, volume_l=volume, end_us=ends, start_us=starts)
    return replace(past, sales=sales, work_orders=tuple(orders))


@pytest.mark.parametrize(
    ("device", "kind", "signers", "per_day"),
    [
        ("nozzle", "verification", ("institute",), CANS),
        ("dispenser", "calibration", ("repairer", "station"), CANS),
        ("station", "verification", ("institute",), CANS),
        ("station", "repair", ("repairer", "station"), 0),
        ("station", "inspection", ("station",), 0),
        ("nozzle", "verification", ("station",), 0),
        ("nozzle", "repair", ("station",), 0),
        ("nozzle", "cleaning", ("institute", "repairer", "station"), 0),
        ("nozzle", "inspection", (), 0),
    ],
)
def test_whose_papers_make_fillings_draws(device, kind, signers, per_day):
    assert draws_of(cans(1, device, kind, *signers)).sum() == per_day
    # A run of round fillings of customers may look the same.
    assert 6 * per_day <= draws_of(cans(6, device, kind, *signers)).sum() <= 7 * per_day


@pytest.mark.parametrize(("kind", "signer", "found"), [("verification", "institute", 8), ("inspection", "station", 4)])
def test_customers_served_between_the_draws(kind, signer, found):
    """Eight cans, the last four in a row: a paper that only the station signed takes none but these."""
    draws = draws_of(cans(1, "nozzle", kind, signer, between=4))
    assert draws.sum() == found


@pytest.mark.parametrize(("every", "papers"), [(1, 2), (7, 5), (8, 5)])
def test_a_station_that_signs_alone_has_few_draws_a_week(every, papers):
    """Nine papers in nine days count twice: whoever signs them himself cannot call what he likes a draw."""
    days = 9 if every == 1 else papers
    for device in ("nozzle", "dispenser"):
        draws = draws_of(cans(days, device, "inspection", "station", every=every))
        assert draws.sum() == papers * CANS // 2


def test_a_cut_past_has_the_same_rises():
    past, _ = world(station=STATION)
    begin = past.start + timedelta(days=17, hours=5)
    cut = past.between(begin, past.end - timedelta(days=3))
    settled = to_us(begin) + 16 * DAY_US
    until = to_us(cut.end) - 2 * HOUR_US - DAY_US
    for whole, part in zip(courses(past), courses(cut), strict=True):
        those = [rise for rise in whole.rises if settled < rise.start_us < until]
        assert those
        assert [rise for rise in part.rises if settled < rise.start_us < until] == those


def test_readings_without_the_volume_at_20_degrees_are_reckoned():
    past, _ = world(station=STATION)
    bare = replace(
        past,
        levels={
            tank: replace(levels, volume_20c_l=np.full(len(levels), np.nan)) for tank, levels in past.levels.items()
        },
    )
    for whole, part in zip(courses(past), courses(bare), strict=True):
        assert np.abs(whole.volume_ml - part.volume_ml).max() < 40_000
        assert [rise.start_us for rise in whole.rises] == [rise.start_us for rise in part.rises]


def test_a_station_without_readings_has_no_course():
    past, _ = world(station=STATION)
    nothing = replace(past, levels={})
    assert courses(nothing) == ()
    assert not nothing.channels & {Channel.TANK_READINGS, Channel.TANK_DIPS}
