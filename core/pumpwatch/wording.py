"""How rules name things and write figures, in Chinese and in English; floor 1."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

from pumpwatch.model import Station, Text

if TYPE_CHECKING:
    from collections.abc import Iterable

_TITLE_ZH: Final = 20
"""Han; a Latin character counts half."""
_TITLE_EN: Final = 40
_NUMBERED: Final = re.compile(r".*-([NDT])([0-9]+)", re.DOTALL)
_KINDS: Final = {
    "N": (Text("加油枪", "Nozzle"), "枪"),
    "D": (Text("加油机", "Dispenser"), "加油机"),
    "T": (Text("油罐", "Tank"), "油罐"),
}


def nozzle_label(nozzle_id: str) -> Text:
    """``S01-N03`` is ``3号枪``, ``Nozzle 3``; any other id stands as it is."""
    return _label("N", nozzle_id)


def dispenser_label(dispenser_id: str) -> Text:
    """``S01-D1`` is ``1号加油机``, ``Dispenser 1``; any other id stands as it is."""
    return _label("D", dispenser_id)


def tank_label(tank_id: str) -> Text:
    """``S01-T2`` is ``2号油罐``, ``Tank 2``; any other id stands as it is."""
    return _label("T", tank_id)


def station_label(station: Station | None, station_id: str) -> Text:
    """The station's short name if it has one, else its name, else its id."""
    if station is None:
        return Text(zh=station_id, en=station_id)
    zh = station.short_name or station.name or station_id
    en = station.attributes.get("short_name_en") or station.attributes.get("name_en") or station_id
    return Text(zh=zh, en=en)


def title(label: Text, zh: str, en: str) -> Text:
    """A title that fits lists; a long name gives way (at its end), never the words after it."""
    return Text(
        zh=_shorten(label.zh, _TITLE_ZH - _width(f" {zh}")) + f" {zh}",
        en=_shorten(label.en, _TITLE_EN - len(f" {en}"), latin=True) + f" {en}",
    )


def percent(value: float) -> str:
    """A relative error, always signed: ``+3.01%``, ``−0.42%``."""
    return f"{value:+,.2f}%".replace("-", "−")


def litres(value: float) -> str:
    """Litres of a sale: ``20.60 L``."""
    return f"{value:,.2f} L".replace("-", "−")


def signed_litres(value: float) -> str:
    """Litres with their sign: ``−500.00 L``."""
    return f"{value:+,.2f} L".replace("-", "−")


def yuan(value: float) -> str:
    """Money: ``¥31.50``, ``−¥4.50``."""
    return f"{'−' if value <= -0.005 else ''}¥{abs(value):,.2f}"


def count(number: int, one: str, many: str) -> str:
    """``1 sale``, ``1,204 sales``."""
    return f"{number:,} {one if number == 1 else many}"


def listed(words: Iterable[str], at_most: int = 3) -> Text:
    """The first few words, and how many more there are."""
    all_of_them = list(words)
    shown, more = all_of_them[:at_most], len(all_of_them) - at_most
    zh, en = "、".join(shown), ", ".join(shown)
    return Text(zh=f"{zh} 等{len(all_of_them)}项", en=f"{en} and {more} more") if more > 0 else Text(zh=zh, en=en)


def local(at: datetime, utc_offset_h: float) -> str:
    """Local time of the station, to the second."""
    return at.astimezone(timezone(timedelta(hours=utc_offset_h))).strftime("%Y-%m-%d %H:%M:%S")


def local_day(at: datetime, utc_offset_h: float) -> str:
    """Local day of the station."""
    return at.astimezone(timezone(timedelta(hours=utc_offset_h))).strftime("%Y-%m-%d")


def _label(letter: str, name: str) -> Text:
    kind, counted = _KINDS[letter]
    match = _NUMBERED.fullmatch(name)
    if match is None or match[1] != letter:
        return Text(zh=f"{kind.zh}{name}", en=f"{kind.en} {name}")
    number = int(match[2])
    return Text(zh=f"{number}号{counted}", en=f"{kind.en} {number}")


def _width(text: str) -> float:
    return sum(1.0 if ord(character) >= 0x2E80 else 0.5 for character in text)


def _shorten(text: str, room: float, *, latin: bool = False) -> str:
    def fits(candidate: str) -> bool:
        return (len(candidate) if latin else _width(candidate)) <= room

    if fits(text):
        return text
    while text and not fits(f"{text}…"):
        text = text[:-1]
    return f"{text}…"
