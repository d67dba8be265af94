"""``pumpwatch demo``: simulated county, server and dashboards together, until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer

from pumpwatch.canonical import hold
from pumpwatch.cli.keeping import import_ledger
from pumpwatch.cli.output import DEFAULT_DATA, Data, stdout
from pumpwatch.cli.places import DEFAULT_CONFIG, RUNNING
from pumpwatch.errors import BadConfig, NotReachable, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

MARKER = "demo.json"
"""Says that a data folder was made by a demo and may be made anew by the next."""
OURS = ("history", "sim", "rejects", "ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", DEFAULT_CONFIG, RUNNING)
START_S = 60.0
STOP_S = 3.0


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(demo)


def demo(
    stations: Annotated[int, typer.Option("--stations", min=1, max=46, help="How many stations to simulate.")] = 46,
    port: Annotated[int, typer.Option("--port", help="Port of the dashboards; the API takes the next one.")] = 8080,
    data: Data = DEFAULT_DATA,
    seed: Annotated[int, typer.Option("--seed", help="Another seed is another county.")] = 1,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the wall in a browser.")] = True,
    cheats: Annotated[bool, typer.Option("--cheats/--no-cheats", help="Tamper with three stations.")] = True,
) -> None:
    """Start a simulated county with three tampered stations and watch it: server, dashboards and all."""
    _prepare(data)
    interrupted: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: interrupted.append(n))
    with _Troupe(lambda: bool(interrupted)) as troupe:
        try:
            _start(troupe, data, stations, port, seed, cheats=cheats)
        except _Interrupted:
            return
        address = f"http://127.0.0.1:{port}/"
        stdout.print(f"\n[bold]pumpwatch is running:[/]  {address}", highlight=False)
        api = f"http://127.0.0.1:{port + 1}/api/v1/status"
        stdout.print(f"  {stations} simulated stations · API {api}", highlight=False)
        if cheats:
            stdout.print("  Three stations cheat. Their alarms appear within the first two minutes.")
        stdout.print("  Ctrl-C stops everything.\n")
        sys.stdout.flush()
        if browser:
            webbrowser.open(address)
        troupe.watch()
    stdout.print("Stopped.")


class _Interrupted(Exception):  # noqa: N818 - not an error
    """Ctrl-C came while still starting."""


@dataclass(slots=True)
class _Player:
    """One child process and how to start it again."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes]
    again: bool
    started: float


class _Troupe:
    """The child processes. They end with us, even if we are killed: each stops when its standard input closes."""

    def __init__(self, interrupted: Callable[[], bool]) -> None:
        self._interrupted = interrupted
        self._players: list[_Player] = []

    def __enter__(self) -> _Troupe:
        return self

    def start(self, name: str, module: str, *arguments: str, again: bool) -> None:
        """Start a child; ``again`` says whether it may be started again when it dies."""
        command = [sys.executable, "-m", module, *arguments, "--until-stdin-closes"]
        self._players.append(_Player(name, command, _spawn(command), again, time.monotonic()))

    def wait_for(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait until something is ready. Raises when a child dies or time is up."""
        deadline = time.monotonic() + START_S
        with stdout.status(f"starting {what} …"):
            while not ready():
                if self._interrupted():
                    raise _Interrupted
                for player in self._players:
                    if player.process.poll() is not None:
                        raise NotReachable(f"{player.name} ended with code {player.process.returncode}; see above")
                if time.monotonic() > deadline:
                    raise NotReachable(f"{what} did not start within {START_S:g} s")
                time.sleep(0.1)

    def watch(self) -> None:
        """Stay until Ctrl-C; a child that dies is started again, or ends the demo."""
        while not self._interrupted():
            time.sleep(0.2)
            for player in self._players:
                code = player.process.poll()
                if code is None or self._interrupted():
                    continue
                if not player.again or time.monotonic() - player.started < 3:
                    raise NotReachable(f"{player.name} ended with code {code}; the demo stops")
                stdout.print(f"{player.name} ended with code {code}; starting it again", style="yellow")
                player.process, player.started = _spawn(player.command), time.monotonic()

    def __exit__(self, *_: object) -> None:
        for player in reversed(self._players):
            if player.process.poll() is None:
                player.process.terminate()
        deadline = time.monotonic() + STOP_S
        for player in self._players:
            try:
                player.process.wait(max(0.05, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                player.process.kill()
                player.process.wait()
            if player.process.stdin:
                player.process.stdin.close()


def _spawn(command: list[str]) -> subprocess.Popen[bytes]:
    """A child in a session of its own, so that Ctrl-C reaches it through us alone."""
    return subprocess.Popen(  # noqa: S603 - our own programs
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )


def _prepare(data: Path) -> None:
    """An empty folder for a new county; never one that holds anybody's data."""
    if data.exists() and any(data.iterdir()):
        if not (data / MARKER).is_file():
            raise BadConfig(f"{data} holds data that no demo made; choose another folder with --data DIR")
        try:
            with hold(data):  # a server too busy to answer holds it all the same
                _empty(data)
        except Refused as error:
            raise BadConfig(
                f"a demo runs on {data} already; stop it, or choose another folder with --data DIR"
            ) from error
    data.mkdir(parents=True, exist_ok=True)
    (data / MARKER).write_text('{"made_by": "pumpwatch demo"}\n', encoding="utf-8")


def _empty(data: Path) -> None:
    for name in OURS:
        path = data / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _alive(data: Path) -> bool:
    try:
        url = json.loads((data / RUNNING).read_text(encoding="utf-8"))["api"]
        return httpx.get(f"{url}/api/v1/status", timeout=2, trust_env=False).is_success
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return False


def _start(troupe: _Troupe, data: Path, stations: int, port: int, seed: int, *, cheats: bool) -> None:
    sim = data / "sim"
    arguments = ["serve", "--out", str(sim), "--stations", str(stations), "--seed", str(seed)]
    troupe.start("simulator", "pumpwatch_sim", *arguments, *([] if cheats else ["--no-cheats"]), again=False)
    troupe.wait_for("the simulated county", (sim / "sim.json").is_file)
    county = json.loads((sim / "sim.json").read_text(encoding="utf-8"))
    report = asyncio.run(import_ledger(sim / "ledger", data, quiet=True))
    if report.problems:
        raise BadConfig("\n".join(map(str, report.problems)))
    config = data / DEFAULT_CONFIG
    config.write_text(configuration(county, port + 1), encoding="utf-8")
    troupe.start("server", "pumpwatch", "serve", "--data", str(data), "--config", str(config), again=True)
    troupe.wait_for("the server", lambda: _alive(data))
    api = f"http://127.0.0.1:{port + 1}"
    troupe.start("dashboards", "pumpwatch_dashboards", "--api", api, "--port", str(port), again=True)
    troupe.wait_for("the dashboards", lambda: _answers(f"http://127.0.0.1:{port}/"))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def configuration(county: dict[str, Any], api_port: int) -> str:
    """The configuration of a simulated county, as an administrator would write it."""
    lines = [
        "# Written by `pumpwatch demo`; all stations are invented and simulated.",
        "[server]",
        'name = "示例县 Demo county"',
        'time_zone = "Asia/Shanghai"',
        "",
        "[api]",
        'host = "127.0.0.1"',
        f"port = {api_port}",
    ]
    for station in county["stations"]:
        lines += ["", "[[stations]]", f"id = {_toml(station['station_id'])}"]
        for number, dispenser in enumerate(station["dispensers"], 1):
            lines += [
                "  [[stations.devices]]",
                f'  id = "D{number}"',
                '  driver = "modbus"',
                f'  line = "tcp://127.0.0.1:{station["modbus_port"]}"',
                f"  dispenser = {_toml(dispenser['dispenser_id'])}",
                f"  nozzles = {_toml(dispenser['nozzle_ids'])}",
                f'  settings = {{ brand = "generic-4", unit = {dispenser["unit"]} }}',
            ]
        lines += [
            "  [[stations.devices]]",
            '  id = "TLS"',
            '  driver = "tls350"',
            f'  line = "tcp://127.0.0.1:{station["gauge_port"]}"',
            f"  tanks = {_toml(station['tank_ids'])}",
        ]
    return "\n".join(lines) + "\n"


def _toml(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)
