"""Rules that compare what a dispenser shows with what its encoder, its totalizers and tax control have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_metering.amount import Amount
from pumpwatch_metering.blanked import BlankedCounts
from pumpwatch_metering.display import Display
from pumpwatch_metering.flow import Flow
from pumpwatch_metering.neighbours import PriceNeighbours
from pumpwatch_metering.price import Price
from pumpwatch_metering.pulse_ratio import PulseRatio
from pumpwatch_metering.totalizer import TotalizerContinuity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch.contracts import Rule

__all__ = [
    "Amount",
    "BlankedCounts",
    "Display",
    "Flow",
    "Price",
    "PriceNeighbours",
    "PulseRatio",
    "TotalizerContinuity",
    "pumpwatch_detectors",
]


@hookimpl
def pumpwatch_detectors() -> Sequence[type[Rule]]:
    """Name the rules of this plugin."""
    return [PulseRatio, TotalizerContinuity, Amount, Price, PriceNeighbours, Flow, Display, BlankedCounts]
