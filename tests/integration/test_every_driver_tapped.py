"""Drivers that listen beside the station's controller, through the whole engine."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def every() -> ModuleType:
    """The module ``every_driver`` beside this one."""
    spec = importlib.util.spec_from_file_location("every_driver", Path(__file__).parent / "every_driver.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("wire", ["tcp", "pty"])
@pytest.mark.parametrize("driver", ["dart", "twowire", "lanfeng"])
async def test_all_is_there(
    driver: str, wire: str, every: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await every.check_all(every.CASES[driver](wire, "tap"), tmp_path, monkeypatch)
