"""The one place where organs meet: made from a configuration, run until told to stop."""

from pumpwatch.engine.engine import Engine, SalesToday
from pumpwatch.engine.exchange import Exchange
from pumpwatch.engine.judging import Judgement, RuleBook, judge_folder, judgement_to_json, judges
from pumpwatch.engine.queries import MOST_ROWS, FillingFilter, Pace, Page, Queries
from pumpwatch.engine.reviewing import Reviewing
from pumpwatch.engine.shelf import FILE_NAME as DIGESTS
from pumpwatch.engine.wiring import Wiring, wire

__all__ = [
    "DIGESTS",
    "MOST_ROWS",
    "Engine",
    "Exchange",
    "FillingFilter",
    "Judgement",
    "Pace",
    "Page",
    "Queries",
    "Reviewing",
    "RuleBook",
    "SalesToday",
    "Wiring",
    "judge_folder",
    "judgement_to_json",
    "judges",
    "wire",
]
