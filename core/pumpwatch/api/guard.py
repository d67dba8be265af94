"""Who may speak with the API: this machine without a password, anyone else with the token."""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
CALLS = "/call/"
"""Where devices call; they have credentials of their own, which their drivers check."""


class Guard:
    """ASGI middleware in front of every route, HTTP and WebSocket, but those that devices call.

    Without a token only requests that name a loopback host get through (a web page elsewhere that points its own name
    at 127.0.0.1 does not), and none that a foreign page started. With a token every request must carry it as
    ``Authorization: Bearer …``.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token.encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through or refuse."""
        is_call = scope["type"] == "http" and scope["path"].startswith(CALLS)
        if scope["type"] not in {"http", "websocket"} or is_call:
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        refusal = self._refusal(headers)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401, "reason": refusal[1]})
        else:
            status, reason = refusal
            body = json.dumps({"error": reason}).encode()
            head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            if status == 401:
                head.append((b"www-authenticate", b"Bearer"))
            await send({"type": "http.response.start", "status": status, "headers": head})
            await send({"type": "http.response.body", "body": body})

    def _refusal(self, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if self._token is not None:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
                return None
            return 401, "this server wants its token: send 'Authorization: Bearer TOKEN'"
        if _host(headers.get(b"host", b"")) not in LOOPBACK:
            return 403, "without a token this server answers only under 127.0.0.1 or localhost"
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin.decode("latin-1")).hostname not in LOOPBACK:
            return 403, "a web page from elsewhere may not use this server"
        return None


def _host(header: bytes) -> str:
    return urlsplit("//" + header.decode("latin-1")).hostname or ""
