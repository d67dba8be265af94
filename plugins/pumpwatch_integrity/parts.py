"""What a dispenser tells of its parts, what of it has changed, and how far work orders speak for that; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from pumpwatch import DeviceEvent, DeviceIdentity, Dispenser, EventKind, Text, WorkOrder, same_serial

FIELDS: Mapping[str, Text] = {
    "serial": Text("出厂序列号", "serial number"),
    "mainboard_serial": Text("计控主板序列号", "mainboard serial"),
    "firmware_version": Text("程序版本", "firmware version"),
    "firmware_digest": Text("程序摘要", "software digest"),
    "tax_serial": Text("税控序列号", "tax serial"),
}
"""What a dispenser tells of itself, by the fields of ``DeviceIdentity``."""
ENCODER = Text("编码器序列号", "encoder serial")
_EXPLAINS = frozenset({"repair", "install", "verification"})
_WORK = frozenset({"repair", "install"})
CERTIFIES = frozenset({"verification", "calibration"})
_TOLERATED_PERCENT = 0.30
"""Error that JJG 443 allows; a verification that found more certifies nothing."""
_LARGEST = 1e12
"""No device tells a greater number."""
_A_DAY = timedelta(days=1)
_PROGRAM = frozenset({"firmware_version", "firmware_digest"})
_ABOUT = (
    (re.compile(r"固件|程序|软件|firmware|software", re.IGNORECASE), _PROGRAM),
    (re.compile(r"主板|board", re.IGNORECASE), _PROGRAM | {"mainboard_serial", "serial"}),
    (re.compile(r"编码器|encoder|pulser", re.IGNORECASE), frozenset({"encoder_serial"})),
    (re.compile(r"税控|\btax\b", re.IGNORECASE), frozenset({"tax_serial"})),
    (re.compile(r"整机|新机", re.IGNORECASE), frozenset({*FIELDS, "encoder_serial"})),
    (re.compile(r"滤芯|软管|油枪|filter|hose", re.IGNORECASE), frozenset[str]()),
)
"""Words of a work order and the fields that the work can change."""
_WORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")


@dataclass(frozen=True, slots=True)
class Change:
    """One field that is not what is registered."""

    field: str
    name: Text
    registered: str
    observed: str

    @property
    def words(self) -> Text:
        """What stood there and what stands there now; of a digest the first digits will do."""
        old, new = (
            f"{value[:12]}…" if self.field == "firmware_digest" and len(value) > 16 else value
            for value in (self.registered, self.observed)
        )
        return Text(f"{self.name.zh} 登记 {old}，实测 {new}", f"{self.name.en} registered {old}, observed {new}")


def changes_of(identity: DeviceIdentity, dispenser: Dispenser) -> tuple[Change, ...]:
    """The dispenser's own fields that differ; capitals do not count, nor hyphens in serial numbers.

    What one side lacks is not judged.
    """
    return tuple(
        Change(field, name, registered, observed)
        for field, name in FIELDS.items()
        if (registered := told(getattr(dispenser, field))) is not None
        and (observed := told(getattr(identity, field))) is not None
        and registered.casefold() != observed.casefold()
        and not (field.endswith("serial") and same_serial(registered, observed))
    )


class Cover(IntEnum):
    """How far work orders speak for a change."""

    NONE = 0
    HALF = 1
    """Signed by repairer and station; the institute has not been there."""
    FULL = 2
    """Signed by repairer, institute and station, on one order or on a repair and the verification after it."""


def identity_told(event: DeviceEvent, dispenser_of: Callable[[str], str | None]) -> DeviceIdentity | None:
    """What an event of kind ``identity`` says; ``dispenser_of`` gives the dispenser of a registered nozzle.

    The event's device is the dispenser with the fields of ``DeviceIdentity`` in its detail, or a nozzle with its
    ``encoder_serial``; a dispenser may also name the ``nozzle_id``.
    """
    if event.kind is not EventKind.IDENTITY:
        return None
    detail = event.detail
    nozzle_id = event.device_id if dispenser_of(event.device_id) else str(detail.get("nozzle_id") or "")
    serial = detail.get("encoder_serial")
    return DeviceIdentity(
        event.station_id,
        dispenser_of(nozzle_id) or event.device_id,
        event.at,
        **{name: str(detail[name]) for name in FIELDS if detail.get(name) is not None},
        encoder_serials={nozzle_id: str(serial)} if nozzle_id and serial is not None else {},
    )


def told(value: str | None) -> str | None:
    """The text without blanks and padding; None when there is none."""
    return (value or "").strip(" \t\r\n\0") or None


def number(value: object) -> float | None:
    """What a device tells as a number; None for text, NaN, and what is too great to be one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST <= value <= _LARGEST:
        return None
    return float(value)


def half_signed(order: WorkOrder) -> bool:
    """Whether those who did the work and those it was done for have signed.

    An order for the whole station names no device, so that nobody watches what is sold after it: it needs the
    institute as well.
    """
    here = order.device_id != order.station_id or told(order.signed_by_institute)
    return bool(here and told(order.signed_by_repairer) and told(order.signed_by_station))


def passed(order: WorkOrder) -> bool:
    """Whether it tells no error, or one that is allowed."""
    error = order.error_percent
    return error is None or abs(error) <= _TOLERATED_PERCENT


def cover(
    orders: Iterable[WorkOrder], changes: Sequence[Change], at: datetime, days: float, late_days: float
) -> tuple[Cover, WorkOrder | None]:
    """How far these orders explain changes seen at ``at``, and the order that does.

    An order from ``days`` before to ``late_days`` after speaks for what its words are about. One without such words
    speaks for everything: with the institute's signature as long, without it for a day either way. An earlier order
    counts when it names all the new values. Another digest under one version is no upgrade and needs the institute.
    """
    until = at + timedelta(days=late_days)
    known = sorted((o for o in orders if o.at <= until), key=lambda o: (o.at, o.device_id, o.kind))
    patched = {change.field for change in changes} == {"firmware_digest"}
    best: tuple[Cover, WorkOrder | None] = (Cover.NONE, None)
    for order in known:
        about = is_about(order, [change.field for change in changes])
        near = order.at >= at - timedelta(days=days)
        if order.kind not in _EXPLAINS or about is False or not (near or _names(order, changes)):
            continue
        certified = any(
            o.kind in CERTIFIES
            and told(o.signed_by_institute)
            and told(o.signed_by_station)
            and o.at >= order.at
            and passed(o)
            for o in known
        )
        institute = told(order.signed_by_institute) and passed(order)
        if half_signed(order) and (institute or (order.kind in _WORK and certified)):
            best = (Cover.FULL, order)
        elif (
            half_signed(order)
            and order.kind in _WORK
            and not patched
            and best[0] is not Cover.FULL
            and (about or order.at >= at - _A_DAY)
        ):
            best = (Cover.HALF, order)
    return best


def is_about(order: WorkOrder, fields: Iterable[str]) -> bool | None:
    """Whether the work that the order's words tell of can change all these fields; None when they tell of no part."""
    text = " ".join(order.attributes.values())
    told_of = [those for words, those in _ABOUT if words.search(text)]
    return frozenset[str]().union(*told_of).issuperset(fields) if told_of else None


def _names(order: WorkOrder, changes: Sequence[Change]) -> bool:
    """Whether the order's own words name every new value."""
    text = " ".join(order.attributes.values()).casefold()
    words = {word.rstrip(".-_") for word in _WORD.findall(text)}
    return bool(changes) and all(change.observed.casefold() in words for change in changes)
