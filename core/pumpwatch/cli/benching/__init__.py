"""``pumpwatch bench``: what this machine bears, measured against a named peer in the same run; one module a suite."""

from __future__ import annotations

import os
import platform
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from pumpwatch.cli.benching import alarm, detect, poll, sim, store
from pumpwatch.cli.output import AsJson, show, show_json, stderr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Suite(StrEnum):
    """What can be measured."""

    ALARM = "alarm"
    DETECT = "detect"
    POLL = "poll"
    SIM = "sim"
    STORE = "store"


SUITES: dict[Suite, Callable[[], tuple[Mapping[str, float], Mapping[str, float | str]]]] = {
    Suite.ALARM: alarm.measure,
    Suite.DETECT: detect.measure,
    Suite.POLL: poll.measure,
    Suite.SIM: sim.measure,
    Suite.STORE: store.measure,
}
"""Each gives its figures and those of its peer."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(bench)


def bench(
    suite: Annotated[Suite | None, typer.Argument(help="One suite; all without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure speed: figures, the same work by a named peer, and the machine. Ratios count, absolutes are context."""
    result: dict[str, Any] = {"figures": {}, "baselines": {}, "machine": _machine()}
    with Progress(console=stderr, transient=True) as progress:
        for name in [suite] if suite else list(Suite):
            task = progress.add_task(name.value, total=None)
            figures, baselines = SUITES[name]()
            progress.update(task, total=1, completed=1)
            result["figures"] |= figures
            result["baselines"] |= baselines
    if as_json:
        show_json(result)
    else:
        rows = [{"figure": k, "value": _shown(v)} for k, v in result["figures"].items()]
        rows += [{"figure": f"baseline: {k}", "value": _shown(v)} for k, v in result["baselines"].items()]
        show(rows, as_json=False, title=result["machine"]["cpu"])


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.4g}"


def _machine() -> dict[str, Any]:
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "load": os.getloadavg()[0],
    }
