"""Whether who calls is who it says: HTTP Basic (RFC 7617), Digest with MD5 (RFC 7616), and the message's signature.

PTS-2 knows both, by its switch DIP-2, and no other digest than MD5. Every comparison takes as long whether it agrees or
not, and only who knows the password can make the gate remember anything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from typing import TYPE_CHECKING, Literal

from pumpwatch import to_us

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pumpwatch import Call

REALM = "pumpwatch"
NONCE_LASTS_US = 300_000_000
"""So long a nonce may be used; then the client is given another, and need not ask its user anew."""
MOST_NONCES = 10_000
"""Nonces in use that are remembered; overflow policy: none is taken any more until the first has run out."""
_PARAMETER = re.compile(r'([a-z]{1,16})=(?:"([^"]{0,512})"|([^\s,"]{1,512}))')
_COUNT = re.compile(r"[0-9a-f]{8}")


class Gate:
    """Checks the credentials of one device."""

    def __init__(self, scheme: Literal["digest", "basic"], user: str, password: str, signing_key: str | None) -> None:
        self._scheme = scheme
        self._user = user.encode()
        self._password = password.encode()
        self._signing_key = None if signing_key is None else signing_key.encode()
        self._key = os.urandom(32)
        """Of the nonces; with the server's next start all are stale."""
        self._used: dict[str, tuple[int, int]] = {}
        """Nonces that have been used: when each was made, microseconds since 1970, and its last count."""

    def challenge(self, call: Call, now: datetime) -> str | None:
        """None for who may come in; else the value of ``WWW-Authenticate`` of the refusal."""
        scheme, _, given = call.headers.get("authorization", "").partition(" ")
        if self._scheme == "basic":
            is_known = scheme.lower() == "basic" and self._is_basic(given)
            return None if is_known else f'Basic realm="{REALM}", charset="UTF-8"'
        parameters = _parameters(given) if scheme.lower() == "digest" else {}
        is_known = self._is_digest(parameters, call)
        if is_known and self._uses(parameters, to_us(now)):
            return None
        stale = ", stale=true" if is_known else ""
        nonce = self._nonce(to_us(now))
        return f'Digest realm="{REALM}", qop="auth", algorithm=MD5, nonce="{nonce}"{stale}'

    def is_signed(self, call: Call) -> bool:
        """Whether the body has the signature it must have: HMAC-SHA-256 in ``X-Data-Signature``, hex or base64."""
        if self._signing_key is None:
            return True
        expected = hmac.digest(self._signing_key, call.body, "sha256")
        given = call.headers.get("x-data-signature", "").strip().encode("ascii", "replace")
        in_hex = hmac.compare_digest(given.lower(), expected.hex().encode())
        return hmac.compare_digest(given, base64.b64encode(expected)) or in_hex

    # ------------------------------------------------------------ basic

    def _is_basic(self, given: str) -> bool:
        try:
            user, _, password = base64.b64decode(given.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        is_user = hmac.compare_digest(user, self._user)
        return hmac.compare_digest(password, self._password) and is_user

    # ------------------------------------------------------------ digest

    def _is_digest(self, told: Mapping[str, str], call: Call) -> bool:
        """Whether the response is right for the nonce it names, whatever that is worth."""
        nonce, count, own = told.get("nonce", ""), told.get("nc", ""), told.get("cnonce", "")
        who = _md5(self._user, REALM.encode(), self._password)
        what = _md5(call.method.encode(), call.path.encode("latin-1", "replace"))
        response = _md5(who, *(part.encode("latin-1", "replace") for part in (nonce, count, own)), b"auth", what)
        is_user = hmac.compare_digest(told.get("username", "").encode("latin-1", "replace"), self._user)
        is_here = told.get("uri") == call.path and told.get("realm") == REALM and told.get("qop") == "auth"
        given = told.get("response", "").encode("latin-1", "replace")
        return hmac.compare_digest(given, response) and is_user and is_here

    def _uses(self, told: Mapping[str, str], now_us: int) -> bool:
        """Whether the nonce is one of ours, young enough, and its count has not been used."""
        nonce, count = told.get("nonce", ""), told.get("nc", "")
        made_us = self._made_us(nonce)
        if made_us is None or not 0 <= now_us - made_us <= NONCE_LASTS_US or not _COUNT.fullmatch(count):
            return False
        young = now_us - NONCE_LASTS_US
        self._used = {each: (made, last) for each, (made, last) in self._used.items() if made >= young}
        _, last = self._used.get(nonce, (made_us, 0))
        if int(count, 16) <= last or len(self._used) - (nonce in self._used) >= MOST_NONCES:
            return False
        self._used[nonce] = (made_us, int(count, 16))
        return True

    def _nonce(self, now_us: int) -> str:
        return self._sealed(now_us.to_bytes(8, "big", signed=True) + os.urandom(8))

    def _sealed(self, made: bytes) -> str:
        return (made + hmac.digest(self._key, made, "sha256")[:16]).hex()

    def _made_us(self, nonce: str) -> int | None:
        try:
            made = bytes.fromhex(nonce)[:16]
        except ValueError:
            return None
        is_ours = hmac.compare_digest(nonce.encode("utf-8", "replace"), self._sealed(made).encode())
        return int.from_bytes(made[:8], "big", signed=True) if is_ours else None


def _parameters(given: str) -> dict[str, str]:
    return {name: quoted or plain for name, quoted, plain in _PARAMETER.findall(given)}


def _md5(*parts: bytes) -> bytes:
    """In hex; the devices know no other digest."""
    return hashlib.md5(b":".join(parts), usedforsecurity=False).hexdigest().encode()
