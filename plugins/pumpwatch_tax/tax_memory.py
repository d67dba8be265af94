"""The rule ``tax_memory``: every sale must stand in tax control, litre for litre.

Tax control records each filling by itself: a sale it has no record of, or another volume of, was kept from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Channel,
    Curve,
    Department,
    DeviceEvent,
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
    Subject,
    Text,
    Transaction,
    WorkOrder,
    finding_id,
    is_unheard,
    subject_of,
)
from pumpwatch.wording import litres, local, nozzle_label, title, yuan
from pumpwatch_tax.circumstances import power_events, signed_repair
from pumpwatch_tax.tax_serial import SERIALS_BACK, other_serial

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch import StationPast

_LOOK = 40
"""How many earlier sales tell whether the nozzle has tax control, and how often it fails."""
_UNKNOWN_PAYMENT = 3
"""Where payments are not told, so many of the last sales must lack a record: one may be the station's own use."""
_DUST = 1e-6
_POWER_LOOK = timedelta(days=14)
_Z95 = 1.96


class TaxMemorySettings(PluginSettings):
    """Keys of ``[rules.tax_memory]``."""

    tolerance_l: float = Field(0.02, gt=0.0, description="What rounding may make between display and tax, litres.")
    untaxed_payments: tuple[str, ...] = Field(
        ("own_use",), description="Payments that are no sale, so that tax control rightly has no record."
    )
    power_minutes: float = Field(
        10.0, ge=0.0, description="A power event this near a sale may have kept it from tax control, minutes."
    )
    memory_hours: float = Field(
        168.0, ge=0.0, description="So long after its memory was replaced, sales without record belong to that, hours."
    )
    power_a_day: int = Field(2, ge=0, description="So many sales of a nozzle a day may be lost beside power events.")
    power_days: int = Field(
        4, ge=1, description="Power events on more of the last 14 days than this say nothing for a sale."
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class TaxMemory(RecordRule):
    """Sales without their tax record, at the station."""

    rule: ClassVar[str] = "tax_memory"
    Settings: ClassVar[type[PluginSettings]] = TaxMemorySettings
    watches: ClassVar[tuple[type, ...]] = (Transaction,)
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TAX})
    reach: ClassVar[int] = _LOOK
    patience: ClassVar[timedelta] = timedelta(seconds=20)
    settings: TaxMemorySettings

    about: ClassVar[About]

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one sale."""
        if not isinstance(record, Transaction):
            return
        tax, most = record.tax_l, self.settings.tolerance_l + _DUST
        if tax is None or not -most <= tax - record.volume_l <= most:
            yield from self._unrecorded(record, history)

    def screen(self, past: StationPast) -> NDArray[np.bool_]:
        """Sales without a tax volume, or with another one, that were not the station's own use."""
        sales = past.sales
        worth = ~(np.abs(sales.tax_l - sales.volume_l) <= self.settings.tolerance_l)
        for payment in self.settings.untaxed_payments:
            worth &= ~sales.is_paid(payment)
        return worth

    # ------------------------------------------------------------ a sale that is not in tax control

    def _unrecorded(self, sale: Transaction, history: History) -> Iterator[Finding]:
        if sale.payment in self.settings.untaxed_payments or not math.isfinite(sale.volume_l):
            return
        if sale.tax_l is not None and not math.isfinite(sale.tax_l):
            return
        known = [s for s in history.before(sale, _LOOK) if s.payment not in self.settings.untaxed_payments]
        if not any(s.tax_l is not None for s in known):
            return  # this nozzle has no tax control, or none that was ever seen
        nozzle = subject_of(sale.nozzle_id, history)
        sales = _heard([*known, sale], nozzle, history)
        if not sales or sales[-1] is not sale:
            return
        told_today, calm = self._today(sales, nozzle, history)
        if told_today and calm is None:
            return
        if sale.tax_l is None and self._memory_replaced(sale, nozzle, history):
            return
        missing = [self._missing(s) for s in sales]
        if sale.payment is None and sale.tax_l is None and sum(missing) < _UNKNOWN_PAYMENT:
            return
        subject = Subject(nozzle.station_id)
        share = _share(missing)
        yield Finding(
            id=finding_id(self.rule, subject, sale.nozzle_id, sale.seq, sale.end.astimezone(UTC).isoformat()),
            rule=self.rule,
            cause="tax_memory_gap",
            subject=subject,
            severity=Severity.HIGH if calm is None else Severity.INFO,
            departments=(Department.TAX,),
            onset=sales[missing.index(True)].start,
            detected_at=sale.end,
            explanation=self._explain(sale, sum(missing), len(sales), share, calm),
            estimate=share,
            evidence=(
                _sale_evidence(sale),
                Evidence(
                    "tax_memory",
                    sale.nozzle_id,
                    {
                        "sales_looked_at": len(sales),
                        "without_tax_record": sum(missing),
                        "litres": round(sum(s.volume_l - (s.tax_l or 0.0) for s in _of(sales, missing)), 2),
                        "cny": round(sum(s.amount_cny - (s.tax_cny or 0.0) for s in _of(sales, missing)), 2),
                    },
                ),
            ),
            figures=(_figure(sales, missing),),
        )

    def _missing(self, sale: Transaction) -> bool:
        return sale.tax_l is None or abs(sale.tax_l - sale.volume_l) > self.settings.tolerance_l + _DUST

    def _today(
        self, sales: Sequence[Transaction], nozzle: Subject, history: History
    ) -> tuple[bool, DeviceEvent | WorkOrder | None]:
        """Whether the nozzle had such a sale on the last one's local day, and what may have kept the last one.

        One alarm a day is enough. A repair speaks for all sales beside it, power events for ``power_a_day`` of a day.
        """
        offset = timedelta(hours=self.settings.utc_offset_h)
        local_end = sales[-1].end.astimezone(UTC) + offset
        midnight = local_end.replace(hour=0, minute=0, second=0, microsecond=0) - offset
        mine = [sale for sale in sales if sale.end >= midnight and self._missing(sale)]
        day = timedelta(days=1)
        repaired = signed_repair(history, nozzle, mine[0].end - day, mine[-1].end + day) is not None
        minutes = timedelta(minutes=self.settings.power_minutes)
        since, until = min(sale.start for sale in mine) - minutes, mine[-1].end + minutes
        if not repaired and not power_events(history, nozzle, since, until):
            told_today = sales[-1].payment is not None and any(sale.payment is not None for sale in mine[:-1])
            return told_today, None
        told_today, by_power = False, 0
        calm: DeviceEvent | WorkOrder | None = None
        for sale in mine:
            calm = signed_repair(history, nozzle, sale.end - day, sale.end + day) if repaired else None
            if calm is None and by_power < self.settings.power_a_day:
                calm = self._power(sale, nozzle, history)
                by_power += calm is not None
            told_today |= calm is None and None not in (sale.payment, sales[-1].payment) and sale is not sales[-1]
        return told_today, calm

    def _power(self, sale: Transaction, nozzle: Subject, history: History) -> DeviceEvent | None:
        """A power event that may have kept a sale from tax control; none where there is one every few days."""
        minutes = timedelta(minutes=self.settings.power_minutes)
        near = power_events(history, nozzle, sale.start - minutes, sale.end + minutes)
        if not near:
            return None
        offset = timedelta(hours=self.settings.utc_offset_h)
        events = power_events(history, nozzle, sale.end - _POWER_LOOK, sale.end + minutes)
        days = {(event.at.astimezone(UTC) + offset).date() for event in events}
        return near[0] if len(days) <= self.settings.power_days else None

    def _memory_replaced(self, sale: Transaction, nozzle: Subject, history: History) -> bool:
        """Whether the dispenser said lately, for the first time, that its tax memory is another than registered.

        That finding holds this sale too. To say it again makes the time no longer.
        """
        since = sale.start - timedelta(hours=self.settings.memory_hours)
        serials: dict[str, datetime] = {}
        for event in history.events(nozzle.station_id, EventKind.IDENTITY, since - SERIALS_BACK, sale.end):
            if event.device_id == nozzle.dispenser_id and (serial := other_serial(event, history)):
                serials.setdefault(serial.casefold(), event.at)
        return any(at >= since for at in serials.values())

    def _explain(
        self,
        sale: Transaction,
        missing: int,
        looked: int,
        share: Estimate,
        calm: DeviceEvent | WorkOrder | None,
    ) -> Explanation:
        label = nozzle_label(sale.nozzle_id)
        end = local(sale.end, self.settings.utc_offset_h)
        absent = sale.tax_l is None
        taxed = litres(sale.tax_l or 0.0)
        had = Text("没有记录", "no record") if absent else Text(f"记为 {taxed}", taxed)
        short_l, short_cny = sale.volume_l - (sale.tax_l or 0.0), sale.amount_cny - (sale.tax_cny or 0.0)
        why_zh, why_en = _WHY if calm is None else _CALM_WHY
        return Explanation(
            title=title(
                label,
                "税控缺一笔" if absent else "税控量不符",
                "sale without tax record" if absent else "tax volume differs",
            ),
            what=Text(
                zh=f"{label.zh} {end} 的一笔（序号 {sale.seq}）显示 {litres(sale.volume_l)}、{yuan(sale.amount_cny)}，"
                f"税控{had.zh}：差 {litres(short_l)}，合 {yuan(short_cny)}。该枪最近 {looked} 笔中 {missing} 笔如此"
                f"（{share.value:.0f}%，95% 区间 {share.low:.0f}–{share.high:.0f}%）。",
                en=f"{label.en}, sale {sale.seq} at {end}: displayed {litres(sale.volume_l)}, {yuan(sale.amount_cny)}; "
                f"tax control: {had.en}. Missing {litres(short_l)}, {yuan(short_cny)}. So it is with {missing} of "
                f"the nozzle's last {looked} sales ({share.value:.0f}%, 95% interval {share.low:.0f} to "
                f"{share.high:.0f}%).",
            ),
            why=Text(zh=why_zh, en=why_en),
            otherwise=_OTHERWISE,
            on_site=_ON_SITE,
        )


def _heard(sales: Sequence[Transaction], nozzle: Subject, history: History) -> list[Transaction]:
    """Those of a nozzle, in the order of their ends, but for which the tax port itself could not be heard.

    Of the others nobody knows what stands in tax control.
    """
    moment = timedelta(microseconds=1)
    events = history.events(nozzle.station_id, EventKind.ALARM, sales[0].end, sales[-1].end + moment)
    alarms = [event for event in events if event.device_id == nozzle.nozzle_id]
    return [s for s in sales if s.tax_l is not None or not is_unheard(alarms, s, "tax")] if alarms else list(sales)


def _of(sales: Sequence[Transaction], chosen: Sequence[bool]) -> Iterator[Transaction]:
    return (sale for sale, is_chosen in zip(sales, chosen, strict=True) if is_chosen)


def _share(missing: Sequence[bool]) -> Estimate:
    """Share of sales that are kept from tax control since the first one that was, in %, with Wilson's interval.

    The first is left out: it is why we count from there. So the first record says 0 to 100 %. For the upper end one
    recorded sale is left out too: without one in the last forty nothing would have been told.
    """
    since = list(missing[missing.index(True) + 1 :])
    n, k = len(since), sum(since)
    if n == 0:
        return Estimate(50.0, "%", 0.0, 100.0, 0.95)
    low, middle, _ = _wilson(k, n)
    high = _wilson(k, n - 1)[2] if k < n and n > 1 else 1.0
    return Estimate(round(100 * middle, 2), "%", round(100 * low, 2), round(100 * high, 2), 0.95)


def _wilson(k: int, n: int) -> tuple[float, float, float]:
    """Lower end, middle and upper end of the 95 % interval of a share of k in n."""
    z2 = _Z95**2
    middle = (k + z2 / 2) / (n + z2)
    half = _Z95 * math.sqrt(k * (n - k) / n + z2 / 4) / (n + z2)
    return max(0.0, middle - half), middle, min(1.0, middle + half)


def _sale_evidence(sale: Transaction) -> Evidence:
    return Evidence(
        "transaction",
        f"{sale.nozzle_id}/{sale.seq}",
        {
            "end": sale.end.astimezone(UTC).isoformat(),
            "displayed_l": sale.volume_l,
            "amount_cny": sale.amount_cny,
            "tax_l": sale.tax_l,
            "tax_cny": sale.tax_cny,
            "payment": sale.payment,
        },
    )


def _figure(sales: Sequence[Transaction], missing: Sequence[bool]) -> Figure:
    def points(chosen: list[Transaction], litre: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return tuple(s.end.timestamp() for s in chosen), tuple(float(getattr(s, litre) or 0.0) for s in chosen)

    x, shown = points(list(sales), "volume_l")
    _, taxed = points(list(sales), "tax_l")
    bad_x, bad = points(list(_of(sales, missing)), "volume_l")
    return Figure(
        title=Text("显示量与税控量", "Displayed and taxed litres"),
        x=Text("时间", "time"),
        y=Text("每笔升数 (L)", "litres a sale (L)"),
        curves=(
            Curve(Text("显示", "displayed"), x, shown, "points"),
            Curve(Text("税控", "tax control"), x, taxed, "bars"),
            Curve(Text("税控缺失", "not in tax control"), bad_x, bad, "points", alarm=True),
        ),
    )


_WHY = (
    "税控装置独立记录每一笔加油，诚实时升数与显示完全一致；付款方式不是自用，该枪其他各笔均有税控记录。",
    "Tax control records every filling by itself, and honest litres are the same; this was not paid as own use, and "
    "the nozzle's other sales are recorded.",
)
_CALM_WHY = (
    "附近有停电事件或三方签字的工单，可能因此未记入税控：仅作记录，请补录核对。",
    "A power event or a signed work order stands beside it and may be why: a note; have the sale entered and compared.",
)
_OTHERWISE = Text(
    zh="加油中途停电；税控装置或其接口故障；自用油、回罐油未按自用登记。",
    en="A power cut in mid-sale; a fault of tax control or its line; own use or a test return that was not booked as "
    "such.",
)
_ON_SITE = Text(
    zh="读出税控总累计与泵码总累计比较；打印当日税控明细与交易记录逐笔核对；检查税控接口有无旁路和封印。",
    en="Read the totals of tax control and the totalizers and compare; print the tax list of the day and go through it "
    "sale by sale; look for a by-pass at the tax interface and at its seal.",
)
TaxMemory.about = About(
    title=Text("税控存储", "Tax memory"),
    catches=("T01",),
    inputs="Displayed litres, tax litres and payment of each sale; power events; work orders; tax serials.",
    statistic="For each sale `tax_l − volume_l`. The estimate is the share of sales kept from tax control since the "
    "first one (Wilson's interval, that one left out), over the nozzle's last 40 sales.",
    threshold="A sale that is not own use and has no tax record, or another one by more than `tolerance_l` (0.02 L: "
    "display and tax control round to 0.01 L, each by half a step, so honest sales differ by at most 0.01 L), where "
    "the nozzle's last 40 sales have at least one record. Where payments are not told: 3 of the last 40, because own "
    "use cannot be known. A tax serial that is not the registered one without a repair signed by all three.",
    power="Simulated T01 with 1, 5, 30, 98.99 and 99.5 % of the sales kept from tax control (70 stations in 6 "
    "counties): found on the first such sale every time, 2 h (1 %), 0.5 h (5 %) and 0.1 h (30 % and more) "
    "after the onset in the median. No alarm in 577 honest nozzle-years with power "
    "cuts, own use, verifications and backfill. 0.6 µs an honest sale.",
    pitfalls="Own use is no sale and rightly has no record. A power event within 10 minutes makes it a note (`info`), "
    "for two sales of a nozzle a day and while there was power trouble on at most four of the last 14 days; so does a "
    "repair within a day that all three have signed. Sales without record in the week after a dispenser first told a "
    "tax serial that is not registered belong to `tax_serial`. A nozzle that never had tax control is without the "
    "channel and is not judged, nor is a sale at which a separate tax port could not be heard "
    "(event `channel_unheard`).",
    source="Two memories of one sale (D4 on the scenarios' page); GB/T 9081-2023.",
)
