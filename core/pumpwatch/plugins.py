"""Finds and loads plugins one by one: a failing one is listed with its reason and the others work; floor 5."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pluggy

from pumpwatch.contracts import Driver, Hooks, Rule, Store
from pumpwatch.errors import BadConfig
from pumpwatch.historian import embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path
    from types import ModuleType

GROUP = "pumpwatch"
"""The entry point group; also the hooks' prefix."""


_Offer: TypeAlias = tuple[dict[str, Any], str, str, object]
"""The shelf it goes on, what it is, its name, the class."""


class PluginState(StrEnum):
    """What became of a plugin."""

    LOADED = "loaded"
    FAILED = "failed"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One plugin that was found, and what became of it."""

    name: str
    source: str
    """``built in``, the distribution with its version, or the file."""
    state: PluginState
    reason: str = ""
    """Why it failed, with the remedy where one is known."""
    provides: tuple[str, ...] = ()
    """For example ``driver modbus``, ``rule pulse_ratio``."""


class Plugins:
    """Everything that plugins offer. Built by ``discover``; the engine owns one, tests build as many as they like."""

    def __init__(self) -> None:
        self.drivers: dict[str, type[Driver]] = {}
        """Drivers by name."""
        self.rules: dict[str, type[Rule]] = {}
        """Record rules and detectors by the name of their rule."""
        self.stores: dict[str, type[Store]] = {}
        """Stores by name."""
        self.found: list[PluginInfo] = []
        self.folder: Path | None = None
        """Where one-file plugins were looked for."""
        self.register("embedded", embedded, "built in")

    @classmethod
    def discover(cls, disabled: Collection[str] = (), plugins_dir: Path | None = None) -> Plugins:
        """Load the built-in plugins, every entry point of the group, and every ``*.py`` in ``plugins_dir``."""
        plugins = cls()
        plugins.folder = plugins_dir
        for name, source, load in [*_entry_points(), *_files(plugins_dir)]:
            if name in disabled:
                plugins.found.append(PluginInfo(name, source, PluginState.DISABLED, "disabled in the configuration"))
                continue
            try:
                module = load()
            except (Exception, SystemExit) as error:  # a plugin may do anything at import; say what and go on
                plugins.found.append(PluginInfo(name, source, PluginState.FAILED, _why(error)))
                continue
            plugins.register(name, module, source)
        return plugins

    def register(self, name: str, module: ModuleType, source: str) -> None:
        """Take over all that one plugin offers; or nothing, and list why not."""
        try:
            offers = [self._offer(item) for item in _offered(module)]
            _refuse_taken(offers)
        except (Exception, SystemExit) as error:  # a hook runs the plugin's code
            self.found.append(PluginInfo(name, source, PluginState.FAILED, _why(error)))
            return
        for shelf, _, key, item in offers:
            shelf[key] = item
        provides = tuple(f"{kind} {key}" for _, kind, key, _ in offers)
        self.found.append(PluginInfo(name, source, PluginState.LOADED, provides=provides))

    def reload(self, driver: str) -> None:
        """Read the plugin of a driver anew from its files. Raises ``BadConfig``; then the old one goes on."""
        package = self.driver(driver).__module__.partition(".")[0]
        info = next(info for info in self.found if f"driver {driver}" in info.provides)
        loaders = {name: load for name, _, load in [*_entry_points(), *_files(self.folder)]}
        if info.name not in loaders:
            raise BadConfig(f"the driver {driver!r} is built in; it is read anew when the server starts")
        old = _modules(package)
        _forget(old)
        importlib.invalidate_caches()
        try:
            offers = [self._offer(item) for item in _offered(loaders[info.name]())]
            _demand(driver, {key for shelf, _, key, _ in offers if shelf is self.drivers})
        except (Exception, SystemExit) as error:  # a plugin may do anything at import
            _forget(_modules(package))
            sys.modules.update(old)
            raise BadConfig(f"{info.source}: {_why(error)}; the driver that was loaded goes on") from error
        for shelf, _, key, item in offers:
            shelf[key] = item

    def driver(self, name: str) -> type[Driver]:
        """The driver of this name, or ``BadConfig`` saying which there are and what failed to load."""
        if name in self.drivers:
            return self.drivers[name]
        failed = "; ".join(f"{p.name}: {p.reason}" for p in self.found if p.state is PluginState.FAILED)
        known = ", ".join(sorted(self.drivers)) or "none"
        raise BadConfig(f"no driver {name!r}; there are: {known}" + (f" (failed to load: {failed})" if failed else ""))

    def _offer(self, item: object) -> _Offer:
        if isinstance(item, type):
            if issubclass(item, Driver):
                return self.drivers, "driver", item.name, item
            if issubclass(item, Rule):
                return self.rules, "rule", item.rule, item
            if issubclass(item, Store):
                return self.stores, "store", item.name, item
        raise BadConfig(f"{item!r} is no Driver, RecordRule, Detector or Store class")


def _refuse_taken(offers: list[_Offer]) -> None:
    for shelf, kind, key, _ in offers:
        if key in shelf:
            raise BadConfig(f"the {kind} {key!r} is provided by another plugin already; rename or disable one")


def _demand(driver: str, offered: Collection[str]) -> None:
    if driver not in offered:
        raise BadConfig(f"it offers the drivers {', '.join(sorted(offered)) or 'none'}, not {driver!r}")


def _modules(package: str) -> dict[str, ModuleType]:
    """What is loaded of a package."""
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == package}


def _forget(modules: Iterable[str]) -> None:
    for name in modules:
        del sys.modules[name]


def _offered(module: ModuleType) -> list[object]:
    """Ask one plugin's hooks. It gets a manager of its own, so that a misspelt hook is its own error."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    manager.register(module)
    manager.check_pending()
    if not manager.get_hookcallers(module):
        raise BadConfig("it implements no hook; mark its functions with @hookimpl")
    hooks = (manager.hook.pumpwatch_drivers, manager.hook.pumpwatch_detectors, manager.hook.pumpwatch_stores)
    return [item for hook in hooks for items in hook() for item in items]


def _why(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"needs the package {error.name!r}, which is not installed (pip install {error.name})"
    return f"{type(error).__name__}: {error}"


def _entry_points() -> Iterator[tuple[str, str, Callable[[], ModuleType]]]:
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda p: p.name):
        source = f"{point.dist.name} {point.dist.version}" if point.dist else "?"
        yield point.name, source, point.load


def _files(folder: Path | None) -> Iterator[tuple[str, str, Callable[[], ModuleType]]]:
    if folder is None:
        return
    if not folder.is_dir():
        raise BadConfig(f"--plugins-dir {folder}: no such folder")
    for file in sorted(folder.glob("*.py")):
        if not file.name.startswith("_"):
            yield file.stem, str(file), partial(_load_file, file)


def _load_file(file: Path) -> ModuleType:
    name = f"pumpwatch_plugin_file_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BadConfig(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
