"""The rule ``risk_grade``: each month every station's indicators against its peers, as points and a grade A to D.

A grade is no claim that something is wrong: it says where to look first, and for what reasons.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
)
from pumpwatch.wording import listed, litres, station_label, title, yuan
from pumpwatch_tax.declared_sales import DeclaredSalesSettings
from pumpwatch_tax.indicators import MonthFacts, month_facts
from pumpwatch_tax.periods import Month, months_ending

_PEERS: Final = 3
"""So many stations make a median."""
_PRIOR_REPORTS: Final = 2.0
"""Weight of the other stations' rate of reports, in reports."""
_INTEGRITY: Final = frozenset({"declared_gap", "balance", "tax_memory", "sequence", "rounding", "own_use"})
_COMPLIANCE: Final = frozenset({"expired", "reports", "price"})


class RiskGradeSettings(PluginSettings):
    """Keys of ``[rules.risk_grade]``."""

    grade_b: float = Field(15.0, gt=0.0, description="Points from which a station is graded B.")
    grade_c: float = Field(30.0, gt=0.0, description="Points from which it is graded C.")
    grade_d: float = Field(50.0, gt=0.0, description="Points from which it is graded D.")
    least_days_percent: float = Field(
        45.0, ge=0.0, le=100.0, description="Days with sales a month must have to be graded, %."
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Indicator:
    """One reason: its figure, that of the peers, and the points it makes."""

    name: str
    words: Text
    unit: str
    value: float | None
    peers: float | None
    points: float
    most: float


@dataclass(frozen=True, slots=True)
class StationMonths:
    """What the comparison gets of one station."""

    label: Text
    months: Mapping[tuple[int, int], MonthFacts]
    """By year and month."""


class RiskGrade(Comparison):
    """One note a station and month: eleven indicators, their points, the grade, and what credit grading needs."""

    rule: ClassVar[str] = "risk_grade"
    Settings: ClassVar[type[PluginSettings]] = RiskGradeSettings
    every: ClassVar[timedelta] = timedelta(hours=12)
    lookback: ClassVar[timedelta] = timedelta(days=64)
    settings: RiskGradeSettings

    about: ClassVar[About]

    def digest(self, past: StationPast, since: datetime, until: datetime) -> StationMonths:
        """The figures of the months that end in this time."""
        settings = DeclaredSalesSettings(utc_offset_h=self.settings.utc_offset_h)
        found = {}
        for month in months_ending(since, until, self.settings.utc_offset_h, timedelta(0)):
            facts = month_facts(past, month, settings)
            if facts is not None and facts.covered_percent >= self.settings.least_days_percent:
                found[month.year, month.month] = facts
        return StationMonths(station_label(past.station, past.station_id), found)

    def compare(self, digests: Mapping[str, StationMonths], since: datetime, until: datetime) -> Iterator[Finding]:
        """Grade every station in every month that ends in this time."""
        for month in months_ending(since, until, self.settings.utc_offset_h, timedelta(0)):
            key = (month.year, month.month)
            facts = {name: told.months[key] for name, told in sorted(digests.items()) if key in told.months}
            peers = Peers(list(facts.values()))
            for station_id, mine in facts.items():
                indicators = peers.indicators(mine)
                yield self._finding(station_id, digests[station_id].label, month, mine, indicators, len(facts))

    def _finding(
        self,
        station_id: str,
        label: Text,
        month: Month,
        facts: MonthFacts,
        indicators: Sequence[Indicator],
        stations: int,
    ) -> Finding:
        points = min(100.0, sum(i.points for i in indicators))
        grade = self._grade(points)
        subject = Subject(station_id)
        reasons = sorted((i for i in indicators if i.points), key=lambda i: (-i.points, i.name))
        zh = listed([f"{i.words.zh} {_write(i.value, i.unit, 'zh')}" for i in reasons], 5).zh or "无"
        en = listed([f"{i.words.en} {_write(i.value, i.unit, 'en')}" for i in reasons], 5).en or "none"
        credit = credit_of(facts, indicators)
        return Finding(
            id=finding_id(self.rule, subject, month.period),
            rule=self.rule,
            cause="risk_grade",
            subject=subject,
            severity=Severity.INFO,
            departments=(Department.TAX, Department.COMMERCE),
            onset=month.start,
            detected_at=month.end,
            explanation=Explanation(
                title=title(label, f"风险 {grade} 级", f"risk grade {grade}"),
                what=Text(
                    zh=f"{month.period} 风险 {grade} 级（{points:.0f} 分）。扣分指标：{zh}。本月 {facts.sales:,} 笔，"
                    f"{litres(facts.litres)}，{yuan(facts.cny)}。",
                    en=f"{month.period}: risk grade {grade} ({points:.0f} points). Indicators that made points: {en}. "
                    f"{facts.sales:,} sales this month, {litres(facts.litres)}, {yuan(facts.cny)}.",
                ),
                why=Text(
                    zh=f"各项指标与同县 {stations} 站的中位数比较后按表计分；{self.settings.grade_b:g}、"
                    f"{self.settings.grade_c:g}、{self.settings.grade_d:g} 分起依次为 B、C、D 级。",
                    en=f"Each indicator is compared with the median of {stations} stations and makes points by a "
                    f"table; B, C and D begin at {self.settings.grade_b:g}, {self.settings.grade_c:g} and "
                    f"{self.settings.grade_d:g}.",
                ),
                otherwise=_OTHERWISE,
                on_site=_ON_SITE,
            ),
            estimate=Estimate(round(points, 1), "points"),
            evidence=(
                *(
                    Evidence(
                        "indicator",
                        f"{station_id}/{month.period}/{i.name}",
                        {
                            "value": i.value,
                            "unit": i.unit,
                            "peers_median": i.peers,
                            "points": i.points,
                            "most_points": i.most,
                        },
                    )
                    for i in indicators
                ),
                Evidence("risk_grade", f"{station_id}/{month.period}", {"grade": grade, "points": round(points, 1)}),
                Evidence("credit", f"{station_id}/{month.period}", credit),
            ),
            figures=(_figure(indicators),),
        )

    def _grade(self, points: float) -> str:
        limits = (self.settings.grade_b, self.settings.grade_c, self.settings.grade_d)
        return "ABCD"[sum(points >= limit for limit in limits)]


# ---------------------------------------------------------------- points


class Peers:
    """The stations of one month, against which each of them is seen."""

    def __init__(self, everybody: Sequence[MonthFacts]) -> None:
        self._sales = sum(f.sales for f in everybody)
        self._reports = sum(f.reports for f in everybody)
        self._usual_balance = _median([f.balance_percent for f in everybody]) or 0.0
        prices: dict[str, list[float]] = defaultdict(list)
        for facts in everybody:
            for grade, price in facts.prices.items():
                prices[grade].append(price)
        self._prices = {grade: float(np.median(those)) for grade, those in prices.items() if len(those) >= _PEERS}
        figures = [self._figures(facts) for facts in everybody]
        self._usual = {name: _median([those[name] for those in figures]) for name in _INDICATORS}

    def indicators(self, mine: MonthFacts) -> list[Indicator]:
        """All indicators of one station, in a fixed order."""
        figures = self._figures(mine)
        if mine.rounded_up_percent < _ROUNDED_UP:
            figures["rounding"] = min(mine.rounding_fen, 0.0)
        if mine.own_use_percent < 2.0 * (self._usual["own_use"] or 0.0):
            figures["own_use"] = 0.0
        return [_indicator(name, figures[name], self._usual[name]) for name in _INDICATORS]

    def more_reports(self, mine: MonthFacts) -> float:
        """Probability that a station's rate of hotline reports is more than twice that of the others.

        Reports are Poisson in the sales; a station's rate has a gamma prior around the others' rate that weighs as
        much as two reports. The tail of the posterior gamma is Wilson's and Hilferty's cube root.
        """
        exposure = (self._sales - mine.sales) / 1e4
        reports = self._reports - mine.reports
        if exposure <= 0.0:
            return 0.0
        rate = max(reports, 0.5) / exposure
        shape = _PRIOR_REPORTS + mine.reports
        scale = 1.0 / (_PRIOR_REPORTS / rate + mine.sales / 1e4)
        ratio = (2.0 * rate / (shape * scale)) ** (1.0 / 3.0)
        z = (ratio - (1.0 - 1.0 / (9.0 * shape))) * math.sqrt(9.0 * shape)
        return 0.5 * math.erfc(z / math.sqrt(2.0))

    def _figures(self, facts: MonthFacts) -> dict[str, float | None]:
        """What a station's peers are compared by; None for what is not known of it."""
        balance = facts.balance_percent
        return {
            "declared_gap": facts.declared_gap_percent,
            "balance": None if balance is None else abs(balance - self._usual_balance),
            "tax_memory": None if facts.untaxed is None else 1e4 * facts.untaxed / facts.sales,
            "sequence": float(facts.breaks),
            "outage": facts.outage_h,
            "rounding": facts.rounding_fen,
            "price": self._price_off(facts),
            "own_use": facts.own_use_percent,
            "expired": float(facts.expired),
            "reports": 1e2 * self.more_reports(facts),
            "missing_data": 100.0 - _complete(facts),
        }

    def _price_off(self, facts: MonthFacts) -> float | None:
        """The grade whose mean price is farthest from the stations' median, in %."""
        off = [abs(100.0 * (price / self._prices[g] - 1.0)) for g, price in facts.prices.items() if g in self._prices]
        return max(off, default=None)


def _median(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(float(np.median(known)), 4) if len(known) >= _PEERS else None


def _indicator(name: str, value: float | None, peers: float | None) -> Indicator:
    words, unit, table = _INDICATORS[name]
    points = 0.0 if value is None else max((p for limit, p in table if value >= limit), default=0.0)
    told = None if value is None else round(value, 4)
    return Indicator(name, words, unit, told, peers, points, max(p for _, p in table))


def _complete(facts: MonthFacts) -> float:
    return facts.covered_percent * facts.channels_percent / 100.0


def credit_of(facts: MonthFacts, indicators: Sequence[Indicator]) -> dict[str, float]:
    """What a credit grade is made of, 0 (worst) to 100: use of the platform, integrity, compliance."""

    def left(names: frozenset[str]) -> float:
        lost = sum(i.points for i in indicators if i.name in names)
        return round(100.0 - 100.0 * lost / sum(i.most for i in indicators if i.name in names), 1)

    online = max(0.0, 100.0 - 100.0 * facts.outage_h / (24.0 * 30.0))
    return {
        "platform_use": round(_complete(facts) * online / 100.0, 1),
        "integrity": left(_INTEGRITY),
        "compliance": left(_COMPLIANCE),
    }


_INDICATORS: Final[Mapping[str, tuple[Text, str, tuple[tuple[float, float], ...]]]] = {
    "declared_gap": (Text("申报差额", "declared too little"), "%", ((0.5, 15.0), (5.0, 30.0), (20.0, 40.0))),
    "balance": (Text("进销存差额", "purchases against sales"), "%", ((2.5, 10.0), (6.0, 25.0))),
    "tax_memory": (Text("税控缺记", "sales not in tax control"), "/10,000", ((0.5, 15.0), (50.0, 30.0), (500.0, 40.0))),
    "sequence": (Text("流水号断点", "breaks of the numbers"), "", ((1.0, 10.0), (5.0, 20.0), (50.0, 30.0))),
    "outage": (Text("断联", "links down"), "h", ((12.0, 5.0), (48.0, 10.0))),
    "rounding": (Text("金额多进", "amounts rounded up"), "fen", ((0.1, 5.0), (0.3, 15.0))),
    "price": (Text("价格偏离", "price off its peers"), "%", ((4.0, 5.0), (8.0, 10.0))),
    "own_use": (Text("自用油占比", "share of own use"), "%", ((2.0, 5.0), (5.0, 15.0))),
    "expired": (Text("证照过期", "expired papers"), "", ((1.0, 10.0), (4.0, 20.0))),
    "reports": (Text("投诉概率", "more reports than peers"), "%", ((95.0, 10.0), (99.9, 15.0))),
    "missing_data": (Text("数据缺失", "missing data"), "%", ((5.0, 5.0), (20.0, 10.0))),
}
"""Words, unit, and from which figure on so many points, in the order in which they are shown."""
_ROUNDED_UP: Final = 80.0
"""Amounts are rounded up on purpose when so many of them are, %."""


def _write(value: float | None, unit: str, _: str) -> str:
    if value is None:
        return "—"
    return f"{value:,.2f}{unit if unit in {'%', '/10,000'} else f' {unit}' if unit else ''}"


def _figure(indicators: Sequence[Indicator]) -> Figure:
    places = tuple(float(n + 1) for n in range(len(indicators)))
    zh = "、".join(f"{n + 1} {i.words.zh}" for n, i in enumerate(indicators))
    en = ", ".join(f"{n + 1} {i.words.en}" for n, i in enumerate(indicators))
    return Figure(
        title=Text("各指标得分", "Points by indicator"),
        x=Text(f"指标（{zh}）", f"indicator ({en})"),
        y=Text("分", "points"),
        curves=(
            Curve(Text("满分", "most"), places, tuple(i.most for i in indicators), "step"),
            Curve(Text("得分", "points"), places, tuple(i.points for i in indicators), "bars", alarm=True),
        ),
        x_is_time=False,
    )


_OTHERWISE = Text(
    "分级不是结论：断联、换表、节日或数据缺失都可能得分；各项原因见证据。",
    "A grade is no verdict: a lost link, a replaced meter, a holiday or missing data make points too; each reason "
    "stands in the evidence.",
)
_ON_SITE = Text(
    "按得分从高到低逐项核对；C、D 级站优先安排检查，A 级站减少打扰。",
    "Go through the reasons from the most points down; visit stations graded C and D first and leave those graded A "
    "alone.",
)
RiskGrade.about = About(
    title=Text("风险分级", "Risk grade"),
    catches=(),
    inputs="Sales, stocks, deliveries, declarations, link events, papers and hotline reports of a month; the same of "
    "all stations.",
    statistic="Eleven indicators, each with its figure, the stations' median and its points: declared too little (%), "
    "purchases against sales less the county's median (%), sales not in tax control (a 10,000), breaks of the sequence "
    "numbers, hours of links down, amounts rounded up (fen), price off the peers (%), share of own use (%), expired "
    "papers, reports (posterior probability of twice the others' rate, gamma–Poisson), missing data (%).",
    threshold="Points by a table; A below 15, B from 15, C from 30, D from 50. A note (`info`), never an alarm.",
    power="In 10 simulated counties of 22 honest stations with outages, power cuts, promotions and hotline "
    "reports 99 % of the station-months are graded A and none C or D; a station that declares 40 % too "
    "little is graded C for that reason alone.",
    pitfalls="One station alone has no peers: then only what needs none makes points. Months of which less than 45 % "
    "of the days have sales are not graded. Records lost by a fault of the collector make points as breaks and as "
    "hours.",
    source="Joint action plans that ask for tax risk indicators and graded supervision of stations; "
    "the weights are our own.",
)
