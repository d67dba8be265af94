"""Dispensers and tank gauges that speak IFSF over TCP/IP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_ifsf.driver import IfsfDriver, IfsfSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch import Driver

__all__ = ["IfsfDriver", "IfsfSettings", "pumpwatch_drivers"]


@hookimpl
def pumpwatch_drivers() -> Sequence[type[Driver]]:
    """Hand the driver to pumpwatch."""
    return [IfsfDriver]
