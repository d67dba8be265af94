"""The rule ``demand``: a station's litres of a week and grade against its own past and what the other stations did.

Holidays, weather and prices move all stations together and cancel; what is left is a station's own. A note only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Comparison,
    Curve,
    Department,
    Estimate,
    Evidence,
    Explanation,
    Figure,
    Finding,
    PluginSettings,
    Severity,
    StationPast,
    Subject,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.wording import litres, local_day, percent, station_label, title
from pumpwatch_tax.periods import DAY_US, WEEK_US, week_start_us, weeks_ending

_BEFORE: Final = 8
"""Weeks that tell what is usual."""


class DemandSettings(PluginSettings):
    """Keys of ``[rules.demand]``."""

    least_weeks: int = Field(4, ge=2, le=_BEFORE, description="Earlier weeks that must be known, of eight.")
    least_stations: int = Field(5, ge=2, description="Stations that must be known to say what the week was like.")
    open_days: int = Field(6, ge=1, le=7, description="Days with sales that make a whole week.")
    least_change: float = Field(0.4, gt=0.0, description="Smaller changes are not told, as a share.")
    limit_z: float = Field(5.0, gt=0.0, description="Robust standard deviations from which a change is told.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class StationWeeks:
    """Litres by grade and week, whole weeks only."""

    label: Text
    litres: Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class _Change:
    """One station's week and grade. Natural logarithms."""

    own: float
    """Against the median of its own earlier weeks."""
    usual_l: float
    spread: float
    """Robust standard deviation of its earlier weeks."""


class Demand(Comparison):
    """Every local week (from Monday), each station and grade: log litres less own median, less the peers' median."""

    rule: ClassVar[str] = "demand"
    Settings: ClassVar[type[PluginSettings]] = DemandSettings
    every: ClassVar[timedelta] = timedelta(hours=12)
    lookback: ClassVar[timedelta] = timedelta(days=7 * (_BEFORE + 1) + 1)
    settings: DemandSettings

    about: ClassVar[About]

    def digest(self, past: StationPast, since: datetime, until: datetime) -> StationWeeks:
        """The weeks that end in this time and the eight before each."""
        weeks = weeks_ending(since, until, self.settings.utc_offset_h)
        found: dict[str, dict[int, float]] = {}
        if len(weeks):
            wanted = range(weeks.start - _BEFORE, weeks.stop)
            found = self._weeks(past, wanted)
        return StationWeeks(station_label(past.station, past.station_id), found)

    def _weeks(self, past: StationPast, weeks: range) -> dict[str, dict[int, float]]:
        sales, offset = past.sales, self.settings.utc_offset_h
        origin = week_start_us(weeks.start, offset)
        week = (sales.end_us - origin) // WEEK_US
        day = (sales.end_us - origin) // DAY_US
        grades = [n.grade if (n := past.nozzle_by_id.get(name)) else "" for name in sales.nozzle_ids]
        found: dict[str, dict[int, float]] = {}
        for grade in sorted(set(grades) - {""}):
            mine = np.array([g == grade for g in grades], bool)[sales.nozzle] if len(sales) else np.zeros(0, bool)
            mine &= (week >= 0) & (week < len(weeks)) & np.isfinite(sales.volume_l)
            total = np.bincount(week[mine], sales.volume_l[mine], len(weeks))
            open_days = np.bincount(np.unique(day[mine]) // 7, minlength=len(weeks))
            found[grade] = {
                weeks[place]: round(float(total[place]), 2)
                for place in range(len(weeks))
                if open_days[place] >= self.settings.open_days
                and to_us(past.start) <= origin + place * WEEK_US
                and to_us(past.end) >= origin + (place + 1) * WEEK_US
            }
        return found

    def compare(self, digests: Mapping[str, StationWeeks], since: datetime, until: datetime) -> Iterator[Finding]:
        """The weeks that end in this time."""
        grades = sorted({grade for told in digests.values() for grade in told.litres})
        for week in weeks_ending(since, until, self.settings.utc_offset_h):
            for grade in grades:
                changes = {
                    station: change
                    for station, told in sorted(digests.items())
                    if (change := self._change(told.litres.get(grade, {}), week)) is not None
                }
                if len(changes) < self.settings.least_stations:
                    continue
                own = np.array([change.own for change in changes.values()])
                middle = float(np.median(own))
                between = 1.4826 * float(np.median(np.abs(own - middle)))
                for station, change in changes.items():
                    off = change.own - middle
                    z = off / math.hypot(max(between, 0.03), max(change.spread, 0.05))
                    if abs(z) >= self.settings.limit_z and abs(off) >= math.log1p(self.settings.least_change):
                        yield self._finding(station, digests[station], grade, week, change, off, middle, z)

    def _change(self, by_week: Mapping[int, float], week: int) -> _Change | None:
        before = [by_week[w] for w in range(week - _BEFORE, week) if by_week.get(w, 0.0) > 0.0]
        here = by_week.get(week, 0.0)
        if here <= 0.0 or len(before) < self.settings.least_weeks:
            return None
        logs = np.log(before)
        usual = float(np.median(logs))
        spread = 1.4826 * float(np.median(np.abs(logs - usual)))
        return _Change(math.log(here) - usual, math.exp(usual), spread)

    def _finding(
        self,
        station_id: str,
        told: StationWeeks,
        grade: str,
        week: int,
        change: _Change,
        off: float,
        middle: float,
        z: float,
    ) -> Finding:
        offset = self.settings.utc_offset_h
        start, end = from_us(week_start_us(week, offset)), from_us(week_start_us(week + 1, offset))
        subject = Subject(station_id)
        by_week = told.litres[grade]
        sold = by_week[week]
        much = 100.0 * math.expm1(off)
        half = 1.96 * abs(off / z)
        monday = local_day(start, offset)
        shown = [w for w in range(week - _BEFORE, week + 1) if w in by_week]
        return Finding(
            id=finding_id(self.rule, subject, grade, monday),
            rule=self.rule,
            cause="demand_anomaly",
            subject=subject,
            severity=Severity.INFO,
            departments=(Department.COMMERCE, Department.TAX),
            onset=start,
            detected_at=end,
            explanation=Explanation(
                title=title(told.label, f"{grade} 销量 {percent(much)}", f"{grade} sales {percent(much)}"),
                what=Text(
                    zh=f"{monday} 起的一周 {grade} 销售 {litres(sold)}，平常约 {litres(change.usual_l)}；"
                    f"同周他站为平常的 {100 * math.exp(middle):.0f}%，扣除后为 {percent(much)}。",
                    en=f"In the week from {monday} {litres(sold)} of {grade} were sold, usually about "
                    f"{litres(change.usual_l)}; other stations had {100 * math.exp(middle):.0f}% of what is usual. "
                    f"Against that it is {percent(much)}.",
                ),
                why=Text(
                    zh=f"相当于 {abs(z):.1f} 倍稳健标准差（自身八周与同周各站的离散合成），限值 "
                    f"{self.settings.limit_z:g}。",
                    en=f"That is {abs(z):.1f} robust standard deviations (of its own eight weeks and of the stations "
                    f"in this week); the limit is {self.settings.limit_z:g}.",
                ),
                otherwise=Text(
                    zh="邻站停业、促销、修路、油枪停用或单位客户变化。",
                    en="A neighbour that is closed, a promotion, road works, a nozzle out of use, a fleet that came or "
                    "went.",
                ),
                on_site=Text(
                    zh="与进货、库存和申报同期比较；问明停用或活动安排。",
                    en="Compare with purchases, stocks and declarations of that time; ask what was closed or promoted.",
                ),
            ),
            estimate=Estimate(
                round(much, 1),
                "%",
                round(100.0 * math.expm1(off - half), 1),
                round(100.0 * math.expm1(off + half), 1),
                0.95,
            ),
            evidence=(
                Evidence(
                    "demand",
                    f"{station_id}/{grade}/{monday}",
                    {
                        "litres": sold,
                        "usual_l": round(change.usual_l, 2),
                        "peers_percent": round(100.0 * math.expm1(middle), 1),
                        "z": round(z, 2),
                    },
                ),
            ),
            figures=(
                Figure(
                    title=Text(f"{grade} 周销量", f"{grade} by week"),
                    x=Text("周", "week"),
                    y=Text("升 (L)", "litres (L)"),
                    curves=(
                        Curve(
                            Text("销量", "sold"),
                            tuple(week_start_us(w, offset) / 1e6 for w in shown),
                            tuple(by_week[w] for w in shown),
                            "step",
                        ),
                        Curve(Text("本周", "this week"), (start.timestamp(),), (sold,), "points", alarm=True),
                    ),
                ),
            ),
        )


Demand.about = About(
    title=Text("销量异常", "Unusual demand"),
    catches=(),
    inputs="Litres of each sale, by grade; of all stations.",
    statistic="x = ln(litres of the week) − median of the eight weeks before; z = (x − median of x over the stations) "
    "/ sqrt(MAD² of the stations + MAD² of the station's own weeks).",
    threshold="|z| ≥ 5 and at least 40 % (as a share of the usual). A note (`info`), never an alarm: an honest holiday "
    "rush at one station is unusual too.",
    power="A grade's sales that fall by 60 % are noted in the first whole week. In 11 simulated honest counties "
    "of 22 stations one note in six station-years, at rushes and closed nozzles of their own.",
    pitfalls="A holiday that all stations have cancels. Weeks with fewer than six days of sales (closed, or records "
    "lost) are neither judged nor part of what is usual.",
    source="Own derivation: a robust z against peers and the station's own past.",
)
