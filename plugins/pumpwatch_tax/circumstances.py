"""What else happened around a sale: signed work, silent links, power and devices that say they are others.

``History`` answers for records, ``StationPast`` for a whole month; both are asked the same questions here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pumpwatch import DeviceEvent, EventKind, History, Subject, Transaction, WorkOrder

_REPAIRS: Final = frozenset({"repair", "install"})
_LONGEST_SILENCE: Final = timedelta(days=30)
"""How far back a link may have failed that is still down."""
_EDGE: Final = timedelta(minutes=2)
"""What is stamped so near the edges of a silence says nothing against it."""
_PARTS: Final = ("serial", "mainboard_serial", "firmware_version", "firmware_digest", "tax_serial")


@dataclass(frozen=True, slots=True)
class Silence:
    """A link that was down, and for how long of the time asked about."""

    down: datetime
    up: datetime
    inside: timedelta


def told(value: object) -> str | None:
    """A serial number or signature without blanks and padding; None when there is none."""
    return str(value or "").strip(" \t\r\n\0") or None


def signed_repair(history: History, subject: Subject, since: datetime, until: datetime) -> WorkOrder | None:
    """A repair or installation at the nozzle, its dispenser or station that all three have signed, in this time."""
    for device_id in (subject.nozzle_id, subject.dispenser_id, subject.station_id):
        if device_id is None:
            continue
        for order in history.work_orders(device_id, since):
            names = (order.signed_by_repairer, order.signed_by_institute, order.signed_by_station)
            if order.kind in _REPAIRS and since <= order.at <= until and all(map(told, names)):
                return order
    return None


def other_identity(history: History, subject: Subject, since: datetime, until: datetime) -> DeviceEvent | None:
    """The dispenser's word, in this time, that its board, software, encoder or tax memory is not the registered one."""
    for event in history.events(subject.station_id, EventKind.IDENTITY, since, until):
        if _concerns(event.device_id, subject) and _is_other(event, subject, history):
            return event
    return None


def _is_other(event: DeviceEvent, subject: Subject, history: History) -> bool:
    """Whether something told is registered and otherwise: to tell what is known, or what nobody knows, is no change."""
    dispenser = history.dispenser(subject.dispenser_id) if subject.dispenser_id else None
    nozzle = history.nozzle(subject.nozzle_id) if subject.nozzle_id else None
    for name in (*_PARTS, "encoder_serial"):
        registered = told(getattr(nozzle if name == "encoder_serial" else dispenser, name, None))
        observed = told(event.detail.get(name))
        if registered and observed and registered.casefold() != observed.casefold():
            return True
    return False


def power_events(history: History, subject: Subject, since: datetime, until: datetime) -> Sequence[DeviceEvent]:
    """Power cuts and restarts of the dispenser or the station in this time, oldest first."""
    events = history.events(subject.station_id, EventKind.POWER, since, until)
    return [event for event in events if _concerns(event.device_id, subject)]


def silences(
    history: History, subject: Subject, since: datetime, until: datetime, end: datetime, reason: str
) -> Sequence[Silence]:
    """The times at which a link to the dispenser was down for this reason, as far as they lie between two times.

    ``end`` is until when it is known whether the link came back.
    """
    events = history.events(subject.station_id, EventKind.LINK, since - _LONGEST_SILENCE, end)
    mine = [e for e in events if e.detail.get("reason") == reason and _concerns(e.device_id, subject)]
    return [
        Silence(down, up, min(up, until) - max(down, since))
        for down, up in spans(mine, end)
        if min(up, until) > max(down, since)
    ]


def heard(history: History, subject: Subject, silence: Silence) -> bool:
    """Whether a nozzle of the dispenser ended a sale in a silence, so that the link cannot have been down."""
    edge = min(_EDGE, (silence.up - silence.down) / 4)
    for nozzle in history.nozzles_of(subject.dispenser_id) if subject.dispenser_id else ():
        at = silence.up - edge
        last = history.before(Transaction(nozzle.nozzle_id, -1, at, at, 0.0, 0.0, 0.0), 1)
        if last and last[0].end >= silence.down + edge:
            return True
    return False


def spans(events: Iterable[DeviceEvent], until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """From each ``up: false`` to the next ``up: true``; spans of several devices that overlap are one."""
    down: dict[str, datetime] = {}
    found: list[tuple[datetime, datetime]] = []
    for event in events:
        if not event.detail.get("up"):
            down.setdefault(event.device_id, event.at)
        elif (start := down.pop(event.device_id, None)) is not None:
            found.append((start, event.at))
    found += [(start, until) for start in down.values()]
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    yield from merged


def _concerns(device_id: str, subject: Subject) -> bool:
    """A device is named by its whole id, or by what it is called within the station."""
    names = (subject.station_id, subject.dispenser_id, subject.nozzle_id)
    return device_id in names or f"{subject.station_id}-{device_id}" in names
