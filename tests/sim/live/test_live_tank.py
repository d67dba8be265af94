"""A tank looked up in a hand-made course: readings of the second, and deliveries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pumpwatch_sim.live.tank import DROPS
from pumpwatch_sim.world.timeline import Drop, Timeline

Play = Callable[..., Any]
WEEK_S = 7 * 86_400


def drop(tank: int, start_us: int, litres: float) -> Drop:
    return Drop(tank, start_us, start_us + 1200_000_000, litres, 15.0, 740.0, "T", "S", litres, litres)


def test_a_reading_belongs_to_its_second(play: Play) -> None:
    stage = play([])
    tank = stage.player.tanks[0]
    stage.to(100.2)
    look = tank.look()
    stage.to(100.9)
    assert tank.look() is look
    stage.to(101.1)
    later = tank.look()
    assert later is not look
    assert later.height_mm == pytest.approx(look.height_mm, abs=8)


def test_a_reading_hangs_together(play: Play) -> None:
    stage = play([])
    for tank in stage.player.tanks:
        look, chart = tank.look(), tank.plan.gauge_chart
        assert look.volume_l + look.water_l + look.ullage_l == pytest.approx(tank.capacity_l)
        assert look.volume_l + look.water_l == pytest.approx(
            float(chart.volume_l(np.array([look.height_mm]))[0]), abs=60
        )
        assert look.volume_20c_l == pytest.approx(look.volume_l, rel=0.02)
        assert 5 < look.temperature_c < 20


def test_the_chart_rises_from_the_bottom_to_the_top(play: Play) -> None:
    tank = play([]).player.tanks[0]
    tank_chart = tank.chart(50)
    heights, volumes = zip(*tank_chart, strict=True)
    assert len(tank_chart) == 50
    assert np.allclose(np.diff(heights), heights[0])
    assert all(np.diff(volumes) > 0)
    assert volumes[-1] == pytest.approx(tank.capacity_l)


def test_a_delivery_shows_while_it_runs_and_afterwards(play: Play) -> None:
    def change(week: int, timeline: Timeline) -> None:
        if week == 0:
            timeline.drops += [drop(0, timeline.start_us + 600_000_000, 6000.0)]
            timeline.drops += [drop(1, timeline.start_us + 700_000_000, 0.0)]
            timeline.drops += [drop(0, timeline.end_us - 600_000_000, 6000.0)]

    stage = play([], change=change)
    tank, other = stage.player.tanks[:2]
    stage.to(599)
    assert (tank.receiving, len(tank.drops())) == (False, 0)
    stage.to(900)
    assert (tank.receiving, len(tank.drops())) == (True, 0)
    assert not other.receiving, "what is only on paper the gauge does not see"
    stage.to(1801)
    assert not tank.receiving
    (seen,) = tank.drops()
    assert (seen.end - seen.start).total_seconds() == 1200
    assert seen.start.timestamp() == stage.staging.origin_us // 1_000_000 + 600
    assert seen.start.utcoffset().total_seconds() == 8 * 3600
    stage.to(WEEK_S + 1)
    assert tank.receiving, "over the border of the stretch"
    stage.to(WEEK_S + 700)
    assert len(tank.drops()) == 2


def test_the_last_ten_deliveries_are_remembered(play: Play) -> None:
    def change(week: int, timeline: Timeline) -> None:
        timeline.drops += [drop(0, timeline.start_us + day * 86_400_000_000, 5000.0 + week) for day in range(6)]

    stage = play([], change=change)
    stage.to(3 * WEEK_S - 10)
    drops = stage.player.tanks[0].drops()
    assert len(drops) == DROPS
    assert list(drops) == sorted(drops, key=lambda seen: seen.start)
    assert drops[-1].start.timestamp() == (stage.staging.origin_us + (14 + 5) * 86_400_000_000) // 1_000_000
