"""Lanfeng dispensers (温州蓝峰): listened to beside the station's controller, or asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_lanfeng.driver import LanfengDriver, LanfengSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch import Driver

__all__ = ["LanfengDriver", "LanfengSettings", "pumpwatch_drivers"]


@hookimpl
def pumpwatch_drivers() -> Sequence[type[Driver]]:
    """Hand the driver to pumpwatch."""
    return [LanfengDriver]
