"""The rule ``edited_record``: a filling that was reported before is reported again, with other content.

A network sends the same bytes twice; nothing sends other litres under the same nozzle, number and end but a hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import ClassVar

from pydantic import Field

from pumpwatch import (
    RESUBMITTED,
    About,
    Department,
    DeviceEvent,
    Estimate,
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
)
from pumpwatch.wording import litres, local, nozzle_label, title, yuan
from pumpwatch_integrity.parts import number

_FIELDS: Mapping[str, Text] = {
    "volume_l": Text("升数", "litres"),
    "amount_cny": Text("金额", "amount"),
    "unit_price": Text("单价", "unit price"),
    "totalizer_l": Text("升数泵码", "volume totalizer"),
    "totalizer_cny": Text("金额泵码", "amount totalizer"),
    "encoder_l": Text("编码器升数", "encoder litres"),
    "encoder_pulses": Text("脉冲数", "pulses"),
    "tax_l": Text("税控升数", "tax litres"),
    "tax_cny": Text("税控金额", "tax amount"),
    "payment": Text("支付方式", "payment"),
    "preset_kind": Text("预置方式", "kind of preset"),
    "preset_value": Text("预置值", "preset value"),
}
_LITRES = frozenset({"volume_l", "totalizer_l", "encoder_l", "tax_l"})
_MONEY = frozenset({"amount_cny", "totalizer_cny", "tax_cny", "unit_price"})


class EditedSettings(PluginSettings):
    """Keys of ``[rules.edited_record]``."""

    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class EditedRecord(RecordRule):
    """One finding a filling that came again and otherwise, from the event that the core makes of it."""

    rule: ClassVar[str] = "edited_record"
    Settings: ClassVar[type[PluginSettings]] = EditedSettings
    watches: ClassVar[tuple[type, ...]] = (DeviceEvent,)
    settings: EditedSettings
    about: ClassVar[About] = About(
        title=Text("上传后改记录", "Record edited after upload"),
        catches=("C07",),
        inputs="Two reports of one filling, that is of one nozzle, number and end: litres, money, price, totalizers, "
        "pulses, tax, payment and preset. Reports that agree, and what only one of them has, make no event.",
        statistic="The first field in which the later report differs from the first.",
        threshold="Any difference. Both reports are decimal figures of the same device, so rounding makes none.",
        power="Every edited record by its second report: 16 of 16 stations (1 % of the litres of 0.5 % of the sales, "
        "10 % "
        "of 2 %), 251 of 251 records of one. Batches of 50 records sent twice (C05) and backfill in any order (H06) "
        "stay "
        "silent. Honest: none in 448 nozzle-years.",
        pitfalls="A device that completes a record later (tax follows the sale) is no edit: fields that one report "
        "lacks are not compared. A collector that converts units anew after an update would differ in the last digit.",
        source="Own derivation (D9 on the scenarios' page); WELMEC 7.2, extension T (transmission): "
        "records must arrive "
        "unaltered.",
    )

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one event."""
        if not isinstance(record, DeviceEvent) or record.kind is not EventKind.ALARM:
            return
        told = record.detail
        if told.get("code") != RESUBMITTED:
            return
        nozzle = history.nozzle(record.device_id)
        name, seq = str(told.get("field")), told.get("seq")
        end = record.at.astimezone(UTC).isoformat()
        reference = f"{record.device_id}/{seq}"
        first, later = told.get("first"), told.get("later")
        yield Finding(
            id=finding_id(self.rule, Subject(record.station_id), record.device_id, seq, end),
            rule=self.rule,
            cause="edited_record",
            subject=Subject(record.station_id),
            severity=Severity.HIGH,
            departments=(Department.TAX, Department.MARKET_REGULATION),
            onset=record.at,
            detected_at=record.at,
            explanation=self._explain(record, name, seq),
            estimate=_estimate(name, first, later),
            evidence=(
                Evidence(
                    "resubmission",
                    reference,
                    {
                        "nozzle_id": record.device_id,
                        "dispenser_id": nozzle.dispenser_id if nozzle else None,
                        "end": end,
                        "field": name,
                        "first": _plain(first),
                        "later": _plain(later),
                    },
                ),
            ),
        )

    def _explain(self, record: DeviceEvent, name: str, seq: object) -> Explanation:
        label = nozzle_label(record.device_id)
        field = _FIELDS.get(name, Text(name, name))
        first, later = _said(name, record.detail.get("first")), _said(name, record.detail.get("later"))
        end = local(record.at, self.settings.utc_offset_h)
        return Explanation(
            title=title(label, "记录上传后被改", "record edited"),
            what=Text(
                zh=f"{label.zh}序号 {seq}（{end} 结束）的交易先后上传两次，内容不同："
                f"{field.zh}先报 {first}，后报 {later}。",
                en=f"{label.en}, sale {seq} ended {end}: reported twice, and otherwise the second time: {field.en} "
                f"{first} at first, {later} later.",
            ),
            why=Text(
                zh="同一枪、同一序号、同一结束时间就是同一笔交易；网络重发逐字节相同，不会改变数字。",
                en="The same nozzle, number and end are the same sale. A network that repeats itself repeats every "
                "byte; it changes no figure.",
            ),
            otherwise=Text(
                zh="采集器或设备软件升级后换算、取整方式改变；设备在交易完成前先报了一次未完成的数据。",
                en="Software of the collector or device that converts or rounds otherwise since an update; a device "
                "that reported the sale once before it was complete.",
            ),
            on_site=Text(
                zh="把两次上传与主板内存、税控存储和小票逐项核对；查谁在何时有权修改站级系统的记录。",
                en="Compare both reports with the mainboard's memory, the tax memory and the receipt; find out who "
                "could change records in the station's system, and when.",
            ),
        )


def _plain(value: str | float | int | bool | None) -> str | float | int | bool | None:
    """The value, or nothing where it is a number that no device tells."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return value if number(value) is not None else None


def _said(name: str, value: object) -> str:
    amount = number(value)
    if amount is None:
        return str(value) if isinstance(value, str | bool) else "?"
    if name in _LITRES:
        return litres(amount)
    return yuan(amount) if name in _MONEY else f"{amount:,g}"


def _estimate(name: str, first: object, later: object) -> Estimate | None:
    """What the second report says less than the first; exact figures, so the interval has no width."""
    before, after = number(first), number(later)
    if before is None or after is None:
        return None
    if name not in _LITRES and name not in _MONEY:
        return None
    less = round(before - after, 4)
    return Estimate(less, "L" if name in _LITRES else "CNY", less, less, 1.0)
