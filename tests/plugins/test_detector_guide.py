"""The plugin and the tests in the guide for authors of detectors work as they stand there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from pumpwatch.figures import to_svg
from pumpwatch.plugins import Plugins

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-detector.md"
PLUGIN, TESTS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
NAMES = re.findall(r"^def (test_\w+)", TESTS, re.MULTILINE)


@pytest.fixture
def scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "first_rules.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "first_rules", raising=False)
    names: dict[str, Any] = {"__name__": "test_first_rules"}
    exec(compile(TESTS, "test_first_rules.py", "exec"), names)
    return names


def test_the_plugin_loads(tmp_path: Path) -> None:
    (tmp_path / "first_rules.py").write_text(PLUGIN, encoding="utf-8")
    plugins = Plugins.discover((), tmp_path)
    assert {"totalizer_back", "quiet_day", "same_day"} <= set(plugins.rules)


@pytest.mark.parametrize("name", NAMES)
def test_a_test_of_the_guide_passes(name: str, scope: dict[str, Any]) -> None:
    scope[name]()


def test_its_figure_can_be_drawn(scope: dict[str, Any]) -> None:
    rule = scope["TotalizerBack"]
    past = scope["a_past"]({"name": "T03", "station": "S01", "onset": "P10D"})
    (finding,) = scope["screened"](rule(rule.Settings()), past)
    assert to_svg(finding.figures[0], "zh").startswith(b"<?xml")
    assert len(finding.explanation.title.en) <= 40
