"""Fuelling sides: which nozzles of a line share an address and a display, and numbers as pumps write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pumpwatch.model import NozzleState

if TYPE_CHECKING:
    from pumpwatch_sim.live.views import DispenserView, NozzleView, Sale


@dataclass(frozen=True, slots=True)
class Side:
    """One address of a line: a display and the nozzles that use it, numbered from 1."""

    address: int
    dispenser: DispenserView
    nozzles: Sequence[NozzleView]

    def busy(self, current: int) -> int:
        """Index of the nozzle the display belongs to: ``current`` while it is in use, else the first that is."""
        if self.nozzles[current].state is NozzleState.IDLE:
            for index, nozzle in enumerate(self.nozzles):
                if nozzle.state is not NozzleState.IDLE:
                    return index
        return current

    def to_tell(self, current: int, told: Sequence[int]) -> int:
        """As ``busy``, but a nozzle whose totalizer is not the one ``told`` comes before one newly in use."""
        order: list[int] = [current, *range(len(self.nozzles))]
        for index in order:
            nozzle = self.nozzles[index]
            in_use = nozzle.state is not NozzleState.IDLE
            if (in_use and index == current) or (not in_use and nozzle.totalizer != told[index]):
                return index
        return self.busy(current)


def sides(dispensers: Sequence[DispenserView], first: int, nozzles_per_side: int, most: int) -> dict[int, Side]:
    """The sides of a line by address, counted upwards from ``first``; a side's nozzles are of one dispenser.

    Raises ``ValueError`` when they are more than ``most``.
    """
    found: dict[int, Side] = {}
    for dispenser in dispensers:
        for start in range(0, len(dispenser.nozzles), nozzles_per_side):
            address = first + len(found)
            found[address] = Side(address, dispenser, dispenser.nozzles[start : start + nozzles_per_side])
    if len(found) > most:
        raise ValueError(f"{len(found)} fuelling sides on one line; it takes {most}")
    return found


def devices(by_address: Mapping[int, Side]) -> dict[str, int]:
    """Dispenser id → the address of its first side."""
    found: dict[str, int] = {}
    for address, side in by_address.items():
        found.setdefault(side.dispenser.dispenser_id, address)
    return found


def scaled(hundredths: int, decimals: int, digits: int) -> int:
    """A number of two decimals as a display with other ``decimals`` and so many ``digits`` shows it: cut, rolled."""
    factor: int = 10 ** abs(decimals - 2)
    most: int = 10**digits
    return (hundredths * factor if decimals >= 2 else hundredths // factor) % most


def bcd(number: int, octets: int) -> bytes:
    """Packed BCD, most significant digit first; what does not fit rolls over."""
    return bytes.fromhex(f"{number % 100**octets:0{2 * octets}d}")


def latest_sale(nozzle: NozzleView) -> Sale | None:
    """The last filling the memory has a record of."""
    return nozzle.sales[nozzle.sequence % len(nozzle.sales)]


def wall_clock(dispenser: DispenserView, at_s: int) -> datetime:
    """A time of the device's clock as the station's wall clock, without a zone."""
    ahead = dispenser.local_time.replace(tzinfo=UTC) - datetime.fromtimestamp(dispenser.now_s, UTC)
    shift = timedelta(minutes=round(ahead.total_seconds() / 60))
    return (datetime.fromtimestamp(at_s, UTC) + shift).replace(tzinfo=None)
