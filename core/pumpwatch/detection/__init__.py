"""Judges records as they arrive and puts questions to history at intervals."""

from pumpwatch.detection.detection import Detection
from pumpwatch.detection.history import Ledgered, LiveHistory

__all__ = ["Detection", "Ledgered", "LiveHistory"]
