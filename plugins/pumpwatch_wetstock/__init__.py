"""Rules that compare what the tanks hold with what was sold, bought and declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_wetstock.books import HiddenSales
from pumpwatch_wetstock.density import Density
from pumpwatch_wetstock.gauge_work import GaugeWork
from pumpwatch_wetstock.mapping import ProductSwap, WrongTank
from pumpwatch_wetstock.overfill import OverFill
from pumpwatch_wetstock.papers import DeliveryPapers
from pumpwatch_wetstock.shortage import DeliveryShort
from pumpwatch_wetstock.water import WaterIngress
from pumpwatch_wetstock.withdrawals import UnrecordedWithdrawal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch.contracts import Rule

__all__ = [
    "DeliveryPapers",
    "DeliveryShort",
    "Density",
    "GaugeWork",
    "HiddenSales",
    "OverFill",
    "ProductSwap",
    "UnrecordedWithdrawal",
    "WaterIngress",
    "WrongTank",
    "pumpwatch_detectors",
]


@hookimpl
def pumpwatch_detectors() -> Sequence[type[Rule]]:
    """Name the rules of this plugin."""
    return [
        UnrecordedWithdrawal,
        DeliveryPapers,
        OverFill,
        DeliveryShort,
        HiddenSales,
        WrongTank,
        ProductSwap,
        WaterIngress,
        Density,
        GaugeWork,
    ]
