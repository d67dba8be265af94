"""What a work order may explain: a paper counts for what those who signed it answer for, and no further."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pumpwatch import WorkOrder

_CERTIFIES: Final = frozenset({"calibration", "verification", "repair", "install"})


def signed(name: str | None) -> bool:
    """Whether somebody stands there."""
    return bool((name or "").strip(" \t\r\n\0"))


def certifies(order: WorkOrder) -> bool:
    """Whether institute and station have signed a certificate for the device."""
    return (
        order.kind in _CERTIFIES
        and signed(order.certificate_no)
        and signed(order.signed_by_institute)
        and signed(order.signed_by_station)
    )


def witnessed(order: WorkOrder) -> bool:
    """Whether the repairer and one more have signed."""
    return signed(order.signed_by_repairer) and (signed(order.signed_by_institute) or signed(order.signed_by_station))


def fully_signed(order: WorkOrder) -> bool:
    """Whether repairer, institute and station have signed."""
    return signed(order.signed_by_repairer) and signed(order.signed_by_institute) and signed(order.signed_by_station)


def told_pulse_l(order: WorkOrder) -> float | None:
    """Litres a pulse as the work order has it."""
    try:
        value = float(order.attributes["pulse_l"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) and value > 0.0 else None
