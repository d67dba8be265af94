"""The rules ``wrong_tank`` and ``product_swap``: one tank falls with what another tank's nozzles sell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final
from weakref import WeakKeyDictionary

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
from pumpwatch.courses import DAY_US, HOUR_US, MINUTE_US, Course, courses, median, sold_until, wrong_clocks
from pumpwatch.wording import count, litres, nozzle_label, title
from pumpwatch_wetstock.figures import course_label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_WEEK: Final = 7
_Z95: Final = 1.96
_FRESH_US: Final = 20 * MINUTE_US
_FEWEST_HOURS: Final = 24
_QUICK: Final = 3.0
"""Deviations below which a window is not looked at closely."""
_LEAST_SHARE: Final = 0.75
"""Of a nozzle's sales; wrong clocks may feign half."""
_EACH_SIDE: Final = 0.35
"""Of the share, that each of the two tanks must show by itself."""


class MappingSettings(PluginSettings):
    """Keys of ``[rules.wrong_tank]`` and ``[rules.product_swap]``."""

    sigmas: float = Field(8.0, ge=5.0, description="Threshold, standard deviations of the share.")
    window_days: float = Field(7.0, ge=2.0, le=28.0, description="Over which hours are compared, days.")
    judged_h: float = Field(10.0, ge=0.0, lt=24.0, description="Local hour at which each day is judged.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Share:
    """Which share of some sales came out of another tank, by the hours of a window."""

    value: float
    sd: float
    own: float
    """What their own tank keeps of them, as a share."""
    other: float
    """What the other tank loses with them."""
    sold: tuple[float, ...]
    """(hours,) litres at 20 °C."""
    kept: tuple[float, ...]
    """(hours,) half the difference between the two tanks' books."""


class _Station:
    """The books of all tanks of a station, and what each nozzle sold, hour by hour."""

    def __init__(self, past: StationPast) -> None:
        self.courses = courses(past)
        first = min((int(course.at_us[0]) for course in self.courses), default=0) // HOUR_US
        last = max((int(course.at_us[-1]) for course in self.courses), default=0) // HOUR_US + 1
        self.at_us = np.arange(first, last + 1, dtype=np.int64) * HOUR_US
        self.book: dict[tuple[str, ...], Floats] = {}
        self.told: dict[tuple[str, ...], NDArray[np.bool_]] = {}
        self.sold: dict[str, Floats] = {}
        self.clocks = {course.tanks: wrong_clocks(past, course) for course in self.courses}
        for course in self.courses:
            book, self.told[course.tanks] = _book(course, self.at_us)
            self.book[course.tanks] = np.diff(book) / 1000.0
            warm = np.interp(self.at_us, course.at_us, course.warm_c)
            for nozzle in course.nozzles:
                sold = sold_until(past, (nozzle,), course.grade, self.at_us, warm)
                self.sold[nozzle] = np.asarray(np.diff(sold) / 1000.0)

    def all_sold(self, course: Course) -> Floats:
        """(hours,) what all nozzles of a tank sold in each."""
        nothing = np.zeros(len(self.at_us) - 1)
        return np.asarray(sum((self.sold[nozzle] for nozzle in course.nozzles), nothing))


_KNOWN: WeakKeyDictionary[StationPast, _Station] = WeakKeyDictionary()


def _station(past: StationPast) -> _Station:
    known = _KNOWN.get(past)
    if known is None:
        known = _KNOWN[past] = _Station(past)
    return known


class _Hours:
    """The books of two tanks hour by hour, where both were told and nothing came."""

    def __init__(self, station: _Station, own: Course, other: Course) -> None:
        self.at_us = station.at_us
        self.told = station.told[own.tanks] & station.told[other.tanks]
        self.own, self.other = station.book[own.tanks], station.book[other.tanks]
        self._clocks = station.clocks[own.tanks] + station.clocks[other.tanks]

    def feigned(self, start_us: int, end_us: int) -> float:
        """Share that wrong clocks of this span may feign at most.

        A clock that is off by a part of an hour puts as large a part of the sales into another hour; half of that goes
        into the coefficient. Reckoned with double.
        """
        return max((clock.off_us / HOUR_US for clock in self._clocks if start_us < clock.at_us <= end_us), default=0.0)

    def promising(self, of: Floats, ends_us: Ints, length_us: int, least: float) -> NDArray[np.bool_]:
        """(m,) for which windows that end at these times a plain regression finds anything at all."""
        y = np.where(self.told, (self.own - self.other) / 2.0, 0.0)
        bound = 6.0 * 1.4826 * median(np.abs(y[self.told])) if self.told.any() else 0.0
        y = np.clip(y, -bound - of, bound + of)
        x = np.where(self.told, of, 0.0)
        first = np.searchsorted(self.at_us, ends_us - length_us)
        last = np.maximum(np.searchsorted(self.at_us, ends_us, side="right") - 1, first)
        n, sx, sy, xx, xy, yy = (
            sums[np.minimum(last, len(y))] - sums[np.minimum(first, len(y))]
            for each in (self.told.astype(float), x, y, x * x, x * y, y * y)
            for sums in [np.concatenate(([0.0], np.cumsum(each)))]
        )
        n = np.maximum(n, 1.0)
        spread = np.maximum(xx - sx * sx / n, 1e-9)
        slope = (xy - sx * sy / n) / spread
        rest = np.maximum(yy - sy * sy / n - slope * slope * spread, 0.0) / np.maximum(n - 2.0, 1.0)
        return np.asarray((slope > 0.3 * least) & (slope > _QUICK * np.sqrt(rest / spread)) & (n >= _FEWEST_HOURS))

    def share(self, of: Floats, besides: tuple[Floats, ...], start_us: int, end_us: int) -> Share | None:
        """By least squares with an intercept and the other sales, over the hours that end at start < time <= end."""
        rows = self.told & (self.at_us[:-1] >= start_us) & (self.at_us[1:] <= end_us)
        if rows.sum() < _FEWEST_HOURS + len(besides) or of[rows].sum() < 100.0:
            return None
        table = np.stack([of[rows], *(each[rows] for each in besides), np.ones(int(rows.sum()))], axis=1)
        kept, own, other = (self.own - self.other)[rows] / 2.0, self.own[rows], self.other[rows]
        apart = np.abs(kept - median(kept))
        keep = apart <= 6.0 * 1.4826 * median(apart) + of[rows].max()
        inverse = np.linalg.pinv(table[keep].T @ table[keep])
        fits = inverse @ table[keep].T @ np.stack([kept, own, -other], axis=1)[keep]
        rest = kept[keep] - table[keep] @ fits[:, 0]
        free = max(int(keep.sum()) - table.shape[1], 1)
        sd = math.sqrt(float(rest @ rest) / free * max(float(inverse[0, 0]), 1e-12))
        shown = np.flatnonzero(rows)[keep][-150:]
        both = (self.own - self.other)[shown] / 2.0
        return Share(
            float(fits[0, 0]),
            max(sd, 1e-6),
            float(fits[0, 1]),
            float(fits[0, 2]),
            tuple(np.round(of[shown], 1).tolist()),
            tuple(np.round(both, 1).tolist()),
        )


def _book(course: Course, at_us: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """The book at the last reading before each hour, and which hours begin and end with a fresh one and are calm."""
    row = np.maximum(np.searchsorted(course.at_us, at_us, side="right") - 1, 0)
    fresh = at_us - course.at_us[row] <= max(_FRESH_US, course.step_us)
    stirred = np.concatenate(([0], np.cumsum(course.stirred)))[row + 1]
    moved = np.diff(stirred) == 0
    return course.book_ml[row], fresh[1:] & fresh[:-1] & moved & ~course.stirred[row][:-1]


class _Crossed(Review):
    """What the two rules share: each day, over the last week."""

    Settings: ClassVar[type[PluginSettings]] = MappingSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TANK_READINGS})
    lookback: ClassVar[timedelta] = timedelta(days=52)
    settings: MappingSettings

    def _days(self, since: datetime, until: datetime) -> tuple[int, int, int]:
        """The first and the last day to look at, and how far into a UTC day they are judged."""
        offset = round((self.settings.judged_h - self.settings.utc_offset_h) * HOUR_US)
        return (to_us(since) - offset) // DAY_US + 1, (to_us(until) - offset) // DAY_US, offset

    def _first_of_week(
        self, hours: _Hours, of: Floats, besides: tuple[Floats, ...], least: float, since: datetime, until: datetime
    ) -> Iterator[tuple[int, Share]]:
        """The first day of each week on which the share is plain."""
        first, last, offset = self._days(since, until)
        length = round(self.settings.window_days * DAY_US)
        begin = first // _WEEK * _WEEK
        ends = np.arange(begin, last + 1, dtype=np.int64) * DAY_US + offset
        worth = hours.promising(of, ends, length, least)
        for week in range(begin, last + 1, _WEEK):
            for day in range(week, min(week + _WEEK, last + 1)):
                due = day * DAY_US + offset
                share = hours.share(of, besides, due - length, due) if worth[day - begin] else None
                plain = (
                    share is not None
                    and share.value > max(least + hours.feigned(due - length, due), self.settings.sigmas * share.sd)
                    and min(share.own, share.other) > _EACH_SIDE * share.value
                )
                if plain and share is not None:
                    if day >= first:
                        yield due, share
                    break

    def _evidence(self, own: Course, other: Course, share: Share) -> tuple[Evidence, ...]:
        return (
            Evidence(
                "tank_regression",
                f"{own.tanks[0]}/{other.tanks[0]}",
                {
                    "share": round(share.value, 4),
                    "sd": round(share.sd, 4),
                    "own_tank_keeps": round(share.own, 4),
                    "other_tank_loses": round(share.other, 4),
                    "hours": len(share.sold),
                    "sold_20c_l": round(math.fsum(share.sold), 1),
                },
            ),
        )

    @staticmethod
    def _figure(own: Course, other: Course, share: Share) -> Figure:
        most = max(share.sold, default=0.0)
        return Figure(
            title=Text("逐小时：售出量与两罐差额", "Hour by hour: sold against the two tanks' difference"),
            x=Text("售出（升，20 °C）", "Sold (L at 20 °C)"),
            y=Text(
                f"（{course_label(own).zh} − {course_label(other).zh}）/ 2（升）",
                f"({course_label(own).en} − {course_label(other).en}) / 2 (L)",
            ),
            curves=(
                Curve(Text("每小时", "each hour"), share.sold, share.kept, "points", alarm=True),
                Curve(Text("应有：零", "should be nothing"), (0.0, most), (0.0, 0.0), "limit"),
                Curve(Text("拟合", "fitted"), (0.0, most), (0.0, round(share.value * most, 2))),
            ),
            x_is_time=False,
        )


class WrongTank(_Crossed):
    """A nozzle that draws from another tank of its grade than the register says."""

    rule: ClassVar[str] = "wrong_tank"
    explains: ClassVar[frozenset[str]] = frozenset({"offline_sale", "theft", "short_delivery", "leak", "chart_error"})
    about: ClassVar[About] = About(
        title=Text("油枪登记错挂油罐", "Nozzle registered at another tank"),
        catches=("C10",),
        inputs="Tank readings, fillings, the register's tank of each nozzle.",
        statistic="Hour by hour, y = (Δbook of the registered tank − Δbook of another tank of the grade) / 2, "
        "regressed "
        "on the nozzle's litres with the other nozzles of both tanks and an intercept beside. The coefficient is the "
        "share of its sales that came out of the other tank: 0 when the register is right, 1 when it is wrong.",
        threshold="More than 0.75 and 8 standard deviations over the last seven days, each tank showing its "
        "side; judged "
        "every morning once 24 calm hours are known; one finding a week.",
        power="C10 at one station, one nozzle, once with a base and once with a poor probe: found on the second "
        "morning both times, the share estimated at 98 ± 2 % then and 100 ± 1.4 % after a week.",
        pitfalls="A wrong clock of s seconds in the window raises the threshold by s / 3,600. Joined "
        "tanks are one and are not compared. Nozzles always used together cannot be told apart: then "
        "the deviation is large and nothing is said.",
        source="Regression of tank falls on the nozzles' sales as in US 6,925,397.",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Every nozzle against every other tank of its grade."""
        known = courses(past)
        for own in known:
            for other in known:
                if other is own or other.grade != own.grade:
                    continue
                station = _station(past)
                hours = _Hours(station, own, other)
                for nozzle in own.nozzles:
                    besides = tuple(station.sold[name] for name in (*own.nozzles, *other.nozzles) if name != nozzle)
                    for due, share in self._first_of_week(
                        hours, station.sold[nozzle], besides, _LEAST_SHARE, since, until
                    ):
                        yield self._finding(past, own, other, nozzle, share, due)

    def _finding(
        self, past: StationPast, own: Course, other: Course, nozzle: str, share: Share, due_us: int
    ) -> Finding:
        subject, label = past.subject(nozzle), nozzle_label(nozzle)
        here, there = course_label(own), course_label(other)
        value, half = share.value * 100.0, _Z95 * share.sd * 100.0
        start = due_us - round(self.settings.window_days * DAY_US)
        return Finding(
            id=finding_id(self.rule, subject, other.tanks[0], due_us // (_WEEK * DAY_US)),
            rule=self.rule,
            cause="wrong_tank",
            subject=subject,
            severity=Severity.MEDIUM,
            departments=(Department.MARKET_REGULATION,),
            onset=from_us(start),
            detected_at=from_us(due_us),
            explanation=Explanation(
                title=title(label, f"实际用{there.zh}", f"draws from {there.en.lower()}"),
                what=Text(
                    zh=f"{label.zh}登记在{here.zh}，但近 {self.settings.window_days:g} 天 "
                    f"{litres(math.fsum(share.sold))} 的销售中约 {value:.0f}% 使{there.zh}下降，"
                    f"而{here.zh}没有随之下降。",
                    en=f"{label.en} is registered at {here.en}, but about {value:.0f}% of the "
                    f"{litres(math.fsum(share.sold))} it sold in the last {self.settings.window_days:g} days came out "
                    f"of {there.en}, while {here.en} did not fall with it.",
                ),
                why=Text(
                    zh=f"{len(share.sold)} 个小时的回归：应为 0，实为 {share.value:.2f} ± {share.sd:.3f}。",
                    en=f"A regression over {count(len(share.sold), 'hour', 'hours')}: it should be 0 and is "
                    f"{share.value:.2f} ± {share.sd:.3f}.",
                ),
                otherwise=Text(
                    zh="台账录入错误或改造管线后未更新；两罐之间有未登记的连通管。",
                    en="A mistake in the register, or pipes changed since; a pipe between the tanks that is not "
                    "registered.",
                ),
                on_site=Text(
                    zh="核对管线图和潜油泵编号，用该枪加油时观察两罐液位；更正台账后重新计算平衡。",
                    en="Check the pipe plan and the pump's number; watch both levels while this nozzle sells; correct "
                    "the register and reckon the balance again.",
                ),
            ),
            estimate=Estimate(round(value, 2), "%", round(value - half, 2), round(value + half, 2), 0.95),
            evidence=self._evidence(own, other, share),
            figures=(self._figure(own, other, share),),
        )


class ProductSwap(_Crossed):
    """A dear grade's sales that come out of another grade's tank."""

    rule: ClassVar[str] = "product_swap"
    explains: ClassVar[frozenset[str]] = frozenset({"offline_sale", "theft", "short_delivery", "leak"})
    about: ClassVar[About] = About(
        title=Text("串油", "Fuel of another grade"),
        catches=("F23",),
        inputs="Tank readings, fillings.",
        statistic="As ``wrong_tank``, for all sales of a tank against a tank of another grade: the share of what is "
        "sold as one grade that the other grade's tank loses and its own tank keeps.",
        threshold="More than 3 % and 8 standard deviations over the last seven days, each tank showing at least "
        "a third "
        "of it; one finding a week.",
        power="F23 at one tank: 20 % found four days after the onset and estimated at 20 ± 1.5 % after a week; 5 % "
        "with a poor probe not found in three weeks.",
        pitfalls="A wrong clock of s seconds in the window raises the threshold by s / 3,600. "
        "Fuel that was unloaded into the wrong tank leaves no trace here; density does.",
        source="The balance of both tanks, read with its sign (Q2 on the scenarios' page).",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Every tank against every tank of another grade."""
        known = courses(past)
        for own in known:
            for other in known:
                if other.grade == own.grade or not own.nozzles:
                    continue
                station = _station(past)
                hours = _Hours(station, own, other)
                of, besides = station.all_sold(own), (station.all_sold(other),)
                for due, share in self._first_of_week(hours, of, besides, 0.03, since, until):
                    yield self._finding(past, own, other, share, due)

    def _finding(self, past: StationPast, own: Course, other: Course, share: Share, due_us: int) -> Finding:
        subject = Subject(past.station_id, tank_id=own.tanks[0])
        here, there = course_label(own), course_label(other)
        value, half = share.value * 100.0, _Z95 * share.sd * 100.0
        amount = share.value * math.fsum(share.sold)
        start = due_us - round(self.settings.window_days * DAY_US)
        return Finding(
            id=finding_id(self.rule, subject, other.tanks[0], due_us // (_WEEK * DAY_US)),
            rule=self.rule,
            cause="product_swap",
            subject=subject,
            severity=Severity.HIGH,
            departments=(Department.MARKET_REGULATION, Department.COMMERCE),
            onset=from_us(start),
            detected_at=from_us(due_us),
            explanation=Explanation(
                title=title(here, f"疑混入{other.grade} {value:.0f}%", f"{value:.0f}% from {other.grade}"),
                what=Text(
                    zh=f"按 {own.grade} 售出的油中约 {value:.1f}%"
                    f"（近 {self.settings.window_days:g} 天约 {litres(amount)}）"
                    f"使{there.zh}（{other.grade}）下降，而{here.zh}少降同样的量。",
                    en=f"About {value:.1f}% of what was sold as {own.grade} ({litres(amount)} in the last "
                    f"{self.settings.window_days:g} days) came out of {there.en} ({other.grade}), while {here.en} fell "
                    "by so much less.",
                ),
                why=Text(
                    zh=f"{len(share.sold)} 个小时的回归：应为 0，"
                    f"实为 {share.value:.3f} ± {share.sd:.4f}，两罐各自都显示。",
                    en=f"A regression over {count(len(share.sold), 'hour', 'hours')}: it should be 0 and is "
                    f"{share.value:.3f} ± {share.sd:.4f}; each tank shows its side.",
                ),
                otherwise=Text(
                    zh="油枪登记错油罐或错油品；倒罐而没有工单。",
                    en="A nozzle registered at the wrong tank or grade; fuel moved between tanks without a work order.",
                ),
                on_site=Text(
                    zh="两罐及该油品各枪取样，测密度和辛烷值；检查两罐之间的管线和阀门。",
                    en="Take samples of both tanks and of the nozzles, test density and octane; look for pipes and "
                    "valves between the tanks.",
                ),
            ),
            estimate=Estimate(round(value, 2), "%", round(value - half, 2), round(value + half, 2), 0.95),
            evidence=self._evidence(own, other, share),
            figures=(self._figure(own, other, share),),
        )
