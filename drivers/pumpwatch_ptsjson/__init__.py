"""Technotrade PTS-2 forecourt controllers, which call the server and bring their records as jsonPTS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_ptsjson.driver import PtsJsonDriver, PtsJsonSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch import Driver

__all__ = ["PtsJsonDriver", "PtsJsonSettings", "pumpwatch_drivers"]


@hookimpl
def pumpwatch_drivers() -> Sequence[type[Driver]]:
    """Hand the driver to pumpwatch."""
    return [PtsJsonDriver]
