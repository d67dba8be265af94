"""The rule ``unverified_repair``: a nozzle sells after its meter, encoder or mainboard was worked on, unverified."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from pydantic import Field

from pumpwatch import (
    About,
    Curve,
    Department,
    DeviceEvent,
    DeviceIdentity,
    Dispenser,
    EventKind,
    Evidence,
    Explanation,
    Figure,
    Finding,
    Nozzle,
    PluginSettings,
    Review,
    Sales,
    Severity,
    StationPast,
    Text,
    Transaction,
    WorkOrder,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.wording import count, litres, local, nozzle_label, title, yuan
from pumpwatch_papers.orders import (
    DAY_US,
    HOUR_US,
    SEALS,
    WORK,
    are_draws,
    certificates,
    certifies,
    failed,
    first_of_spans,
    may_be_draw,
    may_be_draws,
    orders_of,
    part_named,
    signed,
    span_of,
)

if TYPE_CHECKING:
    from pumpwatch import Record
    from pumpwatch.contracts import Entry, History

_SPAN_DAYS: Final = 6.0
_ALL: Final = Text("计控主板", "mainboard")
_ENCODER: Final = Text("编码器", "encoder")


class RepairSettings(PluginSettings):
    """Keys of ``[rules.unverified_repair]``."""

    trace_hours: float = Field(
        24.0, ge=0.0, le=24.0, description="A changed part seen so near a repair belongs to it, hours."
    )
    reach_days: float = Field(30.0, gt=0.0, le=30.0, description="How long after a repair sales are watched, days.")
    draw_hours: float = Field(
        4.0,
        ge=0.0,
        le=24.0,
        description="Fillings of a standard can so shortly before a verification are its draws, hours.",
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class UnverifiedRepair(Review):
    """One finding for each repair and nozzle at the first filling, and one every six days as it goes on."""

    rule: ClassVar[str] = "unverified_repair"
    Settings: ClassVar[type[PluginSettings]] = RepairSettings
    explains: ClassVar[frozenset[str]] = frozenset({"identity_change", "seal_broken", "seal_changed"})
    lookback: ClassVar[timedelta] = timedelta(days=32)
    wakes: ClassVar[tuple[type, ...]] = (Transaction, WorkOrder, DeviceEvent, DeviceIdentity)
    about: ClassVar[About] = About(
        title=Text("维修后未检定", "Unverified after repair"),
        catches=("P04",),
        inputs="Work orders of kind `repair`, `install` and `calibration` for a nozzle or its dispenser; verifications "
        "and calibrations that the institute signed; identities, and events of kind `identity` and `seal`; fillings.",
        statistic="Work that the institute did not sign and that touched what the litres depend on: an encoder or "
        "mainboard tells another serial than the ledger, or a seal was opened or changed, within `trace_hours` of it, "
        "or the order's words name such a part; not an order whose words are about other parts only. Then the first "
        "filling of the nozzle that starts before the institute has signed, and the first of every "
        "six days as it goes on, for `reach_days`.",
        threshold="One filling. A filling of a standard can (5, 10, 20, 50, 100 L, ±0.5 L or 2 %) that ends less than "
        "`draw_hours` before the institute signs is its draw; so such a filling is told that much later, and any other "
        "at once. A verification that found more than ±0.30 % certifies nothing.",
        power="P04 (four fleets): 32 of 32; 28 at the first filling, 4 at the second, for the first was of a can's "
        "size. No false alarm in 137 honest nozzle-years with the honest scenarios in them, nor in 1,218 when every "
        "filling waited as a can does.",
        pitfalls="A filter, a hose or firmware is no such part; what changes beside it is `identity_change`'s. "
        "A verification whose work order is entered under another nozzle is not seen. Words are looked for in Chinese "
        "and English.",
        source="Metrology law: what was repaired is verified before it is used again.",
    )
    settings: RepairSettings

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Look at each nozzle's repairs of the last weeks."""
        reach, patience = timedelta(days=self.settings.reach_days), timedelta(hours=self.settings.draw_hours)
        first = since - reach - patience
        for nozzle in past.nozzles:
            orders = [
                order
                for order in orders_of(past, nozzle.nozzle_id)
                if _is_open(order) and order.device_id != past.station_id and first <= order.at <= until
            ]
            known = [(order, at) for order in orders if (at := self._known_from(past, nozzle, order)) is not None]
            if not known:
                continue
            certified = certificates(past, nozzle.nozzle_id)
            mine = past.sales.take(past.sales.of(nozzle.nozzle_id))
            cans = may_be_draws(mine.volume_l)
            draws = cans & are_draws(mine.end_us, certified.tolist(), self.settings.draw_hours)
            told_us = mine.end_us + np.where(cans, round(self.settings.draw_hours * HOUR_US), 0)
            for order, known_from in known:
                begun = to_us(order.at)
                after = certified[certified >= begun]
                unverified = (mine.start_us >= begun) & (mine.end_us <= to_us(order.at + reach)) & ~draws
                if len(after):
                    unverified &= mine.start_us < after[0]
                sold, known_us = mine.take(unverified), np.maximum(told_us[unverified], to_us(known_from))
                for row in first_of_spans(sold.end_us, begun - 1, _SPAN_DAYS, known_us):
                    at = from_us(known_us[row])
                    if since < at <= until and (part := self._part(past, nozzle, order, at)) is not None:
                        by_then = sold.take((known_us <= known_us[row]) & (sold.end_us <= sold.end_us[row]))
                        yield self._finding(past, nozzle, order, part, by_then, at)

    def occasion(self, record: Record | Entry, history: History) -> str | None:
        """Work without verification that is entered late, a filling after it that is no draw, or a part that tells."""
        if isinstance(record, WorkOrder):
            return repr(record) if _is_open(record) else None
        if isinstance(record, DeviceEvent | DeviceIdentity):
            return self._told(record, history)
        if not isinstance(record, Transaction):
            return None
        orders = history.work_orders(record.nozzle_id, record.end - timedelta(days=self.settings.reach_days))
        if not orders or may_be_draw(record.volume_l):
            return None
        since = max((o.at for o in orders if certifies(o) and o.at <= record.start), default=None)
        names = [
            f"{o.device_id}/{o.at.isoformat()}/{o.kind}/{span_of(to_us(record.end), to_us(o.at) - 1, _SPAN_DAYS)}"
            for o in orders
            if _is_open(o) and o.at <= record.start and (since is None or o.at > since)
        ]
        return ", ".join((record.nozzle_id, *names)) if names else None

    def _told(self, record: DeviceEvent | DeviceIdentity, history: History) -> str | None:
        """Which parts a device tells of near which open work."""
        device = record.dispenser_id if isinstance(record, DeviceIdentity) else record.device_id
        hung = history.nozzle(device)
        dispenser = history.dispenser(hung.dispenser_id if hung else device)
        if dispenser is None:
            return None
        near = timedelta(hours=self.settings.trace_hours)
        names = []
        for nozzle in history.nozzles_of(dispenser.dispenser_id):
            part = _told_by(record, nozzle, dispenser)
            orders = history.work_orders(nozzle.nozzle_id, record.at - near) if part else ()
            names += [
                f"{nozzle.nozzle_id}/{o.device_id}/{o.at.isoformat()}/{o.kind}/{part.en}"
                for o in orders
                if part and _is_open(o) and o.at <= record.at + near
            ]
        return ", ".join(names) or None

    def _known_from(self, past: StationPast, nozzle: Nozzle, order: WorkOrder) -> datetime | None:
        """Since when it is known that a part of this nozzle was worked on; None when nothing says so."""
        if part_named(order):
            return order.at
        return min((max(at, order.at) for at, _, _ in self._traces(past, nozzle, order)), default=None)

    def _part(self, past: StationPast, nozzle: Nozzle, order: WorkOrder, known_by: datetime) -> tuple[Text, str] | None:
        """What was worked on at this nozzle as far as was known by then, and from where; None when nothing counts."""
        for at, part, how in self._traces(past, nozzle, order):
            if at <= known_by:
                return part, how
        name = part_named(order)
        return (Text(name, name), "work_order") if name else None

    def _traces(self, past: StationPast, nozzle: Nozzle, order: WorkOrder) -> Iterator[tuple[datetime, Text, str]]:
        """What devices have told about the time of the work: when, of which part, and how; events first."""
        begin = order.at - timedelta(hours=self.settings.trace_hours)
        end = order.at + timedelta(hours=self.settings.trace_hours)
        dispenser = past.dispenser_by_id.get(nozzle.dispenser_id)
        for event in past.events:
            if begin <= event.at <= end and (part := _told_by(event, nozzle, dispenser)) is not None:
                yield event.at, part, "seal" if event.kind is EventKind.SEAL else "identity"
        for identity in past.identities:
            if begin <= identity.at <= end and (part := _told_by(identity, nozzle, dispenser)) is not None:
                yield identity.at, part, "identity"

    def _finding(
        self,
        past: StationPast,
        nozzle: Nozzle,
        order: WorkOrder,
        part: tuple[Text, str],
        sold: Sales,
        at: datetime,
    ) -> Finding:
        """``sold`` are the fillings that counted by then; the last of them is what shows it."""
        subject, label = past.subject(nozzle.nozzle_id), nozzle_label(nozzle.nozzle_id)
        hours, (name, how) = self.settings.utc_offset_h, part
        many = len(sold)
        sale = sold.record(many - 1)
        span = span_of(to_us(sale.end), to_us(order.at) - 1, _SPAN_DAYS)
        volume, amount = float(sold.volume_l.sum()), float(sold.amount_cny.sum())
        english = name.en if name.en.isascii() else "part"
        return Finding(
            id=finding_id(self.rule, subject, order.at.astimezone(UTC).isoformat(), order.device_id, order.kind, span),
            rule=self.rule,
            cause="unverified_repair",
            subject=subject,
            severity=Severity.HIGH,
            departments=(Department.MARKET_REGULATION,),
            onset=order.at,
            detected_at=at,
            explanation=Explanation(
                title=title(label, "维修后未检定", "unverified after repair"),
                what=Text(
                    zh=f"{label.zh}于 {local(order.at, hours)} 维修，动过{name.zh}，未经检定即投用；至 "
                    f"{local(sale.end, hours)} 已加油 {many} 笔，{litres(volume)}，{yuan(amount)}。",
                    en=f"{label.en} was repaired at {local(order.at, hours)} ({english}) and sold before it was "
                    f"verified: {count(many, 'sale', 'sales')} until {local(sale.end, hours)}, {litres(volume)}, "
                    f"{yuan(amount)}.",
                ),
                why=Text(
                    zh="计量部件维修后须经检定机构检定合格并施封方可使用；工单上没有检定机构签字，其后也没有检定记录。",
                    en="After work on a part that measures, the institute verifies and seals the nozzle before it is "
                    "used; it has neither signed the order nor verified the nozzle since.",
                ),
                otherwise=Text(
                    zh="已检定而工单未录入；所换部件不影响计量，工单描述不准确。",
                    en="It was verified and the order was not entered; the part has nothing to do with measuring and "
                    "the order's words are wrong.",
                ),
                on_site=Text(
                    zh="停用该枪，核对封印和编码器、主板序列号，通知检定机构检定后再启用。",
                    en="Take the nozzle out of use, compare seals and the serials of encoder and mainboard, and have "
                    "it verified first.",
                ),
            ),
            evidence=(
                Evidence(
                    kind="work_order",
                    reference=f"{order.device_id}/{order.at.astimezone(UTC).isoformat()}",
                    data={
                        "order": order.kind,
                        "institute_signed": signed(order.signed_by_institute),
                        "error_percent": order.error_percent,
                        "part": name.zh,
                        "known_from": how,
                        "detail": order.attributes.get("detail"),
                    },
                ),
                Evidence(
                    kind="transaction",
                    reference=f"{sale.nozzle_id}/{sale.seq}",
                    data={
                        "end": sale.end.astimezone(UTC).isoformat(),
                        "displayed_l": sale.volume_l,
                        "amount_cny": sale.amount_cny,
                    },
                ),
            ),
            figures=(_course(past.sales.take(past.sales.of(nozzle.nozzle_id)), order, sale.end),),
        )


def _is_open(order: WorkOrder) -> bool:
    """Whether it is work that may have touched what the litres depend on, and that the institute did not sign."""
    return order.kind in WORK and (failed(order) or not signed(order.signed_by_institute)) and part_named(order) != ""


def _told_by(record: DeviceEvent | DeviceIdentity, nozzle: Nozzle, dispenser: Dispenser | None) -> Text | None:
    """The part of this nozzle that an event or identity shows to be opened, or another than the ledger's."""
    encoder, board = _folded(nozzle.encoder_serial), _folded(dispenser.mainboard_serial) if dispenser else ""
    if isinstance(record, DeviceIdentity):
        if record.dispenser_id != nozzle.dispenser_id:
            return None
        if _differ(_folded(record.encoder_serials.get(nozzle.nozzle_id)), encoder):
            return _ENCODER
        return _ALL if _differ(_folded(record.mainboard_serial), board) else None
    if record.kind not in {EventKind.IDENTITY, EventKind.SEAL}:
        return None
    detail = record.detail
    here = nozzle.nozzle_id in {record.device_id, detail.get("nozzle_id")}
    if record.kind is EventKind.SEAL:
        seal = str(detail.get("seal") or "")
        registered = getattr(nozzle, seal) if seal in SEALS else None
        opened = str(detail.get("state") or "").casefold() != "intact"
        changed = _differ(_folded(str(detail.get("number") or "")), _folded(registered))
        return Text("封印", "seal") if here and (opened or changed) else None
    if here:
        return _ENCODER if _differ(_folded(str(detail.get("encoder_serial") or "")), encoder) else None
    serial = str(detail.get("mainboard_serial") or "")
    return _ALL if record.device_id == nozzle.dispenser_id and _differ(_folded(serial), board) else None


def _folded(serial: str | None) -> str:
    return (serial or "").strip(" \t\r\n\0").casefold()


def _differ(observed: str, registered: str) -> bool:
    return bool(observed and registered) and observed != registered


def _course(mine: Sales, order: WorkOrder, until: datetime) -> Figure:
    """The nozzle's fillings from a day before the work to the finding; at most 300."""
    first, last = to_us(order.at) - DAY_US, to_us(until)
    rows = np.flatnonzero((mine.end_us >= first) & (mine.end_us <= last))[-300:]
    return Figure(
        title=Text("维修前后的加油", "Fillings about the repair"),
        x=Text("时间", "Time"),
        y=Text("升", "Litres"),
        curves=(
            Curve(
                Text("每笔升数", "Litres of a filling"),
                tuple(float(us) / 1e6 for us in mine.end_us[rows]),
                tuple(round(float(v), 2) for v in mine.volume_l[rows]),
                "points",
            ),
        ),
        marks=((to_us(order.at) / 1e6, Text("维修", "repair")), (last / 1e6, Text("仍未检定", "still unverified"))),
    )
