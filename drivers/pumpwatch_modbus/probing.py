"""Questions that find a Modbus device on an unknown line."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from pumpwatch import NotReachable, Probe, PumpwatchError
from pumpwatch_modbus.codec import RegisterRead, RtuFraming, TcpFraming
from pumpwatch_modbus.reads import Span

if TYPE_CHECKING:
    from pumpwatch_modbus.codec import Exchange

UNITS: Final = range(1, 9)
SERIAL: Final = ((9600, "N"), (9600, "E"), (19200, "N"), (19200, "E"))
"""Speed and parity of most devices."""


def probes() -> list[Probe]:
    """TCP first: it is told from RTU by its header, and an RTU device does not answer it."""
    reads = [RegisterRead(unit, 3, Span(0, 1)) for unit in UNITS]
    tcp, rtu = TcpFraming(), RtuFraming()
    return [_probe(tcp.exchange(read), read.unit, "tcp", 9600, "N") for read in reads] + [
        _probe(rtu.exchange(read), read.unit, "rtu", baud, parity) for baud, parity in SERIAL for read in reads
    ]


def _probe(exchange: Exchange, unit: int, framing: str, baud: int, parity: str) -> Probe:
    settings: dict[str, str | int | float | bool] = {"unit": unit, "framing": framing}
    return Probe(partial(_recognise, exchange, unit), exchange.request, settings, baud=baud, parity=parity)


def _recognise(exchange: Exchange, unit: int, received: bytes) -> str:
    try:
        length = exchange.complete(received)
        if not length:
            return ""
        exchange.registers(received[:length])
    except NotReachable:
        return ""  # a gateway answers, the unit does not
    except PumpwatchError as error:
        return f"unit {unit}" if "exception" in str(error) else ""
    return f"unit {unit}"
