"""How a DART bus is recognised: by what passes, or by a poll where no controller is."""

from __future__ import annotations

from functools import partial
from typing import Final

from pumpwatch import Probe
from pumpwatch_dart.frames import Cutter, Kind
from pumpwatch_dart.requests import poll

ASKED: Final = range(0x50, 0x60)
"""Addresses of nearly all sides."""
BAUDS: Final = (9600, 19200)


def probes() -> list[Probe]:
    """Listen first; then poll, which is the controller's part and so is only for a bus on which nobody speaks."""
    listening = [Probe(_heard, settings={"mode": "tap"}, baud=baud, parity="O") for baud in BAUDS]
    asking = [
        Probe(partial(_answered, address), poll(address), {"address": address, "mode": "poll"}, baud=baud, parity="O")
        for baud in BAUDS
        for address in ASKED
    ]
    return listening + asking


def _heard(received: bytes) -> str:
    """The addresses of the DATA whose checksum is right; the short frames have none and prove nothing."""
    sides = sorted({frame.address for frame in Cutter().feed(received) if frame.kind is Kind.DATA})
    return "address " + ", ".join(f"{side:02x}" for side in sides) if sides else ""


def _answered(address: int, received: bytes) -> str:
    """``EOT`` or sound DATA of the side that was polled; not the poll itself, which a converter may give back."""
    kinds = {frame.kind for frame in Cutter().feed(received.removeprefix(poll(address))) if frame.address == address}
    return f"address {address:02x}" if kinds & {Kind.EOT, Kind.DATA} else ""
