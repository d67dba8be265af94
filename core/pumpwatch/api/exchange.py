"""The routes for data sets: a table of any length comes as the body of a request and goes as that of an answer."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import MINYEAR, UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from pydantic import AfterValidator
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pumpwatch.canonical import MEASURED_TABLES, TABLES, Format, Span
from pumpwatch.errors import PumpwatchError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from pumpwatch.engine import Engine
    from pumpwatch.ledger import TableReport

TABLE_LIMIT: Final = 4 * 1024**3
"""Bytes a table may have when it comes through the API."""
STALLED_S: Final = 60.0
"""A body of which nothing came for so long is given up."""
_PASSED_OVER: Final = 64 * 1024**2
"""So much of a body that is not wanted is read all the same: a client that still sends would not see the answer."""


def _aware(at: datetime) -> datetime:
    """In UTC; at the ends of the calendar, where that would lie outside, the end itself."""
    try:
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if at.year == MINYEAR else datetime.max.replace(tzinfo=UTC)


When = Annotated[datetime, AfterValidator(_aware)]


def exchange_router(engine: Engine) -> APIRouter:
    """``POST /import/{table}``, ``GET /export/{table}``, and snapshots for ``pumpwatch backup``."""
    router = APIRouter(prefix="/api/v1")

    @router.post("/import/{table}")
    async def take(table: str, request: Request, format: Literal["csv", "parquet", "xlsx"]) -> dict[str, Any]:  # noqa: A002
        body = _Body(request)
        try:
            _known(table, format)
            return _told(await engine.exchange.take(table, format, body.chunks()))
        except (HTTPException, PumpwatchError):
            await body.pass_over()
            raise

    @router.get("/export/{table}")
    async def give(
        table: str,
        format: Format = Format.PARQUET,  # noqa: A002
        start: Annotated[When | None, Query(alias="from")] = None,
        end: Annotated[When | None, Query(alias="to")] = None,
    ) -> FileResponse:
        _known(table, format)
        path, told = await engine.exchange.give(table, format, Span(start, end))
        return _Passing(
            path,
            filename=told.file,
            media_type="text/csv; charset=utf-8" if format is Format.CSV else "application/vnd.apache.parquet",
            headers={"pumpwatch-rows": str(told.rows)},
        )

    @router.post("/backup")
    async def snapshot() -> dict[str, Any]:
        made = await engine.snapshots.make()
        return {"folder": f"{made.folder.parent.name}/{made.folder.name}", "left_out": made.left_out}

    @router.delete("/backup")
    async def drop() -> dict[str, Any]:
        await engine.snapshots.drop()
        return {}

    return router


class _Passing(FileResponse):
    """A finished file in a folder of its own that goes with the answer, however that ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await asyncio.to_thread(shutil.rmtree, Path(self.path).parent, ignore_errors=True)


def _known(table: str, format: str) -> None:  # noqa: A002
    if table not in TABLES:
        raise HTTPException(404, f"there is no table {table[:80]!r}; there are {', '.join(TABLES)}")
    if format == "xlsx" and any(table == measured.name for measured in MEASURED_TABLES):
        raise HTTPException(422, f"format: {table} cannot come as Excel; send csv or parquet")


class _Body:
    """The body of a request as it comes, within bounds."""

    def __init__(self, request: Request) -> None:
        self._stream = request.stream()
        announced = request.headers.get("content-length", "")
        self._announced = int(announced) if announced.isascii() and announced.isdigit() else 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """What comes. Raises ``HTTPException`` when it is too much, too slow or not all."""
        size = self._announced
        if size <= TABLE_LIMIT:
            size = 0
            while chunk := await self._next():
                size += len(chunk)
                if size > TABLE_LIMIT:
                    break
                yield chunk
        if size > TABLE_LIMIT:
            limit = f"{TABLE_LIMIT / 1024**2:,.0f} MB" if TABLE_LIMIT >= 1024**2 else f"{TABLE_LIMIT:,} bytes"
            raise HTTPException(413, f"a table may have {limit} here; cut it in pieces and send one after another")

    async def pass_over(self) -> None:
        """Read what nobody wants, that the client may come to read its answer."""
        size = 0
        try:
            while size < _PASSED_OVER and (chunk := await self._next()):
                size += len(chunk)
        except HTTPException:
            return

    async def _next(self) -> bytes:
        """The next bytes; none at the end."""
        try:
            async with asyncio.timeout(STALLED_S):
                while not (chunk := await anext(self._stream, None)) and chunk is not None:
                    pass
        except TimeoutError as error:
            raise HTTPException(
                408, f"nothing came for {STALLED_S:g} s; nothing was imported, send it again"
            ) from error
        except ClientDisconnect as error:
            raise HTTPException(400, "the table broke off; nothing was imported, send it again") from error
        return chunk or b""


def _told(report: TableReport) -> dict[str, Any]:
    return {
        "table": report.table,
        "added": report.added,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "rejected": report.rejected,
        "problems": [{"line": p.line, "column": p.column, "reason": p.reason} for p in report.problems],
        "rejects": report.rejects.name if report.rejects else None,
    }
