"""What the display shows against what the encoder counted: one sale, a run of sales, and how large the error is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from pydantic import Field

from pumpwatch import Estimate, PluginSettings

if TYPE_CHECKING:
    from pumpwatch import Nozzle, Transaction, WorkOrder

FLOAT_DUST_L = 1e-6
"""What binary fractions may add to a difference of decimals."""
_Z95 = 1.96
_SCATTERED = 3
"""So many affected sales among honest ones make a habit of which a mean can be told."""


class PulseRatioSettings(PluginSettings):
    """Keys of ``[rules.pulse_ratio]``."""

    tolerance_pulses: float = Field(2.0, ge=1.0, description="Pulses a sale may honestly differ by.")
    resolution_l: float = Field(0.01, gt=0.0, description="Step of the displayed volume, litres.")
    assumed_pulse_l: float = Field(0.01, gt=0.0, description="Litres a pulse where none is certified, litres.")
    tolerance_percent: float = Field(0.30, gt=0.0, description="Tolerance of a dispenser, ± %.")
    verify_percent: float = Field(0.60, gt=0.0, description="Up to here the finding asks for verification only, %.")
    critical_percent: float = Field(1.0, gt=0.0, description="From here on a short delivery is critical, %.")
    evidence_sales: int = Field(10, ge=1, le=18, description="How many of the last affected sales are put in evidence.")
    certificate_days: float = Field(
        30.0, ge=0.0, description="So long a certified work order explains another ratio that the register lacks, days."
    )
    certificate_percent: float = Field(
        1.0, gt=0.0, description="The largest change of the ratio a certified work order explains, %."
    )
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One sale: what was displayed against what was counted. Litres."""

    sale: Transaction
    counted_l: float
    pulse_l: float
    limit_l: float
    """The difference beyond which the sale is affected."""
    from_pulses: bool
    excess_l: float = field(init=False)
    """Displayed minus counted: plus means the customer is short."""
    side: int = field(init=False)
    """1: customer short beyond the limit, −1: gives more beyond the limit, 0: within."""

    def __post_init__(self) -> None:
        """Subtract once: a run is walked many times."""
        excess = self.sale.volume_l - self.counted_l
        limit = self.limit_l + FLOAT_DUST_L
        object.__setattr__(self, "excess_l", excess)
        object.__setattr__(self, "side", 0 if abs(excess) <= limit else 1 if excess > 0 else -1)


def compare(sale: Transaction, nozzle: Nozzle | None, settings: PulseRatioSettings) -> Comparison | None:
    """Compare the display with the encoder; None when the site has no encoder channel for this sale.

    Pulses times the certified value come first: ``encoder_l`` may have been computed with the very value that was
    rewritten.
    """
    certified = nozzle.pulse_l if nozzle is not None and nozzle.pulse_l and nozzle.pulse_l > 0 else None
    if sale.encoder_pulses is not None and certified is not None:
        counted, from_pulses = sale.encoder_pulses * certified, True
    elif sale.encoder_l is not None:
        counted, from_pulses = sale.encoder_l, False
    else:
        return None
    if not (math.isfinite(sale.volume_l) and math.isfinite(counted) and counted >= 0.0):
        return None
    pulse_l = certified or settings.assumed_pulse_l
    limit_l = settings.tolerance_pulses * pulse_l + settings.resolution_l
    return Comparison(sale, counted, pulse_l, limit_l, from_pulses)


def error_estimate(run: Sequence[Comparison], resolution_l: float) -> Estimate:
    """E of a run of sales, pooled: (Σ displayed − Σ counted) / Σ counted, in %, with its 95 % interval.

    The interval is about quantisation alone. A display that rounds or cuts to ``resolution_l`` and an encoder that
    counts whole pulses are each wrong by less than one step a sale, but whether they cut, round or start at a random
    phase is not known. So each channel gets, over n sales, n half steps for a bias that every sale may share (it does
    not average out) plus 1.96 standard deviations of the rest (a rounded display: step²/12; a pulse count with both
    ends at random: step²/6 — the widest of the usual cases), and never more than the n whole steps that are the hard
    bound. The two channels are added in the worst way. Thus one sale of 20 L at 0.01 L a pulse is ±0.10 %, and a long
    run of 30 L sales ends near ±0.035 %, not at zero. It speaks of these sales as a whole; it holds no meter error and
    no error of the certified value. With nothing counted there is no ratio: then the estimate is in litres.
    """
    displayed = math.fsum(c.sale.volume_l for c in run)
    counted = math.fsum(c.counted_l for c in run)
    n = len(run)
    displayed_half = min(n * resolution_l / 2 + _Z95 * math.sqrt(n / 12) * resolution_l, n * resolution_l)
    steps = math.fsum(c.pulse_l for c in run)
    squares = math.fsum(c.pulse_l**2 for c in run)
    counted_half = min(steps / 2 + _Z95 * math.sqrt(squares / 6), steps)
    if counted <= 0.0:
        half = displayed_half + counted_half
        return Estimate(round(displayed, 2), "L", round(displayed - half, 2), round(displayed + half, 2), 0.95)
    low = ((displayed - displayed_half) / (counted + counted_half) - 1) * 100
    high = None
    if counted > counted_half:
        high = round(((displayed + displayed_half) / (counted - counted_half) - 1) * 100, 4)
    return Estimate(round((displayed - counted) / counted * 100, 4), "%", round(low, 4), high, 0.95)


def run_ending_at(comparisons: Sequence[Comparison], last: int) -> tuple[int, int]:
    """Find the unbroken run of affected sales that ends at ``last`` (an affected one).

    Returns the index of its first sale and the index of the sale that ended the search (−1: the list ended first). A
    sale to the other side breaks the run. A sale within its limit breaks it only if it could have shown the run's
    error, that is if it is farther than its limit from what that error predicts; a sale too small to tell does not.
    """
    side = comparisons[last].side
    first, excess, counted = last, 0.0, 0.0
    for i in range(last, -1, -1):
        c = comparisons[i]
        if c.side == side:
            first = i
            excess += c.excess_l
            counted += c.counted_l
        elif c.side == -side or counted <= 0.0 or abs(excess / counted * c.counted_l - c.excess_l) > c.limit_l:
            return first, i
    return first, -1


class Pattern(Enum):
    """How the affected sales lie among the others that could have shown the same."""

    STEADY = "steady"
    """All since the first one."""
    SCATTERED = "scattered"
    """Some among honest ones: as a jump at a key or a display that does not return to zero would leave them."""


@dataclass(frozen=True, slots=True)
class Affair:
    """What is known of one affected sale and those before it, oldest first."""

    known: Sequence[Comparison]
    """The sales that were looked at, the newest one last."""
    affected: Sequence[Comparison]
    """Those that are told together: the unbroken run, or the scattered ones."""
    pattern: Pattern
    estimate: Estimate
    order: WorkOrder | None = None
    """A certified work order that explains another ratio."""

    @property
    def newest(self) -> Comparison:
        """The sale that is judged."""
        return self.known[-1]


def affair_of(known: Sequence[Comparison], resolution_l: float) -> Affair:
    """Put the newest sale, an affected one, together with those before it.

    It is one of a scattered kind when, within what is known, there are at least two more to its side, the run that ends
    at it is broken by an honest sale that would have shown the same error, and less than half of all are affected. Then
    the estimate is the mean of the affected ones with its t interval: in litres where their litres vary less from sale
    to sale than their percentages, else in %.
    """
    first, ended = run_ending_at(known, len(known) - 1)
    run = known[first:]
    alike = [c for c in known if c.side == run[-1].side and c.counted_l > 0.0]
    few = len(alike) >= _SCATTERED and 2 * len(alike) < len(known)
    if ended < 0 or not few or len(run) == len(alike):
        return Affair(known, run, Pattern.STEADY, error_estimate(run, resolution_l))
    litres = [c.excess_l for c in alike]
    shares = [100.0 * c.excess_l / c.counted_l for c in alike]
    (size_l, half_l), (size, half) = _mean(litres), _mean(shares)
    if half_l * abs(size) < half * abs(size_l):
        estimate = _interval(size_l, half_l + resolution_l, "L", 3)
    else:
        step = 100.0 * 2.0 * resolution_l * len(alike) / math.fsum(c.counted_l for c in alike)
        estimate = _interval(size, half + step, "%", 4)
    return Affair(known, alike, Pattern.SCATTERED, estimate)


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval; Cornish and Fisher's expansion of Student's t."""
    n = len(values)
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    z, df = _Z95, n - 1
    t = z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
    return mean, t * spread / math.sqrt(n)


def _interval(value: float, half: float, unit: str, digits: int) -> Estimate:
    return Estimate(round(value, digits), unit, round(value - half, digits), round(value + half, digits), 0.95)


def pooled_percent(affair: Affair) -> float | None:
    """E of the affected sales together; None where nothing was counted."""
    if affair.estimate.unit == "%":
        return affair.estimate.value
    counted = math.fsum(c.counted_l for c in affair.affected)
    return math.fsum(c.excess_l for c in affair.affected) / counted * 100.0 if counted > 0.0 else None
