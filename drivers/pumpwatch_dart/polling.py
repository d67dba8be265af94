"""One side polled by us, where no controller is: its exchanges, question by question."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from pumpwatch import BadReply, Refused
from pumpwatch_dart.frames import KEPT, Cutter, Frame, Kind
from pumpwatch_dart.requests import acknowledge, ask, poll
from pumpwatch_dart.traffic import FromPump
from pumpwatch_dart.transactions import from_pump

if TYPE_CHECKING:
    from pumpwatch import Line, Turns
    from pumpwatch_dart.requests import Question

Take: TypeAlias = Callable[[FromPump], None]
MOST_TURNS = 16
"""DATA taken from a pump in one go; what it still has to say comes with the next scan."""
MOST_DAMAGED = 3
"""Damaged replies in a row before the pump's scan is given up."""
MOST_RECEIVED = 4 * KEPT
"""Bytes without an answer after which none is awaited."""
SHOWN = 48
"""Bytes of a bad reply that an error shows."""

_ANSWERS_POLL = frozenset({Kind.EOT, Kind.DATA})
_ANSWERS_DATA = frozenset({Kind.ACK, Kind.NAK})


class Conversation:
    """We ask, the pump answers. What it says is taken before it is acknowledged, so no exchange cut short loses it."""

    def __init__(self, address: int, line: Line, turns: Turns) -> None:
        self.address = address
        self._line = line
        self._turns = turns
        self._number = 0
        self._said: tuple[int, bytes] | None = None

    def begin(self) -> None:
        """A new beginning: TX# 0 is always accepted."""
        self._number = 0

    async def hear(self, take: Take) -> None:
        """Poll until the pump has nothing more to say. Raises ``BadReply`` when it cannot be understood."""
        request, damaged = poll(self.address), 0
        for _ in range(MOST_TURNS):
            frame = await self._exchange(request, _ANSWERS_POLL)
            request = poll(self.address)
            if frame.kind is Kind.EOT:
                take(FromPump(self.address))
                return
            facts = from_pump(frame.payload) if frame.kind is Kind.DATA else None
            if frame.kind is Kind.NOISE:
                # Not acknowledged, the pump says it again.
                damaged += 1
                if damaged >= MOST_DAMAGED:
                    raise BadReply(f"{self.address:#04x}: damaged replies, the last: {_shown(frame.raw)}")
                continue
            damaged = 0
            if (frame.number, frame.payload) != self._said:
                self._said = (frame.number, frame.payload)
                take(FromPump(self.address, facts or (), sure=True, raw=frame.raw))
            request = acknowledge(self.address, frame.number)

    async def ask(self, question: Question, take: Take) -> None:
        """Ask and take the answer. Raises ``Refused`` when the pump does not take the question."""
        number, self._number = self._number, 0  # stays if this is cut short
        frame = await self._exchange(ask(self.address, number, question), _ANSWERS_DATA)
        if frame.kind is not Kind.ACK and number:
            number = 0
            frame = await self._exchange(ask(self.address, number, question), _ANSWERS_DATA)
        if frame.kind is Kind.NOISE:
            raise BadReply(f"{self.address:#04x}: a damaged acknowledgement: {_shown(frame.raw)}")
        if frame.kind is Kind.NAK:
            raise Refused(f"{self.address:#04x}: the pump does not take {question}")
        self._number = (number + 1) % 16
        await self.hear(take)

    async def _exchange(self, request: bytes, kinds: frozenset[Kind]) -> Frame:
        awaited = _Awaited(request, self.address, kinds)
        reply = await self._turns.within(self.address, self._line.ask(request, awaited.complete))
        if awaited.frame is None:
            raise BadReply(f"{self.address:#04x}: no answer in {_shown(reply)}")
        return awaited.frame


class _Awaited:
    """Finds the answer to one request while it comes in, in pieces; each byte is looked at once."""

    def __init__(self, request: bytes, address: int, kinds: frozenset[Kind]) -> None:
        self.frame: Frame | None = None
        """The answer, once it has come."""
        self._request = request
        self._address = address
        self._kinds = kinds
        self._cutter = Cutter()
        self._taken = 0

    def complete(self, received: bytes) -> int:
        """See ``pumpwatch.Line``. Raises ``BadReply`` when much comes that is no answer."""
        if self._request.startswith(received):
            return 0  # a converter that hears itself, or nothing yet
        begin = len(self._request) if received.startswith(self._request) else 0
        frames = self._cutter.feed(received[max(begin, self._taken) :])
        self._taken = len(received)
        for frame in frames:
            if frame.kind is Kind.NOISE or (frame.kind in self._kinds and frame.address == self._address):
                self.frame = frame
                return len(received)
        if len(received) > MOST_RECEIVED:
            raise BadReply(f"{self._address:#04x}: no answer in {len(received)} bytes: {_shown(received)}")
        return 0


def _shown(data: bytes) -> str:
    return data[:SHOWN].hex() + ("…" if len(data) > SHOWN else "")
