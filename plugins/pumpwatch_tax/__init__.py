"""Rules that compare what tax control and declarations say with what was metered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_tax.declared_sales import DeclaredSales
from pumpwatch_tax.demand import Demand
from pumpwatch_tax.own_use import OwnUse
from pumpwatch_tax.risk_grade import RiskGrade
from pumpwatch_tax.sequence import SequenceContinuity
from pumpwatch_tax.tax_memory import TaxMemory
from pumpwatch_tax.tax_serial import TaxSerial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch.contracts import Rule

__all__ = ["pumpwatch_detectors"]


@hookimpl
def pumpwatch_detectors() -> Sequence[type[Rule]]:
    """Name the rules of this plugin."""
    return [TaxMemory, TaxSerial, SequenceContinuity, DeclaredSales, OwnUse, RiskGrade, Demand]
