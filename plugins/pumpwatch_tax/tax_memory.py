"""The rule ``tax_memory``: every sale must stand in tax control, litre for litre, in a memory that stays the same.

Tax control records each filling by itself. A sale it has no record of, or another volume of, was kept from it; another
serial number means that its memory, with all earlier sales in it, was taken out.
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
    DeviceIdentity,
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
    subject_of,
)
from pumpwatch.wording import dispenser_label, litres, local, nozzle_label, title, yuan
from pumpwatch_tax.circumstances import power_event, signed_repair, told

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch import StationPast

_LOOK = 40
"""How many earlier sales tell whether the nozzle has tax control, and how often it fails."""
_UNKNOWN_PAYMENT = 3
"""Where payments are not told, so many of the last sales must lack a record: one may be the station's own use."""
_DUST = 1e-6
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
    work_order_days: float = Field(
        7.0, ge=0.0, description="A work order explains a replaced memory seen this long after it, days."
    )
    work_order_late_days: float = Field(1.0, ge=0.0, description="… or this long before it, days.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class TaxMemory(RecordRule):
    """Sales without their tax record at the station; a replaced tax memory at its dispenser."""

    rule: ClassVar[str] = "tax_memory"
    Settings: ClassVar[type[PluginSettings]] = TaxMemorySettings
    watches: ClassVar[tuple[type, ...]] = (Transaction, DeviceEvent, DeviceIdentity)
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TAX})
    explains: ClassVar[frozenset[str]] = frozenset({"identity_change", "sequence_gap", "totalizer_rollback"})
    reach: ClassVar[int] = _LOOK
    patience: ClassVar[timedelta] = timedelta(seconds=20)
    settings: TaxMemorySettings

    about: ClassVar[About]

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one sale, or what a dispenser says of its tax memory."""
        if isinstance(record, Transaction):
            tax = record.tax_l
            if tax is not None and -self.settings.tolerance_l - _DUST <= tax - record.volume_l <= (
                self.settings.tolerance_l + _DUST
            ):
                return
            yield from self._unrecorded(record, history)
        elif isinstance(record, DeviceIdentity):
            if told(record.tax_serial):
                yield from self._replaced(record, str(record.tax_serial), history)
        elif isinstance(record, DeviceEvent) and record.kind is EventKind.IDENTITY and record.detail.get("tax_serial"):
            yield from self._replaced(record, str(record.detail["tax_serial"]), history)

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
        sales = [*known, sale]
        missing = [self._missing(s) for s in sales]
        if sale.payment is None and sale.tax_l is None and sum(missing) < _UNKNOWN_PAYMENT:
            return
        nozzle = subject_of(sale.nozzle_id, history)
        if sale.tax_l is None and self._memory_replaced(sale, nozzle, history):
            return
        told_today = sale.payment is not None and self._told_today(sales, missing, nozzle, history)
        calm = self._calm(sale, nozzle, history)
        if told_today and calm is None:
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

    def _calm(self, sale: Transaction, nozzle: Subject, history: History) -> DeviceEvent | WorkOrder | None:
        """What may honestly have kept a sale from tax control: power, or a repair."""
        minutes, day = timedelta(minutes=self.settings.power_minutes), timedelta(days=1)
        return power_event(history, nozzle, sale.start - minutes, sale.end + minutes) or signed_repair(
            history, nozzle, sale.end - day, sale.end + day
        )

    def _told_today(
        self, sales: Sequence[Transaction], missing: Sequence[bool], nozzle: Subject, history: History
    ) -> bool:
        """Whether an earlier sale of the nozzle on this local day has been told already: one a day is enough."""
        offset = timedelta(hours=self.settings.utc_offset_h)
        today = (sales[-1].end.astimezone(UTC) + offset).date()
        for sale in reversed(list(_of(sales[:-1], missing[:-1]))):
            if (sale.end.astimezone(UTC) + offset).date() != today:
                return False
            if sale.payment is not None and self._calm(sale, nozzle, history) is None:
                return True
        return False

    def _memory_replaced(self, sale: Transaction, nozzle: Subject, history: History) -> bool:
        """Whether the dispenser has said before that its tax memory is another: that finding holds this sale too."""
        since = sale.start - timedelta(hours=self.settings.memory_hours)
        return any(
            event.device_id == nozzle.dispenser_id and event.detail.get("tax_serial") is not None
            for event in history.events(nozzle.station_id, EventKind.IDENTITY, since, sale.end)
        )

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

    # ------------------------------------------------------------ another tax memory

    def _replaced(self, said: DeviceEvent | DeviceIdentity, serial: str, history: History) -> Iterator[Finding]:
        dispenser_id = said.device_id if isinstance(said, DeviceEvent) else said.dispenser_id
        dispenser = history.dispenser(dispenser_id)
        registered, observed = told(dispenser.tax_serial) if dispenser else None, told(serial)
        if registered is None or observed is None or registered.casefold() == observed.casefold():
            return
        subject = Subject(said.station_id, dispenser_id=dispenser_id)
        at = self._first_said(said, dispenser_id, observed, history)
        settings = self.settings
        order = signed_repair(
            history,
            subject,
            at - timedelta(days=settings.work_order_days),
            at + timedelta(days=settings.work_order_late_days),
        )
        label = dispenser_label(dispenser_id)
        moment = local(at, settings.utc_offset_h)
        yield Finding(
            id=finding_id(self.rule, subject, "tax_serial", observed.casefold()),
            rule=self.rule,
            cause="tax_memory_gap",
            subject=subject,
            severity=Severity.INFO if order is not None else Severity.CRITICAL,
            departments=(Department.TAX, Department.MARKET_REGULATION),
            onset=at,
            detected_at=at,
            explanation=Explanation(
                title=title(label, "税控存储器已更换", "tax memory replaced"),
                what=Text(
                    zh=f"{label.zh}在 {moment} 报告的税控序列号为 {observed}，登记为 {registered}："
                    "税控存储器换成了另一块，原存储器内的销售记录不在机上。",
                    en=f"{label.en} reported the tax serial {observed} at {moment}; {registered} is registered. The "
                    "tax memory is another one, and the sales in the old memory are no longer in the dispenser.",
                ),
                why=Text(
                    zh=f"有三方签字的工单（{local(order.at, settings.utc_offset_h)}），仅作记录。",
                    en=f"A work order with all three signatures stands beside it "
                    f"({local(order.at, settings.utc_offset_h)}); this is a note.",
                )
                if order is not None
                else Text(
                    zh=f"税控存储器只能凭工单更换；前 {settings.work_order_days:g} 天没有三方签字的工单。"
                    "换入较旧的存储器时，流水号回退并重复使用，起初数小时没有税控记录。",
                    en="A tax memory is replaced with a work order only; there is none with all three signatures in "
                    f"the {settings.work_order_days:g} days before. With an older memory the sequence numbers fall "
                    "back and are used again, and nothing is recorded until it is set up.",
                ),
                otherwise=Text(
                    zh="合法更换而工单未录入或签字不全；台账登记有误。",
                    en="A lawful replacement whose work order was not entered or not fully signed; a wrong entry in "
                    "the ledger.",
                ),
                on_site=Text(
                    zh="核对税控存储器铭牌与封印；读出新旧存储器的总累计并与泵码、交易记录核对；查工单和税务登记。",
                    en="Check the serial plate and seal of the tax memory; read the totals of the old and the new one "
                    "and compare them with totalizers and sales; look for the work order and the tax registration.",
                ),
            ),
            evidence=(
                Evidence(
                    "identity",
                    f"{dispenser_id}/tax_serial",
                    {"registered": registered, "observed": observed, "at": at.astimezone(UTC).isoformat()},
                ),
            ),
        )

    @staticmethod
    def _first_said(said: DeviceEvent | DeviceIdentity, dispenser_id: str, serial: str, history: History) -> datetime:
        """When an event first told of this serial, if one did: a dispenser says it again each minute."""
        since = said.at - timedelta(days=30)
        for event in history.events(said.station_id, EventKind.IDENTITY, since, said.at):
            name = told(event.detail.get("tax_serial"))
            if event.device_id == dispenser_id and name is not None and name.casefold() == serial.casefold():
                return event.at
        return said.at


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
    catches=("T01", "T02"),
    inputs="Displayed litres, tax litres and payment of each sale; tax serials that dispensers tell; power events; "
    "work orders.",
    statistic="For each sale `tax_l − volume_l`; for each dispenser the told tax serial against the registered one. "
    "The estimate is the share of sales kept from tax control since the first one (Wilson's interval, that one left "
    "out), over the nozzle's last 40 sales.",
    threshold="A sale that is not own use and has no tax record, or another one by more than `tolerance_l` (0.02 L: "
    "display and tax control round to 0.01 L, each by half a step, so honest sales differ by at most 0.01 L), where "
    "the nozzle's last 40 sales have at least one record. Where payments are not told: 3 of the last 40, because own "
    "use cannot be known. A tax serial that is not the registered one without a repair signed by all three.",
    power="Simulated T01 with 1, 5, 30, 98.99 and 99.5 % of the sales kept from tax control (70 stations in 6 "
    "counties): found on the first such sale every time, 2 h (1 %), 0.5 h (5 %) and 0.1 h (30 % and more) "
    "after the onset in the median. T02 with 1, 200 and 900 records and 0, 6 and 168 blank hours (30 "
    "dispensers): found at the identity event every time. No alarm in 577 honest nozzle-years with power "
    "cuts, own use, verifications and backfill. 0.6 µs an honest sale.",
    pitfalls="Own use is no sale and rightly has no record. A power event within 10 minutes and a signed repair within "
    "a day make it a note (`info`). Sales without record in the week after a replaced memory belong to that finding. A "
    "nozzle that never had tax control is without the channel and is not judged.",
    source="Two memories of one sale (D4 on the scenarios' page); GB/T 9081-2023.",
)
