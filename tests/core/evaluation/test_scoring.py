"""Every figure from findings made by hand, where it can be reckoned on paper."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from by_hand import START, day, finding, nozzle

from pumpwatch.detection.arbitration import arbitrate
from pumpwatch.evaluation.bounds import bound_days
from pumpwatch.evaluation.running import Exposure, StationOutcome, Trial, light
from pumpwatch.evaluation.scoring import NONE, merge, score
from pumpwatch.evaluation.truth import Layout, Truth, TruthItem, honest_nozzle_years
from pumpwatch.model import Estimate, Finding, Severity, Subject, to_us

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


def trial(*findings: Finding, items: tuple[TruthItem, ...] = (), wanted: frozenset[int] | None = None) -> Trial:
    """One station; each touched nozzle sells 10 L at noon every day."""
    chosen = frozenset(range(len(items))) if wanted is None else wanted
    exposures = {}
    for place in chosen:
        one = items[place]
        begin = day(int(max((one.onset - START).total_seconds() / 86_400, 0.0)) + 0.5)
        count = int(one.horizon_days) + 1
        end_us = np.array([to_us(begin) + n * 86_400_000_000 for n in range(count)], np.int64)
        litres, nozzles = np.full(count, 10.0, np.float32), tuple(LAYOUT.nozzles_of(one.subject))[:1]
        exposures[place] = Exposure(begin, end_us, litres, nozzles, np.zeros(count, np.int16))
    station = StationOutcome(
        station_id="S01",
        layout=LAYOUT,
        start=START,
        end=day(DAYS),
        honest_nozzle_years=honest_nozzle_years(LAYOUT, items, START, day(DAYS)),
        findings=(),
        digests={},
        off={"tax_memory": "tax"},
        failing={},
        exposures=exposures,
        happenings=("H08 verification_draws",),
    )
    claims = tuple(arbitrate(map(light, findings), ()))
    return Trial("by-hand", 1, Truth(items), chosen, (station,), claims)


def scenario(*findings: Finding, **truth: Any) -> dict[str, Any]:
    (row,) = score([trial(*findings, items=(item(**truth),))])["scenarios"]
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
    row = scenario(finding(at=10.5 + 13.8), **slow)
    assert (row["bound_days"], row["ratio_to_bound"]) == (6.9, 2.0)
    assert scenario(finding(at=11.0))["bound_days"] is None
    assert bound_days(item(deterministic=False, size=1.5)) == pytest.approx(2.44, abs=0.01)
    assert bound_days(item(deterministic=False, size=0.1)) is None
    assert bound_days(item(TANK, deterministic=False)) is None
    assert bound_days(item(TANK, "leak", deterministic=False, size=0.2, unit="gal/h")) == pytest.approx(6.0)


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
        assert told["rmse"] == abs(expected[0])


def test_an_amount_has_no_sign() -> None:
    told = finding(at=10.6, estimate=Estimate(-490.0, "L", -510.0, -470.0))
    row = scenario(told, size=500.0, unit="L")["estimate"]
    assert (row["bias"], row["coverage"]) == (-10.0, 1.0)


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
    told = whole["false_alarms"]
    for rates in (told, told["by_rule"]["pulse_ratio"]):
        for name in ("honest_nozzle_years", "per_100_nozzle_years", "low", "high", "upper_95"):
            if name in rates:
                rates[name] = pytest.approx(rates[name], rel=2e-3)  # the years were rounded in between
    assert merged == whole
