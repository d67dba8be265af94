"""frozen_gauge and too_clean: levels that stand still while fuel is sold, and levels that never tremble."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import judged, staged, station_past, world

from pumpwatch import Channel, Severity, WorkOrder, to_us
from pumpwatch.testing.rules import cut_invariant, without
from pumpwatch_integrity.clean import CleanSettings, TooClean
from pumpwatch_integrity.frozen import FrozenGauge, FrozenSettings

BOTH = (FrozenGauge, TooClean)


def fine(finding):
    for evidence in finding.evidence:
        json.dumps(dict(evidence.data), allow_nan=False)
    assert sum(len(curve.x) for curve in finding.figures[0].curves) <= 400
    said = finding.explanation.title
    assert sum(1 if ord(c) >= 0x2E80 else 0.5 for c in said.zh) <= 20
    assert len(said.en) <= 40


@pytest.mark.parametrize("name", ["", "C04", "H12", "H14"])
def test_gauges_that_tremble_are_quiet(name):
    past, _ = world(name)
    assert judged(past, *BOTH) == []


@pytest.mark.parametrize("probe", ["good", "poor"])
def test_honest_probes_of_every_kind_are_quiet(probe):
    staging = staged({"name": "H13", "onset": "P1D"}, probe=probe, days=35)
    station = staging.scenarios[0].target.station_id
    past = station_past(staging, station)
    assert len({t.manifold for t in past.tanks} - {None}) == 1
    assert judged(past, *BOTH) == []
    bare = {t: replace(levels, temperature_c=levels.temperature_c * np.nan) for t, levels in past.levels.items()}
    assert judged(replace(past, levels=bare), *BOTH) == []


def test_without_readings_they_are_off():
    past, _ = world("C03", days=35)
    assert judged(without(past, Channel.TANK_READINGS), *BOTH) == []


class TestFrozen:
    @pytest.mark.parametrize(("hours", "onset"), [(2, "P20D"), (2, "P20DT14H"), (24, "P20D"), (72, "P20DT9H")])
    def test_it_is_found_in_hours(self, hours, onset):
        past, (item,) = world("C03", days=35, hours=hours, onset=onset)
        (finding,) = judged(past, *BOTH)
        assert (finding.rule, finding.cause) == ("frozen_gauge", item["cause"])
        assert finding.subject.key == item["subject"]["tank_id"]
        assert timedelta(0) < finding.detected_at - finding.onset < timedelta(hours=8)
        assert abs(finding.onset - past.start - timedelta(days=20)) < timedelta(hours=15)
        fine(finding)

    def test_it_is_seen_without_sales_once_the_gauge_trembles_again(self):
        past, (item,) = world("C03", days=35, hours=6, onset="P20D")
        mine = [n.nozzle_id for n in past.nozzles if n.tank_id == item["subject"]["tank_id"]]
        codes = [past.sales.nozzle_ids.index(n) for n in mine]
        (finding,) = judged(replace(past, sales=past.sales.take(~np.isin(past.sales.nozzle, codes))), FrozenGauge)
        assert finding.severity is Severity.MEDIUM
        assert finding.detected_at - finding.onset == timedelta(hours=6, minutes=55)

    def test_a_tank_that_never_moves_and_never_sells_is_quiet(self):
        past, _ = world("", days=35)
        tank, levels = next(iter(past.levels.items()))
        still = {
            name: np.full(len(levels), getattr(levels, name)[0]) for name in ("height_mm", "temperature_c", "water_mm")
        }
        codes = [i for i, n in enumerate(past.nozzles) if n.tank_id == tank]
        sales = past.sales.take(~np.isin(past.sales.nozzle, codes))
        dead = replace(past, levels={tank: replace(levels, **still)}, sales=sales)
        assert judged(dead, FrozenGauge) == []

    def test_cuts_do_not_matter(self):
        past, _ = world("C03", days=35, hours=72, onset="P20DT9H")
        chance = random.Random(7)
        cuts = [past.start + timedelta(days=chance.uniform(19.5, 24)) for _ in range(12)]
        assert len(cut_invariant(FrozenGauge(FrozenSettings()), past, cuts)) == 1


class TestTooClean:
    @pytest.fixture
    def feed(self):
        return world("C08", days=35)

    def test_the_first_whole_day_shows_it(self, feed):
        past, (item,) = feed
        found = judged(past, *BOTH)
        assert {(f.rule, f.cause, f.subject.key) for f in found} == {
            ("too_clean", item["cause"], item["subject"]["tank_id"])
        }
        assert found[0].detected_at == past.start + timedelta(days=21)
        assert found[0].severity is Severity.HIGH
        assert len(found) <= 3
        fine(found[0])

    def test_work_on_the_gauge_explains_it_by_who_signed(self, feed):
        past, (item,) = feed
        at = past.start + timedelta(days=19)
        half = WorkOrder(past.station_id, item["subject"]["tank_id"], at, "repair", "r", None, "s")
        for order, severity in (
            (half, Severity.LOW),
            (replace(half, signed_by_institute="i"), Severity.INFO),
            (replace(half, signed_by_repairer=None), Severity.HIGH),
            (replace(half, device_id=past.station_id), Severity.HIGH),
            (replace(half, kind="inspection"), Severity.HIGH),
        ):
            assert judged(replace(past, work_orders=(order,)), TooClean)[0].severity is severity

    def test_a_sale_without_litres_does_not_switch_it_off(self, feed):
        past, _ = feed
        volume = past.sales.volume_l.copy()
        volume[:: len(volume) // 5] = np.nan
        poor = replace(past, sales=replace(past.sales, volume_l=volume))
        assert [f.id for f in judged(poor, TooClean)] == [f.id for f in judged(past, TooClean)]

    def test_cuts_do_not_matter(self, feed):
        past, _ = feed
        cuts = [past.start + timedelta(days=day) for day in (15, 20.5, 21, 22.0001, 24, 27.3, 29)]
        assert cut_invariant(TooClean(CleanSettings()), past, cuts)

    @settings(max_examples=8, deadline=None)
    @given(day=st.integers(15, 30), share=st.floats(0.5, 1.0))
    def test_an_honest_day_that_trembles_less_is_quiet(self, day, share):
        past, _ = world("", days=35)
        tank, levels = next(iter(past.levels.items()))
        begin = to_us(past.start + timedelta(days=day))
        mine = (levels.at_us >= begin) & (levels.at_us < begin + 86_400_000_000)
        smooth = np.convolve(levels.height_mm, np.ones(3) / 3, "same")
        height = np.where(mine, share * levels.height_mm + (1 - share) * smooth, levels.height_mm)
        calm = replace(past, levels={tank: replace(levels, height_mm=height)})
        said = judged(calm, TooClean)
        assert said == [] or share < 0.7
