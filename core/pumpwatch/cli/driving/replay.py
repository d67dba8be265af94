"""``pumpwatch driver replay``: a recorded exchange as a device that can be asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.cli.output import stdout
from pumpwatch.testing import ReplayDevice, TestCase


def add_to(group: typer.Typer) -> None:
    """Register the command."""
    group.command()(replay)


def replay(
    folder: Annotated[Path, typer.Argument(help="A testcase: a folder with capture.hex and expected.toml.")],
    port: Annotated[int, typer.Option("--port", help="TCP port on this machine; 0 takes any free one.")] = 0,
) -> None:
    """Answer on a TCP port what was recorded, whoever asks, until interrupted."""
    case = TestCase.load(folder)

    async def answer() -> None:
        async with ReplayDevice(case).on_tcp(port) as address:
            stdout.print(f"{case.name} answers at {address}; Ctrl-C ends it", highlight=False, soft_wrap=True)
            await asyncio.get_running_loop().create_future()

    asyncio.run(answer())
