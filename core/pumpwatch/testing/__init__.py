"""The public test kit for plugin authors: a clock to turn by hand, a line that plays back bytes, checks for rules."""

from pumpwatch.testing.clock import FakeClock
from pumpwatch.testing.line import ScriptedLine
from pumpwatch.testing.rules import cut_invariant, order_free, screened, without

__all__ = ["FakeClock", "ScriptedLine", "cut_invariant", "order_free", "screened", "without"]
