"""What work orders say: who signed, which of them certify a nozzle, and which draws belong to a verification."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch import StationPast, Text, WorkOrder, to_us

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEALS: Final[Mapping[str, Text]] = {
    "seal_meter": Text("计量器封印", "meter seal"),
    "seal_encoder": Text("编码器封印", "encoder seal"),
    "seal_mainboard": Text("主板封印", "mainboard seal"),
}
"""The three places of a dispenser that are sealed, by the ledger's columns."""
DAY_US: Final = 86_400_000_000
HOUR_US: Final = 3_600_000_000
_CANS_L: Final = (5.0, 10.0, 20.0, 50.0, 100.0)
"""What the standard cans hold into which an institute draws (JJG 443)."""
_NEAR_L: Final = 0.5
_NEAR_SHARE: Final = 0.02
CERTIFYING: Final = frozenset({"verification", "calibration"})
WORK: Final = frozenset({"repair", "install", "calibration"})
TOLERATED_PERCENT: Final = 0.30
"""Error that a nozzle may have after a verification (JJG 443)."""
_PARTS: Final = re.compile(
    r"编码器|主板|计量器|流量|传感器|脉冲|当量|\b(?:encoder|pulser|mainboard|board|meter|flowmeter|pulse)s?\b",
    re.IGNORECASE,
)
_ELSEWHERE: Final = re.compile(
    r"滤芯|软管|探棒|固件|程序|软件|税控|\b(?:filter|hose|probe|firmware|software|tax)s?\b", re.IGNORECASE
)


def part_named(order: WorkOrder) -> str | None:
    """The part of a work order's words on which the litres depend; empty for work on other parts, None for neither."""
    text = " ".join(order.attributes.values())
    match = _PARTS.search(text)
    return match[0] if match else "" if _ELSEWHERE.search(text) else None


def signed(name: str | None) -> bool:
    """Whether somebody stands there."""
    return bool((name or "").strip(" \t\r\n\0"))


def by_worker(order: WorkOrder) -> bool:
    """Whether it is a piece of work that repairer and station have signed.

    For a whole station, where nobody watches what is sold after it, the institute must have signed as well.
    """
    here = order.device_id != order.station_id or signed(order.signed_by_institute)
    return here and order.kind in WORK and signed(order.signed_by_repairer) and signed(order.signed_by_station)


def certifies(order: WorkOrder) -> bool:
    """Whether the institute has found the nozzle right."""
    return order.kind in CERTIFYING and signed(order.signed_by_institute) and not failed(order)


def failed(order: WorkOrder) -> bool:
    """Whether it tells a larger error than is allowed: then it is no certificate, whoever signed."""
    return order.error_percent is not None and not abs(order.error_percent) <= TOLERATED_PERCENT


def orders_of(past: StationPast, nozzle_id: str) -> list[WorkOrder]:
    """The orders for a nozzle, its dispenser and its station, oldest first."""
    nozzle = past.nozzle_by_id.get(nozzle_id)
    names = {nozzle_id, past.station_id} | ({nozzle.dispenser_id} if nozzle else set())
    found = (order for order in past.work_orders if order.device_id in names)
    return sorted(found, key=lambda order: (order.at, order.device_id, order.kind))


def certificates(past: StationPast, nozzle_id: str) -> NDArray[np.int64]:
    """(n,) when the institute certified a nozzle, microseconds since 1970, oldest first."""
    return np.array([to_us(order.at) for order in orders_of(past, nozzle_id) if certifies(order)], np.int64)


def are_draws(end_us: NDArray[np.int64], certified_us: Iterable[int], hours: float) -> NDArray[np.bool_]:
    """(n,) which fillings end so shortly before a verification was signed that they are its draws."""
    draws = np.zeros(len(end_us), bool)
    for at_us in certified_us:
        draws |= (end_us <= at_us) & (end_us > at_us - hours * HOUR_US)
    return draws


def may_be_draw(litres: float) -> bool:
    """Whether a filling is as large as a standard can."""
    return any(abs(litres - can) <= max(_NEAR_L, _NEAR_SHARE * can) for can in _CANS_L)


def may_be_draws(litres: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) as ``may_be_draw``; what is not known may be one."""
    draws = ~np.isfinite(litres)
    for can in _CANS_L:
        draws |= np.abs(litres - can) <= max(_NEAR_L, _NEAR_SHARE * can)
    return draws


def midnight_us(day: date, utc_offset_h: float) -> int:
    """When a local day begins."""
    zone = timezone(timedelta(hours=utc_offset_h))
    return to_us(datetime(day.year, day.month, day.day, tzinfo=zone))


def span_of(end_us: int, from_us: int, span_days: float) -> int:
    """Which span of so many days after ``from_us`` a filling ends in."""
    return (end_us - from_us - 1) // round(span_days * DAY_US)


def first_of_spans(
    end_us: NDArray[np.int64], from_us: int, span_days: float, known_us: NDArray[np.int64] | None = None
) -> list[int]:
    """Rows of the filling of each span of so many days after ``from_us`` that is known first; in order of their ends.

    ``known_us`` (n,): when a filling counts, not before its end; None: at its end. An affair that goes on is so told
    once a span, wherever the past begins.
    """
    after = np.flatnonzero(end_us > from_us)
    spans = (end_us[after] - from_us - 1) // round(span_days * DAY_US)
    order = np.lexsort((after, (end_us if known_us is None else known_us)[after], spans))
    _, first = np.unique(spans[order], return_index=True)
    return [int(row) for row in after[order[first]]]
