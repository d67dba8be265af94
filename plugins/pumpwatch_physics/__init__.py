"""The physical balance of the tanks: what survives when everything electronic lies consistently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_physics.flow_switch import FlowSwitch
from pumpwatch_physics.tank_balance import SelectiveDelivery, TankBalance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch.contracts import Rule

__all__ = ["FlowSwitch", "SelectiveDelivery", "TankBalance", "pumpwatch_detectors"]


@hookimpl
def pumpwatch_detectors() -> Sequence[type[Rule]]:
    """Name the rules of this plugin."""
    return [TankBalance, SelectiveDelivery, FlowSwitch]
