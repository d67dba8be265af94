"""Whatever happens, the world stays whole: fuel is neither made nor lost, and counters and clocks run on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from evidence_records import (
    Pool,
    lost_links,
    pick,
    pooled,
    sent_again,
    sequence_steps,
    staged,
    tax_prices,
    totalizer_steps,
    unmatched,
    without_tax,
)

from pumpwatch_sim.scenarios.base import Scenario
from pumpwatch_sim.scenarios.catalogue import SCENARIOS
from pumpwatch_sim.staging import Staging
from pumpwatch_sim.world.timeline import OutageKind, Purpose

DISTURBING = {"C02", "H11"}
"""They reach other scenarios' stations."""
QUIET = [kind for kind in SCENARIOS if not kind.cause and kind.id not in {*DISTURBING, "C05"}]


def by_id(kind: type[Scenario]) -> str:
    return kind.id


@lru_cache(maxsize=1)
def everything() -> Staging:
    kinds = [kind for kind in SCENARIOS if kind.id not in DISTURBING]
    return staged(*({"name": kind.name, "onset": "P2D"} for kind in kinds), count=138)


def county_of(kind: type[Scenario]) -> Staging:
    """The county in which it happens."""
    return staged({"name": kind.name, "onset": "P2D"}) if kind.id in DISTURBING else everything()


def happening(kind: type[Scenario]) -> Pool:
    """Its station's first fortnight."""
    staging = county_of(kind)
    (scenario,) = (each for each in staging.scenarios if type(each) is kind)
    return pooled(staging, scenario.target.station_id, 2)


@pytest.fixture(scope="module", params=SCENARIOS, ids=by_id)
def kind(request: pytest.FixtureRequest) -> type[Scenario]:
    """Module-wide, so that all tests of one kind share its pool."""
    found: type[Scenario] = request.param
    return found


@pytest.fixture(scope="module")
def pool(kind: type[Scenario]) -> Pool:
    return happening(kind)


def at_20c(litres: np.ndarray, temperature_c: np.ndarray, expansion: float) -> np.ndarray:
    """By the definition in ``Product``."""
    return litres * (1.0 - expansion * (temperature_c - 20.0))


def test_fuel_is_neither_made_nor_lost(pool: Pool) -> None:
    for timeline in pool.timelines:
        sales = timeline.sales
        grades = {tank.product.grade for tank in pool.station.tanks}
        for grade in grades:
            of = [index for index, tank in enumerate(pool.station.tanks) if tank.product.grade == grade]
            expansion = pool.station.tanks[of[0]].product.expansion
            drawn_from = np.array([nozzle.tank.product.grade == grade for nozzle in pool.station.nozzles])
            change = sum(float(timeline.tanks[t].stock_20c_l[-1] - timeline.tanks[t].stock_20c_l[0]) for t in of)
            came = sum(drop.litres_20c for drop in timeline.drops if drop.tank in of)
            back = sum(litres for tank, _, litres in timeline.returns if tank in of)
            lost = sum(sum(timeline.tanks[t].losses_20c_l.values()) for t in of)
            mine = drawn_from[sales.nozzle]
            out = float(at_20c(sales.out_l, sales.temperature_c, expansion)[mine].sum())
            assert change == pytest.approx(came + back - lost - out, abs=1e-6), grade


def test_stretches_join_without_a_seam(pool: Pool) -> None:
    first, second = pool.timelines
    assert first.end_us == second.start_us
    for before, after in zip(first.tanks, second.tanks, strict=True):
        assert before.stock_20c_l[-1] == pytest.approx(after.stock_20c_l[0], abs=1e-9)
        assert before.at_us[-1] == after.at_us[0]
        assert (before.stock_20c_l > 0).all()
        assert (before.stock_20c_l < before.plan.true_chart.capacity_l * 1.02).all()
    for timeline in (first, second):
        for course in timeline.tanks:
            assert (np.diff(course.at_us) >= 0).all()
        starts = [drop.start_us for drop in timeline.drops]
        assert starts == sorted(starts)
        assert all(timeline.start_us <= drop.start_us <= drop.end_us <= timeline.end_us for drop in timeline.drops)


def test_nobody_fills_twice_at_once(pool: Pool) -> None:
    for timeline in pool.timelines:
        sales = timeline.sales
        assert (np.lexsort((sales.nozzle, sales.start_us)) == np.arange(len(sales))).all()
        for moments in (
            (sales.lifted_us, sales.start_us),
            (sales.start_us, sales.end_us),
            (sales.end_us, sales.hung_us),
        ):
            assert (moments[0] <= moments[1]).all()
        for nozzle in range(len(timeline.station.nozzles)):
            mine = sales.take(sales.nozzle == nozzle)
            assert (mine.lifted_us[1:] >= mine.hung_us[:-1]).all()
        unseen = ~sales.recorded
        assert (sales.tax_amount[sales.tax_volume < 0] == 0).all()
        assert unseen[sales.purpose == Purpose.HIDDEN].all()


def test_asking_twice_gives_the_same(kind: type[Scenario], pool: Pool) -> None:
    again = pooled(county_of(kind), pool.station.station_id, 1)
    rows = len(again.transactions["seq"])
    for name, column in again.transactions.items():
        assert np.array_equal(column, pool.transactions[name][:rows], equal_nan=column.dtype.kind == "f"), name
    assert again.timelines[0].identities == pool.timelines[0].identities
    assert again.events == pool.events[: len(again.events)]


def test_honest_scenarios_leave_no_evidence(kind: type[Scenario], pool: Pool) -> None:
    if kind not in QUIET:
        return
    sales = pool.transactions
    assert sequence_steps(sales).size == 0
    assert (totalizer_steps(sales) == 0.0).all()
    assert tax_prices(sales).size == 0
    assert without_tax(pick(sales, sales["purpose"] != Purpose.OWN_USE)).size == 0
    assert sent_again(sales) == (0, 0)
    assert lost_links(pool) == 0
    for tank in range(len(pool.station.tanks)):
        assert unmatched(pool, tank) == ([], [])


def test_outages_are_told_whole_to_every_stretch(pool: Pool) -> None:
    deaf = {OutageKind.UNPLUGGED, OutageKind.JAMMED}
    cuts = {each for timeline in pool.timelines for each in timeline.outages if each.kind in deaf}
    assert len({each.end_us - each.start_us for each in cuts}) <= 1
