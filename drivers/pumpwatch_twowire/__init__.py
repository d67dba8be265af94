"""Gilbarco Two-Wire dispensers (also 北京长吉): listened to beside the station's controller, or asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_twowire.driver import TwoWireDriver, TwoWireSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch import Driver

__all__ = ["TwoWireDriver", "TwoWireSettings", "pumpwatch_drivers"]


@hookimpl
def pumpwatch_drivers() -> Sequence[type[Driver]]:
    """Hand the driver to pumpwatch."""
    return [TwoWireDriver]
