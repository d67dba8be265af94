"""InfluxQL statements from anything: what comes from outside is quoted, and times stay within what servers count.

``/query`` of InfluxDB 2 binds no parameters, so values are quoted. Source: InfluxQL reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pumpwatch_influx.line_protocol import FIRST_US, LAST_US, named

_IN_IDENTIFIERS: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_IN_STRINGS: Final = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n"})


def identifier(name: str) -> str:
    """A database, measurement, tag or field as a statement names it."""
    return f'"{name.translate(_IN_IDENTIFIERS)}"'


def string(text: str) -> str:
    """A text as a statement holds it."""
    return f"'{text.translate(_IN_STRINGS)}'"


def select(what: str, measurement: str, rest: str = "") -> str:
    """A statement; ``what`` and ``rest`` are put together by the functions here."""
    return f"SELECT {what} FROM {identifier(measurement)} {rest}"  # noqa: S608 - all names and values are quoted


def where(tags: Mapping[str, str], start_us: int, end_us: int) -> str:
    """``WHERE`` a point has these tags (as they were before ``named``) and start <= time < end."""
    alike = (f"{identifier(key)} = {string(named(value))}" for key, value in tags.items())
    start, end = (min(max(us, FIRST_US), LAST_US + 1) for us in (start_us, end_us))
    return "WHERE " + " AND ".join((*alike, f"time >= {start * 1_000} AND time < {end * 1_000}"))


def fields(names: Iterable[str]) -> str:
    """A list of fields to select."""
    return ", ".join(map(identifier, names))


def duration(us: int) -> str:
    """A length of time."""
    return f"{us}u"
