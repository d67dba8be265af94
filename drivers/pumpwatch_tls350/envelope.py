"""Questions to a TLS console and the envelope of its replies in computer format; sans-I/O.

Source: Veeder-Root serial interface manuals 576013-635 (TLS-3xx) and 577013-950 (TLS4, TLS-450).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pumpwatch import BadReply, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

SOH, ETX = b"\x01", b"\x03"
FILLERS = b"\r\n\0"
"""What Ethernet cards put between replies."""
LONGEST = 32_768
"""Bytes after which there should have been an ETX; ten deliveries of each of sixteen tanks are 16,400."""
SEVEN_BITS = bytes(byte & 0x7F for byte in range(256))
"""The parity bit is no part of a character, nor of the checksum."""
UNKNOWN_FUNCTION = b"\x019999FF1B\x03"
"""No function of this name. Its checksum covers SOH9999 alone, and there is no ``&&``."""
ASKED = frozenset({b"i101", b"i201", b"i202", b"i205", b"i902"})
"""What this driver asks; a late reply can only be to one of these."""
SHOWN = 48
"""Bytes of a bad reply that an error shows."""


@dataclass(frozen=True, slots=True)
class Report:
    """A reply out of its envelope."""

    code: str
    console_time: datetime
    """The console's clock, its local time, to the minute; without a zone, which the console does not know."""
    body: str


@dataclass(frozen=True, slots=True)
class Question:
    """One function asked of the console, for example ``i20100``."""

    code: str
    security_code: str = ""

    @property
    def request(self) -> bytes:
        """What to send. The manual wants no terminator; every Ethernet card and client sends CR LF."""
        return SOH + f"{self.security_code}{self.code}\r\n".encode("ascii")

    def complete(self, received: bytes) -> int:
        """How many bytes make the whole reply, see ``pumpwatch.Line``; late replies to other questions included."""
        for _, end in self._frames(received.translate(SEVEN_BITS)):
            return end
        return 0

    def report(self, reply: bytes) -> Report:
        """Open the envelope. Raises ``BadReply`` when it is damaged, ``Refused`` when there is no such function."""
        for frame, _ in self._frames(reply.translate(SEVEN_BITS)):
            if frame == UNKNOWN_FUNCTION:
                raise Refused(
                    f"{self.code}: the console does not know this function; its software is too old or lacks the option"
                )
            if not _is_sound(frame):
                raise BadReply(f"{self.code}: wrong checksum: {reply.hex()}")
            text = frame[1:-7].decode("ascii")
            if not text.startswith(self.code):
                raise BadReply(f"{self.code}: the console answered another question: {_shown(frame)}")
            stamp = text[len(self.code) : len(self.code) + 10]
            return Report(self.code, console_time(stamp, self.code), text[len(self.code) + 10 :])
        raise BadReply(f"{self.code}: the reply ends too early: {_shown(reply)}")

    def _frames(self, received: bytes) -> Iterator[tuple[bytes, int]]:
        """The frame that answers, and where it ends; nothing while it is not all there."""
        start = 0
        while True:
            while start < len(received) and received[start] in FILLERS:
                start += 1
            if start == len(received):
                return
            if received[start] != SOH[0]:
                raise BadReply(f"{self.code}: a reply that does not begin with SOH: {_shown(received[start:])}")
            end = received.find(ETX, start) + 1
            if not end and len(received) <= LONGEST:
                return
            if not end or end > LONGEST:
                raise BadReply(f"{self.code}: {LONGEST} bytes and no answer; check that a TLS console is on this line")
            frame = received[start:end]
            if not self._is_late(frame):
                yield frame, end
                return
            start = end

    def _is_late(self, frame: bytes) -> bool:
        """Whether it is the sound reply to another of our questions, one that was given up."""
        other = not frame.startswith(SOH + self.code.encode("ascii"))
        return other and frame[1:5] in ASKED and _is_sound(frame)


def console_time(text: str, code: str) -> datetime:
    """``YYMMDDHHmm`` as the console's local time. 80 to 99 are years before 2000."""
    if not (len(text) == 10 and text.isascii() and text.isdecimal()):
        raise BadReply(f"{code}: no time YYMMDDHHmm: {text!r}")
    year, month, day, hour, minute = (int(text[i : i + 2]) for i in range(0, 10, 2))
    try:
        # The console's own time; who knows its offset makes it aware.
        return datetime(year + (1900 if year >= 80 else 2000), month, day, hour, minute)  # noqa: DTZ001
    except ValueError as error:
        raise BadReply(f"{code}: no time: {text!r}: {error}") from error


def checksum(data: bytes) -> bytes:
    """The four characters that bring the sum of all bytes, SOH and ``&&`` included, to zero modulo 65536."""
    return f"{-sum(data) & 0xFFFF:04X}".encode("ascii")


def _is_sound(frame: bytes) -> bool:
    return frame[-7:-5] == b"&&" and checksum(frame[:-5]) == frame[-5:-1].upper()


def _shown(data: bytes) -> str:
    return data[:SHOWN].hex() + ("…" if len(data) > SHOWN else "")
