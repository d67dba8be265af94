"""Every scenario by its id and by its name, and the check of what a fleet file says about one."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig
from pumpwatch_sim.scenarios import (
    cases,
    collector,
    demo,
    frauds,
    honest,
    papers,
    selective,
    swaps,
    tax,
    upkeep,
    wetstock,
)

if TYPE_CHECKING:
    from pumpwatch_sim.scenarios.base import Scenario, Value

SCENARIOS: tuple[type[Scenario], ...] = (
    *frauds.SCENARIOS,
    *swaps.SCENARIOS,
    *selective.SCENARIOS,
    *tax.SCENARIOS,
    *collector.SCENARIOS,
    *wetstock.SCENARIOS,
    *papers.SCENARIOS,
    *honest.SCENARIOS,
    *upkeep.SCENARIOS,
    *cases.SCENARIOS,
    *demo.SCENARIOS,
)
"""Each once, in the order of the reference."""
CATALOGUE: Mapping[str, type[Scenario]] = MappingProxyType(
    {kind.id: kind for kind in SCENARIOS} | {kind.name: kind for kind in SCENARIOS}
)
"""By id (``F01``) and by name (``short_by_mainboard``)."""


def find(name: str) -> type[Scenario]:
    """The scenario of this id or name. Raises ``BadConfig`` with what was perhaps meant."""
    if kind := CATALOGUE.get(name):
        return kind
    raise BadConfig(f"no scenario {name!r}{_perhaps(name, CATALOGUE)}")


def checked(kind: type[Scenario], values: Mapping[str, object]) -> dict[str, Value]:
    """A fleet file's parameters, for the scenario's constructor. Raises ``BadConfig`` naming all that is wrong."""
    faults, good = [], {}
    for name, value in values.items():
        parameter = kind.parameters.get(name)
        if parameter is None:
            known = ", ".join(kind.parameters) or "none"
            faults.append(
                f"{name}: {kind.name} has no such parameter{_perhaps(name, kind.parameters)} (it has: {known})"
            )
        elif why := parameter.check(value):
            faults.append(f"{name}: {why}")
        elif isinstance(value, bool | int | float | str):
            good[name] = value
    if faults:
        raise BadConfig("; ".join(faults))
    return good


def _perhaps(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name.upper(), known, 1, 0.6) or get_close_matches(name.lower(), known, 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
