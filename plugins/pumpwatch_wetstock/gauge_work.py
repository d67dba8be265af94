"""The rule ``gauge_work``: by how much signed work on a tank or its gauge has moved what the gauge shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Channel,
    Department,
    Estimate,
    Evidence,
    Explanation,
    Finding,
    PluginSettings,
    Review,
    Severity,
    StationPast,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.courses import DAY_US, HOUR_US, WORK_MOST_L, Course, courses, is_work
from pumpwatch.wording import listed, local, title
from pumpwatch_wetstock.figures import course_label, level_figure

if TYPE_CHECKING:
    from pumpwatch import WorkOrder

_AROUND_US: Final = 4 * HOUR_US
"""Papers tell the hour of the work about so well."""
_SIDE: Final = 12
"""Readings on each side of a step that tell its size."""
_SIDE_LEAST: Final = 4
_SIDE_US: Final = 3 * HOUR_US
_CALM_US: Final = 90 * 60_000_000
"""After a delivery the surface is level again."""


class GaugeWorkSettings(PluginSettings):
    """Keys of ``[rules.gauge_work]``."""

    sigmas: float = Field(6.0, ge=4.0, description="Least step, standard deviations of the readings.")
    least_l: float = Field(5.0, ge=0.0, description="Least step, litres at 20 °C.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class _Step:
    at_us: int
    litres: float
    sd: float


class GaugeWork(Review):
    """A note a day after signed work on a tank: the level stepped, and no fuel moved."""

    rule: ClassVar[str] = "gauge_work"
    Settings: ClassVar[type[PluginSettings]] = GaugeWorkSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TANK_READINGS})
    lookback: ClassVar[timedelta] = timedelta(days=16)
    settings: GaugeWorkSettings
    about: ClassVar[About] = About(
        title=Text("液位仪作业记录", "Work on the gauge"),
        catches=("H12",),
        inputs="Signed work orders of tanks and their gauges, tank readings, fillings.",
        statistic="What the tank holds plus what was sold (20 °C) within four hours of the paper: the largest "
        "difference between the means of the up to twelve readings before and after one of them, deliveries left out.",
        threshold="Six standard deviations of that difference and 5 L. Always a note, a day after the work.",
        power="A probe that stands 2 mm higher shifts 10 to 60 L: seen with every gauge of 8 L noise and better.",
        pitfalls="Fuel that truly moved in those hours looks the same; beyond 250 L `delivery_papers` and "
        "`unrecorded_withdrawal` tell it as well. Later work on the same day is told with the first.",
        source="Own derivation; the probe's offset acts on level, not on what passes the meters.",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Each day's signed work on each tank, a day later."""
        for course in courses(past):
            if course.is_coarse:
                continue
            told: set[int] = set()
            for order in sorted(past.work_orders, key=lambda order: (to_us(order.at), order.device_id, order.kind)):
                at = to_us(order.at)
                if order.device_id not in course.tanks or not is_work(order) or at // DAY_US in told:
                    continue
                told.add(at // DAY_US)
                if to_us(since) < at + DAY_US <= to_us(until):
                    step = self._step(course, at)
                    if step is not None:
                        yield self._finding(past, course, order, step)

    def _step(self, course: Course, at_us: int) -> _Step | None:
        """The largest step of the book near the work; None when none is clear."""
        noise = course.noise_l(at_us - 1)
        calm = np.ones(len(course.at_us), bool)
        for rise in course.rises:
            if not rise.worked_on or rise.litres > WORK_MOST_L:
                calm[slice(*np.searchsorted(course.at_us, [rise.start_us, rise.end_us + _CALM_US]))] = False
        best: _Step | None = None
        rows = course.rows(at_us - _AROUND_US, at_us + _AROUND_US)
        for row in range(rows.start + 1, rows.stop):
            begin, end = course.at_us[row - 1] - _SIDE_US, course.at_us[row] + _SIDE_US
            before, after = range(max(row - _SIDE, 0), row), range(row, min(row + _SIDE, len(course.at_us)))
            sides = [
                course.book_ml[[each for each in side if calm[each] and begin <= course.at_us[each] <= end]] / 1000.0
                for side in (before, after)
            ]
            if min(map(len, sides)) < _SIDE_LEAST or not (calm[row - 1] and calm[row]):
                continue
            change = float(sides[1].mean() - sides[0].mean())
            sd = noise * math.sqrt(1.0 / len(sides[0]) + 1.0 / len(sides[1]))
            if best is None or abs(change) / sd > abs(best.litres) / best.sd:
                best = _Step(int(course.at_us[row]), change, sd)
        if best is None or abs(best.litres) < max(self.settings.sigmas * best.sd, self.settings.least_l):
            return None
        return best

    def _finding(self, past: StationPast, course: Course, order: WorkOrder, step: _Step) -> Finding:
        label, at = course_label(course), to_us(order.at)
        when = local(order.at, self.settings.utc_offset_h)
        size = f"{step.litres:+,.0f} L"
        who = order.signed_by_repairer or order.signed_by_institute or order.signed_by_station or ""
        return Finding(
            id=finding_id(self.rule, course.subject, at // DAY_US),
            rule=self.rule,
            cause="chart_error",
            subject=course.subject,
            severity=Severity.INFO,
            departments=(Department.MARKET_REGULATION,),
            onset=from_us(min(step.at_us, at + DAY_US)),
            detected_at=from_us(at + DAY_US),
            explanation=Explanation(
                title=title(label, f"作业后液位跳变 {size}", f"level stepped {size} at work"),
                what=Text(
                    zh=f"{label.zh}在 {when} 的签字作业（{who}）前后，罐内加已售跳变 {size}（20 °C），没有油品进出。",
                    en=f"About the signed work of {when} ({who}) what {label.en} holds plus what was sold stepped by "
                    f"{size} at 20 °C; no fuel moved.",
                ),
                why=Text(
                    zh=f"跳变前后各取最多 {_SIDE} 次读数平均，为其标准差的 {abs(step.litres) / step.sd:.0f} 倍；"
                    "与签字作业同时，故仅作记录。",
                    en=f"Means of up to {_SIDE} readings before and after it; "
                    f"{abs(step.litres) / step.sd:.0f} of their deviations. It came with signed work: a note.",
                ),
                otherwise=Text(
                    zh="作业时确有少量油品进出；单据日期有误。",
                    en="Some fuel did move during the work; the paper bears a wrong date.",
                ),
                on_site=Text(
                    zh="人工量油，核对探棒零点与容积表；确认后以新读数为准。",
                    en="Dip the tank, check the probe's zero and the chart; go on from the new readings.",
                ),
            ),
            estimate=Estimate(
                round(step.litres, 1),
                "L",
                round(step.litres - 1.96 * step.sd, 1),
                round(step.litres + 1.96 * step.sd, 1),
                0.95,
            ),
            evidence=(
                Evidence(
                    "work_order",
                    order.device_id,
                    {
                        "at": order.at.isoformat(),
                        "kind": order.kind,
                        "tanks": listed(course.tanks).en,
                        "step_20c_l": round(step.litres, 1),
                        "sd_l": round(step.sd, 2),
                        "noise_l": round(course.noise_l(at - 1), 2),
                    },
                ),
            ),
            figures=(
                level_figure(
                    course,
                    at - DAY_US,
                    at + DAY_US,
                    ((at, Text("作业", "work")),),
                    alarm_us=(step.at_us - HOUR_US, step.at_us + HOUR_US),
                ),
            ),
        )
