"""``pumpwatch driver probe``: what hangs on an unknown line. It listens first, and asks only where nobody speaks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.progress import Progress

from pumpwatch.cli.output import AsJson, PluginsDir, show, stderr
from pumpwatch.errors import BadConfig, NotReachable, PumpwatchError
from pumpwatch.line import WireLine
from pumpwatch.plugins import Plugins
from pumpwatch.settings import LineAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pumpwatch.contracts import Probe

LISTENED_S: Final = 2.0
"""A controller asks its pumps several times a second."""
ANSWERED_S: Final = 0.3
"""The slowest of the protocols answers within a tenth of a second; a gateway may take longer."""


@dataclass(frozen=True, slots=True)
class Found:
    """One device."""

    driver: str
    what: str
    line: str
    settings: dict[str, Any]
    heard: bool
    """Whether it was only listened to."""


def add_to(group: typer.Typer) -> None:
    """Register the command."""
    group.command()(probe)


def probe(
    line: Annotated[str, typer.Argument(help="tcp://HOST:PORT or serial:PORT; options that are given are kept.")],
    plugins_dir: PluginsDir = None,
    as_json: AsJson = False,
) -> None:
    """Find out speed, parity, protocol and address of what is on a line. Nothing is changed there.

    It listens first. Where somebody speaks already it sends nothing; else it asks what no device minds.
    """
    address = LineAddress.parse(line)
    if address.scheme not in {"tcp", "serial"}:
        raise BadConfig(f"{line}: only lines of bytes can be probed; name a tcp:// or serial: line")
    kinds = Plugins.discover((), plugins_dir).drivers
    probes = [(name, each) for name, kind in sorted(kinds.items()) for each in kind.probes()]
    with Progress(console=stderr, transient=True) as bar:
        task = bar.add_task("listening", total=None)
        found = asyncio.run(look(address, probes, "?" in line, lambda text: bar.update(task, description=text)))
    rows = [
        {"driver": f.driver, "what": f.what, "line": f.line, "settings": f.settings, "found by": _how(f)} for f in found
    ]
    show(rows, as_json=as_json, title="" if as_json or rows else "Devices that could be recognised")


def _how(found: Found) -> str:
    return "listening" if found.heard else "asking"


async def look(
    address: LineAddress, probes: Sequence[tuple[str, Probe]], fixed: bool, tell: Callable[[str], object]
) -> list[Found]:
    """Listen at every setting of the port that a probe names; ask when nothing was heard at any of them."""
    settings: dict[LineAddress, list[tuple[str, Probe]]] = {}
    for name, each in probes:
        settings.setdefault(_at(address, each, fixed), []).append((name, each))
    found: list[Found] = []
    spoken = False
    for where in settings:
        tell(f"listening at {where}")
        heard = await _heard(where)
        spoken |= bool(heard)
        for name, each in probes:
            if not each.request and _at(address, each, fixed) == where and (what := each.recognise(heard)):
                one = Found(name, what, str(where), dict(each.settings), heard=True)
                found += [] if one in found else [one]
    if spoken:
        if not found:
            raise NotReachable(f"{address}: somebody speaks, but nothing that a driver knows; nothing was sent")
        return found
    for where, those in settings.items():
        line = WireLine(where)
        try:
            asked: set[tuple[str, bytes]] = set()
            for name, each in those:
                if (name, each.request) in asked:
                    continue
                asked.add((name, each.request))
                tell(f"{name} at {where}")
                if each.request and (what := await _answer(line, each)):
                    found.append(Found(name, what, str(where), dict(each.settings), heard=False))
        finally:
            line.close()
    return found


def _at(address: LineAddress, each: Probe, fixed: bool) -> LineAddress:
    if address.scheme == "tcp" or fixed:
        return address
    return replace(address, baud=each.baud, bytesize=each.bytesize, parity=each.parity, stopbits=each.stopbits)


async def _heard(where: LineAddress) -> bytes:
    line = WireLine(where)
    try:
        ear = await line.listen()
        await asyncio.sleep(LISTENED_S)
        return ear.heard()
    finally:
        line.close()


async def _answer(line: WireLine, each: Probe) -> str:
    """What answers, or nothing."""
    said = ""

    def complete(received: bytes) -> int:
        nonlocal said
        said = each.recognise(received)
        return len(received) if said else 0

    with suppress(TimeoutError, PumpwatchError):
        async with asyncio.timeout(ANSWERED_S):
            await line.ask(each.request, complete)
    return said
