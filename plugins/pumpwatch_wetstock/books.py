"""The rule ``hidden_sales``: the month's balance of a tank after its chart has been learned from its own sales."""

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
from pumpwatch.courses import DAY_US, HOUR_US, Course, courses, median, work_on
from pumpwatch.wording import litres, percent, station_label, title, yuan
from pumpwatch_wetstock.falls import counted
from pumpwatch_wetstock.figures import TIME, course_label, price_cny
from pumpwatch_wetstock.shares import is_crossed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_BANDS: Final = 8
_BAND_SD: Final = 0.002
"""Deviation of an honest chart between its bands, with which few sales in a band are drawn to the tank's mean."""
_SMALL_HOURS_US: Final = (14 * HOUR_US, 19 * HOUR_US)
"""After the hour of judgement: midnight to five o'clock when it is ten."""
_SMALL_SHARE: Final = 5.0 / 24.0
_EVEN: Final = 0.6
_LEAST_TANKS: Final = 2
_COMMON: Final = 0.0008
"""Deviation of what all tanks of a station lose alike: weather."""
_WEEK: Final = 7
_EVERY_WEEKS: Final = 4
_Z95: Final = 1.96


class HiddenSalesSettings(PluginSettings):
    """Keys of ``[rules.hidden_sales]``."""

    sigmas: float = Field(4.0, ge=3.0, description="Threshold, standard deviations.")
    least_percent: float = Field(0.5, gt=0.0, description="What is less is left alone, % of what was sold.")
    month_days: float = Field(30.0, ge=14.0, le=31.0, description="Over which a balance is made, days.")
    learned_days: float = Field(
        60.0, ge=14.0, le=120.0, description="Before it, from which the chart is learned, days."
    )
    fewest_days: float = Field(14.0, ge=7.0, description="Least days of either.")
    wander_percent: float = Field(
        0.15, gt=0.0, description="Deviation of an honest month's loss from that of the months before, %."
    )
    judged_h: float = Field(10.0, ge=0.0, lt=24.0, description="Local hour at which each day is judged.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Month:
    """The balance of a tank over a month, against what its chart and nozzles were like before."""

    excess: float
    """Lost beyond what was sold and usual, as a share of what was sold."""
    sd: float
    sold_l: float
    even: float
    """Loss of the small hours over what an even leak of this size would lose in them; 0 when it is not plain."""
    days: tuple[float, ...]
    shares: tuple[float, ...]
    """Of each day, in %."""


class _Days:
    """Calm intervals of a course added up by local day and by band of the tank: what was lost and what was sold."""

    def __init__(self, course: Course, offset: int) -> None:
        calm = ~(course.stirred[1:] | course.stirred[:-1]) & (np.diff(course.at_us) <= 12 * HOUR_US)
        if course.step_us > 12 * HOUR_US:
            calm = ~(course.stirred[1:] | course.stirred[:-1])
        lost, sold = -np.diff(course.book_ml)[calm], np.diff(course.sold_ml)[calm]
        day = (course.at_us[1:][calm] - offset - 1) // DAY_US
        held = course.volume_ml[:-1][calm]
        most = max(1, 50_000_000 * len(course.tanks))
        band = np.clip(held * _BANDS * 1 // most, 0, _BANDS - 1)
        self.first = int(day[0]) if len(day) else 0
        count = int(day[-1]) - self.first + 1 if len(day) else 0
        place = (day - self.first) * _BANDS + band
        shape = (count, _BANDS)

        def table(values: NDArray[np.int64]) -> Floats:
            return np.asarray(np.bincount(place, values, count * _BANDS).reshape(shape) / 1000.0)

        self.lost, self.sold = table(lost), table(sold)
        into = (course.at_us[1:][calm] - offset - 1) % DAY_US
        small = (into >= _SMALL_HOURS_US[0]) & (into < _SMALL_HOURS_US[1])
        self.small = table(np.where(small, lost, 0)).sum(axis=1)
        """(days,) lost in the small hours, when a leak goes on and hardly anybody buys."""

    def rows(self, first_day: int, last_day: int) -> slice:
        """The days first < day <= last."""
        low = max(first_day + 1 - self.first, 0)
        return slice(low, max(low, last_day + 1 - self.first))

    def month(self, day: int, settings: HiddenSalesSettings) -> Month | None:
        """The balance of the month that ends with this day; None where too little is known."""
        now = self.rows(day - round(settings.month_days), day)
        past = self.rows(day - round(settings.month_days + settings.learned_days), day - round(settings.month_days))
        sold, learned = self.sold[now], self.sold[past]
        short = (sold.sum(axis=1) > 0).sum(), (learned.sum(axis=1) > 0).sum()
        total, known = float(sold.sum()), float(learned.sum())
        if min(short) < settings.fewest_days or total <= 0.0 or known <= 0.0:
            return None
        daily, lost_daily = learned.sum(axis=1), self.lost[past].sum(axis=1)
        busy = daily > 0.0
        usual = median(lost_daily[busy] / daily[busy])
        rest = lost_daily - usual * daily
        spread = 1.4826 * median(np.abs(rest[busy] - median(rest[busy])))
        clipped = np.abs(rest) <= 6.0 * spread + 1e-9
        mean = float(self.lost[past][clipped].sum() / max(learned[clipped].sum(), 1.0))
        # Each band's own share, drawn to the tank's mean as far as its noise says.
        in_band, lost = learned[clipped].sum(axis=0), self.lost[past][clipped].sum(axis=0)
        noise = spread**2 * np.maximum(in_band / known, 1e-9) * len(daily)
        weight = in_band / np.maximum(in_band + noise / np.maximum(in_band, 1.0) / _BAND_SD**2, 1e-9)
        band = mean + weight * (lost / np.maximum(in_band, 1.0) - mean)
        over = self.lost[now].sum(axis=1) - sold @ band
        kept = np.abs(over - median(over)) <= 8.0 * spread + 1e-9
        total = float(sold[kept].sum())
        if total <= 0.0 or not clipped.any():
            return None
        excess = float(over[kept].sum()) / total
        days = float(kept.sum())
        noise_share = spread * math.sqrt(days) / total * math.sqrt(1.0 + days / max(float(busy.sum()), 1.0))
        sd = math.hypot(noise_share, settings.wander_percent / 100.0)
        before = self.small[past][clipped]
        small = float(self.small[now][kept].sum() - before.mean() * days)
        unsure = 1.4826 * median(np.abs(before - median(before))) * math.sqrt(days * (1.0 + days / len(before)))
        even = small / (_SMALL_SHARE * excess * total) if excess and small > 5.0 * unsure else 0.0
        numbers = np.flatnonzero(sold.sum(axis=1) > 0)
        first = self.first + now.start
        return Month(
            excess,
            sd,
            total,
            even,
            tuple(float(first + n) for n in numbers.tolist()),
            tuple(np.round(over[numbers] / sold.sum(axis=1)[numbers] * 100.0, 3).tolist()),
        )


_KNOWN: WeakKeyDictionary[StationPast, dict[int, list[tuple[Course, _Days]]]] = WeakKeyDictionary()


def _days(past: StationPast, offset: int) -> list[tuple[Course, _Days]]:
    known = _KNOWN.setdefault(past, {})
    if offset not in known:
        known[offset] = [(course, _Days(course, offset)) for course in courses(past)]
    return known[offset]


class HiddenSales(Review):
    """Each Monday the month behind it, tank by tank, against the two months before."""

    rule: ClassVar[str] = "hidden_sales"
    Settings: ClassVar[type[PluginSettings]] = HiddenSalesSettings
    every: ClassVar[timedelta] = timedelta(hours=6)
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TANK_READINGS})
    lookback: ClassVar[timedelta] = timedelta(days=142)
    settings: HiddenSalesSettings
    about: ClassVar[About] = About(
        title=Text("月度进销存", "Monthly balance"),
        catches=("T06", "F04"),
        inputs="Tank readings, fillings; work orders. Deliveries only cut the course: their own errors are not in it.",
        statistic="Over 30 days, Σ(lost − β(band)·sold) / Σ sold in calm intervals: lost is the fall of held plus sold "
        "at 20 °C, β(band) the share that was usual in that eighth of the tank over the 60 days before, learned "
        "from the "
        "tank's own sales and drawn to the tank's mean by the chart's 0.2 % between bands. So chart, meters and steady "
        "losses cancel; what is left is the wander of the losses and the readings' noise.",
        threshold="4 deviations and 0.5 %. The deviation is the readings' part, learned from the tank's own days, and "
        "0.15 % for the wander of honest losses. Both sides: a loss is fuel without a record, a gain is fuel that "
        "customers paid for and did not get. All tanks of a station together are judged alike (0.08 % in "
        "common) when all lean to one side and none is "
        "plain by itself. At most one finding in four weeks.",
        power="On 17 honest tanks the month's balance had a deviation of 0.16 % (probes mixed; goal 0.11 to "
        "0.24 %; the "
        "rule reckons with 0.15 to 0.38 % by the tank's noise). One per cent of all sales taken out of the records "
        "(numbers and totalizers closed up) was found at 4 of 4 stations a month after it began, by a tank or by all "
        "tanks together. No finding on the honest tanks.",
        pitfalls="A share that was hidden from the first day on is in the calibration and is not seen. Work on "
        "the tank (signed by repairer and station) makes another chart: then it is a note until the months compared "
        "are free of it. What goes on through "
        "the small hours is a leak's or a withdrawal's matter; what missing sequence numbers explain is not "
        "counted twice; a tank "
        "of the same station that gained as much points to the register, and while another tank plainly loses what "
        "this one's nozzles sell (`product_swap`, `wrong_tank`), or has in the months compared, nothing is said.",
        source="Self-calibration of a tank from metered sales as in US 5,665,895; balance X4 on the scenarios' page.",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """At the hour of judgement of each week's first day."""
        offset = round((self.settings.judged_h - self.settings.utc_offset_h) * HOUR_US)
        first, last = (to_us(since) - offset) // DAY_US + 1, (to_us(until) - offset) // DAY_US
        tables = _days(past, offset)
        begin = first // _WEEK * _WEEK - (_EVERY_WEEKS - 1) * _WEEK
        shown: dict[tuple[str, ...], dict[int, int]] = {}
        for day in range(begin, last + 1):
            if day % _WEEK:
                continue
            months = {course.tanks: (course, table.month(day - 1, self.settings)) for course, table in tables}
            for course, month in months.values():
                if month is None or not self._plain(past, course, month, day * DAY_US + offset, months):
                    continue
                side = 1 if month.excess > 0.0 else -1
                block = day // (_EVERY_WEEKS * _WEEK)
                worked = self._worked(past, course, day * DAY_US + offset)
                blocks = shown.setdefault((*course.tanks, "work") if worked else course.tanks, {})
                if blocks.get(side) != block:
                    blocks[side] = block
                    if day >= first:
                        yield self._finding(past, course, month, day * DAY_US + offset, worked=worked)
            whole = self._whole(past, months, day * DAY_US + offset)
            if whole is not None:
                course, month = whole
                side, block = (1 if month.excess > 0.0 else -1), day // (_EVERY_WEEKS * _WEEK)
                blocks = shown.setdefault((), {})
                if blocks.get(side) != block:
                    blocks[side] = block
                    if day >= first:
                        yield self._finding(past, course, month, day * DAY_US + offset, station=True)

    def _whole(
        self, past: StationPast, months: dict[tuple[str, ...], tuple[Course, Month | None]], due_us: int
    ) -> tuple[Course, Month] | None:
        """All tanks together, when most of them lean to one side and none is plain by itself."""
        told = [(course, month) for course, month in months.values() if month is not None]
        if len(told) < _LEAST_TANKS:
            return None
        sold = math.fsum(month.sold_l for _, month in told)
        if sold <= 0.0:
            return None
        excess = math.fsum(month.excess * month.sold_l for _, month in told) / sold
        noise = math.hypot(*(month.sd * month.sold_l for _, month in told)) / sold
        sd = math.hypot(noise, _COMMON)
        alike = sum(
            (month.excess > 0.25 * excess) if excess > 0.0 else (month.excess < 0.25 * excess) for _, month in told
        )
        plain = abs(excess) >= max(self.settings.sigmas * sd, self.settings.least_percent / 100.0)
        if not plain or alike < len(told) or any(self._is_plain(month) for _, month in told):
            return None
        if any(self._worked(past, c, due_us) or self._explained(past, c, m, due_us, {}) for c, m in told):
            return None
        even = math.fsum(month.even * month.excess * month.sold_l for _, month in told) / (excess * sold)
        course, most = max(told, key=lambda pair: (pair[1].sold_l, pair[0].tanks))
        return course, Month(excess, sd, sold, even, most.days, most.shares)

    def _is_plain(self, month: Month) -> bool:
        return abs(month.excess) >= max(self.settings.sigmas * month.sd, self.settings.least_percent / 100.0)

    def _plain(
        self,
        past: StationPast,
        course: Course,
        month: Month,
        due_us: int,
        months: dict[tuple[str, ...], tuple[Course, Month | None]],
    ) -> bool:
        return self._is_plain(month) and not self._explained(past, course, month, due_us, months)

    def _worked(self, past: StationPast, course: Course, due_us: int) -> bool:
        """Whether signed work on the tank or its gauge lies in the months compared: then its chart may be another."""
        start = due_us - round((self.settings.month_days + self.settings.learned_days) * DAY_US)
        return any(start < at <= due_us for at in work_on(past, course.tanks))

    def _explained(
        self,
        past: StationPast,
        course: Course,
        month: Month,
        due_us: int,
        months: dict[tuple[str, ...], tuple[Course, Month | None]],
    ) -> bool:
        settings, amount = self.settings, month.excess * month.sold_l
        if month.excess > 0.0 and month.even > _EVEN:
            return True
        for other, theirs in months.values():
            if other is not course and theirs is not None and -theirs.excess * theirs.sold_l / amount > 0.5:
                return True
        begun = due_us - round(settings.month_days * DAY_US)
        gone = [each for each in counted(past, course) if begun < each.end_us <= due_us and each.missing]
        told = math.fsum(each.litres for each in gone if each.litres > 0.0)
        if month.excess > 0.0 and bool(gone) and (told > 0.5 * amount or math.isnan(gone[0].litres)):
            return True
        return is_crossed(past, course, begun - round(settings.learned_days * DAY_US), due_us)

    def _finding(
        self,
        past: StationPast,
        course: Course,
        month: Month,
        due_us: int,
        *,
        station: bool = False,
        worked: bool = False,
    ) -> Finding:
        settings, lost = self.settings, month.excess > 0.0
        label = station_label(past.station, past.station_id) if station else course_label(course)
        subject = Subject(past.station_id) if station else course.subject
        value, half = month.excess * 100.0, _Z95 * month.sd * 100.0
        amount = abs(month.excess) * month.sold_l
        price = price_cny(past, course, due_us)
        worth, worth_en = (f"，合 {yuan(amount * price)}", f", {yuan(amount * price)}") if price else ("", "")
        start = from_us(due_us - round(settings.month_days * DAY_US))
        times = tuple(day * 86_400.0 for day in month.days)
        return Finding(
            id=finding_id(self.rule, subject, "loss" if lost else "gain", due_us // DAY_US),
            rule=self.rule,
            cause="offline_sale" if lost else "short_delivery",
            subject=subject,
            severity=Severity.INFO if worked else Severity.MEDIUM,
            departments=(Department.TAX, Department.COMMERCE) if lost else (Department.MARKET_REGULATION,),
            onset=start,
            detected_at=from_us(due_us),
            explanation=Explanation(
                title=title(
                    label,
                    f"{'月度短少' if lost else '月度盈余'} {percent(value)}",
                    f"month {'lost' if lost else 'gained'} {percent(value)}",
                ),
                what=Text(
                    zh=f"{label.zh}近 {settings.month_days:g} 天按记录售出 {litres(month.sold_l)}（20 °C），"
                    f"扣除该罐固有偏差和损耗后{'多出' if lost else '少出'} {litres(amount)}{worth}，"
                    f"即 {percent(value)}（95% 区间 {percent(value - half)} 至 {percent(value + half)}）。",
                    en=f"{label.en}: {litres(month.sold_l)} (20 °C) were sold by the records of "
                    f"{settings.month_days:g} days; {litres(amount)}{worth_en} {'more' if lost else 'less'} left the "
                    f"tank than its usual bias and loss say, {percent(value)} "
                    f"(95% interval {percent(value - half)} to {percent(value + half)}).",
                ),
                why=Text(
                    zh=f"容积表偏差、计量误差和损耗已由此前 {settings.learned_days:g} 天的售油逐段学得并扣除；"
                    f"诚实月份的标准差为 {month.sd * 100.0:.2f}%，本月为其 {abs(month.excess) / month.sd:.1f} 倍。"
                    + ("其间有双方签字的油罐或液位仪作业，容积表可能已变，仅作记录。" if worked else ""),
                    en=f"Chart, meters and losses were learned band by band from the {settings.learned_days:g} days "
                    f"before; an honest month's deviation is {month.sd * 100.0:.2f}%, this one is "
                    f"{abs(month.excess) / month.sd:.1f} of them."
                    + (" Signed work on the tank or its gauge may have changed the chart: a note." if worked else ""),
                ),
                otherwise=Text(
                    zh="管线渗漏；容积表被改动；记录丢失或迟到；未登记的自用或回罐。"
                    if lost
                    else "计量器校准变动；容积表被改动；记录重复；检定回罐未登记。",
                    en="A line leak; a chart that was changed; records lost or late; own use or returns not booked."
                    if lost
                    else "Meters set anew; a chart that was changed; records counted twice; test draws returned.",
                ),
                on_site=Text(
                    zh="核对各枪机械泵码的月度总量与记录；查找旁通和未登记软管；检查管线密闭性。"
                    if lost
                    else "用标准器检定该罐各枪；核对计控主板封印和软件版本。",
                    en="Compare the month's mechanical totalizers with the records; look for by-passes and hoses; test "
                    "the line for tightness."
                    if lost
                    else "Verify the nozzles of this tank with a standard measure; check seals and software versions.",
                ),
            ),
            estimate=Estimate(round(value, 3), "%", round(value - half, 3), round(value + half, 3), 0.95),
            evidence=(
                Evidence(
                    "monthly_balance",
                    past.station_id if station else course.tanks[0],
                    {
                        "sold_20c_l": round(month.sold_l, 1),
                        "excess_20c_l": round(month.excess * month.sold_l, 1),
                        "sd_percent": round(month.sd * 100.0, 3),
                        "small_hours_over_even": round(month.even, 3),
                    },
                ),
            ),
            figures=(
                Figure(
                    title=Text(f"{label.zh}：每日余差", f"{label.en}: excess of each day"),
                    x=TIME,
                    y=Text("占售出量（%）", "Share of what was sold (%)"),
                    curves=(
                        Curve(Text("每日", "each day"), times, month.shares, "points", alarm=True),
                        Curve(
                            Text("本月", "this month"),
                            (times[0], times[-1]),
                            (round(value, 3),) * 2,
                        ),
                        Curve(Text("应有：零", "should be nothing"), (times[0], times[-1]), (0.0, 0.0), "limit"),
                    ),
                ),
            ),
        )
