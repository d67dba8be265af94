"""``pumpwatch driver reload``: a changed driver in a running server, without a pause for the others."""

from __future__ import annotations

from typing import Annotated

import httpx
import typer

from pumpwatch.cli.asking import Port, credentials, server_url
from pumpwatch.cli.output import DEFAULT_DATA, AsJson, Data, show_json, stdout
from pumpwatch.errors import BadConfig, NotReachable


def add_to(group: typer.Typer) -> None:
    """Register the command."""
    group.command()(reload)


def reload(
    name: Annotated[str, typer.Argument(help="Name of the driver, as in `driver = …`.")],
    data: Data = DEFAULT_DATA,
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Have the running server read a driver anew. What is wrong with it is told, and then the old one goes on."""
    url = server_url(data, port)
    address = f"{url}/api/v1/drivers/{httpx.URL(path=name).raw_path.decode()}/reload"
    try:
        answer = httpx.post(address, headers=credentials(), timeout=30, trust_env=False)
    except httpx.HTTPError as error:
        raise NotReachable(f"the server at {url} does not answer ({error}); is it still running?") from error
    if answer.is_error:
        is_told = "json" in answer.headers.get("content-type", "")
        raise BadConfig(str(answer.json().get("error") if is_told else answer.text)[:1000])
    devices = answer.json()["devices"]
    if as_json:
        show_json({"devices": devices})
    else:
        stdout.print(f"{name}: read anew for {len(devices)} device{'' if len(devices) == 1 else 's'}", highlight=False)
