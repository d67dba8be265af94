"""The rule ``water_ingress``: the water under the fuel rises, steadily or by a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Channel,
    Curve,
    Department,
    Estimate,
    Evidence,
    Explanation,
    Figure,
    Finding,
    PluginSettings,
    Review,
    Severity,
    StationPast,
    Subject,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.courses import DAY_US, HOUR_US, courses, median, medians, work_on
from pumpwatch.wording import local, tank_label, title
from pumpwatch_wetstock.figures import TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.past import Levels

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_BLOCK_US: Final = 6 * HOUR_US
"""Longer than twice what a delivery stirs: the median of a block is of still water."""
_FEWEST: Final = 4
"""Changes before, for their deviation to be known."""
_WEEK_US: Final = 7 * DAY_US
_SPANS: Final = (1, 2, 4)
"""Days over which a steady rise is looked for."""
_NOISE_DAYS: Final = 14
_FLOOR_MM: Final = 0.1
"""Least deviation of a rise: the step in which gauges tell the water."""
_STEADY: Final = (0.25, 0.75)
"""Of a steady rise about half has come after half of the time, and not all at once."""
_MARGIN: Final = 0.8
"""Of the settings' slope: what rises so fast is found at it, in spite of noise."""
_BEGUN: Final = 0.15
_FRESH_US: Final = 30 * HOUR_US
_WORK_US: Final = 36 * HOUR_US
_WORK_TIMES: Final = 3
_WORK_AGAIN_US: Final = 35 * DAY_US
_WORK_APART_US: Final = 3 * DAY_US
"""Signed work on so many occasions of five weeks, so far apart, is an excuse no more (as in ``withdrawals``)."""
_Z95: Final = 1.96


class WaterSettings(PluginSettings):
    """Keys of ``[rules.water_ingress]``."""

    step_mm: float = Field(3.0, gt=0.5, description="A rise within a week that is an alarm, mm.")
    slope_mm_day: float = Field(0.5, gt=0.1, description="A steady rise that is an alarm, mm a day.")
    sigmas: float = Field(6.0, ge=4.0, description="Least rise, robust deviations of such rises before.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Ingress:
    """How the water of a tank has risen up to one time; mm."""

    at_us: int
    begun_us: int
    before_mm: float
    now_mm: float
    sd_mm: float
    rate: float = 0.0
    """Steadily, mm a day; 0 for a step."""
    rate_sd: float = 0.0

    @property
    def rise_mm(self) -> float:
        """Now over before."""
        return self.now_mm - self.before_mm


class WaterIngress(Review):
    """The water of each tank, in blocks of six hours, against that of the days before; told once a week."""

    rule: ClassVar[str] = "water_ingress"
    Settings: ClassVar[type[PluginSettings]] = WaterSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TANK_DIPS})
    every: ClassVar[timedelta] = timedelta(hours=1)
    lookback: ClassVar[timedelta] = timedelta(days=32)
    settings: WaterSettings
    about: ClassVar[About] = About(
        title=Text("油罐进水", "Water in the tank"),
        catches=("W06",),
        inputs="The water height of the tank readings, or of dips; work orders. Off where the probe tells no water.",
        statistic="m = median of the water height over each six hours (a dip by itself). The smaller of the last two "
        "blocks, so that nothing that passes counts, against the median of the week before (step), and against the "
        "median about one, two and four days before (slope).",
        threshold="A step of 3 mm; or a slope of 0.5 mm a day (less a fifth for noise), 1.6 mm in all, of which "
        "between a quarter and three quarters came in the first half of the time, and no more at once. Either is at "
        "least 6 robust deviations of such rises in the fortnight before, and these are at least 0.1 mm.",
        power="Twelve tanks each, probes mixed: 0.5 mm a day found 12 of 12 after 3.7 days, 1 mm after 2.1, 2 mm after "
        "1.6 and 10 mm after 0.8 days; the 95 % interval of the slope held the truth in 85 of 85 findings. 193 honest "
        "tank-years (463 nozzle-years, probes mixed, nuisances up to 1.5 times the assumed) without a false alarm.",
        pitfalls="A delivery stirs the water for an hour or so and may bring some: a step at a delivery is named as "
        "such. Condensation is a tenth of a millimetre a day. A probe changed or a tank cleaned with a signed work "
        "order makes it a note, on the third occasion in five weeks a low alarm. Water that ethanol petrol takes up is "
        "not seen.",
        source="Water float of magnetostrictive probes; limits as L3 on the scenarios' page.",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Each tank by itself: a siphon carries fuel, not the water at the bottom."""
        for tank in past.tanks:
            levels = past.levels.get(tank.tank_id)
            if levels is None:
                continue
            at_us, blocks = _blocks(levels, to_us(until))
            works = work_on(past, (tank.tank_id,))
            shown: set[tuple[int, bool]] = set()
            begin = to_us(since) // _WEEK_US * _WEEK_US
            for row in self._risen(at_us, blocks, int(np.searchsorted(at_us, begin, side="right"))):
                found = self._ingress(at_us, blocks, row)
                if found is None:
                    continue
                worked = any(found.begun_us - _WORK_US < at <= found.at_us for at in works)
                key = (found.at_us - 1) // _WEEK_US, worked
                if key not in shown:
                    shown.add(key)
                    if found.at_us > to_us(since):
                        times = _occasions(works, found.at_us) if worked else 0
                        yield self._finding(past, tank.tank_id, found, at_us, blocks, times)

    def _risen(self, at_us: Ints, water: Floats, first: int) -> list[int]:
        """The blocks from this one on before which the water stood low enough in the week for either limit."""
        rows = np.arange(max(first, 2), len(at_us))
        rows = rows[at_us[rows] - at_us[rows - 1] <= _FRESH_US]
        begin, end = (at_us.searchsorted(at_us[rows] - back) for back in (_WEEK_US, DAY_US - 1))
        told = end > begin
        rows, begin, end = rows[told], begin[told], end[told]
        if not len(rows):
            return []
        edges = np.stack([begin, end], axis=1).ravel()
        lowest = np.minimum.reduceat(water, edges)[::2]
        least = min(self.settings.step_mm, self._least_mm(_SPANS[0]))
        risen: list[int] = rows[np.minimum(water[rows], water[rows - 1]) - lowest >= least].tolist()
        return risen

    def _ingress(self, at_us: Ints, water: Floats, row: int) -> Ingress | None:
        """What shows at the end of this block; at_us are the blocks' ends."""
        settings, now = self.settings, float(min(water[row], water[row - 1]))
        end = int(at_us[row])
        for days in _SPANS:
            found = self._slope(at_us, water, row, days, now)
            if found is not None:
                return found
        usual = median(water[slice(*np.searchsorted(at_us, [end - _WEEK_US, end - DAY_US + 1]))])
        sd = _usual_mm(at_us, water, end - DAY_US, 1)
        if now - usual < max(settings.step_mm, settings.sigmas * sd):
            return None
        return Ingress(end, _begun(at_us, water, row, usual, now), usual, now, sd)

    def _least_mm(self, days: int) -> float:
        return _MARGIN * self.settings.slope_mm_day * max(days, _SPANS[-1])

    def _slope(self, at_us: Ints, water: Floats, row: int, days: int, now: float) -> Ingress | None:
        """A steady rise over so many days, or None."""
        end = int(at_us[row])
        early, middle = (_about(at_us, water, end - round(part * days * DAY_US)) for part in (1.0, 0.5))
        if early is None or middle is None:
            return None
        rise = now - early
        if rise < self._least_mm(days) or not _STEADY[0] < (middle - early) / rise < _STEADY[1]:
            return None
        window = water[int(np.searchsorted(at_us, end - days * DAY_US)) : row + 1]
        if float((window[2:] - window[:-2]).max(initial=0.0)) > _STEADY[1] * rise:  # a step may fall into a block
            return None
        sd = _usual_mm(at_us, water, end - days * DAY_US, days)
        if rise < self.settings.sigmas * sd:
            return None
        begun = _begun(at_us, water, row, early, now)
        return Ingress(end, begun, early, now, sd, *_rate(at_us, water, begun, row, sd))

    # ------------------------------------------------------------ words

    def _finding(
        self, past: StationPast, tank_id: str, found: Ingress, at_us: Ints, water: Floats, works: int
    ) -> Finding:
        """``works``: on how many occasions signed work was done of late, the rise being about the last; 0 for none."""
        label, offset = tank_label(tank_id), self.settings.utc_offset_h
        subject = Subject(past.station_id, tank_id=tank_id)
        since, when = local(from_us(found.begun_us), offset), local(from_us(found.at_us), offset)
        steady = found.rate > 0.0
        rate, sd = (found.rate, found.rate_sd) if steady else (found.rise_mm, found.sd_mm)
        half = _Z95 * sd
        unit = "mm/d" if steady else "mm"
        name = f"{rate:.1f} mm/天" if steady else f"{rate:.1f} mm"
        name_en = f"+{rate:.1f} mm a day" if steady else f"+{rate:.1f} mm"
        came = None if steady else _delivery(past, tank_id, found)
        why_zh, why_en = (
            ("水位持续上升，前后两半大致相当。", "It rose steadily, in both halves of the time.")
            if steady
            else ("连续两个六小时段的水位中位数都已升高，卸油后的搅动已排除。",
                  "The medians of two blocks of six hours are higher: what a delivery stirs up is taken out.")
        )  # fmt: skip
        if came is not None:
            why_zh += f"上升与 {local(from_us(came), offset)} 的卸油同时：水可能随油到站。"
            why_en += f" It came with the delivery of {local(from_us(came), offset)}: the water may be from the load."
        again = works >= _WORK_TIMES
        if again:
            why_zh += f"该时段有签字的作业单，但五周内已是第 {works} 次作业，不再仅作记录。"
            why_en += f" Signed work is about this time, but it is occasion {works} in five weeks: more than a note."
        elif works:
            why_zh += "该时段有维修方和站方签字的作业单，仅作记录。"
            why_en += " A work order signed by the repairer and the station is about this time: a note."
        urgent = found.rise_mm >= 2.0 * self.settings.step_mm or found.rate >= 4.0 * self.settings.slope_mm_day
        severity = Severity.HIGH if urgent else Severity.MEDIUM
        if works:
            severity = Severity.LOW if again else Severity.INFO
        return Finding(
            id=finding_id(self.rule, subject, found.at_us, *(["work"] if works else [])),
            rule=self.rule,
            cause="water",
            subject=subject,
            severity=severity,
            departments=(Department.EMERGENCY,),
            onset=from_us(found.begun_us),
            detected_at=from_us(found.at_us),
            explanation=Explanation(
                title=title(label, f"水位上升 {name}", f"water {name_en}"),
                what=Text(
                    zh=f"{label.zh}水位自 {since} 的 {found.before_mm:.1f} mm 升到 {when} 的 {found.now_mm:.1f} mm"
                    f"（{name}）。",
                    en=f"The water in {label.en.lower()} rose from {found.before_mm:.1f} mm at {since} to "
                    f"{found.now_mm:.1f} mm at {when} ({name_en}).",
                ),
                why=Text(
                    zh=f"此前两周同样长时间内水位变化的标准差为 {found.sd_mm:.2f} mm。{why_zh}",
                    en=f"In the fortnight before, changes over as long had a deviation of {found.sd_mm:.2f} mm. "
                    f"{why_en}",
                ),
                otherwise=Text(
                    zh="卸油带入的水；冷凝水或雨水从卸油口、人孔进入；水浮子卡滞或探棒更换而没有工单。",
                    en="Water that came with a load; condensation, or rain through the fill point or manhole; a float "
                    "that stuck, or a probe changed without a work order.",
                ),
                on_site=Text(
                    zh="用试水膏人工测水；检查人孔、卸油口密封和井内积水；罐底排水取样；如持续上升，停用该罐并做密闭性检测。",
                    en="Dip for water with paste; check the seals of manhole and fill point and for water in the pits; "
                    "draw the water off and sample it; if it goes on rising, take the tank out of use and test it "
                    "for tightness.",
                ),
            ),
            estimate=Estimate(round(rate, 2), unit, round(rate - half, 2), round(rate + half, 2), 0.95),
            evidence=(
                Evidence(
                    "water_height",
                    tank_id,
                    {
                        "from": from_us(found.begun_us).isoformat(),
                        "to": from_us(found.at_us).isoformat(),
                        "before_mm": round(found.before_mm, 2),
                        "now_mm": round(found.now_mm, 2),
                        "sd_mm": round(found.sd_mm, 3),
                        "steady_mm_per_day": round(found.rate, 3),
                    },
                ),
            ),
            figures=(_figure(label, found, at_us, water),),
        )


def _blocks(levels: Levels, until_us: int) -> tuple[Ints, Floats]:
    """(n,) ends of the blocks that are over, and the median water of each, mm; blocks without readings are left out."""
    told = np.isfinite(levels.water_mm)
    at_us, water = levels.at_us[told], levels.water_mm[told]
    block = at_us // _BLOCK_US
    numbers, first = np.unique(block, return_index=True)
    ends = (numbers + 1) * _BLOCK_US
    over = ends <= until_us
    return ends[over], medians(water, np.append(first, len(water)))[over]


def _occasions(works: list[int], at_us: int) -> int:
    """On how many occasions of the last weeks work was done on a tank."""
    recent = [at for at in works if at_us - _WORK_AGAIN_US < at <= at_us]
    return 1 + sum(late - early > _WORK_APART_US for early, late in pairwise(recent))


def _about(at_us: Ints, water: Floats, end_us: int) -> float | None:
    """The median of the day of blocks about this time; None where there is none."""
    around = water[slice(*np.searchsorted(at_us, [end_us - DAY_US // 2 + 1, end_us + DAY_US // 2]))]
    return median(around) if len(around) else None


def _usual_mm(at_us: Ints, water: Floats, end_us: int, days: int) -> float:
    """Robust deviation of the water's changes over so many days in the fortnight up to this time."""
    rows = np.arange(*np.searchsorted(at_us, [end_us - _NOISE_DAYS * DAY_US, end_us + 1]))
    before = np.searchsorted(at_us, at_us[rows] - days * DAY_US)
    changes = (water[rows] - water[before])[at_us[before] == at_us[rows] - days * DAY_US]
    return max(1.4826 * median(np.abs(changes)), _FLOOR_MM) if len(changes) >= _FEWEST else 3.0 * _FLOOR_MM


def _begun(at_us: Ints, water: Floats, row: int, before_mm: float, now_mm: float) -> int:
    """The end of the last block that had hardly any of the rise yet."""
    low = np.flatnonzero(water[: row + 1] <= before_mm + _BEGUN * (now_mm - before_mm))
    first = int(low[-1]) if len(low) else 0
    return int(max(at_us[first], at_us[row] - _WEEK_US))


def _rate(at_us: Ints, water: Floats, begun_us: int, row: int, sd_mm: float) -> tuple[float, float]:
    """The straight line through the blocks since it began, mm a day, and its deviation."""
    rows = slice(int(np.searchsorted(at_us, begun_us)), row + 1)
    days, mm = (at_us[rows] - begun_us) / DAY_US, water[rows]
    days, mm = days - days.mean(), mm - mm.mean()
    spread = float(days @ days)
    rate = float(days @ mm) / spread
    rest = mm - rate * days
    noise = float(rest @ rest) / max(len(mm) - 2, 1) + sd_mm**2 / 2.0
    return rate, float(np.sqrt(noise / spread))


def _delivery(past: StationPast, tank_id: str, found: Ingress) -> int | None:
    """When fuel came into the tank within the blocks in which its water rose."""
    for course in courses(past):
        if tank_id in course.tanks:
            for rise in course.rises:
                if found.begun_us - _BLOCK_US < rise.end_us <= found.begun_us + 2 * _BLOCK_US:
                    return rise.end_us
    return None


def _figure(label: Text, found: Ingress, at_us: Ints, water: Floats) -> Figure:
    shown = slice(*np.searchsorted(at_us, [found.begun_us - _WEEK_US, found.at_us + 1]))
    seconds, mm = at_us[shown] / 1e6, np.round(water[shown], 2)
    hit = at_us[shown] >= found.begun_us
    return Figure(
        title=Text(f"{label.zh}：水位", f"{label.en}: water height"),
        x=TIME,
        y=Text("水位（mm）", "Water (mm)"),
        curves=(
            Curve(Text("六小时中位数", "median of six hours"), tuple(seconds.tolist()), tuple(mm.tolist())),
            Curve(
                Text("上升", "the rise"), tuple(seconds[hit].tolist()), tuple(mm[hit].tolist()), "points", alarm=True
            ),
        ),
        marks=((found.begun_us / 1e6, Text("开始", "begins")),),
    )
