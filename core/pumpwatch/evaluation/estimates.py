"""Estimates of alarms against the truth, in its unit; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pumpwatch.evaluation.bounds import GALLON_L
from pumpwatch.model import to_us

if TYPE_CHECKING:
    from pumpwatch.evaluation.running import Exposure
    from pumpwatch.evaluation.scoring import Alarm
    from pumpwatch.evaluation.truth import Layout, TruthItem

_UNITS: Final = {("L/h", "gal/h"): 1.0 / GALLON_L, ("gal/h", "L/h"): GALLON_L}
"""What an estimate's unit is in the truth's."""


def true_size(alarm: Alarm, item: TruthItem, exposure: Exposure, layout: Layout) -> float:
    """What an estimate is held against: the item's size, or what was short on the average where that is not even.

    The average is that of the fillings of the alarm's nozzles from the onset it tells until it came.
    """
    if exposure.extra_l is None or item.cause != "short_delivery" or item.unit != "%":
        return item.size
    told = layout.nozzles_of(alarm.subject)
    mine = np.array([nozzle in told for nozzle in exposure.nozzles], bool)[exposure.nozzle]
    mine &= (exposure.end_us > to_us(alarm.onset)) & (exposure.end_us <= to_us(alarm.at))
    extra, shown = (float(each[mine].sum(dtype=np.float64)) for each in (exposure.extra_l, exposure.litres))
    return 100.0 * extra / (shown - extra) if shown > extra else item.size


def compared(alarm: Alarm, item: TruthItem, size: float) -> dict[str, Any] | None:
    """Against the truth, ``size`` in the item's unit; nothing where the two are of different things.

    A relative error is compared with its sign. Of amounts the truth says how much and not which way: the sign is left
    out.
    """
    told = alarm.estimate
    if told is None or not item.unit:
        return None
    factor = 1.0 if told.unit == item.unit else _UNITS.get((told.unit, item.unit))
    if factor is None:
        return None
    mirror = -1.0 if item.unit != "%" and told.value * size < 0.0 else 1.0
    value = mirror * factor * told.value
    covered = None
    ends = [None if end is None else factor * end for end in (told.low, told.high)]
    if told.low is not None and told.high is not None:
        low, high = sorted(mirror * factor * end for end in (told.low, told.high))
        covered = low <= size <= high
    return {
        "value": round(factor * told.value, 6),
        "low": None if ends[0] is None else round(ends[0], 6),
        "high": None if ends[1] is None else round(ends[1], 6),
        "error": round(value - size, 6),
        "covered": covered,
    }
