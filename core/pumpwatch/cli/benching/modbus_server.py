"""A Modbus TCP server that does as little as can be: any register read is answered with the same registers.

All that were received together are answered with one write, as a gateway does that takes several at a time.
Run as a process of its own, it prints its port and serves until standard input closes.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import cast

REQUEST = 12
"""Bytes of a read request."""
_VALUES = struct.pack(">125H", *range(1000, 1125))


class _Peer(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(1 << 14))
        self._pending = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where requests are put."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Answer every request that is whole."""
        pending = self._pending + self._buffer[:nbytes]
        whole = len(pending) - len(pending) % REQUEST
        self._pending = pending[whole:]
        answers = [_answer(pending[start : start + REQUEST]) for start in range(0, whole, REQUEST)]
        if answers and self._transport is not None:
            self._transport.write(b"".join(answers))


def _answer(request: bytes) -> bytes:
    size = 2 * request[11]
    return request[:4] + struct.pack(">HBBB", 3 + size, request[6], request[7], size) + _VALUES[:size]


async def serve() -> None:
    """Until standard input closes."""
    server = await asyncio.get_running_loop().create_server(_Peer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the one who started it reads it
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
