"""A node that answers as in the captures, whatever tokens it is asked with; no two captures ask one node the same."""

from pathlib import Path

from pumpwatch_ifsf.messages import HEADER, messages


def refuse(request: bytes) -> bytes:
    """The recorded reply to the same reads, with their tokens moved; nothing when they were never asked."""
    wanted = [(m.receiver, m.address, m.content) for m, _ in messages(request)]
    for file in Path(__file__).parent.glob("*/capture.hex"):
        asked, reply = b"", b""
        for line in [*file.read_text(encoding="utf-8").splitlines(), ">"]:
            if line.startswith(">"):
                if wanted and [(m.receiver, m.address, m.content) for m, _ in messages(asked)] == wanted:
                    return moved(asked, request, reply)
                asked, reply = bytes.fromhex(line[1:]), b""
            elif line.startswith("<"):
                reply += bytes.fromhex(line[1:])
    return b""


def moved(asked: bytes, request: bytes, reply: bytes) -> bytes:
    """The answers to what was asked as answers to ``request``."""
    old, new = ([m.token for m, _ in messages(each)] for each in (asked, request))
    tokens = dict(zip(old, new, strict=True))
    changed = bytearray(reply)
    for message, end in messages(reply):
        if message.kind in {1, 7} and message.token in tokens:
            start = end - HEADER - 1 - len(message.address) - len(message.content)
            changed[start + 5] = message.kind << 5 | tokens[message.token]
    return bytes(changed)
