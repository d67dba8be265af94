"""water_ingress and density: found, sized, quiet, and the same however the past is cut."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import pytest
from worlds import judged, staged

from pumpwatch import Severity, WorkOrder, from_us
from pumpwatch.detection.replay import in_order, judge_station
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.dataset.truth import truth_of
from pumpwatch_wetstock import Density, WaterIngress

STATION, TANK = "S15", "S15-T1"


@lru_cache(maxsize=8)
def made(name: str, days: int = 42, onset: str = "P20D", probe: str = "base", **more: float):
    """The station with one scenario at its first tank, and when that began."""
    scenario = [{"name": name, "tank": TANK, "onset": onset, **more}] if name else []
    staging = staged(*scenario, days=days, probe=probe)
    items = truth_of(staging)["items"]
    return station_past(staging, STATION), datetime.fromisoformat(items[0]["onset"]) if items else None


def with_levels(past, **columns):
    """The same past with other columns at the tank; each from the readings that are there."""
    levels = past.levels[TANK]
    told = {name: column(levels) for name, column in columns.items()}
    return replace(past, levels={**past.levels, TANK: replace(levels, **told)})


def stepped(past, mm: float, at: datetime, until: datetime = datetime(2100, 1, 1, tzinfo=UTC)):
    """The water higher by so many millimetres from a time on."""
    first, last = at.timestamp() * 1e6, until.timestamp() * 1e6
    return with_levels(past, water_mm=lambda each: each.water_mm + mm * ((each.at_us >= first) & (each.at_us < last)))


def dips(past):
    """One reading a day."""
    return replace(past, levels={tank: levels.take(slice(0, None, 288)) for tank, levels in past.levels.items()})


@pytest.mark.parametrize(("rate", "days"), [(0.6, 4.0), (2.0, 2.0)])
def test_water_that_rises_is_found_and_sized(rate, days):
    past, onset = made("W06", mm_per_day=rate)
    found = judged(past, WaterIngress)
    assert {(f.cause, f.subject.tank_id) for f in found} == {("water", TANK)}
    assert timedelta(0) < found[0].detected_at - onset <= timedelta(days=days)
    assert abs(found[0].onset - onset) <= timedelta(days=1)
    assert all(f.estimate.unit == "mm/d" for f in found)
    assert found[-1].estimate.value == pytest.approx(rate, rel=0.1)
    assert len(found) <= 5


def test_water_that_rises_fast_is_found_within_a_day():
    past, onset = made("W06", mm_per_day=10.0)
    found = judged(past, WaterIngress)
    assert found[0].detected_at - onset < timedelta(days=1)
    assert found[0].severity is Severity.MEDIUM
    assert found[-1].severity is Severity.HIGH


@pytest.mark.parametrize("probe", ["good", "base", "poor"])
def test_honest_water_and_honest_loads_are_quiet(probe):
    past, _ = made("", probe=probe)
    assert judged(past, WaterIngress, Density) == []


def test_a_step_of_water_with_a_delivery_is_named_as_such():
    past, _ = made("")
    paper = next(d for d in past.deliveries[20:] if d.tank_id == TANK)
    found = judged(stepped(past, 4.0, paper.at), WaterIngress)
    assert found
    assert found[0].estimate.unit == "mm"
    assert found[0].estimate.low < 4.0 < found[0].estimate.high
    assert found[0].detected_at - paper.at < timedelta(days=1)
    assert "came with the delivery" in found[0].explanation.why.en


def test_water_that_was_only_stirred_up_says_nothing():
    past, _ = made("")
    at = past.start + timedelta(days=20, hours=5)
    assert judged(stepped(past, 12.0, at, at + timedelta(hours=3)), WaterIngress) == []
    assert judged(stepped(past, 2.0, at), WaterIngress) == []


def test_work_with_both_signatures_makes_a_step_a_note():
    past, _ = made("")
    at = past.start + timedelta(days=20)
    order = WorkOrder(STATION, TANK, at, "repair", signed_by_repairer="repairer", signed_by_station="station")
    found = judged(replace(stepped(past, 5.0, at), work_orders=(order,)), WaterIngress)
    assert [f.severity for f in found if f.detected_at < at + timedelta(days=2)] == [Severity.INFO]


@pytest.mark.parametrize(("apart", "severity"), [(8, Severity.LOW), (1, Severity.INFO)])
def test_work_every_week_is_an_excuse_no_more(apart, severity):
    past, _ = made("")
    at = past.start + timedelta(days=20)
    orders = tuple(
        WorkOrder(STATION, TANK, when, "repair", signed_by_repairer="repairer", signed_by_station="station")
        for when in (at - timedelta(days=2 * apart), at - timedelta(days=apart), at)
    )
    found = judged(replace(stepped(past, 5.0, at), work_orders=orders), WaterIngress)
    assert [f.severity for f in found if f.detected_at < at + timedelta(days=2)] == [severity]


@pytest.mark.parametrize(("rule", "name"), [(WaterIngress, "W06"), (Density, "W07")])
def test_a_reading_a_day_is_enough_in_the_end(rule, name):
    past, onset = made(name, 80, "P40D")
    found = [f for f in judged(dips(past), rule) if f.severity is not Severity.INFO]
    assert {f.subject.tank_id for f in found} == {TANK}
    assert all(f.detected_at > onset for f in found)


@pytest.mark.parametrize("percent", [20.0, 30.0])
def test_kerosene_in_the_loads_is_found_and_sized(percent):
    past, onset = made("W07", 70, "P40D", percent=percent)
    found = judged(past, Density)
    assert {(f.cause, f.subject.tank_id) for f in found} == {("density", TANK)}
    assert timedelta(0) < found[0].detected_at - onset < timedelta(days=12)
    assert found[0].estimate.unit == "%"
    assert found[0].estimate.low - 5.0 < percent < found[0].estimate.high + 5.0


def certified(past, tells):
    """The certificates of the tank's loads tell the density that ``tells`` gives for their time."""
    loads = tuple(
        replace(d, attributes={"density_20c_kg_m3": f"{tells(d.at):.1f}"}) if d.tank_id == TANK else d
        for d in past.deliveries
    )
    return replace(past, deliveries=loads)


def test_a_certificate_explains_a_load_or_not():
    past, onset = made("W07", 70, "P40D", percent=30.0)
    usual = float(np.nanmedian(past.levels[TANK].density_kg_m3[:1000]))
    stretched = usual + 0.3 * (800.0 - usual)
    told = certified(past, lambda at: usual if at < onset - timedelta(hours=1) else stretched)
    assert judged(told, Density) == []
    found = judged(certified(past, lambda at: usual), Density)
    assert found
    assert "certificate" in found[0].explanation.what.en
    assert found[0].detected_at - onset < timedelta(days=8)


@pytest.mark.parametrize(("shift", "severity"), [(12.0, Severity.MEDIUM), (-9.0, Severity.INFO)])
def test_away_from_kerosene_is_a_note(shift, severity):
    past, _ = made("", 70)
    usual = float(np.nanmedian(past.levels[TANK].density_kg_m3))
    towards = 1.0 if usual < 800.0 else -1.0
    at_us = int((past.start + timedelta(days=40)).timestamp() * 1e6)
    other = with_levels(past, density_kg_m3=lambda each: each.density_kg_m3 + towards * shift * (each.at_us >= at_us))
    assert {f.severity for f in judged(other, Density) if f.subject.tank_id == TANK} <= {severity}


@pytest.mark.parametrize("kg_m3", [700.0, 880.0])
def test_outside_the_band_of_the_grade(kg_m3):
    past, _ = made("")
    at_us = int((past.start + timedelta(days=30)).timestamp() * 1e6)
    other = with_levels(past, density_kg_m3=lambda each: np.where(each.at_us >= at_us, kg_m3, each.density_kg_m3))
    found = [f for f in judged(other, Density) if f.severity is Severity.HIGH]
    assert found
    assert found[0].estimate.value == pytest.approx(kg_m3)
    assert found[0].detected_at - from_us(at_us) < timedelta(hours=24)


@pytest.mark.parametrize("column", ["water_mm", "density_kg_m3"])
def test_what_the_probe_does_not_tell_is_not_judged(column):
    past, _ = made("W06" if column == "water_mm" else "W07", 70, "P40D")
    silent = with_levels(past, **{column: lambda each: np.full(len(each), np.nan)})
    assert judged(silent, WaterIngress, Density) == []


@pytest.mark.parametrize(("rule", "name"), [(WaterIngress, "W06"), (Density, "W07")])
@pytest.mark.parametrize("hours", [1027.3, 1133.9])
def test_cut_anywhere_the_findings_are_the_same(rule, name, hours):
    past, _ = made(name, 70, "P40D")
    one = rule(rule.Settings())
    cut = past.start + timedelta(hours=hours)
    whole = in_order(judge_station(past, [one], past.start, past.end)[0])
    parts = in_order(
        [
            *judge_station(past.between(past.start, cut), [one], past.start, cut)[0],
            *judge_station(past.between(cut - one.lookback, past.end), [one], cut, past.end)[0],
        ]
    )
    assert [(f.id, f.estimate, f.explanation) for f in parts] == [(f.id, f.estimate, f.explanation) for f in whole]
    assert whole


@pytest.mark.parametrize(("rule", "name"), [(WaterIngress, "W06"), (Density, "W07")])
def test_words_and_figures(rule, name):
    past, _ = made(name, 70, "P40D")
    for finding in judged(past, rule):
        said = finding.explanation
        assert len(said.title.en) <= 40
        assert sum(1 if ord(c) >= 0x2E80 else 0.5 for c in said.title.zh) <= 20
        assert not any(
            word in f"{said.what.en} {said.why.en} {said.on_site.en}" for word in ("cheat", "fraud", "guilty")
        )
        (figure,) = finding.figures
        assert sum(len(curve.x) for curve in figure.curves) <= 400
        assert any(curve.alarm for curve in figure.curves)
        assert all(len(curve.x) == len(curve.y) for curve in figure.curves)
