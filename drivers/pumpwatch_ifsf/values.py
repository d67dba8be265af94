"""IFSF's data types: binary and BCD numbers, amounts with a decimal point, texts, dates, and the transaction's CRC.

Source: IFSF part 3-01 (dispenser), data types and W&M security.
"""

from __future__ import annotations

from datetime import datetime

from pumpwatch import BadReply

NEGATIVE = 0x80


def binary(data: bytes) -> int:
    """A BIN number, highest byte first."""
    return int.from_bytes(data, "big")


def bcd(data: bytes) -> int:
    """A BCD number."""
    digits = data.hex()
    if not digits.isdecimal():
        raise BadReply(f"{digits} is no decimal number")
    return int(digits)


def amount(data: bytes) -> float:
    """A number with a decimal point: how many digits stand before it (bit 7: it is negative), then the BCD digits."""
    if len(data) < 2:
        raise BadReply(f"{data.hex()} is no number with a decimal point")
    whole, digits = data[0] & ~NEGATIVE, 2 * (len(data) - 1)
    if whole > digits:
        raise BadReply(f"{data.hex()}: the decimal point lies behind the number")
    value: float = bcd(data[1:]) / 10 ** (digits - whole)
    return -value if data[0] & NEGATIVE else value


def text(data: bytes) -> str:
    """A text without its padding."""
    plain = data.strip(b" \0")
    if not plain.isascii() or not plain.decode("ascii").isprintable():
        raise BadReply(f"{data.hex()} is no text")
    return plain.decode("ascii")


def day(data: bytes) -> str:
    """A date as ``YYYY-MM-DD``; empty for zeros, which stand for none."""
    if not any(data):
        return ""
    return local_time(data, bytes(3)).date().isoformat()


def digest(data: bytes) -> str:
    """Bytes as they are, in hex."""
    return data.hex()


def local_time(date: bytes, time: bytes) -> datetime:
    """A date YYYYMMDD and a time HHMMSS as the device's local time, without a zone."""
    if len(date) != 4 or len(time) != 3:
        raise BadReply(f"{date.hex()} {time.hex()} is no date and time")
    year, month, dom = bcd(date[:2]), bcd(date[2:3]), bcd(date[3:])
    hour, minute, second = (bcd(time[place : place + 1]) for place in range(3))
    try:
        # The device's own time; who knows its offset makes it aware.
        return datetime(year, month, dom, hour, minute, second)  # noqa: DTZ001
    except ValueError as error:
        raise BadReply(f"{date.hex()} {time.hex()} is no time: {error}") from error


def crc(polynomial: int, seed: int, data: bytes) -> int:
    """CRC of 16 bits with the data base's own polynomial and seed, highest bit first."""
    value = seed & 0xFFFF
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & 0x8000 else value << 1) & 0xFFFF
    return value
