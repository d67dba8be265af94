"""The dashboards' side of the HTTP API; the only place that knows its addresses and its token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import httpx

from pumpwatch.errors import BadConfig, BadReply, NotReachable

TIMEOUT_S = 5.0
DRAWING_S = 30.0
"""A server that draws its first figure has to load what it draws with."""
IDLE_S = 2.0
"""An idle connection is given up after so long: well before the API, which waits 5 s, hangs up under a request."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API answered, passed on as it is."""

    status: int
    content_type: str
    body: bytes
    disposition: str = ""
    """What the body is to be called when it is kept."""


class Api:
    """Asks the API.

    Raises ``NotReachable`` when nothing answers in time (5 s unless told otherwise), ``BadReply`` when the answer is
    not what was asked for.
    """

    def __init__(self, url: str, token: str | None) -> None:
        """``url`` is the server's address, for example ``http://127.0.0.1:8081``."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadConfig(f"--api {url!r} is not an address of the API; give one like http://127.0.0.1:8081")
        self._root = parts
        self.token = token
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/api/v1/",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_S,
            limits=httpx.Limits(max_connections=12, max_keepalive_connections=6, keepalive_expiry=IDLE_S),
            trust_env=False,
        )

    @property
    def live_url(self) -> str:
        """Address of the live feed."""
        scheme = "wss" if self._root.scheme == "https" else "ws"
        return urlunsplit((scheme, self._root.netloc, self._root.path.rstrip("/") + "/api/v1/live", "", ""))

    async def get(
        self, *path: str, query: Mapping[str, str | int] | None = None, timeout_s: float = TIMEOUT_S
    ) -> Reply:
        """GET the resource named by the parts of ``path``."""
        return await self._ask("GET", path, query=query, timeout_s=timeout_s)

    async def post(self, *path: str, body: Mapping[str, str]) -> Reply:
        """POST ``body`` as JSON."""
        return await self._ask("POST", path, body=body)

    async def rows(self, *path: str, query: Mapping[str, str | int] | None = None) -> list[dict[str, object]]:
        """GET a list of objects."""
        facts = self._read(await self.get(*path, query=query), path)
        if not isinstance(facts, list):
            raise BadReply(f"{'/'.join(path)}: the API answered no list")
        return [row for row in facts if isinstance(row, dict)]

    async def facts(self, *path: str, query: Mapping[str, str | int] | None = None) -> dict[str, object]:
        """GET one object."""
        facts = self._read(await self.get(*path, query=query), path)
        if not isinstance(facts, dict):
            raise BadReply(f"{'/'.join(path)}: the API answered no object")
        return facts

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        where = "/".join(quote(part, safe="") for part in path)
        try:
            answer = await self._http.request(method, where, params=query, json=body, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise NotReachable(
                f"the API at {urlunsplit(self._root)} does not answer ({type(error).__name__})"
            ) from error
        head = answer.headers
        kind, name = head.get("content-type", "application/octet-stream"), head.get("content-disposition", "")
        return Reply(answer.status_code, kind, answer.content, name)

    @staticmethod
    def _read(reply: Reply, path: tuple[str, ...]) -> object:
        if reply.status != httpx.codes.OK:
            raise BadReply(f"{'/'.join(path)}: the API answered {reply.status}")
        try:
            facts: object = json.loads(reply.body)
        except ValueError as error:
            raise BadReply(f"{'/'.join(path)}: the API's answer is no JSON") from error
        return facts
