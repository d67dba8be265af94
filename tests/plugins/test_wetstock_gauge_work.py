"""Work on a gauge: how far the level stepped is noted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from worlds import staged

from pumpwatch import Severity
from pumpwatch.detection.replay import in_order
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_wetstock import GaugeWork

DAY = timedelta(days=1)


def reviewed(past, *cuts):
    rule = GaugeWork(GaugeWork.Settings())
    return in_order([f for a, b in pairwise((past.start, *cuts, past.end)) for f in rule.review(past, a, b)])


@pytest.fixture(scope="module")
def staging():
    return staged({"name": "H12", "onset": "P20D", "times": 4}, count=5, seed=5, days=26)


def worked(staging):
    """Stations with a new probe, and the paper."""
    for station in staging.county.stations:
        past = station_past(staging, station.station_id)
        tanks = {tank.tank_id for tank in past.tanks}
        for order in past.work_orders:
            if order.device_id in tanks:
                yield past, order


def test_a_new_probe_is_noted_with_its_step(staging):
    told = list(worked(staging))
    assert len(told) == 4
    for past, order in told:
        (note,) = reviewed(past)
        assert (note.cause, note.severity, note.rule) == ("chart_error", Severity.INFO, "gauge_work")
        assert order.device_id in past.manifold(note.subject.tank_id)
        assert note.detected_at == order.at + DAY
        assert abs(note.onset - order.at) < timedelta(hours=1)
        # Two millimetres, more in the middle of a large tank than near its ends.
        assert 5.0 < note.estimate.low < note.estimate.value < note.estimate.high < 80.0


def test_cut_anywhere_it_is_the_same_note(staging):
    past, order = next(worked(staging))
    (note,) = reviewed(past)
    for hours in (1, 23, 24, 30):
        assert reviewed(past, order.at + timedelta(hours=hours)) == [note]
    late = past.between(note.detected_at - timedelta(days=16), past.end)
    assert reviewed(late) == [note]


def test_unsigned_work_and_work_that_moves_nothing_are_no_note(staging):
    past, order = next(worked(staging))
    bare = tuple(replace(each, signed_by_repairer=None) for each in past.work_orders)
    assert reviewed(replace(past, work_orders=bare)) == []
    before = replace(order, at=order.at - 5 * DAY)
    assert reviewed(replace(past, work_orders=(before,))) == []


def test_no_readings_no_note(staging):
    past, order = next(worked(staging))
    gone = {
        tank: levels.take(levels.at_us < int(order.at.timestamp() * 1e6) - 8 * 3_600_000_000)
        for tank, levels in past.levels.items()
    }
    assert reviewed(replace(past, levels=gone)) == []
    assert reviewed(replace(past, levels={})) == []
