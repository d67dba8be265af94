from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumpwatch.settings import Settings, load_settings, settings_reference, settings_schema
from pumpwatch.settings.__main__ import GENERATED

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_generated_files_are_fresh(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == GENERATED[name](), f"{name} is stale: run `make docs`"


def test_every_key_has_a_meaning_in_the_schema() -> None:
    schema = settings_schema()
    tables: list[dict[str, Any]] = [schema, *schema["$defs"].values()]
    for table in tables:
        assert table["additionalProperties"] is False
        for key, value in table["properties"].items():
            told = schema["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value
            assert told.get("description"), key


def test_the_schema_is_json() -> None:
    assert json.loads(json.dumps(settings_schema()))["properties"].keys() == Settings.model_fields.keys()


def test_the_reference_names_bounds_and_defaults() -> None:
    rows = settings_reference().splitlines()
    (port,) = (row for row in rows if row.startswith("| `port`"))
    assert "at least 0, at most 65535" in port
    assert "`8081`" in port
    (line,) = (row for row in rows if row.startswith("| `line`"))
    assert "required" in line


def test_the_example_is_valid_and_shows_every_table() -> None:
    path = ROOT / "config" / "example.toml"
    settings = load_settings(path)
    assert settings.stations
    text = path.read_text(encoding="utf-8")
    for table in Settings.model_fields:
        assert f"[{table}" in text, table
    assert text.startswith("#:schema ./pumpwatch.schema.json\n")
