"""What a console says to a function it does not know."""


def refuse(request: bytes) -> bytes:
    """9999 with its checksum."""
    return b"\x019999FF1B\x03"
