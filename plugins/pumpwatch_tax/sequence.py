"""The rule ``sequence``: a nozzle numbers its sales one by one; missing, repeated and falling numbers are told.

What the missing sales were worth is read from the totalizers on both sides of the gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final

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
    Subject,
    Text,
    Transaction,
    finding_id,
    subject_of,
)
from pumpwatch.wording import litres, local, nozzle_label, title, yuan
from pumpwatch_tax.circumstances import heard, other_identity, signed_repair, silences

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch import StationPast

_LAST: Final = 2**62
"""Comes after every sequence number."""
_LOOK: Final = 120
_USUAL: Final = 20
"""So many earlier sales tell how the nozzle is numbered and how much it sells."""
_MODULI: Final[tuple[int, ...]] = (*(10**digits for digits in range(4, 10)), 2**16, 2**32)
"""Where sequence numbers of dispensers roll over."""
_NEAR: Final = 400
"""Numbers on either side of a roll-over."""
_TOTAL_MODULI: Final = (*(10.0**digits for digits in range(5, 10)), 2**32 * 0.01)
_SHOWN: Final = 30
_TODAY: Final = 40
"""So many earlier sales tell what else was lost that day."""
_SHORTEST: Final = timedelta(minutes=5)
_LONGEST: Final = timedelta(days=3)
"""Silences that are judged by what the totalizers show after them; with a record inside they are none."""


class SequenceSettings(PluginSettings):
    """Keys of ``[rules.sequence]``."""

    clock_hours: float = Field(
        26.0, ge=0.0, description="Sales that stand in the wrong order by less than this are a clock's fault, hours."
    )
    longest_gap: int = Field(
        2_000, ge=1, description="More missing numbers than this are another epoch, not missing sales."
    )
    counted_by_one: float = Field(
        0.2, gt=0.0, le=1.0, description="Share of a nozzle's steps that must be one: others share their numbers."
    )
    lost_share: float = Field(
        5.0, gt=0.0, description="Sales lost in a silence, at most so many times the usual number, and 5."
    )
    lost_a_day: int = Field(
        3, ge=0, description="Sales a nozzle may lose in a day in silences that are not judged by themselves: low."
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Break:
    """Where a nozzle's numbers do not go on by one."""

    before: Transaction
    sale: Transaction
    kind: str
    """``gap``, ``repeat``, ``back`` or ``jump``."""
    missing: int
    """Numbers that no sale has; 0 where it cannot be told."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What was sold without a record. Litres, CNY."""

    litres: float
    low: float
    high: float
    cny: float
    by_totalizer: bool


@dataclass(frozen=True, slots=True)
class Reason:
    """An honest reason, and how much of an alarm is left."""

    severity: Severity
    words: Text


class SequenceContinuity(RecordRule):
    """Each sale against the one before it on the same nozzle."""

    rule: ClassVar[str] = "sequence"
    Settings: ClassVar[type[PluginSettings]] = SequenceSettings
    watches: ClassVar[tuple[type, ...]] = (Transaction,)
    explains: ClassVar[frozenset[str]] = frozenset({"offline_sale"})
    reach: ClassVar[int] = _TODAY
    patience: ClassVar[timedelta] = timedelta(seconds=20)
    settings: SequenceSettings

    about: ClassVar[About]

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge the step from the sale before to this one."""
        if not isinstance(record, Transaction):
            return
        nearest = history.before(record, 1)
        if not nearest or record.seq == nearest[0].seq + 1:
            return
        broken = self._break(nearest[0], record, history)
        if broken is not None:
            yield self._finding(broken, history)

    def screen(self, past: StationPast) -> NDArray[np.bool_]:
        """Sales whose number does not follow on the one before."""
        sales = past.sales
        worth = np.zeros(len(sales), bool)
        worth[1:] = (sales.nozzle[1:] == sales.nozzle[:-1]) & (np.diff(sales.seq) != 1)
        return worth

    # ------------------------------------------------------------ what kind of break

    def _break(self, before: Transaction, sale: Transaction, history: History) -> Break | None:
        steps = [int(b.seq - a.seq) for a, b in pairwise(history.before(sale, _USUAL))]
        if not steps or steps.count(1) < max(1.0, self.settings.counted_by_one * len(steps)):
            return None  # numbered by dispenser, or not known yet
        step = _unrolled(sale.seq - before.seq, before.seq)
        if step == 1:
            return None
        numbers = self._near(sale, history)
        reused = sale.seq in numbers
        if 1 < step <= self.settings.longest_gap + 1:
            between = sum(before.seq < number < sale.seq for number in numbers)
            missing = step - 1 - between
            return Break(before, sale, "gap", missing) if missing > 0 else None
        if step > 1:
            return Break(before, sale, "jump", 0)
        if not reused and sale.seq - 1 in numbers:
            return None  # the clock went back: every number is there, once
        return Break(before, sale, "repeat" if step == 0 or reused else "back", 0)

    def _near(self, sale: Transaction, history: History) -> set[int]:
        """The numbers of the nozzle's other sales that a clock's fault could have put on the wrong side of this one."""
        around = timedelta(hours=self.settings.clock_hours)
        earlier = history.before(sale, _LOOK)
        later = history.before(replace(sale, end=sale.end + around, seq=_LAST), 2 * _LOOK)
        here = (sale.end, sale.seq)
        numbers = {s.seq for s in earlier if s.end >= sale.end - around}
        return numbers | {s.seq for s in later if (s.end, s.seq) > here}

    # ------------------------------------------------------------ why, and how much

    def _reason(self, broken: Break, subject: Subject, history: History) -> Reason | None:
        """An honest reason for the break, the best first."""
        first, sale = broken.before.end, broken.sale
        day = timedelta(days=1)
        order = signed_repair(history, subject, first - day, sale.end + day)
        if order is not None:
            at = local(order.at, self.settings.utc_offset_h)
            return Reason(
                Severity.INFO,
                Text(
                    f"{at} 有三方签字的工单，流水号可能随之重新对齐：仅作记录。",
                    f"A work order with all three signatures stands beside it ({at}); numbers may have been set anew "
                    "with it: a note.",
                ),
            )
        event = other_identity(history, subject, first - timedelta(hours=1), sale.end + timedelta(seconds=1))
        if event is not None and broken.kind != "gap":
            return Reason(
                Severity.INFO,
                Text(
                    "同时该机报告身份改变（另有报警）：流水号是随之改变的，仅作旁证。",
                    "The dispenser told another identity at the same time, which has its own alarm: the numbers "
                    "changed with it and stand as evidence.",
                ),
            )
        if broken.kind != "gap":
            return None
        blind, judged = self._blind(broken, subject, history)
        if self._may_be_lost_in(judged, broken, history):
            return Reason(
                Severity.INFO,
                Text(
                    f"其间采集器与该机失联 {_minutes(judged)} 分钟，缺的笔数与之相称：断联另行判断，此处仅作记录。",
                    f"The collector had no link to the dispenser for {_minutes(judged)} min of that time, and so many "
                    "sales fit into it; the silence is judged by itself, this is a note.",
                ),
            )
        if self._may_be_lost_in(blind, broken, history):
            today = self._lost_today(broken, subject, history)
            return Reason(
                Severity.LOW if today <= self.settings.lost_a_day else Severity.MEDIUM,
                Text(
                    f"其间采集器与该机失联 {_minutes(blind)} 分钟，可能因此漏采；但失联过短、过长或期间仍有记录，"
                    f"无从另行判断。该枪当日因此共缺 {today} 笔。",
                    f"The collector had no link to the dispenser for {_minutes(blind)} min of that time and may have "
                    "missed them; but nothing else judges a silence so short or so long, or one with records in it. "
                    f"In such silences the nozzle misses {today} that day.",
                ),
            )
        gone = silences(history, subject, first, sale.start, sale.end, "uplink")
        cut_off = sum((each.inside for each in gone), timedelta(0))
        if self._may_be_lost_in(cut_off, broken, history):
            return Reason(
                Severity.LOW,
                Text(
                    f"其间站点断网 {_minutes(cut_off)} 分钟，记录可能仍在补传：补齐后本报警自动撤回。",
                    f"The station had no network for {_minutes(cut_off)} min of that time: the records may still come, "
                    "and this is withdrawn when they do.",
                ),
            )
        return None

    def _blind(self, broken: Break, subject: Subject, history: History) -> tuple[timedelta, timedelta]:
        """How long the collector was deaf between the two sales, and how long of it ``outage_sales`` judges."""
        first, sale = broken.before, broken.sale
        deaf = silences(history, subject, first.end, sale.start, sale.end, "timeout")
        judged = [
            each.inside
            for each in deaf
            if _SHORTEST <= each.up - each.down <= _LONGEST and each.up < sale.end and not heard(history, subject, each)
        ]
        return sum((each.inside for each in deaf), timedelta(0)), sum(judged, timedelta(0))

    def _lost_today(self, broken: Break, subject: Subject, history: History) -> int:
        """Numbers that the nozzle misses on this local day in silences that nothing else judges."""
        offset = timedelta(hours=self.settings.utc_offset_h)
        today = (broken.sale.end.astimezone(UTC) + offset).date()
        lost = broken.missing
        for before, sale in pairwise(history.before(broken.sale, _TODAY)):
            if sale.seq == before.seq + 1 or (sale.end.astimezone(UTC) + offset).date() != today:
                continue
            other = self._break(before, sale, history)
            if other is None or other.kind != "gap":
                continue
            blind, judged = self._blind(other, subject, history)
            if blind > timedelta(0) and not self._may_be_lost_in(judged, other, history):
                lost += other.missing
        return lost

    def _may_be_lost_in(self, silent: timedelta, broken: Break, history: History) -> bool:
        """Whether so many sales fit into a silence: five, and five times what the nozzle usually sells in that time."""
        if silent <= timedelta(0) or timedelta(seconds=45) * broken.missing > silent:
            return False
        known = history.before(broken.sale, _USUAL)
        span = (known[-1].end - known[0].end).total_seconds() if len(known) > 1 else 0.0
        usual = (len(known) - 1) / span * silent.total_seconds() if span > 0 else 0.0
        return broken.missing <= 5 + self.settings.lost_share * usual

    def _finding(self, broken: Break, history: History) -> Finding:
        sale = broken.sale
        subject = subject_of(sale.nozzle_id, history)
        reason = self._reason(broken, subject, history)
        loss = _loss(broken, history)
        return Finding(
            id=finding_id(self.rule, subject, sale.seq, sale.end.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="sequence_gap",
            subject=subject,
            severity=reason.severity if reason is not None else Severity.HIGH,
            departments=(Department.TAX,),
            onset=broken.before.end,
            detected_at=sale.end,
            explanation=self._explain(broken, loss, reason),
            estimate=None
            if loss is None
            else Estimate(round(loss.litres, 2), "L", round(loss.low, 2), round(loss.high, 2), 0.95),
            evidence=(
                _evidence(broken.before),
                _evidence(sale),
                Evidence(
                    "sequence",
                    f"{sale.nozzle_id}/{broken.before.seq}-{sale.seq}",
                    {
                        "kind": broken.kind,
                        "step": sale.seq - broken.before.seq,
                        "missing": broken.missing,
                        "litres": None if loss is None else round(loss.litres, 2),
                        "cny": None if loss is None else round(loss.cny, 2),
                        "by_totalizer": None if loss is None else loss.by_totalizer,
                    },
                ),
            ),
            figures=(_figure(broken, history),),
        )

    def _explain(self, broken: Break, loss: Loss | None, reason: Reason | None) -> Explanation:
        label = nozzle_label(broken.sale.nozzle_id)
        head_zh, head_en, said_zh, said_en = _words(broken)
        offset = self.settings.utc_offset_h
        start, end = local(broken.before.end, offset), local(broken.sale.end, offset)
        why = _WHY if reason is None else reason.words
        worth = _worth(loss)
        return Explanation(
            title=title(label, head_zh, head_en),
            what=Text(
                zh=f"{label.zh} {start} 的一笔序号为 {broken.before.seq}，下一笔（{end}）为 {broken.sale.seq}："
                f"{said_zh}。{worth.zh}",
                en=f"{label.en}: the sale at {start} has number {broken.before.seq}, the next one ({end}) "
                f"{broken.sale.seq}: {said_en}. {worth.en}",
            ),
            why=why,
            otherwise=_OTHERWISE,
            on_site=_ON_SITE,
        )


def _unrolled(step: int, before: int) -> int:
    """A step down that is a roll-over made a step up: only from the last numbers below a modulus to its first ones."""
    after = before + step
    if step < 0 and 0 <= after <= _NEAR:
        for modulus in _MODULI:
            if before < modulus <= before + _NEAR:
                up = step + modulus
                return up - 1 if after == 1 and up > 1 else up  # some begin again at 1
    return step


def _loss(broken: Break, history: History) -> Loss | None:
    """What the totalizers moved beyond the sale; without totalizers what so many sales are worth usually."""
    first, sale = broken.before, broken.sale
    moved = _moved(first.totalizer_l, sale.totalizer_l, sale.volume_l)
    if moved is not None and abs(moved) < 1e6:
        money = _moved(first.totalizer_cny, sale.totalizer_cny, sale.amount_cny)
        if money is None or (moved > 0.5 and not 0.3 < money / moved / max(sale.unit_price, 0.01) < 3.0):
            money = moved * sale.unit_price
        return Loss(moved, moved - 0.02, moved + 0.02, money, by_totalizer=True)
    known = [s.volume_l for s in history.before(sale, _USUAL)]
    if not broken.missing or len(known) < 5:
        return None
    mean, spread = float(np.mean(known)), float(np.std(known))
    half = 1.96 * spread * math.sqrt(broken.missing + broken.missing**2 / len(known))
    total = mean * broken.missing
    return Loss(total, max(0.0, total - half), total + half, total * sale.unit_price, by_totalizer=False)


def _moved(before: float | None, after: float | None, own: float) -> float | None:
    """How far a counter moved beyond the sale itself; a roll-over is taken out."""
    if before is None or after is None:
        return None
    moved = after - before - own
    if not math.isfinite(moved):
        return None
    if moved < -0.05:
        for modulus in _TOTAL_MODULI:
            if before < modulus and -0.05 <= moved + modulus <= modulus / 100:
                return moved + modulus
    return moved


def _words(broken: Break) -> tuple[str, str, str, str]:
    n = broken.missing
    if broken.kind == "gap":
        numbers = "1 number is" if n == 1 else f"{n:,} numbers are"
        sales = "1 sale missing" if n == 1 else f"{n:,} sales missing"
        return f"流水号缺{n}笔", sales, f"中间缺 {n} 个号，没有交易记录", f"{numbers} missing, no sale is on record"
    if broken.kind == "repeat":
        return "流水号重复", "number used again", "同一序号用了两次", "one number was used for two sales"
    if broken.kind == "back":
        back = broken.before.seq - broken.sale.seq
        return "流水号倒退", "numbers fell back", f"倒退 {back} 号，并将重复使用", f"they fell back by {back:,}"
    ahead = broken.sale.seq - broken.before.seq
    return "流水号跳变", "numbers jumped", f"一下跳过 {ahead} 号", f"they jumped by {ahead:,}"


def _worth(loss: Loss | None) -> Text:
    if loss is None:
        return Text("无泵码，漏记数量未知。", "Without totalizers the litres are not known.")
    if not loss.by_totalizer:
        return Text(
            f"没有泵码，按平常每笔估计约 {litres(loss.litres)}，合 {yuan(loss.cny)}。",
            f"Without totalizers, by what the nozzle usually sells: about {litres(loss.litres)}, {yuan(loss.cny)}.",
        )
    if abs(loss.litres) <= 0.05:
        return Text("泵码前后相接，没有无记录出油。", "The totalizers close: no fuel passed without a record.")
    if loss.litres < 0:
        return Text(f"同时泵码少走 {litres(-loss.litres)}。", f"The totalizer moved {litres(-loss.litres)} too little.")
    return Text(
        f"泵码表明其间出油 {litres(loss.litres)} 没有记录，合 {yuan(loss.cny)}。",
        f"By the totalizers {litres(loss.litres)}, {yuan(loss.cny)}, passed without a record.",
    )


def _minutes(span: timedelta) -> int:
    return round(span.total_seconds() / 60)


def _evidence(sale: Transaction) -> Evidence:
    return Evidence(
        "transaction",
        f"{sale.nozzle_id}/{sale.seq}",
        {
            "end": sale.end.astimezone(UTC).isoformat(),
            "displayed_l": sale.volume_l,
            "amount_cny": sale.amount_cny,
            "totalizer_l": sale.totalizer_l,
            "totalizer_cny": sale.totalizer_cny,
        },
    )


def _figure(broken: Break, history: History) -> Figure:
    """The numbers of the sales up to the break, over time."""
    sales: Sequence[Transaction] = [*history.before(broken.sale, _SHOWN), broken.sale]
    if broken.kind == "gap":
        missing = tuple(float(n) for n in range(broken.before.seq + 1, broken.sale.seq))[:200]
        x0, x1 = broken.before.end.timestamp(), broken.sale.end.timestamp()
        at = tuple(x0 + (x1 - x0) * (i + 1) / (len(missing) + 1) for i in range(len(missing)))
        wrong = Curve(Text("缺失的序号", "missing numbers"), at, missing, "points", alarm=True)
    else:
        wrong = Curve(
            Text("异常的序号", "the number that breaks the row"),
            (broken.sale.end.timestamp(),),
            (float(broken.sale.seq),),
            "points",
            alarm=True,
        )
    return Figure(
        title=Text("流水号", "Sequence numbers"),
        x=Text("时间", "time"),
        y=Text("流水号", "sequence number"),
        curves=(
            Curve(
                Text("交易", "sales"),
                tuple(s.end.timestamp() for s in sales),
                tuple(float(s.seq) for s in sales),
                "points",
            ),
            wrong,
        ),
    )


_WHY = Text(
    "每枪流水号逐笔加一，断电也不丢；其间没有工单、没有失联可以解释。",
    "A nozzle's numbers rise by one with each sale and survive a power cut; no work order and no silent link stand "
    "beside it.",
)
_OTHERWISE = Text(
    "采集器漏采而未登记失联；维修后重新对号而工单未录入；部分机型多枪共用流水号；检定放油走测试模式占号。",
    "A collector that missed sales and did not say so; numbers set anew at a repair whose work order was not entered; "
    "models whose nozzles share their numbers; draws in a test mode that use up numbers.",
)
_ON_SITE = Text(
    "在机上逐号查询缺失的交易；抄录泵码和税控总量，与记录核对；查本时段监控录像、收款流水和班结表。",
    "Look up the missing numbers at the dispenser; write down totalizers and tax total and compare; look at the video, "
    "the payments and the shift report of that time.",
)
SequenceContinuity.about = About(
    title=Text("流水号连续性", "Continuity of sequence numbers"),
    catches=("T04", "C09", "T02"),
    inputs="Sequence number, end and totalizers of each sale; link and identity events; work orders.",
    statistic="`seq(n) − seq(n−1)` of sales in the order of their ends. Where it is not 1, numbers that stand within "
    "26 h on either side are looked for first; what is left is a gap, a repetition, a fall or a jump. Litres: "
    "`T(n) − V(n) − T(n−1)`, with roll-over; yuan the same.",
    threshold="Exact: one missing number is a finding (high). A gap is a note (`info`) beside a repair signed by all "
    "three within a day, or where the collector's link to the dispenser was down long enough for so many sales (45 s "
    "each, at most five and five times the usual number) in a silence that `outage_sales` judges: 5 min to 3 days "
    "with no sale of the dispenser inside. In other silences it is `low`, and `medium` where the nozzle misses more "
    "than three numbers in them that day. During a lost uplink it is `low`, because the records are "
    "still to come; when they come it is withdrawn. Falls and jumps together with an identity that is not the "
    "registered one are a note: that has an alarm of its own.",
    power="Simulated T04 with 1, 20 and 200 deleted records: found on the first sale after the gap every time "
    "(25 of 25 nozzles that sold again); C09 with 1, 10 and 50 % of the sales lost: on the first such "
    "sale at 30 of 30 stations, 6.7, 1.2 and 0.5 h after the onset in the median. Nothing in a nozzle's "
    "records shows deleted sales before it sells again: after 20 on a slow nozzle that took up to 44 h, "
    "after 200 three to four days. No alarm in 577 honest nozzle-years with outages, backfill, clock "
    "corrections, closed nozzles and roll-overs. 2.2 µs an honest sale.",
    pitfalls="Clock steps put sales in another order: every number is there once, so nothing is said. Numbers shared "
    "by the nozzles of a dispenser hardly ever step by one: such nozzles are not judged. Numbers that roll over. A "
    "batch told twice is one batch. Late records: `patience` 20 s, and the sale after a late one is judged again.",
    source="Arithmetic of numbers and totalizers (D5, D3 on the scenarios' page); GB/T 9081-2023.",
)
