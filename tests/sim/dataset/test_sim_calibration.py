"""The noise of the county, measured from outside, is what the calibration page says it is meant to be."""

from __future__ import annotations

import importlib.util
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from pumpwatch_sim.fleet import Fleet, Stations
from pumpwatch_sim.staging import stage

DOCS = Path(__file__).parents[3] / "docs"
START = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    spec = importlib.util.spec_from_file_location("calibration", DOCS / "calibration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(calibration: ModuleType) -> dict[str, float]:
    """Twelve stations for five weeks."""
    fleet = Fleet(name="small", seed=21, start=START, days=35, stations=Stations(count=12))
    return calibration.figures(calibration.gather(stage(fleet, START)))


def test_every_noise_is_as_meant(calibration: ModuleType, found: dict[str, float]) -> None:
    assert set(found) == set(calibration.MEANT)
    wrong = {
        key: (value, calibration.MEANT[key].target)
        for key, value in found.items()
        if not calibration.MEANT[key].low <= value <= calibration.MEANT[key].high
    }
    assert not wrong


def test_the_page_has_every_figure(calibration: ModuleType) -> None:
    text = calibration.PAGE.read_text(encoding="utf-8")
    for meant in calibration.MEANT.values():
        assert f"| {meant.name} | {meant.target} | {meant.source} | **" in text
    assert calibration.renew(text, "NEW").count("NEW") == 1
