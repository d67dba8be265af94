"""The rule ``self_lock``: what the monitoring microprocessor of a dispenser says when it locks itself.

Dispensers compare board, encoder and pulse equivalent by themselves and lock with a code; the codes are those of the
anti-cheat scheme that pre-2015 dispensers were given and later ones kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import ClassVar, Final

from pydantic import Field

from pumpwatch import (
    About,
    Department,
    DeviceEvent,
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
from pumpwatch_integrity.parts import half_signed, is_about, number, told
from pumpwatch_integrity.signatures import place_of
from pumpwatch_integrity.timelines import moments_timeline, work_before

_CODE: Final = re.compile(r"(?:[A-Za-z]{0,4}[-_ ]?)?(\d{1,4})")
_WORK: Final = frozenset({"repair", "install", "calibration"})


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means."""

    cause: str
    severity: Severity
    head: Text
    """For the title."""
    meaning: Text
    otherwise: Text


CODES: Final[Mapping[int, Code]] = {
    61: Code(
        "identity_change",
        Severity.HIGH,
        Text("锁机61 认证失败", "lock 61: not authentic"),
        Text(
            "编码器与监控微处理器双向认证失败：编码器不是登记的那一只。",
            "encoder and monitoring microprocessor did not recognise each other: the encoder is not the one it knows.",
        ),
        Text("编码器损坏或接触不良。", "A broken encoder or a bad contact."),
    ),
    62: Code(
        "self_lock",
        Severity.MEDIUM,
        Text("锁机62 通信失败", "lock 62: no communication"),
        Text(
            "编码器与监控微处理器之间通信中断。",
            "encoder and monitoring microprocessor could not talk to each other.",
        ),
        Text("线缆松动、进水或干扰，多为普通故障。", "A loose cable, water or interference; mostly a plain fault."),
    ),
    63: Code(
        "identity_change",
        Severity.CRITICAL,
        Text("锁机63 换件未初始化", "lock 63: part changed"),
        Text(
            "主板、编码器或计量器更换后未经初始化，三笔后锁机。",
            "mainboard, encoder or meter was changed without a new initialisation; it locks after three sales.",
        ),
        Text("维修后漏做初始化。", "A repair after which the initialisation was forgotten."),
    ),
    64: Code(
        "short_delivery",
        Severity.CRITICAL,
        Text("锁机64 当量异常", "lock 64: pulse equivalent off"),
        Text(
            "连续 5 笔脉冲当量偏离超过 ±0.6%。",
            "the pulse equivalent was off by more than ±0.6% on five sales.",
        ),
        Text("调整计量器后未重新标定当量；编码器丢脉冲。", "A meter adjusted without a new equivalent; lost pulses."),
    ),
    65: Code(
        "identity_change",
        Severity.HIGH,
        Text("锁机65 编码器异常", "lock 65: encoder fault"),
        Text("编码器硬件异常或被换。", "the encoder's hardware is wrong or was changed."),
        Text("编码器老化损坏。", "A worn encoder."),
    ),
}
"""Codes 61 to 65 of the scheme."""
_OTHER: Final = Code(
    "self_lock",
    Severity.MEDIUM,
    Text("自锁", "locked itself"),
    Text("加油机自锁。", "the dispenser locked itself."),
    Text("代码含义依品牌而定，见说明书。", "What the code means depends on the brand; see its manual."),
)


class LockSettings(PluginSettings):
    """Keys of ``[rules.self_lock]``."""

    work_order_days: float = Field(1.0, ge=0.0, description="A signed repair explains a lock so long after it, days.")
    work_order_late_days: float = Field(1.0, ge=0.0, description="… or this long before it, days.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class SelfLock(RecordRule):
    """One finding for each lock that a dispenser reports."""

    rule: ClassVar[str] = "self_lock"
    Settings: ClassVar[type[PluginSettings]] = LockSettings
    watches: ClassVar[tuple[type, ...]] = (DeviceEvent,)
    about: ClassVar[About] = About(
        title=Text("加油机自锁", "Dispenser locked itself"),
        catches=("F17",),
        inputs="Events of kind `lock`, and of kind `alarm` with one of the codes, of registered dispensers and "
        "nozzles: `code` and, where it is told, `nozzle_id` in the detail; work orders.",
        statistic="The code: 61 authentication failed, 62 communication, 63 board, encoder or meter changed without "
        "initialisation, 64 pulse equivalent off by more than ±0.6 % on five sales, 65 encoder hardware.",
        threshold="Any lock. 63 and 64 are critical, 61 and 65 high, 62 and unknown codes medium. A repair, "
        "installation or calibration signed by repairer and station from `work_order_days` before to "
        "`work_order_late_days` after makes it low, and a note where the institute signed as well (an order for the "
        "whole station needs it in any case), unless its words are about a filter, a program or tax control.",
        power="F17: the lock of every encoder that reports one is told at once, at its nozzle. No false alarm over "
        "1,218 honest nozzle-years with the honest scenarios in them; 1 µs an event.",
        pitfalls="Communication failures (62) are mostly faults. Unlocking (`locked` false or state `unlocked`) is not "
        "told. Codes of a brand outside 61 to 65 are named, not interpreted. Codes of tank gauges do not count.",
        source="JJG 443-2015 (self-lock); anti-cheat scheme for fuel dispensers, codes 61 to 65.",
    )
    settings: LockSettings

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one event."""
        if not isinstance(record, DeviceEvent) or record.kind not in {EventKind.LOCK, EventKind.ALARM}:
            return
        number = code_of(record.detail.get("code"))
        if (record.kind is EventKind.ALARM and number not in CODES) or _unlocks(record):
            return
        subject = place_of(record, history)
        if subject is None:
            return
        code = CODES.get(number, _OTHER) if number is not None else _OTHER
        order = self._order(record, subject, history)
        at = record.at.astimezone(UTC).isoformat()
        yield Finding(
            id=finding_id(self.rule, subject, number, at),
            rule=self.rule,
            cause=code.cause,
            subject=subject,
            severity=code.severity
            if order is None
            else Severity.INFO
            if told(order.signed_by_institute)
            else Severity.LOW,
            departments=(Department.MARKET_REGULATION,),
            onset=record.at,
            detected_at=record.at,
            explanation=self._explain(record, subject, number, code, order),
            evidence=(
                Evidence(
                    kind="lock",
                    reference=f"{subject.key}/{at}",
                    data={"code": number, "event": str(record.kind), "device": record.device_id, "at": at},
                ),
            ),
            figures=(
                moments_timeline(
                    nozzle_label(subject.nozzle_id) if subject.nozzle_id else dispenser_label(subject.key),
                    Text("自锁代码", "lock code"),
                    float(number or 0),
                    record.at,
                    work_before(
                        (subject.nozzle_id, subject.dispenser_id, subject.station_id),
                        subject.station_id,
                        record.at,
                        history,
                    ),
                ),
            ),
        )

    def _order(self, event: DeviceEvent, subject: Subject, history: History) -> WorkOrder | None:
        since = event.at - timedelta(days=self.settings.work_order_days)
        until = event.at + timedelta(days=self.settings.work_order_late_days)
        names = [name for name in (subject.nozzle_id, subject.dispenser_id, subject.station_id) if name]
        orders = [order for name in names for order in history.work_orders(name, since)]
        return next(
            (
                order
                for order in orders
                if order.station_id == subject.station_id
                and order.kind in _WORK
                and half_signed(order)
                and any(is_about(order, [part]) is not False for part in ("encoder_serial", "mainboard_serial"))
                and since <= order.at <= until
            ),
            None,
        )

    def _explain(
        self, event: DeviceEvent, subject: Subject, number: int | None, code: Code, order: WorkOrder | None
    ) -> Explanation:
        label = nozzle_label(subject.nozzle_id) if subject.nozzle_id else dispenser_label(subject.key)
        at, named = local(event.at, self.settings.utc_offset_h), "?" if number is None else str(number)
        head = code.head if code is not _OTHER or number is None else Text(f"自锁 {named}", f"locked, code {named}")
        when = local(order.at, self.settings.utc_offset_h) if order else ""
        return Explanation(
            title=title(label, head.zh, head.en),
            what=Text(
                zh=f"{label.zh}在 {at} 报告自锁代码 {named}：{code.meaning.zh}",
                en=f"{label.en} reported code {named} at {at}: {code.meaning.en}",
            ),
            why=Text(
                zh="自锁由加油机内的监控微处理器判定，不经站方。"
                + (f"{when} 有维修工单，可能由维修引起；核对工单后方可排除。" if order else ""),
                en="The dispenser's own monitoring microprocessor decides this, not the station."
                + (
                    f" There is a work order of {when}: the repair may have caused it; look at the order first."
                    if order
                    else ""
                ),
            ),
            otherwise=code.otherwise,
            on_site=Text(
                zh="解锁前先核对编码器、主板、计量器的封印和序列号，查工单；用 20 L 标准金属量器核验后再解锁。",
                en="Before it is unlocked compare seals and serials of encoder, mainboard and meter, and look for the "
                "work order; verify with a 20 L standard can first.",
            ),
        )


def code_of(said: str | float | int | bool | None) -> int | None:
    """The number in a code: 63, ``"63"``, ``"E63"``; None when there is none."""
    if isinstance(said, int | float):
        value = number(said)
        return int(value) if value is not None and value.is_integer() and abs(value) < 10_000 else None
    match = _CODE.fullmatch((said or "").strip())
    return int(match[1]) if match else None


def _unlocks(event: DeviceEvent) -> bool:
    return event.detail.get("locked") is False or str(event.detail.get("state", "")).casefold() == "unlocked"
