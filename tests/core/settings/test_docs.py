from __future__ import annotations

import importlib.util
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel

from pumpwatch import PluginSettings, Site
from pumpwatch.cli import app
from pumpwatch.contracts import Hooks
from pumpwatch.plugins import Plugins
from pumpwatch.settings import Settings, parse_settings
from pumpwatch.testing import ScriptedLine
from pumpwatch_modbus.brandmap import BrandMap, load_map
from pumpwatch_modbus.values import RegisterType
from pumpwatch_sim.fleet import load_fleet
from pumpwatch_sim.staging import stage

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PICTURES = {"docs/pictures/wall.png", "docs/pictures/alarms.png"}


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def snippets(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page(name), re.DOTALL)


def headings(text: str) -> set[str]:
    return set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))


def keys_of(model: type[BaseModel]) -> set[str]:
    found: set[str] = set()
    for key, field in model.model_fields.items():
        inner: list[Any] = [a for a in (field.annotation, *get_args(field.annotation)) if isinstance(a, type)]
        tables = [a for a in inner if issubclass(a, BaseModel)]
        found |= set().union(*map(keys_of, tables)) if tables else {f"`{field.alias or key}`"}
    return found


def test_every_hook_has_a_heading() -> None:
    hooks = [name for name in vars(Hooks) if name.startswith("pumpwatch_")]
    assert hooks
    assert {f"`{name}`" for name in hooks} <= headings(page("reference/hooks.md"))


def test_no_heading_promises_a_hook_that_does_not_exist() -> None:
    told = {h.strip("`") for h in headings(page("reference/hooks.md")) if h.startswith("`pumpwatch_")}
    assert told == {name for name in vars(Hooks) if name.startswith("pumpwatch_")}


def test_every_setting_stands_in_the_reference() -> None:
    text = page("reference/settings.md")
    keys = keys_of(Settings) - {"`rules`"}  # a table for each rule, with a section of its own
    assert len(keys) > 15
    assert {key for key in keys if f"| {key} |" not in text} == set()
    assert "[rules.NAME]" in text


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        goal = (path.parent / target).resolve()
        assert goal.exists() or goal.relative_to(ROOT).as_posix() in PICTURES, f"{path.name}: {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_configuration_snippets_are_valid(path: Path) -> None:
    for snippet in re.findall(r"```toml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        if "[project" in snippet:
            assert tomllib.loads(snippet)["project"]["entry-points"]["pumpwatch"]
        elif not snippet.startswith(("# brand map", "# fleet", "# testcase")):
            assert parse_settings(snippet)


def test_the_fleet_in_the_guide_can_be_staged(tmp_path: Path) -> None:
    (snippet,) = snippets("how-to/simulate-a-county.md", "toml")
    path = tmp_path / "fleet.toml"
    path.write_text(snippet, encoding="utf-8")
    staging = stage(load_fleet(path), datetime(2026, 6, 1, tzinfo=UTC))
    assert [scenario.id for scenario in staging.scenarios] == ["F01", *["H08"] * 5]


def test_the_reference_of_plugins_is_fresh() -> None:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert page("reference/plugins.md") == generate.page(), "docs/reference/plugins.md is stale: run `make docs`"


def test_every_key_of_a_brand_map_is_explained() -> None:
    text = page("reference/brand-maps.md")
    keys = keys_of(BrandMap) | {"`offset`", "`none`", "`words`"}
    assert len(keys) > 30
    assert {key for key in keys if key not in text} == set()
    for kind in get_args(RegisterType):
        assert f"`{kind}`" in text


def test_the_brand_map_in_the_reference_works(tmp_path: Path) -> None:
    (snippet,) = snippets("reference/brand-maps.md", "toml")
    path = tmp_path / "map.toml"
    path.write_text(snippet, encoding="utf-8")
    assert load_map(path).nozzles == 2


def test_every_command_and_option_is_explained() -> None:
    text = page("reference/command-line.md")
    group = typer.main.get_group(app)
    context = typer.Context(group)
    names = group.list_commands(context)
    told = {h.strip("`") for h in headings(text) if h.startswith("`pumpwatch ")}
    assert told == {f"pumpwatch {name}" for name in names}
    for name in names:
        command = group.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert not option.startswith("--") or option in text or f"--no-{option[2:]}" in text, option


# ---------------------------------------------------------------- snippets run


async def test_the_driver_in_the_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, tests = snippets("how-to/write-a-driver.md", "python")
    (tmp_path / "ascii_gauge.py").write_text(driver, encoding="utf-8")
    plugins = Plugins.discover((), tmp_path)
    assert "ascii-gauge" in plugins.drivers
    monkeypatch.syspath_prepend(tmp_path)
    scope: dict[str, Any] = {"__name__": "test_ascii_gauge"}
    exec(compile(tests, "test_ascii_gauge.py", "exec"), scope)
    for chunk in (1, 3, 100):
        await scope["test_it_reads_two_tanks"](chunk)
    scope["test_it_refuses_noise"]()


async def test_the_driver_in_the_readme_works(tmp_path: Path) -> None:
    (driver,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "thermometer.py").write_text(driver, encoding="utf-8")
    kind = Plugins.discover((), tmp_path).drivers["thermometer"]
    thermometer = kind(PluginSettings(), Site("S01", "T1"), ScriptedLine({b"T?\r": b"21.5\r\n"}, chunk=2))
    reading = await thermometer.read(thermometer.tags(), datetime.now(UTC))
    assert [(s.tag, s.value) for s in reading.samples] == [("temperature", 21.5)]
