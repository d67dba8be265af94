"""The route for the figures of an alarm: as a picture for the browser and for paper, and as data."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from pumpwatch.alarms import figure_to_json
from pumpwatch.figures import WIDTHS, Look, to_png, to_svg

if TYPE_CHECKING:
    from pumpwatch.engine import Engine

KEPT_S: Final = 30
"""So long a browser may show a figure without asking again; an alarm that goes on gets a newer one."""


def figures_router(engine: Engine) -> APIRouter:
    """``GET /alarms/{id}/figures/{n}.svg``, ``.png`` and ``.json``; the first figure is 0."""
    router = APIRouter(prefix="/api/v1")
    turn = asyncio.Semaphore(1)  # drawings stand in line here, not in threads that others need
    zone = ZoneInfo(engine.settings.server.time_zone)

    @router.get("/alarms/{alarm_id}/figures/{number}.{form}")
    async def figure(
        alarm_id: str,
        number: Annotated[int, Path(ge=0, le=999)],
        form: Literal["svg", "png", "json"],
        language: Literal["zh", "en"] = "zh",
        theme: Literal["light", "dark"] = "light",
        width: Annotated[int, Query(ge=WIDTHS[0], le=WIDTHS[1], description="CSS pixels")] = 760,
    ) -> Response:
        alarm = await engine.alarms.alarm(alarm_id)
        figures = alarm.finding.figures
        if number >= len(figures):
            raise HTTPException(404, f"alarm {alarm.id} has {_count(len(figures))}, the first one is 0")
        if form == "json":
            return JSONResponse(figure_to_json(figures[number]))
        look = Look(width, theme == "dark", alarm.severity, zone)
        try:
            async with turn:
                picture = await asyncio.to_thread(to_svg if form == "svg" else to_png, figures[number], language, look)
        except ModuleNotFoundError as error:
            raise HTTPException(
                501, f"this server cannot draw, {error.name} is not installed: pip install 'pumpwatch[figures]'"
            ) from error
        head = {
            "cache-control": f"private, max-age={KEPT_S}",
            "content-disposition": f'inline; filename="{alarm.id}-{number + 1}-{language}.{form}"',
            "x-content-type-options": "nosniff",
        }
        return Response(picture, media_type="image/svg+xml" if form == "svg" else "image/png", headers=head)

    return router


def _count(number: int) -> str:
    return {0: "no figure", 1: "one figure"}.get(number, f"{number} figures")
