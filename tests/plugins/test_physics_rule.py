"""The rules of the physical balance on simulated stations: what is found, said, shown, and never depends on cutting."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache

import numpy as np
import pytest
from worlds import one_tank

from pumpwatch import Channel, Department, Finding, Severity, WorkOrder, from_us
from pumpwatch.courses import DAY_US
from pumpwatch.detection.arbitration import arbitrate
from pumpwatch.detection.replay import in_order
from pumpwatch.testing import cut_invariant, without
from pumpwatch_physics import SelectiveDelivery, TankBalance, pumpwatch_detectors
from pumpwatch_physics.crossing import Crossings
from pumpwatch_physics.runs import Followed
from pumpwatch_physics.states import Sized, Suspicion
from pumpwatch_physics.tank_balance import Balance
from pumpwatch_physics.telling import Told
from pumpwatch_physics.watch import Claim, Track
from pumpwatch_sim.dataset.pasts import station_past

ONSET = "P60DT1H"
RULES = [rule(rule.Settings()) for rule in (TankBalance, SelectiveDelivery)]


@lru_cache(maxsize=8)
def _past(days, seed, tank_reading_minutes, nozzles, scenario):
    readings = {"tank_reading_minutes": tank_reading_minutes} if tank_reading_minutes else {}
    happens = [dict(scenario)] if scenario else []
    staging = one_tank(*happens, days=days, seed=seed, nozzles=nozzles, **readings)
    return station_past(staging, "S01"), from_us(staging.start_us) + timedelta(days=60, hours=1)


def past_of(name="", days=66, seed=2, tank_reading_minutes=None, nozzles=4, **parameters):
    """One tank with four nozzles, and when the scenario begins."""
    scenario = {"name": name, "onset": ONSET, **parameters} if name else {}
    return _past(days, seed, tank_reading_minutes, nozzles, tuple(sorted(scenario.items())))


def said(past, rules=RULES):
    return in_order([finding for rule in rules for finding in rule.review(past, past.start, past.end)])


def short(**more):
    return past_of("pulse_adding_chip", nozzle="S01-N02", percent=3.0, **more)


def texts(finding):
    told = finding.explanation
    return [told.title, told.what, told.why, told.otherwise, told.on_site]


# ---------------------------------------------------------------- what is found


def test_a_short_nozzle_is_found_within_two_days() -> None:
    """Its tank may be told of first: as long as all nozzles together might be short instead."""
    past, onset = short()
    *tank, finding = said(past)
    assert (finding.rule, finding.cause, finding.subject.key) == ("tank_balance", "short_delivery", "S01-N02")
    assert finding.subject.dispenser_id == "S01-D1"
    assert onset < finding.detected_at < onset + timedelta(days=2)
    assert abs(finding.onset - onset) < timedelta(days=1)
    assert finding.severity is Severity.HIGH
    assert finding.departments == (Department.MARKET_REGULATION,)
    assert finding.estimate.unit == "%"
    assert finding.estimate.low <= 3.0 <= finding.estimate.high
    assert [(each.rule, each.cause, each.subject.key) for each in tank] == [
        ("tank_balance", "short_delivery", "S01-T1")
    ]
    assert [finding.sharpens] == [each.id for each in tank]


def test_an_honest_station_is_left_alone() -> None:
    past, _ = past_of(days=85, seed=3)
    assert said(past) == []


def test_fillings_that_alone_are_short_are_named_and_are_one_alarm() -> None:
    past, onset = past_of("large_volumes_only", days=72, nozzle="S01-N02", percent=5.0, above_l=40.0)
    findings = said(past)
    named = [finding for finding in findings if finding.rule == "selective_delivery"]
    assert [finding.cause for finding in named] == ["selective_short_delivery"]
    assert named[0].subject.key == "S01-N02"
    assert named[0].detected_at < onset + timedelta(days=7)
    assert named[0].evidence[0].data["condition"] == "above_40_l"
    assert "40 升以上" in named[0].explanation.what.zh
    assert "above 40 L" in named[0].explanation.what.en
    assert {finding.rule for finding in findings} == {"tank_balance", "selective_delivery"}
    (claim,) = arbitrate(findings, RULES)
    assert claim.root.rule == "selective_delivery"
    assert [(each.root.cause, each.root.subject.key) for each in claim.consequences] == [
        ("short_delivery", "S01-T1"),
        ("short_delivery", "S01-N02"),
    ]


def test_a_leak_is_an_emergency_at_the_tank() -> None:
    past, onset = past_of("leak", days=75, tank="S01-T1", gallons_per_hour=0.8)
    finding = said(past)[0]
    assert (finding.cause, finding.subject.key) == ("leak", "S01-T1")
    assert Department.EMERGENCY in finding.departments
    assert finding.detected_at < onset + timedelta(days=12)
    assert finding.estimate.unit == "L/h"
    assert finding.estimate.low < 0.8 * 3.785 < finding.estimate.high


def dipped():
    """A nozzle that is 8 % short, seen by a dip a day: that is too little to tell which."""
    return past_of("pulse_adding_chip", days=85, nozzle="S01-N02", percent=8.0, tank_reading_minutes=1_440, seed=3)


# ---------------------------------------------------------------- what explains


def order_at(past, onset, kind="calibration", **more):
    order = WorkOrder("S01", "S01-N02", onset, kind, signed_by_repairer="甲", signed_by_station="乙", **more)
    return replace(past, work_orders=(*past.work_orders, order))


def claimed(past, kind, rising, value, nozzle=1, since_days=60, at_days=63, **more):
    """What the first rule makes of one claim of the only tank; ``value`` is an E, or L/h of a leak."""
    if kind != "leak":
        value /= 1.0 + value  # the share of what is shown
    since, at = (past.start + timedelta(days=days) for days in (since_days, at_days))
    half = abs(value) / 3.0
    claim = Claim(
        kind,
        nozzle,
        rising,
        round(at.timestamp() * 1e6),
        round(since.timestamp() * 1e6),
        Sized(value, value - half, value + half, 0),
        11.0,
        Suspicion(0, True, 4.0, 0),
        **more,
    )
    nozzles = tuple(each.nozzle_id for each in past.nozzles)
    followed = Followed(("S01-T1",), "92#", nozzles, (claim,), (), Track())
    return [
        (each.cause, each.severity, each.subject.key, each.estimate.value)
        for each in RULES[0]._told(Told(past, followed, claim, claim.since_us, 8.0), "id")
    ]


def test_each_claim_is_told_as_its_cause() -> None:
    past, _ = short()
    high, medium, low, info = Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO
    assert claimed(past, "nozzle", True, 0.02) == [("short_delivery", high, "S01-N02", 2.0)]
    assert claimed(past, "nozzle", True, 0.006) == [("short_delivery", medium, "S01-N02", 0.6)]
    assert claimed(past, "nozzle", True, 0.005, drift=True) == [("out_of_tolerance", low, "S01-N02", 0.5)]
    assert claimed(past, "nozzle", True, 0.0025, drift=True) == [("out_of_tolerance", info, "S01-N02", 0.25)]
    assert claimed(past, "nozzle", True, 0.02, drift=True) == [("short_delivery", high, "S01-N02", 2.0)]
    assert claimed(past, "level", True, 0.008) == [("short_delivery", medium, "S01-N02", 0.8)]
    assert claimed(past, "some", True, 0.02, nozzle=None, likeliest=1) == [("short_delivery", high, "S01-T1", 2.0)]
    assert claimed(past, "tank", True, 0.02, nozzle=None) == [("short_delivery", high, "S01-T1", 2.0)]
    assert claimed(past, "tank", False, -0.02, nozzle=None) == [("leak", high, "S01-T1", 2.0)]
    assert claimed(past, "leak", True, 1.5, nozzle=None) == [("leak", high, "S01-T1", 1.5)]
    assert claimed(past, "leak", False, -1.5, nozzle=None) == []
    assert claimed(past, "chart", False, -0.008, nozzle=None) == [("chart_error", low, "S01-T1", 0.8)]
    assert claimed(past, "part", True, 0.03, stratum=1) == claimed(past, "inspections", True, 0.03) == []


def test_a_claim_that_names_the_nozzle_sharpens_the_one_that_named_the_tank(monkeypatch) -> None:
    past, _ = short()
    since_us, at_us = (round((past.start + timedelta(days=each)).timestamp() * 1e6) for each in (60, 61))
    sized, rival = Sized(0.02, 0.01, 0.03, 0), Suspicion(0, True, 11.0, 0)
    some = Claim("some", None, True, at_us, since_us, sized, 12.0, rival, likeliest=1)
    named = Claim("nozzle", 1, True, at_us + DAY_US // 4, since_us, sized, 15.0, rival, sharpens=True)
    alone = Claim("nozzle", 0, True, at_us + DAY_US // 2, since_us, sized, 15.0, rival)
    nozzles = tuple(each.nozzle_id for each in past.nozzles)

    def concluded(earlier: int) -> list[Finding]:
        """When so many of the claims were told before."""
        told = (some, named, alone)
        followed = Followed(("S01-T1",), "92#", nozzles, told[earlier:], told[:earlier], Track())
        monkeypatch.setattr(TankBalance, "_followed", lambda *_: ((followed,), Crossings({})))
        return list(RULES[0].conclude(past, {}, past.start, past.end))

    every = concluded(0)
    assert [each.subject.key for each in every] == ["S01-T1", "S01-N02", "S01-N01"]
    assert [each.sharpens for each in every] == [None, every[0].id, None]
    for earlier in (1, 2):
        assert concluded(earlier) == every[earlier:]


def test_a_nozzle_that_gives_more_than_before_is_a_note_beside_signed_work_and_nothing_without() -> None:
    past, _ = short()
    assert claimed(past, "nozzle", False, -0.004) == []
    about = past.start + timedelta(days=62)
    noted = [("recalibration", Severity.INFO, "S01-N02", -0.4)]
    for kind in ("calibration", "repair", "verification"):
        assert claimed(order_at(past, about, kind), "nozzle", False, -0.004) == noted
    assert claimed(order_at(past, about, "inspection"), "nozzle", False, -0.004) == []
    assert claimed(order_at(past, about), "nozzle", False, -0.04) == []
    assert claimed(order_at(past, about + timedelta(days=2)), "nozzle", False, -0.004) == [], "signed after the claim"
    assert claimed(order_at(past, about, "verification"), "nozzle", True, 0.004)[0][0] == "short_delivery"
    assert claimed(order_at(past, about), "nozzle", True, 0.004)[0][0] == "recalibration"


# ---------------------------------------------------------------- how it is said


def findings_of_all_kinds():
    yield from said(short()[0])
    yield from said(past_of("large_volumes_only", days=72, nozzle="S01-N02", percent=5.0, above_l=40.0)[0])
    yield from said(past_of("leak", days=75, tank="S01-T1", gallons_per_hour=0.8)[0])
    yield from said(dipped()[0])


def test_words_fit_and_accuse_nobody() -> None:
    for finding in findings_of_all_kinds():
        title = finding.explanation.title
        assert sum(1 if ord(c) >= 0x2E80 else 0.5 for c in title.zh) <= 20
        assert len(title.en) <= 40
        for text in texts(finding):
            assert text.zh.strip()
            assert not re.search(r"作弊|欺诈|诈骗", text.zh)
            assert not re.search(r"fraud|cheat|steal|theft", text.en, re.IGNORECASE)
            assert not re.search(r"[一-鿿]", text.en)
            for words in (text.zh, text.en):
                assert not re.search(r"(?<!\w)-\d|\{|\}|None|\bnan\b", words), words
            assert not re.search(r"(?<![\d.±+−])\d[\d.,]*%", text.zh.replace("95% 区间", "")), text.zh


def test_evidence_is_json_and_figures_are_small() -> None:
    for finding in findings_of_all_kinds():
        assert finding.onset <= finding.detected_at
        assert finding.estimate.low <= finding.estimate.value <= finding.estimate.high
        for evidence in finding.evidence:
            json.dumps(dict(evidence.data), allow_nan=False)
        (figure,) = finding.figures
        assert sum(len(curve.x) for curve in figure.curves) <= 400
        last = finding.detected_at.timestamp()
        for curve in figure.curves:
            assert len(curve.x) == len(curve.y)
            assert list(curve.x) == sorted(curve.x)
            assert max(curve.x) <= last
            assert np.isfinite(curve.y).all()
        assert figure.marks[0][0] == finding.onset.timestamp()


def test_the_figure_shows_the_claim_beside_the_legal_limits() -> None:
    finding = said(short()[0])[0]
    curves = finding.figures[0].curves
    claimed = [curve for curve in curves if curve.alarm and curve.name.en == "claimed"]
    assert claimed[0].y[0] == pytest.approx(finding.estimate.value, abs=0.4)
    assert [curve.y[0] for curve in curves if curve.shape == "limit"] == [0.30, -0.30]
    assert sum("Nozzle" in curve.name.en for curve in curves) == 5


def test_litres_and_yuan_are_those_since_the_onset() -> None:
    past, _ = short()
    finding = said(past)[-1]
    data = finding.evidence[0].data
    mine = past.sales.of("S01-N02")
    ends = past.sales.end_us[mine] / 1e6
    since = (ends > finding.onset.timestamp()) & (ends <= finding.detected_at.timestamp())
    sold = float(past.sales.volume_l[mine][since].sum())
    assert data["sold_l"] == pytest.approx(sold, abs=0.1)
    share = data["value_percent"] / (100.0 + data["value_percent"])
    assert data["missing_l"] == pytest.approx(data["sold_l"] * share / (1.0 + share), rel=0.02)
    assert data["price_cny_l"] in past.sales.unit_price
    nothing = replace(past.sales, unit_price=np.full(len(past.sales), np.nan))
    bare = said(replace(past, sales=nothing))[0]
    assert bare.evidence[0].data["price_cny_l"] is None
    assert "¥" not in bare.explanation.what.zh


# ---------------------------------------------------------------- what must not matter


def test_findings_do_not_depend_on_where_the_period_is_cut() -> None:
    past, onset = past_of(
        "pulse_adding_chip", days=150, seed=4, nozzle="S01-N02", percent=2.0, tank_reading_minutes=60, nozzles=2
    )
    found = cut_invariant(RULES[0], past, [onset + timedelta(hours=40), past.start + timedelta(days=146)])
    # An hour's readings tell that some nozzle is short before they tell which.
    assert [finding.subject.key for finding in found[:2]] == ["S01-T1", "S01-N02"]
    assert {finding.subject.key for finding in found} == {"S01-T1", "S01-N02"}
    assert onset < found[0].detected_at < onset + timedelta(days=7)


def test_findings_from_dips_may_be_cut_too() -> None:
    past, onset = dipped()
    found = cut_invariant(RULES[0], past, [onset + timedelta(days=days) for days in (5, 9.4)])
    assert found[0].subject.key == "S01-T1"


def test_the_selective_rule_may_be_cut_too() -> None:
    past, onset = past_of("large_volumes_only", days=72, nozzle="S01-N02", percent=5.0, above_l=40.0)
    assert cut_invariant(RULES[1], past, [onset + timedelta(days=days) for days in (1.4,)])


def test_digests_kept_day_by_day_give_the_same_findings() -> None:
    past, _ = short()
    rule = RULES[0]
    kept = {}
    for day in rule.days_between(past.start, past.end):
        first, last = (from_us((day + more) * 86_400_000_000 - rule.utc_offset_us) for more in (0, 1))
        kept[day] = rule.digest(past.between(first - rule.context, last + timedelta(minutes=31)), day)
    step = past.between(past.end - timedelta(days=8) - rule.context, past.end)
    later = list(rule.conclude(step, kept, past.end - timedelta(days=8), past.end))
    assert later
    assert later == said(past, [rule])


def test_what_is_missing_switches_it_off_or_does_not_matter() -> None:
    past, _ = short()
    bare = past
    for channel in Channel:
        if channel not in {Channel.TANK_READINGS, Channel.TANK_DIPS} and channel in bare.channels:
            bare = without(bare, channel)
    assert [finding.id for finding in said(bare)] == [finding.id for finding in said(past)]
    assert not TankBalance.needs <= without(past, Channel.TANK_DIPS).channels
    for poorer in (replace(past, levels={}), replace(past, nozzles=()), past.between(past.end, past.end)):
        assert said(poorer) == []
    blank = {name: np.full(len(past.sales), np.nan) for name in ("volume_l", "amount_cny", "unit_price")}
    assert [f for f in said(replace(past, sales=replace(past.sales, **blank))) if f.cause == "short_delivery"] == []


def test_a_dip_a_day_is_enough_to_be_watched() -> None:
    past, _ = past_of(days=80, tank_reading_minutes=1_440)
    assert TankBalance.needs <= past.channels
    assert said(past) == []
    past, onset = dipped()
    first = said(past)[0]
    assert (first.cause, first.subject.key) == ("short_delivery", "S01-T1")
    assert onset < first.detected_at < onset + timedelta(days=14)
    sold = first.evidence[0].data["sold_l"]
    assert first.evidence[0].data["missing_l"] < 0.1 * sold / 3.0, "of one nozzle, not of all"


def test_a_tank_of_which_one_nozzle_is_short_is_drawn_with_what_is_claimed_of_the_likeliest() -> None:
    past, _ = dipped()
    first = said(past)[0]
    data = first.evidence[0].data
    assert data["kind"] == "some"
    assert data["rival"] in {nozzle.nozzle_id for nozzle in past.nozzles}
    assert data["value_percent"] == pytest.approx(first.estimate.value, abs=1e-3)
    claimed = [curve for curve in first.figures[0].curves if curve.alarm]
    assert [curve.shape for curve in claimed] == ["line", "band", "line"], "the likeliest nozzle, and what is claimed"
    assert claimed[0].name.en in first.explanation.what.en
    assert claimed[2].y[0] == pytest.approx(first.estimate.value, abs=0.3)


def test_both_rules_share_their_digests() -> None:
    assert pumpwatch_detectors()[:2] == [TankBalance, SelectiveDelivery]
    assert {rule.digests_of for rule in (TankBalance, SelectiveDelivery)} == {"tank_balance"}
    assert TankBalance.digest is SelectiveDelivery.digest is Balance.digest
    assert TankBalance.lookback >= timedelta(days=TankBalance.days) + TankBalance.context
