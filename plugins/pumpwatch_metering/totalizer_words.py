"""What ``totalizer_continuity`` says: the words, the evidence and the figure of a step of the totalizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from pumpwatch import Curve, Evidence, Explanation, Figure, Text
from pumpwatch.wording import count, litres, local, nozzle_label, signed_litres, title, yuan
from pumpwatch_metering.counters import totalizer_gap

if TYPE_CHECKING:
    from pumpwatch import Transaction, WorkOrder
    from pumpwatch_metering.counters import Step


@dataclass(frozen=True, slots=True)
class Paper:
    """A work order at the time of a step, and whether it may explain it."""

    order: WorkOrder
    explains: bool


def explain(step: Step, gap: float, tolerance: float, paper: Paper | None, utc_offset_h: float) -> Explanation:
    """Title, what, why, what else, what to do. Litres; ``tolerance`` is what rounding may make."""
    first, second = step.first, step.second
    label = nozzle_label(second.nozzle_id)
    start, end = local(first.end, utc_offset_h), local(second.end, utc_offset_h)
    rounding, money = litres(tolerance), _money(step, gap)
    told, signed = _sum(step), _signed(paper, utc_offset_h)
    if gap > 0:
        linked = Text("两笔序号相连", "The two sales are neighbours")
        if step.between:
            linked = Text("序号相连，无泵码的各笔已计入", "The numbers follow one another")
        return Explanation(
            title=title(label, f"无记录出油 {litres(gap)}", f"unrecorded {litres(gap)}"),
            what=Text(
                zh=f"{label.zh}在 {start} 至 {end} 之间有 {litres(gap)} 经过泵码而没有交易记录：{told.zh}。",
                en=f"{label.en}: {litres(gap)} passed the totalizer without a sale on record between {start} and "
                f"{end}: {told.en}.",
            ),
            why=Text(
                zh=f"{linked.zh}，泵码之差应等于{'各' if step.between else '本'}笔升数，四舍五入最多差 {rounding}。"
                f"{money.zh}{signed.zh}",
                en=f"{linked.en}, so the totalizer moves by the litres "
                f"{'on record' if step.between else 'of the second'}; rounding makes at most {rounding}. "
                f"{money.en}{signed.en}",
            ),
            otherwise=_UNRECORDED_OTHERWISE,
            on_site=_UNRECORDED_ON_SITE,
        )
    linked = Text("", "")
    if step.missing:
        money = Text("", "")
        linked = Text(
            f"其间缺 {step.missing:,} 个序号，它们只会使泵码更大。",
            f"{step.missing:,} numbers are missing between; they would only have moved it further on. ",
        )
    return Explanation(
        title=title(label, f"泵码倒退 {signed_litres(gap)}", f"totalizer back {signed_litres(gap)}"),
        what=Text(
            zh=f"{label.zh}的泵码在 {start} 至 {end} 之间倒退 {litres(-gap)}：{told.zh}。",
            en=f"{label.en}: the totalizer went back by {litres(-gap)} between {start} and {end}: {told.en}.",
        ),
        why=Text(
            zh=f"泵码只增不减，这里也不是末位归零；四舍五入最多差 {rounding}。{linked.zh}{money.zh}{signed.zh}",
            en=f"A totalizer only rises, and this is no roll-over; rounding makes at most {rounding}. "
            f"{linked.en}{money.en}{signed.en}",
        ),
        otherwise=_ROLLBACK_OTHERWISE,
        on_site=_ROLLBACK_ON_SITE,
    )


def _sum(step: Step) -> Text:
    """The reckoning in words."""
    first, second = step.first, step.second
    before, after = litres(first.totalizer_l or 0.0), litres(second.totalizer_l or 0.0)
    volume, n = litres(second.volume_l), len(step.between)
    without = Text("", "")
    if n:
        between = litres(math.fsum(sale.volume_l for sale in step.between))
        without = Text(
            f"其后 {n} 笔没有泵码，共加油 {between}，",
            f" {count(n, 'sale', 'sales')} of {between} without a totalizer after that;",
        )
    return Text(
        zh=f"序号 {first.seq} 后泵码 {before}，{without.zh}本笔（序号 {second.seq}）加油 {volume}，之后泵码 {after}",
        en=f"totalizer {before} after sale {first.seq};{without.en} sale {second.seq} of {volume}; totalizer {after} "
        "after it",
    )


def _signed(paper: Paper | None, utc_offset_h: float) -> Text:
    if paper is None:
        return Text("", "")
    when = local(paper.order.at, utc_offset_h)
    if paper.explains:
        return Text(
            f" {when} 的签字工单可能是原因：请向签字各方核对。",
            f" Work order of {when} may be the reason: compare, and ask those who signed.",
        )
    return Text(
        f" {when} 有工单，但种类、签字或升数不足以解释。",
        f" Work order of {when} is not enough to explain it, by its kind, its signatures or the litres.",
    )


_UNRECORDED_OTHERWISE = Text(
    zh="检定或维修时的放油走测试模式、不留记录；主板在读取泵码后才完成记账。",
    en="Draws of a verification or repair in a test mode that keeps no record; a mainboard that books the sale only "
    "after its totalizer was read.",
)
_UNRECORDED_ON_SITE = Text(
    zh="抄录机械泵码、电子泵码和税控总量，与本记录核对；查本时段监控录像、油罐液位和放油回罐单。",
    en="Write down the mechanical and the electronic totalizer and the tax total and compare; look at the video, the "
    "tank level and the return slips of that time.",
)
_ROLLBACK_OTHERWISE = Text(
    zh="更换计控主板，或断电后恢复了旧泵码（应有工单）；泵码在特殊数值归零而规则未设定；"
    "若每笔都少一点，则是泵码计得比显示少。",
    en="A replaced mainboard, or an old totalizer restored after a power cut (there must be a work order); a roll-over "
    "at an unusual figure that the rule was not told; a little less at each sale: the totalizer counts less than the "
    "display.",
)
_ROLLBACK_ON_SITE = Text(
    zh="抄录机械泵码、电子泵码和税控总量，与本记录核对；核对计控主板封印、序列号和程序摘要；查工单。",
    en="Write down the mechanical and the electronic totalizer and the tax total and compare; check the mainboard's "
    "seal, serial number and software digest; look for a work order.",
)


def _money(step: Step, gap: float) -> Text:
    """What the amount totalizer says of the same gap."""
    gap_cny, unit_price = step.gap_cny(), step.second.unit_price
    if gap_cny is None:
        return Text(zh="金额泵码未知。", en="The amount totalizer is not known.")
    price = gap_cny / gap
    zh, en = f"金额泵码之差多出 {yuan(gap_cny)}", f"The amount totalizer moved by {yuan(gap_cny)} beyond the sale"
    if abs(gap_cny) <= 0.02:
        return Text(zh="金额泵码没有缺口。", en="The amount totalizer shows no gap.")
    if math.isclose(price, unit_price, rel_tol=0.01, abs_tol=0.02 / abs(gap)):
        return Text(zh=f"{zh}，与本枪单价相符。", en=f"{en}, which fits the price of this nozzle.")
    return Text(
        zh=f"{zh}，合每升 {yuan(price)}，与单价 {yuan(unit_price)} 不符。",
        en=f"{en}, {yuan(price)} a litre, which does not fit the price {yuan(unit_price)}.",
    )


def _evidence(sale: Transaction) -> Evidence:
    return Evidence(
        kind="transaction",
        reference=f"{sale.nozzle_id}/{sale.seq}",
        data={
            "end": sale.end.astimezone(UTC).isoformat(),
            "displayed_l": sale.volume_l,
            "amount_cny": sale.amount_cny,
            "unit_price": sale.unit_price,
            "totalizer_l": sale.totalizer_l,
            "totalizer_cny": sale.totalizer_cny,
            "tax_l": sale.tax_l,
        },
    )


def evidence_of(step: Step, gap: float, paper: Paper | None) -> tuple[Evidence, ...]:
    """The sales, the gap between them, and the work order."""
    gap_cny = step.gap_cny()
    told = Evidence(
        kind="totalizer_gap",
        reference=f"{step.second.nozzle_id}/{step.first.seq}-{step.second.seq}",
        data={
            "gap_l": round(gap, 3),
            "gap_cny": round(gap_cny, 2) if gap_cny is not None else None,
            "gap_price": round(gap_cny / gap, 3) if gap_cny is not None else None,
            "without_totalizer": len(step.between),
        },
    )
    sales = (_evidence(step.first), _evidence(step.second), told)
    if paper is None:
        return sales
    order = paper.order
    data = {"kind": order.kind, "certificate_no": order.certificate_no, "explains": paper.explains}
    reference = f"{order.device_id}/{order.at.astimezone(UTC).isoformat()}"
    return (*sales, Evidence(kind="work_order", reference=reference, data=data))


def figure_of(sales: Sequence[Transaction]) -> Figure:
    """The totalizer less the litres on record, since the first of these sales; a level line when all is well."""
    told: list[Transaction] = []
    beyond: list[float] = []
    since = 0.0
    for sale in sales:
        since += sale.volume_l
        if sale.totalizer_l is None:
            continue
        step = totalizer_gap(told[-1].totalizer_l or 0.0, since, sale.totalizer_l) if told else 0.0
        beyond.append(round(beyond[-1] + step, 2) if told else 0.0)
        told.append(sale)
        since = 0.0
    times = tuple(sale.end.timestamp() for sale in told)
    label = nozzle_label(sales[-1].nozzle_id)
    return Figure(
        title=Text(f"{label.zh} 泵码减去有记录的升数", f"{label.en}: totalizer less litres on record"),
        x=Text("时间", "time"),
        y=Text("多出（L）", "beyond the records (L)"),
        curves=(
            Curve(Text("泵码多出", "totalizer beyond the records"), times, tuple(beyond), shape="step"),
            Curve(Text("本笔", "this sale"), times[-1:], (beyond[-1],), shape="points", alarm=True),
        ),
    )
