"""The TLS-350 console as bytes: commands in, replies in computer or display format out; no sockets.

Evidence grade A: Veeder-Root 576013-635 "Serial Interface Manual" (envelope, checksum,
functions 101, 201, 202, 205, 206, 501, 602 to 604, 902); the manual's figures and real consoles' frames are vectors.
20C follows a real console's frame (public source 68874032749). Where no source tells a field's place in 203
and 216 it stands as in 202 (grade C). Display format: envelope by the manual, widths of columns invented (grade C).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import datetime

from pumpwatch_sim.wire import tls350_display
from pumpwatch_sim.wire.console import Console, DeliveryReport, FullConsole, Inventory, LeakTest

__all__ = ["CommandFramer", "Console", "DeliveryReport", "FullConsole", "Inventory", "LeakTest", "Tls350", "answer"]

SOH, ETX, ESC = 0x01, 0x03, 0x1B
UNKNOWN = b"\x019999FF1B\x03"
"""The answer to a function the console does not know; its checksum covers ``SOH 9999`` only and has no ``&&``."""

_LONGEST = 128
"""The console's command buffer."""
_NEVER = "-001010800"


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


class Tls350:
    """A console on one line; see :class:`pumpwatch_sim.live.views.Pump`."""

    def __init__(self, console: Console, security: str | None = None) -> None:
        """With ``security`` (six characters) commands without it are met with silence."""
        self._console = console
        self._framer = CommandFramer(security)

    def receive(self, data: bytes) -> bytes:
        """Answer each command that has ended."""
        return b"".join(answer(command, self._console) for command in self._framer.feed(data))

    def pause(self) -> bytes:
        """What has come so far is a command."""
        return b"".join(answer(command, self._console) for command in self._framer.idle())


def answer(command: str, console: Console) -> bytes:
    """The console's reply to one command; a console that is no ``FullConsole`` knows the basic functions only."""
    function, device = command[:4], command[4:]
    if len(command) != 6 or not (device.isascii() and device.isdigit()):
        return UNKNOWN
    tanks = console.tanks() if device == "00" else [tank for tank in console.tanks() if tank == int(device)]
    now = console.local_time()
    match function:
        case "i101":
            return i101(device, now, [(2, alarm, tank) for tank in tanks for alarm in console.alarms(tank)])
        case "i201":
            return i201(device, now, [(tank, console.inventory(tank)) for tank in tanks])
        case "i202":
            return i202(device, now, [(tank, console.product(tank), console.deliveries(tank)) for tank in tanks])
        case "i205":
            return i205(device, now, [(tank, console.alarms(tank)) for tank in tanks])
        case "i20C":
            return i20c(device, now, [(tank, console.product(tank), console.deliveries(tank)[-1:]) for tank in tanks])
        case "i501" if device == "00":
            return reply("i50100", now, "")
        case "i902" if device == "00":
            return reply("i90200", now, console.software)
        case _ if not isinstance(console, FullConsole):
            return UNKNOWN
        case _ if function[0] == "I":
            return tls350_display.answer(function, device, tanks, console) or UNKNOWN
        case _:
            return _set_up(function, device, tanks, console)


def _set_up(function: str, device: str, tanks: Sequence[int], console: FullConsole) -> bytes:
    """What only a full console knows: history and set-up."""
    now = console.local_time()
    match function:
        case "i203":
            return i203(device, now, [(tank, console.product(tank), console.leak_tests(tank)) for tank in tanks])
        case "i206":
            return i206(device, now, [(tank, console.alarm_history(tank)) for tank in tanks])
        case "i216":
            return i216(device, now, [(tank, console) for tank in tanks])
        case "i602":
            return reply("i602" + device, now, "".join(f"{tank:02d}{console.label(tank):<20.20}" for tank in tanks))
        case "i603":
            return reply("i603" + device, now, "".join(f"{tank:02d}{console.product(tank)}" for tank in tanks))
        case "i604":
            text = "".join(f"{tank:02d}{floats([console.capacity(tank)])}" for tank in tanks)
            return reply("i604" + device, now, text)
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
        text += f"{number:02d}{product}{len(reports):02d}" + "".join(_delivery(report) for report in reports)
    return reply("i202" + device, at, text)


def i20c(device: str, at: datetime, tanks: Iterable[tuple[int, str, Sequence[DeliveryReport]]]) -> bytes:
    """The most recent delivery of each tank; a tank without any shows impossible times and zeros."""
    text = ""
    for number, product, reports in tanks:
        text += f"{number:02d}{product}{len(reports):02d}"
        text += _delivery(reports[-1]) if reports else f"{_NEVER}{_NEVER}0A{'0' * 80}"
    return reply("i20C" + device, at, text)


def _delivery(report: DeliveryReport) -> str:
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
    return f"{report.start:%y%m%d%H%M}{report.end:%y%m%d%H%M}{len(values):02X}{floats(values)}"


def i203(device: str, at: datetime, tanks: Iterable[tuple[int, str, Sequence[LeakTest]]]) -> bytes:
    """Leak test results; a tank without a finished test is left out."""
    text = ""
    for number, product, tests in tanks:
        for test in tests:
            values = (test.start_temperature, test.end_temperature, test.start_volume, test.rate, *test.hourly)
            text += f"{number:02d}{product}{test.start:%y%m%d%H%M}{test.hours:02d}{len(values):02X}{floats(values)}"
    return reply("i203" + device, at, text)


def i206(device: str, at: datetime, tanks: Iterable[tuple[int, Sequence[tuple[datetime, int]]]]) -> bytes:
    """Tank alarm history; the count is decimal, alarms are hexadecimal."""
    text = ""
    for number, alarms in tanks:
        text += f"{number:02d}{len(alarms):02d}" + "".join(f"{when:%y%m%d%H%M}{alarm:04X}" for when, alarm in alarms)
    return reply("i206" + device, at, text)


def i216(device: str, at: datetime, tanks: Iterable[tuple[int, FullConsole]]) -> bytes:
    """The tank chart: diameter, full volume, slope of the whole, then height, volume and slope of each point."""
    text = ""
    for number, console in tanks:
        diameter, full, chart = console.diameter(number), console.capacity(number), console.chart(number)
        text += f"{number:02d}{console.product(number)}{floats((diameter, full, full / diameter))}{len(chart):02X}"
        before = (0.0, 0.0)
        for height, volume in chart:
            rise = height - before[0]
            text += floats((height, volume, (volume - before[1]) / rise if rise else 0.0))
            before = (height, volume)
    return reply("i216" + device, at, text)


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
