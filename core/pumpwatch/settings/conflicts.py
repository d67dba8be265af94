"""What two keys of a configuration say against each other, found even where other keys are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pumpwatch.settings.address import BadAddress, LineAddress
from pumpwatch.settings.problems import REMEDY, dotted

if TYPE_CHECKING:
    from pumpwatch.settings.places import Place


@dataclass(frozen=True, slots=True)
class Conflict:
    """One contradiction and the place where it shows."""

    place: Place
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{dotted(self.place)}: {self.message}{REMEDY}{self.remedy}"


def conflicts(data: Mapping[str, object]) -> Iterator[Conflict]:
    """Look through a configuration as it was read, whatever else is wrong with it."""
    seen: dict[str, int] = {}
    wires: dict[str, tuple[LineAddress, Place]] = {}
    for number, station in _tables(data.get("stations")):
        place: Place = ("stations", number)
        yield from _twice(seen, station.get("id"), number, place, "stations")
        ids: dict[str, int] = {}
        for position, device in _tables(station.get("devices")):
            where = (*place, "devices", position)
            yield from _twice(ids, device.get("id"), position, where, "devices of this station")
            yield from _other_options(wires, device.get("line"), (*where, "line"))
    rules = data.get("rules")
    for rule, table in rules.items() if isinstance(rules, Mapping) else ():
        if isinstance(table, Mapping) and not isinstance(table.get("enabled", True), bool):
            yield Conflict(("rules", rule, "enabled"), "must be true or false", "write true or false, without quotes")


def _tables(value: object) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, table in enumerate(value) if isinstance(value, list | tuple) else ():
        if isinstance(table, Mapping):
            yield number, table


def _twice(seen: dict[str, int], name: object, number: int, place: Place, what: str) -> Iterator[Conflict]:
    if not isinstance(name, str):
        return
    first = seen.setdefault(name, number)
    if first != number:
        message = f'"{name}" is already the id of {dotted((*place[:-1], first))}'
        yield Conflict((*place, "id"), message, f"give each of the {what} an id of its own")


def _other_options(wires: dict[str, tuple[LineAddress, Place]], line: object, place: Place) -> Iterator[Conflict]:
    """One serial port cannot have two speeds."""
    if not isinstance(line, str):
        return
    try:
        address = LineAddress.parse(line)
    except BadAddress:
        return
    other, first = wires.setdefault(address.wire, (address, place))
    if other != address:
        yield Conflict(
            place, f"{dotted(first)} opens the same port differently: {other}", "write the same line in both"
        )
