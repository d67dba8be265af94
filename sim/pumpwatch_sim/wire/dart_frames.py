"""Frames and transactions of Wayne DART; sources and grade: see :mod:`pumpwatch_sim.wire.dart`."""

from __future__ import annotations

from dataclasses import dataclass

from pumpwatch_sim.wire.crc import crc16
from pumpwatch_sim.wire.sides import bcd

FIRST_ADDRESS, MOST_SIDES = 0x50, 32
POLL, DATA, NAK, EOT, ACK, ACKPOLL = 0x20, 0x30, 0x50, 0x70, 0xC0, 0xE0

_ETX, _SF, _DLE = 0x03, 0xFA, 0x10
_KINDS = (POLL, 0x40, NAK, EOT, ACK, ACKPOLL)
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """How a line's pumps write numbers; what the public sources leave open."""

    volume_decimals: int = 2
    amount_decimals: int = 2
    price_decimals: int = 2
    china_totals: bool = False
    """DC101 with LNG 0D: volume and amount in one answer."""
    wrap_to: int = 0
    """What follows TX# F: 0 or 1."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of either direction."""

    address: int
    kind: int
    """``POLL``, ``DATA`` …"""
    number: int
    """TX#."""
    payload: bytes = b""
    intact: bool = True


def control(address: int, kind: int, number: int = 0) -> bytes:
    """A frame of three bytes."""
    return bytes((address, kind | number, _SF))


def data(address: int, number: int, payload: bytes) -> bytes:
    """A DATA frame: checksum over address to last payload byte, transparency, end."""
    plain = bytes((address, DATA | number)) + payload
    plain += crc16(plain).to_bytes(2, "little")
    return plain.replace(b"\xfa", b"\x10\xfa") + bytes((_ETX, _SF))


class Framer:
    """Cuts a stream into frames, however split; noise before a frame is passed over, memory is bounded."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, received: bytes) -> list[Frame]:
        """Take bytes and return the frames that have ended, damaged DATA among them."""
        frames = []
        for byte in received:
            if byte == _SF and not (self._rest and self._rest[-1] == _DLE):
                frame = _parse(bytes(self._rest))
                self._rest.clear()
                if frame is not None:
                    frames.append(frame)
                continue
            self._rest.append(byte)
            if len(self._rest) > _LONGEST:
                del self._rest[0]
        return frames

    def forget(self) -> None:
        """Drop half a frame."""
        self._rest.clear()


def transactions(payload: bytes) -> list[tuple[int, bytes]]:
    """The ``TRANS LNG DATA`` of a payload; a cut one ends the list."""
    found, at = [], 0
    while at + 2 <= len(payload):
        end = at + 2 + payload[at + 1]
        if end > len(payload):
            break
        found.append((payload[at], payload[at + 2 : end]))
        at = end
    return found


def transaction(number: int, content: bytes) -> bytes:
    """One ``TRANS LNG DATA``."""
    return bytes((number, len(content))) + content


def dc3(price: int, nozzle: int, out: bool) -> bytes:
    """Nozzle status and price (as displayed); pumps say nozzle 0 once it is in."""
    return transaction(0x03, bcd(price, 3) + bytes((nozzle | (0x10 if out else 0),)))


def dc101(counter: int, total: int, meter_1: int, meter_2: int = 0) -> bytes:
    """Totals: of the hose, and as its one or two meters counted it."""
    return transaction(0x65, bytes((counter,)) + bcd(total, 5) + bcd(meter_1, 5) + bcd(meter_2, 5))


def dc7(settings: Settings, grades: int) -> bytes:
    """Pump parameters, 51 bytes: decimals, largest amount, grades of nozzles."""
    decimals = bytes((settings.volume_decimals, settings.amount_decimals, settings.price_decimals))
    grade_bytes = bytes(range(1, grades + 1)).ljust(15, b"\0")
    return transaction(0x07, bytes(22) + decimals + bytes(5) + bcd(99_999_999, 4) + bytes(2) + grade_bytes)


def _parse(chunk: bytes) -> Frame | None:
    """The frame that ends here (its last FA cut off), wherever it begins."""
    if not chunk:
        return None
    if chunk[-1] != _ETX:
        if len(chunk) < 2 or chunk[-1] & 0xF0 not in _KINDS or not _is_address(chunk[-2]):
            return None
        return Frame(chunk[-2], chunk[-1] & 0xF0, chunk[-1] & 0x0F)
    damaged = None
    for start in range(len(chunk) - 4):
        if not _is_address(chunk[start]) or chunk[start + 1] & 0xF0 != DATA:
            continue
        plain = chunk[start:-1].replace(b"\x10\xfa", b"\xfa")
        if len(plain) >= 4 and crc16(plain[:-2]) == int.from_bytes(plain[-2:], "little"):
            return Frame(plain[0], DATA, plain[1] & 0x0F, plain[2:-2])
        damaged = damaged or Frame(plain[0], DATA, plain[1] & 0x0F, intact=False)
    return damaged


def _is_address(byte: int) -> bool:
    return FIRST_ADDRESS <= byte < FIRST_ADDRESS + MOST_SIDES
