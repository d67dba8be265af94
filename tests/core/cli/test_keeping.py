"""The commands that open a data folder themselves ask for its store as the server does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumpwatch import BadConfig
from pumpwatch.cli.keeping import store_for


def config(folder: Path, store: str, settings: str) -> Path:
    file = folder / "pumpwatch.toml"
    file.write_text(f'[historian]\nstore = "{store}"\n[historian.settings]\n{settings}\n', encoding="utf-8")
    return file


def test_a_secret_stands_in_the_configuration_as_a_reference_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadConfig, match="env:NAME") as refused:
        store_for(tmp_path, config(tmp_path, "influxdb", 'token = "hunter2"'), None)
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("INFLUX_TOKEN", "hunter2")
    store = store_for(tmp_path, config(tmp_path, "influxdb", 'token = "env:INFLUX_TOKEN"'), None)
    assert store.settings.model_dump()["token"].get_secret_value() == "hunter2"


@pytest.mark.parametrize(
    ("store", "settings", "words"),
    [("embeded", "", "did you mean"), ("embedded", "samples_days = 'x'", "samples_days")],
)
def test_a_wrong_store_is_named(tmp_path: Path, store: str, settings: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        store_for(tmp_path, config(tmp_path, store, settings), None)
