"""Reads data changes and read results straight from the bytes: what a supervisor hears ten thousand times a second.

The library decodes a data change into six objects. Here plain numbers, which are nearly all, are unpacked by one
compiled struct; every other value is handed to the library at its place. The library is the reference in the tests.
Layouts: OPC 10000-6, 5.2.2.17 (DataValue), 5.2.2.16 (Variant), and OPC 10000-4, 7.25 (notifications).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer, NotEnoughData
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import (
    extensionobject_from_binary,
    nodeid_from_binary,
    struct_from_binary,
    variant_from_binary,
)

from pumpwatch_opcua.values import Update

DATA_CHANGE = ua.NodeId(ua.Int32(ObjectIds.DataChangeNotification_Encoding_DefaultBinary))
_CODES = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
"""Built-in types of fixed width: Boolean, SByte, Byte, Int16 … Double."""
_UINT = struct.Struct("<I")
_INT = struct.Struct("<i")
_CREATED = struct.Struct("<I16x3s")
"""Status, then id, interval and queue, and a filter result that is null."""
_SEQUENCE = struct.Struct("<Iqi")
"""Sequence number, publish time, and how many notifications."""


_PARTS = ((2, "I", "status"), (4, "q", "source"), (16, "2x", ""), (8, "q", "server"), (32, "2x", ""))
"""What may follow a value: the bit of the mask, its form, and what it is; picoseconds are skipped."""


_ARRAY, _DIMENSIONS = 0x80, 0x40
"""Bits of the byte that tells a variant's type (OPC 10000-6, 5.2.2.16)."""


class _Sound(Buffer):
    """The library's buffer, which would go backwards, and for ever, when bytes name a size below zero.

    Nor does it give the length of an array of nulls, wherever in a value that stands: its elements take no bytes, so
    that the library would believe any length. It is known by the byte that tells a variant's type, read alone before.
    """

    _last = 0

    def read(self, size: int) -> bytes:
        """The next bytes."""
        if size < 0:
            raise NotEnoughData(f"a size of {size}")
        taken: bytes = super().read(size)
        if size == _INT.size and self._last & ~_DIMENSIONS == _ARRAY and _INT.unpack(taken)[0] > 0:
            raise NotEnoughData("an array of nothing")
        self._last = taken[0] if size == 1 else 0
        return taken

    def skip(self, size: int) -> None:
        """Leave them out."""
        if size < 0:
            raise NotEnoughData(f"a size of {size}")
        super().skip(size)

    def copy(self, size: int = -1) -> _Sound:
        """The same, as far as ``size``."""
        return _Sound(self._data, self._cur_pos, self._size if size == -1 else min(size, self._size))


class _Layout:
    """One shape of a data value: which parts it has, behind its mask and type if these are plain."""

    def __init__(self, mask: int, code: str = "") -> None:
        parts = [f"<xx{code}" if code else "<"]
        places = {"status": -1, "source": -1, "server": -1}
        place = 1 if code else 0
        for bit, part, name in _PARTS:
            if mask & bit:
                parts.append(part)
                if name:
                    places[name] = place
                    place += 1
        layout = struct.Struct("".join(parts))
        self.unpack, self.size = layout.unpack_from, layout.size
        self.status, self.source, self.server = places["status"], places["source"], places["server"]


_LAYOUTS = {mask | kind << 8: _Layout(mask, code) for mask in range(1, 64, 2) for kind, code in _CODES.items()}
"""By the first two bytes of a data value, low byte first: its mask and its type."""
_TAILS = [_Layout(mask) for mask in range(64)]
"""What follows a value that is not plain, by its mask."""


def data_value(data: bytes, at: int) -> tuple[Update, int]:
    """One data value, and where it ends. Raises what broken bytes raise: the caller gives up the message.

    The library takes the picoseconds for the last parts of a data value; the standard puts each behind its time.
    """
    layout = _LAYOUTS.get(data[at] | data[at + 1] << 8) if at + 1 < len(data) else None
    if layout is not None:
        parts = layout.unpack(data, at)
        absent = (*parts, 0)
        return (parts[0], absent[layout.status], absent[layout.source], absent[layout.server]), at + layout.size
    mask = data[at] & 0x3F
    buffer = _Sound(data, at + 1)
    value = variant_from_binary(buffer).Value if mask & 1 else None
    tail = _TAILS[mask]
    absent = (*tail.unpack(data, buffer.cur_pos), 0)
    return (value, absent[tail.status], absent[tail.source], absent[tail.server]), buffer.cur_pos + tail.size


def data_changes(data: bytes, at: int) -> list[tuple[int, Update]]:
    """The client handles and values of a ``DataChangeNotification`` that begins at ``at``."""
    count = _INT.unpack_from(data, at)[0]
    at += 4
    changes: list[tuple[int, Update]] = []
    layouts, handle, end = _LAYOUTS, _UINT.unpack_from, len(data) - 5
    for _ in range(count):
        # The same as in data_value, in place: a call a value would cost a fifth.
        layout = layouts.get(data[at + 4] | data[at + 5] << 8) if at < end else None
        if layout is None:
            update, behind = data_value(data, at + 4)
            changes.append((handle(data, at)[0], update))
            at = behind
            continue
        parts = layout.unpack(data, at + 4)
        absent = (*parts, 0)
        changes.append(
            (handle(data, at)[0], (parts[0], absent[layout.status], absent[layout.source], absent[layout.server]))
        )
        at += 4 + layout.size
    return changes


def data_values(data: bytes, at: int) -> list[Update]:
    """The results of a ``ReadResponse``; ``at`` is where they begin."""
    values: list[Update] = []
    count = _INT.unpack_from(data, at)[0]
    at += 4
    for _ in range(count):
        value, at = data_value(data, at)
        values.append(value)
    return values


@dataclass(frozen=True, slots=True)
class Message:
    """What a server publishes at once (OPC 10000-4, 5.14.5)."""

    subscription: int
    sequence: int
    """Of a message without ``notifications``: the number that the next one will have."""
    notifications: list[Any]
    """``Changes``, and what else there may be as the library decodes it."""


class Changes(list[tuple[int, Update]]):
    """Data changes: client handle and value."""


def message(subscription: int, data: bytes, at: int) -> Message:
    """A ``NotificationMessage``."""
    sequence, _, count = _SEQUENCE.unpack_from(data, at)
    at += _SEQUENCE.size
    notifications: list[Any] = []
    for _ in range(count):
        buffer = _Sound(data, at)
        kind = nodeid_from_binary(buffer)
        body = buffer.cur_pos + 5
        if kind == DATA_CHANGE and data[buffer.cur_pos] == 1:
            length = _INT.unpack_from(data, body - 4)[0]
            notifications.append(Changes(data_changes(data, body)))
            at = body + length
        else:
            whole = _Sound(data, at)
            notifications.append(extensionobject_from_binary(whole))
            at = whole.cur_pos
    return Message(subscription, sequence, notifications)


def publish_response(data: bytes) -> Message:
    """A whole ``PublishResponse``. Raises ``UaStatusCodeError`` when it says that the request failed."""
    at = _header(data)
    subscription, available = struct.unpack_from("<Ii", data, at)
    return message(subscription, data, at + 8 + 4 * max(0, available) + 1)


def republish_response(subscription: int, data: bytes) -> Message:
    """A whole ``RepublishResponse``, likewise."""
    return message(subscription, data, _header(data))


def read_response(data: bytes) -> list[Update]:
    """A whole ``ReadResponse``, likewise."""
    return data_values(data, _header(data))


def created_items(data: bytes) -> list[int] | None:
    """The status of each item in a ``CreateMonitoredItemsResponse``; None where the library must look at it."""
    at = _header(data)
    count = _INT.unpack_from(data, at)[0]
    if count < 0 or len(data) - at != 8 + count * _CREATED.size:
        return None  # it has filter results or diagnostics
    created = _CREATED.iter_unpack(data[at + 4 : -4])
    return [status for status, filtered in created if not any(filtered)]


def _header(data: bytes) -> int:
    """Where the parameters of a response begin."""
    buffer = _Sound(data)
    nodeid_from_binary(buffer)
    struct_from_binary(ua.ResponseHeader, buffer).ServiceResult.check()
    return buffer.cur_pos
