"""The rule ``tax_serial``: the tax memory of a dispenser must stay the registered one.

Another serial number means that the memory, with all earlier sales in it, was taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from pydantic import Field

from pumpwatch import (
    About,
    Department,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    Evidence,
    Explanation,
    Finding,
    History,
    PluginSettings,
    Record,
    RecordRule,
    Severity,
    Subject,
    Text,
    finding_id,
    same_serial,
)
from pumpwatch.wording import dispenser_label, local, title
from pumpwatch_tax.circumstances import signed_repair, told

SERIALS_BACK: Final = timedelta(days=30)
"""How far back it is looked for when a dispenser first told its serial."""


class TaxSerialSettings(PluginSettings):
    """Keys of ``[rules.tax_serial]``."""

    work_order_days: float = Field(
        7.0, ge=0.0, description="A work order explains a replaced memory seen this long after it, days."
    )
    work_order_late_days: float = Field(1.0, ge=0.0, description="… or this long before it, days.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class TaxSerial(RecordRule):
    """A replaced tax memory, at its dispenser."""

    rule: ClassVar[str] = "tax_serial"
    Settings: ClassVar[type[PluginSettings]] = TaxSerialSettings
    watches: ClassVar[tuple[type, ...]] = (DeviceEvent, DeviceIdentity)
    explains: ClassVar[frozenset[str]] = frozenset({"identity_change", "sequence_gap", "totalizer_rollback"})
    settings: TaxSerialSettings

    about: ClassVar[About]

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge what a dispenser says of its tax memory."""
        if isinstance(record, DeviceIdentity) or (
            isinstance(record, DeviceEvent) and record.kind is EventKind.IDENTITY
        ):
            observed = other_serial(record, history)
            if observed is not None:
                yield self._replaced(record, observed, history)

    def _replaced(self, said: DeviceEvent | DeviceIdentity, observed: str, history: History) -> Finding:
        dispenser_id = said.device_id if isinstance(said, DeviceEvent) else said.dispenser_id
        dispenser = history.dispenser(dispenser_id)
        registered = told(dispenser.tax_serial) if dispenser else None
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
        return Finding(
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
        since = said.at - SERIALS_BACK
        for event in history.events(said.station_id, EventKind.IDENTITY, since, said.at):
            name = told(event.detail.get("tax_serial"))
            if event.device_id == dispenser_id and name is not None and name.casefold() == serial.casefold():
                return event.at
        return said.at


def other_serial(said: DeviceEvent | DeviceIdentity, history: History) -> str | None:
    """The tax serial that is told and is not the registered one; None also where none is registered."""
    if isinstance(said, DeviceEvent):
        dispenser, serial = history.dispenser(said.device_id), said.detail.get("tax_serial")
    else:
        dispenser, serial = history.dispenser(said.dispenser_id), said.tax_serial
    registered, observed = told(dispenser.tax_serial) if dispenser else None, told(serial)
    if registered is None or observed is None or same_serial(registered, observed):
        return None
    return observed


TaxSerial.about = About(
    title=Text("税控存储器更换", "Tax memory replaced"),
    catches=("T02",),
    inputs="Tax serials that dispensers tell; the register; work orders.",
    statistic="The told tax serial against the registered one, without blanks and case.",
    threshold="Exact: another serial without a repair signed by all three within a week before or a day after is "
    "critical, with one it is a note (`info`). Told again, it is the same finding.",
    power="Simulated T02 with 1, 200 and 900 records and 0, 6 and 168 blank hours (30 dispensers): found at the "
    "identity event every time. No alarm in 577 honest nozzle-years.",
    pitfalls="Where no serial is registered, or none is told, nothing is said. A register that was not brought up to "
    "date after a lawful replacement. What else the dispenser says of itself at the same time, and numbers and "
    "totalizers that break with it, go into this alarm; those of other dispensers do not.",
    source="A memory replaced to be rid of its sales (D4 on the scenarios' page); GB/T 9081-2023.",
)
