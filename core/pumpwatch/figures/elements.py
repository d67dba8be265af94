"""A figure as HoloViews elements, and how each kind of curve looks; the words around them are the page's to set."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import holoviews as hv
import holoviews.plotting.mpl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pumpwatch.figures.ink import Ink
    from pumpwatch.model import Curve, Figure

_BELOW: Final = ("band", "bars", "limit")
"""These lie below lines and points, in this order; above them what is wrong comes last."""
_DASHES: Final[Sequence[Any]] = ("solid", (0, (6, 3)), (0, (2, 2)), (0, (7, 2, 2, 2)))
_MARKERS: Final = ("o", "D", "s", "^")


@dataclass(frozen=True, slots=True)
class Style:
    """How one curve is drawn; shape, dash and marker tell it from the others, never the colour alone."""

    fill: str
    edge: str
    width: float
    dash: Any = "solid"
    marker: str = ""
    alpha: float = 1.0


def styles(curves: Sequence[Curve], ink: Ink, alarm: str) -> list[Style]:
    """The style of each curve."""
    seen: dict[tuple[str, bool], int] = {}
    found = []
    for curve in curves:
        kind = ("line" if curve.shape == "step" else curve.shape, curve.alarm)
        rank = seen[kind] = seen.get(kind, -1) + 1
        found.append(_style(curve, rank, ink, alarm))
    return found


def _style(curve: Curve, rank: int, ink: Ink, alarm: str) -> Style:
    colour = alarm if curve.alarm else (ink.run, ink.edge, ink.ink_3)[rank % 3]
    edge = ink.mark_edge if curve.alarm else colour
    match curve.shape:
        case "band":
            return Style(alarm if curve.alarm else ink.band, edge, 0.0, alpha=0.4 if curve.alarm else 1.0)
        case "bars":
            return Style(colour if curve.alarm or rank % 2 == 0 else ink.run_2, edge, 0.8)
        case "limit":
            return Style(alarm if curve.alarm else ink.ink, edge, 1.2, (0, (5, 3)))
        case "points":
            hollow = not curve.alarm and rank % 2 == 1
            return Style(ink.well if hollow else colour, edge, 0.9, marker=_MARKERS[rank % 4])
        case _:
            return Style(colour, edge, 2.0 if curve.alarm else 1.4, _DASHES[rank % 4])


def overlay(figure: Figure, language: str, ink: Ink, alarm: str, span: tuple[float, float]) -> hv.Overlay:
    """The curves and marks as one overlay, each curve labelled with its name, in the order they cover each other.

    ``span`` is from where to where a limit of one value reaches.
    """

    def height(i: int) -> tuple[int, bool, int]:
        curve = figure.curves[i]
        return (_BELOW.index(curve.shape) if curve.shape in _BELOW else len(_BELOW), curve.alarm, i)

    looks = styles(figure.curves, ink, alarm)
    parts: list[hv.Element] = []
    for i in sorted(range(len(figure.curves)), key=height):
        name = getattr(figure.curves[i].name, language)
        name = "".join(letter for letter in name if letter.isprintable())  # a label HoloViews can make a path of
        parts += _drawn(figure.curves[i], name, looks[i], span)
    parts += [_styled(hv.VLine(at), color=ink.ink_2, linewidth=1) for at, _ in figure.marks]
    return hv.Overlay(parts or [hv.Curve([], "x", "y")])


def reach(curve: Curve) -> float:
    """Half the width of a bar: bars that stand apart unevenly may touch, but none is a hair."""
    x = sorted(curve.x)
    narrow = 0.4 * min((right - left for left, right in pairwise(x) if right > left), default=1.0)
    return max(narrow, (x[-1] - x[0]) / 400) if x else narrow


def is_level(curve: Curve) -> bool:
    """Whether it is a threshold that is the same everywhere, and so drawn from side to side."""
    return curve.shape == "limit" and len(set(curve.y)) == 1


def _drawn(curve: Curve, name: str, style: Style, span: tuple[float, float]) -> Iterator[hv.Element]:
    rows = sorted(zip(curve.x, curve.y, curve.y_high or curve.y, strict=True))
    if not rows:
        return
    x, y, high = ([row[i] for row in rows] for i in range(3))
    if is_level(curve):
        x, y = list(span), [y[0], y[0]]
    match curve.shape:
        case "band":
            band = hv.Area((x, y, high), "x", ["y", "y_high"], label=name)
            yield _styled(band, facecolor=style.fill, edgecolor="none", alpha=style.alpha, linewidth=0)
        case "bars":
            half = reach(curve)
            boxes = [(at - half, 0.0, at + half, value) for at, value in zip(x, y, strict=True)]
            yield _styled(
                hv.Rectangles(boxes, label=name),
                facecolor=style.fill,
                edgecolor=style.edge,
                linewidth=style.width,
            )
        case "points":
            yield _styled(
                hv.Scatter((x, y), "x", "y", label=name),
                facecolors=style.fill,
                edgecolors=style.edge,
                linewidth=style.width,
                marker=style.marker,
                s=32 if curve.alarm else 20,
            )
        case _:
            steps = {"interpolation": "steps-post"} if curve.shape == "step" else {}
            if curve.alarm:  # on an outline, for yellow alone is not seen on white
                yield _styled(hv.Curve((x, y), "x", "y"), color=style.edge, linewidth=style.width + 1.4, **steps)
            line = hv.Curve((x, y), "x", "y", label=name)
            yield _styled(line, color=style.fill, linewidth=style.width, linestyle=style.dash, **steps)


def _styled(element: hv.Element, **style: object) -> hv.Element:
    return element.opts(**style, backend="matplotlib")
