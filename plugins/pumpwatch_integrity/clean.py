"""The rule ``too_clean``: tank levels that follow the sales to the millimetre and never tremble.

A float on real fuel is never quite still. Levels that somebody computes from the sales are, from one sale to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

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
    Levels,
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
from pumpwatch.wording import local_day, tank_label, title
from pumpwatch_integrity.frozen import DAY_US, HOUR_US, area_l_mm
from pumpwatch_integrity.parts import half_signed, told

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REFERENCE_DAYS = 14
_LEAST_DAYS = 5
_LEAST_IDLE = 24
"""Idle intervals that a day must have."""
_LEAST_SALES = 5
"""Intervals with sales that show whether the level follows."""
_AROUND_US = 60_000_000
_AFTER_DELIVERY_US = 2 * HOUR_US
_RISE_MM = 8.0
_KEPT, _KEPT_SQUARE = 0.8, 0.438
"""The smallest movements of a day that count, and the mean square of a standard normal's smallest so many."""
_NORMAL = -6.0
"""Quantile of the standard normal: one in 1e9."""
_COARSE, _SURPRISE = 0.3, 40.0
"""Above this share of unmoved intervals a variance is mostly steps of the probe; then the share itself must differ,
by so many nats over the day: 1e-10 if every second interval counts."""


class CleanSettings(PluginSettings):
    """Keys of ``[rules.too_clean]``."""

    ratio: float = Field(0.4, gt=0.0, lt=1.0, description="Share of its usual variance below which a day is too clean.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Day:
    """How a tank's level moved on one local day while nobody drew from it."""

    idle: int
    """Intervals between readings without a sale and away from deliveries."""
    variance: float
    """Mean square of the level's movement in the calmest four fifths of them, mm², as of a normal."""
    unmoved: float
    """Share of them in which it did not move at all."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Whether the level moved on one local day while fuel was drawn."""

    intervals: int
    """With a sale that must move the level."""
    stuck: float
    """Share of those in which it did not."""


class TooClean(Review):
    """One finding at the end of the first such day, and one each Monday as long as the comparison holds."""

    rule: ClassVar[str] = "too_clean"
    Settings: ClassVar[type[PluginSettings]] = CleanSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TANK_READINGS})
    lookback: ClassVar[timedelta] = timedelta(days=_REFERENCE_DAYS + 3)
    explains: ClassVar[frozenset[str]] = frozenset({"frozen_data", "chart_error"})
    settings: CleanSettings
    about: ClassVar[About] = About(
        title=Text("液位数据过于平稳", "Levels too clean"),
        catches=("C08",),
        inputs="Heights of a tank's readings, and start and end of the sales of its nozzles and of tanks joined to it.",
        statistic="v = mean (Δh)² over the idle intervals of a local day: no sale within a minute, no delivery within "
        "two hours; without the wildest fifth, in which fuel may have been drawn unrecorded. Compared with the "
        "median v of the same tank's 14 days before (at least 5). The tank's own past is "
        "the physical floor: it holds probe, quantum, firmware and smoothing.",
        threshold="v / median < min(0.4, χ² quantile at 1e-9 for half the intervals as degrees of freedom), with 24 "
        "intervals or more: 0.004 at 24, 0.11 at 60, 0.40 at 240. Of a coarse probe, one that usually stands still in "
        "more than three of ten intervals, the share s of unmoved ones must differ from the usual u as well: n (s ln "
        "(s/u) + (1−s) ln ((1−s)/(1−u))) > 40. And the level follows the sales: of the intervals in which more than "
        "20 L "
        "and two steps were sold at most one in ten stands still, else it is a frozen gauge.",
        power="14 of 14 invented feeds found, at the end of the first whole day (42 h at most), with probes from "
        "good to poor and demand from 0.3 to 1.6. Honest: none in 122 honest nozzle-years (honest scenarios on, all "
        "probes, demand 0.3 to 1.6, nuisances to 1.5 times).",
        pitfalls="New firmware that smooths looks the same once: work on the tank makes it low when repairer "
        "and station signed, a note when the institute did as well (it must for an order that names the station). A "
        "feed that was invented from the first day on has no past to differ from. With hourly readings a day has too "
        "few idle intervals and the rule stays silent.",
        source="Own derivation (R3 on the scenarios' page); χ² quantile after Wilson and Hilferty.",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Every local day that ended in this time."""
        offset_us = round(self.settings.utc_offset_h * HOUR_US)
        first, last = ((to_us(at) + offset_us) // DAY_US for at in (since, until))
        for tank_id, levels in sorted(past.levels.items()):
            moves = _Moves(past, tank_id, levels, offset_us)
            for day in range(int(first) - 1, int(last) + 1):
                at = from_us((day + 1) * DAY_US - offset_us)
                if not since < at <= until or not self._clean(moves, day):
                    continue
                monday = (day + 3) % 7 == 0
                if monday or not self._clean(moves, day - 1):
                    yield self._finding(past, tank_id, moves, day, at)

    def _clean(self, moves: _Moves, day: int) -> bool:
        judged, reference = moves.days.get(day), _usual(moves.days, day)
        if judged is None or reference is None or judged.idle < _LEAST_IDLE:
            return False
        usual, still = reference
        if still > _COARSE and judged.idle * _surprise(judged.unmoved, still) < _SURPRISE:
            return False
        if not judged.variance < usual * min(self.settings.ratio, _chi_square_ratio(judged.idle / 2.0)):
            return False
        drawn = moves.drawn(day)
        return drawn.intervals >= _LEAST_SALES and drawn.stuck <= 0.1

    def _finding(self, past: StationPast, tank_id: str, moves: _Moves, day: int, at: datetime) -> Finding:
        days, drawn = moves.days, moves.drawn(day)
        judged, (usual, _) = days[day], _usual(days, day) or (0.0, 0.0)
        subject, label = Subject(past.station_id, tank_id=tank_id), tank_label(tank_id)
        begin = at - timedelta(days=1)
        orders = [
            o
            for o in past.work_orders
            if o.device_id in (tank_id, past.station_id)
            and o.kind in {"repair", "install", "calibration"}
            and begin - timedelta(days=7) <= o.at < at
            and half_signed(o)
        ]
        serviced = "三方" if any(told(o.signed_by_institute) for o in orders) else "维修方和站方" if orders else ""
        by_whom = "repairer, institute and station" if serviced == "三方" else "repairer and station"
        severity = {"三方": Severity.INFO, "": Severity.HIGH}.get(serviced, Severity.LOW)
        which = local_day(begin, self.settings.utc_offset_h)
        usual_mm, now_mm = math.sqrt(usual / 2.0), math.sqrt(judged.variance / 2.0)
        return Finding(
            id=finding_id(self.rule, subject, day),
            rule=self.rule,
            cause="synthetic_data",
            subject=subject,
            severity=severity,
            departments=(Department.MARKET_REGULATION,),
            onset=begin,
            detected_at=at,
            explanation=Explanation(
                title=title(label, "液位过于平稳", "level too clean"),
                what=Text(
                    zh=f"{label.zh} {which} 在没有加油的 {judged.idle} 个读数间隔里，液位抖动只有 {now_mm:,.3f} mm，"
                    f"平时是 {usual_mm:,.3f} mm；每 100 个间隔有 {judged.unmoved * 100:,.0f} 个一动不动，"
                    "而售油时又跟着下降。",
                    en=f"{label.en}: on {which} the level trembled by {now_mm:,.3f} mm in {judged.idle} intervals "
                    "without "
                    f"sales, usually by {usual_mm:,.3f} mm; in {judged.unmoved * 100:,.0f} of 100 it did not move at "
                    "all, "
                    "and yet it followed the sales.",
                ),
                why=Text(
                    zh="真实液位受探棒噪声、油面波动和温度影响总在抖动，这是物理下限；低于下限又恰好跟着交易走，"
                    "像是由交易算出来的。"
                    + (f"此前 7 天内有{serviced}签字的工单，可能由维修引起。" if serviced else ""),
                    en="The noise of the probe, the moving surface and the warmth keep a true level trembling: that "
                    "is the "
                    "physical floor. Below it, and in step with the sales, a level looks computed from them."
                    + (f" Work signed by {by_whom} in the 7 days before may explain it." if serviced else ""),
                ),
                otherwise=Text(
                    zh="液位仪程序升级后加强了平滑；更换了分辨率更低的探棒。",
                    en="New software of the gauge that smooths more; another probe of coarser resolution.",
                ),
                on_site=Text(
                    zh="人工量油与读数核对；在罐旁轻敲量油管或卸油时看读数是否波动；查液位仪与采集器之间有无另接设备。",
                    en="Dip the tank and compare; see whether the reading moves during a delivery; look for a device "
                    "between "
                    "gauge and collector.",
                ),
            ),
            estimate=Estimate(round(judged.variance / usual, 4) if usual else 0.0, "of usual", 0.0, None, None),
            evidence=(
                Evidence(
                    "tank_day",
                    f"{tank_id}/{which}",
                    {
                        "day_start": begin.astimezone(UTC).isoformat(),
                        "idle_intervals": judged.idle,
                        "variance_mm2": round(judged.variance, 5),
                        "usual_variance_mm2": round(usual, 5),
                        "unmoved_share": round(judged.unmoved, 4),
                        "intervals_with_sales": drawn.intervals,
                        "stuck_share": round(drawn.stuck, 4),
                    },
                ),
            ),
            figures=(_figure(days, day, at),),
        )


def _usual(days: dict[int, Day], day: int) -> tuple[float, float] | None:
    """Variance and share of unmoved intervals in the median of the days before."""
    before = (days.get(d) for d in range(day - _REFERENCE_DAYS, day))
    known = [d for d in before if d is not None and d.idle >= _LEAST_IDLE]
    if len(known) < _LEAST_DAYS:
        return None
    return median(d.variance for d in known), median(d.unmoved for d in known)


def _surprise(share: float, usual: float) -> float:
    """Nats an interval by which a larger share of unmoved ones differs from the usual one (Chernoff)."""
    if share <= usual:
        return 0.0
    usual = min(usual, 0.999)
    moved = (1.0 - share) * math.log((1.0 - share) / (1.0 - usual)) if share < 1.0 else 0.0
    return share * math.log(share / usual) + moved


def _chi_square_ratio(freedom: float) -> float:
    """The 1e-9 quantile of χ²(n) / n."""
    part = 2.0 / (9.0 * freedom)
    return max(1.0 - part + _NORMAL * math.sqrt(part), 0.0) ** 3


class _Moves:
    """How the level of one tank moved from each reading to the next, by whole local days."""

    def __init__(self, past: StationPast, tank_id: str, levels: Levels, offset_us: int) -> None:
        self.days: dict[int, Day] = {}
        """By day since 1970; days without readings are not there."""
        if len(levels) < 2 * _LEAST_IDLE:
            return
        at = levels.at_us
        self._past, self._levels, self._joined = past, levels, past.manifold(tank_id)
        self._rows = [past.sales.of(n.nozzle_id) for n in past.nozzles if n.tank_id in self._joined]
        starts, ends = (np.sort(self._sold(name), kind="stable") for name in ("start_us", "end_us"))
        self._moved = np.diff(levels.height_mm)
        self._known = np.isfinite(self._moved)
        near = np.diff(at) <= 15 * 60_000_000
        rises = at[1:][self._known & (np.nan_to_num(self._moved) > _RISE_MM)]
        self._calm = _away(at[1:], rises) & self._known & near
        begun = starts.searchsorted(at[1:] + _AROUND_US) - ends.searchsorted(at[:-1] - _AROUND_US)
        idle = self._calm & (begun <= 0)
        day = (at[1:] + offset_us - 1) // DAY_US
        self._first = int(day[0])
        self._edges = day.searchsorted(np.arange(self._first, int(day[-1]) + 2)).tolist()
        for place, (low, high) in enumerate(pairwise(self._edges)):
            if self._known[low:high].any():
                self.days[self._first + place] = _day(self._moved[low:high][idle[low:high]])

    def _sold(self, name: str) -> NDArray[Any]:
        """A column of the sales from this tank and those joined to it."""
        column = getattr(self._past.sales, name)
        return np.concatenate([column[:0], *(column[rows] for rows in self._rows)])

    @cached_property
    def _litres(self) -> NDArray[np.float64]:
        """(n,) sold before each reading but the first and since the one before; a sale counts at its end.

        It moves the level by the next reading when it ended a minute before it and none goes on over either edge.
        """
        ends, at = self._sold("end_us"), self._levels.at_us
        order = np.argsort(ends, kind="stable")
        ends, litres = ends[order], np.concatenate(([0.0], np.cumsum(np.nan_to_num(self._sold("volume_l")[order]))))
        sold: NDArray[np.float64] = litres[ends.searchsorted(at[1:] - _AROUND_US)] - litres[ends.searchsorted(at[:-1])]
        return sold

    def drawn(self, day: int) -> Drawn:
        """Step and area are the day's own, so that a day is judged alike whatever else of the past is there."""
        place = day - self._first
        today = slice(self._edges[place], self._edges[place + 1])
        moved = self._moved[today]
        steps = np.abs(moved[self._known[today] & (moved != 0.0)])
        step = float(steps.min()) if len(steps) else 1.0
        heights = self._levels.height_mm[1:][today]
        middle = float(median(heights[np.isfinite(heights)].tolist()))
        area = math.fsum(area_l_mm(self._past, tank, middle) for tank in self._joined)
        busy = moved[self._calm[today] & (self._litres[today] > max(20.0, 2.2 * step * area))]
        return Drawn(len(busy), np.count_nonzero(busy == 0.0) / len(busy) if len(busy) else 0.0)


def _day(quiet: NDArray[np.float64]) -> Day:
    """From the movements over a day's idle intervals."""
    squares = np.sort(quiet**2)[: math.ceil(_KEPT * len(quiet))]
    return Day(
        idle=len(quiet),
        variance=float(np.add.reduce(squares)) / len(squares) / _KEPT_SQUARE if len(squares) else 0.0,
        unmoved=np.count_nonzero(quiet == 0.0) / len(quiet) if len(quiet) else 0.0,
    )


def _away(at_us: NDArray[np.int64], rises_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which times are neither within two hours after nor shortly before a rise."""
    if not len(rises_us):
        return np.ones(len(at_us), bool)
    place = np.searchsorted(rises_us, at_us, side="right")
    last = np.where(place > 0, rises_us[np.maximum(place - 1, 0)], np.iinfo(np.int64).min // 2)
    coming = np.where(
        place < len(rises_us), rises_us[np.minimum(place, len(rises_us) - 1)], np.iinfo(np.int64).max // 2
    )
    away: NDArray[np.bool_] = (at_us - last > _AFTER_DELIVERY_US) & (coming - at_us > _AROUND_US)
    return away


def _figure(days: dict[int, Day], day: int, at: datetime) -> Figure:
    """The level's tremble day by day."""
    known = [d for d in range(day - _REFERENCE_DAYS, day + 1) if d in days and days[d].idle >= _LEAST_IDLE]
    end = at.timestamp()
    times = tuple(end - (day - d + 0.5) * 86_400 for d in known)
    tremble = tuple(round(math.sqrt(days[d].variance / 2.0), 4) for d in known)
    return Figure(
        title=Text("无加油时的液位抖动", "Tremble of the level without sales"),
        x=Text("日期", "day"),
        y=Text("抖动（mm）", "tremble (mm)"),
        curves=(
            Curve(Text("往日", "days before"), times[:-1], tremble[:-1], shape="points"),
            Curve(Text("当日", "this day"), times[-1:], tremble[-1:], shape="points", alarm=True),
        ),
    )
