"""The pages: one template for all, drawn in the browser from the feed; only a page with charts loads Bokeh."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import holoviews as hv
import panel as pn

from pumpwatch.errors import PumpwatchError
from pumpwatch_dashboards.feed import LiveFeed
from pumpwatch_dashboards.look import Look, Tone, panel_theme
from pumpwatch_dashboards.trend import Trends, TrendSource, flow_chart, level_chart
from pumpwatch_dashboards.web import ASSETS

REFRESH_MS = 60_000
"""A redrawn chart costs this process about 0.1 s; what is live on the page comes by the feed."""
AXIS_PX = 36
LEVEL_PX = 168
_TITLES = {
    "wall": {"zh": "总览", "en": "Overview"},
    "station": {"zh": "油站", "en": "Station"},
    "alarms": {"zh": "报警", "en": "Alarms"},
}


def pages(feed: LiveFeed, source: TrendSource) -> Mapping[str, Callable[[], pn.Template]]:
    """Address of each page and what makes it; Panel calls it once a browser that opens the page."""
    html = (ASSETS / "page.html").read_text("utf-8")

    def station() -> pn.Template:
        page = _page(html, "station", charts=True)
        _add_trends(page, feed, source, _asked("id", ""), _tone())
        return page

    return {
        "/": lambda: _page(html, "wall"),
        "/station": station,
        "/alarms": lambda: _page(html, "alarms"),
    }


def flow_height(nozzles: int) -> int:
    """Pixels of the flow chart: rows as high as a screen of this many nozzles has room for."""
    row = 18 if nozzles <= 12 else 15 if nozzles <= 16 else 13
    return row * max(4, nozzles) + AXIS_PX


def load_libraries() -> None:
    """Load Panel's and HoloViews' browser parts, once a process, and draw: the first chart takes 1 s, others 0.1 s."""
    pn.extension()
    hv.extension("bokeh", logo=False)
    nothing = Trends(0.0, 900.0, (), ())
    for chart in (flow_chart, level_chart):
        hv.render(chart(nothing, Tone.LIGHT, UTC))


def _page(html: str, name: str, *, charts: bool = False) -> pn.Template:
    lang, tone = _language(), _tone()
    page = pn.Template(html, design=Look, theme=panel_theme(tone))
    scripts = sorted(path.name for path in ASSETS.glob("*.js") if path.name != "boot.js")
    for key, value in {
        "page_title": f"{_TITLES[name][lang]} · pumpwatch",
        "page": name,
        "lang": "zh-Hans-CN" if lang == "zh" else "en",
        "tone": tone.value,
        "charts": charts,
        "scripts": scripts,
    }.items():
        page.add_variable(key, value)
    return page


def _add_trends(page: pn.Template, feed: LiveFeed, source: TrendSource, station_id: str, tone: Tone) -> None:
    """Two charts that fill in when the series have come and again every minute."""
    pane: Any = pn.pane  # Panel's annotations are partial: no arguments here, no coroutine functions below
    state: Any = pn.state
    flow, level = (pane.HoloViews(sizing_mode="stretch_width", min_height=80) for _ in range(2))
    zone = _zone(feed.layout)

    async def refresh() -> None:
        try:
            trends = await source.of(station_id)
        except PumpwatchError:
            return  # the page's own part says what the API says; the charts keep what they show
        flow.height = flow_height(len(trends.flows))
        flow.object = flow_chart(trends, tone, zone)
        await asyncio.sleep(0)  # drawing keeps the loop busy: let the feed through between the two
        level.height = LEVEL_PX
        level.object = level_chart(trends, tone, zone)

    page.add_panel("flow", flow)
    page.add_panel("level", level)
    if station_id:
        state.onload(refresh)
        state.add_periodic_callback(refresh, period=REFRESH_MS)


def _asked(name: str, otherwise: str) -> str:
    """A query parameter of the page being opened."""
    values = pn.state.session_args.get(name) or [otherwise.encode()]
    return bytes(values[0]).decode("utf-8", "replace")


def _language() -> str:
    return "en" if _asked("lang", "zh") == "en" else "zh"


def _tone() -> Tone:
    return Tone.DARK if _asked("theme", "light") == "dark" else Tone.LIGHT


def _zone(layout: Mapping[str, object]) -> tzinfo:
    server = layout.get("server")
    name = server.get("time_zone") if isinstance(server, dict) else None
    try:
        return ZoneInfo(str(name or "Asia/Shanghai"))
    except (ZoneInfoNotFoundError, ValueError):
        return UTC
