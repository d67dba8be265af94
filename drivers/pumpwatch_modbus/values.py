"""Registers as numbers and texts: one reader a value, and one look-up for all the plain numbers of a scan."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np

from pumpwatch import BadReply, Quality, Refused, SampleColumns, Tag

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from pumpwatch_modbus.reads import Span

Value: TypeAlias = float | int | str | None
Answer: TypeAlias = bytes | BadReply | Refused
"""The registers of a read, or why there are none."""
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
_PLAIN = frozenset({"u16", "i16", "u32", "i32"})
_WORD = 8
"""Bytes of the numbers in which registers are put together."""
_BYTE, _NUMBERS = np.dtype("u1"), np.dtype("<i8")

Reader: TypeAlias = "Callable[[bytes], tuple[Value, Quality]]"


@dataclass(frozen=True, slots=True)
class Order:
    """How a device lays numbers over registers; both True is what the Modbus specification says."""

    high_word_first: bool = True
    high_byte_first: bool = True

    def bytes_of_text(self, registers: bytes) -> bytes:
        """Registers as text is read: each with its high byte first, in the order of their addresses."""
        if self.high_byte_first:
            return registers
        words = array("H", registers)
        words.byteswap()
        return words.tobytes()

    def bytes_of_number(self, registers: bytes) -> bytes:
        """Registers as one number is read, highest byte first."""
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
        """Whether it is a whole number that a float holds, and needs no more than a division."""
        return (
            self.type in _PLAIN
            and self.low is None
            and self.high is None
            and (self.scale == 1 or self.divisor is not None)
        )

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
    """Turns the registers of a scan into samples, as columns.

    Plain numbers, which are nearly all, are put together by one look-up of bytes, whatever the order of words and
    bytes: each becomes eight bytes, lowest first, a signed one at their upper end and shifted down. One division scales
    all. The rest have a reader each, and so have the tags named in ``exact``, of which the value itself is wanted.
    """

    def __init__(
        self, points: Iterable[Point], reads: Sequence[Span], order: Order, exact: Collection[str] = ()
    ) -> None:
        places: list[tuple[Point, int, int]] = []
        """Point, number of its read, and its first byte in the registers of all reads."""
        absent: list[Point] = []
        starts = list(accumulate((2 * read.size for read in reads), initial=0))
        for point in points:
            number = next((i for i, read in enumerate(reads) if read.holds(point.at)), None)
            if number is None:
                absent.append(point)
            else:
                places.append((point, number, starts[number] + 2 * (point.at.first - reads[number].first)))
        plain = [place for place in places if place[0].encoding.is_plain and place[0].tag.name not in exact]
        others = [place for place in places if not place[0].encoding.is_plain or place[0].tag.name in exact]
        self.tags = tuple(point.tag.name for point in [*(p for p, _, _ in [*plain, *others]), *absent])
        """In the order of the samples."""
        self._zeros = [bytes(2 * read.size) for read in reads]
        self._bytes = np.array([_lookup(point, at, order, starts[-1]) for point, _, at in plain], np.intp).ravel()
        shifts = [8 * (_WORD - 2 * p.at.size) if p.encoding.type.startswith("i") else 0 for p, _, _ in plain]
        self._shifts = np.array(shifts, np.int64) if any(shifts) else None
        self._divisors = np.array([point.encoding.divisor or 1.0 for point, _, _ in plain])
        self._others = [
            (i, number, slice(at, at + 2 * point.at.size), point.encoding.reader(order))
            for i, (point, number, at) in enumerate(others, len(plain))
        ]
        self._is_mixed = len(plain) < len(self.tags)
        self._numbers = np.array([number for _, number, _ in [*plain, *others]], np.intp)
        self._qualities = np.zeros(len(self.tags), np.uint8)
        self._qualities[len(places) :] = Quality.REFUSED
        self._qualities.setflags(write=False)

    def decode(self, answers: Sequence[Answer], at: datetime) -> SampleColumns:
        """One sample a point."""
        failed: dict[int, Quality] = {}
        whole = (*answers, b"\0")
        try:
            registers = b"".join(cast("tuple[bytes, ...]", whole))
        except TypeError:  # some have failed; seldom, so that looking at each would cost more
            failed = {i: quality_of(answer) for i, answer in enumerate(answers) if not isinstance(answer, bytes)}
            registers = b"".join(
                [a if isinstance(a, bytes) else zeros for a, zeros in zip(whole, [*self._zeros, b""], strict=True)]
            )
        numbers = np.frombuffer(registers, _BYTE).take(self._bytes).view(_NUMBERS)
        if self._shifts is not None:
            numbers = numbers >> self._shifts
        values = numbers / self._divisors
        if failed or self._is_mixed:
            return self._with_others(registers, values, failed, at)
        return SampleColumns(self.tags, values, self._qualities, at)

    def _with_others(
        self, registers: bytes, plain: NDArray[np.float64], failed: Mapping[int, Quality], at: datetime
    ) -> SampleColumns:
        values = np.concatenate([plain, np.full(len(self.tags) - len(plain), np.nan)])
        qualities, exact = self._qualities.copy(), dict[int, Value]()
        for i, number, place, read in self._others:
            if number in failed:
                continue
            value, qualities[i] = read(registers[place])
            if isinstance(value, int | float):
                values[i] = value
            if not isinstance(value, float):
                exact[i] = value
        for number, quality in failed.items():
            spoilt = np.flatnonzero(self._numbers == number)
            values[spoilt] = np.nan
            qualities[spoilt] = quality
        return SampleColumns(self.tags, values, qualities, at, exact)


@lru_cache(maxsize=256)
def layout_of(points: tuple[Point, ...], reads: tuple[Span, ...], order: Order, exact: frozenset[str]) -> Layout:
    """A ``Layout`` that devices with the same map share: hundreds in turn then find it in the processor's cache."""
    return Layout(points, reads, order, exact)


def quality_of(failure: BadReply | Refused) -> Quality:
    """Of the tags of a read that failed so."""
    return Quality.REFUSED if isinstance(failure, Refused) else Quality.BAD_REPLY


def _lookup(point: Point, at: int, order: Order, zero: int) -> list[int]:
    """Where the eight bytes of a number stand, lowest first; ``zero`` is where a byte of nothing is."""
    words = [(at + i, at + i + 1) for i in range(0, 2 * point.at.size, 2)]
    if not order.high_byte_first:
        words = [(high, low) for low, high in words]
    if order.high_word_first:
        words.reverse()
    number = [byte for high, low in words for byte in (low, high)]
    rest = [zero] * (_WORD - len(number))
    return [*rest, *number] if point.encoding.type.startswith("i") else [*number, *rest]
