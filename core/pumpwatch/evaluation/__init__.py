"""How good the rules are, measured: stations judged in parallel, scored against the truth, told as JSON and pages."""

from pumpwatch.evaluation.bounds import Nuisances
from pumpwatch.evaluation.running import Affected, Claimed, Judge, Progress, Source, StationOutcome, Trial, run
from pumpwatch.evaluation.scoring import merge, score
from pumpwatch.evaluation.truth import Happening, Layout, Truth, TruthItem, read_truth, truth_from

__all__ = [
    "Affected",
    "Claimed",
    "Happening",
    "Judge",
    "Layout",
    "Nuisances",
    "Progress",
    "Source",
    "StationOutcome",
    "Trial",
    "Truth",
    "TruthItem",
    "merge",
    "read_truth",
    "run",
    "score",
    "truth_from",
]
