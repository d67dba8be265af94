"""flow_switch: a second, faster flow at some customers is found; slow, preset and hurried fillings are none."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import numpy as np
import pytest
import worlds

from pumpwatch import Severity, from_us
from pumpwatch.courses import DAY_US
from pumpwatch.testing.rules import cut_invariant
from pumpwatch_physics.flow_fillings import gathered
from pumpwatch_physics.flow_rates import BINS, LOWEST, WIDTH, lopsided, rates, two_modes
from pumpwatch_physics.flow_switch import FlowSwitch, FlowSwitchSettings

OFFSET_US = 8 * 3_600_000_000


def told(past, **settings):
    return worlds.judged(past, FlowSwitch, **settings)


def alarms(past):
    return [f for f in told(past) if f.severity is not Severity.INFO]


@pytest.mark.parametrize(("keys", "size", "days"), [("C", 27.0, 4), ("B", 8.0, 16), ("mixed", 7.08, 10)])
def test_keys_pressed_for_some_customers(keys, size, days):
    past, (item,) = worlds.world("F06", "S06", days=48, level=keys, share=20.0)
    found = alarms(past)
    onset = datetime.fromisoformat(item["onset"])
    assert onset < found[0].detected_at <= onset + timedelta(days=days)
    assert {(f.cause, f.subject.nozzle_id) for f in found} == {(item["cause"], item["subject"]["nozzle_id"])}
    last = found[-1]
    assert last.estimate.low <= size <= last.estimate.high
    assert last.severity is Severity.HIGH
    assert len(last.evidence) == 20
    assert all(e.data["faster_percent"] > 4.0 for e in last.evidence)
    assert 150 < sum(len(c.x) for c in last.figures[0].curves) <= 400
    assert len(found) <= 4


@pytest.mark.parametrize("name", ["", "H03", "H07", "H08", "H14", "H18"])
def test_one_flow_is_no_alarm(name):
    past, _ = worlds.world(name, "S06")
    assert alarms(past) == []


def test_a_filter_that_clogs_and_a_new_one_are_notes():
    past, _ = worlds.world("H16", "S06", days=72, onset="P10D", nozzle="S06-N02")
    falls, renewed = told(past)
    for note in (falls, renewed):
        assert (note.cause, note.severity, note.subject.nozzle_id) == ("filter_clogged", Severity.INFO, "S06-N02")
    assert -20.0 < falls.estimate.value < -8.0
    assert falls.detected_at < past.start + timedelta(days=45)
    assert renewed.estimate.value == pytest.approx(100.0 / 0.7 - 100.0, abs=3.0)
    assert past.start + timedelta(days=70) < renewed.detected_at <= past.start + timedelta(days=72)


def faster(past, nozzle_id, from_day, share=1.0, by=1.0, seconds=0.0, seed=3):
    """The past with some fillings of a nozzle, from a day on, in ``1 / by`` of the time and some seconds more."""
    sales = past.sales
    rows = np.arange(len(sales))[sales.of(nozzle_id)]
    since = past.start + timedelta(days=from_day)
    rows = rows[sales.start_us[rows] >= since.timestamp() * 1e6]
    rows = rows[np.random.default_rng(seed).random(len(rows)) < share]
    start = sales.start_us.copy()
    took = (sales.end_us[rows] - start[rows]) / by + seconds * 1e6
    start[rows] = sales.end_us[rows] - np.rint(took / 1e6).astype(np.int64) * 1_000_000
    return replace(past, sales=replace(sales, start_us=start))


def test_a_step_of_all_fillings_is_a_note():
    past, (item,) = worlds.world("F03", "S06", percent=5.0)
    (note,) = told(past)
    assert (note.cause, note.severity) == ("flow_change", Severity.INFO)
    assert note.subject.nozzle_id == item["subject"]["nozzle_id"]
    onset = datetime.fromisoformat(item["onset"])
    assert onset < note.detected_at <= onset + timedelta(days=3)
    assert note.estimate.low <= 5.0 <= note.estimate.high
    assert told(past, step_percent=10.0) == []


@pytest.mark.parametrize(
    "odd",
    [
        {"share": 0.15, "by": 0.93},
        {"share": 0.3, "by": 0.8},
        {"share": 0.03, "by": 0.3},
        {"seconds": 9.0},
        {"share": 0.02, "by": 3.0},
    ],
)
def test_slow_fillings_a_slow_start_and_broken_clocks_are_no_second_flow(odd):
    past, _ = worlds.world("", "S06")
    assert alarms(faster(past, "S06-N03", 0, **odd)) == []


def test_presets_that_end_slowly_and_neighbours_that_slow_it_down():
    past, _ = worlds.world("", "S06")
    sales = past.sales
    longer = np.where(sales.preset_kind >= 0, 4_000_000, 0)
    assert alarms(replace(past, sales=replace(sales, start_us=sales.start_us - longer))) == []
    busy = np.zeros(len(sales))
    for at in np.linspace(0.0, 1.0, 5):
        moment = sales.start_us + (at * (sales.end_us - sales.start_us)).astype(np.int64)
        begun = np.searchsorted(np.sort(sales.start_us), moment)
        busy += (begun - np.searchsorted(np.sort(sales.end_us), moment)).clip(1) / 5.0 - 0.2
    slowed = (np.rint((sales.end_us - sales.start_us) * 0.05 * busy / 1e6) * 1e6).astype(np.int64)
    assert slowed.max() > 5_000_000
    assert alarms(replace(past, sales=replace(sales, start_us=sales.start_us - slowed))) == []


def test_a_second_pump_at_the_peak_is_no_second_flow_and_a_key_at_those_hours_is():
    past, _ = worlds.world("", "S06", days=20)
    sales = past.sales
    hour = (sales.end_us + OFFSET_US) // 3_600_000_000 % 24
    peak = (hour >= 16) & (hour < 19) & (sales.nozzle == 2)
    for chosen, found in ((peak, False), (peak & (np.random.default_rng(5).random(len(sales)) < 0.4), True)):
        gained = np.where(chosen, (sales.end_us - sales.start_us) * 0.13, 0.0)
        start = sales.start_us + (np.rint(gained / 1e6) * 1e6).astype(np.int64)
        assert bool(alarms(replace(past, sales=replace(sales, start_us=start)))) is found


@pytest.mark.parametrize("step_s", [2, 5, 10, 60])
def test_coarse_clocks_make_no_modes(step_s):
    past, _ = worlds.world("", "S06")
    sales, step = past.sales, step_s * 1_000_000
    coarse = replace(sales, start_us=sales.start_us // step * step, end_us=sales.end_us // step * step)
    assert told(replace(past, sales=coarse)) == []


def test_without_starts_litres_or_fillings_nothing_is_said():
    past, _ = worlds.world("F06", "S06", days=48, level="C", share=20.0)
    sales = past.sales
    for other in (
        replace(sales, start_us=sales.end_us),
        replace(sales, volume_l=np.full(len(sales), np.nan)),
        sales.take(slice(0, 0)),
        sales.take(slice(0, 5)),
    ):
        assert told(replace(past, sales=other)) == []


@pytest.mark.parametrize(
    ("name", "onset", "days", "keys"),
    [("F06", 100, 125, {"level": "mixed", "share": 20.0}), ("H16", 16, 60, {}), ("F03", 16, 40, {})],
)
def test_where_it_is_cut_does_not_matter(name, onset, days, keys):
    past, _ = worlds.world(name, "S06", days=days, onset=f"P{onset}D", **keys)
    dice = Random(6)
    cuts = [past.start + dice.random() * (past.end - past.start) for _ in range(2)]
    late = past.start + timedelta(days=onset + 5)
    assert cut_invariant(FlowSwitch(FlowSwitchSettings()), past, [*cuts, late])


def test_flow_of_each_nozzle():
    staging = worlds.staged(days=10, count=9)
    plans = {n.registered.nozzle_id: n.flow_l_min for n in staging.station("S06").nozzles}
    past, _ = worlds.world("", "S06", days=42)
    rule = FlowSwitch(FlowSwitchSettings())
    days = rule.days_between(past.start, past.end)
    made = rates(gathered({day: rule.digest(past, day) for day in days}, rule.utc_offset_us), len(past.nozzles))
    for number, nozzle in enumerate(nozzle.nozzle_id for nozzle in past.nozzles):
        flow = np.median(made.flow_l_min[made.nozzle == number])
        assert flow == pytest.approx(plans[nozzle], rel=0.01)
    assert 0.018 < 0.5 * np.subtract(*np.quantile(made.excess, [0.8413, 0.1587])) < 0.027


def test_a_day_is_the_same_from_any_past_and_exact():
    past, _ = worlds.world("", "S06", days=6)
    rule = FlowSwitch(FlowSwitchSettings())
    day = rule.days_between(past.start, past.end)[3]
    midnight = from_us(day * DAY_US - rule.utc_offset_us)
    short = past.between(midnight - timedelta(hours=2), midnight + timedelta(days=1) + rule.settling)
    told = rule.digest(past, day)
    assert {name: each.tobytes() for name, each in told.items()} == {
        name: each.tobytes() for name, each in rule.digest(short, day).items()
    }
    found = gathered({day: told}, rule.utc_offset_us)
    assert len(found) > 100
    sales = past.sales
    known = {(int(n), int(s)): row for row, (n, s) in enumerate(zip(sales.nozzle, sales.seq, strict=True))}
    rows = [known[key] for key in zip(found.nozzle.tolist(), found.seq.tolist(), strict=True)]
    for name, column in (("start_us", found.start_us), ("end_us", found.end_us), ("volume_l", found.litres)):
        assert (getattr(sales, name)[rows] == column).all()
    assert rows == sorted(rows)
    assert not rule.digest(past, day - 40)


def drawn(seed, n, share=0.0, size=0.0, spread=0.022):
    dice = np.random.default_rng(seed)
    flow = spread * dice.standard_t(8, n) + np.log1p(size) * (dice.random(n) < share)
    places = np.floor((flow - LOWEST) / WIDTH).astype(np.int64)
    return np.bincount(places[(places >= 0) & (places < BINS)], minlength=BINS)


def test_two_modes_are_told_from_heavy_tails():
    assert max(two_modes(drawn(seed, 800)).nats for seed in range(20)) < 12.0
    modes = two_modes(drawn(1, 2_000, 0.2, 0.08))
    assert modes.nats > 40.0
    assert (modes.share, modes.size) == (pytest.approx(0.2, abs=0.06), pytest.approx(0.08, abs=0.015))
    assert two_modes(drawn(1, 800), 17.0) is None
    assert lopsided(drawn(1, 800, 0.2, 0.08)) > 2.8 > lopsided(drawn(2, 800))
    assert lopsided(drawn(1, 5)) == 0.0
