"""The HTTP side of an InfluxDB server: lines in by the v2 write API, rows out by InfluxQL, errors by their meaning."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from pumpwatch import BadConfig, NotReachable

if TYPE_CHECKING:
    from pumpwatch_influx.settings import InfluxSettings

MOST_STATEMENTS: Final = 50
"""In one question to the server."""
_GZIP_LEVEL: Final = 1
_TOO_LARGE: Final = 413
_BAD_POINTS: Final = (400, _TOO_LARGE, 422)
_WRONG_TOKEN: Final = (401, 403)
_MISSING: Final = 404
_ERRORS: Final = 300
_EXPIRED: Final = "beyond retention policy"
"""What the server says of points that it would have dropped by now: nothing is lost that it should keep."""
_FULL: Final = "limit exceeded"


@dataclass(frozen=True, slots=True)
class Rows:
    """One table of an answer."""

    tags: Mapping[str, str]
    columns: Sequence[str]
    values: Sequence[Sequence[Any]]

    def named(self) -> Iterator[dict[str, Any]]:
        """Each row with what it holds by column."""
        for row in self.values:
            yield {name: value for name, value in zip(self.columns, row, strict=True) if value is not None}


class Server:
    """One server and database. Every method but ``open`` raises ``NotReachable`` when it cannot be done now."""

    def __init__(self, settings: InfluxSettings) -> None:
        self._settings = settings
        self._client: httpx.AsyncClient | None = None

    def open(self) -> None:
        """Make ready; nothing is sent yet. Raises ``BadConfig`` for a file of certificates that is none."""
        if self._client is not None:
            return
        asked = self._settings
        secret = asked.token.get_secret_value() if asked.token else None
        headers, auth = {}, None
        if secret is not None and asked.user:
            auth = httpx.BasicAuth(asked.user, secret)
        elif secret is not None:
            headers["Authorization"] = f"Token {secret}"
        self._client = httpx.AsyncClient(
            base_url=asked.url,
            headers=headers,
            auth=auth,
            verify=verification(asked),
            timeout=asked.timeout_s,
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def write(self, lines: Sequence[str], policy: str, precision: str) -> list[str]:
        """Keep these lines for good; in sentences, those that the server will never take.

        A request that the server does not take whole is halved until what it refuses stands alone: the rest is kept.
        """
        refused: list[str] = []
        for chunk in self._chunks(lines):
            waiting = [chunk]
            while waiting:
                some = waiting.pop()
                reason = await self._post_lines(some, policy, precision)
                if reason is None:
                    continue
                if len(some) == 1:
                    refused.append(f"{some[0][:200]}: {reason}")
                else:
                    middle = len(some) // 2
                    waiting += [some[middle:], some[:middle]]
        return refused

    async def query(self, statements: Sequence[str], policy: str = "") -> list[list[Rows]]:
        """The tables that answer each statement; times in nanoseconds."""
        answers: list[list[Rows]] = []
        for first in range(0, len(statements), MOST_STATEMENTS):
            some = statements[first : first + MOST_STATEMENTS]
            asked = {"q": "; ".join(some), "db": self._settings.database, "epoch": "ns"}
            answer = await self.send("POST", "/query", data=asked | ({"rp": policy} if policy else {}))
            self._see(answer)
            answers += self._tables(answer, len(some))
        return answers

    async def send(self, method: str, route: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own words
        """One request; whatever the answer's status."""
        if self._client is None:
            raise NotReachable(f"{self._settings.url}: the store is closed")
        try:
            return await self._client.request(method, route, **more)
        except httpx.TimeoutException as error:
            raise NotReachable(
                f"{self._settings.url}: no answer within {self._settings.timeout_s:g} s; see that InfluxDB keeps up"
            ) from error
        except httpx.HTTPError as error:
            raise NotReachable(
                f"{self._settings.url}: {error or type(error).__name__}; is InfluxDB running?"
            ) from error

    # ------------------------------------------------------------ writing

    def _chunks(self, lines: Sequence[str]) -> Iterator[Sequence[str]]:
        begin = size = 0
        for i, line in enumerate(lines):
            size += len(line) + 1
            if size > self._settings.request_bytes and i > begin:
                yield lines[begin:i]
                begin, size = i, len(line) + 1
        if begin < len(lines):
            yield lines[begin:]

    async def _post_lines(self, lines: Sequence[str], policy: str, precision: str) -> str | None:
        """Send lines; why the server does not take (some of) them, None when it has them all."""
        bucket = f"{self._settings.database}/{policy}"
        answer = await self.send(
            "POST",
            "/api/v2/write",
            params={"org": self._settings.org, "bucket": bucket, "precision": precision},
            content=gzip.compress("\n".join(lines).encode(), _GZIP_LEVEL),
            headers={"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=utf-8"},
        )
        reason = _said(answer)
        if answer.status_code not in _BAD_POINTS or (reason is None and answer.status_code != _TOO_LARGE):
            self._see(answer)
            return None
        if reason is not None and _FULL in reason:
            raise NotReachable(f"{self._settings.url}: {reason}; raise the server's limit")
        return None if reason is not None and _EXPIRED in reason else reason or "too large for the server"

    # ------------------------------------------------------------ answers

    def _see(self, answer: httpx.Response) -> None:
        """Raise what an answer's status means, unless all is well."""
        status, said = answer.status_code, _said(answer) or answer.reason_phrase
        if status < _ERRORS and status >= 200:
            return
        if status in _WRONG_TOKEN:
            remedy = "correct the token, and what the server lets it do"
        elif status == _MISSING or "not found" in said:
            remedy = "run `pumpwatch store init`"
        else:
            remedy = "the next write tries again"
        raise NotReachable(f"{self._settings.url}: InfluxDB answers {status} ({said[:300]}); {remedy}")

    def _tables(self, answer: httpx.Response, statements: int) -> list[list[Rows]]:
        try:
            results = json.loads(answer.content)["results"]
            tables: list[list[Rows]] = [[] for _ in range(statements)]
            for result in results:
                if "error" in result:
                    raise NotReachable(
                        f"{self._settings.url}: InfluxDB cannot answer ({str(result['error'])[:300]}); "
                        "if the database is missing, run `pumpwatch store init`"
                    )
                for one in result.get("series", ()):
                    if one.get("partial"):
                        raise NotReachable(
                            f"{self._settings.url}: the answer is cut; set max-row-limit = 0 in InfluxDB"
                        )
                    rows = Rows(one.get("tags", {}), one["columns"], one.get("values", ()))
                    tables[result.get("statement_id", 0)].append(rows)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise NotReachable(f"{self._settings.url}: this is no answer of InfluxDB's /query ({error!r})") from error
        return tables


def verification(settings: InfluxSettings) -> ssl.SSLContext:
    """What the server's certificate is checked with; it always is. Raises ``BadConfig``."""
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except (OSError, ssl.SSLError) as error:
        raise BadConfig(
            f"ca: {settings.ca} cannot be read as certificates ({error}); name the PEM file of the authority "
            "that signed the server's certificate"
        ) from error


def _said(answer: httpx.Response) -> str | None:
    """What InfluxDB says is wrong; None when it is not InfluxDB that speaks."""
    try:
        told = json.loads(answer.content)
    except ValueError:
        return None
    said = told.get("error") or told.get("message") if isinstance(told, dict) else None
    return str(said) if said else None
