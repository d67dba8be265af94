"""Figures as pictures: the same bytes each time, every shape, both languages, and nothing that breaks the drawing."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import holoviews as hv
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.image import imread

from pumpwatch.figures import Look, draw, ink, to_png, to_svg
from pumpwatch.model import Curve, Figure, Severity, Text

TOKENS = Path(__file__).parents[3] / "dashboards" / "pumpwatch_dashboards" / "assets" / "tokens.css"
START = datetime(2026, 3, 1, 16, tzinfo=UTC).timestamp()
HOURS = tuple(START + 3600 * i for i in range(48))
HEIGHTS = tuple(100.0 + i % 7 for i in range(48))


def a_curve(shape: str = "line", *, alarm: bool = False, name: str = "实测") -> Curve:
    high = tuple(y + 5 for y in HEIGHTS) if shape == "band" else ()
    return Curve(Text(name, f"measured {shape}"), HOURS, HEIGHTS, shape, high, alarm)


def a_figure(*curves: Curve, marks: tuple[tuple[float, Text], ...] = (), is_time: bool = True) -> Figure:
    title = Text("示例站 2号罐液位", "Demo station: level of tank 2")
    return Figure(title, Text("当地时间", "local time"), Text("液位 mm", "level, mm"), curves, is_time, marks)


SHAPES = ["line", "step", "points", "bars", "band", "limit"]
EVERYTHING = a_figure(
    *(a_curve(shape) for shape in SHAPES),
    a_curve("line", alarm=True),
    marks=((HOURS[10], Text("起点", "onset")), (HOURS[11], Text("工单：检定", "work order: verification"))),
)


def test_the_same_figure_is_the_same_bytes() -> None:
    first = [to_svg(EVERYTHING, "zh"), to_png(EVERYTHING, "zh")]
    to_svg.cache_clear()
    to_png.cache_clear()
    to_svg(a_figure(a_curve()), "en")
    assert [to_svg(EVERYTHING, "zh"), to_png(EVERYTHING, "zh")] == first


def test_a_picture_is_as_wide_as_asked() -> None:
    assert imread(io.BytesIO(to_png(EVERYTHING, "en", Look(300)))).shape[1] == 600
    for width in (280, 1600):
        root = ET.fromstring(to_svg(EVERYTHING, "en", Look(width)))
        assert root.get("width") == f"{width * 0.75:g}pt"
    for width in (279, 1601, -1):
        with pytest.raises(ValueError, match="pixels wide"):
            Look(width)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alarm", [False, True])
def test_what_is_wrong_and_only_that_is_in_the_colour_of_the_alarm(shape: str, alarm: bool) -> None:
    picture = imread(io.BytesIO(to_png(a_figure(a_curve(shape, alarm=alarm)), "zh", Look(300, severity=Severity.LOW))))
    rgb = np.round(picture[..., :3] * 255).astype(int)
    colourful = (rgb.max(axis=2) - rgb.min(axis=2)) > 40
    assert colourful.any() == alarm
    if alarm:
        violet = np.array([0x6F, 0x42, 0xB0])
        pale = shape == "band"
        assert np.abs(rgb - violet).sum(axis=2).min() <= (250 if pale else 12)


def test_drawing_leaves_no_trace() -> None:
    before = mpl.rcParams.copy()
    backend = hv.Store.current_backend
    to_svg.cache_clear()
    to_svg(EVERYTHING, "en", Look(500, dark=True))
    assert plt.get_fignums() == []
    assert mpl.rcParams == before
    assert hv.Store.current_backend == backend


def test_any_thread_may_draw() -> None:
    asked = [(language, Look(width)) for language in ("zh", "en") for width in (300, 400)]
    to_svg.cache_clear()
    alone = [to_svg(EVERYTHING, language, look) for language, look in asked]  # type: ignore[arg-type]
    to_svg.cache_clear()
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda a: to_svg(EVERYTHING, *a), asked))  # type: ignore[arg-type]
    assert together == alone


def test_the_elements_are_drawn_by_another_backend_too() -> None:
    hv.extension("bokeh", logo=False)
    try:
        assert hv.render(draw(EVERYTHING, "zh"), backend="bokeh").renderers
    finally:
        hv.Store.set_current_backend("matplotlib")


@pytest.mark.parametrize("dark", [False, True])
def test_colours_are_those_of_the_tokens(dark: bool) -> None:
    light, _, rest = TOKENS.read_text("utf-8").partition(':root[data-theme="dark"]')
    tokens = dict(re.findall(r"--pw-([a-z0-9-]+):\s*(#[0-9a-f]{6})", rest.partition("}")[0] if dark else light))
    colours = ink(dark=dark)
    for name in ("panel", "well", "line", "edge", "ink", "ink_2", "ink_3", "run", "run_2", "band", "mark_edge"):
        assert getattr(colours, name) == tokens[name.replace("_", "-")], name
    assert colours.priorities == tuple(tokens[f"p{i}"] for i in (1, 2, 3, 4))
    by_severity = [colours.alarm(s) for s in (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW)]
    assert by_severity == list(colours.priorities)
    assert colours.alarm(Severity.INFO) == colours.ink
