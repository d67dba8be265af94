"""Conditions of fillings: a day's contrasts, from days whose every litre is made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pumpwatch_physics.strata import STRATA, contrasts, separated

NOZZLES, READINGS, DAYS = 4, 288, 60
NAMES = [stratum.name for stratum in STRATA]
OFFICE, LARGE = NAMES.index("out_of_office"), NAMES.index("above_40_l")
MEMORY = 0.82
"""Of whitening, from one reading to the next: fillings of the same half hour are weighed together."""


def smoothed(raw):
    made = np.zeros_like(raw)
    for row in range(len(raw)):
        made[row] = raw[row] + (MEMORY * made[row - 1] if row else 0.0)
    return made


def days(effect=None, common=0.0, seed=1):
    """``contrasts`` of DAYS: ``effect`` is nozzle, stratum and size, ``common`` that of all at OFFICE."""
    chance = np.random.default_rng(seed)
    hour = np.arange(READINGS) * 24 // READINGS
    office = ((hour >= 18) | (hour < 8))[:, None]
    told = []
    for _ in range(DAYS):
        sold = chance.random((READINGS, NOZZLES)) < 0.2
        litres = np.where(sold, chance.lognormal(3.3, 0.5, (READINGS, NOZZLES)), 0.0)
        parts = np.zeros((NOZZLES, len(STRATA), READINGS))
        parts[:, OFFICE], parts[:, LARGE] = (litres * office).T, (litres * (litres > 40.0)).T
        part = smoothed(np.ascontiguousarray(parts.reshape(-1, READINGS).T)) / 4.0
        whole = smoothed(litres) / 4.0
        wrong = whole @ chance.normal(0.0, 0.003, NOZZLES) + chance.normal(size=READINGS)
        wrong += common * part.reshape(READINGS, NOZZLES, -1)[:, :, OFFICE].sum(axis=1)
        if effect is not None:
            nozzle, stratum, size = effect
            wrong += size * part[:, nozzle * len(STRATA) + stratum]
        own = np.einsum("ij,ij->j", part, part)
        told.append(contrasts(part.T @ wrong, own, part.T @ whole, whole.T @ wrong, whole.T @ whole))
    return tuple(np.array(each) for each in zip(*told, strict=True))


def each_separated(told):
    """(num, den) (DAYS, NOZZLES, strata) of each day by itself."""
    return tuple(each.reshape(DAYS, NOZZLES, -1) for each in separated(*told, []))


def sizes(told, named=()):
    """(NOZZLES, strata) what the days say together, and its deviation; NaN where nothing is told."""
    num, den = (each.reshape(NOZZLES, -1) for each in separated(*(each.sum(axis=0) for each in told), named))
    with np.errstate(invalid="ignore", divide="ignore"):
        return num / den, 1.0 / np.sqrt(den)


@pytest.mark.parametrize("stratum", [OFFICE, LARGE])
def test_honest_days_have_unit_variance(stratum):
    told = days(common=0.001)
    num, den = each_separated(told)
    deviations = (num[:, :, stratum] / np.sqrt(den[:, :, stratum])).ravel()
    assert 0.8 < deviations.std() < 1.15
    value, sd = sizes(told)
    assert (np.abs(value[:, stratum]) < 3.5 * sd[:, stratum]).all()


@pytest.mark.parametrize(("stratum", "size"), [(OFFICE, 0.03), (LARGE, 0.05)])
def test_a_nozzle_that_is_short_at_some_fillings_is_the_only_one_and_its_size_is_right(stratum, size):
    """At the same hours the fillings of all nozzles mix in the readings; the others look less short, or not at all."""
    told = days((2, stratum, size))
    value, sd = sizes(told)
    assert value[2, stratum] > 6.0 * sd[2, stratum]
    assert abs(value[2, stratum] - size) < max(3.0 * sd[2, stratum], 0.3 * size)
    others = [nozzle for nozzle in range(NOZZLES) if nozzle != 2]
    assert (value[others, stratum] < 0.9 * value[2, stratum]).all()
    assert np.isfinite(sizes(told, named=[2])[0][2, stratum])
    value, sd = sizes(told, named=[2])
    assert (np.abs(value[others, stratum]) < 3.0 * sd[others, stratum]).all()


def test_what_the_hours_may_do_to_all_nozzles_is_nobodys():
    (plain, _), (value, sd) = sizes(days()), sizes(days(common=0.001))
    assert (np.abs(value - plain)[:, OFFICE] < 0.5 * sd[:, OFFICE]).all()


def test_one_strong_day_counts_less():
    mild, strong = (days((1, LARGE, size)) for size in (0.02, 0.5))
    for num, den in map(each_separated, (mild, strong)):
        assert np.abs(num[:, 1, LARGE] / np.sqrt(den[:, 1, LARGE])).max() < 3.01
    assert each_separated(strong)[1][:, 1, LARGE].sum() < 0.2 * each_separated(mild)[1][:, 1, LARGE].sum()
    value, _ = sizes(strong)
    assert value[1, LARGE] == pytest.approx(0.5, rel=0.2)


def test_conditions_that_no_filling_meets_tell_nothing():
    num, den = each_separated(days())
    rest = [place for place in range(len(STRATA)) if place not in (OFFICE, LARGE)]
    assert not num[:, :, rest].any()
    assert not den[:, :, rest].any()
