"""H01 to H20: honest days leave none of the evidence of fraud, though something does happen."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from evidence import CHECKS, STATION, balance, customers, found, orders_of, sales_of, truly_short, world
from evidence_records import pick, pooled, rises, sent_again, staged

from pumpwatch.model import EventKind, to_us
from pumpwatch_sim.scenarios.base import Scenario
from pumpwatch_sim.scenarios.honest import SCENARIOS as DAYS
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US, LOCAL_OFFSET_US, MINUTE_US
from pumpwatch_sim.scenarios.upkeep import SCENARIOS as UPKEEP
from pumpwatch_sim.world.clocks import offset_s
from pumpwatch_sim.world.prices import changes, price_at
from pumpwatch_sim.world.timeline import TOTALIZER_ROLL, OutageKind, Preset, Purpose


@pytest.mark.parametrize("kind", sorted((*DAYS, *UPKEEP), key=lambda kind: kind.id), ids=lambda kind: kind.id)
def test_nothing_of_fraud_is_seen(kind: type[Scenario]) -> None:
    assert found(world(kind.name)) == set()


def test_the_checks_are_those_of_the_frauds() -> None:
    """What is quiet here is loud in ``test_frauds_*``."""
    assert set(CHECKS) == {"D1", "D2", "D3", "D5", "D6", "D7", "D8", "P6", "P10", "F1", "F2", "F3", "Q1", "Q2"}


def test_only_the_worn_meter_is_no_honest_scenario() -> None:
    assert [kind.id for kind in (*DAYS, *UPKEEP) if kind.cause] == ["H17"]


def test_a_swing_of_weather_warms_the_tank_and_hot_loads_measure_more() -> None:
    pool, calm = world("H01", 3), world("H20", 3)
    warm = [
        np.concatenate([timeline.tanks[0].temperature_c for timeline in each.timelines]).max() for each in (pool, calm)
    ]
    assert warm[0] > warm[1] + 1.0
    for drop in (drop for timeline in pool.timelines for drop in timeline.drops):
        swollen = drop.declared_l / drop.declared_20c_l - 1.0
        expansion = pool.station.tanks[drop.tank].product.expansion
        assert swollen == pytest.approx(expansion * (drop.temperature_c - 20.0), abs=0.004)


def test_a_drifting_meter_stays_within_the_law() -> None:
    pool = world("H02", 4, days=15.0)
    nozzle = pool.scenarios[0].target.nozzle
    sales = customers(pool)
    mine = (sales.nozzle == nozzle) & (sales.volume > 2000)
    last = mine & (sales.start_us > pool.onset_us + 15 * DAY_US)
    moved = truly_short(sales)[last].mean() - truly_short(sales)[mine & (sales.start_us < pool.onset_us)].mean()
    assert 0.0008 < abs(moved) < 0.003
    assert abs(truly_short(sales)[last].mean()) < 0.004


def test_the_rush_comes_and_goes() -> None:
    pool = world("H03", 3, "P2D", days=6.0)
    sales = customers(pool)
    days = (sales.start_us - pool.onset_us) // DAY_US
    usual, rush, after = (
        (days >= 9).sum() / (days.max() - 8),
        ((days >= 0) & (days < 6)).sum() / 6,
        ((days >= 6) & (days < 9)).sum() / 3,
    )
    assert rush > 1.5 * usual
    assert after < 0.4 * usual


def test_a_load_in_two_compartments_is_two_rises_with_two_papers() -> None:
    pool = world("H04", 4, "P2D")
    tank = pool.scenarios[0].target.tank
    drops = [
        drop
        for timeline in pool.timelines
        for drop in timeline.drops
        if drop.tank == tank and drop.start_us >= pool.onset_us
    ]
    assert len(drops) >= 2
    gaps = [second.start_us - first.end_us for first, second in pairwise(drops)]
    assert any(0 < gap < 20 * MINUTE_US for gap in gaps)
    assert len({drop.document_no for drop in drops}) == len(drops)
    assert rises(pool, tank)


def test_nobody_fills_in_the_dark_and_numbers_go_on() -> None:
    pool = world("H05", 2, "P6DT2H")
    dark = (pool.onset_us, pool.onset_us + 2 * HOUR_US)
    sales = sales_of(pool)
    assert not ((sales.hung_us > dark[0]) & (sales.lifted_us < dark[1])).any()
    assert {event.device_id for event in pool.events if event.kind is EventKind.POWER} == {
        dispenser.registered.dispenser_id for dispenser in pool.station.dispensers
    }
    assert [
        outage.kind for timeline in pool.timelines for outage in timeline.outages if outage.start_us == dark[0]
    ] == [OutageKind.POWER]


def test_backfill_is_whole_but_out_of_order() -> None:
    pool = world("H06", 2, "P2D")
    end = pool.transactions["end"]
    assert (np.diff(end) < -HOUR_US).sum() > 20
    assert sent_again(pool.transactions) == (0, 0)
    assert len(end) == sum(timeline.sales.recorded.sum() for timeline in pool.timelines)


def test_the_price_is_held_over_midnight() -> None:
    pool = world("H07", 4, "PT0S")
    sales = sales_of(pool)
    moments = {change.at_us for change in changes(pool.station, pool.onset_us, pool.timelines[-1].end_us)}
    assert moments
    across = [row for at in moments for row in np.flatnonzero((sales.lifted_us < at) & (sales.end_us > at)).tolist()]
    assert len(across) >= len(pool.station.nozzles) // 2
    for row in across:
        assert sales.price[row] == price_at(pool.station, int(sales.nozzle[row]), int(sales.lifted_us[row]))
        assert sales.price[row] != price_at(pool.station, int(sales.nozzle[row]), int(sales.end_us[row]))


def test_draws_of_a_verification_go_back_into_the_tank() -> None:
    pool = world("H08", 3, draws=24)
    sales = sales_of(pool)
    draws = sales.take(sales.purpose == Purpose.TEST_DRAW)
    assert len(draws) == 24
    assert set(draws.volume.tolist()) <= {500, 1000, 2000}
    assert (draws.preset == Preset.LITRES).all()
    assert set(((draws.start_us + LOCAL_OFFSET_US) // DAY_US).tolist()) == {(pool.onset_us + LOCAL_OFFSET_US) // DAY_US}
    returned = sum(litres for timeline in pool.timelines for _, _, litres in timeline.returns)
    drawn = draws.out_l * (1.0 - 0.0012 * (draws.temperature_c - 20.0))
    assert returned == pytest.approx(drawn.sum(), rel=0.01)
    assert draws.flow_l_min.min() < 15.0 < draws.flow_l_min.max()


def test_a_recalibration_is_a_step_with_papers() -> None:
    pool = world("H09", 4, "P12D")
    nozzle = pool.scenarios[0].target.nozzle
    sales = customers(pool)
    mine = (sales.nozzle == nozzle) & (sales.volume > 2000)
    before, after = (
        truly_short(sales)[mine & side].mean()
        for side in (sales.start_us < pool.onset_us, sales.start_us > pool.onset_us)
    )
    assert after - before == pytest.approx(-0.0025, abs=6e-4)
    orders = [order for order in orders_of(pool) if order.kind == "calibration"]
    assert [to_us(order.at) for order in orders] == [pool.onset_us]
    assert orders[0].certificate_no
    assert orders[0].signed_by_institute
    assert [event.detail["state"] for event in pool.events if event.kind is EventKind.SEAL] == ["broken", "intact"]


def test_own_use_is_booked_every_day() -> None:
    pool = world("H10", 3, "P1D")
    sales = sales_of(pool)
    own = sales.take(sales.purpose == Purpose.OWN_USE)
    days = (own.start_us + LOCAL_OFFSET_US) // DAY_US
    assert len(set(days.tolist())) == len(own) >= 18
    assert own.out_l.mean() == pytest.approx(50.0, rel=0.02)


def test_a_campaign_brings_one_firmware_to_all_of_a_model() -> None:
    staging = staged({"name": "H11", "onset": "P2D"}, count=4)
    told: dict[tuple[str | None, str | None], set[str]] = {}
    for station in staging.county.stations:
        pool = pooled(staging, station.station_id, 2)
        last = pool.timelines[-1].identities
        assert {change.dispenser_id for change in last} == {each.registered.dispenser_id for each in station.dispensers}
        assert len(orders_of(pool)) == len(station.dispensers)
        for each in station.dispensers:
            change = next(change for change in last if change.dispenser_id == each.registered.dispenser_id)
            told.setdefault((each.registered.model, change.firmware_version), set()).add(str(change.firmware_digest))
    assert all(len(digests) == 1 for digests in told.values())


def test_a_new_probe_stands_higher_from_then_on() -> None:
    pool, same = world("H12", 3, offset_mm=5.0), world("H20", 3)
    tank = pool.scenarios[0].target.tank
    stocks = [each.timelines[0].tanks[tank].stock_20c_l[-1] for each in (pool, same)]
    assert stocks[0] == stocks[1]
    heights = []
    for each in (pool, same):
        rows = pick(each.readings, (each.readings["tank"] == tank) & (each.readings["time"] > pool.onset_us + HOUR_US))
        heights.append(dict(zip(rows["time"].tolist(), rows["height_mm"].tolist(), strict=True)))
    both = sorted(heights[0].keys() & heights[1].keys())
    assert len(both) > 1000
    assert np.mean([heights[0][at] - heights[1][at] for at in both]) == pytest.approx(5.0, abs=0.2)
    faults = {(fault.tank_id, fault.offset_mm) for timeline in pool.timelines for fault in timeline.gauge_faults}
    assert faults == {(pool.station.tanks[tank].registered.tank_id, 5.0)}
    assert orders_of(pool)[0].device_id == pool.station.tanks[tank].registered.tank_id


def test_the_siphon_keeps_both_tanks_level() -> None:
    pool = world("H13", 2, "PT0S")
    pair = [index for index, tank in enumerate(pool.station.tanks) if tank.registered.manifold]
    assert len(pair) == 2
    course = [pool.timelines[1].tanks[index] for index in pair]
    sums = [course_.losses_20c_l.get("siphon", 0.0) for course_ in course]
    assert sums[0] == pytest.approx(-sums[1], abs=1e-6)
    assert abs(sums[0]) > 1.0


def test_a_closed_nozzle_sells_nothing_and_then_goes_on() -> None:
    pool = world("H14", 4, "P5D", days=10.0)
    sales = sales_of(pool)
    mine = np.sort(sales.start_us[sales.nozzle == pool.scenarios[0].target.nozzle])
    assert not ((mine > pool.onset_us) & (mine < pool.onset_us + 10 * DAY_US)).any()
    assert (mine > pool.onset_us + 10 * DAY_US).sum() > 100
    assert (mine < pool.onset_us).sum() > 50


def test_the_totalizer_rolls_over_once() -> None:
    pool = world("H15", 3, litres_before=6_000.0)
    sales = sales_of(pool)
    mine = sales.take(sales.nozzle == pool.scenarios[0].target.nozzle)
    falls = np.flatnonzero(np.diff(mine.totalizer) < 0)
    assert len(falls) == 1
    assert mine.totalizer[falls[0]] > 0.99 * TOTALIZER_ROLL
    assert mine.totalizer[falls[0] + 1] < 20_000


def test_a_clogged_filter_slows_the_flow_until_it_is_renewed() -> None:
    pool = world("H16", 4, "P5D", days=14.0)
    sales = customers(pool)
    mine = sales.take(sales.nozzle == pool.scenarios[0].target.nozzle)
    day = (mine.start_us - pool.onset_us) / DAY_US
    usual, clogged, renewed = (
        np.median(mine.flow_l_min[chosen]) for chosen in (day < 0, (day > 12) & (day < 14), day > 14)
    )
    assert clogged < 0.8 * usual
    assert renewed == pytest.approx(usual, rel=0.02)


def test_a_worn_meter_ends_out_of_tolerance_and_says_so() -> None:
    pool = world("H17", 4, "P7D", days=10.0)
    nozzle = pool.scenarios[0].target.nozzle
    sales = customers(pool)
    last = (sales.nozzle == nozzle) & (sales.start_us > pool.onset_us + 10 * DAY_US) & (sales.volume > 2000)
    assert truly_short(sales)[last].mean() == pytest.approx(0.0045, abs=0.0012)
    level = balance(pool, pool.onset_us + 10 * DAY_US, 1 << 62)
    assert nozzle in level
    item = pool.scenarios[0].truth({STATION: pool.station})[0]
    assert (item.cause, item.deterministic) == ("out_of_tolerance", False)


def test_a_promotion_is_many_presets_for_three_days() -> None:
    pool = world("H18", 3)
    sales = customers(pool)
    keyed = (sales.preset == Preset.MONEY) & (sales.preset_value == 20_000)
    on = (sales.lifted_us > pool.onset_us) & (sales.lifted_us < pool.onset_us + 3 * DAY_US)
    assert 0.5 < keyed[on].mean() < 0.75
    assert keyed[~on].mean() < 0.2
    shown = sales.amount[keyed & on]
    assert np.abs(shown - 20_000).max() < 10


def test_vapour_takes_more_of_petrol_alone() -> None:
    pool, same = world("H19", 3, "P1D", days=25.0), world("H20", 3)
    for tank, plan in enumerate(pool.station.tanks):
        lost = [
            sum(timeline.tanks[tank].losses_20c_l["vapour"] for timeline in each.timelines[:2]) for each in (pool, same)
        ]
        sold = sum(timeline.sales.out_l.sum() for timeline in pool.timelines[:2])
        more = (lost[0] - lost[1]) / sold
        assert (more > 1e-4) == (plan.product.grade != "0#")


def test_a_wrong_clock_is_corrected_and_says_so() -> None:
    pool = world("H20", 2, "P3D", hours=6.0)
    scenario = pool.scenarios[0]
    told = [event for event in pool.events if event.kind is EventKind.CLOCK]
    assert [(event.detail["step_s"], to_us(event.at)) for event in told] == [(90.0, pool.onset_us + 6 * HOUR_US)]
    moments = np.array([-1, 3, 7]) * HOUR_US + pool.onset_us
    off = offset_s(pool.timelines[0], scenario.target.dispenser, moments)
    assert off[1] < -80.0
    assert np.abs(off[[0, 2]]).max() < 10.0
