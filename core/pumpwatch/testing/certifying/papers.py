"""What is asked of a driver before it meets a device: its tags, settings, papers and source."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from pumpwatch.contracts import Site
from pumpwatch.settings import load_settings
from pumpwatch.testing.certifying.subject import Grade, NotApplicableError, Subject, Way, rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from pumpwatch.contracts import Ear
    from pumpwatch.testing.captures import CallCase, TestCase

_HEADINGS: Final = ("## Settings", "## Wiring", "## Known limits", "## Quality")
_NOT_A_DRIVERS: Final = {
    "logging": "the runner logs state changes once",
    "threading": "the runner owns concurrency",
    "time": "the time is given to read() as `now`",
    "socket": "the line owns the wire; ask it",
    "serial": "the line owns the wire; ask it",
}
_ASYNCIO: Final = frozenset(
    f"asyncio.{name}"
    for name in ("sleep", "create_task", "ensure_future", "wait_for", "timeout", "Lock", "gather", "TaskGroup", "run")
)


class NoLine:
    """A line that must not be touched: not yet, or never by a device that calls."""

    def __init__(self, address: str = "tcp://nowhere:1") -> None:
        self.address = address

    async def ask(self, request: bytes, complete: Callable[[bytes], int]) -> bytes:
        """Must not happen."""
        raise AssertionError("asked")

    async def listen(self) -> Ear:
        """Must not happen."""
        raise AssertionError("listened")


@rule(
    "tags",
    Grade.BRONZE,
    "It names its tags, each once, with a description",
    "Let tags() return the same list of Tags each time, made in __init__ from the settings alone.",
    tuple(Way),
)
async def _tags(subject: Subject) -> list[str]:
    found = []
    cases: list[TestCase | CallCase] = [*subject.cases, *subject.calls, *subject.served]
    for case in cases[:1]:
        driver = case.driver(subject.kind, NoLine())
        tags = driver.tags()
        names = [tag.name for tag in tags]
        found += [f"{name} stands there twice" for name in sorted({n for n in names if names.count(n) > 1})]
        found += [f"{tag.name} has no description" for tag in tags if not tag.description]
        if [tag.name for tag in driver.tags()] != names:
            found.append("tags() is another list at the second call")
        if not names:
            found.append("there are none")
    return found


@rule(
    "settings",
    Grade.BRONZE,
    "Every setting is described and unknown keys are refused",
    "Derive Settings from PluginSettings and give every Field a description.",
    tuple(Way),
)
async def _settings(subject: Subject) -> list[str]:
    fields = subject.kind.Settings.model_fields
    found = [f"`{name}` has no description" for name, about in fields.items() if not about.description]
    if subject.kind.Settings.model_config.get("extra") != "forbid":
        found.append("unknown keys are let pass")
    return found


@rule(
    "readme",
    Grade.BRONZE,
    "The README tells settings, wiring, limits and quality",
    "Write the headings Settings, Wiring, Known limits and Quality, and a row for every setting.",
    tuple(Way),
)
async def _readme(subject: Subject) -> list[str]:
    if not subject.package.is_dir():
        raise NotApplicableError("a single file has none")
    file = subject.package / "README.md"
    if not file.is_file():
        return [f"{file} is missing"]
    text = file.read_text(encoding="utf-8")
    found = [f"no heading {heading}" for heading in _HEADINGS if heading not in text]
    return found + [f"`{key}` is not in it" for key in subject.kind.Settings.model_fields if f"`{key}`" not in text]


@rule(
    "sample",
    Grade.BRONZE,
    "sample.toml makes a driver",
    "Put a configuration with a device of this driver into sample.toml; `pumpwatch check` says what is wrong with it.",
    tuple(Way),
)
async def _sample(subject: Subject) -> list[str]:
    if not subject.package.is_dir():
        raise NotApplicableError("a single file has none")
    file = subject.package / "sample.toml"
    if not file.is_file():
        return [f"{file} is missing"]
    devices = [(s.id, d) for s in load_settings(file).stations for d in s.devices if d.driver == subject.kind.name]
    if not devices:
        return [f"{file} configures no device with driver = {subject.kind.name!r}"]
    for station, device in devices:
        keys = {key: _shown(value) for key, value in device.settings.items()}
        site = Site(station, device.id, device.dispenser, tuple(device.nozzles), tuple(device.tanks))
        subject.kind(subject.kind.Settings.model_validate(keys), site, NoLine()).tags()
    return []


def _shown(value: object) -> object:
    """A stand-in for a secret that is not here."""
    return "SECRET" if isinstance(value, str) and value.startswith(("env:", "file:")) else value


@rule(
    "own_work_only",
    Grade.SILVER,
    "It has no task, sleep, timeout, lock, thread, logger or socket of its own",
    "Leave waiting, retrying, logging and the wire to the runner and the line: ask, decode, return.",
    tuple(Way),
)
async def _own_work_only(subject: Subject) -> list[str]:
    found = []
    files = sorted(subject.package.rglob("*.py")) if subject.package.is_dir() else [subject.package]
    for file in files:
        if "testcases" in file.parts or "tests" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            place = f"{file.name}:{getattr(node, 'lineno', 0)}"
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{place}: {n}: {why}" for n in names if (why := _NOT_A_DRIVERS.get(n.partition(".")[0]))]
            if isinstance(node, ast.Attribute) and ast.unparse(node) in _ASYNCIO:
                found.append(f"{place}: {ast.unparse(node)}: the runner and the line own tasks and time")
    return found
