"""How the integrity rules name a station, a dispenser and a nozzle, in Chinese and in English."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from pumpwatch import Station, Text

_NOZZLE = re.compile(r".*-N([0-9]+)", re.DOTALL)
_DISPENSER = re.compile(r".*-D([0-9]+)", re.DOTALL)
_TITLE_ZH = 20  # Han; a Latin character counts half
_TITLE_EN = 40


def nozzle_label(nozzle_id: str) -> Text:
    """``S01-N03`` is ``3号枪``, ``Nozzle 3``; any other id stands as it is."""
    match = _NOZZLE.fullmatch(nozzle_id)
    if match is None:
        return Text(zh=f"加油枪{nozzle_id}", en=f"Nozzle {nozzle_id}")
    return Text(zh=f"{int(match[1])}号枪", en=f"Nozzle {int(match[1])}")


def dispenser_label(dispenser_id: str) -> Text:
    """``S01-D1`` is ``1号加油机``, ``Dispenser 1``; any other id stands as it is."""
    match = _DISPENSER.fullmatch(dispenser_id)
    if match is None:
        return Text(zh=f"加油机{dispenser_id}", en=f"Dispenser {dispenser_id}")
    return Text(zh=f"{int(match[1])}号加油机", en=f"Dispenser {int(match[1])}")


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


def local(at: datetime, utc_offset_h: float) -> str:
    """Local time of the station."""
    return at.astimezone(timezone(timedelta(hours=utc_offset_h))).strftime("%Y-%m-%d %H:%M:%S")


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
