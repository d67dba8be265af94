"""Shared by the tests of the wire codecs: fakes of what a codec may ask of the world."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """The module ``wire_fakes``: dispensers, tanks and a station whose values a test sets by hand."""
    spec = importlib.util.spec_from_file_location("wire_fakes", Path(__file__).parent / "wire_fakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
