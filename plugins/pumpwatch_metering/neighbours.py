"""The rule ``price_neighbours``: a nozzle that has long been dearer than the others of its grade at the station."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final

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
    PluginSettings,
    Review,
    Severity,
    StationPast,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.wording import count, local, nozzle_label, title, yuan

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 24 * _HOUR_US
_DUST: Final = 0.005
"""Half a fen a litre."""
_POSTED: Final = timedelta(days=36)
"""A price posted so long before is still the posted one; the state moves the ceiling every ten working days."""
_DRAWN: Final = 120


class NeighbourSettings(PluginSettings):
    """Keys of ``[rules.price_neighbours]``."""

    around_h: float = Field(
        4.0, gt=0.0, le=24.0, description="Sales of the other nozzles so long before and after count, hours."
    )
    least_sales: int = Field(8, ge=2, description="So many sales of a nozzle in 24 hours are enough.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class PriceNeighbours(Review):
    """What a litre costs at one nozzle, against the other nozzles of its grade."""

    rule: ClassVar[str] = "price_neighbours"
    Settings: ClassVar[type[PluginSettings]] = NeighbourSettings
    lookback: ClassVar[timedelta] = _POSTED + timedelta(days=4)
    settings: NeighbourSettings
    about: ClassVar[About] = About(
        title=Text("同油品枪间单价", "Price against the other nozzles"),
        catches=(),
        inputs="Of each filling `unit_price`; the nozzles' grades; events of kind `price`.",
        statistic="Price of a sale − the highest price of the other nozzles of its grade from four hours before its "
        "end to four hours after. A sale is dear when that is above half a fen a litre; one about which the others "
        "sold nothing does not count.",
        threshold="Every sale of the nozzle in 24 hours is dear, eight at least, and one in the 24 hours before that "
        "is too: told once a local day, low.",
        power="A nozzle set 0.01 CNY/L or more above its neighbours is told within 32 hours, by arithmetic (tested by "
        "raising one nozzle's price in a simulated station). 0 false alarms in 24 simulated honest nozzle-years with "
        "price changes whose posting was left out.",
        pitfalls="A change of price reaches nozzles one after another, and clocks of dispensers differ: both last less "
        "than a day. Cheaper single sales are discounts; only the highest price of the others counts. Where a price "
        "of the grade was posted in the 36 days before, `price` compares with that, and this rule is "
        "silent. A lane that is cheaper for "
        "self-service makes the others dearer by design: so it is low, and an inspector looks at the sign. Alone of "
        "its grade, a nozzle has no neighbours.",
        source="One grade has one marked price at a station (rules on clearly marked prices); own derivation.",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Nozzles that were dearer for a day."""
        sales = past.sales
        events = past.events_of(EventKind.PRICE)
        grades = [n.grade if (n := past.nozzle_by_id.get(i)) else None for i in sales.nozzle_ids]
        for grade in sorted({g for g in grades if g is not None and grades.count(g) > 1}):
            posted = [event.at for event in events if event.detail.get("grade") == grade]
            if _covers(posted, since, until):
                continue
            mine = np.flatnonzero(np.array([g == grade for g in grades])[sales.nozzle])
            mine = mine[np.argsort(sales.end_us[mine], kind="stable")]
            nozzle = sales.nozzle[mine]
            for code in np.unique(nozzle).tolist():
                own, others = np.sort(mine[nozzle == code]), mine[nozzle != code]
                for finding in self._nozzle(past, own, others, since, until):
                    if not any(finding.detected_at - _POSTED < at <= finding.detected_at for at in posted):
                        yield finding

    def _nozzle(
        self, past: StationPast, own: NDArray[np.intp], others: NDArray[np.intp], since: datetime, until: datetime
    ) -> Iterator[Finding]:
        sales, around = past.sales, round(self.settings.around_h * _HOUR_US)
        highest = _highest(sales.end_us[others], sales.unit_price[others], sales.end_us[own], around)
        known = np.isfinite(highest)
        own, highest, at = own[known], highest[known], sales.end_us[own[known]]
        dear = sales.unit_price[own] > highest + _DUST
        if not dear.any():
            return
        cheap = np.concatenate([[0], np.cumsum(~dear)])
        day = np.searchsorted(at, at - _DAY_US, side="right")
        before = np.searchsorted(at, at - 2 * _DAY_US, side="right")
        rows = np.arange(len(at))
        long = (cheap[rows + 1] == cheap[day]) & (rows + 1 - day >= self.settings.least_sales) & (day > before)
        long &= dear[np.maximum(day - 1, 0)]
        local_day = (at + round(self.settings.utc_offset_h * _HOUR_US)) // _DAY_US
        said = -1
        for row in np.flatnonzero(long).tolist():
            if local_day[row] == said:
                continue
            said = local_day[row]
            detected = from_us(int(at[row]) + around)
            if since < detected <= until:
                drawn, first = own[max(0, row + 1 - _DRAWN) : row + 1], int(day[row]) - row - 1
                yield self._finding(past, drawn, first, others, float(highest[row]), detected)

    def _finding(
        self,
        past: StationPast,
        own: NDArray[np.intp],
        first: int,
        others: NDArray[np.intp],
        highest: float,
        detected: datetime,
    ) -> Finding:
        sales, offset = past.sales, self.settings.utc_offset_h
        row = own[-1]
        nozzle_id = sales.nozzle_ids[sales.nozzle[row]]
        subject, label = past.subject(nozzle_id), nozzle_label(nozzle_id)
        price, end, seq = float(sales.unit_price[row]), from_us(sales.end_us[row]), int(sales.seq[row])
        above, n = price - highest, -first
        onset = from_us(sales.start_us[own[max(first, -len(own))]])
        since = sales.end_us[row] - 2 * _DAY_US
        near = others[(sales.end_us[others] > since) & (sales.end_us[others] <= to_us(detected))]
        near = near[:: max(1, -(-len(near) // _DRAWN))]
        return Finding(
            id=finding_id(self.rule, subject, seq, end.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="overcharging",
            subject=subject,
            severity=Severity.LOW,
            departments=(Department.MARKET_REGULATION,),
            onset=onset,
            detected_at=detected,
            explanation=Explanation(
                title=title(label, f"比其他枪贵 {yuan(above)}", f"{yuan(above)}/L above others"),
                what=Text(
                    zh=f"{label.zh}自 {local(onset, offset)} 起 {n} 笔全部高于同油品其他枪：序号 {seq} 每升 "
                    f"{yuan(price)}，前后 {self.settings.around_h:g} 小时内其他枪最高 {yuan(highest)}。",
                    en=f"{label.en}: all {count(n, 'sale', 'sales')} since {local(onset, offset)} were dearer than the "
                    f"other nozzles of the grade: {yuan(price)} a litre at sale {seq}, at most {yuan(highest)} at the "
                    f"others within {self.settings.around_h:g} hours.",
                ),
                why=Text(
                    zh="同一加油站同一油品应同价；调价传到各枪只需几分钟，时钟误差不到一天，而这里已满一天。",
                    en="A grade has one price at a station. A change reaches all nozzles within minutes and clocks are "
                    "off by less than a day; this has lasted a day.",
                ),
                otherwise=Text(
                    zh="自助通道优惠；调价时漏改本枪；本枪在台账中的油品登记有误。",
                    en="A discount at the self-service lane; a nozzle left out at the change; the register has the "
                    "wrong grade for it.",
                ),
                on_site=Text(
                    zh="对照价格牌与各枪单价，核对本枪所加油品和登记。",
                    en="Compare the price sign with each nozzle; check what the nozzle sells against the register.",
                ),
            ),
            estimate=Estimate(round(above, 3), "CNY/L", round(above - 0.005, 3), round(above + 0.005, 3), 0.95),
            evidence=(
                Evidence(
                    "transaction",
                    f"{nozzle_id}/{seq}",
                    {"end": end.isoformat(), "unit_price": price, "highest_of_others": highest, "sales": n},
                ),
            ),
            figures=(
                Figure(
                    title=Text(f"{label.zh} 与其他枪的单价", f"{label.en} and the others: price"),
                    x=Text("时间", "time"),
                    y=Text("元/升", "CNY/L"),
                    curves=(
                        Curve(
                            Text("其他枪", "others"),
                            _seconds(sales.end_us[near]),
                            tuple(sales.unit_price[near].tolist()),
                            shape="points",
                        ),
                        Curve(
                            Text("本枪", "this nozzle"),
                            _seconds(sales.end_us[own]),
                            tuple(sales.unit_price[own].tolist()),
                            shape="step",
                            alarm=True,
                        ),
                    ),
                ),
            ),
        )


def _covers(posted: Sequence[datetime], since: datetime, until: datetime) -> bool:
    """Whether at every moment of a period some price had been posted not long before; oldest first."""
    known = [at for at in posted if at <= until]
    before = [at for at in known if at <= since]
    chain = [*before[-1:], *known[len(before) :], until]
    return bool(before) and all(late - early < _POSTED for early, late in pairwise(chain))


def _highest(
    times: NDArray[np.int64], prices: NDArray[np.float64], at: NDArray[np.int64], around: int
) -> NDArray[np.float64]:
    """(n,) the highest price so long before and after each ``at``, +inf where nothing was sold; ``times`` rise."""
    first, last = np.searchsorted(times, at - around), np.searchsorted(times, at + around, side="right")
    most = np.full(len(at), np.inf)
    some = np.flatnonzero(last > first)
    if len(some):
        first, last = first[some], last[some]
        changes = np.concatenate(([0], np.cumsum(prices[1:] != prices[:-1])))
        most[some] = prices[first]
        several = np.flatnonzero(changes[first] != changes[last - 1])
        if len(several):
            edges = np.stack([first[several], last[several]], axis=1).ravel()
            most[some[several]] = np.maximum.reduceat(np.append(prices, -np.inf), edges)[::2]
    return most


def _seconds(times_us: NDArray[np.int64]) -> tuple[float, ...]:
    return tuple((times_us / 1e6).tolist())
