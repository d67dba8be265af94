"""The TLS-350 console as bytes: commands in, computer-format replies out; no sockets.

Layouts and checksum: Veeder-Root 576013-635 "Serial Interface Manual", function codes 101, 201, 202, 205, 501 and 902.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

SOH, ETX, ESC = 0x01, 0x03, 0x1B
UNKNOWN = b"\x019999FF1B\x03"
"""The answer to a function the console does not know; its checksum covers ``SOH 9999`` only and has no ``&&``."""

_LONGEST = 128
"""The console's command buffer."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """One tank of an i201 reply, in the console's units (volume, length, temperature)."""

    product: str
    """One character."""
    status: int
    """Bit 0 delivery in progress, bit 1 leak test, bit 2 invalid height."""
    volume: float
    tc_volume: float
    ullage: float
    height: float
    water: float
    temperature: float
    water_volume: float


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """One delivery of an i202 reply; times are the console's local time, to the minute."""

    start: datetime
    end: datetime
    start_volume: float
    start_tc_volume: float
    start_water: float
    start_temperature: float
    end_volume: float
    end_tc_volume: float
    end_water: float
    end_temperature: float
    start_height: float
    end_height: float


class Console(Protocol):
    """What a gauge must tell so that its replies can be written; tanks are numbered from 1."""

    @property
    def software(self) -> str:
        """``SOFTWARE# nnnnnn-vvv-rrrCREATED - YY.MM.DD.HH.mm``."""

    def local_time(self) -> datetime:
        """The console's clock."""

    def tanks(self) -> Sequence[int]:
        """Numbers of the tanks it has."""

    def alarms(self, tank: int) -> Sequence[int]:
        """Active tank alarms by their numbers."""

    def product(self, tank: int) -> str:
        """Product code, one character."""

    def inventory(self, tank: int) -> Inventory:
        """The tank now."""

    def deliveries(self, tank: int) -> Sequence[DeliveryReport]:
        """Its last deliveries, oldest first."""


class CommandFramer:
    """Cuts a stream into commands: ``SOH``, perhaps a six-character security code, a six-character function.

    Clients end a command with CR, LF, both or nothing; whoever owns the stream calls :meth:`idle` after a short gap so
    that a command of odd length gets its answer too.
    """

    def __init__(self, security: str | None = None) -> None:
        """With ``security`` set, a command without it, or with another code, is dropped: the console stays silent."""
        self._security = security
        self._pending: str | None = None

    @property
    def pending(self) -> bool:
        """Whether a command has begun and not ended."""
        return self._pending is not None

    def feed(self, data: bytes) -> list[str]:
        """Take bytes and return the commands that are complete, without their security code."""
        commands: list[str] = []
        for byte in data:
            char = byte & 0x7F
            if char == SOH:
                commands += self.idle()
                self._pending = ""
            elif char == ESC:
                self._pending = None
            elif self._pending is not None:
                if char in b"\r\n":
                    commands += self.idle()
                    continue
                self._pending += chr(char)
                if self._is_complete(self._pending):
                    commands += self.idle()
        return commands

    def idle(self) -> list[str]:
        """What has come so far is all of it: return it as a command, if there is any."""
        pending, self._pending = self._pending, None
        if not pending:
            return []
        if len(pending) >= 12:
            code, pending = pending[:6], pending[6:]
        else:
            code = None
        if self._security is not None and code != self._security:
            return []
        return [pending]

    def _is_complete(self, pending: str) -> bool:
        if len(pending) >= _LONGEST:
            return True
        plain = self._security is None and pending[0] in "iIsS"
        return len(pending) == (6 if plain else 12)


def answer(command: str, console: Console) -> bytes:
    """The console's reply to one command."""
    function, device = command[:4], command[4:]
    if len(command) != 6 or not (device.isascii() and device.isdigit()):
        return UNKNOWN
    tanks = console.tanks() if device == "00" else [tank for tank in console.tanks() if tank == int(device)]
    match function:
        case "i101":
            return i101(
                device, console.local_time(), [(2, alarm, tank) for tank in tanks for alarm in console.alarms(tank)]
            )
        case "i201":
            return i201(device, console.local_time(), [(tank, console.inventory(tank)) for tank in tanks])
        case "i202":
            reports = [(tank, console.product(tank), console.deliveries(tank)) for tank in tanks]
            return i202(device, console.local_time(), reports)
        case "i205":
            return i205(device, console.local_time(), [(tank, console.alarms(tank)) for tank in tanks])
        case "i501" if device == "00":
            return reply("i50100", console.local_time(), "")
        case "i902" if device == "00":
            return reply("i90200", console.local_time(), console.software)
        case _:
            return UNKNOWN


def i101(device: str, at: datetime, alarms: Iterable[tuple[int, int, int]]) -> bytes:
    """System status: (category, alarm, tank or device) each; none is all normal."""
    text = "".join(f"{category:02d}{alarm:02d}{number:02d}" for category, alarm, number in alarms)
    return reply("i101" + device, at, text or "000000")


def i201(device: str, at: datetime, tanks: Iterable[tuple[int, Inventory]]) -> bytes:
    """In-tank inventory; seven values a tank."""
    text = ""
    for number, tank in tanks:
        values = (
            tank.volume,
            tank.tc_volume,
            tank.ullage,
            tank.height,
            tank.water,
            tank.temperature,
            tank.water_volume,
        )
        text += f"{number:02d}{tank.product}{tank.status:04X}{len(values):02X}{floats(values)}"
    return reply("i201" + device, at, text)


def i202(device: str, at: datetime, tanks: Iterable[tuple[int, str, Sequence[DeliveryReport]]]) -> bytes:
    """In-tank deliveries; the count of deliveries is decimal, the count of values (ten) hexadecimal."""
    text = ""
    for number, product, reports in tanks:
        text += f"{number:02d}{product}{len(reports):02d}"
        for report in reports:
            values = (
                report.start_volume,
                report.start_tc_volume,
                report.start_water,
                report.start_temperature,
                report.end_volume,
                report.end_tc_volume,
                report.end_water,
                report.end_temperature,
                report.start_height,
                report.end_height,
            )
            text += f"{report.start:%y%m%d%H%M}{report.end:%y%m%d%H%M}{len(values):02X}{floats(values)}"
    return reply("i202" + device, at, text)


def i205(device: str, at: datetime, tanks: Iterable[tuple[int, Sequence[int]]]) -> bytes:
    """Tank status: the active alarms of each tank."""
    text = "".join(f"{number:02d}{len(alarms):02X}{''.join(f'{a:02d}' for a in alarms)}" for number, alarms in tanks)
    return reply("i205" + device, at, text)


def reply(code: str, at: datetime, data: str) -> bytes:
    """A computer-format reply: code, time, data, ``&&``, checksum, ETX."""
    body = b"\x01" + f"{code}{at:%y%m%d%H%M}{data}&&".encode("ascii")
    return body + f"{-sum(body) & 0xFFFF:04X}".encode("ascii") + bytes([ETX])


def floats(values: Iterable[float]) -> str:
    """Each value as the eight hex digits of an IEEE single, big-endian."""
    return "".join(struct.pack(">f", value).hex().upper() for value in values)
