"""Streams for who looks on in a terminal: values as they change, and the bytes of one device."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, WebSocket

from pumpwatch.api.live import iso, until_gone
from pumpwatch.model import from_us

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pumpwatch.engine import Engine

NO_SUCH_DEVICE = 4404
"""Code with which the stream of a device that is not configured is closed."""


def looking_router(engine: Engine) -> APIRouter:
    """Both streams."""
    router = APIRouter(prefix="/api/v1")

    @router.websocket("/watch")
    async def watch(socket: WebSocket, prefix: str = "") -> None:
        await socket.accept()
        await _until_gone(socket, _values(engine, socket, prefix))

    @router.websocket("/trace")
    async def trace(socket: WebSocket, device: str) -> None:
        await socket.accept()
        if all(device != each.path for each in engine.acquisition.devices):
            await socket.close(NO_SUCH_DEVICE, f"no device {device[:80]!r}")
        else:
            await _until_gone(socket, _bytes(engine, socket, device))

    return router


async def _until_gone(socket: WebSocket, showing: Coroutine[None, None, None]) -> None:
    """Show as long as somebody is there."""
    tasks = {asyncio.create_task(until_gone(socket)), asyncio.create_task(showing)}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _values(engine: Engine, socket: WebSocket, prefix: str) -> None:
    with engine.hub.subscribe() as stream:
        async for batch in stream:
            texts = batch.samples.texts or (None,) * len(batch.samples)
            rows = zip(batch.samples.paths, batch.samples.at_us, batch.samples.values, texts, strict=True)
            news = [
                {"path": p, "at": iso(from_us(us)), "value": t if t is not None else None if v != v else float(v)}  # noqa: PLR0124
                for p, us, v, t in rows
                if p.startswith(prefix)
            ]
            if news:
                await socket.send_json(news)


async def _bytes(engine: Engine, socket: WebSocket, device: str) -> None:
    with engine.acquisition.trace(device) as passing:
        while True:
            seen = await passing.get()
            row = {"at": iso(seen.at), "way": seen.way, "hex": seen.data.hex(" "), "meaning": seen.meaning}
            await socket.send_json(row)
