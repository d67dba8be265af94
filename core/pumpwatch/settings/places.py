"""Which line of a TOML text each table and key stands on, so that every complaint can point at it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import TypeAlias

Place: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the top of the file: ``("stations", 0, "id")``."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_VALUE = re.compile(r"[^,\]}\n#]*")


class Places:
    """Lines of the places of one text; empty when there is no text."""

    def __init__(self, lines: Mapping[Place, int] | None = None) -> None:
        self._lines = dict(lines or {})

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, place: object) -> bool:
        return place in self._lines

    def line(self, place: Place) -> int | None:
        """The line (from 1) of this place, or of the nearest table above it that is written; None when nothing is."""
        for length in range(len(place), 0, -1):
            if (line := self._lines.get(place[:length])) is not None:
                return line
        return None


def scan(text: str) -> Places:
    """Find the line of every table, key and list element of a text that ``tomllib`` accepts."""
    return Places(_Scanner(text.replace("\r\n", "\n")).scan())


class _Scanner:
    """Walks once through a valid TOML text; it trusts the grammar, since ``tomllib`` has checked it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._lines: dict[Place, int] = {}
        self._counts: dict[Place, int] = {}
        """How many tables each array of tables has so far."""

    def scan(self) -> dict[Place, int]:
        table: Place = ()
        self._skip_blank()
        while self._at < len(self._text):
            if self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip_blank()
        return self._lines

    # ------------------------------------------------ statements

    def _header(self) -> Place:
        double = self._text.startswith("[[", self._at)
        self._move(2 if double else 1)
        line = self._line
        keys = self._dotted_key()
        self._move(2 if double else 1)
        place: Place = ()
        for key in keys[:-1]:
            place = (*place, key)
            self._note(place, line)
            place = self._into_last(place)
        place = (*place, keys[-1])
        self._note(place, line)
        if double:
            self._counts[place] = self._counts.get(place, 0) + 1
            place = self._into_last(place)
        self._lines[place] = line
        return place

    def _into_last(self, place: Place) -> Place:
        """``[stations.devices]`` below ``[[stations]]`` means the last station written so far."""
        count = self._counts.get(place)
        return place if count is None else (*place, count - 1)

    def _pair(self, table: Place) -> None:
        line = self._line
        place = table
        for key in self._dotted_key():
            place = (*place, key)
            self._note(place, line)
        self._lines[place] = line
        self._move(1)  # =
        self._skip_spaces()
        self._value(place)

    # ------------------------------------------------ keys

    def _dotted_key(self) -> list[str]:
        keys = []
        while True:
            self._skip_spaces()
            keys.append(self._key())
            self._skip_spaces()
            if self._peek() != ".":
                return keys
            self._move(1)

    def _key(self) -> str:
        if self._peek() in ('"', "'"):
            start = self._at
            self._string()
            return str(tomllib.loads(f"key = {self._text[start : self._at]}")["key"])
        return self._take(_BARE_KEY)

    # ------------------------------------------------ values

    def _value(self, place: Place) -> None:
        match self._peek():
            case '"' | "'":
                self._string()
            case "[":
                self._array(place)
            case "{":
                self._inline_table(place)
            case _:
                self._take(_PLAIN_VALUE)

    def _array(self, place: Place) -> None:
        self._move(1)
        count = 0
        self._skip_blank()
        while self._peek() not in ("]", ""):
            self._lines[(*place, count)] = self._line
            self._value((*place, count))
            count += 1
            self._skip_blank()
            if self._peek() == ",":
                self._move(1)
                self._skip_blank()
        self._move(1)

    def _inline_table(self, place: Place) -> None:
        self._move(1)
        self._skip_blank()  # newlines here are TOML 1.1
        while self._peek() not in ("}", ""):
            self._pair(place)
            self._skip_blank()
            if self._peek() == ",":
                self._move(1)
                self._skip_blank()
        self._move(1)

    def _string(self) -> None:
        quote = self._peek()
        if self._text.startswith(quote * 3, self._at):
            self._move(3)
            self._to_end_of_string(quote * 3)
            for _ in range(2):  # up to two more quotes belong to the text: """He said "yes""""
                if self._peek() == quote:
                    self._move(1)
        else:
            self._move(1)
            self._to_end_of_string(quote)

    def _to_end_of_string(self, closing: str) -> None:
        while self._at < len(self._text):
            if self._text.startswith(closing, self._at):
                self._move(len(closing))
                return
            self._move(2 if closing[0] == '"' and self._peek() == "\\" else 1)

    # ------------------------------------------------ moving on

    def _note(self, place: Place, line: int) -> None:
        """A table that is only implied stands where it is first mentioned."""
        self._lines.setdefault(place, line)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _move(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        taken = found.group() if found else ""
        self._move(max(1, len(taken)))  # never stand still, whatever the text
        return taken

    def _skip_spaces(self) -> None:
        while self._peek() in (" ", "\t"):
            self._move(1)

    def _skip_blank(self) -> None:
        """Skip spaces, line ends and comments."""
        while (char := self._peek()) in (" ", "\t", "\n", "#") and char:
            if char == "#":
                end = self._text.find("\n", self._at)
                self._move((end if end >= 0 else len(self._text)) - self._at)
            else:
                self._move(1)
