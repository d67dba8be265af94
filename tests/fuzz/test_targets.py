"""The targets of ``make fuzz`` work: on what was captured, and on a few bytes of any kind."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FILE = Path(__file__).with_name("targets.py")
spec = importlib.util.spec_from_file_location("fuzz_targets", FILE)
assert spec is not None
assert spec.loader is not None
targets = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = targets
spec.loader.exec_module(targets)


def test_every_driver_has_one() -> None:
    assert set(targets.TARGETS) == {folder.name.removeprefix("pumpwatch_") for folder in targets.SHELF.glob("pump*")}


@pytest.mark.parametrize("name", targets.TARGETS)
def test_captures_pass(name: str) -> None:
    target, seeds = targets.TARGETS[name](), list(targets.seeds(name))
    assert seeds or name == "opcua"
    for seed in seeds:
        target(seed)


@pytest.mark.parametrize("name", targets.TARGETS)
@settings(max_examples=25)
@given(data=st.binary(max_size=200))
def test_anything_passes(name: str, data: bytes) -> None:
    targets.TARGETS[name]()(data)
