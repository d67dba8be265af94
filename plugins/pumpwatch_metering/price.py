"""The rule ``price``: what a litre costs, against tax control, the posted price and the ceiling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Curve,
    Department,
    Estimate,
    EventKind,
    Evidence,
    Explanation,
    Figure,
    Finding,
    History,
    PluginSettings,
    Record,
    RecordRule,
    Severity,
    StationPast,
    Subject,
    Text,
    Transaction,
    finding_id,
    subject_of,
    to_us,
)
from pumpwatch.wording import litres, local, local_day, nozzle_label, percent, station_label, title, yuan

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DUST_CNY = 1e-6
_DRAWN = 30
_SAID = 10
"""When so many sales of a nozzle in a row were above the ceiling, the first of each local day is enough."""
_CLOCK = timedelta(hours=36)
"""A clock event so near tells how wrong the time of a sale may be."""


class PriceSettings(PluginSettings):
    """Keys of ``[rules.price]``."""

    tax_tolerance_cny: float = Field(
        0.015, gt=0.0, description="What rounding may take off the money told to tax control, CNY a sale."
    )
    posted_grace_h: float = Field(
        2.0, ge=0.0, description="So long before and after a change of the posted price both prices are right, hours."
    )
    ceiling_cny_l: Mapping[str, float] = Field(
        default_factory=dict, description="The highest price the state allows, by grade, CNY/L; absent: not judged."
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


ABOUT = About(
    title=Text("单价核对", "Price against tax, post and ceiling"),
    catches=("T10",),
    inputs=(
        "Of each filling `unit_price`, `amount_cny`, `tax_l`, `tax_cny`; events of kind `price` with `grade` and "
        "`unit_price` (what the station has posted); `ceiling_cny_l` of the settings; the nozzle's grade."
    ),
    statistic=(
        "**Tax**: s = paid for the taxed litres − told to tax control, where paid is the smaller of amount × tax "
        "litres ÷ litres and price × tax litres (a discount is no fault). **Posted**: price of the sale − the highest "
        "price posted for its grade between two hours before and after its start. **Ceiling**: price − the ceiling."
    ),
    threshold=(
        "Tax: s > 0.015 CNY, one and a half times what two roundings to 0.01 CNY can make together. A price lower by "
        "0.01 CNY/L shows on any sale above 1.5 L. Posted and ceiling: above by more than half a fen a litre; "
        "the posted price is looked up four times a day and at a price that is new. "
        "Of a nozzle's sales told less one after another, the first of each local day is enough."
    ),
    power=(
        "T10 of 0.5, 3 and 20 %: found on the first taxed sale at 15 of 15 stations and seeds; at 0.5 % a sale of 3 L "
        "is 0.12 CNY short, eight times the limit. 0 false alarms in 457 simulated honest nozzle-years, 218 of them "
        "with verification draws, power cuts, back-filled outages, price changes, recalibrations, roll-overs and "
        "seven wrong clocks a station."
    ),
    pitfalls=(
        "A price held over a change, and clocks that are off: within two hours of a change both prices are right; "
        "where an event of the 36 hours before tells that the dispenser's clock was off by more, so are all prices "
        "posted within that time. A smaller error excuses nothing. A filling without a "
        "tax record belongs to other rules. Cheaper than posted is a discount. Without price events and without "
        "ceilings only tax control is compared."
    ),
    source=(
        "Arithmetic; the national rule for refined oil prices: a ceiling by province and grade, moved every ten "
        "working days at midnight."
    ),
)


class Price(RecordRule):
    """The price of each sale."""

    rule: ClassVar[str] = "price"
    Settings: ClassVar[type[PluginSettings]] = PriceSettings
    watches: ClassVar[tuple[type, ...]] = (Transaction,)
    reach: ClassVar[int] = _DRAWN
    settings: PriceSettings
    about: ClassVar[About] = ABOUT

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one sale."""
        if not isinstance(record, Transaction):
            return
        told = record.tax_cny is not None and record.tax_l is not None
        if told and self._hidden(record) > self._tolerance and not self._said(record, history):
            yield self._under_reported(record, history)
        nozzle = history.nozzle(record.nozzle_id)
        if nozzle is None:
            return
        ceiling = self.settings.ceiling_cny_l.get(nozzle.grade)
        if ceiling is not None and record.unit_price > ceiling + 0.005:
            if not self._same_today(record, history):
                yield self._too_dear(record, history, ceiling, nozzle.grade, posted=False)
            return
        before = history.before(record, 1)
        if before and before[0].unit_price == record.unit_price and _watch(before[0]) == _watch(record):
            return
        dispenser = history.dispenser(nozzle.dispenser_id)
        if dispenser is None:
            return
        grace = timedelta(hours=self.settings.posted_grace_h)
        posted = self._posted(record, history, (dispenser.station_id, nozzle.grade), (grace, grace))
        if posted is None or record.unit_price <= posted + 0.005:
            return
        ahead, behind = self._clock_off(record, history, dispenser.station_id, nozzle.dispenser_id)
        if ahead > grace or behind > grace:
            posted = self._posted(
                record, history, (dispenser.station_id, nozzle.grade), (grace + ahead, grace + behind)
            )
            if posted is None or record.unit_price <= posted + 0.005:
                return
        yield self._too_dear(record, history, posted, nozzle.grade, posted=True)

    def screen(self, past: StationPast) -> NDArray[np.bool_]:
        """Which fillings were taxed for less than paid, or cost more than posted or allowed."""
        sales, settings = past.sales, self.settings
        paid = np.minimum(
            sales.amount_cny * sales.tax_l / np.where(sales.volume_l > 0, sales.volume_l, np.nan),
            sales.tax_l * sales.unit_price,
        )
        less = np.where((sales.tax_l > 0.0) & (paid > 0.0), paid - sales.tax_cny, 0.0)
        worth: NDArray[np.bool_] = less > settings.tax_tolerance_cny
        day = (sales.end_us + round(settings.utc_offset_h * 3.6e9)) // 86_400_000_000
        said = (less[:-1] > self._tolerance + _DUST_CNY) & (day[:-1] == day[1:])
        worth[1:] &= ~(said & (sales.nozzle[:-1] == sales.nozzle[1:]))
        registered = [past.nozzle_by_id.get(nozzle_id) for nozzle_id in sales.nozzle_ids]
        grades = [None if nozzle is None else nozzle.grade for nozzle in registered]
        grace = round(settings.posted_grace_h * 3.6e9)
        for grade in sorted({g for g in grades if g is not None}):
            mine = np.array([g == grade for g in grades])[sales.nozzle]
            ceiling = settings.ceiling_cny_l.get(grade)
            if ceiling is not None:
                worth |= mine & (sales.unit_price > ceiling + 0.005 - _DUST_CNY)
            told = [(to_us(e.at), price) for e in past.events_of(EventKind.PRICE) if (price := _told(e.detail, grade))]
            if told:
                at, prices = np.array([t for t, _ in told]), np.array([p for _, p in told])
                rows = np.flatnonzero(mine)
                start = sales.start_us[rows]
                first = np.searchsorted(at, start - grace, side="right") - 1
                last = np.searchsorted(at, start + grace, side="right") - 1
                highest = np.full(len(rows), -np.inf)
                for step in range(int((last - first).max(initial=0)) + 1):
                    place = np.minimum(first + step, last)
                    known = np.where(place >= 0, prices[np.maximum(place, 0)], -np.inf)
                    highest = np.maximum(highest, known)
                worth[rows] |= (first >= 0) & (sales.unit_price[rows] > highest + 0.005 - _DUST_CNY)
        return worth

    @property
    def _tolerance(self) -> float:
        return self.settings.tax_tolerance_cny + _DUST_CNY

    def _hidden(self, sale: Transaction) -> float:
        """Money paid for the taxed litres that tax control was not told of, CNY."""
        if sale.tax_l is None or sale.tax_cny is None or not sale.volume_l > 0.0:
            return 0.0
        paid = min(sale.amount_cny * sale.tax_l / sale.volume_l, sale.tax_l * sale.unit_price)
        return paid - sale.tax_cny if sale.tax_l > 0.0 and paid > 0.0 else 0.0

    def _posted(
        self, sale: Transaction, history: History, of: tuple[str, str], around: tuple[timedelta, timedelta]
    ) -> float | None:
        """The highest price posted for the grade so long before and after its start; None where none was yet.

        ``of`` is station and grade.
        """
        station_id, grade = of
        before, highest = None, None
        since, until = datetime(1970, 1, 1, tzinfo=UTC), sale.start + around[1] + timedelta(microseconds=1)
        for event in history.events(station_id, EventKind.PRICE, since, until):
            price = _told(event.detail, grade)
            if price is None:
                continue
            if event.at <= sale.start - around[0]:
                before = price
            else:
                highest = price if highest is None else max(highest, price)
        if before is None:
            return None
        return before if highest is None else max(before, highest)

    def _said(self, sale: Transaction, history: History) -> bool:
        """Whether the sale before it was told too, and today."""
        before, offset = history.before(sale, 1), self.settings.utc_offset_h
        return (
            bool(before)
            and self._hidden(before[0]) > self._tolerance
            and local_day(before[0].end, offset) == local_day(sale.end, offset)
        )

    def _same_today(self, sale: Transaction, history: History) -> bool:
        """Whether the nozzle has had this price for long, and already today."""
        lately, offset = history.before(sale, _SAID), self.settings.utc_offset_h
        return (
            len(lately) >= _SAID
            and all(s.unit_price == sale.unit_price for s in lately)
            and local_day(lately[-1].end, offset) == local_day(sale.end, offset)
        )

    def _clock_off(
        self, sale: Transaction, history: History, station_id: str, dispenser_id: str
    ) -> tuple[timedelta, timedelta]:
        """By how much the dispenser's clock may be ahead and behind, as was told of it before the sale ended.

        A clock that was behind and has been set right stamps the sales after that as they are.
        """
        ahead = behind = 0.0
        for event in history.events(station_id, EventKind.CLOCK, sale.start - _CLOCK, sale.end):
            if event.device_id == dispenser_id:
                off, step = _seconds(event.detail.get("ahead_s")), _seconds(event.detail.get("step_s"))
                ahead, behind = max(ahead, off, -step), max(behind, -off)
        return timedelta(seconds=ahead), timedelta(seconds=behind)

    def _under_reported(self, sale: Transaction, history: History) -> Finding:
        at = subject_of(sale.nozzle_id, history)
        station = Subject(at.station_id)
        tax_l, tax_cny, hidden = sale.tax_l or 0.0, sale.tax_cny or 0.0, self._hidden(sale)
        paid = tax_cny + hidden
        share = 100.0 * hidden / paid
        # The told price is itself rounded to 0.01 CNY/L.
        half = 100.0 * self.settings.tax_tolerance_cny / paid + 100.0 * 0.005 / sale.unit_price
        name, nozzle = station_label(history.station(at.station_id), at.station_id), nozzle_label(sale.nozzle_id)
        told_price = yuan(tax_cny / tax_l)
        since = local(sale.end, self.settings.utc_offset_h)
        return Finding(
            id=finding_id(self.rule, station, sale.nozzle_id, sale.seq, sale.end.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="under_declared_sales",
            subject=station,
            severity=Severity.HIGH,
            departments=(Department.TAX,),
            onset=sale.start,
            detected_at=sale.end,
            explanation=Explanation(
                title=title(name, f"税控少计 {percent(-share)}", f"tax told {percent(-share)}"),
                what=Text(
                    zh=f"{name.zh}{nozzle.zh}（序号 {sale.seq}，{since}）：加油 {litres(sale.volume_l)}，每升 "
                    f"{yuan(sale.unit_price)}，收款 {yuan(sale.amount_cny)}；税控记 {litres(tax_l)}、{yuan(tax_cny)}，"
                    f"合每升 {told_price}，少 {yuan(hidden)}（{percent(-share)}）。",
                    en=f"{name.en}, {nozzle.en}, sale {sale.seq} of {since}: {litres(sale.volume_l)} at "
                    f"{yuan(sale.unit_price)} a litre, paid {yuan(sale.amount_cny)}; tax control has {litres(tax_l)} "
                    f"and {yuan(tax_cny)}, {told_price} a litre: {yuan(hidden)} less ({percent(-share)}).",
                ),
                why=Text(
                    zh=f"税控金额应等于同一笔所收的钱，四舍五入最多差 {yuan(self.settings.tax_tolerance_cny)}。",
                    en="Tax control is told the money of the same sale; rounding makes at most "
                    f"{yuan(self.settings.tax_tolerance_cny)}.",
                ),
                otherwise=Text(
                    zh="税控单价未随调价更新；会员折扣在税控侧扣减而加油机未记。",
                    en="Tax control was not given the new price after a change; a discount is taken off at tax control "
                    "and not at the dispenser.",
                ),
                on_site=Text(
                    zh="核对税控单价与加油机单价、当日税控总金额与金额泵码；查税控参数修改记录。",
                    en="Compare the price in tax control with that on the dispenser, and the day's tax total with the "
                    "amount totalizer; look at the log of tax parameters.",
                ),
            ),
            estimate=Estimate(round(share, 3), "%", round(share - half, 3), round(share + half, 3), 0.95),
            evidence=(
                _evidence(
                    sale, tax_l=tax_l, tax_cny=tax_cny, tax_price=round(tax_cny / tax_l, 4), hidden_cny=round(hidden, 2)
                ),
            ),
            figures=(_tax_figure([*history.before(sale, _DRAWN), sale]),),
        )

    def _too_dear(self, sale: Transaction, history: History, limit: float, grade: str, *, posted: bool) -> Finding:
        subject = subject_of(sale.nozzle_id, history)
        label = nozzle_label(sale.nozzle_id)
        above = sale.unit_price - limit
        share = 100.0 * above / limit
        what = Text("挂牌价", "the posted price") if posted else Text("最高限价", "the ceiling")
        at = local(sale.start, self.settings.utc_offset_h)
        return Finding(
            id=finding_id(self.rule, subject, "dear", sale.seq, sale.end.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="overcharging",
            subject=subject,
            severity=Severity.HIGH,
            departments=(Department.MARKET_REGULATION,),
            onset=sale.start,
            detected_at=sale.end,
            explanation=Explanation(
                title=title(label, f"高于{what.zh} {yuan(above)}", f"{yuan(above)}/L too dear"),
                what=Text(
                    zh=f"{label.zh} {at} 起加 {grade} {litres(sale.volume_l)}（序号 {sale.seq}），每升 "
                    f"{yuan(sale.unit_price)}，{what.zh} {yuan(limit)}，高 {percent(share)}，"
                    f"多收 {yuan(above * sale.volume_l)}。",
                    en=f"{label.en} at {at}, {grade}, sale {sale.seq}: {litres(sale.volume_l)} at "
                    f"{yuan(sale.unit_price)} a litre, {what.en} is {yuan(limit)}: {percent(share)}, "
                    f"{yuan(above * sale.volume_l)} too much.",
                ),
                why=Text(
                    zh=f"单价高于{what.zh}，调价前后各 {self.settings.posted_grace_h:g} 小时内两个价格都算对。",
                    en=f"The price is above {what.en}; within {self.settings.posted_grace_h:g} h of a change either "
                    "price is right.",
                ),
                otherwise=Text(
                    zh="调价没有记入事件；本枪实为另一油品；加油机时钟不准。",
                    en="A change of price that was not reported; the nozzle sells another grade; the dispenser's clock "
                    "is wrong.",
                ),
                on_site=Text(
                    zh="对照价格牌、加油机单价和小票；看同油品其他枪的单价。",
                    en="Compare the price sign, the dispenser and the receipt; look at other nozzles of the grade.",
                ),
            ),
            estimate=Estimate(round(above, 3), "CNY/L", round(above - 0.005, 3), round(above + 0.005, 3), 0.95),
            evidence=(_evidence(sale, limit_cny_l=limit, limit="posted" if posted else "ceiling"),),
            figures=(_price_figure([*history.before(sale, _DRAWN), sale], limit, what),),
        )


def _watch(sale: Transaction) -> int:
    """Which quarter of which day; they change at 2, 8, 14 and 20 o'clock in China."""
    return int(sale.start.timestamp()) // 21_600


def _seconds(value: object) -> float:
    """Seconds that an event tells, at most a hundred days of them; 0 where it tells none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if abs(value) <= 8.64e6 else 0.0


def _told(detail: Mapping[str, object], grade: str) -> float | None:
    """The price an event tells of a grade; None if of another."""
    price = detail.get("unit_price")
    if detail.get("grade") != grade or isinstance(price, bool) or not isinstance(price, int | float):
        return None
    return float(price) if 0.0 < price < 1e6 else None


def _evidence(sale: Transaction, **more: float | str | None) -> Evidence:
    return Evidence(
        kind="transaction",
        reference=f"{sale.nozzle_id}/{sale.seq}",
        data={
            "end": sale.end.astimezone(UTC).isoformat(),
            "displayed_l": sale.volume_l,
            "unit_price": sale.unit_price,
            "amount_cny": sale.amount_cny,
            **more,
        },
    )


def _tax_figure(sales: Sequence[Transaction]) -> Figure:
    """What customers paid a litre and what tax control was told, sale by sale."""
    told = [s for s in sales if s.tax_cny is not None and s.tax_l and s.volume_l > 0.0]
    times = tuple(s.end.timestamp() for s in told)
    paid = tuple(round(s.amount_cny / s.volume_l, 4) for s in told)
    taxed = tuple(round((s.tax_cny or 0.0) / (s.tax_l or 1.0), 4) for s in told)
    label = nozzle_label(sales[-1].nozzle_id)
    return Figure(
        title=Text(f"{label.zh} 收款与税控的每升金额", f"{label.en}: CNY a litre, paid and told to tax control"),
        x=Text("时间", "time"),
        y=Text("元/升", "CNY/L"),
        curves=(
            Curve(Text("收款", "paid"), times, paid, shape="points"),
            Curve(Text("税控", "tax control"), times, taxed, shape="points", alarm=True),
        ),
    )


def _price_figure(sales: Sequence[Transaction], limit: float, what: Text) -> Figure:
    times = tuple(s.end.timestamp() for s in sales)
    label = nozzle_label(sales[-1].nozzle_id)
    return Figure(
        title=Text(f"{label.zh} 单价与{what.zh}", f"{label.en}: price and {what.en.removeprefix('the ')}"),
        x=Text("时间", "time"),
        y=Text("元/升", "CNY/L"),
        curves=(
            Curve(Text("单价", "price"), times, tuple(s.unit_price for s in sales), shape="step", alarm=True),
            Curve(what, (times[0], times[-1]), (limit, limit), shape="limit"),
        ),
    )
