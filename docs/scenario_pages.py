"""Writes ``docs/reference/scenarios.md`` from the catalogue of the simulated county; ``make docs`` runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pumpwatch_sim.scenarios.base import Scope
from pumpwatch_sim.scenarios.catalogue import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pumpwatch_sim.scenarios.base import Parameter, Scenario

PAGE = Path(__file__).parent / "reference" / "scenarios.md"
HEAD = """\
# Scenarios of the simulated county

<!-- Generated from the scenarios' classes by `make docs`; do not edit. -->

A fleet file lets them happen, each as a table of its own; id or name will do. What an entry leaves open (station,
nozzle, dispenser, tank) is chosen by the fleet's seed.

```text
[[scenario]]
name = "short_by_mainboard"   # or "F01"
station = "S07"               # or nozzle = "S07-N03"
onset = "P30D"                # after the start of the period, or a time with offset
lasts = "P14D"                # until the end when left out
times = 1                     # so many of them, each at a station of its own
percent = 2.0                 # the scenario's own parameters
```

An honest scenario has no cause, and no alarm is to come of it.
"""
SECTIONS = {
    "F": "Short measure and other metering fraud",
    "T": "Tax",
    "C": "Collector and data",
    "W": "Wetstock",
    "P": "Papers",
    "H": "Honest, and to stay quiet",
    "K": "Documented cases",
    "demo": "The demonstration",
}
EVIDENCE = {
    "D1": "litres against encoder pulses",
    "D2": "amount against litres times price",
    "D3": "totalizer steps against litres sold",
    "D4": "tax record against the dispenser's",
    "D5": "gaps, repeats and falls of the sequence number",
    "D6": "identity, checksum, encoder or seal other than registered, without a work order",
    "D7": "course of a filling second by second: jumps, no zero, flow without a lifted nozzle",
    "D8": "clock against the collector's, or ends that go back",
    "D9": "a record that comes again with other content",
    "D10": "a tank falls while no nozzle sells",
    "D11": "a tank falls while the collector is deaf",
    "D12": "dates run out: certificate, licence",
    "P6": "tank balance: a nozzle's share of what the tank loses less than it shows changes",
    "P9": "tank balance: the level of a nozzle's error beyond the legal tolerance",
    "P10": "more nozzles of a station short than chance allows",
    "F1": "plateau of the flow steps up or down",
    "F2": "on and off around inspections",
    "F3": "short under one condition only: volume, preset, hour, payment",
    "R1": "a run of litres and gaps that has been before",
    "R2": "one and the same level while fuel is sold",
    "R3": "levels that tremble less than a probe can",
    "R4": "silences that hide sales, with neighbours or at peaks",
    "R5": "two stations that are too alike",
    "L1": "fuel lost by the hour",
    "L3": "water that rises",
    "L4": "what is lost depends on the height",
    "X1": "rise of the level against the delivery's paper, by lorry",
    "X2": "a rise without a paper, or a paper without a rise",
    "X3": "metered against declared sales",
    "X4": "purchases and stocks against sales",
    "X5": "purchases and own use against comparable stations",
    "Q1": "density against grade and certificate",
    "Q2": "one grade is sold while another's tank falls",
    "C1": "complaints to the hotline",
    "level": "stock above 95 % of the capacity",
}


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_sections()) + _evidence()


def write() -> None:
    """Write it where it belongs."""
    PAGE.write_text(page(), encoding="utf-8")


def _sections() -> Iterator[str]:
    told: set[str] = set()
    for prefix, title in SECTIONS.items():
        kinds = sorted(
            (kind for kind in SCENARIOS if kind.id.rstrip("0123456789-") == prefix), key=lambda kind: kind.id
        )
        if kinds:
            told |= {kind.id for kind in kinds}
            yield f"\n## {title}\n"
            yield from map(_entry, kinds)
    if left := {kind.id for kind in SCENARIOS} - told:
        raise KeyError(f"no section for {', '.join(sorted(left))}")


def _evidence() -> str:
    used = {check for kind in SCENARIOS for check in kind.evidence}
    if unknown := used - EVIDENCE.keys():
        raise KeyError(f"what is {', '.join(sorted(unknown))}?")
    rows = "".join(f"| {check} | {words} |\n" for check, words in EVIDENCE.items() if check in used)
    return f"\n## Evidence\n\n| id | what is looked at |\n|---|---|\n{rows}"


def _entry(kind: type[Scenario]) -> str:
    words = " ".join((kind.__doc__ or "").partition("\n\n")[0].replace("``", "`").split())
    departments = ", ".join(kind.departments) or "none"
    facts = [
        "happens to several stations" if kind.scope is Scope.FLEET else f"happens to a {kind.scope.value}",
        f"cause `{kind.cause}`" if kind.cause else "honest",
        f"departments: {departments}",
        f"evidence: {', '.join(kind.evidence) or 'none'}",
        f"horizon {kind.horizon_days} d" + (", deterministic" if kind.deterministic else ""),
    ]
    told = "".join(f"- {fact}\n" for fact in facts)
    text = f"\n### `{kind.name}`\n\n**{kind.id} · {kind.title.zh} · {kind.title.en}.** {words}\n\n{told}"
    return text + _table(kind.parameters) if kind.parameters else text


def _table(parameters: Mapping[str, Parameter]) -> str:
    rows = "".join(
        f"| `{name}` | {_value(parameter)} | {_range(parameter)} | {parameter.words} |\n"
        for name, parameter in parameters.items()
    )
    return f"\n| parameter | default | range | meaning |\n|---|---|---|---|\n{rows}"


def _value(parameter: Parameter) -> str:
    value = parameter.default
    text = str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float | int) else value
    return f"`{text}`" + (f" {parameter.unit}" if parameter.unit else "")


def _range(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(f"`{choice}`" for choice in parameter.choices)
    if isinstance(parameter.default, bool):
        return "`true`, `false`"
    low = "" if parameter.low is None else f"from {parameter.low:g}"
    high = "" if parameter.high is None else f"to {parameter.high:g}"
    return f"{low} {high}".strip()
