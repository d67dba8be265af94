"""Plugins: one file and installed package alike; a broken one is named and stops nothing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pumpwatch.errors import BadConfig
from pumpwatch.plugins import Plugins, PluginState

DRIVER = '''
from pumpwatch import Driver, Reading, Tag, hookimpl

class {name}Driver(Driver):
    """Reads nothing."""
    name = "{name}"
    def tags(self):
        return [Tag("nozzle-1.volume", "L")]
    async def read(self, tags, now):
        return Reading()

@hookimpl
def pumpwatch_drivers():
    return [{name}Driver]
'''


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return file


def test_our_own_plugins_load_through_the_same_door() -> None:
    plugins = Plugins.discover()
    assert {p.name: p.state for p in plugins.found if p.state is not PluginState.LOADED} == {}
    assert {"modbus", "tls350"} <= set(plugins.drivers)
    assert {"pulse_ratio", "totalizer_continuity", "identity_change", "link_lost"} <= set(plugins.rules)
    assert "embedded" in plugins.stores


def test_a_one_file_plugin(tmp_path: Path) -> None:
    write(tmp_path, "acme.py", DRIVER.format(name="acme"))
    plugins = Plugins.discover(plugins_dir=tmp_path)
    assert plugins.drivers["acme"].name == "acme"
    info = next(p for p in plugins.found if p.name == "acme")
    assert info.state is PluginState.LOADED
    assert info.provides == ("driver acme",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_package_anywhere", "no_such_package_anywhere"),
        ("def broken(:", "SyntaxError"),
        ("x = 1", "implements no hook"),
        (
            "from pumpwatch import hookimpl\n@hookimpl\ndef pumpwatch_driver():\n    return []",
            "pumpwatch_driver",
        ),
        ("from pumpwatch import hookimpl\n@hookimpl\ndef pumpwatch_drivers():\n    return [42]", "42 is no Driver"),
        ("from pumpwatch import hookimpl\n@hookimpl\ndef pumpwatch_drivers():\n    1 / 0", "ZeroDivisionError"),
        (DRIVER.format(name="modbus"), "provided by another plugin"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_broken_plugin_is_named_and_the_others_load(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, "broken.py", text)
    write(tmp_path, "good.py", DRIVER.format(name="good"))
    plugins = Plugins.discover(plugins_dir=tmp_path)
    broken = next(p for p in plugins.found if p.name == "broken")
    assert broken.state is PluginState.FAILED
    assert reason in broken.reason
    assert "good" in plugins.drivers
    assert "modbus" in plugins.drivers


def test_a_disabled_plugin_is_not_imported(tmp_path: Path) -> None:
    write(tmp_path, "loud.py", "raise RuntimeError('imported')")
    plugins = Plugins.discover(disabled=["loud"], plugins_dir=tmp_path)
    assert next(p for p in plugins.found if p.name == "loud").state is PluginState.DISABLED


def test_a_plugins_dir_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="no such folder"):
        Plugins.discover(plugins_dir=tmp_path / "nowhere")


def test_a_missing_driver_says_what_there_is() -> None:
    with pytest.raises(BadConfig, match="modbus"):
        Plugins.discover().driver("modbuss")


def test_an_installed_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    """The same driver as a distribution, really installed by pip."""
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    write(source, "acme_driver.py", DRIVER.format(name="acmepkg"))
    write(
        source,
        "pyproject.toml",
        """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "acme-driver"
        version = "1.2"
        [project.entry-points.pumpwatch]
        acme = "acme_driver"
        worse = "acme_not_there"
        [tool.hatch.build.targets.wheel]
        only-include = ["acme_driver.py"]
        """,
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", str(site), str(source)], check=True)
    told = subprocess.run(
        [sys.executable, "-m", "pumpwatch", "plugins", "--json"],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = {p["name"]: p for p in json.loads(told.stdout)}
    assert found["acme"]["source"] == "acme-driver 1.2"
    assert found["acme"]["provides"] == ["driver acmepkg"]
    assert found["worse"]["state"] == "failed"
    assert "acme_not_there" in found["worse"]["reason"]
    assert found["modbus"]["state"] == "loaded"


def test_our_entry_points_stand_in_the_distribution() -> None:
    names = {p.name for p in importlib.metadata.entry_points(group="pumpwatch")}
    assert {"modbus", "tls350", "metering", "integrity"} <= names
