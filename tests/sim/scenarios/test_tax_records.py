"""T01 to T11: what each leaves in records and papers, what it leaves alone, and that honest worlds have none of it."""

from __future__ import annotations

from dataclasses import fields
from datetime import date

import numpy as np
import pytest
from evidence_records import (
    ROLL_L,
    Pool,
    balance,
    hidden_share,
    honest,
    identities,
    metered_l,
    noise_l,
    pick,
    sequence_steps,
    staged,
    tax_prices,
    totalizer_steps,
    unmatched,
    unrecorded,
    without_tax,
    world,
)

from pumpwatch_sim.dataset.offices import Books
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, Purpose, Sales
from pumpwatch_sim.world.work import Declaration, Papers

STATION = "S15"
"""A village station with eight nozzles and four tanks, none of them joined."""


def sold(pool: Pool) -> Sales:
    """All fillings, hidden ones too, as they truly were."""
    parts = [timeline.sales for timeline in pool.timelines]
    return Sales(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Sales)})


def differing(pool: Pool) -> set[str]:
    """Names of the columns of sales that are not as in the honest world."""
    mine, usual = sold(pool), sold(honest(STATION, len(pool.timelines)))
    assert len(mine) == len(usual)
    return {
        f.name
        for f in fields(Sales)
        if not np.array_equal(getattr(mine, f.name), getattr(usual, f.name), equal_nan=True)
    }


def test_an_honest_station_leaves_none_of_it() -> None:
    pool = honest(STATION)
    assert tax_prices(pool.transactions).size == 0
    assert without_tax(pool.transactions).size == 0
    assert sequence_steps(pool.transactions).size == 0
    assert (totalizer_steps(pool.transactions) == 0.0).all()
    assert identities(pool) == []
    for tank in range(4):
        assert unrecorded(pool, tank).size == 0
        assert unmatched(pool, tank) == ([], [])


@pytest.mark.parametrize("percent", [5.0, 30.0, 98.99])
def test_t01_tax_records_are_missing(percent: float) -> None:
    pool = world("T01", STATION, percent=percent)
    after = pool.after(pool.transactions, "end")
    assert without_tax(pool.before(pool.transactions, "start")).size == 0
    assert without_tax(after).size / len(after["seq"]) == pytest.approx(percent / 100, abs=0.03)
    assert metered_l(after) > np.nansum(after["tax_l"])
    assert sequence_steps(pool.transactions).size == 0
    assert differing(pool) == {"tax_volume", "tax_amount"}


def test_t02_another_tax_memory_with_older_numbers() -> None:
    pool = world("T02", STATION, dispenser=f"{STATION}-D1", records=150, hours=12)
    nozzles = len(pool.station.dispensers[0].nozzles)
    assert sequence_steps(pool.transactions).tolist() == [-149] * nozzles
    blank = pick(pool.transactions, without_tax(pool.transactions))
    assert set(blank["nozzle"]) <= set(range(nozzles))
    assert blank["start"].min() >= pool.onset_us
    assert blank["start"].max() < pool.onset_us + 12 * HOUR_US
    (event,) = identities(pool)
    assert event.device_id == f"{STATION}-D1"
    assert str(event.detail["tax_serial"]) != pool.station.dispensers[0].registered.tax_serial
    assert differing(pool) == {"seq", "tax_volume", "tax_amount"}


def test_t03_totalizers_go_back() -> None:
    pool = world("T03", STATION, nozzle=f"{STATION}-N03", litres=5_000)
    steps = totalizer_steps(pool.transactions)
    assert steps[steps != 0.0].tolist() == [-5_000.0]
    assert differing(pool) == {"totalizer", "totalizer_amount"}
    assert (sold(pool).totalizer >= 0).all()
    assert (sold(pool).totalizer < ROLL_L * 100).all()


@pytest.mark.parametrize("records", [1, 20, 200])
def test_t04_numbers_are_missing_and_totalizers_tell_how_much(records: int) -> None:
    pool = world("T04", STATION, nozzle=f"{STATION}-N02", records=records)
    (gap,) = sequence_steps(pool.transactions)
    assert gap == records + 1
    gone = ~sold(pool).recorded
    assert gone.sum() == records
    litres = sold(pool).volume[gone].sum() / 100
    assert totalizer_steps(pool.transactions).sum() == pytest.approx(litres)
    assert (sold(pool).tax_volume[gone] == NO_TAX_RECORD).all()
    assert differing(pool) == {"recorded", "tax_volume", "tax_amount"}


def test_t04_the_tank_falls_without_a_sale() -> None:
    pool = world("T04", STATION, nozzle=f"{STATION}-N04", records=200)
    rows = unrecorded(pool, 3)
    assert rows.size > 20
    assert (balance(pool, 3).at_us[rows] > pool.onset_us).all()


def test_t05_the_tank_falls_at_night_and_totalizers_jump() -> None:
    pool = world("T05", STATION, nozzle=f"{STATION}-N01", litres=150)
    hidden = sold(pool).purpose == Purpose.HIDDEN
    assert hidden.sum() in {6, 7}
    assert not sold(pool).recorded[hidden].any()
    assert (sold(pool).tax_volume[hidden] == NO_TAX_RECORD).all()
    steps = totalizer_steps(pool.transactions)
    assert steps[steps != 0.0] == pytest.approx([150.0] * int((steps != 0.0).sum()), abs=1.0)
    assert (steps != 0.0).sum() >= 5
    assert sequence_steps(pool.transactions).size == 0
    rows = unrecorded(pool, 0)
    course = balance(pool, 0)
    assert rows.size >= 4
    assert all((np.abs(sold(pool).start_us[hidden] - at) < HOUR_US).any() for at in course.at_us[rows])


def test_t06_a_tank_loses_what_no_meter_counts() -> None:
    pool = world("T06", STATION, tank=f"{STATION}-T3", litres_per_day=800)
    rows = unrecorded(pool, 2)
    course = balance(pool, 2)
    assert rows.size >= 16
    assert (course.at_us[rows] > pool.onset_us).all()
    assert (totalizer_steps(pool.transactions) == 0.0).all()
    share = 7 * 800 / course.sold_l.sum()
    assert hidden_share(pool, 2) - hidden_share(honest(STATION), 2) == pytest.approx(share, abs=0.2 * share)


def months(revenue: float = 7_000.0) -> list[Declaration]:
    return [
        Declaration(STATION, f"2026-{month:02d}", "92#", 1_000.0, 1_000.0, revenue, revenue * 0.13)
        for month in (3, 4, 5)
    ]


def papers_of(pool: Pool, declarations: list[Declaration]) -> Papers:
    """The office's papers after the scenarios have had their say."""
    papers = Papers(pool.station, date(2026, 3, 2), date(2026, 5, 31), declarations, [], [], [], {})
    for scenario in pool.scenarios:
        scenario.papers(papers)
    return papers


def test_t07_less_is_declared() -> None:
    pool = world("T07", STATION, 1, onset="2026-04-16T00:00:00+08:00", percent=20)
    march, april, may = papers_of(pool, months()).declarations
    assert (march.declared_sale_l, march.declared_revenue_cny) == (1_000.0, 7_000.0)
    assert (april.declared_sale_l, april.declared_revenue_cny) == (900.0, 6_300.0)
    assert (may.declared_sale_l, may.declared_revenue_cny, may.tax_paid_cny) == (800.0, 5_600.0, 728.0)
    assert may.declared_purchase_l == 1_000.0
    assert differing(pool) == set()


def april(pool: Pool) -> tuple[float, float]:
    """X3: declared litres and money of the one whole month, as shares of what the dispensers' records add up to."""
    start_us = pool.timelines[0].start_us + DAY_US
    books = Books(pool.station, 1, start_us, pool.timelines[-1].end_us)
    for timeline in pool.timelines:
        books.add(timeline)
    papers = books.papers()
    for scenario in pool.scenarios:
        scenario.papers(papers)
    assert {each.period for each in papers.declarations} == {"2026-04"}
    ends = pool.transactions["end"] + 8 * HOUR_US
    rows = ends.astype("datetime64[us]").astype("datetime64[M]") == np.datetime64("2026-04")
    sales = pick(pool.transactions, rows & (pool.transactions["purpose"] == Purpose.CUSTOMER))
    return (
        sum(each.declared_sale_l for each in papers.declarations) / float(sales["volume_l"].sum()),
        sum(each.declared_revenue_cny for each in papers.declarations) / float(sales["amount_cny"].sum()),
    )


@pytest.mark.parametrize(
    ("name", "parameters", "litres", "money"),
    [
        ("", {}, 1.0, 1.0),
        ("T01", {"percent": 30.0}, 0.7, 0.7),
        ("T07", {"percent": 20.0}, 0.8, 0.8),
        ("T10", {"percent": 3.0}, 1.0, 0.97),
    ],
)
def test_declared_against_metered(name: str, parameters: dict[str, object], litres: float, money: float) -> None:
    pool = world(name, STATION, 9, onset="P0D", **parameters) if name else honest(STATION, 9)
    exact = 0.03 if name == "T01" else 0.001
    assert april(pool) == pytest.approx((litres, money), abs=exact)


def test_t08_rises_without_a_paper() -> None:
    pool = world("T08", STATION, 3, onset="P0D", tank=f"{STATION}-T1", litres=4_000)
    strange, unfounded = unmatched(pool, 0)
    assert len(strange) >= 2
    assert unfounded == []
    assert strange == pytest.approx([4_000.0] * len(strange), rel=0.5)
    assert hidden_share(pool, 0) < hidden_share(honest(STATION, 3), 0) - 0.1


def test_t09_papers_without_a_rise() -> None:
    pool = world("T09", STATION, 3, onset="P0D", tank=f"{STATION}-T1", litres=10_000, percent=100)
    strange, unfounded = unmatched(pool, 0)
    assert strange == []
    assert len(unfounded) >= 2
    assert unfounded == pytest.approx([10_000.0] * len(unfounded), rel=0.05)
    assert len(set(pool.deliveries["document_no"])) == len(pool.deliveries["document_no"])
    assert hidden_share(pool, 0) > hidden_share(honest(STATION, 3), 0) + 0.1


def test_t10_the_tax_price_is_lower() -> None:
    pool = world("T10", STATION, percent=3)
    after = pool.after(pool.transactions, "end")
    assert tax_prices(pool.before(pool.transactions, "start")).size == 0
    assert tax_prices(after).size == len(after["seq"])
    assert (after["tax_cny"] / after["amount_cny"]).mean() == pytest.approx(0.97, abs=0.001)
    assert differing(pool) == {"tax_amount"}


def test_t11_a_tenth_of_the_diesel_is_own_use() -> None:
    pool = world("T11", STATION)
    now = sold(pool).start_us >= pool.onset_us
    diesel = np.array([nozzle.registered.grade == "0#" for nozzle in pool.station.nozzles])[sold(pool).nozzle]
    own = sold(pool).purpose == Purpose.OWN_USE
    assert not own[~(diesel & now)].any()
    assert own[diesel & now].mean() == pytest.approx(0.1, abs=0.05)
    assert (sold(pool).tax_volume[own] == NO_TAX_RECORD).all()
    assert differing(pool) == {"purpose", "tax_volume", "tax_amount"}
    assert without_tax(pool.transactions).size == own.sum()


@pytest.mark.parametrize("name", ["T05", "T06"])
def test_nothing_happens_before_the_onset_and_after_the_end(name: str) -> None:
    staging = staged({"name": name, "station": STATION, "onset": "P6D", "lasts": "P2D"})
    (scenario,) = staging.scenarios
    assert scenario.end_us == scenario.onset_us + 2 * DAY_US
    pool = world(name, STATION, lasts="P2D")
    for tank in range(4):
        course = balance(pool, tank)
        for row in unrecorded(pool, tank):
            assert scenario.onset_us < course.at_us[row] < scenario.end_us + HOUR_US
    assert noise_l(balance(pool, 0)) > 0.5
