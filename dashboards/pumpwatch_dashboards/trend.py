"""The station page's trends: flow of each nozzle and level of each tank, broken where data are missing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Protocol

import holoviews as hv
import numpy as np
from bokeh.core.properties import value
from numpy.typing import NDArray

from pumpwatch.clock import Clock
from pumpwatch.errors import PumpwatchError
from pumpwatch.model import Quality
from pumpwatch_dashboards.api import Api
from pumpwatch_dashboards.look import Tone, colours

SPAN = timedelta(hours=3)
FULL_FLOW = 60.0
"""L/min that fills a nozzle's row; ordinary dispensers deliver up to about 50, those for lorries more."""
FLOW_GAP_S = 60.0
"""An unchanged value is stored again every 10 s; this long without one and nothing is known."""
TANK_GAP_S = 300.0
LIMIT = 20_000
KEPT_S = 20.0
"""A station's trends are asked for again after this long; viewers of one station share them."""
_AT_ONCE = 4
_KEPT_STATIONS = 16

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """One tag over time: seconds since 1970 UTC and values, NaN where nothing good is known."""

    label: str
    at: Column
    value: Column


@dataclass(frozen=True, slots=True)
class Trends:
    """What the charts of one station draw."""

    start: float
    end: float
    flows: tuple[Line, ...]
    """L/min, in the order of the nozzles' numbers."""
    levels: tuple[Line, ...]
    """% of capacity, in the order of the tanks' numbers."""


class TrendSource:
    """Asks the API for a station's series, a few at a time, and keeps the answer for a moment."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._kept: dict[str, tuple[float, Trends]] = {}
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def of(self, station_id: str) -> Trends:
        """The last hours of a station; an unknown tag gives an empty line. Raises ``NotReachable``, ``BadReply``."""
        kept = self._kept.get(station_id)
        if kept is not None and self._clock.monotonic() - kept[0] < KEPT_S:
            return kept[1]
        detail = await self._api.facts("stations", station_id)
        end = self._clock.now()
        flows = [self._line(str(number), path, end, FLOW_GAP_S) for number, path in _flow_paths(detail)]
        levels = [
            self._line(f"{number}·{grade}", path, end, TANK_GAP_S, 100.0 / capacity)
            for number, grade, path, capacity in _level_paths(detail)
        ]
        lines = await asyncio.gather(*flows, *levels)
        until = end.timestamp()
        trends = Trends(until - span(lines, until), until, tuple(lines[: len(flows)]), tuple(lines[len(flows) :]))
        while len(self._kept) >= _KEPT_STATIONS:
            self._kept.pop(next(iter(self._kept)))
        self._kept[station_id] = (self._clock.monotonic(), trends)
        return trends

    async def _line(self, label: str, path: str, end: datetime, gap_s: float, scale: float = 1.0) -> Line:
        query: dict[str, str | int] = {
            "path": path,
            "start": _iso(end - SPAN),
            "end": _iso(end),
            "limit": LIMIT,
        }
        async with self._turn:
            try:
                series = await self._api.facts("series", query=query)
            except PumpwatchError:
                return Line(label, np.empty(0), np.empty(0))
        return line(label, series, end.timestamp(), gap_s, scale)


def line(label: str, series: Mapping[str, object], end: float, gap_s: float, scale: float = 1.0) -> Line:
    """Turn the API's series into a line: BAD values become NaN, and so does a silence longer than ``gap_s``."""
    texts, raw, quality = _list(series, "at"), _list(series, "value"), _list(series, "quality")
    at = np.array([datetime.fromisoformat(str(text)).timestamp() for text in texts], np.float64)
    known = np.array([v if isinstance(v, int | float) else np.nan for v in raw], np.float64) * scale
    known[np.array([isinstance(q, int) and q >= Quality.BAD for q in quality], np.bool_)] = np.nan
    if at.size == 0:
        return Line(label, at, known)
    silent = np.append(np.diff(at), end - at[-1]) > gap_s
    places = np.flatnonzero(silent) + 1
    return Line(label, np.insert(at, places, at[places - 1] + gap_s), np.insert(known, places, np.nan))


def span(lines: Sequence[Line], until: float) -> float:
    """Seconds the charts show: 3 h, or less while the server is younger than that."""
    first = min((float(known[0]) for line in lines if (known := line.at[np.isfinite(line.value)]).size), default=until)
    return next(s for s, _, _ in _SCALES if until - first <= s or s == SPAN.total_seconds())


def flow_chart(trends: Trends, tone: Tone, zone: tzinfo) -> hv.Overlay:
    """One row a nozzle: a thin line where the flow is known, a bar as high as the flow while fuel runs."""
    ink = colours(tone)
    bars: list[tuple[float, float, float, float]] = []
    known: list[tuple[float, float, float, float]] = []
    rows = len(trends.flows)
    for place, flow in enumerate(trends.flows):
        foot = rows - 1 - place
        edges = np.append(flow.at, trends.end)
        known += [(edges[left], foot, edges[right], foot) for left, right in _runs(np.isfinite(flow.value))]
        for left, right in _runs(np.nan_to_num(flow.value) > 0):
            height = 0.85 * min(1.0, float(np.mean(flow.value[left:right])) / FULL_FLOW)
            bars.append((edges[left], foot, edges[right], foot + height))
    ticks = [(rows - 1 - place + 0.4, flow.label) for place, flow in enumerate(trends.flows)]
    return (hv.Rectangles(bars) * hv.Segments(known)).opts(
        hv.opts.Rectangles(color=ink.run, line_color=None),
        hv.opts.Segments(color=ink.edge, line_width=1),
        hv.opts.Overlay(yticks=ticks or 0, ylim=(-0.25, max(1, rows)), **_frame(trends, zone)),
    )


def level_chart(trends: Trends, tone: Tone, zone: tzinfo) -> hv.Overlay:
    """Level of each tank in % of its capacity, labelled at its end."""
    ink = colours(tone)
    dashes = ("solid", "dashed", "dotted", "dotdash", "solid", "dashed")
    curves = [
        hv.Curve((level.at, level.value)).opts(
            color=ink.run, line_width=1.6, line_dash=dashes[place % len(dashes)], interpolation="steps-post"
        )
        for place, level in enumerate(trends.levels)
    ]
    ends = _apart([_last(level) for level in trends.levels])
    room = _ROOM * (trends.end - trends.start)
    where = trends.end + 0.1 * room
    named = [
        (where, height, level.label) for height, level in zip(ends, trends.levels, strict=True) if height is not None
    ]
    names = hv.Labels(named).opts(  # one element: a Text each costs four times the time
        text_color=ink.ink_2, text_font=value(ink.font), text_font_size="12px", text_align="left"
    )
    shown = hv.Overlay([*curves, names])
    ticks = [(0, "0"), (50, "50"), (100, "100%")]
    return shown.opts(hv.opts.Overlay(yticks=ticks, ylim=(0, 106), **_frame(trends, zone, room)))


class _Drawn(Protocol):
    """What HoloViews hands to a hook: ``state`` is the Bokeh figure."""

    state: Any


_SCALES = ((900.0, 180, 300), (3600.0, 600, 1200), (SPAN.total_seconds(), 1800, 3600))
"""Seconds shown, seconds between the ticks of the flow chart and of the narrower level chart."""
_ROOM = 0.2
"""Part of the time axis kept free at its end for the names of the tanks."""


def _frame(trends: Trends, zone: tzinfo, room: float = 0.0) -> dict[str, object]:
    """What both charts share: an axis of local time, no title, no legend, no tools."""
    step = next(narrow if room else wide for s, wide, narrow in _SCALES if trends.end - trends.start <= s)
    first = math.ceil(trends.start / step)
    ticks = [(float(step * i), _clock(step * i, zone)) for i in range(first, int(trends.end // step) + 1)]
    return {
        "xlim": (trends.start, trends.end + room),
        "xticks": ticks,
        "xlabel": "",
        "ylabel": "",
        "responsive": True,
        "toolbar": None,
        "default_tools": [],
        "active_tools": [],
        "show_legend": False,
        "hooks": [_level_edges],
    }


def _level_edges(plot: _Drawn, _: object) -> None:
    """HoloViews hook: both charts start and end at the same place, whatever their labels."""
    plot.state.min_border_left = 44
    plot.state.min_border_right = 4
    plot.state.min_border_top = 4
    plot.state.min_border_bottom = 4


def _flow_paths(detail: Mapping[str, object]) -> Iterable[tuple[int, str]]:
    """Number of each nozzle in its station and the path of its flow; the path counts within the device."""
    numbers = {n.get("nozzle_id"): n.get("number") for n in _rows(detail, "nozzles")}
    found = [
        (number, f"{detail.get('station_id')}/{device.get('device_id')}/nozzle-{local}.flow")
        for device in _rows(detail, "devices")
        for local, nozzle_id in enumerate(_list(device, "nozzle_ids"), 1)
        if isinstance(number := numbers.get(nozzle_id), int)
    ]
    return sorted(found)


def _level_paths(detail: Mapping[str, object]) -> Iterable[tuple[int, str, str, float]]:
    for tank in _rows(detail, "tanks"):
        number, capacity, prefix = tank.get("number"), tank.get("capacity_l"), tank.get("path")
        if isinstance(number, int) and isinstance(capacity, int | float) and capacity > 0 and prefix:
            yield number, str(tank.get("grade", "")), f"{prefix}volume", float(capacity)


def _rows(facts: Mapping[str, object], name: str) -> list[dict[str, object]]:
    return [row for row in _list(facts, name) if isinstance(row, dict)]


def _list(facts: Mapping[str, object], name: str) -> list[object]:
    found = facts.get(name)
    return found if isinstance(found, list) else []


def _runs(mask: NDArray[np.bool_]) -> Iterable[tuple[int, int]]:
    """First index of each run of True, and the first after it."""
    turns = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True)


def _last(level: Line) -> float | None:
    known = level.value[np.isfinite(level.value)]
    return float(known[-1]) if known.size else None


def _apart(heights: Sequence[float | None], least: float = 14.0) -> list[float | None]:
    """Move labels up or down until each has its own line, lowest first."""
    order = sorted((i for i, h in enumerate(heights) if h is not None), key=lambda i: heights[i] or 0.0)
    placed = list(heights)
    floor = 6.0
    for left, i in enumerate(order):
        room = 98.0 - least * (len(order) - 1 - left)
        placed[i] = floor = min(max(heights[i] or 0.0, floor), room)
        floor += least
    return placed


def _clock(at: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone(zone).strftime("%H:%M")


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
