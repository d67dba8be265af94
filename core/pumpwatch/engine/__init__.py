"""The one place where organs meet: made from a configuration, run until told to stop."""

from pumpwatch.engine.engine import Engine, SalesToday
from pumpwatch.engine.exchange import Exchange
from pumpwatch.engine.judging import Judgement, RuleBook, judge_folder, judgement_to_json, judges
from pumpwatch.engine.reviewing import Reviewing
from pumpwatch.engine.shelf import FILE_NAME as DIGESTS
from pumpwatch.engine.wiring import Wiring, wire

__all__ = [
    "DIGESTS",
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
