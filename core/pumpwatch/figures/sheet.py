"""A Matplotlib page measured in CSS pixels from its upper left corner: words, names and the key around a plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Page
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

if TYPE_CHECKING:
    from pumpwatch.figures.elements import Style
    from pumpwatch.figures.ink import Ink
    from pumpwatch.figures.scales import Ticks

DPI: Final = 96
TEXT: Final = 12
TITLE: Final = 14
LINE: Final = 18
"""From one line of text to the next."""
TITLE_LINE: Final = 21
GAP: Final = 8
_FONTS: Final = (
    "Noto Sans CJK SC", "Source Han Sans SC", "Noto Sans SC", "Microsoft YaHei", "PingFang SC", "HarmonyOS Sans SC",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP", "DejaVu Sans",
)  # fmt: skip
_LINES: Final = 4
"""A text that needs more lines is cut."""
_MARK_ROWS: Final = 6
"""Marks that find no room in so many rows stand without their names."""
_KEY_ROWS: Final = 8
_SWATCH: Final = 22
_LONGEST: Final = 300
"""Characters of a text that are looked at."""


@dataclass(frozen=True, slots=True)
class Named:
    """The name of a mark, at its place over the plot."""

    stem: float
    left: float
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the key."""

    left: float
    text: str
    shape: str
    style: Style


class Sheet:
    """One page. First all is measured, then ``open`` fixes its height, then it is written."""

    def __init__(self, width: int, ink: Ink) -> None:
        self.page = Page(figsize=(width / DPI, 1), dpi=DPI, facecolor=ink.panel)
        self.axis = self.page.add_subplot()
        canvas: Any = FigureCanvasAgg(self.page)
        self._renderer: Any = canvas.get_renderer()
        self._width, self._ink = float(width), ink
        self._height = 1.0
        self._left = 0.0

    @property
    def plot_width(self) -> float:
        """Pixels between the plot's sides."""
        return self._width - 2 * GAP - self._left

    def margin(self, texts: Iterable[str]) -> None:
        """Make room at the left for what stands at the ticks there."""
        self._left = max((self._measure(text) for text in texts), default=0.0) + 2 * GAP

    # ------------------------------------------------------------ measuring

    def wrapped(self, text: str, size: int = TEXT, *, bold: bool = False) -> list[str]:
        """Break a text into lines that fit: at spaces, and anywhere beside a Han character."""
        lines: list[str] = []
        line, room = "", self._width - 2 * GAP
        for piece in _pieces(legible(text)):
            if len(lines) > _LINES:
                break
            if line and self._measure((line + piece).rstrip(), size, bold=bold) > room:
                lines.append(line.rstrip())
                line = piece.lstrip()
            else:
                line += piece
            line = self._cut(line, room, size, bold=bold)
        lines += [line.rstrip()] if line.strip() else []
        return lines if len(lines) <= _LINES else [*lines[: _LINES - 1], self._cut(lines[_LINES - 1] + "…", room, size)]

    def fitting(self, ticks: Ticks, left: float, right: float) -> Ticks:
        """The same ticks below the plot, without the words of those that would reach beyond the page."""

        def fits(at: float, text: str) -> bool:
            centre = self._left + (at - left) / (right - left) * self.plot_width
            half = max(map(self._measure, text.split("\n"))) / 2
            return centre - half >= 2 and centre + half <= self._width - 2

        return [(at, text if fits(at, text) else "") for at, text in ticks]

    def mark_rows(self, marks: Sequence[tuple[float, str]], left: float, right: float) -> list[list[Named]]:
        """Find each name a place beside its mark where it covers no other; the last row is next to the plot."""
        rows: list[list[tuple[float, float, Named]]] = []
        for at, name in sorted(marks):
            stem = self._left + (at - left) / (right - left) * self.plot_width
            text = self._cut(legible(name), 0.6 * self._width)
            wide = self._measure(text)
            place = stem + 4 if stem + 4 + wide <= self._width - GAP else stem - 4 - wide
            place = max(GAP, place)
            here = (min(place, stem) - 4, max(place + wide, stem) + 6)
            for row in rows:
                if all(here[1] < first or last < here[0] for first, last, _ in row):
                    break
            else:
                if len(rows) == _MARK_ROWS:
                    continue
                rows.append(row := [])
            if text:
                row.append((*here, Named(stem, place, text)))
        return [[named for _, _, named in row] for row in reversed(rows)]

    def key_rows(self, entries: Iterable[tuple[str, str, Style]]) -> list[list[Entry]]:
        """Put the entries of the key into rows."""
        rows: list[list[Entry]] = []
        x = float(self._width)
        for name, shape, style in entries:
            text = self._cut(legible(name), self._width - 2 * GAP - _SWATCH - 6)
            wide = _SWATCH + 6 + self._measure(text)
            if x + wide > self._width - GAP:
                rows.append([])
                x = float(GAP)
            rows[-1].append(Entry(x, text, shape, style))
            x += wide + 2 * GAP
        return rows[:_KEY_ROWS]

    def _measure(self, text: str, size: int = TEXT, *, bold: bool = False) -> float:
        renderer = self._renderer
        return float(renderer.get_text_width_height_descent(text, _font(size, bold=bold), ismath=False)[0])

    def _cut(self, text: str, room: float, size: int = TEXT, *, bold: bool = False) -> str:
        if self._measure(text, size, bold=bold) <= room:
            return text
        fits, not_so = 0, len(text)
        while not_so - fits > 1:
            middle = (fits + not_so) // 2
            if self._measure(f"{text[:middle]}…", size, bold=bold) <= room:
                fits = middle
            else:
                not_so = middle
        return f"{text[:fits]}…"

    # ------------------------------------------------------------ writing

    def open(self, above: float, plot: float, below: float) -> None:
        """Fix the height: what is above the plot, the plot, what is below it."""
        self._height = above + plot + below
        self.page.set_size_inches(self._width / DPI, self._height / DPI)
        self.page.subplots_adjust(
            left=self._left / self._width,
            right=1 - 2 * GAP / self._width,
            top=1 - above / self._height,
            bottom=below / self._height,
        )

    def write(
        self,
        lines: Iterable[str],
        y: float,
        step: float,
        size: int = TEXT,
        color: str = "",
        *,
        bold: bool = False,
        right: bool = False,
    ) -> float:
        """Write lines of text from ``y`` down; returns where the next one would stand."""
        for line in lines:
            x = self._width - 2 * GAP if right else GAP
            self._say(x, y + step / 2, line, color, size=size, bold=bold, ha="right" if right else "left")
            y += step
        return y

    def write_marks(self, rows: Sequence[Sequence[Named]], y: float, plot_top: float) -> None:
        """Write the marks' names, each with a stem down to the plot."""
        for row in rows:
            for named in row:
                self._line(named.stem, y + 3, named.stem, plot_top, self._ink.ink_2, zorder=1)
                paper = {"facecolor": self._ink.panel, "edgecolor": "none", "pad": 0.5}
                self._say(named.left, y + LINE / 2, named.text, self._ink.ink_2, bbox=paper)
            y += LINE

    def write_key(self, rows: Sequence[Sequence[Entry]], y: float) -> None:
        """Write the key, each entry after a sample of its curve."""
        for row in rows:
            for entry in row:
                self._sample(entry, y + LINE / 2)
                self._say(entry.left + _SWATCH + 6, y + LINE / 2, entry.text, self._ink.ink_2)
            y += LINE

    def frame(self, x: tuple[float, float], y: tuple[float, float], x_ticks: Ticks, y_ticks: Ticks) -> None:
        """Give the plot its ranges, ticks and grid, and take away what HoloViews wrote at its sides."""
        axis, ink = self.axis, self._ink
        axis.set(xlim=x, ylim=y, xlabel="", ylabel="", title="", facecolor=ink.well, aspect="auto")
        for side, ticks in ((axis.xaxis, x_ticks), (axis.yaxis, y_ticks)):
            side.set_ticks([at for at, _ in ticks], [text for _, text in ticks])
            side.set_tick_params(which="both", color=ink.edge, labelcolor=ink.ink_2, length=4, width=1, pad=3)
            for label in side.get_ticklabels():
                label.set_fontproperties(_font(TEXT))
        axis.grid(visible=True, color=ink.line, linewidth=0.8, alpha=0.7)
        axis.set_axisbelow(True)
        for side in (axis.xaxis, axis.yaxis):
            side.set_zorder(-1)
        for spine in axis.spines.values():
            spine.set(visible=True, color=ink.line, linewidth=1)

    def _sample(self, entry: Entry, y: float) -> None:
        style, left, right = entry.style, entry.left, entry.left + _SWATCH
        if entry.shape in {"band", "bars"}:
            self.page.add_artist(
                Rectangle(
                    (left / self._width, 1 - (y + 5) / self._height),
                    _SWATCH / self._width,
                    10 / self._height,
                    transform=self.page.transFigure,
                    facecolor=style.fill,
                    edgecolor=style.edge if entry.shape == "bars" else "none",
                    alpha=style.alpha,
                    linewidth=style.width,
                )
            )
        elif entry.shape == "points":
            self._line(
                (left + right) / 2, y, (left + right) / 2, y, style.fill,
                marker=style.marker, markersize=5.5, markeredgecolor=style.edge, markeredgewidth=style.width,
            )  # fmt: skip
        else:
            if style.edge != style.fill and entry.shape != "limit":
                self._line(left, y, right, y, style.edge, linewidth=style.width + 1.4)
            self._line(left, y, right, y, style.fill, linewidth=style.width, linestyle=style.dash)

    def _line(self, x0: float, y0: float, x1: float, y1: float, color: str, **style: object) -> None:
        xs, ys = [x0 / self._width, x1 / self._width], [1 - y0 / self._height, 1 - y1 / self._height]
        how: dict[str, Any] = {"linewidth": 1.0, "color": color, "transform": self.page.transFigure} | style
        self.page.add_artist(Line2D(xs, ys, **how))

    def _say(
        self, x: float, y: float, text: str, color: str, *, size: int = TEXT, bold: bool = False, **how: object
    ) -> None:
        write: Any = self.page.text
        write(
            x / self._width,
            1 - y / self._height,
            text,
            color=color,
            fontproperties=_font(size, bold=bold),
            va="center",
            parse_math=False,
            **how,
        )


# ---------------------------------------------------------------- letters


@cache
def _families() -> tuple[str, ...]:
    known = set(font_manager.get_font_names())
    return tuple(name for name in _FONTS if name in known) or ("DejaVu Sans",)


@cache
def _letters() -> frozenset[int]:
    """Every letter that one of the fonts has."""
    paths = [font_manager.fontManager.findfont(FontProperties(family=name)) for name in _families()]
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())


def legible(text: str) -> str:
    """One line of letters that can be drawn; for any other stands a box."""
    known = _letters()
    return "".join(c if ord(c) in known else "□" for c in " ".join(text[:_LONGEST].split()))


@cache
def _font(size: int, *, bold: bool = False) -> FontProperties:
    return FontProperties(family=list(_families()), size=size * 72 / DPI, weight="bold" if bold else "normal")


def _pieces(text: str) -> list[str]:
    """What a line may be broken between."""
    pieces: list[str] = []
    for letter in text:
        wide = ord(letter) >= 0x2E80
        joined = pieces and not (wide and letter not in "，。；：、）%") and not pieces[-1].endswith(" ")
        if pieces and (letter in " ，。；：、）%" or (joined and ord(pieces[-1][-1]) < 0x2E80)):
            pieces[-1] += letter
        else:
            pieces.append(letter)
    return pieces
