"""Trends: where a line breaks, and what is asked of the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import holoviews as hv
import numpy as np
import pytest

from pumpwatch.errors import NotReachable
from pumpwatch.testing import FakeClock
from pumpwatch_dashboards.look import Tone
from pumpwatch_dashboards.trend import (
    SPAN,
    Api,
    Line,
    Trends,
    TrendSource,
    _apart,
    _runs,
    flow_chart,
    level_chart,
    line,
)

hv.extension("bokeh", logo=False)


@pytest.fixture(autouse=True)
def _in_the_browsers_style() -> None:
    """As in the dashboards' own process, where nothing else is ever loaded."""
    hv.Store.set_current_backend("bokeh")


BORN = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


def series(*points: tuple[float, float | None, int]) -> dict[str, Any]:
    return {
        "at": [(BORN + timedelta(seconds=s)).isoformat().replace("+00:00", "Z") for s, _, _ in points],
        "value": [v for _, v, _ in points],
        "quality": [q for _, _, q in points],
    }


def test_bad_data_break_the_line() -> None:
    found = line("3", series((0, 1.0, 0), (10, 2.0, 0x81), (20, None, 0x81), (30, 4.0, 0)), BORN.timestamp() + 35, 60)
    np.testing.assert_equal(found.value, [1.0, np.nan, np.nan, 4.0])


def test_stale_and_substituted_values_are_kept() -> None:
    found = line("3", series((0, 1.0, 0x41), (10, 2.0, 0x42)), BORN.timestamp() + 15, 60)
    np.testing.assert_equal(found.value, [1.0, 2.0])


def test_silence_breaks_the_line_where_it_became_too_long() -> None:
    found = line("3", series((0, 1.0, 0), (200, 2.0, 0)), BORN.timestamp() + 500, 60)
    np.testing.assert_equal(found.at - BORN.timestamp(), [0, 60, 200, 260])
    np.testing.assert_equal(found.value, [1.0, np.nan, 2.0, np.nan])


def test_nothing_known_is_an_empty_line() -> None:
    assert line("3", {"at": [], "value": [], "quality": []}, 0.0, 60).at.size == 0
    assert line("3", {}, 0.0, 60).at.size == 0


def test_runs() -> None:
    assert list(_runs(np.array([True, True, False, True]))) == [(0, 2), (3, 4)]
    assert list(_runs(np.array([], np.bool_))) == []


def test_labels_keep_their_order_and_stand_apart() -> None:
    placed = _apart([62.0, None, 60.0, 97.0])
    assert placed[1] is None
    heights = [h for h in placed if h is not None]
    assert placed[2] < placed[0] < placed[3]  # type: ignore[operator]
    assert min(np.diff(sorted(heights))) >= 14
    assert max(heights) <= 98


@pytest.mark.parametrize("tone", Tone)
def test_charts_of_a_station_that_told_nothing(tone: Tone) -> None:
    """Neither nozzles nor tanks, and then some without a single value."""
    for lines in ((), (Line("1", np.empty(0), np.empty(0)), Line("2", np.array([5.0]), np.array([np.nan])))):
        trends = Trends(0.0, 900.0, lines, lines)
        for chart in (flow_chart, level_chart):
            figure = hv.render(chart(trends, tone, UTC))
            assert (figure.x_range.start, figure.toolbar_location) == (0.0, None)


def test_charts_name_nozzles_tanks_and_local_times() -> None:
    at = np.arange(0.0, 900.0, 10)
    busy = Line("7", at, np.where((at > 300) & (at < 400), 30.0, 0.0))
    trends = Trends(0.0, 900.0, (busy,), (Line("1·92#", at, np.full(90, 50.0)),))
    flow = hv.render(flow_chart(trends, Tone.LIGHT, ZoneInfo("Asia/Shanghai")))
    assert list(flow.yaxis[0].major_label_overrides.values()) == ["7"]
    assert list(flow.xaxis[0].major_label_overrides.values())[:2] == ["08:00", "08:03"]
    bars = flow.renderers[0].data_source.data
    assert [(bars["left"][0], bars["right"][0], bars["top"][0])] == [(310.0, 400.0, pytest.approx(0.425))]
    level = hv.render(level_chart(trends, Tone.LIGHT, UTC))
    assert ["1·92#"] in [list(column) for column in level.renderers[-1].data_source.data.values()]


class Told(Api):
    """An API that answers from memory and keeps what it was asked."""

    def __init__(self, *, down: bool = False) -> None:
        super().__init__("http://127.0.0.1:9", None)
        self.asked: list[str] = []
        self.down = down

    async def facts(self, *path: str, query: Any = None) -> dict[str, Any]:
        if self.down:
            raise NotReachable("nothing there")
        self.asked.append(str(query["path"]) if query else "/".join(path))
        if path[0] == "series":
            assert datetime.fromisoformat(query["end"]) - datetime.fromisoformat(query["start"]) == SPAN
            return series((0, 15_000.0, 0)) if "tank" in query["path"] else series((0, 30.0, 0))
        return {
            "station_id": "S22",
            "nozzles": [{"nozzle_id": "S22-N05", "number": 5}, {"nozzle_id": "S22-N06", "number": 6}],
            "devices": [
                {"device_id": "D2", "nozzle_ids": ["S22-N05", "S22-N06"]},
                {"device_id": "TLS", "nozzle_ids": []},
            ],
            "tanks": [{"number": 1, "grade": "92#", "capacity_l": 30_000.0, "path": "S22/TLS/tank-1."}, {"number": 2}],
        }


async def test_paths_count_within_the_device_and_levels_are_percent() -> None:
    api = Told()
    trends = await TrendSource(api, FakeClock(BORN)).of("S22")
    assert api.asked[0] == "stations/S22"
    assert sorted(api.asked[1:]) == ["S22/D2/nozzle-1.flow", "S22/D2/nozzle-2.flow", "S22/TLS/tank-1.volume"]
    assert [flow.label for flow in trends.flows] == ["5", "6"]
    assert [(level.label, level.value[0]) for level in trends.levels] == [("1·92#", pytest.approx(50.0))]
    await api.close()


async def test_a_young_server_is_drawn_on_a_short_axis() -> None:
    api = Told()
    trends = await TrendSource(api, FakeClock(BORN + timedelta(minutes=14))).of("S22")
    assert trends.end - trends.start == 900
    later = await TrendSource(api, FakeClock(BORN + timedelta(minutes=50))).of("S22")
    assert later.end - later.start == 3600
    old = await TrendSource(api, FakeClock(BORN + timedelta(hours=2))).of("S22")
    assert old.end - old.start == SPAN.total_seconds()
    await api.close()


async def test_viewers_of_one_station_share_an_answer_for_a_moment() -> None:
    api, clock = Told(), FakeClock(BORN)
    source = TrendSource(api, clock)
    first = await source.of("S22")
    assert await source.of("S22") is first
    await clock.advance(21)
    assert await source.of("S22") is not first
    assert len(api.asked) == 8
    await api.close()


async def test_an_api_that_is_down_is_told() -> None:
    api = Told(down=True)
    with pytest.raises(NotReachable):
        await TrendSource(api, FakeClock(BORN)).of("S22")
    await api.close()
