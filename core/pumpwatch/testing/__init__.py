"""The public test kit for plugin authors: a clock to turn by hand and a line that plays back bytes."""

from pumpwatch.testing.clock import FakeClock
from pumpwatch.testing.line import ScriptedLine

__all__ = ["FakeClock", "ScriptedLine"]
