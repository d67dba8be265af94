"""The same seed makes the same life, to the bit, in one process or in several."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from dataclasses import fields, replace
from datetime import date
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

import pumpwatch_sim
from pumpwatch_sim.county import build_county
from pumpwatch_sim.fleet import Stations
from pumpwatch_sim.scenarios.base import Scenario, Target
from pumpwatch_sim.world.collecting import collect
from pumpwatch_sim.world.making import first_carry, lives, make, stretch_of
from pumpwatch_sim.world.timeline import STRETCH_DAYS, Preset, Purpose, Sales, Timeline
from pumpwatch_sim.world.work import Booking, DeliveryWork, Demand

ORIGIN_US = 1_767_110_400_000_000
PLAN = build_county(1, date(2026, 1, 1), 3).stations[1]
SETTINGS = Stations()

CHILD = """
import hashlib, pickle, sys
from pathlib import Path
from pumpwatch_sim.fleet import Stations
from pumpwatch_sim.scenarios.base import Scenario, Target
from pumpwatch_sim.world.collecting import collect
from pumpwatch_sim.world.making import make, stretch_of
plan, carry = pickle.loads(Path(sys.argv[1]).read_bytes())
timeline, _ = make(stretch_of(plan, 2, int(sys.argv[2])), Stations(), 1, carry, ())
records = collect(timeline, Stations(), 1, ())
digest = hashlib.sha256()
for columns in (records.transactions, records.tank_readings, records.deliveries):
    for name, column in columns.items():
        digest.update(name.encode() + (repr(column.tolist()).encode() if column.dtype == object else column.tobytes()))
print(digest.hexdigest())
"""


def digest(timeline: Timeline, seed: int = 1) -> str:
    records = collect(timeline, SETTINGS, seed, ())
    state = hashlib.sha256()
    for columns in (records.transactions, records.tank_readings, records.deliveries):
        for name, column in columns.items():
            data = repr(column.tolist()).encode() if column.dtype == object else column.tobytes()
            state.update(name.encode() + data)
    return state.hexdigest()


def test_the_same_seed_makes_the_same_life_and_another_seed_another() -> None:
    one, other = (
        [digest(timeline) for timeline in islice(lives(PLAN, SETTINGS, 1, ORIGIN_US, ()), 3)] for _ in range(2)
    )
    assert one == other
    assert len(set(one)) == 3
    assert digest(next(lives(PLAN, SETTINGS, 2, ORIGIN_US, ())), 2) not in one


def test_a_stretch_made_from_what_the_one_before_left_is_the_same_in_another_process(tmp_path: Path) -> None:
    carry = first_carry(PLAN, 1, ORIGIN_US)
    for number in range(2):
        _, carry = make(stretch_of(PLAN, number, ORIGIN_US), SETTINGS, 1, carry, ())
    left = tmp_path / "carry"
    left.write_bytes(pickle.dumps((PLAN, carry)))
    roots = {str(Path(pumpwatch_sim.__file__).parents[1]), *sys.path}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(left), str(ORIGIN_US)],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sorted(roots)), "PYTHONHASHSEED": "7"},
    )
    third = next(islice(lives(PLAN, SETTINGS, 1, ORIGIN_US, ()), 2, None))
    assert child.stdout.strip() == digest(third)


class Unfinished(Scenario):
    """Leaves a filling and deliveries for the next stretch to do."""

    def demand(self, demand: Demand) -> None:
        late_us = demand.stretch.end_us - 10_000_000
        demand.bookings.append(Booking(0, late_us, 60.0, Purpose.OWN_USE, Preset.NONE))

    def delivery(self, work: DeliveryWork) -> None:
        work.added.append(replace(work.drop, litres_20c=60_000.0))


def test_making_leaves_what_it_was_given_as_it_was() -> None:
    carry = first_carry(PLAN, 1, ORIGIN_US)
    unfinished = Unfinished(Target(PLAN.station_id), 0, None, {}, "test")
    for number in range(4):
        before = pickle.dumps((carry.forecourt, carry.counters, carry.tanks))
        _, after = make(stretch_of(PLAN, number, ORIGIN_US), SETTINGS, 1, carry, (unfinished,))
        assert after.forecourt.postponed is not None
        assert any(state.ordering.waiting for state in after.tanks)
        assert pickle.dumps((carry.forecourt, carry.counters, carry.tanks)) == before
        carry = after


def test_stretches_follow_each_other_and_know_the_one_before() -> None:
    timelines = list(islice(lives(PLAN, SETTINGS, 1, ORIGIN_US, ()), 3))
    for number, timeline in enumerate(timelines):
        assert timeline.number == number
        assert timeline.start_us == ORIGIN_US + number * STRETCH_DAYS * 86_400_000_000
    assert timelines[0].previous is None
    for before, after in pairwise(timelines):
        assert before.end_us == after.start_us
        assert after.previous is not None
        assert after.previous.tanks is before.tanks
        assert len(after.previous.sales) == 0
        assert after.previous.previous is None


def test_a_life_may_begin_at_any_moment() -> None:
    origin_us = ORIGIN_US + 45_296_789_012
    for timeline in islice(lives(PLAN, SETTINGS, 1, origin_us, ()), 2):
        records = collect(timeline, SETTINGS, 1, ())
        assert len(timeline.sales) > 1_000
        assert (records.tank_readings["time"] % 300_000_000 == 0).all()
        assert records.tank_readings["time"].min() >= timeline.start_us


def test_all_columns_of_the_sales_are_filled() -> None:
    sales = next(lives(PLAN, SETTINGS, 1, ORIGIN_US, ())).sales
    for part in fields(Sales):
        column = getattr(sales, part.name)
        assert len(column) == len(sales)
        assert np.isfinite(column).all()
