"""DART frames: cutting them out of a stream that may begin anywhere and be damaged; sans-I/O.

Source: Wayne DART pump interface, specification 2.11, as cited by public firmware; captured frames. A frame
is ``ADR CTRL FA``, or ``ADR 3n payload CRC-low CRC-high 03 FA`` for DATA; ``FA`` within payload or CRC is sent as
``10 FA``. CTRL is a class with the frame's number (TX#) in its low four bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

ADDRESSES = range(0x50, 0x70)
"""Of fuelling sides."""
ETX, DLE, STOP = 0x03, 0x10, 0xFA
LONGEST = 256
"""Bytes of a frame before ``FA`` is escaped, by the specification."""
_SHORTEST = 6
"""Bytes of a DATA frame with a transaction of no content, its checksum included and its end not."""
KEPT = 2 * LONGEST + 8
"""Bytes kept while no frame ends; overflow policy: the oldest are dropped."""


class Kind(IntEnum):
    """Class of a frame; all but ``NOISE`` as in the high four bits of CTRL."""

    NOISE = 0x00
    """Bytes up to a stop byte that are no sound frame."""
    POLL = 0x20
    DATA = 0x30
    IAP = 0x40
    NAK = 0x50
    EOT = 0x70
    """The pump has nothing to say."""
    ACK = 0xC0
    ACKPOLL = 0xE0


_CONTROLS = {int(kind): kind for kind in Kind if kind not in {Kind.NOISE, Kind.DATA}}
_UNNUMBERED = frozenset({Kind.POLL, Kind.EOT, Kind.IAP})


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of either direction."""

    kind: Kind
    address: int = 0
    number: int = 0
    """TX#."""
    payload: bytes = b""
    raw: bytes = b""
    """As it passed, without what stood before it."""
    follows: bool = True
    """Whether nothing lies between it and the frame before."""
    mended: tuple[bytes, ...] = ()
    """Of ``NOISE``: every DATA frame, without its checksum, that it may have been if one byte alone was damaged."""


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC = _table()
_BACK = tuple(sorted(range(256), key=lambda index: _CRC[index] >> 8))
"""Which entry of the table made a CRC, by its high byte."""


def crc16(data: bytes) -> int:
    """CRC-16/ARC: polynomial 0xA001 reflected, beginning with 0; over address to last payload byte."""
    crc = 0
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def control(kind: Kind, address: int, number: int = 0) -> bytes:
    """A frame of three bytes."""
    return bytes((address, kind | number, STOP))


def data(address: int, number: int, payload: bytes) -> bytes:
    """A DATA frame."""
    plain = bytes((address, Kind.DATA | number)) + payload
    plain += crc16(plain).to_bytes(2, "little")
    return plain.replace(b"\xfa", b"\x10\xfa") + bytes((ETX, STOP))


class Cutter:
    """Cuts a stream into frames, however it is split. What fails its check is ``NOISE`` and has no payload."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._scanned = 0
        self._dropped = False

    def feed(self, received: bytes) -> list[Frame]:
        """Take bytes and return the frames that have ended."""
        rest = self._rest
        rest += received
        frames = []
        start = 0
        while (end := rest.find(STOP, self._scanned)) >= 0:
            self._scanned = end + 1
            if end > start and rest[end - 1] == DLE:
                continue
            frames += self._frames(bytes(rest[start : end + 1]))
            start = end + 1
        del rest[:start]
        if len(rest) > KEPT:
            del rest[:-KEPT]
            self._dropped = True
        self._scanned = len(rest)
        return frames

    def forget(self) -> None:
        """The stream begins anew: drop half a frame."""
        self._rest.clear()
        self._scanned = 0
        self._dropped = True

    def _frames(self, chunk: bytes) -> list[Frame]:
        """What ends with a stop byte: one frame, or two when the stop of the first was damaged."""
        whole, self._dropped = not self._dropped, False
        if len(chunk) == 3 and whole and (frame := _control_in(chunk)) is not None:
            return [frame]
        if len(chunk) > 1 and chunk[-2] == ETX:
            frames = [_data_in(chunk)]
        elif (frame := _control_in(chunk)) is not None:
            # DATA's own end is not under its checksum: damaged, it lies before the frame that ends here.
            frames = [_data_in(chunk[:-3]), frame]
        else:
            frames = [_data_in(chunk)]
        found = [frame for frame in frames if frame is not None]
        if not found:
            return [Frame(Kind.NOISE, raw=chunk, follows=whole, mended=_mended(chunk) if whole else ())]
        if not whole or sum(len(frame.raw) for frame in found) != len(chunk):
            found[0] = replace(found[0], follows=False)
        return found


def _control_in(chunk: bytes) -> Frame | None:
    """The frame of three bytes with which ``chunk`` ends. Nothing checks these: believe them little."""
    if len(chunk) < 3 or chunk[-3] not in ADDRESSES:
        return None
    kind, number = _CONTROLS.get(chunk[-2] & 0xF0), chunk[-2] & 0x0F
    if kind is None or (number and kind in _UNNUMBERED):
        return None
    return Frame(kind, chunk[-3], number, raw=chunk[-3:])


def _data_in(chunk: bytes) -> Frame | None:
    """The DATA frame with a right CRC with which ``chunk`` ends, wherever it begins; its last two bytes go unread."""
    plain = chunk[-KEPT:-2].replace(b"\x10\xfa", b"\xfa")[-LONGEST:]
    if not any(_is_beginning(plain, start) for start in range(len(plain) - 3)):
        return None
    heads = [0]
    for byte in plain:
        heads.append(heads[-1] >> 8 ^ _CRC[(heads[-1] ^ byte) & 0xFF])
    # With its own checksum behind it a frame has the CRC 0. So what stands before it has the CRC that as many zero
    # bytes make the whole one: it is stepped back byte by byte, instead of a CRC for each beginning.
    found, crc = None, heads[-1]
    for start in range(len(plain) - 1, -1, -1):
        index = _BACK[crc >> 8]
        crc = (crc ^ _CRC[index]) << 8 & 0xFFFF | index
        if crc == heads[start] and start <= len(plain) - 4 and _is_beginning(plain, start):
            found = start
    if found is None:
        return None
    raw = chunk[len(chunk) - 2 - (len(plain) - found) - plain.count(STOP, found) :]
    return Frame(Kind.DATA, plain[found], plain[found + 1] & 0x0F, plain[found + 2 : -2], raw)


def _mended(chunk: bytes) -> tuple[bytes, ...]:
    """The DATA frames of which one byte, damaged, makes ``chunk``; its last two bytes go unread.

    At each place one value at most makes the CRC right, at one place in 257 by mere chance: nothing may be built on
    such a frame but what something else says too.
    """
    plain = chunk[:-2].replace(b"\x10\xfa", b"\xfa")
    if not _SHORTEST <= len(plain) <= LONGEST:
        return ()
    found = []
    left = crc16(plain)
    for place in range(len(plain) - 1, -1, -1):
        error = _BACK[left >> 8]
        if _CRC[error] == left:
            frame = plain[:place] + bytes((plain[place] ^ error,)) + plain[place + 1 :]
            if _is_beginning(frame, 0):
                found.append(frame[:-2])
        left = (left ^ _CRC[error]) << 8 & 0xFFFF | error
    return tuple(found)


def _is_beginning(plain: bytes, start: int) -> bool:
    return plain[start] in ADDRESSES and plain[start + 1] & 0xF0 == Kind.DATA
