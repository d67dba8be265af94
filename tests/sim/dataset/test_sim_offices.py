"""What offices hold about a station follows from what happened there."""

from __future__ import annotations

from dataclasses import fields
from datetime import date, datetime, timedelta

import numpy as np
import pytest

from pumpwatch.model import to_us
from pumpwatch_sim.county import build_county
from pumpwatch_sim.dataset.offices import CERTIFICATE_DAYS, PURCHASE_SHARE, SALES_PER_REPORT, Books
from pumpwatch_sim.world.people import LOCAL
from pumpwatch_sim.world.plans import StationPlan
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, Drop, Purpose, Sales, Timeline
from pumpwatch_sim.world.work import Papers

START = datetime(2026, 6, 1, tzinfo=LOCAL)
MINUTE_US = 60_000_000


@pytest.fixture(scope="module")
def station() -> StationPlan:
    return build_county(1, date(2026, 6, 1), 2).stations[0]


def sales_of(at: list[datetime], **columns: list[float]) -> Sales:
    """Fillings of a minute that begin at these times: 10 L for 70 CNY unless said otherwise."""
    start = np.array([to_us(one) for one in at], np.int64)
    made: dict[str, np.ndarray] = {f.name: np.zeros(len(at), np.int64) for f in fields(Sales)}
    made |= {"start_us": start, "lifted_us": start, "end_us": start + MINUTE_US, "hung_us": start + MINUTE_US}
    made |= {"out_l": np.full(len(at), 10.0), "volume": np.full(len(at), 1000), "recorded": np.ones(len(at), bool)}
    made |= {"tax_volume": np.full(len(at), 1000), "tax_amount": np.full(len(at), 7000)}
    return Sales(**(made | {name: np.array(column) for name, column in columns.items()}))


def papers_of(station: StationPlan, sales: Sales, days: int, drops: list[Drop] | None = None) -> Papers:
    start_us, end_us = to_us(START), to_us(START + timedelta(days=days))
    books = Books(station, 1, start_us, end_us)
    books.add(Timeline(station, 0, start_us, start_us, end_us, sales, (), drops=drops or []))
    return books.papers()


def drop(station: StationPlan, at: datetime, litres: float, *, documented: bool = True) -> Drop:
    tank = next(nozzle.tank for nozzle in station.nozzles)
    us = to_us(at)
    return Drop(
        station.tanks.index(tank),
        us,
        us + MINUTE_US,
        litres,
        15.0,
        740.0,
        "T",
        "S",
        litres,
        litres,
        documented=documented,
    )


def test_whole_months_are_declared_as_tax_control_has_them(station: StationPlan) -> None:
    june, july, august = START, START + timedelta(days=35), START + timedelta(days=62)
    sales = sales_of(
        [june, june + timedelta(hours=1), june + timedelta(hours=2), july, august],
        tax_volume=[1000, NO_TAX_RECORD, 1000, 3000, 5000],
        tax_amount=[7000, 0, 7000, 21000, 35000],
        purpose=[Purpose.CUSTOMER, Purpose.OWN_USE, Purpose.TEST_DRAW, Purpose.CUSTOMER, Purpose.CUSTOMER],
    )
    drops = [drop(station, june, 9_000.0), drop(station, june + timedelta(days=3), 500.0, documented=False)]
    grade = station.nozzles[0].registered.grade
    declared = {(d.period, d.grade): d for d in papers_of(station, sales, 75, drops).declarations}
    assert {period for period, _ in declared} == {"2026-06", "2026-07"}
    one = declared["2026-06", grade]
    assert (one.declared_sale_l, one.declared_revenue_cny, one.declared_purchase_l) == (10.0, 70.0, 9_000.0)
    assert declared["2026-07", grade].declared_sale_l == 30.0
    bought_for_july = declared["2026-07", grade].declared_purchase_l * PURCHASE_SHARE * 7.0
    assert declared["2026-07", grade].tax_paid_cny == pytest.approx((210.0 - bought_for_july) * 0.13 / 1.13, abs=0.01)
    assert len(declared) == 2 * len({nozzle.registered.grade for nozzle in station.nozzles})


def test_nothing_is_declared_of_half_a_month(station: StationPlan) -> None:
    assert papers_of(station, sales_of([START]), 29).declarations == []


def test_test_draws_become_a_certificate(station: StationPlan) -> None:
    at = START + timedelta(days=12, hours=10)
    sales = sales_of(
        [at, at + timedelta(minutes=5), at + timedelta(minutes=9)],
        purpose=[Purpose.TEST_DRAW, Purpose.TEST_DRAW, Purpose.CUSTOMER],
        out_l=[9.99, 19.98, 9.0],
        volume=[1000, 2000, 1000],
    )
    papers = papers_of(station, sales, 20)
    nozzle = station.nozzles[0].registered.nozzle_id
    order = next(order for order in papers.work_orders if order.device_id == nozzle)
    assert order.kind == "verification"
    assert order.at == at + timedelta(minutes=6)
    assert order.error_percent == pytest.approx(0.1, abs=0.002)
    assert papers.ledger[nozzle] == {
        "certificate_no": order.certificate_no,
        "certificate_expires": at.date() + timedelta(days=CERTIFICATE_DAYS),
    }


def test_no_certificate_runs_out_in_an_honest_period(station: StationPlan) -> None:
    papers = papers_of(station, sales_of([]), 90)
    renewed = {order.device_id: order for order in papers.work_orders if order.kind == "verification"}
    assert renewed
    for nozzle in station.nozzles:
        expires = nozzle.registered.certificate_expires
        assert expires is not None
        if expires <= papers.end:
            order = renewed[nozzle.registered.nozzle_id]
            assert papers.start <= order.at.astimezone(LOCAL).date() <= expires
            assert papers.ledger[nozzle.registered.nozzle_id]["certificate_expires"] > papers.end
        else:
            assert nozzle.registered.nozzle_id not in renewed


def test_certificates_are_renewed_as_often_as_they_run_out(station: StationPlan) -> None:
    papers = papers_of(station, sales_of([]), 500)
    for nozzle in station.nozzles:
        name, until = nozzle.registered.nozzle_id, nozzle.registered.certificate_expires
        renewals = [order for order in papers.work_orders if (order.device_id, order.kind) == (name, "verification")]
        assert len(renewals) >= 2
        for order in renewals:
            day = order.at.astimezone(LOCAL).date()
            assert until is not None
            assert day <= until
            until = day + timedelta(days=CERTIFICATE_DAYS)
        assert papers.ledger[name] == {"certificate_no": renewals[-1].certificate_no, "certificate_expires": until}
        assert until is not None
        assert until > papers.end


def test_few_of_many_customers_call(station: StationPlan) -> None:
    count = 3 * SALES_PER_REPORT
    at = [START + timedelta(seconds=second) for second in range(count)]
    reports = papers_of(station, sales_of(at), 60).reports
    assert 0 < len(reports) < 15
    assert all("{" not in report.text for report in reports)


def test_a_covert_test_tells_what_came_out(station: StationPlan) -> None:
    at = START + timedelta(days=3)
    sales = sales_of([at], purpose=[Purpose.COVERT_TEST], out_l=[19.4], volume=[2000])
    (test,) = papers_of(station, sales, 20).covert_tests
    assert test.displayed_l == 20.0
    assert test.measured_l == pytest.approx(19.4, rel=0.003)
