"""The rule ``cloned_serial``: one serial number told or registered at two places.

A cloned mainboard tells the serial of another one; only all stations together can show that a number is there twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field

from pumpwatch import (
    About,
    Channel,
    Comparison,
    Department,
    DeviceEvent,
    DeviceIdentity,
    Evidence,
    Explanation,
    Finding,
    PluginSettings,
    Severity,
    StationPast,
    Subject,
    Text,
    WorkOrder,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.wording import dispenser_label, local, nozzle_label, title
from pumpwatch_integrity.parts import ENCODER, FIELDS, Change, Cover, cover, identity_told, told
from pumpwatch_integrity.timelines import parts_timeline

if TYPE_CHECKING:
    from pumpwatch import Record
    from pumpwatch.contracts import Entry, History

_DAY: Final = timedelta(days=1)
_SINGLE: Final = ("serial", "mainboard_serial", "tax_serial", "encoder_serial")
_PAPERS: Final = frozenset({"repair", "install", "verification", "calibration"})


class CloneSettings(PluginSettings):
    """Keys of ``[rules.cloned_serial]``."""

    window_days: float = Field(90.0, gt=0.0, description="What was told longer ago counts no more, days.")
    least_characters: int = Field(
        4, ge=1, description="Shorter serials, and those of one repeated character, are placeholders."
    )
    work_order_days: float = Field(7.0, ge=0.0, description="A work order explains a move this long after it, days.")
    work_order_late_days: float = Field(1.0, ge=0.0, description="… or this long before it, days.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a serial can be: a dispenser, or a nozzle with its encoder."""

    station_id: str
    dispenser_id: str
    nozzle_id: str | None
    registered: Mapping[str, str]
    """Field → serial in the ledger, folded."""
    installed_us: int | None

    @property
    def subject(self) -> Subject:
        """As a finding names it."""
        return Subject(self.station_id, self.dispenser_id, self.nozzle_id)

    @property
    def key(self) -> str:
        """The id of the dispenser or nozzle."""
        return self.nozzle_id or self.dispenser_id


@dataclass(frozen=True, slots=True)
class Serials:
    """One station's digest: its places, what they told (time, place, field, serial) and signed work."""

    places: tuple[Place, ...]
    claims: tuple[tuple[int, str, str, str], ...]
    orders: tuple[WorkOrder, ...]


class ClonedSerial(Comparison):
    """One finding for each place that begins to tell serials which another place holds at that time."""

    rule: ClassVar[str] = "cloned_serial"
    Settings: ClassVar[type[PluginSettings]] = CloneSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.IDENTITY})
    explains: ClassVar[frozenset[str]] = frozenset({"identity_change"})
    lookback: ClassVar[timedelta] = timedelta(days=90)
    wakes: ClassVar[tuple[type, ...]] = (DeviceIdentity, DeviceEvent)
    about: ClassVar[About] = About(
        title=Text("序列号重复", "Cloned serial"),
        catches=("F15",),
        inputs="Identities and events of kind `identity` of all stations; the ledger's serials of dispensers (serial, "
        "mainboard, tax memory) and encoders; work orders.",
        statistic="Each place holds the serial it told last within `window_days`, else the registered one. When a "
        "place begins to tell a serial that another place holds at that moment, the serial is there twice. Two places "
        "registered with one serial are told on the day the later one was installed.",
        threshold="Equality without blanks, padding and capitals. Serials shorter than `least_characters` or of one "
        "repeated character are placeholders. A work order that repairer, institute and station signed, from "
        "`work_order_days` before to `work_order_late_days` after, makes it a note.",
        power="F15: 12 of 12 at the first identity, both places named, in four fleets of 38 stations. No false alarm "
        "over 1,218 honest nozzle-years with the honest scenarios in them.",
        pitfalls="A board that is moved from one dispenser to another is there twice in the ledger until it is brought "
        "up to date: that is what the work order is for. A maker that uses one number for a whole batch must be left "
        "out of the ledger's serials. A clone of a board at a station without a collector is not seen.",
        source="JJG 443-2023 (list of parts); GB/T 9081-2023 (unique signature of hardware).",
    )
    settings: CloneSettings

    def occasion(self, record: Record | Entry, history: History) -> str | None:
        """A dispenser or nozzle tells a serial that the ledger does not have there."""
        if isinstance(record, DeviceEvent):
            nozzle = history.nozzle
            identity = identity_told(record, lambda name: n.dispenser_id if (n := nozzle(name)) else None)
        else:
            identity = record if isinstance(record, DeviceIdentity) else None
        if identity is None:
            return None
        dispenser = history.dispenser(identity.dispenser_id)
        strange = [
            serial
            for field in _SINGLE[:3]
            if (serial := _folded(getattr(identity, field))) and serial != _folded(getattr(dispenser, field, None))
        ]
        for nozzle_id, encoder in identity.encoder_serials.items():
            registered = getattr(history.nozzle(nozzle_id), "encoder_serial", None)
            if (serial := _folded(encoder)) and serial != _folded(registered):
                strange.append(serial)
        strange = [serial for serial in strange if not self._is_placeholder(serial)]
        return "/".join((identity.dispenser_id, *sorted(strange))) if strange else None

    def digest(self, past: StationPast, since: datetime, until: datetime) -> Serials:
        """The station's serials."""
        places = (*self._dispensers(past), *self._nozzles(past))
        return Serials(
            places,
            tuple(_telling(_claims(past))),
            tuple(o for o in past.work_orders if o.kind in _PAPERS),
        )

    def compare(self, digests: Mapping[str, Any], since: datetime, until: datetime) -> Iterator[Finding]:
        """Follow what each place tells through time."""
        places = {place.key: place for _, each in sorted(digests.items()) for place in each.places}
        orders = [order for _, each in sorted(digests.items()) for order in each.orders]
        claims = sorted(claim for each in digests.values() for claim in each.claims)
        first, last = to_us(since), to_us(until)
        yield from self._registered_twice(places, first, last)
        window_us = round(self.settings.window_days * 86_400e6)
        spoken: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
        holders: dict[tuple[str, str], set[str]] = defaultdict(set)
        for place in places.values():
            for field, serial in place.registered.items():
                holders[field, serial].add(place.key)
        for at_us, key, field, serial in claims:
            holders[field, serial].add(key)
            spoken[key, field].append((at_us, serial))

        def held(key: str, field: str, at_us: int, *, before: bool) -> str | None:
            """What a place holds at a time: said last within the window, else registered."""
            said = [
                s for t, s in spoken[key, field] if at_us - window_us <= t and (t < at_us if before else t <= at_us)
            ]
            return said[-1] if said else places[key].registered.get(field) if key in places else None

        twins: dict[tuple[int, str, str], list[tuple[str, str]]] = defaultdict(list)
        for at_us, key, field, serial in claims:
            if not first < at_us <= last or len(holders[field, serial]) < 2 or key not in places:
                continue
            if held(key, field, at_us, before=True) == serial or self._is_placeholder(serial):
                continue
            for other in sorted(holders[field, serial] - {key}):
                if other in places and held(other, field, at_us, before=False) == serial:
                    twins[at_us, key, other].append((field, serial))
        for (at_us, key, other), serials in sorted(twins.items()):
            yield self._finding(
                places[key], places[other], at_us, serials, self._order(orders, places[key], at_us, serials)
            )

    def _registered_twice(self, places: Mapping[str, Place], first: int, last: int) -> Iterator[Finding]:
        """Serials that the ledger itself has twice, on the later place's first day."""
        at: dict[tuple[str, str], list[Place]] = defaultdict(list)
        for place in places.values():
            for field, serial in place.registered.items():
                if place.installed_us is not None and not self._is_placeholder(serial):
                    at[field, serial].append(place)
        for (field, serial), those in sorted(at.items()):
            those.sort(key=lambda place: (place.installed_us or 0, place.key))
            for one, two in pairwise(those):
                if two.installed_us is not None and first < two.installed_us <= last:
                    yield self._finding(two, one, two.installed_us, [(field, serial)], None)

    def _is_placeholder(self, serial: str) -> bool:
        return len(serial) < self.settings.least_characters or len(set(serial)) == 1

    def _order(
        self, orders: Iterable[WorkOrder], place: Place, at_us: int, serials: list[tuple[str, str]]
    ) -> WorkOrder | None:
        """The fully signed order that speaks for what this place tells."""
        settings = self.settings
        names = {place.dispenser_id, place.station_id} | ({place.nozzle_id} if place.nozzle_id else set())
        mine = [order for order in orders if order.device_id in names]
        changes = [Change(f, FIELDS.get(f, ENCODER), place.registered.get(f, ""), serial) for f, serial in serials]
        covered, order = cover(mine, changes, from_us(at_us), settings.work_order_days, settings.work_order_late_days)
        return order if covered is Cover.FULL else None

    def _dispensers(self, past: StationPast) -> Iterator[Place]:
        for dispenser in past.dispensers:
            installed_us = None
            if dispenser.installed_on is not None:
                zone = timezone(timedelta(hours=self.settings.utc_offset_h))
                day = dispenser.installed_on
                installed_us = to_us(datetime(day.year, day.month, day.day, tzinfo=zone))
            registered = {f: s.casefold() for f in _SINGLE[:3] if (s := told(getattr(dispenser, f)))}
            yield Place(past.station_id, dispenser.dispenser_id, None, registered, installed_us)

    def _nozzles(self, past: StationPast) -> Iterator[Place]:
        for nozzle in past.nozzles:
            serial = told(nozzle.encoder_serial)
            registered = {"encoder_serial": serial.casefold()} if serial else {}
            yield Place(past.station_id, nozzle.dispenser_id, nozzle.nozzle_id, registered, None)

    def _finding(
        self, place: Place, twin: Place, at_us: int, serials: list[tuple[str, str]], order: WorkOrder | None
    ) -> Finding:
        at, serials = from_us(at_us), sorted(serials)
        departments = [Department.MARKET_REGULATION]
        if any(field == "tax_serial" for field, _ in serials):
            departments.append(Department.TAX)
        subject = place.subject
        return Finding(
            id=finding_id(self.rule, subject, twin.key, *(f"{field}={serial}" for field, serial in serials)),
            rule=self.rule,
            cause="identity_change",
            subject=subject,
            severity=Severity.INFO if order else Severity.CRITICAL,
            departments=tuple(departments),
            onset=at,
            detected_at=at,
            explanation=self._explain(place, twin, at, serials, order),
            evidence=tuple(
                Evidence(
                    kind="same_serial",
                    reference=f"{place.key}/{field}",
                    data={
                        "serial": serial.upper(),
                        "also_at": twin.key,
                        "registered_here": (place.registered.get(field) or "").upper() or None,
                        "registered_there": (twin.registered.get(field) or "").upper() or None,
                        "at": at.astimezone(UTC).isoformat(),
                    },
                )
                for field, serial in serials
            ),
            figures=(
                parts_timeline(
                    _label(place),
                    [FIELDS.get(field, ENCODER) for field, _ in serials],
                    at,
                    [order] if order else [],
                    Text(f"与 {twin.key} 相同", f"the same as {twin.key}"),
                ),
            ),
        )

    def _explain(
        self, place: Place, twin: Place, at: datetime, serials: list[tuple[str, str]], order: WorkOrder | None
    ) -> Explanation:
        label, there = _label(place), _label(twin)
        if twin.station_id != place.station_id:
            there = Text(f"{twin.station_id} 站的{there.zh}", f"{there.en} of station {twin.station_id}")
        names = [FIELDS.get(field, ENCODER) for field, _ in serials]
        day = local(at, self.settings.utc_offset_h)
        return Explanation(
            title=title(label, "序列号重复", "serial is there twice"),
            what=Text(
                zh=f"{label.zh}自 {day} 起与{there.zh}使用同一序列号："
                + "；".join(f"{n.zh} {s.upper()}" for n, (_, s) in zip(names, serials, strict=True))
                + "。",
                en=f"Since {day} {label.en} has the same serial as {there.en}: "
                + "; ".join(f"{n.en} {s.upper()}" for n, (_, s) in zip(names, serials, strict=True))
                + ".",
            ),
            why=Text(
                zh="每块主板、税控存储器和编码器的序列号全国唯一，不可能同时在两处出现。"
                + (
                    f"{local(order.at, self.settings.utc_offset_h)} 有已签字的维修工单，可能是部件移装。"
                    if order
                    else ""
                ),
                en="Every mainboard, tax memory and encoder has a number of its own; it cannot be in two places."
                + (
                    f" A signed repair of {local(order.at, self.settings.utc_offset_h)} may have moved the part."
                    if order
                    else ""
                ),
            ),
            otherwise=Text(
                zh="部件由另一处移装而台账未更新；台账登记重复或抄录有误；厂家整批使用同一编号。",
                en="The part was moved and the ledger is not up to date; the ledger has it twice or a slip of the pen; "
                "a maker that gives one number to a whole batch.",
            ),
            on_site=Text(
                zh="同时到两处读取铭牌和电子序列号，比对两机时钟和启动时间；查封印、程序摘要和采购发票，确定哪一块是原件。",
                en="Read name plates and electronic serials at both places at the same time, compare the two clocks; "
                "check seals, digest and invoice, and find out which part is the original.",
            ),
        )


def _claims(past: StationPast) -> Iterator[tuple[int, str, str, str]]:
    """What the station's devices told: time, place, field, folded serial."""
    of = {nozzle.nozzle_id: nozzle.dispenser_id for nozzle in past.nozzles}
    said = [each for event in past.events if (each := identity_told(event, of.get)) is not None]
    for identity in (*past.identities, *said):
        at_us = to_us(identity.at)
        for field in _SINGLE[:3]:
            if serial := told(getattr(identity, field)):
                yield at_us, identity.dispenser_id, field, serial.casefold()
        for nozzle_id, encoder in identity.encoder_serials.items():
            if serial := told(encoder):
                yield at_us, nozzle_id, "encoder_serial", serial.casefold()


def _telling(claims: Iterable[tuple[int, str, str, str]]) -> Iterator[tuple[int, str, str, str]]:
    """Without what only repeats what was told on the same day (UTC): devices tell it every minute."""
    last: dict[tuple[str, str], tuple[int, str]] = {}
    for at_us, key, field, serial in sorted(set(claims)):
        now = (at_us // 86_400_000_000, serial)
        if last.get((key, field)) != now:
            last[key, field] = now
            yield at_us, key, field, serial


def _folded(serial: str | None) -> str:
    return (told(serial) or "").casefold()


def _label(place: Place) -> Text:
    return nozzle_label(place.nozzle_id) if place.nozzle_id else dispenser_label(place.dispenser_id)
