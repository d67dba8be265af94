"""IFSF application messages over TCP/IP, and an exchange of some reads for their answers; sans-I/O.

Source: IFSF Standard Forecourt Protocol part 2-02 (communication over TCP/IP) and part 3-01 (dispenser). What can be
sent is a read or an acknowledgement: there is no way here to make a write.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from pumpwatch import BadReply, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = 8
LONGEST = 1_024
"""Bytes after the header; no message here comes near it."""
DEEPEST = 8
"""Bytes of a data base's address."""
HEARTBEAT = 10
MOST_READS = 16
"""In one exchange; their tokens must differ."""
TOKENS = 32
MOST_ANSWERED = MOST_READS * LONGEST
"""Bytes in which the answers to one exchange, or those of all nodes of a subnet, come at the latest."""
SHOWN = 48
"""Bytes of a bad reply that an error shows."""


class Subnet(IntEnum):
    """What kind of device a node is."""

    DISPENSER = 1
    CONTROLLER = 2
    PRICE_POLE = 8
    TANK_GAUGE = 9
    TANKER = 11


_SUBNETS = frozenset(map(int, Subnet))


class Kind(IntEnum):
    """What a message is for: the three high bits of its status byte."""

    READ = 0
    ANSWER = 1
    WRITE = 2
    UNSOLICITED_TO_ACKNOWLEDGE = 3
    UNSOLICITED = 4
    ACKNOWLEDGE = 7


class Node(NamedTuple):
    """A logical node address."""

    subnet: int
    node: int

    def __str__(self) -> str:
        return f"{self.subnet}/{self.node}"


@dataclass(frozen=True, slots=True)
class Message:
    """An application message as it came."""

    receiver: Node
    sender: Node
    kind: int
    token: int
    address: bytes
    """Of the data base."""
    content: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """A question for some data of one data base of one node."""

    node: Node
    address: bytes
    ids: tuple[int, ...]


class Passage:
    """Bytes that grow, and the messages among them; each byte is looked at once, however they come."""

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0
        self._found: list[tuple[Message, int]] = []

    def messages(self, received: bytes) -> Sequence[tuple[Message, int]]:
        """The whole messages among these bytes, and where each ends; what is no message is passed over.

        ``received`` is what was given before and what has come since, or something else from its beginning.
        """
        if not received.startswith(self._bytes):
            self._at, self._found = 0, []
        self._bytes = received
        while len(received) - self._at > HEADER:
            message, end = _cut(received, self._at)
            if end > len(received):
                break
            if message is not None:
                self._found.append((message, end))
            self._at = end
        return self._found


def messages(received: bytes) -> Sequence[tuple[Message, int]]:
    """The whole messages among these bytes, and where each ends; heartbeats and what is no message are passed over."""
    return Passage().messages(received)


def _cut(received: bytes, at: int) -> tuple[Message | None, int]:
    """What begins here, and its end, which may not be there yet; None where no message does.

    A heartbeat is IPv4 address, port, node, 01 and a status: where a message has 00 it has the high byte of its port.
    """
    head = received[at : at + HEADER + 2]
    if head[4] != 0 and head[8] == 1 and head[6] in _SUBNETS:
        return None, at + HEARTBEAT
    length, depth = int.from_bytes(head[6:8], "big"), head[8]
    is_header = head[4] == 0 and head[0] in _SUBNETS and head[2] in _SUBNETS
    if not is_header or not 2 <= length <= LONGEST or not 1 <= depth <= min(DEEPEST, length - 1):
        return None, at + 1
    start, end = at + HEADER + 1, at + HEADER + length
    if end > len(received):
        return None, end
    receiver, sender = Node(head[0], head[1]), Node(head[2], head[3])
    address, content = received[start : start + depth], received[start + depth : end]
    return Message(receiver, sender, head[5] >> 5, head[5] & 0x1F, address, content), end


def _asked_too_long(received: bytes) -> None:
    """Raises ``BadReply`` for more than any answer has."""
    if len(received) > MOST_ANSWERED:
        raise BadReply(f"{len(received)} bytes without the answer; is this an IFSF node's connection?")


def acknowledgement(of: Message) -> bytes:
    """What the protocol demands for a message that came unasked and wants one: taken, nothing more."""
    return _encoded(of.sender, of.receiver, Kind.ACKNOWLEDGE, of.token, of.address, b"\0")


class Exchange:
    """Some reads sent together; each has a token, by which its answer is known."""

    def __init__(self, own: Node, reads: Sequence[Read], first_token: int) -> None:
        """At most ``MOST_READS``."""
        if len(reads) > MOST_READS:
            raise ValueError(f"{len(reads)} reads; an exchange has at most {MOST_READS}")
        self._own = own
        self._passage = Passage()
        self._reads = {(first_token + place) % TOKENS: read for place, read in enumerate(reads)}

    @property
    def request(self) -> bytes:
        """What to send."""
        return b"".join(
            _encoded(read.node, self._own, Kind.READ, token, read.address, bytes(read.ids))
            for token, read in self._reads.items()
        )

    def complete(self, received: bytes) -> int:
        """How many bytes make the whole reply, see ``pumpwatch.Line``; what else comes meanwhile is among them.

        Raises ``BadReply`` for talk without end.
        """
        open_ = set(self._reads)
        for message, end in self._passage.messages(received):
            if self._is_answer(message):
                open_.discard(message.token)
                if not open_:
                    return end
        _asked_too_long(received)
        return 0

    def answers(self, reply: bytes) -> list[dict[int, bytes] | BadReply | Refused]:
        """The data by id of each read, in their order; or why there are none."""
        found: dict[int, dict[int, bytes] | BadReply | Refused] = {}
        for message, _ in messages(reply):
            if self._is_answer(message):
                found.setdefault(message.token, _understood(message))
        missing = BadReply(f"the reply ends too early: {reply[:SHOWN].hex()}")
        return [found.get(token, missing) for token in self._reads]

    def owed(self, reply: bytes) -> list[Message]:
        """Messages that came unasked and want an acknowledgement."""
        return [
            message
            for message, _ in messages(reply)
            if message.receiver == self._own and message.kind == Kind.UNSOLICITED_TO_ACKNOWLEDGE
        ]

    def _is_answer(self, message: Message) -> bool:
        read = self._reads.get(message.token)
        return (
            read is not None
            and message.kind in {Kind.ANSWER, Kind.ACKNOWLEDGE}
            and (message.receiver, message.sender, message.address) == (self._own, read.node, read.address)
        )


class Roll:
    """Who is there: all nodes of a subnet are asked at once, and whoever answered first is asked again behind them.

    Answers on one connection come in the order of the questions, so with that last one all have come.
    """

    def __init__(self, own: Node, subnet: Subnet, address: bytes, number: int) -> None:
        """``number`` is an id that every such node has at ``address``."""
        self._own = own
        self._passage = Passage()
        self._all = b"".join(self._asked(Node(subnet, node), 0, address, number) for node in range(1, 128))
        self._address = address
        self._number = number
        self._last: Node | None = None

    def _asked(self, node: Node, token: int, address: bytes, number: int) -> bytes:
        return _encoded(node, self._own, Kind.READ, token, address, bytes((number,)))

    @property
    def request(self) -> bytes:
        """What to send: all, and when somebody has been found, that one behind them."""
        if self._last is None:
            return self._all
        return self._all + self._asked(self._last, 1, self._address, self._number)

    def complete(self, received: bytes) -> int:
        """See ``pumpwatch.Line``: up to the first answer; when somebody has been found, up to the last one."""
        for message, end in self._passage.messages(received):
            if self._is_answer(message) and message.token == (0 if self._last is None else 1):
                return end
        _asked_too_long(received)
        return 0

    def found(self, reply: bytes) -> list[Node]:
        """Who has answered; the first of them is asked again behind the others next time."""
        nodes = sorted({message.sender for message, _ in messages(reply) if self._is_answer(message)})
        self._last = self._last or nodes[0]
        return nodes

    def _is_answer(self, message: Message) -> bool:
        return message.kind == Kind.ANSWER and (message.receiver, message.address) == (self._own, self._address)


def _encoded(receiver: Node, sender: Node, kind: Kind, token: int, address: bytes, content: bytes) -> bytes:
    body = bytes((len(address),)) + address + content
    head = bytes((*receiver, *sender, 0, kind << 5 | token))
    return head + len(body).to_bytes(2, "big") + body


def _understood(message: Message) -> dict[int, bytes] | BadReply | Refused:
    where = f"node {message.sender}, data base {message.address.hex()}"
    if message.kind == Kind.ACKNOWLEDGE:
        code = message.content[0] if message.content else 0
        return Refused(f"{where}: the node does not let this be read (acknowledge code {code})")
    data: dict[int, bytes] = {}
    content, at = message.content, 0
    while at < len(content):
        size = content[at + 1] if at + 1 < len(content) else LONGEST
        if at + 2 + size > len(content) or content[at] in data:
            return BadReply(f"{where}: data that do not fit together: {content[:SHOWN].hex()}")
        data[content[at]] = content[at + 2 : at + 2 + size]
        at += 2 + size
    return data
