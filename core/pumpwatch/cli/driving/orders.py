"""What the bytes of a question would order if the line carried another protocol than is thought.

Two-Wire has neither frames nor checksums: one byte frees a pump or stops it. The other protocols have frames; their
patterns leave addresses and checksums out, so they find more than a device would obey, never less.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_WRITES: Final = rb"[\x05\x06\x0f\x10\x15-\x17]"
"""Modbus functions that change something."""


UNCHECKED: Final = "twowire"
"""The driver whose devices obey bytes that nothing checks: at another speed or parity any question may be an order."""


@dataclass(frozen=True, slots=True)
class Order:
    """One kind of order of one protocol."""

    protocol: str
    driver: str
    """That reads such devices; nothing where there is none."""
    what: str
    pattern: re.Pattern[bytes]
    """How it is found among bytes."""

    def told(self, data: bytes) -> str:
        """What these bytes, which match, say."""
        if self.driver != UNCHECKED:
            return self.what
        return f"{self.what} {data[0] & 15 or 16}" if data != b"\xfc" else self.what


def _order(protocol: str, driver: str, what: str, pattern: bytes) -> Order:
    return Order(protocol, driver, what, re.compile(pattern, re.DOTALL))


ORDERS: Final = (
    _order("Two-Wire", "twowire", "authorise pump", rb"[\x10-\x1f]"),
    _order("Two-Wire", "twowire", "take data (price, preset) pump", rb"[\x20-\x2f]"),
    _order("Two-Wire", "twowire", "stop pump", rb"[\x30-\x3f]"),
    _order("Two-Wire", "twowire", "stop all pumps", rb"\xfc"),
    _order("DART", "dart", "data for a pump", rb"[\x50-\x6f][\x30-\x3f].{2,}?\x03\xfa"),
    _order("Lanfeng", "lanfeng", "control, fuel, stop, preset or price", rb"..[\xa0-\xa4\xa6\xa8\xb0\xb1].{9}"),
    _order("Modbus RTU", "modbus", "write", rb"\A.(?:[\x05\x06].{6}\Z|[\x0f\x10\x15-\x17].{7})"),
    _order("Modbus TCP", "modbus", "write", rb"\A..\0\0..." + _WRITES + rb".{4}"),
    _order("IFSF", "ifsf", "write", rb"[\x01\x02\x08\x09\x0b].[\x01\x02\x08\x09\x0b].\0[\x40-\x5f]"),
    _order("TLS-350", "tls350", "set", rb"\x01(?:.{6})?[Ss][0-9A-Za-z]{5}"),
    _order("Censtar", "", "price, stop, authorise or clear", rb"\xfc[\x03\x05\x06\x17]."),
    _order("Tokheim", "", "pause, resume, authorise or price", rb"\xa3\x5c|\xa4\x5b|\xa5\x5a|\xbf\x40"),
)
"""Of every protocol that is known to hang on a serial line of a forecourt. The tax port has questions only.

Sources: TWOTP-IS-1.0; Wayne DART 2.11; the maker's sheet for Lanfeng; Modbus application protocol V1.1b3; IFSF 2-02;
Veeder-Root 576013-635; for Censtar and Tokheim deployed programs.
"""


def orders_in(requests: Iterable[bytes]) -> dict[Order, list[str]]:
    """The orders that these requests would be, and what each says, once."""
    found: dict[Order, dict[str, None]] = {}
    for request in requests:
        for order in ORDERS:
            for match in order.pattern.finditer(request):
                found.setdefault(order, {})[order.told(match.group())] = None
    return {order: list(told) for order, told in found.items()}
