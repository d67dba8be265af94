"""Modbus TCP as bytes: request frames in, replies out; read-only, no sockets.

MODBUS Application Protocol V1.1b3 and MODBUS Messaging on TCP/IP V1.0b.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

READ_HOLDING_REGISTERS = 3
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_TARGET = 1, 2, 3, 11
MOST_REGISTERS = 125

_HEADER = struct.Struct(">HHHB")
_READ = struct.Struct(">BHH")


class GarbageError(Exception):
    """The stream is no Modbus TCP; nothing that follows can be trusted and the connection ends."""


class OutsideError(Exception):
    """No register stands at some address asked for."""


class Registers(Protocol):
    """The holding registers of one unit."""

    def read(self, address: int, quantity: int) -> bytes:
        """``quantity`` registers from the zero-based ``address``, two bytes each; raises ``OutsideError``."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request frame."""

    transaction: int
    unit: int
    pdu: bytes


class RequestFramer:
    """Cuts a stream into requests, however it was split or pipelined."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Request]:
        """Take bytes and return the whole requests among them; the next call goes on where they end.

        Raises ``GarbageError`` when the header is none; requests before it are lost with the connection.
        """
        data = self._rest + data
        requests, at = [], 0
        while len(data) - at >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(data, at)
            if protocol != 0 or not 2 <= length <= 254:
                raise GarbageError(f"no Modbus TCP header: {data[at : at + 8].hex(' ')}")
            end = at + 6 + length
            if len(data) < end:
                break
            requests.append(Request(transaction, unit, data[at + _HEADER.size : end]))
            at = end
        self._rest = data[at:]
        return requests


def answer(request: Request, units: Mapping[int, Registers]) -> bytes:
    """The reply frame to one request; whatever cannot be done is a Modbus exception."""
    pdu = answer_pdu(request, units)
    return _HEADER.pack(request.transaction, 0, len(pdu) + 1, request.unit) + pdu


def answer_pdu(request: Request, units: Mapping[int, Registers]) -> bytes:
    """The reply without any frame, as every Modbus carries it."""
    function = request.pdu[0]
    registers = units.get(request.unit)
    if registers is None:
        return _exception(function, NO_TARGET)
    if function != READ_HOLDING_REGISTERS:
        return _exception(function, ILLEGAL_FUNCTION)
    if len(request.pdu) != _READ.size:
        return _exception(function, ILLEGAL_VALUE)
    _, address, quantity = _READ.unpack(request.pdu)
    if not 1 <= quantity <= MOST_REGISTERS:
        return _exception(function, ILLEGAL_VALUE)
    try:
        data = registers.read(address, quantity)
    except OutsideError:
        return _exception(function, ILLEGAL_ADDRESS)
    return bytes((function, len(data))) + data


def _exception(function: int, code: int) -> bytes:
    return bytes((function | 0x80, code))
