"""What stands in DART frames: transactions ``TRANS LNG DATA`` to the pump (CD) and from it (DC); sans-I/O.

CD and DC share their numbers, so one payload may be either; who sent it is told by ``traffic``. Numbers are packed BCD,
most significant digit first, and stay whole numbers here: where the point stands is configured.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias


class Status(IntEnum):
    """DC1."""

    NOT_PROGRAMMED = 0
    """It has no prices."""
    RESET = 1
    AUTHORISED = 2
    FILLING = 4
    COMPLETED = 5
    LIMIT = 6
    """The preset is reached."""
    SWITCHED_OFF = 7
    SUSPENDED = 8


@dataclass(frozen=True, slots=True)
class Shown:
    """DC2: what the display shows, of the filling under way or of the last one."""

    volume: int
    amount: int


@dataclass(frozen=True, slots=True)
class NozzleReport:
    """DC3."""

    price: int
    nozzle: int
    """From 1; 0 where the pump names none, as most do when it hangs."""
    out: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """DC5."""

    code: int


@dataclass(frozen=True, slots=True)
class Parameters:
    """DC7: the decimals of what the pump shows."""

    volume: int
    amount: int
    price: int


@dataclass(frozen=True, slots=True)
class Identity:
    """DC9: ten digits."""

    digits: str


@dataclass(frozen=True, slots=True)
class Totals:
    """DC101: one nozzle's totalizers; None where this frame does not tell."""

    nozzle: int
    volume: int | None = None
    amount: int | None = None
    china: bool = False
    """Both in one, with 13 bytes."""


@dataclass(frozen=True, slots=True)
class Prices:
    """DC103, or CD5 of the controller: of nozzle 1, of nozzle 2 and so on."""

    prices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Preset:
    """CD3 (volume) or CD4 (amount)."""

    value: int
    is_volume: bool


@dataclass(frozen=True, slots=True)
class Command:
    """Any other order of the controller."""

    code: int
    content: bytes


Fact: TypeAlias = Status | Shown | NozzleReport | Alarm | Parameters | Identity | Totals | Prices
Order: TypeAlias = Preset | Prices | Command

_STATUSES = {int(status): status for status in Status}
_CD1 = frozenset({0x00, 0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x0A, 0x0D, 0x0E, 0x0F})
_COUNTERS = frozenset({*range(0x01, 0x0A), *range(0x11, 0x1A)})
_ONLY_DC = frozenset({0x07, 0x66, 0x67})


class _WrongError(Exception):
    """The sender that is asked about never says so."""


def split(payload: bytes) -> tuple[tuple[int, bytes], ...] | None:
    """The transactions of a payload; None when they do not fill it exactly."""
    found, at = [], 0
    while at < len(payload):
        content = at + 2
        end = content + payload[at + 1] if content <= len(payload) else len(payload) + 1
        if end > len(payload):
            return None
        found.append((payload[at], payload[content:end]))
        at = end
    return tuple(found)


def from_pump(payload: bytes) -> tuple[Fact, ...] | None:
    """What it says if a pump sent it; None when no pump does. Unknown transactions are passed over."""
    parts = split(payload)
    if not parts:
        return None
    try:
        return tuple(fact for code, content in parts if (fact := _fact(code, content)) is not None)
    except _WrongError:
        return None


def from_controller(payload: bytes) -> tuple[Order, ...] | None:
    """What it says if the controller sent it; None when no controller does."""
    parts = split(payload)
    if not parts:
        return None
    try:
        return tuple(_order(code, content) for code, content in parts)
    except _WrongError:
        return None


def number(bcd: bytes) -> int:
    """Packed BCD as a number."""
    digits = bcd.hex()
    if not digits.isdecimal():
        raise _WrongError
    return int(digits)


def _fact(code: int, content: bytes) -> Fact | None:
    match code, len(content):
        case 0x01, 1 if content[0] in _STATUSES:
            return _STATUSES[content[0]]
        case 0x02, 8:
            return Shown(number(content[:4]), number(content[4:]))
        case 0x03, 4 if not content[3] & 0xE0:
            return NozzleReport(number(content[:3]), content[3] & 0x0F, bool(content[3] & 0x10))
        case 0x05, 1:
            return Alarm(content[0])
        case 0x07, 51:
            return Parameters(*content[22:25])
        case 0x09, 5:
            number(content)
            return Identity(content.hex())
        case 0x65, 16 if content[0] in _COUNTERS:
            return _totals(content[0], number(content[1:6]))
        case 0x65, 13 if content[0] in _COUNTERS:
            # The top byte of each is not part of it.
            return Totals(content[0] & 0x0F, number(content[2:7]), number(content[8:13]), china=True)
        case 0x67, length if length and length % 3 == 0:
            return _prices(content)
        case 0x01 | 0x02 | 0x03 | 0x04 | 0x05 | 0x07 | 0x09 | 0x0D | 0x0E | 0x0F | 0x65 | 0x67, _:
            raise _WrongError
        case _:
            return None


def _totals(counter: int, total: int) -> Totals:
    nozzle = counter & 0x0F
    return Totals(nozzle, amount=total) if counter & 0x10 else Totals(nozzle, volume=total)


def _prices(content: bytes) -> Prices:
    return Prices(tuple(number(content[at : at + 3]) for at in range(0, len(content), 3)))


def _order(code: int, content: bytes) -> Order:
    match code, len(content):
        case 0x01, 1 if content[0] in _CD1:
            return Command(code, content)
        case 0x02, length if length and len(set(content)) == length and set(content) <= set(range(1, 16)):
            return Command(code, content)
        case 0x03 | 0x04, 4:
            return Preset(number(content), is_volume=code == 0x03)
        case 0x05, length if length and length % 3 == 0:
            return _prices(content)
        case 0x65, 1 if content[0] in _COUNTERS:
            return Command(code, content)
        case 0x01 | 0x02 | 0x03 | 0x04 | 0x05 | 0x65, _:
            raise _WrongError
        case _ if code in _ONLY_DC:
            raise _WrongError
        case _:
            return Command(code, content)
