"""The documented cases: each is what its report says, and the parts know of each other's station alone."""

from __future__ import annotations

import numpy as np
import pytest
from evidence import STATION, customers, found, orders_of, profile, sales_of, steps, truly_short, world
from evidence_records import staged

from pumpwatch_sim.scenarios.cases import SCENARIOS, Case
from pumpwatch_sim.scenarios.catalogue import find
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, Preset


@pytest.mark.parametrize(
    ("name", "values", "leaves"),
    [
        ("case_baotou_2023", {"visit_days": 3.0}, {"D6", "P6", "P10", "F2"}),
        ("case_ordos_2025_99_to_1", {}, {"D6", "P6", "P10", "F1"}),
        ("case_chifeng_2025", {}, {"D6", "P6", "P10", "F1"}),
        ("case_neijiang", {}, {"D5", "D6", "P6", "F1"}),
        ("case_qingdao", {}, {"D5", "D6", "P6"}),
        ("case_hangzhou_2007", {}, {"D1", "D7", "P6"}),
        ("case_zhoukou_remote", {}, {"F1", "P6", "P10"}),
        ("case_shangqiu_2022", {}, {"F1", "P6"}),
        ("case_weifang", {}, {"F1", "P6"}),
        ("case_los_angeles_1998", {}, {"F1", "P6", "P10"}),
        ("case_india_pulser", {}, {"F1", "P6"}),
    ],
)
def test_a_case_leaves_the_evidence_of_its_techniques(name: str, values: dict[str, object], leaves: set[str]) -> None:
    pool = world(name, **values)
    seen = found(pool)
    assert leaves <= seen
    assert {check for check in seen if check.startswith("D")} == {check for check in leaves if check.startswith("D")}


def test_every_case_is_tested_and_in_the_catalogue() -> None:
    assert len(SCENARIOS) == 11
    assert all(find(kind.name) is kind and kind.name.startswith("case_") for kind in SCENARIOS)


@pytest.mark.parametrize("kind", SCENARIOS, ids=lambda kind: kind.name)
def test_truth_names_each_part_at_the_station(kind: type[Case]) -> None:
    staging = staged({"name": kind.name, "station": STATION, "onset": "P8D"}, count=4)
    items = staging.scenarios[0].truth({STATION: staging.station(STATION)})
    assert items
    assert {item.subject.station_id for item in items} == {STATION}
    assert len({(item.cause, item.subject.key) for item in items}) == len(items)
    assert kind.cause in {item.cause for item in items}
    assert all(item.onset_us >= staging.scenarios[0].onset_us for item in items)


def test_of_a_hundred_sales_one_is_told_to_the_tax_office() -> None:
    pool = world("case_ordos_2025_99_to_1")
    sales = customers(pool)
    after = sales.start_us >= pool.onset_us
    assert 0.97 < (sales.tax_volume[after] == NO_TAX_RECORD).mean() <= 1.0
    assert (sales.tax_volume[~after] != NO_TAX_RECORD).all()
    departments = {each for item in pool.scenarios[0].truth({STATION: pool.station}) for each in item.departments}
    assert {"tax", "market_regulation", "police"} <= {each.value for each in departments}


def test_91_per_cent_of_the_revenue_is_hidden() -> None:
    pool = world("case_chifeng_2025")
    sales = customers(pool)
    after = sales.take(sales.start_us >= pool.onset_us)
    told = after.tax_amount[after.tax_volume != NO_TAX_RECORD].sum()
    assert 1.0 - told / after.amount.sum() == pytest.approx(0.91, abs=0.02)


def test_two_per_cent_boards_go_in_night_after_night() -> None:
    pool = world("case_neijiang", 4)
    changes = {
        (change.at_us, change.dispenser_id, change.mainboard_serial)
        for timeline in pool.timelines
        for change in timeline.identities
    }
    assert len(changes) == 2
    assert len({serial for _, _, serial in changes}) == 2
    moments = sorted(at for at, _, _ in changes)
    assert 20 <= (moments[1] - moments[0]) / 3_600e6 <= 28
    hit = {dispenser for _, dispenser, _ in changes}
    for nozzle, step in steps(pool).items():
        if pool.station.nozzles[nozzle].registered.dispenser_id in hit:
            assert 0.014 < step < 0.028
        else:
            assert abs(step) < 0.004


def test_35_litres_are_shown_for_33_6() -> None:
    pool = world("case_hangzhou_2007", percent=4.0, percent_high=4.0)
    sales = sales_of(pool)
    jumped = np.flatnonzero(sales.jump)
    given = 35.0 * (1.0 - sales.jump[jumped] / sales.volume[jumped])
    assert given.mean() == pytest.approx(33.6, abs=0.15)
    assert set(sales.nozzle[jumped].tolist()) == set(range(len(pool.station.nozzles)))
    display, _ = profile(sales, int(jumped[0]))
    assert np.diff(display).max() > 0.6


def test_ten_litres_are_shown_as_10_33_10_80_and_12_71() -> None:
    sales = customers(world("case_zhoukou_remote", share=30.0))
    shown = 10.0 * (1.0 + truly_short(sales))
    shown = shown[sales.volume > 1500]
    for litres in (10.33, 10.80, 12.71):
        assert (np.abs(shown - litres) < 0.06).sum() > 5
    assert ((shown > 11.0) & (shown < 12.5)).sum() == 0


def test_the_switch_at_the_desk_is_on_for_hours() -> None:
    pool = world("case_shangqiu_2022", 4)
    short = {nozzle: step for nozzle, step in steps(pool).items() if step > 0.004}
    assert len(short) == 2
    sales = customers(pool)
    for nozzle in short:
        mine = sales.take((sales.nozzle == nozzle) & (sales.start_us >= pool.onset_us) & (sales.volume > 1500))
        on = truly_short(mine) > 0.015
        assert 0.35 < on.mean() < 0.85
        # Neighbours in time are mostly alike.
        assert (on[1:] == on[:-1]).mean() > 0.8


def test_chips_are_right_at_the_gallons_inspectors_draw() -> None:
    pool = world("case_los_angeles_1998", 2, "P6D")
    sales = customers(pool)
    after = sales.take((sales.lifted_us >= pool.onset_us) & (sales.volume > 1000))
    drawn = after.preset == Preset.NONE
    right = np.zeros(len(after), bool)
    for litres in (18.927, 37.854):
        right |= drawn & (np.abs(after.out_l - litres) < 0.04)
    near = drawn & ((np.abs(after.out_l - 18.927) < 0.07) | (np.abs(after.out_l - 37.854) < 0.07))
    short = truly_short(after)
    assert right.any()
    assert np.abs(short[right]).max() < 0.01
    assert short[~near].min() > 0.05


def test_inspectors_in_baotou_find_every_dispenser_right() -> None:
    pool = world("case_baotou_2023", 3, visit_days=3.0)
    orders = [order for order in orders_of(pool) if order.kind == "inspection"]
    dispensers = {dispenser.registered.dispenser_id for dispenser in pool.station.dispensers}
    assert len(orders) >= 2 * len(pool.station.dispensers)
    assert {order.device_id for order in orders} == dispensers
    ratios = pool.scenarios[0].parts(pool.station)[0].ratios(pool.station)
    assert 0.0123 <= ratios.min() <= ratios.max() <= 0.023
