"""The register map of the generic four-nozzle dispenser, rendered only where something has changed."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pumpwatch.model import NozzleState
from pumpwatch_sim.wire.modbus import OutsideError

if TYPE_CHECKING:
    from pumpwatch_sim.live.views import DispenserView, NozzleView, Sale

MAP_VERSION = 1
NOZZLES = 4
SLOTS = 4
PULSE_TENTHS_ML = 100
"""Every encoder here gives a pulse for each 0.01 L."""
NO_TAX_RECORD = 0xFFFF_FFFF
IDENTITY_END = 84
FLAGS = 1
SELF_LOCK = 0x0002
"""Of the flags: a nozzle has locked itself."""
CLOCK = 50
LIVE, LIVE_SIZE, LIVE_END = 100, 20, 180
SALES, SALE_SIZE, SALES_END = 200, 32, 712
GRADES = {"92#": 92, "95#": 95, "98#": 98, "0#": 0}

_IDENTITY = struct.Struct(">HH16s16s16s32s16s4x64s")
_CLOCK = struct.Struct(">I")
_FLAGS = struct.Struct(">H")
_LIVE = struct.Struct(">HHIIHHQQI4x")
_SALE = struct.Struct(">IIIIIHHQQIHHIII4x")
_SPANS = ((0, IDENTITY_END), (LIVE, LIVE_END), (SALES, SALES_END))


class DispenserRegisters:
    """The holding registers of one dispenser; see :class:`pumpwatch_sim.wire.modbus.Registers`.

    Keeps an image of the whole map and renders into it lazily: on a read, the blocks it touches that have changed.
    """

    def __init__(self, dispenser: DispenserView) -> None:
        self._dispenser = dispenser
        self._image = bytearray(2 * SALES_END)
        self._identity = -1
        self._live = [-1] * len(dispenser.nozzles)
        self._sales = [-1] * len(dispenser.nozzles)

    def read(self, address: int, quantity: int) -> bytes:
        """The registers' bytes; raises ``OutsideError`` unless all lie in one part of the map."""
        end = address + quantity
        if not any(start <= address and end <= stop for start, stop in _SPANS):
            raise OutsideError(f"no registers {address}..{end - 1}")
        if address < IDENTITY_END:
            self._render_identity()
        elif address < LIVE_END:
            self._render_live((address - LIVE) // LIVE_SIZE, (end - 1 - LIVE) // LIVE_SIZE)
        else:
            size = SLOTS * SALE_SIZE
            self._render_sales((address - SALES) // size, (end - 1 - SALES) // size)
        return bytes(self._image[2 * address : 2 * end])

    def _render_identity(self) -> None:
        dispenser = self._dispenser
        if self._identity != dispenser.identity_changes:
            self._identity = dispenser.identity_changes
            identity = dispenser.identity
            _IDENTITY.pack_into(
                self._image,
                0,
                MAP_VERSION,
                0,
                ascii16(identity.serial),
                ascii16(identity.mainboard_serial),
                ascii16(identity.firmware_version),
                bytes.fromhex(identity.firmware_digest),
                ascii16(identity.tax_serial),
                b"".join(ascii16(serial).ljust(16, b"\0") for serial in identity.encoder_serials),
            )
        locked = any(nozzle.state is NozzleState.LOCKED for nozzle in dispenser.nozzles)
        _FLAGS.pack_into(self._image, 2 * FLAGS, SELF_LOCK if locked else 0)
        _CLOCK.pack_into(self._image, 2 * CLOCK, dispenser.now_s)

    def _render_live(self, first: int, last: int) -> None:
        for index, nozzle in enumerate(self._dispenser.nozzles[first : last + 1], first):
            if self._live[index] != nozzle.changes:
                self._live[index] = nozzle.changes
                _LIVE.pack_into(self._image, 2 * (LIVE + index * LIVE_SIZE), *_live_fields(nozzle))

    def _render_sales(self, first: int, last: int) -> None:
        for index, nozzle in enumerate(self._dispenser.nozzles[first : last + 1], first):
            if self._sales[index] != nozzle.sale_changes:
                self._sales[index] = nozzle.sale_changes
                for slot, sale in enumerate(nozzle.sales):
                    if sale is not None:
                        at = SALES + (index * SLOTS + slot) * SALE_SIZE
                        _SALE.pack_into(self._image, 2 * at, *_sale_fields(sale))


def ascii16(text: str | None) -> bytes:
    """Text as eight registers hold it, before padding: at most 16 ASCII characters."""
    data = (text or "").encode("ascii")
    if len(data) > 16:
        raise ValueError(f"{text!r} has more than the 16 characters eight registers hold")
    return data


def _live_fields(nozzle: NozzleView) -> tuple[int, ...]:
    return (
        nozzle.state,
        GRADES[nozzle.grade],
        nozzle.volume,
        nozzle.amount,
        nozzle.flow,
        nozzle.price,
        nozzle.totalizer,
        nozzle.totalizer_amount,
        nozzle.sequence,
    )


def _sale_fields(sale: Sale) -> tuple[int, ...]:
    taxed = sale.tax_volume or sale.tax_amount or not sale.volume
    return (
        sale.sequence,
        sale.start_s,
        sale.end_s,
        sale.volume,
        sale.amount,
        sale.price,
        sale.payment,
        sale.totalizer,
        sale.totalizer_amount,
        sale.pulses,
        PULSE_TENTHS_ML,
        sale.preset,
        sale.preset_value,
        sale.tax_volume if taxed else NO_TAX_RECORD,
        sale.tax_amount if taxed else NO_TAX_RECORD,
    )
