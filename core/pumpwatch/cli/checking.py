"""``pumpwatch check`` and ``pumpwatch plugins``: is the configuration right, and what did the plugins bring."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.cli.output import DEFAULT_DATA, AsJson, PluginsDir, show, show_json, stderr, stdout
from pumpwatch.engine import wire
from pumpwatch.plugins import Plugins, PluginState
from pumpwatch.settings import BadSettings, Problem, load_settings


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(check)
    app.command()(plugins)


def check(
    file: Annotated[Path, typer.Argument(help="The configuration to check.", metavar="FILE")],
    plugins_dir: PluginsDir = None,
    as_json: AsJson = False,
) -> None:
    """Say everything that is wrong with a configuration at once, each with its line and its remedy."""
    problems: list[Problem] = []
    devices = rules = 0
    try:
        settings = load_settings(file)
        found = Plugins.discover(settings.plugins.disabled, plugins_dir)
        wiring = wire(settings, found, DEFAULT_DATA)
        devices, rules = len(wiring.devices), len(wiring.rules)
    except BadSettings as error:
        problems = sorted([*error.problems, *_also_wrong(error, plugins_dir)], key=lambda p: p.line or 0)
    if as_json:
        fields = ("file", "line", "place", "message", "remedy")
        show_json({"ok": not problems, "problems": [{f: getattr(p, f) for f in fields} for p in problems]})
    elif problems:
        for problem in problems:
            stderr.print(str(problem), style="red", markup=False, highlight=False, soft_wrap=True)
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        stderr.print(f"{file}: {count}. Nothing was started.", highlight=False, soft_wrap=True)
    else:
        counts = ((len(settings.stations), "station"), (devices, "device"), (rules, "rule"))
        words = ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts)
        stdout.print(f"{file}: right. {words}.", highlight=False, soft_wrap=True)
    sys.exit(1 if problems else 0)


def _also_wrong(error: BadSettings, plugins_dir: Path | None) -> list[Problem]:
    """Problems only plugins can see, although the rest of the file is wrong already."""
    settings = error.readable
    if settings is None:
        return []
    try:
        wire(settings, Plugins.discover(settings.plugins.disabled, plugins_dir), DEFAULT_DATA)
    except BadSettings as more:
        known = {(p.line, p.place) for p in error.problems}
        return [p for p in more.problems if (p.line, p.place) not in known]
    return []


def plugins(plugins_dir: PluginsDir = None, as_json: AsJson = False) -> None:
    """List every plugin that was found: what it provides, or why it is not loaded."""
    found = Plugins.discover((), plugins_dir).found
    rows = [
        {"name": p.name, "source": p.source, "state": p.state.value, "provides": list(p.provides), "reason": p.reason}
        for p in found
    ]
    show(rows, as_json=as_json)
    if not as_json and any(p.state is PluginState.FAILED for p in found):
        stderr.print("A plugin that is not loaded stops nothing else; the server starts without it.")
