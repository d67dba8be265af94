"""The route for ``pumpwatch detect``: what the rules find in any period of what this server holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query

from pumpwatch.api.exchange import When
from pumpwatch.engine import judgement_to_json

if TYPE_CHECKING:
    from pumpwatch.engine import Engine

Names = Annotated[list[Annotated[str, Query(max_length=64)]], Query(max_length=500)]


def detecting_router(engine: Engine) -> APIRouter:
    """``GET /detect``: judged when asked, raising no alarm; one such question at a time."""
    router = APIRouter(prefix="/api/v1")

    @router.get("/detect")
    async def detect(
        start: Annotated[When | None, Query(alias="from")] = None,
        end: Annotated[When | None, Query(alias="to")] = None,
        rule: Names = [],  # noqa: B006 - FastAPI copies it
        station: Names = [],  # noqa: B006
        workers: Annotated[int, Query(ge=1, le=8)] = 1,
        each: bool = False,
    ) -> dict[str, Any]:
        judgement = await engine.reviewing.judge(start, end, workers=workers, names=rule, stations=station)
        return judgement_to_json(judgement, each=each)

    return router
