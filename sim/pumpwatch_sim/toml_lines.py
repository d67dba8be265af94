"""Finds on which line of a TOML text each table and key stands, which ``tomllib`` does not tell."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

Place: TypeAlias = tuple[str | int, ...]
"""``("scenario", 2, "onset")``: keys, and indices counted from 0."""

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_STATEMENT = re.compile(rf"[ \t]*(?:(?P<open>\[\[?)[ \t]*(?P<table>{_DOTTED})[ \t]*\]|(?P<key>{_DOTTED})[ \t]*=)")
_TOKEN = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#[^\n]*|[\[{]|[\]}]|\n|[^"'\#\[\]{}\n]+''',
    re.DOTALL,
)


class Lines:
    """The lines of a text that ``tomllib`` accepts."""

    def __init__(self, text: str, file: str = "") -> None:
        self._lines = _scan(text)
        self._file = file

    def where(self, place: Place) -> str:
        """``county.toml:12: scenario[0].onset``, how a complaint begins; only the place when there is no file."""
        line = self.line(place)
        spot = self._file if line is None else f"{self._file}:{line}"
        return f"{spot}: {_dotted(place)}" if self._file else _dotted(place)

    def line(self, place: Place) -> int | None:
        """Where this stands, from 1; else where the nearest table or key around it does; None: in the file at large."""
        while place:
            if place in self._lines:
                return self._lines[place]
            place = place[:-1]
        return None


def _dotted(place: Place) -> str:
    """Indices count from 0, as TOML's own tools do."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _scan(text: str) -> Mapping[Place, int]:
    found: dict[Place, int] = {}
    counts: Counter[Place] = Counter()
    table: Place = ()
    at = 0
    while at < len(text):
        statement = _STATEMENT.match(text, at)
        if statement is None:
            at = _end(text, at)
            continue
        line = text.count("\n", 0, statement.start()) + 1
        if statement["key"] is not None:
            place = (*table, *_parts(statement["key"]))
        else:
            place = _indexed(_parts(statement["table"]), counts)
            if statement["open"] == "[[":
                place = (*place, counts[place])
                counts[place[:-1]] += 1
            table = place
        for size in range(1, len(place) + 1):
            found.setdefault(place[:size], line)
        at = _end(text, statement.end())
    return found


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(
        next(iter(tomllib.loads(f"{key} = 0"))) if key[0] in "\"'" else key for key in re.findall(_KEY, dotted)
    )


def _indexed(parts: tuple[str, ...], counts: Counter[Place]) -> Place:
    """A table inside the last element of a list of tables belongs to that element."""
    place: Place = ()
    for number, part in enumerate(parts, 1):
        place = (*place, part)
        if number < len(parts) and counts[place]:
            place = (*place, counts[place] - 1)
    return place


def _end(text: str, at: int) -> int:
    """Behind the line break that ends the statement: not one inside brackets or a text."""
    depth = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            return len(text)
        at = token.end()
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            break
    return at
