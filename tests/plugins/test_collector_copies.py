"""replayed_data and station_twins: what came before, or elsewhere, and comes again under other numbers."""

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

from pumpwatch import Subject, to_us
from pumpwatch.detection.replay import compare_stations
from pumpwatch.past import SALE_COLUMNS, sales_from
from pumpwatch.testing.rules import cut_invariant
from pumpwatch_integrity.replayed import ReplayedData, ReplaySettings
from pumpwatch_integrity.twins import StationTwins, TwinSettings

HOUR_US = 3_600_000_000


def again(past, rows, lag_us):
    """The past with some of its sales told once more, later, under new numbers and in the place of the true ones."""
    sales = past.sales
    first, last = int(sales.end_us[rows].min()) + lag_us, int(sales.end_us[rows].max()) + lag_us
    hidden = np.isin(sales.nozzle, sales.nozzle[rows]) & (sales.end_us >= first) & (sales.end_us <= last)
    columns = {
        name: np.concatenate([getattr(sales, name)[~hidden], getattr(sales, name)[rows]]) for name in SALE_COLUMNS
    }
    columns["seq"][-len(rows) :] += 500_000
    for name in ("start_us", "end_us"):
        columns[name][-len(rows) :] += lag_us
    return replace(past, sales=sales_from(columns, sales.nozzle_ids, sales.payments, sales.preset_kinds))


@pytest.mark.parametrize("name", ["", "C03", "C05", "C08", "H06", "H08", "H10", "H18"])
def test_nothing_comes_twice_at_honest_stations(name):
    past, _ = world(name)
    assert judged(past, ReplayedData) == []


@pytest.mark.parametrize(("hours", "onset"), [(2, "P20D"), (2, "P20DT3H"), (24, "P20D")])
def test_a_replayed_day_is_found_in_an_hour(hours, onset):
    past, (item,) = world("C04", days=35, hours=hours, onset=onset)
    found = judged(past, ReplayedData)
    assert 1 <= len(found) <= 2
    first = found[0]
    assert (first.cause, first.subject) == (item["cause"], Subject(item["subject"]["station_id"]))
    onset_at = item["onset"].replace("Z", "+00:00")
    assert timedelta(0) <= first.detected_at - type(first.onset).fromisoformat(onset_at) <= timedelta(hours=1)
    assert "24.0 h" in first.explanation.what.en
    assert len(first.evidence) <= 20
    assert sum(len(curve.x) for curve in first.figures[0].curves) <= 400
    for evidence in first.evidence:
        json.dumps(dict(evidence.data), allow_nan=False)


def test_levels_alone_tell_it():
    past, _ = world("C04", days=35, hours=24)
    mute = replace(past, sales=past.sales.take(slice(0, 0)))
    (finding,) = judged(mute, ReplayedData)
    assert finding.subject.key == past.station_id
    assert finding.estimate.unit == "readings"


def test_one_reading_without_temperature_does_not_switch_a_tank_off():
    past, _ = world("C04", days=28)
    nobody = replace(past, sales=past.sales.take(slice(0, 0)))
    levels = {}
    for tank, each in past.levels.items():
        temperature = each.temperature_c.copy()
        temperature[100] = np.nan
        levels[tank] = replace(each, temperature_c=temperature)
    found = judged(replace(nobody, levels=levels), ReplayedData)
    assert [f.id for f in found] == [f.id for f in judged(nobody, ReplayedData)] != []
    bare = {t: replace(each, temperature_c=each.temperature_c * np.nan) for t, each in past.levels.items()}
    assert judged(replace(nobody, levels=bare), ReplayedData) == []


def test_four_sales_of_one_nozzle_are_enough_and_three_are_not():
    past, _ = world("", days=35)
    rows = past.sales.of("S01-N01")
    begin = int(np.searchsorted(past.sales.end_us[rows], to_us(past.start + timedelta(days=20)))) + rows.start
    odd = past.sales.volume_l[begin : begin + 40] % 1.0 > 1e-6
    first = begin + next(i for i in range(30) if odd[i : i + 3].all())
    quiet = replace(past, levels={})
    lag = 5 * 24 * HOUR_US + 1_234_000_000
    assert judged(again(quiet, np.arange(first, first + 3), lag), ReplayedData) == []
    busy = again(quiet, np.arange(first, first + 4), lag)
    last = int(past.sales.end_us[first + 3]) + lag
    (finding,) = judged(busy, ReplayedData)
    assert finding.subject.key == "S01-N01"
    assert to_us(finding.detected_at) == last


def test_whole_litres_at_even_intervals_are_no_replay():
    past, _ = world("", days=35)
    rows = np.arange(past.sales.of("S01-N01").start, past.sales.of("S01-N01").stop)[:12]
    sales = past.sales
    volume = sales.volume_l.copy()
    end = sales.end_us.copy()
    volume[rows] = 20.0
    end[rows] = end[rows[0]] + np.arange(12) * 240_000_000
    assert judged(replace(past, sales=replace(sales, volume_l=volume, end_us=end), levels={}), ReplayedData) == []


@settings(max_examples=10, deadline=None)
@given(lag_h=st.integers(24, 650), start=st.integers(0, 2_000), number=st.integers(40, 100))
def test_any_lag_within_five_weeks_is_found(lag_h, start, number):
    past, _ = world("", days=35)
    by_time = np.argsort(past.sales.end_us, kind="stable")
    rows = np.sort(by_time[start : start + number])
    copied = again(replace(past, levels={}), rows, lag_h * HOUR_US + 7_000_000)
    assert judged(copied, ReplayedData)


def test_cuts_do_not_matter():
    past, _ = world("C04", days=35, hours=24, onset="P20DT3H")
    chance = random.Random(8)
    cuts = [past.start + timedelta(days=chance.uniform(20.5, 23.5)) for _ in range(8)]
    assert cut_invariant(ReplayedData(ReplaySettings()), past, cuts)


class TestTwins:
    @pytest.fixture(scope="class")
    @classmethod
    def pasts(cls):
        staging = staged(days=14)
        return [station_past(staging, name) for name in ("S01", "S06", "S11")]

    def twins(self, pasts):
        rule = StationTwins(TwinSettings())
        digests = {p.station_id: {rule.rule: rule.digest(p, p.start, p.end)} for p in pasts}
        return compare_stations(digests, [rule], pasts[0].start, pasts[0].end)

    def copied(self, one, other, lag_us=0):
        """``other`` with the sales of ``one`` from the eighth day on."""
        sales = one.sales
        late = sales.end_us >= to_us(one.start + timedelta(days=8))
        mine = other.sales.take(other.sales.end_us < to_us(one.start + timedelta(days=8)) + lag_us)
        columns = {n: np.concatenate([getattr(mine, n), getattr(sales, n)[late]]) for n in SALE_COLUMNS}
        for name in ("start_us", "end_us"):
            columns[name][len(mine) :] += lag_us
        codes = len(other.sales.nozzle_ids)
        columns["nozzle"] = (
            np.minimum(columns["nozzle"], codes - 1) if codes < len(sales.nozzle_ids) else columns["nozzle"]
        )
        made = sales_from(columns, other.sales.nozzle_ids, sales.payments, sales.preset_kinds)
        return replace(other, sales=made)

    def test_honest_stations_have_no_twin(self, pasts):
        assert self.twins(pasts) == []

    @pytest.mark.parametrize("lag_h", [0, 1, 48])
    def test_a_copy_is_found_on_its_first_day(self, pasts, lag_h):
        one, other, third = pasts
        found = self.twins([one, self.copied(one, other, lag_h * HOUR_US), third])
        assert {f.subject.key for f in found} == {other.station_id}
        assert {f.cause for f in found} == {"replayed_data"}
        assert found[0].evidence[0].data["other_station"] == one.station_id
        begun = one.start + timedelta(days=8, hours=lag_h)
        assert begun < found[0].detected_at < begun + timedelta(days=1)

    def test_cuts_do_not_matter(self, pasts):
        one, other, third = pasts
        chance = random.Random(9)
        cuts = [one.start + timedelta(days=chance.uniform(7.5, 14)) for _ in range(8)]
        stations = [one, self.copied(one, other, HOUR_US), third]
        assert len(cut_invariant(StationTwins(TwinSettings()), stations, cuts)) >= 5
