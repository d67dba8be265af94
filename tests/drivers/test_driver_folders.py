"""Every driver folder is whole: its README names every setting, and its sample works."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumpwatch import Driver, Site
from pumpwatch.plugins import Plugins
from pumpwatch.settings import load_settings, resolve_secret
from pumpwatch.testing import ScriptedLine

SHELF = Path(__file__).parents[2] / "drivers"
FOLDERS = {folder.name.removeprefix("pumpwatch_") for folder in SHELF.glob("pumpwatch_*")}
KNOWN = Plugins.discover().drivers
DRIVERS: list[type[Driver]] = [KNOWN[name] for name in sorted(FOLDERS & KNOWN.keys())]
each = pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)


def test_every_folder_offers_its_driver() -> None:
    assert FOLDERS - KNOWN.keys() == set()
    assert len(FOLDERS) >= 9


@each
def test_the_readme_names_every_setting(driver: type[Driver]) -> None:
    readme = (SHELF / f"pumpwatch_{driver.name}" / "README.md").read_text(encoding="utf-8")
    assert [key for key in driver.Settings.model_fields if f"| `{key}` |" not in readme] == []
    for heading in ("## Settings", "## Wiring", "## Known limits", "## Quality"):
        assert heading in readme


@each
def test_every_setting_is_described(driver: type[Driver]) -> None:
    assert all(field.description for field in driver.Settings.model_fields.values())


@each
def test_the_sample_makes_drivers(driver: type[Driver], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S02_TLS_CODE", "ABC123")
    monkeypatch.setenv("S01_PTS_PASSWORD", "not-a-real-one")
    monkeypatch.setenv("S02_PTS_PASSWORD", "not-a-real-one")
    settings = load_settings(SHELF / f"pumpwatch_{driver.name}" / "sample.toml")
    devices = [(station.id, device) for station in settings.stations for device in station.devices]
    assert len(devices) >= 2
    for station, device in devices:
        assert device.driver == driver.name
        keys = {k: resolve_secret(v) if str(v).startswith("env:") else v for k, v in device.settings.items()}
        site = Site(station, device.id, device.dispenser, tuple(device.nozzles), tuple(device.tanks))
        line = ScriptedLine({})
        line.address = str(device.line)
        assert driver(driver.Settings.model_validate(keys), site, line).tags()
