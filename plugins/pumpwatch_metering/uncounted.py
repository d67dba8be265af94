"""Fillings whose count is missing at a nozzle that else counts: they cannot be compared, and that is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Final

from pumpwatch import (
    Curve,
    Department,
    Estimate,
    Evidence,
    Explanation,
    Figure,
    Finding,
    Severity,
    Text,
    finding_id,
    subject_of,
)
from pumpwatch.wording import count, litres, local, nozzle_label, title

if TYPE_CHECKING:
    from pumpwatch import History, Nozzle, Transaction
    from pumpwatch_metering.pulses import PulseRatioSettings

LOOK_BACK: Final = 120
"""Sales looked at before it."""
_LEAST: Final = 60
"""With fewer known it is not told whether the nozzle counts."""
_SHARE: Final = 0.1
"""More uncounted ones are a channel that comes and goes: 12 of 121 at 30 % holes are 5 standard deviations too few."""
_MANY, _OF = 3, 61
"""So many of the last so many are an alarm."""


def missing(sale: Transaction, history: History, settings: PulseRatioSettings) -> Finding | None:
    """Say that a sale came without its count at a nozzle that counts: a note, from the third of 61 on a low alarm."""
    nozzle = history.nozzle(sale.nozzle_id)
    least = settings.tolerance_pulses * settings.assumed_pulse_l + settings.resolution_l
    own = _channel(sale, nozzle)
    if not sale.volume_l > least:
        return None
    if all(_channel(other, nozzle) <= own for other in history.before(sale, round(_SHARE * LOOK_BACK))):
        return None  # a nozzle without an encoder ends here
    known = [*history.before(sale, LOOK_BACK), sale]
    best = max(_channel(other, nozzle) for other in known)

    def lacks(other: Transaction) -> bool:
        return _channel(other, nozzle) < best and other.volume_l > least

    if len(known) <= _LEAST or sum(map(lacks, known)) > _SHARE * len(known):
        return None
    lately = known[-_OF:]
    return _finding([other for other in lately if lacks(other)], lately, history, settings)


def _channel(sale: Transaction, nozzle: Nozzle | None) -> int:
    """What a sale can be compared with: 2 pulses, 1 litres that the encoder's side reckoned, 0 nothing."""
    if sale.encoder_pulses is not None and nozzle is not None and nozzle.pulse_l:
        return 2
    return 0 if sale.encoder_l is None else 1


def _finding(
    lacking: Sequence[Transaction], known: Sequence[Transaction], history: History, settings: PulseRatioSettings
) -> Finding:
    sale, n = lacking[-1], len(lacking)
    subject, label = subject_of(sale.nozzle_id, history), nozzle_label(sale.nozzle_id)
    when = local(sale.start, settings.utc_offset_h)
    total = math.fsum(s.volume_l for s in lacking)
    return Finding(
        id=finding_id("pulse_ratio", subject, "uncounted", sale.seq, sale.end.astimezone(UTC).isoformat()),
        rule="pulse_ratio",
        cause="collector_outage",
        subject=subject,
        severity=Severity.LOW if n >= _MANY else Severity.INFO,
        departments=(Department.MARKET_REGULATION,),
        onset=lacking[0].start,
        detected_at=sale.end,
        explanation=Explanation(
            title=title(label, f"{n} 笔缺脉冲数", f"{count(n, 'sale', 'sales')} uncounted"),
            what=Text(
                zh=f"{label.zh}序号 {sale.seq}（{when}）加油 {litres(sale.volume_l)}，没有编码器脉冲数。"
                f"最近 {len(known)} 笔中有 {n} 笔如此，共 {litres(total)}，无法核对显示量。",
                en=f"{label.en}, sale {sale.seq} of {when}: {litres(sale.volume_l)} without the encoder's pulses, "
                f"as {count(n, 'sale', 'sales')} of the last {len(known)}, {litres(total)} in all: their display "
                "cannot be compared.",
            ),
            why=Text(
                zh="同一油枪的其他各笔都有脉冲数，所以采集通道是好的；只有个别交易缺数时，请核验缺的是哪些。",
                en="The other sales of the nozzle have theirs, so the channel works; where only some sales lack it, "
                "verify which.",
            ),
            otherwise=Text(
                zh="采集线路接触不良；采集器在加油中重启；接口程序偶尔丢字段。",
                en="A bad contact of the collector's line; a collector that restarted during the filling; an interface "
                "that now and then loses a field.",
            ),
            on_site=Text(
                zh="抄录编码器累计脉冲数，与泵码之差核对；用 20 L 标准金属量器放一罐；查采集线路和采集器日志。",
                en="Read the encoder's total and compare it with the totalizer; fill a 20 L standard can; check the "
                "collector's line and its log.",
            ),
        ),
        estimate=Estimate(round(total, 2), "L", round(total - 0.005 * n, 2), round(total + 0.005 * n, 2), 0.95),
        evidence=tuple(_evidence(s) for s in lacking[-settings.evidence_sales :]),
        figures=(_figure(lacking, known, label),),
    )


def _evidence(sale: Transaction) -> Evidence:
    return Evidence(
        kind="transaction",
        reference=f"{sale.nozzle_id}/{sale.seq}",
        data={
            "end": sale.end.astimezone(UTC).isoformat(),
            "displayed_l": sale.volume_l,
            "pulses": None,
            "encoder_l": sale.encoder_l,
        },
    )


def _figure(lacking: Sequence[Transaction], known: Sequence[Transaction], label: Text) -> Figure:
    """Displayed litres, sale by sale: those with a count and those without."""
    keys = {sale.key for sale in lacking}
    kinds = (
        (Text("有脉冲数", "counted"), [s for s in known if s.key not in keys], False),
        (Text("缺脉冲数", "uncounted"), list(lacking), True),
    )
    return Figure(
        title=Text(f"{label.zh} 有无脉冲数的各笔", f"{label.en}: sales with and without a count"),
        x=Text("时间", "time"),
        y=Text("显示量（L）", "displayed (L)"),
        curves=tuple(
            Curve(
                name, tuple(s.end.timestamp() for s in those), tuple(s.volume_l for s in those), shape="points", alarm=a
            )
            for name, those, a in kinds
        ),
    )
