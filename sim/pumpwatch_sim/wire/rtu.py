"""Modbus RTU as bytes: the same answers as :mod:`pumpwatch_sim.wire.modbus`, framed for a serial line; read-only.

MODBUS over Serial Line V1.02 (a public standard, grade A). Devices know the end of a frame by its length where the
function tells it, by a pause (3.5 characters) otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

from pumpwatch_sim.wire import modbus
from pumpwatch_sim.wire.crc import crc16

_LONGEST = 256
_FIXED = 8
"""Size of a request of the functions 1 to 6."""
_COUNTED = {15: 6, 16: 6, 20: 2, 21: 2}
"""Where in a request of these functions the count of the bytes that follow stands."""
_BARE = frozenset({7, 11, 12, 17})
"""Functions without data."""


def framed(unit: int, pdu: bytes) -> bytes:
    """A frame."""
    body = bytes((unit,)) + pdu
    return body + crc16(body, 0xFFFF).to_bytes(2, "little")


class ModbusRtu:
    """The devices of a serial line; see :class:`pumpwatch_sim.live.views.Pump`.

    Nobody answers a broadcast, a frame with a wrong checksum or a unit that is not on the line.
    """

    def __init__(self, units: Mapping[int, modbus.Registers]) -> None:
        """``units`` by their address on the line, 1 to 247."""
        self._units = units
        self._rest = b""

    def receive(self, data: bytes) -> bytes:
        """Answer each frame whose end is known by its length; garbage before it is passed over."""
        rest, answers, start = self._rest + data, b"", 0
        at = 0
        while at + 4 <= len(rest):
            size = _size(rest[at:]) if rest[at] in self._units else None
            if size is not None and at + size <= len(rest) and _intact(rest[at : at + size]):
                answers += self._answer(rest[at : at + size])
                at = start = at + size
            else:
                at += 1
        self._rest = rest[max(start, len(rest) - _LONGEST) :]
        return answers

    def pause(self) -> bytes:
        """What has come so far is the frame: answer it if it is one, and begin anew."""
        rest, self._rest = self._rest, b""
        return self._answer(rest) if len(rest) >= 4 and rest[0] in self._units and _intact(rest) else b""

    def _answer(self, frame: bytes) -> bytes:
        unit, pdu = frame[0], frame[1:-2]
        return framed(unit, modbus.answer_pdu(modbus.Request(0, unit, pdu), self._units))


def _size(data: bytes) -> int | None:
    """How long the request at the beginning of ``data`` is; None when its function does not tell (yet)."""
    function = data[1]
    if 1 <= function <= 6:
        return _FIXED
    if function in _BARE:
        return 4
    at = _COUNTED.get(function)
    if at is None or len(data) <= at:
        return None
    return at + 1 + data[at] + 2


def _intact(frame: bytes) -> bool:
    """Whether the checksum fits; over the whole with it, it is 0."""
    return crc16(frame, 0xFFFF) == 0
