"""The route for ``pumpwatch detect``: what the rules find in any period of what this server holds."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response

from pumpwatch.api.exchange import When
from pumpwatch.engine import judgement_to_json
from pumpwatch.errors import Refused

if TYPE_CHECKING:
    from pumpwatch.engine import Engine, Judgement

AT_MOST = 20_000
"""Findings in one answer."""
Names = Annotated[list[Annotated[str, Query(max_length=64)]], Query(max_length=500)]


def detecting_router(engine: Engine) -> APIRouter:
    """``GET /detect``: judged when asked, raising no alarm; one such question at a time (else 409)."""
    router = APIRouter(prefix="/api/v1")

    @router.get("/detect")
    async def detect(
        start: Annotated[When | None, Query(alias="from")] = None,
        end: Annotated[When | None, Query(alias="to")] = None,
        rule: Names = [],  # noqa: B006 - FastAPI copies it
        station: Names = [],  # noqa: B006
        workers: Annotated[int, Query(ge=1, le=8)] = 1,
        each: bool = False,
    ) -> Response:
        judgement = await engine.reviewing.judge(start, end, workers=workers, names=rule, stations=station)
        if each and len(judgement.findings) > AT_MOST:
            raise Refused(f"{len(judgement.findings):,} findings are too many for one answer; ask for a shorter period")
        return Response(await asyncio.to_thread(_told, judgement, each=each), media_type="application/json")

    return router


def _told(judgement: Judgement, *, each: bool) -> bytes:
    return json.dumps(judgement_to_json(judgement, each=each), ensure_ascii=False).encode()
