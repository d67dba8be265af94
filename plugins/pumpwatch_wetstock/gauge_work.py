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
_SURE_US: Final = HOUR_US
"""What is not clear is measured so near to the paper, or not at all."""
_SIDE: Final = 12
"""Readings on each side of a step that tell its size."""
_SIDE_LEAST: Final = 4
_SIDE_US: Final = 3 * HOUR_US
_Z95: Final = 1.96
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

    def sigmas(self) -> float:
        """How far beyond the noise it is."""
        return abs(self.litres) / self.sd


class GaugeWork(Review):
    """A note a day after signed work on a tank: how far the level stepped, or that nobody can say."""

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
        threshold="A step from six standard deviations of that difference and 5 L on; less is no clear step, and no "
        "difference at all that the level cannot be compared. Always a note, a day after the work.",
        power="A probe that stands 2 mm higher shifts 10 to 60 L: seen with every gauge of 8 L noise and better.",
        pitfalls="Fuel that truly moved in those hours looks the same; beyond 250 L `delivery_papers` and "
        "`unrecorded_withdrawal` tell it as well. Later work on the same day is told with the first.",
        source="Own derivation; the probe's offset acts on level, not on what passes the meters.",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Each day's signed work on each tank, a day later."""
        for course in courses(past):
            told: set[int] = set()
            for order in sorted(past.work_orders, key=lambda order: (to_us(order.at), order.device_id, order.kind)):
                at = to_us(order.at)
                if order.device_id not in course.tanks or not is_work(order) or at // DAY_US in told:
                    continue
                told.add(at // DAY_US)
                if to_us(since) < at + DAY_US <= to_us(until):
                    yield self._finding(past, course, order, self._step(course, at))

    def _step(self, course: Course, at_us: int) -> _Step | None:
        """The largest step of the book near the work, or what it did at the work itself; None when that is hidden."""
        if course.is_coarse:
            return None
        steps = list(_steps(course, at_us))
        best = max((step for _, step in steps if step is not None), key=_Step.sigmas, default=None)
        if best is not None and self._is_clear(best):
            return best
        near = [step for span, step in steps if span[0] - _SURE_US <= at_us <= span[1] + _SURE_US]
        known = [step for step in near if step is not None]
        if not known or len(known) < len(near):
            return None
        return min(known, key=lambda step: abs(step.at_us - at_us))

    def _is_clear(self, step: _Step) -> bool:
        return step.sigmas() >= self.settings.sigmas and abs(step.litres) >= self.settings.least_l

    def _finding(self, past: StationPast, course: Course, order: WorkOrder, step: _Step | None) -> Finding:
        label, at = course_label(course), to_us(order.at)
        when = local(order.at, self.settings.utc_offset_h)
        who = order.signed_by_repairer or order.signed_by_institute or order.signed_by_station or ""
        if step is None:
            explanation = _hidden(label, when, who)
        elif self._is_clear(step):
            explanation = _stepped(label, when, who, step)
        else:
            explanation = _unclear(label, when, who, step)
        stepped_us = at if step is None else step.at_us
        measured = {} if step is None else {"step_20c_l": round(step.litres, 1), "sd_l": round(step.sd, 2)}
        return Finding(
            id=finding_id(self.rule, course.subject, at // DAY_US),
            rule=self.rule,
            cause="chart_error",
            subject=course.subject,
            severity=Severity.INFO,
            departments=(Department.MARKET_REGULATION,),
            onset=from_us(min(stepped_us, at + DAY_US)),
            detected_at=from_us(at + DAY_US),
            explanation=explanation,
            estimate=None if step is None else _estimate(step),
            evidence=(
                Evidence(
                    "work_order",
                    order.device_id,
                    {
                        "at": order.at.isoformat(),
                        "kind": order.kind,
                        "tanks": listed(course.tanks).en,
                        **measured,
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
                    alarm_us=(stepped_us - HOUR_US, stepped_us + HOUR_US),
                ),
            ),
        )


def _steps(course: Course, at_us: int) -> Iterator[tuple[tuple[int, int], _Step | None]]:
    """Of every two readings near the work: when they were, and the step between them; None where it cannot be told."""
    noise = course.noise_l(at_us - 1)
    calm = np.ones(len(course.at_us), bool)
    for rise in course.rises:
        if not rise.worked_on or rise.litres > WORK_MOST_L:
            calm[slice(*np.searchsorted(course.at_us, [rise.start_us, rise.end_us + _CALM_US]))] = False
    rows = course.rows(at_us - _AROUND_US, at_us + _AROUND_US)
    for row in range(rows.start + 1, rows.stop):
        span = int(course.at_us[row - 1]), int(course.at_us[row])
        before, after = range(max(row - _SIDE, 0), row), range(row, min(row + _SIDE, len(course.at_us)))
        begin, end = span[0] - _SIDE_US, span[1] + _SIDE_US
        sides = [
            course.book_ml[[each for each in side if calm[each] and begin <= course.at_us[each] <= end]] / 1000.0
            for side in (before, after)
        ]
        if min(map(len, sides)) < _SIDE_LEAST or not (calm[row - 1] and calm[row]):
            yield span, None
            continue
        sd = noise * math.sqrt(1.0 / len(sides[0]) + 1.0 / len(sides[1]))
        yield span, _Step(span[1], float(sides[1].mean() - sides[0].mean()), sd)


def _estimate(step: _Step) -> Estimate:
    low, high = step.litres - _Z95 * step.sd, step.litres + _Z95 * step.sd
    return Estimate(round(step.litres, 1), "L", round(low, 1), round(high, 1), 0.95)


def _stepped(label: Text, when: str, who: str, step: _Step) -> Explanation:
    size = f"{step.litres:+,.0f} L"
    return Explanation(
        title=title(label, f"作业后液位跳变 {size}", f"level stepped {size} at work"),
        what=Text(
            zh=f"{label.zh}在 {when} 的签字作业（{who}）前后，罐内加已售跳变 {size}（20 °C），没有油品进出。",
            en=f"About the signed work of {when} ({who}) what {label.en} holds plus what was sold stepped by "
            f"{size} at 20 °C; no fuel moved.",
        ),
        why=Text(
            zh=f"跳变前后各取最多 {_SIDE} 次读数平均，为其标准差的 {step.sigmas():.0f} 倍；"
            "与签字作业同时，故仅作记录。",
            en=f"Means of up to {_SIDE} readings before and after it; "
            f"{step.sigmas():.0f} of their deviations. It came with signed work: a note.",
        ),
        otherwise=Text(
            zh="作业时确有少量油品进出；单据日期有误。",
            en="Some fuel did move during the work; the paper bears a wrong date.",
        ),
        on_site=Text(
            zh="人工量油，核对探棒零点与容积表；确认后以新读数为准。",
            en="Dip the tank, check the probe's zero and the chart; go on from the new readings.",
        ),
    )


def _unclear(label: Text, when: str, who: str, step: _Step) -> Explanation:
    size, spread = f"{step.litres:+,.1f} L", f"{_Z95 * step.sd:,.1f} L"
    return Explanation(
        title=title(label, "作业后无明显跳变", "no clear step at work"),
        what=Text(
            zh=f"{label.zh}在 {when} 有签字作业（{who}）；其时罐内加已售变化 {size} ± {spread}（20 °C），前后四小时内"
            "看不出明显跳变。",
            en=f"Signed work on {label.en} at {when} ({who}): what it holds plus what was sold changed by {size} ± "
            f"{spread} (20 °C) then, and within four hours there is no clear step.",
        ),
        why=Text(
            zh=f"该差为其标准差的 {step.sigmas():.1f} 倍，不足以称为跳变；仅作记录。",
            en=f"{step.sigmas():.1f} deviations of that difference, too few to call it a step. A note.",
        ),
        otherwise=Text(
            zh="探棒移动很小，被读数噪声掩盖。",
            en="The probe moved by little, and the noise of the readings hides it.",
        ),
        on_site=Text(
            zh="核对作业单据；必要时人工量油。", en="Compare with the papers of the work; dip the tank when in doubt."
        ),
    )


def _hidden(label: Text, when: str, who: str) -> Explanation:
    return Explanation(
        title=title(label, "作业前后无法比较", "level not comparable at work"),
        what=Text(
            zh=f"{label.zh}在 {when} 有签字作业（{who}）；其前后没有足够的平静读数，跳变多少无法得知。",
            en=f"Signed work on {label.en} at {when} ({who}): too few calm readings lie on both sides of it, so "
            "nobody can say by how much the level stepped.",
        ),
        why=Text(
            zh=f"两侧三小时内各需至少 {_SIDE_LEAST} 次读数，卸油及其后一个半小时除外；仅作记录。",
            en=f"At least {_SIDE_LEAST} readings within three hours are needed on each side, none during a delivery or "
            "the hour and a half after it. A note.",
        ),
        otherwise=Text(
            zh="作业时卸油；液位仪停用；读数间隔过长。",
            en="A lorry was unloading, the gauge was off, or its readings lie too far apart.",
        ),
        on_site=Text(
            zh="人工量油，与作业后的液位仪读数比较；核对其间的卸油单据。",
            en="Dip the tank and compare with what the gauge shows now; check the papers of what was unloaded.",
        ),
    )
