"""What every question gives: one page of columns, and the cursor behind which the next page begins."""

from __future__ import annotations

import base64
import binascii
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from pumpwatch.errors import BadConfig
from pumpwatch.model import from_us, to_us

TIME: Final = pa.timestamp("us", "UTC")
MOST_ROWS: Final = 100_000
"""No page has more rows."""
_CURSOR_LIMIT: Final = 2_000
_NO_LETTERS: Final = frozenset({"Cc", "Cs"})
"""Control characters and halves of a pair: no path and no id has them."""
_LARGEST: Final = 2**53
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Rows as columns, times as microseconds in UTC. Where ``after`` is None nothing follows.

    A page may be short or empty though more follows: no question looks at more at a time than a server can bear.
    """

    table: pa.Table
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """start <= time < end, both within what is kept at all: from 1970 to 2200."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, start: datetime, end: datetime) -> Window:
        """Any two times, brought into those bounds."""
        return cls(min(max(start, _FIRST), _LAST), min(max(end, _FIRST), _LAST))

    @property
    def start_us(self) -> int:
        """Microseconds since 1970."""
        return to_us(self.start)

    @property
    def end_us(self) -> int:
        """Microseconds since 1970."""
        return to_us(self.end)


def cursor(*place: str | int | None) -> str:
    """A place as an opaque word that stands unchanged in an address."""
    told = json.dumps(place, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def place_of(after: str, kinds: Sequence[type]) -> list[Any]:
    """The place that ``cursor`` made a word of. Raises ``BadConfig`` when it is no such word."""
    try:
        raw = base64.b64decode(after[:_CURSOR_LIMIT] + "=" * (-len(after) % 4), altchars=b"-_", validate=True)
        place: object = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        place = None
    if isinstance(place, list) and len(place) == len(kinds) and all(map(_is_a, place, kinds)):
        return place
    raise BadConfig(f"after: {after[:40]!r} is no cursor of this question; take it from the answer before")


def _is_a(part: object, kind: type) -> bool:
    if isinstance(part, bool) or not isinstance(part, kind):
        return False
    if isinstance(part, str):
        return not any(unicodedata.category(letter) in _NO_LETTERS for letter in part)
    return not isinstance(part, int) or abs(part) < _LARGEST


def moment(us: int) -> datetime:
    """The time of a cursor."""
    return from_us(us)


def just_after(us: int) -> datetime:
    """The first moment behind this one."""
    return from_us(us) + timedelta(microseconds=1)
