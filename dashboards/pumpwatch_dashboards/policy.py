"""What a browser may do with our pages: security headers on every answer, and whose requests are heard."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.routing import Matcher
from tornado.web import OutputTransform

_INLINE_SCRIPT = re.compile(rb"<script(?P<attributes>(?![^>]*\bsrc=)[^>]*)>(?P<text>.*?)</script>", re.DOTALL)
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Doors:
    """The names under which this server may be called; a request by any other name is not from our pages."""

    def __init__(self, host: str, port: int, origins: Iterable[str] = ()) -> None:
        """``origins`` are further ``host:port`` names, for a server behind a proxy or bound to all addresses."""
        name = f"[{host}]" if ":" in host else host
        names = (*_LOOPBACK, name)
        plain = names if port == 80 else ()  # browsers leave the usual port out
        self.hosts = frozenset({f"{h}:{port}" for h in names}.union(plain, (o.lower() for o in origins)))

    def knows_host(self, request: HTTPServerRequest) -> bool:
        """Whether the request names this server: a strange Host header is DNS rebinding."""
        return request.host.lower() in self.hosts

    def knows_origin(self, origin: str | None) -> bool:
        """Whether a page of this server sent the request; a missing Origin is not one of ours."""
        scheme, _, host = (origin or "").partition("://")
        return scheme in {"http", "https"} and host.lower() in self.hosts


class StrangeHost(Matcher):
    """Matches what calls this server by another name, whatever the address; put it before all other routes.

    Tornado asks ``check_origin`` only when Origin and Host differ, and a page that has its own name point at this
    machine sends both alike.
    """

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def match(self, request: HTTPServerRequest) -> dict[str, object] | None:
        """Tornado's answer for "this route is mine": an empty dict."""
        return None if self._doors.knows_host(request) else {}


class SecurityHeaders(OutputTransform):
    """Adds the headers to every answer of Tornado and Panel; an inline script runs only when its digest is named."""

    def __init__(self, request: HTTPServerRequest) -> None:
        super().__init__(request)
        self._host = request.host

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Tornado calls this with the first (here: the only) piece of an answer."""
        scripts = _digests(chunk) if headers.get("Content-Type", "").startswith("text/html") else []
        sources = {
            "default-src": ["'none'"],
            "script-src": ["'self'", *scripts],
            "style-src": ["'self'", "'unsafe-inline'"],  # bars and marks are sized and coloured by style attributes
            "img-src": ["'self'", "data:"],
            "font-src": ["'self'"],
            "connect-src": ["'self'", f"ws://{self._host}", f"wss://{self._host}"],
            "base-uri": ["'none'"],
            "form-action": ["'self'"],
            "frame-ancestors": ["'none'"],
        }
        headers["Content-Security-Policy"] = "; ".join(f"{name} {' '.join(of)}" for name, of in sources.items())
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        return status_code, headers, chunk


def _digests(page: bytes) -> list[str]:
    """CSP sources of the inline scripts of a page; data blocks are not run and need none."""
    found = (
        m for m in _INLINE_SCRIPT.finditer(page) if b"json" not in m["attributes"] and b"esms" not in m["attributes"]
    )
    return [f"'sha256-{base64.b64encode(hashlib.sha256(m['text']).digest()).decode()}'" for m in found]
