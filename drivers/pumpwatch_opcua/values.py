"""What an OPC UA server tells, as our words: values, status codes as qualities, and times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from pumpwatch import Quality, Value

Update: TypeAlias = tuple[Any, int, int, int]
"""A value as decoded, its status code, and its source and server time in ticks; 0 where a time is absent."""

UNIX_TICKS = 116_444_736_000_000_000
"""1970 in ticks: 100 ns since 1601 (OPC 10000-6, 5.2.2.5)."""
TICKS_A_DAY = 864_000_000_000
EARLIEST_TICKS = 125_911_584_000_000_000
"""2000-01-01: no dispenser with an OPC UA server is older, but many a clock that was never set is."""
MOST_TEXT = 4096
"""Characters of the longest text that is taken for one."""
SEVERITY = 0xC000_0000
OVERFLOW = 0x480
"""Information bits of a value before which others were lost from the server's queue (OPC 10000-4, 7.39.1)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CODES = StatusCodes
_REASONS: dict[int, Quality] = {
    _CODES.GoodLocalOverride: Quality.SUBSTITUTED,
    _CODES.UncertainNoCommunicationLastUsableValue: Quality.STALE,
    _CODES.UncertainLastUsableValue: Quality.STALE,
    _CODES.UncertainSubstituteValue: Quality.SUBSTITUTED,
    _CODES.UncertainTransducerInManual: Quality.SUBSTITUTED,
    _CODES.BadNoCommunication: Quality.NOT_CONNECTED,
    _CODES.BadNotConnected: Quality.NOT_CONNECTED,
    _CODES.BadCommunicationError: Quality.NOT_CONNECTED,
    _CODES.BadConnectionClosed: Quality.NOT_CONNECTED,
    _CODES.BadDisconnect: Quality.NOT_CONNECTED,
    _CODES.BadServerNotConnected: Quality.NOT_CONNECTED,
    _CODES.BadTimeout: Quality.NOT_CONNECTED,
    _CODES.BadWaitingForInitialData: Quality.NOT_CONNECTED,
    _CODES.BadDependentValueChanged: Quality.BAD,
    _CODES.BadOutOfRange: Quality.OUT_OF_RANGE,
    _CODES.BadDecodingError: Quality.BAD_REPLY,
    _CODES.BadDataEncodingInvalid: Quality.BAD_REPLY,
    _CODES.BadDataEncodingUnsupported: Quality.BAD_REPLY,
    _CODES.BadTypeMismatch: Quality.BAD_REPLY,
    _CODES.BadNodeIdInvalid: Quality.REFUSED,
    _CODES.BadNodeIdUnknown: Quality.REFUSED,
    _CODES.BadNoMatch: Quality.REFUSED,
    _CODES.BadAttributeIdInvalid: Quality.REFUSED,
    _CODES.BadIndexRangeInvalid: Quality.REFUSED,
    _CODES.BadIndexRangeNoData: Quality.REFUSED,
    _CODES.BadNotReadable: Quality.REFUSED,
    _CODES.BadNotSupported: Quality.REFUSED,
    _CODES.BadServiceUnsupported: Quality.REFUSED,
    _CODES.BadUserAccessDenied: Quality.REFUSED,
    _CODES.BadSecurityModeInsufficient: Quality.REFUSED,
}


def quality_of(status: int) -> Quality:
    """Severity and reason of a status code (OPC 10000-4, 7.39; data access codes OPC 10000-8, 6.3).

    An overridden value is SUBSTITUTED although OPC UA calls it good: nobody measured it.
    """
    if not status & 0xFFFF_0000:
        return Quality.GOOD
    if reason := _REASONS.get(status & 0xFFFF_0000):
        return reason
    match status & SEVERITY:
        case 0:
            return Quality.GOOD
        case 0x4000_0000:
            return Quality.UNCERTAIN
        case _:
            return Quality.BAD


def moment(ticks: int) -> datetime:
    """Ticks as aware UTC; they must lie in the years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=(ticks - UNIX_TICKS) // 10)


def ticks_of(at: datetime) -> int:
    """Aware UTC as ticks."""
    since = at - _EPOCH
    return UNIX_TICKS + 10 * ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def plain(value: object) -> Value | Sequence[object]:
    """A decoded value as a number or text, or a list of values; None for null and for what has no such form.

    Times are seconds since 1970, truth is 1 or 0, bytes are hexadecimal.
    """
    match value:
        case bool():
            return int(value)
        case float() | int() | str() | None:
            return value
        case list() | tuple():
            return value
        case datetime():
            zoned = value if value.tzinfo else value.replace(tzinfo=UTC)
            return (zoned - _EPOCH) / timedelta(seconds=1)
        case bytes():
            return value.hex()
        case ua.LocalizedText():
            return value.Text
        case ua.QualifiedName():
            return value.Name
        case ua.StatusCode():
            return value.value
        case UUID():
            return str(value)
        case ua.NodeId():
            return value.to_string()
        case ua.Variant():
            return plain(value.Value)
        case _:
            return None


def number(value: Value) -> float | int | None:
    """The same if it is a finite number."""
    if isinstance(value, str) or value is None or not math.isfinite(value):
        return None
    return value


def text(value: Value) -> tuple[Value, Quality]:
    """A value as text. What is not printable is shown escaped: a board that tells rubbish must be seen to."""
    if value is None:
        return None, Quality.BAD_REPLY
    told = str(value).rstrip("\0 ")
    if len(told) > MOST_TEXT:
        return None, Quality.BAD_REPLY
    if told.isprintable():
        return told, Quality.GOOD
    return told.encode("unicode_escape").decode("ascii"), Quality.UNCERTAIN
