"""``status``, ``tags``, ``watch``: questions to a running server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
import websockets

from pumpwatch.cli.output import DEFAULT_DATA, AsJson, Data, show, show_json, stderr, stdout
from pumpwatch.cli.places import RUNNING
from pumpwatch.errors import NotReachable

Port = Annotated[int | None, typer.Option("--port", help="Port of the server, if it does not run on --data.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(status)
    app.command()(tags)
    app.command()(watch)


def status(data: Data = DEFAULT_DATA, port: Port = None, as_json: AsJson = False) -> None:
    """How the running server is doing: stations, devices, samples, journal, alarms, rules."""
    now = ask(server_url(data, port), "/api/v1/status")
    if as_json:
        show_json(now)
        return
    stations, devices = now["stations"], now["devices"]
    stdout.print(f"[bold]{now['server']}[/]  since {now['started']}")
    stdout.print(
        f"stations {stations['connected']}/{stations['total']} · devices {devices['connected']}/{devices['total']} · "
        f"{now['samples_per_s']} samples/s · journal backlog {now['journal_backlog']} · "
        f"scan delay p99 {now['scan_delay_ms']['p99']} ms"
    )
    for damage in now["damage"]:
        stderr.print(f"damaged: {damage}", style="red", markup=False)
    for line in rules_off(now["rules"].get("off_at", {})):
        stderr.print(line, style="yellow", markup=False, highlight=False)
    for name, why in now["rules"]["failing"].items():
        stderr.print(f"rule {name} fails: {why}", style="red", markup=False)
    rows = [
        {
            "id": a["id"],
            "severity": a["severity"],
            "state": a["state"],
            "subject": a["subject"],
            "what": a["title"]["en"],
            "rule": a["rule"],
            "since": a["since"],
            "acknowledged": a["acknowledged"],
        }
        for a in now["active_alarms"]
    ]
    show(rows, as_json=False, title="Alarms")


def tags(
    prefix: Annotated[str, typer.Argument(help="Beginning of the path, for example S01/D1/.")] = "",
    data: Data = DEFAULT_DATA,
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """List tags with their last value and quality."""
    show(ask(server_url(data, port), "/api/v1/latest", prefix=prefix), as_json=as_json)


def watch(
    prefix: Annotated[str, typer.Argument(help="Beginning of the path, for example S01/D1/nozzle-1.")] = "",
    data: Data = DEFAULT_DATA,
    port: Port = None,
) -> None:
    """Print values as they change, until Ctrl-C."""
    asyncio.run(_watch(server_url(data, port), prefix))


def server_url(data: Path, port: int | None, process: int | None = None) -> str:
    """Where the server of a data folder is. Raises ``NotReachable`` when none runs, or not as this process."""
    if port is not None:
        return f"http://127.0.0.1:{port}"
    try:
        told = json.loads((data / RUNNING).read_text(encoding="utf-8"))
        url, owner = str(told["api"]), told["pid"]
    except (OSError, ValueError, KeyError) as error:
        raise NotReachable(
            f"no server runs on {data}; start one with `pumpwatch serve` or `pumpwatch demo`, or name its folder "
            "with --data DIR or its port with --port N"
        ) from error
    if process not in (None, owner):
        raise NotReachable(f"{data / RUNNING} is of a server that was killed; another may have its port now")
    return url


def rules_off(off: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Where rules cannot judge, and what they miss there: one sentence for each rule and reason."""
    for rule, stations in off.items():
        by_reason: dict[str, list[str]] = {}
        for station, missing in stations.items():
            by_reason.setdefault(missing, []).append(station)
        for missing, those in by_reason.items():
            yield f"{rule} is off at {', '.join(those)}: no {missing}"


def ask(url: str, path: str, **parameters: str) -> Any:  # noqa: ANN401 - JSON
    """GET from the server as JSON."""
    try:
        answer = httpx.get(url + path, params=parameters, headers=credentials(), timeout=10, trust_env=False)
        answer.raise_for_status()
        return answer.json()
    except httpx.HTTPStatusError as error:
        raise NotReachable(f"{url}{path}: {error.response.status_code} {error.response.text[:200]}") from error
    except (httpx.HTTPError, ValueError) as error:
        raise NotReachable(f"the server at {url} does not answer ({error}); is it still running?") from error


def credentials() -> dict[str, str]:
    """The token, for servers that want one."""
    token = os.environ.get("PUMPWATCH_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


async def _watch(url: str, prefix: str) -> None:
    address = f"ws{url.removeprefix('http')}/api/v1/watch?prefix={httpx.QueryParams({'p': prefix})['p']}"
    try:
        async with websockets.connect(address, additional_headers=credentials(), proxy=None) as socket:
            async for message in socket:
                for row in json.loads(message):
                    sys.stdout.write(f"{row['at']}  {row['path']}  {row['value']}\n")
                sys.stdout.flush()
    except (OSError, websockets.WebSocketException) as error:
        raise NotReachable(f"the server at {url} is gone ({error})") from error
