"""How a Two-Wire loop is recognised: by a filling's block that passes, or by the status of a pump."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

from pumpwatch import BadReply, Probe
from pumpwatch_twowire.words import END, START, STATUSES, Layout, Question

PUMPS: Final = range(1, 17)
BAUDS: Final = (5787, 9600)
"""Of the loop itself, and of converters that translate it."""
DIGITS: Final = (6, 5)


def probes() -> list[Probe]:
    """Listen first; a status question changes nothing in a pump."""
    listening = [
        Probe(partial(_heard, digits), settings={"mode": "tap", "digits": digits}, baud=baud, parity="E")
        for baud in BAUDS
        for digits in DIGITS
    ]
    asking = [
        Probe(
            partial(_answered, pump), Question.STATUS.to(pump), {"mode": "poll", "pumps": [pump]}, baud=baud, parity="E"
        )
        for baud in BAUDS
        for pump in PUMPS
    ]
    return listening + asking


def _heard(digits: int, received: bytes) -> str:
    """The pumps of the fillings whose block checks."""
    layout, pumps = Layout(digits), set()
    at = received.find(START)
    while at >= 0:
        block = received[at : at + layout.size]
        if block.endswith(bytes((END,))):
            with suppress(BadReply):
                pumps.add(layout.filling(block).pump)
        at = received.find(START, at + 1)
    return _named(pumps) if pumps else ""


def _answered(pump: int, received: bytes) -> str:
    """One byte that names the pump again, behind the question itself where the loop gives it back."""
    asked = Question.STATUS.to(pump)
    answer = received.removeprefix(asked)
    if len(answer) != 1 or answer[0] & 0x0F != pump & 0x0F or answer[0] >> 4 not in STATUSES:
        return ""
    return _named({pump})


def _named(pumps: set[int]) -> str:
    return "pump " + ", ".join(map(str, sorted(pumps)))
