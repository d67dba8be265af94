"""``pumpwatch driver trace``: the bytes of one device as they pass, with what they mean."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated

import httpx
import typer
import websockets

from pumpwatch.cli.asking import Port, credentials, server_url
from pumpwatch.cli.output import DEFAULT_DATA, AsJson, Data
from pumpwatch.errors import BadConfig, NotReachable


def add_to(group: typer.Typer) -> None:
    """Register the command."""
    group.command()(trace)


def trace(
    device: Annotated[str, typer.Argument(help="The device, for example S01/D1.", metavar="STATION/DEVICE")],
    data: Data = DEFAULT_DATA,
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Show what is asked and answered, or heard, until Ctrl-C: > to the device, < from it, = on a tapped line."""
    asyncio.run(_trace(server_url(data, port), device, as_json=as_json))


async def _trace(url: str, device: str, *, as_json: bool) -> None:
    address = f"ws{url.removeprefix('http')}/api/v1/trace?{httpx.QueryParams({'device': device})}"
    try:
        async with websockets.connect(address, additional_headers=credentials(), proxy=None) as socket:
            async for message in socket:
                row = json.loads(message)
                told = json.dumps(row, ensure_ascii=False) if as_json else _line(row)
                sys.stdout.write(f"{told}\n")
                sys.stdout.flush()
            code, reason = socket.close_code, socket.close_reason
    except (OSError, websockets.WebSocketException) as error:
        raise NotReachable(f"the server at {url} is gone ({error})") from error
    if code == 4404:
        raise BadConfig(f"{reason}; `pumpwatch tags` lists what there is")


def _line(row: dict[str, str]) -> str:
    meaning = f"\n{'':27}{row['meaning']}" if row["meaning"] else ""
    return f"{row['at'][:23]:24} {row['way']} {row['hex']}{meaning}"
