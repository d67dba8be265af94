"""The tax port (税控报税口) of Chinese tax-control dispensers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_taxport.driver import TaxPortDriver, TaxPortSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch import Driver

__all__ = ["TaxPortDriver", "TaxPortSettings", "pumpwatch_drivers"]


@hookimpl
def pumpwatch_drivers() -> Sequence[type[Driver]]:
    """Hand the driver to pumpwatch."""
    return [TaxPortDriver]
