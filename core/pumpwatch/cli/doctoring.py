"""``pumpwatch doctor``: is what lies on disk sound, and what can be saved where it is not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.canonical import hold
from pumpwatch.cli.keeping import store_for
from pumpwatch.cli.output import DEFAULT_DATA, AsJson, Config, Data, PluginsDir, show, show_json, stderr, stdout
from pumpwatch.clock import SystemClock
from pumpwatch.errors import BadConfig, NotReachable
from pumpwatch.historian import Historian
from pumpwatch.historian.checking import Examined, State, database, examine


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(doctor)


def doctor(
    data: Data = DEFAULT_DATA,
    config: Config = None,
    plugins_dir: PluginsDir = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged files aside and save everything that can be read of them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read all that is kept in a data folder to the last bit and name every damaged file; 1 when one is left so.

    No server may run on the folder.
    """
    if not data.is_dir():
        raise BadConfig(f"{data}: no such folder; name the one that holds the data with --data DIR")
    saved: tuple[str, ...] = ()
    with hold(data):
        found = list(_examined(data))
        if repair and any(e.state is State.DAMAGED for e in found):
            saved = asyncio.run(_mended(data, config, plugins_dir))
            found = list(_examined(data))
    damaged = [e for e in found if e.state is State.DAMAGED]
    rows = [{"file": str(e.file.relative_to(data)), "state": e.state.value, "detail": e.detail} for e in found]
    if as_json:
        show_json({"ok": not damaged, "files": rows, "repaired": list(saved)})
    else:
        show(rows, as_json=False, title=str(data))
        for sentence in saved:
            stdout.print(sentence, markup=False, highlight=False, soft_wrap=True)
        for one in damaged:
            stderr.print(f"{one.file}: {_remedy(one, data, repair=repair)}", style="red", markup=False, soft_wrap=True)
    sys.exit(1 if damaged else 0)


def _examined(data: Path) -> Iterator[Examined]:
    yield from examine(data / "history")
    for file in sorted(data.glob("*.sqlite")):
        yield database(file)


async def _mended(data: Path, config: Path | None, plugins_dir: Path | None) -> tuple[str, ...]:
    store = store_for(data, config, plugins_dir)
    async with Historian.open(data / "history", store, SystemClock()) as historian:
        try:
            await historian.mend()
        except NotReachable as error:
            return (*historian.damage, f"the store {store.name} could not be examined: {error}")
        return historian.damage


def _remedy(damaged: Examined, data: Path, *, repair: bool) -> str:
    if damaged.file.parent == data:
        return "it cannot be mended here; bring it back from a backup: pumpwatch restore"
    return "it could not be mended; keep the folder and ask" if repair else "run pumpwatch doctor --repair"
