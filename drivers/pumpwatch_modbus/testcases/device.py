"""What a device says to a read of registers it does not have: exception 2, on RTU or on TCP."""

from pumpwatch_modbus.codec import crc


def refuse(request: bytes) -> bytes:
    """The exception as its framing has it."""
    if len(request) == 8 and crc(request[:6]) == request[6:]:
        refusal = bytes([request[0], request[1] | 0x80, 2])
        return refusal + crc(refusal)
    return request[:2] + bytes([0, 0, 0, 3, request[6], request[7] | 0x80, 2])
