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
HOUR_US = 3_600_000_000


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


def test_unsigned_work_is_no_note(staging):
    past, _ = next(worked(staging))
    bare = tuple(replace(each, signed_by_repairer=None) for each in past.work_orders)
    assert reviewed(replace(past, work_orders=bare)) == []


def test_work_that_moves_nothing_is_noted_as_no_clear_step(staging):
    past, order = next(worked(staging))
    before = replace(order, at=order.at - 5 * DAY)
    (note,) = reviewed(replace(past, work_orders=(before,)))
    assert note.severity is Severity.INFO
    assert "no clear step" in note.explanation.title.en
    assert "作业后无明显跳变" in note.explanation.title.zh
    assert note.estimate.low < 0.0 < note.estimate.high or abs(note.estimate.value) < 10.0


def test_what_lies_between_too_few_readings_cannot_be_compared(staging):
    past, order = next(worked(staging))
    at = int(order.at.timestamp() * 1e6)
    levels = past.levels[order.device_id]
    near = (levels.at_us > at - 2 * HOUR_US) & (levels.at_us < at + 4 * HOUR_US)
    (note,) = reviewed(replace(past, levels={**past.levels, order.device_id: levels.take(~near)}))
    assert note.severity is Severity.INFO
    assert "not comparable" in note.explanation.title.en
    assert note.estimate is None
    assert note.figures


def test_a_gauge_that_is_silent_from_then_on_cannot_be_compared_and_one_without_any_reading_is_no_note(staging):
    past, order = next(worked(staging))
    gone = {
        tank: levels.take(levels.at_us < int(order.at.timestamp() * 1e6) - 8 * HOUR_US)
        for tank, levels in past.levels.items()
    }
    (note,) = reviewed(replace(past, levels=gone))
    assert "not comparable" in note.explanation.title.en
    assert reviewed(replace(past, levels={})) == []
