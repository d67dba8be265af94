"""Judges records as they arrive, puts questions to history at intervals, and judges any past again."""

from pumpwatch.detection.detection import Detection
from pumpwatch.detection.history import Ledgered, LiveHistory
from pumpwatch.detection.replay import PastHistory, compare_stations, in_order, judge_station

__all__ = [
    "Detection",
    "Ledgered",
    "LiveHistory",
    "PastHistory",
    "compare_stations",
    "in_order",
    "judge_station",
]
