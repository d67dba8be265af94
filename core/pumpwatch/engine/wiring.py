"""From a configuration and the plugins to devices, rules and a store; everything wrong is told at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from pydantic import SecretStr, ValidationError

from pumpwatch.acquisition import Device
from pumpwatch.contracts import Driver, Site
from pumpwatch.errors import BadConfig
from pumpwatch.line import WireLine
from pumpwatch.settings import BadSettings, Problem, did_you_mean, dotted, problems_from, resolve_secret
from pumpwatch.settings.problems import REMEDY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pumpwatch.contracts import PluginSettings, Rule, Store
    from pumpwatch.plugins import Plugins
    from pumpwatch.settings import DeviceSettings, LineAddress, Place, Settings, StationSettings


_CALLED = ("devices with this driver call the server", 'write line = "call:"')
_NOT_CALLED = ("devices with this driver do not call, they are asked", "write the address of the device's line")


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a configuration asks for, made of the plugins that provide it; nothing is connected yet."""

    devices: tuple[Device, ...]
    lines: tuple[WireLine, ...]
    rules: tuple[Rule, ...]
    off: Mapping[str, str]
    """Rules that do not run, and why."""
    store: Store


class _Problems:
    """Gathers what is wrong, each with its line in the file."""

    def __init__(self, settings: Settings) -> None:
        self._source = settings.source
        self.found: list[Problem] = []

    def add(self, place: Place, message: str, remedy: str = "") -> None:
        line = self._source.lines.line(place)
        self.found.append(Problem(self._source.file, line, dotted(place), message, remedy))

    def validated(
        self, model: type[PluginSettings], given: Mapping[str, object], place: Place
    ) -> PluginSettings | None:
        known = len(self.found)
        revealed = dict(given) | dict(self._secrets(model, given, place))
        if len(self.found) > known:
            return None
        try:
            return model.model_validate(revealed)
        except ValidationError as error:
            self.found += problems_from(error, self._source.file, place, self._source.lines, model)
        return None

    def _secrets(
        self, model: type[PluginSettings], given: Mapping[str, object], place: Place
    ) -> Iterator[tuple[str, str]]:
        """The plugin's secrets, which stand in the configuration as references only."""
        for name, field in model.model_fields.items():
            reference = given.get(name)
            if isinstance(reference, str) and SecretStr in (field.annotation, *get_args(field.annotation)):
                try:
                    yield name, resolve_secret(reference)
                except BadConfig as error:
                    message, _, remedy = str(error).partition(REMEDY)
                    self.add((*place, name), message, remedy)


def wire(settings: Settings, plugins: Plugins, data: Path) -> Wiring:
    """Make everything the configuration asks for. Raises ``BadSettings`` naming every problem."""
    problems = _Problems(settings)
    lines: dict[LineAddress, WireLine] = {}
    devices = [
        device
        for number, station in enumerate(settings.stations)
        for device in _devices(number, station, plugins, lines, problems)
    ]
    rules, off = _rules(settings, plugins, problems)
    store = _store(settings, plugins, data, problems)
    if problems.found or store is None:
        raise BadSettings(sorted(problems.found, key=lambda p: p.line or 0))
    return Wiring(tuple(devices), tuple(lines.values()), tuple(rules), off, store)


def renewed(settings: Settings, plugins: Plugins, name: str, devices: Sequence[Device]) -> dict[str, Driver]:
    """Drivers made anew for every device of one kind, on the lines they have. Raises ``BadSettings``."""
    problems = _Problems(settings)
    kind = plugins.driver(name)
    made: dict[str, Driver] = {}
    for number, station in enumerate(settings.stations):
        for index, asked in enumerate(station.devices):
            place: Place = ("stations", number, "devices", index, "settings")
            device = next((d for d in devices if d.path == f"{station.id}/{asked.id}"), None)
            if asked.driver != name or device is None:
                continue
            own = problems.validated(kind.Settings, asked.settings, place)
            try:
                if own is not None:
                    made[device.path] = kind(own, device.site, device.driver.line)
            except BadConfig as error:
                problems.add(place, *_told(error))
    if problems.found:
        raise BadSettings(problems.found)
    return made


def _devices(
    number: int,
    station: StationSettings,
    plugins: Plugins,
    lines: dict[LineAddress, WireLine],
    problems: _Problems,
) -> Iterator[Device]:
    for index, asked in enumerate(station.devices):
        place: Place = ("stations", number, "devices", index)
        kind = plugins.drivers.get(asked.driver)
        if kind is None:
            problems.add((*place, "driver"), *_unknown_driver(asked, plugins))
            continue
        own = problems.validated(kind.Settings, asked.settings, (*place, "settings"))
        if own is None:
            continue
        is_called, calls = kind.called is not Driver.called, asked.address.scheme == "call"
        if is_called != calls:
            problems.add((*place, "line"), *(_CALLED if is_called else _NOT_CALLED))
            continue
        line = WireLine(asked.address)
        if asked.address.scheme != "call":  # who call share nothing
            line = lines.setdefault(asked.address, line)
        site = Site(station.id, asked.id, asked.dispenser, asked.nozzles, asked.tanks)
        try:
            driver = kind(own, site, line)
        except BadConfig as error:
            problems.add((*place, "settings"), *_told(error))
            continue
        yield Device(site, driver, line.turn)


def _unknown_driver(asked: DeviceSettings, plugins: Plugins) -> tuple[str, str]:
    for plugin in plugins.found:
        if plugin.name == asked.driver and plugin.reason:
            return f"the driver `{asked.driver}` is not loaded: {plugin.reason}", "see `pumpwatch plugins`"
    return f"there is no driver `{asked.driver}`", did_you_mean(asked.driver, sorted(plugins.drivers))


def _rules(settings: Settings, plugins: Plugins, problems: _Problems) -> tuple[list[Rule], dict[str, str]]:
    for name in settings.rules:
        if name not in plugins.rules:
            problems.add(("rules", name), "there is no such rule", did_you_mean(name, sorted(plugins.rules)))
    rules, off = [], {}
    for name, kind in sorted(plugins.rules.items()):
        table = dict(settings.rules.get(name, {}))
        enabled = table.pop("enabled", True)
        if not isinstance(enabled, bool):
            problems.add(("rules", name, "enabled"), "must be true or false", "write true or false without quotes")
            continue
        own = problems.validated(kind.Settings, table, ("rules", name))
        if not enabled:
            off[name] = "switched off in the configuration"
        elif own is not None:
            try:
                rules.append(kind(own))
            except BadConfig as error:
                problems.add(("rules", name), *_told(error))
    return rules, off


def rules_for(settings: Settings, plugins: Plugins) -> tuple[tuple[Rule, ...], Mapping[str, str]]:
    """The rules a configuration asks for, and those that are off with the reason. Raises ``BadSettings``."""
    problems = _Problems(settings)
    rules, off = _rules(settings, plugins, problems)
    if problems.found:
        raise BadSettings(sorted(problems.found, key=lambda p: p.line or 0))
    return tuple(rules), off


def store_for(settings: Settings, plugins: Plugins, data: Path) -> Store:
    """The store a configuration asks for, not yet opened. Raises ``BadSettings``."""
    problems = _Problems(settings)
    store = _store(settings, plugins, data, problems)
    if problems.found or store is None:
        raise BadSettings(problems.found)
    return store


def _told(error: BadConfig) -> tuple[str, str]:
    """What is wrong and what to do, as ``BadConfig`` tells it."""
    message, _, remedy = str(error).rpartition("; ")
    return (message, remedy) if message else (remedy, "")


def _store(settings: Settings, plugins: Plugins, data: Path, problems: _Problems) -> Store | None:
    name = settings.historian.store
    kind = plugins.stores.get(name)
    if kind is None:
        remedy = did_you_mean(name, sorted(plugins.stores))
        problems.add(("historian", "store"), f"there is no store `{name}`", remedy)
        return None
    own = problems.validated(kind.Settings, settings.historian.settings, ("historian", "settings"))
    return kind(own, data / "history" / name) if own is not None else None
