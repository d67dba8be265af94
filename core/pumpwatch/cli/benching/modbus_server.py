"""A Modbus TCP server that does as little as can be: any register read is answered with the same registers.

All that were received together are answered with one write, as a gateway does that takes several at a time.
Run as a process of its own, it prints its port and serves until standard input closes.
"""

from __future__ import annotations

import functools
import os
import select
import socket
import struct
import sys

REQUEST = 12
"""Bytes of a read request."""
_VALUES = struct.pack(">125H", *range(1000, 1125))


@functools.cache
def _body(question: bytes) -> bytes:
    """What follows the protocol id in the answer to what follows the length in the request."""
    size = 2 * question[5]
    return struct.pack(">HBBB", 3 + size, question[0], question[1], size) + _VALUES[:size]


def answers(received: bytes) -> bytes:
    """To all whole requests."""
    return b"".join(
        [
            received[at : at + 4] + _body(received[at + 6 : at + REQUEST])
            for at in range(0, len(received) - REQUEST + 1, REQUEST)
        ]
    )


def serve() -> None:
    """Until standard input closes. No loop and no transports: who waits for the server is measured with it."""
    peers: dict[int, socket.socket] = {}
    rest: dict[int, bytes] = {}
    ready, leaves = select.poll(), sys.stdin.fileno()
    with socket.create_server(("127.0.0.1", 0), backlog=256) as door:
        ready.register(door, select.POLLIN)
        ready.register(leaves, select.POLLIN)
        print(door.getsockname()[1], flush=True)  # noqa: T201 - the one who started it reads it
        while True:
            for fd, _ in ready.poll():
                if (peer := peers.get(fd)) is not None:
                    try:
                        received = os.read(fd, 1 << 14)
                        if received and (fd in rest or len(received) % REQUEST):
                            received = rest.pop(fd, b"") + received
                            if more := len(received) % REQUEST:
                                rest[fd] = received[-more:]
                        peer.sendall(answers(received))
                    except ConnectionError:
                        received = b""
                    if not received:
                        ready.unregister(fd)
                        peers.pop(fd).close()
                        rest.pop(fd, None)
                elif fd == leaves:
                    return
                else:
                    peer, _ = door.accept()
                    peers[peer.fileno()] = peer
                    ready.register(peer, select.POLLIN)


if __name__ == "__main__":
    serve()
