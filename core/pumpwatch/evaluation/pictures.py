"""The pictures of an evaluation as SVG text: they need no script, no font and no network, and print as they look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, Final

_SECONDS: Final = (
    (60.0 / 86_400, "1 min"),
    (1.0 / 24, "1 h"),
    (1.0, "1 d"),
    (7.0, "7 d"),
    (30.0, "30 d"),
    (90.0, "90 d"),
)
"""Days at which a logarithmic axis of delays has its ticks."""
_SOONEST, _LATEST = _SECONDS[0][0] / 2.0, 120.0


def _place(days: float, width: float) -> float:
    """Where a delay stands on a logarithmic axis of this width."""
    days = min(max(days, _SOONEST), _LATEST)
    return width * math.log(days / _SOONEST) / math.log(_LATEST / _SOONEST)


def delay_strip(spread: Mapping[str, float] | None, bound: float | None) -> str:
    """One row's delay on the common axis: median (dot), to the 90th percentile (line), least possible (upright)."""
    width, middle = 180.0, 9.0
    parts = [
        f'<line class="grid" x1="{_place(d, width):.1f}" x2="{_place(d, width):.1f}" y1="0" y2="18"/>'
        for d, _ in _SECONDS
    ]
    if bound:
        at = _place(bound, width)
        parts.append(f'<line class="bound" x1="{at:.1f}" x2="{at:.1f}" y1="2" y2="16"/>')
    if spread:
        median, late = _place(spread["median"], width), _place(spread["p90"], width)
        parts.append(f'<line class="span" x1="{median:.1f}" x2="{late:.1f}" y1="{middle}" y2="{middle}"/>')
        parts.append(f'<circle class="dot" cx="{median:.1f}" cy="{middle}" r="4"/>')
    label = _strip_words(spread)
    return f'<svg class="strip" viewBox="-5 0 190 18" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _strip_words(spread: Mapping[str, float] | None) -> str:
    return "—" if spread is None else f"{spread['median']:.3g} d, 90 %: {spread['p90']:.3g} d"


def delay_axis() -> str:
    """The axis above the strips."""
    width = 180.0
    # The ticks stand too close for a word at each.
    shown = [tick for tick in _SECONDS if tick[1] in {"1 min", "1 h", "1 d", "30 d"}]
    words = "".join(f'<text x="{_place(d, width):.1f}" y="12" text-anchor="middle">{w}</text>' for d, w in shown)
    return f'<svg class="strip" viewBox="-5 0 190 18" aria-hidden="true">{words}</svg>'


def share_bar(share: float, low: float, high: float) -> str:
    """A share from 0 to 1 with its interval."""
    return (
        '<svg class="bar" viewBox="0 0 60 18" aria-hidden="true">'
        '<rect class="well" x="0" y="5" width="60" height="8"/>'
        f'<rect class="fill" x="0" y="5" width="{60 * share:.1f}" height="8"/>'
        f'<line class="whisker" x1="{60 * low:.1f}" x2="{60 * high:.1f}" y1="9" y2="9"/></svg>'
    )


def found_over_time(groups: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """Share of items found against the time since the first affected record; one line a group, None never found."""
    width, height = 640.0, 240.0
    parts = []
    for step in range(5):
        y = height * (1 - step / 4)
        parts.append(f'<line class="grid" x1="0" x2="{width}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="-8" y="{y + 4}" text-anchor="end">{25 * step} %</text>')
    for days, words in _SECONDS:
        x = _place(days, width)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height + 18}" text-anchor="middle">{words}</text>')
    for number, (name, delays) in enumerate(groups):
        if not delays:
            continue
        found = sorted(each for each in delays if each is not None)
        points = [(0.0, height)]
        for done, days in enumerate(found, 1):
            x = _place(days, width)
            points += [(x, points[-1][1]), (x, height * (1 - done / len(delays)))]
        points.append((width, points[-1][1]))
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line line-{number}" points="{way}"/>')
        y = points[-1][1]
        y += 18.0 if y < 40.0 or number % 2 == 0 else -8.0
        parts.append(f'<text class="name" x="{width}" y="{y:.1f}" text-anchor="end">{escape(name)}</text>')
    return f'<svg class="figure" viewBox="-56 -12 716 280" role="img">{"".join(parts)}</svg>'


def rates(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """False alarms per 100 nozzle-years with their exact intervals, a row a rule."""
    known = [(name, told) for name, told in rows if told["per_100_nozzle_years"] is not None]
    most = max((told["high"] for _, told in known), default=1.0) or 1.0
    width, step = 520.0, 26.0
    ticks = _ticks(most)
    scale = width / ticks[-1]
    bottom = step * len(known)
    parts = []
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{tick * scale:.1f}" x2="{tick * scale:.1f}" y1="0" y2="{bottom}"/>')
        parts.append(f'<text x="{tick * scale:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    for number, (name, told) in enumerate(known):
        y = step * (number + 0.5)
        rate, low, high = (scale * told[key] for key in ("per_100_nozzle_years", "low", "high"))
        strong = " strong" if number == 0 else ""
        parts.append(f'<text class="name{strong}" x="-10" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
        parts += [f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{y + 4}"/>' for x in (low, high)]
        parts.append(f'<circle class="dot" cx="{rate:.1f}" cy="{y}" r="5"/>')
        parts.append(f'<text x="{high + 10:.1f}" y="{y + 4}">{told["count"]}</text>')
    return f'<svg class="figure" viewBox="-250 -6 850 {bottom + 34:.0f}" role="img">{"".join(parts)}</svg>'


def _ticks(most: float) -> list[float]:
    """From 0 in round steps to beyond ``most``, about five of them."""
    rough = most / 4.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1.0, 2.0, 5.0, 10.0) if factor * unit >= rough)
    ticks = [0.0]
    while ticks[-1] < most:
        ticks.append(round(ticks[-1] + step, 10))
    return ticks if all(a < b for a, b in pairwise(ticks)) else [0.0, 1.0]
