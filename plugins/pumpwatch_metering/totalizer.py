"""The rule ``totalizer_continuity``: each sale must move the volume totalizer by exactly its own litres.

A totalizer that moved by more let litres pass without a record; one that moved by less was set back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import ClassVar

from pydantic import Field

from pumpwatch import (
    Department,
    Estimate,
    Evidence,
    Explanation,
    Finding,
    History,
    PluginSettings,
    Record,
    RecordRule,
    Severity,
    Text,
    Transaction,
    finding_id,
    subject_of,
)
from pumpwatch.wording import litres, local, nozzle_label, signed_litres, title, yuan

_FLOAT_DUST_L = 1e-5
_MODULI = (*(10.0**digits for digits in range(5, 13)), 2**32 * 0.01, 2**32 * 0.001)
"""Where counters of dispensers roll over: decimal digits, and 32 bits of 0.01 L or 0.001 L."""


class TotalizerSettings(PluginSettings):
    """Keys of ``[rules.totalizer_continuity]``."""

    tolerance_l: float = Field(0.02, gt=0.0, description="Gap that rounding may make, litres.")
    critical_l: float = Field(1.0, gt=0.0, description="From here on unrecorded litres are critical, litres.")
    totalizer_modulus_l: float | None = Field(
        None, gt=0.0, description="Where the volume totalizer rolls over, litres; absent: any power of ten or 32 bits."
    )
    longest_pause_days: float = Field(
        60.0, gt=0.0, description="A predecessor older than this is another epoch of the sequence and is not compared."
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


def totalizer_gap(
    before: float, moved: float, after: float, *, tolerance: float = 0.02, modulus: float | None = None
) -> float:
    """What the counter moved beyond ``moved``: after − moved − before, roll-over taken out.

    With a known modulus the nearest reading is taken. Without one a roll-over is believed only where it is the simple
    story: the counter stood below a usual modulus M, and modulo M the gap is nothing (within ``tolerance``) or at most
    M/1000.
    """
    gap = after - moved - before
    if not math.isfinite(gap):
        return gap
    if modulus is not None:
        return math.remainder(gap, modulus)
    if gap < 0:
        for m in _MODULI:
            if before < m and -tolerance - _FLOAT_DUST_L <= gap + m <= m / 1000:
                return gap + m
    return gap


class TotalizerContinuity(RecordRule):
    """T(n) − V(n) − T(n−1) of each pair of neighbouring sales, judged by whichever of the two arrives last.

    A missing neighbour is a gap in the sequence, which is another rule's matter.
    """

    rule: ClassVar[str] = "totalizer_continuity"
    Settings: ClassVar[type[PluginSettings]] = TotalizerSettings
    watches: ClassVar[tuple[type, ...]] = (Transaction,)
    settings: TotalizerSettings

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge the pair this sale makes with its predecessor, and with its successor if that is already known."""
        if not isinstance(record, Transaction) or record.totalizer_l is None:
            return
        before = history.transaction(record.nozzle_id, record.seq - 1, record.start)
        if before is not None:
            yield from self._judge(before, record, history)
        after = history.transaction(record.nozzle_id, record.seq + 1, record.end)
        if after is not None:
            its_before = history.transaction(record.nozzle_id, record.seq, after.start)
            if its_before is not None and its_before.key == record.key:
                yield from self._judge(record, after, history)

    def _judge(self, first: Transaction, second: Transaction, history: History) -> Iterator[Finding]:
        settings = self.settings
        if first.totalizer_l is None or second.totalizer_l is None:
            return
        pause = second.start - first.end
        if second.end < first.end or pause > timedelta(days=settings.longest_pause_days):
            return
        gap = totalizer_gap(
            first.totalizer_l,
            second.volume_l,
            second.totalizer_l,
            tolerance=settings.tolerance_l,
            modulus=settings.totalizer_modulus_l,
        )
        if not math.isfinite(gap) or abs(gap) <= settings.tolerance_l + _FLOAT_DUST_L:
            return
        subject = subject_of(second.nozzle_id, history)
        back = gap < 0
        yield Finding(
            id=finding_id(self.rule, subject, second.seq, second.end.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="totalizer_rollback" if back else "offline_sale",
            subject=subject,
            severity=Severity.CRITICAL if back or gap >= settings.critical_l else Severity.MEDIUM,
            departments=(Department.MARKET_REGULATION, Department.TAX),
            onset=min(first.end, second.start),
            detected_at=second.end,
            explanation=self._explain(first, second, gap),
            estimate=Estimate(
                round(gap, 2), "L", round(gap - settings.tolerance_l, 2), round(gap + settings.tolerance_l, 2), 0.95
            ),
            evidence=(_evidence(first), _evidence(second), _gap_evidence(first, second, gap)),
        )

    def _explain(self, first: Transaction, second: Transaction, gap: float) -> Explanation:
        label = nozzle_label(second.nozzle_id)
        start, end = local(first.end, self.settings.utc_offset_h), local(second.end, self.settings.utc_offset_h)
        before, after = litres(first.totalizer_l or 0.0), litres(second.totalizer_l or 0.0)
        volume = litres(second.volume_l)
        sum_zh = f"上一笔（序号 {first.seq}）后泵码 {before}，本笔（序号 {second.seq}）加油 {volume}，之后泵码 {after}"
        sum_en = f"totalizer {before} after sale {first.seq}; sale {second.seq} of {volume}; totalizer {after} after it"
        money = _money(first, second, gap)
        rounding = litres(self.settings.tolerance_l)
        if gap > 0:
            return Explanation(
                title=title(label, f"无记录出油 {litres(gap)}", f"unrecorded {litres(gap)}"),
                what=Text(
                    zh=f"{label.zh}在 {start} 至 {end} 之间有 {litres(gap)} 经过泵码而没有交易记录：{sum_zh}。",
                    en=f"{label.en}: {litres(gap)} passed the totalizer without a sale on record between {start} and "
                    f"{end}: {sum_en}.",
                ),
                why=Text(
                    zh=f"两笔序号相连，泵码之差应等于本笔升数，四舍五入最多差 {rounding}。{money.zh}",
                    en="The two sales are neighbours, so the totalizer moves by the litres of the second; rounding "
                    f"makes at most {rounding}. {money.en}",
                ),
                otherwise=_UNRECORDED_OTHERWISE,
                on_site=_UNRECORDED_ON_SITE,
            )
        return Explanation(
            title=title(label, f"泵码倒退 {signed_litres(gap)}", f"totalizer back {signed_litres(gap)}"),
            what=Text(
                zh=f"{label.zh}的泵码在 {start} 至 {end} 之间倒退 {litres(-gap)}：{sum_zh}。",
                en=f"{label.en}: the totalizer went back by {litres(-gap)} between {start} and {end}: {sum_en}.",
            ),
            why=Text(
                zh=f"泵码只增不减，这里也不是末位归零；四舍五入最多差 {rounding}。{money.zh}",
                en=f"A totalizer only rises, and this is no roll-over; rounding makes at most {rounding}. {money.en}",
            ),
            otherwise=_ROLLBACK_OTHERWISE,
            on_site=_ROLLBACK_ON_SITE,
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


def _gap_cny(first: Transaction, second: Transaction) -> float | None:
    if first.totalizer_cny is None or second.totalizer_cny is None:
        return None
    return totalizer_gap(first.totalizer_cny, second.amount_cny, second.totalizer_cny)


def _money(first: Transaction, second: Transaction, gap: float) -> Text:
    """What the amount totalizer says of the same gap."""
    gap_cny = _gap_cny(first, second)
    if gap_cny is None:
        return Text(zh="金额泵码未知。", en="The amount totalizer is not known.")
    price = gap_cny / gap
    zh, en = f"金额泵码之差多出 {yuan(gap_cny)}", f"The amount totalizer moved by {yuan(gap_cny)} beyond the sale"
    if abs(gap_cny) <= 0.02:
        return Text(zh="金额泵码没有缺口。", en="The amount totalizer shows no gap.")
    if math.isclose(price, second.unit_price, rel_tol=0.01, abs_tol=0.02 / abs(gap)):
        return Text(zh=f"{zh}，与本枪单价相符。", en=f"{en}, which fits the price of this nozzle.")
    return Text(
        zh=f"{zh}，合每升 {yuan(price)}，与单价 {yuan(second.unit_price)} 不符。",
        en=f"{en}, {yuan(price)} a litre, which does not fit the price {yuan(second.unit_price)}.",
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


def _gap_evidence(first: Transaction, second: Transaction, gap: float) -> Evidence:
    gap_cny = _gap_cny(first, second)
    return Evidence(
        kind="totalizer_gap",
        reference=f"{second.nozzle_id}/{first.seq}-{second.seq}",
        data={
            "gap_l": round(gap, 3),
            "gap_cny": round(gap_cny, 2) if gap_cny is not None else None,
            "gap_price": round(gap_cny / gap, 3) if gap_cny is not None else None,
        },
    )
