"""The rule ``pulse_ratio``: the displayed litres against the encoder's pulses times the certified litres a pulse.

A mainboard whose pulse equivalent was rewritten shows more litres than its encoder counted; one sale of ten litres is
enough to see half a per cent. The check is arithmetic between two channels, so wear of the meter does not show in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import ClassVar

from pydantic import Field

from pumpwatch import (
    Department,
    Estimate,
    Evidence,
    Explanation,
    Finding,
    History,
    Nozzle,
    PluginSettings,
    Record,
    RecordRule,
    Severity,
    Text,
    Transaction,
    finding_id,
    subject_of,
)
from pumpwatch.wording import litres, local, nozzle_label, percent, title, yuan

_FIRST_LOOK = 50
_REJUDGED = 50
_FLOAT_DUST_L = 1e-6
_Z95 = 1.96


class PulseRatioSettings(PluginSettings):
    """Keys of ``[rules.pulse_ratio]``."""

    tolerance_pulses: float = Field(2.0, ge=1.0, description="Pulses a sale may honestly differ by.")
    resolution_l: float = Field(0.01, gt=0.0, description="Step of the displayed volume, litres.")
    assumed_pulse_l: float = Field(0.01, gt=0.0, description="Litres a pulse where none is certified, litres.")
    tolerance_percent: float = Field(0.30, gt=0.0, description="Tolerance of a dispenser, ± %.")
    verify_percent: float = Field(0.60, gt=0.0, description="Up to here the finding asks for verification only, %.")
    critical_percent: float = Field(1.0, gt=0.0, description="From here on a short delivery is critical, %.")
    longest_run: int = Field(800, ge=_FIRST_LOOK, description="How many sales back the onset is searched.")
    evidence_sales: int = Field(10, ge=1, le=50, description="How many of the last sales are put in evidence.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One sale: what was displayed against what was counted. Litres."""

    sale: Transaction
    counted_l: float
    pulse_l: float
    limit_l: float
    """The difference beyond which the sale is affected."""
    from_pulses: bool

    @property
    def excess_l(self) -> float:
        """Displayed minus counted: plus means the customer is short."""
        return self.sale.volume_l - self.counted_l

    @property
    def side(self) -> int:
        """1: customer short beyond the limit, −1: gives more beyond the limit, 0: within."""
        if abs(self.excess_l) <= self.limit_l + _FLOAT_DUST_L:
            return 0
        return 1 if self.excess_l > 0 else -1


def compare(sale: Transaction, nozzle: Nozzle | None, settings: PulseRatioSettings) -> Comparison | None:
    """Compare the display with the encoder; None when the site has no encoder channel for this sale.

    Pulses times the certified value come first: ``encoder_l`` may have been computed with the very value that was
    rewritten.
    """
    certified = nozzle.pulse_l if nozzle is not None and nozzle.pulse_l and nozzle.pulse_l > 0 else None
    if sale.encoder_pulses is not None and certified is not None:
        counted, from_pulses = sale.encoder_pulses * certified, True
    elif sale.encoder_l is not None:
        counted, from_pulses = sale.encoder_l, False
    else:
        return None
    if not (math.isfinite(sale.volume_l) and math.isfinite(counted) and counted >= 0.0):
        return None
    pulse_l = certified or settings.assumed_pulse_l
    limit_l = settings.tolerance_pulses * pulse_l + settings.resolution_l
    return Comparison(sale, counted, pulse_l, limit_l, from_pulses)


def error_estimate(run: Sequence[Comparison], resolution_l: float) -> Estimate:
    """E of a run of sales, pooled: (Σ displayed − Σ counted) / Σ counted, in %, with its 95 % interval.

    The interval is about quantisation alone. A display that rounds or cuts to ``resolution_l`` and an encoder that
    counts whole pulses are each wrong by less than one step a sale, but whether they cut, round or start at a random
    phase is not known. So each channel gets, over n sales, n half steps for a bias that every sale may share (it does
    not average out) plus 1.96 standard deviations of the rest (a rounded display: step²/12; a pulse count with both
    ends at random: step²/6 — the widest of the usual cases), and never more than the n whole steps that are the hard
    bound. The two channels are added in the worst way. Thus one sale of 20 L at 0.01 L a pulse is ±0.10 %, and a long
    run of 30 L sales ends near ±0.035 %, not at zero. It speaks of these sales as a whole; it holds no meter error and
    no error of the certified value. With nothing counted there is no ratio: then the estimate is in litres.
    """
    displayed = math.fsum(c.sale.volume_l for c in run)
    counted = math.fsum(c.counted_l for c in run)
    n = len(run)
    displayed_half = min(n * resolution_l / 2 + _Z95 * math.sqrt(n / 12) * resolution_l, n * resolution_l)
    steps = math.fsum(c.pulse_l for c in run)
    squares = math.fsum(c.pulse_l**2 for c in run)
    counted_half = min(steps / 2 + _Z95 * math.sqrt(squares / 6), steps)
    if counted <= 0.0:
        half = displayed_half + counted_half
        return Estimate(round(displayed, 2), "L", round(displayed - half, 2), round(displayed + half, 2), 0.95)
    low = ((displayed - displayed_half) / (counted + counted_half) - 1) * 100
    high = None
    if counted > counted_half:
        high = round(((displayed + displayed_half) / (counted - counted_half) - 1) * 100, 4)
    return Estimate(round((displayed - counted) / counted * 100, 4), "%", round(low, 4), high, 0.95)


def run_ending_at(comparisons: Sequence[Comparison], last: int) -> tuple[int, int]:
    """Find the unbroken run of affected sales that ends at ``last`` (an affected one).

    Returns the index of its first sale and the index of the sale that ended the search (−1: the list ended first). A
    sale to the other side breaks the run. A sale within its limit breaks it only if it could have shown the run's
    error, that is if it is farther than its limit from what that error predicts; a sale too small to tell does not.
    """
    side = comparisons[last].side
    first, excess, counted = last, 0.0, 0.0
    for i in range(last, -1, -1):
        c = comparisons[i]
        if c.side == side:
            first = i
            excess += c.excess_l
            counted += c.counted_l
        elif c.side == -side or counted <= 0.0 or abs(excess / counted * c.counted_l - c.excess_l) > c.limit_l:
            return first, i
    return first, -1


class PulseRatio(RecordRule):
    """Displayed litres against counted litres, sale by sale.

    A sale that arrives late is judged like any other, and the affected sales already known after it (at most 50) are
    judged again, because their run may now begin earlier or be broken. In order, that never costs anything.
    """

    rule: ClassVar[str] = "pulse_ratio"
    Settings: ClassVar[type[PluginSettings]] = PulseRatioSettings
    watches: ClassVar[tuple[type, ...]] = (Transaction,)
    settings: PulseRatioSettings

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one sale."""
        if not isinstance(record, Transaction):
            return
        nozzle = history.nozzle(record.nozzle_id)
        judged = compare(record, nozzle, self.settings)
        if judged is None:
            return
        if judged.side == 0 and not _overtaken(record, history):
            return
        comparisons, here = self._known(judged, nozzle, history)
        if judged.side != 0:
            first, _ = run_ending_at(comparisons, here)
            yield self._finding(comparisons[first : here + 1], history)
        for later in range(max(here + 1, len(comparisons) - _REJUDGED), len(comparisons)):
            if comparisons[later].side != 0:
                first, ended = run_ending_at(comparisons, later)
                if ended <= here:
                    yield self._finding(comparisons[first : later + 1], history)

    def _known(self, judged: Comparison, nozzle: Nozzle | None, history: History) -> tuple[list[Comparison], int]:
        """The nozzle's comparable sales, oldest first, back to where the run begins; and where ``judged`` is."""
        limit = _FIRST_LOOK
        while True:
            sales = history.transactions(judged.sale.nozzle_id, limit)
            comparisons: list[Comparison] = []
            here = -1
            for sale in sales:
                if sale.key == judged.sale.key:
                    here = len(comparisons)
                    comparisons.append(judged)
                elif (compared := compare(sale, nozzle, self.settings)) is not None:
                    comparisons.append(compared)
            complete = len(sales) < limit or limit >= self.settings.longest_run
            if here >= 0 and (complete or _settled(comparisons, here)):
                return comparisons, here
            if complete:
                return [judged], 0  # older than all that history still tells: it stands alone
            limit = min(limit * 4, self.settings.longest_run)

    def _finding(self, run: Sequence[Comparison], history: History) -> Finding:
        newest = run[-1]
        sale = newest.sale
        subject = subject_of(sale.nozzle_id, history)
        estimate = error_estimate(run, self.settings.resolution_l)
        return Finding(
            id=finding_id(self.rule, subject, sale.seq, sale.end.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="short_delivery" if newest.side > 0 else "out_of_tolerance",
            subject=subject,
            severity=self._severity(estimate, short=newest.side > 0),
            departments=(Department.MARKET_REGULATION,),
            onset=run[0].sale.start,
            detected_at=sale.end,
            explanation=self._explain(run, estimate),
            estimate=estimate,
            evidence=tuple(_evidence(c) for c in run[-self.settings.evidence_sales :]),
        )

    def _severity(self, estimate: Estimate, *, short: bool) -> Severity:
        """Nothing counted at all is more likely a dead channel than a cheat of that size: high, not critical."""
        size = abs(estimate.value)
        if estimate.unit != "%":
            return Severity.HIGH
        if not short:
            return Severity.MEDIUM if size > self.settings.tolerance_percent else Severity.LOW
        if size >= self.settings.critical_percent:
            return Severity.CRITICAL
        return Severity.HIGH if size > self.settings.tolerance_percent else Severity.MEDIUM

    def _verify_only(self, estimate: Estimate) -> bool:
        """Small, or the interval reaches the tolerance band: then the words ask for verification and claim no more."""
        if estimate.unit != "%":
            return True
        near = estimate.low if estimate.value > 0 else estimate.high
        return (
            abs(estimate.value) <= self.settings.verify_percent
            or near is None
            or abs(near) <= self.settings.tolerance_percent
            or (near > 0) != (estimate.value > 0)
        )

    def _explain(self, run: Sequence[Comparison], estimate: Estimate) -> Explanation:
        newest = run[-1]
        label = nozzle_label(newest.sale.nozzle_id)
        word = Text("少付", "short") if newest.side > 0 else Text("多付", "gives more")
        figure = percent(estimate.value) if estimate.unit == "%" else litres(estimate.value)
        verify = self._verify_only(estimate)
        return Explanation(
            title=title(
                label,
                f"{word.zh} {figure}{' 待核验' if verify else ''}",
                f"{word.en} {figure}{', verify' if verify else ''}",
            ),
            what=self._what(run, label, estimate),
            why=self._why(newest, estimate),
            otherwise=_otherwise(newest),
            on_site=_ON_SITE,
        )

    def _what(self, run: Sequence[Comparison], label: Text, estimate: Estimate) -> Text:
        newest = run[-1]
        sale = newest.sale
        one = _by_how_much(newest.side, newest.excess_l)
        all_of_them = _by_how_much(newest.side, math.fsum(c.excess_l for c in run))
        money = yuan(abs(newest.excess_l) * sale.unit_price)
        money_run = yuan(abs(math.fsum(c.excess_l * c.sale.unit_price for c in run)))
        own = percent(newest.excess_l / newest.counted_l * 100) if newest.counted_l > 0 else "—"
        pulses_zh = pulses_en = ""
        if newest.from_pulses:
            pulses_zh = f"（{sale.encoder_pulses:,} 个脉冲 × {newest.pulse_l:g} L）"
            pulses_en = f" ({sale.encoder_pulses:,} pulses × {newest.pulse_l:g} L)"
        tax_zh = f"，税控量 {litres(sale.tax_l)}" if sale.tax_l is not None else ""
        tax_en = f", tax volume {litres(sale.tax_l)}" if sale.tax_l is not None else ""
        write = percent if estimate.unit == "%" else litres
        low, high = ("—" if bound is None else write(bound) for bound in (estimate.low, estimate.high))
        since = local(run[0].sale.start, self.settings.utc_offset_h)
        sales = "1 sale" if len(run) == 1 else f"{len(run):,} sales in a row"
        return Text(
            zh=f"{label.zh}本笔（序号 {sale.seq}）显示 {litres(sale.volume_l)}，"
            f"编码器计 {litres(newest.counted_l)}{pulses_zh}{tax_zh}：{one.zh}（{own}），合 {money}。"
            f"自 {since} 起连续 {len(run):,} 笔，共{all_of_them.zh}，合 {money_run}，"
            f"{write(estimate.value)}（95% 区间 {low} 至 {high}）。",
            en=f"{label.en}, sale {sale.seq}: displayed {litres(sale.volume_l)}, encoder counted "
            f"{litres(newest.counted_l)}{pulses_en}{tax_en}: {one.en} ({own}), {money}. Since {since}, {sales}: "
            f"{all_of_them.en}, {money_run}, {write(estimate.value)} (95% interval {low} to {high}).",
        )

    def _why(self, newest: Comparison, estimate: Estimate) -> Text:
        settings = self.settings
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
        if estimate.unit != "%":
            zh += "编码器一个脉冲也没有：请先核验采集线路。"
            en += " The encoder counted nothing at all: verify the collector's line first."
        elif abs(estimate.value) <= settings.tolerance_percent:
            zh += f"误差在允差 {band} 以内：请核验，尚不能说明原因。"
            en += f" The error is inside the tolerance {band}: verify; it does not yet say why."
        elif self._verify_only(estimate):
            zh += f"误差略超允差 {band}，或区间触及允差线：超差，请核验。"
            en += f" The error is just beyond the tolerance {band}, or its interval is not: out of tolerance, verify."
        else:
            zh += f"误差及其区间都在允差 {band} 以外，计量磨损不改变这两个通道之比。"
            en += f" Error and interval are beyond the tolerance {band}; wear of the meter does not change this ratio."
        return Text(zh=zh, en=en)


def _overtaken(sale: Transaction, history: History) -> bool:
    """Whether a newer sale of the nozzle is known already."""
    newest = history.transactions(sale.nozzle_id, 1)
    return bool(newest) and (newest[-1].end, newest[-1].seq) > (sale.end, sale.seq)


def _settled(comparisons: Sequence[Comparison], here: int) -> bool:
    """Whether the run at ``here``, and any run after it that reaches ``here``, begins within what is known."""
    for i in range(here, len(comparisons)):
        if comparisons[i].side != 0:
            _, ended = run_ending_at(comparisons, i)
            if ended < 0:
                return False
            if ended > here:
                break
    return True


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


def _by_how_much(side: int, excess_l: float) -> Text:
    amount = litres(abs(excess_l))
    if side > 0:
        return Text(zh=f"少付 {amount}", en=f"customer short {amount}")
    return Text(zh=f"多付 {amount}", en=f"gives {amount} more")


def _otherwise(newest: Comparison) -> Text:
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
