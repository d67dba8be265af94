"""The states of an alarm and what leads from one to another (ISA-18.2, latched); pure."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pumpwatch.errors import Refused


class State(StrEnum):
    """Where an alarm stands."""

    ACTIVE = "active"
    """Wrong, and nobody has said that they know."""
    ACKNOWLEDGED = "acknowledged"
    """Wrong, and somebody knows."""
    RETURNED = "returned"
    """Right again, but nobody has said that they know it was wrong."""
    CLEARED = "cleared"
    """Over. The same trouble later is another alarm."""

    @property
    def is_open(self) -> bool:
        """Whether it stands in the list of current alarms."""
        return self is not State.CLEARED

    @property
    def stands(self) -> bool:
        """Whether it is still wrong."""
        return self in (State.ACTIVE, State.ACKNOWLEDGED)

    @property
    def is_unacknowledged(self) -> bool:
        """Whether somebody has yet to look at it."""
        return self in (State.ACTIVE, State.RETURNED)


class Act(StrEnum):
    """What happens to an alarm."""

    RAISE = "raise"
    """The first finding."""
    REPEAT = "repeat"
    """Another finding of the same rule about the same subject."""
    ACKNOWLEDGE = "acknowledge"
    """A person says: I know."""
    RETURN = "return"
    """A standing rule no longer finds it."""
    CLEAR = "clear"
    """A person says: this is over, and why."""


_TABLE: Final = MappingProxyType(
    {
        (None, Act.RAISE): State.ACTIVE,
        (State.ACTIVE, Act.REPEAT): State.ACTIVE,
        (State.ACTIVE, Act.ACKNOWLEDGE): State.ACKNOWLEDGED,
        (State.ACTIVE, Act.RETURN): State.RETURNED,
        (State.ACTIVE, Act.CLEAR): State.CLEARED,
        (State.ACKNOWLEDGED, Act.REPEAT): State.ACKNOWLEDGED,
        (State.ACKNOWLEDGED, Act.RETURN): State.CLEARED,
        (State.ACKNOWLEDGED, Act.CLEAR): State.CLEARED,
        (State.RETURNED, Act.REPEAT): State.ACTIVE,
        (State.RETURNED, Act.ACKNOWLEDGE): State.CLEARED,
        (State.RETURNED, Act.RETURN): State.RETURNED,
        (State.RETURNED, Act.CLEAR): State.CLEARED,
    }
)


def step(state: State | None, event: Act) -> State:
    """The state after ``event``; None is: there is no such alarm yet. Raises ``Refused`` for what cannot be."""
    try:
        return _TABLE[state, event]
    except KeyError:
        now = "that does not exist" if state is None else f"that is {state}"
        raise Refused(f"cannot {event} an alarm {now}; look at the list of alarms again") from None
