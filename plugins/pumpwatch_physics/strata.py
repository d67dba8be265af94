"""The conditions under which a cheat may be switched on: each names some of the fillings of a nozzle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.past import Sales

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]

_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 24 * _HOUR_US
_TEST_VOLUMES_L: Final = (5.0, 10.0, 20.0)
_TEST_AMOUNTS_CNY: Final = (100.0, 200.0)
_VOLUME_SLACK_L: Final = 0.055
"""Around a test volume; dispensers show hundredths."""
_AMOUNT_SLACK_CNY: Final = 0.3
"""Around a test amount: a filling stops at the first pulse beyond it."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """One condition."""

    name: str
    """As evidence names it."""
    label: Text
    """``夜间（22–6 时）``, ``at night (22 to 6 h)``: completes "short …"."""
    mask: Callable[[Sales, slice, int], Bools]
    """(n,) which fillings of these rows fulfil it; the last number is the local time's offset from UTC in µs."""
    hourly: bool = False
    """It is about the time of day, which is the same for all nozzles."""


def _hours(first: int, last: int) -> Callable[[Sales, slice, int], Bools]:
    def mask(sales: Sales, rows: slice, offset_us: int) -> Bools:
        hour = (sales.start_us[rows] + offset_us) % _DAY_US // _HOUR_US
        inside: Bools = (hour >= first) & (hour < last) if first < last else (hour >= first) | (hour < last)
        return inside

    return mask


def _above(litres: float) -> Callable[[Sales, slice, int], Bools]:
    def mask(sales: Sales, rows: slice, offset_us: int) -> Bools:
        above: Bools = sales.volume_l[rows] > litres
        return above

    return mask


def _paid(*ways: str) -> Callable[[Sales, slice, int], Bools]:
    def mask(sales: Sales, rows: slice, offset_us: int) -> Bools:
        codes = [place for place, way in enumerate(sales.payments) if way in ways]
        paid: Bools = np.isin(sales.payment[rows], codes)
        return paid

    return mask


def _not_at_tests(sales: Sales, rows: slice, offset_us: int) -> Bools:
    volume, amount = sales.volume_l[rows], sales.amount_cny[rows]
    test = np.zeros(len(volume), bool)
    for litres in _TEST_VOLUMES_L:
        test |= np.abs(volume - litres) <= _VOLUME_SLACK_L
    for yuan in _TEST_AMOUNTS_CNY:
        test |= np.abs(amount - yuan) <= _AMOUNT_SLACK_CNY
    return ~test


def _free(sales: Sales, rows: slice, offset_us: int) -> Bools:
    free: Bools = sales.preset_kind[rows] < 0
    return free


def _preset(sales: Sales, rows: slice, offset_us: int) -> Bools:
    preset: Bools = sales.preset_kind[rows] >= 0
    return preset


STRATA: Final = (
    Stratum("above_20_l", Text("20 升以上", "above 20 L"), _above(20.0)),
    Stratum("above_40_l", Text("40 升以上", "above 40 L"), _above(40.0)),
    Stratum("above_60_l", Text("60 升以上", "above 60 L"), _above(60.0)),
    Stratum("not_at_test_volumes", Text("非检定量", "except at test volumes"), _not_at_tests),
    Stratum("night", Text("夜间（22–6 时）", "at night (22 to 6 h)"), _hours(22, 6), hourly=True),
    Stratum("out_of_office", Text("下班后（18–8 时）", "out of office hours (18 to 8 h)"), _hours(18, 8), hourly=True),
    Stratum("early_shift", Text("早班（6–14 时）", "in the early shift (6 to 14 h)"), _hours(6, 14), hourly=True),
    Stratum("late_shift", Text("晚班（14–22 时）", "in the late shift (14 to 22 h)"), _hours(14, 22), hourly=True),
    Stratum("cash", Text("现金支付", "paid in cash"), _paid("cash")),
    Stratum("mobile", Text("手机支付", "paid by telephone"), _paid("mobile")),
    Stratum("cash_or_mobile", Text("现金或手机支付", "paid in cash or by telephone"), _paid("cash", "mobile")),
    Stratum("card", Text("刷卡支付", "paid by card"), _paid("card", "fuel_card")),
    Stratum("free", Text("非定量加油", "without preset"), _free),
    Stratum("preset", Text("定量加油", "with preset"), _preset),
)
"""In the order in which digests hold them."""
HOURLY: Final = np.array([place for place, stratum in enumerate(STRATA) if stratum.hourly])
"""Places of the conditions of time."""
HOURLY_SD: Final = 0.0015
"""Of what the hours do to all nozzles of a tank alike: ten degrees between meter and tank are 0.12 %."""
_RIDGE: Final = 1e-9
_LEAST_LEFT: Final = 0.02
"""Of a condition's information, that must be left when the rest is taken out; else the day tells nothing of it."""
_FAR: Final = 3.0
"""Deviations: a day beyond counts less, as one strong event at a neighbour looks chosen at any condition it meets."""


def contrasts(
    scores: Floats, own: Floats, cross: Floats, whole: Floats, information: Floats
) -> tuple[Floats, Floats, Floats]:
    """(E,) S and G of a day's conditions, nozzle by nozzle, less what all the fillings of the day's nozzles explain.

    ``scores`` (E,), ``own`` (E,) and ``cross`` (E, N) are S and G of each condition, with itself and with the nozzles;
    ``whole`` (N,) and ``information`` (N, N) those of the nozzles. The third (hourly conditions, N, N) is what is left
    of G between each two nozzles in a condition of ``HOURLY``: that between the condition at one and all fillings of
    the other, less what reaches beyond the hours at each nozzle itself.
    """
    n = len(whole)
    inverse = np.linalg.inv(information + _RIDGE * max(float(np.trace(information)), 1e-9) * np.eye(n))
    taken = cross @ inverse
    num, den = scores - taken @ whole, own - np.einsum("ij,ij->i", taken, cross)
    rows = HOURLY[:, None] + np.arange(n) * len(STRATA)
    reach, itself = cross[rows], own[rows]
    across = np.arange(n)
    inside = itself / np.maximum(reach[:, across, across], 1e-9)
    both = (reach + reach.transpose(0, 2, 1)) / 2.0 * inside[:, :, None] * inside[:, None, :]
    both[:, across, across] = itself
    left = both - taken[rows] @ reach.transpose(0, 2, 1)
    dull = den < _LEAST_LEFT * own
    weight = np.where(dull, 0.0, np.minimum(1.0, _FAR**2 * den / np.maximum(num**2, 1e-12)))
    shared = np.sqrt(weight[rows])
    return num * weight, den * weight, left * shared[:, :, None] * shared[:, None, :]


def separated(num: Floats, den: Floats, left: Floats, named: Sequence[int]) -> tuple[Floats, Floats]:
    """(…, E) sums of ``contrasts`` over days, less what is not a nozzle's own in conditions of time.

    That is what the hours of the day do to all nozzles alike, which is known to be little (``HOURLY_SD``), and what
    nozzles do that are ``named`` already: fillings of two nozzles at the same hours can hardly be told apart by
    readings, so that one nozzle's fault is seen at the others.
    """
    n = left.shape[-1]
    rows = HOURLY[:, None] + np.arange(n) * len(STRATA)
    mine, own, between = num[..., rows], den[..., rows], left.copy()
    for nozzle in named:
        theirs = np.maximum(between[..., nozzle, nozzle], 1e-9)
        share = between[..., nozzle] / theirs[..., None]
        share[..., list(named)] = 0.0
        mine = mine - share * mine[..., nozzle, None]
        own = own - share * between[..., nozzle]
        between = between - share[..., :, None] * between[..., nozzle, None, :]
        between[..., nozzle, :] = between[..., :, nozzle] = 0.0
    told = between.sum(axis=-1)
    share = told / (np.maximum(told.sum(axis=-1), 0.0) + 1.0 / HOURLY_SD**2)[..., None]
    rest = np.delete(mine, named, axis=-1).sum(axis=-1)
    num, den = num.copy(), den.copy()
    num[..., rows] = mine - share * rest[..., None]
    den[..., rows] = np.maximum(own - share * told, 0.0)
    return num, den
