"""Whatever our rules put into evidence has a word on the alarm's page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORDS = (ROOT / "dashboards/pumpwatch_dashboards/assets/evidence_words.js").read_text(encoding="utf-8")


def table(name: str) -> set[str]:
    body = re.search(rf"export const {name} = {{(.*?)^}};", WORDS, re.DOTALL | re.MULTILINE)
    assert body
    return set(re.findall(r"(\w+): L\(", body[1]))


def told() -> tuple[set[str], set[str]]:
    """Kinds and keys that stand as they are in calls of ``Evidence``."""
    kinds: set[str] = set()
    keys: set[str] = set()
    for file in sorted((ROOT / "plugins").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Evidence":
                kinds |= {str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)}
                for data in node.args[2:]:
                    if isinstance(data, ast.Dict):
                        keys |= {str(key.value) for key in data.keys if isinstance(key, ast.Constant)}
    return kinds, keys


def test_every_kind_and_key_has_a_word() -> None:
    kinds, keys = told()
    assert len(kinds) > 20
    assert len(keys) > 100
    assert sorted(kinds - table("KINDS")) == []
    assert sorted(keys - table("KEYS")) == []
