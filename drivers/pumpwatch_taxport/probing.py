"""How a tax port is recognised: it says who it is."""

from __future__ import annotations

from typing import Final

from pumpwatch import Probe, PumpwatchError
from pumpwatch_taxport.frames import Command, Question, TaxInfo

ASKED: Final = Question(Command.INFO, 0)
BAUD: Final = 9600
PARITIES: Final = ("E", "N")


def probes() -> list[Probe]:
    """The board's information, which only reads; a board never speaks unasked."""
    return [Probe(_answered, ASKED.request, baud=BAUD, parity=parity) for parity in PARITIES]


def _answered(received: bytes) -> str:
    try:
        length = ASKED.complete(received)
        told = ASKED.fact(received[:length]) if length else None
    except PumpwatchError:
        return ""
    if not isinstance(told, TaxInfo):
        return ""
    return f"tax board {told.serial}" if told.clock else f"tax board {told.serial}, not initialised"
