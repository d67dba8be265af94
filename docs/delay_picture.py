"""The picture of delay against size as SVG text: it needs no script, no font and no network, by day and by night."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Points = Sequence[tuple[float, float]]

STYLE = """\
svg { --paper:#ffffff; --ink:#1d2327; --soft:#5c6870; --line:#dde2e5; --ours:#0b6bcb; --least:#b3541e; --old:#6a7680; }
@media (prefers-color-scheme: dark) {
svg { --paper:#0f1316; --ink:#e9ecee; --soft:#a3aeb6; --line:#2b3339; --ours:#63b0ff; --least:#f0a36b; --old:#97a3ac; }
}
text { font:13px system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; fill:var(--soft); }
.head { font-weight:600; fill:var(--ink); } .paper { fill:var(--paper); } .grid { stroke:var(--line); }
.ours { stroke:var(--ours); fill:var(--ours); stroke-width:2; }
.least { stroke:var(--least); stroke-width:2; fill:none; }
.old { stroke:var(--old); stroke-width:2; fill:none; } .monthly { stroke-dasharray:7 4; } .part { fill:var(--paper); }
polyline.ours { fill:none; }
text.ours { fill:var(--ours); stroke:none; } text.least { fill:var(--least); stroke:none; }
text.old { fill:var(--old); stroke:none; }
"""
WIDTH, HEIGHT = 920, 890
SIZES = (0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
DAYS = {
    1 / 96: "15 min", 1 / 24: "1 h", 0.25: "6 h", 1.0: "1 d", 7.0: "7 d", 30.0: "30 d", 90.0: "90 d", 365.0: "365 d",
    1200.0: "",
}  # fmt: skip
"""Ticks; the first is the soonest that is drawn."""
_FEWEST = 0.05
"""Of which the share found is less is not drawn."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A pair of logarithmic axes somewhere in the picture."""

    left: float
    top: float
    width: float
    height: float
    latest: float = 1200.0

    def x(self, size: float) -> float:
        """Of per cent."""
        return self.left + self.width * math.log(size / SIZES[0]) / math.log(SIZES[-1] / SIZES[0])

    def y(self, days: float) -> float:
        """Of days; beyond the axes at their end."""
        soonest = next(iter(DAYS))
        days = min(max(days, soonest), self.latest)
        return self.top + self.height * (1.0 - math.log(days / soonest) / math.log(self.latest / soonest))

    def axes(self, title: str, sizes: Sequence[float]) -> Iterator[str]:
        """Grid, ticks and what it shows."""
        right, bottom = self.left + self.width, self.top + self.height
        yield _text("head", self.left, self.top - 12, title)
        for days, words in DAYS.items():
            if days <= self.latest:
                yield _line("grid", self.left, self.y(days), right, self.y(days))
                yield _text("", self.left - 8, self.y(days) + 4, words, "end") if words else ""
        for size in SIZES:
            yield _line("grid", self.x(size), self.top, self.x(size), bottom)
        for size in sizes:
            yield _text("", self.x(size), bottom + 18, f"{size:g} %", "middle")

    def line(self, kind: str, points: Points) -> str:
        """Straight from point to point."""
        way = " ".join(f"{self.x(size):.1f},{self.y(days):.1f}" for size, days in points)
        return f'<polyline class="{kind}" points="{way}"/>'

    def ours(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Mean with a bar to the 90th percentile; hollow, with the share, where not all were found."""
        drawn = [row for row in rows if row["found"] > 0.0]
        if len(drawn) > 1:
            yield self.line("ours", [(row["size"], row["days"]) for row in drawn])
        for row in rows:
            x, y, late = self.x(row["size"]), self.y(row["days"]), self.y(row["p90"])
            whole = row["found"] >= 1.0
            yield _line("ours", x, y, x, late)
            yield _line("ours", x - 5, late, x + 5, late)
            yield f'<circle class="{"ours" if whole else "ours part"}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
            if not whole:
                yield _text("ours", x, late - 6, f"{row['found']:.0%}", "middle")


def picture(kept: Mapping[str, Any], titles: Mapping[str, str], whole: float) -> str:
    """The base case with all ways at the top, the others with ours and the bound below.

    From the share ``whole`` on an old way found as good as all.
    """
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        "<title>检出时间与短量幅度 · Days until found against per cent short at one nozzle</title>",
        f"<style>\n{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
    ]
    cases = kept["measured"]["cases"] if kept["measured"] else {}
    first, *rest = titles
    big = Panel(70, 48, 620, 460)
    parts += big.axes(titles[first], SIZES)
    parts += _old(big, "old", kept["daily"], whole, "日台账控制图", "daily chart")
    parts += _old(big, "old monthly", kept["monthly"], whole, "EPA 月度规则", "EPA monthly rule")
    parts += _least(big, kept["bound"][first])
    parts += _named("least", big, _end(big, kept["bound"][first]), "理论下限", "bound")
    if rows := cases.get(first, ()):
        parts += big.ours(rows)
        words, x, y = "本系统 pumpwatch", big.x(rows[-1]["size"]) + 10, big.y(rows[-1]["p90"]) - 6
    else:
        words, x, y = "本系统：尚未测量 · pumpwatch: not yet measured", big.left + 14, big.top + big.height - 14
    parts.append(_text("ours", x, y, words))
    for number, name in enumerate(rest):
        small = Panel(70 + 213 * number, 604, 155, 210, 150.0)
        parts += small.axes("", (0.5, 1.0, 2.0, 5.0))
        zh, _, en = titles[name].partition(" · ")
        parts += [_text("head", small.left, small.top - 40, zh), _text("", small.left, small.top - 22, en)]
        parts += _least(small, kept["bound"][name])
        parts += small.ours(cases.get(name, ()))
    axes = "横轴：单枪短量；纵轴：检出所需时间 · across: short at one nozzle; up: days until found, both logarithmic"
    marks = (
        "点：平均；竖线：至第90百分位；空心：未全部检出 · dot: mean; bar: to the 90th percentile; hollow: not all found"
    )
    parts += [_text("", 70, HEIGHT - 34, axes), _text("", 70, HEIGHT - 14, marks)]
    return "\n".join([*filter(None, parts), "</svg>", ""])


def _old(panel: Panel, kind: str, rows: Sequence[Mapping[str, Any]], whole: float, zh: str, en: str) -> Iterator[str]:
    """The mean where all were found; hollow points with the share found where not."""
    every = [row for row in rows if row["found"] >= whole]
    some = [row for row in rows if _FEWEST <= row["found"] < whole]
    if every:
        yield panel.line(kind, [(row["size"], row["days"]) for row in every])
        yield from _named("old", panel, panel.y(every[-1]["days"]), zh, en)
    for row in some:
        x, y = panel.x(row["size"]), panel.y(row["days"])
        yield f'<circle class="old" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        yield _text("old", x, y - 9, f"{row['found']:.0%}", "middle")


def _least(panel: Panel, pairs: Sequence[Sequence[float]]) -> Iterator[str]:
    if pairs:
        yield panel.line("least", [(size, days) for size, days in pairs if days <= panel.latest])


def _end(panel: Panel, pairs: Sequence[Sequence[float]]) -> float:
    return panel.y(pairs[-1][1]) if pairs else panel.top + panel.height


def _named(kind: str, panel: Panel, y: float, zh: str, en: str) -> Iterator[str]:
    """At the right end of a line."""
    x = panel.left + panel.width + 12
    yield _text(kind, x, y - 2, zh)
    yield _text(kind, x, y + 14, en)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(kind: str, x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
