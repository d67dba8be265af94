"""Rules that watch whether a dispenser is still the registered one and whether its collector is still there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import Detector, RecordRule, hookimpl
from pumpwatch_integrity.identity import IdentityChange
from pumpwatch_integrity.link import LinkLost

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["IdentityChange", "LinkLost", "pumpwatch_detectors"]


@hookimpl
def pumpwatch_detectors() -> Sequence[type[RecordRule] | type[Detector]]:
    """Name the rules of this plugin."""
    return [IdentityChange, LinkLost]
