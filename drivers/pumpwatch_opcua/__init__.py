"""OPC UA servers of dispensers and tanks, described by node maps instead of code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_opcua.driver import OpcuaDriver, OpcuaSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch import Driver

__all__ = ["OpcuaDriver", "OpcuaSettings", "pumpwatch_drivers"]


@hookimpl
def pumpwatch_drivers() -> Sequence[type[Driver]]:
    """Hand the driver to pumpwatch."""
    return [OpcuaDriver]
