"""One filling watched look by look: a display that starts above zero, jumps, or counts without flow; floor 1.

It is given every look at a nozzle and says at the end of a filling what was wrong with it. It knows no clock, no store
and no other filling but those of its nozzle, so acquisition and a test feed it alike. See docs/decisions/0012.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Final, NamedTuple

from pumpwatch.model import NozzleState

DISPLAY: Final = "display"
"""``detail["code"]`` of the event that a display was seen to do what it must not."""

LONGEST_GAP_S: Final = 2.5
"""Looks farther apart leave a hole in the filling."""
REFRESH_S: Final = 5.0
"""What stands between dispenser and reader may show the same for so long while fuel flows."""
TOLERANCE_L: Final = 0.05
TOLERANCE_PERCENT: Final = 0.2
"""What rounding and looking may add to a filling, and by its litres."""
STEP_L: Final = 0.10
"""A step so much beyond what can have flowed is a jump."""
FASTEST_L_MIN: Final = 160.0
"""The fastest nozzle, where no flow is told."""
MOST_L_MIN: Final = 2.0 * FASTEST_L_MIN
"""A flow beyond it, or below zero, is none: some channels tell so that they know nothing."""
UNSTEADY_L_MIN: Final = 90.0
"""What may flow between two looks while the trigger moves, whatever flow is told at either."""
SEEN_S: Final = 1.8
"""Looks further apart do not show how fast it flowed meanwhile: a short filling rises and falls unseen."""
AT_ODDS_S: Final = 0.3
"""By so much the moments of a volume and a flow of one look may differ."""
RISE_S: Final = 1.5
"""In which the flow rises; half of it may lie between two looks unseen."""
MOST_JUMPS: Final = 2
"""More in one filling are a channel that stutters; then only the sum counts."""
SURE_LOOKS: Final = 2
"""A display above zero must be seen so often while the nozzle is lifted and nothing flows."""
TRAINED: Final = 8
"""So many whole fillings show what a nozzle's told flow is worth."""
WORTH_L: Final = 5.0
"""Smaller ones show nothing of it."""
LOOKS_KEPT: Final = 3_600
"""Looks remembered of a filling; a longer one has a hole."""
HUNG_RISES: Final = 3
"""So many rises of a hung nozzle's display are counting; fewer may be a preset that is keyed in."""
TRACE: Final = 90
"""Looks told of a filling."""

_HUNG = frozenset({NozzleState.IDLE, NozzleState.LOCKED})
_FLOWS = frozenset({NozzleState.FUELLING, NozzleState.STOPPED})


class Look(NamedTuple):
    """What one read showed of a nozzle; seconds of any clock that never goes back."""

    began: float
    """When the read began …"""
    at: float
    """… and ended: the display showed it at some moment between."""
    state: NozzleState
    volume_l: float
    flow_l_min: float = math.nan
    """NaN where it is not told."""
    alone: bool = True
    """Whether all other nozzles of the dispenser hang: some share one display."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was seen of one filling. Litres; seconds as they were fed."""

    started: float
    ended: float
    volume_l: float
    """Displayed at the end."""
    start_l: float
    """Displayed before anything flowed, after the last total was gone; NaN where that was not seen."""
    excess_l: float
    """Litres that flow does not account for, as far as seen."""
    jumps: tuple[tuple[float, float], ...]
    """When, and how many litres too many at once."""
    hung_l: float
    """Counted while the nozzle hung before it."""
    holes: int
    """Gaps between looks."""
    wrong: tuple[str, ...]
    """``no_zero``, ``jump``, ``unaccounted``, ``hung``; empty when all is well."""
    trace: str
    """Looks as ``second:litres:L/min`` joined by spaces, from the lifting on; those around a jump where there are too
    many."""


@dataclass(slots=True)
class DisplayWatch:
    """Watches one nozzle; a verdict comes with the look that shows it hung up again after a filling."""

    _looks: list[Look] = field(default_factory=list)
    """Of the filling under way."""
    _last: Look | None = None
    _rested_l: float = math.nan
    """What the display showed when the nozzle last hung."""
    _hung_l: float = 0.0
    _hung_rises: int = 0
    _worth: deque[float] = field(default_factory=lambda: deque(maxlen=40))
    """Displayed litres over the integral of the told flow, of the latest whole fillings."""

    def feed(self, look: Look) -> Verdict | None:
        """Take one look. One that is not newer than the last, or without a volume, is passed over."""
        last = self._last
        if look.flow_l_min < 0.0 or look.flow_l_min > MOST_L_MIN:
            look = look._replace(flow_l_min=math.nan)
        if not math.isfinite(look.volume_l) or (last is not None and look.at <= last.at):
            return None
        self._last = look
        if look.state not in _HUNG:
            if len(self._looks) < LOOKS_KEPT:
                self._looks.append(look)
            return None
        verdict = None
        if self._looks:
            verdict = self._judge([*self._looks, look])
            self._looks.clear()
        elif last is not None and look.volume_l > last.volume_l:
            self._creep(last, look)
        self._rested_l = look.volume_l
        return verdict

    def _creep(self, last: Look, look: Look) -> None:
        elapsed, rise = look.at - last.began, look.volume_l - last.volume_l
        if look.alone and last.alone and elapsed <= LONGEST_GAP_S and rise <= FASTEST_L_MIN / 60.0 * elapsed:
            self._hung_l += rise
            self._hung_rises += 1

    def _judge(self, looks: list[Look]) -> Verdict | None:
        hung = self._hung_l if self._hung_rises >= HUNG_RISES else 0.0
        self._hung_l, self._hung_rises = 0.0, 0
        start = _start(looks, self._rested_l)
        flow = _Flow.of(looks)
        if not flow.moved:
            return None
        wrong = []
        if start > TOLERANCE_L:
            wrong.append("no_zero")
        excess = start if start > TOLERANCE_L else 0.0
        if 0 < len(flow.jumps) <= MOST_JUMPS:
            wrong.append("jump")
            excess += math.fsum(litres for _, litres in flow.jumps)
        elif flow.whole and (over := self._unaccounted(flow)):
            wrong.append("unaccounted")
            excess += over
        if flow.whole and not flow.jumps and flow.integral_l >= WORTH_L:
            self._worth.append(flow.steady_l / flow.integral_l)
        if hung > TOLERANCE_L:
            wrong.append("hung")
            excess += hung
        end = looks[-1]
        jumps = tuple(flow.jumps) if "jump" in wrong else ()
        trace = _trace(looks, jumps[0][0] if jumps else looks[0].at) if wrong else ""
        return Verdict(looks[0].at, end.at, end.volume_l, start, excess, jumps, hung, flow.holes, tuple(wrong), trace)

    def _unaccounted(self, flow: _Flow) -> float:
        """Litres beyond what told flow is usually worth at this nozzle; 0 within its scatter, or while untrained."""
        if len(self._worth) < TRAINED:
            return 0.0
        usual = median(self._worth)
        scatter = median(abs(worth - usual) for worth in self._worth)
        over = flow.steady_l - usual * flow.integral_l
        allowed = TOLERANCE_L + STEP_L + RISE_S / 2.0 * flow.top_l_min / 60.0
        allowed += (TOLERANCE_PERCENT / 100.0 + 6.0 * scatter) * flow.integral_l
        return over if over > allowed else 0.0


@dataclass(slots=True)
class _Flow:
    """How the display moved while fuel flowed."""

    top_l_min: float
    """The fastest flow told; NaN where none was."""
    steady_l: float = 0.0
    """Displayed between looks at a steady flow …"""
    integral_l: float = 0.0
    """… and what that flow makes."""
    jumps: list[tuple[float, float]] = field(default_factory=list)
    holes: int = 0
    moved: bool = False

    @property
    def whole(self) -> bool:
        """Whether flow was told and no look is missing."""
        return not self.holes and not math.isnan(self.top_l_min)

    @classmethod
    def of(cls, looks: list[Look]) -> _Flow:
        """Go through a filling; a display that stands still while fuel flows is compared when it moves again."""
        fuelling = [look for look in looks[:-1] if look.state in _FLOWS]
        told = bool(fuelling) and not any(math.isnan(look.flow_l_min) for look in fuelling)
        flow = cls(max(look.flow_l_min for look in fuelling) if told else math.nan)
        if len(looks) > LOOKS_KEPT:
            flow.holes += 1
        anchor = last = looks[0]
        lost = False
        for look in looks[1:]:
            flowing = anchor.state in _FLOWS or look.state in _FLOWS
            gap, last = look.at - last.began, look
            if gap > LONGEST_GAP_S:
                flow.holes += flowing
                lost = True
            elif lost and flowing:  # a display renewed once a second may show the second before at the first look
                lost = False
            elif look.volume_l < anchor.volume_l:
                if flow.moved:  # no display counts backwards: what was read before cannot be trusted
                    flow.holes, flow.jumps = flow.holes + 1, []
            elif anchor.state in _FLOWS:
                still = look.volume_l == anchor.volume_l
                if still and (look.flow_l_min > 0.0 or look.at - anchor.began <= REFRESH_S):
                    continue
                flow._step(anchor, look)
            flow.moved |= flowing and look.volume_l > anchor.volume_l
            anchor = look
        return flow

    def _step(self, anchor: Look, look: Look) -> None:
        rise, elapsed = look.volume_l - anchor.volume_l, look.at - anchor.began
        flows = (anchor.flow_l_min, 0.0 if look.state in _HUNG else look.flow_l_min)
        steady = min(flows) >= 0.5 * self.top_l_min > 0.0
        fastest = FASTEST_L_MIN
        if not math.isnan(self.top_l_min):
            fastest = self.top_l_min if steady and elapsed <= SEEN_S else max(self.top_l_min, UNSTEADY_L_MIN)
        integral = sum(flows) / 120.0 * (look.at - anchor.at)
        if rise - fastest / 60.0 * (elapsed + AT_ODDS_S) > STEP_L:
            self.jumps.append((look.at, rise - (0.0 if math.isnan(integral) else integral)))
        if steady:
            self.steady_l += rise
            self.integral_l += integral


def _start(looks: list[Look], rested_l: float) -> float:
    """What a lifted nozzle's display showed without flow once the last total was gone; NaN where that was not seen."""
    lifted = []
    for look in looks:
        if look.state is not NozzleState.LIFTED or look.flow_l_min > 0.0:
            break
        lifted.append(look)
    if not lifted or math.isnan(rested_l):
        return math.nan
    start = lifted[-1].volume_l
    sure = sum(look.volume_l == start for look in lifted) >= SURE_LOOKS
    if not sure or not start < rested_l or min(look.volume_l for look in looks[len(lifted) :]) < start:
        return math.nan
    return start


def _trace(looks: list[Look], around: float) -> str:
    place = next((i for i, look in enumerate(looks) if look.at >= around), 0)
    first = max(0, min(place - TRACE // 2, len(looks) - TRACE))
    return " ".join(
        f"{look.at - looks[0].at:.1f}:{look.volume_l:.2f}:"
        + ("" if math.isnan(look.flow_l_min) else f"{look.flow_l_min:.1f}")
        for look in looks[first : first + TRACE]
    )
