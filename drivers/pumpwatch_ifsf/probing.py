"""How IFSF nodes are recognised on a TCP connection: all are asked at once who they are, as the driver does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from pumpwatch import Probe
from pumpwatch_ifsf import database
from pumpwatch_ifsf.messages import Node, Roll, Subnet

if TYPE_CHECKING:
    from collections.abc import Callable

OWN: Final = Node(Subnet.CONTROLLER, 126)
"""As the driver's ``own_node``."""


def probes() -> list[Probe]:
    """One read of every node that may be there, of dispensers and of tank gauges."""
    asked = (
        (Subnet.DISPENSER, database.CALCULATOR, database.NUMBER_OF_POINTS, "dispenser"),
        (Subnet.TANK_GAUGE, bytes((database.FIRST_PROBE,)), database.PROBE_STATUS, "tank gauge"),
    )
    rolls = [(partial(Roll, OWN, subnet, address, number), what) for subnet, address, number, what in asked]
    return [Probe(partial(_answered, roll, what), roll().request) for roll, what in rolls]


def _answered(roll: Callable[[], Roll], what: str, received: bytes) -> str:
    asked = roll()
    if not asked.complete(received):
        return ""
    return f"{what}, node " + ", ".join(str(each.node) for each in asked.found(received))
