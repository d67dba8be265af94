"""The tanks always close; they never run dry or over; siphons level; deliveries err as real ones do."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch_sim.county import build_county
from pumpwatch_sim.fleet import Stations
from pumpwatch_sim.scenarios.base import Scenario, Target
from pumpwatch_sim.world.deliveries import BRIM_SHARE
from pumpwatch_sim.world.fluids import at_20c, from_20c, ground_c
from pumpwatch_sim.world.making import lives
from pumpwatch_sim.world.plans import StationPlan
from pumpwatch_sim.world.tanks import manifolds, tank_of
from pumpwatch_sim.world.timeline import Drop, Floats, Preset, Purpose, TankCourse, Timeline
from pumpwatch_sim.world.work import Booking, DeliveryWork, Demand, Flow, Metering, TankWork

ORIGIN_US = 1_767_110_400_000_000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
COUNTY = build_county(1, date(2026, 1, 1), 3)
PLAIN, JOINED = COUNTY.stations[0], COUNTY.stations[1]


class Meddling(Scenario):
    """Everything scenarios may do to a station's fuel at once."""

    def __init__(
        self,
        plan: StationPlan,
        gain: float = 0.0,
        bypass: float = 0.0,
        leak: tuple[float, bool] = (0.0, False),
        flows: tuple[tuple[int, int, float], ...] = (),
        added_l: float = 0.0,
        short: float = 0.0,
        draws: int = 0,
        loss: float = 0.0,
        water: float = 0.0,
    ) -> None:
        super().__init__(Target(plan.station_id), 0, None, {}, "test")
        self.gain, self.bypass, self.leak, self.flows = gain, bypass, leak, flows
        self.added_l, self.short, self.draws, self.loss, self.water = added_l, short, draws, loss, water

    def demand(self, demand: Demand) -> None:
        start_us = demand.stretch.start_us
        demand.bookings += [
            Booking(place % 4, start_us + 9 * HOUR_US + place * 60_000_000, 20.0, purpose, Preset.NONE)
            for place in range(self.draws)
            for purpose in (Purpose.TEST_DRAW, Purpose.HIDDEN)
        ]
        late_us = demand.stretch.end_us - 150_000_000
        demand.bookings += [Booking(1, late_us, 5.0, Purpose.TEST_DRAW, Preset.NONE)] * bool(self.draws)

    def meter(self, metering: Metering) -> None:
        metering.pulse_gain[:] = self.gain
        metering.bypass[:] = self.bypass

    def tanks(self, work: TankWork) -> None:
        work.common_loss += self.loss
        for hour, hours, litres in self.flows:
            start_us = work.stretch.start_us + hour * HOUR_US
            work.flows.append(Flow(hour % 3, start_us, start_us + hours * HOUR_US, litres, "theft"))
        if self.leak[0]:
            work.leaks.append((0, work.stretch.start_us + 5 * HOUR_US + 17, work.stretch.end_us, *self.leak))
        if self.water:
            work.water_mm_per_day.append((0, 0, work.stretch.end_us, self.water))

    def delivery(self, work: DeliveryWork) -> None:
        work.drop.litres_20c *= 1.0 - self.short
        if self.added_l:
            drop = work.drop
            work.added.append(
                Drop(drop.tank, drop.end_us, drop.end_us + HOUR_US // 4, self.added_l, 5.0, 740.0, "T", "S", 0.0, 0.0)
            )


def fuel_l(course: TankCourse) -> Floats:
    warm_c = np.interp(course.at_us, course.slow_us, course.temperature_c)
    return from_20c(course.stock_20c_l, warm_c, course.plan.product.expansion)


def assert_closed(timeline: Timeline) -> None:
    sales, fed = timeline.sales, tank_of(timeline.station)
    for index, course in enumerate(timeline.tanks):
        mine = fed[sales.nozzle] == index
        sold = at_20c(sales.out_l[mine], sales.temperature_c[mine], course.plan.product.expansion).sum()
        came = sum(drop.litres_20c for drop in timeline.drops if drop.tank == index)
        back = sum(litres for tank, _, litres in timeline.returns if tank == index)
        expected = course.stock_20c_l[0] - sold + came + back - sum(course.losses_20c_l.values())
        assert course.stock_20c_l[-1] == pytest.approx(expected, abs=1e-6)
        assert course.at_us[0] == timeline.start_us
        assert course.at_us[-1] == timeline.end_us
        assert np.all(np.diff(course.at_us) > 0)
        assert course.slow_us[0] == timeline.start_us
        assert course.slow_us[-1] == timeline.end_us
        assert np.all(np.diff(course.slow_us) > 0)
        assert np.diff(course.slow_us).max() <= HOUR_US
        assert fuel_l(course).min() > 0.0
        water = np.interp(course.at_us, course.slow_us, course.water_l)
        assert (fuel_l(course) + water).max() <= BRIM_SHARE * 1.01 * course.plan.true_chart.capacity_l


@settings(max_examples=25, deadline=None)
@given(
    gain=st.floats(-0.1, 0.3),
    bypass=st.floats(0.0, 0.1),
    leak=st.tuples(st.floats(0.0, 20.0), st.booleans()),
    flows=st.lists(st.tuples(st.integers(-10, 170), st.integers(1, 30), st.floats(-600.0, 600.0)), max_size=5).map(
        tuple
    ),
    added_l=st.sampled_from([0.0, 500.0, 9_000.0, 60_000.0]),
    short=st.sampled_from([0.0, 0.03, 0.6]),
    draws=st.integers(0, 6),
    loss=st.floats(-0.01, 0.01),
    water=st.floats(0.0, 3.0),
    joined=st.booleans(),
)
def test_stock_and_deliveries_less_what_left_closes_whatever_happens(joined: bool, **doings: object) -> None:
    plan = JOINED if joined else PLAIN
    meddling = Meddling(plan, **doings)  # type: ignore[arg-type]
    before: Timeline | None = None
    for timeline in islice(lives(plan, Stations(), 1, ORIGIN_US, (meddling,)), 2):
        assert_closed(timeline)
        if before is not None:
            for earlier, now in zip(before.tanks, timeline.tanks, strict=True):
                assert now.stock_20c_l[0] == earlier.stock_20c_l[-1]
                assert now.temperature_c[0] == pytest.approx(earlier.temperature_c[-1], abs=1e-9)
                assert now.water_l[0] == pytest.approx(earlier.water_l[-1], abs=1e-9)
        before = timeline


@pytest.mark.parametrize("plan", [PLAIN, JOINED], ids=["plain", "joined"])
def test_a_rush_never_empties_a_tank(plan: StationPlan) -> None:
    for timeline in islice(lives(plan, Stations(demand=20.0), 1, ORIGIN_US, ()), 2):
        assert_closed(timeline)
        for course in timeline.tanks:
            assert fuel_l(course).min() > 0.05 * course.plan.true_chart.capacity_l


def test_all_that_is_drawn_for_a_test_comes_back_some_in_the_next_stretch() -> None:
    first, second = islice(lives(PLAIN, Stations(), 1, ORIGIN_US, (Meddling(PLAIN, draws=6),)), 2)
    sales = first.sales
    draws = sales.purpose == Purpose.TEST_DRAW
    expansion = np.array([nozzle.tank.product.expansion for nozzle in PLAIN.nozzles])[sales.nozzle[draws]]
    drawn = (sales.out_l[draws] * (1.0 - expansion * (sales.temperature_c[draws] - 20.0))).sum()
    late = [litres for _, at_us, litres in second.returns if at_us == second.start_us]
    assert draws.sum() == 7
    assert len(late) == 1
    assert sum(litres for _, _, litres in first.returns) + late[0] == pytest.approx(drawn)


def test_flows_over_the_seam_are_divided_between_the_stretches() -> None:
    class Theft(Scenario):
        def tanks(self, work: TankWork) -> None:
            seam_us = ORIGIN_US + 7 * DAY_US
            work.flows.append(Flow(0, seam_us - HOUR_US, seam_us + 3 * HOUR_US, -400.0, "theft"))

    theft = Theft(Target(PLAIN.station_id), 0, None, {}, "test")
    losses = [
        timeline.tanks[0].losses_20c_l["theft"]
        for timeline in islice(lives(PLAIN, Stations(), 1, ORIGIN_US, (theft,)), 2)
    ]
    assert losses == pytest.approx([100.0, 300.0])


def test_a_leak_follows_the_root_of_the_level() -> None:
    def leaked(with_level: bool) -> tuple[float, TankCourse]:
        meddling = Meddling(PLAIN, leak=(1.0, with_level))
        timeline = next(lives(PLAIN, Stations(), 1, ORIGIN_US, (meddling,)))
        return timeline.tanks[0].losses_20c_l["leak"], timeline.tanks[0]

    even, _ = leaked(with_level=False)
    assert even == pytest.approx(163.0, abs=0.01)
    rooted, course = leaked(with_level=True)
    grid = np.linspace(course.at_us[0] + 5 * HOUR_US, course.at_us[-1], 2_000)
    total = np.interp(grid, course.at_us, fuel_l(course)) + np.interp(grid, course.slow_us, course.water_l)
    height = course.plan.true_chart.height_mm_of(total) / course.plan.true_chart.height_mm[-1]
    assert rooted == pytest.approx(163.0 * np.sqrt(2.0 * height).mean(), rel=0.02)


def test_water_rises_by_so_much_a_day() -> None:
    course = next(lives(PLAIN, Stations(), 1, ORIGIN_US, (Meddling(PLAIN, water=2.0),))).tanks[0]
    mm = course.plan.true_chart.height_mm_of(course.water_l)
    assert mm[-1] - mm[0] == pytest.approx(14.0, abs=0.01)


def test_manifolded_tanks_come_to_one_level_within_hours_and_lose_nothing_to_each_other() -> None:
    timeline = next(islice(lives(JOINED, Stations(), 1, ORIGIN_US, ()), 1, None))
    pairs = [group for group in manifolds(JOINED) if len(group) > 1]
    assert pairs
    for group in pairs:
        one, other = (timeline.tanks[index] for index in group)
        assert one.losses_20c_l["siphon"] == pytest.approx(-other.losses_20c_l["siphon"], abs=1e-6)
        hours = np.arange(timeline.start_us, timeline.end_us, HOUR_US)
        gap_mm = np.subtract(*(height_mm(course, hours) for course in (one, other)))
        drops = np.array([drop.end_us for drop in timeline.drops if drop.tank in group])
        since = np.array([min((hour - drops[drops <= hour]), default=10**15) for hour in hours])
        starts = np.array([drop.start_us for drop in timeline.drops if drop.tank in group])
        quiet = (since > 5 * HOUR_US) & ~np.isin(hours // HOUR_US, starts // HOUR_US)
        assert np.abs(gap_mm[quiet]).max() < 20.0
        assert len(drops) == 0 or np.abs(gap_mm).max() > 100.0


def height_mm(course: TankCourse, at_us: np.ndarray) -> Floats:
    total = np.interp(at_us, course.at_us, fuel_l(course)) + np.interp(at_us, course.slow_us, course.water_l)
    return course.plan.true_chart.height_mm_of(total)


def test_deliveries_err_as_real_ones_do() -> None:
    county = build_county(3, date(2026, 1, 1), 12)
    shares, load_c = [], []
    for plan in county.stations:
        for timeline in islice(lives(plan, Stations(), 3, ORIGIN_US, ()), 3):
            for drop in timeline.drops:
                bias = plan.tanks[drop.tank].delivery_bias
                shares.append(drop.litres_20c / drop.declared_20c_l - 1.0 - bias)
                course = timeline.tanks[drop.tank]
                full = np.interp(drop.end_us, course.at_us, fuel_l(course)) + course.water_l[0]
                assert full < 0.95 * course.plan.true_chart.capacity_l
                load_c.append(drop.temperature_c - np.interp(drop.start_us, course.slow_us, course.temperature_c))
                assert drop.document_no.startswith("DN-")
                assert timeline.start_us <= drop.start_us < drop.end_us <= timeline.end_us
    percent = 100.0 * np.array(shares)
    assert len(percent) > 200
    assert np.median(percent) == pytest.approx(-0.32, abs=0.12)
    robust_sd = 1.4826 * np.median(np.abs(percent - np.median(percent)))
    assert 0.33 < robust_sd < 0.55
    assert np.mean(np.abs(percent - np.median(percent)) > 1.0) < 0.25
    assert np.abs(load_c).max() <= 15.001
    assert np.std(load_c) > 2.0


def test_the_common_loss_wanders_by_a_tenth_of_a_percent() -> None:
    class Watch(Scenario):
        def __init__(self) -> None:
            super().__init__(Target(PLAIN.station_id), 0, None, {}, "test")
            self.seen: list[Floats] = []

        def tanks(self, work: TankWork) -> None:
            self.seen.append(work.common_loss)

    watch = Watch()
    list(islice(lives(PLAIN, Stations(demand=0.05), 1, ORIGIN_US, (watch,)), 30))
    percent = 100.0 * np.concatenate(watch.seen, axis=1)
    assert np.abs(np.diff(percent, axis=1)).max() < 0.05  # no steps at the seams
    assert 0.06 < np.std(percent[-1]) < 0.16  # diesel: hardly any season
    assert 0.0 < percent[0].mean() < 0.4
    assert PLAIN.tanks[-1].registered.grade == "0#"


def test_a_load_mixes_in_and_is_as_warm_as_the_ground_after_two_days() -> None:
    found = 0
    for timeline in islice(lives(PLAIN, Stations(), 1, ORIGIN_US, ()), 6):
        for index, course in enumerate(timeline.tanks):
            drops = [drop for drop in timeline.drops if drop.tank == index]
            for drop, following in zip(drops, [*drops[1:], None], strict=True):
                before, after, later = np.interp(
                    [drop.start_us, drop.end_us, drop.end_us + 2 * DAY_US], course.slow_us, course.temperature_c
                )
                least, most = sorted((before, drop.temperature_c))
                assert least - 0.01 <= after <= most + 0.01
                until_us = timeline.end_us if following is None else following.start_us
                if until_us - drop.end_us >= 2 * DAY_US and abs(drop.temperature_c - before) > 3.0:
                    found += 1
                    ground = ground_c(np.array([drop.end_us, drop.end_us + 2 * DAY_US]))
                    assert abs(after - ground[0]) > 0.5
                    assert abs(later - ground[1]) < 0.1 * abs(after - ground[0])
    assert found > 3


def test_lorries_that_bring_nothing_come_one_after_the_other_and_the_making_ends() -> None:
    meddling = Meddling(PLAIN, short=1.0, added_l=9_000.0)
    timeline = next(lives(PLAIN, Stations(), 1, ORIGIN_US, (meddling,)))
    for index in range(len(timeline.tanks)):
        empty = [drop for drop in timeline.drops if drop.tank == index and drop.litres_20c == 0.0]
        for drop, following in pairwise(empty):
            assert following.start_us >= drop.end_us


def test_what_a_scenario_adds_waits_for_room_and_what_is_on_paper_only_does_not() -> None:
    class Adding(Scenario):
        def delivery(self, work: DeliveryWork) -> None:
            drop = work.drop
            work.added += [
                replace(drop, start_us=drop.end_us, end_us=drop.end_us + HOUR_US // 4, litres_20c=litres, truck=truck)
                for litres, truck in ((6_000.0, "real"), (0.0, "paper"))
            ]

    timelines = list(islice(lives(PLAIN, Stations(), 1, ORIGIN_US, (Adding(Target("S01"), 0, None, {}, "test"),)), 3))
    drops = [drop for timeline in timelines for drop in timeline.drops]
    paper, real = ([drop for drop in drops if drop.truck == name] for name in ("paper", "real"))
    ordered = [drop for drop in drops if drop.truck not in {"paper", "real"}]
    assert len(paper) == len(ordered)
    assert 0 < len(real) <= len(ordered)
    for drop in paper:
        assert any(drop.start_us == other.end_us and drop.tank == other.tank for other in ordered)
    for timeline in timelines:
        assert_closed(timeline)
        for drop in timeline.drops:
            assert timeline.start_us <= drop.start_us < drop.end_us <= timeline.end_us
    assert all(drop.litres_20c == 6_000.0 for drop in real)
