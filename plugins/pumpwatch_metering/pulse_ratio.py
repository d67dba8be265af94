"""The rule ``pulse_ratio``: the displayed litres against the encoder's pulses times the certified litres a pulse.

A mainboard whose pulse equivalent was rewritten shows more litres than its encoder counted; one sale of ten litres is
enough to see half a per cent. The check is arithmetic between two channels, so wear of the meter does not show in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumpwatch import (
    About,
    Channel,
    Department,
    Finding,
    History,
    Nozzle,
    PluginSettings,
    Record,
    RecordRule,
    Severity,
    StationPast,
    Text,
    Transaction,
    WorkOrder,
    finding_id,
    subject_of,
)
from pumpwatch.wording import local_day
from pumpwatch_metering import uncounted
from pumpwatch_metering.orders import certifies, told_pulse_l
from pumpwatch_metering.pulse_words import evidence_of, explain, figure_of
from pumpwatch_metering.pulses import (
    FLOAT_DUST_L,
    Affair,
    Comparison,
    Pattern,
    PulseRatioSettings,
    affair_of,
    compare,
    error_estimate,
    pooled_percent,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Comparison", "PulseRatio", "PulseRatioSettings", "compare", "error_estimate"]

_LOOK_BACK = 60
"""Sales looked at behind an affected one: a busy day."""
_SAID = 20
"""When so many affected sales in a row have been told, the first of each local day is enough."""

ABOUT = About(
    title=Text("显示量与脉冲不符", "Display against pulses"),
    catches=("F01", "F18", "F19"),
    inputs=(
        "Of each filling `volume_l` (displayed) and `encoder_pulses`, else `encoder_l`; `unit_price` and `tax_l` for "
        "the text. Of the register the nozzle's certified `pulse_l`, and work orders with a certificate number that "
        "institute and station signed (an attribute `pulse_l` on one, less than 1 % from the registered one, is the "
        "value certified from then on). Pulses times the certified value come first: `encoder_l` may have been "
        "computed with the very value that was rewritten."
    ),
    statistic=(
        "Of one sale d = displayed − pulses × certified litres a pulse. An affected sale is told together with those "
        "of the last 60 that belong to it. **Steady**: the unbroken run; E = (Σ displayed − Σ counted) / Σ counted in "
        "%, with an interval for the quantisation of both channels, biased or not. A sale to the other side breaks a "
        "run, and so does one within its limit that would have shown the run's error; one too small to tell does not. "
        "**Scattered**: three or more affected ones among honest ones that would have shown the same, less than half "
        "of all: a jump at a key, or a display that does not return to zero. Then the mean of the affected ones with "
        "its t interval, in litres where their litres vary less than their percentages, else in %."
    ),
    threshold=(
        "|d| > 2 pulses × litres a pulse + 0.01 L (the step of the display): 0.03 L at 0.01 L a pulse, because each "
        'channel errs by less than one step at either end. Short by E: medium up to 0.30 % ("verify"), high above, '
        "critical from 1 %. To the customer's favour: low, medium above 0.30 %. Nothing counted at all is high: "
        "verify the collector's line. Every affected sale is told, but of a run of more than 20 the first of each "
        "local day only. A sale without its pulses at a nozzle that counts is a note, from the third of "
        "its last 61 on a low alarm; at more than one in ten of 121 the channel comes and goes, and this rule says "
        "nothing; `blanked_counts` does where only one nozzle is so."
    ),
    power=(
        "Found on the first sale that shows it at all of 5 stations and seeds each: F01 of 0.5, 1, 2, 3 and 5 % (of "
        "the sales at 0.5 % 99.8 % show it: all from 9 L on), F18 with jumps of 1–2 % and of 5–10 % at 1 and 5 % of "
        "the sales (328 of 328 jumps), F19 with 0.05–0.1 L and 0.2–0.5 L (333 of 333). E of F01 within 0.005 points "
        "of the truth after 60 sales at the three that were looked at. 0 false alarms in 457 simulated honest "
        "nozzle-years, 218 of them with verification draws, power cuts, back-filled outages, price changes, "
        "recalibrations, roll-overs and seven wrong clocks a station."
    ),
    pitfalls=(
        "A verification may change the litres a pulse before the register knows. A certified work order within 30 "
        "days, signed by institute and station, explains a steady change of less than 1 % when every sale since shows "
        "it and the last one before did not: told once, as a note up to 0.30 %, low above. Never more: a paper can be "
        "made. Lost pulses look like a short delivery only where they are lost between encoder "
        "and collector while the mainboard's own line counts them. Blind to pulses added at the encoder, to a "
        "mainboard that rewrites the pulses as well, to the adjuster and to a by-pass: those show in the tank."
    ),
    source=(
        "JJG 443-2015 and 443-2023 (tolerance ±0.30 %, self-lock on an abnormal pulse equivalent); anti-cheat "
        "systems before 2015 lock at ±0.6 % on five sales (code 64)."
    ),
)


class PulseRatio(RecordRule):
    """Displayed litres against counted litres, sale by sale."""

    rule: ClassVar[str] = "pulse_ratio"
    Settings: ClassVar[type[PluginSettings]] = PulseRatioSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.ENCODER})
    watches: ClassVar[tuple[type, ...]] = (Transaction,)
    explains: ClassVar[frozenset[str]] = frozenset({"short_delivery"})
    reach: ClassVar[int] = max(_LOOK_BACK, uncounted.LOOK_BACK)
    settings: PulseRatioSettings
    about: ClassVar[About] = ABOUT

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one sale."""
        if not isinstance(record, Transaction):
            return
        nozzle = history.nozzle(record.nozzle_id)
        if nozzle is not None and nozzle.pulse_l and record.encoder_pulses is not None:
            # The usual case first: nearly every sale ends here.
            limit = self.settings.tolerance_pulses * nozzle.pulse_l + self.settings.resolution_l
            if abs(record.volume_l - record.encoder_pulses * nozzle.pulse_l) <= limit:
                return
        if record.encoder_pulses is None and (missing := uncounted.missing(record, history, self.settings)) is not None:
            yield missing
        judged = compare(record, nozzle, self.settings)
        if judged is None or judged.side == 0:
            return
        order = self._certified(record, nozzle, history)
        told = self._told(order, nozzle)
        before = history.before(record, _LOOK_BACK)
        if order is not None and told is not None:
            by_paper = compare(record, told, self.settings)
            if by_paper is not None and by_paper.side != 0:
                compared = (compare(s, told if s.start >= order.at else nozzle, self.settings) for s in before)
                known = [*(c for c in compared if c is not None), by_paper]
                if not self._said(known):
                    yield self._finding(affair_of(known, self.settings.resolution_l), history)
                return
        compared = (compare(sale, nozzle, self.settings) for sale in before)
        known = [*(c for c in compared if c is not None), judged]
        affair = affair_of(known, self.settings.resolution_l)
        if order is not None and (told is not None or self._explained(affair, order)):
            if sum(c.side == judged.side for c in known if c.sale.start >= order.at) == 1:
                yield self._finding(replace(affair, order=order), history)
        elif not self._said(known):
            yield self._finding(affair, history)

    def screen(self, past: StationPast) -> NDArray[np.bool_]:
        """Which fillings differ from their counts by more than the limit, or lack pulses at a nozzle that counts."""
        settings, sales = self.settings, past.sales
        registered = [past.nozzle_by_id.get(nozzle_id) for nozzle_id in sales.nozzle_ids]
        told = np.array([(n.pulse_l or 0.0) if n is not None else 0.0 for n in registered] or [0.0])
        certified = np.where(told > 0.0, told, np.nan)[sales.nozzle]
        counted = sales.encoder_pulses * certified
        counted = np.where(np.isnan(counted), sales.encoder_l, counted)
        pulse_l = np.where(np.isnan(certified), settings.assumed_pulse_l, certified)
        limit = settings.tolerance_pulses * pulse_l + settings.resolution_l
        worth: NDArray[np.bool_] = np.abs(sales.volume_l - counted) > limit
        counts = np.zeros(max(len(sales.nozzle_ids), 1), bool)
        counts[sales.nozzle[~np.isnan(counted)]] = True
        worth |= np.isnan(sales.encoder_pulses) & counts[sales.nozzle]
        return worth

    def _said(self, known: Sequence[Comparison]) -> bool:
        """Whether enough was said of this run today."""
        run = known[-1 - _SAID :]
        offset = self.settings.utc_offset_h
        return (
            len(run) > _SAID
            and all(c.side == run[-1].side for c in run)
            and local_day(run[-1].sale.end, offset) == local_day(run[-2].sale.end, offset)
        )

    def _certified(self, sale: Transaction, nozzle: Nozzle | None, history: History) -> WorkOrder | None:
        """The latest certified work order on the nozzle or its dispenser before the sale."""
        since = sale.start - timedelta(days=400)
        devices = (sale.nozzle_id,) if nozzle is None else (sale.nozzle_id, nozzle.dispenser_id)
        orders = (order for device in devices for order in history.work_orders(device, since))
        signed = [o for o in orders if certifies(o) and o.at <= sale.start]
        return max(signed, key=lambda o: (o.at, o.device_id), default=None)

    def _told(self, order: WorkOrder | None, nozzle: Nozzle | None) -> Nozzle | None:
        """The nozzle with the litres a pulse of the certificate, if those are about the registered ones."""
        value = None if order is None else told_pulse_l(order)
        if value is None or nozzle is None or not nozzle.pulse_l:
            return None
        return replace(nozzle, pulse_l=value) if self._small(100.0 * (value / nozzle.pulse_l - 1.0)) else None

    def _small(self, size: float) -> bool:
        """Whether a paper may explain a change of so many per cent: never what would be critical."""
        return abs(size) <= self.settings.certificate_percent and abs(size) < self.settings.critical_percent

    def _explained(self, affair: Affair, order: WorkOrder) -> bool:
        """Whether the ratio changed, by little and for good, with the certified work order and not at another time.

        Every sale known since must show it, and one before must not.
        """
        sale, estimate = affair.newest.sale, affair.estimate
        if sale.start - order.at > timedelta(days=self.settings.certificate_days) or estimate.unit != "%":
            return False
        if not self._small(estimate.value) or affair.pattern is not Pattern.STEADY:
            return False
        before = [c for c in affair.known if c.sale.start < order.at]
        begun = affair.affected[0].sale.start
        clean = not before or (before[-1].side == 0 and begun >= order.at)
        share = estimate.value / 100.0
        since = [c for c in affair.known if c.sale.start >= order.at]
        return clean and all(abs(c.excess_l - share * c.counted_l) <= c.limit_l + FLOAT_DUST_L for c in since)

    def _finding(self, affair: Affair, history: History) -> Finding:
        newest, sale = affair.newest, affair.newest.sale
        subject = subject_of(sale.nozzle_id, history)
        short = newest.side > 0 and affair.order is None
        return Finding(
            id=finding_id(self.rule, subject, sale.seq, sale.end.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="short_delivery" if short else "out_of_tolerance",
            subject=subject,
            severity=self._severity(affair, short=short),
            departments=(Department.MARKET_REGULATION,),
            onset=affair.affected[0].sale.start,
            detected_at=sale.end,
            explanation=explain(affair, self.settings),
            estimate=affair.estimate,
            evidence=evidence_of(affair, self.settings.evidence_sales),
            figures=(figure_of(affair),),
        )

    def _severity(self, affair: Affair, *, short: bool) -> Severity:
        """Nothing counted at all is more likely a dead channel than a cheat of that size: high, not critical."""
        size = pooled_percent(affair)
        if affair.order is not None:
            inside = size is not None and abs(size) <= self.settings.tolerance_percent
            return Severity.INFO if inside else Severity.LOW
        if size is None:
            return Severity.HIGH
        if not short:
            return Severity.MEDIUM if abs(size) > self.settings.tolerance_percent else Severity.LOW
        if size >= self.settings.critical_percent:
            return Severity.CRITICAL
        return Severity.HIGH if size > self.settings.tolerance_percent else Severity.MEDIUM
