"""The rules ``wrong_tank`` and ``product_swap``: one tank falls with what another tank's nozzles sell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
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
from pumpwatch.courses import DAY_US, HOUR_US, Course, courses
from pumpwatch.wording import count, litres, nozzle_label, title
from pumpwatch_wetstock.figures import course_label
from pumpwatch_wetstock.shares import LEAST_SWAP, SIGMAS, Hours, Share, station_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_WEEK: Final = 7
_Z95: Final = 1.96
_LEAST_SHARE: Final = 0.75
"""Of a nozzle's sales; wrong clocks may feign half."""
_EXPLAINED: Final = frozenset(
    {
        "chart_error",
        "leak",
        "offline_sale",
        "out_of_tolerance",
        "selective_short_delivery",
        "short_delivery",
        "theft",
    }
)
"""Causes that the balance of one tank seems to show when its fuel is another's; and what other rules call the same."""


class MappingSettings(PluginSettings):
    """Keys of ``[rules.wrong_tank]`` and ``[rules.product_swap]``."""

    sigmas: float = Field(SIGMAS, ge=5.0, description="Threshold, standard deviations of the share.")
    window_days: float = Field(7.0, ge=2.0, le=28.0, description="Over which hours are compared, days.")
    judged_h: float = Field(10.0, ge=0.0, lt=24.0, description="Local hour at which each day is judged.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


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
        self, hours: Hours, of: Floats, besides: tuple[Floats, ...], least: float, since: datetime, until: datetime
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
                if share is None or not share.is_plain(least + hours.feigned(due - length, due), self.settings.sigmas):
                    continue
                if day >= first:
                    later = hours.share(of, besides, share.begun_us, due)
                    yield due, share if later is None else replace(later, begun_us=share.begun_us)
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
    explains: ClassVar[frozenset[str]] = _EXPLAINED | {"wrong_tank"}
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
                station = station_of(past)
                hours = Hours(station, own, other)
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
        days = f"{(due_us - share.begun_us) / DAY_US:.1f}".removesuffix(".0")
        return Finding(
            id=finding_id(self.rule, subject, other.tanks[0], due_us // (_WEEK * DAY_US)),
            rule=self.rule,
            cause="wrong_tank",
            subject=subject,
            severity=Severity.MEDIUM,
            departments=(Department.MARKET_REGULATION,),
            onset=from_us(share.begun_us),
            detected_at=from_us(due_us),
            explanation=Explanation(
                title=title(label, f"实际用{there.zh}", f"draws from {there.en.lower()}"),
                what=Text(
                    zh=f"{label.zh}登记在{here.zh}，但近 {days} 天 "
                    f"{litres(math.fsum(share.sold))} 的销售中约 {value:.0f}% 使{there.zh}下降，"
                    f"而{here.zh}没有随之下降。",
                    en=f"{label.en} is registered at {here.en}, but about {value:.0f}% of the "
                    f"{litres(math.fsum(share.sold))} it sold in the last {days} days came out "
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
    explains: ClassVar[frozenset[str]] = _EXPLAINED | {"product_swap"}
    about: ClassVar[About] = About(
        title=Text("串油", "Fuel of another grade"),
        catches=("F23",),
        inputs="Tank readings, fillings.",
        statistic="As ``wrong_tank``, for all sales of a tank against a tank of another grade: the share of what is "
        "sold as one grade that the other grade's tank loses and its own tank keeps. It is dated by the hour from "
        "which on it fits best and sized since then.",
        threshold="More than 3 % and 8 standard deviations over the last seven days, each tank showing at least "
        "a third "
        "of it; one finding a week.",
        power="F23 at one tank: 20 % found four days after the onset and estimated at 20 ± 1.5 % after a week; 5 % "
        "with a poor probe not found in three weeks.",
        pitfalls="A wrong clock of s seconds in the window raises the threshold by s / 3,600. "
        "Fuel that was unloaded into the wrong tank leaves no trace here; density does. `tank_balance` tells larger "
        "swaps some hours after they begin; this finding takes that one in.",
        source="The balance of both tanks, read with its sign (Q2 on the scenarios' page).",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Every tank against every tank of another grade."""
        known = courses(past)
        for own in known:
            for other in known:
                if other.grade == own.grade or not own.nozzles:
                    continue
                station = station_of(past)
                hours = Hours(station, own, other)
                of, besides = station.all_sold(own), (station.all_sold(other),)
                for due, share in self._first_of_week(hours, of, besides, LEAST_SWAP, since, until):
                    yield self._finding(past, own, other, share, due)

    def _finding(self, past: StationPast, own: Course, other: Course, share: Share, due_us: int) -> Finding:
        subject = Subject(past.station_id, tank_id=own.tanks[0])
        here, there = course_label(own), course_label(other)
        value, half = share.value * 100.0, _Z95 * share.sd * 100.0
        amount = share.value * math.fsum(share.sold)
        days = f"{(due_us - share.begun_us) / DAY_US:.1f}".removesuffix(".0")
        return Finding(
            id=finding_id(self.rule, subject, other.tanks[0], due_us // (_WEEK * DAY_US)),
            rule=self.rule,
            cause="product_swap",
            subject=subject,
            severity=Severity.HIGH,
            departments=(Department.MARKET_REGULATION, Department.COMMERCE),
            onset=from_us(share.begun_us),
            detected_at=from_us(due_us),
            explanation=Explanation(
                title=title(here, f"疑混入{other.grade} {value:.0f}%", f"{value:.0f}% from {other.grade}"),
                what=Text(
                    zh=f"按 {own.grade} 售出的油中约 {value:.1f}%"
                    f"（近 {days} 天约 {litres(amount)}）"
                    f"使{there.zh}（{other.grade}）下降，而{here.zh}少降同样的量。",
                    en=f"About {value:.1f}% of what was sold as {own.grade} ({litres(amount)} in the last "
                    f"{days} days) came out of {there.en} ({other.grade}), while {here.en} fell "
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
