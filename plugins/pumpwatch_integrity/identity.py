"""The rule ``identity_change``: what a dispenser says it is, against the ledger.

A swapped mainboard, patched firmware or another encoder shows a new serial number, version or digest. A change is
quiet when a work order signed by repairer, institute and station stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import ClassVar

from pydantic import Field

from pumpwatch import (
    Department,
    DeviceIdentity,
    Dispenser,
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
    WorkOrder,
    finding_id,
)
from pumpwatch.wording import dispenser_label, local, nozzle_label, title

_FIELDS: Mapping[str, Text] = {
    "serial": Text("出厂序列号", "serial number"),
    "mainboard_serial": Text("计控主板序列号", "mainboard serial"),
    "firmware_version": Text("程序版本", "firmware version"),
    "firmware_digest": Text("程序摘要", "software digest"),
    "tax_serial": Text("税控序列号", "tax serial"),
}
_ENCODER = Text("编码器序列号", "encoder serial")
_EXPLAINS = frozenset({"repair", "install", "verification"})


class IdentitySettings(PluginSettings):
    """Keys of ``[rules.identity_change]``."""

    work_order_days: float = Field(
        7.0, ge=0.0, description="A work order explains a change seen this long after it, days."
    )
    work_order_late_days: float = Field(1.0, ge=0.0, description="… or this long before it, days.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Change:
    """One field that is not what is registered."""

    field: str
    name: Text
    registered: str
    observed: str


def changes_of(identity: DeviceIdentity, dispenser: Dispenser) -> tuple[Change, ...]:
    """The dispenser's own fields that differ; capitals do not count, and what one side lacks is not judged."""
    return tuple(
        Change(field, name, registered, observed)
        for field, name in _FIELDS.items()
        if (registered := _told(getattr(dispenser, field))) is not None
        and (observed := _told(getattr(identity, field))) is not None
        and registered.casefold() != observed.casefold()
    )


class IdentityChange(RecordRule):
    """One finding a dispenser for its own fields, and one a nozzle for its encoder.

    A finding's id is made of the observed values, so a dispenser that says the same thing each minute is one finding;
    its onset is the time of the identity judged: of all findings with one id the earliest onset is the right one.
    """

    rule: ClassVar[str] = "identity_change"
    Settings: ClassVar[type[PluginSettings]] = IdentitySettings
    watches: ClassVar[tuple[type, ...]] = (DeviceIdentity,)
    settings: IdentitySettings

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one identity."""
        if not isinstance(record, DeviceIdentity):
            return
        dispenser = history.dispenser(record.dispenser_id)
        own = changes_of(record, dispenser) if dispenser is not None else ()
        encoders = self._encoder_changes(record, history)
        if (not own and not encoders) or self._explained(record, history):
            return
        if own:
            subject = Subject(record.station_id, dispenser_id=record.dispenser_id)
            yield self._finding(record, subject, dispenser_label(record.dispenser_id), own, "")
        for nozzle_id, change in encoders.items():
            subject = Subject(record.station_id, dispenser_id=record.dispenser_id, nozzle_id=nozzle_id)
            moved_from = _registered_at(change.observed, nozzle_id, record.dispenser_id, history)
            yield self._finding(record, subject, nozzle_label(nozzle_id), (change,), moved_from)

    def _encoder_changes(self, record: DeviceIdentity, history: History) -> dict[str, Change]:
        found = {}
        for nozzle_id, told in sorted(record.encoder_serials.items()):
            nozzle = history.nozzle(nozzle_id)
            registered = _told(nozzle.encoder_serial) if nozzle is not None else None
            observed = _told(told)
            if registered is not None and observed is not None and registered.casefold() != observed.casefold():
                found[nozzle_id] = Change("encoder_serial", _ENCODER, registered, observed)
        return found

    def _explained(self, record: DeviceIdentity, history: History) -> bool:
        """Whether a fully signed work order stands close enough to this observation."""
        earliest = record.at - timedelta(days=self.settings.work_order_days)
        latest = record.at + timedelta(days=self.settings.work_order_late_days)
        return any(
            order.station_id == record.station_id
            and order.kind in _EXPLAINS
            and earliest <= order.at <= latest
            and _fully_signed(order)
            for order in history.work_orders(record.dispenser_id, earliest)
        )

    def _finding(
        self, record: DeviceIdentity, subject: Subject, label: Text, changes: Sequence[Change], moved_from: str
    ) -> Finding:
        departments = [Department.MARKET_REGULATION]
        if any(c.field == "tax_serial" for c in changes):
            departments.append(Department.TAX)
        return Finding(
            id=finding_id(self.rule, subject, *(f"{c.field}={c.observed.casefold()}" for c in changes)),
            rule=self.rule,
            cause="identity_change",
            subject=subject,
            severity=Severity.CRITICAL,
            departments=tuple(departments),
            onset=record.at,
            detected_at=record.at,
            explanation=self._explain(record, label, changes, moved_from),
            evidence=tuple(
                Evidence(
                    kind="identity",
                    reference=f"{subject.key}/{c.field}",
                    data={
                        "registered": c.registered,
                        "observed": c.observed,
                        "at": record.at.astimezone(UTC).isoformat(),
                    },
                )
                for c in changes
            ),
        )

    def _explain(self, record: DeviceIdentity, label: Text, changes: Sequence[Change], moved_from: str) -> Explanation:
        if len(changes) == 1:
            head = Text(f"{changes[0].name.zh}不符", f"{changes[0].name.en} changed")
        else:
            head = Text(f"{len(changes)}项身份不符", f"identity: {len(changes)} fields changed")
        at = local(record.at, self.settings.utc_offset_h)
        days = self.settings.work_order_days
        here = nozzle_label(moved_from) if moved_from else None
        return Explanation(
            title=title(label, head.zh, head.en),
            what=Text(
                zh=f"{label.zh}在 {at} 报告的身份与台账不符："
                + "；".join(f"{c.name.zh} 登记 {c.registered}，实测 {c.observed}" for c in changes)
                + "。",
                en=f"{label.en} reported at {at} what is not registered: "
                + "; ".join(f"{c.name.en} registered {c.registered}, observed {c.observed}" for c in changes)
                + ".",
            ),
            why=Text(
                zh="计控主板、编码器和程序只能由维修单位更换，并经检定机构重新封印；"
                f"此前 {days:g} 天内没有三方签字的工单。",
                en="Mainboard, encoder and software are changed by a repairer only and sealed again by the institute; "
                f"there is no work order with all three signatures in the {days:g} days before.",
            ),
            otherwise=Text(
                zh=(f"该编码器登记在{here.zh}：可能两枪编码器或接线对调。" if here else "") + _OTHERWISE.zh,
                en=(f"This encoder is registered at {here.en}: encoders or wires swapped? " if here else "")
                + _OTHERWISE.en,
            ),
            on_site=_ON_SITE,
        )


_OTHERWISE = Text(
    zh="合法维修或程序升级而工单未录入、签字不全，或台账登记有误。",
    en="A lawful repair or software campaign whose work order was not entered or not fully signed; a wrong entry in "
    "the ledger.",
)
_ON_SITE = Text(
    zh="核对计量器、编码器、计控主板三处封印和铭牌序列号；读出程序摘要与型式批准对照；"
    "查工单；用 20 L 标准金属量器核验。",
    en="Check the three seals and the serial numbers on the parts; read the software digest and compare it with the "
    "type approval; look for the work order; verify with a 20 L standard can.",
)


def _told(value: str | None) -> str | None:
    """The text without blanks and padding; None when there is none."""
    return (value or "").strip(" \t\r\n\0") or None


def _fully_signed(order: WorkOrder) -> bool:
    return all(_told(name) for name in (order.signed_by_repairer, order.signed_by_institute, order.signed_by_station))


def _registered_at(serial: str, not_at: str, dispenser_id: str, history: History) -> str:
    """The nozzle of the same dispenser where this encoder is registered; empty if at none."""
    for nozzle in history.nozzles_of(dispenser_id):
        registered = _told(nozzle.encoder_serial)
        if nozzle.nozzle_id != not_at and registered is not None and registered.casefold() == serial.casefold():
            return nozzle.nozzle_id
    return ""
