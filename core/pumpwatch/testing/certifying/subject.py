"""What is examined, and what is asked of it."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from pumpwatch.contracts import Driver
from pumpwatch.errors import BadConfig
from pumpwatch.plugins import Plugins
from pumpwatch.testing.captures import CallCase, TestCase, load_calls, load_cases


class Grade(IntEnum):
    """How good a driver is."""

    NONE = 0
    BRONZE = 1
    SILVER = 2
    GOLD = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one rule."""

    rule: str
    grade: Grade
    title: str
    remedy: str
    broken: tuple[str, ...]
    """Where and how; empty when it holds."""
    skipped: str = ""
    """Why it does not apply."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What came of all of them."""

    driver: str
    verdicts: tuple[Verdict, ...]
    seconds: float

    @property
    def grade(self) -> Grade:
        """The highest below which nothing is broken."""
        broken = [verdict.grade for verdict in self.verdicts if verdict.broken]
        return Grade(min(broken) - 1) if broken else Grade.GOLD


class NotApplicableError(Exception):
    """A rule that says nothing of such a driver."""


class Way(Enum):
    """How a driver and its devices come together; the value says why a rule of another way does not apply."""

    LINE = "it asks or listens on a line"
    CALL = "the device calls; nothing is asked of it"
    LIBRARY = "a library opens the connection; no bytes of its own to play with"


@dataclass(frozen=True)
class Subject:
    """The driver that is examined."""

    kind: type[Driver]
    package: Path
    """Its folder, or its file."""
    cases: Sequence[TestCase]
    calls: Sequence[CallCase] = ()
    served: Sequence[TestCase] = ()

    @classmethod
    def load(cls, path: Path) -> Iterator[Subject]:
        """Every driver of a package folder or a one-file plugin. Raises ``BadConfig``."""
        module = _load(path)
        plugins = Plugins()
        before = set(plugins.drivers)
        plugins.register(path.stem, module, str(path))
        if reason := plugins.found[-1].reason:
            raise BadConfig(f"{path}: {reason}")
        if set(plugins.drivers) == before:
            raise BadConfig(f"{path} offers no driver; return its class from pumpwatch_drivers()")
        folder = path if path.is_dir() else path.parent
        cases, calls = load_cases(folder / "testcases"), load_calls(folder / "testcases")
        served = load_cases(folder / "testcases", served=True)
        for name in sorted(set(plugins.drivers) - before):
            yield cls(plugins.drivers[name], path, cases, calls, served)

    @property
    def way(self) -> Way:
        """How its devices are reached."""
        if self.kind.called is not Driver.called:
            return Way.CALL
        return Way.LIBRARY if self.served and not self.cases else Way.LINE

    @property
    def good(self) -> list[TestCase]:
        """Cases in which values come, of one question and its answer at least."""
        return [case for case in self.cases if not case.fails and case.capture.exchanges]

    @property
    def heard(self) -> list[TestCase]:
        """Cases in which somebody is listened to."""
        return [case for case in self.cases if not case.fails and case.capture.passed]


def _load(path: Path) -> ModuleType:
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise BadConfig(f"{path}: no driver is there; name the folder of a package, or a Python file")
    name = path.name if path.is_dir() else f"pumpwatch_certified_{path.stem}"
    if path.is_dir() and (known := sys.modules.get(name)) is not None:
        return known
    spec = importlib.util.spec_from_file_location(
        name, file, submodule_search_locations=[str(path)] if path.is_dir() else None
    )
    if spec is None or spec.loader is None:
        raise BadConfig(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BadConfig(f"{path} cannot be imported: {error!r}; import it in a Python shell to see where") from error
    return module


Check: TypeAlias = Callable[[Subject], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is asked of a driver."""

    name: str
    grade: Grade
    title: str
    remedy: str
    check: Check
    """Where and how it is broken; nothing when it holds. Raises ``NotApplicableError``."""
    ways: Sequence[Way]
    """Those that ``check`` is for; see ``also`` for the others."""

    def check_for(self, way: Way) -> Check:
        """What is asked of a driver of this way. Raises ``NotApplicableError`` when it is nothing."""
        if way in self.ways:
            return self.check
        if (check := _ALSO.get((self.name, way))) is None:
            raise NotApplicableError(way.value)
        return check


_ALSO: dict[tuple[str, Way], Check] = {}
"""What rules ask of drivers of other ways."""
RULES: list[Rule] = []
"""All of them, in the order in which they are put."""


def rule(
    name: str, grade: Grade, title: str, remedy: str, ways: Sequence[Way] = (Way.LINE,)
) -> Callable[[Check], Check]:
    """Make a rule of a function."""

    def add(check: Check) -> Check:
        RULES.append(Rule(name, grade, title, remedy, check, ways))
        return check

    return add


def also(name: str, way: Way) -> Callable[[Check], Check]:
    """Let a function check a rule for another way."""

    def add(check: Check) -> Check:
        _ALSO[name, way] = check
        return check

    return add


async def certify(
    subject: Subject, progress: Callable[[str], object] = lambda _: None, rules: Sequence[Rule] | None = None
) -> Certificate:
    """Put every rule, or those given, to one driver."""
    began = time.monotonic()
    verdicts = []
    for each in RULES if rules is None else rules:
        progress(each.title)
        skipped = ""
        broken: list[str] = []
        try:
            broken = await each.check_for(subject.way)(subject)
        except NotApplicableError as error:
            skipped = str(error)
        except Exception as error:  # the driver is a plugin: it may raise anything anywhere
            broken = [f"{type(error).__name__}: {error}"]
        verdicts.append(Verdict(each.name, each.grade, each.title, each.remedy, tuple(broken[:5]), skipped))
    return Certificate(subject.kind.name, tuple(verdicts), time.monotonic() - began)
