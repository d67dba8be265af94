"""F06 to F13: short for some customers, some volumes, some hours; the others get their litres."""

from __future__ import annotations

import numpy as np
import pytest
from evidence import (
    STRATA,
    balance,
    calm_at_visits,
    customers,
    found,
    orders_of,
    outliers,
    sales_of,
    steps,
    strata,
    truly_short,
    world,
)
from evidence_records import Pool

from pumpwatch.model import to_us
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US
from pumpwatch_sim.world.timeline import Payment, Preset, Purpose, Sales

HONEST = 0.0075
"""E of an honest filling of 10 L and more, offset and repeatability among it."""


def cheated(pool: Pool) -> tuple[Sales, np.ndarray]:
    """Customers of 10 L and more at the target since the onset, and who of them was cheated."""
    sales = customers(pool)
    sales = sales.take(
        (sales.nozzle == pool.scenarios[0].target.nozzle)
        & (sales.lifted_us >= pool.onset_us + HOUR_US)
        & (sales.volume >= 1000)
    )
    assert len(sales) > 100
    return sales, truly_short(sales) > HONEST + 0.01


@pytest.mark.parametrize(
    ("name", "values", "leaves"),
    [
        ("F06", {"share": 20.0}, {"F1", "P6"}),
        ("F07", {}, {"F3"}),
        ("F08", {"percent": 5.0}, {"F3", "P6", "F1"}),
        ("F09", {}, {"F3"}),
        ("F10", {"percent": 3.0}, {"F3", "P6"}),
        ("F11", {"visit_days": 3.0, "percent": 4.0}, {"F2", "P6"}),
        ("F12", {"ramp_days": 5.0}, {"P6"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fraud_leaves_its_evidence_and_clean_records(name: str, values: dict[str, object], leaves: set[str]) -> None:
    pool = world(name, 4, **values)
    seen = found(pool)
    assert leaves <= seen
    assert not {check for check in seen if check.startswith(("D", "Q"))}


def test_pulses_and_tax_agree_with_a_selective_display() -> None:
    for name in ("F06", "F07", "F13"):
        sales = sales_of(world(name, 2, "P6D"))
        assert np.array_equal(sales.volume, sales.pulses)
        assert np.array_equal(sales.volume, sales.tax_volume)


def test_the_remote_has_three_levels_for_one_customer_in_five() -> None:
    pool = world("F06", 4)
    sales, hit = cheated(pool)
    assert 0.12 < hit.mean() < 0.28
    levels = np.array([0.033, 0.08, 0.27])
    short = truly_short(sales)[hit]
    nearest = np.abs(short[:, None] - levels).argmin(axis=1)
    assert np.abs(short - levels[nearest]).max() < HONEST
    assert set(nearest.tolist()) == {0, 1, 2}
    assert outliers(pool) == [pool.scenarios[0].target.nozzle]


@pytest.mark.parametrize(("level", "short"), [("A", 0.033), ("C", 0.27)])
def test_one_key_is_one_level(level: str, short: float) -> None:
    sales, hit = cheated(world("F06", 2, "P6D", level=level))
    assert truly_short(sales)[hit].mean() == pytest.approx(short, abs=0.003)


def test_large_volumes_alone_are_short() -> None:
    pool = world("F07", 3)
    sales, hit = cheated(pool)
    wanted = np.where(sales.preset == Preset.NONE, sales.out_l, sales.volume / 100.0)
    assert np.array_equal(hit, wanted > 40.0)
    assert (pool.scenarios[0].target.nozzle, "volume") in strata(pool)


def test_test_volumes_are_right() -> None:
    pool = world("F08", 3, percent=7.0)
    sales, hit = cheated(pool)
    honest = np.isin(sales.volume, (1000, 2000)) & (sales.preset == Preset.LITRES)
    honest |= (sales.preset == Preset.MONEY) & np.isin(sales.preset_value, (10_000, 20_000))
    assert not hit[honest].any()
    assert honest.sum() > 30
    assert hit[~honest].mean() > 0.98
    assert (pool.scenarios[0].target.nozzle, "preset") in strata(pool)


def test_only_the_night_is_short() -> None:
    pool = world("F09", 3, percent=5.0)
    sales, hit = cheated(pool)
    # Who comes at the stroke of ten and has to wait is served by day's or by night's pulses.
    assert (hit != STRATA["hour"](sales)).sum() <= 3
    assert 0.02 < hit.mean() < 0.5


def test_office_hours_can_be_spared() -> None:
    sales, hit = cheated(world("F09", 2, "P6D", percent=5.0, from_hour=18, until_hour=8))
    hour = (sales.lifted_us // HOUR_US + 8) % 24
    assert (hit != ((hour >= 18) | (hour < 8))).sum() <= 3


@pytest.mark.parametrize(
    ("whom", "kinds"),
    [("cash", {Payment.CASH}), ("mobile", {Payment.MOBILE}), ("cash_or_mobile", {Payment.CASH, Payment.MOBILE})],
)
def test_who_pays_otherwise_gets_his_litres(whom: str, kinds: set[Payment]) -> None:
    sales, hit = cheated(world("F10", 2, "P6D", whom=whom, percent=5.0))
    assert np.array_equal(hit, np.isin(sales.payment, [int(kind) for kind in kinds]))


def test_strangers_are_a_share_of_all() -> None:
    _, hit = cheated(world("F10", 3, whom="strangers", strangers=30.0, percent=5.0))
    assert 0.2 < hit.mean() < 0.4


def test_a_key_restores_honesty_around_visits() -> None:
    pool = world("F11", 4, percent=4.0, visit_days=3.0, hours_before=12.0, hours_after=6.0)
    sales, hit = cheated(pool)
    visits = [to_us(order.at) for order in orders_of(pool) if order.kind == "inspection"]
    visits = [visit for visit in visits if visit < pool.timelines[-1].end_us + DAY_US]
    near = np.zeros(len(sales), bool)
    surely = np.zeros(len(sales), bool)
    for visit in visits:
        surely |= (sales.start_us > visit - 11 * HOUR_US) & (sales.start_us < visit + 5 * HOUR_US)
        near |= (sales.start_us > visit - 13 * HOUR_US) & (sales.start_us < visit + 7 * HOUR_US)
    assert len(visits) >= 3
    assert surely.sum() > 50
    assert not hit[surely].any()
    assert hit[~near].all()
    assert calm_at_visits(pool) == [pool.scenarios[0].target.nozzle]


def test_inspectors_find_their_draws_right() -> None:
    pool = world("F11", 4, percent=4.0, visit_days=3.0)
    sales = sales_of(pool)
    draws = sales.take(sales.purpose == Purpose.TEST_DRAW)
    assert len(draws) >= 9
    assert np.abs(truly_short(draws)).max() < 0.006
    back = sum(litres for timeline in pool.timelines for _, _, litres in timeline.returns)
    drawn = draws.out_l * (1.0 - 0.0012 * (draws.temperature_c - 20.0))
    assert back == pytest.approx(drawn.sum(), rel=0.01)


def test_a_ramp_rises_and_never_steps() -> None:
    pool = world("F12", 4, percent=2.0, ramp_days=18.0)
    nozzle = pool.scenarios[0].target.nozzle
    weeks = [
        balance(pool, pool.onset_us + day * DAY_US, pool.onset_us + (day + 6) * DAY_US)[nozzle] for day in (0, 6, 12)
    ]
    assert 0.003 < weeks[1] - weeks[0] < 0.012
    assert 0.003 < weeks[2] - weeks[1] < 0.012
    sales, _ = cheated(pool)
    passed = (sales.lifted_us - pool.onset_us) / (18.0 * DAY_US)
    assert np.corrcoef(passed, truly_short(sales))[0, 1] > 0.7


def test_the_cheat_goes_round_the_tank() -> None:
    pool = world("F13", 5, tank="S43-T1")
    own = [index for index, nozzle in enumerate(pool.station.nozzles) if nozzle.tank is pool.station.tanks[0]]
    assert len(own) == 3
    weeks = [
        balance(pool, pool.onset_us + week * 7 * DAY_US, pool.onset_us + (week + 1) * 7 * DAY_US) for week in range(3)
    ]
    honest = balance(pool, 0, pool.onset_us)
    for week, errors in enumerate(weeks):
        moved = {nozzle: errors[nozzle] - honest[nozzle] for nozzle in own}
        assert moved[own[week]] == pytest.approx(0.03, abs=0.006)
        assert all(abs(step) < 0.01 for nozzle, step in moved.items() if nozzle != own[week])
    # Over the weeks each nozzle has a share of it, the tank the whole.
    assert all(0.004 < steps(pool)[nozzle] < 0.02 for nozzle in own)
