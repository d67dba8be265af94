"""What findings about tanks show and say alike: the level over time, the price of fuel, a tank's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch import Curve, Figure, StationPast, Text, from_us
from pumpwatch.wording import listed, tank_label

if TYPE_CHECKING:
    from datetime import datetime

    from pumpwatch.courses import Course

_POINTS: Final = 150
TIME: Final = Text("时间", "Time")


def course_label(course: Course) -> Text:
    """``1号油罐``; of joined tanks the first and how many."""
    label = tank_label(course.tanks[0])
    if len(course.tanks) == 1:
        return label
    return Text(f"{label.zh}等{len(course.tanks)}罐", f"{label.en} and {len(course.tanks) - 1} joined")


def price_cny(past: StationPast, course: Course, at_us: int) -> float | None:
    """What a litre of this tank last cost at the nozzle before ``at_us``; None where nothing was sold."""
    latest: tuple[int, float] | None = None
    for nozzle in course.nozzles:
        mine = past.sales.of(nozzle)
        row = mine.start + int(np.searchsorted(past.sales.end_us[mine], at_us)) - 1
        if row >= mine.start:
            end, price = int(past.sales.end_us[row]), float(past.sales.unit_price[row])
            if np.isfinite(price) and (latest is None or (end, price) > latest):
                latest = (end, price)
    return None if latest is None else latest[1]


def level_figure(
    course: Course, start_us: int, end_us: int, marks: tuple[tuple[int, Text], ...], *, alarm_us: tuple[int, int]
) -> Figure:
    """What the tank held, and what it would hold had nothing been sold since ``start_us``; at 20 °C."""
    rows = course.rows(start_us, end_us)
    every = max(1, -(-(rows.stop - rows.start) // _POINTS))
    at = course.at_us[rows][::every]
    held, book = course.volume_ml[rows][::every] / 1000.0, course.book_ml[rows][::every]
    seconds = tuple((at / 1e6).tolist())
    would = (book - int(book[0])) / 1000.0 + held[0] if len(book) else book / 1000.0
    hit = (at >= alarm_us[0]) & (at <= alarm_us[1])
    return Figure(
        title=Text(f"{course_label(course).zh}：液位与账面", f"{course_label(course).en}: level and book"),
        x=TIME,
        y=Text("升（20 °C）", "Litres at 20 °C"),
        curves=(
            Curve(Text("罐内", "in the tank"), seconds, tuple(np.round(held, 1).tolist())),
            Curve(Text("罐内加已售", "held plus sold"), seconds, tuple(np.round(would, 1).tolist())),
            Curve(
                Text("异常时段", "in question"),
                tuple((at[hit] / 1e6).tolist()),
                tuple(np.round(would[hit], 1).tolist()),
                "points",
                alarm=True,
            ),
        ),
        marks=tuple((mark_us / 1e6, text) for mark_us, text in marks),
    )


def tanks_of(course: Course) -> Text:
    """All the tanks' ids."""
    return listed(course.tanks)


def at(us: int) -> datetime:
    """The aware UTC time."""
    return from_us(us)
