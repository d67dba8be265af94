"""The TLS-350's reports in display format: text for a person, ``SOH`` CR LF … ``ETX``, without a checksum.

See :mod:`pumpwatch_sim.wire.tls350` for sources and grades.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from pumpwatch_sim.wire.console import FullConsole, Units

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_ALARMS = {
    1: "SETUP DATA WARNING",
    2: "LEAK ALARM",
    3: "HIGH WATER ALARM",
    4: "OVERFILL ALARM",
    5: "LOW PRODUCT ALARM",
    6: "SUDDEN LOSS ALARM",
    7: "HIGH PRODUCT ALARM",
    8: "INVALID FUEL LEVEL",
    9: "PROBE OUT",
    10: "HIGH WATER WARNING",
    11: "DELIVERY NEEDED",
    12: "MAX PRODUCT ALARM",
}


def answer(function: str, device: str, tanks: Sequence[int], console: FullConsole) -> bytes:
    """The reply to an upper-case function; empty when there is no such function."""
    reports: dict[str, Callable[[FullConsole, Sequence[int]], list[str]]] = {
        "I101": _status,
        "I201": _inventory,
        "I202": _deliveries,
        "I203": _leak_tests,
        "I205": _tank_status,
        "I206": _alarm_history,
        "I20C": _last_delivery,
        "I216": _chart,
        "I602": _labels,
        "I603": _products,
        "I604": _capacities,
    }
    if device == "00":
        reports |= {"I501": _clock, "I902": _software}
    report = reports.get(function)
    return page(function + device, console.local_time(), report(console, tanks)) if report is not None else b""


def page(code: str, at: datetime, lines: Iterable[str]) -> bytes:
    """A report: code, date, lines."""
    text = "\r\n".join(("", code, moment(at), "", *lines, ""))
    return b"\x01" + text.encode("ascii", "replace") + b"\r\n\x03"


def moment(at: datetime) -> str:
    """As the console writes it: ``JAN 22, 1996  3:06 PM``."""
    half = "PM" if at.hour >= 12 else "AM"
    return f"{_MONTHS[at.month - 1]} {at.day:2d}, {at.year} {at.hour % 12 or 12:2d}:{at:%M} {half}"


def _volume(console: FullConsole) -> str:
    return "LITERS" if console.units is Units.METRIC else "GALLONS"


def _degrees(console: FullConsole) -> str:
    return "DEG C" if console.units is Units.METRIC else "DEG F"


def _status(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    alarms = [f"T{tank:2d}:{_alarm(alarm)}" for tank in tanks for alarm in console.alarms(tank)]
    return ["SYSTEM STATUS REPORT", "", *(alarms or ["ALL FUNCTIONS NORMAL"])]


def _inventory(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    lines = ["IN-TANK INVENTORY", ""]
    lines.append("TANK PRODUCT             VOLUME TC VOLUME   ULLAGE   HEIGHT    WATER     TEMP")
    for tank in tanks:
        now = console.inventory(tank)
        lines.append(
            f"{tank:3d}  {console.label(tank):<20.20}{now.volume:6.0f}{now.tc_volume:10.0f}{now.ullage:9.0f}"
            f"{now.height:9.2f}{now.water:9.2f}{now.temperature:9.2f}"
        )
    return lines


def _deliveries(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    return ["DELIVERY REPORT", "", *_increases(console, tanks, 99)]


def _last_delivery(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    return ["LAST DELIVERY REPORT", "", *_increases(console, tanks, 1)]


def _increases(console: FullConsole, tanks: Sequence[int], most: int) -> list[str]:
    unit = _volume(console)
    lines = []
    for tank in tanks:
        lines += [f"T{tank:2d}:{console.label(tank)}"]
        lines += [f"INCREASE   DATE / TIME {unit:>19} TC {unit} WATER  TEMP {_degrees(console)}  HEIGHT", ""]
        for report in list(console.deliveries(tank))[-most:]:
            lines += [
                f"      END: {moment(report.end):<22}{report.end_volume:9.0f}{report.end_tc_volume:10.0f}"
                f"{report.end_water:8.2f}{report.end_temperature:9.2f}{report.end_height:9.2f}",
                f"    START: {moment(report.start):<22}{report.start_volume:9.0f}{report.start_tc_volume:10.0f}"
                f"{report.start_water:8.2f}{report.start_temperature:9.2f}{report.start_height:9.2f}",
                f"   AMOUNT: {'':22}{report.end_volume - report.start_volume:9.0f}"
                f"{report.end_tc_volume - report.start_tc_volume:10.0f}",
                "",
            ]
    return lines


def _leak_tests(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    lines = ["TANK LEAK TEST RESULTS", ""]
    for tank in tanks:
        lines.append(f"T{tank:2d}:{console.label(tank)}")
        tests = console.leak_tests(tank)
        if not tests:
            lines.append("NO TEST DATA AVAILABLE")
        for test in tests:
            lines.append(f"START: {moment(test.start)}  HOURS: {test.hours}  RATE: {test.rate:.2f}")
    return lines


def _tank_status(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    lines = ["TANK PRODUCT             STATUS"]
    for tank in tanks:
        alarms = [_alarm(alarm) for alarm in console.alarms(tank)] or ["NORMAL"]
        lines += [f"{tank:3d}  {console.label(tank):<20.20}{alarm}" for alarm in alarms]
    return lines


def _alarm_history(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    lines = ["TANK ALARM HISTORY", ""]
    for tank in tanks:
        lines.append(f"T{tank:2d}:{console.label(tank)}")
        lines += [f"{_alarm(alarm):<24}{moment(when)}" for when, alarm in console.alarm_history(tank)]
    return lines


def _chart(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    lines = ["TANK CHART", ""]
    for tank in tanks:
        lines += [f"T{tank:2d}:{console.label(tank)}", f"    HEIGHT    {_volume(console)}"]
        lines += [f"{height:10.2f}{volume:10.1f}" for height, volume in console.chart(tank)]
    return lines


def _labels(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    return ["TANK PRODUCT LABEL", "", *(f"{tank:3d}  {console.label(tank)}" for tank in tanks)]


def _products(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    lines = [f"{tank:3d}  {console.label(tank):<20.20}{console.product(tank)}" for tank in tanks]
    return ["TANK PRODUCT CODE", "", *lines]


def _capacities(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    lines = ["TANK FULL VOLUME", "", f"TANK PRODUCT LABEL       {_volume(console)}"]
    return lines + [f"{tank:3d}  {console.label(tank):<20.20}{console.capacity(tank):7.0f}" for tank in tanks]


def _clock(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    return []


def _software(console: FullConsole, tanks: Sequence[int]) -> list[str]:
    number, _, created = console.software.partition("CREATED")
    return ["SOFTWARE REVISION LEVEL", number.strip(), "CREATED" + created]


def _alarm(number: int) -> str:
    return _ALARMS.get(number, f"ALARM {number:02d}")
