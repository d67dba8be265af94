"""``pumpwatch driver probe``: what hangs on an unknown line. It listens; it asks only what its user has agreed to."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.progress import Progress

from pumpwatch.cli.driving.orders import UNCHECKED, orders_in
from pumpwatch.cli.output import AsJson, PluginsDir, show, stderr
from pumpwatch.errors import BadConfig, NotReachable, PumpwatchError
from pumpwatch.line import WireLine
from pumpwatch.plugins import Plugins
from pumpwatch.settings import LineAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pumpwatch.contracts import Driver, Probe

LISTENED_S: Final = 10.0
"""A controller asks its pumps several times a second; a collector at a tax port asks every four seconds and more."""
ANSWERED_S: Final = 0.3
"""The slowest of the protocols answers within a tenth of a second; a gateway may take longer."""
PORTS: Final = frozenset({"serial", "rfc2217"})
"""Schemes of lines that have a speed and a parity."""
SHOWN: Final = 24
"""Bytes of a question that are shown."""


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
    line: Annotated[str, typer.Argument(help="tcp://HOST:PORT, serial:PORT …; options that are given are kept.")],
    ask: Annotated[
        str | None, typer.Option("--ask", help="Where nobody speaks, send this driver's questions.", metavar="DRIVER")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to what --ask will send without being asked.")] = False,
    plugins_dir: PluginsDir = None,
    as_json: AsJson = False,
) -> None:
    """Find out speed, parity, protocol and address of what is on a line, by listening. Nothing is sent.

    With --ask DRIVER, and where nobody speaks, that driver's questions are sent, after they have been shown and agreed
    to: on a line that carries another protocol the same bytes may be orders, even free a pump.
    """
    address = LineAddress.parse(line)
    if address.scheme not in {"tcp", "tls", *PORTS}:
        raise BadConfig(f"{line}: only lines of bytes can be probed; name a tcp://, tls://, rfc2217:// or serial: line")
    kinds = Plugins.discover((), plugins_dir).drivers
    asked = questions(kinds, ask) if ask else []
    if asked:
        _show_questions(asked)
        if not yes:
            typer.confirm(f"Is {address} certainly a line of {ask} devices and no other?", abort=True, err=True)
    ears = [(name, each) for name, kind in sorted(kinds.items()) for each in kind.probes() if not each.request]
    with Progress(console=stderr, transient=True) as bar:
        task = bar.add_task("listening", total=None)
        found = asyncio.run(look(address, ears, asked, "?" in line, lambda text: bar.update(task, description=text)))
    rows = [
        {"driver": f.driver, "what": f.what, "line": f.line, "settings": f.settings, "found by": _how(f)} for f in found
    ]
    if not rows and not asked:
        stderr.print("Nobody spoke, and nothing was sent. If you know what hangs there, name it: --ask DRIVER.")
    show(rows, as_json=as_json, title="" if as_json or rows else "Devices that could be recognised")


def _how(found: Found) -> str:
    return "listening" if found.heard else "asking"


def questions(kinds: Mapping[str, type[Driver]], name: str) -> list[tuple[str, Probe]]:
    """The questions of one driver; before them those of drivers whose devices would take them for an order.

    Such a device answers its own question, and then nothing else is asked. Raises ``BadConfig`` for a driver without
    questions, for one whose questions are orders to its own devices, and where Two-Wire pumps cannot be asked first.
    """
    asked = {each: [p for p in kind.probes() if p.request] for each, kind in sorted(kinds.items())}
    if not asked.get(name):
        raise BadConfig(
            f"--ask {name}: no such driver asks; there are: {', '.join(n for n, own in asked.items() if own)}"
        )
    own = [(name, each) for each in asked[name]]
    mistaken = {order.driver for order in orders_in(each.request for _, each in own)}
    if name in mistaken:
        raise BadConfig(f"--ask {name}: its questions are orders to such devices; mend its probes()")
    mistaken |= {UNCHECKED} - {name}
    first = [(other, each) for other in sorted(mistaken) for each in asked.get(other, ())]
    harmless = [(other, each) for other, each in first if not orders_in([each.request])]
    if UNCHECKED not in {name, *(other for other, _ in harmless)}:
        raise BadConfig(f"--ask {name}: the driver {UNCHECKED} must ask first and cannot; see `pumpwatch plugins`")
    return harmless + own


def _show_questions(asked: Sequence[tuple[str, Probe]]) -> None:
    """What will be sent, and what it would be elsewhere."""
    for name, request in dict.fromkeys((name, each.request) for name, each in asked):
        more = f" … {len(request)} bytes" if len(request) > SHOWN else ""
        stderr.print(f"{name:9} {request[:SHOWN].hex(' ')}{more}", highlight=False)
    for order, told in orders_in(each.request for _, each in asked).items():
        more = f" … {len(told)} in all" if len(told) > 5 else ""
        stderr.print(f"To a {order.protocol} device this says: {', '.join(told[:5])}{more}", style="bold red")
    stderr.print("At another speed or parity a device hears other bytes than these.")


async def look(
    address: LineAddress,
    ears: Sequence[tuple[str, Probe]],
    asked: Sequence[tuple[str, Probe]],
    fixed: bool,
    tell: Callable[[str], object],
) -> list[Found]:
    """Listen at every setting of the port that a probe names; when nothing was heard at any of them put ``asked``.

    Nothing is sent that is not in ``asked``, and nothing more once somebody speaks who was not asked, or a device of
    another driver than the last one's has answered. Raises ``NotReachable`` when somebody speaks whom nobody knows.
    """
    found: list[Found] = []
    spoken = False
    for where, those in _by_setting(address, [*ears, *asked], fixed).items():
        tell(f"listening at {where}")
        heard = await _heard(where)
        spoken |= bool(heard)
        for name, each in those:
            if not each.request and (what := each.recognise(heard)):
                one = Found(name, what, str(where), dict(each.settings), heard=True)
                found += [] if one in found else [one]
    if spoken:
        if not found:
            raise NotReachable(f"{address}: somebody speaks, but nothing that a driver knows; nothing was sent")
        return found
    for name in dict.fromkeys(name for name, _ in asked):
        own = [(other, each) for other, each in asked if other == name]
        for where, those in _by_setting(address, own, fixed).items():
            found += await _ask(where, those, tell, is_last=name == asked[-1][0])
        if found:
            break
    return found


def _by_setting(
    address: LineAddress, probes: Sequence[tuple[str, Probe]], fixed: bool
) -> dict[LineAddress, list[tuple[str, Probe]]]:
    """The probes by the setting of the port that they need; what is no port, or has its options given, has one."""
    settings: dict[LineAddress, list[tuple[str, Probe]]] = {}
    for name, each in probes:
        where = address
        if address.scheme in PORTS and not fixed:
            where = replace(address, baud=each.baud, bytesize=each.bytesize, parity=each.parity, stopbits=each.stopbits)
        settings.setdefault(where, []).append((name, each))
    return settings


async def _heard(where: LineAddress) -> bytes:
    line = WireLine(where)
    try:
        ear = await line.listen()
        await asyncio.sleep(LISTENED_S)
        return ear.heard()
    finally:
        line.close()


async def _ask(
    where: LineAddress, asked: Sequence[tuple[str, Probe]], tell: Callable[[str], object], *, is_last: bool
) -> list[Found]:
    """Who answers at one setting. Raises ``NotReachable`` when somebody speaks who was not asked.

    Before the last driver's questions whatever answers, and be it garbled, may be whom they would be orders to.
    """
    found: list[Found] = []
    put: set[bytes] = set()
    line = WireLine(where)
    try:
        for name, each in asked:
            if each.request in put:
                continue
            put.add(each.request)
            tell(f"asking as {name} at {where}")
            what, said = await _answer(line, each)
            if what:
                found.append(Found(name, what, str(where), dict(each.settings), heard=False))
            elif not each.request.startswith(said):  # a converter may give the question back
                line.close()
                if not is_last:
                    came = said[:SHOWN].hex(" ")
                    raise NotReachable(f"{where}: a question of {name} was answered with {came}; nothing more was sent")
                tell(f"{where}: not an answer of {name}; listening whether somebody else speaks")
                if await _heard(where):
                    before = "; ".join(f"{one.driver} {one.what}" for one in found) or "nobody"
                    raise NotReachable(
                        f"{where}: somebody speaks who was not asked; nothing more was sent; answered until then: "
                        f"{before}"
                    )
    finally:
        line.close()
    return found


async def _answer(line: WireLine, each: Probe) -> tuple[str, bytes]:
    """What answers, or nothing; and the bytes that came."""
    said, came = "", b""

    def complete(received: bytes) -> int:
        nonlocal said, came
        came, said = received, each.recognise(received)
        return len(received) if said else 0

    with suppress(TimeoutError, PumpwatchError):
        async with asyncio.timeout(ANSWERED_S):
            await line.ask(each.request, complete)
    return said, came
