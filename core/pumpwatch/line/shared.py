"""One shared wire on which devices take turns.

The runner takes the line's turn for one device's whole scan, so that a deadline counts from the moment the wire is
free. A driver asks; the line sends, gathers and hands back one reply. After three silent exchanges in a row a TCP
connection is thought dead (a power cut sends no farewell) and is opened again at the next question. Or a driver
listens: from then on nothing is ever sent on that line.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from pumpwatch.errors import BadConfig, NotReachable, Refused
from pumpwatch.line.remote_port import open_remote_port
from pumpwatch.line.serial_port import SerialTransport
from pumpwatch.line.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from pumpwatch.line.wire import Transport, WireEar
    from pumpwatch.settings import LineAddress

SILENCES_BEFORE_REOPEN = 3


class WireLine:
    """A ``contracts.Line`` of bytes; opened at the first question, again after a loss."""

    def __init__(self, address: LineAddress) -> None:
        self.address = str(address)
        self._address = address
        self.turn = asyncio.Lock()
        """Held by the runner for one device's scan."""
        self.on_bytes: Callable[[str, bytes], None] | None = None
        """Called with ``">"`` or ``"<"`` and the bytes of each exchange while someone traces the line; ``"="`` and the
        bytes that pass on a line that is listened to."""
        self._listens = False
        self._wire: Wire | None = None
        self._transport: Transport | None = None
        self._silences = 0

    async def ask(self, request: bytes, complete: Callable[[bytes], int]) -> bytes:
        """Send and gather; see ``contracts.Line``."""
        if self._listens:
            raise Refused(f"{self.address}: somebody listens here, so nothing is sent; give all its devices one mode")
        wire, transport = self._wire, self._transport
        if wire is None or transport is None or wire.lost is not None:
            wire, transport = await self._open()
        coming = wire.expect(complete)
        if self.on_bytes:
            self.on_bytes(">", request)
        transport.write(request)
        try:
            reply = await coming
        except asyncio.CancelledError:
            self._silences += 1
            if self._silences >= SILENCES_BEFORE_REOPEN:
                self.close()
            raise
        except NotReachable as error:
            self.close()
            raise NotReachable(f"{self.address}: {error}") from error
        self._silences = 0
        if self.on_bytes:
            self.on_bytes("<", reply)
        return reply

    @property
    def listens(self) -> bool:
        """Whether somebody listens, so that nothing is sent."""
        return self._listens

    async def listen(self) -> WireEar:
        """Hear everything from now on; see ``contracts.Line``."""
        self._listens = True
        wire = self._wire
        if wire is None or wire.lost is not None:
            wire, _ = await self._open()
        wire.on_heard = self._traced
        return wire.ear()

    def _traced(self, data: bytes) -> None:
        if self.on_bytes:
            self.on_bytes("=", data)

    def close(self) -> None:
        """Let go of the wire; the next question opens it again."""
        if self._transport is not None:
            self._transport.abort()
        self._transport = self._wire = None
        self._silences = 0

    async def _open(self) -> tuple[Wire, Transport]:
        self.close()
        loop, address, wire = asyncio.get_running_loop(), self._address, Wire()
        transport: Transport
        try:
            match address.scheme:
                case "tcp":
                    transport, _ = await loop.create_connection(lambda: wire, address.host, address.port)
                case "tls":
                    context = _trust(address)
                    transport, _ = await loop.create_connection(
                        lambda: wire,
                        address.host,
                        address.port,
                        ssl=context,
                        server_hostname=address.name or address.host,
                    )
                case "rfc2217":
                    transport = await open_remote_port(loop, address, wire)
                case "serial":
                    transport = SerialTransport(loop, address, wire)
                case _:
                    raise Refused(f"{address}: no bytes are exchanged on such a line; give the device another driver")
        except ssl.SSLCertVerificationError as error:
            remedy = "check ca, and name, the name that stands in the device's certificate"
            raise NotReachable(f"{self.address}: its certificate: {error.verify_message}; {remedy}") from error
        except OSError as error:
            raise NotReachable(f"{self.address}: {error.strerror or error}") from error
        self._wire, self._transport = wire, transport
        return wire, transport


def _trust(address: LineAddress) -> ssl.SSLContext:
    """Whom a TLS line believes, and how it shows itself. Raises ``BadConfig`` for a file that is none."""
    try:
        context = ssl.create_default_context(cafile=address.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if address.cert:
            context.load_cert_chain(address.cert, address.key or None, password="")
    except (OSError, ValueError) as error:
        raise BadConfig(
            f"{address}: {error}; give PEM files that may be read: ca (who signed the device's certificate), "
            "cert and key (our own; the key without a passphrase)"
        ) from error
    return context
