"""The public kit for plugin authors: a clock to turn by hand, lines and devices that play back, checks of rules."""

from pumpwatch.testing.captures import Capture, Misbehaviour, ReplayDevice, TestCase, load_cases
from pumpwatch.testing.clock import FakeClock
from pumpwatch.testing.line import ScriptedEar, ScriptedLine
from pumpwatch.testing.rules import cut_invariant, order_free, screened, without

__all__ = [
    "Capture",
    "FakeClock",
    "Misbehaviour",
    "ReplayDevice",
    "ScriptedEar",
    "ScriptedLine",
    "TestCase",
    "cut_invariant",
    "load_cases",
    "order_free",
    "screened",
    "without",
]
