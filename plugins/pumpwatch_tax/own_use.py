"""The rule ``own_use``: fillings booked as the station's own use, where there are more than a station can use.

Own use is not taxed. A generator and a van are one or two fillings a day, of the same size at the same hour; customers
booked as own use come at any hour and take any amount.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
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
from pumpwatch.wording import count, litres, station_label, title, yuan
from pumpwatch_tax.periods import DAY_US, HOUR_US, day_end, days_ending

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WINDOWS: Final = (1, 2, 4, 7, 14, 28)
"""Days."""
_REGULAR_DAYS: Final = 7
_AGAIN_DAYS: Final = 7


class OwnUseSettings(PluginSettings):
    """Keys of ``[rules.own_use]``."""

    payments: tuple[str, ...] = Field(("own_use",), description="Payments that stand for own or agricultural use.")
    allowed_per_day: float = Field(
        0.5, gt=0.0, le=1_000.0, description="Irregular own-use fillings an honest station has."
    )
    allowed_in_all_per_day: float = Field(
        3.0, gt=0.0, le=1_000.0, description="Own-use fillings of every kind it may have."
    )
    allowed_l_per_day: float = Field(250.0, gt=0.0, description="Own use a station may have, litres a day.")
    false_alarm: float = Field(
        1e-7, gt=0.0, lt=0.01, description="Chance of as many fillings in one window at the allowed rate."
    )
    same_litres_percent: float = Field(2.0, ge=0.0, description="Fillings that differ by less are of the same size, %.")
    same_hour_minutes: float = Field(60.0, ge=0.0, description="Fillings this near in the day are at the same hour.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@lru_cache(maxsize=64)
def poisson_limit(mean: float, chance: float) -> int:
    """The least n with P(N >= n) <= chance for a Poisson variable with this mean; summed from far out in its tail."""
    n = math.ceil(mean + 40.0 * math.sqrt(mean)) + 200
    tail = 0.0
    while tail <= chance:
        n -= 1
        tail += math.exp(n * math.log(mean) - mean - math.lgamma(n + 1))
    return n + 1


@dataclass(frozen=True, slots=True)
class _Own:
    """A station's own-use fillings by time; n each."""

    day: NDArray[np.int64]
    nozzle: NDArray[np.int32]
    end_us: NDArray[np.int64]
    litres: NDArray[np.float64]
    cny: NDArray[np.float64]
    irregular: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Excess:
    """The window in which there are most too many, or too much."""

    days: int
    found: float
    limit: float
    allowed: float
    kind: str
    """``irregular`` or ``all`` fillings, or ``litres``."""


class OwnUse(Review):
    """Every local day, own-use fillings of the last one to twenty-eight days against what a station can use."""

    rule: ClassVar[str] = "own_use"
    Settings: ClassVar[type[PluginSettings]] = OwnUseSettings
    every: ClassVar[timedelta] = timedelta(hours=6)
    lookback: ClassVar[timedelta] = timedelta(days=28 + _REGULAR_DAYS + _AGAIN_DAYS + 2)
    settings: OwnUseSettings

    about: ClassVar[About]

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Judge the days that end in this time."""
        own = self._own(past)
        if not len(own.day):
            return
        days = days_ending(since, until, self.settings.utc_offset_h)
        first = max(days.start, int(own.day[0]))
        last = min(days.stop, int(own.day[-1]) + max(_WINDOWS))
        known: dict[int, _Excess | None] = {}

        def excess(day: int) -> _Excess | None:
            if day not in known:
                known[day] = self._excess(own, day)
            return known[day]

        for day in range(first, last):
            here = excess(day)
            if here is None:
                continue
            goes_on = any(excess(day - back) is not None for back in range(1, _AGAIN_DAYS))
            if not goes_on or day % _AGAIN_DAYS == 0:
                yield self._finding(past, own, day, here)

    def _own(self, past: StationPast) -> _Own:
        sales = past.sales
        mine = np.zeros(len(sales), bool)
        for payment in self.settings.payments:
            mine |= sales.is_paid(payment)
        rows = np.flatnonzero(mine & np.isfinite(sales.volume_l))
        rows = rows[np.lexsort((sales.nozzle[rows], sales.end_us[rows]))]
        end_us, amount = sales.end_us[rows], sales.volume_l[rows]
        local_us = end_us + round(self.settings.utc_offset_h * HOUR_US)
        day, hour_us = local_us // DAY_US, local_us % DAY_US
        irregular = np.ones(len(rows), bool)
        near_us = self.settings.same_hour_minutes * 60e6
        begin = np.searchsorted(day, day - _REGULAR_DAYS)
        for row in range(len(rows)):
            before = slice(int(begin[row]), int(np.searchsorted(day, day[row])))
            apart = np.abs(hour_us[before] - hour_us[row])
            same_hour = np.minimum(apart, DAY_US - apart) <= near_us
            same_size = np.abs(amount[before] - amount[row]) <= self.settings.same_litres_percent / 100.0 * amount[row]
            irregular[row] = not bool((same_hour & same_size).any())
        return _Own(day, sales.nozzle[rows], end_us, amount, np.nan_to_num(sales.amount_cny[rows]), irregular)

    def _excess(self, own: _Own, day: int) -> _Excess | None:
        """The window ending with this day that holds the most too many; None when none does."""
        best: _Excess | None = None
        for days in _WINDOWS:
            first, last = (int(row) for row in np.searchsorted(own.day, [day - days + 1, day + 1]))
            irregular = float(own.irregular[first:last].sum())
            for kind, found, rate in (
                ("irregular", irregular, self.settings.allowed_per_day),
                ("all", float(last - first), self.settings.allowed_in_all_per_day),
            ):
                limit = poisson_limit(rate * days, self.settings.false_alarm)
                if found >= limit and (best is None or found / limit > best.found / best.limit):
                    best = _Excess(days, found, float(limit), rate * days, kind)
        return best or self._too_much(own, day)

    def _too_much(self, own: _Own, day: int) -> _Excess | None:
        """The same for litres: two days' worth in one day, eight in a week, twenty-nine in four."""
        best: _Excess | None = None
        for days in _WINDOWS:
            first, last = (int(row) for row in np.searchsorted(own.day, [day - days + 1, day + 1]))
            booked, allowed = float(own.litres[first:last].sum()), self.settings.allowed_l_per_day * days
            limit = allowed + self.settings.allowed_l_per_day
            if booked > limit and (best is None or booked / limit > best.found / best.limit):
                best = _Excess(days, booked, limit, allowed, "litres")
        return best

    def _finding(self, past: StationPast, own: _Own, day: int, excess: _Excess) -> Finding:
        subject = Subject(past.station_id)
        at = day_end(day, self.settings.utc_offset_h)
        first, last = (int(row) for row in np.searchsorted(own.day, [day - excess.days + 1, day + 1]))
        mine = slice(first, last)
        total_l, total_cny = float(own.litres[mine].sum()), float(own.cny[mine].sum())
        grades = {_grade(past, past.sales.nozzle_ids[n]) for n in set(own.nozzle[mine].tolist())}
        sold, estimate = _share(past, own, mine, day - excess.days, at, grades, self.settings, excess.kind)
        share = estimate.value
        label = station_label(past.station, past.station_id)
        names = "、".join(sorted(grades)), ", ".join(sorted(grades))
        spread = "大小和钟点各不相同" if excess.kind == "irregular" else "钟点和大小不固定"
        of_zh, of_en = ("升数", "litres") if excess.kind == "litres" else ("笔数", "fillings")
        return Finding(
            id=finding_id(self.rule, subject, f"{at:%Y-%m-%d}"),
            rule=self.rule,
            cause="own_use_abuse",
            subject=subject,
            severity=Severity.MEDIUM,
            departments=(Department.TAX, Department.COMMERCE),
            onset=from_us(int(own.end_us[first])),
            detected_at=at,
            explanation=Explanation(
                title=title(label, f"自用油偏多 {share:.0f}%", f"own use {share:.0f}%"),
                what=Text(
                    zh=f"{excess.days} 天内 {names[0]} 有 {last - first} 笔按自用登记，共 {litres(total_l)}，按售价合 "
                    f"{yuan(total_cny)}，占{of_zh} {share:.1f}%（95% 区间 {estimate.low:.1f}–{estimate.high:.1f}%）；"
                    f"其中 {int(own.irregular[mine].sum())} 笔{spread}。",
                    en=f"In {count(excess.days, 'day', 'days')} {count(last - first, 'filling', 'fillings')} of "
                    f"{names[1]} were booked as own use, "
                    f"{litres(total_l)}, {yuan(total_cny)} at the price: {share:.1f}% of the {of_en} (95% interval "
                    f"{estimate.low:.1f} to {estimate.high:.1f}%); {int(own.irregular[mine].sum())} of them at no "
                    "regular hour and of no regular size.",
                ),
                why=self._why(excess),
                otherwise=Text(
                    zh="站内有车队、农机或工程车长期自用（应有协议和台账）；付款方式录入错误。",
                    en="A fleet, farm or building machines of its own (there must be a contract and a book); a payment "
                    "entered wrongly.",
                ),
                on_site=Text(
                    zh="核对自用油台账、车辆和发电机运行记录；抽查监控录像，看加注的是否为客户车辆；核对收款。",
                    en="Check the own-use book, the vehicles and the generator's log; look at the video for customers' "
                    "vehicles; compare the payments.",
                ),
            ),
            estimate=estimate,
            evidence=(
                Evidence(
                    "own_use",
                    f"{past.station_id}/{at:%Y-%m-%d}",
                    {
                        "days": excess.days,
                        "fillings": last - first,
                        "irregular": int(own.irregular[mine].sum()),
                        "counted": excess.kind,
                        "limit": excess.limit,
                        "litres": round(total_l, 2),
                        "cny": round(total_cny, 2),
                        "all_fillings": sold,
                    },
                ),
            ),
            figures=(_figure(own, mine),),
        )

    def _why(self, excess: _Excess) -> Text:
        if excess.kind == "litres":
            return Text(
                f"一站的发电机和车辆每天用油有限；{excess.days} 天最多应有 {litres(excess.limit)}，"
                f"实有 {litres(excess.found)}。",
                f"A generator and a van use little a day: in {count(excess.days, 'day', 'days')} "
                f"{litres(excess.limit)} at most; there were {litres(excess.found)}.",
            )
        return Text(
            f"一站的发电机和车辆每天一两笔，大小、钟点固定；{excess.days} 天最多应有 {excess.allowed:g} 笔，"
            f"偶然达到 {excess.limit:.0f} 笔的概率小于 {self.settings.false_alarm:.0e}，实有 {excess.found:.0f} 笔。",
            f"A generator and a van are one or two fillings a day of the same size at the same hour. Of this kind "
            f"{excess.allowed:g} are allowed in {count(excess.days, 'day', 'days')}; {excess.limit:.0f} would happen "
            f"by chance less often than {self.settings.false_alarm:.0e}; there were {excess.found:.0f}.",
        )


def _share(
    past: StationPast,
    own: _Own,
    mine: slice,
    day_before: int,
    at: datetime,
    grades: set[str],
    settings: OwnUseSettings,
    kind: str,
) -> tuple[int, Estimate]:
    """How many fillings of these grades there were, and the share of own use in them (of litres: in their litres)."""
    sales = past.sales
    first_us = own.end_us[mine.start]
    same_grade = np.array([_grade(past, n) in grades for n in sales.nozzle_ids], bool)[sales.nozzle]
    upto = same_grade & (sales.end_us < to_us(at))
    if kind == "litres":
        begin_us = to_us(day_end(day_before, settings.utc_offset_h))
        inside = upto & (sales.end_us >= begin_us)
        whole = max(float(np.nansum(sales.volume_l[inside])), 1e-9)
        part, spread = float(own.litres[mine].sum()), float(np.sqrt(np.square(own.litres[mine]).sum()))
        share, half = 100.0 * part / whole, 196.0 * spread / whole
    else:  # Counted from the first of them, which is left out: before it there may have been nothing to tell.
        inside = upto & (sales.end_us > first_us)
        booked, all_of_them = mine.stop - mine.start - 1, max(int(inside.sum()), 1)
        share = 100.0 * booked / all_of_them
        half = 196.0 * math.sqrt(max(booked * (1.0 - share / 100.0), 1.0)) / all_of_them
    low, high = max(0.0, share - half), min(100.0, share + half)
    return int(inside.sum()), Estimate(round(share, 2), "%", round(low, 2), round(high, 2), 0.95)


def _grade(past: StationPast, nozzle_id: str) -> str:
    nozzle = past.nozzle_by_id.get(nozzle_id)
    return nozzle.grade if nozzle is not None else "?"


def _figure(own: _Own, mine: slice) -> Figure:
    end_us, amount, odd = own.end_us[mine][-190:], own.litres[mine][-190:], own.irregular[mine][-190:]

    def points(chosen: NDArray[np.bool_]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return tuple((end_us[chosen] / 1e6).tolist()), tuple(amount[chosen].tolist())

    regular_x, regular = points(~odd)
    odd_x, irregular = points(odd)
    return Figure(
        title=Text("自用登记的加油", "Fillings booked as own use"),
        x=Text("时间", "time"),
        y=Text("每笔升数 (L)", "litres each (L)"),
        curves=(
            Curve(Text("固定钟点与大小", "regular"), regular_x, regular, "points"),
            Curve(Text("不固定", "irregular"), odd_x, irregular, "points", alarm=True),
        ),
    )


OwnUse.about = About(
    title=Text("自用油占比", "Share of own use"),
    catches=("T11",),
    inputs="Litres, end and payment of each sale.",
    statistic="Fillings booked as own use in the last 1, 2, 4, 7, 14 and 28 local days. A filling is regular when the "
    "seven days before have one of the same size (± 2 %) at the same hour (± 60 min); all and irregular ones are "
    "counted apart, and so are the litres.",
    threshold="Poisson limits at 1e-7 a window for one irregular filling in two days (own van) and three of every kind "
    "a day: 8 irregular ones in a day, 18 in a week, 38 in 28 days; 17, 50 and 137 of every kind. Litres where the "
    "numbers say nothing: 250 L a day and one day's worth more, so 500 L in a day, 2,000 L in a week, 7,250 L in 28 "
    "days; a generator and a van use up to 150 L a day. Told once, then at "
    "most once a week.",
    power="Simulated T11, ten stations of 30 to 150 diesel fillings a day: 10 % is found at all of them, in 60 h in "
    "the median; 5 % at all, in 4 days in the median and 23 at most; 2 % at half, 1 % at two of ten within 28 days: "
    "there it is one filling in one to three days, which no count tells from an own van. No alarm in 577 honest "
    "nozzle-years and at 24 more stations with own use of 20 to 150 L a day.",
    pitfalls="A generator filled each morning is regular from its second day. A station with a fleet of its own needs "
    "a larger `allowed_per_day`; the share against peers stands in the risk grade. Where payments are not told there "
    "is no own use and nothing is said.",
    source="Own derivation: shares against peers (X5 on the scenarios' page).",
)
