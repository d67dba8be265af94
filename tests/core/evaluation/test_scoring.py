"""Every figure from findings made by hand, where it can be reckoned on paper."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from by_hand import START, day, finding, nozzle

from pumpwatch.contracts import Review
from pumpwatch.detection.arbitration import arbitrate
from pumpwatch.evaluation.running import Exposure, StationOutcome, Trial, light
from pumpwatch.evaluation.scoring import NONE, merge, score
from pumpwatch.evaluation.truth import Happening, Layout, Truth, TruthItem, honest_nozzle_years
from pumpwatch.model import Estimate, Finding, Severity, Subject, to_us

if TYPE_CHECKING:
    from datetime import datetime

DAYS = 60.0
LAYOUT = Layout(
    "S01",
    {f"S01-N{n:02d}": (f"S01-D{1 + (n - 1) // 2}", f"S01-T{1 + (n - 1) % 2}") for n in range(1, 5)},
    {"S01-T1": ("S01-T1",), "S01-T2": ("S01-T2",)},
)
STATION, TANK = Subject("S01"), Subject("S01", tank_id="S01-T1")


def item(
    subject: Subject | None = None, cause: str = "short_delivery", onset: float = 10.0, **others: Any
) -> TruthItem:
    made = TruthItem("short_by_mainboard", cause, subject or nozzle(), day(onset), None, 2.0, "%", True, 1.0)
    return replace(made, **others)


DRAWS = Happening("H08", "verification_draws", nozzle(4, 2), day(5.0), None)


def trial(
    *findings: Finding,
    items: tuple[TruthItem, ...] = (),
    wanted: frozenset[int] | None = None,
    bound: float | None = None,
    shown: datetime | None = None,
    happening: tuple[Happening, ...] = (DRAWS,),
    days: float = DAYS,
) -> Trial:
    """One station; each touched nozzle sells 10 L at noon every day, a lorry comes with each filling."""
    chosen = frozenset(range(len(items))) if wanted is None else wanted
    exposures = {}
    for place in chosen:
        one = items[place]
        begin = day(int(max((one.onset - START).total_seconds() / 86_400, 0.0)) + 0.5)
        count = int(one.horizon_days) + 1
        end_us = np.array([to_us(begin) + n * 86_400_000_000 for n in range(count)], np.int64)
        litres, nozzles = np.full(count, 10.0, np.float32), tuple(LAYOUT.nozzles_of(one.subject))[:1]
        drops = end_us if one.cause == "delivery_short" else None
        code = np.zeros(count, np.int16)
        exposures[place] = Exposure(begin, shown or one.onset, end_us, litres, nozzles, code, bound, None, drops)
    station = StationOutcome(
        station_id="S01",
        layout=LAYOUT,
        start=START,
        end=day(days),
        honest_nozzle_years=honest_nozzle_years(LAYOUT, items, START, day(days)),
        findings=(),
        digests={},
        off={"tax_memory": "tax"},
        failing={},
        exposures=exposures,
        happenings=happening,
    )
    claims = tuple(arbitrate(map(light, findings), ()))
    packages = {"pulse_ratio": "pumpwatch_metering", "leak_rule": "pumpwatch_physics", "quiet": "pumpwatch_tax"}
    return Trial("by-hand", 1, Truth(items), chosen, (station,), claims, packages=packages)


def scenario(*findings: Finding, bound: float | None = None, **truth: Any) -> dict[str, Any]:
    (row,) = score([trial(*findings, items=(item(**truth),), bound=bound)])["scenarios"]
    return dict(row)


# ---------------------------------------------------------------- what is found, and when


def test_found_at_the_first_record() -> None:
    row = scenario(finding(at=10.5))
    assert (row["n"], row["found"], row["recall"], row["rules"]) == (1, 1, 1.0, {"pulse_ratio": 1})
    assert row["delay"]["days"] == {"median": 0.0, "mean": 0.0, "p90": 0.0}
    assert row["delay"]["sales"]["median"] == 1
    assert row["delay"]["litres"]["mean"] == 10.0
    assert row["first_record"] == {"n": 1, "on_time": 1, "latest": 0}


def test_found_later() -> None:
    row = scenario(finding(at=13.5), horizon_days=5.0)
    assert row["delay"]["days"]["mean"] == 3.0
    assert row["delay"]["sales"]["mean"] == 4
    assert row["delay"]["litres"]["mean"] == 40.0
    assert row["first_record"] == {"n": 1, "on_time": 0, "latest": 3}


def test_one_record_late_is_in_time() -> None:
    assert scenario(finding(at=11.5))["first_record"] == {"n": 1, "on_time": 1, "latest": 1}


@pytest.mark.parametrize(
    "missed",
    [
        [],
        [finding(at=9.9)],
        [finding(at=11.6)],
        [finding(cause="leak", at=10.6)],
        [finding(subject=nozzle(2), at=10.6)],
        [finding(at=10.6, severity=Severity.INFO)],
    ],
    ids=["silence", "before", "after the horizon", "another cause", "another nozzle", "information"],
)
def test_missed(missed: list[Finding]) -> None:
    row = scenario(*missed)
    assert (row["found"], row["recall"], row["delay"]["days"], row["rules"]) == (0, 0.0, None, {})
    assert row["recall_high"] == pytest.approx(0.975)


def test_the_first_that_is_more_than_information_counts() -> None:
    row = scenario(finding(at=10.5, severity=Severity.INFO), finding(at=11.5))
    assert row["delay"]["days"]["mean"] == 1.0


def test_a_consequence_counts_as_found() -> None:
    board = finding("identity", "identity_change", Subject("S01", "S01-D1"), at=10.5)
    told = [board, finding(at=10.6)]
    items = (item(), item(Subject("S01", "S01-D1"), "identity_change"))
    made = trial(items=items)
    rule = type("Identity", (), {"rule": "identity", "explains": frozenset({"short_delivery"})})
    claims = tuple(arbitrate(told, [rule]))  # type: ignore[list-item]
    assert len(claims) == 1
    scores = score([replace(made, claims=claims)])
    assert [row["found"] for row in scores["scenarios"]] == [1, 1]
    assert scores["fleets"][0]["alarms"] == 1
    assert scores["fleets"][0]["findings"] == 2


def test_spread_over_several() -> None:
    made = [trial(finding(at=10.5 + late), items=(item(horizon_days=20.0),)) for late in (0.0, 1.0, 2.0, 9.0)]
    (row,) = score([*made, trial(items=(item(horizon_days=20.0),))])["scenarios"]
    assert (row["n"], row["found"], row["recall"]) == (5, 4, 0.8)
    assert row["delay"]["days"] == {"median": 1.5, "mean": 3.0, "p90": pytest.approx(6.9)}
    assert row["recall_low"] == pytest.approx(0.2836, abs=1e-3)


def test_sizes_and_causes_are_rows_of_their_own() -> None:
    items = (item(), item(nozzle(2), size=5.0), item(nozzle(3, 2), cause="leak"))
    assert len(score([trial(items=items)])["scenarios"]) == 3


def test_only_what_is_wanted_is_scored() -> None:
    made = trial(finding(at=10.6), items=(item(), item(nozzle(2))), wanted=frozenset({1}))
    scores = score([made])
    assert [each["subject"] for each in scores["items"]] == ["S01-N02"]
    assert scores["false_alarms"]["count"] == 0  # what is not scored is not honest either


def test_a_horizon_beyond_the_data_is_told() -> None:
    assert scenario(horizon_days=60.0)["cut_short"] == 1
    assert scenario(horizon_days=20.0)["cut_short"] == 0


def test_the_bound() -> None:
    slow = {"deterministic": False, "horizon_days": 30.0, "size": 1.0}
    row = scenario(finding(at=10.5 + 13.8), bound=6.9, **slow)
    assert (row["bound_days"], row["ratio_to_bound"], row["mean_days"]) == (6.9, 2.0, 13.8)
    assert scenario(finding(at=11.0))["bound_days"] is None
    assert row["after_baseline"]["n"] == 0
    late = scenario(finding(at=39.0), bound=2.0, onset=61.0, **slow)
    assert late["after_baseline"]["n"] == 1


def test_what_was_missed_is_in_the_censored_mean() -> None:
    slow = item(deterministic=False, horizon_days=30.0)
    made = [trial(finding(at=12.5), items=(slow,), bound=1.0), trial(items=(slow,), bound=3.0)]
    (row,) = score(made)["scenarios"]
    assert (row["mean_days"], row["censored_mean_days"], row["found_share"]) == (2.0, 16.0, 0.5)
    assert (row["bound_days"], row["ratio_to_bound"]) == (2.0, 2.0)  # the ratio is of what was found
    assert row["censored_ratio_to_bound"] == 8.0  # and this of all: 2 and 30 days to 1 and 3
    (short,) = score([trial(items=(replace(slow, onset=day(50.0)),))])["scenarios"]
    assert short["censored_mean_days"] == 9.5  # no longer than it was watched


def test_noticed_is_sooner_than_named() -> None:
    told = [finding(cause="leak", at=11.5), finding(at=14.5)]
    row = scenario(*told, horizon_days=20.0)
    assert (row["noticed_delay"]["mean"], row["delay"]["days"]["mean"]) == (1.0, 4.0)


def test_a_bound_of_nothing_is_a_bound() -> None:
    slow = item(deterministic=False, horizon_days=30.0)
    (row,) = score([trial(items=(slow,), bound=0.0)])["scenarios"]
    assert (row["bound_days"], row["ratio_to_bound"], row["censored_ratio_to_bound"]) == (0.0, None, None)


def test_what_rightly_tells_another_thing_is_no_notice_of_this_one() -> None:
    board = Subject("S01", "S01-D1")
    items = (item(horizon_days=20.0), item(board, "identity_change", horizon_days=20.0))
    told = [finding("identity", "identity_change", board, at=10.6), finding(at=14.5)]
    rows = {row["cause"]: row for row in score([trial(*told, items=items)])["scenarios"]}
    assert rows["short_delivery"]["noticed_delay"]["mean"] == 4.0
    silent = score([trial(told[0], items=items)])["scenarios"]
    assert {row["cause"]: row["noticed"] for row in silent} == {"identity_change": 1, "short_delivery": 0}


def test_before_anything_can_be_known_an_alarm_is_luck() -> None:
    slow = item(deterministic=False, horizon_days=20.0)
    told = score([trial(finding(at=12.0), items=(slow,), shown=day(13.0))])
    assert (told["scenarios"][0]["found"], told["scenarios"][0]["noticed"]) == (0, 0)
    assert told["false_alarms"]["count"] == 1
    told = score([trial(finding(at=13.0), items=(slow,), shown=day(13.0))])
    assert (told["scenarios"][0]["found"], told["false_alarms"]["count"]) == (1, 0)


def test_without_false_alarms_there_is_no_precision() -> None:
    row = scenario(finding(at=10.5))
    assert row["in_time"] == {"found": 1, "missed": 0, "recall": 1.0}
    assert row["score_without_false_alarms"] == 100.0
    assert "window_score" not in row


def test_deliveries_until_it_was_found() -> None:
    told = finding("delivery_short", "delivery_short", TANK, at=14.6)
    row = scenario(told, subject=TANK, cause="delivery_short", horizon_days=20.0)
    assert row["delay"]["drops"]["mean"] == 5
    assert scenario(finding(at=10.5))["delay"]["drops"] is None


# ---------------------------------------------------------------- one figure


def test_the_window_score() -> None:
    slow = item(deterministic=False, horizon_days=20.0)
    at_once, half_way, missed = (trial(*f, items=(slow,)) for f in ([finding(at=10.5)], [finding(at=20.5)], []))
    assert score([at_once])["overall"]["window_score"] == {"standard": 100.0, "low_false_alarms": 100.0}
    assert score([missed])["overall"]["window_score"]["standard"] == 0.0
    best, middle = (2.0 / (1.0 + np.exp(5.0 * place)) - 1.0 for place in (-1.0, -0.5))
    assert score([half_way])["overall"]["window_score"]["standard"] == pytest.approx(
        100.0 * (middle + 1.0) / (best + 1.0), abs=0.01
    )
    noisy = trial(finding(at=10.5), finding(subject=nozzle(2), at=3.0), items=(slow,))
    told = score([noisy])["overall"]["window_score"]
    assert told["standard"] == pytest.approx(100.0 - 11.0 / (best + 1.0), abs=0.01)
    assert told["low_false_alarms"] == pytest.approx(100.0 - 22.0 / (best + 1.0), abs=0.01)
    assert score([trial()])["overall"]["window_score"] == {"standard": None, "low_false_alarms": None}


@pytest.mark.parametrize(("days", "found"), [(4.0, 1), (4.01, 0)])
def test_in_time_is_within_one_and_a_half_bounds_and_a_day(days: float, found: int) -> None:
    slow = item(deterministic=False, horizon_days=20.0)
    made = trial(finding(at=10.5 + days), finding(subject=nozzle(2), at=3.0), items=(slow,), bound=2.0)
    told = score([made])["overall"]["in_time"]
    assert (told["found"], told["missed"], told["false"]) == (found, 1 - found, 1)
    assert (told["precision"], told["recall"]) == (0.5 * found, float(found))
    assert told["f1"] == pytest.approx(2.0 / 3.0 * found, abs=1e-4)


def test_without_a_bound_the_horizon_counts() -> None:
    slow = item(deterministic=False, horizon_days=20.0)
    assert score([trial(finding(at=29.0), items=(slow,))])["overall"]["in_time"]["found"] == 1
    assert score([trial()])["overall"]["in_time"]["f1"] is None


# ---------------------------------------------------------------- honest things


def test_a_note_tells_what_it_is() -> None:
    set_right = Happening("H09", "recalibrated", nozzle(), day(20.0), None, ("short_delivery",))
    info = {"severity": Severity.INFO, "at": 22.0}
    cases = {
        "right": ([finding(**info)], 1, 1, 0),
        "another cause": ([finding(cause="leak", **info)], 0, 1, 0),
        "elsewhere": ([finding(subject=nozzle(2), **info)], 0, 0, 0),
        "before": ([finding(severity=Severity.INFO, at=18.0)], 0, 0, 0),
        "an alarm": ([finding(at=22.0)], 0, 0, 1),
        "silence": ([], 0, 0, 0),
    }
    for name, (told, right, noted, alarmed) in cases.items():
        (row,) = score([trial(*told, happening=(set_right,))])["honest"]["scenarios"]
        assert (row["right"], row["with_notes"], row["with_alarms"]) == (right, noted, alarmed), name
    (row,) = score([trial()])["honest"]["scenarios"]
    assert (row["scenario"], row["n"], row["right"]) == ("H08 verification_draws", 1, None)


def test_what_is_wrong_is_told_by_an_alarm_as_well() -> None:
    worn = Happening("H17", "worn_meter", nozzle(), day(20.0), None, ("out_of_tolerance",), honest=False)
    cheat = Happening("F01", "short_by_mainboard", nozzle(2), day(20.0), None, honest=False)
    told = score([trial(finding(cause="out_of_tolerance", at=30.0), happening=(worn, cheat))])["honest"]["scenarios"]
    assert [(row["scenario"], row["right_share"]) for row in told] == [("H17 worn_meter", 1.0)]


def test_what_is_wrong_may_be_told_until_the_end() -> None:
    for honest, right in ((False, 1), (True, 0)):
        worn = Happening("H17", "worn_meter", nozzle(), day(-40.0), None, ("out_of_tolerance",), honest=honest)
        told = finding(cause="out_of_tolerance", at=58.0, severity=Severity.INFO)
        (row,) = score([trial(told, happening=(worn,))])["honest"]["scenarios"]
        assert row["right"] == right


def test_false_alarms_by_plugin_and_by_group() -> None:
    told = [finding(at=3.0), finding("leak_rule", "leak", TANK, at=30.0), finding(subject=nozzle(3, 2), at=31.0)]
    false = score([trial(*told)])["false_alarms"]
    assert {name: each["count"] for name, each in false["by_package"].items()} == {
        "pumpwatch_metering": 2,
        "pumpwatch_physics": 1,
        "pumpwatch_tax": 0,
    }
    assert {name: each["count"] for name, each in false["by_group"].items()} == {"physics": 1, "records": 2}
    years = 4 * DAYS / 365.25
    assert false["by_group"]["physics"]["high"] == pytest.approx(557.16 / years, rel=1e-3)
    assert false["by_package"]["pumpwatch_tax"]["upper_95"] == pytest.approx(299.57 / years, rel=1e-3)


# ---------------------------------------------------------------- false alarms


@pytest.mark.parametrize(
    ("told", "count"),
    [
        (finding(at=5.0), 1),
        (finding(at=10.6), 0),
        (finding(at=59.0), 0),
        (finding(subject=nozzle(2), at=20.0), 1),
        (finding(subject=Subject("S01", "S01-D1"), at=20.0), 0),
        (finding(subject=STATION, at=20.0), 0),
        (finding(subject=TANK, at=20.0), 0),
        (finding(subject=Subject("S01", tank_id="S01-T2"), at=20.0), 1),
        (finding(subject=nozzle(2), at=20.0, severity=Severity.INFO), 0),
        (finding(cause="leak", at=20.0), 0),
        (finding(subject=nozzle(station="S99"), at=20.0), 0),
    ],
)
def test_false_alarms(told: Finding, count: int) -> None:
    """The first nozzle is short from the tenth day on; it draws from the first tank."""
    assert score([trial(told, items=(item(),))])["false_alarms"]["count"] == count


def test_after_the_horizon_of_what_is_over_it_is_false_again() -> None:
    over = item(end=day(20.0), horizon_days=3.0)
    for at, count in ((19.0, 0), (22.9, 0), (23.1, 1)):
        assert score([trial(finding(at=at), items=(over,))])["false_alarms"]["count"] == count


def test_rates_with_their_interval() -> None:
    told = [finding(at=3.0), finding(at=4.0), finding("leak_rule", "leak", TANK, at=30.0)]
    false = score([trial(*told)])["false_alarms"]
    years = 4 * DAYS / 365.25
    assert false["honest_nozzle_years"] == pytest.approx(years, abs=1e-3)
    assert false["count"] == 2
    assert false["per_100_nozzle_years"] == pytest.approx(200.0 / years, rel=1e-4)
    assert false["low"] == pytest.approx(24.2209 / years, rel=1e-3)
    assert false["high"] == pytest.approx(722.47 / years, rel=1e-3)
    assert {rule: each["count"] for rule, each in false["by_rule"].items()} == {"leak_rule": 1, "pulse_ratio": 1}
    assert false["by_cause"] == {"leak": 1, "short_delivery": 1}
    assert false["alarms"][0]["happening"] == ["H08 verification_draws"]


def test_false_alarms_by_how_long_a_station_is_known() -> None:
    """Ninety days of four nozzles, one of them short from the thirtieth on."""
    told = [finding(at=5.0), finding(subject=nozzle(2), at=59.9), finding(subject=nozzle(4, 2), at=61.0)]
    rows = score([trial(*told, items=(item(onset=30.0),), days=90)])["false_alarms"]["by_days_known"]
    assert [(row["from"], row["to"], row["count"]) for row in rows] == [(0, 60, 2), (60, 200, 1), (200, None, 0)]
    years = [(4 * 60 - 30) / 365.25, 3 * 30 / 365.25, 0.0]
    assert [row["honest_nozzle_years"] for row in rows] == pytest.approx(years, abs=1e-3)
    assert rows[1]["per_100_nozzle_years"] == pytest.approx(100.0 / years[1], rel=1e-4)
    assert rows[2]["upper_95"] is None


def test_an_evaluation_that_does_not_tell_days_known_can_be_put_with_others() -> None:
    parts = [score([trial(finding(at=3.0))]), score([trial()])]
    del parts[1]["false_alarms"]["by_days_known"]
    assert merge(parts)["false_alarms"]["by_days_known"] == []


def test_what_is_not_honest_is_not_counted_as_honest_time() -> None:
    false = score([trial(items=(item(onset=30.0),))])["false_alarms"]
    assert false["honest_nozzle_years"] == pytest.approx((4 * 60 - 30) / 365.25, abs=1e-3)
    assert false["upper_95"] == pytest.approx(299.57 / ((4 * 60 - 30) / 365.25), rel=1e-3)


# ---------------------------------------------------------------- who and why


def test_attribution() -> None:
    true = nozzle()
    told = {
        "right": finding(at=10.6, subject=true),
        "dispenser": finding(at=10.6, subject=Subject("S01", "S01-D1")),
        "neighbour": finding(at=10.6, subject=nozzle(2)),
    }
    rows = {name: scenario(each)["attribution"] for name, each in told.items()}
    assert rows["right"] == {"station": 1.0, "dispenser": 1.0, "nozzle": 1.0, "tank": None}
    assert rows["dispenser"] == {"station": 1.0, "dispenser": 1.0, "nozzle": 0.0, "tank": None}
    assert rows["neighbour"] == {"station": 1.0, "dispenser": 1.0, "nozzle": 0.0, "tank": None}
    assert scenario()["attribution"] == {"station": 0.0, "dispenser": None, "nozzle": None, "tank": None}


def test_each_of_several_alarms_names_its_own() -> None:
    items = (item(), item(nozzle(2)))
    told = [finding(at=10.6, subject=nozzle(2)), finding(at=10.9)]
    assert score([trial(*told, items=items)])["scenarios"][0]["attribution"]["nozzle"] == 1.0


@pytest.mark.parametrize(
    ("told", "at_first", "next_day"),
    [
        ([(1, 10.6)], 1.0, 1.0),
        ([(3, 10.6), (1, 11.5)], 0.0, 1.0),
        ([(1, 10.6), (3, 11.5)], 1.0, 0.0),
        ([(1, 10.6), (3, 11.0), (1, 11.5)], 1.0, 1.0),
        ([(3, 10.6), (1, 11.7)], 1.0, 1.0),
        ([(1, 10.6), (3, 11.7)], 1.0, 1.0),
        ([(1, 10.6), (2, 11.0)], 1.0, 1.0),
        ([(3, 10.6)], 0.0, 0.0),
    ],
    ids=["once", "right later", "wrong later", "right again", "affairs apart", "too late", "another tank", "wrong"],
)
def test_the_nozzle_named_a_day_later(told: list[tuple[int, float]], at_first: float, next_day: float) -> None:
    """The first and the third nozzle draw from the first tank, the second from another."""
    said = [finding(subject=nozzle(n, 1 + (n - 1) // 2), at=at) for n, at in told]
    row = scenario(*said, horizon_days=20.0, deterministic=False)
    assert (row["attribution"]["nozzle"], row["attribution_next_day"]["nozzle"]) == (at_first, next_day)


@pytest.mark.parametrize(
    ("named", "at", "expected"),
    [(1, 10.9, 1.0), (3, 10.9, 0.0), (1, 11.7, 0.0), (None, 0.0, 0.0)],
    ids=["right", "wrong", "too late", "never"],
)
def test_the_nozzle_named_of_a_tank_told_before(named: int | None, at: float, expected: float) -> None:
    tank = finding(subject=Subject("S01", tank_id="S01-T1"), at=10.6)
    told = [tank]
    if named is not None:
        told.append(replace(finding(subject=nozzle(named, 1 + (named - 1) // 2), at=at), sharpens=tank.id))
    row = scenario(*told, horizon_days=20.0, deterministic=False)
    assert (row["attribution"]["nozzle"], row["attribution_next_day"]["nozzle"]) == (expected, expected)
    assert row["delay"] == scenario(tank, horizon_days=20.0, deterministic=False)["delay"]
    assert score([trial(*told, items=(item(),))])["false_alarms"]["count"] == (named == 3)


def test_another_rule_names_no_nozzle_for_this_one() -> None:
    told = [finding(at=10.6), finding("leak_rule", subject=nozzle(3, 2), at=11.0)]
    assert scenario(*told, horizon_days=20.0)["attribution_next_day"]["nozzle"] == 1.0


def test_causes() -> None:
    items = (item(), item(nozzle(2)), item(nozzle(3, 2)))
    told = [finding(at=10.6), finding(cause="leak", subject=nozzle(2), at=10.7)]
    assert score([trial(*told, items=items)])["causes"] == {"short_delivery": {"short_delivery": 1, "leak": 1, NONE: 1}}


def test_the_right_alarm_about_one_thing_is_no_wrong_one_about_another() -> None:
    items = (item(), item(Subject("S01", "S01-D1"), "identity_change"))
    told = finding("identity", "identity_change", Subject("S01", "S01-D1"), at=10.6)
    assert score([trial(told, items=items)])["causes"] == {
        "identity_change": {"identity_change": 1},
        "short_delivery": {NONE: 1},
    }


LEAK = {"cause": "leak", "at": 10.7}


@pytest.mark.parametrize(
    ("told", "claimed"),
    [
        ([LEAK], ("leak", "leak", "leak")),
        ([LEAK, {"at": 11.2}], ("leak", "short_delivery", "short_delivery")),
        ([LEAK, {"at": 12.2}], ("leak", "leak", "short_delivery")),
        ([LEAK, {"at": 12.2}, {"cause": "leak", "at": 14.0}], ("leak", "leak", "leak")),
        ([LEAK, {"rule": "another", "at": 11.2}], ("leak", "leak", "leak")),
        ([{"at": 10.6}, LEAK], ("short_delivery", "leak", "leak")),
        ([LEAK, {"at": 32.0}], ("leak", "leak", "leak")),
    ],
    ids=["wrong", "right next day", "right later", "wrong again", "another rule", "right at first", "too late"],
)
def test_the_cause_at_first_and_as_it_stands(told: list[dict[str, Any]], claimed: tuple[str, str, str]) -> None:
    """What one rule tells later of the same thing takes back what it told; another rule's is another opinion."""
    scores = score([trial(*(finding(**each) for each in told), items=(item(horizon_days=20.0, deterministic=False),))])
    (one,) = scores["items"]
    assert (one["claimed_cause"], one["claimed_cause_next_day"], one["claimed_cause_at_last"]) == claimed
    assert one["noticed_days"] == pytest.approx(min(each["at"] for each in told) - 10.5)
    overall = scores["overall"]
    shares = [overall[f"right_cause{when}"]["share"] for when in ("", "_next_day", "_at_last")]
    assert shares == [float(each == "short_delivery") for each in claimed]
    assert scores["causes_at_last"] == {"short_delivery": {claimed[2]: 1}}


def test_what_explains_an_alarm_is_its_cause_in_the_end() -> None:
    """A nozzle is short, then it is known at which fillings: that alarm explains the first and came with it."""
    names = type("Names", (Review,), {"rule": "names", "explains": frozenset({"short_delivery"})})
    truth = item(cause="selective_short_delivery", horizon_days=20.0, deterministic=False)
    told = [finding(at=12.0, onset=10.0), finding("names", "selective_short_delivery", at=16.0, onset=10.0)]
    made = trial(items=(truth,))
    (one,) = score([replace(made, claims=tuple(arbitrate(map(light, told), (names,))))])["items"]
    assert (one["claimed_cause"], one["claimed_cause_at_last"]) == ("short_delivery", "selective_short_delivery")
    assert (one["noticed_days"], one["delay"]["days"]) == (1.5, 5.5)


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (None, None),
        (Estimate(2.5, "L", 2.0, 3.0), None),
        (Estimate(2.5, "%", 1.9, 3.0), (0.5, 1.0)),
        (Estimate(2.5, "%", 2.1, 3.0), (0.5, 0.0)),
        (Estimate(-2.0, "%", -2.5, -1.5), (-4.0, 0.0)),
        (Estimate(1.0, "%"), (-1.0, None)),
    ],
)
def test_estimates(estimate: Estimate | None, expected: tuple[float, float | None] | None) -> None:
    told = scenario(finding(at=10.6, estimate=estimate))["estimate"]
    if expected is None:
        assert told is None
    else:
        assert (told["bias"], told["coverage"]) == expected
        if expected[1] is not None:
            limits = (0.025, 1.0) if expected[1] else (0.0, 0.975)
            assert (told["coverage_low"], told["coverage_high"]) == limits
        assert told["rmse"] == abs(expected[0])


def test_an_amount_has_no_sign() -> None:
    told = finding(at=10.6, estimate=Estimate(-490.0, "L", -510.0, -470.0))
    row = scenario(told, size=500.0, unit="L")["estimate"]
    assert (row["bias"], row["coverage"]) == (-10.0, 1.0)


def test_a_leak_may_be_told_in_litres() -> None:
    """0.2 gal/h is 0.757 L/h."""
    told = finding(cause="leak", at=10.6, estimate=Estimate(0.80, "L/h", 0.72, 0.88))
    (one,) = score([trial(told, items=(item(cause="leak", size=0.2, unit="gal/h"),))])["items"]
    assert one["estimate"] == {"value": 0.211338, "low": 0.190204, "high": 0.232471, "error": 0.011338, "covered": True}


@pytest.mark.parametrize(("onset", "true"), [(10.0, 1.01), (14.0, 2.04), (40.0, 2.0)])
def test_what_grows_is_measured_by_its_mean(onset: float, true: float) -> None:
    """Of 10 L a day 0, 0.05, 0.1, 0.15 … L are short; a span without a filling leaves the item's size."""
    made = trial(
        finding(at=14.6, onset=onset, estimate=Estimate(1.0, "%", 0.5, 1.5)),
        items=(item(horizon_days=20.0, deterministic=False),),
    )
    (station,) = made.stations
    exposure = station.exposures[0]
    extra = 0.05 * np.arange(len(exposure.end_us), dtype=np.float32)
    exposures = {0: replace(exposure, extra_l=extra)}
    (one,) = score([replace(made, stations=(replace(station, exposures=exposures),))])["items"]
    assert one["estimate"]["error"] == pytest.approx(1.0 - true, abs=0.005)
    assert one["estimate"]["covered"] == (0.5 <= true <= 1.5)


def test_alarms_for_one_thing() -> None:
    told = [finding(at=10.6), finding(at=11.0), finding("other", at=11.2), finding(at=19.0)]
    row = scenario(*told, horizon_days=20.0)
    assert (row["alarms_per_item"], row["findings_per_alarm"]) == (3.0, 1.333)


def test_rules_that_are_off_are_told_and_all_of_it_is_json() -> None:
    scores = score([trial(finding(at=10.6), items=(item(),)), trial()])
    assert scores["rules"]["off"] == {"tax_memory": {"tax": 2}}
    assert json.loads(json.dumps(scores)) == scores


def test_parts_put_together_are_the_whole() -> None:
    trials = [trial(finding(at=10.6), items=(item(),)), trial(finding(at=3.0)), trial(items=(item(),))]
    whole = score(trials)
    merged = merge([score(trials[:1]), score(trials[1:])])
    assert merged["rules"].pop("on") == []
    assert [fleet.pop("rules") for fleet in merged["fleets"]] == [(), (), ()]
    told = whole["false_alarms"]
    parts = [
        *told["by_rule"].values(),
        *told["by_package"].values(),
        *told["by_group"].values(),
        *told["by_days_known"],
    ]
    for rates in (told, *parts):
        for name in ("honest_nozzle_years", "per_100_nozzle_years", "low", "high", "upper_95"):
            if rates.get(name) is not None:
                rates[name] = pytest.approx(rates[name], rel=2e-3)  # the years were rounded in between
    assert merged == whole


def test_a_rules_rate_is_of_the_years_in_which_it_was_on() -> None:
    """Two evaluations of one honest station, the second without the rule that was wrong in the first."""
    parts = [score([trial(finding("pulse_ratio", at=5.0))]), score([trial()])]
    for part, on in zip(parts, (["leak_rule", "pulse_ratio"], ["leak_rule"]), strict=True):
        part["rules"]["on"] = on
    false = merge(parts)["false_alarms"]
    years = parts[0]["false_alarms"]["honest_nozzle_years"]
    assert false["honest_nozzle_years"] == pytest.approx(2.0 * years, abs=0.002)
    assert false["per_100_nozzle_years"] == pytest.approx(50.0 / years, rel=0.01)
    for told in (false["by_rule"]["pulse_ratio"], false["by_package"]["pumpwatch_metering"]):
        assert told["per_100_nozzle_years"] == pytest.approx(100.0 / years, rel=0.01)
    physics, records = (false["by_group"][name]["upper_95"] for name in ("physics", "records"))
    assert physics == pytest.approx(150.0 / years, rel=0.01)
    assert records == pytest.approx(474.0 / years, rel=0.01)
