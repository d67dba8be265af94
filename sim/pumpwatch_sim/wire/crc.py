"""The checksum that DART and Modbus RTU share but for its start: CRC-16, polynomial 8005 reflected."""

from __future__ import annotations


def _table() -> tuple[int, ...]:
    values = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        values.append(crc)
    return tuple(values)


_TABLE = _table()


def crc16(data: bytes, start: int = 0) -> int:
    """Start 0 is "CRC-16/ARC", start FFFF is "CRC-16/MODBUS"; both are sent low byte first."""
    crc = start
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc
