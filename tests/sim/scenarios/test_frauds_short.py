"""F01 to F05, F14 to F23: every fraud leaves the evidence it is said to leave, and no other record is out of order."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from evidence import (
    STATION,
    balance,
    customers,
    found,
    hours_by_gauge,
    outliers,
    profile,
    sales_of,
    steps,
    strata,
    thinned_tanks,
    truly_short,
    world,
)
from evidence_records import hidden_share, pooled, staged
from numpy.testing import assert_allclose

from pumpwatch.model import EventKind
from pumpwatch_sim.scenarios.occasions import DAY_US, LOCAL_OFFSET_US, midnight_us


def records(checks: set[str]) -> set[str]:
    """Those on single records."""
    return {check for check in checks if check.startswith("D")}


@pytest.mark.parametrize(
    ("name", "values", "leaves"),
    [
        ("F01", {"percent": 0.5}, {"D1", "P6"}),
        ("F01", {"percent": 3.0}, {"D1", "P6", "F1"}),
        ("F02", {"percent": 2.0}, {"D6", "P6", "F1"}),
        ("F03", {"percent": 5.0}, {"P6", "F1"}),
        ("F04", {"percent": 2.0, "tank": "S43-T1"}, {"P6", "P10", "F1"}),
        ("F05", {}, {"D6", "P6", "P10", "F1"}),
        ("F14", {}, {"D5", "D6", "P6", "F1"}),
        ("F15", {}, {"D6"}),
        ("F16", {}, {"P6", "F1"}),
        ("F17", {"percent": 2.0}, {"D6", "P6", "F1"}),
        ("F18", {"share": 10.0}, {"D1", "D7"}),
        ("F19", {}, {"D1", "D7"}),
        ("F20", {"percent": 1.0}, {"D6", "P6"}),
        ("F21", {}, {"P6"}),
        ("F22", {}, {"D2"}),
        ("F22", {"fen": 1.0}, {"D2"}),
        ("F23", {}, {"Q2"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fraud_leaves_its_evidence(name: str, values: dict[str, object], leaves: set[str]) -> None:
    pool = world(name, **values)
    seen = found(pool)
    assert leaves <= seen
    assert records(seen) == records(leaves)


@pytest.mark.parametrize("percent", [0.5, 2.0, 5.0])
def test_a_rewritten_factor_is_in_the_display_alone(percent: float) -> None:
    pool = world("F01", 2, "P6D", percent=percent)
    sales = sales_of(pool)
    hit = (sales.nozzle == pool.scenarios[0].target.nozzle) & (sales.lifted_us >= pool.onset_us + 3_600_000_000)
    honest = sales.start_us < pool.onset_us
    assert hit.sum() > 50
    assert np.array_equal(sales.volume[hit], np.floor(sales.pulses[hit] * (1.0 + percent / 100.0) + 0.5))
    assert np.array_equal(sales.volume[honest], sales.pulses[honest])
    assert np.array_equal(sales.tax_volume[hit], sales.volume[hit])
    assert_allclose(sales.out_l[hit], sales.metered_l[hit])


@pytest.mark.parametrize(("name", "percent"), [("F02", 2.0), ("F03", 5.0), ("F17", 3.0), ("F20", 1.0)])
def test_where_pulses_are_added_display_and_pulses_agree(name: str, percent: float) -> None:
    pool = world(name, 2, "P6D", percent=percent)
    sales = customers(pool)
    nozzle = sales.nozzle == pool.scenarios[0].target.nozzle
    before, after = (
        nozzle & (sales.start_us < pool.onset_us),
        nozzle & (sales.lifted_us > pool.onset_us + 3_600_000_000),
    )
    assert np.array_equal(sales.volume, sales.pulses)
    added = np.median(truly_short(sales)[after]) - np.median(truly_short(sales)[before])
    assert added == pytest.approx(percent / 100.0, abs=4e-4)


def test_a_return_line_passes_the_meter_and_comes_back_to_the_tank() -> None:
    pool = world("F21", 3, percent=5.0, share=50.0)
    sales = sales_of(pool)
    back = 1.0 - sales.out_l / sales.metered_l
    hit = (sales.nozzle == pool.scenarios[0].target.nozzle) & (sales.start_us >= pool.onset_us)
    open_ = hit & (back > 1e-9)
    assert 0.2 < open_.sum() / hit.sum() < 0.8
    assert_allclose(back[open_], 0.05 / 1.05)
    assert not back[~hit].any()
    # Pulses, display and flow know nothing of it.
    assert np.array_equal(sales.volume, sales.pulses)
    flow = [sales.flow_l_min[chosen].mean() for chosen in (open_, hit & ~open_)]
    assert flow[0] == pytest.approx(flow[1], rel=0.01)


def test_every_nozzle_of_a_station_has_its_own_ratio() -> None:
    pool = world("F05", 3)
    moved = {nozzle: step for nozzle, step in steps(pool).items() if not np.isnan(step)}
    assert len(moved) == len(pool.station.nozzles)
    assert all(0.008 < step < 0.027 for step in moved.values())
    ratios = pool.scenarios[0].ratios(pool.station)
    assert len(set(ratios.tolist())) > 4
    assert all(abs(moved[nozzle] - ratios[nozzle]) < 0.004 for nozzle in moved)


def test_a_board_is_swapped_in_the_dark_of_the_night() -> None:
    pool = world("F14", 3, off_minutes=60.0)
    scenario = pool.scenarios[0]
    hours = (scenario.onset_us + LOCAL_OFFSET_US - (midnight_us(scenario.onset_us) + LOCAL_OFFSET_US)) / 3_600_000_000
    assert hours == 2.0
    sales = sales_of(pool)
    own = [
        index
        for index, nozzle in enumerate(pool.station.nozzles)
        if nozzle in pool.station.dispensers[scenario.target.dispenser].nozzles
    ]
    dark = (
        np.isin(sales.nozzle, own)
        & (sales.hung_us > scenario.onset_us)
        & (sales.lifted_us < scenario.onset_us + 3_600_000_000)
    )
    assert not dark.any()
    changes = {
        (change.mainboard_serial, change.firmware_digest)
        for timeline in pool.timelines
        for change in timeline.identities
    }
    assert len(changes) == 1
    assert {event.device_id for event in pool.events if event.kind is EventKind.POWER} == {
        pool.station.dispensers[scenario.target.dispenser].registered.dispenser_id
    }
    causes = {item.cause: item for item in scenario.truth({STATION: pool.station})}
    assert causes["identity_change"].deterministic
    assert not causes["short_delivery"].deterministic


def test_a_cloned_board_tells_the_serial_of_another() -> None:
    pool = world("F15", 2, "P6D")
    change = next(change for timeline in pool.timelines for change in timeline.identities)
    serials = {
        dispenser.registered.mainboard_serial: dispenser.registered.dispenser_id
        for dispenser in pool.station.dispensers
    }
    assert serials[change.mainboard_serial] != change.dispenser_id


def test_spoofed_firmware_shows_at_its_start_alone() -> None:
    pool = world("F16", 2, "P6D")
    boots = [event.detail["boot_s"] for event in pool.events if event.kind is EventKind.POWER]
    assert boots == [19.0]
    assert not any(timeline.identities for timeline in pool.timelines)


def test_a_jump_is_seen_second_by_second() -> None:
    pool = world("F18", 2, "P6D")
    sales = sales_of(pool)
    jumped = np.flatnonzero(sales.jump)
    assert len(jumped) > 5
    assert (sales.volume[jumped] == sales.pulses[jumped] + sales.jump[jumped]).all()
    share = sales.jump[jumped] / sales.volume[jumped]
    assert share.min() > 0.04
    assert share.max() < 0.11
    display, pulses = profile(sales, int(jumped[0]))
    gained = np.diff(display) - np.diff(pulses)
    assert gained.max() == pytest.approx(sales.jump[jumped[0]] / 100.0, abs=0.05)
    assert np.sort(gained)[-2] < 0.05


def test_what_is_left_on_the_display_is_paid_again() -> None:
    pool = world("F19", 2, "P6D")
    sales = sales_of(pool)
    left = sales.start_volume > 0
    assert left.sum() > 5
    assert sales.start_volume[left].min() >= 20
    assert sales.start_volume.max() <= 50
    assert np.array_equal(sales.volume[left], (sales.pulses + sales.start_volume)[left])
    assert profile(sales, int(np.flatnonzero(left)[0]))[0][0] == sales.start_volume[left][0] / 100.0


def test_amounts_only_ever_lie_above() -> None:
    pool = world("F22", 2, "P6D")
    sales = sales_of(pool)
    hit = (sales.nozzle == pool.scenarios[0].target.nozzle) & (sales.start_us >= pool.onset_us)
    exact = sales.volume * sales.price
    assert np.array_equal(sales.amount[hit], -(-exact[hit] // 100))
    assert np.array_equal(sales.amount[~hit], (2 * exact[~hit] + 100) // 200)


def test_the_swap_by_unloading_makes_the_dear_fuel_lighter() -> None:
    pool = world("F23", 4, percent=80.0, way="unloaded")
    scenario = pool.scenarios[0]
    assert pool.station.tanks[scenario.dear(pool.station)].product.grade == "95#"
    assert thinned_tanks(pool) == [scenario.dear(pool.station)]
    assert scenario.truth({STATION: pool.station})[0].subject.tank_id == "S43-T2"


def test_the_swap_by_a_pipe_moves_one_fuel_out_of_the_other_tank() -> None:
    pool = world("F23", 2, "P6D", percent=20.0)
    gone, came = (
        sum(timeline.tanks[tank].losses_20c_l.get("swapped", 0.0) for timeline in pool.timelines) for tank in (0, 1)
    )
    sales = sales_of(pool)
    dear = np.array([nozzle.tank.product.grade == "95#" for nozzle in pool.station.nozzles])[sales.nozzle]
    sold = sales.out_l[dear & (sales.start_us >= pool.onset_us)].sum()
    assert gone == pytest.approx(-came)
    assert gone == pytest.approx(0.2 * sold, rel=0.03)


@pytest.mark.parametrize("name", ["F03", "F21"])
def test_the_gauge_sees_the_gain_too(name: str) -> None:
    """What no record tells is in the tank: readings every five minutes for four weeks, a good probe."""
    pool = world(name, 5, "P12D", **({"percent": 10.0} if name == "F03" else {"percent": 5.0, "share": 100.0}))
    cheat, hours = pool.scenarios[0].target.nozzle, hours_by_gauge(pool)
    before, after = balance(pool, 0, pool.onset_us, hours), balance(pool, pool.onset_us, 1 << 62, hours)
    moved = {nozzle: after[nozzle] - before[nozzle] for nozzle in after}
    assert max(moved, key=moved.__getitem__) == cheat
    assert moved[cheat] > 0.03
    assert all(abs(step) < 0.5 * moved[cheat] for nozzle, step in moved.items() if nozzle != cheat)


def test_a_tank_of_short_nozzles_gains_in_the_books() -> None:
    """X4: opening stock and purchases less closing stock and sales."""
    worlds = [
        pooled(staged({"name": name, "tank": "S43-T1", "onset": "PT0S"}, count=4), STATION, 4)
        for name in ("F04", "H12")
    ]
    short, honest = (hidden_share(pool, 0) for pool in worlds)
    assert short - honest == pytest.approx(-0.02, abs=0.004)


@pytest.mark.parametrize("name", ["F01", "F02", "F05", "F14", "F17"])
def test_what_ends_is_as_it_was(name: str) -> None:
    pool = world(name, 3, "P3D", lasts="P6D")
    scenario = pool.scenarios[0]
    until = scenario.end_us
    assert until is not None
    moved = balance(pool, until + DAY_US, 1 << 62), balance(pool, 0, scenario.onset_us)
    # Not the onset of the scenario is judged here, but its end.
    assert all(abs(moved[0][nozzle] - moved[1][nozzle]) < 0.005 for nozzle in moved[0] if nozzle in moved[1])
    told: dict[str, dict[str, object]] = {}
    for change in pool.timelines[-1].identities:
        told.setdefault(change.dispenser_id, {}).update(
            {key: value for key, value in asdict(change).items() if value and key not in {"at_us", "dispenser_id"}}
        )
    for dispenser in pool.station.dispensers:
        encoders = {plan.registered.nozzle_id: plan.registered.encoder_serial for plan in dispenser.nozzles}
        for key, value in told.get(dispenser.registered.dispenser_id, {}).items():
            if key == "encoder_serials":
                assert isinstance(value, dict)
                assert value.items() <= encoders.items()
            else:
                assert value == getattr(dispenser.registered, key)


def test_an_honest_nozzle_beside_a_cheat_stays_honest() -> None:
    pool = world("F03", 3, percent=10.0)
    cheat = pool.scenarios[0].target.nozzle
    assert all(abs(step) < 0.006 for nozzle, step in steps(pool).items() if nozzle != cheat)
    assert outliers(pool) in ([], [cheat])
    assert strata(pool) == []
