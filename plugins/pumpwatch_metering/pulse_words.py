"""What ``pulse_ratio`` says: the words, the evidence and the figure of an affected sale."""

from __future__ import annotations

import math
from datetime import UTC
from typing import TYPE_CHECKING

from pumpwatch import Curve, Evidence, Explanation, Figure, Text
from pumpwatch.wording import count, litres, local, nozzle_label, percent, title, yuan
from pumpwatch_metering.pulses import Pattern, pooled_percent

if TYPE_CHECKING:
    from pumpwatch import Estimate
    from pumpwatch_metering.pulses import Affair, Comparison, PulseRatioSettings


def explain(affair: Affair, settings: PulseRatioSettings) -> Explanation:
    """Title, what, why, what else, what to do."""
    newest, estimate = affair.newest, affair.estimate
    label = nozzle_label(newest.sale.nozzle_id)
    word = Text("少付", "short") if newest.side > 0 else Text("多付", "gives more")
    if affair.order is not None:
        word = Text("当量已变", "new ratio")
    figure = percent(estimate.value) if estimate.unit == "%" else litres(estimate.value)
    verify = affair.order is not None or _verify_only(affair, settings)
    return Explanation(
        title=title(
            label,
            f"{word.zh} {figure}{' 待核验' if verify else ''}",
            f"{word.en} {figure}{', verify' if verify else ''}",
        ),
        what=_what(affair, label, settings),
        why=_why(affair, settings),
        otherwise=_otherwise(affair),
        on_site=_ON_SITE,
    )


def _verify_only(affair: Affair, settings: PulseRatioSettings) -> bool:
    """Small, or the interval reaches the tolerance band: then the words ask for verification and claim no more."""
    estimate = affair.estimate
    size = pooled_percent(affair)
    if size is None:
        return True
    if estimate.unit != "%":
        return abs(size) <= settings.verify_percent
    near = estimate.low if estimate.value > 0 else estimate.high
    return (
        abs(estimate.value) <= settings.verify_percent
        or near is None
        or abs(near) <= settings.tolerance_percent
        or (near > 0) != (estimate.value > 0)
    )


def _what(affair: Affair, label: Text, settings: PulseRatioSettings) -> Text:
    newest, affected, estimate = affair.newest, affair.affected, affair.estimate
    sale, n = newest.sale, len(affair.affected)
    one = _by_how_much(newest.side, newest.excess_l)
    all_of_them = _by_how_much(newest.side, math.fsum(c.excess_l for c in affected))
    money = yuan(abs(newest.excess_l) * sale.unit_price)
    money_all = yuan(abs(math.fsum(c.excess_l * c.sale.unit_price for c in affected)))
    own = percent(newest.excess_l / newest.counted_l * 100) if newest.counted_l > 0 else "—"
    pulses_zh = pulses_en = ""
    if newest.from_pulses:
        pulses_zh = f"（{sale.encoder_pulses:,} 个脉冲 × {newest.pulse_l:g} L）"
        pulses_en = f" ({sale.encoder_pulses:,} pulses × {newest.pulse_l:g} L)"
    tax_zh = f"，税控量 {litres(sale.tax_l)}" if sale.tax_l is not None else ""
    tax_en = f", tax volume {litres(sale.tax_l)}" if sale.tax_l is not None else ""
    since = local(affected[0].sale.start, settings.utc_offset_h)
    size = _size(estimate)
    scattered = affair.pattern is Pattern.SCATTERED
    if scattered:
        runs_zh = f"最近 {len(affair.known):,} 笔中有 {n:,} 笔如此（自 {since}），平均 {size.zh}，共{all_of_them.zh}"
        runs_en = f"So did {n:,} of the last {len(affair.known):,} sales, since {since}: {size.en} on average, in all "
    else:
        runs_zh = f"自 {since} 起连续 {n:,} 笔，{size.zh}，共{all_of_them.zh}"
        runs_en = f"Since {since}, {count(n, 'sale', 'sales in a row')}: {size.en}, in all "
    return Text(
        zh=f"{label.zh}本笔（序号 {sale.seq}）显示 {litres(sale.volume_l)}，"
        f"编码器计 {litres(newest.counted_l)}{pulses_zh}{tax_zh}：{one.zh}（{own}），合 {money}。"
        f"{runs_zh}，合 {money_all}。",
        en=f"{label.en}, sale {sale.seq}: displayed {litres(sale.volume_l)}, encoder counted "
        f"{litres(newest.counted_l)}{pulses_en}{tax_en}: {one.en} ({own}), {money}. "
        f"{runs_en}{all_of_them.en}, {money_all}.",
    )


def _size(estimate: Estimate) -> Text:
    """The estimate with its interval."""
    write = percent if estimate.unit == "%" else litres
    low, high = ("—" if bound is None else write(bound) for bound in (estimate.low, estimate.high))
    return Text(
        zh=f"{write(estimate.value)}（95% 区间 {low} 至 {high}）",
        en=f"{write(estimate.value)} (95% interval {low} to {high})",
    )


def _why(affair: Affair, settings: PulseRatioSettings) -> Text:
    newest = affair.newest
    band = f"±{settings.tolerance_percent:.2f}%"
    zh = (
        f"显示量与编码器脉冲是两个独立通道，诚实时每笔相差不超过 {newest.limit_l:.3f} L"
        f"（{settings.tolerance_pulses:g} 个脉冲加显示分辨力），本笔超出。"
    )
    en = (
        "The display and the encoder's pulses are two channels; honest sales differ by at most "
        f"{newest.limit_l:.3f} L ({settings.tolerance_pulses:g} pulses and the step of the display), "
        "this one by more."
    )
    size = pooled_percent(affair)
    if affair.order is not None:
        when = local(affair.order.at, settings.utc_offset_h)
        zh += f"比值自 {when} 的检定工单（证书 {affair.order.certificate_no}）起改变，此后每笔一致：台账待更新。"
        zh += "请向检定机构核对该证书。"
        en += (
            f" The ratio changed with the certified work order of {when} (certificate {affair.order.certificate_no}) "
            "and has been the same since: the register is to be updated. Confirm the certificate with the institute."
        )
    elif size is None:
        zh += "编码器一个脉冲也没有：请先核验采集线路。"
        en += " The encoder counted nothing at all: verify the collector's line first."
    elif affair.pattern is Pattern.SCATTERED:
        zh += "其间能显出同样误差的各笔却无误差：改写脉冲当量会笔笔如此，" + _SCATTERED_ZH[affair.estimate.unit]
        en += " Sales between that would have shown the same did not: a rewritten ratio would show in each of them; "
        en += _SCATTERED_EN[affair.estimate.unit]
    elif abs(size) <= settings.tolerance_percent:
        zh += f"误差在允差 {band} 以内：请核验，尚不能说明原因。"
        en += f" The error is inside the tolerance {band}: verify; it does not yet say why."
    elif _verify_only(affair, settings):
        zh += f"误差略超允差 {band}，或区间触及允差线：超差，请核验。"
        en += f" The error is just beyond the tolerance {band}, or its interval is not: out of tolerance, verify."
    else:
        zh += f"误差及其区间都在允差 {band} 以外，计量磨损不改变这两个通道之比。"
        en += f" Error and interval are beyond the tolerance {band}; wear of the meter does not change this ratio."
    return Text(zh=zh, en=en)


_SCATTERED_ZH = {
    "%": "只在部分加油中多出，与中途跳字相符。",
    "L": "每次多出的升数相近，与起始不回零相符。",
}
_SCATTERED_EN = {
    "%": "litres that are added to some sales fit a display that jumps.",
    "L": "about the same litres on some sales fit a display that does not return to zero.",
}


def evidence_of(affair: Affair, at_most: int) -> tuple[Evidence, ...]:
    """The last affected sales, and the work order that explains them."""
    sales = tuple(_evidence(c) for c in affair.affected[-at_most:])
    order = affair.order
    if order is None:
        return sales
    told = Evidence(
        kind="work_order",
        reference=f"{order.device_id}/{order.certificate_no}",
        data={"at": order.at.astimezone(UTC).isoformat(), "kind": order.kind, "error_percent": order.error_percent},
    )
    return (*sales, told)


def _evidence(c: Comparison) -> Evidence:
    sale = c.sale
    return Evidence(
        kind="transaction",
        reference=f"{sale.nozzle_id}/{sale.seq}",
        data={
            "end": sale.end.astimezone(UTC).isoformat(),
            "displayed_l": sale.volume_l,
            "counted_l": round(c.counted_l, 4),
            "pulses": sale.encoder_pulses,
            "pulse_l": c.pulse_l if c.from_pulses else None,
            "tax_l": sale.tax_l,
            "error_percent": round(c.excess_l / c.counted_l * 100, 4) if c.counted_l > 0 else None,
            "short_cny": round(c.excess_l * sale.unit_price, 2),
        },
    )


def figure_of(affair: Affair) -> Figure:
    """Displayed minus counted, sale by sale, with the limits of quantisation."""
    ok = [c for c in affair.known if c.side == 0]
    off = [c for c in affair.known if c.side != 0]
    ends = (affair.known[0].sale.end.timestamp(), affair.newest.sale.end.timestamp())
    limit = round(affair.newest.limit_l, 4)
    curves = [
        Curve(_OFF, *_points(off), shape="points", alarm=True),
        Curve(_LIMIT, ends, (limit, limit), shape="limit"),
        Curve(_LIMIT, ends, (-limit, -limit), shape="limit"),
    ]
    if ok:
        curves.insert(0, Curve(_OK, *_points(ok), shape="points"))
    label = nozzle_label(affair.newest.sale.nozzle_id)
    return Figure(
        title=Text(f"{label.zh} 每笔显示量减脉冲计量", f"{label.en}: displayed less counted, sale by sale"),
        x=Text("时间", "time"),
        y=Text("差值（L）", "difference (L)"),
        curves=tuple(curves),
        marks=() if affair.order is None else ((affair.order.at.timestamp(), Text("检定工单", "work order")),),
    )


def _points(those: list[Comparison]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(c.sale.end.timestamp() for c in those), tuple(round(c.excess_l, 4) for c in those)


_OK = Text("相符", "agrees")
_OFF = Text("超出", "beyond the limit")
_LIMIT = Text("量化极限", "limit of quantisation")


def _by_how_much(side: int, excess_l: float) -> Text:
    amount = litres(abs(excess_l))
    if side > 0:
        return Text(zh=f"少付 {amount}", en=f"customer short {amount}")
    return Text(zh=f"多付 {amount}", en=f"gives {amount} more")


def _otherwise(affair: Affair) -> Text:
    newest = affair.newest
    zh = "检定后脉冲当量已变而台账未更新（对照检定证书）。"
    en = "Litres a pulse changed at a verification and the ledger was not updated (compare the certificate)."
    if newest.side > 0:
        zh += (
            "丢脉冲：只有在编码器到采集器之间丢失、而计控主板自己的线路仍计到时，符号才相同；主板也丢则显示量一同变小。"
        )
        en += (
            " Lost pulses: the same sign only if they are lost between encoder and collector while the mainboard's own "
            "line still counts them; if the mainboard loses them too, the display falls as well."
        )
        zh += "若只有部分加油如此，多半是起始不回零或中途跳字，而非脉冲当量。"
        en += " Where only some sales show it: a display that does not return to zero, or jumps, rather than the ratio."
    else:
        zh += "采集线路受干扰多计脉冲，或计控主板自己的线路丢脉冲。"
        en += " Noise on the collector's line adds pulses, or the mainboard's own line loses them."
    return Text(zh=zh, en=en)


_ON_SITE = Text(
    zh="用 20 L 标准金属量器放一罐，同时读编码器脉冲：比较显示量、量器量、脉冲数 × 证书上的脉冲当量。"
    "核对计量器、编码器、计控主板三处封印和程序摘要。",
    en="Fill a 20 L standard can while watching the encoder count: compare the display, the can, and pulses × the "
    "certificate's litres a pulse. Check the three seals (meter, encoder, mainboard) and the software digest.",
)
