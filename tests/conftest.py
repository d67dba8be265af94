"""Shared by all tests: where chance comes from, a headless browser and the check of what it draws."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# A property test looks for new counter-examples wherever somebody may think about them; with CI in the environment the
# same commit is given the same examples each time. A busy machine is no counter-example.
settings.register_profile("search", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if "CI" in os.environ else "search")

FAULTS = Path(__file__).parent / "dashboards" / "faults.py"


@pytest.fixture(autouse=True)
def same_chance(request: pytest.FixtureRequest) -> None:
    """What draws from the global ``random`` (phases and pauses of scans) draws the same each time, with CI."""
    if "CI" in os.environ:
        random.seed(request.node.nodeid)


@pytest.fixture(scope="session")
def faults() -> ModuleType:
    """The module ``faults``: what is wrong with a drawn page."""
    spec = importlib.util.spec_from_file_location("drawing_faults", FAULTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def browsing(faults: ModuleType) -> Iterator[object]:
    """A headless Chromium; tests that want it are skipped where there is none."""
    if faults.chromium() is None:
        pytest.skip("no Chromium on this machine")
    browsing = faults.Browsing()
    yield browsing
    browsing.close()


@pytest.fixture
def screens(tmp_path: Path) -> Path:
    """Where pictures go: PUMPWATCH_SCREENS, else a temporary folder."""
    folder = os.environ.get("PUMPWATCH_SCREENS")
    return Path(folder) if folder else tmp_path
