"""Items put together: by scenario and size, all of them, and which cause was taken for which; pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from pumpwatch.evaluation.chance import quantile, share_interval
from pumpwatch.evaluation.windows import in_time, score_without_false_alarms, window_score

ON_TIME_RECORDS = 1
"""What one record shows is to be found at that record or the next."""
_OF_ITEMS = frozenset({"found", "missed", "recall"})
"""What can be said without false alarms."""
BASELINE_DAYS = 60.0
"""Of honest records before the onset: with fewer nobody can know what is usual."""


def by_scenario(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a scenario, cause and size."""

    def kind(item: dict[str, Any]) -> tuple[Any, ...]:
        return (item["scenario"], item["cause"], item["unit"], item["size"])

    return [_scenario(list(group)) for _, group in groupby(sorted(items, key=kind), kind)]


def _scenario(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = [item for item in items if item["found"]]
    low, high = share_interval(len(found), len(items))
    late = [item["records_late"] for item in found if item["records_late"] is not None]
    named = [item["named"] for item in items if item["named"] is not None]
    first = items[0]
    return {
        **{key: first[key] for key in ("scenario", "cause", "size", "unit", "deterministic", "horizon_days")},
        "n": len(items),
        "found": len(found),
        "recall": round(len(found) / len(items), 4),
        "recall_low": round(low, 4),
        "recall_high": round(high, 4),
        "noticed": sum(item["noticed"] for item in items),
        "cut_short": sum(item["cut_short"] for item in items),
        "rules": dict(sorted(Counter(item["rule"] for item in found).items())),
        "delay": {
            name: _spread([item["delay"][name] for item in found if item["delay"][name] is not None])
            for name in ("days", "sales", "litres", "drops")
        },
        "noticed_delay": _spread([item["noticed_days"] for item in items if item["noticed"]]),
        **_against_bound(items),
        "after_baseline": _against_bound([item for item in items if item["baseline_days"] >= BASELINE_DAYS]),
        "score_without_false_alarms": score_without_false_alarms(items),
        "in_time": {name: value for name, value in in_time(items, 0).items() if name in _OF_ITEMS},
        "first_record": {
            "n": len(late),
            "on_time": sum(each <= ON_TIME_RECORDS for each in late),
            "latest": max(late, default=None),
        },
        "attribution": {
            "station": round(len(named) / len(items), 4),
            **_attribution(named),
        },
        "attribution_next_day": _attribution([item["named_next_day"] for item in items if item["named_next_day"]]),
        "estimate": _estimates([item["estimate"] for item in found if item["estimate"]]),
        "alarms_per_item": round(sum(item["alarms"] for item in found) / len(found), 3) if found else None,
        "findings_per_alarm": (
            round(sum(item["findings"] for item in found) / sum(item["alarms"] for item in found), 3) if found else None
        ),
    }


def _against_bound(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean delays: of what was found, and censored, for which a miss counts as found when watching ended."""
    found = [item for item in items if item["found"]]
    censored = [_censored(item) for item in items]
    return {
        "n": len(items),
        "found_share": round(len(found) / len(items), 4) if items else None,
        "mean_days": round(sum(item["delay"]["days"] for item in found) / len(found), 4) if found else None,
        "censored_mean_days": round(sum(censored) / len(censored), 4) if censored else None,
        **_against(items, "bound"),
        **_against(items, "formula"),
    }


def _against(items: Sequence[dict[str, Any]], name: str) -> dict[str, float | None]:
    """The mean of what is known of all items, and ratios: of what was found, and censored, of all of them."""
    known = [item for item in items if item[f"{name}_days"] is not None]
    least = [item[f"{name}_days"] for item in known]
    took = [(item["delay"]["days"], item[f"{name}_days"]) for item in known if item["found"]]
    return {
        f"{name}_days": round(sum(least) / len(least), 3) if least else None,
        f"ratio_to_{name}": _ratio(took),
        f"censored_ratio_to_{name}": _ratio([(_censored(item), item[f"{name}_days"]) for item in known]),
    }


def _censored(item: dict[str, Any]) -> float:
    """Days until it was found; of a miss until watching ended."""
    return float(item["delay"]["days"] if item["found"] else item["watched_days"])


def _ratio(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Of the sums."""
    least = sum(bound for _, bound in pairs)
    return round(sum(days for days, _ in pairs) / least, 3) if least > 0.0 else None


def overall(items: Sequence[dict[str, Any]], false: int) -> dict[str, Any]:
    """All scenarios together."""
    estimates = [(item["rule"], item["estimate"]) for item in items if item["estimate"]]
    named = [item["named"] for item in items if item["named"] is not None]
    noticed = [item for item in items if item["noticed"]]
    return {
        "window_score": window_score(items, false),
        "in_time": in_time(items, false),
        "attribution": _attribution(named),
        "attribution_next_day": _attribution([item["named_next_day"] for item in items if item["named_next_day"]]),
        "right_cause": _right_cause(noticed, "claimed_cause"),
        "right_cause_next_day": _right_cause(noticed, "claimed_cause_next_day"),
        "right_cause_at_last": _right_cause(noticed, "claimed_cause_at_last"),
        "estimates": {
            rule: _estimates([told for other, told in estimates if other == rule])
            for rule in sorted({rule for rule, _ in estimates})
        },
    }


def _right_cause(noticed: Sequence[dict[str, Any]], claimed: str) -> dict[str, Any]:
    """Of what was noticed, how often the alarm names the true cause."""
    right = sum(item[claimed] == item["cause"] for item in noticed)
    low, high = share_interval(right, len(noticed))
    share = round(right / len(noticed), 4) if noticed else None
    return {"n": len(noticed), "share": share, "low": round(low, 4), "high": round(high, 4)}


def _attribution(named: Sequence[dict[str, bool | None]]) -> dict[str, float | None]:
    """The share that names each part as the truth does."""
    return {part: _share([each[part] for each in named]) for part in ("dispenser", "nozzle", "tank")}


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    told = {"median": quantile(values, 0.5), "mean": sum(values) / len(values), "p90": quantile(values, 0.9)}
    return {name: round(value, 4) for name, value in told.items()}


def _share(told: Sequence[bool | None]) -> float | None:
    """Of those that could be told."""
    known = [each for each in told if each is not None]
    return round(sum(known) / len(known), 4) if known else None


def _estimates(told: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not told:
        return None
    errors = [each["error"] for each in told]
    covered = [each["covered"] for each in told if each["covered"] is not None]
    low, high = share_interval(sum(covered), len(covered))
    return {
        "n": len(told),
        "bias": round(sum(errors) / len(errors), 4),
        "rmse": round((sum(error * error for error in errors) / len(errors)) ** 0.5, 4),
        "covered": sum(covered),
        "with_interval": len(covered),
        "coverage": round(sum(covered) / len(covered), 4) if covered else None,
        "coverage_low": round(low, 4),
        "coverage_high": round(high, 4),
    }


def confusion(items: Sequence[dict[str, Any]], claimed: str = "claimed_cause") -> dict[str, dict[str, int]]:
    """True cause → claimed cause → how often; ``claimed`` is the key of an item that tells it."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        table[item["cause"]][item[claimed]] += 1
    return {cause: dict(sorted(table[cause].items())) for cause in sorted(table)}
