"""Reading a truth, and what touches what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from by_hand import START, day, nozzle

from pumpwatch.errors import BadConfig
from pumpwatch.evaluation.truth import Layout, TruthItem, honest_nozzle_years, read_truth, truth_from
from pumpwatch.model import Subject

LAYOUT = Layout(
    "S01",
    {
        "S01-N01": ("S01-D1", "S01-T1"),
        "S01-N02": ("S01-D1", "S01-T2"),
        "S01-N03": ("S01-D2", "S01-T1"),
        "S01-N04": ("S01-D2", "S01-T3"),
    },
    {"S01-T1": ("S01-T1",), "S01-T2": ("S01-T2", "S01-T3"), "S01-T3": ("S01-T2", "S01-T3")},
)
STATION, TANK_1, TANK_2 = Subject("S01"), Subject("S01", tank_id="S01-T1"), Subject("S01", tank_id="S01-T2")
TOLD: dict[str, Any] = {
    "scenario": "short_by_mainboard",
    "cause": "short_delivery",
    "subject": {"station_id": "S01", "dispenser_id": "S01-D1", "nozzle_id": "S01-N01", "tank_id": None},
    "onset": "2026-03-02T00:00:00Z",
    "end": None,
    "size": {"value": 2.0, "unit": "%"},
    "departments": ["market_regulation"],
    "deterministic": True,
    "horizon_days": 1,
}


def item(subject: Subject = STATION, onset: float = 0.0, end: float | None = None, horizon: float = 0.0) -> TruthItem:
    return TruthItem("x", "leak", subject, day(onset), None if end is None else day(end), 1.0, "", False, horizon)


def test_a_truth_file(tmp_path: Path) -> None:
    file = tmp_path / "truth.json"
    file.write_text(json.dumps({"honest_nozzle_years": 3.2, "items": [TOLD]}), encoding="utf-8")
    (read,) = read_truth(file).items
    assert read == TruthItem("short_by_mainboard", "short_delivery", nozzle(), day(1), None, 2.0, "%", True, 1.0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"cause": None}, "item 1 has no 'cause'"),
        ({"subject": {}}, "item 1 has no 'station_id'"),
        ({"onset": "yesterday"}, "item 1: "),
        ({"onset": "2026-03-02T00:00:00"}, "no offset"),
        ({"size": {"value": "much"}}, "item 1: "),
        ({"subject": "S01"}, "item 1: "),
    ],
)
def test_what_cannot_be_is_named(change: dict[str, Any], complaint: str) -> None:
    told = {key: value for key, value in (TOLD | change).items() if value is not None or key == "end"}
    with pytest.raises(BadConfig, match=complaint):
        truth_from({"items": [told]})


@pytest.mark.parametrize("text", ["", "[]", '{"items": 3}'])
def test_no_truth_at_all(tmp_path: Path, text: str) -> None:
    file = tmp_path / "truth.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadConfig, match=r"truth\.json"):
        read_truth(file)
    with pytest.raises(BadConfig, match="cannot be read"):
        read_truth(tmp_path / "nowhere.json")


def test_what_touches_what() -> None:
    first, second, third = nozzle(1), nozzle(2), nozzle(3, dispenser=2)
    dispenser = Subject("S01", "S01-D1")
    touching = [
        (first, first), (first, dispenser), (first, TANK_1), (first, STATION), (TANK_2, STATION), (TANK_1, dispenser),
        (TANK_2, Subject("S01", tank_id="S01-T3")), (second, Subject("S01", tank_id="S01-T3")),
        (Subject("S01", nozzle_id="S01-N99"), STATION),
    ]  # fmt: skip
    apart = [
        (first, second), (first, third), (second, TANK_1), (TANK_1, TANK_2), (third, dispenser),
        (Subject("S02"), STATION), (nozzle(1, station="S02"), first),
    ]  # fmt: skip
    for one, other in touching:
        assert LAYOUT.touch(one, other) and LAYOUT.touch(other, one), (one, other)
    for one, other in apart:
        assert not LAYOUT.touch(one, other) and not LAYOUT.touch(other, one), (one, other)


YEAR = 365.25


def test_honest_time() -> None:
    end = day(YEAR)
    assert honest_nozzle_years(LAYOUT, [], START, end) == pytest.approx(4.0)
    assert honest_nozzle_years(LAYOUT, [item()], START, end) == pytest.approx(0.0)
    one = item(nozzle(1), onset=YEAR / 2)
    assert honest_nozzle_years(LAYOUT, [one], START, end) == pytest.approx(3.5)
    assert honest_nozzle_years(LAYOUT, [one, one], START, end) == pytest.approx(3.5)
    ended = item(TANK_1, onset=0.1 * YEAR, end=0.2 * YEAR, horizon=0.1 * YEAR)
    assert honest_nozzle_years(LAYOUT, [ended], START, end) == pytest.approx(4.0 - 2 * 0.2)
    before = item(nozzle(2), onset=-30.0, end=-20.0, horizon=10.0)
    assert honest_nozzle_years(LAYOUT, [before], START, end) == pytest.approx(4.0)
