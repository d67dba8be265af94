"""History in an InfluxDB server, 1.8, 2 or 3, behind the same disk journal as every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_influx.store import InfluxStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch import Store

__all__ = ["pumpwatch_stores"]


@hookimpl
def pumpwatch_stores() -> Sequence[type[Store]]:
    """Name the store of this plugin."""
    return [InfluxStore]
