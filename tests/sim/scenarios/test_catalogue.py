"""The catalogue is whole, its words are good, and what a fleet file says is checked."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from pumpwatch.errors import BadConfig
from pumpwatch.model import Department
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope
from pumpwatch_sim.scenarios.catalogue import CATALOGUE, SCENARIOS, checked, find

ROOT = Path(__file__).parents[3]
ROWS = (
    *(f"F{number:02d}" for number in range(1, 24)),
    *(f"T{number:02d}" for number in range(1, 12)),
    *(f"C{number:02d}" for number in range(1, 11)),
    *(f"W{number:02d}" for number in range(1, 9)),
    *(f"P{number:02d}" for number in range(1, 5)),
    *(f"H{number:02d}" for number in range(1, 21)),
)
DETERMINISTIC = (
    {"F01", "F14", "F15", "F17", "F18", "F19", "F22", "T01", "T02", "T03", "T04", "T07", "T10", "C05", "C06", "C07"}
    | {"C09", "P01", "P02", "P03", "P04"}
)  # fmt: skip
CHECKS = re.compile(r"[DPFRLXQC]\d{1,2}|level")


def by_id(kind: type[Scenario]) -> str:
    return kind.id


def generated_pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scenario_pages", ROOT / "docs" / "scenario_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_row_of_the_evaluation_is_there() -> None:
    assert set(ROWS) <= {kind.id for kind in SCENARIOS}


def test_ids_and_names_are_unique() -> None:
    assert len(CATALOGUE) == 2 * len(SCENARIOS)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", kind.name) for kind in SCENARIOS)


@pytest.mark.parametrize("kind", SCENARIOS, ids=by_id)
def test_a_scenario_says_what_it_is(kind: type[Scenario]) -> None:
    assert kind.title.zh
    assert len(kind.title.en) <= 40
    assert len(kind.title.zh) <= 20
    assert (kind.__doc__ or "").strip().endswith(".")
    assert kind.evidence or not kind.cause
    assert all(CHECKS.fullmatch(check) for check in kind.evidence)
    assert all(isinstance(department, Department) for department in kind.departments)
    assert bool(kind.departments) == bool(kind.cause)
    assert kind.horizon_days >= 1
    assert kind.scope in Scope


@pytest.mark.parametrize("kind", SCENARIOS, ids=by_id)
def test_defaults_are_allowed_and_explained(kind: type[Scenario]) -> None:
    for name, parameter in kind.parameters.items():
        assert parameter.check(parameter.default) == "", name
        assert parameter.words, name


def test_rows_that_one_record_betrays() -> None:
    assert {kind.id for kind in SCENARIOS if kind.deterministic and kind.id in ROWS} >= DETERMINISTIC


def test_a_name_nobody_knows_is_refused_with_what_was_meant() -> None:
    with pytest.raises(BadConfig, match="did you mean 'night_theft'"):
        find("nigth_theft")
    with pytest.raises(BadConfig, match="did you mean 'T01'"):
        find("t01")
    with pytest.raises(BadConfig, match=r"no scenario 'xyzzy'$"):
        find("xyzzy")


def test_parameters_are_checked_all_at_once() -> None:
    kind = find("leak")
    assert checked(kind, {"gallons_per_hour": 1, "course": "level"}) == {"gallons_per_hour": 1, "course": "level"}
    with pytest.raises(BadConfig) as refused:
        checked(kind, {"galons_per_hour": 1.0, "course": "sideways", "gallons_per_hour": 90.0})
    text = str(refused.value)
    assert "did you mean 'gallons_per_hour'" in text
    assert "'sideways' is not one of even, level" in text
    assert "90.0 is not between 0.05 and 5.0 gal/h" in text


@pytest.mark.parametrize(
    ("parameter", "value", "why"),
    [
        (Parameter(True), True, ""),
        (Parameter(True), 1, "1 is neither true nor false"),
        (Parameter(2.0, "%", 1.0, 3.0), True, "True is not a number"),
        (Parameter(2.0, "%", 1.0, 3.0), "2", "'2' is not a number"),
        (Parameter(2.0, "%", 1.0, 3.0), 3, ""),
        (Parameter(2.0), float("nan"), "nan is not a finite number"),
        (Parameter(2.0), float("inf"), "inf is not a finite number"),
        (Parameter(2.0, "%", 1.0), 0.5, "0.5 is not between 1.0 and None %"),
    ],
)
def test_one_parameter(parameter: Parameter, value: object, why: str) -> None:
    assert parameter.check(value) == why


def test_the_reference_of_scenarios_is_fresh() -> None:
    text = (ROOT / "docs" / "reference" / "scenarios.md").read_text(encoding="utf-8")
    assert text == generated_pages().page(), "docs/reference/scenarios.md is stale: run `make docs`"


def test_the_reference_has_a_heading_for_every_scenario() -> None:
    headings = re.findall(r"^### `(.+)`$", generated_pages().page(), re.MULTILINE)
    assert sorted(headings) == sorted(kind.name for kind in SCENARIOS)
