"""What else happened around a sale: signed work, silent links, power and devices that say they are others.

``History`` answers for records, ``StationPast`` for a whole month; both are asked the same questions here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from pumpwatch import DeviceEvent, EventKind, History, Subject, WorkOrder

_REPAIRS: Final = frozenset({"repair", "install"})
_LONGEST_SILENCE: Final = timedelta(days=30)
"""How far back a link may have failed that is still down."""


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
    """The dispenser's word, in this time, that it is another board, software or tax memory."""
    for event in history.events(subject.station_id, EventKind.IDENTITY, since, until):
        if _concerns(event.device_id, subject):
            return event
    return None


def power_event(history: History, subject: Subject, since: datetime, until: datetime) -> DeviceEvent | None:
    """A power cut or restart of the dispenser or the station in this time."""
    for event in history.events(subject.station_id, EventKind.POWER, since, until):
        if _concerns(event.device_id, subject):
            return event
    return None


def silence(history: History, subject: Subject, since: datetime, until: datetime, reason: str) -> timedelta:
    """How long, between two times, a link to the dispenser was down for this reason."""
    events = history.events(subject.station_id, EventKind.LINK, since - _LONGEST_SILENCE, until)
    mine = [e for e in events if e.detail.get("reason") == reason and _concerns(e.device_id, subject)]
    total = timedelta(0)
    for start, end in spans(mine, until):
        total += max(timedelta(0), min(end, until) - max(start, since))
    return total


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
