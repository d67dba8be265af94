"""The one place where organs meet: made from a configuration, run until told to stop."""

from pumpwatch.engine.engine import Engine, SalesToday
from pumpwatch.engine.exchange import Exchange
from pumpwatch.engine.judging import Judgement, RuleBook, judges
from pumpwatch.engine.reviewing import Reviewing, judge_folder, judgement_to_json
from pumpwatch.engine.wiring import Wiring, wire

__all__ = [
    "Engine",
    "Exchange",
    "Judgement",
    "Reviewing",
    "RuleBook",
    "SalesToday",
    "Wiring",
    "judge_folder",
    "judgement_to_json",
    "judges",
    "wire",
]
