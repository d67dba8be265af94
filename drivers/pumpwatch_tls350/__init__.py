"""Veeder-Root TLS-350 and TLS-450 tank gauges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_tls350.driver import Tls350Driver, Tls350Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch import Driver

__all__ = ["Tls350Driver", "Tls350Settings", "pumpwatch_drivers"]


@hookimpl
def pumpwatch_drivers() -> Sequence[type[Driver]]:
    """Hand the driver to pumpwatch."""
    return [Tls350Driver]
