"""The rule ``amount``: the money of a sale is its litres times its price, to the smallest payment.

A dispenser that always rounds up takes half a fen a sale, too little for anybody to notice and plain arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, ClassVar

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
    History,
    PluginSettings,
    Record,
    RecordRule,
    Severity,
    StationPast,
    Text,
    Transaction,
    finding_id,
    subject_of,
)
from pumpwatch.wording import count, litres, local, local_day, nozzle_label, title, yuan

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOOK_BACK = 60
_FLOAT_DUST_CNY = 1e-6
"""What binary fractions may add to a product of decimals."""
_CHANCE = 1e-6
"""Of taking finer litres for rounding up."""
_SAID = 10
"""When so many sales beyond the limit have been told, the first of each local day is enough."""
_SPREAD_FEN = 0.29
"""Of what rounding adds: a fen, evenly."""
_EVIDENCE = 10


class AmountSettings(PluginSettings):
    """Keys of ``[rules.amount]``."""

    payment_step_cny: float = Field(0.01, gt=0.0, description="The smallest step of an amount, CNY.")
    resolution_l: float = Field(0.01, gt=0.0, description="Step of the displayed volume, litres.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


def surplus(sale: Transaction) -> float:
    """Money beyond litres times price, CNY; plus means the customer pays more."""
    return sale.amount_cny - sale.volume_l * sale.unit_price


ABOUT = About(
    title=Text("金额与升数单价不符", "Amount against litres and price"),
    catches=("F22",),
    inputs="Of each filling `volume_l`, `unit_price`, `amount_cny`; `preset_kind` and `preset_value`.",
    statistic=(
        "d = amount − litres × price, by sale; over the last 60 sales of the nozzle the numbers beyond half a step "
        "upwards and downwards (a sign test)."
    ),
    threshold=(
        "d > half a payment step (0.005 CNY): a fair rounding, halves either way, cannot give more. A dispenser that "
        "reckons with finer litres than it shows errs by up to price × half a volume step (0.04 CNY), *both* ways: of "
        "its sales a share q = step ÷ (price × volume step) is exact (0.13 at 7.50 CNY/L) and (1 − q)/2 are too low. "
        "So a surplus within that is claimed when so many of the last 60 sales are known, n, and none of them too low, "
        "that ((1 + q)/2)ⁿ < 10⁻⁶: 25 sales. A larger surplus needs no history. Where "
        "more than 10 of the 60 are beyond, the first of each local day is told."
    ),
    power=(
        "F22 of 0.5 and 1 fen: found on the first record that shows it at 10 of 10 stations and seeds. How often a "
        "record shows it depends on the price: never at 7.50 CNY/L (every product is a whole or a half fen), in about "
        "half of the sales at most prices. 0 false alarms in 457 simulated honest nozzle-years, 218 of them with "
        "verification draws, power cuts, back-filled outages, price changes, recalibrations, roll-overs and seven "
        "wrong clocks a station."
    ),
    pitfalls=(
        "Less money than litres × price is a discount and not judged. A price that changes during a sale is held: the "
        "record has the price it was reckoned with. A preset in yuan is shown as the sum keyed in by some dispensers, "
        "whose litres then are rounded: where the nozzle's earlier presets ended on the sum as well, the sale is not "
        "judged. The rounding of cash to 0.1 yuan at the till is not in the dispenser's record; a dispenser that "
        "pays in larger steps needs `payment_step_cny`."
    ),
    source=(
        "JJG 443-2023: the displayed amount is volume times price within the smallest payment; sign test: textbook."
    ),
)


class Amount(RecordRule):
    """Money against litres times price, sale by sale."""

    rule: ClassVar[str] = "amount"
    Settings: ClassVar[type[PluginSettings]] = AmountSettings
    watches: ClassVar[tuple[type, ...]] = (Transaction,)
    reach: ClassVar[int] = _LOOK_BACK
    settings: AmountSettings
    about: ClassVar[About] = ABOUT

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one sale."""
        if not isinstance(record, Transaction):
            return
        more = record.amount_cny - record.volume_l * record.unit_price
        if not self._limit < more < math.inf:
            return
        known = [*history.before(record, _LOOK_BACK), record]
        if self._finer(known) or self._keyed_in(known):
            return
        beyond = [sale for sale in known if surplus(sale) > self._limit]
        if not self._said(known, beyond):
            yield self._finding(known, beyond, history)

    def screen(self, past: StationPast) -> NDArray[np.bool_]:
        """Which fillings cost more than litres times price."""
        sales = past.sales
        worth: NDArray[np.bool_] = sales.amount_cny - sales.volume_l * sales.unit_price > self._limit - _FLOAT_DUST_CNY
        return worth

    @property
    def _limit(self) -> float:
        return self.settings.payment_step_cny / 2 + _FLOAT_DUST_CNY

    def _finer(self, known: Sequence[Transaction]) -> bool:
        """Whether litres finer than the display's may be the reason: then amounts err both ways."""
        sale, limit = known[-1], self._limit
        most = sale.unit_price * self.settings.resolution_l / 2 + limit
        if surplus(sale) > most:
            return False
        if any(-most <= surplus(earlier) < -limit for earlier in known):
            return True
        exact = min(self.settings.payment_step_cny / (sale.unit_price * self.settings.resolution_l), 0.99)
        return len(known) * math.log((1.0 + exact) / 2.0) > math.log(_CHANCE)

    def _said(self, known: Sequence[Transaction], beyond: Sequence[Transaction]) -> bool:
        """Whether enough was said of this nozzle today."""
        if len(beyond) <= _SAID:
            return False
        offset = self.settings.utc_offset_h
        earlier = known.index(beyond[-1 - _SAID])
        sure = len(known) > _LOOK_BACK or not self._finer(known[: earlier + 1])
        return sure and local_day(beyond[-2].end, offset) == local_day(beyond[-1].end, offset)

    def _keyed_in(self, known: Sequence[Transaction]) -> bool:
        """Whether the nozzle shows the yuan that were keyed in, and rounds the litres."""
        sale = known[-1]
        if not _on_preset(sale) or surplus(sale) > sale.unit_price * self.settings.resolution_l + self._limit:
            return False
        others = [s for s in known[:-1] if s.preset_kind == "money" and s.preset_value is not None]
        return sum(map(_on_preset, others)) * 2 >= len(others)

    def _finding(self, known: Sequence[Transaction], beyond: Sequence[Transaction], history: History) -> Finding:
        sale = known[-1]
        subject = subject_of(sale.nozzle_id, history)
        since = [100.0 * surplus(s) for s in known[known.index(beyond[0]) :]]
        mean = math.fsum(since) / len(since)
        spread = math.sqrt(math.fsum((d - mean) ** 2 for d in since) / max(len(since) - 1, 1))
        half = 1.96 * max(spread, _SPREAD_FEN) / math.sqrt(len(since))
        most = 100.0 * max(map(surplus, beyond))
        return Finding(
            id=finding_id(self.rule, subject, sale.seq, sale.end.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="overcharging",
            subject=subject,
            severity=Severity.MEDIUM if most <= 200.0 * self.settings.payment_step_cny else Severity.HIGH,
            departments=(Department.MARKET_REGULATION,),
            onset=beyond[0].start,
            detected_at=sale.end,
            explanation=self._explain(known, beyond),
            estimate=Estimate(round(mean, 3), "fen", round(mean - half, 3), round(mean + half, 3), 0.95),
            evidence=tuple(_evidence(s) for s in beyond[-_EVIDENCE:]),
            figures=(self._figure(known),),
        )

    def _explain(self, known: Sequence[Transaction], beyond: Sequence[Transaction]) -> Explanation:
        sale = known[-1]
        label = nozzle_label(sale.nozzle_id)
        more = f"{100.0 * surplus(sale):.2f}"
        exact = yuan(round(sale.volume_l * sale.unit_price, 2))
        total = f"{100.0 * math.fsum(map(surplus, beyond)):.1f}"
        since = local(beyond[0].start, self.settings.utc_offset_h)
        step = f"{100.0 * self.settings.payment_step_cny / 2:g}"
        lower = sum(surplus(s) < -self._limit for s in known)
        too_low = Text("没有一笔偏低", "none was too low")
        why = Text("且有多有少；只多不少，是一律进位或另加", "either way; always up is another arithmetic")
        if lower:
            too_low = Text(f"{lower} 笔偏低", f"{count(lower, 'was', 'were')} too low")
            why = Text("本笔超出，请核验", "this sale is beyond it: verify")
        return Explanation(
            title=title(label, f"多收 {more} 分", f"{more} fen too much"),
            what=Text(
                zh=f"{label.zh}本笔（序号 {sale.seq}）{litres(sale.volume_l)} × {yuan(sale.unit_price)} 应为 {exact}，"
                f"显示 {yuan(sale.amount_cny)}，多 {more} 分。最近 {len(known)} 笔中有 {len(beyond)} 笔偏高"
                f"（自 {since}），共多 {total} 分，{too_low.zh}。",
                en=f"{label.en}, sale {sale.seq}: {litres(sale.volume_l)} × {yuan(sale.unit_price)} makes {exact}, "
                f"displayed {yuan(sale.amount_cny)}, {more} fen more. Of the last "
                f"{count(len(known), 'sale', 'sales')} {len(beyond)} were too high, since {since}, by {total} fen in "
                f"all; {too_low.en}.",
            ),
            why=Text(
                zh=f"四舍五入最多差 {step} 分，{why.zh}。",
                en=f"Rounding makes at most {step} fen, {why.en}.",
            ),
            otherwise=Text(
                zh="支付最小单位大于设定值；计控主板按更细的升数计价（则应有多有少）；定额加油显示定额（则升数取整）。",
                en="A payment step larger than the setting; a mainboard that reckons with finer litres (then both "
                "ways); a preset shown as keyed in (then its litres are rounded).",
            ),
            on_site=Text(
                zh="加任意量数笔，用计算器核对 升数 × 单价 与显示金额；核对程序摘要和封印。",
                en="Fill some odd volumes and check litres × price against the displayed amount; check the software "
                "digest and the seals.",
            ),
        )

    def _figure(self, known: Sequence[Transaction]) -> Figure:
        label = nozzle_label(known[-1].nozzle_id)
        fair = [s for s in known if surplus(s) <= self._limit]
        beyond = [s for s in known if surplus(s) > self._limit]
        ends = (known[0].end.timestamp(), known[-1].end.timestamp())
        step = 50.0 * self.settings.payment_step_cny
        curves = [
            Curve(Text("偏高", "too high"), *_points(beyond), shape="points", alarm=True),
            Curve(Text("四舍五入极限", "limit of rounding"), ends, (step, step), shape="limit"),
            Curve(Text("四舍五入极限", "limit of rounding"), ends, (-step, -step), shape="limit"),
        ]
        if fair:
            curves.insert(0, Curve(Text("相符", "agrees"), *_points(fair), shape="points"))
        return Figure(
            title=Text(f"{label.zh} 金额减升数乘单价", f"{label.en}: amount less litres times price"),
            x=Text("时间", "time"),
            y=Text("差值（分）", "difference (fen)"),
            curves=tuple(curves),
        )


def _on_preset(sale: Transaction) -> bool:
    told = sale.preset_kind == "money" and sale.preset_value is not None
    return told and abs(sale.amount_cny - (sale.preset_value or 0.0)) <= 0.005


def _points(sales: Sequence[Transaction]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(s.end.timestamp() for s in sales), tuple(round(100.0 * surplus(s), 3) for s in sales)


def _evidence(sale: Transaction) -> Evidence:
    return Evidence(
        kind="transaction",
        reference=f"{sale.nozzle_id}/{sale.seq}",
        data={
            "end": sale.end.astimezone(UTC).isoformat(),
            "displayed_l": sale.volume_l,
            "unit_price": sale.unit_price,
            "amount_cny": sale.amount_cny,
            "surplus_fen": round(100.0 * surplus(sale), 4),
        },
    )
