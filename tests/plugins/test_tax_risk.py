"""risk_grade and demand: notes with reasons, the same wherever a period is cut."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from random import Random

import numpy as np
import pytest
import worlds

from pumpwatch import Severity
from pumpwatch.detection.replay import compare_stations, in_order, judge_station
from pumpwatch.testing.rules import cut_invariant
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_tax.demand import Demand, DemandSettings
from pumpwatch_tax.indicators import MonthFacts
from pumpwatch_tax.risk_grade import Peers, RiskGrade, RiskGradeSettings, credit_of

STATIONS = ("S01", "S06", "S11", "S15", "S20", "S29")


@lru_cache(maxsize=1)
def county():
    """Six honest stations, ninety-two days, a dip each hour."""
    staging = worlds.staged(days=92, tank_reading_minutes=60, demand=0.15)
    return {name: station_past(staging, name) for name in STATIONS}


def compared(rule, pasts):
    pasts = list(pasts)
    start, end = pasts[0].start, pasts[0].end
    digests = {p.station_id: judge_station(p, [rule], start, end)[1] for p in pasts}
    return in_order(compare_stations(digests, [rule], start, end))


def grade(finding):
    return finding.explanation.title.en[-1]


def points(finding):
    return {e.reference.rsplit("/", 1)[-1]: e.data["points"] for e in finding.evidence if e.kind == "indicator"}


def facts(**more):
    """An ordinary month."""
    usual = MonthFacts(
        sales=10_000,
        litres=3e5,
        cny=2.2e6,
        covered_percent=100.0,
        channels_percent=100.0,
        declared_gap_percent=0.0,
        balance_percent=-0.3,
        untaxed=0,
        breaks=0,
        outage_h=3.0,
        rounding_fen=0.0,
        rounded_up_percent=50.0,
        own_use_percent=0.0,
        expired=0,
        reports=2,
        prices={"92#": 7.5, "0#": 7.1},
    )
    return replace(usual, **more)


class TestIndicators:
    @pytest.mark.parametrize(
        ("more", "name", "least"),
        [
            ({"declared_gap_percent": 20.0}, "declared_gap", 40.0),
            ({"declared_gap_percent": 0.2}, "declared_gap", 0.0),
            ({"balance_percent": -9.0}, "balance", 25.0),
            ({"untaxed": 3_000}, "tax_memory", 40.0),
            ({"untaxed": None}, "tax_memory", 0.0),
            ({"breaks": 4}, "sequence", 10.0),
            ({"outage_h": 60.0}, "outage", 10.0),
            ({"rounding_fen": 0.4, "rounded_up_percent": 100.0}, "rounding", 15.0),
            ({"rounding_fen": 0.4, "rounded_up_percent": 50.0}, "rounding", 0.0),
            ({"prices": {"92#": 8.25}}, "price", 10.0),
            ({"own_use_percent": 10.0}, "own_use", 15.0),
            ({"expired": 2}, "expired", 10.0),
            ({"reports": 14}, "reports", 10.0),
            ({"covered_percent": 70.0}, "missing_data", 10.0),
        ],
    )
    def test_each_makes_its_points(self, more, name, least):
        others = [facts() for _ in range(8)]
        found = {i.name: i for i in Peers([facts(**more), *others]).indicators(facts(**more))}
        assert found[name].points == least
        assert sum(i.points for i in found.values()) == least

    def test_without_peers_only_own_figures_count(self):
        mine = facts(prices={"92#": 9.9})
        found = {i.name: i for i in Peers([mine]).indicators(mine)}
        assert found["price"].value is None
        assert found["declared_gap"].peers is None

    def test_reports_shrink_to_the_county(self):
        others = [facts() for _ in range(20)]
        few = facts(sales=50, reports=1)
        assert Peers([few, *others]).more_reports(few) < 0.5
        many = facts(reports=12)
        assert Peers([many, *others]).more_reports(many) > 0.95
        assert Peers([facts(reports=0)]).more_reports(facts(reports=0)) == 0.0

    def test_the_posterior_tail_agrees_with_draws(self):
        mine, others = facts(reports=6), [facts() for _ in range(20)]
        everybody = [mine, *others]
        drawn = np.random.default_rng(2).gamma(2 + 6, 1.0 / (2 / 2.0 + 1.0), 200_000)  # the others have 2 a 10,000
        assert Peers(everybody).more_reports(mine) == pytest.approx((drawn > 2 * 2.0).mean(), abs=0.005)

    def test_credit_inputs(self):
        mine = facts(declared_gap_percent=30.0, expired=5, outage_h=72.0)
        credit = credit_of(mine, Peers([mine, facts(), facts()]).indicators(mine))
        assert credit["platform_use"] == pytest.approx(90.0)
        assert credit["integrity"] < 80.0
        assert credit["compliance"] < 70.0


def test_an_honest_county_is_graded_a():
    found = compared(RiskGrade(RiskGradeSettings()), county().values())
    assert {f.severity for f in found} == {Severity.INFO}
    assert {f.subject.key for f in found} == set(STATIONS)
    assert {grade(f) for f in found} == {"A"}
    assert len(found) == 3 * len(STATIONS)
    assert all(len(f.evidence) <= 20 for f in found)


def test_a_station_that_declares_little_is_graded_down_with_the_reason():
    pasts = dict(county())
    past = pasts["S06"]
    pasts["S06"] = replace(
        past, declarations=tuple(replace(d, declared_sale_l=d.declared_sale_l * 0.6) for d in past.declarations)
    )
    found = {f.subject.key: f for f in compared(RiskGrade(RiskGradeSettings()), pasts.values()) if f.onset.month == 3}
    april = found["S06"]
    assert grade(april) == "C"
    assert points(april)["declared_gap"] == 40.0
    assert "declared too little" in april.explanation.what.en
    assert {grade(f) for name, f in found.items() if name != "S06"} == {"A"}


def test_demand_is_quiet_in_an_honest_county_and_names_a_change():
    rule = Demand(DemandSettings())
    assert compared(rule, county().values()) == []
    pasts = dict(county())
    past = pasts["S15"]
    week = past.start + timedelta(days=70)
    late = past.sales.end_us >= int(week.timestamp() * 1e6)
    litres = np.where(late, past.sales.volume_l * 0.4, past.sales.volume_l)
    pasts["S15"] = replace(past, sales=replace(past.sales, volume_l=litres))
    found = compared(rule, pasts.values())
    assert {f.subject.key for f in found} == {"S15"}
    assert {f.severity for f in found} == {Severity.INFO}
    assert all(f.onset >= week - timedelta(days=7) for f in found)
    assert found[0].estimate.value < -40.0


def test_too_few_stations_are_no_peers():
    few = list(county().values())[:3]
    assert compared(Demand(DemandSettings()), few) == []


@pytest.mark.parametrize(
    "rule", [RiskGrade(RiskGradeSettings()), Demand(DemandSettings(limit_z=1.0, least_change=0.05))]
)
def test_where_it_is_cut_does_not_matter(rule):
    pasts = list(county().values())
    dice = Random(6)
    start, end = pasts[0].start, pasts[0].end
    cuts = [start + dice.random() * (end - start) for _ in range(4)]
    assert cut_invariant(rule, pasts, cuts)
