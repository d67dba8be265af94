"""Alarms: what is wrong, since when, who knows and what they said, by ISA-18.2; an organ, floor 4."""

from pumpwatch.alarms.alarm import Alarm, LogEntry
from pumpwatch.alarms.alarms import Alarms, UnknownAlarm
from pumpwatch.alarms.changes import Changes
from pumpwatch.alarms.states import Act, State, step
from pumpwatch.alarms.wire import figure_to_json, finding_from_json, finding_to_json, to_json

__all__ = [
    "Act",
    "Alarm",
    "Alarms",
    "Changes",
    "LogEntry",
    "State",
    "UnknownAlarm",
    "figure_to_json",
    "finding_from_json",
    "finding_to_json",
    "step",
    "to_json",
]
