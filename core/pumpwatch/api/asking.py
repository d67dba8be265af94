"""The routes for questions to what is kept, page by page: tags, buckets, joins, fillings, gaps, completeness."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException

from pumpwatch.api.exchange import When
from pumpwatch.api.tables import Form, Format, columns_of, page_answer
from pumpwatch.engine import MOST_ROWS, FillingFilter
from pumpwatch.errors import BadConfig

if TYPE_CHECKING:
    import pyarrow as pa
    from fastapi.responses import Response

    from pumpwatch.engine import Engine

_HOUR: Final = timedelta(hours=1)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

Name = Annotated[str, Query(min_length=1, max_length=200)]
Names = Annotated[list[Name], Query(max_length=200)]
Paths = Annotated[list[Name], Query(alias="path", max_length=200, description="STATION/DEVICE/TAG")]
Path = Annotated[str, Query(max_length=200, description="STATION/DEVICE/TAG")]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS)]
After = Annotated[str | None, Query(max_length=2_000, description="Where the answer before ended")]
Seconds = Annotated[float, Query(ge=0, le=366 * 86_400, allow_inf_nan=False)]
Litres = Annotated[float | None, Query(ge=-1e9, le=1e9, allow_inf_nan=False)]
Word = Annotated[str | None, Query(max_length=80)]


def asking_router(engine: Engine) -> APIRouter:
    """All of them answer a page and name the next in the header ``Link``."""
    router = APIRouter(prefix="/api/v1")
    queries = engine.queries

    def span(start: datetime | None, end: datetime | None, usual: timedelta = _HOUR) -> tuple[datetime, datetime]:
        until = end or engine.clock.now()
        return start or max(until, _LONG_AGO + usual) - usual, until

    @router.get("/latest")
    async def latest(
        request: Request,
        prefix: Annotated[str, Query(max_length=200)] = "",
        after: After = None,
        limit: Limit = MOST_ROWS,
        format: Format = Form.JSON,  # noqa: A002 - the query parameter's name
    ) -> Response:
        return await page_answer(request, queries.latest(prefix, after=after, limit=limit), format, "latest")

    @router.get("/series")
    async def series(
        request: Request,
        path: Path,
        start: When | None = None,
        end: When | None = None,
        after: After = None,
        limit: Limit = 10_000,
        format: Format = Form.JSON,  # noqa: A002
    ) -> Response:
        begin, until = span(start, end)
        asked = queries.samples((path,), start=begin, end=until, after=after, limit=limit)

        def shown(table: pa.Table) -> dict[str, Any]:
            return {"path": path, **columns_of(table.drop_columns(["path"]))}

        return await page_answer(request, asked, format, path.replace("/", "-"), shown)

    @router.get("/samples")
    async def samples(
        request: Request,
        paths: Paths = [],  # noqa: B006 - FastAPI copies it
        station: Annotated[Name | None, Query()] = None,
        start: When | None = None,
        end: When | None = None,
        after: After = None,
        limit: Limit = 10_000,
        format: Format = Form.JSON,  # noqa: A002
    ) -> Response:
        begin, until = span(start, end)
        asked = queries.samples(paths, station_id=station, start=begin, end=until, after=after, limit=limit)
        return await page_answer(request, asked, format, f"samples-{station or ''}")

    @router.get("/summaries")
    async def summaries(
        request: Request,
        paths: Paths,
        width: Seconds = 60.0,
        start: When | None = None,
        end: When | None = None,
        after: After = None,
        limit: Limit = 10_000,
        format: Format = Form.JSON,  # noqa: A002
    ) -> Response:
        begin, until = span(start, end, timedelta(days=1))
        asked = queries.summaries(paths, timedelta(seconds=width), start=begin, end=until, after=after, limit=limit)
        return await page_answer(request, asked, format, "summaries")

    @router.get("/as-of")
    async def as_of(
        request: Request,
        paths: Paths,
        at: Annotated[list[When], Query(max_length=1_000)],
        lookback: Seconds = 900.0,
        format: Format = Form.JSON,  # noqa: A002
    ) -> Response:
        asked = queries.as_of(paths, at, lookback=timedelta(seconds=lookback))
        return await page_answer(request, asked, format, "as-of")

    @router.get("/transactions")
    async def transactions(
        request: Request,
        station: Annotated[Name | None, Query()] = None,
        nozzle: Annotated[Name | None, Query()] = None,
        start: When | None = None,
        end: When | None = None,
        payment: Word = None,
        preset: Word = None,
        grade: Word = None,
        min_l: Litres = None,
        max_l: Litres = None,
        min_cny: Litres = None,
        max_cny: Litres = None,
        paths: Paths = [],  # noqa: B006
        lookback: Seconds = 900.0,
        after: After = None,
        limit: Limit = 1_000,
        format: Format = Form.JSON,  # noqa: A002
    ) -> Response:
        wanted = FillingFilter(station, nozzle, start, end, payment, preset, grade, min_l, max_l, min_cny, max_cny)
        if paths:
            asked = queries.as_of_fillings(
                paths, wanted, lookback=timedelta(seconds=lookback), after=after, limit=limit
            )
        else:
            asked = queries.transactions(wanted, after=after, limit=limit)
        return await page_answer(request, asked, format, "transactions")

    @router.get("/stations/{station_id}/transactions")
    async def transactions_of_station(
        request: Request,
        station_id: str,
        start: When | None = None,
        end: When | None = None,
        after: After = None,
        limit: Limit = 50,
        format: Format = Form.JSON,  # noqa: A002
    ) -> Response:
        if engine.register.station(station_id) is None:
            raise HTTPException(404, f"no station {station_id[:80]!r}; GET /api/v1/stations lists them")
        asked = queries.transactions(FillingFilter(station_id, start=start, end=end), after=after, limit=limit)
        return await page_answer(request, asked, format, f"transactions-{station_id}")

    @router.get("/gaps")
    async def gaps(
        request: Request,
        of: Annotated[str, Query(max_length=200, description="STATION/DEVICE or STATION/DEVICE/TAG")],
        longer: Annotated[Seconds | None, Query()] = None,
        start: When | None = None,
        end: When | None = None,
        after: After = None,
        limit: Limit = 1_000,
        format: Format = Form.JSON,  # noqa: A002
    ) -> Response:
        begin, until = span(start, end, timedelta(days=1))
        longest = None if longer is None else timedelta(seconds=longer)
        asked = queries.gaps(of, longest=longest, start=begin, end=until, after=after, limit=limit)
        return await page_answer(request, asked, format, f"gaps-{of.replace('/', '-')}")

    @router.get("/completeness")
    async def completeness(
        request: Request,
        stations: Annotated[list[Name], Query(alias="station", max_length=200)] = [],  # noqa: B006
        start: Annotated[date | None, Query(alias="from")] = None,
        end: Annotated[date | None, Query(alias="to", description="This day is left out")] = None,
        after: After = None,
        limit: Limit = 1_000,
        format: Format = Form.JSON,  # noqa: A002
    ) -> Response:
        until = end or queries.today() + timedelta(days=1)
        if start is None and until < date(1970, 1, 8):
            raise BadConfig("to: nothing was kept then; give a later day")
        asked = queries.completeness(
            stations, first=start or until - timedelta(days=7), end=until, after=after, limit=limit
        )
        return await page_answer(request, asked, format, "completeness")

    return router
