"""The rule ``declared_sales``: what a station declared of a month against what its dispensers metered in that month.

Everything that could make the metered figure too large is taken off first, so that what remains is a lower bound: a
station that declared less than that has sold more than it declared, however much of the data is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Channel,
    Curve,
    Declaration,
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
    to_us,
)
from pumpwatch.wording import litres, station_label, title, yuan
from pumpwatch_tax.periods import DAY_US, HOUR_US, Month, months_ending

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.past import Sales

_DRAWS_L: Final = (5.0, 10.0, 20.0, 50.0, 100.0)
"""Standard cans."""
_DRAW_NEAR_L: Final = 0.5
_TESTED: Final = frozenset({"verification", "calibration", "repair", "inspection", "install"})


class DeclaredSalesSettings(PluginSettings):
    """Keys of ``[rules.declared_sales]``."""

    tolerance_percent: float = Field(0.5, gt=0.0, description="Declared less than this is not told, % of the sales.")
    tolerance_l: float = Field(150.0, ge=0.0, description="… nor less than this, litres a month.")
    tolerance_cny: float = Field(1_000.0, ge=0.0, description="… nor less than this, CNY a month.")
    boundary_minutes: float = Field(
        10.0, ge=0.0, description="Sales this near the ends of the month may be declared in the other one, minutes."
    )
    filing_days: int = Field(
        0, ge=0, le=31, description="Days after the month's end from which its declaration is judged; filed by then."
    )
    missing_days: int = Field(
        20, ge=0, le=31, description="Days after the month's end from which a month without any declaration is told."
    )
    untaxed_payments: tuple[str, ...] = Field(("own_use",), description="Payments that are no sale.")
    high_percent: float = Field(5.0, gt=0.0, description="From here on it is high, %.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class GradeMonth:
    """One grade in one month. Litres and CNY; sums over what is known."""

    grade: str
    declared_l: float | None
    declared_cny: float | None
    surely_l: float
    """Metered, without what may be a test draw, own use or another month's."""
    surely_cny: float
    perhaps_l: float
    """All that may have been sold: by the totalizers where records are missing, and in proportion for missing days."""
    perhaps_cny: float
    taxed_l: float
    """Of these what tax control has."""
    untaxed_l: float
    """Of these what tax control has no record of."""
    taxed_cny: float

    def short_l(self) -> float:
        """Litres surely sold and not declared; 0 where nothing was declared."""
        return 0.0 if self.declared_l is None else self.surely_l - self.declared_l

    def short_cny(self) -> float:
        """CNY surely earned and not declared; 0 where nothing was declared."""
        return 0.0 if self.declared_cny is None else self.surely_cny - self.declared_cny


class DeclaredSales(Review):
    """Each whole local month, all grades together; one without any declaration by itself, where others have one."""

    rule: ClassVar[str] = "declared_sales"
    Settings: ClassVar[type[PluginSettings]] = DeclaredSalesSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.DECLARATIONS})
    every: ClassVar[timedelta] = timedelta(hours=6)
    lookback: ClassVar[timedelta] = timedelta(days=64)
    wakes: ClassVar[tuple[type, ...]] = (Declaration,)
    settings: DeclaredSalesSettings

    about: ClassVar[About]

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Judge the months that end in this time."""
        settings = self.settings
        declared = {
            (d.period, d.grade): d for d in past.declarations if d.station_id == past.station_id and not _empty(d)
        }
        later = timedelta(days=settings.filing_days)
        for month in months_ending(since, until, settings.utc_offset_h, later):
            mine = {grade: d for (period, grade), d in declared.items() if period == month.period}
            if not mine:
                continue
            grades = grade_months(past, month, mine, settings)
            short_l = [g for g in grades if self._told(g.short_l(), g.surely_l, settings.tolerance_l)]
            short_cny = [g for g in grades if self._told(g.short_cny(), g.surely_cny, settings.tolerance_cny)]
            if short_l or short_cny:
                yield self._finding(past, month, grades, bool(short_l), month.end + later)
        later = timedelta(days=max(settings.filing_days, settings.missing_days))
        for month in months_ending(since, until, settings.utc_offset_h, later):
            periods = {period for period, _ in declared}
            if month.period in periods or not any(period < month.period for period in periods):
                continue  # declared, or not known to declare
            grades = grade_months(past, month, _nothing(past, month), settings)
            if sum(g.surely_l for g in grades) > settings.tolerance_l:
                yield self._finding(past, month, grades, True, month.end + later, missing=True)

    def _told(self, short: float, metered: float, least: float) -> bool:
        return short > max(least, self.settings.tolerance_percent / 100.0 * metered)

    def _as_taxed(self, grade: GradeMonth, *, in_litres: bool) -> bool:
        """Whether what was declared is what tax control has, and tax control has less than was metered."""
        settings = self.settings
        if in_litres:
            missing = self._told(grade.surely_l - grade.taxed_l, grade.surely_l, settings.tolerance_l)
            return (
                missing
                and grade.taxed_l > 0.0
                and (grade.declared_l or 0.0)
                >= grade.taxed_l - max(settings.tolerance_l, settings.tolerance_percent / 100.0 * grade.taxed_l)
            )
        missing = self._told(grade.surely_cny - grade.taxed_cny, grade.surely_cny, settings.tolerance_cny)
        return (
            missing
            and grade.taxed_l > 0.0
            and (grade.declared_cny or 0.0)
            >= grade.taxed_cny - max(settings.tolerance_cny, settings.tolerance_percent / 100.0 * grade.taxed_cny)
        )

    def _finding(
        self,
        past: StationPast,
        month: Month,
        grades: Sequence[GradeMonth],
        in_litres: bool,
        at: datetime,
        *,
        missing: bool = False,
    ) -> Finding:
        subject = Subject(past.station_id)
        told = [g for g in grades if g.declared_l is not None or g.declared_cny is not None]
        estimate = _estimate(told, in_litres=in_litres)
        by_tax = all(
            self._as_taxed(g, in_litres=in_litres)
            for g in told
            if self._told(g.short_l(), g.surely_l, self.settings.tolerance_l)
            or self._told(g.short_cny(), g.surely_cny, self.settings.tolerance_cny)
        )
        if missing:
            severity = Severity.MEDIUM
        elif by_tax:
            severity = Severity.INFO
        else:
            severity = Severity.HIGH if estimate.value >= self.settings.high_percent else Severity.MEDIUM
        return Finding(
            id=finding_id(self.rule, subject, month.period, *(["missing"] if missing else [])),
            rule=self.rule,
            cause="under_declared_sales",
            subject=subject,
            severity=severity,
            departments=(Department.TAX,),
            onset=month.start,
            detected_at=at,
            explanation=_explain_missing(past, month, told)
            if missing
            else self._explain(past, month, told, estimate, by_tax=by_tax, in_litres=in_litres),
            estimate=estimate,
            evidence=tuple(_evidence(past, month, g) for g in told)[:19],
            figures=(_figure(told),),
        )

    def _explain(
        self,
        past: StationPast,
        month: Month,
        grades: Sequence[GradeMonth],
        estimate: Estimate,
        *,
        by_tax: bool,
        in_litres: bool,
    ) -> Explanation:
        label = station_label(past.station, past.station_id)
        declared_l, metered_l = sum(g.declared_l or 0.0 for g in grades), sum(g.surely_l for g in grades)
        declared_cny, metered_cny = sum(g.declared_cny or 0.0 for g in grades), sum(g.surely_cny for g in grades)
        short = f"{estimate.value:.1f}%"
        part_zh, part_en = ("销量", "litres") if in_litres else ("销售额", "revenue")
        return Explanation(
            title=title(label, f"少报{part_zh} {short}", f"declared {short} too little"),
            what=Text(
                zh=f"{month.period} 申报 {litres(declared_l)}、{yuan(declared_cny)}；计量至少 {litres(metered_l)}、"
                f"{yuan(metered_cny)}：少报{part_zh} {short}（95% 区间 {estimate.low:.1f}–{estimate.high:.1f}%），"
                f"相差 {litres(metered_l - declared_l)}，合 {yuan(metered_cny - declared_cny)}。",
                en=f"For {month.period} {litres(declared_l)} and {yuan(declared_cny)} were declared; the dispensers "
                f"metered at least {litres(metered_l)} and {yuan(metered_cny)}: {short} of the {part_en} is missing "
                f"(95% interval {estimate.low:.1f} to {estimate.high:.1f}%), {litres(metered_l - declared_l)}, "
                f"{yuan(metered_cny - declared_cny)}.",
            ),
            why=_BY_TAX if by_tax else _WHY,
            otherwise=_OTHERWISE,
            on_site=_ON_SITE,
        )


def grade_months(
    past: StationPast, month: Month, declared: dict[str, Declaration], settings: DeclaredSalesSettings
) -> list[GradeMonth]:
    """A station's grades in a month, in the order of their names.

    Where any grade is declared, one that was sold and is not declared counts as declared with nothing. What is declared
    under names that no nozzle sells is credited to such grades first: they may be names of the same.
    """
    first, last = to_us(month.start), to_us(month.end)
    margin = round(settings.boundary_minutes * 60e6)
    rows = np.flatnonzero((past.sales.end_us >= first) & (past.sales.end_us < last))
    sales = past.sales.take(rows)
    known = np.isfinite(sales.volume_l) & np.isfinite(sales.amount_cny)
    inside = known.copy()
    for payment in settings.untaxed_payments:
        inside &= ~sales.is_paid(payment)
    surely = inside & (sales.end_us >= first + margin) & (sales.end_us < last - margin)
    surely &= ~_draws(past, sales, settings.utc_offset_h)
    surely &= (sales.payment >= 0) | np.isfinite(sales.tax_l)  # else it may be own use
    grade_of = [n.grade if (n := past.nozzle_by_id.get(name)) else "" for name in sales.nozzle_ids]
    has_tax = np.isfinite(sales.tax_l)
    found = []
    sold = {grade_of[place] for place in np.unique(sales.nozzle[inside])} - {""} if declared else set()
    strays = set(declared) - set(grade_of) if sold - set(declared) else set()
    spare = _Spare([declared[grade] for grade in strays], list(declared.values()))
    for grade in sorted((sold | set(declared)) - strays):
        mine = np.array([g == grade for g in grade_of], bool)[sales.nozzle] if len(sales) else np.zeros(0, bool)
        sure, perhaps = mine & surely, mine & inside
        more = _more_than_known(past, month, sales, np.flatnonzero(mine & known))
        sure_l, sure_cny = float(sales.volume_l[sure].sum()), float(sales.amount_cny[sure].sum())
        if (told := declared.get(grade)) is not None:
            declared_l, declared_cny = told.declared_sale_l, told.declared_revenue_cny
        else:
            declared_l, declared_cny = spare.take(sure_l, sure_cny)
        found.append(
            GradeMonth(
                grade,
                declared_l,
                declared_cny,
                sure_l,
                sure_cny,
                more * float(sales.volume_l[perhaps].sum()),
                more * float(sales.amount_cny[perhaps].sum()),
                float(sales.tax_l[perhaps & has_tax].sum()),
                float(sales.volume_l[perhaps & ~has_tax].sum()),
                float(np.nansum(sales.tax_cny[perhaps])),
            )
        )
    return found


class _Spare:
    """What was declared under names that no nozzle sells: for grades that were sold and are not declared."""

    def __init__(self, strays: Sequence[Declaration], declared: Sequence[Declaration]) -> None:
        self._litres = sum(d.declared_sale_l or 0.0 for d in strays)
        self._cny = sum(d.declared_revenue_cny or 0.0 for d in strays)
        self._has_litres = any(d.declared_sale_l is not None for d in declared)
        self._has_cny = any(d.declared_revenue_cny is not None for d in declared)

    def take(self, litres: float, cny: float) -> tuple[float | None, float | None]:
        """Up to so much of it; None for what the station declares of no grade."""
        taken = min(litres, self._litres), min(cny, self._cny)
        self._litres -= taken[0]
        self._cny -= taken[1]
        return taken[0] if self._has_litres else None, taken[1] if self._has_cny else None


def _empty(declaration: Declaration) -> bool:
    """A declaration that tells of no sales: as good as none."""
    return declaration.declared_sale_l is None and declaration.declared_revenue_cny is None


def _nothing(past: StationPast, month: Month) -> dict[str, Declaration]:
    """A declaration of no sales for every grade of the station."""
    return {
        grade: Declaration(past.station_id, month.period, grade, declared_sale_l=0.0, declared_revenue_cny=0.0)
        for grade in {nozzle.grade for nozzle in past.nozzles}
    }


def _explain_missing(past: StationPast, month: Month, grades: Sequence[GradeMonth]) -> Explanation:
    label = station_label(past.station, past.station_id)
    metered_l, metered_cny = sum(g.surely_l for g in grades), sum(g.surely_cny for g in grades)
    return Explanation(
        title=title(label, f"{month.period} 无申报", f"nothing declared {month.period}"),
        what=Text(
            zh=f"{month.period} 没有任何申报；该月计量至少 {litres(metered_l)}、{yuan(metered_cny)}，以往各月有申报。",
            en=f"There is no declaration for {month.period}; in that month the dispensers metered at least "
            f"{litres(metered_l)} and {yuan(metered_cny)}. Earlier months are declared.",
        ),
        why=Text(
            "申报期已过，该月仍有销售而没有申报。",
            "The time for declaring is over, and the month with these sales is not declared.",
        ),
        otherwise=Text(
            "申报已报送而未录入；延期申报已获准。",
            "The declaration was filed and not entered here; a later date was granted.",
        ),
        on_site=_ON_SITE,
    )


def _more_than_known(past: StationPast, month: Month, sales: Sales, rows: NDArray[np.intp]) -> float:
    """How many times the recorded litres may have been sold, by totalizers and by the days that are not known."""
    recorded = counted = 0.0
    for nozzle in np.unique(sales.nozzle[rows]):
        mine = rows[sales.nozzle[rows] == nozzle]
        litres = float(sales.volume_l[mine].sum())
        moved = float(sales.totalizer_l[mine[-1]] - sales.totalizer_l[mine[0]] + sales.volume_l[mine[0]])
        recorded += litres
        counted += moved if litres < moved <= 3.0 * litres else litres
    known = min(past.end, month.end) - max(past.start, month.start)
    share = max(known / (month.end - month.start), 1e-3)
    return (counted / recorded if recorded > 0.0 else 1.0) / min(share, 1.0)


def _draws(past: StationPast, sales: Sales, utc_offset_h: float) -> NDArray[np.bool_]:
    """(n,) which of some fillings may be draws of a verification: a can's volume, on a day with a paper about them."""
    offset = round(utc_offset_h * HOUR_US)
    day = (sales.end_us + offset) // DAY_US
    draws = np.zeros(len(sales), bool)
    can = np.zeros(len(sales), bool)
    for volume in _DRAWS_L:
        can |= np.abs(sales.volume_l - volume) <= _DRAW_NEAR_L
    for order in past.work_orders:
        if order.kind not in _TESTED or order.station_id != past.station_id:
            continue
        on_day = np.abs(day - (to_us(order.at) + offset) // DAY_US) <= 1
        named = [
            order.device_id in (name, past.station_id, n.dispenser_id if (n := past.nozzle_by_id.get(name)) else "")
            for name in sales.nozzle_ids
        ]
        if len(sales):
            draws |= can & on_day & np.array(named, bool)[sales.nozzle]
    return draws


def _estimate(grades: Sequence[GradeMonth], *, in_litres: bool) -> Estimate:
    """Share of the sales that is not declared, in %: from what is surely to what is perhaps sold."""
    if in_litres:
        declared = sum(g.declared_l or 0.0 for g in grades)
        sure, most = sum(g.surely_l for g in grades), sum(g.perhaps_l for g in grades)
    else:
        declared = sum(g.declared_cny or 0.0 for g in grades)
        sure, most = sum(g.surely_cny for g in grades), sum(g.perhaps_cny for g in grades)
    low = 100.0 * (1.0 - declared / sure) if sure else 0.0
    high = 100.0 * (1.0 - declared / most) if most else 0.0
    high = max(high, low)
    return Estimate(round(low, 3), "%", round(low - 0.05, 3), round(high + 0.05, 3), 0.95)


def _evidence(past: StationPast, month: Month, grade: GradeMonth) -> Evidence:
    return Evidence(
        "declaration",
        f"{past.station_id}/{month.period}/{grade.grade}",
        {
            "declared_l": grade.declared_l,
            "metered_l": round(grade.surely_l, 2),
            "not_declared_l": round(grade.short_l(), 2),
            "declared_cny": grade.declared_cny,
            "metered_cny": round(grade.surely_cny, 2),
            "not_declared_cny": round(grade.short_cny(), 2),
            "perhaps_sold_l": round(grade.perhaps_l, 2),
            "without_tax_record_l": round(grade.untaxed_l, 2),
        },
    )


def _figure(grades: Sequence[GradeMonth]) -> Figure:
    places = tuple(float(i + 1) for i in range(len(grades)))
    names = "、".join(g.grade for g in grades), ", ".join(g.grade for g in grades)
    return Figure(
        title=Text("申报与计量", "Declared and metered"),
        x=Text(f"油品（{names[0]}）", f"grade ({names[1]})"),
        y=Text("升 (L)", "litres (L)"),
        curves=(
            Curve(Text("计量", "metered"), places, tuple(round(g.surely_l, 2) for g in grades), "bars"),
            Curve(Text("申报", "declared"), places, tuple(g.declared_l or 0.0 for g in grades), "bars", alarm=True),
        ),
        x_is_time=False,
    )


_WHY = Text(
    "计量值已扣除自用、可能的检定回罐和月界附近各笔，缺失的记录只会使它更小：申报低于它，说明有销售未计入申报，需核对。",
    "Own use, possible test draws and sales near the month's ends are taken off, and missing records only make the "
    "metered figure smaller: where less is declared, some sales do not appear in the declaration.",
)
_BY_TAX = Text(
    "申报与税控记录相符，差额在税控与计量之间（税控缺记或单价不符，另行报警），此处仅作记录。",
    "The declaration agrees with tax control; what is missing is missing in tax control already (sales without record, "
    "or another price). That has its own alarm; this is a note.",
)
_OTHERWISE = Text(
    "按班次而非零点结账、跨月开票或申报更正未录入；未登记付款方式的自用油；批发或内部结算另行申报。",
    "Books closed by shift and not at midnight, invoices of another month, a corrected declaration that was not "
    "entered; own use that was not booked; sales declared elsewhere.",
)
_ON_SITE = Text(
    "调取该月申报表、班结表和泵码日报，与税控总量逐日核对；核对收款流水。",
    "Take the month's declaration, shift reports and daily totalizers, compare them with the tax total day by day; "
    "compare the payments.",
)
DeclaredSales.about = About(
    title=Text("申报与计量", "Declared against metered"),
    catches=("T07",),
    inputs="Declarations by month and grade; litres, money and payment of each sale; work orders.",
    statistic="By grade: metered − declared, in litres and in yuan. Metered is a lower bound: own use, volumes of "
    "standard cans (± 0.5 L) within a day of a paper about the nozzle, and sales within 10 min of the month's ends are "
    "left out. The interval reaches up to what the totalizers moved.",
    threshold="More than 0.5 % of the grade's sales and more than 150 L (or ¥1,000): the declaration adds up the same "
    "records, so honest months differ by what is left out only, and in the other direction. A grade that was sold "
    "counts as declared with nothing where other grades are declared. A month without any declaration is told "
    "(medium) 20 days after its end, where an earlier month is declared and more than 150 L were sold.",
    power="Simulated T07 with 5, 20 and 90 % (30 stations): found at the end of the first whole month every "
    "time, the true share inside the interval 30 times of 30. No alarm in 577 honest nozzle-years, among "
    "them verifications of 60 draws and own use of 150 L a day.",
    pitfalls="Months only partly known, missing nozzles and lost records make the metered figure smaller and can never "
    "alarm. Where payments are not told, only what tax control has recorded is counted, because own use cannot be "
    "known. A declaration that agrees with tax control, which has less than was metered, is a note: `tax_memory` has "
    "the alarm. A declaration has no time of arrival; it is judged when its month is over plus `filing_days`. "
    "What is declared under names that no nozzle sells counts for the grades that are not declared: it may be another "
    "name.",
    source="An identity of accounts: what was declared is what was metered (X3 on the scenarios' page).",
)
