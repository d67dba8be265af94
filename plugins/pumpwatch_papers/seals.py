"""The rule ``seals``: a seal that was broken or has another number than the ledger, without signed work beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, timedelta
from typing import ClassVar, Final

from pydantic import Field

from pumpwatch import (
    About,
    Curve,
    Department,
    DeviceEvent,
    EventKind,
    Evidence,
    Explanation,
    Figure,
    Finding,
    History,
    Nozzle,
    PluginSettings,
    Record,
    RecordRule,
    Severity,
    Text,
    WorkOrder,
    finding_id,
    subject_of,
)
from pumpwatch.wording import local, nozzle_label, title
from pumpwatch_papers.orders import SEALS, by_worker, certifies, failed, part_named, signed

_DRAWN: Final = 12
"""Work orders shown."""
_BROKEN: Final = frozenset({"broken", "missing", "removed", "open"})


class SealSettings(PluginSettings):
    """Keys of ``[rules.seals]``."""

    work_order_days: float = Field(1.0, ge=0.0, description="Signed work explains a seal seen so long after it, days.")
    work_order_late_days: float = Field(1.0, ge=0.0, description="… or this long before it, days.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class Seals(RecordRule):
    """One finding for each seal that was found broken, and one for each number that is not the registered one."""

    rule: ClassVar[str] = "seals"
    Settings: ClassVar[type[PluginSettings]] = SealSettings
    watches: ClassVar[tuple[type, ...]] = (DeviceEvent,)
    about: ClassVar[About] = About(
        title=Text("封印异常", "Seals"),
        catches=("P03", "F20"),
        inputs="Events of kind `seal` with `nozzle_id`, `seal` (`seal_meter`, `seal_encoder`, `seal_mainboard`), "
        "`number` and `state` (`intact`, `broken`) in the detail; the three numbers of the nozzle in the ledger; work "
        "orders.",
        statistic="State, and equality of the number without blanks and capitals.",
        threshold="A broken seal and another number are each an alarm, unless a repair, installation or calibration "
        "from `work_order_days` before to `work_order_late_days` after is signed: by repairer and station for a seal "
        "that was opened, by the institute too for a new number (for only the institute seals) and for an order that "
        "names the whole station. Then it is a note. Work "
        "on a filter, a hose or a program opens no seal, and a verification alone explains nothing: its seals are in "
        "the ledger. A meter's seal that was opened for a calibration with certificate is told as that: "
        "`recalibration`.",
        power="P03 12 of 12, F20 8 of 8 at the event; H09 12 of 12 told as a note. No false alarm over 1,218 honest "
        "nozzle-years with the honest scenarios in them; 1 µs an event.",
        pitfalls="Seals are read by people and seldom: the event's time is when it was seen. A verification that set "
        "new seals must be entered into the ledger with them.",
        source="JJG 443-2023: seals at meter adjuster, encoder and mainboard.",
    )
    settings: SealSettings

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Judge one look at a seal."""
        if not isinstance(record, DeviceEvent) or record.kind is not EventKind.SEAL:
            return
        nozzle = history.nozzle(str(record.detail.get("nozzle_id") or record.device_id))
        place = str(record.detail.get("seal") or "")
        if nozzle is None or place not in SEALS:
            return
        number = str(record.detail.get("number") or "").strip()
        registered = (getattr(nozzle, place) or "").strip()
        if str(record.detail.get("state") or "").casefold() in _BROKEN:
            yield self._finding(record, nozzle, place, registered, number, "seal_broken", history)
        elif number and registered and number.casefold() != registered.casefold():
            yield self._finding(record, nozzle, place, registered, number, "seal_changed", history)

    def _order(self, event: DeviceEvent, nozzle: Nozzle, sealed: bool, history: History) -> WorkOrder | None:
        """The signed work that speaks for it; with ``sealed`` the institute must have been there."""
        since = event.at - timedelta(days=self.settings.work_order_days)
        until = event.at + timedelta(days=self.settings.work_order_late_days)
        names = (nozzle.nozzle_id, nozzle.dispenser_id, event.station_id)
        orders = {
            (order.at, order.device_id, order.kind): order
            for name in names
            for order in history.work_orders(name, since)
            if order.station_id == event.station_id and order.at <= until
        }
        institute = any(signed(order.signed_by_institute) and not failed(order) for order in orders.values())
        known = (order for _, order in sorted(orders.items()) if by_worker(order) and part_named(order) != "")
        return next(known, None) if institute or not sealed else None

    def _finding(
        self,
        event: DeviceEvent,
        nozzle: Nozzle,
        place: str,
        registered: str,
        number: str,
        cause: str,
        history: History,
    ) -> Finding:
        broken = cause == "seal_broken"
        order = self._order(event, nozzle, not broken, history)
        if broken and place == "seal_meter" and order and order.kind == "calibration" and certifies(order):
            cause = "recalibration"
        subject = subject_of(nozzle.nozzle_id, history)
        at = event.at.astimezone(UTC).isoformat()
        return Finding(
            id=finding_id(self.rule, subject, place, cause, at if broken else number.casefold(), order is not None),
            rule=self.rule,
            cause=cause,
            subject=subject,
            severity=Severity.INFO if order else Severity.CRITICAL if broken else Severity.HIGH,
            departments=(Department.MARKET_REGULATION,),
            onset=event.at,
            detected_at=event.at,
            explanation=self._explain(event, nozzle, place, registered, number, cause, order),
            evidence=(
                Evidence(
                    kind="seal",
                    reference=f"{nozzle.nozzle_id}/{place}",
                    data={
                        "registered": registered or None,
                        "observed": number or None,
                        "state": "broken" if broken else "intact",
                        "at": at,
                        "work_order": order.at.astimezone(UTC).isoformat() if order else None,
                    },
                ),
            ),
            figures=(_figure(event, nozzle, place, self._work(event, nozzle, history)),),
        )

    def _work(self, event: DeviceEvent, nozzle: Nozzle, history: History) -> list[WorkOrder]:
        """The latest signed work of the year before, on the nozzle or what it hangs on; oldest first."""
        until = event.at + timedelta(days=self.settings.work_order_late_days)
        orders = {
            (order.at, order.device_id, order.kind): order
            for name in (nozzle.nozzle_id, nozzle.dispenser_id, event.station_id)
            for order in history.work_orders(name, event.at - timedelta(days=365))
            if order.station_id == event.station_id and order.at <= until
        }
        return [order for _, order in sorted(orders.items())][-_DRAWN:]

    def _explain(
        self,
        event: DeviceEvent,
        nozzle: Nozzle,
        place: str,
        registered: str,
        number: str,
        cause: str,
        order: WorkOrder | None,
    ) -> Explanation:
        label, seal, at = nozzle_label(nozzle.nozzle_id), SEALS[place], local(event.at, self.settings.utc_offset_h)
        if cause == "recalibration":
            head = Text("计量器校准启封", "meter recalibrated")
            what = Text(
                f"{at} {label.zh}的{seal.zh}（登记 {registered or '无'}）因有证校准启封。",
                f"{label.en}: the {seal.en} (registered {registered or 'none'}) was opened at {at} for a calibration "
                "with certificate.",
            )
        elif cause == "seal_broken":
            head = Text(f"{seal.zh}破损", f"{seal.en} broken")
            what = Text(
                f"{at} 发现{label.zh}的{seal.zh}（登记 {registered or '无'}）已破损或缺失。",
                f"{label.en}: the {seal.en} (registered {registered or 'none'}) was found broken or missing at {at}.",
            )
        else:
            head = Text(f"{seal.zh}换号", f"{seal.en} changed")
            what = Text(
                f"{at} 读得{label.zh}的{seal.zh}号为 {number}，登记为 {registered}。",
                f"{label.en}: the {seal.en} read {number} at {at}, the ledger has {registered}.",
            )
        when = local(order.at, self.settings.utc_offset_h) if order else ""
        return Explanation(
            title=title(label, head.zh, head.en),
            what=what,
            why=Text(
                zh=f"{when} 有签字工单，封印随维修更动。"
                if order
                else "封印只能由检定机构施加；前后没有签字的维修或校准工单。",
                en=f"There is signed work of {when}; the seal was changed with it."
                if order
                else "Only the institute sets seals; there is no signed repair or calibration about that time.",
            ),
            otherwise=Text(
                zh="检定换封而台账未更新；封印老化或碰坏；号码抄录有误。",
                en="A verification set new seals and the ledger is behind; the seal was worn or knocked off; a slip "
                "when the number was read.",
            ),
            on_site=Text(
                zh="拍照核对三处封印；封印完整性有疑问的，先用 20 L 标准金属量器核验，再由检定机构重新施封。",
                en="Photograph and compare the three seals; if in doubt verify with a 20 L standard can before the "
                "institute seals it again.",
            ),
        )


_KINDS: Final = {
    "repair": Text("维修", "repair"),
    "install": Text("安装", "installation"),
    "verification": Text("检定", "verification"),
    "calibration": Text("校准", "calibration"),
}


def _figure(event: DeviceEvent, nozzle: Nozzle, place: str, orders: Sequence[WorkOrder]) -> Figure:
    """The three seals, one above the other, low while nothing is known against them; work on the nozzle as marks."""
    label, at = nozzle_label(nozzle.nozzle_id), event.at.timestamp()
    first = min([at - 30 * 86_400.0, *(order.at.timestamp() - 86_400.0 for order in orders)])
    return Figure(
        title=Text(f"{label.zh} 封印与维修时间线", f"{label.en}: seals and work over time"),
        x=Text("时间", "time"),
        y=Text("封印（高：破损或换号）", "seals (high: broken or changed)"),
        curves=tuple(
            Curve(name, (first, at), (2.0 * row, 2.0 * row + (key == place)), shape="step", alarm=key == place)
            for row, (key, name) in enumerate(SEALS.items())
        ),
        marks=tuple((o.at.timestamp(), _KINDS.get(o.kind, Text(o.kind, o.kind))) for o in orders),
    )
