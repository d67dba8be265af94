"""Rows as answers: JSON for programs, CSV that a spreadsheet opens as it is, Arrow for analysts."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from fastapi import Query
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from pumpwatch.ledger.threads import in_thread

if TYPE_CHECKING:
    from fastapi import Request

    from pumpwatch.engine import Page

T = TypeVar("T")

ARROW: Final = "application/vnd.apache.arrow.stream"
"""https://www.iana.org/assignments/media-types/application/vnd.apache.arrow.stream"""
GONE: Final = 499
"""Status for a client that has gone, as web servers note it; nobody sees it."""


class Form(StrEnum):
    """How rows are written."""

    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"


Format = Annotated[Form, Query(description="json, csv for spreadsheets, or arrow for analysts (an IPC stream)")]


async def page_answer(
    request: Request,
    asked: Awaitable[Page],
    form: Form,
    name: str,
    shown: Callable[[pa.Table], Any] | None = None,
) -> Response:
    """A page, with the address of the next in the header ``Link``; ``shown`` makes JSON of it in another way.

    When the client goes away, the work ends at its next step.
    """
    page = await _while_there(request, asked)
    body, kind = await in_thread(_written, page, form, shown or rows_of)
    head = {"content-type": kind} | ({} if form is Form.JSON else _named(name, form))
    if page.after is not None:
        following = request.url.include_query_params(after=page.after)
        head["link"] = f'<{following.path}?{following.query}>; rel="next"'
        head["pumpwatch-after"] = page.after
    return Response(body, headers=head)


def list_answer(rows: Sequence[Mapping[str, Any]], form: Form, name: str) -> Response:
    """A short list that is there already."""
    if form is Form.JSON:
        return Response(_json(rows), media_type="application/json")
    columns = list(dict.fromkeys(key for row in rows for key in row)) or ["empty"]
    if form is Form.ARROW:
        table = pa.table({column: _array([row.get(column) for row in rows]) for column in columns})
        return Response(_arrow(table, None), media_type=ARROW, headers=_named(name, form))
    text = _csv(columns, ([row.get(column) for column in columns] for row in rows))
    return Response(text, media_type="text/csv; charset=utf-8", headers=_named(name, form))


def _array(cells: Sequence[Any]) -> pa.Array:
    """Cells as one kind of column: of several kinds, or lists, as texts."""
    if all(cell is None or isinstance(cell, bool) for cell in cells):
        return pa.array(cells, pa.bool_())
    if all(cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool)) for cell in cells):
        return pa.array(cells, pa.float64())
    return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())


async def _while_there(request: Request, asked: Awaitable[T]) -> T:
    """What is asked for, as long as somebody waits for it."""
    work, gone = asyncio.ensure_future(asked), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise HTTPException(GONE, "the client has gone")
        return work.result()
    finally:
        for each in (work, gone):
            each.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _written(page: Page, form: Form, shown: Callable[[pa.Table], Any]) -> tuple[bytes, str]:
    if form is Form.ARROW:
        return _arrow(page.table, page.after), ARROW
    if form is Form.JSON:
        return _json(shown(page.table)), "application/json"
    columns = columns_of(page.table)
    return _csv(list(columns), zip(*columns.values(), strict=True)), "text/csv; charset=utf-8"


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """A table as plain rows."""
    columns = columns_of(table)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def columns_of(table: pa.Table) -> dict[str, list[Any]]:
    """A table as plain columns: times in ISO 8601, NaN as None, a text in the place of its number."""
    columns = {}
    for name in table.column_names:
        if name != "text" and not name.endswith(":text"):
            columns[name] = _plain(table[name])
    for name in table.column_names:
        if name == "text" or name.endswith(":text"):
            number = "value" if name == "text" else name.removesuffix(":text")
            if table[name].null_count < len(table):
                pairs = zip(columns[number], table[name].to_pylist(), strict=True)
                columns[number] = [value if text is None else text for value, text in pairs]
    return columns


def _plain(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        return _iso(column)
    if pa.types.is_floating(column.type):
        return [None if value is None or not math.isfinite(value) else value for value in column.to_pylist()]
    if pa.types.is_date(column.type):
        return [None if day is None else day.isoformat() for day in column.to_pylist()]
    plain: list[Any] = column.to_pylist()
    return plain


def _iso(column: pa.ChunkedArray) -> list[str | None]:
    """ISO 8601 with Z; a fraction only where there is one."""
    us = column.cast(pa.int64())
    at = us.fill_null(0).to_numpy()
    whole = np.datetime_as_string(at.astype("M8[us]"), unit="s").tolist()
    exact = np.datetime_as_string(at.astype("M8[us]"), unit="us").tolist() if (at % 1_000_000).any() else whole
    known = us.is_valid().to_pylist()
    return [
        f"{fine if micro else coarse}Z" if is_known else None
        for coarse, fine, micro, is_known in zip(whole, exact, at % 1_000_000, known, strict=True)
    ]


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _arrow(table: pa.Table, after: str | None) -> bytes:
    if after is not None:
        table = table.replace_schema_metadata({"after": after})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def _csv(columns: Sequence[str], rows: Any) -> bytes:  # noqa: ANN401 - rows of any cells
    """UTF-8 with mark, without formulas."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(map(_harmless, columns))
    writer.writerows([_harmless(value) for value in row] for row in rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def _harmless(value: object) -> object:
    """A text that a spreadsheet would run as a formula gets a quote in front."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def _named(name: str, form: Form) -> dict[str, str]:
    safe = "".join(c if (c.isascii() and c.isalnum()) or c in "-_." else "_" for c in name)
    return {"content-disposition": f'attachment; filename="{safe}.{form}"'}
