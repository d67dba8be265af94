"""The holding registers of a Compac C5000 controller, one hose a unit.

Source: C5000 service manual, page 115 (grade A for the list; the order of the registers
of a number and the base of the addresses are not visible there, hence ``low_first`` and ``base_offset``).
Pressures and temperatures, which a liquid fuel dispenser does not measure, read 0; so does the bank sequence.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pumpwatch.model import NozzleState
from pumpwatch_sim.wire.modbus import OutsideError
from pumpwatch_sim.wire.sides import bcd, latest_sale

if TYPE_CHECKING:
    from pumpwatch_sim.live.views import DispenserView, NozzleView

ERROR_LOCKED = 0x0001
"""The bit of register 0114 set while the hose is locked; the manual's own bits are not public."""

_PARTS = ((100, 119), (124, 132), (200, 205))


class CompacHose:
    """The registers of one hose; see :class:`pumpwatch_sim.wire.modbus.Registers`."""

    def __init__(self, nozzle: NozzleView, low_first: bool = False, base_offset: int = 0) -> None:
        """``low_first``: the low register of a number stands first; ``base_offset`` -1: register 0100 is at 99."""
        self._nozzle = nozzle
        self._low_first = low_first
        self._base_offset = base_offset

    def read(self, address: int, quantity: int) -> bytes:
        """The registers' bytes; raises ``OutsideError`` unless all lie in one part of the list."""
        first = address - self._base_offset
        for start, stop in _PARTS:
            if start <= first and first + quantity <= stop:
                part = self._part(start)
                return part[2 * (first - start) : 2 * (first - start + quantity)]
        raise OutsideError(f"no registers {address}..{address + quantity - 1}")

    def _part(self, start: int) -> bytes:
        if start == 100:
            return self._live()
        return self._last() if start == 124 else self._settings()

    def _live(self) -> bytes:
        """0100 to 0118."""
        nozzle = self._nozzle
        flags = 1 if nozzle.state in {NozzleState.FUELLING, NozzleState.STOPPED} else 0
        error = ERROR_LOCKED if nozzle.state is NozzleState.LOCKED else 0
        return b"".join(
            (
                _u16(flags, nozzle.price),
                self._u32(nozzle.volume * 10),
                self._u32(nozzle.amount),
                self._wide(bcd(nozzle.totalizer % 10**10, 6)),
                self._wide(bcd(nozzle.totalizer_amount % 10**10, 6)),
                _u16(0, nozzle.flow * 10, error, 0, 0),
                self._wide(bcd(nozzle.totalizer, 4)),
            )
        )

    def _last(self) -> bytes:
        """0124 to 0131."""
        nozzle = self._nozzle
        sale = latest_sale(nozzle)
        ended = nozzle.state in {NozzleState.IDLE, NozzleState.LOCKED}
        volume, amount = (sale.volume, sale.amount) if sale is not None else (0, 0)
        return _u16(1 if ended else 0) + self._u32(volume * 10) + self._u32(amount * 10) + _u16(0, 0, 0)

    def _settings(self) -> bytes:
        """0200 to 0204."""
        locked = 1 if self._nozzle.state is NozzleState.LOCKED else 0
        return _u16(locked, self._nozzle.price, 0, 0, 0)

    def _u32(self, number: int) -> bytes:
        return self._wide(struct.pack(">I", number & 0xFFFFFFFF))

    def _wide(self, octets: bytes) -> bytes:
        """A number of several registers in the order of this controller."""
        if not self._low_first:
            return octets
        return b"".join(octets[at : at + 2] for at in range(len(octets) - 2, -1, -2))


def units(dispensers: Sequence[DispenserView], low_first: bool = False, base_offset: int = 0) -> dict[int, CompacHose]:
    """One unit a hose, numbered from 1 over all nozzles."""
    nozzles = [nozzle for dispenser in dispensers for nozzle in dispenser.nozzles]
    return {unit: CompacHose(nozzle, low_first, base_offset) for unit, nozzle in enumerate(nozzles, 1)}


def _u16(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}H", *(number & 0xFFFF for number in numbers))
