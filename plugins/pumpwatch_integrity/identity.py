"""The rule ``identity_change``: what a dispenser says it is, against the ledger.

A swapped mainboard, patched firmware or another encoder shows a new serial number, version or digest. A change that a
signed work order stands beside is told as such and is no alarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from pydantic import Field

from pumpwatch import (
    About,
    Channel,
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
    WorkOrder,
    finding_id,
)
from pumpwatch.wording import dispenser_label, local, nozzle_label, title
from pumpwatch_integrity.parts import CERTIFIES, ENCODER, Change, Cover, changes_of, cover, identity_told, number, told
from pumpwatch_integrity.timelines import parts_timeline, work_before

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


class IdentitySettings(PluginSettings):
    """Keys of ``[rules.identity_change]``."""

    work_order_days: float = Field(
        7.0, ge=0.0, description="A work order explains a change seen this long after it, days."
    )
    work_order_late_days: float = Field(1.0, ge=0.0, description="… or this long before it, days.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class IdentityChange(RecordRule):
    """One finding a dispenser for its own fields, and one a nozzle for its encoder.

    A finding's id is made of the observed values, so a dispenser that says the same thing each minute is one finding;
    its onset is the time of the identity judged: of all findings with one id the earliest onset is the right one.
    """

    rule: ClassVar[str] = "identity_change"
    Settings: ClassVar[type[PluginSettings]] = IdentitySettings
    watches: ClassVar[tuple[type, ...]] = (DeviceIdentity, DeviceEvent)
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.IDENTITY})
    explains: ClassVar[frozenset[str]] = frozenset({"identity_change", "sequence_gap", "totalizer_rollback"})
    about: ClassVar[About] = About(
        title=Text("身份变更", "Identity changed"),
        catches=("F14", "F15", "F17", "F02", "F05", "T02"),
        inputs="Identities that dispensers tell (serial, mainboard serial, firmware version and digest, tax serial, "
        "encoder serials) and events of kind `identity` with the same fields in their detail; the ledger's entries of "
        "the dispenser and its nozzles; work orders of the nozzle, the dispenser and the station.",
        statistic="Equality, field by field, without blanks, padding and capitals. What one side lacks is not judged. "
        "All changed fields of a dispenser make one finding, a changed encoder one of its own at its nozzle.",
        threshold="Any difference is critical. It is a note (info) when a work order of kind `repair`, `install` or "
        "`verification`, dated from `work_order_days` before to `work_order_late_days` after, is signed by repairer, "
        "institute and station; a repair and the verification that follows it count as one, "
        "unless that found more than ±0.30 %. Signed by repairer and "
        "station only it is a note too, for then `unverified_repair` watches the first sale (an order without words "
        "counts for a day then), and low where tax control is another one; an order for the whole station needs the "
        "institute in any case. But another digest under the same version is no upgrade and stays critical. An order "
        "whose words are about another part explains nothing; one that names every new value explains it for ever.",
        power="Found at the first identity that shows it: F14 12 of 12, F15 12 of 12, F17 12 of 12, T02 12 of 12, F02 "
        "8 of 8, F05 27 of 27 dispensers (four fleets of 38 stations, 0.5 to 5 %, a campaign running). No false alarm "
        "over 1,218 honest nozzle-years with the honest scenarios in them; 7 µs an honest identity, 1 µs an event.",
        pitfalls="The ledger is to be brought up to date within `work_order_days` of the work, or the new part is "
        "reported as unregistered. A verification alone explains nothing: it changes no part. Two nozzles whose "
        "encoders are exchanged are two findings, and say so. Blind to software that tells the old digest and "
        "version, and where nothing is registered.",
        source="JJG 443-2023 (software identification, list of parts as in the type approval, three seals); "
        "GB/T 9081-2023 (life-long check of key parts).",
    )
    settings: IdentitySettings

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one identity."""
        if isinstance(record, DeviceEvent):
            if record.kind is not EventKind.IDENTITY:
                return
            identity = identity_told(record, lambda name: n.dispenser_id if (n := history.nozzle(name)) else None)
        else:
            identity = record if isinstance(record, DeviceIdentity) else None
        if identity is None:
            return
        station, own_id = identity.station_id, identity.dispenser_id
        dispenser = history.dispenser(own_id)
        own = changes_of(identity, dispenser) if dispenser is not None else ()
        if own:
            nozzles = [nozzle.nozzle_id for nozzle in history.nozzles_of(own_id)]
            yield self._finding(identity, Subject(station, own_id), own, (own_id, station), nozzles, history)
        for nozzle_id, change in self._encoder_changes(identity, history).items():
            subject = Subject(station, own_id, nozzle_id)
            yield self._finding(identity, subject, (change,), (nozzle_id, own_id, station), (), history)

    def _encoder_changes(self, record: DeviceIdentity, history: History) -> dict[str, Change]:
        found = {}
        for nozzle_id, serial in sorted(record.encoder_serials.items()):
            nozzle = history.nozzle(nozzle_id)
            registered = told(nozzle.encoder_serial) if nozzle is not None else None
            observed = told(serial)
            if registered is not None and observed is not None and registered.casefold() != observed.casefold():
                found[nozzle_id] = Change("encoder_serial", ENCODER, registered, observed)
        return found

    def _cover(
        self,
        record: DeviceIdentity,
        changes: Sequence[Change],
        devices: Sequence[str],
        nozzles: Sequence[str],
        history: History,
    ) -> tuple[Cover, WorkOrder | None]:
        """What the orders of the part and of what it stands in say, and the verifications of what hangs on it."""
        orders = {
            (order.device_id, order.at, order.kind): order
            for device in (*devices, *nozzles)
            for order in history.work_orders(device, _EVER)
            if order.station_id == record.station_id and (order.device_id in devices or order.kind in CERTIFIES)
        }
        days, late = self.settings.work_order_days, self.settings.work_order_late_days
        return cover(orders.values(), changes, record.at, days, late)

    def _finding(
        self,
        record: DeviceIdentity,
        subject: Subject,
        changes: Sequence[Change],
        devices: Sequence[str],
        nozzles: Sequence[str],
        history: History,
    ) -> Finding:
        covered, order = self._cover(record, changes, devices, nozzles, history)
        departments = [Department.MARKET_REGULATION]
        if any(c.field == "tax_serial" for c in changes):
            departments.append(Department.TAX)
        label = nozzle_label(subject.nozzle_id) if subject.nozzle_id else dispenser_label(record.dispenser_id)
        dark = None if order else _dark_before(record, history)
        if order:
            explanation = self._explain_covered(record, label, changes, covered, order)
        else:
            moved = _registered_at(changes[0].observed, subject.nozzle_id, history, record.dispenser_id)
            explanation = self._explain(record, label, changes, moved, dark)
        parts = [f"{c.field}={c.observed.casefold()}" for c in changes]
        return Finding(
            id=finding_id(self.rule, subject, *parts, *(["work order"] if order else [])),
            rule=self.rule,
            cause="identity_change",
            subject=subject,
            severity=_severity(changes, covered) if order else Severity.CRITICAL,
            departments=tuple(departments),
            onset=record.at,
            detected_at=record.at,
            explanation=explanation,
            evidence=(
                *(_evidence(record, subject, change) for change in changes),
                *([_order_evidence(order)] if order else []),
                *([_dark_evidence(dark)] if dark else []),
            ),
            figures=(
                parts_timeline(
                    label,
                    [change.name for change in changes],
                    record.at,
                    work_before((*devices, *nozzles), record.station_id, record.at, history),
                ),
            ),
        )

    def _explain(
        self,
        record: DeviceIdentity,
        label: Text,
        changes: Sequence[Change],
        moved_from: str,
        dark: DeviceEvent | None,
    ) -> Explanation:
        if len(changes) == 1:
            head = Text(f"{changes[0].name.zh}不符", f"{changes[0].name.en} changed")
        else:
            head = Text(f"{len(changes)}项身份不符", f"identity: {len(changes)} fields changed")
        days = self.settings.work_order_days
        here = nozzle_label(moved_from) if moved_from else None
        what = self._what(record, label, changes)
        minutes = (number(dark.detail.get("off_s")) or 0.0) / 60.0 if dark else 0.0
        return Explanation(
            title=title(label, head.zh, head.en),
            what=Text(
                what.zh + (f"此前该机断电 {minutes:.0f} 分钟。" if dark else ""),
                what.en + (f" It had been without power for {minutes:.0f} minutes just before." if dark else ""),
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

    def _explain_covered(
        self, record: DeviceIdentity, label: Text, changes: Sequence[Change], covered: Cover, order: WorkOrder
    ) -> Explanation:
        day = local(order.at, self.settings.utc_offset_h)
        full = covered is Cover.FULL
        kind = _KINDS.get(order.kind, Text(order.kind, order.kind))
        return Explanation(
            title=title(label, "身份变更有工单", "changed with work order"),
            what=self._what(record, label, changes),
            why=Text(
                zh=f"{day} 有{kind.zh}工单，" + ("维修、检定、站方均已签字。" if full else "维修方和站方已签字。"),
                en=f"There is a work order ({kind.en}) of {day}, signed by "
                + ("repairer, institute and station." if full else "repairer and station."),
            ),
            otherwise=Text(
                zh="工单与实际更换的部件不一致。" if full else "检定机构尚未签字：换的若是计量部件，检定前不得投用。",
                en="The work order is about another part than the one that was changed."
                if full
                else "The institute has not signed: after a metering part was changed the nozzle is to be verified "
                "before it is used.",
            ),
            on_site=Text(
                zh="按工单更新台账中的序列号、版本和摘要；下次检查时核对铭牌和封印。",
                en="Enter the new serial, version and digest into the ledger; at the next visit compare name plates "
                "and seals.",
            ),
        )

    def _what(self, record: DeviceIdentity, label: Text, changes: Sequence[Change]) -> Text:
        at = local(record.at, self.settings.utc_offset_h)
        return Text(
            zh=f"{label.zh}在 {at} 报告的身份与台账不符：" + "；".join(c.words.zh for c in changes) + "。",
            en=f"{label.en} reported at {at} what is not registered: " + "; ".join(c.words.en for c in changes) + ".",
        )


def _severity(changes: Sequence[Change], covered: Cover) -> Severity:
    """Of what an order speaks for; no other rule watches what becomes of another tax control without the institute."""
    taxed = any(change.field == "tax_serial" for change in changes)
    return Severity.LOW if taxed and covered is Cover.HALF else Severity.INFO


_KINDS: Mapping[str, Text] = {
    "repair": Text("维修", "repair"),
    "install": Text("安装", "installation"),
    "verification": Text("检定", "verification"),
}
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


def _evidence(record: DeviceIdentity, subject: Subject, change: Change) -> Evidence:
    return Evidence(
        kind="identity",
        reference=f"{subject.key}/{change.field}",
        data={
            "registered": change.registered,
            "observed": change.observed,
            "at": record.at.astimezone(UTC).isoformat(),
        },
    )


def _order_evidence(order: WorkOrder) -> Evidence:
    return Evidence(
        kind="work_order",
        reference=f"{order.device_id}/{order.at.astimezone(UTC).isoformat()}",
        data={
            "order": order.kind,
            "repairer_signed": told(order.signed_by_repairer) is not None,
            "institute_signed": told(order.signed_by_institute) is not None,
            "station_signed": told(order.signed_by_station) is not None,
        },
    )


def _dark_before(record: DeviceIdentity, history: History) -> DeviceEvent | None:
    """The power cut of this dispenser that ended within an hour before."""
    since, until = record.at - timedelta(hours=1), record.at + timedelta(seconds=1)
    cuts = [
        event
        for event in history.events(record.station_id, EventKind.POWER, since, until)
        if event.device_id == record.dispenser_id and number(event.detail.get("off_s")) is not None
    ]
    return cuts[-1] if cuts else None


def _dark_evidence(event: DeviceEvent) -> Evidence:
    off_s = number(event.detail.get("off_s")) or 0.0
    return Evidence(
        kind="power_cut",
        reference=f"{event.device_id}/{event.at.astimezone(UTC).isoformat()}",
        data={"off_minutes": round(off_s / 60.0, 1), "back_at": event.at.astimezone(UTC).isoformat()},
    )


def _registered_at(serial: str, not_at: str | None, history: History, dispenser_id: str) -> str:
    """The other nozzle of the same dispenser where this encoder is registered; empty if at none."""
    for nozzle in history.nozzles_of(dispenser_id) if not_at else ():
        registered = told(nozzle.encoder_serial)
        if nozzle.nozzle_id != not_at and registered is not None and registered.casefold() == serial.casefold():
            return nozzle.nozzle_id
    return ""
