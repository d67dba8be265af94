"""Sets a figure on a page of a given width, as SVG or PNG: no letter under 12 px, nothing clipped, nothing overlapping.

The same figure gives the same bytes where fonts and libraries are the same. Safe to call from any thread: HoloViews and
Matplotlib keep their options in one place, so one figure is drawn at a time.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal
from zoneinfo import ZoneInfo

from pumpwatch.figures.ink import ink
from pumpwatch.figures.scales import extent, number_ticks, time_ticks
from pumpwatch.model import Severity

if TYPE_CHECKING:
    import holoviews as hv
    from matplotlib.figure import Figure as Page

    from pumpwatch.model import Figure

Language = Literal["zh", "en"]
_ZONE: Final = ZoneInfo("Asia/Shanghai")
WIDTHS: Final = (280, 1600)
"""CSS pixels a figure may be wide."""
_drawing = threading.Lock()
_TIMELESS: Final = {"Date": None, "Creator": None}
_SHARP: Final = 2
"""Device pixels a CSS pixel in a PNG."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a figure is to look; its height follows from what there is to say."""

    width: int = 760
    """CSS pixels."""
    dark: bool = False
    severity: Severity = Severity.HIGH
    """In whose colour what is wrong is drawn."""
    zone: tzinfo = _ZONE
    """The station's time."""

    def __post_init__(self) -> None:
        low, high = WIDTHS
        if not low <= self.width <= high:
            raise ValueError(f"a figure is {low} to {high} pixels wide, not {self.width}")


_PAPER: Final = Look()


def draw(figure: Figure, language: Language, *, dark: bool = False, severity: Severity = Severity.HIGH) -> hv.Overlay:
    """The figure as HoloViews elements, styled for Matplotlib; another backend draws it in its own style."""
    from pumpwatch.figures.elements import overlay  # noqa: PLC0415 - see the package

    colours = ink(dark=dark)
    return overlay(figure, language, colours, colours.alarm(severity), extent(figure)[0])


@lru_cache(maxsize=64)
def to_svg(figure: Figure, language: Language, look: Look = _PAPER) -> bytes:
    """The figure as SVG; letters are outlines, so that it looks the same where a font is missing."""
    return _written(figure, language, look, {"format": "svg", "dpi": 72, "metadata": _TIMELESS})


@lru_cache(maxsize=16)
def to_png(figure: Figure, language: Language, look: Look = _PAPER) -> bytes:
    """The figure as PNG, two device pixels a CSS pixel."""
    from pumpwatch.figures.sheet import DPI  # noqa: PLC0415

    return _written(figure, language, look, {"format": "png", "dpi": _SHARP * DPI, "metadata": {"Software": None}})


def _written(figure: Figure, language: Language, look: Look, how: dict[str, Any]) -> bytes:
    import matplotlib as mpl  # noqa: PLC0415
    from holoviews import Store  # noqa: PLC0415

    with _drawing:
        before, backend = mpl.rcParams.copy(), Store.current_backend
        try:
            from pumpwatch.figures import elements  # noqa: F401, PLC0415 - loads the backend

            Store.set_current_backend("matplotlib")
            mpl.rcParams.update({"svg.hashsalt": "pumpwatch", "svg.fonttype": "path", "font.family": ["sans-serif"]})
            page = _page(figure, language, look)
            into = io.BytesIO()
            page.canvas.print_figure(into, facecolor=page.get_facecolor(), **how)
        finally:
            mpl.rcParams.update(before)
            Store.set_current_backend(backend)
    return into.getvalue()


def _page(figure: Figure, language: Language, look: Look) -> Page:
    """From top to bottom: title, name of y, names of the marks, plot, ticks, name of x, key."""
    from holoviews import Store  # noqa: PLC0415

    from pumpwatch.figures.elements import styles  # noqa: PLC0415
    from pumpwatch.figures.sheet import GAP, LINE, TITLE, TITLE_LINE, Sheet  # noqa: PLC0415

    colours = ink(dark=look.dark)
    (left, right), (bottom, top) = extent(figure)
    plot = max(150, min(240, round(0.36 * look.width)))
    y_ticks = number_ticks(bottom, top, plot // 30)
    sheet = Sheet(look.width, colours)
    sheet.margin(text for _, text in y_ticks)
    if figure.x_is_time:
        x_ticks = time_ticks(left, right, look.zone, sheet.plot_width)
    else:
        x_ticks = number_ticks(left, right, int(sheet.plot_width / 60))
    x_ticks = sheet.fitting(x_ticks, left, right)
    title = sheet.wrapped(getattr(figure.title, language), TITLE, bold=True)
    name_y, name_x = (sheet.wrapped(getattr(text, language)) for text in (figure.y, figure.x))
    marks = sheet.mark_rows([(at, getattr(text, language)) for at, text in figure.marks], left, right)
    looks = styles(figure.curves, colours, colours.alarm(look.severity))
    named = {(c.name, c.shape, c.alarm): s for c, s in reversed([*zip(figure.curves, looks, strict=True)]) if c.x}
    key = sheet.key_rows([(getattr(name, language), shape, s) for (name, shape, _), s in reversed(named.items())])

    tick_lines = max((1 + text.count("\n") for _, text in x_ticks), default=0)
    above = GAP + TITLE_LINE * len(title) + LINE * (len(name_y) + len(marks)) + GAP
    below = GAP + LINE * (tick_lines + len(name_x) + len(key)) + 1.5 * GAP
    sheet.open(above, plot, below)
    y = sheet.write(title, GAP, TITLE_LINE, TITLE, colours.ink, bold=True)
    y = sheet.write(name_y, y, LINE, color=colours.ink_3)
    sheet.write_marks(marks, y, above)
    renderer = Store.renderers["matplotlib"].instance(interactive=False)
    content = draw(figure, language, dark=look.dark, severity=look.severity)
    renderer.get_plot(content.opts(show_legend=False, backend="matplotlib"), fig=sheet.page, axis=sheet.axis)
    sheet.frame((left, right), (bottom, top), x_ticks, y_ticks)
    y = above + plot + GAP + LINE * tick_lines
    y = sheet.write(name_x, y, LINE, color=colours.ink_3, right=True)
    sheet.write_key(key, y + 0.5 * GAP)
    return sheet.page
