"""What the console's reports say: inventory, deliveries, status and software; bytes in, facts out.

Layouts are those of the computer format in the Veeder-Root serial interface manuals. Counts of floats are read, not
assumed, so that a longer record of a newer console is understood as far as it is known.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pumpwatch import BadReply
from pumpwatch_tls350.envelope import console_time

if TYPE_CHECKING:
    from datetime import datetime

    from pumpwatch_tls350.envelope import Report

DELIVERY_IN_PROGRESS = 0x0001
INVALID_HEIGHT = 0x0004


@dataclass(frozen=True, slots=True)
class Inventory:
    """One tank of i201, in the console's units; None where the console gives no number."""

    tank: int
    status: int
    volume: float | None
    volume_compensated: float | None
    ullage: float | None
    height: float | None
    water: float | None
    temperature: float | None
    water_volume: float | None

    @property
    def is_delivering(self) -> bool:
        """Whether a delivery is in progress."""
        return bool(self.status & DELIVERY_IN_PROGRESS)

    @property
    def has_invalid_height(self) -> bool:
        """Whether the console itself does not believe its numbers."""
        return bool(self.status & INVALID_HEIGHT)


@dataclass(frozen=True, slots=True)
class TankDelivery:
    """One delivery of i202, in the console's units and local time."""

    tank: int
    start: datetime
    end: datetime
    start_volume: float | None
    end_volume: float | None


def inventory(report: Report) -> list[Inventory]:
    """i201: the tanks reported."""
    fields = _Fields(report)
    tanks = []
    while not fields.at_end:
        tank = fields.digits(2)
        fields.text(1)  # the product's code
        status = fields.hexadecimal(4)
        tanks.append(Inventory(tank, status, *fields.floats(fields.hexadecimal(2), 7)))
    return tanks


def deliveries(report: Report) -> list[TankDelivery]:
    """i202: the last deliveries, at most ten a tank."""
    fields = _Fields(report)
    found = []
    while not fields.at_end:
        tank = fields.digits(2)
        fields.text(1)
        for _ in range(fields.digits(2)):
            start, end = fields.time(), fields.time()
            values = fields.floats(fields.hexadecimal(2), 10)
            found.append(TankDelivery(tank, start, end, values[0], values[4]))
    return found


def system_status(report: Report) -> list[str]:
    """i101: what is wrong anywhere, as category, alarm and device of two digits each; empty when all is normal."""
    fields = _Fields(report)
    found = []
    while not fields.at_end:
        code = "".join(f"{fields.digits(2):02d}" for _ in range(3))
        if not code.startswith("00"):
            found.append(code)
    return found


def tank_status(report: Report) -> list[str]:
    """i205: what is wrong with each tank, as ``system_status`` would say it."""
    fields = _Fields(report)
    found = []
    while not fields.at_end:
        tank = fields.digits(2)
        found += [f"02{fields.digits(2):02d}{tank:02d}" for _ in range(fields.hexadecimal(2))]
    return found


def software(report: Report) -> str:
    """i902: revision and date of the console's software."""
    found = re.fullmatch(r"SOFTWARE#\s*(.*?)\s*CREATED\s*-\s*(.*?)\s*", report.body, re.DOTALL)
    text = f"{found[1]}, {found[2]}" if found else report.body.strip()
    if not text or not text.isprintable():
        raise BadReply(f"{report.code}: no software revision: {report.body!r}")
    return text


class _Fields:
    """Takes a report's fields one after the other; whatever is not as the manual says is a ``BadReply``."""

    def __init__(self, report: Report) -> None:
        self._code = report.code
        self._body = report.body
        self._next = 0

    @property
    def at_end(self) -> bool:
        """Whether all has been taken."""
        return self._next >= len(self._body)

    def text(self, length: int) -> str:
        """The next characters."""
        text = self._body[self._next : self._next + length]
        if len(text) < length:
            raise BadReply(f"{self._code}: the report ends in the middle of a field: {self._body.encode().hex()}")
        self._next += length
        return text

    def digits(self, length: int) -> int:
        """A decimal number."""
        return int(self._matching(length, r"[0-9]+"))

    def hexadecimal(self, length: int) -> int:
        """A hexadecimal number."""
        return int(self._matching(length, r"[0-9A-Fa-f]+"), 16)

    def floats(self, count: int, wanted: int) -> list[float | None]:
        """``count`` IEEE singles, cut or filled up to ``wanted``; None for what is no number."""
        values: list[float | None] = []
        for _ in range(count):
            value: float = struct.unpack(">f", bytes.fromhex(self._matching(8, r"[0-9A-Fa-f]+")))[0]
            values.append(value if math.isfinite(value) else None)
        return [*values, *[None] * wanted][:wanted]

    def time(self) -> datetime:
        """A time ``YYMMDDHHmm``."""
        return console_time(self.text(10), self._code)

    def _matching(self, length: int, pattern: str) -> str:
        text = self.text(length)
        if not re.fullmatch(pattern, text):
            raise BadReply(f"{self._code}: {text!r} at character {self._next - length} of {self._body.encode().hex()}")
        return text
