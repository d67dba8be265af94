"""All that ``mode = "poll"`` can say on the line. Nothing else can be made here: no price, preset, reset or authorise.

There is no function that takes a payload. A question is a member of ``Ask`` or a ``Counter``; anything else is an error
before a byte is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from pumpwatch_dart.frames import ADDRESSES, Kind, control, data


class Ask(Enum):
    """The four questions of CD1."""

    STATUS = b"\x01\x01\x00"
    PARAMETERS = b"\x01\x01\x02"
    IDENTITY = b"\x01\x01\x03"
    FILLING = b"\x01\x01\x04"


@dataclass(frozen=True, slots=True)
class Counter:
    """CD101: one totalizer of nozzle 1 to 9."""

    nozzle: int
    of_amount: bool = False

    def __post_init__(self) -> None:
        if self.nozzle not in range(1, 10):
            raise ValueError(f"a side has nozzles 1 to 9, not {self.nozzle}")


Question: TypeAlias = Ask | Counter


def poll(address: int) -> bytes:
    """Ask whether the pump has anything to say."""
    return control(Kind.POLL, _side(address))


def acknowledge(address: int, number: int) -> bytes:
    """The pump's DATA has arrived, and a poll for more. Without it the pump repeats itself for ever."""
    return control(Kind.ACK, _side(address), number & 0x0F) + poll(address)


def ask(address: int, number: int, question: Question) -> bytes:
    """A question as DATA number ``number``. Raises ``TypeError`` for what is none."""
    match question:
        case Ask():
            payload = question.value
        case Counter():
            payload = bytes((0x65, 1, question.nozzle | (0x10 if question.of_amount else 0)))
        case _:
            raise TypeError(f"{question!r} is no question; there are {', '.join(Ask.__members__)} and Counter")
    return data(_side(address), number & 0x0F, payload)


def _side(address: int) -> int:
    if address not in ADDRESSES:
        raise ValueError(f"{address:#04x} is no address of a side; they are 0x50 to 0x6f")
    return address
