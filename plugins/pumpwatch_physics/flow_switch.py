"""The rule ``flow_switch``: some fillings of a nozzle flow faster than its others, or all of them since a day.

Whoever adds pulses or multiplies litres makes the display run faster than the fuel. Fillings of an honest nozzle
scatter evenly about one flow; a second, faster flow at some customers is the trace of a switch. Where all change at
once nobody can tell which of the two was honest: that is a note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import methodcaller
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from pydantic import Field

from pumpwatch import About, Chronicle, Digests, Finding, PluginSettings, StationPast, Text, to_us
from pumpwatch.courses import DAY_US, HOUR_US
from pumpwatch_physics.flow_fillings import digest, gathered
from pumpwatch_physics.flow_memory import FlowMemory
from pumpwatch_physics.flow_rates import HISTORY_DAYS, LEARN_DAYS, Modes, Rates, lopsided, rates, two_modes
from pumpwatch_physics.flow_words import BEFORE_DAYS, LEAST_SIZE, MOST_DAYS, RULE, SLOW_DAYS, Told

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_WINDOWS: Final = ((1, 1), (2, 1), (4, 1), (8, 2), (16, 4), (MOST_DAYS, 8))
"""Days, and on each how many-th day they are looked at."""
_LOPSIDED: Final = 2.8
"""From which a window is worth a fit."""
_AGAIN_DAYS: Final = 14
_LOOKS_BACK: Final = _AGAIN_DAYS + MOST_DAYS
"""Days before one on which whether something is told of it depends, beside their own history."""
_REMEMBERED_DAYS: Final = _LOOKS_BACK + 14
"""As far as the step of a day looks back, and somewhat more."""
_LEAST_SHARE, _MOST_SHARE = 0.03, 0.5
_BEFORE_LEAST, _SLOW_LEAST = 8, 18
"""Days of them that must be known."""
_SIGMAS: Final = 7.0
_DAY_SD: Final = 0.025
"""Of a day's flow from one filling, as a share: 2 % of scatter, and a median."""


class FlowSwitchSettings(PluginSettings):
    """Keys of ``[rules.flow_switch]``."""

    nats: float = Field(
        17.0, gt=0.0, description="Log-likelihood ratio of two modes to one, from which it is an alarm."
    )
    step_percent: float = Field(2.5, gt=0.0, le=50.0, description="Least change of all fillings that is a note, %.")
    fall_percent: float = Field(8.0, gt=0.0, le=80.0, description="Least slow fall in 28 days that is a note, %.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class _Trend:
    """Straight lines through the days' flows; (N, D) each, of the window that ends with the day."""

    now: Floats
    """Where the line stands at time 0."""
    now_sd: Floats
    slope: Floats
    """A day."""
    slope_sd: Floats
    scatter: Floats
    number: Floats


class FlowSwitch(Chronicle):
    """Every local day: a second mode in the flow of a nozzle's fillings, or a change of all of them."""

    rule: ClassVar[str] = RULE
    Settings: ClassVar[type[PluginSettings]] = FlowSwitchSettings
    every: ClassVar[timedelta] = timedelta(hours=6)
    days: ClassVar[int] = _LOOKS_BACK + HISTORY_DAYS
    context: ClassVar[timedelta] = timedelta(0)
    lookback: ClassVar[timedelta] = timedelta(days=days + 1)
    settings: FlowSwitchSettings
    about: ClassVar[About]

    @property
    def utc_offset_us(self) -> int:
        """Of the stations' midnight."""
        return round(self.settings.utc_offset_h * HOUR_US)

    def digest(self, past: StationPast, day: int) -> Mapping[str, NDArray[np.float32]]:
        """The fillings of a day."""
        return digest(past, day, self.utc_offset_us)

    def conclude(
        self,
        past: StationPast,
        digests: Mapping[int, Mapping[str, NDArray[np.float32]]],
        since: datetime,
        until: datetime,
        memory: MutableMapping[str, bytes] | None = None,
    ) -> Iterator[Finding]:
        """Judge the days that end in this time."""
        offset_us, nozzles = self.utc_offset_us, len(past.nozzles)
        first, last = ((to_us(each) + offset_us) // DAY_US for each in (since, until))
        needed = range(max(first - _LOOKS_BACK, min(digests, default=last)), last)
        kept = None
        if memory is not None and isinstance(digests, Digests):
            kept = FlowMemory(memory, digests, nozzles, first - self.days, offset_us)
            before = kept.rates(needed)
            if before is not None and before.centre.shape[1] >= LEARN_DAYS - 1:
                fresh = range(before.first_day + before.centre.shape[1], last)
                quick = rates(
                    gathered({day: digests[day] for day in fresh if day in digests}, offset_us), nozzles, before
                )
                kept.keep(quick or before, needed)
                if self._is_quiet(quick or before, first, last):
                    return
        fillings = gathered(digests, offset_us)
        made = rates(fillings, nozzles)
        if made is None:
            return
        if kept is not None:
            kept.keep(made, needed[-_REMEMBERED_DAYS:])
        days = made.days(first, last)
        if not days:
            return
        told = Told(past, fillings, made, self.settings.nats, self.settings.utc_offset_h)
        looks = _Looks(made, self.settings.nats, days.start - _AGAIN_DAYS)
        for nozzle in np.flatnonzero(np.isfinite(made.centre).any(1)).tolist():
            for day in days:
                modes = looks.new(nozzle, day)
                if modes is not None:
                    yield told.modes(nozzle, day, *modes)
        for note in self._notes(made, days):
            yield note(told)

    def _is_quiet(self, made: Rates, first: int, last: int) -> bool:
        """Whether there is nothing to tell of first <= day < last, by what is known without single fillings."""
        days = made.days(first, last)
        looks = _Looks(made, self.settings.nats, days.start)
        if any(True for nozzle in range(len(made.centre)) for day in days for _ in looks.two(nozzle, day)):
            return False
        return not any(True for _ in self._notes(made, days))

    def _notes(self, made: Rates, days: range) -> Iterator[Callable[[Told], Finding]]:
        """A change of all fillings from one day to the next, and a slow fall; each as it is to be told."""
        centre = made.centre
        weight = 1.0 / np.maximum(made.counted, 1)
        before = _trend(_late(centre, 2), _late(weight, 2), BEFORE_DAYS, 1.5)
        long = _trend(_late(centre, 2), _late(weight, 2), SLOW_DAYS, 1.5)
        after = np.stack([_late(centre, 1), centre])
        change = after.mean(0) - before.now
        noise = np.hypot(before.now_sd, _DAY_SD * np.sqrt(np.stack([_late(weight, 1), weight]).mean(0) / 2.0))
        both = np.min(np.sign(change) * (after - before.now), 0) > 0.5 * np.abs(change)
        size = np.abs(np.expm1(change))
        step = both & (size >= self.settings.step_percent / 100.0) & (np.abs(change) >= _SIGMAS * noise)
        step &= before.number >= _BEFORE_LEAST
        here = _trend(centre, weight, SLOW_DAYS, 0.0)
        fall = -here.slope * (SLOW_DAYS - 1)
        slow = (-np.expm1(-fall) >= self.settings.fall_percent / 100.0) & (fall >= _SIGMAS * here.slope_sd * SLOW_DAYS)
        slow &= np.isfinite(centre) & (here.number >= _SLOW_LEAST) & (here.scatter <= np.maximum(0.012, 0.15 * fall))
        clogged = (-long.slope * SLOW_DAYS >= 0.05) & (-long.slope >= 5.0 * long.slope_sd)
        for nozzle, day in np.argwhere(_first(step, 7)[:, days.start : days.stop]).tolist():
            at = (nozzle, day + days.start)
            new_filter = bool(clogged[at] and change[at] > 0.0)
            yield methodcaller("step", *at, float(change[at]), float(noise[at]), new_filter=new_filter)
        for nozzle, day in np.argwhere(_first(slow, _AGAIN_DAYS)[:, days.start : days.stop]).tolist():
            at = (nozzle, day + days.start)
            yield methodcaller("fall", *at, float(fall[at]), float(here.slope_sd[at]) * SLOW_DAYS)


def _late(values: Floats, days: int) -> Floats:
    """The values of so many days ago."""
    late = np.full(values.shape, np.nan)
    late[:, days:] = values[:, :-days]
    return late


def _first(condition: NDArray[np.bool_], days: int) -> NDArray[np.bool_]:
    """Where it holds and did not in so many days before."""
    fresh = condition.copy()
    for back in range(1, min(days, condition.shape[1] - 1) + 1):
        fresh[:, back:] &= ~condition[:, :-back]
    return fresh


def _trend(centre: Floats, weight: Floats, days: int, ahead: float) -> _Trend:
    """Least squares over the ``days`` days up to each; time 0 is ``ahead`` days after the last of them."""
    padded = np.concatenate([np.full((len(centre), days - 1), np.nan), centre], 1)
    seen = np.lib.stride_tricks.sliding_window_view(padded, days, axis=1)
    there = np.isfinite(seen)
    time = np.arange(1.0 - days, 1.0) - ahead
    value = np.where(there, seen, 0.0)
    number = there.sum(-1).astype(float)
    middle = (there * time).sum(-1) / np.maximum(number, 1.0)
    away = np.where(there, time - middle[..., None], 0.0)
    square = np.maximum((away**2).sum(-1), 1e-9)
    mean = value.sum(-1) / np.maximum(number, 1.0)
    slope = (away * value).sum(-1) / square
    rest = np.where(there, value - mean[..., None] - slope[..., None] * away, 0.0)
    scatter = np.sqrt((rest**2).sum(-1) / np.maximum(number - 2.0, 1.0))
    padded = np.concatenate([np.full((len(centre), days - 1), np.nan), weight], 1)
    chance = np.where(there, np.lib.stride_tricks.sliding_window_view(padded, days, axis=1), 0.0).sum(-1)
    sd = np.maximum(scatter, _DAY_SD * np.sqrt(chance / np.maximum(number, 1.0)))
    now_sd = sd * np.sqrt(1.0 / np.maximum(number, 1.0) + middle**2 / square)
    return _Trend(mean - slope * middle, now_sd, slope, sd / np.sqrt(square), scatter, number)


class _Looks:
    """Windows of one to thirty-two days; each is fitted once, and only when it is asked for."""

    def __init__(self, made: Rates, nats: float, first: int) -> None:
        """``first`` is the first day that will be looked at."""
        self._nats = nats
        self._first_day = made.first_day
        empty = np.zeros((*made.centre.shape[:1], 1, made.histogram.shape[2]), np.int64)
        self._sums = np.concatenate([empty, np.cumsum(made.histogram, 1)], 1)
        self._tilt = {}
        for length, step in _WINDOWS:
            ends = np.arange(-(made.first_day + 1) % step, made.centre.shape[1], step)
            ends = ends[ends >= first]
            tilt = np.zeros(made.centre.shape)
            tilt[:, ends] = lopsided(self._sums[:, ends + 1] - self._sums[:, np.maximum(ends + 1 - length, 0)])
            self._tilt[length] = tilt
        self._place = made.nozzle * self._sums.shape[1] + made.day
        self._excess = made.excess
        self._known: dict[tuple[int, int], tuple[int, Modes] | None] = {}

    def new(self, nozzle: int, day: int) -> tuple[int, Modes] | None:
        """The window and its modes, when there are two and the days before had none, or it is time to tell again."""
        again = (self._first_day + day) % _AGAIN_DAYS == 0
        earlier = range(day - 1, max(day - _AGAIN_DAYS, 0) - 1, -1)
        if not again and any(self._known.get((nozzle, each)) for each in earlier):
            return None
        here = self.at(nozzle, day)
        if here is None or again or not any(self.at(nozzle, each) for each in earlier):
            return here
        return None

    def at(self, nozzle: int, day: int) -> tuple[int, Modes] | None:
        """A window that ends with the day and shows two modes; each day is judged once."""
        if (nozzle, day) not in self._known:
            self._known[nozzle, day] = self._best(nozzle, day)
        return self._known[nozzle, day]

    def _in_a_row(self, nozzle: int, day: int, length: int, modes: Modes) -> bool:
        """Whether fast fillings follow one another: a second pump ran for some hours, and nobody chose customers."""
        cells = [self._cell(nozzle, max(day + 1 - length, 0)), self._cell(nozzle, day + 1)]
        first, last = np.searchsorted(self._place, cells)
        fast = self._excess[first:last] > modes.centre + max(0.5 * modes.size, LEAST_SIZE)
        same_day = np.diff(self._place[first:last]) == 0
        after_fast = fast[1:][same_day & fast[:-1]]
        return len(after_fast) > 0 and bool(after_fast.mean() > 0.5 * (1.0 + fast.mean()))

    def _cell(self, nozzle: int, day: int) -> int:
        return nozzle * int(self._sums.shape[1]) + day

    def two(self, nozzle: int, day: int) -> Iterator[tuple[int, Modes]]:
        """Of the windows that end with the day, those that have two modes, the most lopsided first."""
        tilts = {length: float(self._tilt[length][nozzle, day]) for length, _ in _WINDOWS}
        for length in sorted(tilts, key=lambda each: (-tilts[each], each)):
            if tilts[length] < _LOPSIDED:
                break
            modes = two_modes(self._sums[nozzle, day + 1] - self._sums[nozzle, max(day + 1 - length, 0)], self._nats)
            if modes is not None and _LEAST_SHARE <= modes.share <= _MOST_SHARE and modes.size >= LEAST_SIZE:
                yield length, modes

    def _best(self, nozzle: int, day: int) -> tuple[int, Modes] | None:
        """The first of them whose fast fillings do not follow one another."""
        for length, modes in self.two(nozzle, day):
            if not self._in_a_row(nozzle, day, length, modes):
                return length, modes
        return None


FlowSwitch.about = About(
    title=Text("流量突变与二重流量", "Flow-rate switches"),
    catches=("F06", "F18"),
    inputs="Start, end and litres of each filling, and whether it was preset. No tank, no encoder.",
    statistic="The flow of each filling of 20 s and more, from duration = a + p·preset + b·litres·(1 + c·others): a, p "
    "and c (slow start and end; other nozzles open meanwhile) of the nozzle's last 28 days, b of the day. Its excess "
    "over the day's flow is gathered over 1, 2, 4, 8, 16 and 32 days: log-likelihood of one symmetric mode (a mixture "
    "of normal widths, 1.4 to 6 %) against the same with copies of itself 2.6 to 34 % faster, both fitted by "
    "expectation and maximisation. Of the days' flows: the last two days against a straight line through the 14 "
    "before; the slope of 28 days.",
    threshold="Alarm: 17 nats, a share of 3 to 50 %, a mean of 2.5 % and more, and fast fillings that do not follow "
    "one another; told again every 14 days. Notes: a change of 2.5 % and 7 standard deviations; an even fall of 8 % in "
    "28 days.",
    power="Simulated F06 from day 30 of 90, nine nozzles a case. Days to the alarm, median (longest), with the key at "
    "10, 20 and 30 % of the customers: +27 %: 1 (3), 1 (2), 1 (1); +8 %: 10 (32), 8 (12), 3 (8); mixed keys: 8 (16), "
    "2 (8), 4 (8); all 81 found, and all 18 of mixed keys from the first day and of +8 % with four tenths fewer "
    "customers. +3.3 % alone: 1 of 27. The 95 % interval held the mean of the cheated in 98 % of 333 findings. F18 "
    "(5 % of the fillings): 8 of 9, median 32 days, where the display is not seen second by second. F03: a note of the "
    "step after two days for all of +5 and +10 %, for four of nine of +3 %; its size comes out half a per cent too "
    "small. Filters that clog, and new ones: all noted. No alarm and no other note in 650 honest nozzle-years (rush, "
    "promotion, verification, closed nozzles, clogged filters, clocks corrected; demand 0.6 to 2.5).",
    pitfalls="Slow fillings (trickle, draws at small flow) lie below the mode and not above; a day within which the "
    "flow changes once is left out; a second pump that runs for hours makes fast fillings in a row. A step of all "
    "fillings says that something changed and not which side is right, so it is never more than a note. 3.3 % is less "
    "than two standard deviations of honest fillings: such a mode is not resolved, and an even widening is not counted "
    "as evidence; the tank's balance finds it. Slight keys among strong ones are missed too, so the mean of a mixture "
    "comes out too large; the interval allows for it. Nozzles with fewer than 10 fillings of 20 s a day are not "
    "judged. A return line behind the meter leaves the flow shown as it is.",
    source="JJG 443 (durations and flows); mixture likelihood ratio: McLachlan and Peel, Finite Mixture Models, 2000; "
    "own derivation.",
)
