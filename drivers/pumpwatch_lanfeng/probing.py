"""How a Lanfeng line is recognised: by questions and answers that pass, or by the answer of a gun."""

from __future__ import annotations

from functools import partial
from typing import Final

from pumpwatch import Probe, PumpwatchError
from pumpwatch_lanfeng.frames import Exchange, Question
from pumpwatch_lanfeng.listening import Listener

GUNS: Final = range(1, 9)
BAUD: Final = 9600


def probes() -> list[Probe]:
    """Listen first; the state of a gun is a question that changes nothing."""
    exchanges = [Exchange(Question.STATE, gun) for gun in GUNS]
    asking = [
        Probe(partial(_answered, each), each.request, {"mode": "poll", "guns": [each.gun]}, baud=BAUD)
        for each in exchanges
    ]
    return [Probe(_heard, settings={"mode": "tap"}, baud=BAUD), *asking]


def _heard(received: bytes) -> str:
    guns = sorted({said.gun for said in Listener().feed(received)})
    return "gun " + ", ".join(map(str, guns)) if guns else ""


def _answered(exchange: Exchange, received: bytes) -> str:
    try:
        length = exchange.complete(received)
        if not length:
            return ""
        exchange.state(received[:length])
    except PumpwatchError:
        return ""
    return f"gun {exchange.gun}"
