"""The envelope of jsonPTS: packets in, a confirmation of each out; and the fields of a packet; sans-I/O.

Source: Technotrade, PTS-2 technical guide, revision R11, pages 106 to 113.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from pumpwatch import BadReply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

Json: TypeAlias = "str | float | int | bool | list[Json] | dict[str, Json] | None"

PROTOCOL = "jsonPTS"
MOST_PACKETS = 1_000
MOST_LEVELS = 32
"""Of lists and objects within each other."""
MOST_ITEMS = 100
"""Of a list: as many pumps as a controller has."""
LONGEST_TEXT = 200
"""Characters of a text that are kept."""
LARGEST = 1e12
"""No litre, yuan or number of a record is so large."""
_CONTROLLER = re.compile(r"[0-9A-Fa-f]{1,24}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_TYPE = re.compile(r"[A-Za-z]{1,64}")
_FIRST_YEAR = 1970


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of an envelope."""

    id: int
    type: str
    data: Json

    @property
    def fields(self) -> Fields:
        """Its data. Raises ``BadReply`` when they are no object."""
        if not isinstance(self.data, dict):
            raise BadReply("Data is not an object")
        return Fields(self.data)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a controller sends at once."""

    controller: str | None
    """``PtsId``, in capitals."""
    packets: Sequence[Packet]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What is said of one packet; without ``error`` it is kept and will not be sent again."""

    packet: Packet
    error: str | None = None


def opened(body: bytes) -> Envelope:
    """Open an envelope. Raises ``BadReply`` that says what is wrong with it."""
    try:
        told = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except RecursionError:
        raise BadReply("the body is nested too deeply") from None
    except ValueError as error:
        raise BadReply(f"the body is not JSON in UTF-8: {_shown(str(error))}") from None
    _check_depth(told)
    if not isinstance(told, dict) or told.get("Protocol") != PROTOCOL:
        raise BadReply(f'the body is not an envelope with "Protocol": "{PROTOCOL}"')
    controller, packets = told.get("PtsId"), told.get("Packets")
    if controller is not None and not (isinstance(controller, str) and _CONTROLLER.fullmatch(controller)):
        raise BadReply("PtsId is not up to 24 hexadecimal digits")
    if not isinstance(packets, list) or not 1 <= len(packets) <= MOST_PACKETS:
        raise BadReply(f"Packets is not a list of 1 to {MOST_PACKETS} packets")
    return Envelope(controller and controller.upper(), [_packet(packet) for packet in packets])


def _check_depth(told: Json) -> None:
    """Raises ``BadReply`` for what no controller nests so deeply."""
    level = [told]
    for _ in range(MOST_LEVELS):
        level = [
            inner
            for each in level
            if isinstance(each, list | dict)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise BadReply("the body is nested too deeply")


def confirmed(confirmations: Sequence[Confirmation]) -> bytes:
    """The answer to an envelope."""
    packets = []
    for each in confirmations:
        said: dict[str, Json] = {"Id": each.packet.id, "Type": each.packet.type}
        packets.append(said | ({"Message": "OK"} if each.error is None else {"Error": True, "Message": each.error}))
    return json.dumps({"Protocol": PROTOCOL, "Packets": packets}, ensure_ascii=True).encode()


def _packet(told: Json) -> Packet:
    if not isinstance(told, dict):
        raise BadReply("a packet is not an object")
    number, kind = told.get("Id"), told.get("Type")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1 << 53:
        raise BadReply("the Id of a packet is not a whole number")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise BadReply(f"the Type of packet {number} is not a name")
    return Packet(number, kind, told.get("Data"))


# ---------------------------------------------------------------- fields


class Fields:
    """The fields of a packet, by name; whatever is not as the guide says is a ``BadReply`` that names it."""

    def __init__(self, data: Mapping[str, Json], within: str = "") -> None:
        self._data = data
        self._within = within

    def __contains__(self, name: str) -> bool:
        return self._data.get(name) is not None

    def flag(self, name: str) -> bool | None:
        """True or false; None for anything else."""
        value = self._data.get(name)
        return value if isinstance(value, bool) else None

    def number(self, name: str, *, least: float = -LARGEST, most: float = LARGEST) -> float | None:
        """A number; None when it is not there."""
        value = self._data.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self._wrong(name, "is not a number that can be")
        return float(value)

    def whole(self, name: str, least: int, most: int) -> int:
        """A whole number that must be there."""
        value = self._data.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._wrong(name, f"is not a whole number from {least} to {most}")
        return value

    def needed(self, name: str, *, least: float = -LARGEST, most: float = LARGEST) -> float:
        """A number that must be there."""
        value = self.number(name, least=least, most=most)
        if value is None:
            self._wrong(name, "is missing")
        return value

    def text(self, name: str) -> str | None:
        """A text or a number as text, without what cannot be printed; None when there is none."""
        value = self._data.get(name)
        if value is None or isinstance(value, list | dict):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return None
        said = value if isinstance(value, str) else json.dumps(value) if _is_short(value) else ""
        return "".join(char for char in said[:LONGEST_TEXT] if char.isprintable()).strip() or None

    def time(self, name: str, offset: timedelta) -> datetime:
        """A local time without a zone, as UTC; ``offset`` is how far the controller's clock is ahead of UTC."""
        value = self._data.get(name)
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            self._wrong(name, "is not a time YYYY-MM-DDTHH:MM:SS")
        try:
            at = datetime.fromisoformat(value).replace(tzinfo=UTC) - offset
        except (ValueError, OverflowError):
            self._wrong(name, "is no time of the calendar")
        if at.year < _FIRST_YEAR:
            self._wrong(name, f"is before {_FIRST_YEAR}")
        return at

    def inner(self, name: str) -> Fields | None:
        """An object within; None when it is not there."""
        value = self._data.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self._wrong(name, "is not an object")
        return Fields(value, f"{self._within}{name}.")

    def numbers(self, name: str) -> list[float | None]:
        """A list of numbers, None for what is none; empty when it is not there."""
        return [_number(each) for each in self.items(name)]

    def items(self, name: str) -> list[Json]:
        """A list; empty when it is not there."""
        value = self._data.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > MOST_ITEMS:
            self._wrong(name, f"is not a list of at most {MOST_ITEMS}")
        return value

    def _wrong(self, name: str, what: str) -> NoReturn:
        raise BadReply(f"{self._within}{name} {what}")


def row(value: Json) -> list[float | None]:
    """A list of numbers within a list, None for what is none."""
    return [_number(each) for each in value] if isinstance(value, list) else []


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        return None
    return value


def _is_short(value: float) -> bool:
    return abs(value) <= LARGEST


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _shown(text: str) -> str:
    return "".join(char for char in text[:LONGEST_TEXT] if char.isprintable())
