"""How figures of an evaluation are written, on screen and on paper alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def amount(value: float) -> str:
    """Three digits that count: ``0.0123``, ``4.56``, ``1,234``."""
    if value == 0.0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def size_words(row: Mapping[str, Any]) -> str:
    """``2 %``, ``500 L``; nothing where the truth gives no unit."""
    return f"{row['size']:g} {row['unit']}" if row["unit"] else ""


def spread_words(spread: Mapping[str, float] | None) -> str:
    """Median and 90th percentile: ``0.4 (1.2)``; one number when they are the same."""
    if spread is None:
        return ""
    median, late = amount(spread["median"]), amount(spread["p90"])
    return median if median == late else f"{median} ({late})"


def share_words(share: float | None, low: float, high: float) -> str:
    """``95% (91%–98%)``; nothing where nothing is known."""
    return "" if share is None else f"{share:.0%} ({low:.0%}–{high:.0%})"


def rate_words(told: Mapping[str, Any]) -> str:
    """``0.31 (0.12–0.68)``."""
    if told["per_100_nozzle_years"] is None:
        return "—"
    return f"{told['per_100_nozzle_years']:.2f} ({told['low']:.2f}–{told['high']:.2f})"
