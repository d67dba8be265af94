"""Judges records as they arrive, puts questions to history at intervals, and judges any past again."""

from pumpwatch.detection.arbitration import Claim, arbitrate, episodes
from pumpwatch.detection.detection import Detection
from pumpwatch.detection.history import Ledgered, LiveHistory
from pumpwatch.detection.replay import (
    RECORDS_BACK,
    PastHistory,
    compare_each,
    compare_stations,
    in_order,
    judge_each,
    judge_station,
)

__all__ = [
    "RECORDS_BACK",
    "Claim",
    "Detection",
    "Ledgered",
    "LiveHistory",
    "PastHistory",
    "arbitrate",
    "compare_each",
    "compare_stations",
    "episodes",
    "in_order",
    "judge_each",
    "judge_station",
]
