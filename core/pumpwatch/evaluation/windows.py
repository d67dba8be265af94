"""How much was found and how soon, in one figure: the window score, and precision and recall in time; pure.

The window score is that of the Numenta anomaly benchmark: the first alarm of an item earns the more the earlier in the
item's window it comes, a missed item and each false alarm cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

FALSE_COSTS: Final = {"standard": 0.11, "low_false_alarms": 0.22}
"""What a false alarm costs, by profile; a missed item costs 1."""
TOLERANCE_BOUNDS, TOLERANCE_DAYS = 1.5, 1.0
"""In time is what comes before so many bounds and so many days have passed."""


def window_score(items: Sequence[Mapping[str, Any]], false: int) -> dict[str, float | None]:
    """By profile, 0 for rules that say nothing and 100 for those that say all at once and nothing else."""
    if not items:
        return dict.fromkeys(FALSE_COSTS)
    earned = sum(
        _weight(item["delay"]["days"] / item["horizon_days"] - 1.0) if item["found"] else -1.0 for item in items
    )
    best, worst = _weight(-1.0) * len(items), -1.0 * len(items)
    return {
        profile: round(100.0 * (earned - cost * false - worst) / (best - worst), 2)
        for profile, cost in FALSE_COSTS.items()
    }


def _weight(place: float) -> float:
    """From nearly 1 at the window's begin (-1) to 0 at its end (0)."""
    return 2.0 / (1.0 + math.exp(5.0 * place)) - 1.0


def score_without_false_alarms(items: Sequence[Mapping[str, Any]]) -> float | None:
    """The window score of some items by themselves: false alarms belong to none of them."""
    return window_score(items, 0)["standard"]


def in_time(items: Sequence[Mapping[str, Any]], false: int) -> dict[str, Any]:
    """Precision, recall and F1 where only what is found by the item's ``deadline`` counts as found."""
    hits = sum(item["found"] and item["delay"]["days"] <= deadline_days(item) for item in items)
    precision = hits / (hits + false) if hits + false else None
    recall = hits / len(items) if items else None
    both = (precision or 0.0) + (recall or 0.0)
    f1 = None if precision is None or recall is None else 2.0 * precision * recall / both if both else 0.0
    told = {"precision": precision, "recall": recall, "f1": f1}
    return {
        "found": hits,
        "missed": len(items) - hits,
        "false": false,
        **{name: None if value is None else round(value, 4) for name, value in told.items()},
    }


def deadline_days(item: Mapping[str, Any]) -> float:
    """1.5 bounds and a day after the first affected record; the horizon where balances have no known bound."""
    bound = 0.0 if item["deterministic"] else item["bound_days"]
    if bound is None:
        return float(item["horizon_days"])
    return TOLERANCE_BOUNDS * float(bound) + TOLERANCE_DAYS
