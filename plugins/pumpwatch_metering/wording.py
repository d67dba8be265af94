"""How the metering rules write figures and name a nozzle, in Chinese and in English."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from pumpwatch import History, Subject, Text

_NUMBERED = re.compile(r".*-N([0-9]+)", re.DOTALL)
_TITLE_ZH = 20  # Han; a Latin character counts half
_TITLE_EN = 40


def subject_of(nozzle_id: str, history: History) -> Subject:
    """Name the nozzle as exactly as the ledger allows; an unregistered one stands at the station its id begins with."""
    nozzle = history.nozzle(nozzle_id)
    if nozzle is None:
        return Subject(station_id=nozzle_id.rpartition("-")[0] or nozzle_id, nozzle_id=nozzle_id)
    dispenser = history.dispenser(nozzle.dispenser_id)
    station_id = dispenser.station_id if dispenser else nozzle.dispenser_id.rpartition("-")[0] or nozzle.dispenser_id
    return Subject(station_id=station_id, dispenser_id=nozzle.dispenser_id, nozzle_id=nozzle_id)


def nozzle_label(nozzle_id: str) -> Text:
    """``S01-N03`` is ``3号枪``, ``Nozzle 3``; any other id stands as it is."""
    match = _NUMBERED.fullmatch(nozzle_id)
    if match is None:
        return Text(zh=f"加油枪{nozzle_id}", en=f"Nozzle {nozzle_id}")
    number = int(match[1])
    return Text(zh=f"{number}号枪", en=f"Nozzle {number}")


def title(label: Text, zh: str, en: str) -> Text:
    """A title that fits lists; a long id gives way (from its front), never the figure after it."""
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
    while text and not fits(f"…{text}"):
        text = text[1:]
    return f"…{text}"
