"""What controllers that call bring to the suite ``alarm``, altered on the way: F22, C05, C07 and C09.

There is a jsonPTS controller at each of some stations that nobody polls. It first brings fillings as they ought to be.
Then a batch comes twice (C05), a filling comes again with fewer litres (C07), the largest is kept back (C09), and an
amount is rounded up (F22).
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx

from pumpwatch.errors import NotReachable

if TYPE_CHECKING:
    from pathlib import Path

KNOWN: Final = 30
"""Fillings of each nozzle before anything is altered; ``amount`` wants 25."""
_LOCAL: Final = timedelta(hours=8)
_PRICE_FEN: Final = 753
_APART: Final = timedelta(minutes=1)
_LASTS: Final = timedelta(seconds=40)


@dataclass(frozen=True, slots=True)
class Filling:
    """As a controller tells it; cl, fen."""

    number: int
    end: datetime
    volume_cl: int
    amount_fen: int
    total_cl: int
    total_fen: int


@dataclass(frozen=True, slots=True)
class Controller:
    """One at a station, with the nozzle it tells of."""

    station_id: str
    nozzle_id: str
    password: str

    def lines(self, secret: Path) -> str:
        """The station in the configuration; the password is written into a file for the server alone."""
        secret.touch(0o600)
        secret.write_text(self.password, encoding="utf-8")
        password = json.dumps(f"file:{secret}")
        settings = f'{{ user = "bench", password = {password}, scheme = "basic", numbers = "nozzle" }}'
        return (
            f'\n[[stations]]\nid = "{self.station_id}"\n[[stations.devices]]\nid = "PTS"\ndriver = "ptsjson"\n'
            f'line = "call:"\nnozzles = ["{self.nozzle_id}"]\nsettings = {settings}\n'
        )

    def bring(self, server: str, fillings: Sequence[Filling]) -> datetime:
        """Upload them in one call; when that began. Raises ``NotReachable`` for what the server does not keep."""
        packets = [
            {"Id": place, "Type": "UploadPumpTransaction", "Data": _told(each)}
            for place, each in enumerate(fillings, 1)
        ]
        began = datetime.now(UTC)
        answer = httpx.post(
            f"{server}/call/{self.station_id}/PTS",
            json={"Protocol": "jsonPTS", "Packets": packets},
            auth=("bench", self.password),
            timeout=60,
            trust_env=False,
        )
        said = answer.json() if answer.status_code == httpx.codes.OK else {}
        refused = [each for each in said.get("Packets", ()) if each.get("Error")]
        if not said or refused:
            raise NotReachable(f"the server does not take what {self.station_id} brings: {answer.text[:300]}")
        return began


def controllers(stations: Mapping[str, str]) -> dict[str, Controller]:
    """One for each scenario; ``stations`` has the nozzle of each station that is free."""
    free = iter(stations.items())
    return {name: Controller(*next(free), secrets.token_urlsafe(16)) for name in ALTERED}


def bring_known(server: str, controller: Controller, now: datetime) -> list[Filling]:
    """Fillings as they ought to be, the last some minutes ago."""
    fillings: list[Filling] = []
    for number in range(1, KNOWN + 1):
        volume_cl = 1_000 + 137 * number
        fillings.append(_next(fillings, volume_cl, now - (KNOWN - number + 3) * _APART))
    controller.bring(server, fillings)
    return fillings


def repeated(known: Sequence[Filling], now: datetime) -> list[Filling]:
    """C05: the whole batch again, every byte alike."""
    return list(known)


def edited(known: Sequence[Filling], now: datetime) -> list[Filling]:
    """C07: the last filling again with a tenth less."""
    volume_cl = known[-1].volume_cl * 9 // 10
    return [replace(known[-1], volume_cl=volume_cl, amount_fen=_nearest(volume_cl))]


def kept_back(known: Sequence[Filling], now: datetime) -> list[Filling]:
    """C09: the next but one, after a large filling that never comes."""
    large = _next(known, 9_000, now - _APART)
    return [_next([*known, large], 2_000, now)]


def rounded_up(known: Sequence[Filling], now: datetime) -> list[Filling]:
    """F22: a filling whose amount would have been rounded down."""
    volume_cl = next(v for v in range(2_000, 3_000) if 0 < v * _PRICE_FEN % 100 < 20)
    honest = _next(known, volume_cl, now)
    return [replace(honest, amount_fen=math.ceil(volume_cl * _PRICE_FEN / 100))]


ALTERED: Final = {"F22": rounded_up, "C05": repeated, "C07": edited, "C09": kept_back}
"""What each scenario brings after what is known."""
CAUSES: Final = {"F22": "overcharging", "C07": "edited_record", "C09": "sequence_gap"}
"""What is to be told of it; of a batch that comes twice (C05) nothing is."""


def _next(known: Sequence[Filling], volume_cl: int, end: datetime) -> Filling:
    amount_fen = _nearest(volume_cl)
    before = known[-1] if known else Filling(0, end, 0, 0, 5_000_000, 37_650_000)
    totals = before.total_cl + volume_cl, before.total_fen + amount_fen
    return Filling(before.number + 1, end.replace(microsecond=0), volume_cl, amount_fen, *totals)


def _nearest(volume_cl: int) -> int:
    return (volume_cl * _PRICE_FEN + 50) // 100


def _told(filling: Filling) -> dict[str, Any]:
    return {
        "Pump": 1,
        "Nozzle": 1,
        "Transaction": filling.number,
        "DateTimeStart": _clock(filling.end - _LASTS),
        "DateTime": _clock(filling.end),
        "Volume": filling.volume_cl / 100,
        "Amount": filling.amount_fen / 100,
        "Price": _PRICE_FEN / 100,
        "TotalVolume": filling.total_cl / 100,
        "TotalAmount": filling.total_fen / 100,
    }


def _clock(at: datetime) -> str:
    return f"{at + _LOCAL:%Y-%m-%dT%H:%M:%S}"
