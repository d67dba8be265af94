"""Rules that look at certificates, licences, seals, work orders and covert tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch.contracts import Rule

__all__ = ["pumpwatch_detectors"]


@hookimpl
def pumpwatch_detectors() -> Sequence[type[Rule]]:
    """Name the rules of this plugin."""
    return []
