"""Rules that compare what a dispenser shows with what its encoder and its totalizers counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import Detector, RecordRule, hookimpl
from pumpwatch_metering.pulse_ratio import PulseRatio
from pumpwatch_metering.totalizer import TotalizerContinuity

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PulseRatio", "TotalizerContinuity", "pumpwatch_detectors"]


@hookimpl
def pumpwatch_detectors() -> Sequence[type[RecordRule] | type[Detector]]:
    """Name the rules of this plugin."""
    return [PulseRatio, TotalizerContinuity]
