"""The page of detection limits is what its script makes of the kept figures, and these are what it computes."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from test_bounds import REAL

from pumpwatch_sim.fleets import fleet_path

sys.path.insert(0, str(Path(__file__).parents[3] / "docs"))
import delay_curve
import delay_ways
from delay_ways import CASES, FILLING_L, SIZES

KEPT = json.loads(delay_curve.NUMBERS.read_text(encoding="utf-8"))
SIMULATED_FILLING_L = 28.2
"""The mean of a simulated county, whose drivers stop at round litres and amounts."""


def item(size: float, days: float | None, bound: float | None = 2.0, fleet: str = "base") -> dict[str, Any]:
    """As ``pumpwatch evaluate`` writes them, as far as it is read; without days it was missed in thirty."""
    return {
        "fleet": f"score-physics-{fleet}",
        "cause": "short_delivery",
        "size": size,
        "unit": "%",
        "found": days is not None,
        "watched_days": 30.0,
        "delay": None if days is None else {"days": days},
        "bound_days": bound,
    }


def scores(*items: dict[str, Any], fleet: str = "score-physics-base", seed: int = 1) -> dict[str, Any]:
    alarm = {"fleet": fleet, "rule": "any"}
    return {
        "fleets": [{"fleet": fleet, "seed": seed, "honest_nozzle_years": 150.0}],
        "false_alarms": {"alarms": [alarm], "count": 1},
        "items": list(items),
    }


def kept(*told: dict[str, Any]) -> dict[str, Any]:
    return {**KEPT, "measured": delay_curve.measured(told)}


def line(page: str, size: str) -> list[str]:
    """The cells of a size's first row."""
    return re.findall(rf"^\| {size} \| (.*) \|$", page, re.MULTILINE)[0].split(" | ")


def test_page_and_picture_are_fresh() -> None:
    assert delay_curve.PAGE.read_text(encoding="utf-8") == delay_curve.page(KEPT), "run make docs"
    assert delay_curve.PICTURE.read_text(encoding="utf-8") == delay_curve.drawing(KEPT), "run make docs"


def test_what_was_missed_counts_until_watching_ended_and_is_marked() -> None:
    made = kept(scores(item(1.0, 4.0), item(1.0, None), item(2.0, 1.0), item(2.0, 3.0)))
    assert made["measured"]["cases"]["base"] == [
        {"size": 1.0, "n": 2, "found": 0.5, "days": 17.0, "p90": 27.4, "bound": 2.0},
        {"size": 2.0, "n": 2, "found": 1.0, "days": 2.0, "p90": 2.8, "bound": 2.0},
    ]
    page, drawing = delay_curve.page(made), delay_curve.drawing(made)
    assert line(page, "1 %")[:3] == ["> 17", "27.4", "50% of 2"]
    assert line(page, "1 %")[4] == "> 8.5"
    assert line(page, "2 %")[:3] == ["2", "2.8", "100% of 2"]
    assert line(page, "3 %")[:3] == ["—", "—", "—"]
    assert drawing.count('class="ours part"') == 1
    assert ">50%<" in drawing
    assert "not yet measured" not in page + drawing


def test_without_figures_it_says_so() -> None:
    nothing = {**KEPT, "measured": None}
    assert "not yet measured" in delay_curve.page(nothing)
    assert "尚未测量" in delay_curve.drawing(nothing)


def test_a_bound_that_some_items_lack_is_none() -> None:
    assert kept(scores(item(0.5, 9.0), item(0.5, 9.0, None)))["measured"]["cases"]["base"][0]["bound"] is None


def test_false_alarms_are_those_of_the_fleets_that_are_shown() -> None:
    base, more = scores(item(1.0, 4.0)), scores(item(1.0, 4.0), seed=2)
    other = scores(item(1.0, 4.0, fleet="daily"), fleet="score-physics-daily")
    told = delay_curve.measured([base, more, other])
    assert told["false_alarms"] == {"count": 2, "honest_nozzle_years": 300.0}
    assert told["cases"]["base"][0]["n"] == 2
    assert "2 in 300 honest nozzle-years, 0.67 (0.08–2.41) in 100" in delay_curve.page({**KEPT, "measured": told})


def test_wrong_files_are_refused() -> None:
    base = scores(item(1.0, 4.0))
    with pytest.raises(delay_curve.BadScoresError, match="score-physics-base with seed 1 comes twice"):
        delay_curve.measured([base, base])
    with pytest.raises(delay_curve.BadScoresError, match="no short delivery"):
        delay_curve.measured([scores(fleet="score-honest")])


def test_the_picture_is_whole_and_needs_nothing_else() -> None:
    drawing = delay_curve.drawing(kept(scores(item(1.0, 4.0), item(2.0, 1.0), item(5.0, None))))
    tags = {element.tag.partition("}")[2] for element in ET.fromstring(drawing).iter()}
    assert tags == {"svg", "title", "style", "rect", "line", "polyline", "circle", "text"}
    assert "prefers-color-scheme: dark" in drawing
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)|url\(|@import|href", drawing) == []


@pytest.mark.parametrize("name", CASES)
def test_the_cases_are_those_of_the_fleets(name: str) -> None:
    case, stations = CASES[name], tomllib.loads(fleet_path(f"score-physics-{name}").read_text("utf-8"))["stations"]
    assert case.nozzles == stations["nozzles_per_tank"]
    litres = case.sales_a_day * FILLING_L
    assert stations["sales_per_nozzle_day"] * SIMULATED_FILLING_L == pytest.approx(litres, rel=0.02)
    assert case.nuisances.common_loss_sd * 100.0 == pytest.approx(stations.get("common_loss_percent", 0.1))
    assert case.nuisances.drift_sd * 100.0 == pytest.approx(stations.get("meter_drift_percent", 0.05))
    assert case.gauge_l == {"good": 1.5, "base": 3.0, "poor": 8.0}[stations["probe"]]


@pytest.mark.parametrize("name", CASES)
def test_bounds_are_those_of_the_published_table(name: str) -> None:
    found = dict(KEPT["bound"][name])
    wrong = {
        size: (found.get(size), days)
        for size, days in REAL[name].items()
        if not 0.75 < found.get(size, 0.0) / days < 1.35
    }
    assert wrong == {}


def test_the_bound_is_computed_as_kept() -> None:
    found = dict(delay_ways.bound(CASES["base"]))
    assert found == {size: pytest.approx(days, rel=0.02) for size, days in KEPT["bound"]["base"]}


def test_a_chart_alarms_as_often_as_it_may() -> None:
    threshold, spread = delay_ways.chart(CASES["base"], tanks=60, days=3_000)
    assert 12.0 < spread < 15.0  # 10 L of wander, twice 3 L of the gauge, 8 L of common loss
    assert threshold == pytest.approx(KEPT["threshold"], rel=0.3)


def test_the_old_ways_are_computed_as_kept() -> None:
    found = delay_ways.old_ways(CASES["base"], KEPT["threshold"], 13.5, tanks=80)
    for way in ("daily", "monthly"):
        mine, of = found[way], KEPT[way]
        assert [row["size"] for row in mine] == list(SIZES)
        for row, known in zip(mine, of, strict=True):
            assert row["found"] == pytest.approx(known["found"], abs=0.12), (way, row)
            assert row["days"] == pytest.approx(known["days"], rel=0.2), (way, row)


def test_the_monthly_rule_sees_what_exceeds_it() -> None:
    gaps, total = np.zeros((1_290, 2)), np.full((1_290, 2), 7_800.0)
    allowed = (0.01 * 30 * 7_800.0 + 492.1) / 30.0
    gaps[delay_ways.WARM_DAYS :] = [1.01 * allowed, 0.99 * allowed]
    days = delay_ways._by_month(gaps, total, np.array([0, 0]))
    assert days.tolist() == [30.0, np.inf]
    late = delay_ways._by_month(gaps, total, np.array([10, 10]))  # the first month is short for twenty days only
    assert late.tolist() == [50.0, np.inf]
