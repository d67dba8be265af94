"""The route on which devices call: ``POST /call/STATION/DEVICE``, for devices whose line is ``call:``.

The server's token is not asked for here: the device's driver checks the credentials that the device has.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pumpwatch.contracts import Call
from pumpwatch.errors import NotReachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pumpwatch.engine import Engine

MOST_BYTES: Final = 1 << 20
"""Of a call's body."""
CALLS_A_SECOND: Final = 20.0
"""Of one device from one address, in the long run."""
CALLS_AT_ONCE: Final = 60.0
"""So many in a row before that counts."""
MOST_WAITING: Final = 4
"""Calls of one device from one address that may be under way together."""
MOST_OF_ADDRESS: Final = 8
"""Calls of one address, for whatever devices, that may be under way together: it cannot keep all others out."""
MOST_TOGETHER: Final = 64
"""Calls that may be under way in all; each holds its body in memory."""
FIRST_S: Final = 3.0
"""A body that has not begun by then is given up; a device sends it along with its headers."""
STALLED_S: Final = 10.0
"""A body that takes longer is given up."""
ANSWERED_S: Final = 30.0
"""A call that is not on disk by then is not answered with success."""
_CALLERS: Final = 10_000
"""Devices and addresses remembered; overflow policy: who has not called for longest is forgotten."""
_PASSED_OVER: Final = 4 << 20
"""So much of a body that is not wanted is read all the same: a client that still sends would not see the answer."""


def calls_router(engine: Engine) -> APIRouter:
    """The route of all devices that call."""
    router = APIRouter()
    known = {device.path for device in engine.acquisition.devices if device.calls}
    porter = _Porter()

    @router.post("/call/{station}/{device}", include_in_schema=False)
    async def call(station: str, device: str, request: Request) -> Response:
        path = f"{station}/{device}"
        if path not in known:
            raise HTTPException(404, "no such device calls here; its line must be `call:` in the configuration")
        address = request.client.host if request.client else ""
        with porter.let_in(path, address, engine.clock.monotonic()):
            body = await _body(request)
            try:
                async with asyncio.timeout(ANSWERED_S):
                    answer = await engine.called(path, _call(request, body))
            except TimeoutError:
                raise NotReachable(f"not kept within {ANSWERED_S:g} s; call again") from None
        return Response(answer.body, answer.status, dict(answer.headers))

    return router


@dataclass(slots=True)
class _Caller:
    """What is known of one address that calls for one device."""

    left: float
    """Calls it may make at once."""
    counted: float
    """When that was counted."""
    waiting: int = 0
    """Its calls that are under way."""


class _Porter:
    """Lets calls in: at a bounded rate for each device and address, and few together."""

    def __init__(self) -> None:
        self._waiting = 0
        self._of_address: Counter[str] = Counter()
        self._callers: OrderedDict[tuple[str, str], _Caller] = OrderedDict()

    @contextmanager
    def let_in(self, path: str, address: str, now: float) -> Iterator[None]:
        """For one call. Raises ``HTTPException`` 429 or 503."""
        caller = self._callers.pop((path, address), None) or _Caller(CALLS_AT_ONCE, now)
        self._callers[path, address] = caller
        if len(self._callers) > _CALLERS:
            self._callers.popitem(last=False)
        caller.left = min(CALLS_AT_ONCE, caller.left + (now - caller.counted) * CALLS_A_SECOND)
        caller.counted = now
        if caller.left < 1.0 or caller.waiting >= MOST_WAITING:
            words = f"more than {CALLS_A_SECOND:g} calls a second, or {MOST_WAITING} at once; call again"
            raise HTTPException(429, words, {"retry-after": "1"})
        if self._of_address[address] >= MOST_OF_ADDRESS:
            words = f"more than {MOST_OF_ADDRESS} calls at once come from this address; call again"
            raise HTTPException(429, words, {"retry-after": "1"})
        if self._waiting >= MOST_TOGETHER:
            raise HTTPException(503, f"more than {MOST_TOGETHER} devices call just now; call again")
        caller.left -= 1.0
        caller.waiting += 1
        self._waiting += 1
        self._of_address[address] += 1
        try:
            yield
        finally:
            caller.waiting -= 1
            self._waiting -= 1
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]


async def _body(request: Request) -> bytes:
    """The whole body. Raises ``HTTPException`` when it is too much, too slow or not all."""
    gathered, size = bytearray(), 0
    try:
        async with asyncio.timeout(min(FIRST_S, STALLED_S)) as patience:
            async for chunk in request.stream():
                if not size and chunk:
                    patience.reschedule(asyncio.get_running_loop().time() + STALLED_S)
                size += len(chunk)
                if size <= MOST_BYTES:
                    gathered += chunk
                elif size > _PASSED_OVER:
                    break
    except TimeoutError:
        waited = STALLED_S if size else FIRST_S
        raise HTTPException(408, f"the body was not all there after {waited:g} s; send it again") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body broke off; send it again") from None
    if size > MOST_BYTES:
        raise HTTPException(413, f"a call may bring {MOST_BYTES:,} bytes; set the device to send less at once")
    return bytes(gathered)


def _call(request: Request, body: bytes) -> Call:
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    query: bytes = request.scope["query_string"]
    path = (raw + b"?" + query if query else raw).decode("latin-1")
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers.raw}
    return Call(request.method, headers, body, path)
