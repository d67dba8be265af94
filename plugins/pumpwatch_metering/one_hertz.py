"""One filling watched second by second: a display that starts above zero, jumps, or counts with the nozzle hung up.

It is given samples and says at the end of a filling what was wrong with it; it knows no clock, no store and no other
filling, so the live server and a test feed it alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pydantic import Field

from pumpwatch import NozzleState, PluginSettings

_FLOWS = frozenset({NozzleState.FUELLING, NozzleState.STOPPED})
_AT_ODDS_S = 0.3
"""By so much the moments of a volume and a flow of one sample may differ."""
_RISE_S = 1.5
"""In which the flow rises; half of it may lie between two samples unseen."""


class OneHertzSettings(PluginSettings):
    """What the consistency of a filling's samples is judged by."""

    longest_gap_s: float = Field(2.5, gt=0.0, description="Samples farther apart leave a hole in the filling, seconds.")
    tolerance_l: float = Field(0.05, gt=0.0, description="What rounding and sampling may add, litres.")
    tolerance_percent: float = Field(0.2, ge=0.0, description="… and by the litres of the filling, %.")
    step_l: float = Field(0.10, gt=0.0, description="A step so much beyond what flowed is a jump, litres.")
    fastest_l_min: float = Field(
        160.0, gt=0.0, description="The fastest nozzle, where no flow is told, litres a minute."
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was seen of one filling. Litres; times as they were fed."""

    started: float
    ended: float
    volume_l: float
    """Displayed at the end."""
    start_l: float
    """Displayed before anything can have flowed; NaN where the beginning was not seen."""
    flowed_l: float
    """The integral of the flow; NaN where no flow was told or samples are missing."""
    jumps: tuple[tuple[float, float], ...]
    """When, and how many litres too many at once."""
    hung_l: float
    """Counted while the nozzle hung."""
    holes: int
    """Gaps between samples."""
    wrong: tuple[str, ...]
    """``no_zero``, ``jump``, ``unaccounted``, ``hung``; empty when all is well."""

    @property
    def excess_l(self) -> float:
        """Litres on the display that did not flow, as far as seen."""
        start = 0.0 if math.isnan(self.start_l) else self.start_l
        return start + math.fsum(litres for _, litres in self.jumps) + self.hung_l


@dataclass(slots=True)
class _Filling:
    """What is kept of the filling under way."""

    started: float
    start_l: float = math.nan
    flowed_l: float = 0.0
    jumps: list[tuple[float, float]] = field(default_factory=list)
    holes: int = 0
    flow_told: bool = True
    moved: bool = False


@dataclass(slots=True)
class OneHertz:
    """Watches one nozzle; a verdict comes with the sample that shows the nozzle hung up again."""

    settings: OneHertzSettings = field(default_factory=OneHertzSettings)
    _filling: _Filling | None = None
    _last: tuple[float, NozzleState, float, float] | None = None
    _hung_l: float = 0.0

    def feed(self, at: float, state: NozzleState, volume_l: float, flow_l_min: float | None = None) -> Verdict | None:
        """Take one sample: seconds, state, displayed litres, flow (None: not told).

        Samples that are not newer than the last, or without a volume, are passed over.
        """
        if not math.isfinite(volume_l) or (self._last is not None and at <= self._last[0]):
            return None
        flow = math.nan if flow_l_min is None else flow_l_min
        last, self._last = self._last, (at, state, volume_l, flow)
        verdict = None
        if state in {NozzleState.IDLE, NozzleState.LOCKED}:
            if self._filling is not None:
                verdict = self._end(self._filling, last, at, volume_l)
            elif last is not None and at - last[0] <= self.settings.longest_gap_s:
                self._hung_l += max(volume_l - last[2], 0.0)
            return verdict
        if self._filling is None:
            self._filling = _Filling(at)
            if last is not None and volume_l < last[2]:
                last = None  # the display went back to zero
        self._step(self._filling, last, self._last)
        return None

    def _step(
        self,
        filling: _Filling,
        last: tuple[float, NozzleState, float, float] | None,
        now: tuple[float, NozzleState, float, float],
    ) -> None:
        at, _, volume, flow = now
        if math.isnan(flow):
            filling.flow_told = False
        if not filling.moved:
            self._before_flow(filling, last, now)
        if last is None or volume < last[2]:
            return
        seconds, rise = at - last[0], volume - last[2]
        if seconds > self.settings.longest_gap_s:
            filling.holes += 1
            return
        before, here = (0.0 if math.isnan(f) else f for f in (last[3], flow))
        trapezium = (before + here) / 2.0 * seconds / 60.0
        filling.flowed_l += trapezium
        fastest = max(before, here) if filling.flow_told else self.settings.fastest_l_min
        if rise - fastest / 60.0 * (seconds + _AT_ODDS_S) > self.settings.step_l and filling.moved:
            filling.jumps.append((at, rise - (trapezium if filling.flow_told else 0.0)))
        filling.moved |= rise > 0.0 or here > 0.0

    def _before_flow(
        self,
        filling: _Filling,
        last: tuple[float, NozzleState, float, float] | None,
        now: tuple[float, NozzleState, float, float],
    ) -> None:
        """The lowest display since the nozzle was lifted, less what may have flowed since the sample before."""
        at, state, volume, flow = now
        if last is not None and volume < last[2]:
            filling.start_l = math.nan  # the old total is gone only now
        longest = self.settings.longest_gap_s
        if state is NozzleState.LIFTED and not flow > 0.0:
            most = 0.0
        elif last is not None and math.isnan(filling.start_l) and last[1] not in _FLOWS and at - last[0] <= longest:
            fastest = self.settings.fastest_l_min if math.isnan(flow) else max(flow, 0.0)
            most = fastest / 60.0 * (at - last[0] + _AT_ODDS_S)
        else:
            return
        seen = max(volume - most, 0.0)
        filling.start_l = seen if math.isnan(filling.start_l) else min(filling.start_l, seen)

    def _end(
        self, filling: _Filling, last: tuple[float, NozzleState, float, float] | None, at: float, volume: float
    ) -> Verdict:
        settings = self.settings
        if last is not None:
            self._step(filling, last, (at, NozzleState.STOPPED, volume, 0.0))
        hung, self._hung_l, self._filling = self._hung_l, 0.0, None
        start = filling.start_l
        complete = filling.flow_told and not filling.holes and not math.isnan(start)
        flowed = filling.flowed_l if complete else math.nan
        allowed = settings.tolerance_l + settings.tolerance_percent / 100.0 * volume
        sampling = _RISE_S / 2.0 * filling_rate(filling, at) + settings.step_l
        wrong = []
        if start > settings.tolerance_l:
            wrong.append("no_zero")
        if filling.jumps:
            wrong.append("jump")
        elif complete and volume - start - flowed > allowed + sampling:
            wrong.append("unaccounted")
        if hung > settings.tolerance_l:
            wrong.append("hung")
        return Verdict(
            filling.started, at, volume, start, flowed, tuple(filling.jumps), hung, filling.holes, tuple(wrong)
        )


def filling_rate(filling: _Filling, at: float) -> float:
    """Litres a second on average."""
    return filling.flowed_l / max(at - filling.started, 1.0)
