"""Registers as numbers and texts: one reader a value, and one compiled struct for all the plain numbers of a read."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from operator import truediv
from typing import TYPE_CHECKING, Literal, TypeAlias

from pumpwatch import Quality, Sample, Tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pumpwatch_modbus.reads import Span

Value: TypeAlias = float | int | str | None
RegisterType: TypeAlias = Literal[
    "u16", "i16", "u32", "i32", "u64", "f32", "bcd4", "bcd8", "bcd12", "ascii", "hex", "bits"
]
WIDTHS: dict[str, int] = {
    "u16": 1,
    "i16": 1,
    "u32": 2,
    "i32": 2,
    "u64": 4,
    "f32": 2,
    "bcd4": 1,
    "bcd8": 2,
    "bcd12": 3,
    "bits": 1,
}
"""Registers of each type of fixed width; ``ascii`` and ``hex`` have a length of their own."""
CODES = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "f32": "f"}
TEXTS = frozenset({"ascii", "hex"})

_SAMPLE: Callable[[tuple[object, ...]], Sample] = partial(tuple.__new__, Sample)
"""``Sample._make`` without its check of the length: half the time, and reads make thousands a second."""
_GOOD = Quality.GOOD

Reader: TypeAlias = "Callable[[bytes], tuple[Value, Quality]]"


@dataclass(frozen=True, slots=True)
class Order:
    """How a device lays numbers over registers; both True is what the Modbus specification says."""

    high_word_first: bool = True
    high_byte_first: bool = True

    @property
    def is_standard(self) -> bool:
        """Whether nothing has to be turned round."""
        return self.high_word_first and self.high_byte_first

    def bytes_of_text(self, registers: bytes) -> bytes:
        """Registers as text is read: each with its high byte first, in the order of their addresses."""
        if self.high_byte_first:
            return registers
        words = array("H", registers)
        words.byteswap()
        return words.tobytes()

    def bytes_of_number(self, registers: bytes) -> bytes:
        """Registers as one number is read, highest byte first. Of many, their places are mirrored, see ``Layout``."""
        text = self.bytes_of_text(registers)
        if self.high_word_first:
            return text
        words = array("H", text)
        words.reverse()
        return words.tobytes()


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one value stands in its registers."""

    type: RegisterType
    registers: int
    scale: float = 1.0
    bit: int = 0
    bits: int = 1
    low: float | None = None
    high: float | None = None

    @property
    def divisor(self) -> float | None:
        """What to divide by instead of multiplying with 0.01, so that 12345 becomes 123.45 exactly; None if nothing."""
        inverse = round(1 / self.scale) if self.scale else 0
        return float(inverse) if inverse > 1 and math.isclose(inverse * self.scale, 1, rel_tol=1e-12) else None

    @property
    def is_plain(self) -> bool:
        """Whether it is a whole number that needs no more than a division."""
        in_struct = self.type in {"u16", "i16", "u32", "i32", "u64"}
        return in_struct and self.low is None and self.high is None and (self.scale == 1 or self.divisor is not None)

    def reader(self, order: Order) -> Reader:
        """The function that reads this value from its registers as they came."""
        if self.type == "ascii":
            return lambda raw: _text(order.bytes_of_text(raw))
        if self.type == "hex":
            return lambda raw: (order.bytes_of_text(raw).hex(), Quality.GOOD)
        number, factor, divisor = self._number(), self.scale, self.divisor

        def read(raw: bytes) -> tuple[Value, Quality]:
            value = number(order.bytes_of_number(raw))
            if value is None or not math.isfinite(value):
                return None, Quality.BAD_REPLY
            if divisor is not None:
                value /= divisor
            elif factor != 1:
                value *= factor
            return value, self._in_range(value)

        return read

    def _number(self) -> Callable[[bytes], float | int | None]:
        if self.type == "bits":
            mask, bit = (1 << self.bits) - 1, self.bit
            return lambda raw: int.from_bytes(raw, "big") >> bit & mask
        if self.type.startswith("bcd"):
            return lambda raw: int(raw.hex()) if raw.hex().isdecimal() else None
        unpack = struct.Struct(">" + CODES[self.type]).unpack
        return lambda raw: unpack(raw)[0]

    def _in_range(self, value: float) -> Quality:
        below, above = self.low is not None and value < self.low, self.high is not None and value > self.high
        return Quality.OUT_OF_RANGE if below or above else Quality.GOOD


def _text(raw: bytes) -> tuple[Value, Quality]:
    """Text without its padding. What is not printable is shown escaped: a board that tells rubbish must be seen to."""
    padded = raw.rstrip(b"\0 ")
    text = padded.decode("ascii", "backslashreplace")
    if text.isprintable():
        return text, Quality.GOOD if padded.isascii() else Quality.UNCERTAIN
    return text.encode("unicode_escape").decode("ascii"), Quality.UNCERTAIN


@dataclass(frozen=True, slots=True)
class Point:
    """A tag and where its value stands."""

    tag: Tag
    at: Span
    encoding: Encoding


class Layout:
    """Turns the registers of one read into samples.

    Plain numbers, which are nearly all, are unpacked by one compiled struct and divided in one pass; the rest have a
    reader each. With low words first the struct reads the registers in reverse order: then each number has its high
    word first, at the mirrored place.
    """

    def __init__(self, points: Iterable[Point], read: Span, order: Order) -> None:
        self._order = order
        scaled: list[Point] = []
        whole: list[Point] = []
        others: list[Point] = []
        for point in points:
            encoding = point.encoding
            (others if not encoding.is_plain else whole if encoding.divisor is None else scaled).append(point)
        self._scaled = [
            (unpack, [point.tag.name for point in layer], [point.encoding.divisor or 1.0 for point in layer])
            for layer, unpack in _layers(scaled, read, order)
        ]
        self._whole = [(unpack, [point.tag.name for point in layer]) for layer, unpack in _layers(whole, read, order)]
        self._others = [
            (p.tag.name, slice(2 * (p.at.first - read.first), 2 * (p.at.end - read.first)), p.encoding.reader(order))
            for p in others
        ]

    @property
    def names(self) -> list[str]:
        """The tags it decodes, in the order of its samples."""
        layers = [names for _, names, _ in self._scaled] + [names for _, names in self._whole]
        return [name for names in layers for name in names] + [name for name, _, _ in self._others]

    def decode(self, registers: bytes, at: datetime) -> list[Sample]:
        """One sample a point."""
        samples: list[Sample] = []
        numbers = registers if self._order.is_standard else self._order.bytes_of_number(registers)
        for unpack, names, divisors in self._scaled:
            samples += map(_SAMPLE, zip(names, map(truediv, unpack(numbers), divisors), repeat(at), repeat(_GOOD)))
        for unpack, names in self._whole:
            samples += map(_SAMPLE, zip(names, unpack(numbers), repeat(at), repeat(_GOOD)))
        for name, place, read in self._others:
            value, quality = read(registers[place])
            samples.append(Sample(name, value, at, quality))
        return samples


def _layers(
    points: Sequence[Point], read: Span, order: Order
) -> list[tuple[list[Point], Callable[[bytes], tuple[int, ...]]]]:
    """Points that do not overlap, and the struct that unpacks them at one go; nearly always one layer."""

    def place(point: Point) -> int:
        return point.at.first - read.first if order.high_word_first else read.end - point.at.end

    layers: list[list[Point]] = []
    for point in sorted(points, key=place):
        for layer in layers:
            if place(layer[-1]) + layer[-1].at.size <= place(point):
                layer.append(point)
                break
        else:
            layers.append([point])
    compiled: list[tuple[list[Point], Callable[[bytes], tuple[int, ...]]]] = []
    for layer in layers:
        parts, end = [">"], 0
        for point in layer:
            parts.append(f"{2 * (place(point) - end)}x{CODES[point.encoding.type]}")
            end = place(point) + point.at.size
        compiled.append((layer, struct.Struct("".join(parts)).unpack_from))
    return compiled
