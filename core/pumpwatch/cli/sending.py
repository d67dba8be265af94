"""Data sets to and from the server that holds a data folder, one table after another through its API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from pumpwatch.canonical import TABLES, ExportedTable, ExportProgress, Format, Span, import_each
from pumpwatch.cli.asking import credentials
from pumpwatch.errors import BadConfig, NotReachable, PumpwatchError, Refused
from pumpwatch.ledger import ImportReport, RowProblem, TableReport

_CHUNK: Final = 256 * 1024
_PATIENCE: Final = httpx.Timeout(60, connect=10, read=None)
"""A long table takes its time to be checked; a server that has gone closes the connection."""


@dataclass(frozen=True, slots=True)
class Sending:
    """How far a table is on its way to the server."""

    table: str
    sent: int
    size: int
    """Bytes."""

    @property
    def arrived(self) -> bool:
        """All of it is there; now the server checks it."""
        return self.sent == self.size


async def send_folder(url: str, folder: Path, rejects: Path, progress: Callable[[Sending], None]) -> ImportReport:
    """Import a folder through the server at ``url``; ``rejects`` is where that puts refused rows.

    Raises ``BadConfig``, ``Refused`` or ``NotReachable`` with the server's words.
    """
    async with served(url) as server:

        async def take(table: str, path: Path) -> TableReport:
            try:
                return await _send(server, table, path, rejects, progress)
            except OSError as error:
                raise BadConfig(f"cannot import {path}: {error.strerror}") from error

        return await import_each(folder, take)


async def _send(
    server: httpx.AsyncClient, table: str, path: Path, rejects: Path, progress: Callable[[Sending], None]
) -> TableReport:
    with path.open("rb") as file:
        size = path.stat().st_size  # noqa: ASYNC240

        async def content() -> AsyncIterator[bytes]:
            progress(Sending(table, 0, size))
            while chunk := file.read(_CHUNK):
                yield chunk
                progress(Sending(table, file.tell(), size))

        answer = await server.post(
            f"/import/{table}",
            params={"format": path.suffix[1:]},
            content=content(),
            headers={"content-length": str(size), "content-type": "application/octet-stream"},
        )
    see(answer)
    try:
        return _report(answer.json(), path.name, rejects)
    except (ValueError, KeyError, TypeError) as error:
        raise NotReachable(f"what answers at {server.base_url} is no pumpwatch of today ({error!r})") from error


def _report(told: dict[str, Any], file: str, rejects: Path) -> TableReport:
    """The server's report; the file has the name it has here."""
    return TableReport(
        table=told["table"],
        file=file,
        added=told["added"],
        changed=told["changed"],
        unchanged=told["unchanged"],
        rejected=told["rejected"],
        problems=tuple(RowProblem(file, p["line"], p["column"], p["reason"]) for p in told["problems"]),
        rejects=rejects / told["rejects"] if told["rejects"] else None,
    )


async def fetch_folder(
    url: str,
    folder: Path,
    *,
    kind: Format,
    tables: tuple[str, ...],
    span: Span,
    progress: Callable[[ExportProgress], None],
) -> tuple[ExportedTable, ...]:
    """Export through the server at ``url``; a file takes its name when it is whole."""
    if unknown := [name for name in tables if name not in TABLES]:
        raise BadConfig(f"there is no table {unknown[0]}; there are {', '.join(TABLES)}")
    asked = {"format": str(kind)}
    asked |= {name: at.isoformat() for name, at in (("from", span.start), ("to", span.end)) if at is not None}
    exported = []
    try:
        folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
        async with served(url) as server:
            for table in TABLES:
                if table in tables:
                    path = folder / f"{table}.{kind}"
                    progress(ExportProgress(table, 0))
                    rows = await fetch_file(server, f"/export/{quote(table)}", asked, path)
                    progress(ExportProgress(table, rows))
                    exported.append(ExportedTable(table, path.name, rows))
    except OSError as error:
        raise BadConfig(f"cannot export to {folder}: {error.strerror} ({error.filename or folder})") from error
    return tuple(exported)


async def fetch_findings(
    url: str, *, span: Span, rules: Collection[str], stations: Collection[str], workers: int, each: bool
) -> dict[str, Any]:
    """What the server at ``url`` finds in a period: ``findings`` and where rules are ``off``."""
    asked: dict[str, str | int | list[str]] = {
        "workers": workers,
        "each": str(each).lower(),
        "rule": list(rules),
        "station": list(stations),
    }
    asked |= {name: at.isoformat() for name, at in (("from", span.start), ("to", span.end)) if at is not None}
    async with served(url) as server:
        answer = await server.get("/detect", params=asked)
        see(answer)
        try:
            told: dict[str, Any] = answer.json()
            return {"findings": told["findings"], "off": told["off"]}
        except (ValueError, KeyError, TypeError) as error:
            raise NotReachable(f"what answers at {url} is no pumpwatch of today ({error!r})") from error


async def fetch_rows(url: str, route: str, asked: Mapping[str, Sequence[str]]) -> AsyncIterator[list[dict[str, Any]]]:
    """The pages of a list that the server at ``url`` gives, one after another."""
    async with served(url) as server:
        given: dict[str, Sequence[str]] = dict(asked)
        while True:
            answer = await server.get(route, params=given)
            see(answer)
            try:
                rows: list[dict[str, Any]] = list(answer.json())
            except (ValueError, TypeError) as error:
                raise NotReachable(f"what answers at {url} is no pumpwatch of today ({error!r})") from error
            yield rows
            if "pumpwatch-after" not in answer.headers:
                return
            given["after"] = [answer.headers["pumpwatch-after"]]


async def fetch_file(server: httpx.AsyncClient, route: str, asked: dict[str, str], path: Path) -> int:
    """Keep an answer as a file, which takes its name when it is whole; how many rows it has."""
    part = path.with_name(path.name + ".part")
    try:
        async with server.stream("GET", route, params=asked) as answer:
            if answer.is_error:
                await answer.aread()
            see(answer)
            with part.open("wb") as file:
                async for chunk in answer.aiter_bytes():
                    file.write(chunk)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return int(answer.headers.get("pumpwatch-rows", 0))


@asynccontextmanager
async def served(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The server; what goes wrong on the way becomes words."""
    try:
        async with httpx.AsyncClient(
            base_url=f"{url}/api/v1", headers=credentials(), timeout=_PATIENCE, trust_env=False
        ) as server:
            yield server
    except httpx.HTTPError as error:
        raise NotReachable(f"the server at {url} does not answer ({error!r}); is it still running?") from error


def see(answer: httpx.Response) -> None:
    """Raise what the server says is wrong."""
    if not answer.is_error:
        return
    try:
        words = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        words = answer.text[:200]
    kinds: dict[int, type[PumpwatchError]] = {401: NotReachable, 403: NotReachable, 409: Refused, 503: NotReachable}
    raise kinds.get(answer.status_code, BadConfig)(f"the server at {answer.url.host}:{answer.url.port}: {words}")
