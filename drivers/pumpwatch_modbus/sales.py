"""The device's memory of completed sales: which are owed, where they stand, and what a slot says; sans-I/O.

A dispenser keeps the last sales of each nozzle in slots that it overwrites in turn, and a sequence number that moves
when a sale is complete. A sale is owed from the moment its number is seen until it has been read or overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pumpwatch import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pumpwatch_modbus.brandmap import SaleEntry, SaleValue
    from pumpwatch_modbus.reads import Span
    from pumpwatch_modbus.values import Order, Value

MOST_TRIES = 5
"""Reads of a slot that does not hold what its sequence number promises; then the sale is given up as never written."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A sale that is owed and where it stands."""

    nozzle: int
    """The device's own number, from 1."""
    seq: int
    at: Span


class SaleMemory:
    """Follows the sequence numbers of a device's nozzles.

    Call ``note`` with what was read of the sequence, read each of ``owed`` and ``take`` it, and ``collect`` last. What
    has been taken is kept until it is collected: an exchange cut short loses nothing, and the next one goes on.
    """

    def __init__(self, entry: SaleEntry, nozzle_ids: Sequence[str], order: Order) -> None:
        self._entry = entry
        self._nozzle_ids = nozzle_ids
        self._slot = _SlotReader(entry, order)
        self._roll = 1 << 16 * entry.fields_.seq.encoding.registers
        """After so many numbers they begin anew."""
        self._seen: dict[int, int] = {}
        self._tries: dict[tuple[int, int], int] = {}
        """(nozzle, seq) of each sale owed: how often its slot has been read in vain."""
        self._ready: dict[tuple[int, int], Transaction] = {}

    def note(self, nozzle: int, sequence: int) -> None:
        """A nozzle's sequence number has been read.

        The first time, and when it has gone back (a board was changed or reset), all that the memory can hold is owed.
        Numbers that begin anew behind the largest that the register holds have not gone back.
        """
        seen, slots = self._seen.get(nozzle), self._entry.slots
        if seen == sequence:
            return
        self._seen[nozzle] = sequence
        passed = 0 if seen is None else (sequence - seen) % self._roll
        kept = {key: n for key, n in self._tries.items() if key[0] != nozzle}
        if seen is not None and (seen < sequence or passed <= slots):
            news = [(sequence - back) % self._roll for back in reversed(range(min(passed, slots)))]
            mine = {key: n for key, n in self._tries.items() if key[0] == nozzle}
            kept |= {key: n for key, n in mine.items() if (sequence - key[1]) % self._roll < slots}
        else:
            news = list(range(max(1, sequence - slots + 1), sequence + 1))
        self._tries = kept | {(nozzle, seq): 0 for seq in news}

    def owed(self) -> list[Slot]:
        """The sales to read now, by nozzle, oldest first."""
        return [Slot(*key, self._entry.slot(*key)) for key in sorted(self._tries, key=self._order)]

    def take(self, slot: Slot, registers: bytes) -> None:
        """What stands in a slot. If it is another sale, it is being overwritten: tried again at the next read."""
        key = (slot.nozzle, slot.seq)
        sale = self._slot.sale(self._nozzle_ids[slot.nozzle - 1], registers)
        if sale is not None and sale.seq == slot.seq:
            del self._tries[key]
            self._ready[key] = sale
        elif self._tries[key] + 1 >= MOST_TRIES:
            del self._tries[key]
        else:
            self._tries[key] += 1

    def collect(self) -> list[Transaction]:
        """The fillings taken since the last time, each once; by nozzle, oldest first."""
        ready, self._ready = self._ready, {}
        return [ready[key] for key in sorted(ready, key=self._order)]

    def _order(self, key: tuple[int, int]) -> tuple[int, int]:
        """By nozzle, oldest first."""
        nozzle, seq = key
        return nozzle, -((self._seen[nozzle] - seq) % self._roll)


class _SlotReader:
    """Reads the fields of one slot."""

    def __init__(self, entry: SaleEntry, order: Order) -> None:
        self._fields = {name: _field(field, order) for name, field in entry.fields_.present().items()}

    def sale(self, nozzle_id: str, registers: bytes) -> Transaction | None:
        """The filling in a slot; None if one of the six fields that make one is not there."""
        values = {name: read(registers) for name, read in self._fields.items()}

        def number(name: str) -> float | None:
            value = values.get(name)
            return value if isinstance(value, int | float) else None

        def word(name: str) -> str | None:
            value = values.get(name)
            return None if value is None else str(value)

        seq, start, end = number("seq"), _time(number("start")), _time(number("end"))
        volume, amount, price = number("volume_l"), number("amount_cny"), number("unit_price")
        if seq is None or start is None or end is None or volume is None or amount is None or price is None:
            return None
        pulses, pulse = number("encoder_pulses"), number("pulse_l")
        preset = word("preset_kind")
        return Transaction(
            nozzle_id=nozzle_id,
            seq=int(seq),
            start=start,
            end=end,
            volume_l=volume,
            amount_cny=amount,
            unit_price=price,
            totalizer_l=number("totalizer_l"),
            totalizer_cny=number("totalizer_cny"),
            # Products of decimals: 2051 x 0.01 is 20.51 and not 20.510000000000002.
            encoder_l=None if pulses is None or pulse is None else round(pulses * pulse, 6),
            encoder_pulses=None if pulses is None else int(pulses),
            tax_l=number("tax_l"),
            tax_cny=number("tax_cny"),
            payment=word("payment"),
            preset_kind=preset,
            preset_value=None if preset is None else number("preset_value"),
            raw=registers,
        )


def _field(entry: SaleValue, order: Order) -> Callable[[bytes], Value]:
    """The function that reads one field out of a slot: None where the device says there is none."""
    encoding = entry.encoding
    place = slice(2 * entry.offset, 2 * (entry.offset + encoding.registers))
    scaled, plain = encoding.reader(order), replace(encoding, scale=1.0).reader(order)

    def read(slot: bytes) -> Value:
        raw = plain(slot[place])[0]
        if raw is None or raw == entry.none:
            return None
        if entry.words:
            return entry.words.get(int(raw), str(raw)) if isinstance(raw, int) else None
        return scaled(slot[place])[0]

    return read


def _time(seconds: float | None) -> datetime | None:
    """Seconds since 1970 UTC as four bytes hold them."""
    return None if seconds is None or not 0 <= seconds < 1 << 32 else datetime.fromtimestamp(seconds, UTC)
